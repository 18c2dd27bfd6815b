package plan

import (
	"timeferry/internal/contract"
)

// Codes of the findings about replication.plugin.
const (
	CodePluginUnlisted = "output-plugin-unlisted"
	CodePluginEncoding = "wal2json-encoding"
	CodePluginNumbers  = "wal2json-numbers"
)

// assessPlugin says whether the server lets the plugin be used, and what wal2json cannot: pgoutput has no such limits.
func assessPlugin(f facts) []contract.Problem {
	plugin := f.spec.Replication.Plugin
	var found []contract.Problem
	if list, known := f.src.Settings[contract.SettingPlugins]; known && !contract.ListsPlugin(list, plugin) {
		remedy := contract.ListPlugin(list, plugin)
		if plugin != PluginPgoutput {
			remedy += "; or set replication.plugin to pgoutput"
		}
		found = append(found, fatal(CodePluginUnlisted, objectSource, "the server lets slots have only the plugins that "+contract.SettingPlugins+" lists, "+list+": "+plugin+" is not among them", remedy))
	}
	if plugin != PluginWal2json {
		return found
	}
	if f.src.Encoding != "UTF8" {
		found = append(found, fatal(CodePluginEncoding, objectSource, "wal2json writes text in the database's encoding, which is "+f.src.Encoding,
			"set replication.plugin to pgoutput, which converts it"))
	}
	for _, t := range f.src.Tables {
		for _, c := range t.Columns {
			if number := c.TypeOID == 700 || c.TypeOID == 701 || c.TypeOID == 1700; number && !c.NotNull && !c.Generated {
				found = append(found, warning(CodePluginNumbers, t.Table.String(), "wal2json before 2.6 writes NaN and the infinities as null, which column "+c.Name+
					" may also be: with such a version the change stream is refused", "see that the source has wal2json 2.6 or newer, or set replication.plugin to pgoutput"))
				break
			}
		}
	}
	return found
}
