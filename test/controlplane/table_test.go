package controlplane

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// scenario is one row of the table. The calls, the state and the full messages that belong to it are in testdata.
type scenario struct {
	name  string
	major int // of the real server; 0: any
	// The account: build makes it, by default with one instance of PostgreSQL 15 that has never been prepared. Faults follow.
	build  func(t *testing.T, s *stage)
	faults []awssim.Fault
	// The order.
	cluster  bool   // clusterID is to be migrated, not instanceID
	instance string // under another name than instanceID
	prepare  map[string]any
	password func(s *stage) any
	backOff  map[string]any // copy.backOff
	// What a person does: answer is sent at the gate after atGate, mend comes before resume at the first problem.
	answer string
	atGate func(t *testing.T, s *stage)
	mend   func(t *testing.T, s *stage)
	// clock is what the worker believes the time to be, now being that of Temporal.
	clock func() func(now time.Time) time.Time
	// environment is set for this scenario, which then runs alone.
	environment map[string]string

	end  string
	code string
	says []string // parts of the message, or of what was told at a gate or noted
}

// table is all scenarios.
func table() []scenario {
	return slices.Concat(groupScenarios(), familyScenarios(), stateScenarios(), creditScenarios(), rebootScenarios(), accessScenarios(), networkScenarios(), secretScenarios())
}

func TestTableIsLargeEnoughAndSaysEachThingOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, sc := range table() {
		require.False(t, seen[sc.name], "two scenarios are called %q", sc.name)
		require.Contains(t, []string{ready, refused, stopped}, sc.end, sc.name)
		require.Equal(t, sc.end != ready, sc.code != "" || sc.answer == answerAbort, "%s: exactly what fails has a code", sc.name)
		seen[sc.name] = true
	}
	require.GreaterOrEqual(t, len(seen), 25)
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	require.NoError(t, err)
	require.Len(t, files, len(seen), "a file in testdata belongs to no scenario, or is missing")
}

// TestScenarios plays the table, first as it is and then with 30 % of the calls throttled and reads lagging by a second.
func TestScenarios(t *testing.T) {
	p := newPark(t, machines)
	for _, sc := range table() {
		t.Run(sc.name, func(t *testing.T) { p.play(t, sc, undisturbed) })
	}
	if *update {
		return // what the others are compared with is only being written
	}
	for _, sc := range table() {
		if sc.environment == nil {
			t.Run("slow "+sc.name, func(t *testing.T) { p.play(t, sc, slow) })
		}
	}
}

func (p *park) play(t *testing.T, sc scenario, c conditions) {
	t.Helper()
	for name, value := range sc.environment {
		t.Setenv(name, value)
	}
	if sc.environment == nil {
		t.Parallel()
	}
	if len(c.faults) > 0 {
		sc.major = 0 // how slow AWS is has nothing to do with what the server is
	}
	s := newStage(t, p.lend(t, sc.major), c)
	s.prepare(t, sc)
	got := s.run(t, sc)
	require.Equal(t, sc.end, got.end, got.message)
	require.Equal(t, sc.code, got.code, got.message)
	everything := s.same(strings.Join(slices.Concat([]string{got.message}, got.told, got.notes, got.left), "\n"))
	for _, part := range sc.says {
		require.Contains(t, everything, part)
	}
	if sc.end == refused {
		s.requireNothingLeft(t)
	}
	if len(c.faults) == 0 {
		s.compare(t, sc, got)
	} else {
		s.compareEnds(t, sc, got)
	}
}

// prepare makes the account.
func (s *stage) prepare(t *testing.T, sc scenario) {
	t.Helper()
	if sc.build == nil {
		s.instance(awssim.InstanceConfig{})
	} else {
		sc.build(t, s)
	}
	s.machine.forget()
}

// requireNothingLeft makes sure that whoever was refused has changed nothing, but for a rule that was taken away again.
func (s *stage) requireNothingLeft(t *testing.T) {
	t.Helper()
	for _, effect := range s.effects() {
		require.True(t, strings.HasPrefix(effect, "ec2:"), "a refused migration has called %s", effect)
	}
	for _, r := range s.sim.Ingress(securityGroup) {
		require.NotContains(t, r.Description, "Timeferry")
	}
}

// compare holds everything against the scenario's file.
func (s *stage) compare(t *testing.T, sc scenario, got outcome) {
	t.Helper()
	var b strings.Builder
	section := func(title string, lines []string) {
		b.WriteString(title + ":\n")
		for _, line := range lines {
			b.WriteString("  " + s.same(strings.ReplaceAll(line, "\n", " ")) + "\n")
		}
	}
	section("end", []string{strings.TrimSpace(got.end + " " + got.code)})
	section("message", nonEmpty(got.message))
	section("told", got.told)
	section("noted", got.notes)
	section("left", got.left)
	section("calls", s.calls())
	section("effects", s.effects())
	section("state", s.state(t))
	name := fileOf(sc)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(name, []byte(b.String()), 0o644))
		return
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err, "run with -update")
	require.Equal(t, string(want), b.String())
}

// compareEnds holds what must be the same however slow AWS is against the scenario's file: what was changed, and what is left.
// A change may have been asked for twice, if it is none the second time.
func (s *stage) compareEnds(t *testing.T, sc scenario, got outcome) {
	t.Helper()
	want := readSections(t, sc)
	require.Equal(t, want["message"], nonEmpty(s.same(got.message)))
	require.Equal(t, once(want["effects"]), once(s.effects()))
	require.Equal(t, want["state"], mapped(s.state(t), s.same))
	s.requireNoDuplicates(t, want["effects"])
}

// requireNoDuplicates makes sure that what must happen once has not happened more often than when nothing disturbed.
func (s *stage) requireNoDuplicates(t *testing.T, undisturbed []string) {
	t.Helper()
	for _, action := range []string{"CreateDB", "CopyDB", "Authorize", "RebootDB"} {
		require.Equal(t, count(undisturbed, action), count(s.effects(), action), "%s: %v", action, s.effects())
	}
}

func count(lines []string, part string) int {
	n := 0
	for _, line := range lines {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// once drops what is there a second time.
func once(lines []string) []string {
	out := []string{}
	for _, line := range lines {
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

func mapped(lines []string, to func(string) string) []string {
	out := []string{}
	for _, line := range lines {
		out = append(out, to(line))
	}
	return out
}

func nonEmpty(line string) []string {
	if line == "" {
		return []string{}
	}
	return []string{line}
}

func fileOf(sc scenario) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(sc.name))
	return filepath.Join("testdata", name+".txt")
}

// readSections reads a scenario's file.
func readSections(t *testing.T, sc scenario) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(fileOf(sc))
	require.NoError(t, err, "run with -update")
	out := map[string][]string{}
	title := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if content, is := strings.CutPrefix(line, "  "); is {
			out[title] = append(out[title], content)
			continue
		}
		title = strings.TrimSuffix(line, ":")
		out[title] = []string{}
	}
	return out
}

// prepared lets the server run with the values, as after a reboot.
func (s *stage) prepared(t *testing.T) {
	t.Helper()
	require.NoError(t, s.Restart(context.Background(), map[string]string{"wal_level": "logical", "rds.logical_replication": "on"}))
}
