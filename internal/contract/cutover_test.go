package contract_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func bouncer(change func(map[string]any)) map[string]any {
	p := map[string]any{"admin": map[string]any{"host": "pool", "user": "admin", "password": map[string]any{"env": "P"}}, "database": "shop", "file": "/etc/pgbouncer.ini"}
	if change != nil {
		change(p)
	}
	return map[string]any{"pgbouncer": p}
}

func hook(change func(map[string]any)) map[string]any {
	h := map[string]any{"url": "https://hook.example/switch", "key": map[string]any{"env": "K"}}
	if change != nil {
		change(h)
	}
	return map[string]any{"http": h}
}

func set(key string, value any) func(map[string]any) {
	return func(m map[string]any) { m[key] = value }
}

func TestParseSpecRefusesSwitches(t *testing.T) {
	secret := map[string]any{"secret": map[string]any{"arn": "arn:x"}}
	for name, c := range map[string]struct {
		path    string
		value   any
		subject string
		message string
	}{
		"downtime":        {"cutover.maxDowntime", "soon", "cutover.maxDowntime", `"soon" is not one`},
		"no downtime":     {"cutover.maxDowntime", "1s", "cutover.maxDowntime", `"1s" is not one`},
		"margin":          {"cutover.sequenceMargin", -1, "cutover.sequenceMargin", "-1 is out of range"},
		"no kind":         {"cutover.switch", map[string]any{}, "cutover.switch", "0 are set"},
		"two kinds":       {"cutover.switch", map[string]any{"secret": secret["secret"], "http": hook(nil)["http"]}, "cutover.switch", "2 are set"},
		"no fence":        {"cutover", map[string]any{"fence": "none", "switch": secret}, "cutover.switch", "both sides"},
		"target host":     {"cutover.switch", map[string]any{"secret": secret["secret"], "target": map[string]any{"port": 1}}, "cutover.switch.target.host", "missing"},
		"source host":     {"cutover.switch", map[string]any{"secret": secret["secret"], "source": map[string]any{"port": 1}}, "cutover.switch.source.host", "missing"},
		"target port":     {"cutover.switch", map[string]any{"secret": secret["secret"], "target": map[string]any{"host": "a", "port": 70000}}, "cutover.switch.target.port", "70000"},
		"no ARN":          {"cutover.switch", map[string]any{"secret": map[string]any{}}, "cutover.switch.secret.arn", "missing"},
		"no admin host":   {"cutover.switch", bouncer(set("admin", map[string]any{"user": "a", "password": map[string]any{"env": "P"}})), "cutover.switch.pgbouncer.admin.host", "missing"},
		"no admin user":   {"cutover.switch", bouncer(set("admin", map[string]any{"host": "a", "password": map[string]any{"env": "P"}})), "cutover.switch.pgbouncer.admin.user", "missing"},
		"admin by iam":    {"cutover.switch", bouncer(set("admin", map[string]any{"host": "a", "user": "a", "password": map[string]any{"iam": true}})), "cutover.switch.pgbouncer.admin.password", "for the source only"},
		"no pool":         {"cutover.switch", bouncer(set("database", "")), "cutover.switch.pgbouncer.database", "is none"},
		"relative file":   {"cutover.switch", bouncer(set("file", "pgbouncer.ini")), "cutover.switch.pgbouncer.file", "is none"},
		"long pause":      {"cutover.switch", bouncer(set("pause", "10m")), "cutover.switch.pgbouncer.pause", `"10m" is not one`},
		"plain http":      {"cutover.switch", hook(set("url", "http://hook.example/")), "cutover.switch.http.url", "none that may be called"},
		"user in the URL": {"cutover.switch", hook(set("url", "https://me@hook.example/")), "cutover.switch.http.url", "none that may be called"},
		"no key":          {"cutover.switch", hook(set("key", nil)), "cutover.switch.http.key", "0 are set"},
		"key by iam":      {"cutover.switch", hook(set("key", map[string]any{"iam": true})), "cutover.switch.http.key", "exactly one"},
		"hook timeout":    {"cutover.switch", hook(set("timeout", "1h")), "cutover.switch.http.timeout", `"1h" is not one`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := contract.ParseSpec(patched(t, c.path, c.value))
			require.ErrorContains(t, err, c.subject)
			require.ErrorContains(t, err, c.message)
		})
	}
}

func TestSwitchesGetTheirDefaults(t *testing.T) {
	parse := func(value any) contract.Spec {
		s, err := contract.ParseSpec(patched(t, "cutover.switch", value))
		require.NoError(t, err)
		return s
	}
	s := parse(bouncer(nil))
	p := s.Cutover.Switch.PgBouncer
	require.Equal(t, "pgbouncer", s.Cutover.Switch.Kind())
	require.Equal(t, []any{6432, "pgbouncer", "prefer", time.Second}, []any{p.Admin.Port, p.Admin.Database, p.Admin.SSLMode, p.PauseDuration()})
	require.Equal(t, contract.Address{Host: s.Target.Host, Port: s.Target.Port, Database: s.Target.Database}, s.SwitchTarget())

	s = parse(map[string]any{"secret": map[string]any{"arn": "arn:x"}, "target": map[string]any{"host": "10.0.0.9"}})
	require.Equal(t, "secret", s.Cutover.Switch.Kind())
	require.Equal(t, contract.SecretSwitch{ARN: "arn:x", HostKey: "host", PortKey: "port", DatabaseKey: "dbname"}, *s.Cutover.Switch.Secret)
	require.Equal(t, contract.Address{Host: "10.0.0.9", Port: s.Target.Port, Database: s.Target.Database}, s.SwitchTarget())

	s = parse(hook(set("url", "http://127.0.0.1:8080/switch")))
	require.Equal(t, "http", s.Cutover.Switch.Kind())
	require.Equal(t, 5*time.Second, s.Cutover.Switch.HTTP.TimeoutDuration())
	require.Equal(t, time.Minute, s.Cutover.MaxDowntimeDuration())
	require.Equal(t, time.Minute, contract.Cutover{}.MaxDowntimeDuration(), "a spec from before there was one")
}

func TestCutoverForms(t *testing.T) {
	spec := contract.Spec{Name: "shop"}
	steps := []contract.StepTime{{Step: "drain", MS: 12, AtMS: 30}}
	requireGolden(t, "switches.json", []contract.Switch{{Secret: &contract.SecretSwitch{ARN: "arn:x", HostKey: "host", PortKey: "port", DatabaseKey: "dbname"}},
		{HTTP: &contract.HTTPSwitch{URL: "https://hook.example", Key: contract.SecretRef{Env: "K"}, Timeout: "5s"}}})
	requireGolden(t, "cut_off_input.json", contract.CutOffInput{Spec: spec, Attempt: 2})
	requireGolden(t, "cut_off_result.json", contract.CutOffResult{Token: "2-abc", MarkerLSN: 16, Replication: replication, Sequences: 3,
		Ended: cutover.Ended, Spared: cutover.Spared, Pending: 1, Steps: steps})
	requireGolden(t, "hand_over_input.json", contract.HandOverInput{Spec: spec, Attempt: 2, Token: "2-abc"})
	requireGolden(t, "hand_over_result.json", contract.HandOverResult{Problems: problems, Steps: steps, Switch: "called hook.example", Previous: "version v1"})
	requireGolden(t, "take_back_input.json", contract.TakeBackInput{Spec: spec, Attempt: 2, Refused: true})
	requireGolden(t, "take_back_result.json", contract.TakeBackResult{HandedOver: true, Switched: true, Restored: 2, Problems: problems})
	requireGolden(t, "readiness_input.json", contract.ReadinessInput{Spec: spec})
	r := contract.Readiness{Ready: true, EstimatedMS: 900, Estimate: "as the last one took"}
	r.Add(contract.ReadinessCheck{Name: "lag", State: contract.CheckOK, Message: "72 bytes"})
	require.True(t, r.Ready)
	r.Add(contract.ReadinessCheck{Name: "sessions", State: contract.CheckBlocking, Message: "cannot be ended", Items: []string{"pid 7"}, Remedy: "GRANT pg_signal_backend"})
	require.False(t, r.Ready)
	requireGolden(t, "readiness.json", r)
}
