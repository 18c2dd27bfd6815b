package awssim_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// TestEveryFaultIsReachable reads the kinds from the source, so that none is forgotten.
func TestEveryFaultIsReachable(t *testing.T) {
	w := newFixture(t)
	faults, err := os.ReadFile("faults.go")
	require.NoError(t, err)
	control, err := os.ReadFile("control.go")
	require.NoError(t, err)
	kinds := regexp.MustCompile(`FaultKind = "([a-z-]+)"`).FindAllStringSubmatch(string(faults), -1)
	require.GreaterOrEqual(t, len(kinds), 18)
	for _, match := range kinds {
		kind := match[1]
		body := fmt.Sprintf(`{"kind":%q,"instance":"shop","code":"available","for":"1ms","factor":1}`, kind)
		require.Equal(t, http.StatusOK, w.post(t, "/_control/faults", body), kind)
		require.Regexp(t, `(?m)^//\t`+kind+` +\S`, string(control), "serveControl's comment explains %s", kind)
	}
	require.Equal(t, http.StatusBadRequest, w.post(t, "/_control/faults", `{"kind":"slow-states"}`), "without a factor")
}

func TestStartFails(t *testing.T) {
	w := newFixture(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.FailStart, Instance: "other"})
	w.simulator.Inject(awssim.Fault{Kind: awssim.FailStart, Instance: "Shop"})
	w.mustGroup(t, "custom")
	w.mustSet(t, "custom", "rds.logical_replication", "1", types.ApplyMethodPendingReboot)
	w.mustAttach(t, "custom")
	w.requireState(t, "available", "pending-reboot")
	require.NoError(t, w.reboot(t, false))
	w.requireState(t, "incompatible-parameters", "pending-reboot")
	require.Empty(t, w.server.restarts)
	require.NoError(t, w.reboot(t, false))
	w.requireState(t, "available", "in-sync")
	require.Len(t, w.server.restarts, 1)
}

func TestStatesAreSlow(t *testing.T) {
	w := newFixture(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.SlowStates, Factor: 4})
	w.mustGroup(t, "custom")
	started := time.Now()
	w.mustAttach(t, "custom")
	w.requireState(t, "available", "pending-reboot")
	require.GreaterOrEqual(t, time.Since(started), 4*slow.Modifying)
	w.simulator.Reset()
	started = time.Now()
	require.NoError(t, w.reboot(t, false))
	w.requireState(t, "available", "in-sync")
	require.Less(t, time.Since(started), 4*(slow.BeforeReboot+slow.Rebooting), "a reset ends it")
}

func TestMetadataFaults(t *testing.T) {
	simulator := awssim.New(awssim.Options{})
	t.Cleanup(simulator.Close)
	endpoint := httptest.NewUnstartedServer(simulator.Metadata(awssim.MetadataConfig{UserData: "#!/bin/sh\n"}))
	endpoint.Start()
	t.Cleanup(endpoint.Close)
	get := func() error {
		client := imds.New(imds.Options{Endpoint: endpoint.URL}, func(o *imds.Options) { o.ClientEnableState = imds.ClientEnabled })
		_, err := client.GetUserData(t.Context(), &imds.GetUserDataInput{})
		return err
	}
	require.NoError(t, get())
	simulator.Inject(awssim.Fault{Kind: awssim.MetadataRefuseToken, Count: 10})
	require.Error(t, get())
	simulator.Reset()
	simulator.Inject(awssim.Fault{Kind: awssim.MetadataUnreachable})
	_, err := http.Get(endpoint.URL + "/latest/user-data")
	require.Error(t, err)
	require.True(t, strings.Contains(err.Error(), "EOF"), err)
	simulator.Inject(awssim.Fault{Kind: awssim.MetadataSlow, For: 200 * time.Millisecond})
	started := time.Now()
	require.NoError(t, get())
	require.GreaterOrEqual(t, time.Since(started), 200*time.Millisecond)
}
