package activities

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/obs"
	"timeferry/internal/verify"
)

func TestComparisonsAreSummedUp(t *testing.T) {
	t.Parallel()
	equal := verify.TableResult{Chunks: 10, Read: 4, Equal: true}
	differs := verify.TableResult{Chunks: 1, Read: 1, Differing: 3}
	before := verify.TableResult{Chunks: 2, Equal: true, Unequal: true}
	skipped := verify.TableResult{Chunks: 7, Equal: true, Skipped: true}
	for _, c := range []struct {
		tables []verify.TableResult
		err    error
		want   obs.Comparison
	}{
		{[]verify.TableResult{equal, skipped}, nil, obs.Comparison{Result: obs.ResultEqual, Seconds: 2, Chunks: 4, Relied: 6}},
		{[]verify.TableResult{equal, differs}, nil, obs.Comparison{Result: obs.ResultDiffers, Seconds: 2, Chunks: 5, Relied: 6, Differences: 3}},
		{[]verify.TableResult{before}, nil, obs.Comparison{Result: obs.ResultDiffers, Seconds: 2, Relied: 2}},
		{nil, errors.New("no slot"), obs.Comparison{Result: obs.ResultFailed, Seconds: 2}},
	} {
		require.Equal(t, c.want, comparisonOf(verify.Outcome{Tables: c.tables}, c.err, 2*time.Second))
	}
}
