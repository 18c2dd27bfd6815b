package prepare_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/source/prepare"
	"timeferry/internal/testkit/pgtest"
)

func TestNewTables(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, `CREATE TABLE known (id int); CREATE TABLE "Brand.New" (id int); CREATE TABLE audit_1 (id int);
		CREATE UNLOGGED TABLE unlogged (id int); CREATE TEMPORARY TABLE scratch (id int); CREATE VIEW seen AS SELECT 1;
		CREATE TABLE parts (k int) PARTITION BY LIST (k); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)`)
	scope := contract.Tables{Include: []string{"*.*"}, Exclude: []string{"public.audit_*"}}
	found, err := prepare.NewTables(t.Context(), src.Conn(t), scope, map[ident.Table]bool{public("known"): true})
	require.NoError(t, err)
	require.Equal(t, []ident.Table{public("Brand.New"), public("parts")}, found)
}
