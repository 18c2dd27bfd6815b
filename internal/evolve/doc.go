// Package evolve decides what a changed table on the source asks of the table on the target.
//
// In: Sides, four descriptions of one table: as it was when last carried over, as the stream describes it now, as the source's
// catalogue has it by this time, and as the target has it. Out: Changes, each with the statement for the target, whether the
// target has followed already, and whether the statement may be run without a person.
//
// The stream tells of columns only their names, types and order, as of one moment. The catalogue knows defaults and the numbers
// that columns never share, but of a later moment. A change may be followed by itself only where the two leave one history
// open: every column of the stream is then known by its number, and so is the value that existing rows have in it.
//
// Invariants: pure; a statement names everything quoted and qualified, and says nothing that was not read.
//
// Not here: reading catalogues (pgkit), running statements (target/apply).
package evolve
