package prepare_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/source/prepare"
)

func names(f plan.SourceFacts) []string {
	var all []string
	for _, t := range f.Tables {
		all = append(all, t.Table.String())
	}
	return all
}

func TestReadFactsAsMaster(t *testing.T) {
	b := setup(t)
	f := b.facts(t)
	require.Equal(t, 15, f.Version/10000)
	require.Equal(t, b.src.Master.User, f.User)
	require.Equal(t, b.src.Master.Database, f.Database)
	require.Equal(t, "UTF8", f.Encoding)
	require.Positive(t, f.DatabaseBytes)
	require.False(t, f.Superuser)
	require.False(t, f.InRecovery)
	require.True(t, f.Managed, "the test server has RDS's roles")
	require.True(t, f.CanReplicate)
	require.True(t, f.CanCreate)
	require.True(t, f.OwnsDatabase)
	require.Equal(t, "logical", f.Settings["wal_level"])
	require.Equal(t, "-1", f.Settings["max_slot_wal_keep_size"])
	require.Equal(t, "-1", f.Settings["old_snapshot_threshold"])
	require.NotEmpty(t, f.Settings["max_replication_slots"])
	require.NotEmpty(t, f.Settings["max_wal_senders"])
	require.Positive(t, f.MaxConnections)
	require.Positive(t, f.Connections)
	require.Equal(t, []string{`public."Odd ""name"`, "public.bare", "public.coded", "public.indexed", "public.keyed", "public.late", "public.log", "public.parted", "public.switched_off"}, names(f))
	require.Equal(t, map[ident.Table]ident.Table{public("parted_1"): public("parted"), public("parted_2"): public("parted"), public("parted_2_x"): public("parted"),
		public("indexed_1"): public("indexed"), public("bare_1"): public("bare")}, f.Partitions)
	require.Empty(t, f.NotOwned)
	require.Empty(t, f.Unreadable)
	require.Empty(t, f.RowSecurity)
	require.Empty(t, f.Extensions)
	require.Zero(t, f.LargeObjects)
}

func TestReadFactsKeepsToTheScope(t *testing.T) {
	b := setup(t)
	b.src.Exec(t, "CREATE TABLE alien (id int)")
	scope := contract.Tables{Include: []string{"public.*"}, Exclude: []string{"public.*ed", "public.alien"}}
	f, err := prepare.ReadFacts(t.Context(), b.conn, scope)
	require.NoError(t, err)
	require.Equal(t, []string{`public."Odd ""name"`, "public.bare", "public.late", "public.log", "public.switched_off"}, names(f))
	require.Len(t, f.AllTables, 10)
	require.Empty(t, f.NotOwned, "what is out of scope may be anybody's")
}

func TestReadFactsSeesWhoseTablesTheyAre(t *testing.T) {
	b := setup(t)
	b.src.Exec(t, `CREATE TABLE alien (id int); CREATE TABLE lent (id int); GRANT SELECT ON lent TO PUBLIC;
		CREATE TABLE parted_3 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
		ALTER TABLE log ENABLE ROW LEVEL SECURITY; ALTER TABLE log FORCE ROW LEVEL SECURITY;
		ALTER TABLE keyed ENABLE ROW LEVEL SECURITY`)
	f := b.facts(t)
	require.Equal(t, []ident.Table{public("alien"), public("lent"), public("parted_3")}, f.NotOwned)
	require.Equal(t, []ident.Table{public("alien"), public("parted_3")}, f.Unreadable)
	require.Equal(t, []ident.Table{public("log")}, f.RowSecurity, "an owner is exempt unless it is forced")

	codes := map[string]bool{}
	for _, p := range plan.Assess(contract.Spec{Tables: everything}, f, plan.TargetFacts{}) {
		codes[p.Code+" "+p.Object] = true
	}
	require.Contains(t, codes, plan.CodeTableOwner+" public.alien")
	require.Contains(t, codes, plan.CodeTableOwner+" public.parted_3")
	require.Contains(t, codes, plan.CodeRowSecurity+" public.log")
}

func TestReadFactsOfEverythingElse(t *testing.T) {
	b := setup(t)
	_, err := b.conn.Exec(t.Context(), `
		CREATE TABLE child () INHERITS (keyed);
		CREATE TABLE ref (id int PRIMARY KEY, k int CONSTRAINT ref_k REFERENCES keyed (id));
		CREATE SEQUENCE used MAXVALUE 100; SELECT setval('used', 95);
		CREATE SEQUENCE down INCREMENT -1 MINVALUE -10; SELECT setval('down', -9);
		CREATE SEQUENCE round MAXVALUE 10 CYCLE; SELECT setval('round', 9);
		CREATE SEQUENCE fresh;
		SELECT lo_create(0)`)
	require.NoError(t, err)
	b.src.Exec(t, `CREATE EXTENSION pgcrypto; CREATE FOREIGN DATA WRAPPER away; CREATE SERVER s FOREIGN DATA WRAPPER away;
		CREATE FOREIGN TABLE far (id int) SERVER s;
		CREATE FOREIGN TABLE parted_far PARTITION OF bare FOR VALUES FROM ('2027-01-01') TO ('2028-01-01') SERVER s`)
	f := b.facts(t)
	require.Equal(t, []ident.Table{public("keyed")}, f.InheritanceParents)
	require.Equal(t, []plan.ForeignKey{{Name: "ref_k", From: public("ref"), To: public("keyed")}}, f.ForeignKeys)
	require.Equal(t, []plan.SequenceUse{{Table: public("down"), Start: -1, End: -10, LastValue: -9}, {Table: public("used"), Start: 1, End: 100, LastValue: 95}}, f.Sequences)
	require.EqualValues(t, 1, f.LargeObjects)
	require.Equal(t, []string{"pgcrypto"}, f.Extensions)
	require.Equal(t, []ident.Table{public("far"), public("parted_far")}, f.ForeignTables)
}

func TestReadFactsNamesOpenTransactions(t *testing.T) {
	b := setup(t)
	open := b.src.Conn(t)
	_, err := open.Exec(t.Context(), "SET application_name = 'etl'")
	require.NoError(t, err)
	tx, err := open.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "SELECT 1")
	require.NoError(t, err)
	f, err := prepare.ReadTransactions(t.Context(), b.conn)
	require.NoError(t, err)
	require.Len(t, f.LongTransactions, 1, "our own sessions are not counted")
	require.EqualValues(t, open.PgConn().PID(), f.LongTransactions[0].PID)
	require.Equal(t, "etl", f.LongTransactions[0].Application)
	require.Less(t, f.LongTransactions[0].Age, time.Minute)
	require.Empty(t, b.facts(t).LongTransactions, "it is young")
}

func TestReadFactsCountsSlots(t *testing.T) {
	b := setup(t)
	before := b.facts(t).SlotsUsed
	b.src.Exec(t, "SELECT pg_create_logical_replication_slot('timeferry_counted', 'pgoutput')")
	require.Equal(t, before+1, b.facts(t).SlotsUsed)
}

func TestReadFactsOfAPlainUser(t *testing.T) {
	b := setup(t)
	b.src.Exec(t, "DROP ROLE IF EXISTS facts_nobody; CREATE ROLE facts_nobody")
	conn := b.src.Conn(t)
	_, err := conn.Exec(t.Context(), "SET ROLE facts_nobody")
	require.NoError(t, err)
	f, err := prepare.ReadFacts(t.Context(), conn, everything)
	require.NoError(t, err, "a user without rights gets an answer, not an error")
	require.False(t, f.CanReplicate)
	require.False(t, f.CanCreate)
	require.False(t, f.OwnsDatabase)
	require.Len(t, f.NotOwned, 14, "tables and partitions")
	require.Len(t, f.Unreadable, 14)

	b.src.Exec(t, "GRANT rds_replication TO facts_nobody")
	f, err = prepare.ReadFacts(t.Context(), conn, everything)
	require.NoError(t, err)
	require.True(t, f.CanReplicate, "as on RDS")
}
