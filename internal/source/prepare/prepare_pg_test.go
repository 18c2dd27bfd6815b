package prepare_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
	"timeferry/internal/source/prepare"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var everything = contract.Tables{Include: []string{"*.*"}}

func public(name string) ident.Table { return ident.Table{Schema: "public", Name: name} }

// bundle is a source with tables of every kind that the master owns, and the master's session.
type bundle struct {
	src  *pgtest.Database
	conn *pgx.Conn
}

const tablesSQL = `
	CREATE TABLE keyed (id int PRIMARY KEY, v text);
	CREATE TABLE switched_off (id int PRIMARY KEY, v text);
	ALTER TABLE switched_off REPLICA IDENTITY NOTHING;
	CREATE TABLE coded (code text NOT NULL, v text);
	CREATE UNIQUE INDEX coded_code ON coded (code);
	CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, v text);
	CREATE TABLE log (v text);
	CREATE TABLE "Odd ""name" (v text);
	CREATE TABLE parted (id int NOT NULL, ts date NOT NULL, v text, PRIMARY KEY (id, ts)) PARTITION BY RANGE (ts);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
	CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (id);
	CREATE TABLE parted_2_x PARTITION OF parted_2 DEFAULT;
	CREATE TABLE indexed (id int NOT NULL, ts date NOT NULL, v text) PARTITION BY RANGE (ts);
	CREATE TABLE indexed_1 PARTITION OF indexed FOR VALUES FROM ('2024-01-01') TO ('2026-01-01');
	CREATE UNIQUE INDEX indexed_key ON indexed (id, ts);
	CREATE TABLE bare (id int, ts date) PARTITION BY RANGE (ts);
	CREATE TABLE bare_1 PARTITION OF bare (PRIMARY KEY (id)) FOR VALUES FROM ('2024-01-01') TO ('2026-01-01');`

func setup(t *testing.T) *bundle {
	t.Helper()
	src := pgtest.Source(t)
	conn := src.MasterConn(t)
	_, err := conn.Exec(t.Context(), tablesSQL)
	require.NoError(t, err)
	return &bundle{src, conn}
}

func (b *bundle) facts(t *testing.T) plan.SourceFacts {
	t.Helper()
	f, err := prepare.ReadFacts(t.Context(), b.conn, everything)
	require.NoError(t, err)
	return f
}

func (b *bundle) identities(t *testing.T, fallback string) []plan.Identity {
	t.Helper()
	return plan.IdentitiesOf(b.facts(t).Tables, fallback, nil)
}

func (b *bundle) publication(t *testing.T, fallback string) plan.Publication {
	t.Helper()
	f := b.facts(t)
	return plan.PublicationPlan(f.Tables, plan.IdentitiesOf(f.Tables, fallback, nil), f.Version)
}

// inForce is relation → kind and index, of every relation that is not an index.
func (b *bundle) inForce(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	for _, row := range b.src.Dump(t, `SELECT c.relname || '|' || c.relreplident::text || coalesce(x.relname, '') FROM pg_class c
		LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisreplident LEFT JOIN pg_class x ON x.oid = i.indexrelid
		WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace`) {
		var name, kind string
		for i := range row {
			if row[i] == '|' {
				name, kind = row[:i], row[i+1:]
			}
		}
		state[name] = kind
	}
	return state
}

// ledger keeps records as the real one does: the first of a table stays.
type ledger map[ident.Table]prepare.PreviousIdentity

func (l ledger) record(id plan.Identity, previous shape.Identity) error {
	if _, known := l[id.Table]; !known {
		l[id.Table] = prepare.PreviousIdentity{Table: id.Table, Previous: previous, Chosen: id.Wanted()}
	}
	return nil
}

func (l ledger) list() []prepare.PreviousIdentity {
	var list []prepare.PreviousIdentity
	for _, p := range l {
		list = append(list, p)
	}
	return list
}

func requireCode(t *testing.T, err error, class fault.Class, code string) {
	t.Helper()
	var own *fault.Error
	require.ErrorAs(t, err, &own)
	require.Equal(t, class, own.Class, err)
	require.Equal(t, code, own.Code, err)
	require.NotEmpty(t, own.Hint)
}

var fixed = map[string]string{
	"keyed": "d", "switched_off": "d", "coded": "icoded_code", "late": "f", "log": "f", `Odd "name`: "f",
	"parted": "d", "parted_1": "d", "parted_2": "d", "parted_2_x": "d",
	"indexed": "iindexed_key", "indexed_1": "iindexed_1_id_ts_idx", "bare": "f", "bare_1": "f",
}

// check, do, do again, undo, undo again, do.
func TestIdentitiesAreFixedAndRestored(t *testing.T) {
	b := setup(t)
	before, records := b.inForce(t), ledger{}
	ids := b.identities(t, "full")
	for range 2 {
		require.NoError(t, prepare.FixIdentities(t.Context(), b.conn, ids, records.record))
		require.Equal(t, fixed, b.inForce(t))
	}
	require.Len(t, records, 9, "what was right already is not recorded")
	for _, id := range b.identities(t, "full") {
		require.False(t, id.Change, "%s: the choice is stable", id.Table)
	}
	for range 2 {
		left, err := prepare.RestoreIdentities(t.Context(), b.conn, records.list())
		require.NoError(t, err)
		require.Empty(t, left)
		require.Equal(t, before, b.inForce(t))
	}
	require.NoError(t, prepare.FixIdentities(t.Context(), b.conn, ids, records.record))
	require.Equal(t, fixed, b.inForce(t))
}

func TestIdentityIsRecordedBeforeItIsChanged(t *testing.T) {
	b := setup(t)
	before, records := b.inForce(t), ledger{}
	ids := b.identities(t, "full")
	died := errors.New("the worker died")
	calls := 0
	err := prepare.FixIdentities(t.Context(), b.conn, ids, func(id plan.Identity, previous shape.Identity) error {
		require.Equal(t, before[id.Table.Name], b.inForce(t)[id.Table.Name], "not yet changed")
		if calls++; calls == 3 {
			return died
		}
		return records.record(id, previous)
	})
	require.ErrorIs(t, err, died)
	require.Len(t, records, 2)
	require.NoError(t, prepare.FixIdentities(t.Context(), b.conn, ids, records.record), "half, then again")
	require.Equal(t, fixed, b.inForce(t))
	left, err := prepare.RestoreIdentities(t.Context(), b.conn, records.list())
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, before, b.inForce(t))
}

func TestFixIdentitiesDoesNotQueueBehindALongTransaction(t *testing.T) {
	b := setup(t)
	reader := b.src.Conn(t)
	tx, err := reader.Begin(t.Context())
	require.NoError(t, err)
	var n int
	require.NoError(t, tx.QueryRow(t.Context(), "SELECT count(*) FROM log").Scan(&n))
	err = prepare.FixIdentitiesHastily(t.Context(), b.conn, b.identities(t, "full"), ledger{}.record)
	requireCode(t, err, fault.Transient, prepare.CodeLockBusy)
	require.ErrorContains(t, err, fmt.Sprint(reader.PgConn().PID()), "the session in the way is named")
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, prepare.FixIdentities(t.Context(), b.conn, b.identities(t, "full"), ledger{}.record))
	require.Equal(t, fixed, b.inForce(t))
}

func TestFixIdentitiesNamesTheTableThatIsGoneOrNotOwned(t *testing.T) {
	b := setup(t)
	ids := b.identities(t, "full")
	b.src.Exec(t, "DROP TABLE log")
	err := prepare.FixIdentities(t.Context(), b.conn, ids, ledger{}.record)
	requireCode(t, err, fault.Operator, prepare.CodeTableGone)
	require.ErrorContains(t, err, "public.log")

	b.src.Exec(t, "CREATE TABLE log (v text); GRANT ALL ON log TO PUBLIC") // now the superuser's
	err = prepare.FixIdentities(t.Context(), b.conn, ids, ledger{}.record)
	require.Equal(t, fault.Operator, fault.Classify(err))
	require.ErrorContains(t, err, "public.log")
	require.Contains(t, fault.HintOf(err), "owner")
}

func TestRestoreLeavesAloneWhatIsNotOurs(t *testing.T) {
	b := setup(t)
	records := ledger{}
	require.NoError(t, prepare.FixIdentities(t.Context(), b.conn, b.identities(t, "full"), records.record))
	b.src.Exec(t, `ALTER TABLE log REPLICA IDENTITY NOTHING; DROP TABLE coded; DROP TABLE late;
		CREATE PUBLICATION somebodys FOR TABLE "Odd ""name", bare`)
	left, err := prepare.RestoreIdentities(t.Context(), b.conn, records.list())
	require.NoError(t, err)
	require.Len(t, left, 2, "%q", left)
	joined := fmt.Sprint(left)
	require.Contains(t, joined, "public.log: somebody changed it to NOTHING")
	require.Contains(t, joined, `public."Odd ""name": another publication has the table`)
	state := b.inForce(t)
	require.Equal(t, "n", state["log"])
	require.Equal(t, "f", state[`Odd "name`])
	require.Equal(t, "d", state["bare_1"], "has a key of its own, so it can be published still")
	require.Equal(t, "n", state["switched_off"])
}

func TestRestoreOfADroppedIndexIsReported(t *testing.T) {
	b := setup(t)
	was := prepare.PreviousIdentity{Table: public("keyed"), Previous: shape.Identity{Kind: 'i', Index: "gone"}, Chosen: shape.Identity{Kind: 'd'}}
	left, err := prepare.RestoreIdentities(t.Context(), b.conn, []prepare.PreviousIdentity{was})
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Contains(t, left[0], `"gone"`)
}

// Promise 3: whatever the application does to a table in the publication works.
func TestUpdatesOfPublishedTablesNeverFail(t *testing.T) {
	for _, fallback := range []string{"full", "skip"} {
		t.Run(fallback, func(t *testing.T) {
			b := setup(t)
			stop, failed := make(chan struct{}), make(chan error, 1)
			app := b.src.Conn(t)
			go func() { failed <- writeAll(app, stop) }()
			require.NoError(t, prepare.FixIdentities(t.Context(), b.conn, b.identities(t, fallback), ledger{}.record))
			p := b.publication(t, fallback)
			for range 2 {
				require.NoError(t, prepare.CreatePublication(t.Context(), b.conn, "timeferry_p3", p))
			}
			close(stop)
			require.NoError(t, <-failed)
			again := make(chan struct{})
			close(again)
			require.NoError(t, writeAll(app, again), "once more with everything published")
		})
	}
}

// writeAll inserts, updates and deletes in every table until stop is closed, at least once.
func writeAll(conn *pgx.Conn, stop <-chan struct{}) error {
	for {
		for _, table := range []string{"keyed", "switched_off", "coded", "late", "log", `"Odd ""name"`, "parted", "indexed", "bare"} {
			insert := map[string]string{"coded": "(code) VALUES ('1')", "parted": "(id, ts) VALUES (1, '2024-05-01'), (1, '2025-05-01')",
				"indexed": "(id, ts) VALUES (1, '2024-05-01')", "bare": "(id, ts) VALUES (1, '2024-05-01')", "log": "VALUES ('x')", `"Odd ""name"`: "VALUES ('x')"}[table]
			if insert == "" {
				insert = "(id) VALUES (1)"
			}
			set := "v = 'y'"
			if table == "bare" {
				set = "id = 2"
			}
			for _, sql := range []string{"INSERT INTO " + table + " " + insert, "UPDATE " + table + " SET " + set, "DELETE FROM " + table} {
				if _, err := conn.Exec(context.Background(), sql); err != nil {
					return fmt.Errorf("%s: %w", sql, err)
				}
			}
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
}

func TestCreatePublicationRefusesWhatHasNoIdentity(t *testing.T) {
	for _, table := range []string{"log", "switched_off", "late", "bare"} {
		b := setup(t)
		err := prepare.CreatePublication(t.Context(), b.conn, "timeferry_refused", plan.Publication{ViaRoot: true, All: []ident.Table{public(table)}})
		requireCode(t, err, fault.Operator, prepare.CodeIdentityNotReady)
		require.ErrorContains(t, err, "public."+table)
		require.Empty(t, b.src.Dump(t, "SELECT 1 FROM pg_publication_rel"), "it did not join")
	}
	b := setup(t)
	b.src.Exec(t, "ALTER TABLE parted_2_x REPLICA IDENTITY NOTHING")
	err := prepare.CreatePublication(t.Context(), b.conn, "timeferry_refused", plan.Publication{ViaRoot: true, All: []ident.Table{public("parted")}})
	requireCode(t, err, fault.Operator, prepare.CodeIdentityNotReady)
	require.ErrorContains(t, err, "public.parted_2_x")

	b.src.Exec(t, "ALTER TABLE ONLY bare REPLICA IDENTITY FULL")
	err = prepare.CreatePublication(t.Context(), b.conn, "timeferry_refused", plan.Publication{ViaRoot: true, All: []ident.Table{public("bare")}})
	requireCode(t, err, fault.Operator, prepare.CodeIdentityNotReady)
	require.ErrorContains(t, err, "public.bare_1", "its key is less than its root's whole row")
}

func members(t *testing.T, b *bundle, name string) []string {
	t.Helper()
	return b.src.Dump(t, "SELECT prrelid::regclass FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE pubname = "+ident.Literal(name)+" ORDER BY 1::text")
}

func TestCreatePublicationSettlesWhatIsThere(t *testing.T) {
	b := setup(t)
	ctx, name := t.Context(), "timeferry_settle"
	p := plan.Publication{ViaRoot: true, All: []ident.Table{public("keyed"), public("parted")}, InsertOnly: []ident.Table{public("log")}}
	same := func() {
		t.Helper()
		require.NoError(t, prepare.CreatePublication(ctx, b.conn, name, p))
		require.Equal(t, []string{"keyed", "parted"}, members(t, b, name))
		require.Equal(t, []string{"log"}, members(t, b, name+"_ins"))
		require.Equal(t, []string{"timeferry_settle|t|t|t|t|t", "timeferry_settle_ins|t|f|f|t|t"},
			b.src.Dump(t, "SELECT pubname, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot FROM pg_publication ORDER BY 1"))
	}
	same()
	oid := b.src.QueryValue(t, "SELECT oid FROM pg_publication WHERE pubname = 'timeferry_settle'")
	same()
	require.Equal(t, oid, b.src.QueryValue(t, "SELECT oid FROM pg_publication WHERE pubname = 'timeferry_settle'"), "left as it is")

	exec := func(sql string) {
		t.Helper()
		_, err := b.conn.Exec(ctx, sql)
		require.NoError(t, err)
	}
	exec("ALTER PUBLICATION timeferry_settle DROP TABLE parted; ALTER PUBLICATION timeferry_settle ADD TABLE switched_off, coded")
	same()
	exec("ALTER PUBLICATION timeferry_settle SET TABLE keyed WHERE (id > 5), parted (id, ts)")
	same()
	require.Empty(t, b.src.Dump(t, "SELECT 1 FROM pg_publication_rel WHERE prqual IS NOT NULL OR prattrs IS NOT NULL"))
	exec("ALTER PUBLICATION timeferry_settle SET (publish = 'insert', publish_via_partition_root = false)")
	same()

	p.InsertOnly = nil
	require.NoError(t, prepare.CreatePublication(ctx, b.conn, name, p))
	require.Equal(t, "1", b.src.QueryValue(t, "SELECT count(*) FROM pg_publication"), "the second one is gone")
	for range 2 {
		require.NoError(t, prepare.DropPublication(ctx, b.conn, name))
		require.Equal(t, "0", b.src.QueryValue(t, "SELECT count(*) FROM pg_publication"))
	}
}

func TestCreatePublicationOfLeavesAndOfNothing(t *testing.T) {
	b := setup(t)
	p := plan.Publication{All: []ident.Table{public("parted_1"), public("parted_2_x")}}
	require.NoError(t, prepare.CreatePublication(t.Context(), b.conn, "timeferry_leaves", p))
	require.Equal(t, []string{"parted_1", "parted_2_x"}, members(t, b, "timeferry_leaves"))
	require.NoError(t, prepare.CreatePublication(t.Context(), b.conn, "timeferry_leaves", plan.Publication{}))
	require.Empty(t, members(t, b, "timeferry_leaves"))
}

func TestCreatePublicationTakesNoChildrenByInheritance(t *testing.T) {
	b := setup(t)
	_, err := b.conn.Exec(t.Context(), "CREATE TABLE child () INHERITS (keyed)")
	require.NoError(t, err)
	require.NoError(t, prepare.CreatePublication(t.Context(), b.conn, "timeferry_only", plan.Publication{ViaRoot: true, All: []ident.Table{public("keyed")}}))
	require.Equal(t, []string{"keyed"}, members(t, b, "timeferry_only"))
}

func TestCreatePublicationRefusesAForeignOne(t *testing.T) {
	b := setup(t)
	b.src.Exec(t, "CREATE PUBLICATION timeferry_all FOR ALL TABLES")
	err := prepare.CreatePublication(t.Context(), b.conn, "timeferry_all", plan.Publication{ViaRoot: true, All: []ident.Table{public("keyed")}})
	requireCode(t, err, fault.Operator, prepare.CodeForeignPublication)
}

func TestCreatePublicationGivesUpOnABusyTable(t *testing.T) {
	b := setup(t)
	tx, err := b.src.Conn(t).Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE parted_1 IN SHARE UPDATE EXCLUSIVE MODE")
	require.NoError(t, err)
	p := plan.Publication{ViaRoot: true, All: []ident.Table{public("parted")}}
	requireCode(t, prepare.CreatePublicationHastily(t.Context(), b.conn, "timeferry_busy", p), fault.Transient, prepare.CodeLockBusy)
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, prepare.CreatePublicationHastily(t.Context(), b.conn, "timeferry_busy", p))
}

func TestCreatePublicationInBatches(t *testing.T) {
	b := setup(t)
	_, err := b.conn.Exec(t.Context(), `DO $$ BEGIN FOR i IN 1..1100 LOOP EXECUTE format('CREATE TABLE many_%s (id int PRIMARY KEY)', i); COMMIT; END LOOP; END $$`)
	require.NoError(t, err)
	var p plan.Publication
	p.ViaRoot = true
	for i := range 1100 {
		p.All = append(p.All, public(fmt.Sprintf("many_%d", i+1)))
	}
	require.NoError(t, prepare.CreatePublication(t.Context(), b.conn, "timeferry_many", p))
	require.Len(t, members(t, b, "timeferry_many"), 1100)
	p.All = p.All[:1]
	require.NoError(t, prepare.CreatePublication(t.Context(), b.conn, "timeferry_many", p))
	require.Equal(t, []string{"many_1"}, members(t, b, "timeferry_many"))
}

func TestProbeSnapshot(t *testing.T) {
	b := setup(t)
	slots := func() string {
		return b.src.QueryValue(t, "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'timeferry\\_probe%'")
	}
	require.NoError(t, prepare.ProbeSnapshot(t.Context(), b.src.Master))
	require.Eventually(t, func() bool { return slots() == "0" }, 5*time.Second, 20*time.Millisecond, "nothing is left")

	writer := b.src.Conn(t)
	tx, err := writer.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "INSERT INTO log VALUES ('x')")
	require.NoError(t, err)
	err = prepare.ProbeSnapshotFor(t.Context(), b.src.Master, 200*time.Millisecond)
	requireCode(t, err, fault.Transient, prepare.CodeSlotWaits)
	require.Contains(t, fault.HintOf(err), fmt.Sprint(writer.PgConn().PID()))
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, prepare.ProbeSnapshot(t.Context(), b.src.Master))
}

func TestProbeSlotNeedsThePlugin(t *testing.T) {
	src := pgtest.Source(t)
	require.NoError(t, prepare.ProbeSlot(t.Context(), src.Master, "wal2json"))
	err := prepare.ProbeSlot(t.Context(), src.Master, "no_such_plugin")
	requireCode(t, err, fault.Operator, prepare.CodeNoPlugin)
}

func TestProbeSnapshotNeedsTheRight(t *testing.T) {
	b := setup(t)
	b.src.Exec(t, "DROP ROLE IF EXISTS probe_nobody; CREATE ROLE probe_nobody LOGIN PASSWORD 'probe-nobody'")
	ep := b.src.Endpoint
	ep.User, ep.Password = "probe_nobody", "probe-nobody"
	err := prepare.ProbeSnapshot(t.Context(), ep)
	require.Equal(t, fault.Operator, fault.Classify(err), err)
}

func TestLeftovers(t *testing.T) {
	b := setup(t)
	read := func() []string {
		t.Helper()
		left, err := prepare.Leftovers(t.Context(), b.conn, "left-over")
		require.NoError(t, err)
		return left
	}
	require.Empty(t, read())
	p := plan.Publication{ViaRoot: true, All: []ident.Table{public("keyed")}, InsertOnly: []ident.Table{public("log")}}
	require.NoError(t, prepare.CreatePublication(t.Context(), b.conn, contract.PublicationName("left-over"), p))
	require.NoError(t, prepare.CreatePublication(t.Context(), b.conn, contract.PublicationName("left-over-2"), p))
	b.src.Exec(t, "SELECT pg_create_logical_replication_slot('timeferry_left_over', 'pgoutput')")
	b.src.Exec(t, "ALTER DATABASE "+ident.Quote(b.src.Endpoint.Database)+" SET default_transaction_read_only = on")
	require.Equal(t, []string{"publication timeferry_left_over", "publication timeferry_left_over_ins", "replication slot timeferry_left_over",
		"setting of database " + b.src.Endpoint.Database + ": default_transaction_read_only=on"}, read())
	require.NoError(t, prepare.DropPublication(t.Context(), b.conn, contract.PublicationName("left-over")))
	b.src.Exec(t, "SELECT pg_drop_replication_slot('timeferry_left_over')")
	b.src.Exec(t, "SET default_transaction_read_only = off; ALTER DATABASE "+ident.Quote(b.src.Endpoint.Database)+" RESET default_transaction_read_only")
	require.Empty(t, read())
}
