package cutover

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// Attempt is one try of a migration to cut over, on its source.
type Attempt struct {
	Migration   string
	Database    string
	Publication string // the migration's own; its comment says how the fence stands
	Number      int    // of the try; later ones are higher
	// Limit is how long the fence may stay up until it is sealed; then the source's own server takes it down.
	Limit time.Duration
}

// Codes of the errors of an attempt.
const (
	// CodeFenceLifted: the fence is not the one that was raised, so that somebody may have written since.
	CodeFenceLifted = "fence-lifted"
	// CodeSealed: the fence was sealed already, so the application may be writing to the target.
	CodeSealed = "fence-sealed"
)

// The states of a fence, as the publication's comment has them, each followed by the token. The comment changes in the
// transactions that raise, seal and lower the fence, under one lock, so that whoever comes second sees what the first did.
const (
	stateFenced = "timeferry: fenced "
	stateSealed = "timeferry: sealed "
)

// purposes are the names of our sessions; an attempt's own end with the migration's name.
const (
	PurposeFence  = "fence " // of the activity that fences
	purposeGuard  = "guard " // lowers the fence when its time is over
	lockNamespace = "timeferry.fence"
)

// lockPatience bounds the wait for a lock that ALTER DATABASE or the comment needs: somebody else's transaction must not let
// the statement take effect long after its sender has given up.
const lockPatience = "5s"

// standing is how the fence stands.
type standing struct {
	setting *string // of the database, nil: none
	comment string  // of the publication
}

func (s standing) token() (token string, sealed bool) {
	if token, ok := strings.CutPrefix(s.comment, stateSealed); ok {
		return token, true
	}
	token, _ = strings.CutPrefix(s.comment, stateFenced)
	if token == s.comment {
		return "", false
	}
	return token, false
}

// number is the attempt that a token was made by; 0 for none.
func number(token string) int {
	head, _, _ := strings.Cut(token, "-")
	n, _ := strconv.Atoi(head) // what is not ours is none
	return n
}

// inLock runs do in a transaction in which nobody else changes how the fence stands.
func (a Attempt) inLock(ctx context.Context, source *pgx.Conn, do func(pgx.Tx, standing) error) error {
	return pgx.BeginTxFunc(ctx, source, pgx.TxOptions{AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT set_config('lock_timeout', $1, true), set_config('synchronous_commit', 'on', true)", lockPatience); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))", lockNamespace, a.Publication); err != nil {
			return fmt.Errorf("lock the fence of database %s: %w", a.Database, err)
		}
		var s standing
		var err error
		if s.setting, err = readSetting(ctx, tx, a.Database); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, "SELECT coalesce(obj_description(oid, 'pg_publication'), '') FROM pg_publication WHERE pubname = $1", a.Publication).Scan(&s.comment)
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.New(fault.Operator, "fence database", a.Database, "it belongs to the migration: abort, and start again",
				"the publication %s is not there", a.Publication).WithCode("no-publication")
		}
		if err != nil {
			return fmt.Errorf("read the comment of publication %s: %w", a.Publication, err)
		}
		return do(tx, s)
	})
}

// Raise is Fence with a time limit: it returns a token, and if the fence with this token is not sealed in time, the server
// itself takes it down, though every process of ours has died. Called again it makes a new token, by which the old one is
// void. It refuses when the fence is sealed.
//
// Whoever has the token knows by Seal that the fence was up without a gap since Raise returned.
func Raise(ctx context.Context, source *pgx.Conn, server pgkit.Endpoint, a Attempt) (token string, result FenceResult, err error) {
	if err := refusePrepared(ctx, source, a.Database); err != nil {
		return "", result, err
	}
	if err := refuseExemptRoles(ctx, source, a.Database); err != nil {
		return "", result, err
	}
	token = fmt.Sprintf("%d-%s", a.Number, strings.ToLower(rand.Text()[:12]))
	value, err := readSetting(ctx, source, a.Database)
	if err != nil {
		return "", result, err
	}
	previous, ours := previousOf(value)
	if !ours {
		previous, _ = fenceOver(value)
	}
	guard, err := postGuard(ctx, source, server, a, token, previous)
	if err != nil {
		return "", result, err
	}
	defer guard.leave()
	if err := a.raise(ctx, source, token, value); err != nil {
		return "", result, err
	}
	result.Previous = previous
	if err := endOldSessions(ctx, source, a.Database, &result); err != nil {
		return token, result, fmt.Errorf("end sessions on database %s: %w", a.Database, err)
	}
	// A session may have prepared its transaction between the first look and its end.
	return token, result, refusePrepared(ctx, source, a.Database)
}

// raise sets the fence over the value that the guard was told of.
func (a Attempt) raise(ctx context.Context, source *pgx.Conn, token string, seen *string) error {
	return a.inLock(ctx, source, func(tx pgx.Tx, s standing) error {
		if old, sealed := s.token(); sealed {
			return fault.New(fault.Operator, "fence database", a.Database, "look at the status: the application may be writing to the target",
				"the fence of attempt %d is sealed", number(old)).WithCode(CodeSealed)
		}
		if (s.setting == nil) != (seen == nil) || s.setting != nil && *s.setting != *seen {
			return fault.New(fault.Transient, "fence database", a.Database, "", "default_transaction_read_only was changed at this moment")
		}
		if _, ours := previousOf(s.setting); !ours {
			_, spelling := fenceOver(s.setting)
			if _, err := tx.Exec(ctx, "ALTER DATABASE "+ident.Quote(a.Database)+" SET default_transaction_read_only = "+ident.Literal(spelling)); err != nil {
				return explainAlter(a.Database, "fence database", err)
			}
		}
		return a.note(ctx, tx, stateFenced+token)
	})
}

func (a Attempt) note(ctx context.Context, tx pgx.Tx, comment string) error {
	text := "NULL"
	if comment != "" {
		text = ident.Literal(comment)
	}
	if _, err := tx.Exec(ctx, "COMMENT ON PUBLICATION "+ident.Quote(a.Publication)+" IS "+text); err != nil {
		return fmt.Errorf("note how the fence stands on publication %s: %w", a.Publication, err)
	}
	return nil
}

// Seal makes the fence with the token stay: from here on only TakeBack lowers it. It is an error with CodeFenceLifted when it
// is not the same fence any more. After Seal the application may be led to the target. Called again it does nothing.
func Seal(ctx context.Context, source *pgx.Conn, a Attempt, token string) error {
	err := a.inLock(ctx, source, func(tx pgx.Tx, s standing) error {
		_, ours := previousOf(s.setting)
		if now, sealed := s.token(); !ours || now != token {
			return fault.New(fault.Operator, "seal the fence of database", a.Database, "cut over again",
				"it was lowered meanwhile, by cutover.maxDowntime or by hand").WithCode(CodeFenceLifted)
		} else if sealed {
			return nil
		}
		return a.note(ctx, tx, stateSealed+token)
	})
	if err != nil {
		return err
	}
	return a.dismiss(ctx, source, purposeGuard) // it would find the seal, and is of no use any more
}

// TakeBack lowers the fence of this attempt or an earlier one, ends the sessions that may still be raising it, and restores
// the setting that was there before. A sealed fence is left, and sealed returned, unless force says that the application was
// not switched. It does nothing when there is no fence, or that of a later attempt.
func TakeBack(ctx context.Context, source *pgx.Conn, a Attempt, force bool) (sealed bool, err error) {
	if err := a.dismiss(ctx, source, PurposeFence); err != nil {
		return false, err
	}
	err = a.inLock(ctx, source, func(tx pgx.Tx, s standing) error {
		token, is := s.token()
		if sealed = is && !force; sealed || number(token) > a.Number {
			return nil
		}
		if err := lower(ctx, tx, a.Database, s.setting); err != nil {
			return err
		}
		if token == "" {
			return nil
		}
		return a.note(ctx, tx, "")
	})
	var f *fault.Error
	if errors.As(err, &f) && f.Code == "no-publication" {
		return false, Unfence(ctx, source, a.Database)
	}
	if err != nil || sealed {
		return sealed, err
	}
	return false, a.dismiss(ctx, source, purposeGuard)
}

// dismissSQL ends sessions of ours, of the same user.
const dismissSQL = `SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE datname = $1 AND application_name = $2 AND pid <> pg_backend_pid()) t`

// dismiss ends our sessions of a purpose, and waits until they are gone.
func (a Attempt) dismiss(ctx context.Context, conn *pgx.Conn, purpose string) error {
	return Dismiss(ctx, conn, a.Database, purpose+a.Migration)
}

// Dismiss ends the sessions on a database that pgkit opened for a purpose, and waits until they are gone: what a process that is
// believed dead has under way must not take effect later.
func Dismiss(ctx context.Context, conn *pgx.Conn, database, purpose string) error {
	name := pgkit.ApplicationName + " " + purpose
	name = name[:min(len(name), 63)] // as the server keeps it
	for {
		var left int
		if err := conn.QueryRow(ctx, dismissSQL, database, name).Scan(&left); err != nil {
			return fmt.Errorf("end earlier sessions %q: %w", name, err)
		}
		if left == 0 {
			return nil
		}
		if err := pgkit.Sleep(ctx, pollInterval); err != nil {
			return fmt.Errorf("earlier sessions %q are still there: %w", name, err)
		}
	}
}
