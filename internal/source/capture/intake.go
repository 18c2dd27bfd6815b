package capture

import (
	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgoutput"
	"timeferry/internal/spool"
)

// intake turns what the source says, in whichever way it comes, into records for the spool: each transaction once and
// whole, in the order of the commits. It belongs to one goroutine.
type intake struct {
	r      *Receiver
	plugin plugin
	writer *writer
	chunk  *chunk

	inTx     bool
	skipping bool       // inside of a transaction that the spool has
	foreign  bool       // inside of a transaction from elsewhere that is not wanted
	end      change.LSN // of the last whole transaction or progress that was put into a chunk

	lsn change.LSN         // of the message that is being taken
	put func([]byte) error // is keep, kept as a value
}

func newIntake(r *Receiver, p plugin, start change.LSN, wake func()) *intake {
	in := &intake{r: r, plugin: p, end: start, writer: newWriter(r.Spool, wake)}
	in.chunk = in.writer.empty()
	in.put = in.keep
	return in
}

// take takes one message of the plugin, which the source gave with this position.
func (in *intake) take(lsn change.LSN, raw []byte) error {
	in.lsn = lsn
	in.r.progress.Bytes += int64(len(raw))
	return in.plugin.translate(lsn, raw, in.skipping, in.put)
}

// keep takes one message of pgoutput, unless it belongs to a transaction that the spool has.
func (in *intake) keep(msg []byte) error {
	if final, ok := pgoutput.IsBegin(msg); ok {
		if in.inTx {
			return in.disorder("a transaction begins inside of another")
		}
		in.inTx, in.skipping, in.foreign = true, final < in.end, false
	} else if end, ok := pgoutput.IsCommit(msg); ok {
		if !in.inTx {
			return in.disorder("a commit without its begin")
		}
		in.inTx = false
		if in.skipping {
			in.skipping = false
			return nil
		}
		in.end = end
		in.r.progress.Transactions++
	} else if !in.inTx {
		if at, ok := pgoutput.IsLooseMessage(msg); ok {
			if at <= in.end {
				return nil
			}
			in.end = at // the end of its record
		}
	} else if in.unwanted(msg) {
		return nil
	}
	if !in.skipping { // relations described in a skipped transaction are known since it came first
		in.chunk.add(spool.Message, in.lsn, msg)
	}
	return nil
}

// unwanted tells whether msg is a change of a transaction that came to the source from elsewhere, where those are not wanted.
// Its begin and commit stay, as they move the position, and so do descriptions, which later transactions need.
func (in *intake) unwanted(msg []byte) bool {
	if in.r.LocalOnly && pgoutput.IsOrigin(msg) {
		in.foreign = true
	}
	return in.foreign && pgoutput.IsChange(msg)
}

func (in *intake) disorder(what string) error {
	return fault.New(fault.Integrity, "receive from slot", in.r.Slot, "", "%s, at %s", what, in.lsn)
}

// reached notes that the source has nothing more for us before at. Outside of transactions only.
func (in *intake) reached(at change.LSN) {
	if in.inTx || at <= in.end {
		return
	}
	in.chunk.add(spool.Progress, at, nil)
	in.end = at
}
