package awssim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Instance statuses and parameter apply statuses of RDS that the simulator itself produces.
const (
	statusAvailable    = "available"
	statusModifying    = "modifying"
	statusRebooting    = "rebooting"
	statusBackingUp    = "backing-up"
	statusIncompatible = "incompatible-parameters"

	applyApplying      = "applying"
	applyInSync        = "in-sync"
	applyPendingReboot = "pending-reboot"
	applyFailed        = "failed-to-apply"
)

// The network of instances and clusters that name none.
const (
	defaultVPC           = "vpc-0123456789abcdef0"
	defaultSecurityGroup = "sg-0123456789abcdef0"
)

// InstanceConfig describes an instance that exists from the start.
type InstanceConfig struct {
	ID            string
	Engine        string // default postgres
	EngineVersion string // "15.12"; the major version decides about the family
	Class         string // default db.t3.medium
	MasterUser    string
	Host          string
	Port          int
	// ParameterGroup must exist; empty means the family's default group.
	ParameterGroup string
	Server         Server // nil: nothing is behind the instance
	VPC            string
	SecurityGroup  string
	AllocatedGiB   int
	MultiAZ        bool
	// The following are only reported.
	ReplicaOf       string
	Cluster         string
	MasterSecretARN string
}

// instance is the state of one. The server's real settings are those of inForce.
type instance struct {
	config      InstanceConfig
	status      string
	secret      string // status of the master user's secret; empty: active
	forced      string // the status that a fault has set
	group       string
	applyStatus string
	applyAfter  string // what follows on applying
	rebootAsked bool
	allocated   int
	class       string
	retention   int
	pending     pendingXML
	inForce     map[string]string // user-set parameters as RDS writes them
	tags        map[string]string
	created     time.Time
}

func (in *instance) clone() *instance {
	out := *in
	out.inForce, out.tags = maps.Clone(in.inForce), maps.Clone(in.tags)
	return &out
}

func (in *instance) family() string {
	return familyFor(in.config.Engine, in.config.EngineVersion)
}

func familyFor(engine, version string) string {
	major, _, _ := strings.Cut(version, ".")
	if engine == auroraEngine {
		return engine + major
	}
	return "postgres" + major
}

// AddInstance makes an instance that is available and in-sync. It panics on a configuration that cannot exist, since only
// tests and the sandbox call it.
func (s *Simulator) AddInstance(config InstanceConfig) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addInstance(config)
}

func (s *Simulator) addInstance(config InstanceConfig) {
	config.setDefaults()
	in := &instance{config: config, status: statusAvailable, applyStatus: applyInSync, allocated: config.AllocatedGiB,
		class: config.Class, retention: 7, created: time.Now().UTC().Truncate(time.Second)}
	if !slices.Contains(families(), in.family()) {
		panic(fmt.Sprintf("awssim: no family for engine version %q", config.EngineVersion))
	}
	in.group = strings.ToLower(config.ParameterGroup)
	if in.group == "" {
		in.group = defaultPrefix + in.family()
	}
	g := s.world.groups[in.group]
	if g == nil {
		panic(fmt.Sprintf("awssim: no parameter group %q", in.group))
	}
	in.inForce = g.userValues()
	s.needSecurityGroup(config.SecurityGroup, config.VPC)
	s.world.instances[strings.ToLower(config.ID)] = in
}

func (c *InstanceConfig) setDefaults() {
	if c.Engine == "" {
		c.Engine = "postgres"
	}
	if c.Class == "" {
		c.Class = "db.t3.medium"
	}
	if c.AllocatedGiB == 0 {
		c.AllocatedGiB = 20
	}
	if c.VPC == "" {
		c.VPC = defaultVPC
	}
	if c.SecurityGroup == "" {
		c.SecurityGroup = defaultSecurityGroup
	}
}

func (w *world) instance(id string) (*instance, error) {
	in := w.instances[strings.ToLower(id)]
	if in == nil {
		return nil, notFound("DBInstanceNotFound", "DBInstance %s not found.", id)
	}
	return in, nil
}

type instanceXML struct {
	DBInstanceIdentifier                  string
	DBInstanceClass                       string
	Engine                                string
	DBInstanceStatus                      string
	MasterUsername                        string
	Endpoint                              *endpointXML `xml:",omitempty"`
	AllocatedStorage                      int
	InstanceCreateTime                    string
	BackupRetentionPeriod                 int
	VpcSecurityGroups                     []securityGroupXML `xml:"VpcSecurityGroups>VpcSecurityGroupMembership"`
	DBParameterGroups                     []groupStatusXML   `xml:"DBParameterGroups>DBParameterGroup"`
	DBSubnetGroup                         subnetGroupXML
	PendingModifiedValues                 pendingXML
	EngineVersion                         string
	MultiAZ                               bool
	ReadReplicaSourceDBInstanceIdentifier string `xml:",omitempty"`
	DBClusterIdentifier                   string `xml:",omitempty"`
	DBInstanceArn                         string
	MasterUserSecret                      *masterSecretXML `xml:",omitempty"`
	TagList                               []tagXML         `xml:"TagList>Tag"`
}

type endpointXML struct {
	Address string
	Port    int
}

type securityGroupXML struct {
	VpcSecurityGroupId string
	Status             string
}

type groupStatusXML struct {
	DBParameterGroupName string
	ParameterApplyStatus string
}

type subnetGroupXML struct {
	DBSubnetGroupName string
	VpcId             string
}

type masterSecretXML struct {
	SecretArn    string
	SecretStatus string
}

// pendingXML are the modifications that wait for the maintenance window. A parameter group is never among them.
type pendingXML struct {
	AllocatedStorage      int    `xml:",omitempty"`
	BackupRetentionPeriod int    `xml:",omitempty"`
	DBInstanceClass       string `xml:",omitempty"`
}

type instanceResult struct {
	DBInstance instanceXML
}

func (s *Simulator) instanceXML(in *instance) instanceXML {
	c := in.config
	out := instanceXML{DBInstanceIdentifier: c.ID, DBInstanceClass: in.class, Engine: c.Engine, DBInstanceStatus: in.status,
		MasterUsername: c.MasterUser, AllocatedStorage: in.allocated, InstanceCreateTime: in.created.Format(time.RFC3339),
		BackupRetentionPeriod: in.retention, VpcSecurityGroups: []securityGroupXML{{c.SecurityGroup, "active"}},
		DBParameterGroups: []groupStatusXML{{in.group, in.applyStatus}}, DBSubnetGroup: subnetGroupXML{"default", c.VPC},
		PendingModifiedValues: in.pending, EngineVersion: c.EngineVersion, MultiAZ: c.MultiAZ,
		ReadReplicaSourceDBInstanceIdentifier: c.ReplicaOf, DBClusterIdentifier: c.Cluster,
		DBInstanceArn: s.arn("rds", "db", strings.ToLower(c.ID))}
	if c.Host != "" {
		out.Endpoint = &endpointXML{c.Host, c.Port}
	}
	if c.MasterSecretARN != "" {
		out.MasterUserSecret = &masterSecretXML{c.MasterSecretARN, orActive(in.secret)}
	}
	for _, key := range slices.Sorted(maps.Keys(in.tags)) {
		out.TagList = append(out.TagList, tagXML{key, in.tags[key]})
	}
	return out
}

type describeInstancesResult struct {
	Marker    string        `xml:",omitempty"`
	Instances []instanceXML `xml:"DBInstances>DBInstance"`
}

func (s *Simulator) describeInstances(c call) (any, error) {
	var all []instanceXML
	if id := c.get("DBInstanceIdentifier"); id != "" {
		in, err := c.world.instance(id)
		if err != nil {
			return nil, err
		}
		all = append(all, s.instanceXML(in))
	} else {
		for _, id := range slices.Sorted(maps.Keys(c.world.instances)) {
			all = append(all, s.instanceXML(c.world.instances[id]))
		}
	}
	part, marker, err := page(c.form, all)
	return describeInstancesResult{Marker: marker, Instances: part}, err
}

type engineVersionXML struct {
	Engine                 string
	EngineVersion          string
	MajorEngineVersion     string
	DBParameterGroupFamily string
	DBEngineDescription    string
	Status                 string
}

type describeEngineVersionsResult struct {
	Marker   string             `xml:",omitempty"`
	Versions []engineVersionXML `xml:"DBEngineVersions>DBEngineVersion"`
}

// describeEngineVersions offers minor versions 1 to 23 of each major; RDS does not offer x.0 and retires old ones.
func (s *Simulator) describeEngineVersions(c call) (any, error) {
	var all []engineVersionXML
	for _, family := range families() {
		engine, major := engineOf(family)
		for minor := 1; minor <= 23; minor++ {
			v := engineVersionXML{Engine: engine, EngineVersion: fmt.Sprintf("%d.%d", major, minor), MajorEngineVersion: strconv.Itoa(major),
				DBParameterGroupFamily: family, DBEngineDescription: engine, Status: "available"}
			if matches(c.get("Engine"), v.Engine) && matches(c.get("DBParameterGroupFamily"), v.DBParameterGroupFamily) &&
				matches(c.get("EngineVersion"), v.EngineVersion, v.MajorEngineVersion) {
				all = append(all, v)
			}
		}
	}
	part, marker, err := page(c.form, all)
	return describeEngineVersionsResult{Marker: marker, Versions: part}, err
}

// matches says whether a filter is absent or equals one of the values.
func matches(filter string, values ...string) bool {
	return filter == "" || slices.Contains(values, filter)
}
