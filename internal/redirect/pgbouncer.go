package redirect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// bouncer changes the line of a database in PgBouncer's file while its clients wait. As long as PgBouncer shows the database as
// paused, no client got anywhere: a PgBouncer that was started again, and so may have read the file, shows it as not paused.
type bouncer struct {
	Options
	contract.PgBouncerSwitch
}

const subject = "pgbouncer"

// reloadPatience is how long PgBouncer may take to show what it has read.
const reloadPatience = 2 * time.Second

// Check looks at PgBouncer and at the file.
func (b *bouncer) Check(ctx context.Context) error {
	if _, _, _, err := b.lines(); err != nil {
		return err
	}
	return b.at(ctx, func(c console) error {
		_, err := c.look(ctx, b.Database)
		return err
	})
}

func (b *bouncer) at(ctx context.Context, do func(console) error) error {
	c, err := openConsole(ctx, b.Options.Admin)
	if err != nil {
		return err
	}
	defer c.close(ctx)
	return do(c)
}

// Hold pauses. What clients have not ended by then, the fence ends; PgBouncer goes on pausing meanwhile.
func (b *bouncer) Hold(ctx context.Context) error {
	err := b.at(ctx, func(c console) error {
		if s, err := c.look(ctx, b.Database); err != nil || s.paused {
			return err
		}
		waiting, cancel := context.WithTimeout(ctx, max(b.PauseDuration(), 10*time.Millisecond))
		defer cancel()
		err := c.do(waiting, "PAUSE "+name(b.Database))
		if waiting.Err() != nil && ctx.Err() == nil {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("hold clients at PgBouncer: %w", err)
	}
	return nil
}

// Release resumes.
func (b *bouncer) Release(ctx context.Context) error {
	return b.at(ctx, func(c console) error { return b.resume(ctx, c) })
}

func (b *bouncer) resume(ctx context.Context, c console) error {
	s, err := c.look(ctx, b.Database)
	if err != nil || !s.paused {
		return err
	}
	return c.do(ctx, "RESUME "+name(b.Database))
}

// Switch goes on until PgBouncer shows the target and no pause. If PgBouncer never got further than pausing, the line is put
// back; clients go on waiting until Release.
func (b *bouncer) Switch(ctx context.Context, again bool) (Done, error) {
	_, line, _, err := b.lines()
	was := ""
	if err == nil {
		_, was, err = withAddress(line, b.Target)
	}
	if err != nil { // nothing was touched yet, but by an earlier call
		if again {
			return Done{}, unknown(subject, err)
		}
		return Done{}, refused(subject, fault.HintOf(err), "%w", err)
	}
	for {
		err := b.at(ctx, func(c console) error { return b.advance(ctx, c) })
		if err == nil {
			return Done{Words: "PgBouncer leads database " + b.Database + " to " + b.to(), Previous: was}, nil
		}
		if !IsRefused(err) && pgkit.Sleep(ctx, retryPause) == nil {
			continue
		}
		if again { // what the line was before is not known any more
			return Done{}, unknown(subject, err)
		}
		return Done{}, b.giveUp(ctx, line, err)
	}
}

// advance does what is left to do.
func (b *bouncer) advance(ctx context.Context, c console) error {
	s, err := c.look(ctx, b.Database)
	if err != nil {
		return err
	}
	if b.reached(s) {
		return b.resume(ctx, c)
	}
	if !s.paused {
		if err := c.do(ctx, "PAUSE "+name(b.Database)); err != nil {
			return err
		}
	}
	if err := b.write(ctx); err != nil {
		return refused(subject, "let the worker write the file and its directory", "%w", err)
	}
	if err := c.do(ctx, "RELOAD"); err != nil {
		return err
	}
	for began := time.Now(); ; {
		if s, err = c.look(ctx, b.Database); err != nil {
			return err
		}
		if b.reached(s) {
			return b.resume(ctx, c)
		}
		if time.Since(began) > reloadPatience {
			return refused(subject, "name the file that PgBouncer reads, and look at PgBouncer's log", "it goes on leading to %s:%s after %s was written", s.host, s.port, b.File)
		}
		if err := pgkit.Sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

func (b *bouncer) reached(s served) bool {
	return s.host == b.Target.Host && s.port == strconv.Itoa(b.Target.Port) && s.database == b.Target.Database
}

// lines reads the file: all of it, the database's line, and its place.
func (b *bouncer) lines() (all []string, line string, index int, err error) {
	text, err := os.ReadFile(b.File)
	if err != nil {
		return nil, "", 0, refused(subject, "name the file on the machine of the worker that keeps the spool", "%w", err)
	}
	if index, err = databaseLine(string(text), b.Database); err != nil {
		return nil, "", 0, refused(subject, "give it a line of its own there, or name the file that has it", "read %s: %w", b.File, err)
	}
	all = strings.Split(string(text), "\n")
	return all, all[index], index, nil
}

func (b *bouncer) write(ctx context.Context) error {
	all, line, index, err := b.lines()
	if err != nil {
		return err
	}
	changed, _, err := withAddress(line, b.Target)
	if err != nil || changed == line {
		return err
	}
	all[index] = changed
	if ctx.Err() != nil { // whoever gave this switch up must not find it made later
		return ctx.Err()
	}
	return replaceFile(b.File, strings.Join(all, "\n"))
}

// giveUp puts the line back, and says what is certain.
func (b *bouncer) giveUp(ctx context.Context, old string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	_, line, _, err := b.lines()
	if err == nil && line == old { // never written, so nobody has read it
		return refused(subject, fault.HintOf(cause), "%w", cause)
	}
	if err == nil {
		err = b.at(ctx, func(c console) error { return b.putBack(ctx, c, old) })
	}
	if err != nil {
		return unknown(subject, errors.Join(cause, err))
	}
	return refused(subject, fault.HintOf(cause), "%w", cause)
}

// putBack is for a PgBouncer that has been pausing all the time: one that is not may have led clients by the file.
func (b *bouncer) putBack(ctx context.Context, c console, old string) error {
	s, err := c.look(ctx, b.Database)
	if err != nil {
		return err
	}
	if !s.paused {
		return errors.New("PgBouncer does not pause any more")
	}
	all, _, index, err := b.lines()
	if err != nil {
		return err
	}
	all[index] = old
	if err := replaceFile(b.File, strings.Join(all, "\n")); err != nil {
		return err
	}
	if err := c.do(ctx, "RELOAD"); err != nil {
		return err
	}
	s, err = c.look(ctx, b.Database)
	if err == nil && (b.reached(s) || !s.paused) {
		return errors.New("PgBouncer did not stay paused while the file was put back")
	}
	return err
}

// Settle ends what another process began: forward, if PgBouncer finds the target in its file.
func (b *bouncer) Settle(ctx context.Context) (switched bool, err error) {
	err = b.at(ctx, func(c console) error {
		s, err := c.look(ctx, b.Database)
		if err != nil {
			return err
		}
		if !b.reached(s) {
			if err := c.do(ctx, "RELOAD"); err != nil {
				return err
			}
			if s, err = c.look(ctx, b.Database); err != nil {
				return err
			}
		}
		if switched = b.reached(s); switched {
			return b.resume(ctx, c)
		}
		return nil
	})
	return switched, err
}
