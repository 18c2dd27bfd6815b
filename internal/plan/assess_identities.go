package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"timeferry/internal/contract"
	"timeferry/internal/shape"
)

// assessIdentities tells each choice that costs something: the whole row, inserts only, or none.
func assessIdentities(f facts) []contract.Problem {
	times := TimeColumnsOf(f.spec)
	var found []contract.Problem
	keyless := map[string][]shape.Table{}
	first := map[string]contract.Problem{}
	for _, t := range f.src.Tables {
		if t.Unlogged {
			continue
		}
		ids, problem := Identities(t, f.spec.ReplicaIdentity.Fallback, times[t.Table])
		switch {
		case problem == nil:
		case problem.Severity == contract.Fatal:
			found = append(found, *problem)
		default:
			keyless[problem.Code], first[problem.Code] = append(keyless[problem.Code], t), *problem
		}
		if len(ids) == 0 || !t.Partitioned {
			continue
		}
		if ids[0].Kind == IdentityFull || ids[0].Kind == IdentityIndex {
			found = append(found, warning(CodePartitionIdentity, t.Table.String(),
				fmt.Sprintf("%d partitions have no primary key in common: a partition added while the migration runs starts without a replica identity, and the application's updates of it fail", len(ids)-1),
				"add a primary key to the partitioned table, or create the coming partitions before the start"))
		}
	}
	for _, code := range []string{CodeIdentityFull, CodeInsertOnly} {
		found = append(found, f.keylessProblem(first[code], keyless[code])...)
	}
	return found
}

// keylessWords is what happens to tables without a key, by code.
var keylessWords = map[string]string{
	CodeIdentityFull: "each gets REPLICA IDENTITY FULL (replicaIdentity.fallback is full), so every update and delete writes the whole old row to the WAL and is slow to apply",
	CodeInsertOnly:   "their updates and deletes after the copy do not reach the target (replicaIdentity.fallback is skip)",
}

// keylessProblem makes one finding of all tables without a key, those with the most updates and deletes named first. p is
// what was found of the last of them.
func (f facts) keylessProblem(p contract.Problem, tables []shape.Table) []contract.Problem {
	switch len(tables) {
	case 0:
		return nil
	case 1:
		if rate := f.rate(tables[0]); rate != "" {
			p.Message += "; that is " + rate
		}
		return []contract.Problem{p}
	}
	busiest := slices.Clone(tables)
	slices.SortStableFunc(busiest, func(a, b shape.Table) int { return cmp.Compare(b.Updates+b.Deletes, a.Updates+a.Deletes) })
	var words []string
	for _, t := range busiest {
		rate := f.rate(t)
		if rate != "" {
			rate = ", " + rate
		}
		words = append(words, fmt.Sprintf("%s (%d updates, %d deletes%s)", t.Table, t.Updates, t.Deletes, rate))
	}
	p.Object = fmt.Sprintf("%d tables", len(tables))
	p.Message = "they have neither a primary key nor a usable unique index: " + keylessWords[p.Code] + ". Those changed most since the statistics were reset: " + listed(words)
	return []contract.Problem{p}
}

// rate is how often rows of the table are updated or deleted; "" when it is not known for how long that was counted.
func (f facts) rate(t shape.Table) string {
	if f.src.StatsAge < time.Minute {
		return ""
	}
	changes := float64(t.Updates + t.Deletes)
	if perSecond := changes / f.src.StatsAge.Seconds(); perSecond >= 0.1 || changes == 0 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", perSecond), ".0") + " a second"
	}
	return fmt.Sprintf("%.1f an hour", changes/f.src.StatsAge.Hours())
}
