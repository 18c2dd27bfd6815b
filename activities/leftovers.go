package activities

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/cutover"
	"timeferry/internal/ident"
	"timeferry/internal/leftovers"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/prepare"
)

const (
	// leftoverPatience is how long what has been removed may still be seen: a session that was ended goes by itself.
	leftoverPatience = 10 * time.Second
	leftoverPoll     = 500 * time.Millisecond
	// rulePatience is likewise for what AWS shows: it may answer from before a change for some time.
	rulePatience = 30 * time.Second
	// maxLeftovers bounds what is told one by one.
	maxLeftovers = 50
)

// FindLeftovers looks on both servers for what the migration made and should have removed.
//
//	Does: reads the catalogues of both sides, for some seconds as long as something is there.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) FindLeftovers(ctx context.Context, input contract.LeftoverInput) (out contract.Leftovers, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, input.Spec, "leftovers", func(source, target *pgx.Conn) error {
			for begun := time.Now(); ; {
				if out, err = a.findLeftovers(ctx, input, source, target); err != nil {
					return err
				}
				if len(out.Found) == 0 || time.Since(begun) > leftoverPatience {
					return nil
				}
				if err := pgkit.Sleep(ctx, leftoverPoll); err != nil {
					return err
				}
			}
		})
	})
	return out, err
}

func (a *Activities) findLeftovers(ctx context.Context, input contract.LeftoverInput, source, target *pgx.Conn) (contract.Leftovers, error) {
	spec := input.Spec
	out := contract.Leftovers{At: a.now().UTC(),
		Sought: []string{leftovers.Sought + " on the source", "the same on the target", "changed replica identities", "a fence on either side"}}
	add := func(found []contract.Leftover, err error) error {
		out.Found = append(out.Found, found...)
		return err
	}
	err := add(changedYet(ctx, source, input.Identities))
	for _, name := range spec.Names() {
		err = errors.Join(err, add(leftovers.On(ctx, source, sideSource, name)), add(leftovers.On(ctx, target, sideTarget, name)))
	}
	if !input.TargetFenceStays {
		err = errors.Join(err, add(fenced(ctx, target, sideTarget, spec.Target.Database)))
	}
	if !input.FenceStays {
		err = errors.Join(err, add(fenced(ctx, source, sideSource, spec.Source.Database)))
	}
	if more := len(out.Found) - maxLeftovers; more > 0 {
		out.Found = append(out.Found[:maxLeftovers], contract.Leftover{Thing: fmt.Sprintf("%d more things", more)})
	}
	return out, err
}

const (
	sideSource = "source"
	sideTarget = "target"
)

func fenced(ctx context.Context, conn *pgx.Conn, side, database string) ([]contract.Leftover, error) {
	is, err := cutover.IsFenced(ctx, conn, database)
	if err != nil || !is {
		return nil, err
	}
	return []contract.Leftover{{Thing: fmt.Sprintf("the fence of database %s on the %s", database, side),
		Remedy: "SET default_transaction_read_only = off; ALTER DATABASE " + ident.Quote(database) + " RESET default_transaction_read_only"}}, nil
}

// changedYet names the tables whose replica identity is still the one that was chosen for the migration.
func changedYet(ctx context.Context, source *pgx.Conn, choices []contract.IdentityChoice) ([]contract.Leftover, error) {
	var found []contract.Leftover
	for _, c := range choices {
		t, ok := ident.ParseTable(c.Table)
		if !ok {
			continue // it stands for several
		}
		now, exists, err := prepare.IdentityOf(ctx, source, t)
		if err != nil {
			return nil, err
		}
		if exists && identityWords(now.Kind, now.Index) == c.Identity {
			found = append(found, contract.Leftover{Thing: fmt.Sprintf("replica identity %s of %s on the source", c.Identity, t),
				Remedy: "ALTER TABLE ONLY " + t.Quote() + " REPLICA IDENTITY DEFAULT, or what it was before"})
		}
	}
	return found, nil
}

// FindRules looks for rules of the source's security group that were made for the migration.
//
//	Does: reads the group's rules, for half a minute as long as one is there.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) FindRules(ctx context.Context, spec contract.Spec) (out contract.Leftovers, err error) {
	group := spec.Prepare.SecurityGroup
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		out = contract.Leftovers{At: a.now().UTC(), Sought: []string{"rules of security group " + group}}
		c, err := a.aws(ctx, spec)
		if err != nil {
			return err
		}
		rules, err := c.IngressOf(ctx, group, spec.Name)
		for begun := time.Now(); err == nil && len(rules) > 0 && time.Since(begun) < rulePatience; {
			if err = pgkit.Sleep(ctx, leftoverPoll); err == nil {
				rules, err = c.IngressOf(ctx, group, spec.Name)
			}
		}
		for _, id := range rules {
			out.Found = append(out.Found, contract.Leftover{Thing: "rule " + id + " of security group " + group,
				Remedy: fmt.Sprintf("aws ec2 revoke-security-group-ingress --group-id %s --security-group-rule-ids %s", group, id)})
		}
		return err
	})
	return out, err
}

// FindFiles looks for the migration's files on the worker that kept its spool.
//
//	Does: looks for the spool's directory, and for what an interrupted switch of PgBouncer left beside its file.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) FindFiles(ctx context.Context, spec contract.Spec) (out contract.Leftovers, err error) {
	err = a.live(ctx, func(context.Context, func(contract.Beat)) error {
		out = contract.Leftovers{At: a.now().UTC(), Sought: []string{"spool files on worker " + a.HostID}}
		var files []string
		for _, name := range spec.Names() {
			found, err := a.Spools.Files(name)
			if err != nil {
				return err
			}
			files = append(files, found...)
		}
		if s := spec.Cutover.Switch; s != nil && s.PgBouncer != nil {
			beside, err := filepath.Glob(filepath.Join(filepath.Dir(s.PgBouncer.File), "."+filepath.Base(s.PgBouncer.File)+".timeferry-*"))
			if err != nil {
				return err
			}
			files = append(files, beside...)
		}
		for _, f := range files {
			out.Found = append(out.Found, contract.Leftover{Thing: f + " on worker " + a.HostID, Remedy: "rm -r " + strings.ReplaceAll(f, " ", `\ `)})
		}
		return nil
	})
	return out, err
}
