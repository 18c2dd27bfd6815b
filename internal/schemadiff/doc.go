// Package schemadiff compares the schemas of two databases: everything that a person would call the schema, by definition.
//
// In: a connection to each side, and the Plan that says which differences were meant. Out: a Result, a list of differences,
// the expected ones apart, each with its reason.
//
// Invariants: it changes nothing on either side; every definition was rendered by PostgreSQL's own functions, with an empty
// search_path, every identifier quoted and the formats of dates fixed, and no definition is ever parsed. One query per kind of
// object, none per object.
//
// Two major versions may render the same thing differently. What is known of that is made equal by structure:
//   - views and materialized views, of which 16 writes column names shorter, and ICU locales, which 16 canonicalises: the
//     target itself renders the source's definition anew, in temporary objects of transactions that are rolled back;
//   - NOT NULL constraints, objects from 18 on (and in domains from 17 on), are compared as such between two servers from 18 on;
//     whether a column or domain is NOT NULL is always compared;
//   - the privilege MAINTAIN, new in 17, is left out unless both sides know it;
//   - what one version does not have (compression from 14, multiranges from 14, rules of collations from 16) is compared only
//     where both have it.
//
// The bodies of functions are compared and shown by digest only. A body BEGIN ATOMIC … END, an expression or a rule is compared as
// each side renders it: should two versions differ there, a difference is shown that a person must judge.
//
// Not here: rows and the values of sequences (verify, cutover), roles and their memberships, publications, subscriptions, security
// labels, user mappings, tablespaces, settings of the database, large objects; what extensions brought, and what is
// TimescaleDB's or Timeferry's own.
package schemadiff
