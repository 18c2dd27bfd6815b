package extract

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

// TestConstraintsInTwoSteps: the statements, what else the dump says behind the second, and what stays in one step.
func TestConstraintsInTwoSteps(t *testing.T) {
	src := pgtest.Source(t)
	mustMasterExec(t, src, `CREATE TABLE "T t" (a int, b int NOT NULL, c text, CONSTRAINT "t ""pk" PRIMARY KEY (b, a) INCLUDE (c) WITH (fillfactor = 70) DEFERRABLE INITIALLY DEFERRED); ALTER TABLE "T t" CLUSTER ON "t ""pk";
		CREATE TABLE u (a int CONSTRAINT u_a UNIQUE NULLS NOT DISTINCT, r int4range, EXCLUDE USING gist (r WITH &&)); ALTER TABLE u ADD CONSTRAINT u_a_check CHECK (a > 0) NOT VALID;
		CREATE TABLE p (a int PRIMARY KEY) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p DEFAULT;
		CREATE TABLE h (at timestamptz PRIMARY KEY)`)
	entries, _ := mustDump(t, src, DumpOptions{Tables: everything, Hypertables: []contract.Hypertable{{Table: "public.h", TimeColumn: "at"}}})
	pk := entries[`CONSTRAINT public.T t t "pk`]
	require.Equal(t, `CREATE UNIQUE INDEX "t ""pk" ON "public"."T t" USING "btree" ("b", "a") INCLUDE ("c") WITH ("fillfactor"='70');`, pk.IndexSQL)
	require.Equal(t, "ALTER TABLE ONLY \"public\".\"T t\"\n    ADD CONSTRAINT \"t \"\"pk\" PRIMARY KEY USING INDEX \"t \"\"pk\" DEFERRABLE INITIALLY DEFERRED;\n\nALTER TABLE \"public\".\"T t\" CLUSTER ON \"t \"\"pk\";", pk.AttachSQL)
	require.Equal(t, `CREATE UNIQUE INDEX "u_a" ON "public"."u" USING "btree" ("a") NULLS NOT DISTINCT;`, entries["CONSTRAINT public.u u_a"].IndexSQL)
	require.Equal(t, "ALTER TABLE ONLY \"public\".\"p1\"\n    ADD CONSTRAINT \"p1_pkey\" PRIMARY KEY USING INDEX \"p1_pkey\";", entries["CONSTRAINT public.p1 p1_pkey"].AttachSQL)
	for _, name := range []string{"CONSTRAINT public.u u_r_excl", "CHECK CONSTRAINT public.u u_a_check", "CONSTRAINT public.p p_pkey", "CONSTRAINT public.h h_pkey"} {
		require.NotEmpty(t, entries[name].SQL, name)
		require.Empty(t, entries[name].IndexSQL+entries[name].AttachSQL, name)
	}
}
