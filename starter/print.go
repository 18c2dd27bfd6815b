package main

import (
	"cmp"
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
		parts = append(parts, totalLine(s.Copy))
		if s.Copy.Indexes > 0 {
			parts = append(parts, fmt.Sprintf("%d/%d indexes and keys", s.Copy.IndexesDone, s.Copy.Indexes))
		}
		if s.Copy.Waiting != "" {
			parts = append(parts, "waits: "+s.Copy.Waiting)
		}
	case contract.PhaseIndexing:
		if s.Copy.Indexes > 0 {
			parts = append(parts, fmt.Sprintf("%d/%d indexes and keys", s.Copy.IndexesDone, s.Copy.Indexes))
		}
	case contract.PhaseCatchingUp, contract.PhaseInSync:
		parts = append(parts, streamWords(s.Replication))
	case contract.PhaseCutOver, contract.PhaseRollingBack:
		if s.Back != nil && s.Back.Since != 0 {
			parts = append(parts, "way back: the source is "+streamWords(s.Back.Replication))
		}
	}
	parts = append(parts, s.Message)
	return joined(parts)
}

func bar(done, total int64) string {
	if total <= 0 {
		return ""
	}
	return fmt.Sprintf("%s %d%% of %s", blocks(done, total), min(done, total)*100/total, size(total))
}

// blocks is the bar itself.
func blocks(done, total int64) string {
	const width = 20
	filled := int(max(min(done, total), 0) * width / max(total, 1))
	return fmt.Sprintf("[%s%s]", strings.Repeat("█", filled), strings.Repeat("░", width-filled))
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
	printCopy(out, s)
	if s.Source.Instance != "" {
		fmt.Fprintf(out, "source: %s at %s:%d, PostgreSQL %s, parameter group %s\n", s.Source.Instance, s.Source.Host, s.Source.Port, s.Source.Version, s.Source.ParameterGroup)
	}
	if s.Source.IngressRule != "" {
		fmt.Fprintf(out, "security group: open for the worker by rule %s\n", s.Source.IngressRule)
	}
	if r := s.Replication; r.ReceivedLSN != 0 {
		fmt.Fprintf(out, "stream: received to %s, applied to %s, %s behind, %s in the spool\n", r.ReceivedLSN, r.AppliedLSN, size(r.LagBytes), size(r.SpooledBytes))
	}
	printSchemaChanges(out, s.SchemaChanges)
	printStream(out, s.Replication)
	printVerify(out, s)
	printSwitch(out, s.Cutover)
	printBack(out, s.Back)
	if s.Rollback != nil {
		printDowntime(out, "Rollback", *s.Rollback)
		printSwitch(out, *s.Rollback)
	}
	printProblems(out, s.Problems)
}

// printBack shows the stream from the target to the source.
func printBack(out io.Writer, b *contract.BackStatus) {
	if b == nil {
		return
	}
	if b.Since == 0 {
		fmt.Fprintf(out, "way back: slot %s on the target is ready for it\n", b.Slot)
		return
	}
	fmt.Fprintf(out, "way back: slot %s on the target, what was committed there after %s\n", b.Slot, b.Since)
	printStream(out, b.Replication)
}

// printDowntime shows how long the application could not write, and with what; nothing for a switch that has not been tried.
func printDowntime(out io.Writer, title string, c contract.CutoverStatus) {
	if len(c.Steps) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s %d ms\n", title, c.DowntimeMS)
	for _, s := range c.Steps {
		fmt.Fprintf(out, "  %-20s %10d ms\n", s.Step, s.MS)
	}
}

// printCopy shows the parts under way and the largest tables, while there is something to copy.
func printCopy(out io.Writer, s contract.Status) {
	if s.Phase != contract.PhaseCopying && s.Phase != contract.PhaseIndexing {
		return
	}
	for _, line := range block(contract.Status{Phase: s.Phase, Copy: s.Copy})[1:] { // the first is the status line's
		fmt.Fprintln(out, line)
	}
	if len(s.Copy.Largest) == 0 {
		return
	}
	fmt.Fprintln(out, "largest tables:")
	for _, t := range s.Copy.Largest {
		words := []string{cmp.Or(bar(t.BytesDone, t.Bytes), "empty"), fmt.Sprintf("%d/%d parts, %d rows", t.PartsDone, t.Parts, t.Rows)}
		fmt.Fprintf(out, "  %-40s %s\n", t.Table, joined(append(words, speedWords(t.Rate, t.ETASeconds, "ready in ")...)))
	}
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
	if r.Replication.Transactions > 0 {
		fmt.Fprintf(out, "\nApplied %d transactions with %d changes\n", r.Replication.Transactions, r.Replication.Changes)
	}
	printDowntime(out, "Downtime", r.Cutover)
	printSwitch(out, r.Cutover)
	if b := r.Back; b != nil && b.Replication.Transactions > 0 {
		fmt.Fprintf(out, "\nApplied %d transactions with %d changes on the source after the switch\n", b.Replication.Transactions, b.Replication.Changes)
	}
	if r.Rollback != nil {
		printDowntime(out, "Downtime of the rollback", *r.Rollback)
		printSwitch(out, *r.Rollback)
	}
	if v := r.Verification; v.Tables > 0 {
		fmt.Fprintln(out, "\nCompared at the cutover, behind the fence")
		printVerification(out, v)
	} else if r.Outcome == contract.PhaseCompleted {
		fmt.Fprintln(out, "\nNothing was compared (cutover.verify: none)")
	}
	if len(r.Verifications) > 0 {
		fmt.Fprintln(out, "\nCompared at barriers before, while both sides went on")
		for _, v := range r.Verifications {
			fmt.Fprintf(out, "  %s: %s\n", v.Run, verificationWords(v))
		}
	}
	if r.Schema != nil {
		fmt.Fprintln(out)
		printComparison(out, *r.Schema)
	}
	printIdentities(out, r.Identities)
	printList(out, "Hypertables", r.Hypertables)
	printSchemaChanges(out, r.SchemaChanges)
	printRolesWithoutPassword(out, r.Name, r.RolesWithoutPassword)
	printList(out, "Left as it is, on purpose", r.Left)
	if l := r.Leftovers; l != nil && len(l.Found) == 0 {
		fmt.Fprintf(out, "\nNothing else of the migration is left: %s\n", strings.Join(l.Sought, "; "))
	}
	if len(r.Problems) > 0 {
		fmt.Fprintln(out, "\nFindings")
		printProblems(out, r.Problems)
	}
}

// printSwitch names whom the fence ended, and where the application went.
func printSwitch(out io.Writer, c contract.CutoverStatus) {
	var ended []string
	for _, g := range c.Ended {
		ended = append(ended, g.String())
	}
	printList(out, "Sessions that the fence ended", ended)
	printList(out, "Sessions that only a superuser could end", c.Spared)
	if c.Switch != "" {
		fmt.Fprintf(out, "\nSwitch: %s\n", c.Switch)
	}
	if c.SwitchPrevious != "" {
		fmt.Fprintf(out, "  before: %s\n", c.SwitchPrevious)
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
