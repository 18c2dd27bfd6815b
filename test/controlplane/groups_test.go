package controlplane

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// tuned is what somebody has set in a group of their own.
var tuned = map[string]string{"log_min_duration_statement": "500", "work_mem": "65536"}

// replicating are the values that PostgreSQL 15 needs, as the migration sets them.
var replicating = map[string]string{"old_snapshot_threshold": "-1", "rds.logical_replication": "1", "tcp_keepalives_count": "60",
	"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "10", "wal_sender_timeout": "1800000"}

// and gives all values of several maps.
func and(values ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, v := range values {
		maps.Copy(out, v)
	}
	return out
}

// inGroup makes the instance with a group that carries these values; wasRebooted: they are in force.
func inGroup(name, owner string, wasRebooted bool, values map[string]string) func(*testing.T, *stage) {
	return func(t *testing.T, s *stage) {
		s.group(t, name, "postgres15", owner, values)
		s.instance(awssim.InstanceConfig{ParameterGroup: name})
		if wasRebooted {
			s.prepared(t)
		}
	}
}

// beside makes the instance with its default group, and a group of the name that the migration wants.
func beside(family, owner string, values map[string]string) func(*testing.T, *stage) {
	return func(t *testing.T, s *stage) {
		s.group(t, groupName, family, owner, values)
		s.instance(awssim.InstanceConfig{})
	}
}

// manyParameters are as many as do not fit into one call.
func manyParameters() map[string]any {
	values := map[string]any{}
	for _, name := range []string{"autovacuum_naptime", "checkpoint_timeout", "commit_siblings", "deadlock_timeout", "default_statistics_target",
		"from_collapse_limit", "geqo_threshold", "join_collapse_limit", "lock_timeout", "log_min_duration_statement", "log_temp_files",
		"max_parallel_workers", "max_stack_depth", "statement_timeout", "work_mem", "max_wal_size", "effective_io_concurrency"} {
		values[name] = "100"
	}
	return values
}

func groupScenarios() []scenario {
	return []scenario{
		{name: "default group", end: ready, says: []string{"parameter group shop-timeferry stays attached to shop (before: default.postgres15)"}},
		{name: "custom group is copied with its values", build: inGroup(otherGroup, "", false, tuned), end: ready},
		{name: "already prepared", build: inGroup(otherGroup, "", true, and(tuned, replicating)), end: ready},
		{name: "prepared but not rebooted", end: ready, build: func(t *testing.T, s *stage) {
			inGroup(otherGroup, "", false, tuned)(t, s)
			for _, name := range []string{"old_snapshot_threshold", "rds.logical_replication", "tcp_keepalives_count", "tcp_keepalives_idle",
				"tcp_keepalives_interval", "wal_sender_timeout"} {
				s.set(t, otherGroup, name, replicating[name])
			}
			s.awaitApplied(t, "pending-reboot")
		}},
		{name: "our group exists with the values", build: beside("postgres15", migrationName, replicating), end: ready},
		{name: "our group exists without its values", build: beside("postgres15", migrationName, map[string]string{"wal_sender_timeout": "1800000"}), end: ready},
		{name: "our group is of another migration", build: beside("postgres15", "another", replicating), end: ready},
		{name: "our group is attached with other values", build: inGroup(groupName, migrationName, true, and(replicating, map[string]string{"wal_sender_timeout": "60000"})), end: ready},
		{name: "our group is attached with other static values", prepare: map[string]any{"parameters": map[string]any{"max_replication_slots": "30"}},
			build: inGroup(groupName, migrationName, true, replicating), end: ready},
		{name: "a group of the name is not ours and has the values", build: func(t *testing.T, s *stage) {
			s.group(t, groupName, "postgres15", "", replicating)
			inGroup(otherGroup, "", false, tuned)(t, s)
		}, end: ready, says: []string{"parameter-not-carried", "work_mem is 65536 now and will be the default"}},
		{name: "a group of the name is not ours and has other values", build: beside("postgres15", "", tuned), end: refused, code: "group-differs",
			says: []string{"it was not made by Timeferry", "rds.logical_replication is 0 instead of 1", "prepare.parameterGroup"}},
		{name: "a group of the name has another family", build: beside("postgres14", migrationName, replicating), end: refused, code: "group-differs",
			says: []string{"it is of family postgres14, and the instance takes postgres15"}},
		{name: "group under a name of one's own", prepare: map[string]any{"parameterGroup": "Replicating"}, end: ready},
		{name: "name that RDS does not take", prepare: map[string]any{"parameterGroup": "shop.timeferry"}, end: refused, code: "bad-group-name"},
		{name: "more than 20 parameters", prepare: map[string]any{"parameters": manyParameters()}, end: ready},
		{name: "parameter that does not exist", prepare: map[string]any{"parameters": map[string]any{"work_men": "1"}}, end: refused, code: "bad-parameter",
			says: []string{"work_men", "correct prepare.parameters"}},
		{name: "value out of range", prepare: map[string]any{"parameters": map[string]any{"wal_sender_timeout": "30min"}}, end: refused, code: "bad-parameter",
			says: []string{"wal_sender_timeout", "a plain number in ms, allowed: 0-3600000"}},
		{name: "headroom is raised", build: func(t *testing.T, s *stage) {
			s.instance(awssim.InstanceConfig{})
			for i := range 19 {
				slot := fmt.Sprintf("standby_%d", i)
				s.source.Exec(t, `SELECT pg_create_physical_replication_slot($1)`, slot)
				t.Cleanup(func() { s.source.Exec(t, `SELECT pg_drop_replication_slot($1)`, slot) })
			}
		}, end: ready},
		{name: "group quota is used up", faults: []awssim.Fault{{Kind: awssim.FailCall, Action: "CreateDBParameterGroup", Code: "DBParameterGroupQuotaExceeded",
			Message: "Request would result in the user exceeding the allowed number of parameter groups."}}, end: stopped, code: "group-refused",
			says: []string{"delete parameter groups that are not in use"}},
		{name: "group quota is raised meanwhile", faults: []awssim.Fault{{Kind: awssim.FailCall, Action: "CreateDBParameterGroup", Code: "DBParameterGroupQuotaExceeded",
			Message: "Request would result in the user exceeding the allowed number of parameter groups."}},
			mend: func(*testing.T, *stage) {}, end: ready},
		{name: "values cannot be applied", build: func(t *testing.T, s *stage) {
			inGroup(otherGroup, "", false, tuned)(t, s)
			s.breaks(errors.New("invalid value"))
			name, value, group := "work_mem", "4096", otherGroup
			_, err := s.api.ModifyDBParameterGroup(t.Context(), &rds.ModifyDBParameterGroupInput{DBParameterGroupName: &group,
				Parameters: []types.Parameter{{ParameterName: &name, ParameterValue: &value, ApplyMethod: types.ApplyMethodImmediate}}})
			require.NoError(t, err)
			s.awaitApplied(t, "failed-to-apply")
		}, end: refused, code: "instance-state", says: []string{"could not apply parameter group shop-tuned"}},
	}
}

// requirements by major version: that is, with old_snapshot_threshold up to 16.
func familyScenarios() []scenario {
	var out []scenario
	for _, major := range []int{12, 13, 14, 16, 17, 18} {
		out = append(out, scenario{name: fmt.Sprintf("family postgres%d", major), major: min(major, newestServer), end: ready, build: func(_ *testing.T, s *stage) {
			s.instance(awssim.InstanceConfig{EngineVersion: fmt.Sprintf("%d.4", major)})
		}})
	}
	return append(out, clusterScenarios()...)
}

func clusterScenarios() []scenario {
	return []scenario{
		{name: "Aurora cluster", cluster: true, end: ready, build: func(_ *testing.T, s *stage) { s.cluster(awssim.ClusterConfig{}) }},
		{name: "Aurora cluster with a custom group", cluster: true, end: ready, build: func(t *testing.T, s *stage) {
			s.clusterGroup(t, otherGroup, "aurora-postgresql15", "", tuned)
			s.cluster(awssim.ClusterConfig{ParameterGroup: otherGroup})
		}},
		{name: "Aurora cluster already prepared", cluster: true, end: ready, build: func(t *testing.T, s *stage) {
			s.clusterGroup(t, otherGroup, "aurora-postgresql15", "", replicating)
			s.cluster(awssim.ClusterConfig{ParameterGroup: otherGroup})
			s.prepared(t)
		}},
		{name: "Aurora writer refuses to reboot", cluster: true, end: ready, build: func(_ *testing.T, s *stage) { s.cluster(awssim.ClusterConfig{}) },
			faults: []awssim.Fault{{Kind: awssim.RefuseReboot, Count: 2}}},
		{name: "Multi-AZ DB cluster", cluster: true, end: ready, build: func(_ *testing.T, s *stage) {
			s.cluster(awssim.ClusterConfig{Engine: "postgres", EngineVersion: "15.12"})
		}},
		{name: "Multi-AZ DB cluster refuses to reboot", cluster: true, end: ready, build: func(_ *testing.T, s *stage) {
			s.cluster(awssim.ClusterConfig{Engine: "postgres", EngineVersion: "15.12"})
		}, faults: []awssim.Fault{{Kind: awssim.RefuseReboot, Count: 2}}},
		{name: "Multi-AZ DB cluster is being backed up", cluster: true, end: ready, build: func(_ *testing.T, s *stage) {
			s.cluster(awssim.ClusterConfig{Engine: "postgres", EngineVersion: "15.12"})
			s.backingUp(clusterID, "CreateDBClusterParameterGroup")
		}, says: []string{"a backup is running"}},
		{name: "cluster not found", cluster: true, end: refused, code: "no-such-instance", says: []string{"source.rds.cluster"}},
		{name: "member of a cluster named as instance", instance: clusterID + "-instance-1", end: refused, code: "cluster-member",
			build: func(_ *testing.T, s *stage) { s.cluster(awssim.ClusterConfig{}) }, says: []string{"source.rds.cluster", clusterID}},
	}
}
