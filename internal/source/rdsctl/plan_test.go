package rdsctl_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/source/rdsctl"
)

func TestRequired(t *testing.T) {
	fifteen := rdsctl.Required(15)
	require.Equal(t, map[string]string{"rds.logical_replication": "1", "old_snapshot_threshold": "-1", "tcp_keepalives_idle": "10",
		"tcp_keepalives_interval": "10", "tcp_keepalives_count": "60", "wal_sender_timeout": "1800000"}, fifteen)
	require.Contains(t, rdsctl.Required(16), "old_snapshot_threshold")
	require.NotContains(t, rdsctl.Required(17), "old_snapshot_threshold")
}

func TestInspect(t *testing.T) {
	w := newFixture(t, func(c *awssim.InstanceConfig) { c.MasterSecretARN, c.ReplicaOf = "arn:secret", "primary" })
	in := w.inspect(t)
	require.Equal(t, rdsctl.Instance{ID: "shop", Kind: "instance", ARN: shopARN, Status: "available", Engine: "postgres", EngineVersion: "15.12", Family: "postgres15",
		Class: "db.t3.medium", Host: "db.example", Port: 5432, MasterUser: "postgres", ParameterGroup: "default.postgres15", ApplyStatus: "in-sync", VPC: "vpc-1",
		SecurityGroups: []string{"sg-1"}, ReplicaOf: "primary", MasterSecretARN: "arn:secret", AllocatedGiB: 50, BackupRetentionDays: 7},
		withoutDetails(in))
}

// withoutDetails leaves out what the simulator makes up; TestInstanceOfAnAnswer has those.
func withoutDetails(in rdsctl.Instance) rdsctl.Instance {
	in.StorageType, in.MaxAllocatedGiB, in.BackupWindow, in.MaintenanceWindow, in.AvailabilityZone, in.Subnets = "", 0, "", "", "", nil
	in.PubliclyAccessible, in.IAMAuth = false, false
	return in
}

func TestInspectFamilyOfUnlistedVersion(t *testing.T) {
	w := newFixture(t, func(c *awssim.InstanceConfig) { c.EngineVersion = "15.99" })
	require.Equal(t, "postgres15", w.inspect(t).Family, "from the group in use")
}

func TestInspectRefusals(t *testing.T) {
	w := newFixture(t, func(c *awssim.InstanceConfig) { c.Engine = "mysql" })
	_, err := w.client.Inspect(t.Context(), contract.RDS{Instance: "nobody"})
	requireFault(t, err, fault.Operator, rdsctl.CodeNoInstance, "nobody", "us-west-2")
	_, err = w.client.Inspect(t.Context(), shop)
	requireFault(t, err, fault.Operator, rdsctl.CodeNotPostgres, "mysql")
}

func TestPlanForDefaultGroup(t *testing.T) {
	w := newFixture(t, nil)
	plan := w.plan(t, rdsctl.Required(15))
	require.Equal(t, rdsctl.GroupPlan{Group: "shop-timeferry", Family: "postgres15", Create: true, NeedsAttach: true, NeedsReboot: true,
		Changes: []rdsctl.Change{
			{Name: "old_snapshot_threshold", New: "-1", Static: true},
			{Name: "rds.logical_replication", Old: "0", New: "1", Static: true},
			{Name: "tcp_keepalives_count", Old: "2", New: "60"},
			{Name: "tcp_keepalives_idle", Old: "300", New: "10"},
			{Name: "tcp_keepalives_interval", Old: "30", New: "10"},
			{Name: "wal_sender_timeout", Old: "30000", New: "1800000"},
		}}, plan)
	require.Zero(t, w.simulator.Calls("CreateDBParameterGroup"), "planning only reads")
}

func TestPlanForCustomGroup(t *testing.T) {
	w := newFixture(t, nil)
	w.mustCustomGroup(t, "prod-pg-group", "postgres15", map[string]string{"work_mem": "65536", "tcp_keepalives_idle": "10"}, true)
	plan := w.plan(t, rdsctl.Required(15))
	require.True(t, plan.Create)
	require.Equal(t, "prod-pg-group", plan.CopyFrom)
	require.Len(t, plan.Changes, 5, "tcp_keepalives_idle has its value")

	require.NoError(t, w.client.ApplyGroup(t.Context(), w.inspect(t), plan, "shop"))
	want := rdsctl.Required(15)
	want["work_mem"] = "65536"
	require.Equal(t, want, w.userValues(t, "shop-timeferry"))
	require.Equal(t, map[string]string{"work_mem": "65536", "tcp_keepalives_idle": "10"}, w.userValues(t, "prod-pg-group"), "the user's group is left alone")
}

func TestPlanWhenAllIsThere(t *testing.T) {
	w := newFixture(t, nil)
	values := maps.Clone(rdsctl.Required(15))
	values["work_mem"] = "65536"
	w.mustCustomGroup(t, "prod", "postgres15", values, true)
	require.Equal(t, rdsctl.GroupPlan{Group: "prod", Family: "postgres15", Exists: true}, w.plan(t, rdsctl.Required(15)))

	wanted := rdsctl.Required(15)
	wanted["rds.logical_replication"], wanted["work_mem"] = "on", "065536"
	require.False(t, w.plan(t, wanted).Create, "other spellings of the same values")

	w.mustCustomGroup(t, "prod2", "postgres15", values, false)
	_, err := w.client.Attach(t.Context(), shop, "prod2", nil)
	require.NoError(t, err)
	plan := w.plan(t, rdsctl.Required(15))
	require.False(t, plan.NeedsAttach)
	require.True(t, plan.NeedsReboot, "it is pending-reboot")
}

func TestPlanWithExistingGroup(t *testing.T) {
	w := newFixture(t, nil)
	w.mustCustomGroup(t, "prod", "postgres15", map[string]string{"work_mem": "65536"}, true)
	w.mustCustomGroup(t, "shop-timeferry", "postgres15", rdsctl.Required(15), false)
	plan := w.plan(t, rdsctl.Required(15))
	require.Equal(t, rdsctl.GroupPlan{Group: "shop-timeferry", Family: "postgres15", Exists: true, NeedsAttach: true, NeedsReboot: true,
		Lost: []rdsctl.Change{{Name: "work_mem", Old: "65536"}}}, plan)

	wanted := rdsctl.Required(15)
	wanted["max_replication_slots"] = "40"
	_, err := w.client.PlanGroup(t.Context(), w.inspect(t), "shop-timeferry", wanted)
	requireFault(t, err, fault.Operator, rdsctl.CodeGroupDiffers, "shop-timeferry", "max_replication_slots")

	w.mustCustomGroup(t, "old-family", "postgres14", nil, false)
	_, err = w.client.PlanGroup(t.Context(), w.inspect(t), "old-family", rdsctl.Required(15))
	requireFault(t, err, fault.Operator, rdsctl.CodeGroupDiffers, "postgres14", "postgres15")
}

func TestPlanTakesUpOurHalfMadeGroup(t *testing.T) {
	w := newFixture(t, nil)
	w.mustCustomGroup(t, "prod", "postgres15", map[string]string{"work_mem": "65536"}, true)
	half := w.plan(t, rdsctl.Required(15))
	half.CopyFrom, half.Changes = "", half.Changes[:2]
	require.NoError(t, w.client.ApplyGroup(t.Context(), w.inspect(t), half, "earlier"))

	plan := w.plan(t, rdsctl.Required(15))
	require.True(t, plan.Ours)
	require.Len(t, plan.Changes, 5, "four of ours, and work_mem carried over")
	require.NoError(t, w.client.ApplyGroup(t.Context(), w.inspect(t), plan, "shop"))
	require.Equal(t, "65536", w.userValues(t, "shop-timeferry")["work_mem"])
	require.Equal(t, map[string]string{"timeferry:migration": "shop"}, w.tags(t, "shop-timeferry"))
}

func TestPlanChangesOurAttachedGroup(t *testing.T) {
	w := newFixture(t, nil)
	w.prepare(t, rdsctl.Required(15))
	wanted := rdsctl.Required(15)
	wanted["wal_sender_timeout"] = "60000"
	plan := w.plan(t, wanted)
	require.False(t, plan.NeedsAttach)
	require.False(t, plan.NeedsReboot, "a dynamic value")
	wanted["max_replication_slots"] = "40"
	require.True(t, w.plan(t, wanted).NeedsReboot, "a static value")
	in := w.prepare(t, wanted)
	require.Equal(t, "in-sync", in.ApplyStatus)
	require.Equal(t, 2, w.server.count())
	require.Equal(t, "40", w.server.restarts[1]["max_replication_slots"])
}

func TestPlanRefusesBadParameters(t *testing.T) {
	w := newFixture(t, nil)
	in := w.inspect(t)
	for name, value := range map[string]string{"no_such_parameter": "1", "fsync": "0", "wal_sender_timeout": "30min",
		"work_mem": "1", "synchronous_commit": "perhaps", "rds.logical_replication": "2", "random_page_cost": "cheap"} {
		_, err := w.client.PlanGroup(t.Context(), in, "g", map[string]string{name: value, "tcp_keepalives_idle": "10"})
		requireFault(t, err, fault.Operator, rdsctl.CodeBadParameter, name)
		require.NotContains(t, err.Error(), "tcp_keepalives_idle")
	}
	_, err := w.client.PlanGroup(t.Context(), in, "g", map[string]string{"wal_sender_timeout": "30min", "fsync": "0"})
	require.ErrorContains(t, err, "a plain number in ms")
	require.ErrorContains(t, err, "fsync", "all of them in one error")
	for _, name := range []string{"with.period", "1st", "-a", "a--b", ""} {
		_, err := w.client.PlanGroup(t.Context(), in, name, rdsctl.Required(15))
		requireFault(t, err, fault.Operator, rdsctl.CodeBadGroupName)
	}
	in.Cluster = "shop-cluster"
	_, err = w.client.PlanGroup(t.Context(), in, "g", rdsctl.Required(15))
	requireFault(t, err, fault.Operator, rdsctl.CodeClusterMember, "shop-cluster")
}

func TestApplyGroupInBatchesOf20(t *testing.T) {
	w := newFixture(t, nil)
	wanted := rdsctl.Required(15)
	for _, name := range []string{"work_mem", "temp_buffers", "max_connections", "max_locks_per_transaction", "statement_timeout", "lock_timeout",
		"effective_cache_size", "autovacuum_naptime", "deadlock_timeout", "checkpoint_timeout", "max_wal_size", "min_wal_size", "wal_keep_size",
		"commit_siblings", "geqo_threshold", "bgwriter_delay", "vacuum_cost_limit"} {
		wanted[name] = "1000"
	}
	wanted["bgwriter_delay"], wanted["autovacuum_naptime"] = "999", fmt.Sprint(60)
	require.Len(t, wanted, 23)
	require.NoError(t, w.client.ApplyGroup(t.Context(), w.inspect(t), w.plan(t, wanted), "shop"))
	require.Equal(t, 2, w.simulator.Calls("ModifyDBParameterGroup"))
	require.Equal(t, wanted, w.userValues(t, "shop-timeferry"))
	require.Equal(t, map[string]string{"timeferry:migration": "shop"}, w.tags(t, "shop-timeferry"))
}

func TestApplyGroupTwice(t *testing.T) {
	w := newFixture(t, nil)
	plan := w.plan(t, rdsctl.Required(15))
	for range 2 {
		require.NoError(t, w.client.ApplyGroup(t.Context(), w.inspect(t), plan, "shop"))
		require.Equal(t, rdsctl.Required(15), w.userValues(t, "shop-timeferry"))
	}
}

func TestApplyGroupThroughFaults(t *testing.T) {
	for _, f := range []awssim.Fault{
		{Kind: awssim.LoseAnswer, Action: "CreateDBParameterGroup"},
		{Kind: awssim.LoseAnswer, Action: "ModifyDBParameterGroup", Count: 2},
		{Kind: awssim.Throttle, Count: 6},
		{Kind: awssim.StaleReads, Count: 5},
		{Kind: awssim.FailCall, Action: "ModifyDBParameterGroup", Code: "InvalidDBParameterGroupState", Count: 3},
		{Kind: awssim.FailCall, Action: "ModifyDBParameterGroup", Code: "DBParameterGroupNotFound", Status: 404, Count: 3},
	} {
		t.Run(string(f.Kind)+" "+f.Action+" "+f.Code, func(t *testing.T) {
			w := newFixture(t, nil)
			in, plan := w.inspect(t), w.plan(t, rdsctl.Required(15))
			w.simulator.Inject(f)
			require.NoError(t, w.client.ApplyGroup(t.Context(), in, plan, "shop"))
			require.Equal(t, rdsctl.Required(15), w.userValues(t, "shop-timeferry"))
		})
	}
}

func TestApplyGroupDiesHalfWay(t *testing.T) {
	w := newFixture(t, nil)
	in, plan := w.inspect(t), w.plan(t, rdsctl.Required(15))
	w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Action: "ModifyDBParameterGroup", Code: "AccessDenied", Status: 403, Message: "not authorized to perform: rds:ModifyDBParameterGroup"})
	err := w.client.ApplyGroup(t.Context(), in, plan, "shop")
	requireFault(t, err, fault.Operator, rdsctl.CodeAccessDenied, "rds:ModifyDBParameterGroup", "shop-timeferry")
	require.Empty(t, w.userValues(t, "shop-timeferry"), "the group exists without its values")
	require.NoError(t, w.client.ApplyGroup(t.Context(), in, plan, "shop"))
	require.Equal(t, rdsctl.Required(15), w.userValues(t, "shop-timeferry"))
}

func TestApplyGroupRefusesSomebodyElsesGroup(t *testing.T) {
	w := newFixture(t, nil)
	plan := w.plan(t, rdsctl.Required(15))
	w.mustCustomGroup(t, "shop-timeferry", "postgres15", nil, false)
	err := w.client.ApplyGroup(t.Context(), w.inspect(t), plan, "shop")
	requireFault(t, err, fault.Operator, rdsctl.CodeGroupDiffers, "shop-timeferry")
	require.Empty(t, w.userValues(t, "shop-timeferry"))
}

func TestApplyGroupReturnsWhenTheValuesShow(t *testing.T) {
	w := newFixture(t, nil)
	w.mustCustomGroup(t, "prod", "postgres15", nil, true)
	half := w.plan(t, rdsctl.Required(15))
	half.Changes = half.Changes[:1]
	require.NoError(t, w.client.ApplyGroup(t.Context(), w.inspect(t), half, "shop"))
	plan := w.plan(t, rdsctl.Required(15))
	w.simulator.Inject(awssim.Fault{Kind: awssim.StaleReads, Count: 6}) // of three pages each
	require.NoError(t, w.client.ApplyGroup(t.Context(), w.inspect(t), plan, "shop"))
	require.Equal(t, rdsctl.Required(15), w.userValues(t, "shop-timeferry"))

	w.simulator.Inject(awssim.Fault{Kind: awssim.StaleReads, Count: 1 << 20})
	plan.Changes = []rdsctl.Change{{Name: "work_mem", New: "4096"}}
	err := w.client.ApplyGroup(t.Context(), w.inspect(t), plan, "shop")
	requireFault(t, err, fault.NotReady, "", "does not show")
}
