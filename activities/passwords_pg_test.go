package activities_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"timeferry/activities"
	"timeferry/internal/awssim"
	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/pgtest"
	"timeferry/workflows"
)

// payloads keeps all that goes into a history.
type payloads struct {
	converter.DataConverter
	mu   sync.Mutex
	seen bytes.Buffer
}

func (p *payloads) keep(list ...*commonpb.Payload) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range list {
		p.seen.Write(one.GetData())
		p.seen.WriteByte('\n')
	}
}

func (p *payloads) ToPayload(value any) (*commonpb.Payload, error) {
	out, err := p.DataConverter.ToPayload(value)
	p.keep(out)
	return out, err
}

func (p *payloads) ToPayloads(values ...any) (*commonpb.Payloads, error) {
	out, err := p.DataConverter.ToPayloads(values...)
	p.keep(out.GetPayloads()...)
	return out, err
}

func (p *payloads) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.String()
}

// runSetPasswords runs the whole workflow with the real activity; what went through it must not hold a secret.
func runSetPasswords(t *testing.T, spec contract.Spec, order contract.PasswordsOrder, secrets ...string) (out contract.PasswordsResult, err error) {
	t.Helper()
	raw, err := json.Marshal(spec)
	require.NoError(t, err)
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(time.Minute)
	history := &payloads{DataConverter: converter.GetDefaultDataConverter()}
	env.SetDataConverter(history)
	env.RegisterWorkflowWithOptions(workflows.SetPasswords, workflow.RegisterOptions{Name: contract.SetPasswordsType})
	env.RegisterActivity(&activities.Activities{})
	env.ExecuteWorkflow(contract.SetPasswordsType, contract.PasswordsInput{Spec: raw, PasswordsOrder: order})
	require.True(t, env.IsWorkflowCompleted())
	err = env.GetWorkflowError()
	if err == nil {
		require.NoError(t, env.GetWorkflowResult(&out))
	}
	require.Contains(t, history.text(), `"from":{`, "the input was seen")
	for _, secret := range secrets {
		require.NotContains(t, history.text(), secret)
		if err != nil {
			require.NotContains(t, err.Error(), secret)
		}
	}
	return out, err
}

// passwordSpec is a migration to dst, whose bookkeeping says that it made the role pw_app and the role pw_left.
func passwordSpec(t *testing.T, dst *pgtest.Database) contract.Spec {
	t.Helper()
	t.Setenv("TARGET_PASSWORD", dst.Master.Password)
	conn := dst.MasterConn(t)
	require.NoError(t, ledger.Create(t.Context(), conn, "pw"))
	_, err := provision.Roles(t.Context(), conn, []shape.Role{{Name: "pw_app", Login: true, ConnectionLimit: -1}, {Name: "pw_left", Login: true, ConnectionLimit: -1}}, provision.RoleOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { dst.Exec(t, "DROP ROLE pw_app, pw_left") })
	spec := contract.Spec{Name: "pw",
		Source: contract.Source{RDS: &contract.RDS{Instance: "shop", Region: "us-east-1"}, Endpoint: contract.Endpoint{Database: "shop", User: "u", Password: contract.SecretRef{RDSManaged: true}}},
		Target: contract.Endpoint{Host: dst.Master.Host, Port: dst.Master.Port, Database: dst.Master.Database, User: dst.Master.User,
			Password: contract.SecretRef{Env: "TARGET_PASSWORD"}, SSLMode: "disable"}}
	raw, err := json.Marshal(map[string]any{"name": spec.Name, "source": spec.Source, "target": spec.Target})
	require.NoError(t, err)
	spec, err = contract.ParseSpec(raw)
	require.NoError(t, err)
	return spec
}

func requireLogin(t *testing.T, dst *pgtest.Database, role, password string) {
	t.Helper()
	e := dst.Endpoint
	e.User, e.Password = role, password
	conn, err := pgkit.Dial(t.Context(), e, "test")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
}

func TestSetPasswordsFromAFile(t *testing.T) {
	dst := pgtest.Target(t)
	spec := passwordSpec(t, dst)
	file := filepath.Join(t.TempDir(), "roles.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("pw_app: 'hunter2app'\npw_gone: 'hunter2gone'\n")
	from := contract.PasswordsFrom{File: file}

	rehearsed, err := runSetPasswords(t, spec, contract.PasswordsOrder{From: from, DryRun: true}, "hunter2")
	require.NoError(t, err)
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_authid WHERE rolname ~ '^pw_' AND rolpassword IS NOT NULL"))
	done, err := runSetPasswords(t, spec, contract.PasswordsOrder{From: from}, "hunter2")
	require.NoError(t, err)
	require.Equal(t, rehearsed, done)
	require.Equal(t, contract.PasswordsResult{Set: []string{"pw_app"}, Missing: []string{"pw_gone"}, Unnamed: []string{"pw_left"}}, done)
	requireLogin(t, dst, "pw_app", "hunter2app")

	write("pw_app: 'hunter2other'\npw_left: 'hunter2left'\n")
	done, err = runSetPasswords(t, spec, contract.PasswordsOrder{From: from, Roles: []string{"pw_left", "pw_absent"}}, "hunter2")
	require.NoError(t, err)
	require.Equal(t, contract.PasswordsResult{Set: []string{"pw_left"}, Missing: []string{}, Unnamed: []string{},
		Refused: []contract.RefusedPassword{{Role: "pw_absent", Reason: "no password is given for it there"}}}, done)
	requireLogin(t, dst, "pw_app", "hunter2app")
	requireLogin(t, dst, "pw_left", "hunter2left")

	require.NoError(t, os.Chmod(file, 0o644))
	_, err = runSetPasswords(t, spec, contract.PasswordsOrder{From: from}, "hunter2")
	require.ErrorContains(t, err, "its mode is 0644")
	require.NoError(t, os.Chmod(file, 0o600))
	write("pw_app: [hunter2\n")
	_, err = runSetPasswords(t, spec, contract.PasswordsOrder{From: from}, "hunter2")
	require.ErrorContains(t, err, "neither YAML nor JSON")
}

func TestSetPasswordsFromASecret(t *testing.T) {
	dst := pgtest.Target(t)
	spec := passwordSpec(t, dst)
	require.NoError(t, ledger.Drop(t.Context(), dst.MasterConn(t), spec.Name))
	simulator := awssim.New(awssim.Options{})
	t.Cleanup(simulator.Close)
	endpoint := httptest.NewServer(simulator)
	t.Cleanup(endpoint.Close)
	t.Setenv("AWS_ENDPOINT_URL", endpoint.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	from := contract.PasswordsFrom{SecretARN: simulator.PutSecret("roles", `{"pw_app": "hunter2 \u00fc"}`)}

	done, err := runSetPasswords(t, spec, contract.PasswordsOrder{From: from}, "hunter2")
	require.NoError(t, err)
	require.Equal(t, contract.PasswordsResult{Set: []string{"pw_app"}, Missing: []string{}, Unnamed: []string{}, UnnamedUnknown: true}, done, "the bookkeeping is gone")
	requireLogin(t, dst, "pw_app", "hunter2 ü")
	done, err = runSetPasswords(t, spec, contract.PasswordsOrder{From: from, Expected: []string{"pw_app", "pw_left", "pw_dropped"}}, "hunter2")
	require.NoError(t, err)
	require.Equal(t, contract.PasswordsResult{Set: []string{"pw_app"}, Missing: []string{}, Unnamed: []string{"pw_left"}}, done, "the report tells")
	done, err = runSetPasswords(t, spec, contract.PasswordsOrder{From: from, Expected: []string{}}, "hunter2")
	require.NoError(t, err)
	require.False(t, done.UnnamedUnknown, "a report that names none")

	_, err = runSetPasswords(t, spec, contract.PasswordsOrder{From: contract.PasswordsFrom{SecretARN: from.SecretARN + "x"}}, "hunter2")
	require.ErrorContains(t, err, "read secret")
}
