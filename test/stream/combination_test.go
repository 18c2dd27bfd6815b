package stream

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"timeferry/internal/testkit/pgtest"
)

// combination is how a migration is set: what its spec says of replication.
type combination struct {
	Plugin   string // pgoutput, also when empty, or wal2json
	Compress bool   // the spool
	Direct   bool   // leaves the spool out: buffer: source
	Lanes    int    // over which even small batches are applied; 0: one
	Follow   bool   // ddl: follow
}

func (c combination) String() string {
	return fmt.Sprintf("plugin %q, compressed %t, buffer on the source %t, %d lanes, follows DDL %t", c.Plugin, c.Compress, c.Direct, c.Lanes, c.Follow)
}

const pgoutput, wal2json = "pgoutput", "wal2json"

// jsonSource is a server whose wal2json tells NaN from NULL, as one of the workload's tables needs: the one that targets are of has
// it, and without the extension it is a source like any other.
func jsonSource(t testing.TB, settings map[string]string) *pgtest.Database {
	t.Helper()
	d := pgtest.OwnTarget(t, settings)
	d.TrustWal2json(t)
	d.Exec(t, "DROP EXTENSION timescaledb")
	return d
}

// combine draws a combination; pick gives a number from 0 to below n, and 0 is what is simplest.
func combine(pick func(n int, what string) int) combination {
	return combination{
		Plugin:   []string{pgoutput, wal2json}[pick(2, "plugin")],
		Compress: pick(2, "compressed") == 1,
		Direct:   pick(2, "buffer on the source") == 1,
		Lanes:    []int{1, 2, 3, 5}[pick(4, "lanes")],
		Follow:   pick(2, "follow DDL") == 1,
	}
}

// spares is true of statements that wal2json is known to stop at: what it says of a row whose replica identity was another one then is
// not enough (docs/decisions/0021-wal2json-is-translated.md).
func (c combination) spares(sql string) bool {
	return c.Plugin == wal2json && strings.Contains(sql, "REPLICA IDENTITY")
}

// by makes a generator what combine draws from.
func by(random *rand.Rand) func(int, string) int {
	return func(n int, _ string) int { return random.IntN(n) }
}
