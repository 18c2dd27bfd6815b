package awssim

// Statuses of a parameter group at an instance, or at a member of a cluster.
const (
	applyApplying      = "applying"
	applyInSync        = "in-sync"
	applyPendingReboot = "pending-reboot"
	applyFailed        = "failed-to-apply"
)

// applyState says how far an instance, or a member of a cluster, has taken its parameter group.
type applyState struct {
	now   string
	after string // what follows on applying
}

// begin goes to applying. What waited for a reboot before still does afterwards, also if an earlier change is being
// applied.
func (a *applyState) begin(needsReboot bool) {
	switch {
	case needsReboot:
		a.after = applyPendingReboot
	case a.now != applyApplying:
		a.after = a.now
	}
	a.now = applyApplying
}

func (a *applyState) end() {
	if a.now == applyApplying {
		a.now = a.after
	}
}

// settling is one change in a parameter group, as one instance or cluster takes it.
type settling struct {
	what        string // for the log
	group       string
	states      []*applyState
	needsReboot bool
	server      Server
	reload      bool // there are values to take at once
	settings    map[string]string
}

// settle takes the change: at once to applying, and after a moment to what follows; on the way a server that can reload
// takes the immediate values.
func (s *Simulator) settle(x settling) {
	for _, state := range x.states {
		state.begin(x.needsReboot)
	}
	reloader, canReload := x.server.(Reloader)
	s.wg.Go(func() {
		if !s.lasts(s.options.Timings.Applying) {
			return
		}
		var err error
		if canReload && x.reload {
			err = reloader.Reload(s.ctx, x.settings)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, state := range x.states {
			state.end()
			if err != nil {
				state.now = applyFailed
			}
		}
		if err != nil {
			s.options.Logf("%s: group %s is %s: %v", x.what, x.group, applyFailed, err)
			return
		}
		s.options.Logf("%s: group %s has settled", x.what, x.group)
	})
}
