// Package page makes a migration's report one page of HTML that a browser shows without a network.
//
// In: the report, as the workflow returns it. Out: the page.
// Invariants: the same report makes the same page. Nothing in it refers to anything outside it, and it has no script. Whatever
// comes from a database is text: html/template escapes it. Times are UTC.
//
// Not here: where the report comes from.
package page
