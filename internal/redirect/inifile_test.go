package redirect

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestTheLineOfADatabaseIsFound(t *testing.T) {
	for _, c := range []struct {
		text, name, wrong string
		want              int
	}{
		{"[databases]\n; shop = x\nother = host=a\nshop = host=a\n[pgbouncer]\nshop = 1", "shop", "", 3},
		{"shop = host=a\nother=host=b", "shop", "", 0},
		{"[databases]\n  \"Odd \"\"name\" = host=a", `Odd "name`, "", 1},
		{"[databases]\nshopping = host=a\n* = host=b", "shop", "no line of its own", 0},
		{"[databases]\nshop = host=a\nshop= host=b", "shop", "two lines", 0},
		{"[pgbouncer]\nshop = host=a", "shop", "no line of its own", 0},
	} {
		index, err := databaseLine(c.text, c.name)
		if c.wrong != "" {
			require.ErrorContains(t, err, c.wrong, c.text)
			continue
		}
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, index, c.text)
	}
}

func TestOnlyTheAddressOfALineChanges(t *testing.T) {
	to := contract.Address{Host: "target.example", Port: 5433, Database: "ts db"}
	for line, want := range map[string]string{
		"shop = host=a port=1 dbname=b": "shop = host=target.example port=5433 dbname='ts db'",
		"shop=host=a":                   "shop= host=target.example port=5433 dbname='ts db'",
		"shop = dbname='x y' user=u password='p''w = 1' pool_size=20 host=a": "shop = host=target.example port=5433 dbname='ts db' user=u password='p''w = 1' pool_size=20",
		"shop =": "shop = host=target.example port=5433 dbname='ts db'",
	} {
		got, was, err := withAddress(line, to)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NotContains(t, was, "p''w")
		again, _, err := withAddress(got, to)
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	_, _, err := withAddress("shop = host=a 'loose", to)
	require.Error(t, err)
}

func TestAFileIsReplacedAsAWhole(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real.ini"), filepath.Join(dir, "link.ini")
	require.NoError(t, os.WriteFile(file, []byte("before"), 0o640))
	require.NoError(t, os.Chmod(file, 0o640))
	require.NoError(t, os.Symlink(file, link))
	require.NoError(t, replaceFile(link, "after"))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "after", string(text))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing is left beside it")
	require.Error(t, replaceFile(filepath.Join(dir, strings.Repeat("x", 5)), ""))
}
