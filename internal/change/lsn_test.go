package change_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
)

func TestLSNTextForm(t *testing.T) {
	for text, lsn := range map[string]change.LSN{
		"0/0": 0, "0/1": 1, "16/B374D848": 0x16B374D848, "1/0": 1 << 32, "FFFFFFFF/FFFFFFFF": math.MaxUint64,
	} {
		parsed, err := change.ParseLSN(text)
		require.NoError(t, err)
		require.Equal(t, lsn, parsed)
		require.Equal(t, text, lsn.String())
	}
	padded, err := change.ParseLSN("00000016/0b374d848")
	require.NoError(t, err)
	require.Equal(t, "16/B374D848", padded.String())
}

func TestLSNRefusesWhatIsNone(t *testing.T) {
	for _, text := range []string{"", "0", "/", "0/", "/0", "0/0/0", "G/0", "0/G", "-1/0", "+1/0", "100000000/0", "0/100000000", " 0/0"} {
		_, err := change.ParseLSN(text)
		require.ErrorContains(t, err, "parse LSN", "%q", text)
	}
}

func TestLSNInJSON(t *testing.T) {
	type carrier struct {
		At   change.LSN `json:"at"`
		None change.LSN `json:"none,omitzero"`
	}
	raw, err := json.Marshal(carrier{At: 0x16B374D848})
	require.NoError(t, err)
	require.JSONEq(t, `{"at": "16/B374D848"}`, string(raw))
	var back carrier
	require.NoError(t, json.Unmarshal(raw, &back))
	require.Equal(t, carrier{At: 0x16B374D848}, back)
	require.NoError(t, json.Unmarshal([]byte(`{"at": null}`), &back))
	require.Error(t, json.Unmarshal([]byte(`{"at": "x"}`), &back))
	require.Error(t, json.Unmarshal([]byte(`{"at": 7}`), &back))
}

func TestBytesBehind(t *testing.T) {
	require.EqualValues(t, 10, change.LSN(5).BytesBehind(15))
	require.Zero(t, change.LSN(15).BytesBehind(5), "never negative")
	require.Zero(t, change.LSN(5).BytesBehind(5))
}
