package spool

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/change"
)

// One writer, three readers of which one prunes behind itself, and somebody who looks at the numbers.
func TestManyReaders(t *testing.T) {
	inBothForms(t, func(t *testing.T, form func(Options) Options) {
		s := mustOpen(t, t.TempDir(), form(Options{SegmentBytes: 4000}))
		const last = 2000
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var slowest [2]atomic.Int64
		var g errgroup.Group
		for i := range 3 {
			g.Go(func() error {
				r, err := s.NewReader(0)
				if err != nil {
					return err
				}
				for n := 1; n <= last; n++ {
					for _, want := range transaction(n) {
						rec, err := r.Next(ctx)
						if err != nil {
							return err
						}
						if text(rec) != text(want) {
							return fmt.Errorf("got %q, want %q", text(rec), text(want))
						}
					}
					if i < 2 {
						slowest[i].Store(int64(n))
						continue
					}
					if done := min(slowest[0].Load(), slowest[1].Load(), int64(n)); done > 0 {
						if err := s.Prune(endOf(int(done))); err != nil {
							return err
						}
					}
					r.Ready()
				}
				return r.Close()
			})
		}
		g.Go(func() error {
			for n := 1; n <= last; n++ {
				if err := appendAll(s, transaction(n)...); err != nil {
					return err
				}
				var err error
				if n%10 == 0 {
					_, err = s.Sync()
				} else {
					err = s.Flush()
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		g.Go(func() error {
			for s.Stats().LastLSN < change.LSN(endOf(last)) {
				if s.Durable() > s.Stats().LastLSN {
					return fmt.Errorf("durable is ahead of what is visible")
				}
			}
			return nil
		})
		require.NoError(t, g.Wait())
		require.Less(t, s.Stats().Segments, 20)
	})
}
