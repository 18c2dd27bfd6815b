package rig

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
)

// ServerFacts is one server.
type ServerFacts struct {
	Version     string            `json:"version"`
	TimescaleDB string            `json:"timescaledb,omitempty"`
	Settings    map[string]string `json:"settings"`

	// Bytes is the size of the database that was asked.
	Bytes int64 `json:"-"`
}

// reported are the settings of the servers that matter for a benchmark.
var reported = []string{"shared_buffers", "max_wal_size", "checkpoint_timeout", "wal_level", "fsync", "full_page_writes", "synchronous_commit",
	"maintenance_work_mem", "max_parallel_maintenance_workers", "max_parallel_workers", "max_worker_processes", "autovacuum", "wal_compression",
	"logical_decoding_work_mem", "ssl"}

// Facts reads what a report says about one server.
func (r *Rig) Facts(ctx context.Context, server *pgserver.Server, database string) (f ServerFacts, err error) {
	f.Settings = map[string]string{}
	err = r.Super(ctx, server, database, func(conn *pgx.Conn) error { return f.read(ctx, conn) })
	return f, err
}

func (f *ServerFacts) read(ctx context.Context, conn *pgx.Conn) error {
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version'), coalesce((SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'), ''),
		pg_database_size(current_database())`).Scan(&f.Version, &f.TimescaleDB, &f.Bytes)
	if err != nil {
		return fmt.Errorf("read the server's version: %w", err)
	}
	for _, name := range reported {
		value, ok, err := pgkit.Setting(ctx, conn, name)
		if err != nil {
			return err
		}
		if ok {
			f.Settings[name] = value
		}
	}
	return nil
}
