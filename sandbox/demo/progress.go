package demo

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"timeferry/internal/contract"
)

// progress shows the status: on a terminal as one line that is written over, elsewhere when it says something new.
type progress struct {
	*demo
	began     time.Time
	last      time.Time
	phase     contract.Phase
	committed int64
}

// quiet is how long a log goes without a line while a phase lasts.
const quiet = 5 * time.Second

func (p *progress) show(s contract.Status) {
	now := time.Now()
	if p.began.IsZero() {
		p.began = now
	}
	stats := p.load.Stats()
	rate := ""
	if !p.last.IsZero() {
		rate = fmt.Sprintf(" at %.0f/s", float64(stats.Committed-p.committed)/now.Sub(p.last).Seconds())
	}
	app := fmt.Sprintf("application: %d committed%s", stats.Committed, rate)
	if !stats.FencedAt.IsZero() {
		app = fmt.Sprintf("application: %d committed, fenced", stats.Committed)
	}
	line := fmt.Sprintf("%5.0fs  %-18s %s  %s", now.Sub(p.began).Seconds(), s.Phase, work(s), app)
	switch {
	case p.Fancy:
		fmt.Fprintf(p.Out, "\r\x1b[K%.150s", line)
	case s.Phase == p.phase && now.Sub(p.last) < quiet:
		return
	default:
		fmt.Fprintln(p.Out, line)
	}
	p.phase, p.last, p.committed = s.Phase, now, stats.Committed
}

// work is the bar of the copy while it runs, and the lag afterwards.
func work(s contract.Status) string {
	switch {
	case s.Phase == contract.PhaseInSync || s.Phase == contract.PhaseCatchingUp || s.Phase == contract.PhaseCuttingOver:
		return fmt.Sprintf("lag %.1f MiB, %.1f s", float64(s.Replication.LagBytes)/(1<<20), s.Replication.LagSeconds)
	case s.Copy.Bytes > 0 && (s.Phase == contract.PhaseCopying || s.Phase == contract.PhaseIndexing):
		const width = 20
		done := min(1, float64(s.Copy.BytesDone)/float64(s.Copy.Bytes))
		full := int(done * width)
		return fmt.Sprintf("[%s%s] %3.0f%%  %d/%d tables, %d rows", strings.Repeat("#", full), strings.Repeat(".", width-full), done*100,
			s.Copy.TablesDone, s.Copy.Tables, s.Copy.Rows)
	}
	return s.Message
}

// endLine leaves the line that is written over.
func (d *demo) endLine() {
	if d.Fancy {
		fmt.Fprintln(d.Out)
	}
}

// verdict collects what was proved and what was not.
type verdict struct {
	out    io.Writer
	fancy  bool
	failed []string
}

// check prints one finding; err nil means that it holds.
func (v *verdict) check(what string, err error) {
	mark, colour, why := "ok  ", "\x1b[32m", ""
	if err != nil {
		mark, colour, why = "NOT ", "\x1b[31m", ": "+err.Error()
		v.failed = append(v.failed, what)
	}
	if v.fancy {
		fmt.Fprintf(v.out, "%s%s%s%s\x1b[0m\n", colour, mark, what, why)
		return
	}
	fmt.Fprintf(v.out, "%s%s%s\n", mark, what, why)
}

func (v *verdict) err() error {
	if len(v.failed) == 0 {
		return nil
	}
	return errors.New("not proved: " + strings.Join(v.failed, "; "))
}
