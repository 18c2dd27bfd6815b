package workflows

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestProblemsComeAndGo(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	problem := func(code, message string) contract.Problem {
		return contract.Problem{Code: code, Object: "t", Message: message}
	}
	var h history
	h.note([]contract.Problem{problem("a", "first")}, noon)
	h.note([]contract.Problem{problem("a", "later"), problem("b", "")}, noon.Add(time.Minute))
	h.note([]contract.Problem{problem("b", "")}, noon.Add(2*time.Minute))
	h.note([]contract.Problem{problem("a", "again")}, noon.Add(3*time.Minute))
	ended := func(minutes int) *time.Time { return new(noon.Add(time.Duration(minutes) * time.Minute)) }
	require.Equal(t, []contract.ProblemTime{
		{Problem: problem("a", "later"), Opened: noon, Ended: ended(2)},
		{Problem: problem("b", ""), Opened: noon.Add(time.Minute), Ended: ended(3)},
		{Problem: problem("a", "again"), Opened: noon.Add(3 * time.Minute)},
	}, h.times)

	for i := range 3 * contract.MaxProblemTimes { // each ends the one before
		h.note([]contract.Problem{problem("a", "again"), problem(fmt.Sprint(i), "")}, noon.Add(time.Hour))
	}
	require.Len(t, h.times, contract.MaxProblemTimes)
	require.Equal(t, "again", h.times[0].Message, "it is open: the ones that have ended are forgotten")
	require.Equal(t, fmt.Sprint(3*contract.MaxProblemTimes-1), h.times[len(h.times)-1].Code)
}
