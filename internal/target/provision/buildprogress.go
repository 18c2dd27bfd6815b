package provision

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// BuildProgress is how far the indexes and constraints are.
type BuildProgress struct {
	Indexes, Done int
	Building      []Building // largest table first
	// Failed is why no further build begins, while others are still under way.
	Failed error
	// Paused: no further build begins until a person lets it.
	Paused bool
}

// Building is one index or constraint that is being built, or one table that is being analyzed.
type Building struct {
	Name    string // "INDEX public.orders_day"
	Table   ident.Table
	Percent float64 // 0: unknown
}

// Words is the progress for a person, empty while there is nothing to say.
func (p BuildProgress) Words() string {
	words := ""
	if len(p.Building) > 0 {
		b := p.Building[0]
		words = fmt.Sprintf("building %s (%d of %d)", b.Name, min(p.Done+1, p.Indexes), p.Indexes)
		if b.Percent > 0 {
			words += fmt.Sprintf(": %.0f %%", b.Percent)
		}
		if more := len(p.Building) - 1; more > 0 {
			words += fmt.Sprintf(", and %d more", more)
		}
	}
	if p.Failed != nil {
		words = fmt.Sprintf("no further index is built: %s; %s", p.Failed, cmp.Or(words, "nothing is under way"))
	}
	return words
}

func (x *indexer) starts(pid uint32, b *build) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.underWay[pid] = b
}

func (x *indexer) ends(pid uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.underWay, pid)
}

// report tells what is being built, and how far it is.
func (x *indexer) report(ctx context.Context, q pgkit.Querier) error {
	if x.tell == nil {
		return nil
	}
	x.mu.Lock()
	var pids []uint32
	for pid := range x.underWay {
		pids = append(pids, pid)
	}
	x.mu.Unlock()
	percents, err := readPercents(ctx, q, pids)
	if err != nil {
		return err
	}
	x.mu.Lock()
	p := x.progress
	var working []*build
	percent := map[*build]float64{}
	for pid, b := range x.underWay {
		working = append(working, b)
		if !x.hyper[b.entry.Table] { // the server tells of one chunk after the other
			percent[b] = percents[pid]
		}
	}
	x.mu.Unlock()
	slices.SortFunc(working, order)
	for _, b := range working {
		p.Building = append(p.Building, Building{Name: b.String(), Table: b.table(), Percent: percent[b]})
	}
	x.tell(p)
	return nil
}

func readPercents(ctx context.Context, q pgkit.Querier, pids []uint32) (map[uint32]float64, error) {
	percents := map[uint32]float64{}
	if len(pids) == 0 {
		return percents, nil
	}
	ints := make([]int32, len(pids))
	for i, pid := range pids {
		ints[i] = int32(pid)
	}
	rows, err := q.Query(ctx, `SELECT pid, coalesce(phase, ''), coalesce(blocks_done, 0), coalesce(blocks_total, 0), coalesce(tuples_done, 0), coalesce(tuples_total, 0)
		FROM pg_catalog.pg_stat_progress_create_index WHERE pid = ANY ($1)`, ints)
	if err != nil {
		return nil, fmt.Errorf("read progress of index builds: %w", err)
	}
	var pid int32
	var s serverProgress
	_, err = pgx.ForEachRow(rows, []any{&pid, &s.phase, &s.blocksDone, &s.blocksTotal, &s.tuplesDone, &s.tuplesTotal}, func() error {
		percents[uint32(pid)] = s.percent()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read progress of index builds: %w", err)
	}
	return percents, nil
}

// serverProgress is a row of pg_stat_progress_create_index.
type serverProgress struct {
	phase                                            string
	blocksDone, blocksTotal, tuplesDone, tuplesTotal int64
}

// percent puts the phases of a btree's build one behind the other; other kinds of index have only one.
func (s serverProgress) percent() float64 {
	switch s.phase {
	case "building index: scanning table":
		return 60 * ratio(s.blocksDone, s.blocksTotal)
	case "building index: sorting live tuples":
		return 60
	case "building index: loading tuples in tree":
		return 70 + 30*ratio(s.tuplesDone, s.tuplesTotal)
	}
	return 100 * ratio(s.blocksDone, s.blocksTotal)
}

func ratio(done, total int64) float64 {
	if total <= 0 {
		return 0
	}
	return float64(min(done, total)) / float64(total)
}
