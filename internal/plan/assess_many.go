package plan

import (
	"fmt"
	"slices"
	"strings"

	"timeferry/internal/contract"
)

// Limits that keep findings readable on a database of ten thousand tables.
const (
	// namesInFinding is how many objects one finding names.
	namesInFinding = 5
	// findingsOfACode is how many findings of one code stand beside each other before they become one.
	findingsOfACode = 5
	// errorsOfACode is how many errors of one code are told each by itself. Ten thousand tables of another owner have one cause,
	// and the findings go into a history, where Temporal takes no more than 2 MB at a time.
	errorsOfACode = 50
)

// many makes one finding about all the objects: under its own name if it is one, else under their number, with the first
// few named in front of the message.
func many(p contract.Problem, plural string, names []string) []contract.Problem {
	switch len(names) {
	case 0:
		return nil
	case 1:
		p.Object = names[0]
	default:
		p.Object = fmt.Sprintf("%d %s", len(names), plural)
		p.Message = listed(names) + ": " + p.Message
	}
	return []contract.Problem{p}
}

// listed names the first few and counts the rest.
func listed(names []string) string {
	if len(names) <= namesInFinding {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:namesInFinding], ", "), len(names)-namesInFinding)
}

// Condense makes one finding of each code that has many: the first's words stand for all. Of errors, since each must be dealt
// with, the first fifty of a code stay as they are, and one more stands for the rest. The order is kept, but for that.
func Condense(found []contract.Problem) []contract.Problem {
	type kind struct {
		fatal bool
		code  string
	}
	byKind := map[kind][]contract.Problem{}
	for _, p := range found {
		k := kind{p.Severity == contract.Fatal, p.Code}
		byKind[k] = append(byKind[k], p)
	}
	told := map[kind]int{}
	var kept []contract.Problem
	for _, p := range found {
		k := kind{p.Severity == contract.Fatal, p.Code}
		all := byKind[k]
		told[k]++
		switch {
		case k.fatal && (told[k] <= errorsOfACode || len(all) == errorsOfACode+1), !k.fatal && len(all) <= findingsOfACode:
			kept = append(kept, p)
		case k.fatal && told[k] == errorsOfACode+1:
			kept = append(kept, condensed(all[errorsOfACode:]))
		case !k.fatal && told[k] == 1:
			kept = append(kept, condensed(all))
		}
	}
	return kept
}

func condensed(all []contract.Problem) contract.Problem {
	all = slices.Clone(all)
	SortProblems(all)
	first := all[0]
	var names []string
	for _, p := range all {
		if !slices.Contains(names[max(0, len(names)-1):], p.Object) { // sorted, so the same are neighbours
			names = append(names, p.Object)
		}
	}
	objects := fmt.Sprintf("%d objects", len(names))
	if len(names) == 1 {
		objects = names[0]
	}
	first.Message = fmt.Sprintf("%d findings of this kind, about %s; of %s: %s", len(all), listed(names), first.Object, first.Message)
	first.Object = objects
	return first
}

// bytesWords is a size as people say it.
func bytesWords(n int64) string {
	const units = "KMGTP"
	if n < 1<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
