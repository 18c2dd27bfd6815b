package schemadiff

import (
	"strings"

	"timeferry/internal/ident"
)

// Kind of an object, a word for people.
type Kind string

// The kinds, in the order of a Result.
const (
	Schema            Kind = "schema"
	Extension         Kind = "extension"
	Language          Kind = "language"
	Type              Kind = "type"
	Table             Kind = "table" // plain, partitioned or foreign: its property "kind"
	View              Kind = "view"
	MaterializedView  Kind = "materialized view"
	Hypertable        Kind = "hypertable"
	Sequence          Kind = "sequence"
	Column            Kind = "column"
	Index             Kind = "index"
	Constraint        Kind = "constraint"
	NotNullConstraint Kind = "not-null constraint"
	Trigger           Kind = "trigger"
	Rule              Kind = "rule"
	Policy            Kind = "policy"
	Statistics        Kind = "statistics object"
	Function          Kind = "function" // of all sorts: its property "kind"
	Operator          Kind = "operator"
	OperatorFamily    Kind = "operator family"
	OperatorClass     Kind = "operator class"
	Cast              Kind = "cast"
	Conversion        Kind = "conversion"
	Collation         Kind = "collation"
	SearchParser      Kind = "text search parser"
	SearchTemplate    Kind = "text search template"
	SearchDictionary  Kind = "text search dictionary"
	SearchConfig      Kind = "text search configuration"
	ForeignWrapper    Kind = "foreign-data wrapper"
	ForeignServer     Kind = "foreign server"
	EventTrigger      Kind = "event trigger"
	DefaultPrivileges Kind = "default privileges"
)

// Grantees that are no roles.
const (
	Public = "PUBLIC"
	// Owner stands for whoever owns the object, so that another owner is one difference and not many.
	Owner = "(owner)"
)

// Object is one thing of a schema.
type Object struct {
	Kind Kind
	// Name is unique inside the kind, qualified, quoted where PostgreSQL would need it: "public.orders.id", "key on public.orders".
	Name string
	// Table is the relation that the object is or belongs to; zero if there is none.
	Table ident.Table
	// Owner is the role; empty for what has none of its own. Of default privileges it is the role that they hold for.
	Owner   string
	Comment string
	// Grants are the privileges by grantee, where they are not the default; a star marks the grant option.
	Grants map[string]string

	id     objectID
	relid  uint32
	names  []string // of the properties; shared by all objects of a query
	values []string
}

// objectID is how the catalogue refers to it.
type objectID struct {
	class string
	oid   uint32
	sub   int32
}

// Property returns a property's value. ok is false if the server's version does not have it.
func (o *Object) Property(name string) (value string, ok bool) {
	for i, n := range o.names {
		if n == name {
			return o.values[i], true
		}
	}
	return "", false
}

func (o *Object) property(name string) string {
	value, _ := o.Property(name)
	return value
}

// hidden marks properties that serve the rules and are not compared themselves.
func hidden(property string) bool { return strings.HasPrefix(property, "_") }

// Catalog is one side's schema.
type Catalog struct {
	Version int    // server_version_num
	User    string // of the connection
	Objects []*Object

	roles     map[string]bool
	relations map[uint32]relation
	// lost are the objects that need a table which the plan leaves out: the table's name.
	lost map[objectID]ident.Table
	// rendered are definitions of the source's objects as this server renders them.
	rendered map[renderedKey]string
	// refused says why this server could not render some of them.
	refused map[renderedKey]string
}

type relation struct {
	name ident.Table
	root uint32 // of its partition tree; itself when it is no partition
	kind string
}

type renderedKey struct {
	kind           Kind
	name, property string
}

// root is the table by whose name the scope speaks of the relation.
func (c *Catalog) root(relid uint32) (relation, bool) {
	r, ok := c.relations[relid]
	if !ok {
		return relation{}, false
	}
	if root, ok := c.relations[r.root]; ok {
		return root, true
	}
	return r, true
}

// display is a single name as a person writes it.
func display(name string) string {
	return strings.TrimPrefix(ident.Table{Schema: "s", Name: name}.String(), "s.")
}
