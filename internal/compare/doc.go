// Package compare holds the rules by which two copies of a table are compared piece by piece: how the values of a key are put
// into one order, where a table is cut, and which stretches of it were touched.
//
// In: values in PostgreSQL's text form. Out: ordinals, cuts, buckets and ranges.
// Invariants: the order of ordinals is the server's order of the values, whatever its locale. What was touched is never told
// smaller than it is.
//
// Not here: SQL, connections.
package compare
