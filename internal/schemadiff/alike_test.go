package schemadiff

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatVersionsWriteDifferentlyIsAlike(t *testing.T) {
	procedure := &Object{Kind: Function, names: []string{"kind"}, values: []string{"procedure"}}
	function := &Object{Kind: Function, names: []string{"kind"}, values: []string{"function"}}
	require.Equal(t, alike(procedure, "arguments", `IN "x" integer, IN "y" "json"`), alike(procedure, "arguments", `"x" integer, "y" json`))
	require.NotEqual(t, alike(procedure, "arguments", `"x" integer`), alike(procedure, "arguments", `INOUT "x" integer`))
	require.NotEqual(t, alike(function, "arguments", `IN "x" integer`), alike(function, "arguments", `"x" integer`))
	require.Equal(t, alike(nil, "type", `"json"[]`), alike(nil, "type", "json[]"))
	require.NotEqual(t, alike(nil, "type", "json"), alike(nil, "type", "jsonb"))
}
