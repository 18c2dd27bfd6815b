package provision

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// Codes of the problems with hypertables.
const (
	CodeNoTimescale      = "no-timescaledb"
	licenseOfAllFeatures = "timescale"
)

// timescale is what the target's extension offers.
type timescale struct {
	installed bool
	schema    string // of its functions
	license   string // "apache" or "timescale"
	builders  bool   // by_range and by_hash (from 2.13)
	columns   bool   // the columnstore's own words (from 2.18); compression before
}

func readTimescale(ctx context.Context, q pgkit.Querier) (timescale, error) {
	var t timescale
	err := q.QueryRow(ctx, `SELECT n.nspname, coalesce(current_setting('timescaledb.license', true), ''),
			EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid AND p.proname = 'by_range'),
			EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid AND p.proname = 'add_columnstore_policy')
		FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb'`).
		Scan(&t.schema, &t.license, &t.builders, &t.columns)
	if errors.Is(err, pgx.ErrNoRows) {
		return timescale{}, nil
	}
	if err != nil {
		return timescale{}, fmt.Errorf("look for TimescaleDB: %w", err)
	}
	t.installed = true
	return t, nil
}

func (t timescale) isHypertable(ctx context.Context, q pgkit.Querier, table ident.Table) (bool, error) {
	if !t.installed {
		return false, nil
	}
	var is bool
	err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM timescaledb_information.hypertables WHERE (hypertable_schema, hypertable_name) = ($1::name, $2::name))`,
		table.Schema, table.Name).Scan(&is)
	if err != nil {
		return false, fmt.Errorf("read hypertables: %w", err)
	}
	return is, nil
}

// readHypertables lists the hypertables of the target, whoever made them.
func readHypertables(ctx context.Context, q pgkit.Querier) (map[ident.Table]bool, error) {
	hyper := map[ident.Table]bool{}
	t, err := readTimescale(ctx, q)
	if err != nil || !t.installed {
		return hyper, err
	}
	rows, err := q.Query(ctx, "SELECT hypertable_schema, hypertable_name FROM timescaledb_information.hypertables")
	if err != nil {
		return nil, fmt.Errorf("read hypertables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ident.Table])
	if err != nil {
		return nil, fmt.Errorf("read hypertables: %w", err)
	}
	for _, table := range tables {
		hyper[table] = true
	}
	return hyper, nil
}

// Hypertables makes the tables hypertables, while they are empty and without indexes. The columnstore is set up by Finish
// and the jobs of columnstore and retention by AtCutover, since they would get in the way of what is still applied; on an
// edition without them they are left out, which preflight refuses to begin with. It returns the tables that are hypertables now.
//
// Safe to repeat because what is a hypertable already stays. Undone by DropCreated.
func Hypertables(ctx context.Context, target *pgx.Conn, specs []contract.Hypertable) ([]string, error) {
	ts, err := readTimescale(ctx, target)
	if err != nil {
		return nil, err
	}
	var made []string
	for _, s := range specs {
		table, ok := ident.ParseTable(s.Table)
		if !ok {
			return made, fault.New(fault.Operator, "make hypertable", s.Table, "write schema.table", "this is no table name")
		}
		if !ts.installed {
			return made, fault.New(fault.Operator, "make hypertable", table.String(), "CREATE EXTENSION timescaledb in the target database", "the target has no TimescaleDB").WithCode(CodeNoTimescale)
		}
		err := pgkit.InTx(ctx, target, func(tx pgx.Tx) error { return ts.make(ctx, tx, table, s) })
		if err != nil {
			return made, err
		}
		made = append(made, table.String())
	}
	return made, nil
}

func (t timescale) make(ctx context.Context, tx pgx.Tx, table ident.Table, s contract.Hypertable) error {
	if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('timeferry.hypertable'))"); err != nil {
		return err
	}
	if is, err := t.isHypertable(ctx, tx, table); err != nil || is {
		return err
	}
	interval, err := intervalFor(ctx, tx, table, s)
	if err != nil {
		return err
	}
	e := ledger.Entry{Kind: "HYPERTABLE", Schema: table.Schema, Name: table.Name}
	for _, sql := range t.createSQL(table, s, interval) {
		if err := execute(ctx, tx, e, sql); err != nil {
			return err
		}
	}
	if t.license != licenseOfAllFeatures {
		return nil
	}
	for _, later := range t.later(table, s) {
		if err := ledger.AddEntry(ctx, tx, later); err != nil {
			return fmt.Errorf("store %s: %w", later, err)
		}
	}
	return nil
}

// intervalFor writes the chunk interval as the time column's type wants it: a number for integers.
func intervalFor(ctx context.Context, tx pgx.Tx, table ident.Table, s contract.Hypertable) (string, error) {
	var isInteger bool
	err := tx.QueryRow(ctx, `SELECT a.atttypid IN (20, 21, 23) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE (n.nspname, c.relname, a.attname) = ($1, $2, $3) AND NOT a.attisdropped`,
		table.Schema, table.Name, s.TimeColumn).Scan(&isInteger)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", fault.New(fault.Operator, "make hypertable", table.String(), "correct hypertables in the spec", "the target has no such table with a column %q", s.TimeColumn).WithCode("no-such-column")
	}
	if err != nil {
		return "", fmt.Errorf("read time column of %s: %w", table, err)
	}
	if !isInteger {
		return "INTERVAL " + ident.Literal(s.ChunkInterval), nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s.ChunkInterval), 10, 64)
	if err != nil || n <= 0 {
		return "", fault.New(fault.Operator, "make hypertable", table.String(), "write chunkInterval as a number in the column's unit",
			"its time column %q is an integer, and %q is no number", s.TimeColumn, s.ChunkInterval).WithCode("bad-chunk-interval")
	}
	return strconv.FormatInt(n, 10) + "::bigint", nil
}

// createSQL leaves out the default index on the time column: the source's own indexes come after the copy.
func (t timescale) createSQL(table ident.Table, s contract.Hypertable, interval string) []string {
	schema, name := ident.Quote(t.schema)+".", ident.Literal(table.Quote())+"::regclass"
	if !t.builders {
		space := ""
		if s.SpaceColumn != "" {
			space = fmt.Sprintf(", partitioning_column => %s, number_partitions => %d", ident.Literal(s.SpaceColumn), s.SpacePartitions)
		}
		return []string{fmt.Sprintf("SELECT %screate_hypertable(%s, %s%s, chunk_time_interval => %s, create_default_indexes => false)",
			schema, name, ident.Literal(s.TimeColumn), space, interval)}
	}
	statements := []string{fmt.Sprintf("SELECT %screate_hypertable(%s, %sby_range(%s, %s), create_default_indexes => false)",
		schema, name, schema, ident.Literal(s.TimeColumn), interval)}
	if s.SpaceColumn != "" {
		statements = append(statements, fmt.Sprintf("SELECT %sadd_dimension(%s, %sby_hash(%s, %d))", schema, name, schema, ident.Literal(s.SpaceColumn), s.SpacePartitions))
	}
	return statements
}

// later are the entries for columnstore and retention.
func (t timescale) later(table ident.Table, s contract.Hypertable) []ledger.Entry {
	var entries []ledger.Entry
	add := func(section, kind, sql string) {
		entries = append(entries, ledger.Entry{ID: strings.ToLower(kind) + ":" + table.Quote(), Section: section, Kind: kind,
			Schema: table.Schema, Name: table.Name, Table: table, SQL: sql})
	}
	schema, name := ident.Quote(t.schema)+".", ident.Literal(table.Quote())+"::regclass"
	if c := s.Columnstore; c != nil {
		add(ledger.SectionFinish, "COLUMNSTORE", t.columnstoreSQL(table, *c))
		switch {
		case c.After == "":
		case t.columns:
			add(ledger.SectionCutover, "COLUMNSTORE POLICY", fmt.Sprintf("CALL %sadd_columnstore_policy(%s, after => INTERVAL %s, if_not_exists => true);", schema, name, ident.Literal(c.After)))
		default:
			add(ledger.SectionCutover, "COLUMNSTORE POLICY", fmt.Sprintf("SELECT %sadd_compression_policy(%s, INTERVAL %s, if_not_exists => true);", schema, name, ident.Literal(c.After)))
		}
	}
	if s.Retention != "" {
		add(ledger.SectionCutover, "RETENTION POLICY", fmt.Sprintf("SELECT %sadd_retention_policy(%s, INTERVAL %s, if_not_exists => true);", schema, name, ident.Literal(s.Retention)))
	}
	return entries
}

func (t timescale) columnstoreSQL(table ident.Table, c contract.Columnstore) string {
	enable, prefix := "timescaledb.compress", "timescaledb.compress_"
	if t.columns {
		enable, prefix = "timescaledb.enable_columnstore", "timescaledb."
	}
	options := []string{enable + " = true"}
	if len(c.SegmentBy) > 0 {
		options = append(options, prefix+"segmentby = "+ident.Literal(ident.Columns(c.SegmentBy)))
	}
	if c.OrderBy != "" {
		options = append(options, prefix+"orderby = "+ident.Literal(c.OrderBy))
	}
	return "ALTER TABLE " + table.Quote() + " SET (" + strings.Join(options, ", ") + ");"
}
