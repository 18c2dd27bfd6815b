package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Class says what an error means for the migration, and so what may be done about it without a person.
type Class string

const (
	// Unknown is an error that no rule recognised. It is retried a bounded number of times.
	Unknown Class = "unknown"
	// Transient goes away by itself: a lost connection, a deadlock, throttling. Retried with backoff.
	Transient Class = "transient"
	// NotReady means that something asked for is still on its way (a reboot under way). Polled, not logged as an error.
	NotReady Class = "not-ready"
	// Operator needs a person: a missing privilege, a wrong setting, a full disk. Not retried; Hint says the remedy.
	Operator Class = "operator"
	// Integrity means that data is not what it must be. Never retried, never repaired silently.
	Integrity Class = "integrity"
	// Bug is a state that the code believed to be impossible.
	Bug Class = "bug"
)

// Error is the one error type that crosses rooms. The zero value is not useful; build it with New or the class helpers.
// It never holds a secret or a row's value.
type Error struct {
	// Class decides about retries.
	Class Class
	// Op is what was being done, a short verb phrase: "create slot".
	Op string
	// Subject is the object it was done to: a table, a slot, a host. May be empty.
	Subject string
	// Hint is the remedy, a sentence for a person. May be empty.
	Hint string
	// Err is the cause. May be nil when Op says it all.
	Err error
	// Code is a stable word for programs, like "password-in-spec". May be empty.
	Code string
}

// New builds an Error. The format verbs make the cause; %w keeps it reachable.
func New(class Class, op, subject, hint, format string, args ...any) *Error {
	return &Error{Class: class, Op: op, Subject: subject, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// WithCode sets the stable word for programs and returns e.
func (e *Error) WithCode(code string) *Error {
	e.Code = code
	return e
}

// Error reads "op subject: cause (remedy)" on one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Subject != "" {
		b.WriteString(" ")
		b.WriteString(e.Subject)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	if e.Hint != "" {
		b.WriteString(" (")
		b.WriteString(e.Hint)
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// HintOf returns the first remedy found in err's chain, or "".
func HintOf(err error) string {
	var e *Error
	for errors.As(err, &e) {
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}
