package activities

import (
	"fmt"

	"timeferry/internal/contract"
)

// What goes into a history is bounded, however many tables a database has: Temporal takes 2 MB at a time, and 50 MB in all.
const (
	// maxNames is how many names of one kind a result holds.
	maxNames = 50
	// maxIdentities is how many replica identities the report lists one by one.
	maxIdentities = 500
)

// boundNames keeps the first names and counts the rest under what they are.
func boundNames(names []string, what string) []string {
	if len(names) <= maxNames+1 { // "1 more" would be no shorter
		return names
	}
	return append(names[:maxNames:maxNames], fmt.Sprintf("%d more %s", len(names)-maxNames, what))
}

// boundIdentities keeps the choices that say most: the changed ones, then those that are no primary key, in their order. The
// rest is counted, in one line for each kind of identity; timeferry.identities on the target has every change while the
// migration runs.
func boundIdentities(choices []contract.IdentityChoice) []contract.IdentityChoice {
	if len(choices) <= maxIdentities {
		return choices
	}
	room := maxIdentities
	said := make([]bool, len(choices))
	for _, tells := range []func(contract.IdentityChoice) bool{
		func(c contract.IdentityChoice) bool { return c.Changed },
		func(c contract.IdentityChoice) bool { return c.Identity != identityPrimaryKey },
		func(contract.IdentityChoice) bool { return true },
	} {
		for i, c := range choices {
			if room > 0 && !said[i] && tells(c) {
				said[i] = true
				room--
			}
		}
	}
	return countRest(choices, said)
}

func countRest(choices []contract.IdentityChoice, said []bool) []contract.IdentityChoice {
	type kind struct {
		word    string
		changed bool
	}
	rest := map[kind]int{}
	var kept []contract.IdentityChoice
	var kinds []kind
	for i, c := range choices {
		if said[i] {
			kept = append(kept, c)
			continue
		}
		k := kind{identityWord(c.Identity), c.Changed}
		if rest[k] == 0 {
			kinds = append(kinds, k)
		}
		rest[k]++
	}
	for _, k := range kinds {
		kept = append(kept, contract.IdentityChoice{Table: fmt.Sprintf("%d more tables", rest[k]), Identity: k.word, Changed: k.changed, Reason: "as for those above"})
	}
	return kept
}
