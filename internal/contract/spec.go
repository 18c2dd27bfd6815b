package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
)

// Spec is the whole order for one migration: the workflow's only input. Make it with ParseSpec, which validates and
// fills in the defaults.
type Spec struct {
	Name            string            `json:"name"`
	Source          Source            `json:"source"`
	Target          Endpoint          `json:"target"`
	Prepare         Prepare           `json:"prepare"`
	Tables          Tables            `json:"tables"`
	ReplicaIdentity ReplicaIdentity   `json:"replicaIdentity"`
	Roles           string            `json:"roles"`      // migrate | skip
	Privileges      string            `json:"privileges"` // migrate | skip
	Hypertables     []Hypertable      `json:"hypertables,omitempty"`
	HypertableGate  bool              `json:"hypertableGate,omitempty"`
	Copy            Copy              `json:"copy"`
	Replication     ReplicationOption `json:"replication"`
	Verify          *VerifyOption     `json:"verify,omitempty"`
	Cutover         Cutover           `json:"cutover"`
}

// Source is an endpoint that may be found through RDS.
type Source struct {
	RDS *RDS `json:"rds,omitempty"`
	Endpoint
}

// RDS names the instance or the cluster; exactly one of the two.
type RDS struct {
	Instance string `json:"instance,omitempty"`
	Cluster  string `json:"cluster,omitempty"`
	Region   string `json:"region,omitempty"` // empty: the AWS SDK's own chain decides
}

// Endpoint is a PostgreSQL database and how to log in.
type Endpoint struct {
	Host        string    `json:"host,omitempty"`
	Port        int       `json:"port,omitempty"`
	Database    string    `json:"database"`
	User        string    `json:"user"`
	Password    SecretRef `json:"password,omitzero"`
	SSLMode     string    `json:"sslMode,omitempty"`
	SSLRootCert string    `json:"sslRootCert,omitempty"`
}

// SecretRef says where a password is found; exactly one field is set. The password itself never is in a spec.
type SecretRef struct {
	Env        string `json:"env,omitempty"`
	File       string `json:"file,omitempty"`
	SecretARN  string `json:"secretArn,omitempty"`
	RDSManaged bool   `json:"rdsManaged,omitempty"`
	IAM        bool   `json:"iam,omitempty"`
}

// Prepare is what may be done to the RDS instance.
type Prepare struct {
	ParameterGroup string            `json:"parameterGroup,omitempty"`
	Parameters     map[string]string `json:"parameters,omitempty"`
	Reboot         string            `json:"reboot"` // approve | auto | never
	// Window is when reboot: auto may reboot, like "Sun 03:00-04:00 UTC"; empty: at once. Its form is checked by plan.ParseWindow,
	// before anything is changed.
	Window string `json:"window,omitempty"`
	// SecurityGroup is opened for the worker while the migration runs: for WorkerCIDR, or else for the private address that the
	// worker's machine has by its instance metadata.
	SecurityGroup string `json:"securityGroup,omitempty"`
	WorkerCIDR    string `json:"workerCIDR,omitempty"`
	// Machine says what to do when the worker's machine is too small: warn | require | skip.
	Machine string `json:"machine,omitempty"`
}

// Tables is the scope: patterns "schema.table" with * and ? (see pattern.go); exclude wins. Of tables under ExcludeData the
// definition is carried over, but neither their rows nor changes of them.
type Tables struct {
	Include     []string `json:"include,omitempty"`
	Exclude     []string `json:"exclude,omitempty"`
	ExcludeData []string `json:"excludeData,omitempty"`
}

// ReplicaIdentity says what to do with a table that has neither a primary key nor a usable unique index.
type ReplicaIdentity struct {
	Fallback string `json:"fallback"` // full | fail | skip
}

// Hypertable turns a table into a hypertable on the target.
type Hypertable struct {
	Table         string `json:"table"`
	TimeColumn    string `json:"timeColumn"`
	ChunkInterval string `json:"chunkInterval,omitempty"`
	// Key says what becomes of unique keys that lack a column by which the hypertable is cut: refuse (also when empty),
	// extend (the column is added to the key) or drop (an index that is not unique takes its place).
	Key             string       `json:"key,omitempty"`
	SpaceColumn     string       `json:"spaceColumn,omitempty"`
	SpacePartitions int          `json:"spacePartitions,omitempty"`
	Columnstore     *Columnstore `json:"columnstore,omitempty"`
	Retention       string       `json:"retention,omitempty"`
}

// What Hypertable.Key can be.
const (
	KeyRefuse = "refuse"
	KeyExtend = "extend"
	KeyDrop   = "drop"
)

// Missing are the columns by which the hypertable is cut that a unique key over columns does not have, the time column
// first. Every unique index of a hypertable is one index per chunk, so it must contain them all.
func (h Hypertable) Missing(columns []string) []string {
	var missing []string
	for _, c := range []string{h.TimeColumn, h.SpaceColumn} {
		if c != "" && !slices.Contains(columns, c) {
			missing = append(missing, c)
		}
	}
	return missing
}

// ChangesKeys is true when keys that lack a column are extended or dropped.
func (h Hypertable) ChangesKeys() bool { return h.Key == KeyExtend || h.Key == KeyDrop }

// Columnstore is TimescaleDB's compression setting for a hypertable.
type Columnstore struct {
	SegmentBy []string `json:"segmentBy,omitempty"`
	OrderBy   string   `json:"orderBy,omitempty"`
	After     string   `json:"after,omitempty"`
}

// Copy steers the initial copy.
type Copy struct {
	Concurrency int    `json:"concurrency"`
	PartSize    string `json:"partSize"`
	IndexJobs   int    `json:"indexJobs"`
	// MaxBytesPerSecond bounds what all streams read together, like "50MiB"; empty: no bound.
	MaxBytesPerSecond string `json:"maxBytesPerSecond,omitempty"`
	// BackOff says when the source is too busy for the next part.
	BackOff *BackOff `json:"backOff,omitempty"`
	// Toast is how long values are compressed on the target, by the copy and by the stream: ToastAuto (also when empty, as in specs
	// of earlier versions) or ToastServer.
	Toast string `json:"toast,omitempty"`
}

// What Copy.Toast can be.
const (
	// ToastAuto: by lz4, where the target has it and nobody has chosen how its columns are compressed.
	ToastAuto = "auto"
	// ToastServer: as the target's default_toast_compression says.
	ToastServer = "server"
)

// ReplicationOption steers the change stream.
type ReplicationOption struct {
	Plugin string `json:"plugin"` // pgoutput | wal2json
	// Origin says whether changes that came to the source by replication from elsewhere are passed on: any | none.
	Origin string `json:"origin,omitempty"`
	Buffer string `json:"buffer"` // disk | source
	// DDL says what happens when the source's schema changes while changes are applied: stop (also when empty) or follow.
	DDL string `json:"ddl"`
	// Compress is how the disk's buffer is compressed: none | zstd.
	Compress string `json:"compress,omitempty"`
	// Lanes is over how many connections a large batch of changes is applied at the same time, 1 to MaxLanes; 0 is 1, as in specs of
	// earlier versions.
	Lanes int `json:"lanes,omitempty"`
}

// What ReplicationOption.DDL can be.
const (
	DDLStop   = "stop"
	DDLFollow = "follow"
)

// Cutover steers the switch.
type Cutover struct {
	Mode    string `json:"mode"` // signal | auto
	MaxLag  string `json:"maxLag"`
	Fence   string `json:"fence"`  // readOnly | none
	Verify  string `json:"verify"` // checksum | count | none
	Reverse bool   `json:"reverse,omitempty"`
	// MaxDowntime is how long the source may be fenced before the cutover is given up, like "60s".
	MaxDowntime string `json:"maxDowntime,omitempty"`
	// SequenceMargin is added to each sequence on the target, in steps of its increment.
	SequenceMargin int64 `json:"sequenceMargin,omitempty"`
	// Switch leads the application to the target as the last step; nil: a person does.
	Switch *Switch `json:"switch,omitempty"`
}

// PartBytes is Copy.PartSize in bytes.
func (c Copy) PartBytes() int64 { n, _ := ParseBytes(c.PartSize); return n }

// MaxLagBytes is Cutover.MaxLag in bytes.
func (c Cutover) MaxLagBytes() int64 { n, _ := ParseBytes(c.MaxLag); return n }

// CodeBadSpec and CodePasswordInSpec are the fault codes of a refused spec.
const (
	CodeBadSpec        = "bad-spec"
	CodePasswordInSpec = "password-in-spec"
)

// ParseSpec reads one JSON object, refuses unknown keys, passwords and contradictions, and fills in the defaults. The
// error is a *fault.Error of class Operator that names the key.
func ParseSpec(raw []byte) (Spec, error) {
	if err := refusePasswords(raw); err != nil {
		return Spec{}, err
	}
	var s Spec
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return Spec{}, wrongType(wrong)
		}
		return Spec{}, badSpec("spec", decodeHint(err), "%w", cleanDecodeError(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Spec{}, badSpec("spec", "give exactly one JSON object", "there is more after the object")
	}
	s.setDefaults()
	if err := s.validate(); err != nil {
		return Spec{}, err
	}
	return s, nil
}

func badSpec(subject, hint, format string, args ...any) *fault.Error {
	return fault.New(fault.Operator, "read", subject, hint, format, args...).WithCode(CodeBadSpec)
}

// wrongType says what a key wants instead of what it has. Only a number is repeated: text could be a secret in the wrong place.
func wrongType(e *json.UnmarshalTypeError) *fault.Error {
	key := strings.ReplaceAll(e.Field, "Endpoint.", "") // of an embedded struct, which the JSON does not show
	word, hint := "an object", "see the example in the README"
	switch wanted := e.Type.String(); {
	case wanted == "string":
		word, hint = "text", "put it in double quotes"
	case wanted == "bool":
		word, hint = "true or false", "write true or false, without quotes"
	case strings.HasPrefix(wanted, "int"):
		word, hint = "a whole number", "write a number like 4, without quotes or unit"
	case strings.HasPrefix(wanted, "float"):
		word, hint = "a number", "write a number like 50, without quotes or unit"
	case key == "hypertables":
		word, hint = "a list", "list the tables; starter preflight --suggest proposes some, and never makes one by itself"
	case strings.HasPrefix(wanted, "[]"):
		word, hint = "a list", "write it as a list, in brackets"
	}
	has, ok := map[string]string{"string": "text", "bool": "true or false", "array": "a list", "object": "an object", "number": "a number"}[e.Value]
	if !ok {
		has = strings.TrimPrefix(e.Value, "number ")
	}
	return badSpec(key, hint, "it must be %s, not %s", word, has)
}

func cleanDecodeError(err error) error {
	msg := strings.TrimPrefix(err.Error(), "json: ")
	if key, ok := strings.CutPrefix(msg, "unknown field "); ok {
		return fmt.Errorf("unknown key %s", key)
	}
	return errors.New(msg)
}

func decodeHint(err error) string {
	if strings.Contains(err.Error(), "unknown field") {
		return "remove it or correct its spelling; the README lists every key"
	}
	return "see the example in the README"
}

// urlWithPassword matches user:password@ in a URL, and password= in a URL's query or in libpq's keyword form.
var urlWithPassword = regexp.MustCompile(`(?i)[a-z]+://[^/\s:@]*:[^/\s@]+@|\bpassword\s*=`)

// refusePasswords looks at the raw JSON before anything else does, so that no message can repeat a secret.
func refusePasswords(raw []byte) error {
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return badSpec("spec", "see the example in the README", "it is not valid JSON: %s", syntaxPosition(err))
	}
	if _, ok := tree.(map[string]any); !ok {
		return badSpec("spec", "see the example in the README", "it must be one JSON object")
	}
	return findPassword("", tree)
}

func syntaxPosition(err error) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf("at byte %d", syntax.Offset)
	}
	return "it cannot be read"
}

func findPassword(at string, node any) error {
	const hint = `use {"env": "NAME"}, {"file": "/path"}, {"secretArn": "…"}, {"rdsManaged": true} or {"iam": true}; and change that password, since it may have been recorded`
	switch n := node.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(n)) {
			value := n[key]
			here := strings.TrimPrefix(at+"."+key, ".")
			if at != "prepare.parameters" && strings.Contains(strings.ToLower(key), "password") && isScalar(value) {
				return fault.New(fault.Operator, "read", here, hint, "a password must not be in the spec, since a spec is kept in history").WithCode(CodePasswordInSpec)
			}
			if err := findPassword(here, value); err != nil {
				return err
			}
		}
	case []any:
		for i, value := range n {
			if err := findPassword(fmt.Sprintf("%s[%d]", at, i), value); err != nil {
				return err
			}
		}
	case string:
		if urlWithPassword.MatchString(n) {
			return fault.New(fault.Operator, "read", at, hint, "a URL with a password must not be in the spec, since a spec is kept in history").WithCode(CodePasswordInSpec)
		}
	}
	return nil
}

// isScalar is true for what could itself be a password; a reference is an object, and null is none.
func isScalar(value any) bool {
	switch value.(type) {
	case map[string]any, nil:
		return false
	}
	return true
}

func (s *Spec) setDefaults() {
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	for _, e := range []*Endpoint{&s.Source.Endpoint, &s.Target} {
		if e.Port == 0 {
			e.Port = 5432
		}
		fill(&e.SSLMode, "prefer")
	}
	if s.Source.RDS != nil && s.Prepare.ParameterGroup == "" {
		s.Prepare.ParameterGroup = s.Source.RDS.Instance + s.Source.RDS.Cluster + "-timeferry"
	}
	fill(&s.Prepare.Reboot, "approve")
	fill(&s.Prepare.Machine, "warn")
	if len(s.Tables.Include) == 0 {
		s.Tables.Include = []string{"*.*"}
	}
	fill(&s.ReplicaIdentity.Fallback, "full")
	fill(&s.Roles, "migrate")
	fill(&s.Privileges, "migrate")
	for i := range s.Hypertables {
		fill(&s.Hypertables[i].ChunkInterval, "7 days")
	}
	if s.Copy.Concurrency == 0 {
		s.Copy.Concurrency = 4
	}
	fill(&s.Copy.PartSize, "1GiB")
	fill(&s.Copy.Toast, ToastAuto)
	if s.Copy.IndexJobs == 0 {
		s.Copy.IndexJobs = 2
	}
	fill(&s.Replication.Plugin, "pgoutput")
	fill(&s.Replication.Origin, "any")
	fill(&s.Replication.DDL, DDLStop)
	fill(&s.Replication.Buffer, BufferDisk)
	fill(&s.Replication.Compress, CompressNone)
	if s.Replication.Lanes == 0 {
		s.Replication.Lanes = 1
	}
	s.Cutover.setDefaults()
}

var validName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// nameProblem says what is wrong with a migration's name, and what to do; "" if nothing is.
func nameProblem(name string) (problem, hint string) {
	switch {
	case !validName.MatchString(name):
		return fmt.Sprintf("%q cannot name a migration", name), "choose 1 to 40 of a-z, 0-9 and -"
	case strings.HasSuffix(name, "-ins"), strings.HasSuffix(name, backSuffix): // another's second publication, or its way back, may be called so
		return fmt.Sprintf("%q cannot name a migration", name), "choose a name that does not end in -ins or " + backSuffix
	}
	return "", ""
}

// NameProblem says in one sentence why no migration can be called so; "" if one can.
func NameProblem(name string) string {
	problem, hint := nameProblem(name)
	if problem == "" {
		return ""
	}
	return problem + ": " + hint
}

func (s *Spec) validate() error {
	if problem, hint := nameProblem(s.Name); problem != "" {
		return badSpec("name", hint, "%s", problem)
	}
	if r := s.Source.RDS; r != nil && (r.Instance == "") == (r.Cluster == "") {
		return badSpec("source.rds", "name either instance or cluster", "exactly one of the two is needed")
	}
	if s.Source.RDS == nil && s.Source.Host == "" {
		return badSpec("source.host", "name the host, or the RDS instance under source.rds", "it is missing")
	}
	if s.Source.RDS == nil && (s.Source.Password.RDSManaged || s.Source.Password.IAM) {
		return badSpec("source.password", "name the RDS instance under source.rds", "rdsManaged and iam need it")
	}
	if s.Target.Host == "" {
		return badSpec("target.host", "name the host of the target service", "it is missing")
	}
	if s.Target.Password.RDSManaged || s.Target.Password.IAM {
		return badSpec("target.password", "use env, file or secretArn", "rdsManaged and iam are for the source only")
	}
	for _, e := range []struct {
		at string
		e  Endpoint
	}{{"source", s.Source.Endpoint}, {"target", s.Target}} {
		if err := e.e.validate(e.at); err != nil {
			return err
		}
	}
	for _, c := range []struct{ at, value, allowed string }{
		{"prepare.reboot", s.Prepare.Reboot, "approve auto never"},
		{"prepare.machine", s.Prepare.Machine, "warn require skip"},
		{"replicaIdentity.fallback", s.ReplicaIdentity.Fallback, "full fail skip"},
		{"roles", s.Roles, "migrate skip"},
		{"privileges", s.Privileges, "migrate skip"},
		{"copy.toast", s.Copy.Toast, "auto server"},
		{"replication.plugin", s.Replication.Plugin, "pgoutput wal2json"},
		{"replication.origin", s.Replication.Origin, "any none"},
		{"replication.buffer", s.Replication.Buffer, "disk source"},
		{"replication.ddl", s.Replication.DDL, "stop follow"},
		{"replication.compress", s.Replication.Compress, "none zstd"},
		{"cutover.mode", s.Cutover.Mode, "signal auto"},
		{"cutover.fence", s.Cutover.Fence, "readOnly none"},
		{"cutover.verify", s.Cutover.Verify, "checksum count none"},
	} {
		if err := oneOf(c.at, c.value, c.allowed); err != nil {
			return err
		}
	}
	if err := s.Prepare.validate(s.Source.RDS != nil); err != nil {
		return err
	}
	return s.validateRest()
}

func (p Prepare) validate(onRDS bool) error {
	switch {
	case p.Window != "" && p.Reboot != "auto":
		return badSpec("prepare.window", "set prepare.reboot to auto, or leave the window out", "it is for reboot: auto, and prepare.reboot is %s", p.Reboot)
	case p.Window != "" && !onRDS:
		return badSpec("prepare.window", "name the instance under source.rds, or leave the window out", "it is for a source on RDS")
	case p.SecurityGroup != "" && !onRDS:
		return badSpec("prepare.securityGroup", "name the instance under source.rds, or open the port for the worker yourself", "it is for a source on RDS")
	case p.WorkerCIDR != "" && p.SecurityGroup == "":
		return badSpec("prepare.workerCIDR", "name the security group to open under prepare.securityGroup", "it is given without one")
	case p.WorkerCIDR == "":
		return nil
	}
	if prefix, err := netip.ParsePrefix(p.WorkerCIDR); err != nil || prefix.Bits() == 0 {
		return badSpec("prepare.workerCIDR", "give the worker's private address as a range, like 10.0.1.15/32", "%q is not a range of addresses that may be let in", p.WorkerCIDR)
	}
	return nil
}

func (s *Spec) validateRest() error {
	if err := s.Replication.validate(); err != nil {
		return err
	}
	for _, c := range []struct{ at, value string }{{"copy.partSize", s.Copy.PartSize}, {"cutover.maxLag", s.Cutover.MaxLag}} {
		if n, err := ParseBytes(c.value); err != nil || n <= 0 {
			return badSpec(c.at, "write a size like 16MiB or 1GiB", "%q is not a size", c.value)
		}
	}
	if err := s.Copy.validate(s.Source.RDS != nil); err != nil {
		return err
	}
	if err := s.Verify.validate(); err != nil {
		return err
	}
	if err := s.Cutover.validate(); err != nil {
		return err
	}
	for _, p := range slices.Concat(s.Tables.Include, s.Tables.Exclude, s.Tables.ExcludeData) {
		if _, _, ok := parsePattern(p); !ok {
			return badSpec("tables", "write schema.table, with * and ? as wildcards; put a name with a dot in double quotes", "%q is not a pattern", p)
		}
	}
	seen := map[ident.Table]bool{}
	for i, h := range s.Hypertables {
		at := fmt.Sprintf("hypertables[%d]", i)
		t, ok := ident.ParseTable(h.Table)
		switch {
		case !ok:
			return badSpec(at+".table", "write schema.table", "%q is not a table name", h.Table)
		case seen[t]:
			return badSpec(at+".table", "list each table once", "%s is listed twice", t)
		case h.TimeColumn == "":
			return badSpec(at+".timeColumn", "name the column that holds the time", "it is missing for %s", t)
		case (h.SpaceColumn == "") != (h.SpacePartitions == 0):
			return badSpec(at, "give spaceColumn and spacePartitions together, or neither", "only one is set for %s", t)
		case h.SpaceColumn != "" && h.SpaceColumn == h.TimeColumn:
			return badSpec(at+".spaceColumn", "choose another column than the time column", "it is the time column of %s", t)
		case h.SpacePartitions < 0 || h.SpacePartitions > 32767:
			return badSpec(at+".spacePartitions", "choose 1 to 32767", "%d is out of range", h.SpacePartitions)
		}
		if h.Key != "" {
			if err := oneOf(at+".key", h.Key, "refuse extend drop"); err != nil {
				return err
			}
		}
		seen[t] = true
	}
	return nil
}

func (e Endpoint) validate(at string) error {
	if e.Database == "" {
		return badSpec(at+".database", "name the database", "it is missing")
	}
	if e.User == "" {
		return badSpec(at+".user", "name the user to log in as", "it is missing")
	}
	if e.Port < 1 || e.Port > 65535 {
		return badSpec(at+".port", "choose 1 to 65535", "%d is not a port", e.Port)
	}
	if err := oneOf(at+".sslMode", e.SSLMode, "disable allow prefer require verify-ca verify-full"); err != nil {
		return err
	}
	if n := e.Password.count(); n > 1 {
		return badSpec(at+".password", "give exactly one of env, file, secretArn, rdsManaged, iam", "%d are set", n)
	} else if n == 0 {
		return badSpec(at+".password", "give exactly one of env, file, secretArn, rdsManaged, iam", "none is set")
	}
	return nil
}

func (r SecretRef) count() int {
	n := 0
	for _, set := range []bool{r.Env != "", r.File != "", r.SecretARN != "", r.RDSManaged, r.IAM} {
		if set {
			n++
		}
	}
	return n
}

func oneOf(at, value, allowed string) error {
	words := strings.Fields(allowed)
	for _, w := range words {
		if value == w {
			return nil
		}
	}
	return badSpec(at, "choose one of "+strings.Join(words, ", "), "%q is not known", value)
}

// Includes says whether the table is in the scope: its definition is carried over.
func (t Tables) Includes(table ident.Table) bool {
	return matchAny(t.Include, table) && !matchAny(t.Exclude, table)
}

// Moves says whether the table's rows and changes are carried over too.
func (t Tables) Moves(table ident.Table) bool {
	return t.Includes(table) && !matchAny(t.ExcludeData, table)
}

// ParseBytes reads "16MiB", "1GiB", "500kB", "1000": powers of 1024 with an i, of 1000 without.
func ParseBytes(s string) (int64, error) {
	s = strings.TrimSpace(s)
	digits := strings.TrimRight(s, "kKMGTiBb ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse size %q: want a number and a unit like MiB", s)
	}
	unit := strings.TrimSpace(s[len(digits):])
	factor, ok := map[string]int64{"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"kiB": 1 << 10, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}[unit]
	if !ok || n < 0 || n > (1<<62)/factor {
		return 0, fmt.Errorf("parse size %q: want a number and a unit like MiB", s)
	}
	return n * factor, nil
}
