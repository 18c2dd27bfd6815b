package awssim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Statuses of instances and clusters that the simulator itself produces.
const (
	statusAvailable    = "available"
	statusModifying    = "modifying"
	statusRebooting    = "rebooting"
	statusBackingUp    = "backing-up"
	statusIncompatible = "incompatible-parameters"
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
	Pending        PendingModifications
	// The following are only reported; what is empty gets a plausible value.
	ReplicaOf           string
	Cluster             string
	MasterSecretARN     string
	SubnetGroup         string // name of the DB subnet group; it has the subnets of the VPC
	AvailabilityZone    string // default: zone a of the region
	BackupWindow        string // default 03:12-03:42
	MaintenanceWindow   string // default sun:07:30-sun:08:00
	BackupRetentionDays int    // default 7; below 0: no backups
	StorageType         string // default gp3
	MaxAllocatedGiB     int    // of storage autoscaling; 0: off
	CACertificate       string // default rds-ca-rsa2048-g1
	Public              bool
	IAMAuthentication   bool
	DeletionProtection  bool
	Unencrypted         bool
	CPUCredits          *float64 // balance at CloudWatch; nil: none, as for classes that are not burstable. See SetCPUCredits
	Tags                map[string]string
}

// instance is the state of one. The server's real settings are those of inForce.
type instance struct {
	config      InstanceConfig
	status      string
	secret      string // status of the master user's secret; empty: active
	forced      string // the status that a fault has set
	group       string
	apply       applyState
	rebootAsked bool
	allocated   int
	class       string
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
	config.setDefaults(s.options.Region)
	in := &instance{config: config, status: statusAvailable, apply: applyState{now: applyInSync}, allocated: config.AllocatedGiB,
		class: config.Class, pending: config.Pending.xml(), tags: maps.Clone(config.Tags), created: time.Now().UTC().Truncate(time.Second)}
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
	s.needNetwork(config.VPC)
	s.world.instances[strings.ToLower(config.ID)] = in
}

func (c *InstanceConfig) setDefaults(region string) {
	fillEmpty(&c.Engine, "postgres")
	fillEmpty(&c.Class, "db.t3.medium")
	if c.AllocatedGiB == 0 {
		c.AllocatedGiB = 20
	}
	fillEmpty(&c.VPC, defaultVPC)
	fillEmpty(&c.SecurityGroup, defaultSecurityGroup)
	fillEmpty(&c.AvailabilityZone, region+subnetZones[0])
	fillEmpty(&c.StorageType, "gp3")
	fillReported(&c.SubnetGroup, &c.BackupWindow, &c.MaintenanceWindow, &c.CACertificate)
	fillRetention(&c.BackupRetentionDays)
}

func fillEmpty(field *string, fallback string) {
	if *field == "" {
		*field = fallback
	}
}

// fillReported has the defaults that instances and clusters share.
func fillReported(subnetGroup, backup, maintenance, certificate *string) {
	fillEmpty(subnetGroup, "default")
	fillEmpty(backup, "03:12-03:42")
	fillEmpty(maintenance, "sun:07:30-sun:08:00")
	fillEmpty(certificate, "rds-ca-rsa2048-g1")
}

func fillRetention(days *int) {
	if *days == 0 {
		*days = 7
	}
	*days = max(*days, 0)
}

func (w *world) instance(id string) (*instance, error) {
	in := w.instances[strings.ToLower(id)]
	if in == nil {
		return nil, notFound("DBInstanceNotFound", "DBInstance %s not found.", id)
	}
	return in, nil
}
