package fault

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
)

// sqlStater is what pgconn.PgError offers.
type sqlStater interface{ SQLState() string }

// awsCoder is what smithy.APIError offers.
type awsCoder interface{ ErrorCode() string }

// unsent is what pgconn's errors offer that come before anything was sent, as on a connection that an earlier error closed.
type unsent interface{ SafeToRetry() bool }

// Classify says which class err belongs to, by SQLSTATE, AWS code and behaviour, never by message text. An *Error keeps
// its own class. The caller's cancellation is Unknown: it is not the error of the thing being done, look at ctx first.
func Classify(err error) Class {
	if err == nil {
		return Unknown
	}
	var own *Error
	if errors.As(err, &own) && own.Class != Unknown {
		return own.Class
	}
	var sql sqlStater
	if errors.As(err, &sql) {
		return classifySQLState(sql.SQLState())
	}
	var aws awsCoder
	if errors.As(err, &aws) {
		return classifyAWS(aws.ErrorCode())
	}
	if errors.Is(err, context.Canceled) {
		return Unknown
	}
	if errors.Is(err, syscall.ENOSPC) {
		return Operator
	}
	var retryable unsent
	if errors.As(err, &retryable) && retryable.SafeToRetry() {
		return Transient
	}
	var network net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Transient
	}
	return Unknown
}

// classifySQLState follows PostgreSQL's appendix A, https://www.postgresql.org/docs/current/errcodes-appendix.html.
func classifySQLState(state string) Class {
	switch state {
	case "40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "57014", "55006":
		return Transient
	case "28000", "28P01", "3D000", "42501", "53100", "0A000", "55000":
		return Operator
	case "XX001", "XX002":
		return Integrity
	}
	if strings.HasPrefix(state, "08") {
		return Transient
	}
	return Unknown
}

func classifyAWS(code string) Class {
	switch code {
	case "Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable", "InternalFailure", "RequestTimeout":
		return Transient
	case "InvalidDBInstanceState", "InvalidDBClusterStateFault", "InvalidDBParameterGroupState":
		return NotReady
	case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "ExpiredToken", "InvalidClientTokenId",
		"SignatureDoesNotMatch", "DBInstanceNotFound", "DBClusterNotFoundFault", "DBParameterGroupNotFound",
		"DBParameterGroupAlreadyExists", "DBParameterGroupQuotaExceeded", "InvalidParameterCombination",
		"InvalidParameterValue", "ResourceNotFoundException":
		return Operator
	}
	return Unknown
}
