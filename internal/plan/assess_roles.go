package plan

import (
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/shape"
)

// Codes of the findings about roles.
const (
	CodeRoleAttributes = "role-attributes"
	CodeRoleExists     = "role-exists"
	CodeRolePasswords  = "role-passwords"
)

func assessRoles(f facts) []contract.Problem {
	if f.spec.Roles != "migrate" {
		return nil
	}
	var stripped, existing, passwords []string
	for _, r := range f.src.Roles {
		if r.Master {
			continue // stands for the target's own user
		}
		if f.dst.Roles[r.Name] {
			existing = append(existing, r.Name)
			continue
		}
		if words := refusedAttributes(r); words != "" {
			stripped = append(stripped, r.Name+" ("+words+")")
		}
		if r.Login {
			passwords = append(passwords, r.Name)
		}
	}
	found := many(warning(CodeRoleAttributes, "", "such attributes are refused by managed targets and are left out", "check what the roles need them for; grant them on the target yourself where it lets you"), "roles", stripped)
	found = append(found, many(info(CodeRoleExists, "", "the target has a role of this name already: it stays as it is, with its own password and attributes, and gets the source's memberships and grants",
		"rename the role on either side if it is not the same one"), "roles", existing)...)
	return append(found, many(info(CodeRolePasswords, "", "passwords cannot be read on the source: roles that log in are created without one", "set their passwords on the target before the cutover"), "roles", passwords)...)
}

func refusedAttributes(r shape.Role) string {
	var words []string
	for _, a := range []struct {
		has  bool
		word string
	}{{r.Superuser, "SUPERUSER"}, {r.Replication, "REPLICATION"}, {r.NoRLS, "BYPASSRLS"}} {
		if a.has {
			words = append(words, a.word)
		}
	}
	return strings.Join(words, ", ")
}
