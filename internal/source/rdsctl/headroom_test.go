package rdsctl_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/source/rdsctl"
)

func TestHeadroom(t *testing.T) {
	values := func(slots, senders, workers string) map[string]string {
		return map[string]string{"max_replication_slots": slots, "max_wal_senders": senders, "max_worker_processes": workers}
	}
	allowed := map[string]string{"max_replication_slots": "5-1000", "max_wal_senders": "5-100", "max_worker_processes": "0-262143"}
	for _, c := range []struct {
		name    string
		current map[string]string
		usage   rdsctl.Usage
		want    map[string]string
	}{
		{"nothing in use", values("20", "20", "8"), rdsctl.Usage{}, map[string]string{}},
		{"just enough", values("10", "10", "8"), rdsctl.Usage{Slots: 8, Senders: 6, Workers: 6}, map[string]string{}},
		{"one too few of each", values("10", "10", "8"), rdsctl.Usage{Slots: 9, Senders: 7, Workers: 7}, values("15", "15", "13")},
		{"only slots", values("5", "100", "100"), rdsctl.Usage{Slots: 5}, map[string]string{"max_replication_slots": "11"}},
		{"up to what is allowed", values("20", "98", "8"), rdsctl.Usage{Senders: 96}, map[string]string{"max_wal_senders": "100"}},
		{"already at what is allowed", values("20", "100", "8"), rdsctl.Usage{Senders: 99}, map[string]string{}},
		{"never lowered", values("20", "120", "8"), rdsctl.Usage{Senders: 119}, map[string]string{}},
		{"formula", values("20", "20", "GREATEST({DBInstanceVCPU*2},8)"), rdsctl.Usage{Workers: 64}, map[string]string{}},
		{"formula with memory", values("{DBInstanceClassMemory/9531392}", "20", "8"), rdsctl.Usage{Slots: 64}, map[string]string{}},
		{"not set", map[string]string{}, rdsctl.Usage{Slots: 64, Senders: 64, Workers: 64}, map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.usage.Allowed = allowed
			require.Equal(t, c.want, rdsctl.Headroom(c.current, c.usage))
		})
	}
	require.Equal(t, map[string]string{"max_wal_senders": "204"}, rdsctl.Headroom(values("20", "20", "8"), rdsctl.Usage{Senders: 196}), "no bounds are known")
}

func TestHeadroomIsStable(t *testing.T) {
	current := map[string]string{"max_replication_slots": "10"}
	usage := rdsctl.Usage{Slots: 10}
	raised := rdsctl.Headroom(current, usage)
	require.Equal(t, map[string]string{"max_replication_slots": "16"}, raised)
	require.Empty(t, rdsctl.Headroom(raised, usage), "planning again changes nothing")
}

func TestHeadroomStaysBelowTheSpec(t *testing.T) {
	wanted := map[string]string{"max_wal_senders": "50", "wal_sender_timeout": "1"}
	require.Equal(t, map[string]string{"max_wal_senders": "50", "wal_sender_timeout": "1", "max_replication_slots": "30"},
		rdsctl.WithHeadroom(wanted, map[string]string{"max_wal_senders": "24", "max_replication_slots": "30"}))
	require.Equal(t, wanted, rdsctl.WithHeadroom(wanted, nil))
}

// TestHeadroomFitsIntoThePlan takes the values from the group in use, and RDS takes the result.
func TestHeadroomFitsIntoThePlan(t *testing.T) {
	w := newFixture(t, nil)
	values, allowed, err := w.client.GroupValues(t.Context(), w.inspect(t))
	require.NoError(t, err)
	require.Equal(t, "20", values["max_wal_senders"])
	require.Equal(t, "5-100", allowed["max_wal_senders"])
	require.NotContains(t, values, "max_slot_wal_keep_size", "the engine's own default is in force")
	raise := rdsctl.Headroom(values, rdsctl.Usage{Slots: 20, Senders: 200, Workers: 99, Allowed: allowed})
	require.Equal(t, map[string]string{"max_replication_slots": "26", "max_wal_senders": "100"}, raise)
	w.prepare(t, rdsctl.WithHeadroom(rdsctl.Required(15), raise))
	require.Equal(t, "100", w.server.restarts[0]["max_wal_senders"])
}
