package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func streamBeat(stream int, done, open, rate int64, waiting string) contract.Beat {
	return contract.Beat{Copy: &contract.CopyStatus{Tables: 3, Parts: 9, PartsDone: int(done / 10), Bytes: 100, BytesDone: done + open, OpenBytes: open, Rows: done + open, OpenRows: open,
		Rate: rate, Waiting: waiting, Running: []contract.PartProgress{{Table: "public.t", Part: stream, Stream: stream, Bytes: open, Planned: 10, Rate: rate, ETASeconds: 2}}}}
}

func copying(beats ...contract.Beat) live {
	s := live{Status: contract.Status{Phase: contract.PhaseCopying, Message: "copying the existing rows", Copy: contract.CopyStatus{Tables: 3, Parts: 9, Bytes: 100, Epoch: 1}}}
	s.told = s.Message
	for _, b := range beats {
		mergeBeat(&s.Status, "CopyParts", b)
	}
	return s
}

// Each stream knows the ledger's sum at its own moment, and only what it has under way itself.
func TestStreamsAddUp(t *testing.T) {
	for name, s := range map[string]live{
		"newest last":  copying(streamBeat(2, 20, 3, 4, "busy"), streamBeat(1, 30, 5, 6, "")),
		"newest first": copying(streamBeat(1, 30, 5, 6, ""), streamBeat(2, 20, 3, 4, "busy")),
	} {
		c := s.Copy
		require.EqualValues(t, 38, c.BytesDone, name)
		require.EqualValues(t, 38, c.Rows, name)
		require.EqualValues(t, 8, c.OpenBytes, name)
		require.EqualValues(t, 10, c.Rate, name)
		require.EqualValues(t, 6, c.ETASeconds, name)
		require.Equal(t, "busy", c.Waiting, name)
		require.Equal(t, 3, c.PartsDone, name)
		require.Equal(t, 1, c.Epoch, name)
		require.Equal(t, []int{1, 2}, []int{c.Running[0].Stream, c.Running[1].Stream}, name)
	}
}

func TestABlockHasABarForEachPart(t *testing.T) {
	s := copying(streamBeat(1, 30, 5, 6, ""), streamBeat(2, 30, 2, 4, "busy"))
	mergeBeat(&s.Status, "BuildIndexes", contract.Beat{Message: "building", Indexes: &contract.IndexStatus{Indexes: 40, IndexesDone: 10,
		Building: []contract.IndexBuild{{Name: "INDEX public.t_x", Table: "public.t", Percent: 50}}}})
	lines := block(s.Status)
	require.Equal(t, []string{
		"  [███████░░░░░░░░░░░░░] 37% of 100 B · 0/3 tables, 3/9 parts, 37 rows · 10 B/s · ready in 6s",
		"  waits: busy",
		"  [██████████░░░░░░░░░░] 50% of 10 B · public.t part 1 · 6 B/s · 2s",
		"  [████░░░░░░░░░░░░░░░░] 20% of 10 B · public.t part 2 · 4 B/s · 2s",
		"  [█████░░░░░░░░░░░░░░░] 10/40 indexes and keys",
		"  [██████████░░░░░░░░░░] 50% INDEX public.t_x",
	}, lines)
	var out bytes.Buffer
	s.Copy.Largest = []contract.TableProgress{{Table: "public.big", Parts: 4, PartsDone: 1, Bytes: 80, BytesDone: 20, Rows: 60}}
	printStatus(&out, s.Status)
	require.Contains(t, out.String(), "25% of 80 B · 1/4 parts, 60 rows")
}

// A table of one great part moves while that is copied, and one of several has a line of its own.
func TestTablesMoveWithTheirParts(t *testing.T) {
	s := copying(streamBeat(1, 30, 5, 6, ""), streamBeat(2, 30, 2, 4, ""))
	ledger := []contract.TableProgress{{Table: "public.t", Parts: 9, PartsDone: 3, Bytes: 80, BytesDone: 30, Rows: 30}, {Table: "public.done", Parts: 1, PartsDone: 1, Bytes: 9, BytesDone: 9}}
	s.Copy.Largest = ledger
	addRunning(&s.Copy)
	require.Equal(t, []contract.TableProgress{{Table: "public.t", Parts: 9, PartsDone: 3, Bytes: 80, BytesDone: 37, Rows: 30, Rate: 10, ETASeconds: 4}, ledger[1]}, s.Copy.Largest)
	require.EqualValues(t, 30, ledger[0].BytesDone, "a heartbeat's own list stays as it is")
	require.Contains(t, block(s.Status), "  [█████████░░░░░░░░░░░] 46% of 80 B · public.t, 3/9 parts · 10 B/s · ready in 4s")
}

// A log gets a line for each turn, and one now and then while only numbers change.
func TestALogStaysShort(t *testing.T) {
	var out bytes.Buffer
	v := newViewer(&out)
	at := time.Unix(0, 0)
	for i := range 61 {
		v.show(copying(streamBeat(1, int64(i), 1, 6, "")), at.Add(time.Duration(i)*time.Second))
	}
	require.Equal(t, 7, strings.Count(out.String(), "\n"))
	s := copying(streamBeat(1, 61, 1, 6, ""))
	s.Awaiting = []string{contract.SignalResume, contract.SignalAbort}
	v.show(s, at.Add(61*time.Second))
	require.Equal(t, 8, strings.Count(out.String(), "\n"))
	require.Contains(t, out.String(), "waits for: resume, abort")
	require.NotContains(t, out.String(), "\x1b")
}

func TestATerminalGetsABlockThatIsDrawnAnew(t *testing.T) {
	var out bytes.Buffer
	v := &viewer{out: &out, width: func() int { return 40 }}
	v.show(copying(streamBeat(1, 30, 5, 6, "")), time.Unix(0, 0))
	require.Equal(t, 2, v.drawn)
	require.NotContains(t, out.String(), "\x1b")
	out.Reset()
	v.show(copying(streamBeat(1, 30, 6, 6, "")), time.Unix(1, 0))
	require.True(t, strings.HasPrefix(out.String(), "\x1b[2A\r\x1b[J"))
	require.NotContains(t, out.String(), "copying the existing rows", "the headline stays above")
	for line := range strings.Lines(strings.TrimPrefix(out.String(), "\x1b[2A\r\x1b[J")) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 39)
	}
}

func TestConcurrencyIsCheckedBeforeItIsSent(t *testing.T) {
	for want, args := range map[string][]string{
		"say how many":                        {"shop"},
		"no number of streams":                {"shop", "many"},
		"257 is out of range":                 {"shop", "257"},
		"indexJobs: 65 is out":                {"shop", "--index-jobs", "65"},
		"one number of streams, not shop 1 2": {"shop", "1", "2"},
	} {
		var out, errOut bytes.Buffer
		require.Equal(t, exitUsage, run(t.Context(), append([]string{"set-concurrency"}, args...), &out, &errOut), "%v", args)
		require.Contains(t, errOut.String(), want)
	}
}
