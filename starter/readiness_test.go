package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestReadinessIsReadable(t *testing.T) {
	r := contract.Readiness{Ready: true, EstimatedMS: 420, Estimate: "300ms for the steps"}
	r.Add(contract.ReadinessCheck{Name: "lag", State: contract.CheckOK, Message: "the target is 72 bytes behind"})
	var out bytes.Buffer
	printReadiness(&out, "shop", r)
	require.Contains(t, out.String(), "Migration shop is ready for a cutover")
	require.Contains(t, out.String(), "Estimated downtime 420 ms: 300ms for the steps")
	require.Empty(t, blocking(r))

	r.Add(contract.ReadinessCheck{Name: "sessions", State: contract.CheckBlocking, Message: "1 sessions could not be ended", Items: []string{"pid 7 of app"}, Remedy: "GRANT pg_signal_backend"})
	r.Add(contract.ReadinessCheck{Name: "roles", State: contract.CheckWarning, Message: "1 roles have no password"})
	out.Reset()
	printReadiness(&out, "shop", r)
	for _, want := range []string{"NOT ready", "ok  lag", "NO  sessions", "- pid 7 of app", "→ GRANT pg_signal_backend", "!   roles"} {
		require.Contains(t, out.String(), want)
	}
	require.Equal(t, []string{"sessions"}, blocking(r))
}
