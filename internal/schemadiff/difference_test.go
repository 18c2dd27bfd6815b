package schemadiff

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
)

func TestShortenShowsWhereTheyPart(t *testing.T) {
	a, b := shorten("one", "two")
	require.Equal(t, []string{"one", "two"}, []string{a, b}, "short values stay as they are")

	head, tail := strings.Repeat("é", 300), strings.Repeat("ü", 300)
	a, b = shorten(head+"one"+tail, head+"two"+tail)
	require.Contains(t, a, "one")
	require.Contains(t, b, "two")
	for _, s := range []string{a, b} {
		require.True(t, utf8.ValidString(s))
		require.Less(t, len(s), longest+20)
		require.True(t, strings.HasPrefix(s, "…") && strings.HasSuffix(s, "…"))
	}

	a, b = shorten(head, head+"more")
	require.NotEqual(t, a, b, "one is the beginning of the other")
}

func TestEveryKindHasAPlace(t *testing.T) {
	for _, q := range queries {
		require.GreaterOrEqual(t, rank(q.kind), 0, q.kind)
	}
	require.GreaterOrEqual(t, rank(Hypertable), 0)
}

func TestQueriesOfEveryVersionAreWhole(t *testing.T) {
	for _, q := range queries {
		for version := 120000; version <= 180000; version += 10000 {
			require.NotContains(t, q.text(version), "{", "%s in %d", q.kind, version)
		}
	}
}

func TestPlanOfSpec(t *testing.T) {
	spec, err := contract.ParseSpec([]byte(`{"name": "shop", "source": {"host": "s", "database": "shop", "user": "postgres", "password": {"env": "A"}},
		"target": {"host": "t", "database": "tsdb", "user": "tsdbadmin", "password": {"env": "B"}}, "tables": {"exclude": ["public.audit"]}, "roles": "skip",
		"hypertables": [{"table": "public.m", "timeColumn": "ts"}]}`))
	require.NoError(t, err)
	orders := ident.Table{Schema: "public", Name: "orders"}
	plan := PlanOf(spec, []ident.Table{orders})
	require.Equal(t, "postgres", plan.SourceMaster)
	require.Equal(t, "tsdbadmin", plan.TargetAdmin)
	require.False(t, plan.Roles)
	require.True(t, plan.Privileges)
	require.Equal(t, []ident.Table{orders}, plan.Identities)
	require.Equal(t, "public.m", plan.Hypertables[0].Table)
	require.False(t, plan.Tables.Includes(ident.Table{Schema: "public", Name: "audit"}))
	require.True(t, plan.Tables.Includes(orders))
}

// side is a catalogue of one table with grants and an owner.
func side(version int, owner string, grants map[string]string) *Catalog {
	name := ident.Table{Schema: "public", Name: "t"}
	return &Catalog{Version: version, User: "admin", roles: map[string]bool{}, relations: map[uint32]relation{1: {name: name, root: 1, kind: "r"}},
		Objects: []*Object{{Kind: Table, Name: name.String(), Table: name, Owner: owner, Grants: grants, relid: 1, id: objectID{class: "pg_class", oid: 1}}}}
}

func TestGrantsAreComparedByWhatBothVersionsKnow(t *testing.T) {
	plan := Plan{Tables: contract.Tables{Include: []string{"*.*"}}, SourceMaster: "master", TargetAdmin: "admin", Roles: true, Privileges: true}
	for _, c := range []struct {
		name           string
		source, target *Catalog
		differences    []string
		expected       []string
	}{
		{"MAINTAIN is new", side(150000, "a", map[string]string{"b": "SELECT"}), side(170000, "a", map[string]string{"b": "MAINTAIN, SELECT"}), nil, nil},
		{"MAINTAIN counts between new ones", side(170000, "a", map[string]string{"b": "SELECT"}), side(180000, "a", map[string]string{"b": "MAINTAIN, SELECT"}),
			[]string{`table public.t: grants to b is "SELECT" on the source, "MAINTAIN, SELECT" on the target`}, nil},
		{"master is admin", side(150000, "master", map[string]string{"master": "SELECT"}), side(150000, "admin", nil), nil, nil},
		{"grant to the master", side(150000, "a", map[string]string{"master": "SELECT"}), side(150000, "a", map[string]string{"admin": "SELECT"}), nil, nil},
		{"revoked from all", side(150000, "a", map[string]string{Public: ""}), side(150000, "a", nil),
			[]string{`table public.t: grants to PUBLIC is "nothing" on the source, "the default" on the target`}, nil},
		{"owner who is not made one", side(150000, "pg_monitor", nil), side(150000, "admin", nil), nil,
			[]string{`table public.t: owner is "pg_monitor" on the source, "admin" on the target (PostgreSQL's own roles are not made owners)`}},
		{"owner who should have been", side(150000, "b", nil), side(150000, "admin", nil), []string{`table public.t: owner is "b" on the source, "admin" on the target`}, nil},
		{"reserved owner, and yet another", side(150000, "rds_superuser", nil), side(150000, "c", nil), []string{`table public.t: owner is "rds_superuser" on the source, "c" on the target`}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			result := Compare(c.source, c.target, plan)
			require.Equal(t, c.differences, asLines(result.Differences))
			require.Equal(t, c.expected, asLines(result.Expected))
		})
	}
	plan.Privileges = false
	result := Compare(side(150000, "b", map[string]string{"c": "SELECT"}), side(150000, "admin", nil), plan)
	require.True(t, result.Equal())
	require.Len(t, result.Expected, 2)
}

func asLines(differences []Difference) []string {
	var all []string
	for _, d := range differences {
		all = append(all, d.String())
	}
	return all
}
