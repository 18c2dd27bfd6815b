// Package shop makes the database that the sandbox migrates: a shop with sensors in its warehouses.
//
// In: the database's owner, and how much data. Out: schemas public and iot, with about twenty tables of every kind that a
// migration meets, filled on the server's side.
// Invariants: the owner need not be a superuser. Two runs with the same scale make the same rows, apart from times, which
// are relative to now.
//
// Not here: the server, its roles' membership in RDS's own roles (world), writing while the migration runs (load).
package shop
