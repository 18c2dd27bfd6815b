package bulk

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPipeCarriesEverything(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	buffers := newBuffers()
	for _, sizes := range [][]int{{}, {0}, {1}, {bufferBytes}, {bufferBytes - 1, 2, 3}, {10 * bufferBytes, 5}, nil} {
		if sizes == nil {
			for range 5000 {
				sizes = append(sizes, random.IntN(5000))
			}
		}
		var sent []byte
		p := newPipe(buffers)
		written := make(chan error, 1)
		messages := make([][]byte, len(sizes))
		for i, n := range sizes {
			messages[i] = make([]byte, n)
			for j := range messages[i] {
				messages[i][j] = byte(random.Uint32())
			}
			sent = append(sent, messages[i]...)
		}
		go func() {
			var failed error
			for _, b := range messages {
				failed = errors.Join(failed, p.write(b))
			}
			p.closeWrite(nil)
			written <- failed
		}()
		got, err := io.ReadAll(p)
		require.NoError(t, err)
		require.NoError(t, <-written)
		p.closeRead()
		require.True(t, bytes.Equal(sent, got))
		require.False(t, p.brokenBySource())
		require.Len(t, buffers, bufferCount, "every buffer is free again")
	}
}

func TestPipeNeverEndsWellAfterAnError(t *testing.T) {
	p := newPipe(newBuffers())
	require.NoError(t, p.write([]byte("half of it")))
	p.closeWrite(errors.New("connection lost"))
	got, err := io.ReadAll(p)
	require.ErrorIs(t, err, errSourceStopped)
	require.Equal(t, "half of it", string(got))
	p.closeRead()
	require.True(t, p.brokenBySource())
}

func TestPipeStopsTheWriterWhenTheReaderIsGone(t *testing.T) {
	p := newPipe(newBuffers())
	stopped := make(chan error, 1)
	go func() {
		for {
			if err := p.write(make([]byte, bufferBytes)); err != nil {
				p.closeWrite(err)
				stopped <- err
				return
			}
		}
	}()
	_, err := p.Read(make([]byte, 10))
	require.NoError(t, err)
	p.closeRead()
	require.ErrorIs(t, <-stopped, errTargetStopped)
	require.False(t, p.brokenBySource(), "the reader went first")
}
