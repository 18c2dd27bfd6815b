package controlplane

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/contract"
)

// briefly is how long a passing state lasts: long enough to be met by the step that it is in the way of.
const briefly = 800 * time.Millisecond

// awaitApplied waits until the instance's group is in that state.
func (s *stage) awaitApplied(t *testing.T, status string) {
	t.Helper()
	s.awaitInstance(t, func(_, apply string) bool { return apply == status })
}

func (s *stage) awaitInstance(t *testing.T, ok func(status, apply string) bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		out, err := s.api.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: aws.String(instanceID)})
		require.NoError(t, err)
		if in := out.DBInstances[0]; ok(*in.DBInstanceStatus, *in.DBParameterGroups[0].ParameterApplyStatus) {
			return
		}
		require.True(t, time.Now().Before(deadline), "the instance does not get there")
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *stage) resize(t *testing.T, now bool) {
	t.Helper()
	_, err := s.api.ModifyDBInstance(t.Context(), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: aws.String(instanceID),
		DBInstanceClass: aws.String("db.r6g.large"), ApplyImmediately: &now})
	require.NoError(t, err)
}

// becomes lets the instance have a status from now on.
func becomes(status string) func(*testing.T, *stage) {
	return func(_ *testing.T, s *stage) {
		s.sim.Inject(awssim.Fault{Kind: awssim.ForceStatus, Instance: instanceID, Code: status})
	}
}

func stateScenarios() []scenario {
	pending := func(t *testing.T, s *stage) {
		s.instance(awssim.InstanceConfig{})
		s.resize(t, false)
	}
	return []scenario{
		{name: "modifications of somebody else wait", build: pending, end: stopped, code: "pending-modifications",
			says: []string{"DBInstanceClass", "let these modifications be applied, or take them back, then resume or start again"}},
		{name: "modifications of somebody else are applied", build: pending, end: ready, mend: func(t *testing.T, s *stage) {
			s.resize(t, true)
			s.awaitInstance(t, func(status, _ string) bool { return status == "available" })
		}},
		{name: "backup in progress", build: func(_ *testing.T, s *stage) {
			s.instance(awssim.InstanceConfig{})
			s.backingUp(instanceID, "CreateDBParameterGroup")
		}, end: ready, says: []string{"a backup is running"}},
		{name: "backup begins before the reboot", prepare: map[string]any{"reboot": "approve"}, answer: contract.SignalApproveReboot, end: ready,
			atGate: func(_ *testing.T, s *stage) {
				s.sim.Inject(awssim.Fault{Kind: awssim.BackingUp, Instance: instanceID, For: briefly})
			}},
		{name: "storage is full", faults: []awssim.Fault{{Kind: awssim.ForceStatus, Instance: instanceID, Code: "storage-full"}}, end: refused, code: "instance-state",
			says: []string{"storage-full", "enlarge its storage"}},
		{name: "storage fills up before the reboot", prepare: map[string]any{"reboot": "approve"}, answer: contract.SignalApproveReboot,
			atGate: becomes("storage-full"), mend: becomes("available"), end: ready},
		{name: "instance is stopped", faults: []awssim.Fault{{Kind: awssim.ForceStatus, Instance: instanceID, Code: "stopped"}}, end: refused, code: "instance-state",
			says: []string{"start it, then resume or start again"}},
		{name: "blue/green deployment", build: func(_ *testing.T, s *stage) {
			s.instance(awssim.InstanceConfig{})
			s.sim.AddBlueGreen(awssim.BlueGreenConfig{Name: "upgrade", Instance: instanceID, Target: "shop-green"})
		}, end: refused, code: "blue-green", says: []string{"upgrade", "switch it over or delete it"}},
		{name: "blue/green deployment of another instance", build: func(_ *testing.T, s *stage) {
			s.instance(awssim.InstanceConfig{})
			s.sim.AddBlueGreen(awssim.BlueGreenConfig{Name: "upgrade", Instance: "another", Target: "another-green"})
		}, end: ready},
		{name: "server does not start with its parameters", build: func(_ *testing.T, s *stage) {
			s.instance(awssim.InstanceConfig{})
			s.breaks(errors.New("could not map anonymous shared memory"))
		}, end: stopped, code: "instance-state", says: []string{"incompatible-parameters", "correct or reset it"}},
		{name: "server does not start until its parameters are mended", build: func(_ *testing.T, s *stage) {
			s.instance(awssim.InstanceConfig{})
			s.breaks(errors.New("could not map anonymous shared memory"))
		}, faults: []awssim.Fault{denied("rds", "DescribeEvents")}, mend: func(t *testing.T, s *stage) {
			s.breaks(nil)
			_, err := s.api.RebootDBInstance(t.Context(), &rds.RebootDBInstanceInput{DBInstanceIdentifier: aws.String(instanceID)})
			require.NoError(t, err)
			s.awaitInstance(t, func(status, apply string) bool { return status == "available" && apply == "in-sync" })
		}, end: ready},
		{name: "apply status shows late", faults: []awssim.Fault{{Kind: awssim.LateApplying, Count: 2}}, end: ready},
		{name: "every answer to a change is lost", prepare: map[string]any{"securityGroup": securityGroup}, faults: lost("AuthorizeSecurityGroupIngress",
			"CreateDBParameterGroup", "ModifyDBParameterGroup", "ModifyDBInstance", "RebootDBInstance", "RevokeSecurityGroupIngress"), end: ready},
		{name: "attaching is throttled for long", faults: []awssim.Fault{{Kind: awssim.Throttle, Action: "ModifyDBInstance", Count: 30}}, end: ready},
	}
}

func lost(actions ...string) []awssim.Fault {
	var out []awssim.Fault
	for _, action := range actions {
		out = append(out, awssim.Fault{Kind: awssim.LoseAnswer, Action: action})
	}
	return out
}

// nextWindow is an hour of the week that is about two days away.
var nextWindow = time.Now().UTC().Truncate(time.Hour).Add(48 * time.Hour)

func inTwoDays() string {
	return nextWindow.Format("Mon 15:00-") + nextWindow.Add(time.Hour).Format("15:00") + " UTC"
}

func creditScenarios() []scenario {
	limit := map[string]any{"cpuCredits": 50}
	left := func(credits float64) func(*testing.T, *stage) {
		return func(_ *testing.T, s *stage) { s.instance(awssim.InstanceConfig{CPUCredits: &credits}) }
	}
	return []scenario{
		{name: "CPU credits are watched", build: left(288), backOff: limit, end: ready},
		{name: "CPU credits of a class without", build: func(_ *testing.T, s *stage) { s.instance(awssim.InstanceConfig{Class: "db.m6g.large"}) }, backOff: limit,
			end: ready, says: []string{"back-off-blind", "db.m6g.large"}},
		{name: "no privilege for GetMetricStatistics", build: left(288), backOff: limit, faults: []awssim.Fault{denied("cloudwatch", "GetMetricStatistics")},
			end: refused, code: "aws-access-denied", says: []string{"cloudwatch:GetMetricStatistics", "policy"}},
	}
}

func rebootScenarios() []scenario {
	return []scenario{
		{name: "reboot is refused three times", faults: []awssim.Fault{{Kind: awssim.RefuseReboot, Count: 3}}, end: ready},
		{name: "reboot is forgotten", faults: []awssim.Fault{{Kind: awssim.RebootForgotten}}, end: ready},
		{name: "reboot goes as a failover", faults: []awssim.Fault{{Kind: awssim.RebootAsFailover}}, end: stopped, code: "still-pending-reboot",
			says: []string{"a failover reboot does not apply static parameters"}},
		{name: "reboot after one that went as a failover", faults: []awssim.Fault{{Kind: awssim.RebootAsFailover}}, mend: func(*testing.T, *stage) {}, end: ready},
		{name: "reboot never", prepare: map[string]any{"reboot": "never"}, end: refused, code: "wal-level", says: []string{"prepare.reboot"}},
		{name: "reboot never, and none is needed", prepare: map[string]any{"reboot": "never"}, build: inGroup(otherGroup, "", true, replicating), end: ready},
		{name: "reboot is approved", prepare: map[string]any{"reboot": "approve"}, answer: contract.SignalApproveReboot, end: ready,
			says: []string{"rds.logical_replication 0 → 1", "wal_sender_timeout 30000 → 1800000", "connections are open"}},
		{name: "reboot is not wanted", prepare: map[string]any{"reboot": "approve"}, answer: answerAbort, end: stopped},
		{name: "window in two days", prepare: map[string]any{"window": inTwoDays()}, end: ready, says: []string{"it waits for the window", "approve-reboot reboots now"}},
		{name: "window in two days is not waited for", prepare: map[string]any{"window": inTwoDays()}, answer: contract.SignalApproveReboot, end: ready},
		{name: "window closes before the reboot", prepare: map[string]any{"window": inTwoDays()}, end: ready, clock: lateForTheWindow},
		{name: "window that is none", prepare: map[string]any{"window": "Someday"}, end: refused, code: "bad-window"},
	}
}

// lateForTheWindow lets the worker believe at first that it is in last week's window, as if it had died there after it had
// looked at the clock; afterwards it knows the time.
func lateForTheWindow() func(now time.Time) time.Time {
	inWindow := nextWindow.Add(30*time.Minute - 7*24*time.Hour)
	looked := false
	return func(now time.Time) time.Time {
		if looked {
			return now
		}
		looked = true
		return inWindow
	}
}
