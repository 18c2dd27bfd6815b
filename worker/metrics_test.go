package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestMetricsAreServed(t *testing.T) {
	dataDir := t.TempDir()
	facts, err := readMachine(t.Context(), dataDir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	_, err = serveMetrics(address, measured(facts, dataDir), slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "--metrics-address", "the address is taken")
	require.NoError(t, l.Close())
	m, err := serveMetrics(address, measured(facts, dataDir), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer m.close()
	m.ours.Record("shop", "WatchLag", contract.Beat{Replication: &contract.ReplicationStatus{LagBytes: 42}})
	m.temporal.Counter("temporal_request").Inc(1)
	require.Eventually(t, func() bool {
		body := get(t, "http://"+address+"/metrics")
		return strings.Contains(body, `timeferry_apply_lag_bytes{migration="shop"} 42`) && strings.Contains(body, "temporal_request") &&
			strings.Contains(body, "timeferry_machine_disk_free_bytes ")
	}, 10*time.Second, 50*time.Millisecond)
	get(t, "http://"+address+"/healthz")
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}
