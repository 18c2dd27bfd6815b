package rdsctl_test

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/source/rdsctl"
)

const clusterARN = "arn:aws:rds:us-east-1:123456789012:cluster:shop"

// quick is for tests in which no state has to be seen.
var quick = awssim.Timings{Modifying: 10 * time.Millisecond, Applying: 5 * time.Millisecond, BeforeReboot: 5 * time.Millisecond, Rebooting: 10 * time.Millisecond}

// kinds are the two kinds of cluster, with what reboots them.
var kinds = []struct{ kind, engine, family, reboot string }{
	{"aurora", "aurora-postgresql", "aurora-postgresql15", "RebootDBInstance shop-instance-1"},
	{"multi-az-cluster", "postgres", "postgres15", "RebootDBCluster"},
}

// writes are the calls that change something, in order, with the instance of those that name one.
func (w world) writes() []string {
	var out []string
	for _, c := range w.simulator.Log() {
		if c.Service != "rds" || strings.HasPrefix(c.Action, "Describe") || strings.HasPrefix(c.Action, "List") {
			continue
		}
		word := c.Action
		if id := c.Parameters["DBInstanceIdentifier"]; id != "" {
			word += " " + id
		}
		if c.Code != "" {
			word += " -> " + c.Code
		}
		out = append(out, word)
	}
	return out
}

// memberStatus is how far a member has taken the cluster's group.
func (w world) memberStatus(t *testing.T, id string) string {
	t.Helper()
	out, err := w.person.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{DBClusterIdentifier: aws.String("shop")})
	require.NoError(t, err)
	for _, m := range out.DBClusters[0].DBClusterMembers {
		if *m.DBInstanceIdentifier == id {
			return *m.DBClusterParameterGroupStatus
		}
	}
	require.Fail(t, "no such member", id)
	return ""
}

func (w world) mustClusterGroup(t *testing.T, name, family string, values map[string]string) {
	t.Helper()
	_, err := w.person.CreateDBClusterParameterGroup(t.Context(), &rds.CreateDBClusterParameterGroupInput{DBClusterParameterGroupName: &name,
		DBParameterGroupFamily: &family, Description: aws.String("by hand")})
	require.NoError(t, err)
	for key, value := range values {
		_, err := w.person.ModifyDBClusterParameterGroup(t.Context(), &rds.ModifyDBClusterParameterGroupInput{DBClusterParameterGroupName: &name,
			Parameters: []types.Parameter{{ParameterName: &key, ParameterValue: &value, ApplyMethod: types.ApplyMethodPendingReboot}}})
		require.NoError(t, err)
	}
	_, err = w.client.Attach(t.Context(), w.db, name, nil)
	require.NoError(t, err)
	_, err = w.client.Reboot(t.Context(), w.db, noLimit, nil)
	require.NoError(t, err)
	w.simulator.Reset()
}

func TestInspectCluster(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.kind, func(t *testing.T) {
			w := newClusterFixture(t, quick, k.engine)
			in := w.inspect(t)
			members := []string{"shop-instance-1", "shop-instance-2"}
			gib := 1
			if k.kind == "multi-az-cluster" {
				members, gib = append(members, "shop-instance-3"), 100
			}
			require.Equal(t, rdsctl.Instance{ID: "shop", Kind: k.kind, ARN: clusterARN, Status: "available", Engine: k.engine, EngineVersion: "15.4",
				Family: k.family, Class: "db.r6g.large", Host: "writer.example", Port: 5432, MasterUser: "postgres", ParameterGroup: "default." + k.family,
				ApplyStatus: "in-sync", VPC: "vpc-1", SecurityGroups: []string{"sg-1"}, MultiAZ: true, Writer: "shop-instance-1", Members: members,
				AllocatedGiB: gib, BackupRetentionDays: 7}, withoutDetails(in))

			_, err := w.client.Inspect(t.Context(), contract.RDS{Cluster: "shop-instance-1"})
			requireFault(t, err, fault.Operator, rdsctl.CodeNoInstance, "shop-instance-1", "source.rds.instance")
			member, err := w.client.Inspect(t.Context(), contract.RDS{Instance: "shop-instance-1"})
			require.NoError(t, err)
			_, err = w.client.PlanGroup(t.Context(), member, "g", rdsctl.Required(15))
			requireFault(t, err, fault.Operator, rdsctl.CodeClusterMember, "shop")
			require.Contains(t, fault.HintOf(err), "source.rds.cluster")
		})
	}
}

func TestPrepareCluster(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.kind+" with a default group", func(t *testing.T) {
			w := newClusterFixture(t, slow, k.engine)
			var seen recorder
			plan := w.plan(t, rdsctl.Required(15))
			require.True(t, plan.Create && plan.NeedsAttach && plan.NeedsReboot)
			require.Equal(t, k.family, plan.Family)
			require.NoError(t, w.client.ApplyGroup(t.Context(), w.inspect(t), plan, "m"))
			in, err := w.client.Attach(t.Context(), cluster, "Shop-Timeferry", seen.take)
			require.NoError(t, err)
			require.Equal(t, "shop-timeferry available pending-reboot", in.ParameterGroup+" "+in.Status+" "+in.ApplyStatus)
			require.Contains(t, seen.states, "modifying/applying")
			require.Contains(t, seen.messages, "RDS applies the parameter group, the cluster is modifying")
			require.Zero(t, w.server.count())
			seen = recorder{}
			in, err = w.client.Reboot(t.Context(), cluster, noLimit, seen.take)
			require.NoError(t, err)
			require.Equal(t, "shop-timeferry available in-sync", in.ParameterGroup+" "+in.Status+" "+in.ApplyStatus)
			require.Contains(t, seen.states, "rebooting/pending-reboot")
			require.Positive(t, seen.waited)
			require.Equal(t, []string{"CreateDBClusterParameterGroup", "ModifyDBClusterParameterGroup", "ModifyDBCluster", k.reboot}, w.writes())
			require.Equal(t, rdsctl.Required(15), w.userValues(t, "shop-timeferry"))
			require.Equal(t, map[string]string{"timeferry:migration": "m"}, w.tagsOf(t, "cluster-pg:shop-timeferry"))
			require.Equal(t, 1, w.server.count())
			require.Equal(t, "logical", w.server.restarts[0]["wal_level"])
		})
		t.Run(k.kind+" with a custom group", func(t *testing.T) {
			w := newClusterFixture(t, quick, k.engine)
			w.mustClusterGroup(t, "prod", k.family, map[string]string{"work_mem": "65536"})
			require.Equal(t, "prod", w.plan(t, rdsctl.Required(15)).CopyFrom)
			w.prepare(t, rdsctl.Required(15))
			require.Equal(t, []string{"CopyDBClusterParameterGroup", "ModifyDBClusterParameterGroup", "ModifyDBCluster", k.reboot}, w.writes())
			require.Equal(t, "65536", w.userValues(t, "shop-timeferry")["work_mem"])
			require.Equal(t, map[string]string{"work_mem": "65536"}, w.userValues(t, "prod"))

			w.simulator.Reset()
			require.Equal(t, rdsctl.GroupPlan{Group: "shop-timeferry", Family: k.family, Exists: true}, w.plan(t, rdsctl.Required(15)))
			w.prepare(t, rdsctl.Required(15))
			require.Empty(t, w.writes(), "already prepared: nothing is changed, nothing is rebooted")
		})
	}
}

func TestClusterThroughFaults(t *testing.T) {
	for _, k := range kinds {
		reboot := strings.Fields(k.reboot)[0]
		for name, faults := range map[string][]awssim.Fault{
			"backup runs":          {{Kind: awssim.BackingUp, Instance: "shop", For: 100 * time.Millisecond}},
			"modify refused":       {{Kind: awssim.FailCall, Action: "ModifyDBCluster", Code: "InvalidDBClusterStateFault", Count: 3}},
			"modify's answer lost": {{Kind: awssim.LoseAnswer, Action: "ModifyDBCluster"}},
			"group not known yet":  {{Kind: awssim.FailCall, Action: "ModifyDBCluster", Code: "DBClusterParameterGroupNotFound", Status: 404, Count: 3}},
			"lagging reads":        {{Kind: awssim.StaleReads, Count: 6}, {Kind: awssim.StaleReads, Count: 6}},
			"throttling":           {{Kind: awssim.Throttle, Count: 7}},
			"throttling by luck":   {{Kind: awssim.Throttle, Percent: 30}},
			"reboot refused":       {{Kind: awssim.RefuseReboot, Count: 3}},
			"reboot's answer lost": {{Kind: awssim.LoseAnswer, Action: reboot}},
		} {
			t.Run(k.kind+" "+name, func(t *testing.T) {
				w := newClusterFixture(t, quick, k.engine)
				w.mustGroup(t)
				for _, f := range faults {
					w.simulator.Inject(f)
				}
				in, err := w.client.Attach(t.Context(), cluster, "shop-timeferry", nil)
				require.NoError(t, err)
				require.Equal(t, "pending-reboot", in.ApplyStatus)
				in, err = w.client.Reboot(t.Context(), cluster, noLimit, nil)
				require.NoError(t, err)
				require.Equal(t, "shop-timeferry available in-sync", in.ParameterGroup+" "+in.Status+" "+in.ApplyStatus)
				require.Equal(t, 1, w.server.count(), "one reboot, no more")
			})
		}
	}
}

func TestClusterRefusesOthersModifications(t *testing.T) {
	for _, k := range kinds {
		w := newClusterFixture(t, quick, k.engine)
		w.mustGroup(t)
		w.front.set(func(f *front) {
			f.rewrite = func(action, body string) string {
				if action == "DescribeDBClusters" {
					return strings.ReplaceAll(body, "</DBCluster>", "<PendingModifiedValues><EngineVersion>16.1</EngineVersion></PendingModifiedValues></DBCluster>")
				}
				return body
			}
		})
		require.Equal(t, []string{"EngineVersion"}, w.inspect(t).Pending)
		_, err := w.client.Attach(t.Context(), cluster, "shop-timeferry", nil)
		requireFault(t, err, fault.Operator, rdsctl.CodePendingModifications, "EngineVersion")
		require.NotContains(t, w.writes(), "ModifyDBCluster")
	}
}

// A modification of the writer alone waits for it, and its reboot might set it off.
func TestRebootRefusesModificationsOfTheWriter(t *testing.T) {
	w := newClusterFixture(t, quick, "aurora-postgresql")
	w.mustGroup(t)
	_, err := w.client.Attach(t.Context(), cluster, "shop-timeferry", nil)
	require.NoError(t, err)
	_, err = w.person.ModifyDBInstance(t.Context(), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: aws.String("shop-instance-1"), DBInstanceClass: aws.String("db.r6g.xlarge")})
	require.NoError(t, err)
	_, err = w.client.Reboot(t.Context(), cluster, noLimit, nil)
	requireFault(t, err, fault.Operator, rdsctl.CodePendingModifications, "shop-instance-1.DBInstanceClass")
	require.Zero(t, w.server.count())
}

// swapWriter makes the second member the writer in what the clusters show, as after a failover.
func swapWriter(action, body string) string {
	if action != "DescribeDBClusters" {
		return body
	}
	const yes, no = "<IsClusterWriter>true</IsClusterWriter>", "<IsClusterWriter>false</IsClusterWriter>"
	before, after, found := strings.Cut(body, yes)
	if !found {
		return body
	}
	return before + no + strings.Replace(after, no, yes, 1)
}

func noWriter(action, body string) string {
	return strings.ReplaceAll(body, "<IsClusterWriter>true</IsClusterWriter>", "<IsClusterWriter>false</IsClusterWriter>")
}

func TestFailoverBetweenAttachAndReboot(t *testing.T) {
	w := newClusterFixture(t, quick, "aurora-postgresql")
	w.mustGroup(t)
	_, err := w.client.Attach(t.Context(), cluster, "shop-timeferry", nil)
	require.NoError(t, err)
	w.front.set(func(f *front) { f.rewrite = noWriter })
	require.Equal(t, "failing-over", w.inspect(t).Status)
	requireFault(t, w.client.CheckReady(t.Context(), w.inspect(t)), fault.NotReady, "", "failing-over")
	var once sync.Once
	in, err := w.client.Reboot(t.Context(), cluster, noLimit, func(in rdsctl.Instance) {
		once.Do(func() {
			require.Equal(t, "the cluster is failing-over", in.Message)
			w.front.set(func(f *front) { f.rewrite = swapWriter })
		})
	})
	require.NoError(t, err)
	require.Equal(t, "shop-instance-2 in-sync", in.Writer+" "+in.ApplyStatus)
	require.Contains(t, w.writes(), "RebootDBInstance shop-instance-2")
	require.NotContains(t, w.writes(), "RebootDBInstance shop-instance-1", "never a reader")
}

// A failover while the old writer reboots leaves a new one that is still pending-reboot.
func TestFailoverDuringReboot(t *testing.T) {
	w := newClusterFixture(t, quick, "aurora-postgresql")
	w.mustGroup(t)
	_, err := w.client.Attach(t.Context(), cluster, "shop-timeferry", nil)
	require.NoError(t, err)
	w.front.set(func(f *front) {
		f.after = func(action string) {
			if action == "RebootDBInstance" {
				f.set(func(f *front) { f.rewrite = swapWriter })
			}
		}
	})
	in, err := w.client.Reboot(t.Context(), cluster, noLimit, nil)
	require.NoError(t, err)
	require.Equal(t, "shop-instance-2 in-sync", in.Writer+" "+in.ApplyStatus)
	require.Equal(t, []string{"RebootDBInstance shop-instance-1", "RebootDBInstance shop-instance-2"}, w.writes()[3:])
	require.Equal(t, "in-sync", w.memberStatus(t, "shop-instance-2"))
}

func TestClusterStatesThatNeedAPerson(t *testing.T) {
	for _, k := range kinds {
		for _, status := range []string{"storage-full", "stopped", "incompatible-parameters", "inaccessible-encryption-credentials-recoverable"} {
			t.Run(k.kind+" "+status, func(t *testing.T) {
				w := newClusterFixture(t, quick, k.engine)
				w.simulator.Inject(awssim.Fault{Kind: awssim.ForceStatus, Instance: "shop", Code: status})
				requireFault(t, w.client.CheckReady(t.Context(), w.inspect(t)), fault.Operator, rdsctl.CodeInstanceState, "the cluster is "+status)
				_, err := w.client.Attach(t.Context(), cluster, "g", nil)
				requireFault(t, err, fault.Operator, rdsctl.CodeInstanceState, status)
				_, err = w.client.Reboot(t.Context(), cluster, noLimit, nil)
				requireFault(t, err, fault.Operator, rdsctl.CodeInstanceState, status)
				require.Empty(t, w.writes())
			})
		}
	}
}

func TestClusterThatDoesNotStart(t *testing.T) {
	w := newClusterFixture(t, quick, "aurora-postgresql")
	w.mustGroup(t)
	_, err := w.client.Attach(t.Context(), cluster, "shop-timeferry", nil)
	require.NoError(t, err)
	w.server.fail = errors.New("could not map memory")
	_, err = w.client.Reboot(t.Context(), cluster, noLimit, nil)
	requireFault(t, err, fault.Operator, rdsctl.CodeInstanceState, "incompatible-parameters", "RDS says: Database instance put into incompatible-parameters")
}

func TestCheckReadyOfClusters(t *testing.T) {
	w := newClusterFixture(t, quick, "aurora-postgresql")
	require.NoError(t, w.client.CheckReady(t.Context(), w.inspect(t)))
	client := w.withDeployments(t, deployment{"d", clusterARN, "x", "AVAILABLE"})
	requireFault(t, client.CheckReady(t.Context(), w.inspect(t)), fault.Operator, rdsctl.CodeBlueGreen, "blue/green deployment d")
	client = w.withDeployments(t, deployment{"d", "arn:aws:rds:us-east-1:123456789012:cluster:other", "x", "AVAILABLE"})
	require.NoError(t, client.CheckReady(t.Context(), w.inspect(t)))
	w.simulator.Inject(awssim.Fault{Kind: awssim.BackingUp, Instance: "shop", For: time.Minute})
	requireFault(t, client.CheckReady(t.Context(), w.inspect(t)), fault.NotReady, "", "a backup is running")
}

func TestFamilies(t *testing.T) {
	for _, c := range []struct{ engine, version, family string }{
		{"postgres", "12.19", "postgres12"}, {"postgres", "16.3", "postgres16"}, {"postgres", "17.2", "postgres17"}, {"postgres", "18.1", "postgres18"},
		{"aurora-postgresql", "16.3", "aurora-postgresql16"}, {"aurora-postgresql", "17.2", "aurora-postgresql17"},
	} {
		t.Run(c.family, func(t *testing.T) {
			w := newWorld(t, quick, cluster)
			w.simulator.AddCluster(awssim.ClusterConfig{ID: "shop", Engine: c.engine, EngineVersion: c.version, MasterUser: "postgres", Host: "h", Port: 5432, Server: w.server})
			in := w.inspect(t)
			require.Equal(t, c.family, in.Family)
			major, err := strconv.Atoi(strings.SplitN(c.version, ".", 2)[0])
			require.NoError(t, err)
			in = w.prepare(t, rdsctl.Required(major))
			require.Equal(t, "in-sync", in.ApplyStatus)
			require.Equal(t, rdsctl.Required(major), w.userValues(t, "shop-timeferry"))

			wanted := rdsctl.Required(15)
			wanted["old_snapshot_threshold"] = "60"
			_, err = w.client.PlanGroup(t.Context(), w.inspect(t), "g", wanted)
			if major >= 17 {
				requireFault(t, err, fault.Operator, rdsctl.CodeBadParameter, "old_snapshot_threshold")
			} else {
				require.NoError(t, err)
			}
		})
	}
}
