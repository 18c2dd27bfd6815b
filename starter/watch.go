package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"golang.org/x/sys/unix"

	"timeferry/internal/contract"
)

func watchCommand(out io.Writer) *cobra.Command {
	var every time.Duration
	c := &cobra.Command{
		Use:   "watch NAME",
		Short: "Follow a migration until it ends",
		Long: `Follow a migration until it ends: on a terminal with bars that move, otherwise with a line for each turn of the story
and one every ten seconds while only numbers change.`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(cmd, func(c client.Client) error { return watch(cmd.Context(), out, c, args[0], every) })
		},
	}
	c.Flags().DurationVar(&every, "every", time.Second, "how often to look")
	return c
}

func watch(ctx context.Context, out io.Writer, c client.Client, name string, every time.Duration) error {
	v := newViewer(out)
	for {
		s, err := readStatus(ctx, c, name)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return failed(err)
		}
		v.show(s, time.Now())
		switch s.Phase {
		case contract.PhaseCompleted, contract.PhaseAborted, contract.PhaseRolledBack:
			return nil
		case contract.PhaseFailed:
			printProblems(out, s.Problems)
			return failed(fmt.Errorf("migration %s failed: %s", name, s.Message))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// quietly is how long a log stays silent while nothing but numbers changes.
const quietly = 10 * time.Second

// viewer shows one look after the other: lines that stay, and on a terminal a block below them that is drawn anew each time.
type viewer struct {
	out io.Writer
	// width asks for the terminal's columns; nil when out is none.
	width func() int

	drawn    int // lines of the block on the terminal
	headline string
	line     string
	lineAt   time.Time
}

func newViewer(out io.Writer) *viewer { return &viewer{out: out, width: terminalWidth(out)} }

// terminalWidth returns nil when out is no terminal.
func terminalWidth(out io.Writer) func() int {
	file, ok := out.(*os.File)
	if !ok {
		return nil
	}
	size := func() (*unix.Winsize, error) { return unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ) }
	if _, err := size(); err != nil {
		return nil
	}
	return func() int {
		if s, err := size(); err == nil && s.Col > 0 {
			return int(s.Col)
		}
		return 80
	}
}

func (v *viewer) show(s live, now time.Time) {
	headline := fmt.Sprint(s.Phase, " · ", s.told)
	if len(s.Awaiting) > 0 {
		headline += " · waits for: " + strings.Join(s.Awaiting, ", ")
	}
	turned := headline != v.headline
	v.headline = headline
	if v.width != nil {
		v.draw(headline, turned, block(s.Status), now)
		return
	}
	line := statusLine(s.Status)
	if !turned && (line == v.line || now.Sub(v.lineAt) < quietly) {
		return
	}
	if len(s.Awaiting) > 0 && turned {
		fmt.Fprintf(v.out, "%s  %s · waits for: %s\n", now.Format(time.TimeOnly), line, strings.Join(s.Awaiting, ", "))
	} else {
		fmt.Fprintf(v.out, "%s  %s\n", now.Format(time.TimeOnly), line)
	}
	v.line, v.lineAt = line, now
}

// draw replaces the block; a headline that has changed becomes a line that stays above it.
func (v *viewer) draw(headline string, turned bool, lines []string, now time.Time) {
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[J", v.drawn) // up to the block's first line, and clear from there
	}
	if turned {
		fmt.Fprintf(&b, "%s  %s\n", now.Format(time.TimeOnly), headline)
	}
	width := v.width()
	for _, line := range lines {
		b.WriteString(cut(line, width-1) + "\n")
	}
	v.drawn = len(lines)
	io.WriteString(v.out, b.String())
}

// cut keeps a line from being wrapped, which would spoil the count of lines.
func cut(line string, width int) string {
	if width < 1 || utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width-1]) + "…"
}

// shownParts is how many parts under way are shown one by one.
const shownParts = 16

// shownTables is how many tables with changes are shown.
const shownTables = 5

// block is a migration in numbers that move: a bar for the whole, one for each part under way, and what is built.
func block(s contract.Status) []string {
	var lines []string
	c := s.Copy
	switch s.Phase {
	case contract.PhaseCopying, contract.PhaseIndexing:
		lines = append(lines, "  "+totalLine(c))
		if c.Waiting != "" {
			lines = append(lines, "  waits: "+c.Waiting)
		}
		lines = append(lines, tableLines(c.Largest)...)
		for i, p := range c.Running {
			if i == shownParts {
				lines = append(lines, fmt.Sprintf("  and %d more parts", len(c.Running)-shownParts))
				break
			}
			lines = append(lines, "  "+partLine(p))
		}
		lines = append(lines, indexLines(c)...)
	case contract.PhaseCatchingUp, contract.PhaseInSync:
		lines = append(lines, streamLines(s.Replication)...)
	case contract.PhaseCutOver, contract.PhaseRollingBack:
		if s.Back != nil && s.Back.Since != 0 {
			lines = append(lines, "  way back, target to source:")
			lines = append(lines, streamLines(s.Back.Replication)...)
		}
	}
	if line := verifyLine(s); line != "" {
		lines = append(lines, "  "+line)
	}
	for _, p := range s.Problems {
		if p.Severity == contract.Fatal || p.Code == "retrying" {
			lines = append(lines, fmt.Sprintf("  %s %s %s: %s", p.Severity, p.Code, p.Object, p.Message))
		}
	}
	return lines
}

// streamLines are the stream, the slot where there is something to say, and the tables with the most changes.
func streamLines(r contract.ReplicationStatus) []string {
	lines := []string{"  " + streamWords(r)}
	if words := slotWords(r.Slot); words != "" {
		lines = append(lines, "  "+words)
	}
	for i, t := range r.Busiest {
		if i == shownTables || t.ChangesPerSecond == 0 {
			break
		}
		lines = append(lines, fmt.Sprintf("  %s changes/s in %s transactions/s  %s", number(t.ChangesPerSecond), number(t.TransactionsPerSecond), t.Table))
	}
	return lines
}

func totalLine(c contract.CopyStatus) string {
	words := []string{bar(c.BytesDone, c.Bytes), fmt.Sprintf("%d/%d tables, %d/%d parts, %d rows", c.TablesDone, c.Tables, c.PartsDone, c.Parts, c.Rows)}
	return joined(append(words, speedWords(c.Rate, c.ETASeconds, "ready in ")...))
}

// tableLines are the tables of several parts that are being copied.
func tableLines(tables []contract.TableProgress) (lines []string) {
	for _, t := range tables {
		if t.Rate > 0 && t.Parts > 1 && len(lines) < shownTables {
			words := []string{bar(t.BytesDone, t.Bytes), fmt.Sprintf("%s, %d/%d parts", t.Table, t.PartsDone, t.Parts)}
			lines = append(lines, "  "+joined(append(words, speedWords(t.Rate, t.ETASeconds, "ready in ")...)))
		}
	}
	return lines
}

func partLine(p contract.PartProgress) string {
	words := []string{bar(p.Bytes, p.Planned), fmt.Sprintf("%s part %d", p.Table, p.Part)}
	return joined(append(words, speedWords(p.Rate, p.ETASeconds, "")...))
}

func indexLines(c contract.CopyStatus) []string {
	if c.Indexes == 0 {
		return nil
	}
	lines := []string{fmt.Sprintf("  %s %d/%d indexes and keys", blocks(int64(c.IndexesDone), int64(c.Indexes)), c.IndexesDone, c.Indexes)}
	for _, b := range c.Building {
		lines = append(lines, fmt.Sprintf("  %s %.0f%% %s", blocks(int64(b.Percent), 100), b.Percent, b.Name))
	}
	return lines
}

func speedWords(rate, eta int64, before string) []string {
	var words []string
	if rate > 0 {
		words = append(words, size(rate)+"/s")
	}
	if eta > 0 {
		words = append(words, before+(time.Duration(eta)*time.Second).String())
	}
	return words
}

// joined leaves empty words out.
func joined(words []string) string {
	kept := words[:0]
	for _, w := range words {
		if w != "" {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " · ")
}
