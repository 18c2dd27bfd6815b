package capture

import (
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgoutput"
	"timeferry/internal/spool"
)

// message takes one message of the protocol.
func (s *session) message(msg pgproto3.BackendMessage) error {
	switch msg := msg.(type) {
	case *pgproto3.CopyData:
		if len(msg.Data) == 0 {
			return fault.New(fault.Integrity, "receive from slot", s.r.Slot, "", "an empty message")
		}
		switch msg.Data[0] {
		case pglogrepl.XLogDataByteID:
			return s.data(msg.Data[1:])
		case pglogrepl.PrimaryKeepaliveMessageByteID:
			return s.keepalive(msg.Data[1:])
		}
		return fault.New(fault.Integrity, "receive from slot", s.r.Slot, "", "a message of unknown type 0x%02x", msg.Data[0])
	case *pgproto3.ErrorResponse:
		return fmt.Errorf("receive from slot %s: %w", s.r.Slot, pgconn.ErrorResponseToPgError(msg))
	case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
		return nil
	}
	return fault.New(fault.Transient, "receive from slot", s.r.Slot, "", "the server ended the stream (%T)", msg)
}

// data takes one replication message, unless it belongs to a transaction that the spool has.
func (s *session) data(body []byte) error {
	x, err := pglogrepl.ParseXLogData(body)
	if err != nil {
		return fault.New(fault.Integrity, "receive from slot", s.r.Slot, "", "%w", err)
	}
	p := &s.r.progress
	p.Bytes += int64(len(x.WALData))
	p.ServerEnd, p.ServerTime = max(p.ServerEnd, change.LSN(x.ServerWALEnd)), x.ServerTime
	if final, ok := pgoutput.IsBegin(x.WALData); ok {
		s.inTx, s.skipping = true, final < s.end
	} else if end, ok := pgoutput.IsCommit(x.WALData); ok {
		s.inTx = false
		if s.skipping {
			s.skipping = false
			return nil
		}
		s.end = end
		p.Transactions++
	} else if !s.inTx {
		if at, ok := pgoutput.IsLooseMessage(x.WALData); ok {
			if at <= s.end {
				return nil
			}
			s.end = at // the end of its record
		}
	}
	if !s.skipping { // relations described in a skipped transaction are known since it came first
		s.chunk.add(spool.Message, change.LSN(x.WALStart), x.WALData)
	}
	return nil
}

// keepalive says how far the server has come: outside of a transaction there is nothing more for us before that.
func (s *session) keepalive(body []byte) error {
	k, err := pglogrepl.ParsePrimaryKeepaliveMessage(body)
	if err != nil {
		return fault.New(fault.Integrity, "receive from slot", s.r.Slot, "", "%w", err)
	}
	p := &s.r.progress
	p.ServerEnd, p.ServerTime = max(p.ServerEnd, change.LSN(k.ServerWALEnd)), k.ServerTime
	if !s.inTx {
		s.pending = change.LSN(k.ServerWALEnd)
	}
	if k.ReplyRequested {
		// A server that shuts down asks, and waits until all is confirmed.
		s.replyWanted = true
		s.noteProgress(time.Now(), true)
	}
	return nil
}

// noteProgress puts the progress heard of into the stream, now or when it is time.
func (s *session) noteProgress(now time.Time, atOnce bool) {
	if s.inTx || s.pending <= s.end || (!atOnce && now.Sub(s.progressAt) < progressEvery) {
		return
	}
	s.chunk.add(spool.Progress, s.pending, nil)
	s.end, s.progressAt = s.pending, now
}
