package awssim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// controlPrefix is where the simulator itself is asked and told; no AWS API has paths there.
const controlPrefix = "/_control/"

// serveControl answers:
//
//	GET  /_control/calls    the log, a JSON list of Call
//	GET  /_control/held     the calls that are held now, likewise
//	POST /_control/faults   one Fault or a list of them
//	POST /_control/release  see Release
//	POST /_control/reset    see Reset
//
// A fault is a JSON object with the fields of Fault in any case: {"kind":"throttle","count":3}. The kinds and what they read,
// beside count (default 1) or percent, and action for those on calls:
//
//	throttle               Throttling, in the service's own words, without effect
//	fail-call              code (UnauthorizedOperation, with status 403, …), message, status: that error, without effect
//	lose-answer            takes effect, but answers HTTP 500
//	hold                   takes effect, but is not answered until release; code "before": not even the effect
//	refuse-reboot          RebootDBInstance, RebootDBCluster: not in a state for it
//	reboot-as-failover     the reboot applies no static parameters
//	reboot-forgotten       the reboot is accepted and never comes
//	fail-start             instance: the reboot ends in incompatible-parameters
//	fail-rotation          the next rotation of a master user's secret ends as impaired
//	stale-reads            that many reads see the state before the next write
//	late-applying          that many reads see an attached group before it is applying
//	read-lag               for: every write is seen only so much later; until reset
//	slow-states            factor: states that begin from now on last so many times as long; until reset
//	backing-up             instance, for: its status, a cluster's too
//	force-status           instance, code, for: any status
//	metadata-refuse-token  no metadata token: 403
//	metadata-unreachable   the metadata service cuts the connection
//	metadata-slow          for: the metadata service answers so late
func (s *Simulator) serveControl(w http.ResponseWriter, r *http.Request, body []byte) {
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, controlPrefix) {
	case "GET calls":
		controlAnswer(w, http.StatusOK, s.Log())
	case "GET held":
		controlAnswer(w, http.StatusOK, s.Held())
	case "POST release":
		controlAnswer(w, http.StatusOK, map[string]int{"released": s.Release()})
	case "POST faults":
		faults, err := readFaults(body)
		if err != nil {
			controlAnswer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		for _, f := range faults {
			s.Inject(f)
		}
		controlAnswer(w, http.StatusOK, map[string]int{"injected": len(faults)})
	case "POST reset":
		s.Reset()
		controlAnswer(w, http.StatusOK, struct{}{})
	default:
		controlAnswer(w, http.StatusNotFound, map[string]string{"error": "there are GET calls and held, POST faults, release and reset"})
	}
}

func controlAnswer(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be encoded"}`)
	}
	write(w, "application/json", status, append(body, '\n'))
}

// Reset forgets the log, the counts and every fault that has not happened yet, ends statuses that a fault forces, and lets
// held calls go on. What callers have made stays: instances, groups, rules, secrets.
func (s *Simulator) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.calls, s.faults = nil, map[string]int{}, nil
	s.stale, s.reads, s.snapshots, s.lag = nil, 0, nil, 0
	s.slowness.Store(0)
	s.release()
	for _, in := range s.world.instances {
		if in.forced != "" && in.status == in.forced {
			in.status = statusAvailable
		}
		in.forced = ""
	}
	for _, cl := range s.world.clusters {
		if cl.forced != "" && cl.status == cl.forced {
			cl.status = statusAvailable
		}
		cl.forced = ""
	}
}

// faultJSON is Fault on the control endpoint: For is a duration such as "500ms", or a number of nanoseconds.
type faultJSON struct {
	Kind     FaultKind
	Count    int
	Percent  int
	Action   string
	Instance string
	Code     string
	Message  string
	Status   int
	For      json.RawMessage
	Factor   float64
}

func readFaults(body []byte) ([]Fault, error) {
	var list []faultJSON
	var err error
	if body = bytes.TrimSpace(body); bytes.HasPrefix(body, []byte("[")) {
		err = decodeStrictly(body, &list)
	} else {
		list = make([]faultJSON, 1)
		err = decodeStrictly(body, &list[0])
	}
	if err != nil {
		return nil, err
	}
	var out []Fault
	for _, j := range list {
		if !slices.Contains(faultKinds, j.Kind) {
			return nil, fmt.Errorf("no fault of kind %q; there are %q", j.Kind, faultKinds)
		}
		if j.Kind == SlowStates && j.Factor <= 0 {
			return nil, fmt.Errorf("a fault of kind %q needs a factor above 0", SlowStates)
		}
		d, err := readDuration(j.For)
		if err != nil {
			return nil, err
		}
		out = append(out, Fault{Kind: j.Kind, Count: j.Count, Percent: j.Percent, Action: j.Action, Instance: j.Instance,
			Code: j.Code, Message: j.Message, Status: j.Status, For: d, Factor: j.Factor})
	}
	return out, nil
}

// decodeStrictly refuses names it does not know: a fault with a misspelt field would be another fault.
func decodeStrictly(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("not a fault: %w", err)
	}
	return nil
}

func readDuration(raw json.RawMessage) (time.Duration, error) {
	if len(raw) == 0 {
		return 0, nil
	}
	var number int64
	if json.Unmarshal(raw, &number) == nil {
		return time.Duration(number), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return 0, fmt.Errorf("for: neither a duration nor a number: %s", raw)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("for: %w", err)
	}
	return d, nil
}
