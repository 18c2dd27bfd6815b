package schemadiff

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// renderAtOnce bounds how many temporary objects one transaction makes: each holds some locks until its end.
const renderAtOnce = 200

// rendering is an object whose definition the two sides tell differently.
type rendering struct {
	key       renderedKey
	create    string // of a temporary object, with its name
	temporary string // its name; of a function with the types of its arguments
}

// render has this server read the source's definitions and write them anew, where they are not the same already; minor
// versions and libraries of locales differ too. What it cannot
// read stays as the source wrote it, and is a difference that says so.
func (c *Catalog) render(ctx context.Context, conn *pgx.Conn, source *Catalog) error {
	var todo []rendering
	own := map[renderedKey]*Object{}
	for _, o := range c.Objects {
		own[renderedKey{kind: o.Kind, name: o.Name}] = o
	}
	for _, s := range source.Objects {
		t := own[renderedKey{kind: s.Kind, name: s.Name}]
		if t == nil {
			continue
		}
		name := fmt.Sprintf("timeferry_%d", len(todo))
		switch {
		case (s.Kind == View || s.Kind == MaterializedView) && s.property("definition") != t.property("definition"):
			todo = append(todo, rendering{renderedKey{s.Kind, s.Name, "definition"}, "CREATE TEMPORARY VIEW " + ident.Quote(name) + " AS " + s.property("definition"), name})
		case s.Kind == Function && s.property("_create") != "" && s.property("body") != t.property("body"):
			// Under its own name, since a body may name its arguments by it.
			todo = append(todo, rendering{renderedKey{s.Kind, s.Name, "body"}, "CREATE " + s.property("kind") + " pg_temp." + ident.Quote(s.property("_name")) + s.property("_create") + ";",
				s.property("_name") + s.property("_types")})
		case s.Kind == Collation && s.property("provider") == "icu" && s.property("locale") != t.property("locale"):
			todo = append(todo, rendering{renderedKey{s.Kind, s.Name, "locale"},
				"CREATE COLLATION pg_temp." + ident.Quote(name) + " (provider = icu, locale = " + ident.Literal(s.property("locale")) + ");", name})
		}
	}
	for len(todo) > 0 {
		n := min(len(todo), renderAtOnce)
		if err := c.renderSome(ctx, conn, todo[:n]); err != nil {
			return fmt.Errorf("render definitions of the source on the target: %w", err)
		}
		todo = todo[n:]
	}
	return nil
}

// errUndo ends a transaction that must not last.
var errUndo = errors.New("undo")

func (c *Catalog) renderSome(ctx context.Context, conn *pgx.Conn, some []rendering) error {
	err := pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sessionSQL); err != nil {
			return fmt.Errorf("prepare session: %w", err)
		}
		if _, err := tx.Exec(ctx, "SET LOCAL client_min_messages = error"); err != nil { // a locale made canonical is worth a notice
			return fmt.Errorf("prepare session: %w", err)
		}
		if err := c.createTemporary(ctx, tx, some); err != nil {
			return err
		}
		if err := c.readRendered(ctx, tx, some); err != nil {
			return err
		}
		return errUndo
	})
	if errors.Is(err, errUndo) {
		return nil
	}
	return err
}

// createTemporary makes all at once; if one is refused, each half by itself, so that only that one is left out.
func (c *Catalog) createTemporary(ctx context.Context, tx pgx.Tx, some []rendering) error {
	var all strings.Builder
	for _, r := range some {
		all.WriteString(r.create + "\n")
	}
	savepoint, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = savepoint.Exec(ctx, all.String(), pgx.QueryExecModeSimpleProtocol)
	if err == nil {
		return savepoint.Commit(ctx)
	}
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return err
	}
	if err := savepoint.Rollback(ctx); err != nil {
		return err
	}
	if len(some) == 1 {
		c.refused[some[0].key] = refused.Message
		return nil
	}
	half := len(some) / 2
	if err := c.createTemporary(ctx, tx, some[:half]); err != nil {
		return err
	}
	return c.createTemporary(ctx, tx, some[half:])
}

const renderedSQL = `
SELECT c.relname, pg_get_viewdef(c.oid) FROM pg_class c WHERE c.relnamespace = pg_my_temp_schema() AND c.relkind = 'v' AND c.relname = ANY ($1)
UNION ALL SELECT f.name, f.body FROM (SELECT p.proname || ` + typesSQL + ` AS name, ` + bodySQL + ` AS body FROM pg_proc p WHERE p.pronamespace = pg_my_temp_schema()) f WHERE f.name = ANY ($1)
UNION ALL SELECT c.collname, {locale} FROM pg_collation c WHERE c.collnamespace = pg_my_temp_schema() AND c.collname = ANY ($1)`

func (c *Catalog) readRendered(ctx context.Context, tx pgx.Tx, some []rendering) error {
	keys := map[string]renderedKey{}
	var names []string
	for _, r := range some {
		keys[r.temporary] = r.key
		names = append(names, r.temporary)
	}
	sql := query{sql: renderedSQL, variants: append(slices.Clone(icuLocale), functionBody)}.text(c.Version)
	return each(ctx, tx, sql, []any{names}, func(row pgx.Rows) error {
		var name, text string
		err := row.Scan(&name, &text)
		c.rendered[keys[name]] = text
		return err
	})
}
