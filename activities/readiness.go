package activities

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/cutover"
	"timeferry/internal/fault"
	"timeferry/internal/target/ledger"
)

// CheckReadiness looks whether a cutover would work now, as far as the databases and the switch know.
//
//	Does: reads both sides, and what cutover.switch needs.
//	Safe to repeat because: it changes nothing.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) CheckReadiness(ctx context.Context, input contract.ReadinessInput) (out contract.Readiness, err error) {
	spec := input.Spec
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "readiness", func(source, target *pgx.Conn) error {
			out = contract.Readiness{Ready: true}
			if err := ledger.UpgradeCounters(ctx, target); err != nil {
				return err
			}
			lag, err := (&lagMeter{}).measure(ctx, source, target, spec)
			if err != nil {
				return err
			}
			survey, err := cutover.Look(ctx, source, spec.Source.Database, spec.Tables.Includes)
			if err != nil {
				return err
			}
			addLag(&out, lag, spec)
			addFence(&out, survey, spec)
			addSequences(&out, survey.Sequences, spec)
			if err := addNewTables(ctx, &out, spec, source, target); err != nil {
				return err
			}
			if spec.Cutover.Reverse {
				if err := addWayBack(ctx, &out, target); err != nil {
					return err
				}
			}
			if spec.Cutover.Switch != nil {
				addSwitch(&out, a.redirector(spec, 0).Check(ctx), spec)
			}
			estimate(&out, lag, survey)
			return nil
		})
	})
	return out, err
}

func addLag(r *contract.Readiness, lag contract.ReplicationStatus, spec contract.Spec) {
	c := contract.ReadinessCheck{Name: "lag", State: contract.CheckOK, Message: fmt.Sprintf("the target is %d bytes and %.1f s behind", lag.LagBytes, lag.LagSeconds)}
	if lag.LagBytes > spec.Cutover.MaxLagBytes() {
		c.State, c.Remedy = contract.CheckBlocking, "wait until it is at most cutover.maxLag, "+spec.Cutover.MaxLag
	}
	r.Add(c)
}

// mostItems bounds each list of an answer; the message has the count.
const mostItems = 20

func texts[T fmt.Stringer](all []T) []string {
	var out []string
	for _, t := range all[:min(len(all), mostItems)] {
		out = append(out, t.String())
	}
	return out
}

func addFence(r *contract.Readiness, s cutover.Survey, spec contract.Spec) {
	if spec.Cutover.Fence == "none" {
		r.Add(contract.ReadinessCheck{Name: "fence", State: contract.CheckWarning, Message: "cutover.fence is none: nothing keeps the application from writing to the source", Remedy: "stop the writers before the cutover"})
		return
	}
	for _, err := range s.Refusals {
		r.Add(contract.ReadinessCheck{Name: "fence", State: contract.CheckBlocking, Message: err.Error(), Remedy: fault.HintOf(err)})
	}
	ended := contract.ReadinessCheck{Name: "sessions", State: contract.CheckOK, Message: fmt.Sprintf("the fence would end %d sessions", len(s.Sessions))}
	for _, g := range groupSessions(s.Sessions) {
		if len(ended.Items) < mostItems {
			ended.Items = append(ended.Items, g.String())
		}
	}
	r.Add(ended)
	if len(s.Stuck) > 0 {
		r.Add(contract.ReadinessCheck{Name: "sessions", State: contract.CheckBlocking, Message: fmt.Sprintf("%d sessions could not be ended", len(s.Stuck)),
			Items: texts(s.Stuck), Remedy: "GRANT pg_signal_backend to the source's user"})
	}
	if len(s.Spared) > 0 {
		r.Add(contract.ReadinessCheck{Name: "sessions", State: contract.CheckWarning, Message: fmt.Sprintf("%d sessions could be ended by a superuser only, and are not held by the fence", len(s.Spared)),
			Items: texts(s.Spared), Remedy: "make sure that they do not write"})
	}
	long := contract.ReadinessCheck{Name: "transactions", State: contract.CheckOK, Message: "no transaction of others is open for longer than " + cutover.LongTransaction.String()}
	if len(s.Long) > 0 {
		long = contract.ReadinessCheck{Name: "transactions", State: contract.CheckWarning, Message: fmt.Sprintf("%d transactions are open for longer than %s: the fence would end them, and what they did is lost", len(s.Long), cutover.LongTransaction),
			Items: texts(s.Long), Remedy: "let them end first"}
	}
	r.Add(long)
}

// nearEnd is how much of a sequence may be used up before it is named.
const nearEnd = 0.9

func addSequences(r *contract.Readiness, all []cutover.Sequence, spec contract.Spec) {
	c := contract.ReadinessCheck{Name: "sequences", State: contract.CheckOK, Message: fmt.Sprintf("%d sequences will be set", len(all))}
	if spec.Cutover.SequenceMargin > 0 {
		c.Message += fmt.Sprintf(", %d steps ahead", spec.Cutover.SequenceMargin)
	}
	near := 0
	for _, s := range all {
		if used := s.Used(); used > nearEnd {
			if near++; near <= mostItems {
				c.Items = append(c.Items, fmt.Sprintf("%s: %.1f %% used", s.Table, used*100))
			}
		}
	}
	if near > 0 {
		c.State, c.Remedy = contract.CheckWarning, "widen them before they are used up"
		c.Message += fmt.Sprintf("; %d are near their end", near)
	}
	r.Add(c)
}

// addNewTables names what a cutover would carry over first. Tables that cannot be are among the problems.
func addNewTables(ctx context.Context, r *contract.Readiness, spec contract.Spec, source, target *pgx.Conn) error {
	if spec.Replication.DDL != contract.DDLFollow {
		return nil
	}
	n, err := judgeNewTables(ctx, spec, source, target)
	if err != nil {
		return err
	}
	c := contract.ReadinessCheck{Name: "new tables", State: contract.CheckOK, Message: "none waits to be carried over"}
	if len(n.fit) > 0 {
		c.State, c.Message = contract.CheckWarning, fmt.Sprintf("%d were created on the source: a cutover carries them over first", len(n.fit))
		for _, t := range n.fit[:min(len(n.fit), mostItems)] {
			c.Items = append(c.Items, t.Table.String())
		}
	}
	r.Add(c)
	return nil
}

func addWayBack(ctx context.Context, r *contract.Readiness, target *pgx.Conn) error {
	var level string
	var most, used int
	err := target.QueryRow(ctx, "SELECT current_setting('wal_level'), current_setting('max_replication_slots')::int, (SELECT count(*) FROM pg_replication_slots)::int").Scan(&level, &most, &used)
	if err != nil {
		return fmt.Errorf("read the target's slots: %w", err)
	}
	c := contract.ReadinessCheck{Name: "way back", State: contract.CheckOK, Message: fmt.Sprintf("%d of %d slots on the target are in use", used, most)}
	switch {
	case level != "logical":
		c.State, c.Message, c.Remedy = contract.CheckBlocking, "wal_level on the target is "+level, "set it to logical, or leave cutover.reverse out"
	case used >= most:
		c.State, c.Remedy = contract.CheckBlocking, "raise max_replication_slots on the target, or drop a slot that nobody needs"
	}
	r.Add(c)
	return nil
}

func addSwitch(r *contract.Readiness, err error, spec contract.Spec) {
	c := contract.ReadinessCheck{Name: "switch", State: contract.CheckOK, Message: "by " + spec.Cutover.Switch.Kind()}
	if err != nil {
		c.State, c.Message, c.Remedy = contract.CheckBlocking, err.Error(), fault.HintOf(err)
	}
	r.Add(c)
}

const (
	// stepsEstimate is what fence, marker, the rest of the stream, triggers and seal take on a machine near both databases
	// (docs/benchmarks/cutover.md), and sequenceEstimate what each sequence adds.
	stepsEstimate    = 300 * time.Millisecond
	sequenceEstimate = 200 * time.Microsecond
	// smallLag is applied within a second.
	smallLag = 1 << 20
)

// estimate leaves out the comparison, which the workflow knows more of.
func estimate(r *contract.Readiness, lag contract.ReplicationStatus, s cutover.Survey) {
	drain := time.Duration(lag.LagSeconds * float64(time.Second))
	if lag.LagBytes < smallLag { // behind by the clock only because nobody commits
		drain = min(drain, time.Second)
	}
	all := stepsEstimate + drain + time.Duration(len(s.Sequences))*sequenceEstimate
	r.EstimatedMS = all.Milliseconds()
	r.Estimate = fmt.Sprintf("%s for the steps, %s of it to catch up", all.Round(time.Millisecond), drain.Round(time.Millisecond))
}
