package plan

import (
	"fmt"
	"time"

	"timeferry/internal/contract"
)

// Codes of the findings about what is going on at the source.
const (
	CodePreparedTransaction = "prepared-transaction"
	CodeLongTransaction     = "long-transaction"
)

// assessTransactions names what slot creation would wait for: it waits for every transaction that is open at that moment.
func assessTransactions(f facts) []contract.Problem {
	var found []contract.Problem
	for _, t := range f.src.PreparedTransactions {
		found = append(found, warning(CodePreparedTransaction, "prepared transaction "+t.GID,
			fmt.Sprintf("it was prepared %s ago by %s; the slot can be created only after its end", t.Age.Round(time.Second), t.User),
			"run COMMIT PREPARED or ROLLBACK PREPARED"))
	}
	for _, t := range f.src.LongTransactions {
		found = append(found, warning(CodeLongTransaction, fmt.Sprintf("pid %d", t.PID),
			fmt.Sprintf("its transaction (user %s, application %q) is open for %s; slot and replica identities wait for its end", t.User, t.Application, t.Age.Round(time.Second)),
			fmt.Sprintf("end it, or run: SELECT pg_terminate_backend(%d)", t.PID)))
	}
	return found
}
