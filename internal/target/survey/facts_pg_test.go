package survey_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/survey"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func public(name string) ident.Table { return ident.Table{Schema: "public", Name: name} }

func TestReadFactsAsOwner(t *testing.T) {
	dst := pgtest.Target(t)
	f, err := survey.ReadFacts(t.Context(), dst.MasterConn(t), []ident.Table{public("metrics")})
	require.NoError(t, err)
	require.Equal(t, 17, f.Version/10000)
	require.Equal(t, dst.Master.User, f.User)
	require.Equal(t, dst.Master.Database, f.Database)
	require.Equal(t, "UTF8", f.Encoding)
	require.Positive(t, f.DatabaseBytes)
	require.Equal(t, dst.QueryValue(t, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"), f.TimescaleDB)
	require.Equal(t, dst.QueryValue(t, "SHOW timescaledb.license"), f.License)
	require.Contains(t, f.Available, "pgcrypto")
	require.NotContains(t, f.Installed, "pgcrypto")
	require.Contains(t, f.Installed, "timescaledb")
	require.False(t, f.Superuser)
	require.False(t, f.InRecovery)
	require.True(t, f.CanCreate)
	require.NotEmpty(t, f.Settings["max_worker_processes"])
	require.Positive(t, f.MaxConnections)
	require.Positive(t, f.Connections)
	require.Empty(t, f.Existing)
	require.Empty(t, f.LedgerOwner)
}

func TestReadFactsOfWhatCanBeMadeThere(t *testing.T) {
	dst := pgtest.Target(t)
	f, err := survey.ReadFacts(t.Context(), dst.MasterConn(t), nil)
	require.NoError(t, err)
	require.Equal(t, plan.Locale{Provider: "libc", Collate: "C.UTF-8", Ctype: "C.UTF-8"}, f.Locale)
	require.True(t, f.Collations["und-x-icu"])
	require.False(t, f.Collations["xx_XX"])
	require.True(t, f.Roles[dst.Master.User])
	require.Equal(t, f.TimescaleDB, f.ExtensionVersions["timescaledb"])
	require.Equal(t, dst.QueryValue(t, "SELECT default_version FROM pg_available_extensions WHERE name = 'pgcrypto'"), f.ExtensionVersions["pgcrypto"])
	require.Contains(t, f.SuperuserExtensions, "amcheck")
	require.NotContains(t, f.SuperuserExtensions, "pgcrypto", "it is trusted")

	provided := dst.Conn(t)
	_, err = provided.Exec(t.Context(), "SET extwlist.extensions = 'hstore, amcheck'")
	require.NoError(t, err)
	f, err = survey.ReadFacts(t.Context(), provided, nil)
	require.NoError(t, err)
	require.NotContains(t, f.SuperuserExtensions, "amcheck", "the provider lets its users create it")
}

func TestReadFactsChangesNothing(t *testing.T) {
	dst := pgtest.Target(t)
	conn := dst.Conn(t)
	before := dst.QueryValue(t, "SELECT count(*) FROM pg_class")
	f, err := survey.ReadFacts(t.Context(), conn, nil)
	require.NoError(t, err)
	require.True(t, f.Superuser)
	require.True(t, f.CanSetReplicationRole)
	var role string
	require.NoError(t, conn.QueryRow(t.Context(), "SHOW session_replication_role").Scan(&role))
	require.Equal(t, "origin", role, "the trial was rolled back")
	require.Equal(t, before, dst.QueryValue(t, "SELECT count(*) FROM pg_class"))
}

func TestReadFactsOfAUserWithoutRights(t *testing.T) {
	dst := pgtest.Target(t)
	dst.Exec(t, `DROP ROLE IF EXISTS survey_nobody; CREATE ROLE survey_nobody;
		CREATE TABLE secret (id int); CREATE TABLE open (id int); GRANT SELECT ON open TO PUBLIC`)
	conn := dst.Conn(t)
	_, err := conn.Exec(t.Context(), "SET ROLE survey_nobody")
	require.NoError(t, err)
	f, err := survey.ReadFacts(t.Context(), conn, []ident.Table{public("secret"), public("open")})
	require.NoError(t, err)
	require.False(t, f.CanCreate)
	require.False(t, f.CanCreateRole)
	require.False(t, f.CanSetReplicationRole)
	require.Equal(t, []plan.ExistingTable{{Table: public("open"), Kind: "r"}, {Table: public("secret"), Kind: "r", HasRows: true}}, f.Existing,
		"a table that may not be read counts as one with rows")
}

func TestReadFactsFindsWhatIsInTheWay(t *testing.T) {
	dst := pgtest.Target(t)
	dst.Exec(t, `CREATE TABLE full_one (id int); INSERT INTO full_one VALUES (1);
		CREATE TABLE hyper (ts timestamptz NOT NULL); SELECT create_hypertable('hyper', 'ts'); INSERT INTO hyper VALUES (now());
		CREATE TABLE empty_one (id int); CREATE INDEX ix ON empty_one (id); CREATE VIEW seen AS SELECT 1; CREATE TABLE unrelated (id int);
		CREATE SCHEMA "Odd."; CREATE TABLE "Odd."."a ""b" (id int)`)
	odd := ident.Table{Schema: "Odd.", Name: `a "b`}
	f, err := survey.ReadFacts(t.Context(), dst.Conn(t),
		[]ident.Table{public("full_one"), public("hyper"), public("empty_one"), public("ix"), public("seen"), public("missing"), odd})
	require.NoError(t, err)
	require.Equal(t, []plan.ExistingTable{{Table: odd, Kind: "r"}, {Table: public("empty_one"), Kind: "r"}, {Table: public("full_one"), Kind: "r", HasRows: true},
		{Table: public("hyper"), Kind: "r", HasRows: true}, {Table: public("ix"), Kind: "i"}, {Table: public("seen"), Kind: "v"}}, f.Existing)
}

func TestReadFactsKnowsItsOwnTables(t *testing.T) {
	dst := pgtest.Target(t)
	conn := dst.MasterConn(t)
	require.NoError(t, ledger.Create(t.Context(), conn, "shop"))
	_, err := conn.Exec(t.Context(), `CREATE SCHEMA app; CREATE TABLE app."Ours" (id int); CREATE TABLE app.theirs (id int)`)
	require.NoError(t, err)
	require.NoError(t, ledger.RecordCreated(t.Context(), conn, "table", `app."Ours"`))
	f, err := survey.ReadFacts(t.Context(), conn, []ident.Table{{Schema: "app", Name: "Ours"}, {Schema: "app", Name: "theirs"}})
	require.NoError(t, err)
	require.Equal(t, "shop", f.LedgerOwner)
	require.Equal(t, []bool{true, false}, []bool{f.Existing[0].Ours, f.Existing[1].Ours})

	messages := map[string]string{}
	for _, p := range plan.Assess(contract.Spec{Name: "shop"}, plan.SourceFacts{}, f) {
		if p.Code == plan.CodeTargetTableExists {
			messages[p.Object] = p.Message
		}
	}
	require.Len(t, messages, 2, "both are in the way of a new run")
	require.Contains(t, messages[`app."Ours"`], "an earlier run of this migration made")
	require.Contains(t, messages["app.theirs"], "did not make")
}

// What plan says of hypertables is what TimescaleDB does.
func TestTimescaleDBRefusesWhatPlanRefuses(t *testing.T) {
	dst := pgtest.Target(t)
	conn := dst.MasterConn(t)
	for name, sql := range map[string]string{
		"unlogged":                  `CREATE UNLOGGED TABLE u (ts timestamptz NOT NULL); SELECT create_hypertable('u', 'ts')`,
		"inheritance":               `CREATE TABLE p (ts timestamptz NOT NULL); CREATE TABLE c () INHERITS (p); SELECT create_hypertable('p', 'ts')`,
		"inheriting":                `CREATE TABLE p2 (ts timestamptz NOT NULL); CREATE TABLE c2 () INHERITS (p2); SELECT create_hypertable('c2', 'ts')`,
		"key without the time":      `CREATE TABLE k (id int PRIMARY KEY, ts timestamptz NOT NULL); SELECT create_hypertable('k', 'ts')`,
		"text as time":              `CREATE TABLE x (ts text NOT NULL); SELECT create_hypertable('x', 'ts')`,
		"hypertable to hypertable":  `CREATE TABLE a (ts timestamptz PRIMARY KEY); SELECT create_hypertable('a', 'ts'); CREATE TABLE b (ts timestamptz NOT NULL REFERENCES a); SELECT create_hypertable('b', 'ts')`,
		"interval for integer time": `CREATE TABLE i (n int NOT NULL); SELECT create_hypertable('i', by_range('n', INTERVAL '7 days'))`,
	} {
		_, err := conn.Exec(t.Context(), sql)
		require.Error(t, err, name)
	}
	_, err := conn.Exec(t.Context(), `CREATE TABLE g (ts timestamptz PRIMARY KEY); SELECT create_hypertable('g', 'ts'); CREATE TABLE h (ts timestamptz REFERENCES g)`)
	require.NoError(t, err, "a plain table may refer to a hypertable")
}
