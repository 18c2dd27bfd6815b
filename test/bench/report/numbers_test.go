package report

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMiddle(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{4}, 4}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}, {[]float64{1.00049}, 1}} {
		before := append([]float64(nil), c.values...)
		require.Equal(t, c.want, Middle(c.values), "%v", c.values)
		require.Equal(t, before, c.values, "the values keep their order")
	}
}
