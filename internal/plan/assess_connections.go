package plan

import (
	"fmt"
	"strconv"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
)

// Codes of the findings about what the copy takes from both servers while it runs.
const (
	CodeConnections  = "connections"
	CodeBackOffBlind = "back-off-blind"
)

// What the migration keeps open while it copies, beside the streams. The snapshot's holder and the receiver are WAL senders
// on the source: since PostgreSQL 12 those have slots of their own.
const (
	sourceOthers = 7 // a second holder of the snapshot, the slot's watch, lag, new tables, the receiver's calls and two beside them, which are not all there at once
	targetOthers = 5 // the epoch's holder, the builder's bookkeeping, the applier, lag, one to spare
)

// budget compares what one server has with what the migration opens there.
type budget struct {
	object   string
	settings map[string]string
	limit    int
	used     int
	// perStream is how many connections one stream has, needed what all take at most.
	perStream, needed int
	makeUp            string // what needed is made of
	remedy            string
}

// budgets counts what the copy needs while it runs: a stream has one session on the source and one that looks after the
// back-off; on the target one for the rows, one for the bookkeeping, and where there are hypertables, or may be once a person
// has made some at the gate, one that makes chunks ahead.
func (f facts) budgets() []budget {
	streams, jobs := f.spec.Copy.Concurrency, f.spec.Copy.IndexJobs
	others := targetOthers + max(f.spec.Replication.Lanes, 1) - 1
	onSource, onTarget := 1, 2
	if f.spec.Copy.BackOff != nil {
		onSource++
	}
	if len(f.spec.Hypertables) > 0 || f.spec.HypertableGate {
		onTarget++
	}
	limit := f.src.MaxConnections
	if coming, err := strconv.Atoi(f.spec.Prepare.Parameters["max_connections"]); err == nil && f.mayReboot() {
		limit = coming
	}
	return []budget{
		{objectSource, f.src.Settings, limit, f.src.Connections, onSource, onSource*streams + sourceOthers,
			fmt.Sprintf("%d for each of %d streams, and %d", onSource, streams, sourceOthers), "lower copy.concurrency, or raise max_connections"},
		{objectTarget, f.dst.Settings, f.dst.MaxConnections, f.dst.Connections, onTarget, onTarget*streams + jobs + others,
			fmt.Sprintf("%d for each of %d streams, %d for index builds, and %d", onTarget, streams, jobs, others), "lower copy.concurrency or copy.indexJobs, or raise max_connections"},
	}
}

func assessConnections(f facts) []contract.Problem {
	var found []contract.Problem
	for _, b := range f.budgets() {
		found = append(found, b.assess()...)
	}
	return found
}

// MostStreams is how many streams of the copy both servers have connections for if nobody else uses any, at least 1; 0 when
// neither says how many connections it has.
func MostStreams(spec contract.Spec, src SourceFacts, dst TargetFacts) int {
	most := 0
	for _, b := range (facts{spec, src, dst}).budgets() {
		if b.limit == 0 {
			continue
		}
		room := b.limit - b.reserved() - (b.needed - b.perStream*spec.Copy.Concurrency)
		n := max(room/b.perStream, 1)
		if most == 0 || n < most {
			most = n
		}
	}
	return most
}

// ConnectionsOfTarget is what set-concurrency may share out between streams and index builds, if nobody else uses any
// connection; zero when the target does not say how many it has.
func ConnectionsOfTarget(spec contract.Spec, src SourceFacts, dst TargetFacts) contract.Connections {
	for _, b := range (facts{spec, src, dst}).budgets() {
		if b.object == objectTarget && b.limit > 0 {
			others := b.needed - b.perStream*spec.Copy.Concurrency - spec.Copy.IndexJobs
			return contract.Connections{Room: max(b.limit-b.reserved()-others, 1), PerStream: b.perStream}
		}
	}
	return contract.Connections{}
}

// reserved counts the connections that ordinary users do not get.
func (b budget) reserved() int {
	n := 0
	for _, name := range []string{"superuser_reserved_connections", "reserved_connections"} {
		if v, err := strconv.Atoi(b.settings[name]); err == nil {
			n += v
		}
	}
	return n
}

func (b budget) assess() []contract.Problem {
	reserved := b.reserved()
	room := b.limit - reserved
	message := fmt.Sprintf("%d of %d connections are in use, %d are reserved, and the migration opens up to %d (%s)", b.used, b.limit, reserved, b.needed, b.makeUp)
	switch {
	case b.limit == 0: // not known
		return nil
	case b.needed > room:
		return []contract.Problem{fatal(CodeConnections, b.object, message+": more than there are without any other user", b.remedy)}
	case b.needed > room-b.used:
		return []contract.Problem{warning(CodeConnections, b.object, message, b.remedy)}
	}
	return nil
}

// assessBackOff says which limits of copy.backOff cannot work, since the source does not show what they are about.
func assessBackOff(f facts) []contract.Problem {
	limits := f.spec.Copy.BackOff
	if limits == nil || !f.src.StatsHidden {
		return nil
	}
	var blind []string
	if limits.MaxReplicaLag() > 0 {
		blind = append(blind, "copy.backOff.replicaLag")
	}
	if limits.ActiveSessions > 0 {
		blind = append(blind, "copy.backOff.activeSessions")
	}
	if len(blind) == 0 {
		return nil
	}
	return []contract.Problem{warning(CodeBackOffBlind, objectSource,
		f.src.User+" does not see the sessions and standbys of others: "+strings.Join(blind, " and ")+" will never hold the copy back",
		"run: GRANT pg_read_all_stats TO "+ident.Quote(f.src.User))}
}
