package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"timeferry/internal/segment"
	"timeferry/internal/spool"
)

const spoolUsage = `Usage: worker spool inspect [-v] DIR

Reads the spool of one migration (DATA_DIR/spool/NAME) and prints what is in it: segments, positions, transactions, changes
for each table, and where it is torn or damaged. It changes nothing and takes no lock, so it may run beside the worker. No
row is printed. With -v each transaction is listed.

Exit codes: 0 whole, 1 damaged, 2 bad usage or no spool there.
`

// inspectSpool is "worker spool": it returns the exit code.
func inspectSpool(args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("worker spool inspect", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.Usage = func() { fmt.Fprint(errOut, spoolUsage) }
	verbose := flags.Bool("v", false, "list the transactions")
	if len(args) == 0 || args[0] != "inspect" {
		flags.Usage()
		return 2
	}
	if err := flags.Parse(args[1:]); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return 2
	}
	w := bufio.NewWriter(out)
	found, err := spool.Inspect(flags.Arg(0), eachTransaction(w, *verbose))
	if err != nil {
		fmt.Fprintln(errOut, "worker:", withNeighbours(err, flags.Arg(0)))
		return 2
	}
	printSpool(w, found)
	if err := w.Flush(); err != nil {
		fmt.Fprintln(errOut, "worker:", err)
		return 2
	}
	if found.Damaged() {
		return 1
	}
	return 0
}

// withNeighbours names the spools below a directory that is none itself.
func withNeighbours(err error, dir string) error {
	if !spool.HasCode(err, spool.CodeNoSpool) {
		return err
	}
	var names []string
	for _, pattern := range []string{"*", "spool/*"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern, "lock")) // the pattern is a good one
		for _, lock := range found {
			names = append(names, filepath.Dir(lock))
		}
	}
	if len(names) == 0 {
		return err
	}
	return fmt.Errorf("%w; there is: %s", err, strings.Join(names, ", "))
}

func eachTransaction(out io.Writer, verbose bool) func(spool.TransactionInspection) error {
	if !verbose {
		return nil
	}
	const row = "%-18s %10s  %-26s %s\n"
	fmt.Fprintf(out, row, "COMMIT", "XID", "AT", "CHANGES")
	return func(t spool.TransactionInspection) error {
		var words []string
		for _, c := range t.Changes {
			words = append(words, changeWords(c))
		}
		_, err := fmt.Fprintf(out, row, t.CommitLSN, fmt.Sprint(t.XID), clock(t.CommitTime), strings.Join(words, "; "))
		return err
	}
}

func printSpool(out io.Writer, found spool.Inspection) {
	fmt.Fprintf(out, "spool %s\n\n", found.Dir)
	const row = "%8s  %-5s %10s  %-18s %-18s %8s %10s  %-26s %s\n"
	fmt.Fprintf(out, row, "SEGMENT", "FORM", "SIZE", "AFTER", "TO", "TX", "CHANGES", "FIRST COMMIT", "LAST COMMIT")
	total := spool.SegmentInspection{}
	var tables []spool.TableChanges
	for _, s := range found.Segments {
		fmt.Fprintf(out, row, fmt.Sprint(s.Sequence), form(s.Version), bytesWords(s.Bytes), s.Base, s.LastLSN, fmt.Sprint(s.Transactions), fmt.Sprint(changesOf(s.Changes)),
			clock(s.FirstCommit), clock(s.LastCommit))
		total.Bytes, total.Messages, total.Transactions = total.Bytes+s.Bytes, total.Messages+s.Messages, total.Transactions+s.Transactions
		tables = append(tables, s.Changes...)
	}
	tables = summed(tables)
	fmt.Fprintf(out, "\n%d segments, %s, %s of messages, %d transactions, %d changes of %d tables\n", len(found.Segments), bytesWords(total.Bytes),
		bytesWords(total.Messages), total.Transactions, changesOf(tables), len(tables))
	for _, t := range tables {
		fmt.Fprintf(out, "  %s\n", changeWords(t))
	}
	if found.Removed > 0 {
		fmt.Fprintf(out, "\n%d more were applied and removed meanwhile\n", found.Removed)
	}
	for _, s := range found.Segments {
		if s.Damage != "" {
			fmt.Fprintf(out, "\nDAMAGED %s: %s\n", s.Name, s.Damage)
		} else if s.TailBytes > 0 {
			fmt.Fprintf(out, "\ntail of %s: %d bytes from byte %d on belong to no whole transaction: one is being written, or they are cut off at the next start\n",
				s.Name, s.TailBytes, s.TailOffset)
		}
	}
}

func form(version uint32) string {
	switch {
	case version == 0: // not readable
		return "?"
	case segment.HasBlocks(version):
		return "zstd"
	}
	return "plain"
}

func changesOf(tables []spool.TableChanges) (n int64) {
	for _, t := range tables {
		n += t.Total()
	}
	return n
}

// summed adds up what several segments have of the same table, most changes first.
func summed(all []spool.TableChanges) []spool.TableChanges {
	var sum []spool.TableChanges
	for _, c := range all {
		at := slices.IndexFunc(sum, func(s spool.TableChanges) bool { return s.Table == c.Table })
		if at < 0 {
			sum = append(sum, c)
			continue
		}
		s := &sum[at]
		s.Inserts, s.Updates, s.Deletes, s.Truncations = s.Inserts+c.Inserts, s.Updates+c.Updates, s.Deletes+c.Deletes, s.Truncations+c.Truncations
	}
	slices.SortStableFunc(sum, func(a, b spool.TableChanges) int { return int(b.Total() - a.Total()) })
	return sum
}

func changeWords(c spool.TableChanges) string {
	var words []string
	for _, n := range []struct {
		count int64
		what  string
	}{{c.Inserts, "inserts"}, {c.Updates, "updates"}, {c.Deletes, "deletes"}, {c.Truncations, "truncates"}} {
		if n.count > 0 {
			words = append(words, fmt.Sprintf("%d %s", n.count, n.what))
		}
	}
	return c.Table + ": " + strings.Join(words, ", ")
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000000")
}

func bytesWords(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// spoolMain is inspectSpool for the process.
func spoolMain(args []string) int { return inspectSpool(args, os.Stdout, os.Stderr) }
