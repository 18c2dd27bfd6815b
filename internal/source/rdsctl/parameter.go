package rdsctl

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"timeferry/internal/fault"
)

// Required gives the parameters that a live migration needs on an RDS instance of that major version. The keepalives and
// the long wal_sender_timeout (30 minutes, in milliseconds) keep the holder of the snapshot connected through a long copy.
// Pure.
func Required(major int) map[string]string {
	out := map[string]string{
		"rds.logical_replication": "1",
		"tcp_keepalives_idle":     "10",
		"tcp_keepalives_interval": "10",
		"tcp_keepalives_count":    "60",
		"wal_sender_timeout":      "1800000",
	}
	if major <= 16 { // PostgreSQL 17 has no such parameter
		out["old_snapshot_threshold"] = "-1"
	}
	return out
}

// parameters is a group's catalogue by name, as DescribeDBParameters gives it.
type parameters map[string]types.Parameter

func (p parameters) static(name string) bool { return aws.ToString(p[name].ApplyType) == "static" }

func (p parameters) value(name string) string { return aws.ToString(p[name].ParameterValue) }

// userSet gives what people set in the group.
func (p parameters) userSet() map[string]string {
	out := map[string]string{}
	for name, x := range p {
		if aws.ToString(x.Source) == "user" && x.ParameterValue != nil {
			out[name] = *x.ParameterValue
		}
	}
	return out
}

// differing gives a change for each wanted value that the group does not carry, ordered by name.
func (p parameters) differing(wanted map[string]string) []Change {
	var out []Change
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if x := p[name]; x.ParameterValue == nil || !sameValue(aws.ToString(x.DataType), *x.ParameterValue, wanted[name]) {
			out = append(out, Change{Name: name, Old: p.value(name), New: wanted[name], Static: p.static(name)})
		}
	}
	return out
}

// normalise puts wanted into RDS's words and refuses what RDS would refuse, all of it in one error.
func (p parameters) normalise(wanted map[string]string) (map[string]string, error) {
	out := map[string]string{}
	var names, problems []string
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		x, known := p[name]
		value, problem := wanted[name], ""
		switch {
		case !known:
			problem = "there is no such parameter in the instance's family"
		default:
			value = canonical(aws.ToString(x.DataType), value)
			problem = refusal(x, value)
		}
		if problem != "" {
			names, problems = append(names, name), append(problems, name+": "+problem)
		}
		out[name] = value
	}
	if len(problems) > 0 {
		return nil, fault.New(fault.Operator, "check parameter", strings.Join(names, ", "), "correct prepare.parameters in the spec",
			"%s", strings.Join(problems, "; ")).WithCode(CodeBadParameter)
	}
	return out, nil
}

// refusal says why RDS would not take the value, or nothing.
func refusal(x types.Parameter, value string) string {
	allowed, kind := aws.ToString(x.AllowedValues), aws.ToString(x.DataType)
	if aws.ToBool(x.IsModifiable) && allows(kind, allowed, value) {
		return ""
	}
	if !aws.ToBool(x.IsModifiable) {
		return "RDS does not let it be changed"
	}
	text := fmt.Sprintf("RDS takes %s here, not %q", kind, value)
	if unit := unitOf(x); unit != "" {
		text += ", a plain number in " + unit
	}
	if allowed != "" {
		text += ", allowed: " + allowed
	}
	return text
}

var unitInDescription = regexp.MustCompile(`^\((ms|s|min|B|kB|8kB|MB)\)`)

// unitOf is the unit that RDS writes at the start of the description, if any.
func unitOf(x types.Parameter) string {
	if m := unitInDescription.FindStringSubmatch(aws.ToString(x.Description)); m != nil {
		return m[1]
	}
	return ""
}

// canonical writes booleans as RDS does.
func canonical(kind, value string) string {
	if kind != "boolean" {
		return value
	}
	switch strings.ToLower(value) {
	case "on", "true", "yes":
		return "1"
	case "off", "false", "no":
		return "0"
	}
	return value
}

var allowedRange = regexp.MustCompile(`^(-?[0-9.]+(?:e[+-]?[0-9]+)?)-(-?[0-9.]+(?:e[+-]?[0-9]+)?)$`)

// allows says whether a value fits data type and allowed values: "0,1", "a,b,c", "-1-86400", or anything if empty. RDS
// also takes formulas such as {DBInstanceClassMemory/32768}; what they come to is not known here.
func allows(kind, allowed, value string) bool {
	isFormula := strings.ContainsAny(value, "{}")
	switch kind {
	case "integer", "float":
		if isFormula {
			return true
		}
		number, err := strconv.ParseFloat(value, 64)
		if _, intErr := strconv.ParseInt(value, 10, 64); err != nil || kind == "integer" && intErr != nil {
			return false
		}
		return inAllowedRange(allowed, number) || listed(allowed, value)
	case "boolean":
		return value == "0" || value == "1"
	case "list":
		return !slices.ContainsFunc(strings.Split(value, ","), func(item string) bool { return !listed(allowed, strings.TrimSpace(item)) })
	}
	return listed(allowed, value)
}

func inAllowedRange(allowed string, number float64) bool {
	m := allowedRange.FindStringSubmatch(allowed)
	if m == nil {
		return false
	}
	low, lowErr := strconv.ParseFloat(m[1], 64)
	high, highErr := strconv.ParseFloat(m[2], 64)
	return lowErr == nil && highErr == nil && low <= number && number <= high
}

// listed is true for an empty list, which allows anything, and for a value of the list.
func listed(allowed, value string) bool {
	if allowed == "" {
		return true
	}
	for item := range strings.SplitSeq(allowed, ",") {
		if strings.TrimSpace(item) == value {
			return true
		}
	}
	return false
}

// sameValue compares two spellings of a value.
func sameValue(kind, a, b string) bool {
	if canonical(kind, a) == canonical(kind, b) {
		return true
	}
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return (kind == "integer" || kind == "float") && errX == nil && errY == nil && x == y
}
