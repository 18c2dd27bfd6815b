package plan

import (
	"fmt"
	"strings"

	"timeferry/internal/contract"
)

// Codes of the findings about the way back (cutover.reverse).
const (
	CodeBackWALLevel   = "back-wal-level"
	CodeBackSlots      = "back-slots"
	CodeBackPrivilege  = "back-privilege"
	CodeBackPlugin     = "back-plugin"
	CodeBackSource     = "back-source"
	CodeBackTriggers   = "back-triggers"
	CodeBackHypertable = "back-hypertable"
)

// Output plugins.
const (
	PluginPgoutput = "pgoutput"
	PluginWal2json = "wal2json"
)

// BackPlugin is what the target is read by for the way back. pgoutput goes by a publication, which a hypertable's new chunks do
// not join by themselves: their rows would be missing. wal2json tells of everything.
func BackPlugin(hypertables bool) string {
	if hypertables {
		return PluginWal2json
	}
	return PluginPgoutput
}

// BackFacts are what both sides must be able to for the way back: the target is read from, the source is written to.
type BackFacts struct {
	WALLevel, Encoding                        string
	SlotsUsed, MaxSlots, SendersUsed, Senders int
	CanReplicate, OwnsDatabase                bool
	Plugin                                    string
	// PluginError is what a temporary slot with the plugin ended with, "" when it served or was not tried.
	PluginError string
	// SourceCanCreate and SourceReplicaRole are the source user's rights to make a schema and to set session_replication_role.
	SourceCanCreate, SourceReplicaRole bool
	// AlwaysTriggers fire on the source for what comes back too.
	AlwaysTriggers []string
}

// AssessBack says what keeps the way back from working. Everything is an error: whoever orders a way back relies on it.
func AssessBack(spec contract.Spec, f BackFacts) []contract.Problem {
	var found []contract.Problem
	add := func(bad bool, code, object, message, remedy string) {
		if bad {
			found = append(found, fatal(code, object, message, remedy+"; or leave cutover.reverse out"))
		}
	}
	add(f.WALLevel != "logical", CodeBackWALLevel, objectTarget, "wal_level is "+f.WALLevel+", and cutover.reverse reads the target's changes",
		"set wal_level to logical on the target and restart it")
	add(f.SlotsUsed >= f.MaxSlots || f.SendersUsed >= f.Senders, CodeBackSlots, objectTarget,
		fmt.Sprintf("%d of %d replication slots and %d of %d WAL senders are in use, and cutover.reverse needs one of each", f.SlotsUsed, f.MaxSlots, f.SendersUsed, f.Senders),
		"raise max_replication_slots and max_wal_senders on the target")
	add(!f.CanReplicate, CodeBackPrivilege, objectTarget, "the target's user may not replicate, as cutover.reverse needs", "ALTER ROLE … REPLICATION on the target")
	add(!f.OwnsDatabase, CodeBackPrivilege, objectTarget, "the target's user does not own the database, and a rollback must fence it",
		"ALTER DATABASE … OWNER TO it, or GRANT it the owner's role")
	add(f.PluginError != "", CodeBackPlugin, objectTarget, "the target cannot be read by the plugin "+f.Plugin+": "+f.PluginError,
		"hypertables need wal2json 2.6 or newer on the target (their new chunks join no publication), and the server must trust it (output_plugin_libraries)")
	add(f.Plugin == PluginWal2json && f.Encoding != "UTF8", CodeBackPlugin, objectTarget,
		"wal2json, by which hypertables are read, writes text in the database's encoding, which is "+f.Encoding, "make the target database with ENCODING 'UTF8'")
	add(!f.SourceCanCreate, CodeBackSource, objectSource, "the source's user may not make a schema, which cutover.reverse needs for its bookkeeping",
		"GRANT CREATE ON DATABASE … on the source")
	add(!f.SourceReplicaRole, CodeBackSource, objectSource, "the source's user may not set session_replication_role: triggers would fire again for what comes back",
		"on RDS use a member of rds_superuser; elsewhere, from PostgreSQL 15 on, GRANT SET ON PARAMETER session_replication_role")
	add(len(f.AlwaysTriggers) > 0, CodeBackTriggers, objectSource,
		"triggers that fire in replication too would fire on the source for what comes back: "+strings.Join(f.AlwaysTriggers, ", "),
		"ALTER TABLE … ENABLE TRIGGER for them, as far as they need not fire in replication")
	for _, h := range spec.Hypertables {
		add(h.Columnstore != nil || h.Retention != "", CodeBackHypertable, h.Table,
			"its columnstore or retention would move or remove rows behind the change stream's back, which then cannot be brought back",
			"set them up after complete")
	}
	return found
}
