package config

import (
	"context"
	"os"
	"time"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// RDSRootCert is the word for sslRootCert that stands for AWS's bundle of authorities.
const RDSRootCert = "rds"

// EnvRDSBundle says where AWS's bundle is on this machine; when it is not set, DefaultRDSBundle is looked at. Only if that does not
// exist either, the bundle is downloaded once (see Bundle).
const (
	EnvRDSBundle     = "TIMEFERRY_RDS_CA_BUNDLE"
	DefaultRDSBundle = "/etc/timeferry/rds-global-bundle.pem"
)

// findBundleTimeout is for a download of some 200 kB, with the time to find that the network is closed.
const findBundleTimeout = 30 * time.Second

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
	ctx, cancel := context.WithTimeout(context.Background(), findBundleTimeout)
	defer cancel()
	path, err := findRDSBundle(ctx, Bundle{})
	if err != nil {
		return "", badRootCert(e, "put AWS's global-bundle.pem ("+rdsBundleURL+") on the worker's machine and set "+EnvRDSBundle+" to where it is, or put it at "+DefaultRDSBundle, "%w", err)
	}
	return path, nil
}

// findRDSBundle prefers what a person has put on the machine. A path that was named must be good: nothing is trusted instead of it.
func findRDSBundle(ctx context.Context, download Bundle) (string, error) {
	if path := os.Getenv(EnvRDSBundle); path != "" {
		return path, readable(path)
	}
	if _, err := os.Stat(DefaultRDSBundle); err == nil {
		return DefaultRDSBundle, readable(DefaultRDSBundle)
	}
	return download.Find(ctx)
}

func readable(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return file.Close()
}

func badRootCert(e contract.Endpoint, hint, format string, args ...any) error {
	return fault.New(fault.Operator, "find RDS's certificates for", e.User+"@"+e.Host, hint, format, args...).WithCode("rds-bundle-unavailable")
}
