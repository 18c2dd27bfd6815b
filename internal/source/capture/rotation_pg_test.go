package capture_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/config"
	"timeferry/internal/contract"
	"timeferry/internal/spool"
	"timeferry/internal/testkit/pgtest"
)

// A rotated password is found when the connection must be made again: the receiver goes on.
func TestRotatedPassword(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, `CREATE ROLE capture_rotated LOGIN REPLICATION PASSWORD 'first secret'`)
	t.Cleanup(func() { src.Exec(t, `DROP ROLE capture_rotated`) })
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("first secret\n"), 0o600))
	e, err := config.ResolveLazily(contract.Endpoint{Host: src.Master.Host, Port: src.Master.Port, Database: src.Master.Database,
		User: "capture_rotated", Password: contract.SecretRef{File: file}, SSLMode: "disable"}, nil)
	require.NoError(t, err)

	s := newStream(t, src, "rotated")
	sp := s.open(t, spool.Options{})
	r := s.receiver(sp)
	r.Source = e
	run := start(t, r)
	src.Exec(t, `INSERT INTO events VALUES (1, 1, 'before')`)
	s.awaitAll(t, sp)

	src.Exec(t, `ALTER ROLE capture_rotated PASSWORD 'second secret'`)
	require.NoError(t, os.WriteFile(file, []byte("second secret\n"), 0o600))
	const pidSQL = `SELECT coalesce(max(active_pid), 0) FROM pg_replication_slots WHERE slot_name = 'capture_rotated'`
	before := src.QueryValue(t, pidSQL)
	src.Exec(t, `SELECT pg_terminate_backend($1::int)`, before)
	await(t, "another session streams", func() bool { now := src.QueryValue(t, pidSQL); return now != before && now != "0" })
	src.Exec(t, `INSERT INTO events VALUES (1, 2, 'after')`)
	s.awaitAll(t, sp)
	run.stop(t)
	require.Equal(t, 2, s.requireSame(t, sp))
}
