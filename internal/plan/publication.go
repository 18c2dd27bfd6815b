package plan

import (
	"slices"

	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// Publication says which relations are published with what.
type Publication struct {
	// All are published with every operation, InsertOnly with inserts and truncates only, since they have no identity.
	All        []ident.Table
	InsertOnly []ident.Table
	// ViaRoot is true when partition roots are listed and changes of their partitions come under the root's name
	// (PostgreSQL 13 and later). Otherwise the partitions themselves are listed.
	ViaRoot bool
}

// ViaRootVersion is the first server_version_num with publish_via_partition_root.
const ViaRootVersion = 130000

// InsertOnlyName is the name of the second publication, beside the one called name. No migration's own publication can
// have it: ParseSpec refuses names that end so.
func InsertOnlyName(name string) string { return name + "_ins" }

// Names are the publications to ask the stream for, given the first one's name.
func (p Publication) Names(name string) []string {
	if len(p.InsertOnly) == 0 {
		return []string{name}
	}
	return []string{name, InsertOnlyName(name)}
}

// PublicationPlan sorts the tables into the two publications by their identities (those of every table, as Identities
// chose them). Unlogged tables and partitions have no WAL and cannot be published: they are left out, as the problems say.
func PublicationPlan(tables []shape.Table, identities []Identity, serverVersion int) Publication {
	p := Publication{ViaRoot: serverVersion >= ViaRootVersion}
	kinds := map[ident.Table]byte{}
	for _, i := range identities {
		kinds[i.Table] = i.Kind
	}
	for _, t := range tables {
		if t.Unlogged {
			continue
		}
		if !t.Partitioned || p.ViaRoot {
			p.add(t.Table, kinds[t.Table])
			continue
		}
		for _, leaf := range StreamedLeaves(t) {
			p.add(leaf.Table, kinds[leaf.Table])
		}
	}
	return p
}

// StreamedLeaves are the partitions that have changes to publish: those with rows, unless they or their root are unlogged.
func StreamedLeaves(t shape.Table) []shape.Leaf {
	if t.Unlogged {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(t.Leaves), func(l shape.Leaf) bool { return l.Partitioned || l.Unlogged })
}

// add puts a relation without a known identity among the insert-only ones: to publish its updates would make the
// application's own statements fail.
func (p *Publication) add(t ident.Table, kind byte) {
	if kind == 0 || kind == IdentityNothing {
		p.InsertOnly = append(p.InsertOnly, t)
		return
	}
	p.All = append(p.All, t)
}

// IdentitiesOf chooses for all tables, with the time columns of future hypertables; problems come from Assess. A table
// with an error gets no identity.
func IdentitiesOf(tables []shape.Table, fallback string, timeColumns map[ident.Table]string) []Identity {
	var all []Identity
	for _, t := range tables {
		if t.Unlogged {
			continue
		}
		ids, _ := Identities(t, fallback, timeColumns[t.Table]) // the problem is Assess's to tell
		all = append(all, ids...)
	}
	return all
}
