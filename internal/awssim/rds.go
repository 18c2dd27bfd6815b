package awssim

import (
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

// apiAction is one action of a query API. run is called with the lock held and must not block.
type apiAction struct {
	run    func(s *Simulator, c call) (any, error)
	writes bool
}

var rdsActions = map[string]apiAction{
	"DescribeDBInstances":              {run: (*Simulator).describeInstances},
	"ModifyDBInstance":                 {run: (*Simulator).modifyInstance, writes: true},
	"RebootDBInstance":                 {run: (*Simulator).rebootInstance, writes: true},
	"DescribeDBEngineVersions":         {run: (*Simulator).describeEngineVersions},
	"DescribeDBParameterGroups":        {run: ofKind(instanceGroups, (*Simulator).describeGroups)},
	"DescribeDBParameters":             {run: ofKind(instanceGroups, (*Simulator).describeParameters)},
	"CreateDBParameterGroup":           {run: ofKind(instanceGroups, (*Simulator).createGroup), writes: true},
	"CopyDBParameterGroup":             {run: ofKind(instanceGroups, (*Simulator).copyGroup), writes: true},
	"ModifyDBParameterGroup":           {run: ofKind(instanceGroups, (*Simulator).modifyGroup), writes: true},
	"DeleteDBParameterGroup":           {run: ofKind(instanceGroups, (*Simulator).deleteGroup), writes: true},
	"DescribeDBClusters":               {run: (*Simulator).describeClusters},
	"ModifyDBCluster":                  {run: (*Simulator).modifyCluster, writes: true},
	"RebootDBCluster":                  {run: (*Simulator).rebootCluster, writes: true},
	"DescribeDBClusterParameterGroups": {run: ofKind(clusterGroups, (*Simulator).describeGroups)},
	"DescribeDBClusterParameters":      {run: ofKind(clusterGroups, (*Simulator).describeParameters)},
	"CreateDBClusterParameterGroup":    {run: ofKind(clusterGroups, (*Simulator).createGroup), writes: true},
	"CopyDBClusterParameterGroup":      {run: ofKind(clusterGroups, (*Simulator).copyGroup), writes: true},
	"ModifyDBClusterParameterGroup":    {run: ofKind(clusterGroups, (*Simulator).modifyGroup), writes: true},
	"DeleteDBClusterParameterGroup":    {run: ofKind(clusterGroups, (*Simulator).deleteGroup), writes: true},
	"FailoverDBCluster":                {run: (*Simulator).failoverCluster, writes: true},
	"DescribeEvents":                   {run: (*Simulator).describeEvents},
	"DescribeBlueGreenDeployments":     {run: (*Simulator).describeBlueGreen},
	"AddTagsToResource":                {run: (*Simulator).addTags, writes: true},
	"ListTagsForResource":              {run: (*Simulator).listTags},
}

// ofKind makes an action on one kind of parameter group.
func ofKind(kind groupKind, run func(*Simulator, groupKind, call) (any, error)) func(*Simulator, call) (any, error) {
	return func(s *Simulator, c call) (any, error) { return run(s, kind, c) }
}

func (s *Simulator) serveRDS(r request, form url.Values) {
	name := form.Get("Action")
	result, err := s.perform(r.ctx, "rds", name, formParameters(form), func() (any, error) { return s.tryRDS(name, form) })
	if err == nil {
		err = writeRDSResult(r.w, name, r.id, result)
	}
	if err != nil {
		writeRDSError(r.w, r.id, asAPIError(err))
	}
}

func (s *Simulator) tryRDS(name string, form url.Values) (any, error) {
	action, known := rdsActions[name]
	if !known {
		return nil, refuse("InvalidAction", "Could not find operation %s for version %s", name, rdsVersion)
	}
	if err := s.failBefore(name); err != nil {
		return nil, err
	}
	return action.run(s, call{form: form, world: s.view(action.writes)})
}

// view is what an action works on: a write on the world as it is, a read on what it may see of it.
func (s *Simulator) view(writes bool) *world {
	if !writes {
		return s.readable()
	}
	s.beforeWrite()
	return s.world
}
