package capture

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/wal2json"
)

// CodePluginLimits: the plugin wal2json cannot say everything that this database's tables hold.
const CodePluginLimits = "wal2json-limits"

// jsonMessages asks wal2json for everything in the database and keeps what is in scope: the plugin's own filter goes by names,
// and would lose a partition that is made later.
type jsonMessages struct {
	translator *wal2json.Translator
	quoted     bool
}

func (j *jsonMessages) options(bool) []string { return wal2json.Options(j.quoted) }
func (j *jsonMessages) peekFunction() string  { return "pg_logical_slot_peek_changes" }

func (j *jsonMessages) translate(at change.LSN, raw []byte, skip bool, put func([]byte) error) error {
	return j.translator.Translate(at, raw, skip, put)
}

func (r *Receiver) newJSON(ctx context.Context) plugin {
	return &jsonMessages{translator: wal2json.NewTranslator(&catalogue{ctx: ctx, r: r}), quoted: r.quoted}
}

// prepareJSON finds out what the plugin can do, and refuses up front what it could not say: numbers that are NaN or infinite
// come as null from versions before 2.6, and text comes in the database's own encoding.
func (r *Receiver) prepareJSON(ctx context.Context, conn *pgconn.PgConn) error {
	results, err := conn.Exec(ctx, "SHOW server_encoding").ReadAll()
	if err != nil {
		return fmt.Errorf("read the source's encoding: %w", err)
	}
	if len(results) == 1 && len(results[0].Rows) == 1 && string(results[0].Rows[0][0]) != "UTF8" {
		return r.beyondJSON("the database's encoding is %s, and the plugin writes UTF8 databases only as they are", results[0].Rows[0][0])
	}
	if r.quoted, err = r.knowsOptions(ctx, conn, wal2json.Options(true)); err != nil || r.quoted {
		return err
	}
	c := catalogue{ctx: ctx, r: r}
	if err := c.read(); err != nil {
		return fmt.Errorf("read the tables of %v: %w", r.Publications, err)
	}
	if columns := unclearNumbers(c.tables); len(columns) > 0 {
		return r.beyondJSON("this version of the plugin writes NaN and the infinities as null, which these columns may also be: %s", strings.Join(columns, ", "))
	}
	return nil
}

func (r *Receiver) beyondJSON(format string, args ...any) error {
	return fault.New(fault.Operator, "receive from slot", r.Slot,
		"abort, then start again with replication.plugin: pgoutput, or with wal2json 2.6 or newer on the source, or without those tables", format, args...).WithCode(CodePluginLimits)
}

// unclearNumbers names the columns whose null may be a number that is none.
func unclearNumbers(tables map[ident.Table]wal2json.Table) []string {
	var columns []string
	for _, t := range tables {
		for _, c := range t.Columns {
			if c.MayBeNaN() && !c.NotNull {
				columns = append(columns, ident.Table{Schema: t.Schema, Name: t.Name}.String()+"."+ident.Quote(c.Name))
			}
		}
	}
	slices.Sort(columns)
	columns = slices.Compact(columns)
	if more := len(columns) - 8; more > 0 {
		columns = append(columns[:8], fmt.Sprintf("and %d more", more))
	}
	return columns
}

// knowsOptions asks the plugin to begin, and to end at the first record.
func (r *Receiver) knowsOptions(ctx context.Context, conn *pgconn.PgConn, options []string) (bool, error) {
	sql := "SELECT count(*) FROM pg_catalog.pg_logical_slot_peek_changes(" + ident.Literal(r.Slot) + ", '0/1', 1"
	for _, o := range options {
		sql += ", " + ident.Literal(o)
	}
	_, err := conn.Exec(ctx, sql+")").ReadAll()
	switch sqlState(err) {
	case "":
		return err == nil, err
	case "22023": // invalid_parameter_value: an unknown option
		return false, nil
	}
	return false, fmt.Errorf("ask the plugin %s for its options: %w", wal2jsonPlugin, r.explain(err, true))
}
