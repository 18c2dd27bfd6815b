package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/test/bench/rig"
)

const subscription = "bench"

// subscribe makes a subscription to a slot, not enabled yet.
func (w *world) subscribe(ctx context.Context, slot, streaming string) error {
	e := w.Endpoint(w.Source)
	info := fmt.Sprintf("host=%s port=%d dbname=%s user=%s password=%s sslmode=%s", e.Host, e.Port, e.Database, e.User, e.Password, e.SSLMode)
	return w.Super(ctx, w.Target, rig.Database, func(conn *pgx.Conn) error {
		return rig.ExecAll(ctx, conn, fmt.Sprintf(`CREATE SUBSCRIPTION %s CONNECTION %s PUBLICATION %s
			WITH (create_slot = false, copy_data = false, enabled = false, slot_name = %s, streaming = %s, synchronous_commit = off)`,
			subscription, ident.Literal(info), publication, ident.Quote(slot), streaming))
	})
}

// subscribed is a subscription at work.
type subscribed struct{ world *world }

func (w *world) startSubscription(ctx context.Context, _ string) (running, error) {
	return subscribed{w}, w.Super(ctx, w.Target, rig.Database, func(conn *pgx.Conn) error {
		return rig.ExecAll(ctx, conn, "ALTER SUBSCRIPTION "+subscription+" ENABLE")
	})
}

func (subscribed) Err() error { return nil }

func (subscribed) usage() (map[string]float64, int64, error) { return nil, 0, nil }

func (s subscribed) stop(ctx context.Context) error {
	return s.world.Super(ctx, s.world.Target, rig.Database, func(conn *pgx.Conn) error {
		var errs []error
		for _, sql := range []string{"DISABLE", "SET (slot_name = NONE)"} {
			_, err := conn.Exec(ctx, "ALTER SUBSCRIPTION "+subscription+" "+sql)
			errs = append(errs, err)
		}
		_, err := conn.Exec(ctx, "DROP SUBSCRIPTION "+subscription)
		return errors.Join(append(errs, err)...)
	})
}
