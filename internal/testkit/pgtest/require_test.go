package pgtest

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/pgserver"
)

func TestRequiredReadsWords(t *testing.T) {
	for value, want := range map[string]bool{"": false, "pg": true, "temporal, pg": true, "pgx": false, "temporal": false} {
		t.Setenv(EnvRequire, value)
		require.Equal(t, want, Required("pg"), value)
	}
}

// fakeTB notes how it was ended. skipOrFail does nothing after ending a test, so returning from here is harmless.
type fakeTB struct {
	testing.TB
	ended string
}

func (f *fakeTB) Helper()               {}
func (f *fakeTB) Skipf(string, ...any)  { f.ended = "skipped" }
func (f *fakeTB) Fatalf(string, ...any) { f.ended = "failed" }

func TestMissingServerSkipsUnlessRequired(t *testing.T) {
	missing := errors.Join(errors.New("no server"), pgserver.ErrUnavailable)
	for _, c := range []struct {
		err           error
		require, want string
	}{
		{nil, "pg", ""}, {missing, "", "skipped"}, {missing, "temporal", "skipped"}, {missing, "pg", "failed"},
		{errors.New("it crashed"), "", "failed"},
	} {
		t.Setenv(EnvRequire, c.require)
		fake := &fakeTB{}
		skipOrFail(fake, c.err)
		require.Equal(t, c.want, fake.ended)
	}
}
