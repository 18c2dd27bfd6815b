package contract_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

var update = flag.Bool("update", false, "write the golden files anew")

// requireGolden compares the JSON form of value with testdata/name, and that it reads back as the same value. A difference
// breaks the histories of running migrations: a change of the form needs workflow.GetVersion and a replay fixture.
func requireGolden[T any](t *testing.T, name string, value T) {
	t.Helper()
	file := filepath.Join("testdata", name)
	raw, err := json.MarshalIndent(value, "", "  ")
	require.NoError(t, err)
	raw = append(raw, '\n')
	if *update {
		require.NoError(t, os.WriteFile(file, raw, 0o644))
	}
	golden, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(golden), string(raw))
	var back T
	require.NoError(t, json.Unmarshal(golden, &back))
	require.Equal(t, value, back)
}

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	// fullest has every key of a spec.
	fullest = contract.Spec{
		Name: "shop",
		Source: contract.Source{RDS: &contract.RDS{Instance: "shop-prod", Region: "us-west-2"}, Endpoint: contract.Endpoint{
			Host: "shop-prod.example.com", Port: 5432, Database: "shop", User: "postgres", Password: contract.SecretRef{Env: "SOURCE_PASSWORD"},
			SSLMode: "verify-full", SSLRootCert: "/etc/ssl/global-bundle.pem"}},
		Target: contract.Endpoint{Host: "target.example.com", Port: 5432, Database: "tsdb", User: "tsdbadmin",
			Password: contract.SecretRef{File: "/run/secrets/target"}, SSLMode: "require"},
		Prepare: contract.Prepare{ParameterGroup: "shop-timeferry", Parameters: map[string]string{"wal_sender_timeout": "1800000"},
			Reboot: "auto", Window: "Sun 03:00-04:00 UTC", SecurityGroup: "sg-0abc", WorkerCIDR: "10.0.1.15/32", Machine: "require"},
		Tables:          contract.Tables{Include: []string{"public.*"}, Exclude: []string{"public.audit_*"}},
		ReplicaIdentity: contract.ReplicaIdentity{Fallback: "full"},
		Roles:           "migrate",
		Privileges:      "migrate",
		Hypertables: []contract.Hypertable{{Table: "public.metrics", TimeColumn: "ts", ChunkInterval: "7 days", Key: "extend", SpaceColumn: "device_id", SpacePartitions: 4,
			Columnstore: &contract.Columnstore{SegmentBy: []string{"device_id"}, OrderBy: "ts DESC", After: "7 days"}, Retention: "1 year"}},
		HypertableGate: true,
		Copy:           contract.Copy{Concurrency: 4, PartSize: "1GiB", IndexJobs: 2},
		Replication:    contract.ReplicationOption{Plugin: "pgoutput", Buffer: "disk"},
		Cutover:        contract.Cutover{Mode: "signal", MaxLag: "16MiB", Fence: "readOnly", Verify: "checksum", Reverse: true},
	}
	source = contract.SourceStatus{Host: "shop-prod.example.com", Port: 5432, Version: "15.18", Instance: "shop-prod", InstanceStatus: "available",
		ParameterGroup: "shop-timeferry", PreviousGroup: "default.postgres15", Changes: []contract.ParameterChange{{Name: "rds.logical_replication", Old: "0", New: "1"}},
		Rebooted: true, IngressRule: "sgr-0abc", Slot: "timeferry_shop", Publication: "timeferry_shop"}
	copied      = contract.CopyStatus{Tables: 8, TablesDone: 7, Parts: 20, PartsDone: 19, Bytes: 1 << 30, BytesDone: 1 << 29, Rows: 6_000_000, ETASeconds: 12, Epoch: 1}
	replication = contract.ReplicationStatus{ReceivedLSN: 0x16B374D848, AppliedLSN: 0x16B374D800, SpooledBytes: 4096, LagBytes: 72, LagSeconds: 0.25,
		InSync: true, Transactions: 1000, Changes: 5000}
	cutover = contract.CutoverStatus{Fenced: true, MarkerLSN: 0x16B374D900, Steps: []contract.StepTime{{Step: "fence", MS: 12}}, DowntimeMS: 730,
		Sequences: 5, Verified: "checksum"}
	phases    = []contract.PhaseTime{{Phase: contract.PhasePreflight, Entered: noon, MS: 1200}, {Phase: contract.PhaseInSync, Entered: noon.Add(time.Hour)}}
	problems  = []contract.Problem{{Severity: contract.Warning, Code: "replica-identity-full", Object: "public.log", Message: "no key", Remedy: "add one"}}
	decisions = []contract.Decision{{Signal: contract.SignalCutover, By: "alice", Reason: "quiet hour", At: noon}}
)

func TestSpecForm(t *testing.T) { requireGolden(t, "spec.json", fullest) }

// What this version offers of the fullest spec reads back as it was written.
func TestOfferedSpecIsAccepted(t *testing.T) {
	offered := fullest
	offered.Cutover.Reverse = false
	raw, err := json.Marshal(offered)
	require.NoError(t, err)
	s, err := contract.ParseSpec(raw)
	require.NoError(t, err)
	require.Equal(t, offered, s)
}

func TestStatusForm(t *testing.T) {
	requireGolden(t, "status.json", contract.Status{Name: "shop", Phase: contract.PhaseInSync, Paused: true, Awaiting: []string{contract.SignalCutover},
		Message: "in sync", Problems: problems, Source: source, Copy: copied, Replication: replication, Cutover: cutover, Phases: phases, Decisions: decisions})
}

func TestFreshStatusForm(t *testing.T) {
	requireGolden(t, "status_fresh.json", contract.Status{Name: "shop", Phase: contract.PhasePreflight, Awaiting: []string{}, Problems: []contract.Problem{}, Phases: []contract.PhaseTime{}})
}

func TestReportForm(t *testing.T) {
	requireGolden(t, "report.json", contract.Report{Name: "shop", Outcome: contract.PhaseCompleted, Started: noon, Ended: noon.Add(2 * time.Hour), Phases: phases,
		Source: source, Copy: copied, CopySeconds: 61.5, Replication: replication, Cutover: cutover,
		Verification: contract.Verification{Method: "checksum", Tables: 8, Rows: 6_000_000, Equal: false, Seconds: 4.5,
			Differences: []contract.TableDifference{{Table: "public.log", SourceRows: 2, TargetRows: 1, Message: "one row is missing"}}},
		Identities:  []contract.IdentityChoice{{Table: "public.log", Identity: "full", Changed: true, Reason: "no usable key: the whole row"}},
		Hypertables: []string{"public.metrics"}, RolesCreated: []string{"app"}, RolesWithoutPassword: []string{"app"},
		Problems: problems, Decisions: decisions, Left: []string{"parameter group shop-timeferry"}})
}

func TestSmallValuesForm(t *testing.T) {
	requireGolden(t, "note.json", contract.Note{By: "alice", Reason: "enough", KeepTarget: true})
	requireGolden(t, "secrets.json", []contract.SecretRef{{Env: "A"}, {File: "/b"}, {SecretARN: "arn:aws:secretsmanager:x"}, {RDSManaged: true}, {IAM: true}})
}
