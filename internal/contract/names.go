package contract

import (
	"slices"
	"strings"
)

// Names of the workflow.
const (
	WorkflowType = "LiveMigration"
	TaskQueue    = "timeferry"
	QueryStatus  = "status"
	// PreflightType is the workflow that only checks.
	PreflightType = "Preflight"
	// VerifySchemaType is the workflow that compares the schemas of a migration's two sides.
	VerifySchemaType = "VerifySchema"
	// ShowDifferencesType is the workflow that reads differing rows with their values, sealed.
	ShowDifferencesType = "ShowDifferences"
)

// Signals, each also an update of the same name that validates and answers.
const (
	SignalApproveReboot      = "approve-reboot"
	SignalApproveHypertables = "approve-hypertables"
	SignalCutover            = "cutover"
	SignalPause              = "pause"
	SignalResume             = "resume"
	SignalVerify             = "verify"
	SignalResync             = "resync"
	SignalAbort              = "abort"
	SignalRollback           = "rollback"
	SignalComplete           = "complete"
	// SignalSetConcurrency carries the new numbers in its Note.
	SignalSetConcurrency = "set-concurrency"
)

// SignalSnapshot is how the snapshot's holder tells its workflow of a new epoch. Internal: not for people.
const SignalSnapshot = "timeferry-snapshot"

// SignalSecondWorker is how a worker that copies, and is not the one that holds the snapshot, tells the workflow that a copy of
// the snapshot can be held too. Internal: not for people.
const SignalSecondWorker = "timeferry-second-worker"

// CodeNeedsAnotherWorker is the failure of an attempt to hold that copy on the worker that holds the snapshot: another attempt
// may come to another worker. It is no problem.
const CodeNeedsAnotherWorker = "needs-another-worker"

// WorkflowID is the workflow's ID for the migration called name.
func WorkflowID(name string) string { return "timeferry-" + name }

// HostQueue is the task queue of one worker: stream activities run where their spool is.
func HostQueue(hostID string) string { return TaskQueue + "-host-" + hostID }

// Phase is where a migration stands.
type Phase string

const (
	PhasePreflight           Phase = "preflight"
	PhasePreparingSource     Phase = "preparing-source"
	PhaseAwaitingReboot      Phase = "awaiting-reboot"
	PhaseCreatingSlot        Phase = "creating-slot"
	PhaseMigratingSchema     Phase = "migrating-schema"
	PhaseAwaitingHypertables Phase = "awaiting-hypertables"
	PhaseCopying             Phase = "copying"
	PhaseIndexing            Phase = "indexing"
	PhaseCatchingUp          Phase = "catching-up"
	PhaseInSync              Phase = "in-sync"
	PhaseCuttingOver         Phase = "cutting-over"
	PhaseCutOver             Phase = "cut-over"
	PhaseRollingBack         Phase = "rolling-back"
	PhaseRolledBack          Phase = "rolled-back"
	PhaseAborting            Phase = "aborting"
	PhaseAborted             Phase = "aborted"
	PhaseCompleted           Phase = "completed"
	PhaseFailed              Phase = "failed"
)

// Names of objects that a migration makes on the source, all derived from its name so that none can be orphaned.

// SlotName is the logical replication slot's name. PostgreSQL allows only lower-case letters, digits and underscores.
func SlotName(name string) string { return "timeferry_" + underscored(name) }

// PublicationName is the publication's name.
func PublicationName(name string) string { return "timeferry_" + underscored(name) }

// LedgerSchema is the schema of the bookkeeping on the target.
const LedgerSchema = "timeferry"

// MarkerPrefix marks our own messages in the source's WAL.
const MarkerPrefix = "timeferry"

func underscored(name string) string {
	b := []byte(name)
	for i, c := range b {
		if c == '-' {
			b[i] = '_'
		}
	}
	return string(b)
}

// SettingPlugins is the server's list of libraries that may be used as output plugins; servers have it from 15.19, 16.15, 17.11 and
// 18.6 on.
const SettingPlugins = "output_plugin_libraries"

// ListsPlugin says whether the setting's value names a plugin.
func ListsPlugin(value, plugin string) bool {
	return slices.ContainsFunc(strings.Split(value, ","), func(name string) bool {
		return strings.Trim(strings.TrimSpace(name), `"`) == plugin
	})
}

// ListPlugin is what to do about a plugin that the setting's value does not name.
func ListPlugin(value, plugin string) string {
	var names []string
	for _, name := range append(strings.Split(value, ","), plugin) {
		if name = strings.Trim(strings.TrimSpace(name), `"`); name != "" {
			names = append(names, "'"+name+"'")
		}
	}
	return "run as a superuser: ALTER SYSTEM SET " + SettingPlugins + " = " + strings.Join(names, ", ") + "; SELECT pg_reload_conf(); on RDS set it in the parameter group"
}
