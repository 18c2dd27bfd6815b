package awssim_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

func (w world) post(t *testing.T, path, body string) int {
	t.Helper()
	response, err := http.Post(w.url+path, "application/json", strings.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

func (w world) describe(t *testing.T) error {
	t.Helper()
	_, err := w.rds.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: aws.String("shop")})
	return err
}

func TestCallsAreLoggedInOrder(t *testing.T) {
	w := newFixture(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.LoseAnswer, Action: "RebootDBInstance"})
	require.NoError(t, w.describe(t))
	require.Error(t, w.reboot(t, false))
	_, err := w.rds.ModifyDBInstance(t.Context(), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: aws.String("shop"), MasterUserPassword: aws.String("hidden")})
	require.Error(t, err)
	_, err = w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("none")})
	require.Error(t, err)
	want := []string{
		"rds:DescribeDBInstances DBInstanceIdentifier=shop",
		"rds:RebootDBInstance DBInstanceIdentifier=shop ForceFailover=false -> InternalFailure",
		"rds:ModifyDBInstance DBInstanceIdentifier=shop -> InvalidDBInstanceState",
		"secretsmanager:GetSecretValue SecretId=none -> ResourceNotFoundException",
	}
	var have []string
	for _, c := range w.simulator.Log() {
		have = append(have, c.String())
	}
	require.Equal(t, want, have)

	response, err := http.Get(w.url + "/_control/calls")
	require.NoError(t, err)
	defer response.Body.Close()
	var calls []awssim.Call
	require.NoError(t, json.NewDecoder(response.Body).Decode(&calls))
	require.Equal(t, w.simulator.Log(), calls)
}

func TestFaultsOverHTTP(t *testing.T) {
	w := newFixture(t)
	require.Equal(t, http.StatusOK, w.post(t, "/_control/faults", `{"kind":"throttle","count":2}`))
	requireCode(t, w.describe(t), "Throttling")
	require.Equal(t, http.StatusOK, w.post(t, "/_control/faults", `[{"kind":"force-status","instance":"shop","code":"storage-full"},{"kind":"backing-up","instance":"none","for":"1s"}]`))
	for _, bad := range []string{`{"kind":"nonsense"}`, `{"kind":"throttle","cuont":2}`, `{"kind":"throttle","for":"soon"}`, `x`} {
		require.Equal(t, http.StatusBadRequest, w.post(t, "/_control/faults", bad), bad)
	}
	require.Equal(t, http.StatusNotFound, w.post(t, "/_control/other", ""))
	require.Equal(t, http.StatusOK, w.post(t, "/_control/reset", ""))
	require.Empty(t, w.simulator.Log())
	require.Equal(t, "available", *w.instance(t).DBInstanceStatus)
	require.Equal(t, 1, w.simulator.Calls("DescribeDBInstances"))
}

func TestShareOfCallsIsThrottled(t *testing.T) {
	w := newFixture(t)
	require.Equal(t, http.StatusOK, w.post(t, "/_control/faults", `{"kind":"throttle","percent":30}`))
	failed := 0
	for range 200 {
		if w.describe(t) != nil {
			failed++
		}
	}
	require.InDelta(t, 60, failed, 25)
}

func TestWritesAreSeenLate(t *testing.T) {
	w := newFixture(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.ReadLag, For: 300 * time.Millisecond})
	seen := func(name string) bool {
		_, err := w.rds.DescribeDBParameterGroups(t.Context(), &rds.DescribeDBParameterGroupsInput{DBParameterGroupName: &name})
		return err == nil
	}
	started := time.Now()
	w.mustGroup(t, "one")
	w.mustGroup(t, "two")
	require.False(t, seen("one"))
	require.False(t, seen("two"))
	require.Eventually(t, func() bool { return seen("two") }, 5*time.Second, 5*time.Millisecond)
	require.GreaterOrEqual(t, time.Since(started), 300*time.Millisecond)
	require.True(t, seen("one"))
}
