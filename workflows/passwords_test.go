package workflows_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

func (f *fakeActivities) SetPasswords(_ context.Context, in contract.SetPasswordsInput) (contract.PasswordsResult, error) {
	return contract.PasswordsResult{Set: in.Roles, Missing: []string{in.From.File}, Unnamed: in.Expected}, f.step("SetPasswords")
}

func TestSetPasswordsPassesReferences(t *testing.T) {
	w := newWorld(t)
	w.ExecuteWorkflow(workflows.SetPasswords, contract.PasswordsInput{Spec: spec(""),
		PasswordsOrder: contract.PasswordsOrder{From: contract.PasswordsFrom{File: "/roles"}, Roles: []string{"app"}, Expected: []string{"other"}}})
	require.NoError(t, w.GetWorkflowError())
	var done contract.PasswordsResult
	require.NoError(t, w.GetWorkflowResult(&done))
	require.Equal(t, contract.PasswordsResult{Set: []string{"app"}, Missing: []string{"/roles"}, Unnamed: []string{"other"}}, done)
	require.Zero(t, w.fake.called("Inspect"), "neither RDS nor the source is asked: it may be gone")
}

func TestSetPasswordsRefusesABadSpec(t *testing.T) {
	w := newWorld(t)
	w.ExecuteWorkflow(workflows.SetPasswords, contract.PasswordsInput{Spec: []byte(`{"name": "Shop"}`)})
	require.ErrorContains(t, w.GetWorkflowError(), "cannot name a migration")
	require.Zero(t, w.fake.called("SetPasswords"))
}
