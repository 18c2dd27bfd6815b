package shop

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// Roles of the shop: the application's login, and a group that may read.
const (
	AppRole      = "shop_app"
	ReadonlyRole = "shop_readonly"
)

//go:embed schema.sql
var schemaSQL string

//go:embed seed_shop.sql
var seedShopSQL string

//go:embed seed_iot.sql
var seedIoTSQL string

// CreateRoles makes the shop's two roles, which belong to the whole server, or sets the application's password anew if
// they exist. q must be allowed to create roles.
func CreateRoles(ctx context.Context, q pgkit.Querier, appPassword string) error {
	for _, role := range []struct{ name, options string }{
		{AppRole, "LOGIN PASSWORD " + ident.Literal(appPassword)},
		{ReadonlyRole, "NOLOGIN"},
	} {
		var exists bool
		if err := q.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)", role.name).Scan(&exists); err != nil {
			return fmt.Errorf("look for role %s: %w", role.name, err)
		}
		verb := "CREATE"
		if exists {
			verb = "ALTER"
		}
		if _, err := q.Exec(ctx, verb+" ROLE "+ident.Quote(role.name)+" "+role.options); err != nil {
			return fmt.Errorf("create role %s: %w", role.name, err)
		}
	}
	return nil
}

// Create makes the schema and fills it, in the empty database of owner, who must be allowed to set
// session_replication_role. Scale 1 is two million rows in metrics and a few hundred thousand elsewhere.
func Create(ctx context.Context, owner pgkit.Endpoint, scale float64) error {
	if err := inTx(ctx, owner, schemaSQL); err != nil {
		return fmt.Errorf("create the shop's schema: %w", err)
	}
	// Triggers and foreign keys are off, so the halves do not need each other, and two cores can share the work.
	prelude := fmt.Sprintf("SET LOCAL session_replication_role = replica; SET LOCAL \"shop.scale\" = '%s';", strconv.FormatFloat(scale, 'f', -1, 64))
	group, groupCtx := errgroup.WithContext(ctx)
	for _, half := range []string{seedShopSQL, seedIoTSQL} {
		group.Go(func() error { return inTx(groupCtx, owner, prelude+half) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("fill the shop: %w", err)
	}
	if err := inTx(ctx, owner, "ANALYZE"); err != nil {
		return fmt.Errorf("analyze the shop: %w", err)
	}
	return nil
}

// inTx runs several statements in one transaction of a session of their own, by the simple protocol.
func inTx(ctx context.Context, e pgkit.Endpoint, sql string) (err error) {
	conn, err := pgkit.Dial(ctx, e, "shop")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		return tx.Conn().PgConn().Exec(ctx, sql).Close()
	})
}
