package plan_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

func hypertableCases() []findingCase {
	know := func(w *world, f plan.HypertableFacts) {
		w.src.ForHypertables = map[ident.Table]plan.HypertableFacts{public("metrics"): f}
	}
	choose := func(w *world, key string) {
		w.hypertable().Key, w.table().Indexes = key, []shape.Index{primary("device")}
	}
	user := plan.KeyUser{Index: primary("device").Name, Kind: plan.KeyUserForeignKey, Name: "to_metrics", From: public("alerts")}
	return []findingCase{
		{"key refused", func(w *world) { choose(w, contract.KeyRefuse) }, contract.Fatal, plan.CodeHypertableKey, "public.metrics", "key: extend"},
		{"both choices are offered", func(w *world) { choose(w, "") }, contract.Fatal, plan.CodeHypertableKey, "public.metrics", "key: drop"},
		{"key extended", func(w *world) { choose(w, contract.KeyExtend) }, contract.Info, plan.CodeHypertableKeyExtended, "public.metrics", "in every chunk"},
		{"key dropped", func(w *world) { choose(w, contract.KeyDrop) }, contract.Info, plan.CodeHypertableKeyDropped, "public.metrics", "not unique"},
		{"key that a foreign key in scope needs", func(w *world) {
			choose(w, contract.KeyExtend)
			w.src.Tables = append(w.src.Tables, shape.Table{Table: public("alerts"), Indexes: []shape.Index{primary("id")}})
			know(w, plan.HypertableFacts{KeyUsers: []plan.KeyUser{user}})
		}, contract.Fatal, plan.CodeHypertableKeyUsed, "public.alerts", "to_metrics"},
		{"key that a view needs", func(w *world) {
			choose(w, contract.KeyDrop)
			know(w, plan.HypertableFacts{KeyUsers: []plan.KeyUser{{Index: user.Index, Kind: plan.KeyUserView, Name: "seen", From: public("seen")}}})
		}, contract.Fatal, plan.CodeHypertableKeyUsed, "public.seen", "group"},
		{"exclusion", func(w *world) {
			know(w, plan.HypertableFacts{Exclusions: []plan.Exclusion{{Name: "no_two", Columns: []string{"device"}}}})
		}, contract.Fatal, plan.CodeHypertableExclusion, "public.metrics", `DROP CONSTRAINT "no_two"`},
		{"rows without a time", func(w *world) {
			w.table().Columns[1].NotNull = false
			know(w, plan.HypertableFacts{Nulls: plan.FoundSome})
		}, contract.Fatal, plan.CodeHypertableNullable, "public.metrics", "rows with NULL"},
		{"perhaps rows without a time", func(w *world) {
			w.table().Columns[1].NotNull = false
			know(w, plan.HypertableFacts{Nulls: plan.NotKnown})
		}, contract.Warning, plan.CodeHypertableNullable, "public.metrics", "not be seen quickly"},
		{"times out of range", func(w *world) { know(w, plan.HypertableFacts{OutOfRange: plan.FoundSome}) }, contract.Fatal, plan.CodeHypertableTimeRange, "public.metrics",
			`SELECT * FROM "public"."metrics" WHERE "ts" = '-infinity' OR "ts" > '294246-12-31' AND "ts" < 'infinity'`},
		{"perhaps times out of range", func(w *world) { know(w, plan.HypertableFacts{OutOfRange: plan.NotKnown}) }, contract.Info, plan.CodeHypertableTimeRange, "public.metrics", "was not looked at"},
		{"row security and columnstore", func(w *world) {
			w.hypertable().Columnstore = &contract.Columnstore{}
			know(w, plan.HypertableFacts{RowSecurity: true})
		}, contract.Fatal, plan.CodeHypertableRowSecurity, "public.metrics", "leave columnstore out"},
		{"rule", func(w *world) { know(w, plan.HypertableFacts{Rules: []string{"quiet"}}) }, contract.Fatal, plan.CodeHypertableRule, "public.metrics", `DROP RULE "quiet" ON "public"."metrics"`},
		{"row trigger with transition tables", func(w *world) { know(w, plan.HypertableFacts{TransitionTriggers: []string{"audit"}}) }, contract.Fatal, plan.CodeHypertableTrigger, "public.metrics", "FOR EACH STATEMENT"},
		{"check that is not inherited", func(w *world) { know(w, plan.HypertableFacts{NoInherit: []string{"above"}}) }, contract.Fatal, plan.CodeHypertableNoInherit, "public.metrics", "NO INHERIT"},
		{"generated time", func(w *world) { w.table().Columns[1].Generated = true }, contract.Fatal, plan.CodeHypertableGenerated, "public.metrics", `ALTER COLUMN "ts" DROP EXPRESSION`},
		{"generated space column", func(w *world) {
			w.hypertable().SpaceColumn, w.hypertable().SpacePartitions = "device", 4
			w.table().Columns[0].Generated = true
		}, contract.Fatal, plan.CodeHypertableGenerated, "public.metrics", "space column device"},
		{"what partitions have alone", func(w *world) {
			know(w, plan.HypertableFacts{PartitionOwn: []plan.PartitionOwn{{Partition: public("m_1"), Kind: "index", Name: "a"}, {Partition: public("m_2"), Kind: "index", Name: "b"}}})
		}, contract.Warning, plan.CodePartitionOwn, "public.metrics", "(2): public.m_1.a, public.m_2.b"},
		{"chunk interval in words that are none", func(w *world) { w.dst.Intervals = map[string]float64{"7 days": math.NaN()} }, contract.Fatal, plan.CodeHypertableInterval, "public.metrics", "no length of time"},
		{"retention in words that are none", func(w *world) {
			w.hypertable().Retention = "long"
			w.dst.Intervals = map[string]float64{"7 days": 604800, "long": math.NaN()}
		}, contract.Fatal, plan.CodeHypertableInterval, "public.metrics", "retention is"},
		{"retention of a number", func(w *world) {
			w.hypertable().TimeColumn, w.hypertable().ChunkInterval, w.hypertable().Retention = "n", "100", "1 year"
			w.table().Indexes = []shape.Index{primary("n")}
		}, contract.Fatal, plan.CodeHypertableInterval, "public.metrics", "set_integer_now_func"},
		{"space column without hash", func(w *world) {
			w.hypertable().SpaceColumn, w.hypertable().SpacePartitions = "device", 4
			know(w, plan.HypertableFacts{NotHashable: true})
		}, contract.Fatal, plan.CodeHypertableSpaceType, "public.metrics", "hash function"},
	}
}

func TestAssessHypertables(t *testing.T) {
	for _, c := range hypertableCases() {
		t.Run(c.name, func(t *testing.T) {
			w := goodWorld(t)
			c.change(w)
			for _, p := range plan.Assess(w.spec, w.src, w.dst) {
				if p.Code == c.code && p.Object == c.object {
					require.Equal(t, c.severity, p.Severity)
					require.Contains(t, p.Message+" → "+p.Remedy, c.contains)
					require.NotEmpty(t, p.Remedy)
					return
				}
			}
			require.Fail(t, "not found", c.code)
		})
	}
}

func TestAssessHypertablesIsQuietWhereNothingIsWrong(t *testing.T) {
	for name, change := range map[string]func(*world){
		"all is known": func(w *world) {
			w.dst.Intervals = map[string]float64{"7 days": 604800}
			w.src.ForHypertables = map[ident.Table]plan.HypertableFacts{public("metrics"): {RowSecurity: true,
				KeyUsers: []plan.KeyUser{{Index: "metrics_pkey", Kind: plan.KeyUserForeignKey, Name: "x", From: public("other")}}, Exclusions: []plan.Exclusion{{Name: "x", Columns: []string{"ts"}}}}}
		},
		"a choice without a key to make it for": func(w *world) { w.hypertable().Key = contract.KeyDrop },
	} {
		t.Run(name, func(t *testing.T) {
			w := goodWorld(t)
			change(w)
			require.Empty(t, plan.Assess(w.spec, w.src, w.dst))
		})
	}
}

func TestForeignKeysOfTablesOutOfScopeDoNotHoldAKey(t *testing.T) {
	w := goodWorld(t)
	w.hypertable().Key, w.table().Indexes = contract.KeyExtend, []shape.Index{primary("device")}
	w.src.ForHypertables = map[ident.Table]plan.HypertableFacts{public("metrics"): {
		KeyUsers: []plan.KeyUser{{Index: primary("device").Name, Kind: plan.KeyUserForeignKey, Name: "x", From: public("elsewhere")}}}}
	require.False(t, plan.HasFatal(plan.Assess(w.spec, w.src, w.dst)))
}

func TestIntervals(t *testing.T) {
	w := goodWorld(t)
	require.Equal(t, []string{"7 days"}, plan.Intervals(w.spec))
	w.hypertable().Retention, w.hypertable().Columnstore = "1 year", &contract.Columnstore{After: "2 days"}
	require.Equal(t, []string{"7 days", "1 year", "2 days"}, plan.Intervals(w.spec))
}
