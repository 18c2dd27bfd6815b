package workflows

import (
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// SetPasswords sets the passwords of migrated roles on the target and says of which. Its input and its history say where the
// passwords are, never what they are.
func SetPasswords(ctx workflow.Context, input contract.PasswordsInput) (out contract.PasswordsResult, err error) {
	spec, err := contract.ParseSpec(input.Spec)
	if err != nil {
		return out, specError(err)
	}
	step := contract.SetPasswordsInput{Spec: spec, PasswordsOrder: input.PasswordsOrder}
	err = workflow.ExecuteActivity(on(ctx, probe, "passwords of roles"), acts.SetPasswords, step).Get(ctx, &out)
	return out, err
}
