package verify

import (
	"testing"
	"time"
)

// SetHolds replaces for how long the apply is held, for the rest of the test.
func SetHolds(t *testing.T, to ...time.Duration) {
	t.Helper()
	before := holds
	t.Cleanup(func() { holds = before })
	holds = to
}
