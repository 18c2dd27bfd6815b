// Package cutover has the steps by which writing ends on the source and may begin on the target.
//
// In: sessions on both databases. Out: a source that takes no more writes (Fence), a position in its WAL that has all
// writes before it (Marker), and the sequences' state on the target (Sequences); or the fence taken down again (Unfence).
// Invariants: every step can be repeated with the same end, also after its process died half-way: what Fence must
// remember is kept in the source's catalogue. Nothing needs a superuser.
//
// Not here: the order of the steps, waiting for the apply, verification.
package cutover
