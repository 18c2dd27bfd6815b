package controlplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
)

// machine is a real server that plays the source, with a target beside it; lent to one scenario after another.
type machine struct {
	source, target       *pgtest.Database
	sourceEnv, targetEnv string // name the variables with the passwords

	mu       sync.Mutex
	original map[string]string // of the settings that parameter groups have changed: what they were
	restarts int
	dirty    bool
	broken   error // what restarts and reloads end with
}

// neverReplicated are the settings of a server that has not been prepared, with RDS's own defaults.
var neverReplicated = map[string]string{"wal_level": "replica", "rds.logical_replication": "off", "max_replication_slots": "20", "max_wal_senders": "20",
	"shared_buffers": "16MB"} // the last only for the sake of quick restarts

var machineNumber atomic.Int32

// newMachine starts a source of that major version; 0: of any.
func newMachine(t *testing.T, major int) *machine {
	t.Helper()
	m := &machine{target: pgtest.Target(t), original: maps.Clone(neverReplicated)}
	if major == 0 {
		m.source = pgtest.OwnSource(t, neverReplicated)
	} else {
		m.source = pgtest.OwnSourceOf(t, major, neverReplicated)
	}
	m.source.Exec(t, `CREATE TABLE orders (id int PRIMARY KEY, amount numeric); ALTER TABLE orders OWNER TO `+pgtest.SourceMaster)
	n := machineNumber.Add(1)
	m.sourceEnv, m.targetEnv = fmt.Sprintf("SOURCE_PASSWORD_%d", n), fmt.Sprintf("TARGET_PASSWORD_%d", n)
	require.NoError(t, os.Setenv(m.sourceEnv, m.source.Master.Password))
	require.NoError(t, os.Setenv(m.targetEnv, m.target.Master.Password))
	return m
}

// Restart implements awssim.Server: what a group no longer sets goes back to what it was.
func (m *machine) Restart(ctx context.Context, parameters map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restarts, m.dirty = m.restarts+1, true
	if m.broken != nil {
		return m.broken
	}
	if err := m.note(ctx, parameters); err != nil {
		return err
	}
	settings := maps.Clone(m.original)
	maps.Copy(settings, parameters)
	return m.source.Server.Restart(ctx, settings)
}

// Reload implements awssim.Reloader: dynamic parameters come into force without a restart.
func (m *machine) Reload(ctx context.Context, parameters map[string]string) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	m.dirty = true
	conn, err := pgkit.Dial(ctx, m.source.Endpoint, "simulator")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for name, value := range parameters {
		var dynamic bool
		err := conn.QueryRow(ctx, "SELECT coalesce(bool_or(context <> 'postmaster'), false) FROM pg_settings WHERE name = $1", name).Scan(&dynamic)
		if err == nil && dynamic {
			_, err = conn.Exec(ctx, "ALTER SYSTEM SET "+ident.Quote(name)+" = "+ident.Literal(value))
		}
		if err != nil {
			return err
		}
	}
	_, err = conn.Exec(ctx, "SELECT pg_reload_conf()")
	return err
}

// SetPassword implements awssim.PasswordSetter.
func (m *machine) SetPassword(ctx context.Context, user, password string) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.setPassword(ctx, user, password)
}

func (m *machine) setPassword(ctx context.Context, user, password string) (err error) {
	conn, err := pgkit.Dial(ctx, m.source.Endpoint, "simulator")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	_, err = conn.Exec(ctx, "ALTER ROLE "+ident.Quote(user)+" PASSWORD "+ident.Literal(password))
	return err
}

// note keeps the server's own value of each parameter that is about to be set for the first time, in its own unit.
func (m *machine) note(ctx context.Context, parameters map[string]string) (err error) {
	conn, err := pgkit.Dial(ctx, m.source.Endpoint, "simulator")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for name := range parameters {
		if _, known := m.original[name]; known {
			continue
		}
		var value string
		err := conn.QueryRow(ctx, "SELECT reset_val FROM pg_settings WHERE name = $1", name).Scan(&value)
		if errors.Is(err, pgx.ErrNoRows) {
			continue // not a parameter of this version: the server will say so
		}
		if err != nil {
			return fmt.Errorf("read parameter %s: %w", name, err)
		}
		m.original[name] = value
	}
	return nil
}

// setting is the server's own value, or what keeps it from being read.
func (m *machine) setting(t *testing.T, name string) string {
	t.Helper()
	return m.source.QueryValue(t, "SELECT coalesce(current_setting('"+name+"', true), '')")
}

func (m *machine) restarted() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.restarts
}

// forget begins to count anew.
func (m *machine) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restarts = 0
}

func (m *machine) breaks(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}

// renew makes the machine what it was when it was new.
func (m *machine) renew(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken, m.restarts = nil, 0
	if !m.dirty {
		return nil
	}
	m.dirty = false
	conn, err := pgkit.Dial(ctx, m.source.Endpoint, "renew")
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "ALTER SYSTEM RESET ALL")
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return err
	}
	if err := m.source.Server.Restart(ctx, m.original); err != nil {
		return err
	}
	return m.setPassword(ctx, pgtest.SourceMaster, m.source.Master.Password)
}

// park lends machines.
type park struct {
	t    *testing.T
	free chan *machine
}

// newPark starts n machines, which stop with t.
func newPark(t *testing.T, n int) *park {
	t.Helper()
	p := &park{t: t, free: make(chan *machine, n)}
	for range n {
		p.free <- newMachine(t, 0)
	}
	return p
}

// lend gives a machine until t ends; one of a certain major version is t's own.
func (p *park) lend(t *testing.T, major int) *machine {
	t.Helper()
	if major != 0 {
		return newMachine(t, major)
	}
	m := <-p.free
	t.Cleanup(func() {
		if err := m.renew(context.Background()); err != nil {
			t.Errorf("renew the machine: %v", err)
		}
		left := m.target.Dump(t, `SELECT nspname FROM pg_namespace WHERE nspname = 'timeferry'`)
		if !slices.Equal(left, []string{}) {
			t.Errorf("the migration left its bookkeeping on the target")
			m.target.Exec(t, `DROP SCHEMA timeferry CASCADE`)
		}
		p.free <- m
	})
	return m
}
