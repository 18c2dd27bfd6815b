// Package arch guards the directions of imports. It has no code, only a test.
package arch
