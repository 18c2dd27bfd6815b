package contract

import "encoding/json"

// SetPasswordsType is the workflow that sets the passwords of migrated roles on the target.
const SetPasswordsType = "SetPasswords"

// PasswordsWorkflowID is the ID of that workflow for the migration called name. No migration can be called so: a name has no
// underscore.
func PasswordsWorkflowID(name string) string { return WorkflowID(name) + "_passwords" }

// PasswordsFrom says where the worker finds the passwords of roles; exactly one field is set. What is found there is an object
// of role and password; it never is part of a history.
type PasswordsFrom struct {
	File      string `json:"file,omitempty"` // on the worker's machine, JSON or YAML
	SecretARN string `json:"secretArn,omitempty"`
}

// PasswordsOrder is what a person asks for.
type PasswordsOrder struct {
	From   PasswordsFrom `json:"from"`
	Roles  []string      `json:"roles"`            // only these; empty: all that are found
	DryRun bool          `json:"dryRun,omitempty"` // the target is asked, then all is taken back
	// Expected are the roles that came without a password by the migration's report; nil: there is none. While the migration's
	// bookkeeping is on the target, that counts instead.
	Expected []string `json:"expected"`
}

// PasswordsInput is the input of the workflow SetPasswordsType.
type PasswordsInput struct {
	Spec json.RawMessage `json:"spec"`
	PasswordsOrder
}

// SetPasswordsInput is the same for its activity.
type SetPasswordsInput struct {
	Spec Spec `json:"spec"`
	PasswordsOrder
}

// PasswordsResult is what became of the passwords. It names roles only.
type PasswordsResult struct {
	Set     []string          `json:"set"`               // in a dry run: what would be set
	Missing []string          `json:"missing"`           // named, but not on the target
	Refused []RefusedPassword `json:"refused,omitempty"` // not set, and why
	// Unnamed came without a password and have none where the passwords were looked for. UnnamedUnknown: neither the target's
	// bookkeeping nor a report tells any more which those are.
	Unnamed        []string `json:"unnamed"`
	UnnamedUnknown bool     `json:"unnamedUnknown,omitempty"`
}

// RefusedPassword is a role whose password was not set, and why.
type RefusedPassword struct {
	Role   string `json:"role"`
	Reason string `json:"reason"`
}
