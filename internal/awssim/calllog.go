package awssim

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Call is one API call as the simulator saw it.
type Call struct {
	Number     int               `json:"number"` // from 1, in the order in which the calls took effect
	At         time.Time         `json:"at"`
	Service    string            `json:"service"` // rds, ec2 or secretsmanager
	Action     string            `json:"action"`
	Parameters map[string]string `json:"parameters,omitempty"` // as on the wire; without secrets and request tokens
	Code       string            `json:"code,omitempty"`       // error code of the answer; empty for success
}

// String is for assertions and logs: "rds:RebootDBInstance DBInstanceIdentifier=shop -> InvalidDBInstanceState".
func (c Call) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%s", c.Service, c.Action)
	for _, key := range slices.Sorted(maps.Keys(c.Parameters)) {
		fmt.Fprintf(&b, " %s=%s", key, c.Parameters[key])
	}
	if c.Code != "" {
		fmt.Fprintf(&b, " -> %s", c.Code)
	}
	return b.String()
}

// Log gives every call since the start or the last Reset, in order, refused and failed ones too.
func (s *Simulator) Log() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.log)
	for i := range out {
		out[i].Parameters = maps.Clone(out[i].Parameters)
	}
	return out
}

// perform runs one call: it is counted and logged together with its effect, so that the log's order is the order of
// effects. Hooks that run has asked for by s.after follow before the answer, without the lock.
func (s *Simulator) perform(service, action string, parameters map[string]string, run func() (any, error)) (any, error) {
	s.mu.Lock()
	s.calls[action]++
	number := len(s.log)
	s.log = append(s.log, Call{Number: number + 1, At: time.Now().UTC(), Service: service, Action: action, Parameters: parameters})
	answer, err := run()
	if err == nil {
		err = s.failAfter(action)
	}
	if err != nil {
		s.log[number].Code = asAPIError(err).code
	}
	after := s.after
	s.after = nil
	s.mu.Unlock()
	for _, hook := range after {
		hook()
	}
	return answer, err
}

// unlogged are parameters that say nothing or too much.
var unlogged = map[string]bool{"Action": true, "Version": true, "ClientToken": true, "ClientRequestToken": true,
	"MasterUserPassword": true, "SecretString": true, "SecretBinary": true}

func formParameters(form url.Values) map[string]string {
	out := map[string]string{}
	for key := range form {
		if !unlogged[key] {
			out[key] = form.Get(key)
		}
	}
	return out
}

// jsonParameters takes the scalars of a JSON request; what cannot be read is left to the operation to refuse.
func jsonParameters(body []byte) map[string]string {
	var all map[string]any
	if err := json.Unmarshal(body, &all); err != nil {
		return nil
	}
	out := map[string]string{}
	for key, value := range all {
		switch value.(type) {
		case string, bool, float64:
			if !unlogged[key] {
				out[key] = fmt.Sprint(value)
			}
		}
	}
	return out
}
