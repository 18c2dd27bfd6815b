package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestSuggestionsAreASpecsYAML(t *testing.T) {
	var out bytes.Buffer
	printSuggestions(&out, []contract.HypertableSuggestion{
		{Hypertable: contract.Hypertable{Table: `public."My ""odd"": table"`, TimeColumn: "a\nb", ChunkInterval: "1 day"}, Reasons: []string{"large", "of a\nb"}},
		{Hypertable: contract.Hypertable{Table: "public.events", TimeColumn: "ts", ChunkInterval: "12 hours"}, Reasons: []string{"large"}, Choices: []string{"its primary key lacks ts"}},
	})
	for _, want := range []string{"# large\n", "# of a b\n", "# its primary key lacks ts\n", "    # key: extend\n"} {
		require.Contains(t, out.String(), want)
	}
	raw, err := yaml.YAMLToJSON([]byte(`{name: shop, source: {host: h, database: d, user: u, password: {env: P}}, target: {host: h, database: d, user: u, password: {env: P}}}`))
	require.NoError(t, err)
	var whole, part map[string]any
	require.NoError(t, json.Unmarshal(raw, &whole))
	raw, err = yaml.YAMLToJSON(out.Bytes())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &part))
	whole["hypertables"] = part["hypertables"]
	raw, err = json.Marshal(whole)
	require.NoError(t, err)
	spec, err := contract.ParseSpec(raw)
	require.NoError(t, err)
	require.Equal(t, []contract.Hypertable{{Table: `public."My ""odd"": table"`, TimeColumn: "a\nb", ChunkInterval: "1 day"},
		{Table: "public.events", TimeColumn: "ts", ChunkInterval: "12 hours"}}, spec.Hypertables)
}

func TestNoSuggestionIsSaid(t *testing.T) {
	var out bytes.Buffer
	printSuggestions(&out, nil)
	require.Contains(t, out.String(), "# no table looks like a hypertable")
}
