package activities

import (
	"context"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/source/extract"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
)

// MigrateRoles makes the source's roles on the target, without passwords.
//
//	Does: CREATE ROLE and memberships; attributes that a managed target refuses are left out and reported.
//	Safe to repeat because: a role that exists is kept.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget.
func (a *Activities) MigrateRoles(ctx context.Context, spec contract.Spec) (out contract.RolesResult, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "roles", func(source, target *pgx.Conn) error {
			roles, err := extract.Roles(ctx, source)
			if err != nil {
				return err
			}
			r, err := provision.Roles(ctx, target, roles, provision.RoleOptions{SourceMaster: spec.Source.User, TargetAdmin: spec.Target.User})
			if err != nil {
				return err
			}
			out = contract.RolesResult{Created: r.Created, WithoutPassword: r.WithoutPassword, Problems: plan.Condense(r.Problems)}
			return nil
		})
	})
	return out, err
}

// DumpSchema dumps the source's schema under the migration's snapshot and keeps it, entry by entry, in the ledger.
//
//	Does: runs pg_dump once, stores its entries in one transaction.
//	Safe to repeat because: a dump that is in the ledger is not made again.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget.
func (a *Activities) DumpSchema(ctx context.Context, spec contract.Spec) (problems []contract.Problem, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, spec, "schema", func(target *pgx.Conn) error {
			stored, err := ledger.EntriesStored(ctx, target)
			if err != nil || stored {
				return err
			}
			snapshot, err := ledger.CurrentSnapshot(ctx, target)
			if err != nil {
				return err
			}
			if err := a.recordShapes(ctx, spec, target, snapshot); err != nil {
				return err
			}
			source, err := a.source(ctx, spec)
			if err != nil {
				return err
			}
			superuser, _, err := pgkit.Setting(ctx, target, "is_superuser")
			if err != nil {
				return err
			}
			entries, found, err := extract.Dump(ctx, extract.DumpOptions{Source: source, Snapshot: snapshot, Tables: spec.Tables,
				Hypertables: spec.Hypertables, Privileges: spec.Privileges == "migrate", TargetSuperuser: superuser == "on"})
			if err != nil {
				return err
			}
			problems = plan.Condense(found)
			_, err = ledger.SaveEntries(ctx, target, entries)
			return err
		})
	})
	return problems, err
}

// RestorePreData makes what must stand before the rows: types, functions, tables, views.
//
//	Does: all entries in one transaction (a very large schema in several), together with their marks and the list of
//	what was created.
//	Safe to repeat because: entries that are marked are left out.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget.
func (a *Activities) RestorePreData(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, spec, "schema", func(target *pgx.Conn) error {
			_, err := provision.PreData(ctx, target)
			return err
		})
	})
}

// MakeHypertables turns the spec's tables into hypertables while they are empty.
//
//	Does: create_hypertable for each.
//	Safe to repeat because: a table that is a hypertable already is left as it is.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget.
func (a *Activities) MakeHypertables(ctx context.Context, spec contract.Spec) (names []string, err error) {
	names = []string{}
	if len(spec.Hypertables) == 0 {
		return names, nil
	}
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, spec, "hypertables", func(target *pgx.Conn) error {
			made, err := provision.Hypertables(ctx, target, spec.Hypertables)
			names = made
			return err
		})
	})
	return names, err
}

// BuildIndexes makes indexes and keys beside the copy, each table's as soon as all its rows are there, and analyzes the table.
//
//	Does: each build in a transaction of its own with its mark, on several connections, until every table is complete and
//	built. It follows the steering between two builds.
//	Safe to repeat because: builds that are marked are left out; a second one beside it takes others.
//	Heartbeats: how many stand, what is being built, and how far the server says it is.
//	Undone by: CleanTarget.
func (a *Activities) BuildIndexes(ctx context.Context, spec contract.Spec) (out contract.IndexStatus, err error) {
	err = a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		target, err := a.target(ctx, spec)
		if err != nil {
			return err
		}
		return provision.BuildIndexes(ctx, target, provision.BuildOptions{Jobs: spec.Copy.IndexJobs, Log: a.Log, OnProgress: func(p provision.BuildProgress) {
			s := indexStatus(p)
			out = s
			report(contract.Beat{Message: p.Words(), Indexes: &s})
		}})
	})
	return out, err
}

func indexStatus(p provision.BuildProgress) contract.IndexStatus {
	s := contract.IndexStatus{Indexes: p.Indexes, IndexesDone: p.Done}
	for _, b := range p.Building {
		s.Building = append(s.Building, contract.IndexBuild{Name: b.Name, Table: b.Table.String(), Percent: math.Round(b.Percent)})
	}
	return s
}

// RestorePostData makes triggers, foreign keys (not validated yet) and whatever else comes after the rows, with the indexes
// and keys that BuildIndexes has not made.
//
//	Does: each entry in a transaction of its own with its mark; indexes on several connections.
//	Safe to repeat because: entries that are marked are left out.
//	Heartbeats: how many are done, and which is being made.
//	Undone by: CleanTarget.
func (a *Activities) RestorePostData(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		target, err := a.target(ctx, spec)
		if err != nil {
			return err
		}
		return provision.PostData(ctx, target, spec.Copy.IndexJobs, entryBeat(report))
	})
}

// FinishSchema does what needs the target to be caught up: validates foreign keys, refreshes materialized views, analyses.
//
//	Does: each in a transaction of its own with its mark.
//	Safe to repeat because: what is marked is left out.
//	Heartbeats: how many are done, and which is being made.
//	Undone by: CleanTarget.
func (a *Activities) FinishSchema(ctx context.Context, spec contract.Spec) (problems []contract.Problem, err error) {
	err = a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		target, err := a.target(ctx, spec)
		if err != nil {
			return err
		}
		problems, err = provision.Finish(ctx, target, entryBeat(report))
		return err
	})
	return problems, err
}

func entryBeat(report func(contract.Beat)) func(done, total int, current string) {
	return func(done, total int, current string) {
		report(contract.Beat{Message: fmt.Sprintf("%d of %d: %s", done, total, current)})
	}
}
