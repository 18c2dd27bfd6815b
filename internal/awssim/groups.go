package awssim

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const defaultPrefix = "default."

// group is a DB parameter group: only the values that users set; everything else comes from the catalogue.
type group struct {
	name        string
	family      string
	description string
	values      map[string]setValue
	tags        map[string]string
}

type setValue struct {
	value  string
	method string // immediate or pending-reboot
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

func (s *Simulator) groupXML(g *group) groupXML {
	return groupXML{DBParameterGroupName: g.name, DBParameterGroupFamily: g.family, Description: g.description,
		DBParameterGroupArn: s.arn("rds", "pg", g.name)}
}

func (w *world) group(name string) (*group, error) {
	if name == "" {
		return nil, refuse("InvalidParameterValue", "The parameter DBParameterGroupName must be provided and must not be blank.")
	}
	g := w.groups[strings.ToLower(name)]
	if g == nil {
		return nil, notFound("DBParameterGroupNotFound", "DBParameterGroup not found: %s", name)
	}
	return g, nil
}

type describeGroupsResult struct {
	Marker string     `xml:",omitempty"`
	Groups []groupXML `xml:"DBParameterGroups>DBParameterGroup"`
}

func (s *Simulator) describeGroups(c call) (any, error) {
	var all []groupXML
	if name := c.get("DBParameterGroupName"); name != "" {
		g, err := c.world.group(name)
		if err != nil {
			return nil, err
		}
		all = append(all, s.groupXML(g))
	} else {
		for _, name := range slices.Sorted(maps.Keys(c.world.groups)) {
			all = append(all, s.groupXML(c.world.groups[name]))
		}
	}
	part, marker, err := page(c.form, all)
	return describeGroupsResult{Marker: marker, Groups: part}, err
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

func (s *Simulator) describeParameters(c call) (any, error) {
	g, err := c.world.group(c.get("DBParameterGroupName"))
	if err != nil {
		return nil, err
	}
	var all []parameterXML
	for _, p := range catalogue()[g.family] {
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
	if s.world.groups[g.name] != nil {
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
	s.world.groups[g.name] = g
	s.options.Logf("parameter group %s of family %s exists", g.name, g.family)
	return groupResult{s.groupXML(g)}, nil
}

func (s *Simulator) createGroup(c call) (any, error) {
	family := c.get("DBParameterGroupFamily")
	if !slices.Contains(families(), family) {
		return nil, refuse("InvalidParameterValue", "ParameterGroupFamily %s is not a valid parameter group family", family)
	}
	return s.addGroup(c, "DBParameterGroupName",
		&group{family: family, description: c.get("Description"), values: map[string]setValue{}})
}

func (s *Simulator) copyGroup(c call) (any, error) {
	name := c.get("SourceDBParameterGroupIdentifier")
	if prefix := s.arn("rds", "pg", ""); strings.HasPrefix(name, prefix) {
		name = strings.TrimPrefix(name, prefix)
	}
	source, err := s.world.group(name)
	if err != nil {
		return nil, err
	}
	if source.isDefault() {
		return nil, refuse("InvalidParameterValue", "Cannot copy a default parameter group.")
	}
	values := maps.Clone(source.values)
	return s.addGroup(c, "TargetDBParameterGroupIdentifier",
		&group{family: source.family, description: c.get("TargetDBParameterGroupDescription"), values: values})
}

func (s *Simulator) deleteGroup(c call) (any, error) {
	g, err := s.world.group(c.get("DBParameterGroupName"))
	if err != nil {
		return nil, err
	}
	if g.isDefault() {
		return nil, refuse("InvalidDBParameterGroupState", "Default DBParameterGroup cannot be deleted: %s", g.name)
	}
	for _, in := range s.world.instances {
		if in.group == g.name {
			return nil, refuse("InvalidDBParameterGroupState", "One or more database instances are still members of this parameter group %s, so the group cannot be deleted", g.name)
		}
	}
	delete(s.world.groups, g.name)
	s.options.Logf("parameter group %s is deleted", g.name)
	return nil, nil
}

func formTags(form url.Values) (map[string]string, error) {
	out := map[string]string{}
	for _, tag := range formList(form, "Tags.Tag", "Key", "Value") {
		if tag["Key"] == "" || strings.HasPrefix(strings.ToLower(tag["Key"]), "aws:") {
			return nil, refuse("InvalidParameterValue", "The tag key %q is not valid", tag["Key"])
		}
		out[tag["Key"]] = tag["Value"]
	}
	return out, nil
}

// taggable finds the tags of the resource with that ARN.
func (s *Simulator) taggable(w *world, arn string) (*map[string]string, error) {
	if name, isGroup := strings.CutPrefix(arn, s.arn("rds", "pg", "")); isGroup {
		g, err := w.group(name)
		if err != nil {
			return nil, err
		}
		return &g.tags, nil
	}
	if id, isInstance := strings.CutPrefix(arn, s.arn("rds", "db", "")); isInstance {
		in, err := w.instance(id)
		if err != nil {
			return nil, err
		}
		return &in.tags, nil
	}
	return nil, refuse("InvalidParameterValue", "The specified resource name does not match an RDS resource in this region.")
}

func (s *Simulator) addTags(c call) (any, error) {
	tags, err := s.taggable(s.world, c.get("ResourceName"))
	if err != nil {
		return nil, err
	}
	added, err := formTags(c.form)
	if err != nil {
		return nil, err
	}
	if *tags == nil {
		*tags = map[string]string{}
	}
	maps.Copy(*tags, added)
	return nil, nil
}

type tagXML struct{ Key, Value string }

type listTagsResult struct {
	Tags []tagXML `xml:"TagList>Tag"`
}

func (s *Simulator) listTags(c call) (any, error) {
	tags, err := s.taggable(c.world, c.get("ResourceName"))
	if err != nil {
		return nil, err
	}
	var out listTagsResult
	for _, key := range slices.Sorted(maps.Keys(*tags)) {
		out.Tags = append(out.Tags, tagXML{Key: key, Value: (*tags)[key]})
	}
	return out, nil
}
