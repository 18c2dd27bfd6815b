package rdsctl_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/fault"
	"timeferry/internal/source/rdsctl"
)

// recorder keeps what onProgress was told.
type recorder struct {
	states, messages []string
	waited           time.Duration
}

func (r *recorder) take(in rdsctl.Instance) {
	r.states = append(r.states, in.Status+"/"+in.ApplyStatus)
	r.messages = append(r.messages, in.Message)
	r.waited = in.Waited
}

func (w world) mustGroup(t *testing.T) {
	t.Helper()
	require.NoError(t, w.client.ApplyGroup(t.Context(), w.inspect(t), w.plan(t, rdsctl.Required(15)), "shop"))
}

func (w world) mustAttach(t *testing.T) {
	t.Helper()
	w.mustGroup(t)
	_, err := w.client.Attach(t.Context(), shop, "shop-timeferry", nil)
	require.NoError(t, err)
}

func TestAttachAndReboot(t *testing.T) {
	w := newTimedFixture(t, slow, nil)
	w.mustGroup(t)
	var seen recorder
	in, err := w.client.Attach(t.Context(), shop, "Shop-Timeferry", seen.take)
	require.NoError(t, err)
	require.Equal(t, "shop-timeferry", in.ParameterGroup)
	require.Equal(t, "pending-reboot", in.ApplyStatus)
	require.Contains(t, seen.states, "modifying/applying")
	require.NotContains(t, seen.messages, "")
	require.Zero(t, w.server.count(), "attaching reboots nothing")

	in, err = w.client.Attach(t.Context(), shop, "shop-timeferry", nil)
	require.NoError(t, err)
	require.Equal(t, "pending-reboot", in.ApplyStatus)
	require.Equal(t, 1, w.simulator.Calls("ModifyDBInstance"), "already attached: only waits")

	seen = recorder{}
	in, err = w.client.Reboot(t.Context(), shop, noLimit, seen.take)
	require.NoError(t, err)
	require.Equal(t, "available/in-sync", in.Status+"/"+in.ApplyStatus)
	require.Contains(t, seen.states, "rebooting/pending-reboot")
	require.Equal(t, "logical", w.server.restarts[0]["wal_level"])
	require.Equal(t, "1800000", w.server.restarts[0]["wal_sender_timeout"])

	in, err = w.client.Reboot(t.Context(), shop, noLimit, nil)
	require.NoError(t, err)
	require.Equal(t, "in-sync", in.ApplyStatus)
	require.Equal(t, 1, w.server.count(), "in-sync: no reboot")
	require.Equal(t, 1, w.simulator.Calls("RebootDBInstance"))
}

func TestAttachRefusesOthersModifications(t *testing.T) {
	w := newFixture(t, nil)
	w.mustGroup(t)
	_, err := w.person.ModifyDBInstance(t.Context(), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: aws.String("shop"),
		AllocatedStorage: aws.Int32(200), DBInstanceClass: aws.String("db.r6g.large")})
	require.NoError(t, err)
	require.Equal(t, []string{"AllocatedStorage", "DBInstanceClass"}, w.inspect(t).Pending)
	_, err = w.client.Attach(t.Context(), shop, "shop-timeferry", nil)
	requireFault(t, err, fault.Operator, rdsctl.CodePendingModifications, "AllocatedStorage", "DBInstanceClass")
	in := w.inspect(t)
	require.Equal(t, 50, in.AllocatedGiB, "nothing was set off")
	require.Equal(t, "default.postgres15", in.ParameterGroup)
}

func TestAttachAndRebootThroughFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults []awssim.Fault
		says   string
	}{
		{"backup runs", []awssim.Fault{{Kind: awssim.BackingUp, Instance: "shop", For: 500 * time.Millisecond}}, "the instance is backing-up"},
		{"modify refused", []awssim.Fault{{Kind: awssim.FailCall, Action: "ModifyDBInstance", Code: "InvalidDBInstanceState", Count: 3}}, "RDS is busy with the instance; the group is attached as soon as it is free"},
		{"modify's answer lost", []awssim.Fault{{Kind: awssim.LoseAnswer, Action: "ModifyDBInstance"}}, ""},
		{"lagging reads", []awssim.Fault{{Kind: awssim.StaleReads, Count: 6}, {Kind: awssim.StaleReads, Count: 6}}, "RDS takes in the new parameter group"},
		{"applying shows late", []awssim.Fault{{Kind: awssim.LateApplying, Count: 3}}, "RDS applies the parameter group"},
		{"throttling", []awssim.Fault{{Kind: awssim.Throttle, Count: 6}}, ""},
		{"reboot refused", []awssim.Fault{{Kind: awssim.RefuseReboot, Count: 3}}, "RDS cannot reboot the instance now; it is asked again"},
		{"reboot's answer lost", []awssim.Fault{{Kind: awssim.LoseAnswer, Action: "RebootDBInstance"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newFixture(t, nil)
			w.mustGroup(t)
			for _, f := range c.faults {
				w.simulator.Inject(f)
			}
			var seen recorder
			in, err := w.client.Attach(t.Context(), shop, "shop-timeferry", seen.take)
			require.NoError(t, err)
			require.Equal(t, "pending-reboot", in.ApplyStatus)
			in, err = w.client.Reboot(t.Context(), shop, noLimit, seen.take)
			require.NoError(t, err)
			require.Equal(t, "shop-timeferry available in-sync", in.ParameterGroup+" "+in.Status+" "+in.ApplyStatus)
			require.Equal(t, 1, w.server.count(), "one reboot, no more")
			if c.says != "" {
				require.Contains(t, seen.messages, c.says)
			}
		})
	}
}

// TestCallsDieWhileWaiting ends each call as soon as its request is out, as a killed worker would, and repeats it.
func TestCallsDieWhileWaiting(t *testing.T) {
	w := newFixture(t, nil)
	w.mustGroup(t)
	dying := func(call func(context.Context, func(rdsctl.Instance)) error) {
		ctx, cancel := context.WithCancel(t.Context())
		err := call(ctx, func(rdsctl.Instance) { cancel() })
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, fault.Unknown, fault.Classify(err), "the caller's cancellation passes through")
	}
	dying(func(ctx context.Context, progress func(rdsctl.Instance)) error {
		_, err := w.client.Attach(ctx, shop, "shop-timeferry", progress)
		return err
	})
	_, err := w.client.Attach(t.Context(), shop, "shop-timeferry", nil)
	require.NoError(t, err)
	require.Equal(t, 1, w.simulator.Calls("ModifyDBInstance"))

	dying(func(ctx context.Context, progress func(rdsctl.Instance)) error {
		_, err := w.client.Reboot(ctx, shop, noLimit, progress)
		return err
	})
	in, err := w.client.Reboot(t.Context(), shop, noLimit, nil)
	require.NoError(t, err)
	require.Equal(t, "in-sync", in.ApplyStatus)
	require.Equal(t, 1, w.server.count())
}

func TestStatesThatNeedAPerson(t *testing.T) {
	for _, status := range []string{"storage-full", "failed", "stopped", "incompatible-parameters", "inaccessible-encryption-credentials"} {
		t.Run(status, func(t *testing.T) {
			w := newFixture(t, nil)
			w.mustAttach(t)
			w.simulator.Inject(awssim.Fault{Kind: awssim.ForceStatus, Instance: "shop", Code: status})
			_, err := w.client.Reboot(t.Context(), shop, noLimit, nil)
			requireFault(t, err, fault.Operator, rdsctl.CodeInstanceState, status)
			_, err = w.client.Attach(t.Context(), shop, "shop-timeferry", nil)
			requireFault(t, err, fault.Operator, rdsctl.CodeInstanceState, status)
			require.Zero(t, w.server.count())
		})
	}
}

func TestRebootThatDoesNotStart(t *testing.T) {
	w := newFixture(t, nil)
	w.mustAttach(t)
	w.server.fail = errors.New("could not map memory")
	_, err := w.client.Reboot(t.Context(), shop, noLimit, nil)
	requireFault(t, err, fault.Operator, rdsctl.CodeInstanceState, "incompatible-parameters", "RDS says: Database instance put into incompatible-parameters")
}

func TestAttachRefusedByRDS(t *testing.T) {
	w := newFixture(t, nil)
	_, err := w.client.Attach(t.Context(), shop, "no-such-group", nil)
	require.Equal(t, fault.Operator, fault.Classify(err))
	w.mustCustomGroup(t, "old", "postgres14", nil, false)
	_, err = w.client.Attach(t.Context(), shop, "old", nil)
	requireFault(t, err, fault.Operator, rdsctl.CodeGroupRefused, "postgres14")
}

func TestRebootWithoutEffect(t *testing.T) {
	w := newFixture(t, nil)
	w.mustAttach(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.RebootAsFailover})
	_, err := w.client.Reboot(t.Context(), shop, noLimit, nil)
	requireFault(t, err, fault.Operator, rdsctl.CodeStillPending, "shop-timeferry")
	require.Equal(t, 1, w.server.count(), "no second reboot without being asked")
}

func TestRebootThatNeverBegins(t *testing.T) {
	w := newFixture(t, nil)
	w.mustAttach(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.RebootForgotten})
	_, err := w.client.Reboot(t.Context(), shop, noLimit, nil)
	requireFault(t, err, fault.NotReady, "", "has not begun")
	in, err := w.client.Reboot(t.Context(), shop, noLimit, nil)
	require.NoError(t, err)
	require.Equal(t, "in-sync", in.ApplyStatus)
	require.Equal(t, 1, w.server.count())
}

func TestProgressOfEachPoll(t *testing.T) {
	w := newFixture(t, nil)
	w.mustGroup(t)
	var seen recorder
	before := w.simulator.Calls("DescribeDBInstances")
	_, err := w.client.Attach(t.Context(), shop, "shop-timeferry", seen.take)
	require.NoError(t, err)
	require.Equal(t, w.simulator.Calls("DescribeDBInstances")-before-1, len(seen.states), "every look but the last")
	require.True(t, slices.Contains(seen.states, "available/in-sync"))
}
