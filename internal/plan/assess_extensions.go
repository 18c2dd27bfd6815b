package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"timeferry/internal/contract"
)

// Codes of the findings about extensions.
const (
	CodeExtensionMissing   = "extension-missing"
	CodeExtensionOlder     = "extension-older"
	CodeExtensionSuperuser = "extension-needs-superuser"
	CodeExtensions         = "extensions"
)

// managedExtensions are those that only RDS and Aurora have; nothing of an application's schema needs them elsewhere.
var managedExtensions = []string{"apg_plan_mgmt", "flow_control", "log_fdw", "pg_transport", "pgactive", "plrust", "rds_activity_stream", "rds_tools", "rdsutils"}

func assessExtensions(f facts) []contract.Problem {
	var found []contract.Problem
	for _, name := range f.src.Extensions {
		if contains(f.dst.Available, name) || contains(f.dst.Installed, name) {
			continue
		}
		if strings.HasPrefix(name, "aws_") || contains(managedExtensions, name) {
			found = append(found, warning(CodeExtensionMissing, name, "the extension exists on RDS only and is left out on the target",
				"check that no function of yours calls it; DROP EXTENSION on the source if it is unused"))
			continue
		}
		found = append(found, fatal(CodeExtensionMissing, name, "the source uses this extension, and the target server does not offer it",
			"install it on the target server, or DROP EXTENSION on the source if it is unused"))
	}
	return append(found, assessExtensionVersions(f)...)
}

// assessExtensionVersions compares those that both sides have. An extension is created in the version that the target's
// server prefers, whatever the source has.
func assessExtensionVersions(f facts) []contract.Problem {
	var older, closed, all []string
	for _, name := range f.src.Extensions {
		here, there := f.src.ExtensionVersions[name], f.dst.ExtensionVersions[name]
		if here == "" {
			continue // not known
		}
		all = append(all, fmt.Sprintf("%s %s (%s)", name, here, cmp.Or(there, "none")))
		if there != "" && lowerVersion(there, here) {
			older = append(older, fmt.Sprintf("%s %s (the source has %s)", name, there, here))
		}
		if !f.dst.Superuser && !contains(f.dst.Installed, name) && contains(f.dst.SuperuserExtensions, name) {
			closed = append(closed, name)
		}
	}
	found := many(warning(CodeExtensionOlder, "", "the target's version is the older one: functions or types that the schema uses may be missing in it",
		"upgrade the extension on the target's server"), "extensions", older)
	found = append(found, many(warning(CodeExtensionSuperuser, "", "PostgreSQL lets only a superuser create such an extension, and the target's user is none",
		"create it in the target database beforehand, by the provider's own way; some providers allow it to their users, then nothing need be done"), "extensions", closed)...)
	if len(all) > 0 {
		found = append(found, info(CodeExtensions, objectSource, "its extensions, with the target's versions in parentheses: "+strings.Join(all, ", "), ""))
	}
	return found
}

// lowerVersion compares version numbers part by part; parts that are no numbers, like "dev", are not compared.
func lowerVersion(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; i < min(len(as), len(bs)); i++ {
		x, errX := strconv.Atoi(as[i])
		y, errY := strconv.Atoi(bs[i])
		if errX != nil || errY != nil {
			return false
		}
		if x != y {
			return x < y
		}
	}
	return len(as) < len(bs)
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }
