package schemadiff_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/schemadiff"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// wholePlan expects everything to arrive.
func wholePlan() schemadiff.Plan {
	return schemadiff.Plan{Tables: contract.Tables{Include: []string{"*.*"}}, SourceMaster: pgtest.SourceMaster, TargetAdmin: pgtest.TargetMaster, Roles: true, Privileges: true}
}

func mustCheck(t *testing.T, src, dst *pgtest.Database, plan schemadiff.Plan) schemadiff.Result {
	t.Helper()
	result, err := schemadiff.Check(context.Background(), src.MasterConn(t), dst.Conn(t), plan)
	require.NoError(t, err)
	return result
}

func mustMasterExec(t *testing.T, d *pgtest.Database, sql string) {
	t.Helper()
	_, err := d.MasterConn(t).Exec(context.Background(), sql)
	require.NoError(t, err)
}

// withRoles makes the roles on both sides, and takes them away with the test.
func withRoles(t *testing.T, databases []*pgtest.Database, roles ...string) {
	t.Helper()
	for _, d := range databases {
		for _, role := range roles {
			mustMasterExec(t, d, "CREATE ROLE "+ident.Quote(role))
			mustMasterExec(t, d, "GRANT "+ident.Quote(role)+" TO CURRENT_USER")
		}
		t.Cleanup(func() {
			for _, role := range roles {
				d.Exec(t, "DROP OWNED BY "+ident.Quote(role)+" CASCADE")
			}
			d.Exec(t, "DROP ROLE "+ident.Columns(roles))
		})
	}
}

func lines(differences []schemadiff.Difference) []string {
	var all []string
	for _, d := range differences {
		all = append(all, d.String())
	}
	return all
}
