package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
	"timeferry/internal/testkit/pgtest"
	"timeferry/sandbox/shop"
)

// TestSource runs the source's script as the image does, then seed, and the application for a moment.
func TestSource(t *testing.T) {
	server := mustStart(t, pgserver.StartSource, map[string]string{"wal_level": "replica"})
	mustRunScript(t, server, "source.sql")
	owner := pgkit.Endpoint{Host: server.Host(), Port: server.Port(), Database: "shop", User: "shopadmin", Password: "it's secret", SSLMode: "disable"}

	require.Equal(t, "f t t t t", query(t, owner, `SELECT concat_ws(' ', rolsuper, rolreplication, pg_has_role('rds_superuser', 'member'),
		pg_has_role('rds_replication', 'member'), pg_has_role(datdba, 'member'))
		FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()`))
	require.Equal(t, "replica", query(t, owner, "SELECT set_config('session_replication_role', 'replica', false)"))
	require.Equal(t, "replica", query(t, owner, "SHOW wal_level"))

	setShopEnv(t, server)
	out := &bytes.Buffer{}
	require.NoError(t, run(t.Context(), []string{"seed", "--scale", "0.01"}, out))
	require.NoError(t, run(t.Context(), []string{"seed", "--scale", "0.01"}, out))
	require.Contains(t, out.String(), "there already")
	require.Equal(t, "20000", query(t, owner, "SELECT count(*) FROM metrics"))

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"load", "--rate", "200"}, io.Discard) }()
	require.Eventually(t, func() bool { return query(t, owner, "SELECT count(*) > 20 FROM load_journal") == "true" }, 30*time.Second, 50*time.Millisecond)
	stop()
	require.NoError(t, <-ended)

	query(t, owner, "WITH gone AS (DELETE FROM metrics RETURNING 1) SELECT count(*) FROM gone")
	require.ErrorContains(t, run(t.Context(), []string{"seed"}, io.Discard), "down --volumes")
}

func TestTarget(t *testing.T) {
	server := mustStart(t, pgserver.StartTarget, nil)
	mustRunScript(t, server, "target.sql")
	admin := pgkit.Endpoint{Host: server.Host(), Port: server.Port(), Database: "tsdb", User: "tsdbadmin", Password: "it's secret", SSLMode: "disable"}
	require.Equal(t, "f t timescaledb", query(t, admin, `SELECT concat_ws(' ', rolsuper, rolcreaterole, (SELECT extname FROM pg_extension WHERE extname = 'timescaledb'))
		FROM pg_roles WHERE rolname = current_user`))
	require.Equal(t, "replica", query(t, admin, "SELECT set_config('session_replication_role', 'replica', false)"))
}

func TestSpecIsGood(t *testing.T) {
	content, err := os.ReadFile("shop.yaml")
	require.NoError(t, err)
	raw, err := yaml.YAMLToJSON(content)
	require.NoError(t, err)
	spec, err := contract.ParseSpec(raw)
	require.NoError(t, err)
	require.Equal(t, "shop-prod", spec.Source.RDS.Instance)
	require.Len(t, spec.Hypertables, 2)
}

func TestBadUsage(t *testing.T) {
	require.ErrorContains(t, run(t.Context(), nil, io.Discard), "seed or load")
	require.ErrorContains(t, run(t.Context(), []string{"seed"}, io.Discard), "PGPORT")
	t.Setenv("PGPORT", "5432")
	require.ErrorContains(t, run(t.Context(), []string{"sell"}, io.Discard), `"sell"`)
}

func mustStart(t *testing.T, start func(context.Context, pgserver.Options) (*pgserver.Server, error), settings map[string]string) *pgserver.Server {
	t.Helper()
	if _, err := exec.LookPath("psql"); err != nil {
		require.False(t, pgtest.Required("pg"), "psql is not installed")
		t.Skip("psql is not installed")
	}
	server, err := start(t.Context(), pgserver.Options{Settings: settings})
	if errors.Is(err, pgserver.ErrUnavailable) && !pgtest.Required("pg") {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	return server
}

// mustRunScript runs a script with psql, as the images' entrypoint does.
func mustRunScript(t *testing.T, server *pgserver.Server, script string) {
	t.Helper()
	superuser := server.Superuser("postgres")
	cmd := exec.CommandContext(t.Context(), "psql", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "--no-password", "-f", script)
	cmd.Env = append(os.Environ(), "PGHOST="+superuser.Host, "PGPORT="+strconv.Itoa(superuser.Port), "PGUSER="+superuser.User, "PGDATABASE=postgres",
		"PGPASSWORD="+superuser.Password, "MASTER_PASSWORD=it's secret")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), "secret")
}

func setShopEnv(t *testing.T, server *pgserver.Server) {
	t.Helper()
	for name, value := range map[string]string{"PGHOST": server.Host(), "PGPORT": strconv.Itoa(server.Port()), "PGDATABASE": "shop", "PGUSER": "shopadmin",
		"PGPASSWORD": "it's secret", "APP_PASSWORD": "application of " + shop.AppRole} {
		t.Setenv(name, value)
	}
}

func query(t *testing.T, e pgkit.Endpoint, sql string) string {
	t.Helper()
	conn, err := pgkit.Dial(t.Context(), e, "test")
	require.NoError(t, err)
	defer conn.Close(context.Background())
	var value any
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&value))
	return strings.TrimSpace(toText(value))
}

func toText(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return "neither text, truth nor number"
}
