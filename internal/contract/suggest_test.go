package contract_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestSuggestionGolden(t *testing.T) {
	requireGolden(t, "suggestion.json", contract.HypertableSuggestion{
		Hypertable: contract.Hypertable{Table: "public.events", TimeColumn: "ts", ChunkInterval: "1 day"},
		Reasons:    []string{"2.0 GiB with indexes"}, Choices: []string{"its primary key events_pkey (id) does not contain ts"}})
}

func TestKeysOfHypertables(t *testing.T) {
	h := contract.Hypertable{TimeColumn: "ts", SpaceColumn: "s"}
	require.Equal(t, []string{"ts", "s"}, h.Missing([]string{"id"}))
	require.Equal(t, []string{"s"}, h.Missing([]string{"ts", "id"}))
	require.Empty(t, h.Missing([]string{"s", "ts"}))
	require.False(t, h.ChangesKeys())
	for choice, changes := range map[string]bool{contract.KeyRefuse: false, contract.KeyExtend: true, contract.KeyDrop: true} {
		spec, err := contract.ParseSpec([]byte(`{"name": "x", "source": {"host": "h", "database": "d", "user": "u", "password": {"env": "P"}}, "target": {"host": "h", "database": "d", "user": "u", "password": {"env": "P"}},
			"hypertables": [{"table": "public.t", "timeColumn": "ts", "key": "` + choice + `"}]}`))
		require.NoError(t, err)
		require.Equal(t, choice, spec.Hypertables[0].Key)
		require.Equal(t, changes, spec.Hypertables[0].ChangesKeys())
	}
	_, err := contract.ParseSpec([]byte(`{"name": "x", "source": {"host": "h", "database": "d", "user": "u", "password": {"env": "P"}}, "target": {"host": "h", "database": "d", "user": "u", "password": {"env": "P"}},
		"hypertables": [{"table": "public.t", "timeColumn": "ts", "key": "ignore"}]}`))
	require.ErrorContains(t, err, "hypertables[0].key")
	require.ErrorContains(t, err, `"ignore" is not known`)
}
