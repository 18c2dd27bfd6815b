package pgkit

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
)

// TestExplainConnect has the failures that a server on this machine does not show.
func TestExplainConnect(t *testing.T) {
	dial := func(err error) error { return fmt.Errorf("dial error: %w", &net.OpError{Op: "dial", Err: err}) }
	for name, c := range map[string]struct {
		err   error
		code  string
		class fault.Class
		words string
	}{
		"no route":        {dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), CodeUnreachable, fault.Transient, "routing: there is no way"},
		"no network":      {dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), CodeUnreachable, fault.Transient, "routing: there is no way"},
		"dropped packets": {dial(os.ErrDeadlineExceeded), CodeUnreachable, fault.Transient, "timeout: packets to port 5432"},
		"refused":         {dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), CodeUnreachable, fault.Transient, "refused: nothing listens"},
		"silent name server": {&net.DNSError{Err: "i/o timeout", Name: "h", IsTimeout: true}, CodeUnreachable, fault.Transient,
			"name resolution: the name server gives no answer"},
		"unknown name": {&net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}, CodeUnreachable, fault.Transient, "name resolution: no address found"},
		"closed": {fmt.Errorf("failed to receive message: %w", &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}),
			CodeUnreachable, fault.Transient, "the connection was closed"},
		"expired certificate": {x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{NotAfter: time.Unix(0, 0)}}, CodeTLS, fault.Operator,
			"to 1970-01-01"},
		"alert": {&net.OpError{Op: "remote error", Err: errors.New("tls: protocol version not supported")}, CodeTLS, fault.Operator, "TLS: tls: protocol version"},
		"IAM login": {&pgconn.PgError{Code: "28000", Message: `PAM authentication failed for user "u"`, Routine: "auth_failed"}, CodeWrongCredentials, fault.Operator,
			"PAM authentication failed"},
		"no entry": {&pgconn.PgError{Code: "28000", Message: `no pg_hba.conf entry for host "h", user "u", database "d", SSL encryption`, Routine: "ClientAuthentication"},
			CodeNotAllowed, fault.Operator, "allow this machine's address, the user and the database"},
		"no entry, unencrypted on 12": {&pgconn.PgError{Code: "28000", Message: `no pg_hba.conf entry for host "h", user "u", database "d", SSL off`, Routine: "ClientAuthentication"},
			CodeNotAllowed, fault.Operator, "set sslMode to require"},
		"several addresses": {errors.Join(dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), dial(os.NewSyscallError("connect", syscall.ECONNREFUSED))),
			CodeUnreachable, fault.Transient, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			err := explainConnect(Endpoint{Host: "h", Port: 5432, Database: "d", User: "u", Password: "secret"}, false, c.err)
			var f *fault.Error
			require.ErrorAs(t, err, &f)
			require.Equal(t, c.code, f.Code)
			require.Equal(t, c.class, f.Class)
			require.NotEmpty(t, f.Hint)
			require.ErrorContains(t, err, c.words)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}
