// Package report is what the benchmarks of whole programs have in common in what they say: the machine, processor time and
// memory of processes, medians, the plot, and the files in docs/benchmarks.
//
// In: process numbers, measured values. Out: values for JSON, a plot as SVG.
// Invariants: nothing that a report holds names a directory, a user or a host of the machine.
//
// Not here: what is measured, servers and programs (rig).
package report
