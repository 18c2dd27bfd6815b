package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
)

// content is what a database holds: per table the number of rows, and the sum over a hash of each row's text, which does not
// depend on their order.
type content map[string]tableContent

type tableContent struct {
	Rows int64
	Sum  string
}

func readContent(ctx context.Context, conn *pgx.Conn, tables []string) (content, error) {
	c := content{}
	if _, err := conn.Exec(ctx, "SELECT set_config('extra_float_digits', '1', false), set_config('TimeZone', 'UTC', false)"); err != nil {
		return nil, err
	}
	for _, name := range tables {
		var t tableContent
		sql := fmt.Sprintf("SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM %s AS t", ident.Quote(name))
		if err := conn.QueryRow(ctx, sql).Scan(&t.Rows, &t.Sum); err != nil {
			return nil, fmt.Errorf("read the content of %s: %w", name, err)
		}
		c[name] = t
	}
	return c, nil
}

// differs says what got has else, "" if nothing.
func (c content) differs(got content) string {
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		want, have := c[name], got[name]
		switch {
		case want.Rows != have.Rows:
			wrong = append(wrong, fmt.Sprintf("%s has %d rows, not %d", name, have.Rows, want.Rows))
		case want.Sum != have.Sum:
			wrong = append(wrong, name+" has other values")
		}
	}
	return strings.Join(wrong, "; ")
}

func (c content) counts() (list []string) {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		list = append(list, fmt.Sprintf("%s %d", name, c[name].Rows))
	}
	return list
}
