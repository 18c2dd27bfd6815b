package activities

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
)

// ClaimHost says which worker keeps the spool: the one that runs this.
//
//	Does: answers with this worker's identity.
//	Safe to repeat because: the workflow keeps the first answer that it gets.
//	Heartbeats: nothing of its own.
//	Undone by: RemoveSpool.
func (a *Activities) ClaimHost(context.Context, contract.Spec) (contract.HostClaim, error) {
	return contract.HostClaim{HostID: a.HostID}, nil
}

// CreateLedger makes the bookkeeping on the target.
//
//	Does: creates schema timeferry with its tables, in one transaction.
//	Safe to repeat because: what is there stays; a ledger of another migration is refused.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget.
func (a *Activities) CreateLedger(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, spec, "ledger", func(conn *pgx.Conn) error { return ledger.Create(ctx, conn, spec.Name) })
	})
}

// PlanCopy cuts the tables in scope into parts and keeps the plan in the ledger.
//
//	Does: reads the source's catalogue, writes the plan in one transaction.
//	Safe to repeat because: a table that is planned stays as it is.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget.
func (a *Activities) PlanCopy(ctx context.Context, spec contract.Spec) (out contract.CopyStatus, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "plan", func(source, target *pgx.Conn) error {
			facts, err := prepare.ReadFacts(ctx, source, spec.Tables)
			if err != nil {
				return err
			}
			if err := prepare.ReadSplits(ctx, source, facts.Tables, partBytes(spec, facts.Tables)); err != nil {
				return err
			}
			if err := ledger.PlanTables(ctx, target, copyPlan(spec, facts)); err != nil {
				return err
			}
			if err := planLeaves(ctx, source, target, facts.Tables); err != nil {
				return err
			}
			out, err = copyStatus(ctx, target)
			return err
		})
	})
	return out, err
}

// tidRangeVersion is the first server_version_num that reads only the pages of a ctid range.
const tidRangeVersion = 140000

func partBytes(spec contract.Spec, tables []shape.Table) int64 {
	return plan.FairPart(tables, spec.Copy.PartBytes(), spec.Copy.Concurrency)
}

func copyPlan(spec contract.Spec, facts plan.SourceFacts) []ledger.Table {
	hypertables, part := plan.HypertablesOf(spec), partBytes(spec, facts.Tables)
	var tables []ledger.Table
	for _, t := range facts.Tables {
		if t.Unlogged && len(t.Columns) == 0 {
			continue
		}
		_, isHypertable := hypertables[t.Table]
		planned := ledger.Table{Table: t.Table, Bytes: t.Bytes, EstimatedRows: t.EstimatedRows, Hypertable: isHypertable,
			TextCopy: t.NeedsTextCopy(), Columns: t.CopyColumns()}
		for i, p := range plan.Parts(t, part, facts.Version >= tidRangeVersion) {
			planned.Parts = append(planned.Parts, ledger.Part{Table: t.Table, Number: i + 1, Source: p.Source, First: p.First, End: p.End,
				KeyColumn: p.KeyColumn, FirstKey: p.FirstKey, EndKey: p.EndKey, Bytes: p.Bytes})
		}
		tables = append(tables, planned)
	}
	return tables
}

// FixIdentities gives every table in scope a replica identity by which its rows can be found.
//
//	Does: ALTER TABLE … REPLICA IDENTITY where the one in force does not do.
//	Safe to repeat because: what was there before is recorded in the ledger before it is changed, and only the first record counts.
//	Heartbeats: nothing of its own.
//	Undone by: CleanSource.
func (a *Activities) FixIdentities(ctx context.Context, spec contract.Spec) (out []contract.IdentityChoice, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "replica identity", func(source, target *pgx.Conn) error {
			facts, err := plannedFacts(ctx, source, target, spec)
			if err != nil {
				return err
			}
			ids := plan.IdentitiesOf(facts.Tables, spec.ReplicaIdentity.Fallback, plan.TimeColumnsOf(spec))
			if err := fixIdentities(ctx, source, target, ids); err != nil {
				return err
			}
			changed, err := ledger.Identities(ctx, target)
			if err != nil {
				return err
			}
			out = boundIdentities(identityChoices(ids, changed))
			return nil
		})
	})
	return out, err
}

func fixIdentities(ctx context.Context, source, target *pgx.Conn, ids []plan.Identity) error {
	return prepare.FixIdentities(ctx, source, ids, func(id plan.Identity, previous shape.Identity) error {
		return ledger.RecordIdentity(ctx, target, ledger.Identity{Table: id.Table, Root: id.Root.String(),
			PreviousKind: string(rune(previous.Kind)), PreviousIndex: previous.Index, ChosenKind: string(rune(id.Kind)), ChosenIndex: id.Index, Reason: id.Reason})
	})
}

// Words for a replica identity; the name of the index follows.
const (
	identityPrimaryKey = "primary key"
	identityIndex      = "index "
)

// identityWord is the kind of identity without the index's name.
func identityWord(identity string) string {
	if strings.HasPrefix(identity, identityIndex) {
		return strings.TrimSpace(identityIndex)
	}
	return identity
}

// identityChoices words the choices for the report: every table in scope, and the partitions that were changed.
func identityChoices(ids []plan.Identity, changed []ledger.Identity) []contract.IdentityChoice {
	byUs := map[ident.Table]bool{}
	for _, c := range changed {
		byUs[c.Table] = true
	}
	choices := []contract.IdentityChoice{}
	for _, id := range ids {
		if id.Table != id.Root && !byUs[id.Table] {
			continue
		}
		choices = append(choices, contract.IdentityChoice{Table: id.Table.String(), Identity: identityWords(id.Kind, id.Index), Changed: byUs[id.Table], Reason: id.Reason})
	}
	return choices
}

func identityWords(kind byte, index string) string {
	return map[byte]string{plan.IdentityDefault: identityPrimaryKey, plan.IdentityFull: "full", plan.IdentityNothing: "none", plan.IdentityIndex: identityIndex + index}[kind]
}

// CreatePublication publishes the tables in scope, each only once its replica identity is right.
//
//	Does: CREATE PUBLICATION … FOR TABLE.
//	Safe to repeat because: a publication of our name is brought to the wanted tables.
//	Heartbeats: nothing of its own.
//	Undone by: CleanSource.
func (a *Activities) CreatePublication(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "publication", func(source, target *pgx.Conn) error {
			p, err := publicationOf(ctx, source, target, spec)
			if err != nil {
				return err
			}
			name := contract.PublicationName(spec.Name)
			for _, n := range p.Names(name) {
				if err := ledger.RecordSourceObject(ctx, target, "publication", n, ""); err != nil {
					return err
				}
			}
			return prepare.CreatePublication(ctx, source, name, p)
		})
	})
}

func publicationOf(ctx context.Context, source, target *pgx.Conn, spec contract.Spec) (plan.Publication, error) {
	facts, err := plannedFacts(ctx, source, target, spec)
	if err != nil {
		return plan.Publication{}, err
	}
	ids := plan.IdentitiesOf(facts.Tables, spec.ReplicaIdentity.Fallback, plan.TimeColumnsOf(spec))
	return plan.PublicationPlan(facts.Tables, ids, facts.Version), nil
}

// plannedFacts are the source's, without tables that came into being after the plan was made.
func plannedFacts(ctx context.Context, source, target *pgx.Conn, spec contract.Spec) (plan.SourceFacts, error) {
	facts, err := prepare.ReadFacts(ctx, source, spec.Tables)
	if err != nil {
		return facts, err
	}
	planned, err := ledger.PlannedTables(ctx, target)
	facts.Tables = slices.DeleteFunc(facts.Tables, func(t shape.Table) bool { return !planned[t.Table] })
	return facts, err
}
