package activities

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/api/enums/v1"

	"timeferry/internal/contract"
)

// A stream of the copy lasts as long as there are parts, so a worker that comes later would get none. Therefore a stream ends between
// two parts where its worker carries more than its share. The workflow begins it again, as it does with each that was stopped, and
// Temporal gives it to whoever is free.
const (
	// shareEvery is how often a worker looks, and so how often it gives a stream away.
	shareEvery = 15 * time.Second
	// settleTime is how long a stream stays where it has begun: its sessions cost something.
	settleTime = 30 * time.Second
	// returnTime is within what a stream that begins here is taken for the one that was given away. The server hands a task to whoever
	// waits longest, and a worker waits with several pollers: so it is sent on maxReturns times before the worker keeps it.
	returnTime = 10 * time.Second
	maxReturns = 3
	// keepTime is how long nothing is given away after that, and twice as long each further time, up to maxKeepTime: a worker that is
	// gone is told of for a while.
	keepTime, maxKeepTime = time.Minute, time.Hour
	// pollerAge is how long ago a worker may have been heard of last: it asks for work once a minute where there is none.
	pollerAge = 75 * time.Second
	// pollersPatience bounds the question for them.
	pollersPatience = 5 * time.Second
)

// copyShares is what this worker carries of each migration's copy. The zero value carries nothing.
type copyShares struct {
	mu     sync.Mutex
	copies map[string]*copyShare
}

func (s *copyShares) of(migration string) *copyShare {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies == nil {
		s.copies = map[string]*copyShare{}
	}
	if s.copies[migration] == nil {
		s.copies[migration] = &copyShare{keep: keepTime}
	}
	return s.copies[migration]
}

// copyShare is what this worker carries of one copy.
type copyShare struct {
	mu        sync.Mutex
	streams   int // that run here
	fair      int // how many should, as last seen
	looked    time.Time
	given     time.Time // when the last one was given away
	returns   int       // how often that one came back
	keep      time.Duration
	keptUntil time.Time
}

// begin counts a stream in. It returns false for one that has just been given away and is to be sent on; either way end follows.
func (s *copyShare) begin(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams++
	if now.Sub(s.given) > returnTime || s.streams <= s.fair {
		return true
	}
	if s.returns == maxReturns {
		s.keptUntil, s.keep, s.given = now.Add(s.keep), min(2*s.keep, maxKeepTime), time.Time{}
		return true
	}
	s.returns, s.given = s.returns+1, now
	return false
}

func (s *copyShare) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams--
}

// due is true for one stream at a time, when it is time to look whether one should go.
func (s *copyShare) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams < 2 || now.Sub(s.looked) < shareEvery || now.Before(s.keptUntil) {
		return false
	}
	s.looked = now
	return true
}

// give is true when the stream that has looked should go, with so many streams in all and so many workers for them. Where a worker has more
// than an even share, rounded up, another has less, so nothing goes to and fro.
func (s *copyShare) give(now time.Time, streams, workers int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fair = (streams + workers - 1) / workers
	if s.streams <= s.fair {
		s.keep = keepTime
		return false
	}
	s.given, s.returns = now, 0
	return true
}

// workers is how many workers ask for work that any of them can do, by what Temporal's server remembers.
func (a *Activities) workers(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, pollersPatience)
	defer cancel()
	queue, err := a.Client.DescribeTaskQueue(ctx, contract.TaskQueue, enums.TASK_QUEUE_TYPE_ACTIVITY)
	if err != nil {
		return 0, err
	}
	var newest time.Time // by the server's clock, which may not be ours
	for _, p := range queue.GetPollers() {
		if at := p.GetLastAccessTime().AsTime(); at.After(newest) {
			newest = at
		}
	}
	seen := map[string]bool{}
	for _, p := range queue.GetPollers() {
		if newest.Sub(p.GetLastAccessTime().AsTime()) < pollerAge {
			seen[p.GetIdentity()] = true
		}
	}
	return len(seen), nil
}

// givesAway says whether a stream should end for another worker to take it up. When the server does not answer, the next look will do.
func (a *Activities) givesAway(ctx context.Context, share *copyShare, streams int) bool {
	if a.Client == nil || !share.due(time.Now()) {
		return false
	}
	workers, err := a.workers(ctx)
	if err != nil {
		a.Log.DebugContext(ctx, "look for other workers", "err", err)
		return false
	}
	if workers < 2 || streams < 1 || !share.give(time.Now(), streams, workers) {
		return false
	}
	a.Log.InfoContext(ctx, "a stream of the copy ends here for another worker to take up", "workers", workers, "streams", streams)
	return true
}
