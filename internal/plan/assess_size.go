package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/shape"
)

// Codes of the findings about sizes.
const (
	CodeDatabaseSize = "database-size"
	CodeTargetRoom   = "target-room"
	CodeLockTable    = "lock-table"
)

func assessSize(f facts) []contract.Problem {
	if f.src.DatabaseBytes == 0 {
		return nil
	}
	var scope int64
	for _, t := range f.src.Tables {
		scope += t.Bytes
	}
	found := []contract.Problem{
		info(CodeDatabaseSize, objectSource, fmt.Sprintf("the database has %s, indexes included, and %d tables; in scope are %d with %s without indexes; the largest: %s",
			bytesWords(f.src.DatabaseBytes), len(f.src.AllTables), len(f.src.Tables), bytesWords(scope), cmp.Or(largest(f.src.Tables), "none")), ""),
		info(CodeTargetRoom, objectTarget, fmt.Sprintf("its database has %s now; the copy adds about %s and the indexes, the whole source having %s; how much room is left cannot be asked of PostgreSQL",
			bytesWords(f.dst.DatabaseBytes), bytesWords(scope), bytesWords(f.src.DatabaseBytes)), "see that the service's storage has room for the source's size and WAL, or grows by itself"),
	}
	return append(found, assessLockTable(f)...)
}

func largest(tables []shape.Table) string {
	byBytes := slices.Clone(tables)
	slices.SortStableFunc(byBytes, func(a, b shape.Table) int { return cmp.Compare(b.Bytes, a.Bytes) })
	var words []string
	for _, t := range byBytes[:min(len(byBytes), namesInFinding)] {
		words = append(words, t.Table.String()+" "+bytesWords(t.Bytes))
	}
	return strings.Join(words, ", ")
}

// assessLockTable: pg_dump locks every table and partition that it reads in one transaction. The table of locks has room for
// max_locks_per_transaction times the transactions that there may be, and other sessions need room too.
func assessLockTable(f facts) []contract.Problem {
	perTransaction, err := strconv.Atoi(f.src.Settings["max_locks_per_transaction"])
	if err != nil { // not known
		return nil
	}
	prepared, err := strconv.Atoi(f.src.Settings["max_prepared_transactions"])
	if err != nil {
		prepared = 0
	}
	transactions := f.src.MaxConnections + prepared
	room, relations := perTransaction*transactions, len(f.src.AllTables)+len(f.src.Partitions)
	if transactions == 0 || relations*10 < room*8 {
		return nil
	}
	return []contract.Problem{warning(CodeLockTable, objectSource,
		fmt.Sprintf("the schema dump locks %d tables and partitions at once, and the server's lock table has room for about %d", relations, room),
		fmt.Sprintf("raise max_locks_per_transaction to %d or more and restart the server (with prepare.parameters on RDS), or narrow the scope", 2*relations/transactions+1))}
}
