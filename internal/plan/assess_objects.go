package plan

import (
	"fmt"
	"slices"

	"timeferry/internal/contract"
	"timeferry/internal/shape"
)

// Codes of the findings about kinds of objects.
const (
	CodeRule              = "rule"
	CodeEventTrigger      = "event-trigger"
	CodeSecurityLabel     = "security-label"
	CodeRowSecurityKept   = "row-level-security"
	CodeExclusion         = "exclusion-constraint"
	CodeDeferrable        = "deferrable-constraint"
	CodeVirtualColumn     = "virtual-column"
	CodeGeneratedColumn   = "generated-column"
	CodeGeneratedIdentity = "generated-identity"
	CodeTextCopy          = "text-copy"
	CodeMaterializedView  = "materialized-view"
	CodePublication       = "publication"
	CodeSubscription      = "subscription"
	CodeSuperuserObject   = "superuser-object"
	CodeTablespace        = "tablespace"
	CodeUserMapping       = "user-mapping"
	CodeDatabaseSetting   = "database-setting"
	CodeTemporaryTable    = "temporary-table"
	CodeQuotedName        = "quoted-name"
	CodePartitionTruncate = "partition-truncate"
)

// notableWords is what is said of each kind, in the order of reading. plural is what many of them are counted by.
var notableWords = []struct {
	kind   NotableKind
	plural string
	says   contract.Problem
}{
	{NotableRule, "rules", info(CodeRule, "", "rules are carried over; they do not rewrite the rows that are copied and applied, which are what they made on the source", "")},
	{NotableEventTrigger, "event triggers", warning(CodeEventTrigger, "",
		"event triggers need a superuser and are not carried over; on the source they fire at this migration's own CREATE PUBLICATION and ALTER TABLE … REPLICA IDENTITY",
		"see that they do not refuse or slow those down; ask the target's provider for them, or do without")},
	{NotableSecurityLabel, "security labels", warning(CodeSecurityLabel, "", "security labels are not carried over", "run SECURITY LABEL on the target, if it has the provider")},
	{NotableRowSecurity, "tables", info(CodeRowSecurityKept, "", "row-level security and its policies are carried over; the copy needs to see every row, which is checked apart", "")},
	{NotableExclusion, "exclusion constraints", info(CodeExclusion, "", "exclusion constraints are built after the copy, like indexes; they cannot be a replica identity", "")},
	{NotableDeferrable, "deferrable constraints", info(CodeDeferrable, "",
		"deferrable constraints are carried over; a deferrable primary key or unique constraint cannot be a replica identity, so its table goes by another key or by the whole row", "")},
	{NotableMaterializedView, "materialized views", info(CodeMaterializedView, "", "materialized views are filled by REFRESH after the copy, in the order of their dependencies, and not kept up with changes",
		"refresh them again after the cutover, as on the source")},
	{NotablePublication, "publications", info(CodePublication, "", "publications are not carried over, and stay on the source with their subscribers", "create them on the target after the cutover, and move the subscribers")},
	{NotableSubscription, "subscriptions", warning(CodeSubscription, "",
		"subscriptions are not carried over: what they bring is written to the source, and the cutover's fence does not keep them from writing",
		"disable them at the cutover (ALTER SUBSCRIPTION … DISABLE), and create them on the target after it")},
	{NotableSuperuserObject, "objects", warning(CodeSuperuserObject, "", "only a superuser may create these, and the target's user is none: the restore of the schema would stop there",
		"drop what is not used, or ask the target's provider for it before the start")},
	{NotableTablespace, "relations", info(CodeTablespace, "", "tablespaces are not carried over: everything is made in the target's default one", "")},
	{NotableUserMapping, "user mappings", warning(CodeUserMapping, "", "user mappings hold passwords and are not carried over", "run CREATE USER MAPPING on the target")},
	{NotableDatabaseSetting, "database settings", info(CodeDatabaseSetting, "", "settings of the database (ALTER DATABASE … SET) are not carried over", "set them on the target if the application needs them")},
	{NotableTemporaryTable, "temporary tables", info(CodeTemporaryTable, "", "temporary tables belong to their sessions and are not carried over", "")},
}

func assessNotables(f facts) []contract.Problem {
	names := map[NotableKind][]string{}
	for _, n := range f.src.Notables {
		names[n.Kind] = append(names[n.Kind], n.String())
	}
	if f.dst.Superuser {
		delete(names, NotableSuperuserObject)
	}
	var found []contract.Problem
	for _, w := range notableWords {
		found = append(found, many(w.says, w.plural, names[w.kind])...)
	}
	return append(found, assessVirtualColumns(f, names[NotableVirtualColumn])...)
}

// virtualColumnsSince is the first server_version_num that knows generated columns without storage.
const virtualColumnsSince = 180000

func assessVirtualColumns(f facts, names []string) []contract.Problem {
	if f.dst.Version >= virtualColumnsSince {
		return nil
	}
	return many(fatal(CodeVirtualColumn, "", fmt.Sprintf("virtual generated columns came with PostgreSQL 18, and the target runs %d: their tables cannot be made there", f.dst.Version/10000),
		"create the target with PostgreSQL 18 or later; or make them STORED; or exclude their tables"), "virtual columns", names)
}

// assessColumns tells what the columns themselves say.
func assessColumns(f facts) []contract.Problem {
	var generated, text, parted []string
	var found []contract.Problem
	for _, t := range f.src.Tables {
		name := t.Table.String()
		if hasGenerated(t) {
			generated = append(generated, name)
		}
		if t.NeedsTextCopy() {
			text = append(text, name)
		}
		if t.Partitioned && f.src.Version >= ViaRootVersion { // of older ones assessPartitions speaks
			parted = append(parted, name)
		}
		found = append(found, f.generatedIdentity(t)...)
	}
	found = append(found, many(info(CodeGeneratedColumn, "", "generated columns are not copied: the target computes them anew", ""), "tables", generated)...)
	found = append(found, many(info(CodeTextCopy, "", "columns of types whose binary form differs between databases: such tables are copied as text, which is slower", ""), "tables", text)...)
	return append(found, many(info(CodePartitionTruncate, "",
		"a partitioned table's changes are published under its own name: TRUNCATE of a single partition, dropping or detaching one, and attaching one that has rows do not reach the target",
		"while the migration runs, truncate the whole table or use DELETE, and leave the partitions as they are"), "partitioned tables", parted)...)
}

func hasGenerated(t shape.Table) bool {
	return slices.ContainsFunc(t.Columns, func(c shape.Column) bool { return c.Generated })
}

// generatedIdentity: PostgreSQL 18 refuses the application's updates and deletes of a table that goes by the whole row, as
// soon as it is published, if it has generated columns, since these are not published:
// https://www.postgresql.org/docs/18/logical-replication-gencols.html. Keys with generated columns are never chosen.
func (f facts) generatedIdentity(t shape.Table) []contract.Problem {
	if t.Unlogged || !hasGenerated(t) || f.src.Version < virtualColumnsSince {
		return nil
	}
	ids, _ := Identities(t, f.spec.ReplicaIdentity.Fallback, TimeColumnsOf(f.spec)[t.Table]) // the problem is assessIdentities' to tell
	i := slices.IndexFunc(ids, func(id Identity) bool { return id.Kind == IdentityFull })
	if i < 0 {
		return nil
	}
	remedy := "add a primary key, or a unique index over columns that are NOT NULL and not generated"
	if !ids[i].Change && bestIndex(t.Indexes, "") != nil { // somebody has set it so, and need not
		remedy = "let it go by its key: ALTER TABLE " + ids[i].Table.Quote() + " REPLICA IDENTITY DEFAULT"
	}
	return []contract.Problem{fatal(CodeGeneratedIdentity, ids[i].Table.String(),
		"its replica identity is the whole row, which has generated columns: PostgreSQL 18 refuses the application's updates and deletes of such a table once it is published",
		remedy+"; or exclude the table")}
}

func assessQuotedNames(f facts) []contract.Problem {
	if f.src.QuotedNames == 0 {
		return nil
	}
	names := listed(f.src.QuotedExamples)
	if rest := f.src.QuotedNames - len(f.src.QuotedExamples); rest > 0 {
		names += fmt.Sprintf(" and %d more", rest)
	}
	return []contract.Problem{info(CodeQuotedName, objectSource,
		fmt.Sprintf("%d names of tables, views, sequences and columns need quotes in SQL: %s", f.src.QuotedNames, names),
		"quote them in the spec too: 'public.\"Odd name\"'")}
}
