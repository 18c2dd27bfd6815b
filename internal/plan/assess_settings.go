package plan

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"timeferry/internal/contract"
)

// Codes of the findings about server settings.
const (
	CodeWALLevel             = "wal-level"
	CodeReplicationSlots     = "replication-slots"
	CodeWALSenders           = "wal-senders"
	CodeOldSnapshotThreshold = "old-snapshot-threshold"
	CodeSlotKeepSize         = "slot-wal-keep-size"
	CodeIdleSlotTimeout      = "idle-slot-timeout"
	CodeTargetWorkers        = "target-workers"
)

// neededSlots are the migration's slot and one temporary slot beside it, for a new snapshot or a verification.
const neededSlots = 2

// mayReboot is true when Timeferry itself can change static parameters.
func (f facts) mayReboot() bool { return f.spec.Source.RDS != nil && f.spec.Prepare.Reboot != "never" }

func assessSettings(f facts) []contract.Problem {
	var found []contract.Problem
	if level := f.src.Settings["wal_level"]; level != "logical" {
		found = append(found, f.walLevelProblem(level))
	}
	if v, ok := f.src.Settings["old_snapshot_threshold"]; ok && v != "-1" && !f.mayReboot() {
		found = append(found, warning(CodeOldSnapshotThreshold, objectSource,
			"old_snapshot_threshold is "+v+": the snapshot of a long copy can become too old to read from",
			"set old_snapshot_threshold to -1 and restart the server"))
	}
	if v, ok := f.src.Settings["max_slot_wal_keep_size"]; ok && v != "-1" {
		found = append(found, warning(CodeSlotKeepSize, objectSource,
			"max_slot_wal_keep_size is "+v+f.keptAnyway()+": when more WAL than that piles up, the server invalidates the slot and the migration must start over",
			"set max_slot_wal_keep_size to -1 while the migration runs, if the disk has room"))
	}
	if v, ok := f.src.Settings["idle_replication_slot_timeout"]; ok && v != "0" {
		found = append(found, warning(CodeIdleSlotTimeout, objectSource,
			"idle_replication_slot_timeout is "+v+": while the worker is away for longer than that, the server invalidates the slot and the migration must start over",
			"set idle_replication_slot_timeout to 0 while the migration runs"))
	}
	return append(found, assessTargetWorkers(f)...)
}

// keptAnyway says how much WAL the server keeps besides: wal_keep_segments, of 16 MiB, was its name before 13.
func (f facts) keptAnyway() string {
	for _, name := range []string{"wal_keep_size", "wal_keep_segments"} {
		if v, ok := f.src.Settings[name]; ok && v != "0" {
			return " (" + name + " is " + v + ")"
		}
	}
	return ""
}

// assessTargetWorkers follows TimescaleDB's own advice: policies run in background workers, beside those of parallel queries
// and three of PostgreSQL's.
func assessTargetWorkers(f facts) []contract.Problem {
	hasPolicies := slices.ContainsFunc(f.spec.Hypertables, func(h contract.Hypertable) bool { return h.Columnstore != nil || h.Retention != "" })
	workers, errW := strconv.Atoi(f.dst.Settings["max_worker_processes"])
	background, errB := strconv.Atoi(f.dst.Settings["timescaledb.max_background_workers"])
	parallel, errP := strconv.Atoi(f.dst.Settings["max_parallel_workers"])
	if !hasPolicies || errors.Join(errW, errB, errP) != nil || workers >= 3+background+parallel {
		return nil
	}
	return []contract.Problem{info(CodeTargetWorkers, objectTarget,
		fmt.Sprintf("max_worker_processes is %d, less than 3 and timescaledb.max_background_workers (%d) and max_parallel_workers (%d): columnstore and retention policies may wait for a worker", workers, background, parallel),
		fmt.Sprintf("set max_worker_processes to %d or more on the target", 3+background+parallel))}
}

func (f facts) walLevelProblem(level string) contract.Problem {
	message := "wal_level is " + level + ", logical is needed"
	switch {
	case f.mayReboot():
		return info(CodeWALLevel, objectSource, message+": the parameter group is changed and the instance rebooted once (prepare.reboot: "+f.spec.Prepare.Reboot+")", "")
	case f.spec.Source.RDS != nil:
		return fatal(CodeWALLevel, objectSource, message+", and prepare.reboot is never",
			"set rds.logical_replication = 1 in the instance's parameter group and reboot it, or set prepare.reboot to approve")
	}
	return fatal(CodeWALLevel, objectSource, message,
		"run: ALTER SYSTEM SET wal_level = 'logical' and restart the server; if it is on RDS, name the instance under source.rds")
}

func assessSlots(f facts) []contract.Problem {
	var found []contract.Problem
	for _, c := range []struct {
		code, setting, what string
		used                int
	}{
		{CodeReplicationSlots, "max_replication_slots", "replication slots", f.src.SlotsUsed},
		{CodeWALSenders, "max_wal_senders", "WAL senders", f.src.SendersUsed},
	} {
		limit := f.limit(c.setting)
		if limit-c.used >= neededSlots {
			continue
		}
		remedy := fmt.Sprintf("raise %s to %d or more and restart the server, or end what uses them", c.setting, c.used+neededSlots)
		if f.mayReboot() {
			remedy = fmt.Sprintf("set prepare.parameters.%s to %d or more, or end what uses them", c.setting, c.used+neededSlots)
		}
		found = append(found, fatal(c.code, objectSource, fmt.Sprintf("%d of %d %s are in use; %d free ones are needed", c.used, limit, c.what, neededSlots), remedy))
	}
	return found
}

// limit is the setting's number after the parameter group has been changed.
func (f facts) limit(setting string) int {
	value := f.src.Settings[setting]
	if coming, ok := f.spec.Prepare.Parameters[setting]; ok && f.mayReboot() {
		value = coming
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0
	}
	return n
}
