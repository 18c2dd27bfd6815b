package pgkit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/fault"
)

// Codes of a failed connection.
const (
	CodeUnreachable      = "unreachable"        // name resolution, routing, refused, no answer
	CodeTLS              = "tls-failed"         // no TLS, or a certificate that does not pass
	CodeNotAllowed       = "not-allowed"        // pg_hba.conf, or no right to connect
	CodeWrongCredentials = "wrong-credentials"  // user or password
	CodeNoDatabase       = "no-such-database"   //
	CodeBadEndpoint      = "bad-endpoint"       // the settings themselves
	CodeIAMNoReplication = "iam-no-replication" // IAM's token is refused for a replication connection
)

const connectOp = "connect to"

// explainConnect says in one sentence why a connection failed and what to do, without repeating anything secret. reached
// says that the host and port took the connection.
func explainConnect(e Endpoint, reached bool, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return explainRefusal(e, pg)
	}
	if f := explainTLS(e, err); f != nil {
		return f
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("connect to %s: %w", e, context.Canceled)
	}
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) || fault.Classify(err) == fault.Transient {
		return explainNetwork(e, reached, err)
	}
	return fault.New(fault.Unknown, connectOp, e.String(), "check host and port: is this a PostgreSQL server?", "%s", rootCause(err)).WithCode(CodeUnreachable)
}

// explainRefusal is for a server that answered with an error.
func explainRefusal(e Endpoint, pg *pgconn.PgError) error {
	refuse := func(code, hint, format string) error {
		return fault.New(fault.Operator, connectOp, e.String(), hint, format, pg.Message).WithCode(code)
	}
	login := pg.Code == "28P01" || pg.Code == "28000"
	switch {
	case login && pg.Routine == "ClientAuthentication":
		return refuse(CodeNotAllowed, hbaHint(e, pg.Message), "the server's pg_hba.conf refuses it: %s")
	case login:
		return refuse(CodeWrongCredentials, "check the user and what the password reference points to", "the server refuses the login: %s")
	case pg.Code == "3D000":
		return refuse(CodeNoDatabase, "check the database's name", "%s")
	case pg.Code == "42501":
		return refuse(CodeNotAllowed, "grant CONNECT on the database to the user; a replication connection needs membership in rds_replication on RDS, the attribute REPLICATION elsewhere",
			"the user lacks a right: %s")
	}
	return &fault.Error{Class: fault.Classify(pg), Op: connectOp, Subject: e.String(), Err: pg}
}

// hbaHint: whether the session was encrypted is at the message's end, "no encryption" or "SSL off" before PostgreSQL 14.
func hbaHint(e Endpoint, message string) string {
	if e.SSLMode == "disable" || strings.HasSuffix(message, "no encryption") || strings.HasSuffix(message, "SSL off") {
		return "the session was not encrypted: set sslMode to require or better, as RDS for PostgreSQL 15 and later wants it (rds.force_ssl); if that does not help, allow this machine's address in pg_hba.conf"
	}
	return "allow this machine's address, the user and the database in pg_hba.conf"
}

// explainTLS is for a connection that was made, but not made safe; nil when it is something else.
func explainTLS(e Endpoint, err error) error {
	broken := func(hint, format string, args ...any) error {
		return fault.New(fault.Operator, connectOp, e.String(), hint, format, args...).WithCode(CodeTLS)
	}
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &authority):
		return broken("set sslRootCert to the authority's certificate; for RDS: sslRootCert: rds", "TLS: the server's certificate is signed by an authority that is not trusted here")
	case errors.As(err, &host):
		return broken("set host to a name in the certificate, or sslMode to verify-ca if the name cannot match", "TLS: the server's certificate is for %s, not for %q", certificateNames(host.Certificate), e.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return broken("check this machine's clock, and have the server's certificate renewed", "TLS: the server's certificate is not valid at this time: it is from %s to %s",
			invalid.Cert.NotBefore.UTC().Format("2006-01-02"), invalid.Cert.NotAfter.UTC().Format("2006-01-02"))
	case errors.As(err, &invalid), errors.As(err, &verification):
		return broken("have the server's certificate renewed", "TLS: the server's certificate does not pass: %s", rootCause(err))
	case errors.As(err, &notTLS):
		return broken("check host and port, and that nothing stands between that does not speak TLS", "TLS: what answers does not speak it")
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // how crypto/tls names its alerts
		return broken("check which TLS versions the server allows, and whether it asks for a client certificate", "TLS: %s", rootCause(err))
	case strings.HasSuffix(err.Error(), "server refused TLS connection"): // pgconn has no type for it
		return broken("switch TLS on at the server (ssl = on), or set sslMode to prefer if the network is safe", "TLS: the server has it switched off, and sslMode %s needs it", e.SSLMode)
	}
	return nil
}

func certificateNames(c *x509.Certificate) string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no host at all"
	}
	return strings.Join(names, ", ")
}

// explainNetwork is for a server that did not answer.
func explainNetwork(e Endpoint, reached bool, err error) error {
	lost := func(hint, format string, args ...any) error {
		return fault.New(fault.Transient, connectOp, e.String(), hint, format, args...).WithCode(CodeUnreachable)
	}
	var dns *net.DNSError
	var network net.Error
	timeout := errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &network) && network.Timeout())
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return lost("check the host's name, and that this machine's name server knows it: a private RDS name is known inside its VPC only", "name resolution: no address found for host %q", e.Host)
	case errors.As(err, &dns):
		return lost("check this machine's name server", "name resolution: the name server gives no answer for host %q", e.Host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return lost("check host and port, and that the server runs and listens on that address", "refused: nothing listens on port %d", e.Port)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return lost("check routing: subnet, route table, VPC peering", "routing: there is no way to host %q", e.Host)
	case timeout && reached:
		return lost("check that the port is PostgreSQL's, and the server's load", "timeout: the port is open, but no PostgreSQL answers")
	case timeout:
		return lost("let the security group and network ACLs pass this machine's address, and check routing and that the instance can be reached from here (a public or peered address)",
			"timeout: packets to port %d get no answer", e.Port)
	}
	return lost("check host and port, and whether a proxy or a full server closes the connection", "the connection was closed: %s", rootCause(err))
}

// explainReplication adds the reason that the server keeps to itself: it takes IAM tokens for ordinary connections, but for
// replication only when told so.
func explainReplication(e Endpoint, err error) error {
	var f *fault.Error
	if !e.IAM || !errors.As(err, &f) || (f.Code != CodeWrongCredentials && f.Code != CodeNotAllowed) {
		return err
	}
	return fault.New(fault.Operator, "connect for replication to", e.String(),
		"set rds.iam_auth_for_replication = 1 in the parameter group where the engine's version has it, or give source.password another kind than iam: env, file, secretArn or rdsManaged",
		"IAM authentication is refused for a replication connection: %w", f.Err).WithCode(CodeIAMNoReplication)
}

// explainSettings is for settings of which no connection can be made.
func explainSettings(e Endpoint) error {
	bad := func(hint, format string, args ...any) error {
		return fault.New(fault.Operator, connectOp, e.String(), hint, format, args...).WithCode(CodeBadEndpoint)
	}
	if e.SSLRootCert != "" {
		text, err := os.ReadFile(e.SSLRootCert)
		if err != nil {
			return bad("put the authority's certificate there on this machine, readable by the worker", "TLS: sslRootCert: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(text) {
			return bad("it must hold certificates in PEM form", "TLS: sslRootCert %s has no certificate in it", e.SSLRootCert)
		}
	}
	return bad("check sslMode, host and port", "bad connection settings")
}

// rootCause is the innermost error's text. Of several attempts it is the last one's.
func rootCause(err error) string {
	for {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			all := joined.Unwrap()
			err = all[len(all)-1]
			continue
		}
		next := errors.Unwrap(err)
		if next == nil {
			return strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		err = next
	}
}
