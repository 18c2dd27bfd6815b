package slot_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/source/slot"
	"timeferry/internal/testkit/pgtest"
)

// From 17 on standbys may keep the permanent slot, and a second holder's temporary one is made as before.
func TestSlotOutlivesFailover(t *testing.T) {
	for major, want := range map[int]string{15: "-", 17: "true", 18: "true"} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			src := pgtest.SourceOf(t, major)
			o := slot.HoldOptions{Source: src.Master, Slot: "hold_failover", Plugin: "pgoutput", Fresh: true}
			first := mustHold(t, o)
			second := mustHold(t, o)
			require.Equal(t, want, src.QueryValue(t, `SELECT coalesce(to_jsonb(s) ->> 'failover', '-') FROM pg_replication_slots s WHERE slot_name = 'hold_failover'`))
			second.stop(t)
			first.stop(t)
		})
	}
}

func TestSlotOfAnotherPlugin(t *testing.T) {
	src := pgtest.Source(t)
	h := mustHold(t, slot.HoldOptions{Source: src.Master, Slot: "hold_wal2json", Plugin: "wal2json", Fresh: true})
	require.Equal(t, "wal2json", src.QueryValue(t, `SELECT plugin FROM pg_replication_slots WHERE slot_name = 'hold_wal2json'`))
	h.stop(t)
	err := slot.Hold(context.Background(), slot.HoldOptions{Source: src.Master, Slot: "hold_no_plugin", Plugin: "no_such_plugin", Fresh: true},
		func(slot.Held) error { return nil }, nil)
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, slot.CodeNoPlugin, f.Code, "%v", err)
	require.Equal(t, fault.Operator, f.Class)
	require.Equal(t, "0", src.QueryValue(t, `SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'hold_no_plugin'`))
}

// A server that has the plugin, and does not let slots have it, refuses with the state of a missing right. The target's server is of
// a minor release that does so.
func TestPluginThatIsNotListed(t *testing.T) {
	src := pgtest.OwnTarget(t, map[string]string{"wal_level": "logical"})
	if src.QueryValue(t, "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'") == "0" {
		require.False(t, pgtest.Required("pg"), "the target's server is older than 17.11")
		t.Skip("this server lets slots have any plugin")
	}
	src.Exec(t, "ALTER SYSTEM SET output_plugin_libraries = 'pgoutput', 'test_decoding'")
	src.Exec(t, "SELECT pg_reload_conf()")
	o := slot.HoldOptions{Source: src.Endpoint, Slot: "hold_unlisted", Plugin: "wal2json", Fresh: true}
	err := slot.Hold(t.Context(), o, func(slot.Held) error { return nil }, nil)
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, slot.CodePluginUnlisted, f.Code, "%v", err)
	require.NotContains(t, f.Hint, "REPLICATION")
	remedy, _, _ := strings.Cut(strings.TrimPrefix(f.Hint, "run as a superuser: "), ";")
	src.Exec(t, remedy)
	src.Exec(t, "SELECT pg_reload_conf()")
	require.Eventually(t, func() bool { return strings.Contains(src.QueryValue(t, "SHOW output_plugin_libraries"), "wal2json") }, time.Minute, 20*time.Millisecond)
	mustHold(t, o).stop(t)
}
