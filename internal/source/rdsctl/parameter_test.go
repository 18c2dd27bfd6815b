package rdsctl

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/stretchr/testify/require"
)

func TestAllows(t *testing.T) {
	for _, c := range []struct {
		kind, allowed, value string
		want                 bool
	}{
		{"integer", "-1-86400", "-1", true},
		{"integer", "-1-86400", "-2", false},
		{"integer", "-1-86400", "86401", false},
		{"integer", "0-3600000", "1800000", true},
		{"integer", "0-3600000", "1.5", false},
		{"integer", "0-3600000", "30min", false},
		{"integer", "0-3600000", "", false},
		{"integer", "16-1073741823", "{DBInstanceClassMemory/32768}", true},
		{"integer", "1,2,4", "4", true},
		{"integer", "1,2,4", "3", false},
		{"integer", "", "7", true},
		{"float", "0-1.79769e+308", "1.1", true},
		{"float", "0-1.79769e+308", "-1", false},
		{"boolean", "0,1", "1", true},
		{"boolean", "0,1", "on", false}, // canonical has made it 1 before
		{"string", "on,off", "off", true},
		{"string", "on,off", "perhaps", false},
		{"string", "", "anything", true},
		{"list", "a,b", "b, a", true},
		{"list", "a,b", "a,c", false},
	} {
		require.Equal(t, c.want, allows(c.kind, c.allowed, c.value), "%s %q in %q", c.kind, c.value, c.allowed)
	}
}

// TestNewGroupCarriesOver: a default group has no values of people's, but one that had would not lose them.
func TestNewGroupCarriesOver(t *testing.T) {
	current := parameters{
		"work_mem":                {ParameterValue: aws.String("65536"), Source: aws.String("user"), ApplyType: aws.String("dynamic"), DataType: aws.String("integer")},
		"temp_buffers":            {ParameterValue: aws.String("1000"), Source: aws.String("system"), ApplyType: aws.String("dynamic"), DataType: aws.String("integer")},
		"rds.logical_replication": {ParameterValue: aws.String("0"), Source: aws.String("system"), ApplyType: aws.String("static"), DataType: aws.String("boolean")},
	}
	plan := planNewGroup(Instance{Family: "postgres15", ParameterGroup: "default.postgres15"}, "mine", current, map[string]string{"rds.logical_replication": "1"})
	require.Equal(t, []Change{{Name: "rds.logical_replication", Old: "0", New: "1", Static: true}, {Name: "work_mem", Old: "65536", New: "65536"}}, plan.Changes)
	require.Empty(t, plan.CopyFrom)
	require.True(t, plan.Create)
}

func TestDifferingComparesByMeaning(t *testing.T) {
	p := parameters{"b": {ParameterValue: aws.String("1"), DataType: aws.String("boolean")}, "n": {ParameterValue: aws.String("10"), DataType: aws.String("integer")},
		"s": {ParameterValue: aws.String("on"), DataType: aws.String("string")}, "unset": types.Parameter{DataType: aws.String("integer")}}
	require.Empty(t, p.differing(map[string]string{"b": "on", "n": "010", "s": "on"}))
	require.Len(t, p.differing(map[string]string{"b": "off", "n": "11", "s": "1", "unset": "-1"}), 4)
}
