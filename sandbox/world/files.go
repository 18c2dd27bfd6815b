package world

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
)

// Spec is the order for the world's migration, in YAML.
func (w *World) Spec() string {
	ingress := ""
	if w.options.Gate {
		ingress = "  securityGroup: " + SecurityGroup + "\n"
	}
	return fmt.Sprintf(`# The order for the sandbox's migration. The passwords are in the worker's environment.
name: %s
source:
  rds: {instance: %s, region: %s}
  database: %s
  user: %s
  password: {env: SOURCE_PASSWORD}
  sslMode: verify-full
  sslRootCert: %s # of the sandbox's own authority; "rds" would be AWS's bundle
target:
  host: %s
  port: %d
  database: %s
  user: %s
  password: {env: TARGET_PASSWORD}
  sslMode: verify-full
  sslRootCert: %s
prepare:
  reboot: approve
%stables:
  include: ["public.*", "iot.*"]
hypertables:
  - {table: public.metrics, timeColumn: ts, chunkInterval: 1 day}
  - {table: iot.sensor_events, timeColumn: ts, chunkInterval: 7 days}
copy: {concurrency: 4, partSize: 32MiB}
cutover: {mode: signal, maxLag: 16MiB, verify: checksum}
`, Migration, Instance, Region, SourceDatabase, SourceUser, yamlText(w.Path(sourceRoot)), Host, w.Ports.Target, TargetDatabase, TargetUser,
		yamlText(w.Path(targetRoot)), ingress)
}

// yamlText quotes what may hold anything, as a path may.
func yamlText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// environment is what worker, starter, temporal and tctl need, in the order in which it is written down.
func (w *World) environment() [][2]string {
	temporal := Host + ":" + strconv.Itoa(w.Ports.Temporal)
	return [][2]string{
		{"TEMPORAL_ADDRESS", temporal},
		{"TEMPORAL_NAMESPACE", "default"},
		{"TEMPORAL_CONFIG_FILE", w.Path("temporal.toml")}, // empty, so that no profile of the user's is mixed in
		{"TEMPORAL_CLI_ADDRESS", temporal},                // tctl
		{"AWS_ENDPOINT_URL", fmt.Sprintf("http://%s:%d", Host, w.Ports.AWS)},
		{"AWS_REGION", Region},
		{"AWS_ACCESS_KEY_ID", "sandbox"},
		{"AWS_SECRET_ACCESS_KEY", "sandbox"},
		{"AWS_EC2_METADATA_SERVICE_ENDPOINT", fmt.Sprintf("http://%s:%d", Host, w.Ports.Metadata)},
		{"SOURCE_PASSWORD", w.sourcePassword()},
		{"TARGET_PASSWORD", w.passwords.target},
		{"PGSERVICEFILE", w.Path("pg_service.conf")},
	}
}

// Env is the environment of the world's programs: this process's own, without what belongs to another AWS account,
// Temporal server or PostgreSQL.
func (w *World) Env() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") && !strings.HasPrefix(e, "TEMPORAL_") && !strings.HasPrefix(e, "PG") {
			env = append(env, e)
		}
	}
	for _, e := range w.environment() {
		env = append(env, e[0]+"="+e[1])
	}
	return env
}

// writeFiles writes the spec in both forms, and what a shell needs to use this world.
func (w *World) writeFiles() error {
	spec := w.Spec()
	compact, err := yaml.YAMLToJSON([]byte(spec))
	if err != nil {
		return fmt.Errorf("turn the spec into JSON: %w", err)
	}
	if _, err := contract.ParseSpec(compact); err != nil {
		return fmt.Errorf("check the sandbox's spec: %w", err)
	}
	var object bytes.Buffer
	if err := json.Indent(&object, compact, "", "  "); err != nil {
		return err
	}
	bin, err := cacheBin()
	if err != nil {
		return err
	}
	env := &strings.Builder{}
	fmt.Fprintln(env, "# source this file: worker, starter, temporal, tctl and psql then use the sandbox.")
	for _, e := range w.environment() {
		fmt.Fprintf(env, "export %s='%s'\n", e[0], strings.ReplaceAll(e[1], "'", `'\''`))
	}
	fmt.Fprintf(env, "export PATH='%s':\"$PATH\":'%s'\n", w.Path("bin"), bin)
	services := &strings.Builder{}
	for _, s := range []struct {
		name string
		e    pgkit.Endpoint
	}{{"source", w.SourceMaster()}, {"app", w.SourceApp()}, {"target", w.TargetMaster()}} {
		fmt.Fprintf(services, "[%s]\nhost=%s\nport=%d\ndbname=%s\nuser=%s\npassword=%s\nsslmode=%s\nsslrootcert=%s\n\n",
			s.name, s.e.Host, s.e.Port, s.e.Database, s.e.User, s.e.Password, s.e.SSLMode, s.e.SSLRootCert)
	}
	return errors.Join(
		w.keepTargetPassword(),
		os.WriteFile(w.Path("shop.yaml"), []byte(spec), 0o644),
		os.WriteFile(w.Path("shop.json"), append(object.Bytes(), '\n'), 0o644),
		os.WriteFile(w.Path("env"), []byte(env.String()), 0o600),
		os.WriteFile(w.Path("pg_service.conf"), []byte(services.String()), 0o600))
}

// writePIDs lists the processes, for a person who wonders.
func (w *World) writePIDs() error {
	return os.WriteFile(w.Path("pids"), fmt.Appendf(nil, "sandbox %d\ntemporal %d\nworker %d\n", os.Getpid(), w.temporal.PID(), w.worker.PID()), 0o644)
}

// linkLog makes a server's log readable under the world's logs while it runs. The servers' directories are temporary
// ones: the servers' user may not be able to enter the repository.
func (w *World) linkLog(name string, server *pgserver.Server) error {
	return os.Symlink(server.LogFile(), w.Path("logs", name))
}

// keepLog replaces the link by a copy, before the server's directory goes.
func (w *World) keepLog(name string, server *pgserver.Server) error {
	text, err := os.ReadFile(server.LogFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil // stopped before
	}
	if err != nil {
		return err
	}
	path := w.Path("logs", name)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// statements cuts a script at the semicolons that end lines.
func statements(script string) []string {
	var list []string
	for s := range strings.SplitSeq(script, ";\n") {
		if s = strings.TrimSuffix(strings.TrimSpace(s), ";"); s != "" {
			list = append(list, s)
		}
	}
	return list
}
