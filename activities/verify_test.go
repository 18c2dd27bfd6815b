package activities_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/activities"
	"timeferry/internal/ident"
	"timeferry/internal/verify"
)

// However many tables there are, and however many of them differ, what goes into a history is bounded, and counts are whole.
func TestAComparisonOfManyTablesStaysSmall(t *testing.T) {
	var tables []verify.TableResult
	for i := range 10_000 {
		r := verify.TableResult{Table: ident.Table{Schema: "public", Name: fmt.Sprintf("t%05d", i)}, SourceRows: 10, TargetRows: 10, Bytes: 8192, Compared: true, Whole: true, Equal: i%2 == 0}
		if !r.Equal {
			r.Unequal, r.Unverified, r.Differing = true, true, 30
			for n := range 20 {
				r.Differences = append(r.Differences, verify.RowDifference{KeyHash: fmt.Sprintf("%012d", n), What: verify.Differs, Columns: []string{"v"}})
			}
		}
		tables = append(tables, r)
	}
	v := activities.VerificationOf(verify.MethodChecksum, verify.Outcome{Tables: tables})
	require.False(t, v.Equal)
	require.Equal(t, 10_000, v.Tables)
	require.Equal(t, 5000, v.UnequalCount)
	require.Equal(t, 5000, v.UnverifiedCount)
	require.EqualValues(t, 100_000, v.Rows)
	require.Len(t, v.Unequal, 100)
	require.False(t, v.Verdicts[0].Equal, "what differs comes first")
	rows := 0
	for _, d := range v.Differences {
		rows += len(d.Rows)
	}
	require.Equal(t, 200, rows)
	require.Contains(t, v.Differences[0].Message, "30 rows differ")
}
