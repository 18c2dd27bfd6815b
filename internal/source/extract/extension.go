package extract

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// CodeExtensionRows is about rows of extensions' configuration tables.
const CodeExtensionRows = "extension-rows"

// maxExtensionRowsBytes bounds what one configuration table may hold: the rows travel as statements in the ledger.
const maxExtensionRowsBytes = 8 << 20

// configuration is a table or sequence of an extension whose contents belong to the user, as far as the condition says
// (pg_extension_config_dump). pg_dump carries them with the data; they are in no publication.
type configuration struct {
	oid             uint32
	extension, kind string
	name            ident.Table
	columns         []string
	condition       string
}

const configurationsSQL = `
SELECT c.oid, e.extname, c.relkind::text, n.nspname, c.relname, coalesce(x.condition, ''),
	ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum)
FROM pg_catalog.pg_extension e, LATERAL unnest(e.extconfig, e.extcondition) WITH ORDINALITY x(relation, condition, n)
JOIN pg_catalog.pg_class c ON c.oid = x.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE e.extname NOT IN ('timescaledb', 'plpgsql') AND c.relkind IN ('r', 'p', 'S') ORDER BY e.extname, x.n`

// lookedUp are the extensions whose functions look into their configuration table: indexes, checks and generated columns
// need its rows from the start.
var lookedUp = map[string]bool{"postgis": true}

// extensionRows makes an entry of the rows of each configuration table. They come at the switch, since rows can be jobs, which
// must not run on the target before; those that are looked up come right after their extension (see weave).
func extensionRows(ctx context.Context, tx pgx.Tx, tables contract.Tables) ([]ledger.Entry, []contract.Problem, error) {
	var all []configuration
	err := each(ctx, tx, configurationsSQL, nil, func(row pgx.Rows) error {
		var c configuration
		err := row.Scan(&c.oid, &c.extension, &c.kind, &c.name.Schema, &c.name.Name, &c.condition, &c.columns)
		all = append(all, c)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read extensions' configuration tables: %w", err)
	}
	notExcluded := contract.Tables{Include: []string{"*.*"}, Exclude: slices.Concat(tables.Exclude, tables.ExcludeData)}
	var entries []ledger.Entry
	var problems []contract.Problem
	for _, c := range all {
		if !notExcluded.Includes(c.name) {
			continue
		}
		sql, problem, err := c.read(ctx, tx)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s of extension %s: %w", c.name, c.extension, err)
		}
		if problem != nil {
			problems = append(problems, *problem)
		}
		if sql != "" {
			section := ledger.SectionCutover
			if lookedUp[c.extension] {
				section = ledger.SectionPreData
			}
			entries = append(entries, ledger.Entry{ID: fmt.Sprintf("config.%d", c.oid), Section: section, Kind: KindExtensionData,
				Schema: c.name.Schema, Name: c.name.Name, SQL: sql})
		}
	}
	return entries, problems, nil
}

// weave puts the rows of extensions among the entries: before the data at the end of the extensions, else at the end.
func weave(entries, rows []ledger.Entry) []ledger.Entry {
	extensions := 0
	for i, e := range entries {
		if e.Kind == "EXTENSION" {
			extensions = i + 1
		}
	}
	var early, late []ledger.Entry
	for _, r := range rows {
		if r.Section == ledger.SectionPreData {
			early = append(early, r)
		} else {
			late = append(late, r)
		}
	}
	return inOrder(append(slices.Insert(entries, extensions, early...), late...))
}

// read makes the statements that put the contents on the target, none if there are none.
func (c configuration) read(ctx context.Context, tx pgx.Tx) (string, *contract.Problem, error) {
	query := "SELECT last_value, is_called FROM " + c.name.Quote()
	if c.kind != "S" {
		query = "SELECT " + ident.Columns(c.columns) + " FROM ONLY " + c.name.Quote() + " " + c.condition
	}
	var rows [][][]byte
	err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error { // a savepoint: the snapshot outlives a refusal
		results, err := tx.Conn().PgConn().Exec(ctx, query).ReadAll() // the simple protocol answers with output functions' text
		if err == nil && len(results) == 1 {
			rows = results[0].Rows
		}
		return err
	})
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == "42501":
		return "", c.problem(contract.Warning, "the rows of this configuration table of extension "+c.extension+" may not be read, and are not carried over",
			"grant SELECT on it to the user of the migration, or carry them over yourself"), nil
	case err != nil || len(rows) == 0:
		return "", nil, err
	case c.kind == "S":
		value, called := string(rows[0][0]), string(rows[0][1]) == "t"
		return fmt.Sprintf("SELECT pg_catalog.setval(%s::pg_catalog.regclass, %s, %t);", ident.Literal(c.name.Quote()), value, called), nil, nil
	}
	sql := c.insert(rows)
	if len(sql) > maxExtensionRowsBytes {
		return "", c.problem(contract.Warning, fmt.Sprintf("this configuration table of extension %s has %d rows, too much to go with the schema: they are not carried over", c.extension, len(rows)),
			"carry them over yourself after the switch"), nil
	}
	when := "arrive at the switch"
	if lookedUp[c.extension] {
		when = "arrive with the schema"
	}
	return sql, c.problem(contract.Info, fmt.Sprintf("%d rows of this configuration table of extension %s %s, as they are in the migration's snapshot", len(rows), c.extension, when),
		"repeat on the target what is changed in it until then"), nil
}

// insert keeps what the extension itself has put into the target's table.
func (c configuration) insert(rows [][][]byte) string {
	const atOnce = 500
	head := "INSERT INTO " + c.name.Quote() + " (" + ident.Columns(c.columns) + ") OVERRIDING SYSTEM VALUE VALUES"
	var sql strings.Builder
	for i, row := range rows {
		switch {
		case i%atOnce == 0:
			sql.WriteString(head)
		default:
			sql.WriteString(",")
		}
		sql.WriteString("\n(")
		for j, value := range row {
			if j > 0 {
				sql.WriteString(", ")
			}
			if value == nil {
				sql.WriteString("NULL")
			} else {
				sql.WriteString(ident.Literal(string(value)))
			}
		}
		sql.WriteString(")")
		if i == len(rows)-1 || i%atOnce == atOnce-1 {
			sql.WriteString("\nON CONFLICT DO NOTHING;\n")
		}
	}
	return sql.String()
}

func (c configuration) problem(severity contract.Severity, message, remedy string) *contract.Problem {
	return &contract.Problem{Severity: severity, Code: CodeExtensionRows, Object: c.name.String(), Message: message, Remedy: remedy}
}
