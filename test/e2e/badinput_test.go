package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

// TestBadInput starts migrations that cannot work, as a person would with temporal, past the starter's own checks. Each
// ends with a failure of its own type that names the object, and nothing was changed.
func TestBadInput(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	asMaster(t, src, small)
	src.Exec(t, "CREATE ROLE weak LOGIN PASSWORD 'weak-password'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO weak")
	t.Cleanup(func() { src.Exec(t, "DROP OWNED BY weak; DROP ROLE weak") })
	occupied := pgtest.Target(t)
	asMaster(t, occupied, "CREATE TABLE people (id int); INSERT INTO people VALUES (1)")
	sourceBefore, targetBefore := src.Dump(t, sourceState), dst.Dump(t, targetState)
	w := newWorld(t)
	source := func(spec map[string]any) map[string]any { return spec["source"].(map[string]any) }
	target := func(spec map[string]any) map[string]any { return spec["target"].(map[string]any) }
	for name, c := range map[string]struct {
		change  func(map[string]any)
		code    string
		message string
	}{
		"unknown key":       {func(s map[string]any) { s["tabels"] = 1 }, "bad-spec", `unknown key "tabels"`},
		"missing key":       {func(s map[string]any) { delete(target(s), "database") }, "bad-spec", "target.database"},
		"password":          {func(s map[string]any) { source(s)["password"] = "hunter2" }, "password-in-spec", "source.password"},
		"unreachable host":  {func(s map[string]any) { source(s)["port"] = 1 }, "unreachable", "127.0.0.1:1"},
		"wrong credentials": {func(s map[string]any) { source(s)["password"] = w.secret("wrong", "wrong") }, "wrong-credentials", src.Master.User},
		"missing secret":    {func(s map[string]any) { source(s)["password"] = map[string]any{"env": "NOT_SET"} }, "password-unavailable", "NOT_SET"},
		"no such database":  {func(s map[string]any) { source(s)["database"] = "nowhere" }, "no-such-database", "nowhere"},
		"missing privilege": {func(s map[string]any) {
			source(s)["user"], source(s)["password"] = "weak", w.secret("weak", "weak-password")
		}, "", "weak"},
		"target not empty": {func(s map[string]any) {
			target(s)["database"] = occupied.Master.Database
		}, "target-not-empty", "people"},
		"hypertable key": {func(s map[string]any) {
			s["hypertables"] = []any{map[string]any{"table": "public.people", "timeColumn": "id"}, map[string]any{"table": "public.metrics", "timeColumn": "value"}}
		}, "", "metrics"},
		"no such table": {func(s map[string]any) { s["tables"] = map[string]any{"include": []any{"public.nothing"}} }, "no-such-table", "public.nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			m := w.newMigration(strings.ReplaceAll(name, " ", "-"), src, dst, c.change)
			raw, err := os.ReadFile(m.file)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			run, err := w.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: contract.WorkflowID(m.name), TaskQueue: contract.TaskQueue}, contract.WorkflowType, rawJSON(raw))
			require.NoError(t, err)
			err = run.Get(ctx, nil)
			var app *temporal.ApplicationError
			require.True(t, errors.As(err, &app), "%v", err)
			require.ErrorContains(t, app, c.message)
			if c.code != "" {
				require.Equal(t, c.code, app.Type(), app.Error())
			}
			require.True(t, app.NonRetryable())
			require.NotContains(t, fmt.Sprint(err), "hunter2")
			require.Equal(t, sourceBefore, src.Dump(t, sourceState))
			require.Equal(t, targetBefore, dst.Dump(t, targetState))
			t.Log(app.Error())
		})
	}
}
