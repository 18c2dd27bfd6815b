package capture

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgoutput"
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
	case *pgproto3.NoticeResponse:
		return s.r.missing(msg.SeverityUnlocalized, msg.Code, msg.Message)
	case *pgproto3.ParameterStatus:
		return nil
	}
	return fault.New(fault.Transient, "receive from slot", s.r.Slot, "", "the server ended the stream (%T)", msg)
}

// data takes one replication message.
func (s *session) data(body []byte) error {
	x, err := pglogrepl.ParseXLogData(body)
	if err != nil {
		return fault.New(fault.Integrity, "receive from slot", s.r.Slot, "", "%w", err)
	}
	p := &s.r.progress
	p.ServerEnd, p.ServerTime = max(p.ServerEnd, change.LSN(x.ServerWALEnd)), x.ServerTime
	if !s.busy.Load() {
		s.busy.Store(true)
	}
	lsn := change.LSN(x.WALStart)
	if s.r.pluginName() == pgoutputPlugin {
		taken, done, commit, err := s.under.take(lsn, x.WALData)
		if taken {
			p.Bytes += int64(len(x.WALData))
		}
		if done != nil {
			err = errors.Join(s.replay(done, commit), done.close())
		}
		if taken || err != nil {
			return err
		}
	}
	return s.take(lsn, x.WALData)
}

// replay takes a transaction that came before its commit, as if it had come now and whole.
func (s *session) replay(tx *streamedTx, c pgoutput.Streamed) error {
	s.lsn = c.FinalLSN
	if err := s.keep(pgoutput.AppendBegin(nil, c.FinalLSN, c.Micros, tx.xid)); err != nil {
		return err
	}
	err := tx.each(func(lsn change.LSN, msg []byte) error {
		s.lsn = lsn
		if err := s.keep(msg); err != nil {
			return err
		}
		if s.attention.Load() || s.replyWanted { // the server waits for our status, however long this takes
			if err := s.lookUp(s.asideCtx); err != nil {
				return err
			}
		}
		if len(s.chunk.data) >= chunkBytes {
			return s.waitForWriter(s.asideCtx)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.lsn = c.EndLSN
	err = s.keep(pgoutput.AppendCommit(nil, c.FinalLSN, c.EndLSN, c.Micros))
	s.behind.arrived(s.end, true)
	return err
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
	s.reached(s.pending)
	s.progressAt = now
}
