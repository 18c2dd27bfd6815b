package workflows

import (
	"slices"
	"time"

	"timeferry/internal/contract"
)

// history is when each problem came and went. A problem is known by its code and object.
type history struct {
	times []contract.ProblemTime // in the order in which they came
}

// note compares the problems there are at this time with those that were open.
func (h *history) note(problems []contract.Problem, now time.Time) {
	for i := range h.times {
		t := &h.times[i]
		if t.Ended == nil && !slices.ContainsFunc(problems, func(p contract.Problem) bool { return same(p, t.Problem) }) {
			ended := now
			t.Ended = &ended
		}
	}
	for _, p := range problems {
		open := slices.IndexFunc(h.times, func(t contract.ProblemTime) bool { return t.Ended == nil && same(t.Problem, p) })
		if open >= 0 {
			h.times[open].Problem = p // what is said last counts
		} else {
			h.times = append(h.times, contract.ProblemTime{Problem: p, Opened: now})
		}
	}
	for len(h.times) > contract.MaxProblemTimes {
		over := slices.IndexFunc(h.times, func(t contract.ProblemTime) bool { return t.Ended != nil })
		if over < 0 {
			return // they are open: status has them too
		}
		h.times = slices.Delete(h.times, over, over+1)
	}
}

func same(p, q contract.Problem) bool { return p.Code == q.Code && p.Object == q.Object }
