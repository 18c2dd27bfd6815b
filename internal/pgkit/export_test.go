package pgkit

import (
	"testing"
	"time"
)

// SetLoginPatience makes refused logins end sooner, for one test.
func SetLoginPatience(t *testing.T, d time.Duration) {
	t.Helper()
	before := loginPatience
	loginPatience = d
	t.Cleanup(func() { loginPatience = before })
}
