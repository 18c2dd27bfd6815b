package awssim

import (
	"slices"
)

// modifiableStatuses are those in which RDS takes ModifyDBInstance and RebootDBInstance.
var modifiableStatuses = []string{statusAvailable, statusIncompatible, "storage-full"}

// modifyInstance attaches a parameter group and takes a few other modifications, so that there can be pending ones.
func (s *Simulator) modifyInstance(c call) (any, error) {
	in, err := s.world.instance(c.get("DBInstanceIdentifier"))
	if err != nil {
		return nil, err
	}
	if !slices.Contains(modifiableStatuses, in.status) || in.rebootAsked {
		return nil, refuse("InvalidDBInstanceState", "Database instance is not in available state.")
	}
	attach, err := s.checkAttach(in, c)
	if err != nil {
		return nil, err
	}
	pending, changes, err := in.pending.merge(c, "DBInstanceClass", "EngineVersion", "StorageType", "CACertificateIdentifier")
	if err != nil {
		return nil, err
	}
	if c.get("DBParameterGroupName") == "" && !changes && !c.isTrue("ApplyImmediately") {
		return nil, refuse("InvalidParameterCombination", "No modifications were requested")
	}
	in.pending = pending
	flush := c.isTrue("ApplyImmediately") && !in.pending.isEmpty()
	if attach != nil || flush {
		s.startModify(in, attach, flush)
	}
	return instanceResult{s.instanceXML(in)}, nil
}

// checkAttach gives the group to attach, or nil if the request names none or the one that is attached.
func (s *Simulator) checkAttach(in *instance, c call) (*group, error) {
	name := c.lower("DBParameterGroupName")
	if name == "" {
		return nil, nil
	}
	g, err := s.world.group(instanceGroups, name)
	if err != nil {
		return nil, err
	}
	if g.family != in.family() {
		return nil, refuse("InvalidParameterCombination", "The Parameter Group %s with DBParameterGroupFamily %s cannot be used for this instance. Please use a Parameter Group with DBParameterGroupFamily %s", g.name, g.family, in.family())
	}
	if g.name == in.group {
		return nil, nil
	}
	return g, nil
}

// startModify goes to modifying, and from there to available. The group's name changes at once, whatever ApplyImmediately
// says; its values, dynamic ones too, wait for a reboot.
func (s *Simulator) startModify(in *instance, attach *group, flush bool) {
	if attach != nil {
		in.group = attach.name
		s.freeze(LateApplying)
		in.apply.begin(true)
		s.event(sourceInstance, in.config.ID, "configuration change", "Updated to use DBParameterGroup "+attach.name)
	}
	in.status = statusModifying
	s.options.Logf("instance %s is %s: group %s %s", in.config.ID, in.status, in.group, in.apply.now)
	s.later(s.options.Timings.Modifying, func() {
		if flush {
			in.flushPending()
		}
		in.status = statusAvailable
		if attach != nil {
			in.apply.end()
		}
		s.options.Logf("instance %s is %s: group %s %s", in.config.ID, in.status, in.group, in.apply.now)
	})
}

func cannotReboot() *apiError {
	return refuse("InvalidDBInstanceState", "Instance cannot currently reboot due to an in-progress management operation.")
}

func (s *Simulator) rebootInstance(c call) (any, error) {
	in, err := s.world.instance(c.get("DBInstanceIdentifier"))
	if err != nil {
		return nil, err
	}
	failover := c.isTrue("ForceFailover")
	if failover && !in.config.MultiAZ {
		return nil, refuse("InvalidParameterCombination", "ForceFailover cannot be specified since the instance is not configured for either MultiAZ or High Availability.")
	}
	if !slices.Contains(modifiableStatuses, in.status) || in.rebootAsked {
		return nil, cannotReboot()
	}
	if s.take("RebootDBInstance", RebootForgotten) != nil {
		return instanceResult{s.instanceXML(in)}, nil
	}
	failover = failover || s.take("RebootDBInstance", RebootAsFailover) != nil
	in.rebootAsked = true
	answer := instanceResult{s.instanceXML(in)}
	// For a moment nothing shows: a waiter that asks for "available" now believes that the reboot is over.
	s.later(s.options.Timings.BeforeReboot, func() {
		in.status = statusRebooting
		s.options.Logf("instance %s is %s", in.config.ID, in.status)
		s.wg.Go(func() { s.restart(in, failover) })
	})
	return answer, nil
}

// restart runs the hook without the lock. After a failover the standby runs with the values that were in force before.
func (s *Simulator) restart(in *instance, failover bool) {
	s.mu.Lock()
	values := in.inForce
	if g := s.world.groups[in.group]; g != nil && !failover {
		values = g.userValues()
	}
	settings, server := serverSettings(in.family(), values), in.config.Server
	part := s.membership(in)
	var clusterValues map[string]string
	if part != nil {
		clusterValues = s.valuesOf(part.cluster)
		settings, server = part.cluster.settings(clusterValues, values), part.server()
	}
	failed := s.failsStart("RebootDBInstance", in.config.ID)
	s.mu.Unlock()

	if failed == nil && server != nil {
		failed = server.Restart(s.ctx, settings)
	}
	if !s.lasts(s.options.Timings.Rebooting) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	in.rebootAsked = false
	if failed != nil {
		in.status = statusIncompatible
		s.event(sourceInstance, in.config.ID, "failure", "Database instance put into incompatible-parameters. The database engine does not start with its parameters.")
		s.options.Logf("instance %s is %s: %v", in.config.ID, in.status, failed)
		return
	}
	in.status, in.inForce = statusAvailable, values
	s.event(sourceInstance, in.config.ID, "availability", "DB instance restarted")
	if !failover {
		in.apply.now = applyInSync
	}
	if part != nil {
		part.restarted(clusterValues)
	}
	s.options.Logf("instance %s is %s: group %s %s", in.config.ID, in.status, in.group, in.apply.now)
}
