package redirect

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/pgkit"
)

// console is a session on PgBouncer's console, which knows only the simple protocol.
type console struct{ conn *pgconn.PgConn }

func openConsole(ctx context.Context, e pgkit.Endpoint) (console, error) {
	conn, err := pgkit.DialConsole(ctx, e, "switch")
	return console{conn}, err
}

func (c console) close(ctx context.Context) {
	_ = c.conn.Close(context.WithoutCancel(ctx)) // its work is done
}

func (c console) do(ctx context.Context, command string) error {
	if _, err := c.conn.Exec(ctx, command).ReadAll(); err != nil {
		return fmt.Errorf("%s at PgBouncer: %w", command, err)
	}
	return nil
}

// served is how PgBouncer serves a database.
type served struct {
	host, port, database string
	paused               bool
}

// look reads SHOW DATABASES, whose columns differ from version to version but for their names.
func (c console) look(ctx context.Context, database string) (served, error) {
	results, err := c.conn.Exec(ctx, "SHOW DATABASES").ReadAll()
	if err != nil {
		return served{}, fmt.Errorf("SHOW DATABASES at PgBouncer: %w", err)
	}
	for _, result := range results {
		for _, row := range result.Rows {
			value := map[string]string{}
			for i, f := range result.FieldDescriptions {
				value[f.Name] = string(row[i])
			}
			if value["name"] == database {
				return served{value["host"], value["port"], value["database"], value["paused"] == "1"}, nil
			}
		}
	}
	return served{}, refused("pgbouncer", "give the name that clients connect to in cutover.switch.pgbouncer.database", "PgBouncer does not serve a database %s", database)
}

// name quotes a database for the console.
func name(database string) string { return `"` + strings.ReplaceAll(database, `"`, `""`) + `"` }
