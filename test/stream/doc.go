// Package stream checks the change stream as a whole, from a real source to a real target: receiver, spool and apply together,
// beside PostgreSQL's own logical replication, while processes die and networks fail.
//
// In: a seed. Out: a verdict; of a failure the smallest workload that shows it.
//
// Not here: cases of one room alone (they are beside its code), the workflow around the stream (test/e2e).
package stream
