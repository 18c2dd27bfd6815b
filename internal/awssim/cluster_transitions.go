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
	m.apply = applyInSync
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

// modifyCluster attaches a cluster parameter group: its name changes at once, its values wait for a reboot.
func (s *Simulator) modifyCluster(c call) (any, error) {
	cl, err := s.world.cluster(c.get("DBClusterIdentifier"))
	if err != nil {
		return nil, err
	}
	if cl.status != statusAvailable || cl.rebootAsked {
		return nil, clusterNotAvailable()
	}
	name := c.lower("DBClusterParameterGroupName")
	if name == "" {
		return nil, refuse("InvalidParameterCombination", "No modifications were requested")
	}
	g := s.world.clusterGroups[name]
	if g == nil {
		return nil, notFound("DBClusterParameterGroupNotFound", "DBClusterParameterGroup not found: %s", name)
	}
	if g.family != cl.family() {
		return nil, refuse("InvalidParameterCombination", "The Parameter Group %s with DBParameterGroupFamily %s cannot be used for this instance. Please use a Parameter Group with DBParameterGroupFamily %s", g.name, g.family, cl.family())
	}
	if g.name == cl.group {
		return clusterResult{s.clusterXML(cl)}, nil
	}
	cl.group, cl.status = g.name, statusModifying
	s.event(sourceCluster, cl.config.ID, "configuration change", "Updated to use DBClusterParameterGroup "+g.name)
	for i := range cl.members {
		cl.members[i].apply, cl.members[i].after = applyApplying, applyPendingReboot
	}
	s.options.Logf("cluster %s is %s: group %s", cl.config.ID, cl.status, cl.group)
	s.later(s.options.Timings.Modifying, func() {
		cl.status = statusAvailable
		cl.endApplying()
		s.options.Logf("cluster %s is %s: group %s", cl.config.ID, cl.status, cl.group)
	})
	return clusterResult{s.clusterXML(cl)}, nil
}

func (cl *cluster) endApplying() {
	for i, m := range cl.members {
		if m.apply == applyApplying {
			cl.members[i].apply = m.after
		}
	}
}

// takeClusterValues lets a cluster take a change in its group: immediate values in a moment, the others with a reboot.
func (s *Simulator) takeClusterValues(cl *cluster, immediate map[string]string, needsReboot bool) {
	for i, m := range cl.members {
		after := m.apply
		if after == applyApplying {
			after = m.after
		}
		if needsReboot {
			after = applyPendingReboot
		}
		cl.members[i].apply, cl.members[i].after = applyApplying, after
	}
	maps.Copy(cl.inForce, immediate)
	settings := cl.settings(cl.inForce, s.writerValues(cl))
	reloader, canReload := cl.config.Server.(Reloader)
	s.wg.Go(func() {
		if !s.wait(s.options.Timings.Applying) {
			return
		}
		var err error
		if canReload && len(immediate) > 0 {
			err = reloader.Reload(s.ctx, settings)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		cl.endApplying()
		if err != nil {
			for i := range cl.members {
				cl.members[i].apply = applyFailed
			}
			s.options.Logf("cluster %s: group %s is %s: %v", cl.config.ID, cl.group, applyFailed, err)
		}
	})
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
	s.mu.Unlock()

	var failed error
	if cl.config.Server != nil {
		failed = cl.config.Server.Restart(s.ctx, settings)
	}
	if !s.wait(s.options.Timings.Rebooting) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cl.rebootAsked = false
	if failed != nil {
		s.setClusterStatus(cl, statusIncompatible)
		return
	}
	cl.inForce = values
	s.event(sourceCluster, cl.config.ID, "availability", "DB cluster restarted")
	for i := range cl.members {
		cl.members[i].apply = applyInSync
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
		s.later(d, func() {
			if cl.status == status {
				cl.status = statusAvailable
			}
		})
	}
}
