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
		Copy:           contract.Copy{Concurrency: 4, PartSize: "1GiB", IndexJobs: 2, Toast: contract.ToastServer, MaxBytesPerSecond: "50MiB", BackOff: &contract.BackOff{ReplicaLag: "30s", ActiveSessions: 50}},
		Replication:    contract.ReplicationOption{Plugin: "pgoutput", Origin: "any", Buffer: "disk", DDL: "follow", Compress: "zstd", Lanes: 4},
		Cutover: contract.Cutover{Mode: "signal", MaxLag: "16MiB", Fence: "readOnly", Verify: "checksum", Reverse: true, MaxDowntime: "45s", SequenceMargin: 100, Switch: &contract.Switch{
			PgBouncer: &contract.PgBouncerSwitch{Admin: contract.Endpoint{Host: "pool.example.com", Port: 6432, Database: "pgbouncer", User: "timeferry",
				Password: contract.SecretRef{File: "/run/secrets/pgbouncer"}, SSLMode: "require"}, Database: "shop", File: "/etc/pgbouncer/databases.ini", Pause: "1s"},
			Target: &contract.Address{Host: "10.0.0.9", Port: 5433, Database: "tsdb"}, Source: &contract.Address{Host: "10.0.0.8", Port: 5432, Database: "shop"}}},
	}
	source = contract.SourceStatus{Host: "shop-prod.example.com", Port: 5432, Version: "15.18", Instance: "shop-prod", InstanceStatus: "available",
		ParameterGroup: "shop-timeferry", PreviousGroup: "default.postgres15", Changes: []contract.ParameterChange{{Name: "rds.logical_replication", Old: "0", New: "1"}},
		Rebooted: true, IngressRule: "sgr-0abc", Slot: "timeferry_shop", Publication: "timeferry_shop"}
	copied      = contract.CopyStatus{Tables: 8, TablesDone: 7, Parts: 20, PartsDone: 19, Bytes: 1 << 30, BytesDone: 1 << 29, Rows: 6_000_000, ETASeconds: 12, Epoch: 1}
	replication = contract.ReplicationStatus{ReceivedLSN: 0x16B374D848, AppliedLSN: 0x16B374D800, SpooledBytes: 4096, LagBytes: 72, LagSeconds: 0.25,
		InSync: true, Transactions: 1000, Changes: 5000, StreamStatus: contract.StreamStatus{SpooledLSN: 0x16B374D840, SpoolSegments: 2, SpoolFirstLSN: 0x16B3000000, SpoolOldestSeconds: 61.5,
			TransactionsPerSecond: 100, ChangesPerSecond: 500.5, Busiest: []contract.TableChanges{{Table: "public.orders", Changes: 4000, ChangesPerSecond: 400, Transactions: 900, TransactionsPerSecond: 90.5}},
			AppliedPerSecond: 2 << 20, WrittenPerSecond: 1 << 20, CatchUpSeconds: 3, Slot: &contract.SlotStatus{WALStatus: "extended", SafeWALBytes: 1 << 30,
				RetainedBytes: 1 << 28, Longest: &contract.OpenTransaction{PID: 7, User: "app", Application: "psql", State: "idle in transaction", Seconds: 3600}}}}
	cutover = contract.CutoverStatus{Fenced: true, MarkerLSN: 0x16B374D900, Steps: []contract.StepTime{{Step: "fence", MS: 12, AtMS: 3}}, DowntimeMS: 730,
		Sequences: 5, Verified: "checksum", Ended: []contract.SessionGroup{{User: "app", Application: "puma", Address: "10.0.0.5", Count: 12}},
		Spared: []string{"pid 7 of rdsadmin"}, Switch: "called hook.example", SwitchPrevious: "version v1"}
	back         = &contract.BackStatus{Slot: "timeferry_shop_back", Since: 0x2000, Replication: contract.ReplicationStatus{AppliedLSN: 0x3000, LagBytes: 16, InSync: true}}
	phases       = []contract.PhaseTime{{Phase: contract.PhasePreflight, Entered: noon, MS: 1200}, {Phase: contract.PhaseInSync, Entered: noon.Add(time.Hour)}}
	problems     = []contract.Problem{{Severity: contract.Warning, Code: "replica-identity-full", Object: "public.log", Message: "no key", Remedy: "add one"}}
	followed     = []contract.SchemaChange{{Table: "public.log", What: `column "c" (integer) was added`, Statement: `ALTER TABLE "public"."log" ADD COLUMN "c" integer`, LSN: 0x16B374D700, At: noon}}
	copiedTables = contract.CopiedTables{Largest: []contract.TableCopy{{Table: "public.orders", Parts: 4, Rows: 1000, Bytes: 1 << 20, Began: noon, Ended: noon.Add(time.Minute), StreamSeconds: 200.5}},
		Others: 7, OthersRows: 70, OthersBytes: 4096}
	samples   = []contract.LagSample{{At: noon, Span: 50, Lag: 1.25, Bytes: 4096}}
	leftovers = contract.Leftovers{At: noon, Sought: []string{"slots on the source"}, Found: []contract.Leftover{{Thing: "slot timeferry_shop on the source", Remedy: "drop it"}}}
	decisions = []contract.Decision{{Signal: contract.SignalCutover, By: "alice", Reason: "quiet hour", At: noon}}
)

func TestSpecForm(t *testing.T) { requireGolden(t, "spec.json", fullest) }

func TestFullestSpecIsReadAsItIsWritten(t *testing.T) {
	raw, err := json.Marshal(fullest)
	require.NoError(t, err)
	s, err := contract.ParseSpec(raw)
	require.NoError(t, err)
	require.Equal(t, fullest, s)
}

func TestStatusForm(t *testing.T) {
	requireGolden(t, "status.json", contract.Status{Name: "shop", Phase: contract.PhaseInSync, Paused: true, Awaiting: []string{contract.SignalCutover},
		Message: "in sync", Problems: problems, Source: source, Copy: copied, Replication: replication, Cutover: cutover, Back: back, Rollback: &cutover, Phases: phases, Decisions: decisions, SchemaChanges: followed})
}

func TestFreshStatusForm(t *testing.T) {
	requireGolden(t, "status_fresh.json", contract.Status{Name: "shop", Phase: contract.PhasePreflight, Awaiting: []string{}, Problems: []contract.Problem{}, Phases: []contract.PhaseTime{}})
}

func TestReportForm(t *testing.T) {
	requireGolden(t, "report.json", contract.Report{Name: "shop", Outcome: contract.PhaseCompleted, Started: noon, Ended: noon.Add(2 * time.Hour), Phases: phases,
		Source: source, Copy: copied, CopySeconds: 61.5, Replication: replication, Cutover: cutover, Back: back, Rollback: &cutover,
		Verification: contract.Verification{Method: "checksum", Tables: 8, Rows: 6_000_000, Equal: false, Seconds: 4.5,
			Differences: []contract.TableDifference{{Table: "public.log", SourceRows: 2, TargetRows: 1, Message: "one row is missing"}}},
		Identities:  []contract.IdentityChoice{{Table: "public.log", Identity: "full", Changed: true, Reason: "no usable key: the whole row"}},
		Hypertables: []string{"public.metrics"}, RolesCreated: []string{"app"}, RolesWithoutPassword: []string{"app"},
		Problems: problems, Decisions: decisions, Left: []string{"parameter group shop-timeferry"}, SchemaChanges: followed,
		Target:  &contract.TargetStatus{Host: "target.example.com", Port: 5432, Database: "tsdb", Version: "17.6"},
		Options: []contract.OptionChoice{{Option: "copy.concurrency", Value: "8", Default: "4"}}, CopiedTables: &copiedTables, Lag: samples,
		History: []contract.ProblemTime{{Problem: problems[0], Opened: noon, Ended: &noon}}, Leftovers: &leftovers})
	requireGolden(t, "copy_done.json", contract.CopyDone{CopyStatus: copied, Copied: &copiedTables})
	requireGolden(t, "lag_watch.json", contract.LagWatch{ReplicationStatus: replication, Samples: samples})
	requireGolden(t, "leftover_input.json", contract.LeftoverInput{Spec: contract.Spec{Name: "shop"}, FenceStays: true,
		Identities: []contract.IdentityChoice{{Table: "public.log", Identity: "full", Changed: true}}})
}

func TestVerificationForm(t *testing.T) {
	requireGolden(t, "verification.json", verified)
	requireGolden(t, "verify_status.json", contract.VerifyStatus{Runs: []contract.VerifyRun{{Run: "verify-1", State: contract.VerifyEqual, Why: "ordered", Result: &verified},
		{Run: "verify-2", State: contract.VerifyFailed, Message: "no slot is free"}}, Progress: &contract.VerifyProgress{Run: "verify-3", Message: "waits", BarrierLSN: 0x16B374D848,
		Tables: 8, TablesDone: 3, Bytes: 1 << 30, BytesDone: 1 << 29, Rows: 1000}})
	requireGolden(t, "barrier_input.json", contract.BarrierInput{Spec: contract.Spec{Name: "shop", Verify: &contract.VerifyOption{Concurrency: 8, ChunkSize: "1GiB", MaxBytesPerSecond: "50MiB"}},
		Run: "verify-1", Method: "checksum", Tables: []string{"public.*"}, Full: true, KeepValues: true})
	requireGolden(t, "verify_note.json", contract.Note{By: "alice", Tables: []string{"public.*"}, Full: true, ShowValues: true})
	requireGolden(t, "show_differences.json", contract.ShowDifferencesInput{Spec: json.RawMessage("{}"), Run: "verify-1", PublicKey: []byte("key")})
	requireGolden(t, "differences_input.json", contract.DifferencesInput{Spec: contract.Spec{Name: "shop"}, Run: "verify-1", PublicKey: []byte("key")})
	requireGolden(t, "sealed_rows.json", contract.SealedRows{Sealed: []byte("box")})
	value := "x"
	requireGolden(t, "differing_row.json", contract.DifferingRow{Table: "public.t", KeyHash: "ab12", What: "differs", Columns: []string{"v"}, Key: &value,
		Source: map[string]*string{"v": &value, "w": nil}, Target: map[string]*string{"v": nil}})
}

var verified = contract.Verification{Method: "checksum", Tables: 8, Rows: 6_000_000, Seconds: 4.5,
	Differences: []contract.TableDifference{{Table: "public.log", SourceRows: 2, TargetRows: 1, Message: "one row is missing",
		Rows: []contract.RowDifference{{KeyHash: "0123456789ab", What: "differs", Columns: []string{"v"}}}}},
	VerificationDetail: contract.VerificationDetail{Run: "verify-1", BarrierLSN: 0x16B374D848, At: &noon, Bytes: 1 << 30, HeldMS: 40, Compared: 7, Whole: 3, Relied: 5, ReliedLSN: 0x16B3740000,
		Unverified: []string{"public.new"}, UnverifiedCount: 1, Unequal: []string{"public.log"}, UnequalCount: 1,
		Verdicts: []contract.TableVerdict{{Table: "public.log", Rows: 2, Bytes: 8192, Whole: true}, {Table: "public.t", Equal: true, ReliedLSN: 0x16B3740000, Unverified: true}}}}

func TestSmallValuesForm(t *testing.T) {
	requireGolden(t, "schema_watch.json", contract.SchemaWatch{NewTables: []string{"public.fresh"}, Problems: problems, Followed: followed})
	requireGolden(t, "note.json", contract.Note{By: "alice", Reason: "enough", KeepTarget: true})
	requireGolden(t, "secrets.json", []contract.SecretRef{{Env: "A"}, {File: "/b"}, {SecretARN: "arn:aws:secretsmanager:x"}, {RDSManaged: true}, {IAM: true}})
}

func TestStreamForms(t *testing.T) {
	requireGolden(t, "slot_watch.json", contract.SlotWatch{Spec: contract.Spec{Name: "shop"}, Known: []string{contract.CodeSlotEndangered}})
	requireGolden(t, "slot_alarms.json", contract.SlotAlarms{Problems: problems})
	requireGolden(t, "resync_input.json", contract.ResyncInput{Spec: contract.Spec{Name: "shop"}, After: 2})
}
