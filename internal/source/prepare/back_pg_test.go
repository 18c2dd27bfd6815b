package prepare_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/source/prepare"
	"timeferry/internal/testkit/pgtest"
)

func TestReadBack(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, `CREATE TABLE t (id int); CREATE TABLE other (id int);
		CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER usual BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing();
		CREATE TRIGGER always BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing(); ALTER TABLE t ENABLE ALWAYS TRIGGER always;
		CREATE TRIGGER there BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing(); ALTER TABLE t ENABLE REPLICA TRIGGER there;
		CREATE TRIGGER elsewhere BEFORE INSERT ON other FOR EACH ROW EXECUTE FUNCTION nothing(); ALTER TABLE other ENABLE ALWAYS TRIGGER elsewhere`)
	var f plan.BackFacts
	require.NoError(t, prepare.ReadBack(t.Context(), src.MasterConn(t), func(name ident.Table) bool { return name.Name == "t" }, &f))
	require.True(t, f.SourceCanCreate)
	require.True(t, f.SourceReplicaRole)
	require.Equal(t, []string{`"always" of public.t`, `"there" of public.t`}, f.AlwaysTriggers)
}
