package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"timeferry/internal/contract"
	"timeferry/sandbox/world"
)

const (
	lookEvery    = time.Second
	inSyncFor    = 5 * time.Second  // under load, before the switch
	patience     = 60 * time.Second // with a status that cannot be read
	mostSwitches = 3                // attempts at the cutover
	exitRefused  = 3                // the starter's exit code
)

// steer does what a person does: approves the reboot, waits for both sides to be in sync, and switches over.
func (d *demo) steer(ctx context.Context) error {
	var approved bool
	var switches int
	var inSyncSince time.Time
	return d.follow(ctx, func(s contract.Status) (bool, error) {
		switch {
		case s.Phase == contract.PhaseCutOver:
			return true, nil
		case s.Phase == contract.PhaseAwaitingReboot && !approved:
			ok, err := d.ask(ctx, "approve-reboot")
			approved = ok
			return false, err
		case s.Phase != contract.PhaseInSync || !s.Replication.InSync:
			inSyncSince = time.Time{}
		case inSyncSince.IsZero():
			inSyncSince = time.Now()
		case time.Since(inSyncSince) >= inSyncFor:
			if switches == mostSwitches {
				return false, fmt.Errorf("the cutover came back to in-sync %d times: %s", switches, problems(s))
			}
			inSyncSince = time.Time{}
			ok, err := d.ask(ctx, "cutover")
			if ok {
				switches++
			}
			return false, err
		}
		return false, nil
	})
}

// ask sends an order. Being refused is no error: conditions change.
func (d *demo) ask(ctx context.Context, order string) (taken bool, err error) {
	d.endLine()
	err = d.order(ctx, order, world.Migration, "--by", "demo")
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitRefused {
		d.say("%v", err)
		return false, nil
	}
	return err == nil, err
}

// follow shows the status once a second until act says that it is done.
func (d *demo) follow(ctx context.Context, act func(contract.Status) (bool, error)) error {
	defer d.endLine()
	lastGood := time.Now()
	p := &progress{demo: d}
	for {
		s, err := d.status(ctx)
		switch {
		case err == nil:
			lastGood = time.Now()
			p.show(s)
			if done, err := act(s); done || err != nil {
				return err
			}
			if err := stuck(s); err != nil {
				return err
			}
		case time.Since(lastGood) > patience:
			return fmt.Errorf("no status for %s: %w", patience, err)
		}
		if err := d.world.Err(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// stuck says why the migration will not go on by itself. The demo never pauses it, so what waits for resume was stopped by
// a problem.
func stuck(s contract.Status) error {
	switch {
	case s.Phase == contract.PhaseFailed, s.Phase == contract.PhaseAborted:
		return fmt.Errorf("the migration is %s: %s%s", s.Phase, s.Message, problems(s))
	case slices.Contains(s.Awaiting, contract.SignalResume):
		return fmt.Errorf("the migration stands still in %s: %s%s", s.Phase, s.Message, problems(s))
	}
	return nil
}

func (d *demo) awaitPhase(ctx context.Context, phase contract.Phase) (last contract.Status, err error) {
	err = d.follow(ctx, func(s contract.Status) (bool, error) {
		last = s
		return s.Phase == phase, nil
	})
	return last, err
}

func (d *demo) status(ctx context.Context) (contract.Status, error) {
	var s contract.Status
	out, err := d.world.Starter(ctx, "status", world.Migration, "-o", "json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// readReport waits for the workflow's end, which comes a moment after its last phase, and keeps the report.
func (d *demo) readReport(ctx context.Context) (contract.Report, error) {
	for {
		out, err := d.world.Starter(ctx, "report", world.Migration, "-o", "json")
		if err == nil {
			var r contract.Report
			if err := json.Unmarshal(out, &r); err != nil {
				return r, fmt.Errorf("read the report: %w", err)
			}
			return r, d.writeReport(out)
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != exitRefused {
			return contract.Report{}, err
		}
		select {
		case <-ctx.Done():
			return contract.Report{}, ctx.Err()
		case <-time.After(lookEvery / 4):
		}
	}
}

func problems(s contract.Status) string {
	var b strings.Builder
	for _, p := range s.Problems {
		if p.Severity == contract.Info {
			continue
		}
		fmt.Fprintf(&b, "\n  %s %s %s: %s", p.Severity, p.Code, p.Object, p.Message)
		if p.Remedy != "" {
			fmt.Fprintf(&b, " (%s)", p.Remedy)
		}
	}
	return b.String()
}
