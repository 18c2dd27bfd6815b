package capture_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/relay"
	"timeferry/internal/testkit/pgtest"
)

// The applier begins again, as after a batch that was rolled back, when all was received and nothing is durable yet: what the relay had
// is gone, and must come once more, though nothing new comes from the source.
func TestReceiverBeginsAgainWithTheApplier(t *testing.T) {
	for _, bulk := range []bool{true, false} {
		t.Run(fmt.Sprintf("bulk %t", bulk), func(t *testing.T) {
			s := newStream(t, pgtest.Source(t), fmt.Sprintf("again_%t", bulk))
			s.backlog(t, 100, 1500)
			between := relay.New(relay.Memory{Keep: func(string) error { return nil }})
			r := smallLimits(s.receiver(nil))
			r.Spool = between
			seen := watchPlaces(r)
			if !bulk {
				r.OnlyStream()
			}
			first := between.NewReader(0)
			run := start(t, r)
			defer run.stop(t)
			readAll(t, first, func() bool { return !bulk || seen.count("peeked") > 0 })
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := between.NewReader(0).Next(ctx)
			require.NoError(t, err)
		})
	}
}

// readAll reads something, until nothing more comes and what is waited for has happened.
func readAll(t *testing.T, from *relay.Reader, enough func() bool) {
	t.Helper()
	for read := 0; ; {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err := from.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && read > 0 && enough() {
			return
		}
		if err == nil {
			read++
			continue
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
}
