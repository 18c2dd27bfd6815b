package plan

import (
	"fmt"

	"timeferry/internal/contract"
)

// Codes of the findings about versions and editions.
const (
	CodeSourceVersion      = "source-version"
	CodePartitionsBefore13 = "partitions-before-13"
	CodeTargetVersion      = "target-version"
	CodeTargetOlder        = "target-older"
	CodeTimescaleMissing   = "timescaledb-missing"
	CodeTimescaleLicense   = "timescaledb-license"
	CodeSourceIsReplica    = "source-is-replica"
	CodeTargetIsReplica    = "target-is-replica"
	CodeEncoding           = "encoding"
)

// The PostgreSQL majors that are supported as a source, and the oldest target.
const (
	oldestSource = 12
	newestSource = 18
	oldestTarget = 12
)

func assessVersions(f facts) []contract.Problem {
	var found []contract.Problem
	source, target := f.src.Version/10000, f.dst.Version/10000
	if source < oldestSource || source > newestSource {
		found = append(found, fatal(CodeSourceVersion, objectSource,
			fmt.Sprintf("it runs PostgreSQL %d; %d to %d are supported", source, oldestSource, newestSource),
			"upgrade the source first, or use a Timeferry that knows this version"))
	}
	if target < oldestTarget {
		found = append(found, fatal(CodeTargetVersion, objectTarget,
			fmt.Sprintf("it runs PostgreSQL %d; %d is the oldest supported", target, oldestTarget), "create the target with a newer PostgreSQL"))
	} else if target < source {
		found = append(found, warning(CodeTargetOlder, objectTarget,
			fmt.Sprintf("it runs PostgreSQL %d and the source %d: what the newer one has added to SQL cannot be restored", target, source),
			fmt.Sprintf("create the target with PostgreSQL %d or later", source)))
	}
	if f.src.InRecovery {
		found = append(found, fatal(CodeSourceIsReplica, objectSource,
			"it is a read replica: publications and replica identities cannot be made there", "name the primary under source"))
	}
	if f.dst.InRecovery {
		found = append(found, fatal(CodeTargetIsReplica, objectTarget, "it is a read replica and takes no writes", "name the primary under target"))
	}
	return append(append(found, assessTimescale(f)...), assessEncoding(f)...)
}

// assessPartitions warns of partitioned tables of a source that publishes their changes under the partitions' names: each
// partition joins the publication by itself, so one that is made later does not.
func assessPartitions(f facts) []contract.Problem {
	if f.src.Version >= ViaRootVersion {
		return nil
	}
	var found []contract.Problem
	for _, t := range f.src.Tables {
		if t.Partitioned {
			found = append(found, warning(CodePartitionsBefore13, t.Table.String(),
				"it is partitioned, and before PostgreSQL 13 each partition is published by itself: one that is made or attached after the start is named as a new table, but its rows are not carried over; dropping or detaching one does not reach the target",
				"make the partitions that will be needed until the cutover before the start, drop and detach none, and let pg_partman and its like rest meanwhile"))
		}
	}
	return found
}

func assessTimescale(f facts) []contract.Problem {
	if len(f.spec.Hypertables) == 0 && !f.spec.HypertableGate {
		return nil
	}
	if f.dst.TimescaleDB == "" {
		remedy := "CREATE EXTENSION timescaledb in the target database"
		if !contains(f.dst.Available, "timescaledb") {
			remedy = "use a target server that has TimescaleDB installed"
		}
		return []contract.Problem{fatal(CodeTimescaleMissing, objectTarget, "hypertables are asked for, but the target database has no extension timescaledb", remedy)}
	}
	if f.dst.License != "apache" {
		return nil
	}
	var found []contract.Problem
	for table, h := range HypertablesOf(f.spec) {
		if h.Columnstore != nil || h.Retention != "" {
			found = append(found, fatal(CodeTimescaleLicense, table.String(),
				"columnstore and retention are not in the Apache edition of TimescaleDB, which the target runs",
				"leave columnstore and retention out of the spec, or use a target with timescaledb.license = timescale"))
		}
	}
	return found
}

func assessEncoding(f facts) []contract.Problem {
	if f.src.Encoding == f.dst.Encoding {
		return nil
	}
	const remedy = "create the target database with the source's encoding"
	message := fmt.Sprintf("the source's encoding is %s, the target's %s", f.src.Encoding, f.dst.Encoding)
	if f.src.Encoding == "SQL_ASCII" {
		return []contract.Problem{fatal(CodeEncoding, objectTarget, message+": bytes that no encoding vouches for cannot be converted", remedy)}
	}
	if f.dst.Encoding != "UTF8" {
		return []contract.Problem{fatal(CodeEncoding, objectTarget, message+": characters may not exist there", remedy)}
	}
	return nil
}
