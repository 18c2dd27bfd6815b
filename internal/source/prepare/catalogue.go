package prepare

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
)

// Catalogue answers questions about the source's schema, each over a connection of its own: they are rare. Safe for concurrent
// use.
type Catalogue struct{ Source pgkit.Endpoint }

// Define describes the relation with this OID as it is now, nil if it is gone, and names types.
func (c Catalogue) Define(ctx context.Context, oid uint32, types []shape.TypeRef) (defined *shape.Definition, names map[shape.TypeRef]shape.TypeName, err error) {
	err = c.read(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if defined, err = pgkit.DefinitionOf(ctx, tx, oid); err != nil {
			return err
		}
		names, err = pgkit.TypeNames(ctx, tx, types)
		return err
	})
	return defined, names, err
}

// Enums are the enum types that no extension brought.
func (c Catalogue) Enums(ctx context.Context) (enums []shape.Enum, err error) {
	err = c.read(ctx, func(ctx context.Context, tx pgx.Tx) error {
		enums, err = pgkit.Enums(ctx, tx)
		return err
	})
	return enums, err
}

// NamesOf are the present names of the tables with these OIDs; those that are gone are not in the result.
func NamesOf(ctx context.Context, q pgkit.Querier, oids []uint32) (map[uint32]ident.Table, error) {
	names := map[uint32]ident.Table{}
	var oid uint32
	var t ident.Table
	err := each(ctx, q, `SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = ANY ($1::oid[]) AND c.relkind IN ('r', 'p')`, []any{&oid, &t.Schema, &t.Name}, func() { names[oid] = t }, oids)
	if err != nil {
		return nil, fmt.Errorf("read names of tables: %w", err)
	}
	return names, nil
}

const cataloguePatience = 30 * time.Second

func (c Catalogue) read(ctx context.Context, ask func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cataloguePatience, errors.New("reading the source's catalogue took longer than 30s"))
	defer cancel()
	conn, err := pgkit.Dial(ctx, c.Source, "catalogue")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // only read from
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error { return ask(ctx, tx) })
}
