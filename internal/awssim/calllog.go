package awssim

import (
	"context"
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
	Service    string            `json:"service"` // rds, ec2, secretsmanager or ssm
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
// effects. Hooks that run has asked for by s.after follow before the answer, without the lock, and OnCall after them. A
// Hold fault stops it before everything, in which case a caller that goes away has not called at all, or before the answer.
func (s *Simulator) perform(ctx context.Context, service, action string, parameters map[string]string, run func() (any, error)) (any, error) {
	now := Call{Service: service, Action: action, Parameters: parameters}
	s.mu.Lock()
	if s.takeHold(action, true) && !s.hold(ctx, now) {
		s.mu.Unlock()
		return nil, errNobodyWaits
	}
	s.calls[action]++
	number := len(s.log)
	now.Number, now.At = number+1, time.Now().UTC()
	s.log = append(s.log, now)
	answer, err := run()
	if err == nil {
		err = s.failAfter(action)
	}
	if err != nil {
		now.Code = asAPIError(err).code
		s.log[number].Code = now.Code
	}
	after, withheld := s.after, s.takeHold(action, false)
	s.after = nil
	s.mu.Unlock()
	for _, hook := range after {
		hook()
	}
	if s.options.OnCall != nil {
		now.Parameters = maps.Clone(parameters)
		s.options.OnCall(now)
	}
	if withheld {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hold(ctx, now) // also for a caller that is gone: writing the answer to nobody does no harm
	}
	return answer, err
}

// unlogged are parameters that say nothing or too much.
var unlogged = map[string]bool{"Action": true, "Version": true, "ClientToken": true, "ClientRequestToken": true, "StartTime": true, "EndTime": true,
	"MasterUserPassword": true, "SecretString": true, "SecretBinary": true, "UserData": true}

func formParameters(form url.Values) map[string]string {
	out := map[string]string{}
	for key := range form {
		if !unlogged[key] {
			out[key] = form.Get(key)
		}
	}
	return out
}

// jsonParameters takes the scalars of a JSON request, and its lists of texts with commas; what cannot be read is left to the operation to refuse.
func jsonParameters(body []byte) map[string]string {
	var all map[string]any
	if err := json.Unmarshal(body, &all); err != nil {
		return nil
	}
	out := map[string]string{}
	for key, value := range all {
		if unlogged[key] {
			continue
		}
		switch value := value.(type) {
		case string, bool, float64:
			out[key] = fmt.Sprint(value)
		case []any:
			out[key] = strings.Join(mapped(value, func(item any) string { return fmt.Sprint(item) }), ",")
		}
	}
	return out
}
