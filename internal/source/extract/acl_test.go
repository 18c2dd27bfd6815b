package extract

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/target/ledger"
)

func TestCutGrants(t *testing.T) {
	grants, err := cutGrants(`REVOKE ALL ON FUNCTION "public"."f; TO x"("a" integer, OUT "TO" text) FROM PUBLIC;
GRANT SELECT("from"),UPDATE("x") ON TABLE "s"."t" TO "we; ""ird" WITH GRANT OPTION;
SET SESSION AUTHORIZATION "we; ""ird";
GRANT SELECT ON TABLE "s"."t" TO "rds_superuser";
RESET SESSION AUTHORIZATION;
GRANT SELECT ON TABLE "s"."t" TO "other";
`)
	require.NoError(t, err)
	require.Equal(t, []grant{
		{before: `REVOKE ALL ON FUNCTION "public"."f; TO x"("a" integer, OUT "TO" text) FROM `, role: ledger.PublicRole},
		{before: `GRANT SELECT("from"),UPDATE("x") ON TABLE "s"."t" TO `, role: `we; "ird`, after: " WITH GRANT OPTION"},
		{before: `GRANT SELECT ON TABLE "s"."t" TO `, role: "rds_superuser", grantor: `we; "ird`},
		{before: `GRANT SELECT ON TABLE "s"."t" TO `, role: "other"},
	}, grants)
	_, err = cutGrants("DROP TABLE x;")
	require.Error(t, err)
}

func TestCutDefaultPrivileges(t *testing.T) {
	grants, err := cutGrants(`ALTER DEFAULT PRIVILEGES FOR ROLE "master" IN SCHEMA "public" GRANT SELECT ON TABLES  TO "reader";`)
	require.NoError(t, err)
	require.Equal(t, []grant{{before: `ALTER DEFAULT PRIVILEGES FOR ROLE "master" IN SCHEMA "public" GRANT SELECT ON TABLES  TO `, role: "reader", forRole: "master"}}, grants)
	mapped := grants[0].mapForRole("master")
	require.Equal(t, `ALTER DEFAULT PRIVILEGES FOR ROLE CURRENT_USER IN SCHEMA "public" GRANT SELECT ON TABLES  TO `, mapped.before)
	require.Equal(t, ledger.CurrentRole, mapped.forRole)
	require.Equal(t, grants[0], grants[0].mapForRole("other"))
}
