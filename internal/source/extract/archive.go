package extract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// archive is a dump in a directory of its own, gone with close.
type archive struct {
	clients
	dir string
}

func (a *archive) path() string { return filepath.Join(a.dir, "schema.dump") }

func (a *archive) close() error { return os.RemoveAll(a.dir) }

// dumpArchive runs pg_dump. Nothing of our own environment reaches it but the path.
func dumpArchive(ctx context.Context, c clients, e pgkit.Endpoint, snapshot string) (_ *archive, err error) {
	dir, err := os.MkdirTemp("", "timeferry-schema-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the schema dump: %w", err)
	}
	a := &archive{clients: c, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	// Quoting all identifiers keeps names that are keywords only in a newer target from breaking there.
	cmd := a.command(ctx, c.dump, "--format=custom", "--schema-only", "--quote-all-identifiers", "--encoding=UTF8", "--no-password",
		"--no-tablespaces", "--no-publications", "--no-subscriptions",
		"--snapshot="+snapshot, "--file="+a.path())
	env, err := pgkit.LibpqEnv(ctx, e, c.major())
	if err != nil {
		return nil, err
	}
	cmd.Env = append(append(cmd.Env, env...), "PGAPPNAME="+pgkit.ApplicationName+" schema")
	if _, err := run(cmd); err != nil {
		return nil, explainDump(ctx, e, err)
	}
	return a, nil
}

func (a *archive) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = a.dir
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=" + a.dir}
	return cmd
}

// programError is a client program that ended with an error.
type programError struct {
	program, message string
	cause            error
}

func (e *programError) Error() string { return e.program + ": " + e.message }
func (e *programError) Unwrap() error { return e.cause }

// run returns what the program wrote, or its last complaint.
func run(cmd *exec.Cmd) (string, error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", &programError{program: filepath.Base(cmd.Path), message: lastError(complaint.String(), err), cause: err}
	}
	return out.String(), nil
}

// lastError finds the line with the reason: programs write warnings before and details after it.
func lastError(complaint string, err error) string {
	lines := strings.Split(strings.TrimSpace(complaint), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if _, message, ok := strings.Cut(lines[i], ": error: "); ok {
			return message
		}
	}
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return err.Error()
}

func explainDump(ctx context.Context, e pgkit.Endpoint, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("dump schema of %s: %w", e, ctx.Err())
	}
	return fault.New(fault.Unknown, "dump schema of", e.String(),
		"pg_dump must be able to lock every table for reading: grant SELECT on them to the user of the migration, and keep the snapshot's holder alive", "%w", err).WithCode("dump-failed")
}

// list is pg_restore's table of contents, in the order of restoring, without the rows' section.
func (a *archive) list(ctx context.Context) ([]tocEntry, error) {
	sections := map[int]string{}
	for _, section := range []string{ledger.SectionPreData, ledger.SectionPostData} {
		entries, err := a.listed(ctx, "--section="+section)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			sections[e.id] = section
		}
	}
	all, err := a.listed(ctx)
	if err != nil {
		return nil, err
	}
	var toc []tocEntry
	for _, e := range all {
		if section, ok := sections[e.id]; ok {
			e.section = section
			toc = append(toc, e)
		}
	}
	if len(toc) != len(sections) {
		return nil, misread("%d entries are in sections, %d in the list", len(sections), len(toc))
	}
	return toc, nil
}

func (a *archive) listed(ctx context.Context, options ...string) ([]tocEntry, error) {
	out, err := run(a.command(ctx, a.restore, append(append([]string{"--list"}, options...), a.path())...))
	if err != nil {
		return nil, fmt.Errorf("list the schema dump: %w", err)
	}
	return parseList(out)
}

// text is the archive as SQL, with pg_restore's comments at the borders. only, when not zero, picks one entry.
func (a *archive) text(ctx context.Context, owners bool, only int) (string, error) {
	args := []string{"--verbose", "--no-tablespaces", "--file=-"}
	if a.major() >= 15 {
		args = append(args, "--no-table-access-method")
	}
	if !owners {
		args = append(args, "--no-owner")
	}
	if only != 0 {
		name := filepath.Join(a.dir, "one.list")
		if err := os.WriteFile(name, []byte(strconv.Itoa(only)+";\n"), 0o600); err != nil {
			return "", fmt.Errorf("write list for the schema dump: %w", err)
		}
		args = append(args, "--use-list="+name)
	}
	out, err := run(a.command(ctx, a.restore, append(args, a.path())...))
	if err != nil {
		return "", fmt.Errorf("read the schema dump: %w", err)
	}
	return out, nil
}
