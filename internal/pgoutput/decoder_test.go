package pgoutput_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgoutput"
)

func mustRecording(t testing.TB) [][]byte {
	t.Helper()
	text, err := os.ReadFile(recording)
	require.NoError(t, err)
	var messages [][]byte
	for line := range strings.Lines(string(text)) {
		m, err := hex.DecodeString(strings.TrimSpace(line))
		require.NoError(t, err)
		messages = append(messages, m)
	}
	return messages
}

func TestDecodeRecording(t *testing.T) {
	require.Equal(t, want, decodeAll(t, mustRecording(t)))
}

// Every message cut short anywhere, and every message with a byte too many, must be refused, and must not change what the
// decoder knows.
func TestDecodeRefusesCutMessages(t *testing.T) {
	d := pgoutput.NewDecoder()
	for _, m := range mustRecording(t) {
		for n := range m {
			_, _, err := d.Decode(m[:n])
			require.Equal(t, fault.Integrity, fault.Classify(err), "%x cut at %d", m, n)
		}
		_, _, err := d.Decode(append(m[:len(m):len(m)], 0))
		require.Equal(t, fault.Integrity, fault.Classify(err), "%x with one byte more", m)
		_, _, err = d.Decode(m)
		require.NoError(t, err)
	}
}

// A table may have no columns. Its rows are empty, which is not the same as none.
func TestDecodeRowWithoutColumns(t *testing.T) {
	d := pgoutput.NewDecoder()
	_, _, err := d.Decode([]byte("R" + "\x00\x00\x00\x05" + "s\x00t\x00n" + "\x00\x00"))
	require.NoError(t, err)
	ev, ok, err := d.Decode([]byte("I\x00\x00\x00\x05N\x00\x00"))
	require.NoError(t, err)
	require.True(t, ok)
	require.NotNil(t, ev.New)
	require.Empty(t, ev.New)
}

func TestDecodeErrors(t *testing.T) {
	relation := "R" + "\x00\x00\x00\x05" + "s\x00t\x00d" + "\x00\x01" + "\x01c\x00\x00\x00\x00\x17\xff\xff\xff\xff"
	cases := []struct {
		name, msg string
		class     fault.Class
	}{
		{"empty", "", fault.Integrity},
		{"unknown type", "Z\x00", fault.Integrity},
		{"streamed start, which was not asked for", "S\x00\x00\x00\x01\x01", fault.Integrity},
		{"relation never described", "I\x00\x00\x00\x06N\x00\x01n", fault.Bug},
		{"truncate of a relation never described", "T\x00\x00\x00\x01\x00\x00\x00\x00\x06", fault.Bug},
		{"more columns than the relation", "I\x00\x00\x00\x05N\x00\x02nn", fault.Integrity},
		{"fewer columns than the relation", "I\x00\x00\x00\x05N\x00\x00", fault.Integrity},
		{"unknown column state", "I\x00\x00\x00\x05N\x00\x01x", fault.Integrity},
		{"value longer than the message", "I\x00\x00\x00\x05N\x00\x01t\xff\xff\xff\xffa", fault.Integrity},
		{"insert with an old row", "I\x00\x00\x00\x05O\x00\x01n", fault.Integrity},
		{"update without a new row", "U\x00\x00\x00\x05K\x00\x01nK\x00\x01n", fault.Integrity},
		{"delete with a new row", "D\x00\x00\x00\x05N\x00\x01n", fault.Integrity},
		{"truncate of four thousand million", "T\xff\xff\xff\xff\x00\x00\x00\x00\x05", fault.Integrity},
		{"relation of many columns", "R\x00\x00\x00\x05s\x00t\x00d\xff\xff", fault.Integrity},
		{"name without end", "Y\x00\x00\x00\x05abc", fault.Integrity},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := pgoutput.NewDecoder()
			_, ok, err := d.Decode([]byte(relation))
			require.True(t, ok)
			require.NoError(t, err)
			ev, ok, err := d.Decode([]byte(c.msg))
			require.Equal(t, c.class, fault.Classify(err), "%v", err)
			require.False(t, ok)
			require.Equal(t, change.Event{}, ev)
		})
	}
}

func TestRelationIsKeptUntilItChanges(t *testing.T) {
	d := pgoutput.NewDecoder()
	message := func(name string) []byte { return []byte("R\x00\x00\x00\x05\x00" + name + "\x00d\x00\x00") }
	first, _, err := d.Decode(message("a"))
	require.NoError(t, err)
	require.Equal(t, "pg_catalog", first.Relation.Schema, "an empty namespace")
	again, _, err := d.Decode(message("a"))
	require.NoError(t, err)
	require.Same(t, first.Relation, again.Relation)
	changed, _, err := d.Decode(message("b"))
	require.NoError(t, err)
	require.NotSame(t, first.Relation, changed.Relation)
	require.Equal(t, "a", first.Relation.Name, "what was handed out does not change")
	require.Same(t, changed.Relation, d.Relation(5))
	require.Nil(t, d.Relation(6))
}

func TestDatumPointsIntoMessage(t *testing.T) {
	d := pgoutput.NewDecoder()
	_, _, err := d.Decode([]byte("R\x00\x00\x00\x05s\x00t\x00d\x00\x01\x01c\x00\x00\x00\x00\x17\xff\xff\xff\xff"))
	require.NoError(t, err)
	msg := []byte("I\x00\x00\x00\x05N\x00\x01t\x00\x00\x00\x02ab")
	ev, _, err := d.Decode(msg)
	require.NoError(t, err)
	require.Same(t, &msg[len(msg)-2], &ev.New[0].Bytes[0])
	require.Equal(t, 2, cap(ev.New[0].Bytes))
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _, err = d.Decode(msg) }))
	require.NoError(t, err)
}
