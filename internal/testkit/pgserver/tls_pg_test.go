package pgserver_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
)

func TestTLSServersOfBothKinds(t *testing.T) {
	for name, start := range map[string]starter{"source": pgserver.StartSource, "target": pgserver.StartTarget} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			s := mustStart(t, start, pgserver.Options{TLS: &pgserver.TLS{Only: true}})
			require.NoError(t, s.Restart(ctx, nil), "TLS outlives a restart")
			require.FileExists(t, s.RootCert())
			e := s.Superuser("postgres")
			e.SSLMode = "verify-full"
			conn, err := pgkit.Dial(ctx, e, "test")
			require.NoError(t, err)
			require.NoError(t, conn.Close(ctx))
			e.SSLMode = "disable"
			_, err = pgkit.Dial(ctx, e, "test")
			require.ErrorContains(t, err, "no encryption")
		})
	}
}
