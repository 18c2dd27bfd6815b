package plan_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/plan"
)

func TestTooMuchPressure(t *testing.T) {
	ten, fifty := 9.6, 50.0
	limits := contract.BackOff{ReplicaLag: "30s", ActiveSessions: 50}
	for _, c := range []struct {
		name   string
		p      plan.Pressure
		limits contract.BackOff
		want   string
	}{
		{"idle", plan.Pressure{}, limits, ""},
		{"at the limits", plan.Pressure{ReplicaLag: 30 * time.Second, ActiveSessions: 50}, limits, ""},
		{"a late standby", plan.Pressure{ReplicaLag: 90*time.Second + 400*time.Millisecond}, limits, "a standby of the source is 1m30s behind, copy.backOff.replicaLag is 30s"},
		{"many sessions", plan.Pressure{ActiveSessions: 51}, limits, "51 sessions are active on the source, copy.backOff.activeSessions is 50"},
		{"few credits", plan.Pressure{CPUCredits: &ten}, contract.BackOff{CPUCredits: 50}, "the source has 10 CPU credits left, copy.backOff.cpuCredits is 50"},
		{"credits at the limit", plan.Pressure{CPUCredits: &fifty}, contract.BackOff{CPUCredits: 50}, ""},
		{"no credits known", plan.Pressure{}, contract.BackOff{CPUCredits: 50}, ""},
		{"no limit on the lag", plan.Pressure{ReplicaLag: time.Hour}, contract.BackOff{ActiveSessions: 1}, ""},
		{"no limit on sessions", plan.Pressure{ActiveSessions: 900}, contract.BackOff{ReplicaLag: "1s"}, ""},
	} {
		require.Equal(t, c.want, c.p.TooMuch(c.limits), c.name)
	}
}
