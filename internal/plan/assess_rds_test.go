package plan_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/plan"
)

var plainRDS = plan.RDSFacts{ID: "shop-prod", Kind: "instance", Class: "db.m6g.large", Engine: "postgres", EngineVersion: "15.12", Family: "postgres15",
	Group: "default.postgres15", AllocatedGiB: 200}

func rdsCodes(found []contract.Problem, severity contract.Severity) []string {
	codes := []string{}
	for _, p := range found {
		if p.Severity == severity {
			codes = append(codes, p.Code)
		}
	}
	return codes
}

func TestARoomyInstanceHasNoWarnings(t *testing.T) {
	found := plan.AssessRDS(contract.Spec{}, plainRDS, plan.SourceUsage{AllBytes: 20 * gib, WALPerSecond: 100_000}, nil)
	require.Empty(t, rdsCodes(found, contract.Fatal))
	require.Empty(t, rdsCodes(found, contract.Warning))
	require.Equal(t, []string{plan.CodeRDSInstance, plan.CodeRDSStorage}, rdsCodes(found, contract.Info))
	require.Contains(t, found[0].Message, "DB instance, postgres 15.12, class db.m6g.large, parameter group default.postgres15 of family postgres15")
	require.Contains(t, found[1].Message, "about 180 GiB are left; the source writes 8.0 GiB of WAL a day, which would fill that in 22 days")
}

func TestStorageThatWALFillsInHours(t *testing.T) {
	usage := plan.SourceUsage{AllBytes: 190 * gib, WALPerSecond: 1 << 20}
	found := plan.AssessRDS(contract.Spec{}, plainRDS, usage, nil)
	require.Equal(t, []string{plan.CodeRDSStorage}, rdsCodes(found, contract.Warning))

	growing := plainRDS
	growing.MaxAllocatedGiB = 1000
	require.Empty(t, rdsCodes(plan.AssessRDS(contract.Spec{}, growing, usage, nil), contract.Warning))

	aurora := plainRDS
	aurora.Kind = "aurora"
	require.NotContains(t, rdsCodes(plan.AssessRDS(contract.Spec{}, aurora, usage, nil), contract.Info), plan.CodeRDSStorage)

	full := plan.AssessRDS(contract.Spec{}, plainRDS, plan.SourceUsage{AllBytes: 300 * gib, WALPerSecond: 1}, nil)
	require.Equal(t, []string{plan.CodeRDSStorage}, rdsCodes(full, contract.Warning))
	require.NotContains(t, full[1].Message, "-")
}

func TestReplicasNeedWhatThePrimaryGets(t *testing.T) {
	replicated := plainRDS
	replicated.Replicas = []string{"shop-replica"}
	raised := []contract.ParameterChange{{Name: "max_wal_senders", Old: "10", New: "16"}, {Name: "rds.logical_replication", New: "1"}}
	found := plan.AssessRDS(contract.Spec{}, replicated, plan.SourceUsage{}, raised)
	require.Equal(t, []string{plan.CodeRDSReplicas}, rdsCodes(found, contract.Warning))
	require.Empty(t, rdsCodes(plan.AssessRDS(contract.Spec{}, plainRDS, plan.SourceUsage{}, raised), contract.Warning))
	require.Empty(t, rdsCodes(plan.AssessRDS(contract.Spec{}, replicated, plan.SourceUsage{}, raised[1:]), contract.Warning))
}

func TestIAMMustBeEnabled(t *testing.T) {
	spec := contract.Spec{}
	spec.Source.Password.IAM = true
	require.Equal(t, []string{plan.CodeRDSIAM}, rdsCodes(plan.AssessRDS(spec, plainRDS, plan.SourceUsage{}, nil), contract.Fatal))
	enabled := plainRDS
	enabled.IAMAuth = true
	require.Empty(t, rdsCodes(plan.AssessRDS(spec, enabled, plan.SourceUsage{}, nil), contract.Fatal))
}

func TestWhatIsOnlyToBeKnownOfRDS(t *testing.T) {
	busy := plainRDS
	busy.Class, busy.MultiAZ, busy.BackupWindow, busy.MaintenanceWindow = "db.t3.medium", true, "03:00-03:30", "sun:05:00-sun:05:30"
	found := plan.AssessRDS(contract.Spec{}, busy, plan.SourceUsage{}, nil)
	require.Equal(t, []string{plan.CodeRDSInstance, plan.CodeRDSStorage, plan.CodeRDSBurstable, plan.CodeRDSWindows, plan.CodeRDSMultiAZ}, rdsCodes(found, contract.Info))
}

func TestUsageInWords(t *testing.T) {
	require.Equal(t, "1 connection is open, no transaction is running", plan.SourceUsage{Connections: 1}.Words())
	require.Equal(t, "12 connections are open, the longest transaction runs for 3m0s (pid 77, user app)",
		plan.SourceUsage{Connections: 12, Longest: &plan.Transaction{PID: 77, User: "app", Age: 3 * time.Minute}}.Words())
}

func TestLostParameters(t *testing.T) {
	require.Empty(t, plan.LostParameters("g", nil))
	found := plan.LostParameters("g", []contract.ParameterChange{{Name: "work_mem", Old: "65536"}})
	require.Len(t, found, 1)
	require.Contains(t, found[0].Message, "work_mem is 65536 now and will be the default")
}

func TestSkippedParameters(t *testing.T) {
	require.Empty(t, plan.SkippedParameters("postgres18", nil))
	require.Contains(t, plan.SkippedParameters("aurora-postgresql16", []string{"old_snapshot_threshold"})[0].Message, "goes without: old_snapshot_threshold")
}

func TestPendingModifications(t *testing.T) {
	changes := []contract.ParameterChange{{Name: "rds.logical_replication", New: "1"}}
	require.Empty(t, plan.PendingModifications("shop-prod", nil, changes))
	require.Empty(t, plan.PendingModifications("shop-prod", []string{"DBInstanceClass"}, nil), "nothing of ours would set them off")
	found := plan.PendingModifications("shop-prod", []string{"DBInstanceClass"}, changes)
	require.Equal(t, []string{plan.CodeRDSPending}, rdsCodes(found, contract.Warning))
	require.Contains(t, found[0].Message, "DBInstanceClass")
}

func TestCPUCreditsOfTheClass(t *testing.T) {
	var spec contract.Spec
	spec.Copy.BackOff = &contract.BackOff{CPUCredits: 50}
	plain := plan.AssessRDS(spec, plainRDS, plan.SourceUsage{}, nil)
	require.Contains(t, rdsCodes(plain, contract.Warning), plan.CodeBackOffBlind)
	burstable, left := plainRDS, 288.4
	burstable.Class, burstable.CPUCredits = "db.t4g.large", &left
	found := plan.AssessRDS(spec, burstable, plan.SourceUsage{}, nil)
	require.NotContains(t, rdsCodes(found, contract.Warning), plan.CodeBackOffBlind)
	i := slices.IndexFunc(found, func(p contract.Problem) bool { return p.Code == plan.CodeRDSBurstable })
	require.Contains(t, found[i].Message, "288 are left; the copy waits below 50")
}
