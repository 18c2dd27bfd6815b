package awssim

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFamiliesDifferByVersion(t *testing.T) {
	has := func(family, name string) bool { _, found := findParameter(family, name); return found }
	for _, family := range families() {
		require.Greater(t, len(catalogue()[family]), 200, family)
		require.True(t, has(clusterCatalogue+family, "rds.logical_replication"))
		require.Equal(t, strings.HasPrefix(family, "postgres"), has(family, "rds.logical_replication"), family)
	}
	require.True(t, has("postgres16", "old_snapshot_threshold"))
	require.False(t, has("postgres17", "old_snapshot_threshold"))
	require.True(t, has("postgres17", "transaction_timeout"))
	require.False(t, has("postgres16", "transaction_timeout"))
	require.True(t, has("postgres12", "wal_keep_segments"))
	require.False(t, has("postgres12", "max_slot_wal_keep_size"))
	require.True(t, has("postgres18", "io_method"))
	oldWorkers, _ := findParameter("postgres17", "autovacuum_max_workers")
	newWorkers, _ := findParameter("postgres18", "autovacuum_max_workers")
	require.True(t, oldWorkers.static)
	require.False(t, newWorkers.static)
	old, _ := findParameter("postgres14", "rds.force_ssl")
	recent, _ := findParameter("postgres15", "rds.force_ssl")
	require.Equal(t, "0", old.value)
	require.Equal(t, "1", recent.value)
}

func TestAccepts(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"old_snapshot_threshold", "-1", true},
		{"old_snapshot_threshold", "-2", false},
		{"old_snapshot_threshold", "86400", true},
		{"old_snapshot_threshold", "86401", false},
		{"wal_sender_timeout", "1800000", true},
		{"wal_sender_timeout", "30min", false},
		{"wal_sender_timeout", "1.5", false},
		{"random_page_cost", "1.1", true},
		{"seq_page_cost", "-1", false},
		{"rds.logical_replication", "1", true},
		{"rds.logical_replication", "on", false},
		{"synchronous_commit", "remote_write", true},
		{"synchronous_commit", "perhaps", false},
		{"shared_preload_libraries", "pg_stat_statements, pg_cron", true},
		{"shared_preload_libraries", "evil", false},
		{"shared_buffers", "{DBInstanceClassMemory/32768}", true},
		{"search_path", "anything at all", true},
	} {
		p, found := findParameter("postgres15", c.name)
		require.True(t, found, c.name)
		require.Equal(t, c.want, p.accepts(c.value), "%s = %s", c.name, c.value)
	}
}

func TestServerSettings(t *testing.T) {
	require.Equal(t, map[string]string{"wal_level": "replica", "rds.logical_replication": "off"}, serverSettings("postgres15", nil))
	require.Equal(t, map[string]string{"wal_level": "logical", "rds.logical_replication": "on", "max_wal_senders": "50",
		"max_replication_slots": "20", "hot_standby_feedback": "off"},
		serverSettings("postgres15", map[string]string{"rds.logical_replication": "1", "max_wal_senders": "50",
			"hot_standby_feedback": "0", "rds.force_ssl": "1", "shared_buffers": "{DBInstanceClassMemory/32768}"}))
}
