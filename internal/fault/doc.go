// Package fault holds the error classes of Timeferry and the pure rules that put an error into one.
//
// Purpose: every error that leaves a room answers three questions: what was being done, to which object, and what a
// person can do about it. The class decides what the workflow does next (see activities/errors.go).
//
// In: errors of the rooms, with SQLSTATE or AWS code reachable through a one-method interface.
// Out: *Error values, and Classify.
//
// Not here: Temporal types, logging, retrying.
package fault
