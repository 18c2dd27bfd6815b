package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
)

// The files in the control directory. server-loop.sh and include-settings.sh know them by these names.
const (
	settingsFile = "settings.conf" // for postgresql.conf to include
	restartFile  = "restart"       // a token; a new one asks for a restart
	failedFile   = "failed"        // the token of a restart after which the server did not start
)

// tokenSetting is written beside the parameters: the server shows it once it has read the file.
const tokenSetting = "timeferry_sandbox.token"

const (
	restartTimeout = 2 * time.Minute
	lookInterval   = 200 * time.Millisecond
)

// server is the PostgreSQL server behind the instance. It implements awssim.Server, awssim.Reloader and awssim.PasswordSetter.
type server struct {
	endpoint pgkit.Endpoint
	control  string
}

// state is what a running server says about itself.
type state struct {
	Version  string
	Started  time.Time
	Token    string
	WALLevel string
}

const selectState = `SELECT split_part(current_setting('server_version'), ' ', 1), pg_postmaster_start_time(),
	coalesce(current_setting('` + tokenSetting + `', true), ''), current_setting('wal_level')`

// masterSecret is in the form in which RDS keeps the password that it manages.
func masterSecret(user, password string) string {
	text, _ := json.Marshal(map[string]string{"username": user, "password": password}) // strings always marshal
	return string(text)
}

// awaitVersion waits for the server and gives its version.
func (s *server) awaitVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, restartTimeout)
	defer cancel()
	for {
		found, err := s.read(ctx)
		if err == nil {
			return found.Version, nil
		}
		if !pause(ctx) {
			return "", fmt.Errorf("wait for the server: %w", err)
		}
	}
}

// Restart writes the settings, asks the loop for a restart, and waits until a new postmaster runs with them.
func (s *server) Restart(ctx context.Context, parameters map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, restartTimeout)
	defer cancel()
	before, err := s.read(ctx) // a server that did not start last time cannot be read, and need not be
	wasRunning := err == nil
	token := rand.Text()
	if err := s.writeSettings(token, parameters); err != nil {
		return err
	}
	if err := s.write(restartFile, token+"\n"); err != nil {
		return err
	}
	for {
		after, err := s.read(ctx)
		if err == nil && (!wasRunning || after.Started.After(before.Started)) {
			return after.check(token, parameters)
		}
		if content, readErr := os.ReadFile(filepath.Join(s.control, failedFile)); readErr == nil && strings.TrimSpace(string(content)) == token {
			return errors.New("the server does not start with these settings; its log says why")
		}
		if !pause(ctx) {
			return fmt.Errorf("the server was not restarted in %s; does server-loop.sh run it with the same control directory? %w", restartTimeout, err)
		}
	}
}

// Reload writes the settings and lets the running server read them.
func (s *server) Reload(ctx context.Context, parameters map[string]string) error {
	if err := s.writeSettings(rand.Text(), parameters); err != nil {
		return err
	}
	return s.connected(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT pg_reload_conf()")
		return err
	})
}

// SetPassword gives a user a new password, without a trace of it in the server's log or in errors.
func (s *server) SetPassword(ctx context.Context, user, password string) error {
	err := s.connected(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "SET log_statement = none; SET log_min_duration_statement = -1; SET log_min_error_statement = panic"); err != nil {
			return err
		}
		var statement string
		if err := conn.QueryRow(ctx, "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", user, password).Scan(&statement); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, statement)
		return err
	})
	if err != nil {
		return fmt.Errorf("set the password of %s: %w", user, err)
	}
	return nil
}

func (x state) check(token string, parameters map[string]string) error {
	if x.Token != token {
		return fmt.Errorf("the server runs without %s; postgresql.conf must include it", settingsFile)
	}
	if want := parameters["wal_level"]; want != x.WALLevel {
		return fmt.Errorf("wal_level is %s and not %s; something overrides %s", x.WALLevel, want, settingsFile)
	}
	return nil
}

func (s *server) read(ctx context.Context) (found state, err error) {
	err = s.connected(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, selectState).Scan(&found.Version, &found.Started, &found.Token, &found.WALLevel)
	})
	return found, err
}

func (s *server) connected(ctx context.Context, do func(*pgx.Conn) error) error {
	conn, err := pgkit.Dial(ctx, s.endpoint, "sandbox")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return do(conn)
}

func (s *server) writeSettings(token string, parameters map[string]string) error {
	all := maps.Clone(parameters)
	all[tokenSetting] = token
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(all[name]))
	}
	return s.write(settingsFile, b.String())
}

// write replaces a file as a whole, so that nobody reads half of it.
func (s *server) write(name, text string) error {
	path := filepath.Join(s.control, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func pause(ctx context.Context) bool {
	timer := time.NewTimer(lookInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
