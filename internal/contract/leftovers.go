package contract

import "time"

// CodeLeftover is the problem of a thing of the migration that is still there though it was to be removed.
const CodeLeftover = "left-over"

// Leftovers is what a look for things of the migration found after everything was undone.
type Leftovers struct {
	At time.Time `json:"at"`
	// Sought says what was looked for, and where.
	Sought []string   `json:"sought"`
	Found  []Leftover `json:"found,omitempty"`
}

// Leftover is one thing that should be gone.
type Leftover struct {
	Thing  string `json:"thing"` // "slot timeferry_shop on the source"
	Remedy string `json:"remedy"`
}

// LeftoverInput asks to look. FenceStays: the source is to stay fenced, since the application is on the target.
type LeftoverInput struct {
	Spec       Spec `json:"spec"`
	FenceStays bool `json:"fenceStays,omitempty"`
	// TargetFenceStays: after a rollback.
	TargetFenceStays bool `json:"targetFenceStays,omitempty"`
	// Identities are those that were changed and must have been set back.
	Identities []IdentityChoice `json:"identities,omitempty"`
}
