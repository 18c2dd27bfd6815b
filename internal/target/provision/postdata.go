package provision

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// ProgressFunc hears how far a step is: entries done, of all, and the one that was just finished. It is never called by
// two goroutines at once.
type ProgressFunc func(done, total int, current string)

// serialEntries is how many entries one transaction restores where they take their time: progress is shown, and kept, in
// between.
const serialEntries = 50

// PostData restores what comes after the rows: first indexes and primary, unique and exclusion constraints (those that
// BuildIndexes has not made beside the copy), largest tables first, on jobs connections, each in a transaction of its own;
// then the rest in the dump's order. Foreign keys are added
// NOT VALID. Where the applier cannot switch off triggers (session_replication_role), those and foreign keys are put off
// until AtCutover.
//
// Safe to repeat because marks commit with what they mark. onProgress may be nil. Undone by DropCreated.
func PostData(ctx context.Context, target pgkit.Endpoint, jobs int, onProgress ProgressFunc) (err error) {
	conn, err := pgkit.Dial(ctx, target, "schema")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	p, err := newProgress(ctx, conn, ledger.SectionPostData, onProgress)
	if err != nil {
		return err
	}
	pending, err := ledger.Entries(ctx, conn, ledger.SectionPostData)
	if err != nil {
		return fmt.Errorf("read schema entries: %w", err)
	}
	p.done = p.total - len(pending)
	x := newIndexer(target, jobs)
	x.built = func(b *build) { p.add(1, b.String()) }
	if err := x.run(ctx, conn); err != nil {
		return err
	}
	quiet, err := canSilenceTriggers(ctx, conn)
	if err != nil {
		return err
	}
	r, err := newRestorer(ctx, conn)
	if err != nil {
		return err
	}
	return r.inOrder(ctx, conn, ledger.SectionPostData, func(e ledger.Entry) bool { return quiet || !e.Fires }, p)
}

// inOrder restores what want accepts, some at a time.
func (r *restorer) inOrder(ctx context.Context, conn *pgx.Conn, section string, want func(ledger.Entry) bool, p *progress) error {
	for {
		last := ""
		n, err := r.batch(ctx, conn, section, serialEntries, func(e ledger.Entry) bool {
			if want(e) {
				last = e.String()
				return true
			}
			return false
		})
		if err != nil || n == 0 {
			return err
		}
		p.add(n, last)
	}
}

// canSilenceTriggers says whether we may set session_replication_role, by trying.
func canSilenceTriggers(ctx context.Context, conn *pgx.Conn) (bool, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, "SET LOCAL session_replication_role = 'replica'")
	if rollback := tx.Rollback(ctx); rollback != nil {
		return false, rollback
	}
	if hasState(err, privilegeRefused) {
		return false, nil
	}
	return err == nil, err
}

// progress counts entries over several goroutines.
type progress struct {
	mu          sync.Mutex
	done, total int
	tell        ProgressFunc
}

func newProgress(ctx context.Context, q pgkit.Querier, section string, tell ProgressFunc) (*progress, error) {
	total, err := ledger.CountEntries(ctx, q, section)
	if err != nil {
		return nil, fmt.Errorf("count schema entries: %w", err)
	}
	return &progress{total: total, tell: tell}, nil
}

// more is to be done than was thought.
func (p *progress) more(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total += n
}

func (p *progress) add(n int, current string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.tell != nil {
		p.tell(p.done, p.total, current)
	}
}
