package plan

import (
	"fmt"
	"strings"
	"time"

	"timeferry/internal/contract"
)

// Codes of the findings about the RDS instance or cluster.
const (
	CodeRDSInstance      = "rds-instance"
	CodeRDSStorage       = "rds-storage"
	CodeRDSBurstable     = "rds-burstable"
	CodeRDSWindows       = "rds-windows"
	CodeRDSReplicas      = "rds-replicas"
	CodeRDSMultiAZ       = "rds-multi-az"
	CodeRDSIAM           = "rds-iam"
	CodeLostParameter    = "parameter-not-carried"
	CodeRDSPending       = "rds-pending"
	CodeSkippedParameter = "parameter-skipped"
)

// RDSFacts is what preflight knows of the instance or cluster from the RDS API. The shell fills it in.
type RDSFacts struct {
	ID, Kind      string // Kind: instance, aurora, multi-az-cluster
	Class, Engine string
	EngineVersion string
	Family        string
	Group         string // of parameters, attached now
	// AllocatedGiB is the storage; MaxAllocatedGiB the limit up to which RDS enlarges it by itself, 0 when it does not.
	AllocatedGiB, MaxAllocatedGiB   int
	MultiAZ                         bool
	Replicas                        []string
	BackupWindow, MaintenanceWindow string
	IAMAuth                         bool
	CPUCredits                      *float64 // balance; nil: none, or nobody asked
}

// SourceUsage is what goes on at the source at one moment, without our own sessions.
type SourceUsage struct {
	Slots, Senders, Workers          int // in use
	MaxSlots, MaxSenders, MaxWorkers int
	Connections                      int
	Longest                          *Transaction // nil when none is open
	AllBytes                         int64        // size of all databases that the user may connect to
	WALPerSecond                     float64      // in bytes, on average; 0 when it is not known
}

// Words says what a reboot would interrupt.
func (u SourceUsage) Words() string {
	words := fmt.Sprintf("%d connections are open", u.Connections)
	if u.Connections == 1 {
		words = "1 connection is open"
	}
	if u.Longest == nil {
		return words + ", no transaction is running"
	}
	by := ""
	if u.Longest.User != "" {
		by = ", user " + u.Longest.User
	}
	return fmt.Sprintf("%s, the longest transaction runs for %s (pid %d%s)", words, u.Longest.Age.Round(time.Second), u.Longest.PID, by)
}

// AssessRDS says what speaks against the migration on the side of RDS. changes are the parameters that will be changed.
func AssessRDS(spec contract.Spec, rds RDSFacts, usage SourceUsage, changes []contract.ParameterChange) []contract.Problem {
	found := []contract.Problem{info(CodeRDSInstance, rds.ID, fmt.Sprintf("%s, %s %s, class %s, parameter group %s of family %s",
		kindWords(rds.Kind), rds.Engine, rds.EngineVersion, rds.Class, rds.Group, rds.Family), "")}
	found = append(found, assessStorage(rds, usage)...)
	found = append(found, assessCredits(spec, rds)...)
	if rds.BackupWindow != "" {
		found = append(found, info(CodeRDSWindows, rds.ID, fmt.Sprintf("automated backup %s UTC, maintenance %s UTC: RDS neither attaches a group nor reboots while a backup runs, and may restart the server in the maintenance window",
			rds.BackupWindow, rds.MaintenanceWindow), "plan the reboot and the cutover outside of both"))
	}
	if rds.MultiAZ {
		found = append(found, info(CodeRDSMultiAZ, rds.ID, "it is Multi-AZ: it is rebooted without failover, since only that applies static parameters; a failover during the copy costs a new snapshot, not the copied tables", ""))
	}
	if raised := raisedOnPrimary(changes); len(raised) > 0 && len(rds.Replicas) > 0 {
		found = append(found, warning(CodeRDSReplicas, rds.ID, fmt.Sprintf("%s is raised, and a read replica (%s) with a lower value stops replaying after the reboot",
			strings.Join(raised, ", "), strings.Join(rds.Replicas, ", ")), "raise the same parameters in the replicas' parameter group, and reboot them, first"))
	}
	if spec.Source.Password.IAM && !rds.IAMAuth {
		found = append(found, fatal(CodeRDSIAM, rds.ID, "source.password is iam, and IAM database authentication is not enabled there",
			"enable it (aws rds modify-db-instance --enable-iam-database-authentication), or give source.password another way"))
	}
	return found
}

// assessCredits speaks of classes that live on CPU credits, and of a limit on credits that there are none of.
func assessCredits(spec contract.Spec, rds RDSFacts) []contract.Problem {
	limited := spec.Copy.BackOff != nil && spec.Copy.BackOff.CPUCredits > 0
	switch {
	case limited && rds.CPUCredits == nil:
		return []contract.Problem{warning(CodeBackOffBlind, rds.ID,
			"CloudWatch shows no CPUCreditBalance of the last half hour for class "+rds.Class+": copy.backOff.cpuCredits will never hold the copy back",
			"leave it out, unless the class is burstable and the instance has only just been made")}
	case !strings.HasPrefix(rds.Class, "db.t"):
		return nil
	}
	words, remedy := "", "set copy.backOff.cpuCredits, or watch CPUCreditBalance and lower copy.concurrency if it falls"
	if limited {
		words = fmt.Sprintf(" (%.0f are left; the copy waits below %d)", *rds.CPUCredits, spec.Copy.BackOff.CPUCredits)
		remedy = "move to another class if the copy must not wait"
	}
	return []contract.Problem{info(CodeRDSBurstable, rds.ID, "class "+rds.Class+" lives on CPU credits: a long copy can use them up, and the application gets slow with it"+words, remedy)}
}

func kindWords(kind string) string {
	switch kind {
	case "aurora":
		return "Aurora cluster"
	case "multi-az-cluster":
		return "Multi-AZ DB cluster"
	}
	return "DB instance"
}

// mustNotBeLower are the settings that a standby must have at least as high as its primary.
var mustNotBeLower = []string{"max_connections", "max_prepared_transactions", "max_locks_per_transaction", "max_wal_senders", "max_worker_processes"}

func raisedOnPrimary(changes []contract.ParameterChange) []string {
	var names []string
	for _, c := range changes {
		for _, name := range mustNotBeLower {
			if c.Name == name {
				names = append(names, name)
			}
		}
	}
	return names
}

// tightHours is how long the free storage should take the source's WAL: a night in which nobody looks.
const tightHours = 12

// assessStorage compares the storage that is left with the WAL that piles up there while nobody reads the slot: while the
// worker is down, or its disk is full.
func assessStorage(rds RDSFacts, usage SourceUsage) []contract.Problem {
	if rds.Kind == "aurora" || rds.AllocatedGiB == 0 {
		return nil // its storage grows by itself
	}
	room := rds.AllocatedGiB
	if rds.MaxAllocatedGiB > room {
		room = rds.MaxAllocatedGiB
	}
	free := float64(room) - float64(usage.AllBytes)/(1<<30)
	about := fmt.Sprintf("%d GiB of storage, databases of %.1f GiB: about %.0f GiB are left", room, float64(usage.AllBytes)/(1<<30), max(free, 0))
	if usage.WALPerSecond == 0 {
		return []contract.Problem{info(CodeRDSStorage, rds.ID, about+" for WAL, logs and temporary files", "")}
	}
	hours := free * (1 << 30) / usage.WALPerSecond / 3600
	about += fmt.Sprintf("; the source writes %.1f GiB of WAL a day, which would fill that in %s if nobody read the slot", usage.WALPerSecond*86400/(1<<30), hoursWords(hours))
	if hours < tightHours {
		return []contract.Problem{warning(CodeRDSStorage, rds.ID, about, "enlarge the storage, or set prepare.parameters.max_slot_wal_keep_size so that the slot is given up before the disk is full")}
	}
	return []contract.Problem{info(CodeRDSStorage, rds.ID, about, "")}
}

func hoursWords(hours float64) string {
	if hours >= 48 {
		return fmt.Sprintf("%.0f days", hours/24)
	}
	return fmt.Sprintf("%.1f hours", max(hours, 0))
}

// LostParameters warns of values that people set in the group in use and that the group to be used does not carry.
func LostParameters(group string, lost []contract.ParameterChange) []contract.Problem {
	if len(lost) == 0 {
		return nil
	}
	words := make([]string, len(lost))
	for i, c := range lost {
		words[i] = fmt.Sprintf("%s is %s now and will be %s", c.Name, orDefault(c.Old), orDefault(c.New))
	}
	return []contract.Problem{warning(CodeLostParameter, "parameter group "+group, "it was there before and does not carry all that is in force: "+strings.Join(words, ", "),
		"set these in the group, or give another name under prepare.parameterGroup")}
}

// PendingModifications warns of what somebody else has ordered for the maintenance window: attaching a group or rebooting would
// set it off, so that the migration stops there until it is applied or taken back.
func PendingModifications(id string, pending []string, changes []contract.ParameterChange) []contract.Problem {
	if len(pending) == 0 || len(changes) == 0 {
		return nil
	}
	return []contract.Problem{warning(CodeRDSPending, id, "modifications that are not ours wait for the maintenance window, and the migration will stop before it would set them off: "+strings.Join(pending, ", "),
		"let them be applied, or take them back, before the start")}
}

// SkippedParameters names what Timeferry would set and the family does not have, or does not let be changed.
func SkippedParameters(family string, names []string) []contract.Problem {
	if len(names) == 0 {
		return nil
	}
	return []contract.Problem{info(CodeSkippedParameter, "family "+family, "it does not let these be set, and the migration goes without: "+strings.Join(names, ", "), "")}
}

func orDefault(value string) string {
	if value == "" {
		return "the default"
	}
	return value
}
