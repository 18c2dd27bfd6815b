package cutover

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFenceIsToldFromOthersSettings(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		before   *string
		previous string
	}{
		{nil, ""}, {text("on"), "on"}, {text("true"), "on"}, {text("TRUE"), "on"}, {text("t"), "on"}, {text("Yes"), "on"}, {text("1"), "on"},
		{text("off"), "off"}, {text("OFF"), "off"}, {text("of"), "off"}, {text("false"), "off"}, {text("no"), "off"}, {text("0"), "off"}, {text(""), "off"},
	} {
		_, ours := previousOf(c.before)
		require.False(t, ours)
		previous, spelling := fenceOver(c.before)
		require.Equal(t, c.previous, previous)
		require.True(t, isTrue(spelling))
		again, ours := previousOf(&spelling)
		require.True(t, ours)
		require.Equal(t, c.previous, again)
	}
}

func TestSessionReadsWell(t *testing.T) {
	require.Equal(t, "pid 7 of shop (puma) from 10.0.0.1", Session{PID: 7, User: "shop", Application: "puma", Address: "10.0.0.1"}.String())
	require.Equal(t, "pid 7 of shop", Session{PID: 7, User: "shop"}.String())
}
