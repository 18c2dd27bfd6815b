package config_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/config"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// mirror is an https server with a bundle: its own authority's certificate.
func mirror(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, bundle []byte)) (b config.Bundle, bundle []byte, log *bytes.Buffer, asked *int) {
	t.Helper()
	asked = new(int)
	var text []byte
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked++
		answer(w, r, text)
	}))
	t.Cleanup(server.Close)
	text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	log = &bytes.Buffer{}
	return config.Bundle{Dir: filepath.Join(t.TempDir(), "cache"), URL: server.URL + "/global-bundle.pem", Client: client,
		Log: slog.New(slog.NewTextHandler(log, nil))}, text, log, asked
}

func TestTheBundleIsDownloadedOnceAndItsSumNoted(t *testing.T) {
	b, bundle, log, asked := mirror(t, func(w http.ResponseWriter, r *http.Request, bundle []byte) {
		require.Equal(t, "/global-bundle.pem", r.URL.Path)
		_, _ = w.Write(bundle)
	})
	path, err := b.Find(context.Background())
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, bundle, got)
	sum := sha256.Sum256(bundle)
	note, err := os.ReadFile(path + ".sha256")
	require.NoError(t, err)
	require.Equal(t, hex.EncodeToString(sum[:])+"  "+filepath.Base(path)+"\n", string(note))
	require.Contains(t, log.String(), hex.EncodeToString(sum[:]))
	require.Contains(t, log.String(), b.URL)

	again, err := b.Find(context.Background())
	require.NoError(t, err)
	require.Equal(t, path, again)
	require.Equal(t, 1, *asked)
	entries, err := os.ReadDir(b.Dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "no half-written file stays")

	require.NoError(t, os.WriteFile(path, append(bundle, bundle...), 0o644))
	_, err = b.Find(context.Background())
	require.ErrorContains(t, err, "has changed")
	require.NoError(t, os.Remove(path+".sha256"))
	_, err = b.Find(context.Background())
	require.NoError(t, err, "without a note it is a person's")
}

func TestWhatIsNoBundleIsNotKept(t *testing.T) {
	for want, answer := range map[string]func(http.ResponseWriter, *http.Request, []byte){
		"404": func(w http.ResponseWriter, r *http.Request, _ []byte) { http.NotFound(w, r) },
		"302": func(w http.ResponseWriter, r *http.Request, bundle []byte) {
			if r.URL.Path != "/elsewhere" {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
				return
			}
			_, _ = w.Write(bundle)
		},
		"no list of certificates": func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			_, _ = w.Write([]byte("<html>log in here</html>"))
		},
		"PEM form": func(w http.ResponseWriter, _ *http.Request, bundle []byte) {
			_, _ = w.Write(append(bundle, bundle[:len(bundle)/2]...))
		},
		"larger than": func(w http.ResponseWriter, _ *http.Request, _ []byte) { _, _ = w.Write(make([]byte, 5<<20)) },
		"unexpected EOF": func(w http.ResponseWriter, _ *http.Request, bundle []byte) {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(bundle)
		},
	} {
		t.Run(want, func(t *testing.T) {
			b, _, _, _ := mirror(t, answer)
			_, err := b.Find(context.Background())
			require.ErrorContains(t, err, want)
			require.NoDirExists(t, b.Dir)
		})
	}
}

func TestOnlyHTTPSIsAsked(t *testing.T) {
	asked := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer server.Close()
	for _, url := range []string{server.URL, "file:///etc/passwd", "none", "truststore"} {
		_, err := config.Bundle{Dir: t.TempDir(), URL: url}.Find(context.Background())
		require.Error(t, err)
		require.False(t, asked)
	}
}

func TestTheWordRDSFindsWhatWasDownloaded(t *testing.T) {
	if _, err := os.Stat(config.DefaultRDSBundle); err == nil {
		t.Skip("this machine has a bundle of its own")
	}
	cache := t.TempDir()
	t.Setenv(config.EnvRDSBundle, "")
	t.Setenv(config.EnvCache, cache)
	t.Setenv(config.EnvRDSBundleURL, "none")
	e := contract.Endpoint{Host: "h", User: "u", Password: contract.SecretRef{Env: "X"}, SSLMode: "verify-full", SSLRootCert: "rds"}
	_, err := config.ResolveLazily(e, nil)
	require.ErrorContains(t, err, config.EnvRDSBundleURL)
	require.Equal(t, fault.Operator, fault.Classify(err))
	require.True(t, strings.Contains(fault.HintOf(err), config.EnvRDSBundle), fault.HintOf(err))

	path := filepath.Join(cache, "rds-global-bundle.pem")
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	got, err := config.ResolveLazily(e, nil)
	require.NoError(t, err)
	require.Equal(t, path, got.SSLRootCert)
}
