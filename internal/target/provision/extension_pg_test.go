package provision_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/source/extract"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/pgtest"
)

// configSQL gives an extension of a stock server configuration tables, as extensions' scripts do.
const configSQL = `CREATE EXTENSION hstore;
	CREATE TABLE config (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word text, own bool, twice int GENERATED ALWAYS AS (length(word) * 2) STORED);
	CREATE TABLE strict (n int CHECK (n < 10)); CREATE TABLE closed (n int); CREATE TABLE unused (n int); CREATE SEQUENCE counter;
	ALTER EXTENSION hstore ADD TABLE config; ALTER EXTENSION hstore ADD TABLE strict; ALTER EXTENSION hstore ADD TABLE closed; ALTER EXTENSION hstore ADD TABLE unused;
	ALTER EXTENSION hstore ADD SEQUENCE counter;
	UPDATE pg_extension SET extconfig = ARRAY['config', 'strict', 'closed', 'unused', 'counter']::regclass[]::oid[], extcondition = ARRAY['WHERE own', '', '', '', '']
		WHERE extname = 'hstore';
	INSERT INTO config (word, own) VALUES ('given', false);`

func TestExtensionsRowsArriveAtTheSwitch(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	src.Exec(t, configSQL+`INSERT INTO config (word, own) VALUES ('it''s \ mine', true), (NULL, true); INSERT INTO closed VALUES (1);
		ALTER TABLE strict DROP CONSTRAINT strict_n_check; INSERT INTO strict VALUES (4711); SELECT setval('counter', 77, false);
		GRANT SELECT ON config, strict, unused, counter TO shopmaster`)
	dst.Exec(t, configSQL+"GRANT ALL ON config, strict, closed, unused, counter TO tsdbadmin")
	problems := mustDump(t, src, dst, extract.DumpOptions{Tables: contract.Tables{Include: []string{"public.nothing"}}})
	require.ElementsMatch(t, []string{"info extension-rows public.config", "info extension-rows public.strict", "warning extension-rows public.closed"}, codes(problems))
	conn := dst.MasterConn(t)
	_, err := provision.PreData(ctx, conn)
	require.NoError(t, err)
	require.Equal(t, "1", dst.QueryValue(t, "SELECT count(*) FROM config"), "nothing of the user's before the switch")
	found, err := provision.AtCutover(ctx, conn)
	require.NoError(t, err)
	require.Equal(t, []string{"warning extension-rows-refused EXTENSION DATA public.strict"}, codes(found))
	require.NotContains(t, found[0].Message, "4711")
	require.Equal(t, []string{"1|given|f|10", `2|it's \ mine|t|22`, "3|NULL|t|NULL"}, dst.Dump(t, "SELECT * FROM config ORDER BY id"))
	require.Equal(t, []string{"77|f"}, dst.Dump(t, "SELECT last_value, is_called FROM counter"))
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM strict"))

	_, problems, err = extract.Dump(ctx, extract.DumpOptions{Source: src.Master, Tables: contract.Tables{Include: []string{"*.*"}, Exclude: []string{"public.*"}}})
	require.NoError(t, err)
	require.Empty(t, codes(problems), "who excludes them does without")
}
