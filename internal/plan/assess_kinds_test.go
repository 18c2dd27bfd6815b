package plan_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

// notable adds an object of the kind, which belongs to public.metrics.
func notable(kind plan.NotableKind, name string) func(*world) {
	return func(w *world) {
		w.src.Notables = append(w.src.Notables, plan.Notable{Kind: kind, Table: public("metrics"), Name: name})
	}
}

// free is a notable of no table.
func free(kind plan.NotableKind, name string) func(*world) {
	return func(w *world) { w.src.Notables = append(w.src.Notables, plan.Notable{Kind: kind, Name: name}) }
}

func libc(collate, ctype string) plan.Locale {
	return plan.Locale{Provider: "libc", Collate: collate, Ctype: ctype}
}

func kindCases() []findingCase {
	keyless := func(name string, updates int64) shape.Table {
		return shape.Table{Table: public(name), Identity: shape.Identity{Kind: 'd'}, Updates: updates}
	}
	return []findingCase{
		{"rule", notable(plan.NotableRule, "r"), contract.Info, plan.CodeRule, "public.metrics.r", "rules"},
		{"event trigger", free(plan.NotableEventTrigger, "guard"), contract.Warning, plan.CodeEventTrigger, "guard", "REPLICA IDENTITY"},
		{"security label", free(plan.NotableSecurityLabel, "table public.metrics (selinux)"), contract.Warning, plan.CodeSecurityLabel, "table public.metrics (selinux)", "SECURITY LABEL"},
		{"row level security", notable(plan.NotableRowSecurity, ""), contract.Info, plan.CodeRowSecurityKept, "public.metrics", "policies"},
		{"exclusion constraint", notable(plan.NotableExclusion, "x"), contract.Info, plan.CodeExclusion, "public.metrics.x", "after the copy"},
		{"deferrable constraint", notable(plan.NotableDeferrable, "x"), contract.Info, plan.CodeDeferrable, "public.metrics.x", "cannot be a replica identity"},
		{"virtual column", notable(plan.NotableVirtualColumn, "v"), contract.Fatal, plan.CodeVirtualColumn, "public.metrics.v", "PostgreSQL 18"},
		{"materialized view", notable(plan.NotableMaterializedView, ""), contract.Info, plan.CodeMaterializedView, "public.metrics", "REFRESH"},
		{"publication", free(plan.NotablePublication, "p"), contract.Info, plan.CodePublication, "p", "stay on the source"},
		{"subscription", free(plan.NotableSubscription, "s"), contract.Warning, plan.CodeSubscription, "s", "DISABLE"},
		{"superuser's object", free(plan.NotableSuperuserObject, "function public.f()"), contract.Warning, plan.CodeSuperuserObject, "function public.f()", "superuser"},
		{"tablespace", notable(plan.NotableTablespace, ""), contract.Info, plan.CodeTablespace, "public.metrics", "default"},
		{"user mapping", free(plan.NotableUserMapping, "far for app"), contract.Warning, plan.CodeUserMapping, "far for app", "passwords"},
		{"database setting", free(plan.NotableDatabaseSetting, "work_mem"), contract.Info, plan.CodeDatabaseSetting, "work_mem", "ALTER DATABASE"},
		{"temporary table", free(plan.NotableTemporaryTable, "tmp"), contract.Info, plan.CodeTemporaryTable, "tmp", "sessions"},
		{"names", func(w *world) { w.src.QuotedNames, w.src.QuotedExamples = 7, []string{`public."Odd"`} }, contract.Info, plan.CodeQuotedName, "source", `public."Odd" and 6 more`},
		{"generated column", func(w *world) {
			w.table().Columns = append(w.table().Columns, shape.Column{Name: "g", Generated: true})
		}, contract.Info, plan.CodeGeneratedColumn, "public.metrics", "anew"},
		{"text copy", func(w *world) {
			w.table().Columns = append(w.table().Columns, shape.Column{Name: "c", TextCopy: true})
		}, contract.Info, plan.CodeTextCopy, "public.metrics", "as text"},
		{"partitioned", func(w *world) { w.table().Partitioned = true }, contract.Info, plan.CodePartitionTruncate, "public.metrics", "TRUNCATE of a single partition"},
		{"generated column in the key", func(w *world) {
			w.table().Columns = append(w.table().Columns, shape.Column{Name: "g", Generated: true})
			w.table().Indexes = []shape.Index{generated(primary("ts", "g"))}
		}, contract.Warning, plan.CodeIdentityFull, "public.metrics", "pk is over a generated column, which the change stream does not carry"},
		{"generated column in the key, not to be gone without", func(w *world) {
			w.table().Columns = append(w.table().Columns, shape.Column{Name: "g", Generated: true})
			w.table().Indexes = []shape.Index{generated(primary("ts", "g"))}
			w.spec.ReplicaIdentity.Fallback = "fail"
		}, contract.Fatal, plan.CodeNoIdentity, "public.metrics", "NOT NULL and not generated"},
		{"generated column in the key on 18", func(w *world) {
			w.src.Version, w.dst.Version = 180000, 180000
			w.table().Columns = append(w.table().Columns, shape.Column{Name: "g", Generated: true})
			w.table().Indexes = []shape.Index{generated(primary("ts", "g"))}
		}, contract.Fatal, plan.CodeGeneratedIdentity, "public.metrics", "add a primary key"},
		{"generated column beside a key that is not used on 18", func(w *world) {
			w.src.Version, w.dst.Version = 180000, 180000
			w.table().Columns = append(w.table().Columns, shape.Column{Name: "g", Generated: true})
			w.table().Identity.Kind = 'f'
		}, contract.Fatal, plan.CodeGeneratedIdentity, "public.metrics", "REPLICA IDENTITY DEFAULT"},
		{"generated column under FULL on 18", func(w *world) {
			w.src.Version, w.dst.Version = 180000, 180000
			w.table().Columns = append(w.table().Columns, shape.Column{Name: "g", Generated: true})
			w.table().Indexes = nil
		}, contract.Fatal, plan.CodeGeneratedIdentity, "public.metrics", "refuses the application's updates"},

		{"size", func(w *world) { w.src.DatabaseBytes, w.table().Bytes = 5<<30, 3<<30 }, contract.Info, plan.CodeDatabaseSize, "source", "5.0 GiB, indexes included, and 2 tables; in scope are 1 with 3.0 GiB without indexes; the largest: public.metrics 3.0 GiB"},
		{"room", func(w *world) { w.src.DatabaseBytes, w.dst.DatabaseBytes = 5<<30, 9<<20 }, contract.Info, plan.CodeTargetRoom, "target", "9.0 MiB now"},
		{"lock table", func(w *world) {
			w.src.DatabaseBytes = 1
			w.src.Settings["max_locks_per_transaction"], w.src.Settings["max_prepared_transactions"] = "64", "0"
			for i := range 6000 {
				w.src.AllTables = append(w.src.AllTables, public(fmt.Sprint("t", i)))
			}
		}, contract.Warning, plan.CodeLockTable, "source", "raise max_locks_per_transaction to 121"},

		{"order of text", func(w *world) {
			w.src.Locale, w.dst.Locale = libc("en_US.UTF-8", "C.UTF-8"), libc("C.UTF-8", "C.UTF-8")
		}, contract.Warning, plan.CodeCollation, "target", "en_US.UTF-8 (libc)"},
		{"provider of the locale", func(w *world) {
			w.src.Locale = plan.Locale{Provider: "icu", Collate: "C", Ctype: "C", Name: "en-US"}
			w.dst.Locale = libc("C", "C")
		}, contract.Warning, plan.CodeCollation, "target", "en-US (icu)"},
		{"classes of letters", func(w *world) { w.src.Locale, w.dst.Locale = libc("C", "en_US.utf8"), libc("C", "C") }, contract.Warning, plan.CodeCtype, "target", "ILIKE"},
		{"collation of the database has changed", func(w *world) {
			w.src.Locale = plan.Locale{Provider: "libc", Recorded: "2.31", Actual: "2.36"}
		}, contract.Warning, plan.CodeCollationVersion, "source", "2.31 now 2.36"},
		{"a collation has changed", func(w *world) {
			w.src.Collations = []plan.Collation{{Name: "de_DE", Recorded: "1", Actual: "2"}, {Name: "fr_FR", Recorded: "1", Actual: "1"}}
		}, contract.Warning, plan.CodeCollationVersion, "source", "de_DE (1 now 2)"},
		{"collation missing", func(w *world) {
			w.src.Collations = []plan.Collation{{Name: "de_DE"}, {Name: "fr_FR"}}
			w.dst.Collations = map[string]bool{"fr_FR": true}
		}, contract.Fatal, plan.CodeCollationMissing, "de_DE", "cannot be made"},

		{"extension older", func(w *world) {
			w.src.ExtensionVersions, w.dst.ExtensionVersions = map[string]string{"pgcrypto": "1.10"}, map[string]string{"pgcrypto": "1.9"}
		}, contract.Warning, plan.CodeExtensionOlder, "pgcrypto 1.9 (the source has 1.10)", "older"},
		{"extension for superusers", func(w *world) {
			w.src.ExtensionVersions = map[string]string{"pgcrypto": "1.3"}
			w.dst.SuperuserExtensions = []string{"pgcrypto"}
		}, contract.Warning, plan.CodeExtensionSuperuser, "pgcrypto", "beforehand"},
		{"extensions", func(w *world) {
			w.src.ExtensionVersions, w.dst.ExtensionVersions = map[string]string{"pgcrypto": "1.3"}, map[string]string{"pgcrypto": "1.4"}
		}, contract.Info, plan.CodeExtensions, "source", "pgcrypto 1.3 (1.4)"},

		{"role attributes", func(w *world) {
			w.src.Roles = []shape.Role{{Name: "root", Superuser: true, NoRLS: true}, {Name: "master", Master: true, Replication: true}}
		}, contract.Warning, plan.CodeRoleAttributes, "root (SUPERUSER, BYPASSRLS)", "left out"},
		{"role exists", func(w *world) {
			w.src.Roles, w.dst.Roles = []shape.Role{{Name: "app", Login: true}}, map[string]bool{"app": true}
		}, contract.Info, plan.CodeRoleExists, "app", "stays as it is"},
		{"role without a password", func(w *world) { w.src.Roles = []shape.Role{{Name: "app", Login: true}, {Name: "group"}} }, contract.Info, plan.CodeRolePasswords, "app", "before the cutover"},

		{"view on an excluded table", func(w *world) {
			w.src.Needs = []plan.Need{{Kind: "view", Identity: "public.v", Needs: public("other")}}
		}, contract.Warning, plan.CodeNeedsExcluded, "view public.v", "public.other"},
		{"table that needs an excluded one", func(w *world) {
			w.src.Needs = []plan.Need{{Kind: "default value", Identity: "for public.metrics.n", Needs: public("other"), Table: true}}
		}, contract.Fatal, plan.CodeNeedsExcluded, "default value for public.metrics.n", "cannot be made"},
		{"view on a partition of a future hypertable", func(w *world) {
			w.src.Partitions[public("m_1")] = public("metrics")
			w.src.Needs = []plan.Need{{Kind: "view", Identity: "public.v", Needs: public("m_1")}}
		}, contract.Warning, plan.CodeNeedsPartition, "view public.v", "public.m_1"},

		{"idle slot timeout", func(w *world) { w.src.Settings["idle_replication_slot_timeout"] = "1d" }, contract.Warning, plan.CodeIdleSlotTimeout, "source", "1d"},
		{"kept WAL beside the slot's", func(w *world) {
			w.src.Settings["max_slot_wal_keep_size"], w.src.Settings["wal_keep_size"] = "1GB", "2GB"
		}, contract.Warning, plan.CodeSlotKeepSize, "source", "1GB (wal_keep_size is 2GB)"},
		{"workers for policies", func(w *world) {
			w.hypertable().Retention = "1 year"
			w.dst.Settings = map[string]string{"max_worker_processes": "8", "timescaledb.max_background_workers": "16", "max_parallel_workers": "8"}
		}, contract.Info, plan.CodeTargetWorkers, "target", "27 or more"},

		{"rate of one table without a key", func(w *world) {
			w.table().Indexes, w.table().Updates, w.src.StatsAge = nil, 7200, time.Hour
		}, contract.Warning, plan.CodeIdentityFull, "public.metrics", "that is 2 a second"},
		{"tables without a key, busiest first", func(w *world) {
			w.src.Tables = append(w.src.Tables, keyless("idle", 0), keyless("busy", 48))
			w.src.StatsAge = 24 * time.Hour
		}, contract.Warning, plan.CodeIdentityFull, "2 tables", "public.busy (48 updates, 0 deletes, 2.0 an hour), public.idle"},
		{"tables that take inserts only", func(w *world) {
			w.src.Tables = append(w.src.Tables, keyless("idle", 0), keyless("busy", 48))
			w.spec.ReplicaIdentity.Fallback = "skip"
		}, contract.Warning, plan.CodeInsertOnly, "2 tables", "do not reach the target"},
	}
}

func TestAssessKinds(t *testing.T) { runFindingCases(t, kindCases()) }

func TestAssessKindsLetsPass(t *testing.T) {
	for name, change := range map[string]func(*world){
		"virtual columns between equals": func(w *world) {
			w.src.Version, w.dst.Version = 180000, 180000
			notable(plan.NotableVirtualColumn, "v")(w)
		},
		"what a superuser may make": func(w *world) {
			w.dst.Superuser = true
			free(plan.NotableSuperuserObject, "function f()")(w)
		},
		"another spelling of the locale": func(w *world) { w.src.Locale, w.dst.Locale = libc("en_US.UTF-8", "POSIX"), libc("en_US.utf8", "C") },
		"a collation that both have": func(w *world) {
			w.src.Collations, w.dst.Collations = []plan.Collation{{Name: "de_DE"}}, map[string]bool{"de_DE": true}
		},
		"roles that stay": func(w *world) {
			w.spec.Roles = "skip"
			w.src.Roles = []shape.Role{{Name: "root", Superuser: true, Login: true}}
		},
		"a view on a partition that stays one": func(w *world) {
			w.src.Partitions[public("o_1")] = public("other")
			w.src.Needs = []plan.Need{{Kind: "view", Identity: "public.v", Needs: public("o_1"), Table: true}}
		},
		"settings that end no slot": func(w *world) {
			w.src.Settings["idle_replication_slot_timeout"], w.src.Settings["wal_keep_size"] = "0", "2GB"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := goodWorld(t)
			change(w)
			require.Empty(t, plan.Assess(w.spec, w.src, w.dst))
		})
	}
}

func TestAssessClients(t *testing.T) {
	for _, c := range []struct {
		name     string
		clients  plan.ClientFacts
		severity contract.Severity
		contains string
	}{
		{"none", plan.ClientFacts{}, contract.Fatal, "not on the worker's machine"},
		{"too old", plan.ClientFacts{Path: "/usr/bin/pg_dump", Version: 140011}, contract.Fatal, "version 14"},
		{"as new as the source", plan.ClientFacts{Path: "/usr/bin/pg_dump", Version: 150001}, contract.Info, "15.1"},
		{"newer", plan.ClientFacts{Path: "/usr/bin/pg_dump", Version: 170002}, contract.Info, "17.2"},
	} {
		problems := plan.AssessClients(150018, c.clients)
		require.Len(t, problems, 1, c.name)
		require.Equal(t, c.severity, problems[0].Severity, c.name)
		require.Contains(t, problems[0].Message, c.contains, c.name)
		require.Equal(t, c.severity == contract.Fatal, strings.Contains(problems[0].Remedy, "postgresql-client-15"), c.name)
	}
}

// A database of ten thousand tables, each with something to say of it, is told in a page; errors stand one by one.
func TestFindingsOfALargeDatabaseStayReadable(t *testing.T) {
	const tables = 10_000
	w := goodWorld(t)
	for i := range tables {
		name := public(fmt.Sprintf("t%05d", i))
		w.src.Tables = append(w.src.Tables, shape.Table{Table: name, Identity: shape.Identity{Kind: 'd'}, Unlogged: i%2 == 0, Inherits: true,
			Columns: []shape.Column{{Name: "g", Generated: true}, {Name: "c", TextCopy: true}}})
		w.src.AllTables = append(w.src.AllTables, name)
		w.src.ForeignKeys = append(w.src.ForeignKeys, plan.ForeignKey{Name: "fk", From: name, To: public("other")})
		w.src.ForeignTables = append(w.src.ForeignTables, ident.Table{Schema: "far", Name: name.Name})
		w.src.Sequences = append(w.src.Sequences, plan.SequenceUse{Table: name, Start: 1, End: 100, LastValue: 99})
		w.src.Needs = append(w.src.Needs, plan.Need{Kind: "view", Identity: name.String(), Needs: public("other")})
		for _, kind := range []plan.NotableKind{plan.NotableRule, plan.NotableRowSecurity, plan.NotableExclusion, plan.NotableDeferrable, plan.NotableTablespace} {
			w.src.Notables = append(w.src.Notables, plan.Notable{Kind: kind, Table: name, Name: "n"})
		}
	}
	w.src.NotOwned, w.src.Unreadable = w.src.AllTables[:20], w.src.AllTables
	problems := plan.Assess(w.spec, w.src, w.dst)
	require.Equal(t, 20, count(problems, plan.CodeTableOwner), "each error must be dealt with")
	require.Equal(t, 51, count(problems, plan.CodeTableUnreadable), "but nobody does so ten thousand times")
	require.True(t, slices.ContainsFunc(problems, func(p contract.Problem) bool {
		return p.Severity == contract.Fatal && p.Object == fmt.Sprintf("%d objects", len(w.src.AllTables)-50)
	}))
	history, err := json.Marshal(problems)
	require.NoError(t, err)
	require.Less(t, len(history), 100<<10, "what goes into a history")
	codes := map[string]bool{}
	for _, p := range problems {
		if p.Severity == contract.Fatal {
			continue
		}
		require.False(t, codes[p.Code], "%s is said twice", p.Code)
		codes[p.Code] = true
		require.Less(t, len(p.Message), 1000)
		require.Contains(t, p.Object, "000 ", "the object is a number of things: %s", p.Object)
		require.Contains(t, p.Message, "more", "the first few are named")
	}
	require.Subset(t, codes, map[string]bool{plan.CodeUnlogged: true, plan.CodeIdentityFull: true, plan.CodeParentMissing: true, plan.CodeSequenceNearEnd: true, plan.CodeNeedsExcluded: true})
	require.Len(t, codes, 14)
}
