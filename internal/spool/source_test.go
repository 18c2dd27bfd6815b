package spool_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/spool"
)

// The note outlives the spool's owner, and a half-written one does not show.
func TestSourceNote(t *testing.T) {
	dir := t.TempDir()
	s, err := spool.Open(dir, spool.Options{})
	require.NoError(t, err)
	note, err := s.Source()
	require.NoError(t, err)
	require.Empty(t, note)
	require.NoError(t, s.SetSource("first"))
	require.NoError(t, s.SetSource("second"))
	require.NoError(t, s.Close())
	require.Error(t, s.SetSource("third"), "closed")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "source.new"), []byte("tor"), 0o600)) // a crash before the rename
	s, err = spool.Open(dir, spool.Options{})
	require.NoError(t, err)
	note, err = s.Source()
	require.NoError(t, err)
	require.Equal(t, "second", note)
	require.NoError(t, s.Close())
}
