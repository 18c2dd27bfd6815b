package contract_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestCopyLimits(t *testing.T) {
	parse := func(copy string) (contract.Spec, error) {
		return contract.ParseSpec(fmt.Appendf(nil, `{"name": "shop", "source": {"host": "s", "database": "d", "user": "u", "password": {"env": "P"}},
			"target": {"host": "t", "database": "d", "user": "u", "password": {"env": "P"}}, "copy": %s}`, copy))
	}
	s, err := parse(`{"maxBytesPerSecond": "50MiB", "backOff": {"replicaLag": "90s", "activeSessions": 5}}`)
	require.NoError(t, err)
	require.EqualValues(t, 50<<20, s.Copy.RateBytes())
	require.Equal(t, 90*time.Second, s.Copy.BackOff.MaxReplicaLag())
	for copy, at := range map[string]string{
		`{"concurrency": 257}`:                "copy.concurrency",
		`{"indexJobs": 65}`:                   "copy.indexJobs",
		`{"maxBytesPerSecond": "fast"}`:       "copy.maxBytesPerSecond",
		`{"maxBytesPerSecond": "50"}`:         "copy.maxBytesPerSecond",
		`{"backOff": {}}`:                     "copy.backOff",
		`{"backOff": {"replicaLag": "30"}}`:   "copy.backOff.replicaLag",
		`{"backOff": {"replicaLag": "-1s"}}`:  "copy.backOff.replicaLag",
		`{"backOff": {"activeSessions": -1}}`: "copy.backOff.activeSessions",
		`{"backOff": {"cpuCredits": -1}}`:     "copy.backOff.cpuCredits",
		`{"backOff": {"cpuCredits": 20}}`:     "source.rds",
	} {
		_, err := parse(copy)
		require.ErrorContains(t, err, at, copy)
	}
}

func TestSteeringForm(t *testing.T) {
	requireGolden(t, "note_concurrency.json", contract.Note{By: "bob", Copy: 8, IndexJobs: 2})
	requireGolden(t, "steering.json", contract.Steering{Serial: 2, Paused: true, Concurrency: 8, IndexJobs: 2})
	requireGolden(t, "copy_result.json", contract.CopyResult{Stopped: true})
	requireGolden(t, "copy_live.json", contract.CopyStatus{Tables: 2, TablesDone: 1, Parts: 5, PartsDone: 2, Bytes: 100, BytesDone: 42, Rows: 70, ETASeconds: 5, OpenBytes: 2, OpenRows: 3,
		Rate: 10, Waiting: "a standby is late", Running: []contract.PartProgress{{Table: "public.t", Part: 2, Stream: 1, Rows: 3, Bytes: 2, Planned: 20, Rate: 10, ETASeconds: 1}},
		Largest:  []contract.TableProgress{{Table: "public.t", Parts: 4, PartsDone: 1, Bytes: 80, BytesDone: 20, Rows: 60}},
		Building: []contract.IndexBuild{{Name: "INDEX public.t_x", Table: "public.t", Percent: 45}}})
}
