package apply

import (
	"context"

	"timeferry/internal/change"
	"timeferry/internal/pgoutput"
	"timeferry/internal/spool"
)

// records is what a feed reads: the spool, or what comes straight from the source.
type records interface {
	Next(ctx context.Context) (spool.Record, error)
	Ready() bool
	Close() error
}

// NewSpoolFeed decodes what a reader of the spool, or of the relay, yields. The feed owns the reader and closes it.
func NewSpoolFeed(r records) Feed {
	return &spoolFeed{reader: r, decoder: pgoutput.NewDecoder()}
}

type spoolFeed struct {
	reader  records
	decoder *pgoutput.Decoder
}

func (f *spoolFeed) Next(ctx context.Context) (change.Event, error) {
	for {
		record, err := f.reader.Next(ctx)
		if err != nil {
			return change.Event{}, err
		}
		if record.Kind == spool.Progress {
			return change.Event{Kind: change.Progress, FinalLSN: record.LSN}, nil
		}
		ev, ok, err := f.decoder.Decode(record.Data)
		if err != nil || ok {
			return ev, err
		}
	}
}

// Ready may be true for a record that means nothing, after which Next waits: a batch is then handed over one event later.
// That cannot last, since such records come at the start of a transaction, and readers see whole transactions only.
func (f *spoolFeed) Ready() bool { return f.reader.Ready() }

func (f *spoolFeed) Close() error { return f.reader.Close() }
