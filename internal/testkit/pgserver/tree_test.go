package pgserver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDebianMirror(t *testing.T) {
	const debian12 = "ID=debian\nVERSION_CODENAME=bookworm\n"
	for name, c := range map[string]struct {
		release, file, text, want string
	}{
		"one line": {debian12, "sources.list", "# deb http://no.example/debian bookworm main\ndeb http://near.example/debian bookworm main contrib\n", "http://near.example/debian"},
		"one line with options": {debian12, "sources.list.d/x.list", "deb [arch=amd64 signed-by=/k] https://near.example/debian bookworm main # here\n",
			"https://near.example/debian"},
		"security is another suite": {debian12, "sources.list", "deb http://near.example/debian-security bookworm-security main\n", defaultMirror},
		"someone else's packages":   {debian12, "sources.list.d/x.list", "deb http://else.example/apt bookworm contrib\n", defaultMirror},
		"deb822": {debian12, "sources.list.d/debian.sources",
			"# first\nTypes: deb deb-src\nURIs: http://near.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\nTypes: deb\nURIs: http://sec.example/debian\nSuites: bookworm-security\nComponents: main\n",
			"http://near.example/debian"},
		"deb822 switched off": {debian12, "sources.list.d/debian.sources", "Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n", defaultMirror},
		"not by http":         {debian12, "sources.list", "deb cdrom:[disc]/ bookworm main\ndeb file:/media bookworm main\n", defaultMirror},
		"not a Debian":        {"ID=ubuntu\nVERSION_CODENAME=noble\n", "sources.list", "deb http://near.example/ubuntu noble main\n", defaultMirror},
		"nothing known":       {"", "sources.list", "", defaultMirror},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			mustWrite(t, filepath.Join(root, "etc/os-release"), c.release)
			mustWrite(t, filepath.Join(root, "etc/apt", c.file), c.text)
			require.Equal(t, c.want, debianMirror(root))
		})
	}
}

func TestUnavailableIsToldApartFromAWrongDirectory(t *testing.T) {
	t.Setenv(EnvSourceBin, t.TempDir())
	_, err := findSource()
	require.ErrorContains(t, err, "has no postgres and initdb")
	require.NotErrorIs(t, err, ErrUnavailable)

	err = unavailable("target", "PostgreSQL 17 with TimescaleDB", EnvTargetBin, "")
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "docker compose up")
	require.ErrorContains(t, err, EnvTargetBin)
}

func TestPathsInsideTheTree(t *testing.T) {
	machine, tree := &flavour{}, &flavour{root: "/cache/tree"}
	require.Equal(t, "/tmp/x", machine.inside("/tmp/x"))
	require.Equal(t, "/srv/x", tree.inside("/cache/tree/srv/x"))
	require.Equal(t, "/cache/tree/srv", tree.base())
}

func TestLeftoversOfLivingProcessesStay(t *testing.T) {
	base := t.TempDir()
	fresh, held, dead := filepath.Join(base, tempPrefix+"fresh"), filepath.Join(base, tempPrefix+"held"), filepath.Join(base, tempPrefix+"dead")
	for _, dir := range []string{fresh, held, dead} {
		mustWrite(t, filepath.Join(dir, dataName, "PG_VERSION"), "15\n")
	}
	mustWrite(t, filepath.Join(dead, dataName, "postmaster.pid"), "999999999\n")
	lock, err := os.Create(filepath.Join(held, lockName))
	require.NoError(t, err)
	defer lock.Close()
	ok, err := tryLock(lock)
	require.NoError(t, err)
	require.True(t, ok)
	for _, dir := range []string{held, dead} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		old := info.ModTime().Add(-leftoverAge)
		require.NoError(t, os.Chtimes(dir, old, old))
	}

	removeLeftovers(base)
	require.DirExists(t, fresh)
	require.DirExists(t, held)
	require.NoDirExists(t, dead)
}

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}
