package pgserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// TLS asks for a server that speaks TLS, with a certificate of an authority made for it alone.
type TLS struct {
	Names []string // host names and addresses in the certificate; nil: localhost and 127.0.0.1
	Only  bool     // refuse sessions without TLS, as RDS does with rds.force_ssl
}

// Files of TLS: the first beside the data, the others inside.
const (
	rootCertName   = "root.crt"
	serverCertName = "timeferry-server.crt"
	serverKeyName  = "timeferry-server.key"
)

const hostSSLOnlyConf = `hostssl all         all 127.0.0.1/32 scram-sha-256
hostssl replication all 127.0.0.1/32 scram-sha-256
`

// RootCert is the file with the authority's certificate, for sslrootcert; "" when the server was started without TLS.
func (s *Server) RootCert() string {
	if s.tls == nil {
		return ""
	}
	return filepath.Join(s.dir, rootCertName)
}

// prepareTLS makes the authority and the certificate anew, and lets the settings and pg_hba.conf ask for them.
func (s *Server) prepareTLS() error {
	names := s.tls.Names
	if names == nil {
		names = []string{"localhost", s.Host()}
	}
	files, err := newCertificates(names)
	if err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	if err := os.WriteFile(s.RootCert(), files.root, 0o644); err != nil {
		return err
	}
	hba := hbaConf
	if s.tls.Only {
		hba = hostSSLOnlyConf
	}
	for name, text := range map[string][]byte{serverCertName: files.cert, serverKeyName: files.key, "pg_hba.conf": []byte(hba)} {
		path := filepath.Join(s.data, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
		if err := s.flavour.own(path); err != nil {
			return err
		}
	}
	s.settings["ssl"] = "on"
	s.settings["ssl_cert_file"] = serverCertName
	s.settings["ssl_key_file"] = serverKeyName
	return nil
}

// certificates are PEM texts: the authority's certificate, the server's, and the server's key.
type certificates struct{ root, cert, key []byte }

// certificateLife is ample for any run of tests, and for clocks that differ a little.
const certificateLife = 48 * time.Hour

func newCertificates(names []string) (certificates, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificates{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificates{}, err
	}
	now := time.Now()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Timeferry test authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, name)
		}
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	if err != nil {
		return certificates{}, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, rootKey)
	if err != nil {
		return certificates{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return certificates{}, err
	}
	text := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return certificates{root: text("CERTIFICATE", rootDER), cert: text("CERTIFICATE", leafDER), key: text("PRIVATE KEY", keyDER)}, nil
}
