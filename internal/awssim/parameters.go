package awssim

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed parameters.tsv
var parametersTSV string

// The majors that the table describes, see parameters.tsv.
const (
	firstMajor = 12
	lastMajor  = 18

	firstAurora = 15
	lastAurora  = 17
)

const auroraEngine = "aurora-postgresql"

// clusterCatalogue before a family's name is the key of what its cluster parameter groups have.
const clusterCatalogue = "cluster:"

// clusterOnly are the parameters that on Aurora only the cluster's group has; from memory, like the table's defaults.
var clusterOnly = []string{"rds.logical_replication", "rds.force_ssl", "rds.iam_auth_for_replication", "max_replication_slots",
	"max_wal_senders", "max_logical_replication_workers", "max_sync_workers_per_subscription", "max_prepared_transactions",
	"wal_sender_timeout", "wal_receiver_timeout", "synchronous_commit", "track_commit_timestamp", "timezone"}

// parameter is one row of the catalogue.
type parameter struct {
	name        string
	since       int // major versions; 0: no limit
	until       int
	static      bool
	dataType    string // boolean, integer, float, string, list
	allowed     string // "min-max", a comma list, or empty for anything
	value       string // what RDS sets; empty for the engine's own default
	source      string // system or engine-default
	modifiable  bool
	description string
}

func (p parameter) applyType() string {
	if p.static {
		return "static"
	}
	return "dynamic"
}

func families() []string {
	var out []string
	for major := firstMajor; major <= lastMajor; major++ {
		out = append(out, familyOf(major))
	}
	for major := firstAurora; major <= lastAurora; major++ {
		out = append(out, auroraEngine+strconv.Itoa(major))
	}
	return out
}

// engineOf takes a family's name apart.
func engineOf(family string) (engine string, major int) {
	engine = strings.TrimRight(family, "0123456789")
	return engine, mustNumber(strings.TrimPrefix(family, engine))
}

func familyOf(major int) string { return fmt.Sprintf("postgres%d", major) }

// catalogue gives each family's parameters in the order of their names, as RDS lists them.
var catalogue = sync.OnceValue(func() map[string][]parameter {
	all := parseCatalogue(parametersTSV)
	out := map[string][]parameter{}
	for _, family := range families() {
		engine, major := engineOf(family)
		for _, p := range all {
			if major < p.since || p.until != 0 && p.until < major {
				continue
			}
			out[clusterCatalogue+family] = append(out[clusterCatalogue+family], p)
			if engine != auroraEngine || !slices.Contains(clusterOnly, p.name) {
				out[family] = append(out[family], p)
			}
		}
	}
	return out
})

// parseCatalogue panics on a malformed line: the table is part of the program.
func parseCatalogue(text string) []parameter {
	var out []parameter
	header := true
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if header {
			header = false
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 10 {
			panic("awssim: malformed line in parameters.tsv: " + line)
		}
		out = append(out, parameter{name: f[0], since: mustNumber(f[1]), until: mustNumber(f[2]), static: f[3] == "static",
			dataType: f[4], allowed: f[5], value: f[6], source: f[7], modifiable: f[8] == "true", description: f[9]})
	}
	slices.SortFunc(out, func(a, b parameter) int { return strings.Compare(a.name, b.name) })
	return out
}

func mustNumber(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic("awssim: bad number in parameters.tsv: " + text)
	}
	return n
}

func findParameter(family, name string) (parameter, bool) {
	all := catalogue()[family]
	i, found := slices.BinarySearchFunc(all, name, func(p parameter, name string) int { return strings.Compare(p.name, name) })
	if !found {
		return parameter{}, false
	}
	return all[i], true
}

// accepts says whether RDS takes value for p. A formula such as {DBInstanceClassMemory/32768} is taken as it is.
func (p parameter) accepts(value string) bool {
	if strings.Contains(value, "{") && (p.dataType == "integer" || p.dataType == "float") {
		return strings.Contains(value, "}")
	}
	switch p.dataType {
	case "boolean":
		return value == "0" || value == "1"
	case "integer":
		_, err := strconv.ParseInt(value, 10, 64)
		return err == nil && p.inRange(value)
	case "float":
		return p.inRange(value)
	case "list":
		for item := range strings.SplitSeq(value, ",") {
			if !p.isListed(strings.TrimSpace(item)) {
				return false
			}
		}
		return true
	}
	return p.isListed(value)
}

func (p parameter) isListed(value string) bool {
	return p.allowed == "" || slices.Contains(strings.Split(p.allowed, ","), value)
}

// inRange reads "min-max", where min may have its own minus sign.
func (p parameter) inRange(value string) bool {
	number, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return false
	}
	if len(p.allowed) < 2 {
		return true
	}
	cut := strings.Index(p.allowed[1:], "-") + 1
	low, lowErr := strconv.ParseFloat(p.allowed[:cut], 64)
	high, highErr := strconv.ParseFloat(p.allowed[cut+1:], 64)
	return lowErr == nil && highErr == nil && low <= number && number <= high
}

// logicalDefaults are what RDS gives a server with rds.logical_replication that PostgreSQL's own defaults do not have.
var logicalDefaults = map[string]string{"wal_level": "logical", "rds.logical_replication": "on",
	"max_replication_slots": "20", "max_wal_senders": "20"}

// serverSettings puts the values that users set in a group into PostgreSQL's words. The units are the same: RDS and
// postgresql.conf both take a bare number in the parameter's base unit.
func serverSettings(family string, values map[string]string) map[string]string {
	out := map[string]string{"wal_level": "replica", "rds.logical_replication": "off"}
	if values["rds.logical_replication"] == "1" {
		for name, value := range logicalDefaults {
			out[name] = value
		}
	}
	for name, value := range values {
		// A formula needs the instance class's memory; the server behind the simulator has none, so it keeps its own value.
		if strings.HasPrefix(name, "rds.") || strings.Contains(value, "{") {
			continue
		}
		if p, known := findParameter(family, name); known && p.dataType == "boolean" {
			value = map[string]string{"0": "off", "1": "on"}[value]
		}
		out[name] = value
	}
	return out
}
