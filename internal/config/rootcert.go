package config

import (
	"os"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// RDSRootCert is the word for sslRootCert that stands for AWS's bundle of authorities.
const RDSRootCert = "rds"

// EnvRDSBundle says where AWS's bundle is on this machine. DefaultRDSBundle is looked at when it is not set. The bundle is
// never downloaded: networks may be closed, and whom to trust is for a person to bring.
const (
	EnvRDSBundle     = "TIMEFERRY_RDS_CA_BUNDLE"
	DefaultRDSBundle = "/etc/timeferry/rds-global-bundle.pem"
)

const rdsBundleURL = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"

// rootCert turns e's sslRootCert into a file: the word rds becomes the path of AWS's bundle.
func rootCert(e contract.Endpoint) (string, error) {
	if e.SSLRootCert != RDSRootCert {
		return e.SSLRootCert, nil
	}
	switch e.SSLMode {
	case "require", "verify-ca", "verify-full":
	default: // the bundle would be ignored in silence
		return "", badRootCert(e, "set sslMode to verify-full", "sslMode %q does not check the server's certificate", e.SSLMode)
	}
	path := os.Getenv(EnvRDSBundle)
	if path == "" {
		path = DefaultRDSBundle
	}
	file, err := os.Open(path)
	if err != nil {
		return "", badRootCert(e, "put AWS's global-bundle.pem ("+rdsBundleURL+") there on the worker's machine, or set "+EnvRDSBundle+" to where it is", "%w", err)
	}
	return path, file.Close()
}

func badRootCert(e contract.Endpoint, hint, format string, args ...any) error {
	return fault.New(fault.Operator, "find RDS's certificates for", e.User+"@"+e.Host, hint, format, args...).WithCode("rds-bundle-unavailable")
}
