package provision

import "testing"

// SetSteppedBytes lets constraints of smaller tables be made in two steps, too.
func SetSteppedBytes(t *testing.T, bytes int64) {
	t.Helper()
	old := steppedBytes
	steppedBytes = bytes
	t.Cleanup(func() { steppedBytes = old })
}

// SetVacuumBytes lets smaller tables be vacuumed, too.
func SetVacuumBytes(t *testing.T, bytes int64) {
	t.Helper()
	old := vacuumBytes
	vacuumBytes = bytes
	t.Cleanup(func() { vacuumBytes = old })
}

// ResourcesSQL is what each job sets for its session.
const ResourcesSQL = resourcesSQL
