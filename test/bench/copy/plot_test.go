package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlotNamesEveryContender(t *testing.T) {
	r := newResult()
	r.summarise()
	svg, err := r.plot()
	require.NoError(t, err)
	for _, m := range r.Medians {
		require.Contains(t, string(svg), ">"+m.label()+"<")
	}
	require.Contains(t, string(svg), ">1139 MB, 5 tables; PostgreSQL 15 to 17 on one machine of 2 CPUs; median of 3 rounds<")
}
