package bulk

import (
	"context"
	"errors"
	"fmt"

	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

var errNobodyHolds = errors.New("no session on the source holds it any more")

// importSnapshot begins the transaction on the source that sees what the part's epoch shows. The snapshot may be held by
// several sessions, each under a name of its own: the name that served last comes first, and who holds it now is asked for
// only when no known name serves.
func (s *stream) importSnapshot(ctx context.Context, part ledger.Part) error {
	if s.shared.Epoch == part.Epoch {
		if ok, err := s.importShared(ctx, part); ok || err != nil {
			return err
		}
	}
	var err error
	if s.shared, err = ledger.SharedSnapshot(ctx, s.target); err != nil {
		return failed(part, "begin reading", err)
	}
	if s.shared.Epoch != part.Epoch {
		return snapshotLost(part, fmt.Errorf("epoch %d has begun", s.shared.Epoch))
	}
	ok, err := s.importShared(ctx, part)
	if err == nil && !ok {
		err = snapshotLost(part, errNobodyHolds)
	}
	return err
}

func (s *stream) importShared(ctx context.Context, part ledger.Part) (bool, error) {
	for i, name := range s.shared.Names {
		ok, err := pgkit.ImportSnapshot(ctx, s.source, name, s.shared.Visible)
		if err != nil {
			return false, failed(part, "begin reading", err)
		}
		if ok {
			s.shared.Names[0], s.shared.Names[i] = name, s.shared.Names[0]
			return true, nil
		}
	}
	return false, nil
}
