package rdsctl

// PendingNames and ClusterPendingNames let a test compare them with the SDK's types.
var (
	PendingNames        = pendingNames
	ClusterPendingNames = clusterPendingNames
)
