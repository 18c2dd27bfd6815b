package plan_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

// world is a migration that nothing speaks against.
type world struct {
	spec contract.Spec
	src  plan.SourceFacts
	dst  plan.TargetFacts
}

func metrics() shape.Table {
	return shape.Table{Table: public("metrics"), Owner: "app", Identity: shape.Identity{Kind: 'd'}, Indexes: []shape.Index{primary("device", "ts")},
		Columns: []shape.Column{{Name: "device", TypeOID: 25, Type: "text", NotNull: true}, {Name: "ts", TypeOID: 1184, Type: "timestamp with time zone", NotNull: true},
			{Name: "n", TypeOID: 23, Type: "integer", NotNull: true}}}
}

func goodWorld(t *testing.T) *world {
	t.Helper()
	spec, err := contract.ParseSpec([]byte(`{"name": "shop",
		"source": {"host": "db", "database": "shop", "user": "postgres", "password": {"env": "P"}},
		"target": {"host": "ts", "database": "tsdb", "user": "tsdbadmin", "password": {"env": "P"}},
		"hypertables": [{"table": "public.metrics", "timeColumn": "ts"}]}`))
	require.NoError(t, err)
	return &world{
		spec: spec,
		src: plan.SourceFacts{Version: 150018, User: "master", Database: "shop", Encoding: "UTF8", CanReplicate: true, CanCreate: true, OwnsDatabase: true,
			Settings:       map[string]string{"wal_level": "logical", "max_replication_slots": "10", "max_wal_senders": "10", "old_snapshot_threshold": "-1", "max_slot_wal_keep_size": "-1"},
			MaxConnections: 100, Connections: 10, Tables: []shape.Table{metrics()}, AllTables: []ident.Table{public("metrics"), public("other")},
			Partitions: map[ident.Table]ident.Table{}, Extensions: []string{"pgcrypto"}},
		dst: plan.TargetFacts{Version: 170011, User: "tsdbadmin", Database: "tsdb", Encoding: "UTF8", TimescaleDB: "2.19.3", License: "timescale",
			Available: []string{"pgcrypto", "timescaledb"}, Installed: []string{"timescaledb"}, CanCreate: true, CanCreateRole: true, CanSetReplicationRole: true,
			MaxConnections: 100, Connections: 5},
	}
}

func (w *world) table() *shape.Table { return &w.src.Tables[0] }

func (w *world) hypertable() *contract.Hypertable { return &w.spec.Hypertables[0] }

func TestAssessFindsNothingInAGoodWorld(t *testing.T) {
	w := goodWorld(t)
	require.Empty(t, plan.Assess(w.spec, w.src, w.dst))
}

// findingCase is a world that something speaks against, and what is said of it.
type findingCase struct {
	name     string
	change   func(*world)
	severity contract.Severity
	code     string
	object   string
	contains string // in the message or the remedy
}

func assessCases() []findingCase {
	rds := func(w *world, reboot string) {
		w.spec.Source.RDS = &contract.RDS{Instance: "shop-prod"}
		w.spec.Prepare.Reboot = reboot
	}
	return []findingCase{
		{"source too old", func(w *world) { w.src.Version = 110022 }, contract.Fatal, plan.CodeSourceVersion, "source", "12 to 18"},
		{"source too new", func(w *world) { w.src.Version, w.dst.Version = 190000, 190000 }, contract.Fatal, plan.CodeSourceVersion, "source", "PostgreSQL 19"},
		{"partitions before 13", func(w *world) { w.src.Version, w.table().Partitioned, w.spec.Hypertables = 120022, true, nil }, contract.Warning, plan.CodePartitionsBefore13, "public.metrics", "PostgreSQL 13"},
		{"partitions of a future hypertable before 13", func(w *world) { w.src.Version, w.table().Partitioned = 120022, true }, contract.Warning, plan.CodePartitionsBefore13, "public.metrics", "pg_partman"},
		{"target too old", func(w *world) { w.src.Version, w.dst.Version = 120022, 110022 }, contract.Fatal, plan.CodeTargetVersion, "target", "PostgreSQL 11"},
		{"target older", func(w *world) { w.dst.Version = 140000 }, contract.Warning, plan.CodeTargetOlder, "target", "PostgreSQL 15 or later"},
		{"source is a replica", func(w *world) { w.src.InRecovery = true }, contract.Fatal, plan.CodeSourceIsReplica, "source", "primary"},
		{"target is a replica", func(w *world) { w.dst.InRecovery = true }, contract.Fatal, plan.CodeTargetIsReplica, "target", "primary"},
		{"no timescaledb on the server", func(w *world) { w.dst.TimescaleDB, w.dst.Available = "", []string{"pgcrypto"} }, contract.Fatal, plan.CodeTimescaleMissing, "target", "has TimescaleDB installed"},
		{"timescaledb not created", func(w *world) { w.dst.TimescaleDB = "" }, contract.Fatal, plan.CodeTimescaleMissing, "target", "CREATE EXTENSION timescaledb"},
		{"apache edition", func(w *world) { w.dst.License, w.hypertable().Retention = "apache", "1 year" }, contract.Fatal, plan.CodeTimescaleLicense, "public.metrics", "Apache"},
		{"encoding", func(w *world) { w.src.Encoding = "SQL_ASCII" }, contract.Fatal, plan.CodeEncoding, "target", "SQL_ASCII"},
		{"plugin not listed", func(w *world) {
			w.spec.Replication.Plugin, w.src.Settings[contract.SettingPlugins] = "wal2json", "pgoutput, test_decoding"
		}, contract.Fatal, plan.CodePluginUnlisted, "source", "ALTER SYSTEM SET output_plugin_libraries = 'pgoutput', 'test_decoding', 'wal2json'; SELECT pg_reload_conf()"},
		{"plugin and encoding", func(w *world) { w.spec.Replication.Plugin, w.src.Encoding = "wal2json", "LATIN1" }, contract.Fatal, plan.CodePluginEncoding, "source", "LATIN1"},
		{"plugin and numbers", func(w *world) {
			w.spec.Replication.Plugin = "wal2json"
			w.table().Columns = append(w.table().Columns, shape.Column{Name: "degrees", TypeOID: 701, Type: "double precision"})
		}, contract.Warning, plan.CodePluginNumbers, "public.metrics", "degrees"},
		{"smaller encoding", func(w *world) { w.dst.Encoding = "LATIN1" }, contract.Fatal, plan.CodeEncoding, "target", "LATIN1"},

		{"cannot replicate", func(w *world) { w.src.CanReplicate = false }, contract.Fatal, plan.CodeReplicationPrivilege, "source", `ALTER ROLE "master" REPLICATION`},
		{"cannot replicate on RDS", func(w *world) { w.src.CanReplicate, w.src.Managed = false, true }, contract.Fatal, plan.CodeReplicationPrivilege, "source", `GRANT rds_replication TO "master"`},
		{"cannot create a publication", func(w *world) { w.src.CanCreate = false }, contract.Fatal, plan.CodeSourceCreate, "source", `GRANT CREATE ON DATABASE "shop" TO "master"`},
		{"cannot fence", func(w *world) { w.src.OwnsDatabase = false }, contract.Fatal, plan.CodeDatabaseOwner, "source", "OWNER TO"},
		{"does not own a table", func(w *world) { w.src.NotOwned = []ident.Table{public("metrics")} }, contract.Fatal, plan.CodeTableOwner, "public.metrics", `GRANT "app" TO "master"`},
		{"cannot read a table", func(w *world) { w.src.Unreadable = []ident.Table{public("metrics")} }, contract.Fatal, plan.CodeTableUnreadable, "public.metrics", "GRANT SELECT"},
		{"row security", func(w *world) { w.src.RowSecurity = []ident.Table{public("metrics")} }, contract.Fatal, plan.CodeRowSecurity, "public.metrics", "BYPASSRLS"},
		{"cannot create on the target", func(w *world) { w.dst.CanCreate = false }, contract.Fatal, plan.CodeTargetCreate, "target", `"tsdbadmin"`},
		{"cannot create roles", func(w *world) { w.dst.CanCreateRole = false }, contract.Fatal, plan.CodeTargetCreateRole, "target", "set roles to skip"},
		{"session_replication_role", func(w *world) { w.dst.CanSetReplicationRole = false }, contract.Warning, plan.CodeReplicationRole, "target", "GRANT SET ON PARAMETER"},

		{"wal_level on plain PostgreSQL", func(w *world) { w.src.Settings["wal_level"] = "replica" }, contract.Fatal, plan.CodeWALLevel, "source", "ALTER SYSTEM"},
		{"wal_level on RDS", func(w *world) { w.src.Settings["wal_level"] = "replica"; rds(w, "approve") }, contract.Info, plan.CodeWALLevel, "source", "rebooted once"},
		{"wal_level on RDS without reboot", func(w *world) { w.src.Settings["wal_level"] = "replica"; rds(w, "never") }, contract.Fatal, plan.CodeWALLevel, "source", "rds.logical_replication"},
		{"old_snapshot_threshold", func(w *world) { w.src.Settings["old_snapshot_threshold"] = "60min" }, contract.Warning, plan.CodeOldSnapshotThreshold, "source", "60min"},
		{"buffer on the source", func(w *world) { w.spec.Replication.Buffer = "source" }, contract.Warning, plan.CodeWALStays, "source", "sets no limit"},
		{"max_slot_wal_keep_size", func(w *world) { w.src.Settings["max_slot_wal_keep_size"] = "1GB" }, contract.Warning, plan.CodeSlotKeepSize, "source", "1GB"},
		{"slots", func(w *world) { w.src.SlotsUsed = 9 }, contract.Fatal, plan.CodeReplicationSlots, "source", "raise max_replication_slots to 11"},
		{"slots on RDS", func(w *world) { w.src.SlotsUsed = 9; rds(w, "auto") }, contract.Fatal, plan.CodeReplicationSlots, "source", "prepare.parameters.max_replication_slots"},
		{"senders", func(w *world) { w.src.SendersUsed = 9 }, contract.Fatal, plan.CodeWALSenders, "source", "9 of 10"},
		{"connections on the source", func(w *world) { w.src.Connections = 95 }, contract.Warning, plan.CodeConnections, "source", "95 of 100"},
		{"connections on the target", func(w *world) { w.dst.Connections = 91 }, contract.Warning, plan.CodeConnections, "target", "91 of 100"},
		{"too few connections at all", func(w *world) {
			w.dst.MaxConnections, w.dst.Settings = 25, map[string]string{"superuser_reserved_connections": "3", "reserved_connections": "4"}
		}, contract.Fatal, plan.CodeConnections, "target", "7 are reserved, and the migration opens up to 19 (3 for each of 4 streams, 2 for index builds, and 5)"},
		{"connections that the back-off takes", func(w *world) {
			w.src.MaxConnections, w.src.Connections, w.spec.Copy.BackOff = 20, 9, &contract.BackOff{ActiveSessions: 5}
		}, contract.Warning, plan.CodeConnections, "source", "up to 15 (2 for each of 4 streams, and 7)"},
		{"fewer connections after the reboot", func(w *world) {
			rds(w, "auto")
			w.spec.Prepare.Parameters = map[string]string{"max_connections": "7", "max_replication_slots": "10", "max_wal_senders": "10"}
		}, contract.Fatal, plan.CodeConnections, "source", "10 of 7"},
		{"back-off that sees nothing", func(w *world) {
			w.src.StatsHidden, w.spec.Copy.BackOff = true, &contract.BackOff{ReplicaLag: "30s", ActiveSessions: 5}
		}, contract.Warning, plan.CodeBackOffBlind, "source", `GRANT pg_read_all_stats TO "master"`},

		{"include names nothing", func(w *world) { w.spec.Tables.Include = []string{"public.nope", "*.*"} }, contract.Fatal, plan.CodeNoSuchTable, "public.nope", "tables.include"},
		{"exclude names nothing", func(w *world) { w.spec.Tables.Exclude = []string{"public.nope"} }, contract.Fatal, plan.CodeNoSuchTable, "public.nope", "tables.exclude"},
		{"pattern without match", func(w *world) { w.spec.Tables.Exclude = []string{"audit.*"} }, contract.Warning, plan.CodePatternUnused, "audit.*", "tables.exclude"},
		{"pattern names a partition", func(w *world) {
			w.src.Partitions[public("m_1")] = public("metrics")
			w.spec.Tables.Exclude = []string{"public.m_1"}
		}, contract.Fatal, plan.CodePartition, "public.m_1", "public.metrics"},
		{"no table", func(w *world) { w.src.Tables, w.spec.Hypertables = nil, nil }, contract.Fatal, plan.CodeNothingToDo, "source", "2 tables"},
		{"foreign key out of scope", func(w *world) {
			w.src.ForeignKeys = []plan.ForeignKey{{Name: "fk", From: public("metrics"), To: public("other")}}
		}, contract.Warning, plan.CodeParentMissing, "public.metrics", "public.other"},
		{"rows left out", func(w *world) {
			w.src.Empty = []shape.Table{{Table: public("other")}}
		}, contract.Info, plan.CodeRowsLeftOut, "public.other", "arrives empty"},
		{"referenced rows left out", func(w *world) {
			w.src.Empty = []shape.Table{{Table: public("other")}}
			w.src.ForeignKeys = []plan.ForeignKey{{Name: "fk", From: public("metrics"), To: public("other")}}
		}, contract.Warning, plan.CodeParentEmpty, "public.metrics", "NOT VALID"},
		{"a table without rows refers to one out of scope", func(w *world) {
			w.src.Empty = []shape.Table{{Table: public("other")}}
			w.src.ForeignKeys = []plan.ForeignKey{{Name: "fk", From: public("other"), To: public("third")}}
		}, contract.Warning, plan.CodeParentMissing, "public.other", "public.third"},
		{"pattern of rows to leave out, without match", func(w *world) { w.spec.Tables.ExcludeData = []string{"public.audit"} }, contract.Fatal, plan.CodeNoSuchTable, "public.audit", "tables.excludeData"},

		{"foreign table", func(w *world) { w.src.ForeignTables = []ident.Table{public("far")} }, contract.Warning, plan.CodeForeignTable, "public.far", "foreign"},
		{"inheritance", func(w *world) { w.spec.Hypertables = nil; w.table().Inherits = true }, contract.Info, plan.CodeInheritance, "public.metrics", "inheritance"},
		{"unlogged partition", func(w *world) {
			w.table().Partitioned, w.table().Leaves = true, []shape.Leaf{{Table: public("m_1"), Unlogged: true, Identity: shape.Identity{Kind: 'd'}, Indexes: []shape.Index{primary("device", "ts")}}}
		}, contract.Warning, plan.CodeUnlogged, "public.m_1", "SET LOGGED"},
		{"unlogged", func(w *world) { w.spec.Hypertables = nil; w.table().Unlogged = true }, contract.Warning, plan.CodeUnlogged, "public.metrics", "SET LOGGED"},
		{"hypertable on the source", func(w *world) { w.src.Hypertables = []ident.Table{public("metrics")} }, contract.Fatal, plan.CodeSourceHypertable, "public.metrics", "already"},
		{"large objects", func(w *world) { w.src.LargeObjects = 7 }, contract.Warning, plan.CodeLargeObjects, "source", "7 large objects"},
		{"sequence near its end", func(w *world) {
			w.src.Sequences = []plan.SequenceUse{{Table: public("s"), Start: 1, End: 1000, LastValue: 950}, {Table: public("ok"), Start: 1, End: 1000, LastValue: 5},
				{Table: public("fixed"), Start: 5, End: 5, LastValue: 5}}
		}, contract.Warning, plan.CodeSequenceNearEnd, "public.s", "950"},
		{"descending sequence near its end", func(w *world) {
			w.src.Sequences = []plan.SequenceUse{{Table: public("s"), Start: -1, End: -1000, LastValue: -950}}
		}, contract.Warning, plan.CodeSequenceNearEnd, "public.s", "-950"},
		{"extension", func(w *world) { w.src.Extensions = []string{"hll"} }, contract.Fatal, plan.CodeExtensionMissing, "hll", "target server"},
		{"extension of RDS", func(w *world) { w.src.Extensions = []string{"aws_s3"} }, contract.Warning, plan.CodeExtensionMissing, "aws_s3", "RDS only"},

		{"target has rows", func(w *world) {
			w.dst.Existing = []plan.ExistingTable{{Table: public("metrics"), Kind: "r", HasRows: true}}
		}, contract.Fatal, plan.CodeTargetNotEmpty, "public.metrics", "rows"},
		{"target has an empty table", func(w *world) { w.dst.Existing = []plan.ExistingTable{{Table: public("metrics"), Kind: "r"}} }, contract.Fatal, plan.CodeTargetTableExists, "public.metrics", "drop it"},
		{"target has a view", func(w *world) { w.dst.Existing = []plan.ExistingTable{{Table: public("metrics"), Kind: "v"}} }, contract.Fatal, plan.CodeTargetTableExists, "public.metrics", "a view"},
		{"target has what another migration made", func(w *world) {
			w.dst.Existing = []plan.ExistingTable{{Table: public("metrics"), Kind: "r", HasRows: true, Ours: true}}
		}, contract.Fatal, plan.CodeTargetNotEmpty, "public.metrics", "rows"},
		{"ledger of another migration", func(w *world) { w.dst.LedgerOwner = "other" }, contract.Fatal, plan.CodeLedgerTaken, "target", `"other"`},
		{"own ledger", func(w *world) { w.dst.LedgerOwner = "shop" }, contract.Fatal, plan.CodeLedgerOurs, "target", "another run"},
		{"target has what an earlier run made", func(w *world) {
			w.dst.LedgerOwner = "shop"
			w.dst.Existing = []plan.ExistingTable{{Table: public("metrics"), Kind: "r", HasRows: true, Ours: true}}
		}, contract.Fatal, plan.CodeTargetNotEmpty, "public.metrics", "earlier run of this migration made"},

		{"full", func(w *world) { w.table().Indexes = nil }, contract.Warning, plan.CodeIdentityFull, "public.metrics", "FULL"},
		{"fail", func(w *world) { w.table().Indexes = nil; w.spec.ReplicaIdentity.Fallback = "fail" }, contract.Fatal, plan.CodeNoIdentity, "public.metrics", "primary key"},
		{"skip", func(w *world) { w.table().Indexes = nil; w.spec.ReplicaIdentity.Fallback = "skip" }, contract.Warning, plan.CodeInsertOnly, "public.metrics", "do not reach the target"},
		{"partitions without a primary key", func(w *world) {
			w.table().Partitioned, w.table().Indexes = true, []shape.Index{unique("u", "device", "ts")}
			w.table().Leaves = []shape.Leaf{leaf("m_1", shape.Identity{Kind: 'd'}, unique("u1", "device", "ts"))}
		}, contract.Warning, plan.CodePartitionIdentity, "public.metrics", "added while the migration runs"},

		{"hypertable not on the source", func(w *world) { w.hypertable().Table = "public.nope" }, contract.Fatal, plan.CodeNoSuchTable, "public.nope", "hypertables"},
		{"hypertable not in scope", func(w *world) { w.hypertable().Table = "public.other" }, contract.Fatal, plan.CodeHypertableScope, "public.other", "include it"},
		{"hypertable is a partition", func(w *world) {
			w.src.Partitions[public("m_1")] = public("metrics")
			w.hypertable().Table = "public.m_1"
		}, contract.Fatal, plan.CodeHypertableScope, "public.m_1", "public.metrics"},
		{"no time column", func(w *world) {
			w.hypertable().TimeColumn = "when"
			w.table().Indexes = nil
			w.table().Identity.Kind = 'f'
		}, contract.Fatal, plan.CodeNoSuchColumn, "public.metrics", "device, ts, n"},
		{"time column of another type", func(w *world) {
			w.hypertable().TimeColumn = "device"
		}, contract.Fatal, plan.CodeHypertableTimeType, "public.metrics", "text"},
		{"integer time with an interval", func(w *world) {
			w.hypertable().TimeColumn = "n"
			w.table().Indexes = []shape.Index{primary("device", "n")}
		}, contract.Fatal, plan.CodeHypertableInterval, "public.metrics", "whole number"},
		{"nullable time", func(w *world) {
			w.table().Columns = slices.Clone(w.table().Columns)
			w.table().Columns[1].NotNull = false
		}, contract.Warning, plan.CodeHypertableNullable, "public.metrics", "SET NOT NULL"},
		{"no space column", func(w *world) {
			w.hypertable().SpaceColumn = "region"
			w.table().Indexes = nil
			w.table().Identity.Kind = 'f'
		}, contract.Fatal, plan.CodeNoSuchColumn, "public.metrics", "spaceColumn"},
		{"no segmentBy column", func(w *world) { w.hypertable().Columnstore = &contract.Columnstore{SegmentBy: []string{"region"}} }, contract.Fatal, plan.CodeNoSuchColumn, "public.metrics", "segmentBy"},
		{"primary key without the time", func(w *world) { w.table().Indexes = []shape.Index{primary("device")} }, contract.Fatal, plan.CodeHypertableKey, "public.metrics", `ADD PRIMARY KEY ("device", "ts")`},
		{"unique index without the space column", func(w *world) {
			w.hypertable().SpaceColumn = "n"
			w.table().Indexes = []shape.Index{unique("u", "device", "ts")}
			w.table().Identity = shape.Identity{Kind: 'f'}
		}, contract.Fatal, plan.CodeHypertableKey, "public.metrics", "leave spaceColumn out"},
		{"unique index over an expression", func(w *world) {
			w.table().Indexes = append(w.table().Indexes, with(unique("u", ""), func(x *shape.Index) { x.Expressions = true }))
		}, contract.Fatal, plan.CodeHypertableKey, "public.metrics", `DROP INDEX "public"."u"`},
		{"inherited hypertable", func(w *world) { w.src.InheritanceParents = []ident.Table{public("metrics")} }, contract.Fatal, plan.CodeHypertableInheritance, "public.metrics", "NO INHERIT"},
		{"unlogged hypertable", func(w *world) { w.table().Unlogged = true }, contract.Fatal, plan.CodeHypertableUnlogged, "public.metrics", "SET LOGGED"},
		{"partition's own index", func(w *world) {
			w.table().Partitioned = true
			w.table().Leaves = []shape.Leaf{leaf("m_1", shape.Identity{Kind: 'd'}, primary("device", "ts"), unique("own", "n"))}
		}, contract.Warning, plan.CodePartitionOwnIndex, "public.m_1", "own"},
		{"foreign key between hypertables", func(w *world) {
			w.src.ForeignKeys = []plan.ForeignKey{{Name: "fk", From: public("metrics"), To: public("metrics")}}
		}, contract.Fatal, plan.CodeHypertableForeignKey, "public.metrics", "between which"},
		{"foreign key to a hypertable of an old TimescaleDB", func(w *world) {
			w.dst.TimescaleDB = "2.15.1"
			w.src.ForeignKeys = []plan.ForeignKey{{Name: "fk", From: public("other"), To: public("metrics")}}
		}, contract.Fatal, plan.CodeHypertableForeignKey, "public.other", "2.15.1"},

		{"prepared transaction", func(w *world) {
			w.src.PreparedTransactions = []plan.Transaction{{GID: "g1", User: "app", Age: time.Hour}}
		}, contract.Warning, plan.CodePreparedTransaction, "prepared transaction g1", "ROLLBACK PREPARED"},
		{"long transaction", func(w *world) {
			w.src.LongTransactions = []plan.Transaction{{PID: 42, User: "app", Application: "etl", Age: 10 * time.Minute}}
		}, contract.Warning, plan.CodeLongTransaction, "pid 42", "pg_terminate_backend(42)"},
	}
}

func TestAssess(t *testing.T) { runFindingCases(t, assessCases()) }

func runFindingCases(t *testing.T, cases []findingCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := goodWorld(t)
			c.change(w)
			problems := plan.Assess(w.spec, w.src, w.dst)
			i := slices.IndexFunc(problems, func(p contract.Problem) bool { return p.Code == c.code })
			require.GreaterOrEqual(t, i, 0, "found only %+v", problems)
			p := problems[i]
			require.Equal(t, c.severity, p.Severity)
			require.Equal(t, c.object, p.Object)
			require.Contains(t, p.Message+" "+p.Remedy, c.contains)
			if p.Severity != contract.Info {
				require.NotEmpty(t, p.Remedy, "each problem says what to do")
			}
			require.Equal(t, 1, count(problems, c.code), "said once")
		})
	}
}

func count(problems []contract.Problem, code string) (n int) {
	for _, p := range problems {
		if p.Code == code {
			n++
		}
	}
	return n
}

func TestAssessLetsPass(t *testing.T) {
	for name, change := range map[string]func(*world){
		"a superuser without grants": func(w *world) {
			w.src.Superuser, w.src.CanReplicate, w.src.CanCreate, w.src.OwnsDatabase = true, false, false, false
		},
		"plain tables before 13":                   func(w *world) { w.src.Version = 120022 },
		"no ownership without a fence":             func(w *world) { w.src.OwnsDatabase, w.spec.Cutover.Fence = false, "none" },
		"no CREATEROLE when roles stay":            func(w *world) { w.dst.CanCreateRole, w.spec.Roles = false, "skip" },
		"no timescaledb when none is asked for":    func(w *world) { w.dst.TimescaleDB, w.spec.Hypertables = "", nil },
		"apache edition without its extras":        func(w *world) { w.dst.License = "apache" },
		"any encoding into UTF8":                   func(w *world) { w.src.Encoding = "LATIN1" },
		"old_snapshot_threshold missing, as in 17": func(w *world) { delete(w.src.Settings, "old_snapshot_threshold") },
		"slots that the parameter group will give": func(w *world) {
			w.src.SlotsUsed, w.spec.Source.RDS = 9, &contract.RDS{Instance: "i"}
			w.spec.Prepare.Parameters = map[string]string{"max_replication_slots": "20"}
		},
		"an extension that is installed but not available": func(w *world) { w.dst.Available, w.dst.Installed = nil, []string{"pgcrypto", "timescaledb"} },
		"a foreign key from a plain table to a hypertable": func(w *world) {
			w.src.Tables = append(w.src.Tables, shape.Table{Table: public("other"), Identity: shape.Identity{Kind: 'f'}})
			w.src.ForeignKeys = []plan.ForeignKey{{Name: "fk", From: public("other"), To: public("metrics")}}
		},
		"integer time with a whole number": func(w *world) {
			w.hypertable().TimeColumn, w.hypertable().ChunkInterval = "n", "1000"
			w.table().Indexes = []shape.Index{primary("device", "n")}
		},
		"a pattern whose tables are all excluded": func(w *world) {
			w.spec.Tables = contract.Tables{Include: []string{"public.*", "public.other"}, Exclude: []string{"public.other"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := goodWorld(t)
			change(w)
			require.Empty(t, plan.Assess(w.spec, w.src, w.dst))
		})
	}
}

func TestPartitionsFrom13OnJoinByThemselves(t *testing.T) {
	w := goodWorld(t)
	w.src.Version, w.table().Partitioned = 130000, true
	for _, p := range plan.Assess(w.spec, w.src, w.dst) {
		require.NotEqual(t, plan.CodePartitionsBefore13, p.Code)
		require.NotEqual(t, contract.Fatal, p.Severity)
	}
}

// The remedy is a list of commands, and each must name what the run really made.
func TestForgettingARunNamesWhatItMade(t *testing.T) {
	w := goodWorld(t)
	w.spec.Name, w.dst.LedgerOwner = "my-shop", "my-shop"
	problems := plan.Assess(w.spec, w.src, w.dst)
	require.Len(t, problems, 1)
	for _, command := range []string{"SELECT pg_drop_replication_slot('timeferry_my_shop')", `DROP PUBLICATION IF EXISTS "timeferry_my_shop", "timeferry_my_shop_ins"`,
		"DROP SCHEMA timeferry CASCADE", "timeferry.identities", "spool/my-shop", "abort"} {
		require.Contains(t, problems[0].Remedy, command)
	}
}

func TestAssessSortsBySeverityThenObject(t *testing.T) {
	w := goodWorld(t)
	w.src.LargeObjects = 1
	w.src.NotOwned = []ident.Table{public("z"), public("a")}
	w.src.InRecovery = true
	w.table().Inherits, w.spec.Hypertables = true, nil
	var order []string
	problems := plan.Assess(w.spec, w.src, w.dst)
	for _, p := range problems {
		order = append(order, string(p.Severity)+" "+p.Object)
	}
	require.Equal(t, []string{"error public.a", "error public.z", "error source", "warning source", "info public.metrics"}, order)
	require.True(t, plan.HasFatal(problems))
	require.False(t, plan.HasFatal(problems[3:]))
}

func TestTargetNamesLeavesOutPartitionsOfHypertables(t *testing.T) {
	w := goodWorld(t)
	w.table().Leaves = []shape.Leaf{leaf("m_1", shape.Identity{})}
	other := shape.Table{Table: public("other"), Leaves: []shape.Leaf{leaf("o_1", shape.Identity{})}}
	require.Equal(t, []ident.Table{public("metrics"), public("other"), public("o_1")}, plan.TargetNames(w.spec, append(w.src.Tables, other)))
}
