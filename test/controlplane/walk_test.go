package controlplane

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// story is what a walk goes through: with every kind of call that a migration makes before the slot.
func story() scenario {
	return scenario{name: "walk", prepare: map[string]any{"securityGroup": securityGroup}, password: rdsManaged, build: withManagedSecret, end: ready}
}

// TestWorkerDiesAtEachCall walks through every call of a story as the point at which the worker dies: before AWS hears of the
// call, and if it changes something also after it took effect. A new worker, which remembers nothing, goes on: the end is
// that of the undisturbed story, with one group, one rule and one reboot. Of the stories whose calls are others, only the
// changes are walked through.
func TestWorkerDiesAtEachCall(t *testing.T) {
	p := newPark(t, machines)
	stories := []scenario{story()}
	for _, name := range []string{"custom group is copied with its values", "our group is of another migration", "Aurora cluster",
		"Multi-AZ DB cluster", "more than 20 parameters"} {
		stories = append(stories, named(t, name))
	}
	for i, sc := range stories {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			// The undisturbed story first: it gives back its machine before the others are played.
			want := trace{}
			t.Run("undisturbed", func(t *testing.T) { want = p.walk(t, sc, &death{}) })
			for _, d := range want.points(i > 0) {
				t.Run(d.String(), func(t *testing.T) {
					t.Parallel()
					got := p.walk(t, sc, d)
					if changes(":" + d.action) { // of the others, polling makes now more, now fewer
						require.True(t, d.happened())
					}
					got.requireLike(t, want)
				})
			}
		})
	}
}

// points are the places at which the worker may die.
func (want trace) points(onlyChanges bool) []*death {
	var out []*death
	seen := map[string]int{}
	for _, action := range want.actions {
		seen[action]++
		change := changes(":" + action)
		if change || !onlyChanges {
			out = append(out, &death{action: action, at: seen[action]})
		}
		if change {
			out = append(out, &death{action: action, at: seen[action], after: true})
		}
	}
	return out
}

// walking polls less often, so that there are fewer calls to die at, all of them in different states.
var walking = conditions{poll: 80 * time.Millisecond, backoff: 50 * time.Millisecond, states: states}

// trace is what a walk left.
type trace struct {
	stage   *stage
	actions []string // of all calls
	effects []string
	state   []string
}

func (p *park) walk(t *testing.T, sc scenario, d *death) trace {
	t.Helper()
	s := newStage(t, p.lend(t, sc.major), walking)
	s.death = d
	s.prepare(t, sc)
	got := s.run(t, sc)
	require.Equal(t, ready, got.end, got.message)
	var actions []string
	for _, c := range s.made {
		actions = append(actions, c.Action)
	}
	return trace{stage: s, actions: actions, effects: mapped(s.effects(), s.same), state: mapped(s.state(t), s.same)}
}

func (got trace) requireLike(t *testing.T, want trace) {
	t.Helper()
	require.Equal(t, want.state, got.state)
	got.stage.requireNoDuplicates(t, want.effects)
	require.ElementsMatch(t, once(want.effects), once(got.effects))
}

func named(t *testing.T, name string) scenario {
	t.Helper()
	all := table()
	i := slices.IndexFunc(all, func(sc scenario) bool { return sc.name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return all[i]
}
