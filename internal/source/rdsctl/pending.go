package rdsctl

import "github.com/aws/aws-sdk-go-v2/service/rds/types"

// pendingNames lists the fields that are set. The API sends an empty element when nothing is pending.
func pendingNames(p *types.PendingModifiedValues) []string {
	if p == nil {
		return nil
	}
	return setNames([]pendingField{
		{"AdditionalStorageVolumes", len(p.AdditionalStorageVolumes) > 0},
		{"AllocatedStorage", p.AllocatedStorage != nil},
		{"AutomationMode", p.AutomationMode != ""},
		{"BackupRetentionPeriod", p.BackupRetentionPeriod != nil},
		{"CACertificateIdentifier", p.CACertificateIdentifier != nil},
		{"DBCapacityReservationIdentifier", p.DBCapacityReservationIdentifier != nil},
		{"DBInstanceClass", p.DBInstanceClass != nil},
		{"DBInstanceIdentifier", p.DBInstanceIdentifier != nil},
		{"DBSubnetGroupName", p.DBSubnetGroupName != nil},
		{"DedicatedLogVolume", p.DedicatedLogVolume != nil},
		{"Engine", p.Engine != nil},
		{"EngineVersion", p.EngineVersion != nil},
		{"IAMDatabaseAuthenticationEnabled", p.IAMDatabaseAuthenticationEnabled != nil},
		{"Iops", p.Iops != nil},
		{"LicenseModel", p.LicenseModel != nil},
		{"MasterUserPassword", p.MasterUserPassword != nil},
		{"MultiAZ", p.MultiAZ != nil},
		{"MultiTenant", p.MultiTenant != nil},
		{"PendingCloudwatchLogsExports", p.PendingCloudwatchLogsExports != nil},
		{"Port", p.Port != nil},
		{"ProcessorFeatures", len(p.ProcessorFeatures) > 0},
		{"ResumeFullAutomationModeTime", p.ResumeFullAutomationModeTime != nil},
		{"StorageThroughput", p.StorageThroughput != nil},
		{"StorageType", p.StorageType != nil},
	})
}

// clusterPendingNames is the same for a cluster.
func clusterPendingNames(p *types.ClusterPendingModifiedValues) []string {
	if p == nil {
		return nil
	}
	return setNames([]pendingField{
		{"AllocatedStorage", p.AllocatedStorage != nil},
		{"BackupRetentionPeriod", p.BackupRetentionPeriod != nil},
		{"CertificateDetails", p.CertificateDetails != nil},
		{"DBClusterIdentifier", p.DBClusterIdentifier != nil},
		{"EngineVersion", p.EngineVersion != nil},
		{"IAMDatabaseAuthenticationEnabled", p.IAMDatabaseAuthenticationEnabled != nil},
		{"Iops", p.Iops != nil},
		{"MasterUserPassword", p.MasterUserPassword != nil},
		{"PendingCloudwatchLogsExports", p.PendingCloudwatchLogsExports != nil},
		{"RdsCustomClusterConfiguration", p.RdsCustomClusterConfiguration != nil},
		{"StorageType", p.StorageType != nil},
	})
}

// pendingField is a modification and whether it waits.
type pendingField struct {
	name string
	set  bool
}

func setNames(fields []pendingField) []string {
	var names []string
	for _, field := range fields {
		if field.set {
			names = append(names, field.name)
		}
	}
	return names
}
