package awssim_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// createInBackground creates a parameter group; the channel gives the call's end.
func (w world) createInBackground(ctx context.Context, name string) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := w.rds.CreateDBParameterGroup(ctx, &rds.CreateDBParameterGroupInput{DBParameterGroupName: &name, DBParameterGroupFamily: aws.String("postgres15"), Description: aws.String("d")})
		ended <- err
	}()
	return ended
}

func (w world) hasGroup(t *testing.T, name string) bool {
	t.Helper()
	_, err := w.rds.DescribeDBParameterGroups(t.Context(), &rds.DescribeDBParameterGroupsInput{DBParameterGroupName: &name})
	return err == nil
}

func mustHold(t *testing.T, s *awssim.Simulator) awssim.Call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	held, err := s.AwaitHeld(ctx)
	require.NoError(t, err)
	return held
}

func TestAnswerIsHeld(t *testing.T) {
	w := newFixture(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.Hold, Action: "CreateDBParameterGroup"})
	ended := w.createInBackground(t.Context(), "one")
	require.Equal(t, "CreateDBParameterGroup", mustHold(t, w.simulator).Action)
	require.True(t, w.hasGroup(t, "one"), "the call has taken effect, and others are answered")
	require.Empty(t, ended)
	require.Equal(t, 1, w.simulator.Release())
	require.NoError(t, <-ended)
	require.NoError(t, <-w.createInBackground(t.Context(), "two"), "one was to be held")
}

func TestCallIsHeldBeforeItsEffect(t *testing.T) {
	w := newFixture(t)
	require.Equal(t, http.StatusOK, w.post(t, "/_control/faults", `{"kind":"hold","code":"before","action":"CreateDBParameterGroup","count":2}`))
	ended := w.createInBackground(t.Context(), "one")
	mustHold(t, w.simulator)
	require.False(t, w.hasGroup(t, "one"))
	require.Equal(t, http.StatusOK, w.post(t, "/_control/release", ""))
	require.NoError(t, <-ended)
	require.True(t, w.hasGroup(t, "one"))

	ctx, kill := context.WithCancel(t.Context())
	ended = w.createInBackground(ctx, "two")
	mustHold(t, w.simulator)
	kill()
	require.Error(t, <-ended)
	require.Eventually(t, func() bool { return len(w.simulator.Held()) == 0 }, 10*time.Second, time.Millisecond)
	require.False(t, w.hasGroup(t, "two"), "a caller that went away has not called")
	require.Equal(t, 1, w.simulator.Calls("CreateDBParameterGroup"))
}

func TestCallerGoesAwayAfterTheEffect(t *testing.T) {
	w := newFixture(t)
	w.simulator.Inject(awssim.Fault{Kind: awssim.Hold, Action: "CreateDBParameterGroup"})
	ctx, kill := context.WithCancel(t.Context())
	ended := w.createInBackground(ctx, "one")
	mustHold(t, w.simulator)
	kill()
	require.Error(t, <-ended)
	require.True(t, w.hasGroup(t, "one"))
	require.Eventually(t, func() bool { return len(w.simulator.Held()) == 0 }, 10*time.Second, time.Millisecond)

	w.simulator.Inject(awssim.Fault{Kind: awssim.Hold, Action: "CreateDBParameterGroup"})
	ended = w.createInBackground(t.Context(), "two")
	mustHold(t, w.simulator)
	w.simulator.Reset()
	require.NoError(t, <-ended, "a reset lets it go")
}

func TestHookSeesCallsBeforeTheirAnswers(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	entered, goOn := make(chan struct{}), make(chan struct{})
	simulator := awssim.New(awssim.Options{OnCall: func(c awssim.Call) {
		mu.Lock()
		seen = append(seen, c.String())
		mu.Unlock()
		if c.Action == "CreateDBParameterGroup" {
			close(entered)
			<-goOn
		}
	}})
	t.Cleanup(simulator.Close)
	endpoint := httptest.NewServer(simulator)
	t.Cleanup(endpoint.Close)
	w := world{simulator: simulator, rds: rds.New(rds.Options{Region: "us-east-1", BaseEndpoint: &endpoint.URL, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")})}
	ended := w.createInBackground(t.Context(), "one")
	<-entered
	require.True(t, w.hasGroup(t, "one"))
	require.Empty(t, ended, "the hook has not returned")
	close(goOn)
	require.NoError(t, <-ended)
	require.False(t, w.hasGroup(t, "none"))
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, seen, 3)
	require.True(t, strings.HasSuffix(seen[2], "-> DBParameterGroupNotFound"), seen[2])
}
