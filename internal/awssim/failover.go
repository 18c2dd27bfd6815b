package awssim

import (
	"fmt"
	"slices"
	"strings"
)

const statusFailingOver = "failing-over"

// FailOver makes another member of a cluster its writer, as a failure of the writer does: the member of that name or, with
// an empty name, the next one. The cluster is failing-over for a moment. What was the writer restarts as a reader and takes
// its parameter group by that; the new writer keeps what it had, so a pending reboot stays pending.
func (s *Simulator) FailOver(cluster, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	cl, err := s.world.cluster(cluster)
	if err == nil {
		err = s.failOver(cl, to)
	}
	if err != nil {
		return fmt.Errorf("awssim: %w", err)
	}
	return nil
}

func (s *Simulator) failOver(cl *cluster, to string) error {
	from := slices.IndexFunc(cl.members, func(m member) bool { return m.writer })
	next := (from + 1) % len(cl.members)
	if to != "" {
		next = slices.IndexFunc(cl.members, func(m member) bool { return strings.EqualFold(m.id, to) })
	}
	switch {
	case next < 0:
		return notFound("DBInstanceNotFound", "DBInstance %s not found.", to)
	case next == from:
		return refuse("InvalidDBClusterStateFault", "DB cluster %s has no other member to fail over to.", cl.config.ID)
	case cl.status != statusAvailable || cl.rebootAsked:
		return clusterNotAvailable()
	}
	cl.status = statusFailingOver
	s.event(sourceCluster, cl.config.ID, "failover", "Started cross AZ failover to DB instance: "+cl.members[next].id)
	s.options.Logf("cluster %s is %s to %s", cl.config.ID, cl.status, cl.members[next].id)
	s.later(s.options.Timings.FailingOver, func() {
		cl.members[from].writer, cl.members[next].writer = false, true
		cl.members[from].apply.now = applyInSync
		cl.status = statusAvailable
		s.event(sourceCluster, cl.config.ID, "failover", "Completed failover to DB instance: "+cl.members[next].id)
		s.options.Logf("cluster %s is %s: its writer is %s", cl.config.ID, cl.status, cl.members[next].id)
	})
	return nil
}

func (s *Simulator) failoverCluster(c call) (any, error) {
	cl, err := s.world.cluster(c.get("DBClusterIdentifier"))
	if err != nil {
		return nil, err
	}
	if err := s.failOver(cl, c.get("TargetDBInstanceIdentifier")); err != nil {
		return nil, err
	}
	return clusterResult{s.clusterXML(cl)}, nil
}
