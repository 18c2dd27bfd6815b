// Package pgoutput decodes the messages of PostgreSQL's pgoutput plugin, protocol version 1 with logical messages, and reads what
// version 2 adds for transactions that are sent before they commit:
// https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
//
// In: one message, as XLogData or the spool holds it. Out: one change.Event whose bytes point into that message.
//
// Invariants: a malformed message gives an Integrity error and never a panic or an invented value; a message that decodes
// leaves no byte over; a relation that was handed out is never changed.
//
// Not here: the replication protocol around the messages, the order of messages (apply checks it), files.
package pgoutput
