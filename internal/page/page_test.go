package page_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/page"
)

var (
	noon    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	secrets = `<script>document.title="stolen"</script><img src="http://evil.example/x.png" onerror="document.title=1">`
)

func after(d time.Duration) time.Time { return noon.Add(d) }

// full is a report with everything that a report can have. Names and texts are the worst that a database can give.
func full() contract.Report {
	r := contract.Report{Name: "shop", Outcome: contract.PhaseCompleted, Started: noon, Ended: after(3 * time.Hour),
		Target: &contract.TargetStatus{Host: "abc.tsdb.cloud.timescale.com", Port: 5432, Database: "tsdb", Version: "17.6"},
		Source: contract.SourceStatus{Host: "shop-prod.abc.us-west-2.rds.amazonaws.com", Port: 5432, Version: "15.18", Instance: "shop-prod", Rebooted: true, ParameterGroup: "shop-prod-timeferry",
			Changes: []contract.ParameterChange{{Name: "rds.logical_replication", Old: "0", New: "1"}, {Name: "wal_sender_timeout", New: "1800000"}}},
		Copy:        contract.CopyStatus{Tables: 10_052, TablesDone: 10_052, Parts: 10_300, PartsDone: 10_300, Bytes: 812 << 30, BytesDone: 812 << 30, Rows: 6_012_345_678},
		CopySeconds: 5025.5, Replication: contract.ReplicationStatus{Transactions: 1_204_331, Changes: 9_822_104},
		Cutover: contract.CutoverStatus{Fenced: true, MarkerLSN: 0x16B374D900, DowntimeMS: 1734, Sequences: 12,
			Steps: []contract.StepTime{{Step: "fence", AtMS: 12, MS: 41}, {Step: "marker", AtMS: 53, MS: 9}, {Step: "sequences", AtMS: 62, MS: 120}, {Step: "drain", AtMS: 62, MS: 388},
				{Step: "verify", AtMS: 470, MS: 911}, {Step: "triggers", AtMS: 1400, MS: 210}, {Step: "seal", AtMS: 1560, MS: 14}, {Step: "switch", AtMS: 1612, MS: 122}},
			Ended: []contract.SessionGroup{{User: "app", Application: "puma " + secrets, Address: "10.0.0.5", Count: 12}}, Spared: []string{"pid 7 of rdsadmin"},
			Switch: "PgBouncer sends shop to abc.tsdb.cloud.timescale.com", SwitchPrevious: "host=shop-prod"},
		Verification: contract.Verification{Method: "checksum", Tables: 10_052, Rows: 18_334, Equal: true, Seconds: 0.9, VerificationDetail: contract.VerificationDetail{
			Run: "cutover-1", Relied: 9_990, ReliedLSN: 0x16B3740000, At: new(after(170 * time.Minute)), Verdicts: []contract.TableVerdict{{Table: "public.orders", Equal: true, Rows: 801, Bytes: 1 << 20, ReliedLSN: 5}}}},
		Verifications: []contract.Verification{
			{Method: "checksum", Tables: 10_052, Rows: 6_012_300_000, Equal: false, Seconds: 1812.4, Differences: []contract.TableDifference{{Table: "public." + secrets, Message: "1 row on the source, 2 on the target"}},
				VerificationDetail: contract.VerificationDetail{Run: "verify-1", At: new(after(120 * time.Minute)), UnequalCount: 1, Unequal: []string{"public.odd"}}},
			{Method: "checksum", Tables: 10_052, Rows: 6_012_345_678, Equal: true, Seconds: 1700, VerificationDetail: contract.VerificationDetail{Run: "verify-2", At: new(after(150 * time.Minute)),
				Verdicts: []contract.TableVerdict{{Table: "public.orders", Equal: true, Rows: 4_000_000_000, Bytes: 500 << 30, Whole: true}, {Table: "public." + secrets, Equal: true, Rows: 2, Bytes: 8192, Whole: true}}}}},
		Schema:      &contract.SchemaComparison{Objects: 31_002, AsPlanned: 4},
		Hypertables: []string{"public.metrics"}, RolesCreated: []string{"app", "reporting"}, RolesWithoutPassword: []string{"app"},
		Identities: []contract.IdentityChoice{{Table: "public.log", Identity: "full", Changed: true, Reason: "no usable key: the whole row"}, {Table: "10051 more tables", Identity: "primary key", Reason: "as for those above"}},
		Options:    []contract.OptionChoice{{Option: "copy.concurrency", Value: "8", Default: "4"}, {Option: "hypertables: public.metrics", Value: "by ts; chunks of 7 days; columnstore by device_id after 7 days"}},
		Decisions: []contract.Decision{{Signal: contract.SignalApproveReboot, By: "alice", Reason: "quiet hour", At: after(4 * time.Minute)}, {Signal: contract.SignalResume, By: "bob", At: after(100 * time.Minute)},
			{Signal: contract.SignalCutover, By: "alice", Reason: secrets, At: after(169 * time.Minute)}},
		SchemaChanges: []contract.SchemaChange{{Table: "public.log", What: `column "c" (integer) was added`, Statement: `ALTER TABLE "public"."log" ADD COLUMN "c" integer`, At: after(2 * time.Hour)}},
		Left:          []string{"parameter group shop-prod-timeferry stays attached to shop-prod (before: default.postgres15), since taking it away costs another reboot", "the source database shop stays read-only; to lift that: ALTER DATABASE shop RESET default_transaction_read_only"},
		Leftovers:     &contract.Leftovers{At: after(3 * time.Hour), Sought: []string{"slots, publications, bookkeeping, sessions and a fence on the source", "the same on the target", "spool files on worker h1"}},
	}
	for i, p := range []struct {
		phase  contract.Phase
		minute float64
	}{{contract.PhasePreflight, 0}, {contract.PhasePreparingSource, .4}, {contract.PhaseAwaitingReboot, 1}, {contract.PhaseCreatingSlot, 7}, {contract.PhaseMigratingSchema, 8}, {contract.PhaseCopying, 9},
		{contract.PhaseIndexing, 93}, {contract.PhaseCatchingUp, 96}, {contract.PhaseInSync, 118}, {contract.PhaseCuttingOver, 170}, {contract.PhaseCutOver, 170.03}, {contract.PhaseCompleted, 180}} {
		r.Phases = append(r.Phases, contract.PhaseTime{Phase: p.phase, Entered: after(time.Duration(p.minute * float64(time.Minute)))})
		if i > 0 {
			r.Phases[i-1].MS = r.Phases[i].Entered.Sub(r.Phases[i-1].Entered).Milliseconds()
		}
	}
	copied := &contract.CopiedTables{Others: 10_044, OthersRows: 12_000_456, OthersBytes: 3 << 30}
	for i, name := range []string{"public.orders", "public.metrics", "public.order_items", "audit.changes_of_everything_that_was_ever_written_down_here", "public.customers", "public.payments", "public." + secrets, "public.log"} {
		copied.Largest = append(copied.Largest, contract.TableCopy{Table: name, Parts: 8 - i, Rows: 4_000_000_000 >> i, Bytes: 500 << 30 >> i, Began: after(9 * time.Minute), Ended: after(time.Duration(93-9*i) * time.Minute)})
	}
	r.CopiedTables = copied
	for i := range 144 {
		if i > 60 && i < 66 {
			continue // nobody looked
		}
		lag := 5000.0 / float64(1+i*i/8)
		if i == 100 {
			lag = 740
		}
		r.Lag = append(r.Lag, contract.LagSample{At: after(96*time.Minute + time.Duration(i)*31*time.Second), Span: 31, Lag: lag, Bytes: int64(lag * 3e6)})
	}
	ended := after(100*time.Minute + 200*time.Millisecond)
	row := contract.Problem{Severity: contract.Fatal, Code: "row-missing", Object: "public." + secrets, Message: "an update found no row", Remedy: "see the runbook"}
	identity := contract.Problem{Severity: contract.Warning, Code: "replica-identity-full", Object: "public.log", Message: "no key", Remedy: "add one"}
	r.Problems = []contract.Problem{identity}
	r.History = []contract.ProblemTime{{Problem: identity, Opened: noon}, {Problem: row, Opened: after(97 * time.Minute), Ended: &ended}}
	return r
}

func mustWrite(t *testing.T, r contract.Report) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, page.Write(&b, r))
	return b.String()
}

// Whatever a database gives is text: no element, no script and no address of it is in the page.
func TestTheDatabasesTextIsText(t *testing.T) {
	t.Parallel()
	html := mustWrite(t, full())
	require.NotContains(t, html, "<script")
	require.NotContains(t, html, "<img")
	require.Contains(t, html, "&lt;script&gt;document.title=")
}

// A rollback has its own downtime, and is no bad end.
func TestARollbackIsOnThePage(t *testing.T) {
	t.Parallel()
	r := full()
	require.NotContains(t, mustWrite(t, r), `id="rollback"`)
	r.Outcome = contract.PhaseRolledBack
	r.Rollback = &contract.CutoverStatus{MarkerLSN: 0x42, DowntimeMS: 1234, Steps: []contract.StepTime{{Step: "seal", MS: 7}}}
	html := mustWrite(t, r)
	for _, want := range []string{`id="cutover"`, "Downtime of the rollback: 1\u202f234 ms", "from the fence until the source was open", "The target's last position: 0/42", "<td>seal</td>"} {
		require.Contains(t, html, want)
	}
}

// A report of an earlier version, one of a migration that was aborted before anything, and one with nothing at all have a page too.
func TestAnyReportHasAPage(t *testing.T) {
	t.Parallel()
	earlier, err := os.ReadFile("../contract/testdata/report.json")
	require.NoError(t, err)
	var r contract.Report
	require.NoError(t, json.Unmarshal(earlier, &r))
	require.Contains(t, mustWrite(t, r), "public.log")
	require.Contains(t, mustWrite(t, contract.Report{Name: "x", Outcome: contract.PhaseAborted, Started: noon, Ended: noon}), "Nothing was compared")
	require.Contains(t, mustWrite(t, contract.Report{}), "</html>")
}

// The same report makes the same page.
func TestThePageIsTheSameAgain(t *testing.T) {
	t.Parallel()
	require.Equal(t, mustWrite(t, full()), mustWrite(t, full()))
}
