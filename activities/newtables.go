package activities

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
	"timeferry/internal/source/extract"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
)

// newTables are the tables in scope that are not planned.
type newTables struct {
	facts    plan.SourceFacts // with these tables only
	fit      []shape.Table
	problems []contract.Problem // of the others
}

// judgeNewTables looks for new tables, and which of them can be carried over.
func judgeNewTables(ctx context.Context, spec contract.Spec, source, target *pgx.Conn) (n newTables, err error) {
	planned, err := ledger.PlannedTables(ctx, target)
	if err != nil {
		return n, err
	}
	names, err := prepare.NewTables(ctx, source, spec.Tables, planned)
	if err != nil || len(names) == 0 {
		return n, err
	}
	if names, err = withoutRenamed(ctx, source, target, names); err != nil || len(names) == 0 {
		return n, err
	}
	if n.facts, err = prepare.ReadFacts(ctx, source, spec.Tables); err != nil {
		return n, err
	}
	n.facts.Tables = slices.DeleteFunc(n.facts.Tables, func(t shape.Table) bool { return !slices.Contains(names, t.Table) })
	taken, err := provision.Taken(ctx, target, plan.TargetNames(spec, n.facts.Tables))
	if err != nil {
		return n, err
	}
	insertOnly, err := prepare.PublishesInserts(ctx, source, contract.PublicationName(spec.Name))
	if err != nil {
		return n, err
	}
	n.fit, n.problems = plan.NewTables(spec, n.facts, taken, insertOnly)
	return n, nil
}

// withoutRenamed leaves out the new names of tables that are planned under their old ones.
func withoutRenamed(ctx context.Context, source, target *pgx.Conn, names []ident.Table) ([]ident.Table, error) {
	known, err := ledger.Shapes(ctx, target)
	if err != nil {
		return nil, err
	}
	var oids []uint32
	for _, d := range known {
		oids = append(oids, d.OID)
	}
	now, err := prepare.NamesOf(ctx, source, oids)
	if err != nil {
		return nil, err
	}
	for _, name := range now {
		names = slices.DeleteFunc(names, func(t ident.Table) bool { return t == name })
	}
	return names, nil
}

// JoinTables takes the source's new tables into the migration: into the plan, and into the publication. From here on their changes
// come with the stream; the snapshot that is taken next has all that came before. Nothing may be applied until SettleTables.
//
//	Does: drops what an earlier attempt has left unfinished, plans the tables, sets their replica identities, publishes them.
//	Safe to repeat because: each attempt begins with the removal of what the one before has made.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget, CleanSource.
func (a *Activities) JoinTables(ctx context.Context, spec contract.Spec) (out contract.JoinResult, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "new tables", func(source, target *pgx.Conn) error {
			if err := dropJoining(ctx, target); err != nil {
				return err
			}
			n, err := judgeNewTables(ctx, spec, source, target)
			if err != nil {
				return err
			}
			if out.Tables = len(n.fit); out.Tables > 0 {
				if err := joinTables(ctx, spec, source, target, n); err != nil {
					return err
				}
			}
			out.Copy, err = copyStatus(ctx, target)
			return err
		})
	})
	return out, err
}

// dropJoining removes what was made for new tables that have not joined to the end.
func dropJoining(ctx context.Context, target *pgx.Conn) error {
	if err := ledger.UpgradeJoining(ctx, target); err != nil {
		return err
	}
	left, err := provision.DropJoining(ctx, target)
	if err != nil || len(left) == 0 {
		return err
	}
	return fault.New(fault.Operator, "begin again with new tables on", "the target", "drop on the target what needs it, then resume",
		"what was made for them cannot be dropped: %s", strings.Join(left, "; ")).WithCode("new-table-left")
}

func joinTables(ctx context.Context, spec contract.Spec, source, target *pgx.Conn, n newTables) error {
	n.facts.Tables = n.fit
	if err := prepare.ReadSplits(ctx, source, n.facts.Tables, partBytes(spec, n.facts.Tables)); err != nil {
		return err
	}
	if err := ledger.PlanJoining(ctx, target, copyPlan(spec, n.facts)); err != nil {
		return err
	}
	ids := plan.IdentitiesOf(n.facts.Tables, spec.ReplicaIdentity.Fallback, nil)
	if err := fixIdentities(ctx, source, target, ids); err != nil {
		return err
	}
	return prepare.JoinPublication(ctx, source, contract.PublicationName(spec.Name), plan.PublicationPlan(n.facts.Tables, ids, n.facts.Version))
}

// DumpJoining reads the definitions of the tables that join under the snapshot that they are copied with, and keeps them in the
// ledger, so that RestorePreData and RestorePostData make them.
//
//	Does: runs pg_dump once, stores its entries and the tables' shapes in one transaction.
//	Safe to repeat because: a dump that is in the ledger is not made again.
//	Heartbeats: nothing of its own.
//	Undone by: JoinTables, when it begins again; CleanTarget.
func (a *Activities) DumpJoining(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, spec, "new tables", func(target *pgx.Conn) error {
			j, err := ledger.ReadJoining(ctx, target)
			if err != nil || len(j.Tables) == 0 || j.Dumped != 0 {
				return err
			}
			shared, err := ledger.SharedSnapshot(ctx, target)
			if err != nil {
				return err
			}
			return a.dumpJoining(ctx, spec, target, j, shared)
		})
	})
}

func (a *Activities) dumpJoining(ctx context.Context, spec contract.Spec, target *pgx.Conn, j ledger.Joining, shared ledger.Shared) error {
	only := make([]ident.Table, len(j.Tables))
	for i, t := range j.Tables {
		only[i] = t.Table
	}
	shapes, err := a.shapesUnder(ctx, spec, shared.Names[0], only)
	if err != nil {
		return err
	}
	for _, t := range j.Tables {
		if !sameColumns(t, shapes[t.Table]) {
			return joinAgain(t.Table)
		}
	}
	source, err := a.source(ctx, spec)
	if err != nil {
		return err
	}
	superuser, _, err := pgkit.Setting(ctx, target, "is_superuser")
	if err != nil {
		return err
	}
	have, err := ledger.HasEntry(ctx, target)
	if err != nil {
		return err
	}
	entries, problems, err := extract.Dump(ctx, extract.DumpOptions{Source: source, Snapshot: shared.Names[0], Tables: spec.Tables, Hypertables: spec.Hypertables,
		Privileges: spec.Privileges == "migrate", TargetSuperuser: superuser == "on", Only: only, Have: have})
	if err != nil {
		return err
	}
	for _, p := range problems {
		if p.Severity == contract.Fatal {
			return fault.New(fault.Operator, "carry over", p.Object, p.Remedy, "%s", p.Message).WithCode(p.Code)
		}
	}
	return ledger.SaveJoining(ctx, target, shared.Epoch, entries, func(q pgkit.Querier) error { return ledger.SaveShapes(ctx, q, shapes) })
}

// sameColumns is false when a table's columns are not those that the plan says to copy.
func sameColumns(t ledger.Table, d *shape.Definition) bool {
	if d == nil {
		return false
	}
	var there []string
	for _, c := range d.Columns {
		if c.Generated == "" {
			there = append(there, c.Name)
		}
	}
	return slices.Equal(t.Columns, there)
}

func joinAgain(t ident.Table) error {
	return fault.New(fault.Operator, "carry over", t.String(), "resume", "it was changed or dropped while it was being carried over").WithCode(contract.CodeJoinAgain)
}

// SettleTables makes the tables that have joined ones like all others, once all their rows and indexes are there.
//
//	Does: notes them as carried over, and gives them their start in the stream, in one transaction.
//	Safe to repeat because: what has joined does not join any more.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget.
func (a *Activities) SettleTables(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, spec, "new tables", func(target *pgx.Conn) error {
			ok, err := ledger.SettleJoining(ctx, target)
			if err == nil && !ok {
				j, err := ledger.ReadJoining(ctx, target)
				if err != nil {
					return err
				}
				return joinAgain(j.Tables[0].Table)
			}
			return err
		})
	})
}

// refuseNewTables keeps a switch from leaving behind a table that came into being after the last look, and would have joined.
func refuseNewTables(ctx context.Context, spec contract.Spec, source, target *pgx.Conn) error {
	if spec.Replication.DDL != contract.DDLFollow {
		return nil
	}
	n, err := judgeNewTables(ctx, spec, source, target)
	if err != nil || len(n.fit) == 0 {
		return err
	}
	return fault.New(fault.Operator, "cut over without", n.fit[0].Table.String(), "wait until it is carried over, which happens by itself, then cutover again",
		"%s created on the source right before the fence", wasCreated(len(n.fit))).WithCode(contract.CodeNewTable)
}

func wasCreated(n int) string {
	if n == 1 {
		return "the table was"
	}
	return fmt.Sprintf("it and %d other tables were", n-1)
}
