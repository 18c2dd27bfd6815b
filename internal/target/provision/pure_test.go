package provision

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
	"timeferry/internal/target/ledger"
)

func TestFailingLine(t *testing.T) {
	sql := "CREATE TABLE \"häßlich\" (\n  a int,\n  b nothing\n);\nSELECT 1;"
	at := func(word string) int32 { return int32(len([]rune(sql[:strings.Index(sql, word)])) + 1) }
	require.Equal(t, "b nothing", failingLine(sql, at("nothing")))
	require.Equal(t, "SELECT 1;", failingLine(sql, at("SELECT")))
	require.Equal(t, `CREATE TABLE "häßlich" (`, failingLine(sql, 1))
	require.Equal(t, `CREATE TABLE "häßlich" (`, failingLine(sql, 0), "no position")
	require.Equal(t, "SELECT 1;", failingLine(sql, 10000), "behind the end")
	require.Len(t, []rune(failingLine(strings.Repeat("ä", 500), 0)), 201)
}

func TestSettingValue(t *testing.T) {
	for value, want := range map[string]string{
		`"$user", public`: `'$user', 'public'`, `"a,b" , c`: `'a,b', 'c'`, `"o""dd"`: `'o"dd'`, `""`: `''`, ``: `''`, `"it's"`: `'it''s'`,
	} {
		require.Equal(t, want, settingValue(shape.RoleSetting{Name: "search_path", Value: value}), value)
	}
	require.Equal(t, `'a, b'`, settingValue(shape.RoleSetting{Name: "application_name", Value: "a, b"}))
	require.Equal(t, `"app"."x"`, settingName("app.x"))
}

func TestScheduleGivesATableToOneConstraintOrManyIndexes(t *testing.T) {
	table := func(name string) ident.Table { return ident.Table{Schema: "s", Name: name} }
	entry := func(ordinal int, name string, exclusive bool, bytes int64) *build {
		return &build{entry: ledger.Entry{Ordinal: ordinal, Table: table(name), Exclusive: exclusive}, bytes: bytes}
	}
	s := newSchedule(1)
	s.add(true, entry(1, "small", true, 1), entry(5, "big", true, 9), entry(2, "big", true, 9), entry(3, "big", false, 9), entry(4, "big", false, 9))
	next := func(want int) *build {
		t.Helper()
		b, ok := s.next(0)
		require.True(t, ok)
		require.Equal(t, want, b.entry.Ordinal)
		return b
	}
	key := next(2)   // the largest table first
	small := next(1) // which is locked now
	s.done(key)
	one, two := next(3), next(4) // together
	s.done(small)
	s.done(one)
	var wait sync.WaitGroup
	wait.Go(func() { s.done(next(5)) }) // waits for both
	s.done(two)
	wait.Wait()
	_, ok := s.next(0)
	require.False(t, ok)
}

func TestScheduleWaitsForWhatIsStillToCome(t *testing.T) {
	b := func(name string, step step) *build {
		return &build{entry: ledger.Entry{Table: ident.Table{Schema: "s", Name: name}}, step: step}
	}
	s := newSchedule(1)
	results := make(chan *build)
	take := func(job int) {
		got, _ := s.next(job)
		results <- got
	}
	go take(0)
	index := b("t", stepIndex)
	s.add(false, index)
	require.Same(t, index, <-results)
	s.add(true)
	go take(0) // nothing waits, but the one under way has a second step
	attach := b("t", stepAttach)
	s.done(index, attach)
	require.Same(t, attach, <-results)
	s.putAside(attach)
	go take(0)
	s.retry()
	require.Same(t, attach, <-results)
	require.True(t, attach.exclusive())
	s.limit(0)
	s.done(attach, b("u", stepWhole))
	go take(0)
	go take(1)
	s.limit(2)
	last := <-results
	require.Equal(t, "u", last.entry.Table.Name)
	s.done(last)
	require.Nil(t, <-results)
}

func TestPercentGrowsOverThePhasesOfABuild(t *testing.T) {
	before := -1.0
	for _, p := range []serverProgress{
		{phase: "initializing"},
		{phase: "building index: scanning table", blocksDone: 1, blocksTotal: 100}, {phase: "building index: scanning table", blocksDone: 101, blocksTotal: 100},
		{phase: "building index: loading tuples in tree", tuplesDone: 1, tuplesTotal: 2}, {phase: "building index: loading tuples in tree", tuplesDone: 2, tuplesTotal: 2},
	} {
		require.Greater(t, p.percent(), before)
		before = p.percent()
	}
	require.Equal(t, 100.0, before)
	require.Equal(t, 60.0, serverProgress{phase: "building index: sorting live tuples", blocksDone: 7}.percent())
	require.Equal(t, 50.0, serverProgress{phase: "building index", blocksDone: 5, blocksTotal: 10}.percent(), "gist")
}

func TestBuildProgressInWords(t *testing.T) {
	p := BuildProgress{Indexes: 40, Done: 2}
	require.Empty(t, p.Words())
	p.Building = []Building{{Name: "INDEX public.x", Percent: 45.4}}
	require.Equal(t, "building INDEX public.x (3 of 40): 45 %", p.Words())
	p.Building = append(p.Building, Building{Name: "INDEX public.y"})
	p.Failed = errors.New("no room")
	require.Equal(t, "no further index is built: no room; building INDEX public.x (3 of 40): 45 %, and 1 more", p.Words())
}

// While tables are still being copied each job may get a build at any time; then what is left is shared among fewer.
func TestScheduleSharesAmongWhatIsLeft(t *testing.T) {
	b := func(name string) *build {
		return &build{entry: ledger.Entry{Table: ident.Table{Schema: "s", Name: name}}}
	}
	s := newSchedule(3)
	s.add(false, b("a"))
	first, _ := s.next(0)
	require.Equal(t, share{among: 3}, s.share())
	s.add(true, b("b"), b("c"), b("d"), b("e"), b("f"), b("g"))
	require.Equal(t, share{among: 3}, s.share(), "seven are left")
	s.done(first)
	require.Equal(t, share{among: 3, tail: true}, s.share())
	for range 3 {
		some, _ := s.next(0)
		s.done(some)
	}
	one, _ := s.next(0)
	s.done(one)
	require.Equal(t, share{among: 2, tail: true}, s.share())
	two, _ := s.next(0)
	s.putAside(two)
	require.Equal(t, share{among: 2, tail: true}, s.share(), "it comes back")
	three, _ := s.next(0)
	s.done(three)
	require.Equal(t, share{among: 1, tail: true}, s.share())
	s.limit(0)
	require.Equal(t, share{among: 1}, s.share())
}

func TestScheduleStops(t *testing.T) {
	e := ledger.Entry{Table: ident.Table{Schema: "s", Name: "t"}, Exclusive: true}
	s := newSchedule(1)
	s.add(false, &build{entry: e}, &build{entry: e})
	_, ok := s.next(0)
	require.True(t, ok)
	var wait sync.WaitGroup
	wait.Go(func() {
		_, ok := s.next(0)
		require.False(t, ok)
	})
	s.stop()
	wait.Wait()
}

func TestHypertableStatements(t *testing.T) {
	table := ident.Table{Schema: "public", Name: "m"}
	spec := contract.Hypertable{TimeColumn: "at", SpaceColumn: "d'", SpacePartitions: 3, Retention: "1 year",
		Columnstore: &contract.Columnstore{SegmentBy: []string{"d", "e f"}, OrderBy: "at DESC", After: "7 days"}}
	sqls := func(ts timescale) []string {
		all := ts.createSQL(table, spec, "INTERVAL '7 days'")
		for _, e := range ts.later(table, spec) {
			all = append(all, e.Section+": "+e.SQL)
		}
		return all
	}
	require.Equal(t, []string{
		`SELECT "ts".create_hypertable('"public"."m"'::regclass, "ts".by_range('at', INTERVAL '7 days'), create_default_indexes => false)`,
		`SELECT "ts".add_dimension('"public"."m"'::regclass, "ts".by_hash('d''', 3))`,
		`finish: ALTER TABLE "public"."m" SET (timescaledb.enable_columnstore = true, timescaledb.segmentby = '"d", "e f"', timescaledb.orderby = 'at DESC');`,
		`cutover: CALL "ts".add_columnstore_policy('"public"."m"'::regclass, after => INTERVAL '7 days', if_not_exists => true);`,
		`cutover: SELECT "ts".add_retention_policy('"public"."m"'::regclass, INTERVAL '1 year', if_not_exists => true);`,
	}, sqls(timescale{schema: "ts", builders: true, columns: true}))
	require.Equal(t, []string{
		`SELECT "ts".create_hypertable('"public"."m"'::regclass, 'at', partitioning_column => 'd''', number_partitions => 3, chunk_time_interval => INTERVAL '7 days', create_default_indexes => false)`,
		`finish: ALTER TABLE "public"."m" SET (timescaledb.compress = true, timescaledb.compress_segmentby = '"d", "e f"', timescaledb.compress_orderby = 'at DESC');`,
		`cutover: SELECT "ts".add_compression_policy('"public"."m"'::regclass, INTERVAL '7 days', if_not_exists => true);`,
		`cutover: SELECT "ts".add_retention_policy('"public"."m"'::regclass, INTERVAL '1 year', if_not_exists => true);`,
	}, sqls(timescale{schema: "ts"}))
}
