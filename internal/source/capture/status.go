package capture

import (
	"encoding/binary"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/failpoint"
)

// pgEpoch is the zero of PostgreSQL's clock.
var pgEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// sendStatus tells the server what was received and what is durable; ask makes it answer with a keepalive.
//
// It is encoded here because pglogrepl takes a flush position of zero for "the same as written", and so would confirm
// what is not durable yet.
func (s *session) sendStatus(now time.Time, ask bool) error {
	durable := s.r.Spool.Durable()
	failpoint.At(failpoint.BeforeConfirm)
	err := s.conn.Frontend().SendUnbufferedEncodedCopyData(encodeStatus(max(s.end, durable), durable, now, ask))
	if err != nil {
		return err
	}
	failpoint.At(failpoint.AfterConfirm)
	s.sentAt, s.sentDurable, s.replyWanted = now, durable, false
	if ask {
		s.askedAt = now
	}
	return nil
}

// copyHeader is what comes before the data in a CopyData message: its type and length.
const copyHeader = 5

// encodeStatus is a CopyData message with a standby status update,
// https://www.postgresql.org/docs/current/protocol-replication.html.
func encodeStatus(written, flushed change.LSN, now time.Time, ask bool) []byte {
	b := make([]byte, 0, 39)
	b = append(b, 'd')
	b = binary.BigEndian.AppendUint32(b, 38) // length, itself included
	b = append(b, 'r')
	b = binary.BigEndian.AppendUint64(b, uint64(written))
	b = binary.BigEndian.AppendUint64(b, uint64(flushed))
	b = binary.BigEndian.AppendUint64(b, uint64(flushed)) // applied; a logical slot does not use it
	b = binary.BigEndian.AppendUint64(b, uint64(now.Sub(pgEpoch).Microseconds()))
	if ask {
		return append(b, 1)
	}
	return append(b, 0)
}
