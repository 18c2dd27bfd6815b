// Package tctl pins tctl, Temporal's older command line, in a module of its own: what it needs excludes what the temporal
// program needs.
package tctl
