package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/spool"
)

// inspected runs the command.
func inspected(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = inspectSpool(args, &o, &e)
	return code, o.String(), e.String()
}

func TestSpoolInspectExitCodes(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "spool", "shop")
	s, err := spool.Open(dir, spool.Options{Compress: true})
	require.NoError(t, err)
	require.NoError(t, s.StartAt(77))
	begin := append([]byte{'B', 0, 0, 0, 0, 0, 0, 1, 0}, make([]byte, 12)...)
	commit := append([]byte{'C', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 50}, make([]byte, 8)...)
	for _, message := range [][]byte{begin, commit} {
		require.NoError(t, s.Append(spool.Record{LSN: 256, Kind: spool.Message, Data: message}))
	}
	require.NoError(t, s.Close())

	code, out, _ := inspected("inspect", "-v", dir)
	require.Zero(t, code)
	require.Contains(t, out, "0/100")
	require.Contains(t, out, "2000-01-01 00:00:00.000000")
	require.Contains(t, out, "1 segments, ")
	require.Contains(t, out, "1 transactions, 0 changes of 0 tables")
	require.NotContains(t, out, "DAMAGED")

	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	require.NoError(t, err)
	content, err := os.ReadFile(files[0])
	require.NoError(t, err)
	content[30] ^= 1
	require.NoError(t, os.WriteFile(files[0], content, 0o600))
	code, out, _ = inspected("inspect", dir)
	require.Equal(t, 1, code)
	require.Contains(t, out, "DAMAGED "+filepath.Base(files[0])+": at byte 0: ")

	code, _, errOut := inspected("inspect", root)
	require.Equal(t, 2, code)
	require.Contains(t, errOut, dir, "the spools below are named")
	for _, args := range [][]string{{}, {"prune", dir}, {"inspect"}, {"inspect", dir, dir}, {"inspect", "-x", dir}, {"inspect", filepath.Join(root, "nowhere")}} {
		code, _, errOut := inspected(args...)
		require.Equal(t, 2, code, args)
		require.NotEmpty(t, errOut)
	}
	code, _, errOut = inspected("inspect", "-h")
	require.Zero(t, code)
	require.Contains(t, errOut, "Exit codes")
}
