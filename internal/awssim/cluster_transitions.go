package awssim

import (
	"maps"
	"slices"
	"strings"
	"time"
)

func clusterNotAvailable() *apiError {
	return refuse("InvalidDBClusterStateFault", "DB cluster is not in available state.")
}

// membership is an instance's place in its cluster.
type membership struct {
	cluster *cluster
	index   int
}

// membership gives nil for an instance that is in no cluster.
func (s *Simulator) membership(in *instance) *membership {
	cl := s.world.clusters[strings.ToLower(in.config.Cluster)]
	if cl == nil {
		return nil
	}
	i := slices.IndexFunc(cl.members, func(m member) bool { return strings.EqualFold(m.id, in.config.ID) })
	if i < 0 {
		return nil
	}
	return &membership{cl, i}
}

// server is what a reboot of the member restarts: a reader's restart brings nothing into force on the writer.
func (p *membership) server() Server {
	if !p.cluster.members[p.index].writer {
		return nil
	}
	return p.cluster.config.Server
}

// restarted notes that the member runs with these values of the cluster's group.
func (p *membership) restarted(values map[string]string) {
	m := &p.cluster.members[p.index]
	m.apply.now = applyInSync
	if m.writer {
		p.cluster.inForce = values
	}
}

// valuesOf is what the cluster's group says now.
func (s *Simulator) valuesOf(cl *cluster) map[string]string {
	if g := s.world.clusterGroups[cl.group]; g != nil {
		return g.userValues()
	}
	return cl.inForce
}

// settings puts the values of the cluster's group and of the member's own group, which wins, into PostgreSQL's words.
func (cl *cluster) settings(values, own map[string]string) map[string]string {
	all := maps.Clone(values)
	maps.Copy(all, own)
	return serverSettings(clusterCatalogue+cl.family(), all)
}

// modifyCluster attaches a cluster parameter group, whose name changes at once while its values wait for a reboot, and takes
// a few other modifications, so that there can be pending ones.
func (s *Simulator) modifyCluster(c call) (any, error) {
	cl, err := s.world.cluster(c.get("DBClusterIdentifier"))
	if err != nil {
		return nil, err
	}
	if cl.status != statusAvailable || cl.rebootAsked {
		return nil, clusterNotAvailable()
	}
	g, err := s.checkClusterAttach(cl, c)
	if err != nil {
		return nil, err
	}
	pending, changes, err := cl.pending.merge(c, "EngineVersion", "StorageType")
	if err != nil {
		return nil, err
	}
	now := c.isTrue("ApplyImmediately")
	if c.get("DBClusterParameterGroupName") == "" && !changes && !now {
		return nil, refuse("InvalidParameterCombination", "No modifications were requested")
	}
	cl.pending = pending
	if flush := now && !pending.isEmpty(); g != nil || flush {
		s.startClusterModify(cl, g, flush)
	}
	return clusterResult{s.clusterXML(cl)}, nil
}

// checkClusterAttach gives the group to attach, or nil if the request names none or the one that is attached.
func (s *Simulator) checkClusterAttach(cl *cluster, c call) (*group, error) {
	name := c.lower("DBClusterParameterGroupName")
	if name == "" || name == cl.group {
		return nil, nil
	}
	g := s.world.clusterGroups[name]
	if g == nil {
		return nil, notFound("DBClusterParameterGroupNotFound", "DBClusterParameterGroup not found: %s", name)
	}
	if g.family != cl.family() {
		return nil, refuse("InvalidParameterCombination", "The Parameter Group %s with DBParameterGroupFamily %s cannot be used for this instance. Please use a Parameter Group with DBParameterGroupFamily %s", g.name, g.family, cl.family())
	}
	return g, nil
}

// startClusterModify goes to modifying, and from there to available.
func (s *Simulator) startClusterModify(cl *cluster, attach *group, flush bool) {
	if attach != nil {
		cl.group = attach.name
		s.freeze(LateApplying)
		s.event(sourceCluster, cl.config.ID, "configuration change", "Updated to use DBClusterParameterGroup "+attach.name)
		for _, state := range cl.applyStates() {
			state.begin(true)
		}
	}
	cl.status = statusModifying
	s.options.Logf("cluster %s is %s: group %s", cl.config.ID, cl.status, cl.group)
	s.later(s.options.Timings.Modifying, func() {
		cl.status = statusAvailable
		if flush {
			cl.flushPending()
		}
		if attach != nil {
			for _, state := range cl.applyStates() {
				state.end()
			}
		}
		s.options.Logf("cluster %s is %s: group %s", cl.config.ID, cl.status, cl.group)
	})
}

// applyStates are those of the members, to be changed in place.
func (cl *cluster) applyStates() []*applyState {
	var out []*applyState
	for i := range cl.members {
		out = append(out, &cl.members[i].apply)
	}
	return out
}

// takeClusterValues lets a cluster take a change in its group: immediate values in a moment, the others with a reboot.
func (s *Simulator) takeClusterValues(cl *cluster, immediate map[string]string, needsReboot bool) {
	maps.Copy(cl.inForce, immediate)
	s.settle(settling{what: "cluster " + cl.config.ID, group: cl.group, states: cl.applyStates(), needsReboot: needsReboot,
		server: cl.config.Server, reload: len(immediate) > 0, settings: cl.settings(cl.inForce, s.writerValues(cl))})
}

// writerValues is what the writer's own group has in force.
func (s *Simulator) writerValues(cl *cluster) map[string]string {
	for _, m := range cl.members {
		if in := s.world.instances[strings.ToLower(m.id)]; in != nil && m.writer {
			return in.inForce
		}
	}
	return nil
}

// rebootCluster is for Multi-AZ DB clusters; on Aurora one reboots instances.
func (s *Simulator) rebootCluster(c call) (any, error) {
	cl, err := s.world.cluster(c.get("DBClusterIdentifier"))
	if err != nil {
		return nil, err
	}
	if cl.isAurora() {
		return nil, refuse("InvalidParameterCombination", "RebootDBCluster is only available for Multi-AZ DB clusters. Reboot the DB instances of the cluster instead.")
	}
	if !slices.Contains(modifiableStatuses, cl.status) || cl.rebootAsked {
		return nil, clusterNotAvailable()
	}
	if s.take("RebootDBCluster", RebootForgotten) != nil {
		return clusterResult{s.clusterXML(cl)}, nil
	}
	cl.rebootAsked = true
	answer := clusterResult{s.clusterXML(cl)}
	s.later(s.options.Timings.BeforeReboot, func() {
		s.setClusterStatus(cl, statusRebooting)
		s.wg.Go(func() { s.restartCluster(cl) })
	})
	return answer, nil
}

// setClusterStatus moves the cluster and its members together.
func (s *Simulator) setClusterStatus(cl *cluster, status string) {
	cl.status = status
	for _, m := range cl.members {
		if in := s.world.instances[strings.ToLower(m.id)]; in != nil {
			in.status = status
		}
	}
	s.options.Logf("cluster %s is %s: group %s", cl.config.ID, status, cl.group)
}

func (s *Simulator) restartCluster(cl *cluster) {
	s.mu.Lock()
	values := s.valuesOf(cl)
	settings := cl.settings(values, s.writerValues(cl))
	failed := s.failsStart("RebootDBCluster", cl.config.ID)
	s.mu.Unlock()

	if failed == nil && cl.config.Server != nil {
		failed = cl.config.Server.Restart(s.ctx, settings)
	}
	if !s.lasts(s.options.Timings.Rebooting) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cl.rebootAsked = false
	if failed != nil {
		s.setClusterStatus(cl, statusIncompatible)
		s.event(sourceCluster, cl.config.ID, "failure", "DB cluster put into incompatible-parameters. The database engine does not start with its parameters.")
		return
	}
	cl.inForce = values
	s.event(sourceCluster, cl.config.ID, "availability", "DB cluster restarted")
	for _, state := range cl.applyStates() {
		state.now = applyInSync
	}
	s.setClusterStatus(cl, statusAvailable)
}

func (s *Simulator) forceClusterStatus(id, status string, d time.Duration) {
	cl := s.world.clusters[strings.ToLower(id)]
	if cl == nil {
		return
	}
	cl.status, cl.forced = status, status
	if d > 0 {
		s.laterExactly(d, func() {
			if cl.status == status {
				cl.status = statusAvailable
			}
		})
	}
}
