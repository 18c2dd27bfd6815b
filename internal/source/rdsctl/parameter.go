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

// Required gives the parameters that a live migration needs on RDS with that major version. The keepalives and
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

// requiredUnits are the units of Required's values.
var requiredUnits = map[string]string{"tcp_keepalives_idle": "s", "tcp_keepalives_interval": "s", "wal_sender_timeout": "ms", "old_snapshot_threshold": "min"}

// indispensable is the one required parameter without which there is no migration.
const indispensable = "rds.logical_replication"

// ours are the values of Required for an engine version such as 15.12, or none if that cannot be read.
func ours(version string) map[string]string {
	text, _, _ := strings.Cut(version, ".")
	major, err := strconv.Atoi(text)
	if err != nil {
		return nil
	}
	return Required(major)
}

// parameters is a group's catalogue by name, as DescribeDBParameters gives it.
type parameters map[string]types.Parameter

func (p parameters) add(all []types.Parameter) {
	for _, x := range all {
		p[aws.ToString(x.ParameterName)] = x
	}
}

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

// fit makes our own values acceptable to the family: one that it does not have or that cannot be changed is left out, one
// outside of what is allowed becomes the nearest that is. The spec's own values, which are those that differ from ours, stay
// as they are: whoever asks for something impossible has to hear of it.
func (p parameters) fit(wanted, ours map[string]string) (fitting map[string]string, skipped []string) {
	fitting = maps.Clone(wanted)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if value, isOurs := ours[name]; !isOurs || value != wanted[name] {
			continue
		}
		x, known := p[name]
		switch {
		case known && aws.ToBool(x.IsModifiable):
			fitting[name] = nearest(x, inUnit(wanted[name], requiredUnits[name], unitOf(x)))
		case known && sameValue(aws.ToString(x.DataType), p.value(name), wanted[name]): // fixed, and as it should be
			delete(fitting, name)
		case name != indispensable:
			delete(fitting, name)
			skipped = append(skipped, name)
		}
	}
	return fitting, skipped
}

var milliseconds = map[string]int{"ms": 1, "s": 1000, "min": 60_000}

// inUnit converts a span of time; without both units, and for a negative number, which is no span, it gives it as it is.
func inUnit(value, from, to string) string {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || from == to || milliseconds[from] == 0 || milliseconds[to] == 0 {
		return value
	}
	return strconv.Itoa(n * milliseconds[from] / milliseconds[to])
}

// nearest moves an integer to the end of the allowed range, or to the item of the allowed list, that is nearest to it.
func nearest(x types.Parameter, value string) string {
	allowed := aws.ToString(x.AllowedValues)
	n, err := strconv.Atoi(value)
	if err != nil || aws.ToString(x.DataType) != "integer" || allows("integer", allowed, value) {
		return value
	}
	candidates := strings.Split(allowed, ",")
	if m := allowedRange.FindStringSubmatch(allowed); m != nil {
		candidates = m[1:3]
	}
	best := value
	for _, candidate := range candidates {
		c, err := strconv.Atoi(strings.TrimSpace(candidate))
		have, haveErr := strconv.Atoi(best)
		if err == nil && (best == value || haveErr == nil && abs(c-n) < abs(have-n)) {
			best = strconv.Itoa(c)
		}
	}
	return best
}

func abs(n int) int { return max(n, -n) }

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
