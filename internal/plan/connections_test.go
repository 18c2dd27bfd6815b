package plan_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/plan"
)

// As many streams as MostStreams says are no error, and one more is.
func TestMostStreamsIsWhatPreflightTakes(t *testing.T) {
	for _, c := range []struct{ source, target, want int }{{100, 100, 31}, {20, 100, 13}, {100, 25, 6}, {5, 5, 1}, {0, 100, 31}, {0, 0, 0}} {
		w := goodWorld(t)
		w.src.MaxConnections, w.dst.MaxConnections, w.src.Connections, w.dst.Connections = c.source, c.target, 0, 0
		most := plan.MostStreams(w.spec, w.src, w.dst)
		require.Equal(t, c.want, most, "%+v", c)
		if most <= 1 {
			continue
		}
		w.spec.Copy.Concurrency = most
		require.Zero(t, fatalConnections(w), "%+v", c)
		require.Equal(t, most, plan.MostStreams(w.spec, w.src, w.dst), "whatever the spec asks for")
		w.spec.Copy.Concurrency = most + 1
		require.Equal(t, 1, fatalConnections(w), "%+v", c)
	}
}

func fatalConnections(w *world) int {
	n := 0
	for _, p := range plan.Assess(w.spec, w.src, w.dst) {
		if p.Code == plan.CodeConnections && p.Severity == contract.Fatal {
			n++
		}
	}
	return n
}

// What streams and index builds may take together is what preflight takes, too.
func TestIndexBuildsTakeWhatStreamsLeave(t *testing.T) {
	for _, c := range []struct{ target, want int }{{100, 83}, {30, 13}, {5, 1}, {0, 0}} {
		w := goodWorld(t)
		w.src.MaxConnections, w.dst.MaxConnections, w.src.Connections, w.dst.Connections = 1000, c.target, 0, 0
		w.spec.Copy.Concurrency = 4
		most := plan.ConnectionsOfTarget(w.spec, w.src, w.dst).MostIndexJobs(4)
		require.Equal(t, c.want, most, "%+v", c)
		if most <= 1 {
			continue
		}
		w.spec.Copy.IndexJobs = most
		require.Zero(t, fatalConnections(w), "%+v", c)
		require.Equal(t, most, plan.ConnectionsOfTarget(w.spec, w.src, w.dst).MostIndexJobs(4), "whatever the spec asks for")
		w.spec.Copy.IndexJobs = most + 1
		require.Equal(t, 1, fatalConnections(w), "%+v", c)
	}
}

// A hypertable that is made by hand at the gate needs as many connections as one that the spec names.
func TestHypertablesOfTheGateCountAsConnections(t *testing.T) {
	most := func(named, gate bool) int {
		w := goodWorld(t)
		w.src.MaxConnections, w.dst.MaxConnections = 1000, 100
		if !named {
			w.spec.Hypertables = nil
		}
		w.spec.HypertableGate = gate
		return plan.MostStreams(w.spec, w.src, w.dst)
	}
	require.Greater(t, most(false, false), most(false, true))
	require.Equal(t, most(true, false), most(false, true))
	require.Equal(t, most(true, true), most(false, true))
}
