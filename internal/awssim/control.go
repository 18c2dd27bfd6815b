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
//	GET  /_control/calls   the log, a JSON list of Call
//	POST /_control/faults  one Fault or a list of them
//	POST /_control/reset   see Reset
func (s *Simulator) serveControl(w http.ResponseWriter, r *http.Request, body []byte) {
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, controlPrefix) {
	case "GET calls":
		controlAnswer(w, http.StatusOK, s.Log())
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
		controlAnswer(w, http.StatusNotFound, map[string]string{"error": "there are GET calls, POST faults and POST reset"})
	}
}

func controlAnswer(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be encoded"}`)
	}
	write(w, "application/json", status, append(body, '\n'))
}

// Reset forgets the log, the counts and every fault that has not happened yet, and ends statuses that a fault forces. What
// callers have made stays: instances, groups, rules, secrets.
func (s *Simulator) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.calls, s.faults = nil, map[string]int{}, nil
	s.stale, s.reads, s.snapshots, s.lag = nil, 0, nil, 0
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
		d, err := readDuration(j.For)
		if err != nil {
			return nil, err
		}
		out = append(out, Fault{Kind: j.Kind, Count: j.Count, Percent: j.Percent, Action: j.Action, Instance: j.Instance,
			Code: j.Code, Message: j.Message, Status: j.Status, For: d})
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
