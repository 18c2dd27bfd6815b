package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

const yamlSpec = `
name: shop
source: {host: s, database: shop, user: u, password: {env: P}}
target: {host: t, database: tsdb, user: v, password: {file: /p}}
`

func TestYAMLAndJSONAreTheSameSpec(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, content, 0o600))
		return file
	}
	raw, fromYAML, err := readSpec(write("a.yaml", []byte(yamlSpec)))
	require.NoError(t, err)
	require.True(t, json.Valid(raw))
	_, fromJSON, err := readSpec(write("a.json", raw))
	require.NoError(t, err)
	require.Equal(t, fromYAML, fromJSON)
}

// TestBadUsageExitsWithTwo runs commands that must fail before Temporal is asked for.
func TestBadUsageExitsWithTwo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bad.yaml")
	require.NoError(t, os.WriteFile(file, []byte(yamlSpec+"tabels: x\n"), 0o600))
	secret := filepath.Join(dir, "secret.yaml")
	require.NoError(t, os.WriteFile(secret, []byte("name: shop\nsource: {password: hunter2}\n"), 0o600))
	broken := filepath.Join(dir, "broken.yaml")
	require.NoError(t, os.WriteFile(broken, []byte("name: [shop\n"), 0o600))
	wrong := filepath.Join(dir, "wrong.yaml")
	require.NoError(t, os.WriteFile(wrong, []byte(yamlSpec+"copy: {concurrency: many}\n"), 0o600))
	for want, args := range map[string][]string{
		`unknown key "tabels"`:                              {"start", "-f", file},
		"source.password":                                   {"start", "-f", secret},
		"neither YAML nor JSON":                             {"preflight", "-f", broken},
		"copy.concurrency: it must be a whole number":       {"preflight", "-f", wrong},
		"no such file":                                      {"start", "-f", filepath.Join(dir, "missing.yaml")},
		`start: required flag(s) "file" not set (see: star`: {"start"},
		"choose text or json":                               {"status", "shop", "-o", "xml"},
		`unknown command "frobnicate" for "starter" (see: `: {"frobnicate"},
		"Did you mean this? status (see: starter --help)":   {"statsu", "shop"},
		`unknown command "ploan" for "starter machine"`:     {"machine", "ploan"},
		"start: unknown flag: --wiat (see: starter start":   {"start", "--wiat"},
		"cutover: name the migration, like: starter cutov":  {"cutover"},
		"status: name one migration, not 2: shop other":     {"status", "shop", "other"},
		`watch: "My Shop" cannot name a migration: choose`:  {"watch", "My Shop"},
		"set-concurrency: name the migration":               {"set-concurrency"},
		`set-concurrency: "Shop" cannot name a migration`:   {"set-concurrency", "Shop", "8"},
		"say how many streams copy (starter set-concurren":  {"set-concurrency", "shop"},
		"abort: invalid argument":                           {"abort", "shop", "--keep-target=perhaps"},
	} {
		var out, errOut bytes.Buffer
		require.Equal(t, exitUsage, run(context.Background(), args, &out, &errOut), "%v", args)
		require.Contains(t, errOut.String(), want)
		require.Equal(t, 1, strings.Count(errOut.String(), "\n"), "one line: %s", errOut.String())
		require.NotContains(t, errOut.String(), "hunter2")
		require.Empty(t, out.String())
	}
}

func TestNoTemporalIsSaidPlainly(t *testing.T) {
	t.Setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
	var out, errOut bytes.Buffer
	require.Equal(t, exitFailed, run(context.Background(), []string{"status", "shop"}, &out, &errOut))
	require.Contains(t, errOut.String(), "set TEMPORAL_ADDRESS to where it is")
}

func TestBeatsAreMergedOverTheStatus(t *testing.T) {
	s := contract.Status{Phase: contract.PhaseCopying, Copy: contract.CopyStatus{Tables: 3, Bytes: 100, BytesDone: 10, Epoch: 2}}
	mergeBeat(&s, "CopyParts", contract.Beat{Copy: &contract.CopyStatus{Tables: 3, Bytes: 100, BytesDone: 60, Rows: 5}})
	mergeBeat(&s, "CopyParts", contract.Beat{Copy: &contract.CopyStatus{Tables: 3, Bytes: 100, BytesDone: 40, Rows: 4}})
	require.EqualValues(t, 60, s.Copy.BytesDone, "a stream that knows less does not set it back")
	require.Equal(t, 2, s.Copy.Epoch)
	mergeBeat(&s, "Receive", contract.Beat{Replication: &contract.ReplicationStatus{ReceivedLSN: 9, SpooledBytes: 77}})
	mergeBeat(&s, "Apply", contract.Beat{Replication: &contract.ReplicationStatus{AppliedLSN: 7, Transactions: 3}})
	mergeBeat(&s, "WatchLag", contract.Beat{Replication: &contract.ReplicationStatus{AppliedLSN: 6, LagBytes: 2, InSync: true}})
	require.Equal(t, contract.ReplicationStatus{ReceivedLSN: 9, AppliedLSN: 7, SpooledBytes: 77, LagBytes: 2, InSync: true, Transactions: 3}, s.Replication)
	require.Contains(t, statusLine(s), "[████████████░░░░░░░░] 60% of 100 B")
}

func TestReportNamesWhatMatters(t *testing.T) {
	var out bytes.Buffer
	printReportText(&out, contract.Report{Name: "shop", Outcome: contract.PhaseCompleted, Started: time.Unix(0, 0), Ended: time.Unix(90, 0),
		Phases: []contract.PhaseTime{{Phase: contract.PhaseCopying, MS: 1500}},
		Copy:   contract.CopyStatus{Tables: 2, Rows: 7, Bytes: 2048},
		Cutover: contract.CutoverStatus{DowntimeMS: 321, Steps: []contract.StepTime{{Step: "drain", MS: 12}},
			Ended: []contract.SessionGroup{{User: "app", Application: "puma", Address: "10.0.0.5", Count: 12}}, Spared: []string{"pid 7 of rdsadmin"},
			Switch: "called hook.example", SwitchPrevious: "version v1"},
		Verification: contract.Verification{Method: "checksum", Tables: 2, Rows: 7, Equal: false,
			Differences: []contract.TableDifference{{Table: "public.t", Message: "3 rows on the source, 2 on the target"}}},
		Identities:           []contract.IdentityChoice{{Table: "public.log", Identity: "full", Changed: true, Reason: "no usable key"}},
		RolesWithoutPassword: []string{"app"}, Hypertables: []string{"public.metrics"}, Left: []string{"the fence"}})
	for _, want := range []string{"completed in 1m30s", "copying", "1.5 s", "Copied 7 rows, 2.0 KiB", "Downtime 321 ms", "drain", "12 × app (puma) from 10.0.0.5", "pid 7 of rdsadmin", "Switch: called hook.example", "before: version v1", "NOT equal",
		"public.t: 3 rows", "public.log", "changed for the migration", "app", "public.metrics", "the fence"} {
		require.Contains(t, out.String(), want)
	}
}
