package contract_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
)

const smallest = `{"name": "shop",
	"source": {"host": "db", "database": "shop", "user": "postgres", "password": {"env": "SOURCE_PASSWORD"}},
	"target": {"host": "ts", "database": "tsdb", "user": "tsdbadmin", "password": {"file": "/run/secrets/target"}}}`

func TestParseSpecFillsInTheDefaults(t *testing.T) {
	s, err := contract.ParseSpec([]byte(smallest))
	require.NoError(t, err)
	require.Equal(t, 5432, s.Source.Port)
	require.Equal(t, "prefer", s.Target.SSLMode)
	require.Equal(t, contract.Prepare{Reboot: "approve", Machine: "warn"}, s.Prepare)
	require.Equal(t, contract.Tables{Include: []string{"*.*"}}, s.Tables)
	require.Equal(t, "full", s.ReplicaIdentity.Fallback)
	require.Equal(t, []string{"migrate", "migrate"}, []string{s.Roles, s.Privileges})
	require.Equal(t, contract.Copy{Concurrency: 4, PartSize: "1GiB", IndexJobs: 2, Toast: contract.ToastAuto}, s.Copy)
	require.Equal(t, contract.ReplicationOption{Plugin: "pgoutput", Origin: "any", Buffer: "disk", DDL: "stop", Compress: "none", Lanes: 1}, s.Replication)
	require.Equal(t, contract.Cutover{Mode: "signal", MaxLag: "16MiB", Fence: "readOnly", Verify: "checksum", MaxDowntime: "60s"}, s.Cutover)
	require.EqualValues(t, 1<<30, s.Copy.PartBytes())
	require.EqualValues(t, 16<<20, s.Cutover.MaxLagBytes())
}

func TestParseSpecNamesTheParameterGroupAfterTheInstance(t *testing.T) {
	s, err := contract.ParseSpec(patched(t, "source.rds", map[string]any{"instance": "shop-prod"}))
	require.NoError(t, err)
	require.Equal(t, "shop-prod-timeferry", s.Prepare.ParameterGroup)
}

// patched is the smallest spec with one value replaced; nil removes the key.
func patched(t *testing.T, path string, value any) []byte {
	t.Helper()
	var tree map[string]any
	require.NoError(t, json.Unmarshal([]byte(smallest), &tree))
	node, keys := tree, strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		child, ok := node[key].(map[string]any)
		if !ok {
			child = map[string]any{}
			node[key] = child
		}
		node = child
	}
	if last := keys[len(keys)-1]; value == nil {
		delete(node, last)
	} else {
		node[last] = value
	}
	raw, err := json.Marshal(tree)
	require.NoError(t, err)
	return raw
}

func hypertable(fields map[string]any) []any {
	h := map[string]any{"table": "public.metrics", "timeColumn": "ts"}
	for k, v := range fields {
		h[k] = v
	}
	return []any{h}
}

func TestParseSpecRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		path    string
		value   any
		subject string
		message string
	}{
		{"no name", "name", nil, "name", `"" cannot name a migration`},
		{"capitals in the name", "name", "Shop", "name", `"Shop" cannot name a migration`},
		{"underscore in the name", "name", "a_b", "name", `"a_b" cannot name a migration`},
		{"long name", "name", strings.Repeat("a", 41), "name", "cannot name a migration"},
		{"name of a second publication", "name", "shop-ins", "name", "does not end in -ins"},
		{"name of a way back", "name", "shop-back", "name", "does not end in -ins or -back"},
		{"verify sessions", "verify", map[string]any{"concurrency": 1000}, "verify.concurrency", "1000 is out of range"},
		{"verify chunk", "verify", map[string]any{"chunkSize": "1kB"}, "verify.chunkSize", `"1kB" is no such size`},
		{"verify rate", "verify", map[string]any{"maxBytesPerSecond": "fast"}, "verify.maxBytesPerSecond", `"fast" is no such size`},
		{"unknown key", "surprise", true, "spec", `unknown key "surprise"`},
		{"unknown key below", "copy.speed", 9, "spec", `unknown key "speed"`},
		{"text for a number", "copy.concurrency", "four", "copy.concurrency", "it must be a whole number, not text"},
		{"fraction for a number", "copy.concurrency", 4.5, "copy.concurrency", "it must be a whole number, not 4.5"},
		{"number for text", "source.database", 4, "source.database", "it must be text, not a number"},
		{"text for a truth", "hypertableGate", "yes", "hypertableGate", "it must be true or false, not text"},
		{"text for a list", "tables.include", "public.*", "tables.include", "it must be a list, not text"},
		{"list for an object", "copy", []any{1}, "copy", "it must be an object, not a list"},
		{"instance and cluster", "source.rds", map[string]any{"instance": "a", "cluster": "b"}, "source.rds", "exactly one of the two is needed"},
		{"neither instance nor cluster", "source.rds", map[string]any{"region": "us-west-2"}, "source.rds", "exactly one of the two is needed"},
		{"no source host", "source.host", nil, "source.host", "it is missing"},
		{"no target host", "target.host", nil, "target.host", "it is missing"},
		{"iam without rds", "source.password", map[string]any{"iam": true}, "source.password", "rdsManaged and iam need it"},
		{"rdsManaged without rds", "source.password", map[string]any{"rdsManaged": true}, "source.password", "rdsManaged and iam need it"},
		{"iam on the target", "target.password", map[string]any{"iam": true}, "target.password", "for the source only"},
		{"no source database", "source.database", nil, "source.database", "it is missing"},
		{"no target user", "target.user", nil, "target.user", "it is missing"},
		{"port", "source.port", 70000, "source.port", "70000 is not a port"},
		{"negative port", "target.port", -1, "target.port", "-1 is not a port"},
		{"ssl mode", "target.sslMode", "maybe", "target.sslMode", `"maybe" is not known (choose one of disable, allow, prefer, require, verify-ca, verify-full)`},
		{"no password reference", "source.password", nil, "source.password", "none is set"},
		{"two password references", "target.password", map[string]any{"env": "A", "file": "b"}, "target.password", "2 are set"},
		{"reboot", "prepare.reboot", "now", "prepare.reboot", "choose one of approve, auto, never"},
		{"fallback", "replicaIdentity.fallback", "guess", "replicaIdentity.fallback", "choose one of full, fail, skip"},
		{"roles", "roles", "yes", "roles", "choose one of migrate, skip"},
		{"privileges", "privileges", "yes", "privileges", "choose one of migrate, skip"},
		{"plugin", "replication.plugin", "test_decoding", "replication.plugin", "choose one of pgoutput, wal2json"},
		{"origin", "replication.origin", "local", "replication.origin", "choose one of any, none"},
		{"buffer", "replication.buffer", "memory", "replication.buffer", "choose one of disk, source"},
		{"cutover mode", "cutover.mode", "never", "cutover.mode", "choose one of signal, auto"},
		{"fence", "cutover.fence", "iron", "cutover.fence", "choose one of readOnly, none"},
		{"verify", "cutover.verify", "glance", "cutover.verify", "choose one of checksum, count, none"},
		{"machine", "prepare.machine", "ignore", "prepare.machine", "choose one of warn, require, skip"},
		{"window without auto", "prepare", map[string]any{"window": "Sun 03:00-04:00 UTC"}, "prepare.window", "prepare.reboot is approve"},
		{"window without rds", "prepare", map[string]any{"window": "Sun 03:00-04:00 UTC", "reboot": "auto"}, "prepare.window", "a source on RDS"},
		{"security group without rds", "prepare.securityGroup", "sg-0abc", "prepare.securityGroup", "a source on RDS"},
		{"worker range alone", "prepare.workerCIDR", "10.0.0.5/32", "prepare.workerCIDR", "without one"},
		{"compression", "replication.compress", "gzip", "replication.compress", "choose one of none, zstd"},
		{"toast", "copy.toast", "zstd", "copy.toast", "choose one of auto, server"},
		{"lanes", "replication.lanes", 17, "replication.lanes", "17 is out of range"},
		{"negative lanes", "replication.lanes", -1, "replication.lanes", "-1 is out of range"},
		{"reverse without a fence", "cutover", map[string]any{"reverse": true, "fence": "none"}, "cutover.reverse", "both sides would take writes"},
		{"part size", "copy.partSize", "big", "copy.partSize", `"big" is not a size`},
		{"part size zero", "copy.partSize", "0", "copy.partSize", `"0" is not a size`},
		{"lag", "cutover.maxLag", "16XB", "cutover.maxLag", `"16XB" is not a size`},
		{"concurrency", "copy.concurrency", 257, "copy.concurrency", "257 is out of range"},
		{"negative concurrency", "copy.concurrency", -1, "copy.concurrency", "-1 is out of range"},
		{"index jobs", "copy.indexJobs", 65, "copy.indexJobs", "65 is out of range"},
		{"pattern without schema", "tables.include", []any{"metrics"}, "tables", `"metrics" is not a pattern`},
		{"pattern without a schema", "tables.excludeData", []any{"audit"}, "tables", `"audit" is not a pattern`},
		{"pattern with an empty part", "tables.exclude", []any{"public."}, "tables", `"public." is not a pattern`},
		{"pattern with two dots", "tables.include", []any{"a.b.c"}, "tables", "is not a pattern"},
		{"pattern with an open quote", "tables.include", []any{`public."a`}, "tables", "is not a pattern"},
		{"hypertables by themselves", "hypertables", "auto", "hypertables", "starter preflight --suggest proposes some"},
		{"hypertable name", "hypertables", hypertable(map[string]any{"table": "a.b.c"}), "hypertables[0].table", `"a.b.c" is not a table name`},
		{"hypertable twice", "hypertables", append(hypertable(nil), hypertable(map[string]any{"table": "METRICS"})...), "hypertables[1].table", "public.metrics is listed twice"},
		{"no time column", "hypertables", hypertable(map[string]any{"timeColumn": ""}), "hypertables[0].timeColumn", "it is missing for public.metrics"},
		{"space column alone", "hypertables", hypertable(map[string]any{"spaceColumn": "d"}), "hypertables[0]", "only one is set for public.metrics"},
		{"space partitions alone", "hypertables", hypertable(map[string]any{"spacePartitions": 4}), "hypertables[0]", "only one is set for public.metrics"},
		{"space column is the time column", "hypertables", hypertable(map[string]any{"spaceColumn": "ts", "spacePartitions": 4}), "hypertables[0].spaceColumn", "it is the time column"},
		{"too many space partitions", "hypertables", hypertable(map[string]any{"spaceColumn": "d", "spacePartitions": 40000}), "hypertables[0].spacePartitions", "40000 is out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := contract.ParseSpec(patched(t, c.path, c.value))
			requireRefusal(t, err, contract.CodeBadSpec, c.subject)
			require.ErrorContains(t, err, c.message)
		})
	}
}

func requireRefusal(t *testing.T, err error, code, subject string) {
	t.Helper()
	var own *fault.Error
	require.ErrorAs(t, err, &own)
	require.Equal(t, fault.Operator, own.Class)
	require.Equal(t, code, own.Code)
	require.Equal(t, subject, own.Subject)
	require.NotEmpty(t, own.Hint, "each refusal says what to do")
	require.NotContains(t, err.Error(), "\n")
}

// A range that lets the whole world in, or nobody, never gets as far as the API.
func TestParseSpecRefusesRangesOfWorkers(t *testing.T) {
	for _, cidr := range []string{"0.0.0.0/0", "::/0", "10.0.0.5", "10.0.0.0/33", "worker"} {
		raw := strings.Replace(string(patched(t, "source.rds", map[string]any{"instance": "a"})), "{",
			`{"prepare": {"securityGroup": "sg-0abc", "workerCIDR": "`+cidr+`"}, `, 1)
		_, err := contract.ParseSpec([]byte(raw))
		requireRefusal(t, err, contract.CodeBadSpec, "prepare.workerCIDR")
		require.ErrorContains(t, err, "may be let in")
	}
}

func TestParseSpecRefusesWhatIsNoObject(t *testing.T) {
	for raw, message := range map[string]string{
		``:                  "it is not valid JSON",
		`{"name": `:         "it is not valid JSON",
		`[]`:                "it must be one JSON object",
		`"postgres://a"`:    "it must be one JSON object",
		smallest + smallest: "it is not valid JSON",
		smallest + ` true`:  "it is not valid JSON",
	} {
		_, err := contract.ParseSpec([]byte(raw))
		requireRefusal(t, err, contract.CodeBadSpec, "spec")
		require.ErrorContains(t, err, message)
	}
}

func TestParseSpecRefusesPasswordsWithoutRepeatingThem(t *testing.T) {
	const secret = "hunter2xyz"
	for _, c := range []struct {
		name    string
		path    string
		value   any
		subject string
	}{
		{"as text", "source.password", secret, "source.password"},
		{"on the target", "target.password", secret, "target.password"},
		{"as a list", "target.password", []any{secret}, "target.password"},
		{"under an unknown key", "source.dbPassword", secret, "source.dbPassword"},
		{"in a URL", "source.host", "postgres://me:" + secret + "@db/shop", "source.host"},
		{"in a URL in capitals", "source.host", "POSTGRES://me:" + secret + "@db/shop", "source.host"},
		{"in a URL's query", "source.host", "postgres://db/shop?password=" + secret, "source.host"},
		{"in libpq's words", "source.host", "host=db password=" + secret, "source.host"},
		{"in a list", "tables.include", []any{"public.*", "https://a:" + secret + "@b"}, "tables.include[1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := contract.ParseSpec(patched(t, c.path, c.value))
			requireRefusal(t, err, contract.CodePasswordInSpec, c.subject)
			require.NotContains(t, err.Error(), secret)
		})
	}
	_, err := contract.ParseSpec(patched(t, "source.password", 12345678901))
	requireRefusal(t, err, contract.CodePasswordInSpec, "source.password")
	require.NotContains(t, err.Error(), "12345678901")
}

func TestParseSpecTakesParametersThatSpeakOfPasswords(t *testing.T) {
	s, err := contract.ParseSpec(patched(t, "prepare.parameters", map[string]any{"password_encryption": "scram-sha-256"}))
	require.NoError(t, err)
	require.Equal(t, "scram-sha-256", s.Prepare.Parameters["password_encryption"])
}

func TestParsedSpecIsAFixedPoint(t *testing.T) {
	s, err := contract.ParseSpec([]byte(smallest))
	require.NoError(t, err)
	raw, err := json.Marshal(s)
	require.NoError(t, err)
	again, err := contract.ParseSpec(raw)
	require.NoError(t, err)
	require.Equal(t, s, again)
}

func TestTablesIncludes(t *testing.T) {
	for _, c := range []struct {
		include, exclude string
		schema, name     string
		want             bool
	}{
		{"*.*", "", "public", "a", true},
		{"*.*", "", "public", "a/b", true},
		{"*.*", "", "my.schema", "a\nb", true},
		{"public.*", "", "other", "a", false},
		{"public.*", "public.audit_*", "public", "audit_log", false},
		{"public.*", "public.audit_*", "public", "audit", true},
		{"public.a?c", "", "public", "abc", true},
		{"public.a?c", "", "public", "ac", false},
		{"public.a[b]", "", "public", "ab", false},
		{"public.a[b]", "", "public", "a[b]", true},
		{"public.Users", "", "public", "users", false},
		{`public."Users"`, "", "public", "Users", true},
		{`"my.schema"."a*"`, "", "my.schema", "a*", true},
		{`"my.schema"."a*"`, "", "my.schema", "ab", false},
		{`public."say ""x"""`, "", "public", `say "x"`, true},
		{"pub*.a", "", "public", "ab", false},
	} {
		scope := contract.Tables{Include: []string{c.include}}
		if c.exclude != "" {
			scope.Exclude = []string{c.exclude}
		}
		require.Equal(t, c.want, scope.Includes(ident.Table{Schema: c.schema, Name: c.name}), "%+v", c)
	}
	scope := contract.Tables{Include: []string{"*.*"}, Exclude: []string{"public.old_*"}, ExcludeData: []string{"public.audit_*", "public.old_*"}}
	for name, want := range map[string][2]bool{"orders": {true, true}, "audit_log": {true, false}, "old_log": {false, false}} {
		table := ident.Table{Schema: "public", Name: name}
		require.Equal(t, want, [2]bool{scope.Includes(table), scope.Moves(table)}, name)
	}
	require.False(t, contract.Tables{}.Includes(ident.Table{Schema: "public", Name: "a"}), "without defaults nothing is in scope")
}

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]int64{
		"1000": 1000, "5B": 5, "500kB": 500_000, "16MiB": 16 << 20, "1 GiB": 1 << 30, " 2TB ": 2e12, "0": 0,
	} {
		got, err := contract.ParseBytes(in)
		require.NoError(t, err)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"", "MiB", "1.5GiB", "-1", "-1MiB", "1XB", "9999999TiB", "1 GiB GiB", "12k"} {
		_, err := contract.ParseBytes(in)
		require.ErrorContains(t, err, "parse size", "%q", in)
	}
}

func TestNames(t *testing.T) {
	require.Equal(t, "timeferry-shop-eu", contract.WorkflowID("shop-eu"))
	require.Equal(t, "timeferry_shop_eu", contract.SlotName("shop-eu"))
	require.Equal(t, "timeferry_shop_eu", contract.PublicationName("shop-eu"))
	require.LessOrEqual(t, len(contract.SlotName(strings.Repeat("a", 40))), 63)
	require.Equal(t, "timeferry-host-h1", contract.HostQueue("h1"))
}

func TestWithoutASpoolNothingIsCompressed(t *testing.T) {
	raw, err := json.Marshal(fullest)
	require.NoError(t, err)
	for _, c := range []struct{ from, to, wrong string }{
		{`"cutover":`, `"cutover":`, ""},
		{`"buffer":"disk","compress":"zstd"`, `"buffer":"source"`, ""},
		{`"buffer":"disk"`, `"buffer":"source"`, "replication.compress"},
	} {
		changed := strings.Replace(string(raw), c.from, c.to, 1)
		_, err := contract.ParseSpec([]byte(changed))
		if c.wrong == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.wrong)
	}
}

func TestVerifyOption(t *testing.T) {
	var none *contract.VerifyOption
	require.Equal(t, 4, none.Sessions())
	require.EqualValues(t, 256<<20, none.ChunkBytes())
	require.Zero(t, none.RateBytes())
	given := &contract.VerifyOption{Concurrency: 8, ChunkSize: "1GiB", MaxBytesPerSecond: "50MiB"}
	require.Equal(t, 8, given.Sessions())
	require.EqualValues(t, 1<<30, given.ChunkBytes())
	require.EqualValues(t, 50<<20, given.RateBytes())
	require.Contains(t, contract.Note{Tables: []string{"public.orders", "orders"}}.VerifyProblem(), "orders")
	require.Empty(t, contract.Note{Tables: []string{"public.*"}}.VerifyProblem())
}
