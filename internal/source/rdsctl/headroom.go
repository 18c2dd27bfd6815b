package rdsctl

import (
	"maps"
	"strconv"
)

// Usage is what others use of the server's limited things while the migration is planned; our own are not counted.
type Usage struct {
	Slots   int // rows of pg_replication_slots
	Senders int // rows of pg_stat_replication, standbys included
	Workers int // background workers: those of extensions, parallel queries, the logical replication launcher
	// Allowed gives RDS's AllowedValues by parameter, from GroupValues; a parameter that is missing has no bounds.
	Allowed map[string]string
}

// What a migration takes: the slot of the change stream and the probe's; a sender for each, and as many again for the time
// in which a lost connection still counts; two workers, as one parallel scan of the verification uses by default.
const (
	ourSlots   = 2
	ourSenders = 4
	ourWorkers = 2
	// spare is what is added beyond the need once a value has to be raised, so that others can still grow.
	spare = 4
)

// Headroom gives the parameters to raise, with their new values, because what is in use and what the migration needs do
// not fit into what the group allows. A value that is no plain number (a formula such as {DBInstanceVCPU*2}, or unset) is
// left alone, a value is never lowered, and none leaves the allowed range. Pure.
//
// A physical standby must not have lower values than its primary: it stops replaying. Raise them there as well.
func Headroom(current map[string]string, usage Usage) map[string]string {
	out := map[string]string{}
	for name, need := range map[string]int{
		"max_replication_slots": usage.Slots + ourSlots,
		"max_wal_senders":       usage.Senders + ourSenders,
		"max_worker_processes":  usage.Workers + ourWorkers,
	} {
		have, err := strconv.Atoi(current[name])
		if err != nil || have >= need {
			continue
		}
		if raised := atMost(usage.Allowed[name], need+spare); raised > have {
			out[name] = strconv.Itoa(raised)
		}
	}
	return out
}

// atMost bounds value by the upper end of a range such as 5-100; anything else does not bound it.
func atMost(allowed string, value int) int {
	m := allowedRange.FindStringSubmatch(allowed)
	if m == nil {
		return value
	}
	if high, err := strconv.Atoi(m[2]); err == nil {
		return min(value, high)
	}
	return value
}

// WithHeadroom puts Headroom's values under the wanted ones: what the spec or Required says is never changed.
func WithHeadroom(wanted, headroom map[string]string) map[string]string {
	out := maps.Clone(headroom)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, wanted)
	return out
}
