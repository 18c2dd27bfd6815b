package plan_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/plan"
)

func reversible() contract.Spec {
	return contract.Spec{Cutover: contract.Cutover{Reverse: true}, Hypertables: []contract.Hypertable{{Table: "public.metrics", TimeColumn: "ts"}}}
}

// ableBack are two servers between which the way back works.
func ableBack() plan.BackFacts {
	return plan.BackFacts{WALLevel: "logical", Encoding: "UTF8", SlotsUsed: 1, MaxSlots: 10, SendersUsed: 1, Senders: 10, CanReplicate: true, OwnsDatabase: true,
		Plugin: plan.PluginWal2json, SourceCanCreate: true, SourceReplicaRole: true}
}

func TestAssessBack(t *testing.T) {
	require.Empty(t, plan.AssessBack(reversible(), ableBack()))
	for name, c := range map[string]struct {
		change  func(*contract.Spec, *plan.BackFacts)
		code    string
		object  string
		message string
	}{
		"wal_level":       {func(_ *contract.Spec, f *plan.BackFacts) { f.WALLevel = "replica" }, plan.CodeBackWALLevel, "target", "wal_level is replica"},
		"no slot":         {func(_ *contract.Spec, f *plan.BackFacts) { f.SlotsUsed = 10 }, plan.CodeBackSlots, "target", "10 of 10 replication slots"},
		"no sender":       {func(_ *contract.Spec, f *plan.BackFacts) { f.SendersUsed = 10 }, plan.CodeBackSlots, "target", "10 of 10 WAL senders"},
		"replication":     {func(_ *contract.Spec, f *plan.BackFacts) { f.CanReplicate = false }, plan.CodeBackPrivilege, "target", "may not replicate"},
		"owner":           {func(_ *contract.Spec, f *plan.BackFacts) { f.OwnsDatabase = false }, plan.CodeBackPrivilege, "target", "must fence it"},
		"plugin":          {func(_ *contract.Spec, f *plan.BackFacts) { f.PluginError = "no such file" }, plan.CodeBackPlugin, "target", "wal2json: no such file"},
		"encoding":        {func(_ *contract.Spec, f *plan.BackFacts) { f.Encoding = "LATIN1" }, plan.CodeBackPlugin, "target", "LATIN1"},
		"schema":          {func(_ *contract.Spec, f *plan.BackFacts) { f.SourceCanCreate = false }, plan.CodeBackSource, "source", "may not make a schema"},
		"replica role":    {func(_ *contract.Spec, f *plan.BackFacts) { f.SourceReplicaRole = false }, plan.CodeBackSource, "source", "session_replication_role"},
		"always triggers": {func(_ *contract.Spec, f *plan.BackFacts) { f.AlwaysTriggers = []string{"audit of public.t"} }, plan.CodeBackTriggers, "source", "audit of public.t"},
		"retention":       {func(s *contract.Spec, _ *plan.BackFacts) { s.Hypertables[0].Retention = "1 year" }, plan.CodeBackHypertable, "public.metrics", "retention"},
		"columnstore": {func(s *contract.Spec, _ *plan.BackFacts) { s.Hypertables[0].Columnstore = &contract.Columnstore{} }, plan.CodeBackHypertable, "public.metrics",
			"columnstore"},
	} {
		t.Run(name, func(t *testing.T) {
			spec, f := reversible(), ableBack()
			c.change(&spec, &f)
			found := plan.AssessBack(spec, f)
			require.Len(t, found, 1)
			require.Equal(t, []any{c.code, c.object, contract.Fatal}, []any{found[0].Code, found[0].Object, found[0].Severity})
			require.Contains(t, found[0].Message, c.message)
			require.Contains(t, found[0].Remedy, "or leave cutover.reverse out")
		})
	}
}

func TestHypertablesAreReadByAPluginThatKnowsNoPublications(t *testing.T) {
	require.Equal(t, "wal2json", plan.BackPlugin(true))
	require.Equal(t, "pgoutput", plan.BackPlugin(false))
}
