package pgkit

import (
	"context"
	"os"
	"strconv"

	"timeferry/internal/fault"
)

// LibpqEnv is the endpoint in the variables of libpq's programs (pg_dump, psql), with the password as it is now. A child's
// environment is open to its own user only, other than its arguments; and a database's name given so is not read as a connection
// string. major is the programs' version.
func LibpqEnv(ctx context.Context, e Endpoint, major int) ([]string, error) {
	password, err := e.CurrentPassword(ctx)
	if err != nil {
		return nil, err
	}
	mode := e.SSLMode
	if mode == "" {
		mode = "prefer"
	}
	root, err := libpqRoot(e, major, systemRoots())
	if err != nil {
		return nil, err
	}
	env := []string{"PGHOST=" + e.Host, "PGPORT=" + strconv.Itoa(e.Port), "PGDATABASE=" + e.Database, "PGUSER=" + e.User, "PGSSLMODE=" + mode,
		"PGCONNECT_TIMEOUT=15"}
	if password != "" {
		env = append(env, "PGPASSWORD="+password)
	}
	if root != "" {
		env = append(env, "PGSSLROOTCERT="+root)
	}
	return env, nil
}

// libpqRoot is whom libpq shall trust. Without a file of its own, our connections trust the system's authorities, but libpq trusts
// nobody: it must be given the system's bundle, or the word system, which it knows from version 16 on for verify-full only.
func libpqRoot(e Endpoint, major int, system string) (string, error) {
	if e.SSLRootCert != "" || (e.SSLMode != "verify-ca" && e.SSLMode != "verify-full") {
		return e.SSLRootCert, nil
	}
	switch {
	case system != "":
		return system, nil
	case e.SSLMode == "verify-full" && major >= 16:
		return "system", nil
	}
	return "", fault.New(fault.Operator, "check the certificate of", e.String(),
		"set sslRootCert to the authority's certificate (for RDS: sslRootCert: rds), or install the system's bundle of authorities (ca-certificates)",
		"TLS: sslMode %s has no sslRootCert, this machine has no bundle of authorities, and PostgreSQL's programs of version %d cannot find one themselves", e.SSLMode, major).WithCode(CodeTLS)
}

// systemBundles are the places where Go, too, looks for the system's authorities on Linux.
var systemBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, Amazon Linux
	"/etc/ssl/ca-bundle.pem",                            // openSUSE
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL
	"/etc/ssl/cert.pem",                                 // Alpine
}

// systemRoots is the file with the system's authorities, "" if there is none.
func systemRoots() string {
	for _, path := range append([]string{os.Getenv("SSL_CERT_FILE")}, systemBundles...) {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
