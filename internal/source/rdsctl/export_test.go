package rdsctl

// PendingNames lets a test compare it with the SDK's type.
var PendingNames = pendingNames
