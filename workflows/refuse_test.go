package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

// The phase stays until the steps under way have ended. A second abort in haste must not take away the target that the
// first one said to keep, and nothing is switched any more.
func TestOrdersAreRefusedOnceAbortIsAccepted(t *testing.T) {
	m := &migration{aborting: true}
	for _, phase := range []contract.Phase{contract.PhaseCopying, contract.PhaseInSync} {
		m.status.Phase = phase
		require.NotEmpty(t, m.refuseAbort())
		require.NotEmpty(t, m.refuseCutover())
	}
	m.aborting = false
	require.Empty(t, m.refuseAbort())
	require.Empty(t, m.refuseCutover())
}

func TestWaitingForHalfAYearFitsIntoOneHistory(t *testing.T) {
	const eventsPerLook, limit = 6, 51_200
	looks := 0
	for waited := time.Duration(0); waited < year/2; looks++ {
		waited += time.Duration(lookSeconds(waited)) * time.Second
	}
	require.Less(t, looks*eventsPerLook*10/9, limit, "with room for the rest of the story")
}
