package pgkit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"timeferry/internal/fault"
)

// A rotation changes the password at the server first and shows the new one a moment later. A login in between is refused
// though nothing is wrong. So where a password can be rotated, and the same login has worked before in this process, a refusal
// is taken for that and the login tried again, with the password asked for anew. A login that never worked is told at once:
// that is a mistake in the settings, and a person waits.

// loginPatience is how long logins may be refused in a row until it is no rotation any more. Secrets Manager's own rotation
// takes seconds.
var loginPatience = 2 * time.Minute

// forgetRefusals is after how long without an attempt earlier refusals count no more: many short attempts in a row must come to
// an end, but the next rotation is another one.
const forgetRefusals = 10 * time.Minute

// loginPause between attempts begins with the first value and doubles up to the second.
const (
	firstLoginPause = 250 * time.Millisecond
	mostLoginPause  = 5 * time.Second
)

// loginKey is one login. Replication is another one with IAM, where RDS may take tokens for ordinary connections only.
type loginKey struct {
	host        string
	port        int
	user        string
	from        string // where its password is read
	replication bool
}

// loginState is what is known of a login: refused since and until when, since the last success. Zero times: not refused.
type loginState struct{ since, last time.Time }

// logins holds the logins of this process that have worked. It outlives a connection, as it is there for the next one.
var logins = struct {
	sync.Mutex
	known map[loginKey]loginState
}{known: map[loginKey]loginState{}}

type waitingKey struct{}

// WithWaiting lets tell know when a connection made with the context waits for something that passes by itself, in a sentence for
// people, and with "" when it goes on. tell is called from the goroutine that connects.
func WithWaiting(ctx context.Context, tell func(message string)) context.Context {
	return context.WithValue(ctx, waitingKey{}, tell)
}

func tellWaiting(ctx context.Context, message string) {
	if tell, ok := ctx.Value(waitingKey{}).(func(string)); ok {
		tell(message)
	}
}

// logIn calls attempt until it succeeds, fails for another reason than the password, or patience has run out.
func logIn[C any](ctx context.Context, e Endpoint, replication bool, attempt func() (C, error)) (C, error) {
	key := loginKey{e.Host, e.Port, e.User, e.PasswordFrom, replication && e.IAM}
	told := false
	defer func() {
		if told {
			tellWaiting(ctx, "")
		}
	}()
	for pause := firstLoginPause; ; pause = min(2*pause, mostLoginPause) {
		conn, err := attempt()
		if err == nil {
			rememberLogin(e, key)
			return conn, nil
		}
		if !refusedLogin(err) || !e.Rotates || !worthAnotherLogin(key) {
			return conn, err
		}
		told = true
		tellWaiting(ctx, fmt.Sprintf("%s refuses the password, which worked before: waiting for the new one, as in a rotation", e))
		if sleepErr := Sleep(ctx, pause); sleepErr != nil {
			// The deadline or the cancellation is the caller's; that the password was refused is what to know about it.
			return conn, fmt.Errorf("%w, while waiting for a rotated password: %s", sleepErr, err)
		}
	}
}

func refusedLogin(err error) bool {
	var f *fault.Error
	return errors.As(err, &f) && (f.Code == CodeWrongCredentials || f.Code == CodeIAMNoReplication)
}

func rememberLogin(e Endpoint, key loginKey) {
	if !e.Rotates {
		return
	}
	logins.Lock()
	defer logins.Unlock()
	logins.known[key] = loginState{}
}

// worthAnotherLogin notes a refusal, and says whether it may still be a rotation. Refusals count over connections.
func worthAnotherLogin(key loginKey) bool {
	now := time.Now()
	logins.Lock()
	defer logins.Unlock()
	state, worked := logins.known[key]
	if !worked {
		return false
	}
	if state.since.IsZero() || now.Sub(state.last) > forgetRefusals {
		state.since = now
	}
	state.last = now
	logins.known[key] = state
	return now.Sub(state.since) < loginPatience
}
