package contract_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestPasswordsForm(t *testing.T) {
	order := contract.PasswordsOrder{From: contract.PasswordsFrom{File: "/run/secrets/roles.json"}, Roles: []string{"app"}, DryRun: true, Expected: []string{"app", "report"}}
	requireGolden(t, "passwords_input.json", contract.PasswordsInput{Spec: json.RawMessage(`"the spec"`), PasswordsOrder: order})
	requireGolden(t, "passwords_result.json", contract.PasswordsResult{Set: []string{"app"}, Missing: []string{"gone"}, Unnamed: []string{"report"}, UnnamedUnknown: true,
		Refused: []contract.RefusedPassword{{Role: "root", Reason: "it is a superuser"}}})
}

// A report that names no role is not the same as no report.
func TestExpectedRolesMayBeUnknown(t *testing.T) {
	for _, expected := range [][]string{nil, {}} {
		raw, err := json.Marshal(contract.PasswordsOrder{Expected: expected})
		require.NoError(t, err)
		var back contract.PasswordsOrder
		require.NoError(t, json.Unmarshal(raw, &back))
		require.Equal(t, expected, back.Expected)
	}
}

func TestNoMigrationHasThePasswordsWorkflowID(t *testing.T) {
	_, err := contract.ParseSpec([]byte(`{"name": "shop_passwords"}`))
	require.ErrorContains(t, err, "cannot name a migration")
	require.Equal(t, "timeferry-shop_passwords", contract.PasswordsWorkflowID("shop"))
}
