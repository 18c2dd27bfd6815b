package awssim

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// rdsFilters reads Filters.Filter.1.Name, Filters.Filter.1.Values.Value.1, … and refuses names outside known.
func rdsFilters(form url.Values, known ...string) (map[string][]string, error) {
	out := map[string][]string{}
	for i := 1; form.Has(fmt.Sprintf("Filters.Filter.%d.Name", i)); i++ {
		prefix := fmt.Sprintf("Filters.Filter.%d.", i)
		name := form.Get(prefix + "Name")
		if !slices.Contains(known, name) {
			return nil, refuse("InvalidParameterValue", "Unrecognized filter name: %s", name)
		}
		values := plainList(form, prefix+"Values.Value")
		if len(values) == 0 {
			return nil, refuse("InvalidParameterCombination", "Filter %s has no values", name)
		}
		out[name] = append(out[name], values...)
	}
	return out, nil
}

// passesRDS says whether every filter holds. Identifiers are compared without case, and may be given as ARNs.
func passesRDS(filters map[string][]string, attributes map[string]string) bool {
	for name, wanted := range filters {
		if !slices.ContainsFunc(wanted, func(value string) bool {
			if strings.HasPrefix(value, "arn:") {
				value = value[strings.LastIndex(value, ":")+1:]
			}
			return strings.EqualFold(value, attributes[name])
		}) {
			return false
		}
	}
	return true
}
