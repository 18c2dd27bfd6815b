package rdsctl

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"timeferry/internal/fault"
)

// Change is one parameter that gets another value. Old is empty if the engine's own default was in force.
type Change struct {
	Name   string `json:"name"`
	Old    string `json:"old,omitempty"`
	New    string `json:"new"`
	Static bool   `json:"static,omitempty"` // takes effect with a reboot
}

// GroupPlan says what has to be done so that an instance or cluster runs with the wanted parameters. It holds names and values only
// and may be stored; applying an old plan again is safe.
type GroupPlan struct {
	Group    string   `json:"group"`              // the group to be used
	Family   string   `json:"family"`             //
	Exists   bool     `json:"exists,omitempty"`   // the group was there when the plan was made
	Ours     bool     `json:"ours,omitempty"`     // it exists and carries our tag
	Create   bool     `json:"create,omitempty"`   // it has to be made
	CopyFrom string   `json:"copyFrom,omitempty"` // as a copy of this group; empty: as a new group of the family
	Changes  []Change `json:"changes,omitempty"`  // to make in the group, by name
	// Lost are values that people set in the group now in use and that the existing group to be used does not carry: its
	// owner meant it so, but the report should say it.
	Lost []Change `json:"lost,omitempty"`
	// Skipped are required parameters that the family does not have or that RDS does not let be changed there.
	Skipped     []string `json:"skipped,omitempty"`
	NeedsAttach bool     `json:"needsAttach,omitempty"`
	NeedsReboot bool     `json:"needsReboot,omitempty"`
}

// PlanGroup finds out what has to be done; it only reads. in comes from Inspect, group is the name for the group to make
// if one is needed, wanted are Required and the spec's own parameters.
func (c *Client) PlanGroup(ctx context.Context, in Instance, group string, wanted map[string]string) (GroupPlan, error) {
	if in.Cluster != "" {
		return GroupPlan{}, fault.New(fault.Operator, "plan parameter group for", in.ID, "name the cluster in the spec, under source.rds.cluster",
			"it is a member of cluster %s, which takes a cluster parameter group", in.Cluster).WithCode(CodeClusterMember)
	}
	current, err := c.groupsOf(in).parameters(ctx, in.ParameterGroup)
	if err != nil {
		return GroupPlan{}, err
	}
	wanted, skipped := current.fit(wanted, ours(in.EngineVersion))
	if wanted, err = current.normalise(wanted); err != nil {
		return GroupPlan{}, err
	}
	plan, err := c.planGroup(ctx, in, group, current, wanted)
	plan.Skipped = skipped
	return plan, err
}

func (c *Client) planGroup(ctx context.Context, in Instance, group string, current parameters, wanted map[string]string) (GroupPlan, error) {
	if len(current.differing(wanted)) == 0 {
		return GroupPlan{Group: in.ParameterGroup, Family: in.Family, Exists: true, NeedsReboot: mayNeedReboot(in)}, nil
	}
	group = strings.ToLower(group)
	if err := checkGroupName(group); err != nil {
		return GroupPlan{}, err
	}
	existing, err := c.groupsOf(in).get(ctx, group)
	switch {
	case hasCode(err, noGroupCodes...):
		return planNewGroup(in, group, current, wanted), nil
	case err != nil:
		return GroupPlan{}, err
	}
	return c.planExistingGroup(ctx, in, existing, current, wanted)
}

// mayNeedReboot also counts what is still being applied, which may end in pending-reboot; Reboot leaves alone what does not.
func mayNeedReboot(in Instance) bool {
	return in.ApplyStatus == ApplyPendingReboot || in.ApplyStatus == ApplyApplying
}

// planNewGroup copies a group of the user's, and makes a new one where a default group, which cannot be copied, is in use.
func planNewGroup(in Instance, group string, current parameters, wanted map[string]string) GroupPlan {
	plan := GroupPlan{Group: group, Family: in.Family, Create: true, NeedsAttach: true, NeedsReboot: true}
	if !strings.HasPrefix(in.ParameterGroup, "default.") {
		plan.CopyFrom, plan.Changes = in.ParameterGroup, current.differing(wanted)
		return plan
	}
	desired := current.userSet()
	maps.Copy(desired, wanted)
	for _, name := range slices.Sorted(maps.Keys(desired)) {
		plan.Changes = append(plan.Changes, Change{Name: name, Old: current.value(name), New: desired[name], Static: current.static(name)})
	}
	return plan
}

// planExistingGroup takes up a group that an earlier run made, or uses one that has the values already.
func (c *Client) planExistingGroup(ctx context.Context, in Instance, g group, current parameters, wanted map[string]string) (GroupPlan, error) {
	plan := GroupPlan{Group: g.name, Family: in.Family, Exists: true, NeedsAttach: in.ParameterGroup != g.name}
	if g.family != in.Family {
		return GroupPlan{}, differs(g.name, "it is of family %s, and the %s takes %s", g.family, in.noun(), in.Family)
	}
	values, err := c.groupsOf(in).parameters(ctx, g.name)
	if err != nil {
		return GroupPlan{}, err
	}
	if _, plan.Ours, err = c.ownerOf(ctx, g); err != nil {
		return GroupPlan{}, err
	}
	carried := current.userSet()
	for name := range wanted {
		delete(carried, name)
	}
	plan.Changes = values.differing(wanted)
	switch {
	case plan.Ours && plan.NeedsAttach:
		// The earlier run may have died between making the group and carrying over what people had set.
		maps.Copy(carried, wanted)
		plan.Changes = values.differing(carried)
	case plan.Ours:
	case len(plan.Changes) > 0:
		return GroupPlan{}, differs(g.name, "it was not made by Timeferry, and there %s", listChanges(plan.Changes))
	case plan.NeedsAttach:
		plan.Lost = values.differing(carried)
		for i, lost := range plan.Lost { // seen from the instance: from what is in force to what the group says
			plan.Lost[i].Old, plan.Lost[i].New = lost.New, lost.Old
		}
	}
	static := slices.ContainsFunc(plan.Changes, func(change Change) bool { return change.Static })
	plan.NeedsReboot = plan.NeedsAttach || static || mayNeedReboot(in)
	return plan, nil
}

func differs(group, format string, args ...any) error {
	return fault.New(fault.Operator, "use parameter group", group,
		"give another name under prepare.parameterGroup, or set these values in the group yourself", format, args...).WithCode(CodeGroupDiffers)
}

func listChanges(changes []Change) string {
	var words []string
	for _, change := range changes {
		have := change.Old
		if have == "" {
			have = "not set"
		}
		words = append(words, change.Name+" is "+have+" instead of "+change.New)
	}
	return strings.Join(words, ", ")
}

var groupNamePattern = regexp.MustCompile(`^[a-z](-?[a-z0-9])*$`)

func checkGroupName(name string) error {
	if groupNamePattern.MatchString(name) && len(name) <= 255 {
		return nil
	}
	return fault.New(fault.Operator, "check parameter group name", name,
		"use 1 to 255 letters, digits and single hyphens, beginning with a letter, without periods", "RDS does not take this name").WithCode(CodeBadGroupName)
}
