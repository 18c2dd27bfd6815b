package awssim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ClusterConfig describes a cluster that exists from the start: an Aurora one, or with Engine postgres a Multi-AZ DB cluster.
type ClusterConfig struct {
	ID            string
	Engine        string // default aurora-postgresql
	EngineVersion string
	Class         string // default db.r6g.large
	MasterUser    string
	Host          string // of the cluster's (the writer's) endpoint
	ReaderHost    string // default: Host
	Port          int
	// ParameterGroup is a cluster parameter group that must exist; empty means the family's default group.
	ParameterGroup string
	// Members are made as instances; the first is the writer. Default: ID-instance-1 and -2, for a Multi-AZ cluster also -3.
	Members         []string
	Server          Server // the writer's; nil: nothing is behind the cluster
	VPC             string
	SecurityGroup   string
	AllocatedGiB    int // Multi-AZ clusters only
	MasterSecretARN string
	Pending         PendingModifications
	// The following are only reported, also of the members; what is empty gets a plausible value.
	SubnetGroup         string // name of the DB subnet group; it has the subnets of the VPC
	BackupWindow        string // default 03:12-03:42
	MaintenanceWindow   string // default sun:07:30-sun:08:00
	BackupRetentionDays int    // default 7
	StorageType         string // default aurora, for a Multi-AZ cluster gp3
	CACertificate       string // default rds-ca-rsa2048-g1
	Public              bool
	IAMAuthentication   bool
	DeletionProtection  bool
	Tags                map[string]string
}

type cluster struct {
	config      ClusterConfig
	status      string
	forced      string // the status that a fault has set
	secret      string // status of the master user's secret; empty: active
	group       string
	members     []member
	rebootAsked bool
	inForce     map[string]string
	pending     pendingXML
	tags        map[string]string
	created     time.Time
}

// member is an instance of a cluster; its status tells how far it has taken the cluster's parameter group.
type member struct {
	id     string
	writer bool
	apply  applyState
}

func (cl *cluster) clone() *cluster {
	out := *cl
	out.members, out.inForce, out.tags = slices.Clone(cl.members), maps.Clone(cl.inForce), maps.Clone(cl.tags)
	return &out
}

func (cl *cluster) family() string { return familyFor(cl.config.Engine, cl.config.EngineVersion) }
func (cl *cluster) isAurora() bool { return cl.config.Engine == auroraEngine }

func (c *ClusterConfig) setDefaults() {
	members := 2
	fillEmpty(&c.Engine, auroraEngine)
	if c.Engine != auroraEngine {
		members = 3
		if c.AllocatedGiB == 0 {
			c.AllocatedGiB = 100
		}
	}
	if len(c.Members) == 0 {
		for i := 1; i <= members; i++ {
			c.Members = append(c.Members, fmt.Sprintf("%s-instance-%d", c.ID, i))
		}
	}
	for _, pair := range []struct {
		field    *string
		fallback string
	}{{&c.Class, "db.r6g.large"}, {&c.ReaderHost, c.Host}, {&c.VPC, defaultVPC}, {&c.SecurityGroup, defaultSecurityGroup}} {
		fillEmpty(pair.field, pair.fallback)
	}
	storage := "gp3"
	if c.Engine == auroraEngine {
		storage = "aurora"
	}
	fillEmpty(&c.StorageType, storage)
	fillReported(&c.SubnetGroup, &c.BackupWindow, &c.MaintenanceWindow, &c.CACertificate)
	fillRetention(&c.BackupRetentionDays)
}

// AddCluster makes a cluster and its members, available and in-sync. It panics on a configuration that cannot exist.
func (s *Simulator) AddCluster(config ClusterConfig) {
	s.mu.Lock()
	defer s.mu.Unlock()
	config.setDefaults()
	cl := &cluster{config: config, status: statusAvailable, pending: config.Pending.xml(),
		tags: maps.Clone(config.Tags), created: time.Now().UTC().Truncate(time.Second)}
	if !slices.Contains(families(), cl.family()) {
		panic(fmt.Sprintf("awssim: no family for %s %q", config.Engine, config.EngineVersion))
	}
	cl.group = strings.ToLower(config.ParameterGroup)
	if cl.group == "" {
		cl.group = defaultPrefix + cl.family()
	}
	g := s.world.clusterGroups[cl.group]
	if g == nil {
		panic(fmt.Sprintf("awssim: no cluster parameter group %q", cl.group))
	}
	cl.inForce = g.userValues()
	for i, id := range config.Members {
		host := config.Host
		if i > 0 {
			host = config.ReaderHost
		}
		cl.members = append(cl.members, member{id: id, writer: i == 0, apply: applyState{now: applyInSync}})
		s.addInstance(InstanceConfig{ID: id, Engine: config.Engine, EngineVersion: config.EngineVersion, Class: config.Class,
			MasterUser: config.MasterUser, Host: host, Port: config.Port, VPC: config.VPC, SecurityGroup: config.SecurityGroup,
			AllocatedGiB: max(config.AllocatedGiB, 1), Cluster: config.ID, SubnetGroup: config.SubnetGroup, BackupWindow: config.BackupWindow,
			MaintenanceWindow: config.MaintenanceWindow, BackupRetentionDays: config.BackupRetentionDays, StorageType: config.StorageType,
			AvailabilityZone: s.zone(subnetZones[i%len(subnetZones)]), CACertificate: config.CACertificate, Public: config.Public,
			IAMAuthentication: config.IAMAuthentication, DeletionProtection: config.DeletionProtection})
	}
	s.world.clusters[strings.ToLower(config.ID)] = cl
}

func (w *world) cluster(id string) (*cluster, error) {
	cl := w.clusters[strings.ToLower(id)]
	if cl == nil {
		return nil, notFound("DBClusterNotFoundFault", "DBCluster %s not found.", id)
	}
	return cl, nil
}
