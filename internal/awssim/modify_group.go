package awssim

import "maps"

// maxParameters is how many parameters RDS takes in one ModifyDBParameterGroup.
const maxParameters = 20

type modifyGroupResult struct {
	DBParameterGroupName string
}

type modifyClusterGroupResult struct {
	DBClusterParameterGroupName string
}

// modifyGroup sets values, all of them or none.
func (s *Simulator) modifyGroup(kind groupKind, c call) (any, error) {
	g, err := s.world.group(kind, c.get(kind.noun+"Name"))
	if err != nil {
		return nil, err
	}
	if g.isDefault() {
		return nil, refuse("InvalidParameterValue", "Cannot modify a default parameter group.")
	}
	list := formList(c.form, "Parameters.Parameter", "ParameterName", "ParameterValue", "ApplyMethod")
	if len(list) == 0 {
		return nil, refuse("InvalidParameterValue", "The parameter Parameters must be provided and must not be blank.")
	}
	if len(list) > maxParameters {
		return nil, refuse("InvalidParameterCombination", "Cannot modify more than %d parameters in a single request", maxParameters)
	}
	changed := map[string]setValue{}
	for _, item := range list {
		value := setValue{value: item["ParameterValue"], method: item["ApplyMethod"]}
		if err := checkValue(g.catalogue(), item["ParameterName"], value); err != nil {
			return nil, err
		}
		changed[item["ParameterName"]] = value
	}
	s.applyChange(g, changed)
	if kind.cluster {
		return modifyClusterGroupResult{g.name}, nil
	}
	return modifyGroupResult{g.name}, nil
}

func checkValue(catalogue, name string, v setValue) error {
	p, known := findParameter(catalogue, name)
	switch {
	case !known:
		return refuse("InvalidParameterValue", "Could not find parameter with name: %s", name)
	case !p.modifiable:
		return refuse("InvalidParameterValue", "The parameter %s cannot be modified.", name)
	case v.method != "immediate" && v.method != "pending-reboot":
		return refuse("InvalidParameterValue", "Invalid apply method %q for parameter %s", v.method, name)
	case p.static && v.method == "immediate":
		return refuse("InvalidParameterCombination", "cannot use immediate apply method for static parameter")
	case !p.accepts(v.value):
		return refuse("InvalidParameterValue", "Invalid parameter value: %s for: %s allowed values are: %s", v.value, name, p.allowed)
	}
	return nil
}

// applyChange stores the values and lets the instances that use the group take them: immediate ones in a moment, the
// others with the next reboot.
func (s *Simulator) applyChange(g *group, changed map[string]setValue) {
	if g.values == nil {
		g.values = map[string]setValue{}
	}
	immediate, needsReboot := map[string]string{}, false
	for name, v := range changed {
		if before, was := g.values[name]; was && before.value == v.value {
			continue
		}
		if v.method == "immediate" {
			immediate[name] = v.value
		} else {
			needsReboot = true
		}
	}
	maps.Copy(g.values, changed)
	if len(immediate) == 0 && !needsReboot {
		return
	}
	for _, cl := range s.world.clusters {
		if g.cluster && cl.group == g.name {
			s.takeClusterValues(cl, immediate, needsReboot)
		}
	}
	for _, in := range s.world.instances {
		if !g.cluster && in.group == g.name {
			s.takeValues(in, g.family, immediate, needsReboot)
		}
	}
}

func (s *Simulator) takeValues(in *instance, family string, immediate map[string]string, needsReboot bool) {
	maps.Copy(in.inForce, immediate)
	s.settle(settling{what: "instance " + in.config.ID, group: in.group, states: []*applyState{&in.apply}, needsReboot: needsReboot,
		server: in.config.Server, reload: len(immediate) > 0, settings: serverSettings(family, in.inForce)})
}
