package provision

import (
	"context"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// configure sets what the role's sessions start with. Roles that were there before keep their own.
func (m *roleMaker) configure(ctx context.Context, r shape.Role) error {
	if !m.ours[r.Name] || m.isMaster(r.Name) {
		return nil
	}
	for _, s := range r.Settings {
		scope := ""
		if s.ThisDatabase {
			scope = " IN DATABASE " + ident.Quote(m.conn.Config().Database)
		}
		sql := "ALTER ROLE " + ident.Quote(r.Name) + scope + " SET " + settingName(s.Name) + " TO " + settingValue(s)
		refused, err := m.try(ctx, sql, nil)
		if err != nil {
			return err
		}
		if refused != "" {
			m.report(contract.Warning, CodeRoleSetting, "role "+r.Name, "the target does not take its setting "+s.Name+": "+refused, "set it by hand if the application needs it")
		}
	}
	return nil
}

// settingName quotes the parts of a name like "app.tenant".
func settingName(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = ident.Quote(p)
	}
	return strings.Join(parts, ".")
}

// settingValue: search_path is a list of names and must be given as such; anything else is one value.
func settingValue(s shape.RoleSetting) string {
	if !strings.EqualFold(s.Name, "search_path") {
		return ident.Literal(s.Value)
	}
	var names []string
	for _, n := range splitNames(s.Value) {
		names = append(names, ident.Literal(n))
	}
	if len(names) == 0 {
		return "''"
	}
	return strings.Join(names, ", ")
}

// splitNames reads `"$user", public`.
func splitNames(list string) []string {
	var names []string
	var name strings.Builder
	inQuotes, any := false, false
	end := func() {
		if any {
			names = append(names, name.String())
		}
		name.Reset()
		any = false
	}
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"' && inQuotes && i+1 < len(list) && list[i+1] == '"':
			name.WriteByte(c)
			i++
		case c == '"':
			inQuotes, any = !inQuotes, true
		case inQuotes:
			name.WriteByte(c)
		case c == ',':
			end()
		case c != ' ' && c != '\t' && c != '\n':
			name.WriteByte(c)
			any = true
		}
	}
	end()
	return names
}
