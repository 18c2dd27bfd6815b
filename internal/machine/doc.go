// Package machine knows the intermediate machine: what the one that this worker runs on is, what a database needs, and which
// size fits.
//
// In: the worker's data directory, the kernel's files about memory and control groups, and a function that knows where the
// machine stands. Out: Facts, Need, the findings of comparing the two as problems of the contract, and a Size to launch.
//
// Invariants: limits of control groups count, not the host behind them; what cannot be told is left zero and said, never
// guessed; nothing is changed.
//
// Not here: AWS. Who knows the region and the instance is handed in.
package machine
