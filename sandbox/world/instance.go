package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
)

// instance lets the simulator restart the source with a parameter group's values, and change its master user's password.
type instance struct {
	world  *World
	server *pgserver.Server

	mu      sync.Mutex
	changed map[string]string // what a parameter that was once set goes back to
}

func newInstance(w *World) *instance {
	return &instance{world: w, server: w.Source, changed: maps.Clone(sourceSettings)}
}

// Restart implements awssim.Server: parameters that are no longer set go back to what they were.
func (i *instance) Restart(ctx context.Context, parameters map[string]string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.server.Running() { // a server that did not start has had its parameters noted before
		if err := i.note(ctx, parameters); err != nil {
			return err
		}
	}
	settings := maps.Clone(i.changed)
	maps.Copy(settings, parameters)
	return i.server.Restart(ctx, settings)
}

// note keeps the server's own value of each parameter that is about to be set for the first time.
func (i *instance) note(ctx context.Context, parameters map[string]string) (err error) {
	conn, err := pgkit.Dial(ctx, i.server.Superuser("postgres"), "sandbox")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for name := range parameters {
		if _, known := i.changed[name]; known {
			continue
		}
		var value string
		// The value in the parameter's own unit: a number without a unit means just that in postgresql.conf.
		err := conn.QueryRow(ctx, "SELECT reset_val FROM pg_settings WHERE name = $1", name).Scan(&value)
		if errors.Is(err, pgx.ErrNoRows) {
			continue // not a parameter of this version: the server will say so
		}
		if err != nil {
			return fmt.Errorf("read parameter %s: %w", name, err)
		}
		i.changed[name] = value
	}
	return nil
}
