package plan

import (
	"cmp"
	"fmt"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
)

// Codes of the findings about collations.
const (
	CodeCollation        = "collation"
	CodeCtype            = "ctype"
	CodeCollationVersion = "collation-version"
	CodeCollationMissing = "collation-missing"
)

func assessCollations(f facts) []contract.Problem {
	found := append(assessDefaultCollation(f), assessCollationVersions(f)...)
	var missing []string
	for _, c := range f.src.Collations {
		if f.dst.Collations != nil && !f.dst.Collations[c.Name] {
			missing = append(missing, c.Name)
		}
	}
	return append(found, many(fatal(CodeCollationMissing, "", "columns, indexes or other objects of the source use such a collation, which the target does not have: they cannot be made there",
		"install its locale where the target runs and run pg_import_system_collations there, or change the columns to a collation that both have"), "collations", missing)...)
}

// assessDefaultCollation: nothing breaks, since indexes are built anew, but what the application reads comes in another order.
func assessDefaultCollation(f facts) []contract.Problem {
	src, dst := f.src.Locale, f.dst.Locale
	if src.Provider == "" || dst.Provider == "" {
		return nil
	}
	var found []contract.Problem
	if src.Provider != dst.Provider || sortsBy(src) != sortsBy(dst) {
		found = append(found, warning(CodeCollation, objectTarget,
			fmt.Sprintf("the source's database sorts text by %s, the target's by %s: ORDER BY, < and > on text, and bounds of partitions by text can differ", sortWords(src), sortWords(dst)),
			"create the target database with the source's collation; or put COLLATE where the application counts on the order"))
	}
	if src.Provider == "libc" && dst.Provider == "libc" && sameLocale(src.Ctype) != sameLocale(dst.Ctype) {
		found = append(found, warning(CodeCtype, objectTarget,
			fmt.Sprintf("the source's LC_CTYPE is %s, the target's %s: upper, lower, ILIKE and classes of characters in patterns can differ", src.Ctype, dst.Ctype),
			"create the target database with the source's LC_CTYPE"))
	}
	return found
}

func sortsBy(l Locale) string {
	if l.Provider == "libc" {
		return sameLocale(l.Collate)
	}
	return l.Name
}

func sortWords(l Locale) string { return cmp.Or(l.Name, l.Collate) + " (" + l.Provider + ")" }

// sameLocale makes one spelling of en_US.UTF-8 and en_US.utf8, and of POSIX and C.
func sameLocale(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "-", "")
	if name == "posix" {
		return "c"
	}
	return name
}

// assessCollationVersions: where the library has changed under the source, its indexes over text may be out of order and
// its unique ones may hold duplicates, which the target's will refuse.
func assessCollationVersions(f facts) []contract.Problem {
	var changed []string
	if l := f.src.Locale; l.Recorded != "" && l.Actual != "" && l.Recorded != l.Actual {
		changed = append(changed, fmt.Sprintf("the database's own (%s now %s)", l.Recorded, l.Actual))
	}
	for _, c := range f.src.Collations {
		if c.Recorded != "" && c.Actual != "" && c.Recorded != c.Actual {
			changed = append(changed, fmt.Sprintf("%s (%s now %s)", c.Name, c.Recorded, c.Actual))
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return []contract.Problem{warning(CodeCollationVersion, objectSource,
		"the library behind its collations has changed since they were recorded, so indexes over text may be out of order, and unique ones may hold duplicates that the target refuses: "+listed(changed),
		"run on the source: REINDEX of the indexes over text, then ALTER DATABASE "+ident.Quote(f.src.Database)+" REFRESH COLLATION VERSION, or ALTER COLLATION … REFRESH VERSION")}
}
