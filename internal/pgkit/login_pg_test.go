package pgkit_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
)

// rotated is a login whose password the test can change at the server and where it is kept, one after the other.
type rotated struct {
	t     *testing.T
	db    *pgtest.Database
	e     pgkit.Endpoint
	kept  atomic.Value // what the reference gives
	asked atomic.Int32
}

func newRotated(t *testing.T, user string) *rotated {
	t.Helper()
	r := &rotated{t: t, db: pgtest.Source(t)}
	r.db.Exec(t, "CREATE ROLE "+user+" LOGIN REPLICATION PASSWORD 'first secret'")
	t.Cleanup(func() { r.db.Exec(t, "DROP ROLE "+user) })
	r.kept.Store("first secret")
	r.e = r.db.Master
	r.e.User, r.e.Password, r.e.Rotates = user, "not looked at", true
	r.e.PasswordFunc = func(context.Context) (string, error) {
		r.asked.Add(1)
		return r.kept.Load().(string), nil
	}
	return r
}

func (r *rotated) dial(ctx context.Context) error {
	conn, err := pgkit.Dial(ctx, r.e, "test")
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (r *rotated) dialReplication(ctx context.Context) error {
	conn, err := pgkit.DialReplication(ctx, r.e, "test")
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func TestALoginInTheMiddleOfARotationWaitsForTheNewPassword(t *testing.T) {
	r := newRotated(t, "login_rotation")
	require.NoError(t, r.dial(context.Background()))
	for n, dial := range []func(context.Context) error{r.dial, r.dialReplication} {
		next := []string{"second secret", "third secret"}[n]
		r.db.Exec(t, "ALTER ROLE login_rotation PASSWORD '"+next+"'")
		var said []string
		ctx := pgkit.WithWaiting(context.Background(), func(message string) {
			said = append(said, message)
			if len(said) == 2 { // refused twice: now the secret shows it
				r.kept.Store(next)
			}
		})
		require.NoError(t, dial(ctx))
		require.GreaterOrEqual(t, len(said), 3)
		require.Contains(t, said[0], "login_rotation")
		require.NotContains(t, said[0], "secret")
		require.Empty(t, said[len(said)-1], "told that it goes on")
	}
}

func TestALoginThatNeverWorkedIsRefusedAtOnce(t *testing.T) {
	r := newRotated(t, "login_new")
	r.kept.Store("mistyped")
	requireFault(t, r.e, pgkit.CodeWrongCredentials, fault.Operator)
	require.EqualValues(t, 2, r.asked.Load(), "asked once for each connection")
}

func TestALoginWithoutRotationIsRefusedAtOnce(t *testing.T) {
	r := newRotated(t, "login_fixed")
	r.e.Rotates = false
	require.NoError(t, r.dial(context.Background()))
	r.kept.Store("mistyped")
	before := r.asked.Load()
	requireFault(t, r.e, pgkit.CodeWrongCredentials, fault.Operator)
	require.EqualValues(t, before+2, r.asked.Load())
}

// A password from another place than the one that worked is another login: whoever mistyped it is told at once.
func TestALoginFromElsewhereIsANewOne(t *testing.T) {
	r := newRotated(t, "login_elsewhere")
	r.e.PasswordFrom = "file a"
	require.NoError(t, r.dial(context.Background()))
	r.e.PasswordFrom = "file b"
	r.kept.Store("mistyped")
	before := r.asked.Load()
	requireFault(t, r.e, pgkit.CodeWrongCredentials, fault.Operator)
	require.EqualValues(t, before+2, r.asked.Load())
}

func TestPatienceWithRefusedLoginsEnds(t *testing.T) {
	pgkit.SetLoginPatience(t, time.Second)
	r := newRotated(t, "login_lost")
	require.NoError(t, r.dial(context.Background()))
	r.kept.Store("mistyped")
	began := time.Now()
	var f *fault.Error
	require.ErrorAs(t, r.dial(context.Background()), &f)
	require.Equal(t, pgkit.CodeWrongCredentials, f.Code)
	require.Equal(t, fault.Operator, f.Class)
	require.GreaterOrEqual(t, time.Since(began), time.Second)

	asked := r.asked.Load()
	require.Error(t, r.dial(context.Background()), "and it is not begun again by the next connection")
	require.EqualValues(t, asked+1, r.asked.Load())

	r.kept.Store("first secret")
	require.NoError(t, r.dial(context.Background()))
	r.kept.Store("mistyped")
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	err := r.dial(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded, "a success has made it patient again")
	require.ErrorContains(t, err, "rotated password")
	require.NotContains(t, err.Error(), "mistyped")
}
