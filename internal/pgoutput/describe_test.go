package pgoutput_test

import (
	"fmt"
	"strings"

	"timeferry/internal/change"
)

// describe writes an event without what differs from run to run: OIDs, positions, times.
func describe(ev change.Event) string {
	switch ev.Kind {
	case change.Begin:
		return "begin"
	case change.Commit:
		return "commit"
	case change.Schema:
		var cols []string
		for _, c := range ev.Relation.Columns {
			name := c.Name
			if c.Key {
				name += "*"
			}
			if c.TypeOID < 16384 {
				name += fmt.Sprintf(":%d/%d", c.TypeOID, c.Modifier)
			}
			cols = append(cols, name)
		}
		return fmt.Sprintf("relation %s.%s %c (%s)", ev.Relation.Schema, ev.Relation.Name, ev.Relation.Identity, strings.Join(cols, " "))
	case change.Insert, change.Update, change.Delete:
		s := fmt.Sprintf("%c %s", ev.Kind, ev.Relation.Name)
		if ev.Old != nil {
			s += fmt.Sprintf(" old(key=%t)%s", ev.OldIsKey, describeRow(ev.Old))
		}
		if ev.New != nil {
			s += " new" + describeRow(ev.New)
		}
		return s
	case change.Truncate:
		var names []string
		for _, r := range ev.Truncated {
			names = append(names, r.Name)
		}
		return fmt.Sprintf("truncate %v cascade=%t restart=%t", names, ev.Cascade, ev.RestartIdentity)
	case change.Message:
		return fmt.Sprintf("message %s=%s transactional=%t", ev.Prefix, ev.Content, ev.Transactional)
	}
	return fmt.Sprintf("unexpected kind %q", ev.Kind)
}

func describeRow(row []change.Datum) string {
	var out []string
	for _, d := range row {
		switch d.State {
		case change.Text:
			text := string(d.Bytes)
			if len(text) > 24 {
				text = fmt.Sprintf("%s…%d", text[:24], len(text))
			}
			out = append(out, text)
		case change.Null, change.Unchanged, change.Binary:
			out = append(out, "<"+string(d.State)+">")
		}
	}
	return "[" + strings.Join(out, " ") + "]"
}
