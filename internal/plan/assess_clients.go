package plan

import (
	"fmt"

	"timeferry/internal/contract"
)

// CodeClients is a worker without client programs that can read the source.
const CodeClients = "client-programs"

// ClientFacts are the newest pg_dump and pg_restore on the worker's machine. The shell fills it in.
type ClientFacts struct {
	Path    string // of pg_dump; "" when there is none
	Version int    // like server_version_num: 170002
}

// AssessClients wants client programs that are no older than the source: pg_dump refuses newer servers.
func AssessClients(sourceVersion int, c ClientFacts) []contract.Problem {
	major := sourceVersion / 10000
	remedy := fmt.Sprintf("install the PostgreSQL client programs of version %d or later where the worker runs (Debian: postgresql-client-%d)", major, major)
	switch {
	case c.Path == "":
		return []contract.Problem{fatal(CodeClients, "worker", "pg_dump and pg_restore are not on the worker's machine", remedy)}
	case c.Version/10000 < major:
		return []contract.Problem{fatal(CodeClients, "worker", fmt.Sprintf("its newest pg_dump, %s, is of version %d, and the source runs PostgreSQL %d", c.Path, c.Version/10000, major), remedy)}
	}
	return []contract.Problem{info(CodeClients, "worker", fmt.Sprintf("the schema is read by %s of version %d.%d", c.Path, c.Version/10000, c.Version%10000), "")}
}
