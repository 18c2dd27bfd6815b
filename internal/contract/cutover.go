package contract

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"timeferry/internal/change"
)

// Switch is how the application is led to the target at the end of the cutover: exactly one of the three.
type Switch struct {
	PgBouncer *PgBouncerSwitch `json:"pgbouncer,omitempty"`
	Secret    *SecretSwitch    `json:"secret,omitempty"`
	HTTP      *HTTPSwitch      `json:"http,omitempty"`
	// Target is the address that the application is given, where it is another than the one in target.
	Target *Address `json:"target,omitempty"`
	// Source is the address that a rollback gives the application, where it is another than the one in source.
	Source *Address `json:"source,omitempty"`
}

// Address is where a database is reached.
type Address struct {
	Host     string `json:"host"`
	Port     int    `json:"port,omitempty"`
	Database string `json:"database,omitempty"`
}

// PgBouncerSwitch rewrites one line of the [databases] section in a file of PgBouncer's.
type PgBouncerSwitch struct {
	// Admin is PgBouncer's console: its database is "pgbouncer" unless said otherwise.
	Admin Endpoint `json:"admin"`
	// Database is the name that clients connect to.
	Database string `json:"database"`
	// File is pgbouncer.ini, or the file it includes, on the machine of the worker that keeps the spool.
	File string `json:"file"`
	// Pause is how long clients may finish their transactions before the fence ends their sessions.
	Pause string `json:"pause,omitempty"`
}

// SecretSwitch writes the target's address into a Secrets Manager secret that is a JSON object. Other keys stay.
type SecretSwitch struct {
	ARN string `json:"arn"`
	// HostKey, PortKey and DatabaseKey are the keys that are written; a key that the secret lacks is left out but for the host's.
	HostKey     string `json:"hostKey,omitempty"`
	PortKey     string `json:"portKey,omitempty"`
	DatabaseKey string `json:"databaseKey,omitempty"`
}

// HTTPSwitch calls something that knows how to switch.
type HTTPSwitch struct {
	URL string `json:"url"`
	// Key says where the HMAC key is found: env, file or secretArn.
	Key     SecretRef `json:"key"`
	Timeout string    `json:"timeout,omitempty"` // of one call
}

// Kind is the one that is set, in the spec's word.
func (s Switch) Kind() string {
	switch {
	case s.PgBouncer != nil:
		return "pgbouncer"
	case s.Secret != nil:
		return "secret"
	case s.HTTP != nil:
		return "http"
	}
	return ""
}

// MaxDowntimeDuration is Cutover.MaxDowntime; 60 s in a spec from before there was one.
func (c Cutover) MaxDowntimeDuration() time.Duration {
	if d, err := time.ParseDuration(c.MaxDowntime); err == nil {
		return d
	}
	return defaultMaxDowntime
}

const (
	defaultMaxDowntime = time.Minute
	// shortestDowntime leaves a step room to fail and to be tried again.
	shortestDowntime = 5 * time.Second
	longestDowntime  = time.Hour
	// longestPause keeps PgBouncer's clients from waiting for one that never ends its transaction.
	longestPause = 30 * time.Second
)

// PauseDuration is Pause; zero: clients are not waited for.
func (p PgBouncerSwitch) PauseDuration() time.Duration { d, _ := time.ParseDuration(p.Pause); return d }

// TimeoutDuration is Timeout.
func (h HTTPSwitch) TimeoutDuration() time.Duration { d, _ := time.ParseDuration(h.Timeout); return d }

// SwitchTarget is the address that the application is given.
func (s Spec) SwitchTarget() Address {
	a := Address{Host: s.Target.Host, Port: s.Target.Port, Database: s.Target.Database}
	if s.Cutover.Switch == nil || s.Cutover.Switch.Target == nil {
		return a
	}
	given := *s.Cutover.Switch.Target
	a.Host = given.Host
	if given.Port != 0 {
		a.Port = given.Port
	}
	if given.Database != "" {
		a.Database = given.Database
	}
	return a
}

func (c *Cutover) setDefaults() {
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&c.Mode, "signal")
	fill(&c.MaxLag, "16MiB")
	fill(&c.Fence, "readOnly")
	fill(&c.Verify, "checksum")
	fill(&c.MaxDowntime, "60s")
	if c.Switch == nil {
		return
	}
	if p := c.Switch.PgBouncer; p != nil {
		fill(&p.Admin.Database, "pgbouncer")
		fill(&p.Admin.SSLMode, "prefer")
		fill(&p.Pause, "1s")
		if p.Admin.Port == 0 {
			p.Admin.Port = 6432
		}
	}
	if s := c.Switch.Secret; s != nil {
		fill(&s.HostKey, "host")
		fill(&s.PortKey, "port")
		fill(&s.DatabaseKey, "dbname")
	}
	if h := c.Switch.HTTP; h != nil {
		fill(&h.Timeout, "5s")
	}
}

// maxSequenceMargin keeps a typing error from using up an int4.
const maxSequenceMargin = 1_000_000_000

func (c Cutover) validate() error {
	d, err := time.ParseDuration(c.MaxDowntime)
	if err != nil || d < shortestDowntime || d > longestDowntime {
		return badSpec("cutover.maxDowntime", "write a time from 5s to 1h", "%q is not one", c.MaxDowntime)
	}
	if c.SequenceMargin < 0 || c.SequenceMargin > maxSequenceMargin {
		return badSpec("cutover.sequenceMargin", "choose 0 to 1000000000", "%d is out of range", c.SequenceMargin)
	}
	if c.Reverse && c.Fence == "none" {
		return badSpec("cutover.reverse", "set cutover.fence to readOnly, or leave cutover.reverse out", "without a fence both sides would take writes")
	}
	if c.Switch == nil {
		return nil
	}
	if c.Fence == "none" {
		return badSpec("cutover.switch", "set cutover.fence to readOnly, or switch by hand", "without a fence both sides would take writes")
	}
	return c.Switch.validate()
}

func (s Switch) validate() error {
	set := 0
	for _, is := range []bool{s.PgBouncer != nil, s.Secret != nil, s.HTTP != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return badSpec("cutover.switch", "give exactly one of pgbouncer, secret, http", "%d are set", set)
	}
	for _, a := range []struct {
		key string
		*Address
	}{{"target", s.Target}, {"source", s.Source}} {
		if err := a.validate("cutover.switch." + a.key); err != nil {
			return err
		}
	}
	switch {
	case s.PgBouncer != nil:
		return s.PgBouncer.validate()
	case s.Secret != nil && s.Secret.ARN == "":
		return badSpec("cutover.switch.secret.arn", "name the secret", "it is missing")
	case s.HTTP != nil:
		return s.HTTP.validate()
	}
	return nil
}

// validate allows one that is not there.
func (a *Address) validate(at string) error {
	switch {
	case a == nil:
		return nil
	case a.Host == "":
		return badSpec(at+".host", "name the host that the application shall use, or leave it out altogether", "it is missing")
	case a.Port < 0 || a.Port > 65535:
		return badSpec(at+".port", "choose 1 to 65535", "%d is not a port", a.Port)
	}
	return nil
}

func (p PgBouncerSwitch) validate() error {
	const at = "cutover.switch.pgbouncer"
	if p.Admin.Host == "" {
		return badSpec(at+".admin.host", "name PgBouncer's host", "it is missing")
	}
	if err := p.Admin.validate(at + ".admin"); err != nil {
		return err
	}
	if p.Admin.Password.RDSManaged || p.Admin.Password.IAM {
		return badSpec(at+".admin.password", "use env, file or secretArn", "rdsManaged and iam are for the source only")
	}
	if p.Database == "" || strings.ContainsAny(p.Database, "\r\n\"") {
		return badSpec(at+".database", "give the name that clients connect to, as in PgBouncer's file", "%q is none", p.Database)
	}
	if !strings.HasPrefix(p.File, "/") {
		return badSpec(at+".file", "give the whole path of the file on the worker's machine that has the database's line", "%q is none", p.File)
	}
	if d, err := time.ParseDuration(p.Pause); err != nil || d < 0 || d > longestPause {
		return badSpec(at+".pause", "write a time from 0s to 30s", "%q is not one", p.Pause)
	}
	return nil
}

func (h HTTPSwitch) validate() error {
	const at = "cutover.switch.http"
	u, err := url.Parse(h.URL)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))) {
		return badSpec(at+".url", "give an https address without user and password; http is for the worker's own machine", "it is none that may be called")
	}
	if h.Key.count() != 1 || h.Key.RDSManaged || h.Key.IAM {
		return badSpec(at+".key", "give exactly one of env, file, secretArn: where the key is that signs the call", "%d are set", h.Key.count())
	}
	if d, err := time.ParseDuration(h.Timeout); err != nil || d < 100*time.Millisecond || d > time.Minute {
		return badSpec(at+".timeout", "write a time from 100ms to 1m", "%q is not one", h.Timeout)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// CutOffInput asks to end writing on the source and to bring over what is left. Attempt counts the switches that were tried.
type CutOffInput struct {
	Spec    Spec `json:"spec"`
	Attempt int  `json:"attempt"`
}

// CutOffResult is what CutOff found and did.
type CutOffResult struct {
	// Token names this raising of the fence: only while it is the same one may the application be switched.
	Token       string            `json:"token,omitempty"`
	MarkerLSN   change.LSN        `json:"markerLSN"`
	Replication ReplicationStatus `json:"replication"`
	Sequences   int               `json:"sequences"`
	Ended       []SessionGroup    `json:"ended,omitempty"`
	Spared      []string          `json:"spared,omitempty"` // sessions that only a superuser could end
	// Pending is how many objects HandOver has to make that must not be there while changes are applied.
	Pending int        `json:"pending,omitempty"`
	Steps   []StepTime `json:"steps"`
}

// SessionGroup are sessions alike: of one user, application and address.
type SessionGroup struct {
	User        string `json:"user"`
	Application string `json:"application,omitempty"`
	Address     string `json:"address,omitempty"` // empty for a local socket
	Count       int    `json:"count"`
}

// String is "12 × app (puma) from 10.0.0.5".
func (g SessionGroup) String() string {
	text := fmt.Sprintf("%d × %s", g.Count, g.User)
	if g.Application != "" {
		text += " (" + g.Application + ")"
	}
	if g.Address != "" {
		text += " from " + g.Address
	}
	return text
}

// HandOverInput asks to let the target be written to.
type HandOverInput struct {
	Spec    Spec   `json:"spec"`
	Attempt int    `json:"attempt"`
	Token   string `json:"token,omitempty"`
}

// HandOverResult is what HandOver did. Previous is where the application was before, for whoever puts it back.
type HandOverResult struct {
	Problems []Problem  `json:"problems,omitempty"`
	Steps    []StepTime `json:"steps"`
	Switch   string     `json:"switch,omitempty"`   // in words
	Previous string     `json:"previous,omitempty"` // like the version of a secret
}

// TakeBackInput asks to open the source again. Refused: the application certainly was not switched, though HandOver was at it.
type TakeBackInput struct {
	Spec    Spec `json:"spec"`
	Attempt int  `json:"attempt"`
	Refused bool `json:"refused,omitempty"`
}

// TakeBackResult says what became of it. HandedOver: nothing was taken back, since the application may be writing to the target.
type TakeBackResult struct {
	HandedOver bool `json:"handedOver,omitempty"`
	// Switched: it is known that the application was led to the target.
	Switched bool `json:"switched,omitempty"`
	// Restored is how many objects stand on the target that must not be there while changes are applied.
	Restored int `json:"restored,omitempty"`
	// Problems is what a person has to see to, though the source is open.
	Problems []Problem `json:"problems,omitempty"`
}

// Codes of a switch of the application that came to nothing, or to an unknown end.
const (
	CodeSwitchRefused = "switch-refused"
	CodeSwitchUnknown = "switch-unknown"
)

// UpdateReadiness is the update that asks whether a cutover would work now. It changes nothing, and is no signal.
const UpdateReadiness = "cutover-readiness"

// ReadinessInput asks the databases; what the workflow knows itself comes with it.
type ReadinessInput struct {
	Spec Spec `json:"spec"`
}

// Readiness is the answer: ready, when no check is blocking.
type Readiness struct {
	Ready  bool             `json:"ready"`
	Checks []ReadinessCheck `json:"checks"`
	// EstimatedMS is about how long the application would not be able to write.
	EstimatedMS int64 `json:"estimatedMs,omitempty"`
	// Estimate says what the estimate is made of.
	Estimate string `json:"estimate,omitempty"`
}

// ReadinessCheck is one thing that was looked at.
type ReadinessCheck struct {
	Name string `json:"name"`
	// State is ok, warning (the cutover would work) or blocking.
	State   string   `json:"state"`
	Message string   `json:"message"`
	Items   []string `json:"items,omitempty"`
	Remedy  string   `json:"remedy,omitempty"`
}

// States of a ReadinessCheck.
const (
	CheckOK       = "ok"
	CheckWarning  = "warning"
	CheckBlocking = "blocking"
)

// Add appends a check, and takes the readiness away if it is blocking.
func (r *Readiness) Add(c ReadinessCheck) {
	r.Checks = append(r.Checks, c)
	if c.State == CheckBlocking {
		r.Ready = false
	}
}
