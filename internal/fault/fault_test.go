package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
)

type sqlError string

func (e sqlError) Error() string    { return "server says " + string(e) }
func (e sqlError) SQLState() string { return string(e) }

type awsError string

func (e awsError) Error() string     { return "api error " + string(e) }
func (e awsError) ErrorCode() string { return string(e) }

// sendError is as pgconn's are.
type sendError bool

func (e sendError) Error() string     { return "conn closed" }
func (e sendError) SafeToRetry() bool { return bool(e) }

func TestClassify(t *testing.T) {
	timeout := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	for _, c := range []struct {
		name string
		err  error
		want fault.Class
	}{
		{"nil", nil, fault.Unknown},
		{"plain", errors.New("something"), fault.Unknown},
		{"own class", fault.New(fault.Integrity, "compare", "t", "", "differs"), fault.Integrity},
		{"own class wrapped", fmt.Errorf("verify: %w", fault.New(fault.Integrity, "compare", "t", "", "differs")), fault.Integrity},
		{"own class wins over the cause", fault.New(fault.Operator, "lock", "t", "", "%w", sqlError("55P03")), fault.Operator},
		{"own unknown asks the cause", fault.New(fault.Unknown, "lock", "t", "", "%w", sqlError("55P03")), fault.Transient},
		{"connection failure", sqlError("08006"), fault.Transient},
		{"serialization failure", sqlError("40001"), fault.Transient},
		{"deadlock", sqlError("40P01"), fault.Transient},
		{"too many connections", sqlError("53300"), fault.Transient},
		{"lock not available", sqlError("55P03"), fault.Transient},
		{"admin shutdown", fmt.Errorf("copy: %w", sqlError("57P01")), fault.Transient},
		{"starting up", sqlError("57P03"), fault.Transient},
		{"idle session ended", sqlError("57P05"), fault.Transient},
		{"idle transaction ended", sqlError("25P03"), fault.Transient},
		{"slot in use", sqlError("55006"), fault.Transient},
		{"no privilege", sqlError("42501"), fault.Operator},
		{"wrong password", sqlError("28P01"), fault.Operator},
		{"disk full on the server", sqlError("53100"), fault.Operator},
		{"wal_level", sqlError("55000"), fault.Operator},
		{"data corrupted", sqlError("XX001"), fault.Integrity},
		{"unique violation is for the room to judge", sqlError("23505"), fault.Unknown},
		{"throttling", awsError("Throttling"), fault.Transient},
		{"instance busy", awsError("InvalidDBInstanceState"), fault.NotReady},
		{"access denied", awsError("AccessDenied"), fault.Operator},
		{"unknown code", awsError("Nova"), fault.Unknown},
		{"the caller's cancellation", fmt.Errorf("copy: %w", context.Canceled), fault.Unknown},
		{"a deadline", context.DeadlineExceeded, fault.Transient},
		{"network timeout", timeout, fault.Transient},
		{"nothing was sent", fmt.Errorf("ask: %w", sendError(true)), fault.Transient},
		{"something may have been sent", sendError(false), fault.Unknown},
		{"end of stream", io.ErrUnexpectedEOF, fault.Transient},
		{"refused", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, fault.Transient},
		{"local disk full", &os.PathError{Op: "write", Path: "f", Err: syscall.ENOSPC}, fault.Operator},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, fault.Classify(c.err)) })
	}
}

func TestErrorReadsAsOneLine(t *testing.T) {
	cause := errors.New("it is missing")
	for want, err := range map[string]*fault.Error{
		"create slot timeferry_shop: it is missing (drop it first)": {Op: "create slot", Subject: "timeferry_shop", Hint: "drop it first", Err: cause},
		"create slot: it is missing":                                {Op: "create slot", Err: cause},
		"create slot":                                               {Op: "create slot"},
	} {
		require.Equal(t, want, err.Error())
	}
}

func TestErrorKeepsItsCause(t *testing.T) {
	err := fmt.Errorf("outer: %w", fault.New(fault.Transient, "read", "t", "wait", "inner: %w", io.EOF).WithCode("code"))
	require.ErrorIs(t, err, io.EOF)
	var own *fault.Error
	require.ErrorAs(t, err, &own)
	require.Equal(t, "code", own.Code)
}

func TestHintOfFindsTheFirstRemedy(t *testing.T) {
	inner := fault.New(fault.Operator, "connect to", "host", "open the port", "refused")
	require.Equal(t, "open the port", fault.HintOf(fmt.Errorf("probe: %w", &fault.Error{Op: "probe", Err: inner})))
	require.Equal(t, "own", fault.HintOf(&fault.Error{Op: "probe", Hint: "own", Err: inner}))
	require.Empty(t, fault.HintOf(io.EOF))
	require.Empty(t, fault.HintOf(nil))
}
