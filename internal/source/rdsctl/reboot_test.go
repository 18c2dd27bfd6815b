package rdsctl_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/fault"
	"timeferry/internal/source/rdsctl"
)

func TestRebootWithinAWindow(t *testing.T) {
	w := newFixture(t, nil)
	w.mustAttach(t)
	_, err := w.client.Reboot(t.Context(), shop, time.Now().Add(-time.Second), nil)
	requireFault(t, err, fault.Operator, rdsctl.CodeWindowClosed, "shop")
	require.Zero(t, w.simulator.Calls("RebootDBInstance"), "none is asked for any more")

	in, err := w.client.Reboot(t.Context(), shop, time.Now().Add(time.Minute), nil)
	require.NoError(t, err)
	require.Equal(t, "in-sync", in.ApplyStatus)
	_, err = w.client.Reboot(t.Context(), shop, time.Now().Add(-time.Second), nil)
	require.NoError(t, err, "nothing to reboot")
}

func TestWindowClosesWhileABackupRuns(t *testing.T) {
	w := newFixture(t, nil)
	w.mustAttach(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.BackingUp, Instance: "shop", For: time.Minute})
	_, err := w.client.Reboot(t.Context(), shop, time.Now().Add(50*time.Millisecond), nil)
	requireFault(t, err, fault.Operator, rdsctl.CodeWindowClosed)
	require.Zero(t, w.simulator.Calls("RebootDBInstance"))
}

func TestWindowClosesWhileRDSRefuses(t *testing.T) {
	w := newFixture(t, nil)
	w.mustAttach(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.RefuseReboot, Count: 1 << 20})
	_, err := w.client.Reboot(t.Context(), shop, time.Now().Add(100*time.Millisecond), nil)
	requireFault(t, err, fault.Operator, rdsctl.CodeWindowClosed)
	require.Positive(t, w.simulator.Calls("RebootDBInstance"))
	require.Zero(t, w.server.count())
}

// A reboot that was asked for in time is waited for after it, also by the call that follows one that died.
func TestWindowClosesDuringTheReboot(t *testing.T) {
	for _, kind := range []string{"same call", "next call"} {
		t.Run(kind, func(t *testing.T) {
			w := newTimedFixture(t, slow, nil)
			w.mustAttach(t)
			var once sync.Once
			notAfter := time.Now().Add(150 * time.Millisecond)
			if kind == "next call" {
				_, err := w.person.RebootDBInstance(t.Context(), &rds.RebootDBInstanceInput{DBInstanceIdentifier: aws.String("shop")})
				require.NoError(t, err)
				require.Eventually(t, func() bool { return w.inspect(t).Status == "rebooting" }, 5*time.Second, time.Millisecond)
				notAfter = time.Now().Add(-time.Minute)
			}
			var seen recorder
			in, err := w.client.Reboot(t.Context(), shop, notAfter, func(in rdsctl.Instance) {
				seen.take(in)
				if in.Status == "rebooting" {
					once.Do(func() { time.Sleep(time.Until(notAfter)) })
				}
			})
			require.NoError(t, err)
			require.Equal(t, "in-sync", in.ApplyStatus)
			require.Contains(t, seen.states, "rebooting/pending-reboot")
			require.Equal(t, 1, w.server.count())
		})
	}
}

// A single look may come before what was done last shows, also what a call that died did.
func TestOneStaleLookRebootsNothing(t *testing.T) {
	w := newFixture(t, nil)
	w.mustAttach(t)
	_, err := w.client.Reboot(t.Context(), shop, noLimit, nil)
	require.NoError(t, err)
	looks := 0
	w.front.set(func(f *front) {
		f.rewrite = func(action, body string) string {
			if action != "DescribeDBInstances" {
				return body
			}
			if looks++; looks > 2 {
				return body
			}
			return strings.ReplaceAll(body, "in-sync", "pending-reboot")
		}
	})
	in, err := w.client.Reboot(t.Context(), shop, noLimit, nil)
	require.NoError(t, err)
	require.Equal(t, "in-sync", in.ApplyStatus)
	require.Greater(t, looks, 2)
	require.Equal(t, 1, w.simulator.Calls("RebootDBInstance"))
}

func TestFailedToApplyNamesTheReason(t *testing.T) {
	w := newFixture(t, nil)
	const event = `<Event><SourceIdentifier>shop</SourceIdentifier><SourceType>db-instance</SourceType><Message>%s</Message>` +
		`<EventCategories><EventCategory>%s</EventCategory></EventCategories><Date>2026-01-0%dT03:04:05Z</Date></Event>`
	w.front.set(func(f *front) {
		f.rewrite = func(action, body string) string {
			switch action {
			case "DescribeDBInstances":
				return strings.ReplaceAll(body, "in-sync", "failed-to-apply")
			case "DescribeEvents":
				return `<DescribeEventsResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><DescribeEventsResult><Events>` +
					fmt.Sprintf(event, "Finished DB Instance backup", "backup", 4) +
					fmt.Sprintf(event, "Parameter work_mem could not be set to 1.", "configuration change", 3) +
					fmt.Sprintf(event, "Updated to use DBParameterGroup g", "configuration change", 5) +
					fmt.Sprintf(event, "Parameter temp_buffers could not be set", "configuration change", 2) +
					`</Events></DescribeEventsResult></DescribeEventsResponse>`
			}
			return body
		}
	})
	requireFault(t, w.client.CheckReady(t.Context(), w.inspect(t)), fault.Operator, rdsctl.CodeInstanceState,
		"could not apply parameter group default.postgres15; RDS says: Parameter work_mem could not be set to 1")
	_, err := w.client.Reboot(t.Context(), shop, noLimit, nil)
	requireFault(t, err, fault.Operator, rdsctl.CodeInstanceState, "work_mem")

	w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Action: "DescribeEvents", Code: "AccessDenied", Status: 403})
	w.front.set(func(f *front) {
		f.rewrite = func(_, body string) string { return strings.ReplaceAll(body, "in-sync", "failed-to-apply") }
	})
	err = w.client.CheckReady(t.Context(), w.inspect(t))
	requireFault(t, err, fault.Operator, rdsctl.CodeInstanceState, "could not apply")
	require.NotContains(t, err.Error(), "RDS says", "the state itself is what matters")
}
