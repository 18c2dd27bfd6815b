package bulk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

func message(kind byte, body []byte) []byte {
	m := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return append(m, body...)
}

// Whatever the sizes of messages and reads, rows go into the pipe and all else, in its order, to the session.
func TestFeedPartsRowsFromTheRest(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for round := range 300 {
		var wire, rest, rows []byte
		count := 0
		for range random.IntN(40) {
			body := make([]byte, random.IntN(1<<random.IntN(15)))
			for i := range body {
				body[i] = byte(random.Uint32())
			}
			if random.IntN(3) > 0 {
				wire, rows, count = append(wire, message('d', body)...), append(rows, body...), count+1
			} else {
				m := message("NCcZ"[random.IntN(4)], body)
				wire, rest = append(wire, m...), append(rest, m...)
			}
		}
		var r io.Reader = bytes.NewReader(wire)
		switch round % 4 {
		case 0:
			r = iotest.OneByteReader(r)
		case 1:
			r = iotest.HalfReader(r)
		case 2:
			r = iotest.DataErrReader(r)
		}
		p, m := newPipe(newBuffers()), &meter{}
		f := newFeed(r)
		f.rows = &intake{p: p, m: m}
		read := make(chan []byte, 1)
		go func() {
			got, err := io.ReadAll(iotest.HalfReader(f))
			p.closeWrite(err)
			read <- got
		}()
		got, err := io.ReadAll(p)
		require.NoError(t, err)
		require.True(t, bytes.Equal(rows, got))
		require.True(t, bytes.Equal(rest, <-read))
		require.EqualValues(t, count, m.rows.Load())
		require.EqualValues(t, len(rows), m.bytes.Load())
	}
}

// Outside of a COPY nothing is taken out, and the frames are followed, so that a COPY may begin at any message.
func TestFeedWithoutCopy(t *testing.T) {
	wire := append(message('d', []byte("not a row of ours")), message('Z', []byte("I"))...)
	more := message('d', []byte("row"))
	f := newFeed(io.MultiReader(bytes.NewReader(wire), bytes.NewReader(more), iotest.ErrReader(errors.New("gone"))))
	got := make([]byte, len(wire))
	_, err := io.ReadFull(f, got)
	require.NoError(t, err)
	require.Equal(t, wire, got)
	p := newPipe(newBuffers())
	f.rows = &intake{p: p, m: &meter{}}
	_, err = f.Read(got)
	require.EqualError(t, err, "gone")
	p.closeWrite(nil)
	rows, err := io.ReadAll(p)
	require.NoError(t, err)
	require.Equal(t, "row", string(rows))
}

func TestLimit(t *testing.T) {
	require.Nil(t, NewLimit(0))
	limit := NewLimit(1 << 20)
	now := time.Unix(1000, 0)
	pause := func(now time.Time, bytes int) time.Duration { return limit.until(now, limit.pay(now, bytes)) }
	require.LessOrEqual(t, pause(now, 100_000), time.Duration(0), "what was not used a moment ago")
	require.InDelta(t, time.Second, pause(now, 1<<20), float64(5*time.Millisecond))
	require.InDelta(t, time.Second/2, pause(now.Add(time.Second), 1<<19), float64(5*time.Millisecond))
	require.InDelta(t, time.Second-limitSlack, pause(now.Add(time.Hour), 1<<20), float64(5*time.Millisecond), "an hour's rest is not saved up")
}

// Who waits already goes by a new rate, and what streams that share a limit wait for adds up.
func TestLimitIsSharedAndChanges(t *testing.T) {
	limit := NewLimit(1000)
	now := time.Unix(1000, 0)
	limit.pay(now, 100) // the slack
	first, second := limit.pay(now, 1000), limit.pay(now, 1000)
	require.InDelta(t, time.Second, limit.until(now, first), float64(time.Millisecond))
	require.InDelta(t, 2*time.Second, limit.until(now, second), float64(time.Millisecond))
	limit.perSecond = 4000
	require.InDelta(t, time.Second/2, limit.until(now, second), float64(time.Millisecond))
	limit.until(now.Add(time.Second/4), second)
	limit.perSecond = 500
	require.InDelta(t, 2*time.Second, limit.until(now.Add(time.Second/4), second), float64(time.Millisecond))
}
