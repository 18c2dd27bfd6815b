package awssim

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

const defaultPrefix = "default."

// group is a DB parameter group or a DB cluster parameter group: only the values that users set; everything else comes from the catalogue.
type group struct {
	name        string
	family      string
	cluster     bool
	description string
	values      map[string]setValue
	tags        map[string]string
}

type setValue struct {
	value  string
	method string // immediate or pending-reboot
}

func (g *group) kind() groupKind {
	if g.cluster {
		return clusterGroups
	}
	return instanceGroups
}

// catalogue is the key of the group's parameters, see parameters.go.
func (g *group) catalogue() string {
	if g.cluster {
		return clusterCatalogue + g.family
	}
	return g.family
}

// groupKind is what makes the calls for the two kinds of groups different.
type groupKind struct {
	cluster bool
	noun    string // beginning of the request's field names
	arn     string
}

var (
	instanceGroups = groupKind{noun: "DBParameterGroup", arn: "pg"}
	clusterGroups  = groupKind{cluster: true, noun: "DBClusterParameterGroup", arn: "cluster-pg"}
)

func (k groupKind) in(w *world) map[string]*group {
	if k.cluster {
		return w.clusterGroups
	}
	return w.groups
}

func (g *group) isDefault() bool { return strings.HasPrefix(g.name, defaultPrefix) }

func (g *group) clone() *group {
	out := *g
	out.values, out.tags = maps.Clone(g.values), maps.Clone(g.tags)
	return &out
}

// userValues are the values without the methods.
func (g *group) userValues() map[string]string {
	out := map[string]string{}
	for name, v := range g.values {
		out[name] = v.value
	}
	return out
}

type groupXML struct {
	DBParameterGroupName   string
	DBParameterGroupFamily string
	Description            string
	DBParameterGroupArn    string
}

type groupResult struct {
	DBParameterGroup groupXML
}

type clusterGroupXML struct {
	DBClusterParameterGroupName string
	DBParameterGroupFamily      string
	Description                 string
	DBClusterParameterGroupArn  string
}

type clusterGroupResult struct {
	DBClusterParameterGroup clusterGroupXML
}

func (s *Simulator) clusterGroupXML(g *group) clusterGroupXML {
	return clusterGroupXML{DBClusterParameterGroupName: g.name, DBParameterGroupFamily: g.family, Description: g.description,
		DBClusterParameterGroupArn: s.arn("rds", "cluster-pg", g.name)}
}

// groupAnswer is what Create and Copy give.
func (s *Simulator) groupAnswer(g *group) any {
	if g.cluster {
		return clusterGroupResult{s.clusterGroupXML(g)}
	}
	return groupResult{s.groupXML(g)}
}

func (s *Simulator) groupXML(g *group) groupXML {
	return groupXML{DBParameterGroupName: g.name, DBParameterGroupFamily: g.family, Description: g.description,
		DBParameterGroupArn: s.arn("rds", "pg", g.name)}
}

func (w *world) group(kind groupKind, name string) (*group, error) {
	if name == "" {
		return nil, refuse("InvalidParameterValue", "The parameter %sName must be provided and must not be blank.", kind.noun)
	}
	g := kind.in(w)[strings.ToLower(name)]
	if g == nil {
		return nil, notFound("DBParameterGroupNotFound", "%s not found: %s", kind.noun, name)
	}
	return g, nil
}

type describeGroupsResult struct {
	Marker string     `xml:",omitempty"`
	Groups []groupXML `xml:"DBParameterGroups>DBParameterGroup"`
}

type describeClusterGroupsResult struct {
	Marker string            `xml:",omitempty"`
	Groups []clusterGroupXML `xml:"DBClusterParameterGroups>DBClusterParameterGroup"`
}

func (s *Simulator) describeGroups(kind groupKind, c call) (any, error) {
	var all []*group
	if name := c.get(kind.noun + "Name"); name != "" {
		g, err := c.world.group(kind, name)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	} else {
		groups := kind.in(c.world)
		for _, name := range slices.Sorted(maps.Keys(groups)) {
			all = append(all, groups[name])
		}
	}
	part, marker, err := page(c.form, all)
	if kind.cluster {
		return describeClusterGroupsResult{Marker: marker, Groups: mapped(part, s.clusterGroupXML)}, err
	}
	return describeGroupsResult{Marker: marker, Groups: mapped(part, s.groupXML)}, err
}

func mapped[T, U any](all []T, to func(T) U) []U {
	var out []U
	for _, item := range all {
		out = append(out, to(item))
	}
	return out
}

type parameterXML struct {
	ParameterName  string
	ParameterValue *string `xml:",omitempty"`
	Description    string
	Source         string
	ApplyType      string
	DataType       string
	AllowedValues  string `xml:",omitempty"`
	IsModifiable   bool
	ApplyMethod    string
}

type describeParametersResult struct {
	Marker     string         `xml:",omitempty"`
	Parameters []parameterXML `xml:"Parameters>Parameter"`
}

func (s *Simulator) describeParameters(kind groupKind, c call) (any, error) {
	g, err := c.world.group(kind, c.get(kind.noun+"Name"))
	if err != nil {
		return nil, err
	}
	var all []parameterXML
	for _, p := range catalogue()[g.catalogue()] {
		row := parameterXML{ParameterName: p.name, Description: p.description, Source: p.source, ApplyType: p.applyType(),
			DataType: p.dataType, AllowedValues: p.allowed, IsModifiable: p.modifiable, ApplyMethod: "pending-reboot"}
		if p.value != "" {
			row.ParameterValue = &p.value
		}
		if set, isSet := g.values[p.name]; isSet {
			row.ParameterValue, row.Source, row.ApplyMethod = &set.value, "user", set.method
		}
		if want := c.get("Source"); want == "" || want == row.Source {
			all = append(all, row)
		}
	}
	part, marker, err := page(c.form, all)
	return describeParametersResult{Marker: marker, Parameters: part}, err
}

// groupName is how RDS wants a new group's name to look; it stores it in lower case.
var groupName = regexp.MustCompile(`^[a-z](-?[a-z0-9])*$`)

// addGroup checks the name of a new group and stores it.
func (s *Simulator) addGroup(c call, nameField string, g *group) (any, error) {
	g.name = c.lower(nameField)
	if g.name == "" {
		return nil, refuse("InvalidParameterValue", "The parameter %s must be provided and must not be blank.", nameField)
	}
	if !groupName.MatchString(g.name) || len(g.name) > 255 {
		return nil, refuse("InvalidParameterValue", "The parameter %s is not a valid identifier. Identifiers must begin with a letter; must contain only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens.", nameField)
	}
	groups := g.kind().in(s.world)
	if groups[g.name] != nil {
		return nil, refuse("DBParameterGroupAlreadyExists", "Parameter group %s already exists", g.name)
	}
	if g.description == "" {
		return nil, refuse("InvalidParameterValue", "The parameter Description must be provided and must not be blank.")
	}
	tags, err := formTags(c.form)
	if err != nil {
		return nil, err
	}
	g.tags = tags
	groups[g.name] = g
	s.options.Logf("parameter group %s of family %s exists", g.name, g.family)
	return s.groupAnswer(g), nil
}

func (s *Simulator) createGroup(kind groupKind, c call) (any, error) {
	family := c.get("DBParameterGroupFamily")
	if !slices.Contains(families(), family) {
		return nil, refuse("InvalidParameterValue", "ParameterGroupFamily %s is not a valid parameter group family", family)
	}
	return s.addGroup(c, kind.noun+"Name",
		&group{family: family, cluster: kind.cluster, description: c.get("Description"), values: map[string]setValue{}})
}

func (s *Simulator) copyGroup(kind groupKind, c call) (any, error) {
	name := c.get("Source" + kind.noun + "Identifier")
	if prefix := s.arn("rds", kind.arn, ""); strings.HasPrefix(name, prefix) {
		name = strings.TrimPrefix(name, prefix)
	}
	source, err := s.world.group(kind, name)
	if err != nil {
		return nil, err
	}
	if source.isDefault() {
		return nil, refuse("InvalidParameterValue", "Cannot copy a default parameter group.")
	}
	values := maps.Clone(source.values)
	return s.addGroup(c, "Target"+kind.noun+"Identifier",
		&group{family: source.family, cluster: kind.cluster, description: c.get("Target" + kind.noun + "Description"), values: values})
}

func (s *Simulator) deleteGroup(kind groupKind, c call) (any, error) {
	g, err := s.world.group(kind, c.get(kind.noun+"Name"))
	if err != nil {
		return nil, err
	}
	if g.isDefault() {
		return nil, refuse("InvalidDBParameterGroupState", "Default DBParameterGroup cannot be deleted: %s", g.name)
	}
	if s.isUsed(g) {
		return nil, refuse("InvalidDBParameterGroupState", "One or more database instances are still members of this parameter group %s, so the group cannot be deleted", g.name)
	}
	delete(kind.in(s.world), g.name)
	s.options.Logf("parameter group %s is deleted", g.name)
	return nil, nil
}

func (s *Simulator) isUsed(g *group) bool {
	for _, in := range s.world.instances {
		if !g.cluster && in.group == g.name {
			return true
		}
	}
	for _, cl := range s.world.clusters {
		if g.cluster && cl.group == g.name {
			return true
		}
	}
	return false
}
