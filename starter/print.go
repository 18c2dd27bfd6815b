package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"timeferry/internal/contract"
)

// statusLine is a migration in one line.
func statusLine(s contract.Status) string {
	parts := []string{string(s.Phase)}
	switch s.Phase {
	case contract.PhaseCopying:
		parts = append(parts, bar(s.Copy.BytesDone, s.Copy.Bytes),
			fmt.Sprintf("%d/%d tables, %d rows", s.Copy.TablesDone, s.Copy.Tables, s.Copy.Rows))
		if s.Copy.ETASeconds > 0 {
			parts = append(parts, "ready in "+(time.Duration(s.Copy.ETASeconds)*time.Second).String())
		}
	case contract.PhaseCatchingUp, contract.PhaseInSync:
		parts = append(parts, fmt.Sprintf("%s behind (%.1f s), applied to %s", size(s.Replication.LagBytes), s.Replication.LagSeconds, s.Replication.AppliedLSN))
	}
	parts = append(parts, s.Message)
	return strings.Join(parts, " · ")
}

func bar(done, total int64) string {
	const width = 20
	if total <= 0 {
		return ""
	}
	filled := int(min(done, total) * width / total)
	return fmt.Sprintf("[%s%s] %d%% of %s", strings.Repeat("█", filled), strings.Repeat("░", width-filled), min(done, total)*100/total, size(total))
}

func size(n int64) string {
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

func printStatus(out io.Writer, s contract.Status) {
	fmt.Fprintf(out, "%s: %s\n", s.Name, statusLine(s))
	if len(s.Awaiting) > 0 {
		fmt.Fprintf(out, "waits for: %s   (starter %s %s)\n", strings.Join(s.Awaiting, ", "), s.Awaiting[0], s.Name)
	}
	if s.Source.Instance != "" {
		fmt.Fprintf(out, "source: %s at %s:%d, PostgreSQL %s, parameter group %s\n", s.Source.Instance, s.Source.Host, s.Source.Port, s.Source.Version, s.Source.ParameterGroup)
	}
	if s.Source.IngressRule != "" {
		fmt.Fprintf(out, "security group: open for the worker by rule %s\n", s.Source.IngressRule)
	}
	if r := s.Replication; r.ReceivedLSN != 0 {
		fmt.Fprintf(out, "stream: received to %s, applied to %s, %s behind, %s in the spool\n", r.ReceivedLSN, r.AppliedLSN, size(r.LagBytes), size(r.SpooledBytes))
	}
	printProblems(out, s.Problems)
}

// problemWidth is how long a line of a finding may get: two windows fit beside each other, and a mail does not break it.
const problemWidth = 110

// printProblems prints each finding under a line that says what it is about, and counts them at the end.
func printProblems(out io.Writer, problems []contract.Problem) {
	if len(problems) == 0 {
		fmt.Fprintln(out, "no problems found")
		return
	}
	const row = "%-8s  %-26s  %s\n"
	fmt.Fprintf(out, row, "SEVERITY", "CODE", "OBJECT")
	counted := map[contract.Severity]int{}
	for _, p := range problems {
		counted[p.Severity]++
		fmt.Fprintf(out, row, p.Severity, p.Code, p.Object)
		printWrapped(out, "          ", "          ", withoutRemedy(p.Message, p.Remedy))
		if p.Remedy != "" {
			printWrapped(out, "        → ", "          ", p.Remedy)
		}
	}
	var counts []string
	for _, c := range []struct {
		severity  contract.Severity
		one, many string
	}{{contract.Fatal, "error", "errors"}, {contract.Warning, "warning", "warnings"}, {contract.Info, "note", "notes"}} {
		switch n := counted[c.severity]; n {
		case 0:
		case 1:
			counts = append(counts, "1 "+c.one)
		default:
			counts = append(counts, fmt.Sprintf("%d %s", n, c.many))
		}
	}
	fmt.Fprintln(out, strings.Join(counts, ", "))
}

// withoutRemedy cuts off what an error's text says in its last parentheses when the remedy, on a line of its own, begins so too.
func withoutRemedy(message, remedy string) string {
	for i := range message {
		inner, found := strings.CutPrefix(message[i:], " (")
		if !found || !strings.HasSuffix(inner, ")") {
			continue
		}
		if strings.HasPrefix(remedy, strings.TrimSuffix(inner, ")")) {
			return message[:i]
		}
	}
	return message
}

// printWrapped breaks the text at spaces; a word that is too long stays whole.
func printWrapped(out io.Writer, first, rest, text string) {
	line, width := first, utf8.RuneCountInString(first)
	empty := true
	for _, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		if !empty && width+1+n > problemWidth {
			fmt.Fprintln(out, line)
			line, width, empty = rest, utf8.RuneCountInString(rest), true
		}
		if !empty {
			line, width = line+" ", width+1
		}
		line, width, empty = line+word, width+n, false
	}
	fmt.Fprintln(out, line)
}

func printReportText(out io.Writer, r contract.Report) {
	fmt.Fprintf(out, "\nMigration %s: %s in %s\n", r.Name, r.Outcome, r.Ended.Sub(r.Started).Round(time.Millisecond))
	fmt.Fprintln(out, "\nPhases")
	for _, p := range r.Phases {
		fmt.Fprintf(out, "  %-20s %10.1f s\n", p.Phase, float64(p.MS)/1000)
	}
	if r.Copy.Tables > 0 {
		fmt.Fprintf(out, "\nCopied %d rows, %s, of %d tables in %.1f s\n", r.Copy.Rows, size(r.Copy.Bytes), r.Copy.Tables, r.CopySeconds)
	}
	if len(r.Cutover.Steps) > 0 {
		fmt.Fprintf(out, "\nDowntime %d ms\n", r.Cutover.DowntimeMS)
		for _, s := range r.Cutover.Steps {
			fmt.Fprintf(out, "  %-20s %10d ms\n", s.Step, s.MS)
		}
	}
	if v := r.Verification; v.Tables > 0 {
		verdict := "equal"
		if !v.Equal {
			verdict = "NOT equal"
		}
		fmt.Fprintf(out, "\nCompared by %s: %d tables, %d rows: %s\n", v.Method, v.Tables, v.Rows, verdict)
		for _, d := range v.Differences {
			fmt.Fprintf(out, "  %s: %s\n", d.Table, d.Message)
		}
	} else if r.Outcome == contract.PhaseCompleted {
		fmt.Fprintln(out, "\nNothing was compared (cutover.verify: none)")
	}
	if r.Schema != nil {
		fmt.Fprintln(out)
		printComparison(out, *r.Schema)
	}
	printIdentities(out, r.Identities)
	printList(out, "Hypertables", r.Hypertables)
	printRolesWithoutPassword(out, r.Name, r.RolesWithoutPassword)
	printList(out, "Left as it is, on purpose", r.Left)
	if len(r.Problems) > 0 {
		fmt.Fprintln(out, "\nFindings")
		printProblems(out, r.Problems)
	}
}

func printIdentities(out io.Writer, choices []contract.IdentityChoice) {
	if len(choices) == 0 {
		return
	}
	fmt.Fprintln(out, "\nReplica identities")
	for _, c := range choices {
		changed := ""
		if c.Changed {
			changed = "  (changed for the migration)"
		}
		fmt.Fprintf(out, "  %-32s %-28s %s%s\n", c.Table, c.Identity, c.Reason, changed)
	}
}

func printList(out io.Writer, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s\n", title)
	for _, i := range items {
		fmt.Fprintf(out, "  %s\n", i)
	}
}
