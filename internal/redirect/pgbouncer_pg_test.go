package redirect_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/redirect"
	"timeferry/internal/testkit/pgbouncer"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// pooled is a PgBouncer before two databases: it leads to the first.
type pooled struct {
	*pgbouncer.Bouncer
	src, dst *pgtest.Database
	options  redirect.Options
}

func newPooled(t *testing.T, o pgbouncer.Options) *pooled {
	t.Helper()
	p := &pooled{src: pgtest.Source(t), dst: pgtest.Source(t)}
	for name, d := range map[string]*pgtest.Database{"source": p.src, "target": p.dst} {
		d.Exec(t, fmt.Sprintf("CREATE TABLE side (name text); INSERT INTO side VALUES ('%s'); GRANT ALL ON side TO %s", name, pgtest.SourceMaster))
	}
	if o.Databases == "" {
		o.Databases = fmt.Sprintf("other = host=127.0.0.1 port=1\nshop = host=127.0.0.1 port=%d dbname=%s pool_size=5", p.src.Master.Port, p.src.Master.Database)
	}
	o.Dir = t.TempDir()
	o.Users = map[string]string{pgtest.SourceMaster: p.src.Master.Password, pgbouncer.AdminUser: "hidden"}
	var err error
	p.Bouncer, err = pgbouncer.Start(context.Background(), o)
	if errors.Is(err, pgbouncer.ErrUnavailable) && !pgtest.Required("pgbouncer") {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	admin := pgkit.Endpoint{Host: "127.0.0.1", Port: p.Port, Database: "pgbouncer", User: pgbouncer.AdminUser, Password: "hidden", SSLMode: "disable"}
	p.options = redirect.Options{Switch: contract.Switch{PgBouncer: &contract.PgBouncerSwitch{Database: "shop", File: p.File, Pause: "200ms"}},
		Target: contract.Address{Host: "127.0.0.1", Port: p.dst.Master.Port, Database: p.dst.Master.Database}, Migration: "shop", Attempt: 1, Admin: admin}
	return p
}

// client connects through PgBouncer.
func (p *pooled) client(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d dbname=shop user=%s password=%s sslmode=disable", p.Port, pgtest.SourceMaster, p.src.Master.Password))
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return pgx.ConnectConfig(ctx, config)
}

func (p *pooled) side(t *testing.T) string {
	t.Helper()
	ctx := within(t, 10*time.Second)
	conn, err := p.client(ctx)
	require.NoError(t, err)
	defer conn.Close(ctx)
	var side string
	require.NoError(t, conn.QueryRow(ctx, "SELECT name FROM side").Scan(&side))
	return side
}

func (p *pooled) file(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(p.File)
	require.NoError(t, err)
	return string(text)
}

func TestPgBouncerLeadsWaitingClientsToTheTarget(t *testing.T) {
	for name, o := range map[string]pgbouncer.Options{"main file": {}, "included file": {Included: true}, "session pooling": {Mode: "session"}} {
		t.Run(name, func(t *testing.T) {
			p := newPooled(t, o)
			r := redirect.Open(p.options)
			ctx := within(t, 30*time.Second)
			require.NoError(t, r.Check(ctx))
			require.Equal(t, "source", p.side(t))
			for range 2 {
				require.NoError(t, r.Hold(ctx))
			}
			// Whoever comes now waits, and is led to the target without an error.
			var wg sync.WaitGroup
			seen := make([]string, 5)
			for i := range seen {
				wg.Go(func() { seen[i] = p.side(t) })
			}
			time.Sleep(200 * time.Millisecond) // they would have been answered by now
			for i := range seen {
				require.Empty(t, seen[i])
			}
			done, err := r.Switch(ctx, false)
			require.NoError(t, err)
			require.Contains(t, done.Previous, fmt.Sprintf("port=%d", p.src.Master.Port))
			wg.Wait()
			require.Equal(t, strings.Fields("target target target target target"), seen)
			require.Contains(t, p.file(t), "pool_size=5")
			_, err = r.Switch(ctx, true)
			require.NoError(t, err, "again, by another process")
			require.NoError(t, r.Release(ctx))
			switched, err := r.Settle(ctx)
			require.NoError(t, err)
			require.True(t, switched)
			require.Equal(t, "target", p.side(t))
		})
	}
}

// A transaction that a client does not end must not hold up the cutover: the fence ends it.
func TestHoldDoesNotWaitForATransactionThatStaysOpen(t *testing.T) {
	p := newPooled(t, pgbouncer.Options{})
	r := redirect.Open(p.options)
	ctx := within(t, 30*time.Second)
	conn, err := p.client(ctx)
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "BEGIN; INSERT INTO side VALUES ('late')")
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, r.Hold(ctx))
	require.Less(t, time.Since(began), 2*time.Second)
	// Whoever comes meanwhile waits, though the console's session is gone.
	waiting, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	other, err := p.client(waiting)
	if err == nil {
		_, err = other.Exec(waiting, "SELECT 1")
		_ = other.Close(context.Background()) // it waits in vain
	}
	require.ErrorIs(t, err, context.DeadlineExceeded)
	p.src.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'")
	_, err = r.Switch(ctx, false)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, "COMMIT")
	require.Error(t, err)
	require.Equal(t, "target", p.side(t))
	require.Equal(t, "1", p.src.QueryValue(t, "SELECT count(*) FROM side"))
}

func TestClientsGoOnWhereTheyWereAfterRelease(t *testing.T) {
	p := newPooled(t, pgbouncer.Options{})
	r := redirect.Open(p.options)
	ctx := within(t, 30*time.Second)
	require.NoError(t, r.Hold(ctx))
	switched, err := r.Settle(ctx)
	require.NoError(t, err)
	require.False(t, switched)
	for range 2 {
		require.NoError(t, r.Release(ctx))
	}
	require.Equal(t, "source", p.side(t))
}

// The file is not the one that PgBouncer reads: it is put back, and clients are where they were.
func TestASwitchThatPgBouncerDoesNotFollowIsUndone(t *testing.T) {
	p := newPooled(t, pgbouncer.Options{})
	other := t.TempDir() + "/other.ini"
	require.NoError(t, os.WriteFile(other, []byte(p.file(t)), 0o600))
	o := p.options
	pg := *o.Switch.PgBouncer
	pg.File = other
	o.Switch.PgBouncer = &pg
	r := redirect.Open(o)
	ctx := within(t, 30*time.Second)
	before := p.file(t)
	require.NoError(t, r.Hold(ctx))
	_, err := r.Switch(ctx, false)
	requireCode(t, err, contract.CodeSwitchRefused)
	text, err := os.ReadFile(other)
	require.NoError(t, err)
	require.Equal(t, before, string(text))
	require.NoError(t, r.Release(ctx))
	require.Equal(t, "source", p.side(t))
}

func TestWhatStandsInTheWayOfPgBouncerIsSaidBefore(t *testing.T) {
	p := newPooled(t, pgbouncer.Options{})
	ctx := within(t, 30*time.Second)
	for name, change := range map[string]func(*redirect.Options, *contract.PgBouncerSwitch){
		"no such file":     func(_ *redirect.Options, s *contract.PgBouncerSwitch) { s.File = "/nowhere/pgbouncer.ini" },
		"no such database": func(_ *redirect.Options, s *contract.PgBouncerSwitch) { s.Database = "none" },
		"no console":       func(o *redirect.Options, _ *contract.PgBouncerSwitch) { o.Admin.Port = 1 },
		"wrong password":   func(o *redirect.Options, _ *contract.PgBouncerSwitch) { o.Admin.Password = "hidden too" },
		"not an admin": func(o *redirect.Options, _ *contract.PgBouncerSwitch) {
			o.Admin.User, o.Admin.Password = pgtest.SourceMaster, p.src.Master.Password
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, pg := p.options, *p.options.Switch.PgBouncer
			change(&o, &pg)
			o.Switch.PgBouncer = &pg
			err := redirect.Open(o).Check(ctx)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "hidden")
			_, err = redirect.Open(o).Switch(within(t, 500*time.Millisecond), false)
			requireCode(t, err, contract.CodeSwitchRefused)
		})
	}
	require.Equal(t, "source", p.side(t))
}

// PgBouncer dies while the line is written: whether clients are led to the target is known again when it is back.
func TestPgBouncerThatDiesHalfWayIsUnknownUntilItIsBack(t *testing.T) {
	p := newPooled(t, pgbouncer.Options{})
	ctx := within(t, 30*time.Second)
	r := redirect.Open(p.options)
	require.NoError(t, r.Hold(ctx))
	before := p.file(t)
	// As a process that died after it wrote the file.
	changed := strings.Replace(before, fmt.Sprintf("port=%d dbname=%s", p.src.Master.Port, p.src.Master.Database),
		fmt.Sprintf("port=%d dbname=%s", p.dst.Master.Port, p.dst.Master.Database), 1)
	require.NotEqual(t, before, changed)
	require.NoError(t, os.WriteFile(p.File, []byte(changed), 0o640))
	p.Kill()
	_, err := r.Switch(within(t, 700*time.Millisecond), true)
	requireCode(t, err, contract.CodeSwitchUnknown)
	_, err = r.Settle(ctx)
	require.Error(t, err)
	require.NoError(t, p.Run(ctx)) // it reads the new file, and pauses no more
	switched, err := r.Settle(ctx)
	require.NoError(t, err)
	require.True(t, switched)
	require.Equal(t, "target", p.side(t))
}

// Another worker, which does not have the file, ends what one that died after writing it has begun.
func TestAnotherWorkerSettlesASwitch(t *testing.T) {
	p := newPooled(t, pgbouncer.Options{})
	ctx := within(t, 30*time.Second)
	r := redirect.Open(p.options)
	require.NoError(t, r.Hold(ctx))
	changed := strings.Replace(p.file(t), fmt.Sprintf("port=%d dbname=%s", p.src.Master.Port, p.src.Master.Database),
		fmt.Sprintf("port=%d dbname=%s", p.dst.Master.Port, p.dst.Master.Database), 1)
	require.NoError(t, os.WriteFile(p.File, []byte(changed), 0o640))
	o, pg := p.options, *p.options.Switch.PgBouncer
	pg.File = "/nowhere/pgbouncer.ini"
	o.Switch.PgBouncer = &pg
	switched, err := redirect.Open(o).Settle(ctx)
	require.NoError(t, err)
	require.True(t, switched)
	require.Equal(t, "target", p.side(t))
}
