package awssim

import (
	"net/http"
	"net/url"
	"strings"
)

// call is one request on its way through an action. World is what the action sees: the current one, or for a read under
// read-after-write lag an older one.
type call struct {
	form  url.Values
	world *world
}

func (c call) get(name string) string { return c.form.Get(name) }

// lower is for identifiers, which RDS stores in lower case.
func (c call) lower(name string) string { return strings.ToLower(c.form.Get(name)) }

func (c call) isTrue(name string) bool { return strings.EqualFold(c.form.Get(name), "true") }

// rdsAction is one action of the API. run is called with the lock held and must not block.
type rdsAction struct {
	run    func(s *Simulator, c call) (any, error)
	writes bool
}

var rdsActions = map[string]rdsAction{
	"DescribeDBInstances":       {run: (*Simulator).describeInstances},
	"ModifyDBInstance":          {run: (*Simulator).modifyInstance, writes: true},
	"RebootDBInstance":          {run: (*Simulator).rebootInstance, writes: true},
	"DescribeDBEngineVersions":  {run: (*Simulator).describeEngineVersions},
	"DescribeDBParameterGroups": {run: (*Simulator).describeGroups},
	"DescribeDBParameters":      {run: (*Simulator).describeParameters},
	"CreateDBParameterGroup":    {run: (*Simulator).createGroup, writes: true},
	"CopyDBParameterGroup":      {run: (*Simulator).copyGroup, writes: true},
	"ModifyDBParameterGroup":    {run: (*Simulator).modifyGroup, writes: true},
	"DeleteDBParameterGroup":    {run: (*Simulator).deleteGroup, writes: true},
	"AddTagsToResource":         {run: (*Simulator).addTags, writes: true},
	"ListTagsForResource":       {run: (*Simulator).listTags},
}

func (s *Simulator) serveRDS(w http.ResponseWriter, form url.Values, id string) {
	name := form.Get("Action")
	result, err := s.runRDS(name, form)
	if err == nil {
		err = writeRDSResult(w, name, id, result)
	}
	if err != nil {
		writeRDSError(w, id, asAPIError(err))
	}
}

func (s *Simulator) runRDS(name string, form url.Values) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[name]++
	action, known := rdsActions[name]
	if !known {
		return nil, refuse("InvalidAction", "Could not find operation %s for version %s", name, rdsVersion)
	}
	if err := s.failBefore(name); err != nil {
		return nil, err
	}
	seen := s.world
	if action.writes {
		s.armStaleReads()
	} else {
		seen = s.readable()
	}
	result, err := action.run(s, call{form: form, world: seen})
	if err != nil {
		return nil, err
	}
	if err := s.failAfter(name); err != nil {
		return nil, err
	}
	return result, nil
}
