package activities

import (
	"context"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/target/ledger"
)

// lagMeter measures how far the target is behind, by looking again and again. All times are of the source's clock, so that no two
// clocks meet. The zero value is ready.
type lagMeter struct {
	looks            []look // oldest first; the first is the last one whose end is applied, where there is one
	applied, written speed
}

// look is where the source's WAL ended at a time.
type look struct {
	at  time.Time
	end change.LSN
}

// maxLooks bounds the memory of a stream that stands: every other look is forgotten then.
const maxLooks = 4096

// measure looks at both sides.
func (m *lagMeter) measure(ctx context.Context, source, target *pgx.Conn, spec contract.Spec) (contract.ReplicationStatus, error) {
	applied, whole, err := ledger.Reached(ctx, target)
	if err != nil {
		return contract.ReplicationStatus{}, err
	}
	counters, err := ledger.ReadCounters(ctx, target)
	if err != nil {
		return contract.ReplicationStatus{}, err
	}
	var endText string
	var now time.Time
	if err := source.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text, clock_timestamp()").Scan(&endText, &now); err != nil {
		return contract.ReplicationStatus{}, err
	}
	end, err := change.ParseLSN(endText)
	if err != nil {
		return contract.ReplicationStatus{}, err
	}
	lag := contract.ReplicationStatus{ReceivedLSN: applied.LSN, AppliedLSN: applied.LSN, LagBytes: applied.LSN.BytesBehind(end),
		Transactions: counters.Transactions, Changes: counters.Changes}
	lag.InSync = whole && lag.LagBytes <= spec.Cutover.MaxLagBytes()
	lag.LagSeconds = m.seconds(look{now, end}, applied)
	m.rates(now, end, &lag)
	return lag, nil
}

// seconds is how old the target is: the time since the source's WAL ended where the target is now, as far back as that was looked
// at; else, the age of the last commit that was applied. On a quiet source that one alone would say hours where nothing is missing.
func (m *lagMeter) seconds(now look, applied ledger.Position) float64 {
	m.looks = append(m.looks, now)
	if len(m.looks) > maxLooks {
		kept := m.looks[:0]
		for i, l := range m.looks {
			if i%2 == 0 || i == len(m.looks)-1 {
				kept = append(kept, l)
			}
		}
		m.looks = kept
	}
	for len(m.looks) > 1 && m.looks[1].end <= applied.LSN {
		m.looks = m.looks[1:]
	}
	if applied.LSN >= now.end {
		return 0
	}
	age := -1.0
	if applied.CommitTime != nil {
		age = max(now.at.Sub(*applied.CommitTime).Seconds(), 0)
	}
	if first := m.looks[0]; first.end <= applied.LSN {
		since := max(now.at.Sub(first.at).Seconds(), 0)
		if age < 0 || since < age {
			age = since
		}
	}
	return max(age, 0)
}

// rates adds how fast both sides go, and when they meet.
func (m *lagMeter) rates(now time.Time, end change.LSN, lag *contract.ReplicationStatus) {
	m.written.add(now, int64(end))
	lag.WrittenPerSecond = m.written.perSecond(now)
	if lag.AppliedLSN == 0 {
		return
	}
	m.applied.add(now, int64(lag.AppliedLSN))
	lag.AppliedPerSecond = m.applied.perSecond(now)
	gain := lag.AppliedPerSecond - lag.WrittenPerSecond
	switch known := len(m.applied.samples) > 2; {
	case lag.InSync || !known:
	case gain > 0:
		lag.CatchUpSeconds = int64(math.Ceil(float64(lag.LagBytes) / float64(gain)))
	default:
		lag.CatchUpSeconds = -1
	}
}
