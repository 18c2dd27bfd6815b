package shape

// Role is a role of the source that may be carried over. Its password is never known.
type Role struct {
	Name                          string
	Login, Inherit                bool
	CreateDB, CreateRole          bool
	Superuser, Replication, NoRLS bool // attributes that managed targets refuse
	ConnectionLimit               int  // -1: none
	ValidUntil                    string
	Settings                      []RoleSetting
	MemberOf                      []Membership
	// Master is true for the user that the migration logs in as: it is not carried over but stands for the target's admin.
	Master bool
}

// RoleSetting is a setting that every session of a role starts with.
type RoleSetting struct {
	Name, Value string
	// ThisDatabase is true when it holds in the migrated database only.
	ThisDatabase bool
}

// Membership in another role. Inherit and Set are nil when the source knows no such options (before 16).
type Membership struct {
	Role         string
	Admin        bool
	Inherit, Set *bool
}
