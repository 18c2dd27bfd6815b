package pgoutput_test

import (
	"context"
	"encoding/hex"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/pgoutput"
	"timeferry/internal/testkit/pgtest"
)

var update = flag.Bool("update", false, "record testdata anew from the test server")

func TestMain(m *testing.M) { pgtest.Main(m) }

// recordSetup and recordChanges make one of everything that pgoutput says.
const recordSetup = `
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE plain (id int PRIMARY KEY, name varchar(40), feels mood, twice int GENERATED ALWAYS AS (id * 2) STORED, body text);
CREATE TABLE whole (a int, b numeric(10,2));
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE "Odd ""Name" (at timestamptz NOT NULL, "device ID" int NOT NULL);
CREATE UNIQUE INDEX odd_key ON "Odd ""Name" ("device ID", at);
ALTER TABLE "Odd ""Name" REPLICA IDENTITY USING INDEX odd_key;
ALTER TABLE plain ALTER body SET STORAGE EXTERNAL;
CREATE PUBLICATION recording FOR ALL TABLES`

var recordChanges = []string{
	`INSERT INTO plain (id, name, feels, body) VALUES (1, 'one', 'glad', repeat('0123456789', 1000)), (2, NULL, NULL, '')`,
	`UPDATE plain SET name = 'uno' WHERE id = 1`,
	`UPDATE plain SET id = 3 WHERE id = 2`,
	`DELETE FROM plain WHERE id = 3`,
	`BEGIN; INSERT INTO whole VALUES (1, 1.5), (NULL, NULL); UPDATE whole SET b = 2 WHERE a = 1; DELETE FROM whole WHERE a IS NULL; COMMIT`,
	`INSERT INTO "Odd ""Name" VALUES ('2026-01-02 03:04:05+00', 7); UPDATE "Odd ""Name" SET "device ID" = 8; DELETE FROM "Odd ""Name"`,
	`ALTER TABLE whole ADD COLUMN c text DEFAULT 'x'; INSERT INTO whole VALUES (2, 2, 'y')`,
	`TRUNCATE plain, whole RESTART IDENTITY CASCADE`,
	`TRUNCATE whole`,
	`SELECT pg_logical_emit_message(true, 'timeferry', 'marker')`,
	`SELECT pg_logical_emit_message(false, 'timeferry', 'loose')`,
	`SELECT pg_replication_origin_create('elsewhere')`,
	`SELECT pg_replication_origin_session_setup('elsewhere'); INSERT INTO plain (id) VALUES (9)`,
}

// want is recordChanges as it must come out. The server describes a relation again after each TRUNCATE.
var want = strings.Split(strings.TrimSpace(`
begin
relation public.plain d (id*:23/-1 name:1043/44 feels body:25/-1)
I plain new[1 one glad 012345678901234567890123…10000]
I plain new[2 <n> <n> ]
commit
begin
U plain new[1 uno glad <u>]
commit
begin
U plain old(key=true)[2 <n> <n> <n>] new[3 <n> <n> ]
commit
begin
D plain old(key=true)[3 <n> <n> <n>]
commit
begin
relation public.whole f (a*:23/-1 b*:1700/655366)
I whole new[1 1.50]
I whole new[<n> <n>]
U whole old(key=false)[1 1.50] new[1 2.00]
D whole old(key=false)[<n> <n>]
commit
begin
relation public.Odd "Name i (at*:1184/-1 device ID*:23/-1)
I Odd "Name new[2026-01-02 03:04:05+00 7]
U Odd "Name old(key=true)[2026-01-02 03:04:05+00 7] new[2026-01-02 03:04:05+00 8]
D Odd "Name old(key=true)[2026-01-02 03:04:05+00 8]
commit
begin
relation public.whole f (a*:23/-1 b*:1700/655366 c*:25/-1)
I whole new[2 2.00 y]
commit
begin
relation public.plain d (id*:23/-1 name:1043/44 feels body:25/-1)
relation public.whole f (a*:23/-1 b*:1700/655366 c*:25/-1)
truncate [plain whole] cascade=true restart=true
commit
begin
relation public.whole f (a*:23/-1 b*:1700/655366 c*:25/-1)
truncate [whole] cascade=false restart=false
commit
begin
message timeferry=marker transactional=true
commit
message timeferry=loose transactional=false
begin
relation public.plain d (id*:23/-1 name:1043/44 feels body:25/-1)
I plain new[9 <n> <n> <n>]
commit`), "\n")

const recording = "testdata/everything/messages.hex"

func TestDecodeEverythingFromServer(t *testing.T) {
	src := pgtest.Source(t)
	messages := record(t, src)
	if *update {
		var lines []string
		for _, m := range messages {
			lines = append(lines, hex.EncodeToString(m))
		}
		require.NoError(t, os.WriteFile(recording, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	}
	require.Equal(t, want, decodeAll(t, messages))
}

func record(t *testing.T, src *pgtest.Database) [][]byte {
	t.Helper()
	ctx := context.Background()
	src.Exec(t, recordSetup)
	const slot = "pgoutput_recording"
	src.Exec(t, `SELECT pg_create_logical_replication_slot('`+slot+`', 'pgoutput')`)
	conn := src.Conn(t)
	_, err := conn.Exec(ctx, `SET TimeZone = 'UTC'`)
	require.NoError(t, err)
	for _, sql := range recordChanges {
		_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
		require.NoError(t, err, sql)
	}
	rows, err := conn.Query(ctx, `SELECT data FROM pg_logical_slot_get_binary_changes('`+slot+`', NULL, NULL,
		'proto_version', '1', 'publication_names', 'recording', 'messages', 'true')`)
	require.NoError(t, err)
	defer rows.Close()
	var messages [][]byte
	for rows.Next() {
		var data []byte
		require.NoError(t, rows.Scan(&data))
		messages = append(messages, data)
	}
	require.NoError(t, rows.Err())
	return messages
}

func decodeAll(t *testing.T, messages [][]byte) []string {
	t.Helper()
	d := pgoutput.NewDecoder()
	var got []string
	var begun change.Event
	for _, m := range messages {
		ev, ok, err := d.Decode(m)
		require.NoError(t, err)
		final, isBegin := pgoutput.IsBegin(m)
		require.Equal(t, ok && ev.Kind == change.Begin, isBegin)
		end, isCommit := pgoutput.IsCommit(m)
		require.Equal(t, ok && ev.Kind == change.Commit, isCommit)
		if isBegin {
			require.Equal(t, ev.FinalLSN, final)
			require.InDelta(t, 2050, ev.CommitTime.Year(), 25, "a plausible clock")
			begun = ev
		}
		if isCommit {
			require.Equal(t, ev.EndLSN, end)
			require.Equal(t, begun.FinalLSN, ev.FinalLSN)
			require.Greater(t, ev.EndLSN, ev.FinalLSN)
			require.Equal(t, begun.CommitTime, ev.CommitTime)
		}
		at, loose := pgoutput.IsLooseMessage(m)
		require.Equal(t, ok && ev.Kind == change.Message && !ev.Transactional, loose)
		if loose {
			require.Equal(t, ev.MessageLSN, at)
		}
		if ok {
			got = append(got, describe(ev))
		}
	}
	return got
}
