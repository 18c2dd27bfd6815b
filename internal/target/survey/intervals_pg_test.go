package survey_test

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/target/survey"
	"timeferry/internal/testkit/pgtest"
)

func TestReadIntervals(t *testing.T) {
	const day = 86400.0
	want := map[string]float64{"7 days": 7 * day, "1 month": 30 * day, "1 year": 360 * day, "36 hours": 1.5 * day, "1 day 12:00": 1.5 * day, "-1 day": -day, "0": 0,
		"7 potatoes": math.NaN(), "": math.NaN(), "infinity": math.NaN(), "1 day; DROP TABLE x": math.NaN(), "99999999999 years": math.NaN()}
	var words []string
	for w := range want {
		words = append(words, w)
	}
	got, err := survey.ReadIntervals(t.Context(), pgtest.Target(t).Conn(t), words)
	require.NoError(t, err)
	require.Len(t, got, len(want))
	for w, seconds := range want {
		if math.IsNaN(seconds) {
			require.True(t, math.IsNaN(got[w]), "%q is %v", w, got[w])
		} else {
			require.Equal(t, seconds, got[w], w)
		}
	}
}

func TestReadMemory(t *testing.T) {
	dst := pgtest.Target(t)
	got, err := survey.ReadMemory(t.Context(), dst.Conn(t))
	require.NoError(t, err)
	require.Equal(t, dst.QueryValue(t, "SELECT (4 * pg_size_bytes(current_setting('shared_buffers')))::text"), strconv.FormatInt(got, 10))
}
