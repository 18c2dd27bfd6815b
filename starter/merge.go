package main

import (
	"cmp"
	"slices"
	"strings"

	"timeferry/internal/contract"
)

// mergeBeat puts what a running activity knows over what the workflow was told last.
func mergeBeat(s *contract.Status, activity string, b contract.Beat) {
	if b.Copy != nil && activity == "CopyParts" {
		mergeStream(&s.Copy, *b.Copy)
	}
	if b.Indexes != nil {
		s.Copy.Indexes, s.Copy.IndexesDone, s.Copy.Building = b.Indexes.Indexes, max(s.Copy.IndexesDone, b.Indexes.IndexesDone), b.Indexes.Building
	}
	if r := b.Replication; r != nil {
		stream := &s.Replication
		if s.Back != nil && s.Back.Since != 0 { // the only one that runs by now
			stream = &s.Back.Replication
		}
		mergeReplication(stream, activity, *r)
	}
	if b.Verify != nil && s.Verify != nil {
		s.Verify.Progress = b.Verify
	}
	// Many activities of a kind say the same.
	if b.Message != "" && !strings.Contains(s.Message, b.Message) {
		s.Message += "; " + b.Message
	}
}

// mergeStream adds one stream of the copy. Of what the ledger has, the stream that asked it last knows most; what is copied
// and not committed yet, each stream knows of itself, and likewise its speed.
func mergeStream(c *contract.CopyStatus, b contract.CopyStatus) {
	committed, rows := c.BytesDone-c.OpenBytes, c.Rows-c.OpenRows
	if b.Bytes > 0 && b.BytesDone-b.OpenBytes >= committed && b.PartsDone >= c.PartsDone {
		c.Tables, c.TablesDone, c.Parts, c.PartsDone, c.Bytes = b.Tables, b.TablesDone, b.Parts, b.PartsDone, b.Bytes
		committed, rows = b.BytesDone-b.OpenBytes, b.Rows-b.OpenRows
	}
	c.Epoch = max(c.Epoch, b.Epoch)
	c.OpenBytes += b.OpenBytes
	c.OpenRows += b.OpenRows
	c.BytesDone, c.Rows = min(committed+c.OpenBytes, c.Bytes), rows+c.OpenRows
	c.Rate += b.Rate
	c.ETASeconds = 0
	if c.Rate > 0 {
		c.ETASeconds = (c.Bytes - c.BytesDone) / c.Rate
	}
	c.Waiting = cmp.Or(c.Waiting, b.Waiting)
	c.Running = append(c.Running, b.Running...)
	slices.SortStableFunc(c.Running, func(x, y contract.PartProgress) int { return cmp.Compare(x.Stream, y.Stream) })
	if partsDone(b.Largest) >= partsDone(c.Largest) {
		c.Largest = b.Largest
	}
}

// addRunning adds the parts under way to their tables, so that one with a single large part moves too.
func addRunning(c *contract.CopyStatus) {
	c.Largest = slices.Clone(c.Largest)
	for i := range c.Largest {
		t := &c.Largest[i]
		for _, p := range c.Running {
			if p.Table == t.Table {
				t.BytesDone, t.Rows, t.Rate = min(t.BytesDone+p.Bytes, t.Bytes), t.Rows+p.Rows, t.Rate+p.Rate
			}
		}
		if t.Rate > 0 {
			t.ETASeconds = (t.Bytes - t.BytesDone) / t.Rate
		}
	}
}

func partsDone(tables []contract.TableProgress) int {
	n := 0
	for _, t := range tables {
		n += t.PartsDone
	}
	return n
}

func mergeReplication(s *contract.ReplicationStatus, activity string, r contract.ReplicationStatus) {
	switch activity {
	case "Receive":
		s.ReceivedLSN = max(s.ReceivedLSN, r.ReceivedLSN)
		s.SpooledBytes = r.SpooledBytes
		s.SpooledLSN, s.SpoolSegments, s.SpoolFirstLSN, s.SpoolOldestSeconds = r.SpooledLSN, r.SpoolSegments, r.SpoolFirstLSN, r.SpoolOldestSeconds
	case "Apply":
		s.AppliedLSN = max(s.AppliedLSN, r.AppliedLSN)
		s.Transactions, s.Changes = max(s.Transactions, r.Transactions), max(s.Changes, r.Changes)
		s.TransactionsPerSecond, s.ChangesPerSecond, s.Busiest = r.TransactionsPerSecond, r.ChangesPerSecond, r.Busiest
		if r.ReceivedLSN != 0 { // buffer: source
			s.ReceivedLSN, s.SpooledLSN = max(s.ReceivedLSN, r.ReceivedLSN), r.SpooledLSN
		}
	case "WatchLag":
		s.LagBytes, s.LagSeconds, s.InSync = r.LagBytes, r.LagSeconds, r.InSync
		s.AppliedLSN = max(s.AppliedLSN, r.AppliedLSN)
		s.Transactions, s.Changes = max(s.Transactions, r.Transactions), max(s.Changes, r.Changes)
		s.AppliedPerSecond, s.WrittenPerSecond, s.CatchUpSeconds = r.AppliedPerSecond, r.WrittenPerSecond, r.CatchUpSeconds
	case "WatchSlot":
		s.Slot = r.Slot
	}
}
