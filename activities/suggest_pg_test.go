package activities_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"timeferry/activities"
	"timeferry/internal/contract"
	"timeferry/internal/plan"
	"timeferry/internal/testkit/pgtest"
)

// hypertableSpec names both test databases; it has no hypertables yet.
func hypertableSpec(t *testing.T, src, dst *pgtest.Database) contract.Spec {
	t.Helper()
	t.Setenv("SOURCE_PASSWORD", src.Master.Password)
	t.Setenv("TARGET_PASSWORD", dst.Master.Password)
	return contract.Spec{Name: "suggest", Tables: contract.Tables{Include: []string{"*.*"}}, ReplicaIdentity: contract.ReplicaIdentity{Fallback: "full"},
		Source: contract.Source{Endpoint: contract.Endpoint{Host: src.Master.Host, Port: src.Master.Port, Database: src.Master.Database, User: src.Master.User,
			Password: contract.SecretRef{Env: "SOURCE_PASSWORD"}, SSLMode: "disable"}},
		Target: contract.Endpoint{Host: dst.Master.Host, Port: dst.Master.Port, Database: dst.Master.Database, User: dst.Master.User,
			Password: contract.SecretRef{Env: "TARGET_PASSWORD"}, SSLMode: "disable"}}
}

func TestSuggestAndPreflightOfHypertables(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	_, err := src.MasterConn(t).Exec(t.Context(), `
		CREATE TABLE visits (id int NOT NULL, ts timestamptz NOT NULL) PARTITION BY RANGE (ts); CREATE TABLE visits_1 PARTITION OF visits DEFAULT;
		CREATE TABLE events (id int PRIMARY KEY, ts timestamptz)`)
	require.NoError(t, err)
	spec := hypertableSpec(t, src, dst)
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(time.Minute)
	a := &activities.Activities{}
	env.RegisterActivity(a)

	result, err := env.ExecuteActivity(a.Suggest, spec)
	require.NoError(t, err)
	var suggestions []contract.HypertableSuggestion
	require.NoError(t, result.Get(&suggestions))
	require.Len(t, suggestions, 1)
	require.Equal(t, contract.Hypertable{Table: "public.visits", TimeColumn: "ts", ChunkInterval: "7 days"}, suggestions[0].Hypertable)

	spec.Hypertables = []contract.Hypertable{{Table: "public.visits", TimeColumn: "ts", ChunkInterval: "7 potatoes"}, {Table: "public.events", TimeColumn: "ts", ChunkInterval: "1 day"}}
	result, err = env.ExecuteActivity(a.Preflight, contract.PreflightInput{Spec: spec})
	require.NoError(t, err)
	var checked contract.PreflightResult
	require.NoError(t, result.Get(&checked))
	codes := map[string]string{}
	for _, p := range checked.Problems {
		codes[p.Code+" "+p.Object] = p.Message
	}
	require.Contains(t, codes[plan.CodeHypertableInterval+" public.visits"], "no length of time", "the target was asked")
	require.Contains(t, codes[plan.CodeHypertableNullable+" public.events"], "no row has NULL now", "the source was asked")
	require.Contains(t, codes, plan.CodeHypertableKey+" public.events")
}
