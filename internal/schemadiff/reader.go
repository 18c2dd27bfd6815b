package schemadiff

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// reader turns rows into objects.
type reader struct {
	catalog *Catalog
	words   map[string]string // short values that come again and again
	byID    map[objectID]*Object
}

// headColumns of every query: oid, sub, relid, schema, name, suffix, owner. The rest are properties, named by their columns.
const headColumns = 7

func (r *reader) query(ctx context.Context, q pgkit.Querier, what query) error {
	var names []string
	var bools []bool
	return each(ctx, q, prelude+what.text(r.catalog.Version), []any{pgx.QueryResultFormats{pgx.TextFormatCode}}, func(row pgx.Rows) error {
		if names == nil {
			for _, f := range row.FieldDescriptions()[headColumns:] {
				names = append(names, f.Name)
				bools = append(bools, f.DataTypeOID == boolOID)
			}
		}
		raw := row.RawValues()
		o := &Object{Kind: what.kind, names: names, values: make([]string, len(names))}
		if err := r.head(o, what.class, raw); err != nil {
			return err
		}
		for i, value := range raw[headColumns:] {
			o.values[i] = r.word(value, bools[i])
		}
		r.catalog.Objects = append(r.catalog.Objects, o)
		r.byID[o.id] = o
		return nil
	})
}

const boolOID = 16

func (r *reader) head(o *Object, class string, raw [][]byte) error {
	var numbers [3]int64
	for i := range numbers {
		n, err := strconv.ParseInt(string(raw[i]), 10, 64)
		if err != nil {
			return fault.New(fault.Bug, "read the head of a", string(o.Kind), "", "column %d is no number", i)
		}
		numbers[i] = n
	}
	o.id = objectID{class: class, oid: uint32(numbers[0]), sub: int32(numbers[1])}
	o.relid = uint32(numbers[2])
	o.Table = r.catalog.relations[o.relid].name
	schema, name, suffix := string(raw[3]), string(raw[4]), plainJSON(string(raw[5])) // a suffix is made of types
	o.Owner = r.word(raw[6], false)
	switch {
	case schema != "":
		o.Name = ident.Table{Schema: schema, Name: name}.String() + suffix
	case o.Kind == Column:
		o.Name = o.Table.String() + "." + display(name)
	case o.relid != 0:
		o.Name = display(name) + " on " + o.Table.String()
	case name == "":
		o.Name = suffix
	default:
		o.Name = display(name) + suffix
	}
	return nil
}

// word keeps one copy of each short value.
func (r *reader) word(value []byte, isBool bool) string {
	if isBool {
		if string(value) == "t" {
			return "true"
		}
		return "false"
	}
	const short = 40
	if len(value) > short {
		return string(value)
	}
	if known, ok := r.words[string(value)]; ok {
		return known
	}
	s := string(value)
	r.words[s] = s
	return s
}

func (r *reader) comments(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, prelude+commentsSQL, nil, func(row pgx.Rows) error {
		var id objectID
		var comment string
		err := row.Scan(&id.class, &id.oid, &id.sub, &comment)
		if o, ok := r.byID[id]; ok {
			o.Comment = comment
		}
		return err
	})
}

func (r *reader) grants(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, prelude+grantsSQL, nil, func(row pgx.Rows) error {
		var id objectID
		var grantee, privileges string
		err := row.Scan(&id.class, &id.oid, &id.sub, &grantee, &privileges)
		if o, ok := r.byID[id]; ok {
			if o.Grants == nil {
				o.Grants = map[string]string{}
			}
			o.Grants[grantee] = r.word([]byte(privileges), false)
		}
		return err
	})
}
