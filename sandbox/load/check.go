package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"timeferry/internal/pgkit"
)

// maxNamed is how many wrong transactions an error names.
const maxNamed = 5

// Check compares a database with what the generator was told: every acknowledged transaction is there exactly once, every
// rolled back one is not, and an ambiguous one is there once or not at all. q may be either side.
func Check(ctx context.Context, q pgkit.Querier, s Summary) error {
	found, err := readJournal(ctx, q, s)
	if err != nil {
		return fmt.Errorf("read the load's journal: %w", err)
	}
	var wrong []string
	for i, c := range s.Connections {
		for seq := int64(1); seq <= c.LastSeq; seq++ {
			n := found[i][seq]
			switch {
			case slices.Contains(c.Ambiguous, seq):
				if n > 1 {
					wrong = append(wrong, fmt.Sprintf("%d/%d is there %d times", i, seq, n))
				}
			case slices.Contains(c.RolledBack, seq):
				if n > 0 {
					wrong = append(wrong, fmt.Sprintf("%d/%d was rolled back and is there", i, seq))
				}
			case n != 1:
				wrong = append(wrong, fmt.Sprintf("%d/%d was acknowledged and is there %d times", i, seq, n))
			}
			delete(found[i], seq)
		}
		for seq := range found[i] {
			wrong = append(wrong, fmt.Sprintf("%d/%d was never tried and is there", i, seq))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	more := ""
	if len(wrong) > maxNamed {
		more = fmt.Sprintf(" and %d more", len(wrong)-maxNamed)
	}
	return errors.New("transactions (connection/number): " + strings.Join(wrong[:min(maxNamed, len(wrong))], ", ") + more)
}

// readJournal says how often each number of each connection is there.
func readJournal(ctx context.Context, q pgkit.Querier, s Summary) ([]map[int64]int, error) {
	found := make([]map[int64]int, len(s.Connections))
	for i := range found {
		found[i] = map[int64]int{}
	}
	rows, err := q.Query(ctx, "SELECT connection, seq FROM load_journal WHERE run = $1", s.Run)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var connection int
		var seq int64
		if err := rows.Scan(&connection, &seq); err != nil {
			return nil, err
		}
		if connection >= len(found) {
			return nil, fmt.Errorf("connection %d is there, and only %d were used", connection, len(found))
		}
		found[connection][seq]++
	}
	return found, rows.Err()
}
