// Package segment is the file format of the spool: names, header and frames, on byte slices. docs/spool-format.md is its
// description for people.
//
// In: frames. Out: bytes, and the other way round.
//
// Invariants: what was encoded decodes to the same; a changed byte is found; names sort in the order of the stream.
//
// Not here: files, what the frames' payloads mean, when a segment is full.
package segment
