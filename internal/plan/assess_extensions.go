package plan

import (
	"slices"
	"strings"

	"timeferry/internal/contract"
)

// CodeExtensionMissing is an extension of the source that the target server does not offer.
const CodeExtensionMissing = "extension-missing"

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
	return found
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }
