// Package extract reads the schema and the roles of the source.
//
// In: the source's endpoint, the migration's snapshot, the scope. Out: ledger.Entry values, each with the statements
// that make one object on the target; shape.Role values; problems: what cannot be carried over, and why.
//
// How: pg_dump writes an archive under the snapshot; pg_restore lists it and turns it into text; the text is cut at the
// borders that pg_restore's own list announces. What an entry is and which table it belongs to comes from that list and
// from the catalogue by OID, never from searching in SQL.
//
// The rows of extensions' configuration tables, which no publication holds, come along as entries of their own.
//
// Invariants: nothing is changed on the source. What is left out is either named in a problem or belongs to an object
// that is. No password is in an argument or an error, nor in an entry, unless the owner keeps one in an extension's table.
//
// Not here: restoring (target/provision), the values of sequences, the rows of tables.
package extract
