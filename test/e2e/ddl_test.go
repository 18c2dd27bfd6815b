package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/apply"
	"timeferry/internal/testkit/pgtest"
)

const readings = `CREATE TABLE readings (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, n int NOT NULL, gone text DEFAULT 'x', PRIMARY KEY (id, at));
	INSERT INTO readings (at, n) SELECT timestamptz '2024-01-01 00:00+00' + i * interval '1 hour', i FROM generate_series(1, 1000) i;
	CREATE TABLE other (n int PRIMARY KEY)`

// writeReadings writes numbers that an int has no room for once wide is set.
func writeReadings(t *testing.T, src *pgtest.Database, wide *atomic.Bool) (stop func()) {
	return keepWriting(t, src, func(ctx context.Context, conn *pgx.Conn, n int) error {
		sql := "BEGIN; INSERT INTO readings (at, n) VALUES (now(), %[1]d); INSERT INTO other VALUES (%[1]d); UPDATE readings SET n = n + 1 WHERE id = 1 + %[1]d %% 900; COMMIT"
		if wide.Load() {
			sql = "BEGIN; INSERT INTO readings (at, n, added) VALUES (now(), 5000000000 + %[1]d, %[1]d / 100.0); INSERT INTO other VALUES (%[1]d); UPDATE readings SET added = 1, n = n + 4000000000 WHERE id = 1 + %[1]d %% 900; COMMIT"
		}
		ctx = context.WithoutCancel(ctx)
		if _, err := conn.Exec(ctx, fmt.Sprintf(sql, n), pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		return pgkit.Sleep(ctx, 10*time.Millisecond)
	})
}

// alter changes the table and returns the last row of the old form: nobody else writes to the table meanwhile.
func alter(t *testing.T, src *pgtest.Database, ddl string) (last string) {
	t.Helper()
	err := pgx.BeginFunc(context.Background(), src.MasterConn(t), func(tx pgx.Tx) error {
		if _, err := tx.Exec(context.Background(), ddl); err != nil {
			return err
		}
		return tx.QueryRow(context.Background(), "SELECT max(id)::text FROM readings").Scan(&last)
	})
	require.NoError(t, err)
	return last
}

// TestStreamedTableIsAltered changes the form of a table that becomes a hypertable, while it is written to and the migration is in sync.
func TestStreamedTableIsAltered(t *testing.T) {
	for _, ddl := range []string{contract.DDLStop, contract.DDLFollow} {
		t.Run(ddl, func(t *testing.T) {
			t.Parallel()
			setup(t)
			src, dst := pgtest.Source(t), pgtest.Target(t)
			asMaster(t, src, readings)
			m := newWorld(t).newMigration("altered-"+ddl, src, dst, func(spec map[string]any) {
				spec["replication"] = map[string]any{"ddl": ddl}
				spec["hypertables"] = []any{map[string]any{"table": "public.readings", "timeColumn": "at"}}
			})
			var wide atomic.Bool
			stopWriting := writeReadings(t, src, &wide)
			m.start()
			m.await(contract.PhaseInSync)
			changes := []string{`column "n" changed its type from integer to bigint`, `column "added" (numeric(12,2)) was added`}
			if ddl == contract.DDLStop {
				last := alter(t, src, "ALTER TABLE readings ADD COLUMN added numeric(12,2), ALTER n TYPE bigint")
				wide.Store(true)
				m.resumeAltered(changes, last)
			} else {
				alter(t, src, "ALTER TABLE readings ADD COLUMN added numeric(12,2), ALTER n TYPE bigint, DROP COLUMN gone")
				wide.Store(true)
				changes = append(changes, `column "gone" was dropped`)
			}
			const arrived = "SELECT count(*) > 100 FROM readings WHERE n > 5000000000"
			require.Eventually(t, func() bool { return src.QueryValue(t, arrived) == "t" }, time.Minute, 50*time.Millisecond)
			m.awaitSwitch()
			stopWriting()
			m.order(contract.SignalComplete)
			r := m.report()
			require.Equal(t, contract.PhaseCompleted, r.Outcome)
			require.True(t, r.Verification.Equal)
			require.Equal(t, "t", dst.QueryValue(t, arrived))
			m.requireEqual()
			m.requireNothingLeft()
			require.Zero(t, r.Schema.Unexpected)
			for _, p := range r.Problems {
				require.Equal(t, contract.Info, p.Severity, "%+v", p)
			}
			if ddl == contract.DDLStop {
				require.Empty(t, r.SchemaChanges)
				return
			}
			var followed []string
			for _, c := range r.SchemaChanges {
				require.Equal(t, "public.readings", c.Table)
				require.True(t, strings.HasPrefix(c.Statement, `ALTER TABLE "public"."readings" `), c.Statement)
				require.NotZero(t, c.LSN)
				followed = append(followed, c.What)
			}
			require.ElementsMatch(t, changes, followed)
		})
	}
}

// resumeAltered wants the stream to have stopped behind the last row of the old form, runs what it asks for, and resumes.
func (m *migration) resumeAltered(changes []string, last string) {
	m.t.Helper()
	s := m.awaitProblem(apply.CodeSchemaChanged)
	require.Contains(m.t, s.Awaiting, contract.SignalResume)
	for _, p := range s.Problems {
		if p.Code != apply.CodeSchemaChanged {
			continue
		}
		require.Equal(m.t, "public.readings", p.Object)
		for _, change := range changes {
			require.Contains(m.t, p.Message, change)
		}
		require.Equal(m.t, last, m.dst.QueryValue(m.t, "SELECT max(id) FROM readings"), "all of the old form and nothing of the new one")
		require.Equal(m.t, m.src.QueryValue(m.t, "SELECT count(*) FROM readings WHERE id <= "+last), m.dst.QueryValue(m.t, "SELECT count(*) FROM readings"))
		statement, found := strings.CutPrefix(p.Remedy, "run on the target: ")
		require.True(m.t, found, p.Remedy)
		statement, _, found = strings.Cut(statement, "; then resume")
		require.True(m.t, found, p.Remedy)
		asMaster(m.t, m.dst, statement)
	}
	m.order(contract.SignalResume)
}
