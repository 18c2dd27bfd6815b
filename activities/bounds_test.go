package activities

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

// temporalTakes is what Temporal takes at a time, without a word of warning.
const temporalTakes = 256 << 10

// With 10,000 tables of the longest names, the choices still fit into a history, and the ones that were changed come first.
func TestIdentitiesOfManyTablesAreBounded(t *testing.T) {
	var choices []contract.IdentityChoice
	for i := range 10_000 {
		c := contract.IdentityChoice{Table: fmt.Sprintf("%s.%s%05d", strings.Repeat("s", 63), strings.Repeat("t", 58), i), Identity: "primary key", Reason: strings.Repeat("r", 100)}
		switch {
		case i >= 9_800:
			c.Identity, c.Changed = "full", true
		case i >= 9_000:
			c.Identity = fmt.Sprintf("index %s%d", strings.Repeat("i", 58), i)
		}
		choices = append(choices, c)
	}
	bounded := boundIdentities(choices)
	content, err := json.Marshal(bounded)
	require.NoError(t, err)
	require.Less(t, len(content), temporalTakes)
	changed, told := 0, 0
	for _, c := range bounded[:maxIdentities] {
		if c.Changed {
			changed++
		}
		require.NotEqual(t, "primary key", c.Identity)
		told++
	}
	require.Equal(t, 200, changed, "all that were changed are listed")
	require.Equal(t, []contract.IdentityChoice{
		{Table: "9000 more tables", Identity: "primary key", Reason: "as for those above"},
		{Table: "500 more tables", Identity: "index", Reason: "as for those above"},
	}, bounded[maxIdentities:])
	require.Equal(t, choices[:maxIdentities], boundIdentities(choices[:maxIdentities]), "a few are listed as they are")
}

func TestManyNamesAreCounted(t *testing.T) {
	var names []string
	for i := range 51 {
		names = append(names, fmt.Sprint(i))
	}
	require.Equal(t, names, boundNames(names, "tables"))
	names = append(names, "51")
	require.Equal(t, append(append([]string{}, names[:50]...), "2 more tables"), boundNames(names, "tables"))
}
