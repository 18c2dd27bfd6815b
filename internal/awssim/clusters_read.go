package awssim

import (
	"maps"
	"slices"
	"strings"
	"time"
)

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
	// An empty one of a cluster is not written, unlike that of an instance.
	PendingModifiedValues            *pendingXML `xml:",omitempty"`
	PreferredBackupWindow            string
	PreferredMaintenanceWindow       string
	AvailabilityZones                []string `xml:"AvailabilityZones>AvailabilityZone"`
	StorageType                      string
	StorageEncrypted                 bool
	PubliclyAccessible               *bool `xml:",omitempty"` // Multi-AZ clusters only
	IAMDatabaseAuthenticationEnabled bool
	DeletionProtection               bool
	DbClusterResourceId              string
	CAIdentifier                     string   `xml:"CertificateDetails>CAIdentifier"`
	TagList                          []tagXML `xml:"TagList>Tag"`
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
		BackupRetentionPeriod: c.BackupRetentionDays, ClusterCreateTime: cl.created.Format(time.RFC3339), DBClusterParameterGroup: cl.group,
		DBSubnetGroup: c.SubnetGroup, VpcSecurityGroups: []securityGroupXML{{c.SecurityGroup, "active"}}}
	out.PreferredBackupWindow, out.PreferredMaintenanceWindow, out.StorageType = c.BackupWindow, c.MaintenanceWindow, c.StorageType
	out.IAMDatabaseAuthenticationEnabled, out.DeletionProtection, out.StorageEncrypted = c.IAMAuthentication, c.DeletionProtection, true
	out.DbClusterResourceId, out.CAIdentifier, out.AvailabilityZones = resourceID("cluster-", c.ID), c.CACertificate, mapped(subnetZones, s.zone)
	if !cl.pending.isEmpty() {
		pending := cl.pending // the answer is written without the lock
		out.PendingModifiedValues = &pending
	}
	if !cl.isAurora() {
		out.DBClusterInstanceClass, out.PubliclyAccessible = c.Class, &c.Public
	}
	for _, m := range cl.members {
		out.DBClusterMembers = append(out.DBClusterMembers, memberXML{m.id, m.writer, m.apply.now, 1})
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
	filters, err := rdsFilters(c.form, "db-cluster-id", "db-cluster-resource-id", "engine")
	if err != nil {
		return nil, err
	}
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
	all = slices.DeleteFunc(all, func(x clusterXML) bool {
		return !passesRDS(filters, map[string]string{"db-cluster-id": x.DBClusterIdentifier, "db-cluster-resource-id": x.DbClusterResourceId, "engine": x.Engine})
	})
	part, marker, err := page(c.form, all)
	return describeClustersResult{Marker: marker, Clusters: part}, err
}
