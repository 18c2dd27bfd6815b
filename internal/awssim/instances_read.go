package awssim

import (
	"crypto/sha256"
	"encoding/base32"
	"maps"
	"slices"
	"strings"
	"time"
)

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
	StorageType                           string
	MaxAllocatedStorage                   int `xml:",omitempty"`
	StorageEncrypted                      bool
	AvailabilityZone                      string
	SecondaryAvailabilityZone             string `xml:",omitempty"`
	PreferredBackupWindow                 string
	PreferredMaintenanceWindow            string
	PubliclyAccessible                    bool
	IAMDatabaseAuthenticationEnabled      bool
	DeletionProtection                    bool
	CACertificateIdentifier               string
	DbiResourceId                         string
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
	DBSubnetGroupName        string
	DBSubnetGroupDescription string
	VpcId                    string
	SubnetGroupStatus        string
	Subnets                  []dbSubnetXML `xml:"Subnets>Subnet"`
}

type dbSubnetXML struct {
	SubnetIdentifier       string
	SubnetAvailabilityZone string `xml:"SubnetAvailabilityZone>Name"`
	SubnetStatus           string
}

func (s *Simulator) subnetGroupXML(name, vpc string) subnetGroupXML {
	out := subnetGroupXML{DBSubnetGroupName: name, DBSubnetGroupDescription: name, VpcId: vpc, SubnetGroupStatus: "Complete"}
	for _, x := range s.needNetwork(vpc).subnets {
		out.Subnets = append(out.Subnets, dbSubnetXML{x.id, s.zone(x.zone), "Active"})
	}
	return out
}

// resourceID is what IAM policies name a database by; derived from its name, so that it can be written down.
func resourceID(prefix, name string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(name)))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:26]
}

type masterSecretXML struct {
	SecretArn    string
	SecretStatus string
}

type instanceResult struct {
	DBInstance instanceXML
}

func (s *Simulator) instanceXML(in *instance) instanceXML {
	c := in.config
	out := instanceXML{DBInstanceIdentifier: c.ID, DBInstanceClass: in.class, Engine: c.Engine, DBInstanceStatus: in.status,
		MasterUsername: c.MasterUser, AllocatedStorage: in.allocated, InstanceCreateTime: in.created.Format(time.RFC3339),
		BackupRetentionPeriod: c.BackupRetentionDays, VpcSecurityGroups: []securityGroupXML{{c.SecurityGroup, "active"}},
		DBParameterGroups: []groupStatusXML{{in.group, in.apply.now}}, DBSubnetGroup: s.subnetGroupXML(c.SubnetGroup, c.VPC),
		PendingModifiedValues: in.pending, EngineVersion: c.EngineVersion, MultiAZ: c.MultiAZ,
		ReadReplicaSourceDBInstanceIdentifier: c.ReplicaOf, DBClusterIdentifier: c.Cluster,
		DBInstanceArn: s.arn("rds", "db", strings.ToLower(c.ID))}
	out.StorageType, out.MaxAllocatedStorage, out.StorageEncrypted = c.StorageType, c.MaxAllocatedGiB, !c.Unencrypted
	out.AvailabilityZone, out.PreferredBackupWindow, out.PreferredMaintenanceWindow = c.AvailabilityZone, c.BackupWindow, c.MaintenanceWindow
	out.PubliclyAccessible, out.IAMDatabaseAuthenticationEnabled, out.DeletionProtection = c.Public, c.IAMAuthentication, c.DeletionProtection
	out.CACertificateIdentifier, out.DbiResourceId = c.CACertificate, resourceID("db-", c.ID)
	if c.MultiAZ {
		out.SecondaryAvailabilityZone = s.zone(subnetZones[1])
	}
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
	filters, err := rdsFilters(c.form, "db-cluster-id", "db-instance-id", "dbi-resource-id", "engine")
	if err != nil {
		return nil, err
	}
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
	all = slices.DeleteFunc(all, func(x instanceXML) bool {
		return !passesRDS(filters, map[string]string{"db-cluster-id": x.DBClusterIdentifier, "db-instance-id": x.DBInstanceIdentifier,
			"dbi-resource-id": x.DbiResourceId, "engine": x.Engine})
	})
	part, marker, err := page(c.form, all)
	return describeInstancesResult{Marker: marker, Instances: part}, err
}
