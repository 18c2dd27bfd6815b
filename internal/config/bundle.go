package config

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const rdsBundleURL = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"

// EnvRDSBundleURL names another place for AWS's bundle, for a mirror; "none" forbids to download it. EnvCache is the directory that
// it is kept in.
const (
	EnvRDSBundleURL = "TIMEFERRY_RDS_CA_URL"
	EnvCache        = "TIMEFERRY_CACHE"
	noDownload      = "none"
)

const (
	bundleName = "rds-global-bundle.pem"
	sumSuffix  = ".sha256"
	// mostBundleBytes is several times what AWS's bundle has (160 kB, more than a hundred certificates).
	mostBundleBytes = 4 << 20
)

// Bundle is AWS's authorities, kept in a directory of this machine. The zero value is good: it is kept in the user's cache and comes
// from AWS.
type Bundle struct {
	Dir    string       // empty: $TIMEFERRY_CACHE, or timeferry in the user's cache
	URL    string       // https only; empty: $TIMEFERRY_RDS_CA_URL, or AWS's
	Client *http.Client // nil: one that follows no redirections; one that is given must not either
	Log    *slog.Logger // nil: slog.Default()
}

// downloading keeps the activities of one process from doing the same at once. Of several processes each replaces the file as a whole.
var downloading sync.Mutex

// Find gives the bundle's file. The first call downloads it, and keeps its SHA-256 beside it, in the form that sha256sum -c reads;
// later calls check that the file still is the one that was downloaded.
func (b Bundle) Find(ctx context.Context) (string, error) {
	downloading.Lock()
	defer downloading.Unlock()
	if err := b.complete(); err != nil {
		return "", err
	}
	path := filepath.Join(b.Dir, bundleName)
	text, err := os.ReadFile(path)
	if err == nil {
		return path, checkSum(path, text)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if text, err = b.download(ctx); err != nil {
		return "", fmt.Errorf("download %s: %w", b.URL, err)
	}
	sum := sumOf(text)
	// The sum goes first: a bundle without one would count as brought by a person.
	if err := errors.Join(os.MkdirAll(b.Dir, 0o755), replace(path+sumSuffix, []byte(sum+"  "+bundleName+"\n"))); err != nil {
		return "", err
	}
	if err := replace(path, text); err != nil {
		return "", err
	}
	b.Log.Info("downloaded the certificates of RDS's authorities", "url", b.URL, "file", path, "bytes", len(text), "sha256", sum)
	return path, nil
}

func (b *Bundle) complete() error {
	if b.Dir == "" {
		b.Dir = os.Getenv(EnvCache)
	}
	if b.Dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find a directory for RDS's certificates: %w", err)
		}
		b.Dir = filepath.Join(cache, "timeferry")
	}
	if b.URL == "" {
		b.URL = os.Getenv(EnvRDSBundleURL)
	}
	if b.URL == "" {
		b.URL = rdsBundleURL
	}
	if b.Client == nil {
		b.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if b.Log == nil {
		b.Log = slog.Default()
	}
	return nil
}

func (b Bundle) download(ctx context.Context) ([]byte, error) {
	if b.URL == noDownload {
		return nil, errors.New(EnvRDSBundleURL + " forbids it")
	}
	if u, err := url.Parse(b.URL); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("it is no https address")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL, nil)
	if err != nil {
		return nil, err
	}
	response, err := b.Client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() // only read from
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, mostBundleBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > mostBundleBytes:
		return nil, fmt.Errorf("it is larger than %d bytes", mostBundleBytes)
	}
	return text, checkBundle(text)
}

// checkBundle refuses what is no list of authorities: an error page, or half of the file.
func checkBundle(text []byte) error {
	found := 0
	for rest := text; ; found++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if found == 0 || len(bytes.TrimSpace(rest)) > 0 {
				return errors.New("it is no list of certificates in PEM form")
			}
			return nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("certificate %d in it: %w", found+1, err)
		}
		if !c.IsCA {
			return fmt.Errorf("certificate %d in it, %s, is no authority's", found+1, c.Subject.CommonName)
		}
	}
}

// checkSum compares the file with what was noted when it was downloaded. Without a note a person has brought it.
func checkSum(path string, text []byte) error {
	note, err := os.ReadFile(path + sumSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	noted, _, _ := strings.Cut(string(note), " ")
	if sum := sumOf(text); sum != noted {
		return fmt.Errorf("%s has changed since it was downloaded: its SHA-256 is %s, and %s says %s; remove both if that was not meant", path, sum, path+sumSuffix, noted)
	}
	return nil
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// replace writes a file as a whole, durably: it is the old one or the new one, whatever happens.
func replace(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
