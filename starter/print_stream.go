package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"timeferry/internal/contract"
)

// streamWords is the stream in one line.
func streamWords(r contract.ReplicationStatus) string {
	return joined(append([]string{fmt.Sprintf("%s behind (%.1f s), applied to %s", size(r.LagBytes), r.LagSeconds, r.AppliedLSN)}, paceWords(r)...))
}

// paceWords say how fast the stream goes, and when it will have caught up.
func paceWords(r contract.ReplicationStatus) []string {
	var words []string
	if r.ChangesPerSecond > 0 {
		words = append(words, fmt.Sprintf("%s changes/s in %s transactions/s", number(r.ChangesPerSecond), number(r.TransactionsPerSecond)))
	}
	switch {
	case r.CatchUpSeconds > 0:
		words = append(words, "level in "+(time.Duration(r.CatchUpSeconds)*time.Second).String())
	case r.CatchUpSeconds < 0:
		words = append(words, "falling behind")
	}
	return words
}

func number(n float64) string {
	if n >= 10 {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.1f", n)
}

// slotWords say what the source keeps, where that is more than usual or limited; "" when there is nothing to say.
func slotWords(s *contract.SlotStatus) string {
	if s == nil {
		return ""
	}
	words := []string{size(s.RetainedBytes) + " of WAL kept"}
	if s.WALStatus != "" {
		words = append(words, s.WALStatus)
	}
	if s.SafeWALBytes >= 0 {
		words = append(words, size(s.SafeWALBytes)+" more are safe")
	}
	if t := s.Longest; t != nil {
		who := fmt.Sprintf("pid %d", t.PID)
		if t.PID == 0 {
			who = "prepared " + t.Application
		}
		words = append(words, fmt.Sprintf("longest transaction: %s, %s %s %s", who, t.User, t.State, (time.Duration(t.Seconds)*time.Second).String()))
	}
	return "slot: " + strings.Join(words, ", ")
}

// printStream shows the positions, the spool, the slot, and the tables with the most changes.
func printStream(out io.Writer, r contract.ReplicationStatus) {
	if r.ReceivedLSN != 0 || r.AppliedLSN != 0 {
		fmt.Fprintf(out, "stream: received to %s, safe to %s, applied to %s, %s behind (%.1f s)\n", r.ReceivedLSN, max(r.SpooledLSN, r.AppliedLSN), r.AppliedLSN, size(r.LagBytes), r.LagSeconds)
		if words := paceWords(r); len(words) > 0 {
			fmt.Fprintf(out, "  %s\n", joined(words))
		}
	}
	if r.SpoolSegments > 0 {
		fmt.Fprintf(out, "spool: %s in %d segments, the oldest begun %s ago after %s\n", size(r.SpooledBytes), r.SpoolSegments,
			(time.Duration(r.SpoolOldestSeconds) * time.Second).String(), r.SpoolFirstLSN)
	}
	if words := slotWords(r.Slot); words != "" {
		fmt.Fprintln(out, words)
	}
	if len(r.Busiest) == 0 {
		return
	}
	fmt.Fprintln(out, "tables with the most changes applied:")
	for _, t := range r.Busiest {
		fmt.Fprintf(out, "  %-40s %s changes/s in %s transactions/s, %d in %d since the applier started\n", t.Table,
			number(t.ChangesPerSecond), number(t.TransactionsPerSecond), t.Changes, t.Transactions)
	}
}
