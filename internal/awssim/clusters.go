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
	tags        map[string]string
	created     time.Time
}

// member is an instance of a cluster; its status tells how far it has taken the cluster's parameter group.
type member struct {
	id     string
	writer bool
	apply  string
	after  string // what follows on applying
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
	if c.Engine == "" {
		c.Engine = auroraEngine
	}
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
		if *pair.field == "" {
			*pair.field = pair.fallback
		}
	}
}

// AddCluster makes a cluster and its members, available and in-sync. It panics on a configuration that cannot exist.
func (s *Simulator) AddCluster(config ClusterConfig) {
	s.mu.Lock()
	defer s.mu.Unlock()
	config.setDefaults()
	cl := &cluster{config: config, status: statusAvailable, created: time.Now().UTC().Truncate(time.Second)}
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
		cl.members = append(cl.members, member{id: id, writer: i == 0, apply: applyInSync})
		s.addInstance(InstanceConfig{ID: id, Engine: config.Engine, EngineVersion: config.EngineVersion, Class: config.Class,
			MasterUser: config.MasterUser, Host: host, Port: config.Port, VPC: config.VPC, SecurityGroup: config.SecurityGroup,
			AllocatedGiB: max(config.AllocatedGiB, 1), Cluster: config.ID})
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

type clusterXML struct {
	DBClusterIdentifier     string
	DBClusterArn            string
	Engine                  string
	EngineVersion           string
	EngineMode              string
	Status                  string
	MasterUsername          string
	Endpoint                string `xml:",omitempty"`
	ReaderEndpoint          string `xml:",omitempty"`
	Port                    int
	MultiAZ                 bool
	AllocatedStorage        int
	BackupRetentionPeriod   int
	ClusterCreateTime       string
	DBClusterParameterGroup string
	DBSubnetGroup           string
	DBClusterInstanceClass  string             `xml:",omitempty"`
	DBClusterMembers        []memberXML        `xml:"DBClusterMembers>DBClusterMember"`
	VpcSecurityGroups       []securityGroupXML `xml:"VpcSecurityGroups>VpcSecurityGroupMembership"`
	MasterUserSecret        *masterSecretXML   `xml:",omitempty"`
	TagList                 []tagXML           `xml:"TagList>Tag"`
}

type memberXML struct {
	DBInstanceIdentifier          string
	IsClusterWriter               bool
	DBClusterParameterGroupStatus string
	PromotionTier                 int
}

type clusterResult struct {
	DBCluster clusterXML
}

func (s *Simulator) clusterXML(cl *cluster) clusterXML {
	c := cl.config
	out := clusterXML{DBClusterIdentifier: c.ID, DBClusterArn: s.arn("rds", "cluster", strings.ToLower(c.ID)), Engine: c.Engine,
		EngineVersion: c.EngineVersion, EngineMode: "provisioned", Status: cl.status, MasterUsername: c.MasterUser, Endpoint: c.Host,
		ReaderEndpoint: c.ReaderHost, Port: c.Port, MultiAZ: len(cl.members) > 1, AllocatedStorage: max(c.AllocatedGiB, 1),
		BackupRetentionPeriod: 7, ClusterCreateTime: cl.created.Format(time.RFC3339), DBClusterParameterGroup: cl.group,
		DBSubnetGroup: "default", VpcSecurityGroups: []securityGroupXML{{c.SecurityGroup, "active"}}}
	if !cl.isAurora() {
		out.DBClusterInstanceClass = c.Class
	}
	for _, m := range cl.members {
		out.DBClusterMembers = append(out.DBClusterMembers, memberXML{m.id, m.writer, m.apply, 1})
	}
	if c.MasterSecretARN != "" {
		out.MasterUserSecret = &masterSecretXML{c.MasterSecretARN, orActive(cl.secret)}
	}
	for _, key := range slices.Sorted(maps.Keys(cl.tags)) {
		out.TagList = append(out.TagList, tagXML{key, cl.tags[key]})
	}
	return out
}

type describeClustersResult struct {
	Marker   string       `xml:",omitempty"`
	Clusters []clusterXML `xml:"DBClusters>DBCluster"`
}

func (s *Simulator) describeClusters(c call) (any, error) {
	var all []clusterXML
	if id := c.get("DBClusterIdentifier"); id != "" {
		cl, err := c.world.cluster(id)
		if err != nil {
			return nil, err
		}
		all = append(all, s.clusterXML(cl))
	} else {
		for _, id := range slices.Sorted(maps.Keys(c.world.clusters)) {
			all = append(all, s.clusterXML(c.world.clusters[id]))
		}
	}
	part, marker, err := page(c.form, all)
	return describeClustersResult{Marker: marker, Clusters: part}, err
}
