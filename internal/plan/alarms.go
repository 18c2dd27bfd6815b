package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"timeferry/internal/contract"
)

// SlotPressure is what is known of a slot and its source.
type SlotPressure struct {
	Slot   string
	Exists bool
	// WALStatus, SafeWALBytes and RetainedBytes are explained at contract.SlotStatus.
	WALStatus     string
	Invalidation  string // why the server gave the slot up, or empty
	SafeWALBytes  int64
	RetainedBytes int64
	KeepBytes     int64 // max_slot_wal_keep_size; -1: no limit
	Longest       *contract.OpenTransaction
	// Waits is true when nobody is to read the slot yet: buffer: source, before the applier runs.
	Waits bool
}

const (
	// dangerousShare is how much of max_slot_wal_keep_size must be left before somebody is told, and calmShare how much before
	// the alarm ends.
	dangerousShare = 0.20
	calmShare      = 0.30
	// longTransaction is how long a transaction may be open: it keeps the slot's WAL, and what is dead in every table.
	longTransaction = time.Hour
)

// SlotAlarms says what speaks against the slot's living on. known are the codes of the alarms that are raised already: those end
// later than they begin.
func SlotAlarms(p SlotPressure, known []string) []contract.Problem {
	if lost := p.lost(); lost != "" {
		return []contract.Problem{{Severity: contract.Fatal, Code: contract.CodeSlotLost, Object: p.Slot, Message: lost,
			Remedy: "resync makes a fresh slot and copy, and keeps the schema; or abort. Give the source more room for WAL first (storage, max_slot_wal_keep_size)"}}
	}
	found := []contract.Problem{}
	if words := p.danger(slices.Contains(known, contract.CodeSlotEndangered)); words != "" {
		found = append(found, warning(contract.CodeSlotEndangered, p.Slot, words,
			"see that the worker runs and its disk has room, raise max_slot_wal_keep_size (a reload does), and end long transactions on the source"))
	}
	if t := p.Longest; t != nil && t.Seconds >= longTransaction.Seconds() {
		found = append(found, warning(contract.CodeLongTransaction, p.Slot, transactionWords(*t)+": until it ends the source keeps all WAL since, and cleans up nothing", endWords(*t)))
	}
	return found
}

func (p SlotPressure) lost() string {
	switch {
	case !p.Exists:
		return "the slot does not exist any more: changes are lost for good"
	case p.Invalidation != "":
		return "the source has given the slot up (" + p.Invalidation + "): changes are lost for good"
	case p.WALStatus == "lost":
		return "the source has removed WAL that the slot needs: changes are lost for good"
	}
	return ""
}

func (p SlotPressure) danger(raised bool) string {
	kept := gib(p.RetainedBytes) + " of WAL are kept for the slot"
	limit := dangerousShare
	if raised {
		limit = calmShare
	}
	switch {
	case p.WALStatus == "unreserved":
		return kept + ", more than the source is willing to: it may remove them at the next checkpoint"
	case p.KeepBytes > 0 && p.SafeWALBytes >= 0 && float64(p.SafeWALBytes) < limit*float64(p.KeepBytes):
		return fmt.Sprintf("%s, and after %s more the source gives it up (max_slot_wal_keep_size is %s)", kept, gib(p.SafeWALBytes), gib(p.KeepBytes))
	case p.WALStatus == "extended" && !p.Waits:
		return kept + ", more than max_wal_size: the stream does not keep up, or does not run, and the source's disk fills"
	}
	return ""
}

func gib(bytes int64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}

func transactionWords(t contract.OpenTransaction) string {
	who := fmt.Sprintf("pid %d of user %s", t.PID, t.User)
	if t.PID == 0 {
		who = fmt.Sprintf("prepared transaction %q of user %s", t.Application, t.User)
	} else if t.Application != "" {
		who += " (" + t.Application + ")"
	}
	return fmt.Sprintf("%s has had a transaction open for %s", who, strings.TrimSuffix(time.Duration(t.Seconds*float64(time.Second)).Round(time.Minute).String(), "0s"))
}

func endWords(t contract.OpenTransaction) string {
	if t.PID == 0 {
		return "commit it or roll it back"
	}
	return fmt.Sprintf("let it end, or: SELECT pg_terminate_backend(%d)", t.PID)
}

// SameAlarms tells whether the problems are of just these codes.
func SameAlarms(problems []contract.Problem, codes []string) bool {
	return slices.EqualFunc(problems, codes, func(p contract.Problem, code string) bool { return p.Code == code })
}
