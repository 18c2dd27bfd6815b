package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/launch"
)

const rdsSpec = `
name: shop
source: {rds: {instance: shop-prod, region: us-west-2}, database: shop, user: u, password: {env: P}}
target: {host: t, database: tsdb, user: v, password: {file: /p}}
`

// machineWorld is a simulator with two databases, and the spec of the first.
type machineWorld struct {
	simulator *awssim.Simulator
	spec      string
}

func newMachineWorld(t *testing.T) machineWorld {
	t.Helper()
	w := machineWorld{simulator: awssim.New(awssim.Options{Region: "us-west-2"})}
	t.Cleanup(w.simulator.Close)
	endpoint := httptest.NewServer(w.simulator)
	t.Cleanup(endpoint.Close)
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": endpoint.URL, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_REGION": "us-west-2", "AWS_PROFILE": "", "AWS_SESSION_TOKEN": "", "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"} {
		t.Setenv(name, value)
	}
	w.simulator.AddInstance(awssim.InstanceConfig{ID: "shop-prod", EngineVersion: "16.4", MasterUser: "postgres", Host: "db.example", Port: 5432,
		VPC: "vpc-1", SecurityGroup: "sg-1", AllocatedGiB: 300, AvailabilityZone: "us-west-2b"})
	w.spec = w.file(t, rdsSpec)
	return w
}

func (w machineWorld) file(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "spec.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func (w machineWorld) run(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(context.Background(), append([]string{"machine"}, args...), &o, &e)
	return code, o.String(), e.String()
}

func TestMachinePlan(t *testing.T) {
	w := newMachineWorld(t)
	code, out, errOut := w.run("plan", "-f", w.spec)
	require.Equal(t, exitDone, code, errOut)
	for _, want := range []string{"m6i.xlarge: 4 CPUs, 16 GiB", "450 GiB, gp3, encrypted", "zone us-west-2b", "vpc-1", "nobody comes in", "client programs 16", "note:"} {
		require.Contains(t, out, want)
	}
	code, out, errOut = w.run("plan", "-f", w.spec, "--data-size", "20GiB", "-o", "json")
	require.Equal(t, exitDone, code, errOut)
	var plan launch.Plan
	require.NoError(t, json.Unmarshal([]byte(out), &plan))
	require.Equal(t, []any{"m6i.large", int64(50), "us-west-2"}, []any{plan.Type, plan.DiskGiB, plan.Region})
	require.Empty(t, w.simulator.Machines())
	for _, call := range w.simulator.Log() {
		require.True(t, strings.HasPrefix(call.Action, "Describe"), call.String())
	}
}

func TestMachineLaunchAndTerminate(t *testing.T) {
	w := newMachineWorld(t)
	launchArgs := []string{"launch", "-f", w.spec, "--worker-url", "https://bucket.example/worker", "--worker-sha256", strings.Repeat("0", 64),
		"--env", "TEMPORAL_ADDRESS=temporal.example:7233", "--instance-profile", "worker", "--aws-poll", "5ms", "-o", "json"}
	var launched, again launch.Launched
	code, out, errOut := w.run(launchArgs...)
	require.Equal(t, exitDone, code, errOut)
	require.NoError(t, json.Unmarshal([]byte(out), &launched))
	require.False(t, launched.Existing)
	code, out, errOut = w.run(launchArgs...)
	require.Equal(t, exitDone, code, errOut)
	require.NoError(t, json.Unmarshal([]byte(out), &again))
	require.True(t, again.Existing)
	require.Equal(t, launched.Machine.ID, again.Machine.ID)
	require.Len(t, w.simulator.Machines(), 1)

	code, _, errOut = w.run("terminate", "other", "--instance", launched.Machine.ID)
	require.Equal(t, exitRefused, code)
	require.Contains(t, errOut, launched.Machine.ID)
	code, out, errOut = w.run("terminate", "-f", w.spec, "--aws-poll", "5ms")
	require.Equal(t, exitDone, code, errOut)
	require.Contains(t, out, "terminated "+launched.Machine.ID)
	require.Equal(t, "terminated", w.simulator.Machines()[0].State)
	code, out, _ = w.run("terminate", "shop")
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "no machine in us-west-2")
}

func TestMachineUsage(t *testing.T) {
	w := newMachineWorld(t)
	w.simulator.AddCluster(awssim.ClusterConfig{ID: "aurora", Engine: "aurora-postgresql", EngineVersion: "15.4", MasterUser: "postgres", Host: "db.example", Port: 5432,
		Members: []string{"aurora-1"}, VPC: "vpc-1", SecurityGroup: "sg-1"})
	aurora := w.file(t, strings.ReplaceAll(rdsSpec, "instance: shop-prod", "cluster: aurora"))
	plain := w.file(t, yamlSpec)
	worker := []string{"launch", "-f", w.spec, "--worker-url", "https://b.example/w", "--worker-sha256", strings.Repeat("0", 64)}
	for want, args := range map[string][]string{
		"no source.rds":               {"plan", "-f", plain},
		"--data-size 5 parsecs":       {"plan", "-f", w.spec, "--data-size", "5 parsecs"},
		"give it with --data-size":    {"plan", "-f", aurora},
		"--worker-url":                {"launch", "-f", w.spec},
		"TEMPORAL_ADDRESS":            worker,
		"write NAME=value":            append(worker, "--env", "hunter2"),
		"--env SOURCE_PASSWORD":       append(worker, "--env", "SOURCE_PASSWORD=hunter2"),
		"name, or its spec with -f":   {"terminate"},
		"its spec with -f":            {"terminate", "shop", "-f", w.spec},
		"cannot name a migration":     {"terminate", "Shop"},
		"choose one for x86-64":       {"plan", "-f", w.spec, "--type", "m7g.large"},
		`required flag(s) "file" not`: {"plan"},
	} {
		code, _, errOut := w.run(args...)
		require.Equal(t, exitUsage, code, "%v: %s", args, errOut)
		require.Contains(t, errOut, want)
		require.NotContains(t, errOut, "hunter2")
	}
	code, out, errOut := w.run("plan", "-f", aurora, "--data-size", "1TiB")
	require.Equal(t, exitDone, code, errOut)
	require.Contains(t, out, "1536 GiB")
	require.Empty(t, w.simulator.Machines())

	missing := w.file(t, strings.ReplaceAll(rdsSpec, "shop-prod", "none"))
	code, _, errOut = w.run("plan", "-f", missing)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errOut, "source.rds.instance")
}
