package plan_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/plan"
)

func TestSlotAlarms(t *testing.T) {
	const endangered, long, lost = contract.CodeSlotEndangered, contract.CodeLongTransaction, contract.CodeSlotLost
	good := plan.SlotPressure{Slot: "timeferry_shop", Exists: true, WALStatus: "reserved", SafeWALBytes: -1, KeepBytes: -1, RetainedBytes: 5 << 20}
	for _, c := range []struct {
		name   string
		change func(*plan.SlotPressure)
		known  []string
		codes  []string
		words  string
	}{
		{"all is well", func(*plan.SlotPressure) {}, nil, nil, ""},
		{"an old server", func(p *plan.SlotPressure) { p.WALStatus = "" }, nil, nil, ""},
		{"more than max_wal_size", func(p *plan.SlotPressure) { p.WALStatus, p.RetainedBytes = "extended", 3<<30 }, nil, []string{endangered}, "3.0 GiB of WAL are kept"},
		{"which is meant to be", func(p *plan.SlotPressure) { p.WALStatus, p.Waits = "extended", true }, nil, nil, ""},
		{"nearly at the limit", func(p *plan.SlotPressure) { p.KeepBytes, p.SafeWALBytes = 10<<30, 19<<30/10 }, nil, []string{endangered}, "after 1.9 GiB more"},
		{"at the limit, though it waits", func(p *plan.SlotPressure) { p.KeepBytes, p.SafeWALBytes, p.Waits = 10<<30, 0, true }, nil, []string{endangered}, "after 0 MiB more"},
		{"far from the limit", func(p *plan.SlotPressure) { p.KeepBytes, p.SafeWALBytes = 10<<30, 21<<30/10 }, nil, nil, ""},
		{"not far enough for the alarm to end", func(p *plan.SlotPressure) { p.KeepBytes, p.SafeWALBytes = 10<<30, 29<<30/10 }, []string{endangered}, []string{endangered}, "2.9 GiB"},
		{"far enough", func(p *plan.SlotPressure) { p.KeepBytes, p.SafeWALBytes = 10<<30, 31<<30/10 }, []string{endangered}, nil, ""},
		{"about to be removed", func(p *plan.SlotPressure) { p.WALStatus, p.KeepBytes = "unreserved", 1<<30 }, nil, []string{endangered}, "at the next checkpoint"},
		{"lost", func(p *plan.SlotPressure) { p.WALStatus = "lost" }, []string{endangered}, []string{lost}, "removed WAL"},
		{"invalidated", func(p *plan.SlotPressure) { p.Invalidation = "idle_timeout" }, nil, []string{lost}, "idle_timeout"},
		{"gone", func(p *plan.SlotPressure) { p.Exists = false }, nil, []string{lost}, "does not exist"},
		{"a long transaction", func(p *plan.SlotPressure) {
			p.Longest = &contract.OpenTransaction{PID: 77, User: "app", Application: "report", Seconds: 7260}
		}, nil, []string{long}, "pid 77 of user app (report) has had a transaction open for 2h1m"},
		{"a prepared one", func(p *plan.SlotPressure) {
			p.Longest = &contract.OpenTransaction{User: "app", Application: "gid", Seconds: 3600}
		}, nil, []string{long}, `prepared transaction "gid"`},
		{"a short one", func(p *plan.SlotPressure) { p.Longest = &contract.OpenTransaction{PID: 77, Seconds: 3599} }, nil, nil, ""},
		{"both", func(p *plan.SlotPressure) {
			p.WALStatus, p.Longest = "unreserved", &contract.OpenTransaction{PID: 77, User: "app", Seconds: 9e9}
		}, nil, []string{endangered, long}, "unreserved"},
	} {
		p := good
		c.change(&p)
		found := plan.SlotAlarms(p, c.known)
		require.True(t, plan.SameAlarms(found, c.codes), "%s: %v", c.name, found)
		for _, problem := range found {
			require.NotEmpty(t, problem.Remedy, c.name)
			require.Equal(t, p.Slot, problem.Object, c.name)
			require.Equal(t, problem.Code == lost, problem.Severity == contract.Fatal, c.name)
		}
		if len(c.codes) == 1 {
			require.Contains(t, found[0].Message, c.words, c.name)
		}
	}
}
