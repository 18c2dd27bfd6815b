package docs

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/cutover"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/survey"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestRunbookQueriesRun runs every query of the runbook: on the target if it is about the bookkeeping or TimescaleDB.
func TestRunbookQueriesRun(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	src.Exec(t, "CREATE TABLE public.orders (id int)")
	dst.Exec(t, "CREATE TABLE public.orders (id int)")
	require.NoError(t, ledger.Create(t.Context(), dst.Conn(t), "shop"))
	queries := 0
	for name, text := range pages(t) {
		for _, block := range sqlBlocks(text) {
			if !strings.HasPrefix(block, "SELECT") {
				continue
			}
			queries++
			t.Log(name)
			if strings.Contains(block, "timeferry.") || strings.Contains(block, "timescaledb") {
				dst.Exec(t, block)
			} else {
				src.Exec(t, block)
			}
		}
	}
	require.Greater(t, queries, 6)
}

// TestFenceIsLiftedByHand runs what the runbook says as a person would: in a session of the fenced database.
func TestFenceIsLiftedByHand(t *testing.T) {
	src := pgtest.Source(t)
	database := src.Endpoint.Database
	_, err := cutover.Fence(t.Context(), src.MasterConn(t), database)
	require.NoError(t, err)
	person := plainSession(t, src.Master)
	_, err = person.Exec(t.Context(), "ALTER DATABASE "+ident.Quote(database)+" RESET default_transaction_read_only")
	require.ErrorContains(t, err, "read-only transaction", "the person's own session is fenced too")

	lift := ""
	for _, block := range sqlBlocks(pages(t)["fence-lifted-by-hand"]) {
		if strings.Contains(block, "ALTER DATABASE shop RESET") {
			lift = strings.ReplaceAll(block, "DATABASE shop", "DATABASE "+ident.Quote(database))
		}
	}
	require.NotEmpty(t, lift)
	for statement := range strings.SplitSeq(strings.TrimSpace(lift), "\n") {
		_, err = person.Exec(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	_, err = plainSession(t, src.Master).Exec(t.Context(), "CREATE TABLE written (id int)")
	require.NoError(t, err)
}

// TestSourcePrivilegesAreEnough gives a new role what privileges.md says, and does with it what needs privileges.
func TestSourcePrivilegesAreEnough(t *testing.T) {
	src := pgtest.OwnSource(t, nil)
	database := src.Endpoint.Database
	src.Exec(t, `CREATE ROLE shop_owner; CREATE ROLE reader LOGIN PASSWORD 'reader'; ALTER DATABASE `+ident.Quote(database)+` OWNER TO shop_owner;
		CREATE SCHEMA sales AUTHORIZATION shop_owner; CREATE TABLE sales.orders (id int PRIMARY KEY, note text); ALTER TABLE sales.orders OWNER TO shop_owner`)
	blocks := sqlBlocks(read(t, "../../docs/privileges.md"))
	require.Len(t, blocks, 4, "two for the source, one of them in two forms, and one for the target")
	src.Exec(t, blocks[0])
	src.Exec(t, blocks[2]) // the form for a server that is not RDS
	user := loginAs(t, src)

	conn := dial(t, user)
	spec := contract.Spec{Name: "shop", Cutover: contract.Cutover{Fence: "readOnly"}, Tables: contract.Tables{Include: []string{"sales.*"}}}
	facts, err := prepare.ReadFacts(t.Context(), conn, spec.Tables)
	require.NoError(t, err)
	requireNoPrivilegeFinding(t, plan.Assess(spec, facts, plan.TargetFacts{Superuser: true}))

	require.NoError(t, prepare.ProbeSnapshot(t.Context(), user))
	p := plan.Publication{ViaRoot: true, All: []ident.Table{{Schema: "sales", Name: "orders"}}}
	require.NoError(t, prepare.CreatePublication(t.Context(), conn, "timeferry_shop", p))
	require.NoError(t, prepare.DropPublication(t.Context(), conn, "timeferry_shop"))
	application := src.Master
	application.User, application.Password = "reader", "reader"
	plainSession(t, application)
	result, err := cutover.Fence(t.Context(), conn, database)
	require.NoError(t, err)
	require.Len(t, result.Ended, 1, "the application's session")
	require.NoError(t, cutover.Unfence(t.Context(), conn, database))
}

// TestRDSFormRuns runs the form of the grant that needs RDS's own role.
func TestRDSFormRuns(t *testing.T) {
	src := pgtest.OwnSource(t, nil)
	src.Exec(t, "CREATE ROLE shop_owner")
	blocks := sqlBlocks(read(t, "../../docs/privileges.md"))
	src.Exec(t, blocks[0])
	src.Exec(t, blocks[1])
	facts, err := prepare.ReadFacts(t.Context(), dial(t, loginAs(t, src)), contract.Tables{Include: []string{"*.*"}})
	require.NoError(t, err)
	require.True(t, facts.CanReplicate)
}

func TestTargetPrivilegesAreEnough(t *testing.T) {
	dst := pgtest.OwnTarget(t, nil)
	blocks := sqlBlocks(read(t, "../../docs/privileges.md"))
	dst.Exec(t, strings.ReplaceAll(blocks[3], "DATABASE tsdb", "DATABASE "+ident.Quote(dst.Endpoint.Database)))
	conn := dial(t, loginAs(t, dst))
	facts, err := survey.ReadFacts(t.Context(), conn, nil)
	require.NoError(t, err)
	require.NotEmpty(t, facts.TimescaleDB)
	requireNoPrivilegeFinding(t, plan.Assess(contract.Spec{Name: "shop", Roles: "migrate"}, plan.SourceFacts{Superuser: true}, facts))

	require.NoError(t, ledger.Create(t.Context(), conn, "shop"))
	for _, statement := range []string{"CREATE SCHEMA sales", "CREATE TABLE public.metrics (ts timestamptz NOT NULL)",
		"SELECT create_hypertable('public.metrics', 'ts')", "CREATE ROLE made_by_us", "SET session_replication_role = replica"} {
		_, err := conn.Exec(t.Context(), statement)
		require.NoError(t, err, statement)
	}
}

func requireNoPrivilegeFinding(t *testing.T, problems []contract.Problem) {
	t.Helper()
	codes := []string{plan.CodeReplicationPrivilege, plan.CodeSourceCreate, plan.CodeDatabaseOwner, plan.CodeTableOwner, plan.CodeTableUnreadable, plan.CodeRowSecurity,
		plan.CodeTargetCreate, plan.CodeTargetCreateRole, plan.CodeReplicationRole}
	for _, p := range problems {
		require.NotContains(t, codes, p.Code, p.Message)
	}
}

// loginAs gives migrator a password and says how to log in as it.
func loginAs(t *testing.T, d *pgtest.Database) pgkit.Endpoint {
	t.Helper()
	d.Exec(t, "ALTER ROLE migrator PASSWORD 'migrator'")
	e := d.Endpoint
	e.User, e.Password = "migrator", "migrator"
	return e
}

func dial(t *testing.T, e pgkit.Endpoint) *pgx.Conn {
	t.Helper()
	conn, err := pgkit.Dial(t.Context(), e, "test")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the fence may have ended it
	return conn
}

// plainSession is a session as anybody's client opens it, without Timeferry's settings and name.
func plainSession(t *testing.T, e pgkit.Endpoint) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig("sslmode=disable application_name=psql")
	require.NoError(t, err)
	config.Host, config.Port, config.Database, config.User, config.Password = e.Host, uint16(e.Port), e.Database, e.User, e.Password
	conn, err := pgx.ConnectConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the fence may have ended it
	return conn
}
