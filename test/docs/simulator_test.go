package docs

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// TestSimulatorPageIsTrue sends every fault and every request of the page to the simulator, and wants a row for each kind of
// fault that there is.
func TestSimulatorPageIsTrue(t *testing.T) {
	page := read(t, "../../docs/simulator.md")
	simulator := awssim.New(awssim.Options{})
	t.Cleanup(simulator.Close)
	simulator.AddInstance(awssim.InstanceConfig{ID: "shop-prod", Engine: "postgres", EngineVersion: "16.8", MasterUser: "postgres"})
	api := httptest.NewServer(simulator)
	t.Cleanup(api.Close)

	told := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| .* \\|").FindAllStringSubmatch(page, -1) {
		told[row[1]] = true
		fault, err := json.Marshal(map[string]any{"kind": row[1], "instance": "shop-prod", "code": "stopped", "factor": 1, "for": 1})
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, ask(t, "POST", api.URL+"/_control/faults", string(fault)), row[1])
	}
	declared := regexp.MustCompile(`(?m)^\t[A-Z]\w+ FaultKind = "([a-z-]+)"$`).FindAllStringSubmatch(read(t, "../../internal/awssim/faults.go"), -1)
	require.NotEmpty(t, declared)
	for _, kind := range declared {
		require.True(t, told[kind[1]], "%s is not told", kind[1])
	}
	require.Len(t, told, len(declared))

	requests := regexp.MustCompile("(?m)^\\| `(GET|POST) (/_control/[a-z]+)`").FindAllStringSubmatch(page, -1)
	require.Len(t, requests, 5)
	for _, r := range requests {
		body := ""
		if strings.HasSuffix(r[2], "faults") {
			body = "[]"
		}
		require.Equal(t, http.StatusOK, ask(t, r[1], api.URL+r[2], body), r[2])
	}
	for _, sent := range regexp.MustCompile(`(?m)^curl -d '(.+)' http`).FindAllStringSubmatch(page, -1) {
		require.Equal(t, http.StatusOK, ask(t, "POST", api.URL+"/_control/faults", sent[1]), sent[1])
	}
}

func ask(t *testing.T, method, url, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}
