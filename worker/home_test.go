package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestARestartedWorkerKeepsItsIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := openHome(dir, "")
	require.NoError(t, err)
	require.Regexp(t, validHostID, first.hostID)
	require.NoError(t, first.Close())
	second, err := openHome(dir, "")
	require.NoError(t, err)
	require.Equal(t, first.hostID, second.hostID)
	require.NoError(t, second.Close())
}

func TestOneWorkerPerDataDirectory(t *testing.T) {
	dir := t.TempDir()
	first, err := openHome(dir, "one")
	require.NoError(t, err)
	_, err = openHome(dir, "one")
	require.ErrorContains(t, err, "another worker uses it")
	require.NoError(t, first.Close())
}

func TestHostIDsAreChecked(t *testing.T) {
	dir := t.TempDir()
	_, err := openHome(dir, "not a queue/name")
	require.ErrorContains(t, err, "choose 1 to 64 letters")
	first, err := openHome(dir, "mine")
	require.NoError(t, err)
	require.NoError(t, first.Close())
	_, err = openHome(dir, "other")
	require.ErrorContains(t, err, "the data directory belongs to host mine")
	_, err = openHome("", "")
	require.ErrorContains(t, err, "--data-dir")
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = openHome(file, "")
	require.ErrorContains(t, err, file)
}
