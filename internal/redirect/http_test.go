package redirect_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/redirect"
)

const hookKey = "the key that signs"

// hook is a server that knows how to switch: it believes only calls that are signed, and obeys each key once.
type hook struct {
	mu       sync.Mutex
	calls    int
	obeyed   map[string]redirect.Call
	wrong    []string
	answer   func(call int, w http.ResponseWriter) (done bool) // before it obeys
	answered func(call int, w http.ResponseWriter) (done bool) // after
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	if h.answer != nil && h.answer(h.calls, w) {
		return
	}
	body, _ := io.ReadAll(r.Body)
	stamp := r.Header.Get(redirect.HeaderTimestamp)
	sent, err := strconv.ParseInt(stamp, 10, 64)
	if r.Method != http.MethodPost || err != nil || time.Since(time.Unix(sent, 0)).Abs() > time.Minute || r.Header.Get(redirect.HeaderSignature) != redirect.Sign(hookKey, stamp, body) {
		h.wrong = append(h.wrong, "not signed")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	var c redirect.Call
	if err := json.Unmarshal(body, &c); err != nil {
		h.wrong = append(h.wrong, err.Error())
	}
	h.obeyed[r.Header.Get(redirect.HeaderKey)] = c
	if h.answered != nil {
		h.answered(h.calls, w)
	}
}

func newHook(t *testing.T, h *hook) redirect.Options {
	t.Helper()
	h.obeyed = map[string]redirect.Call{}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return redirect.Options{Switch: contract.Switch{HTTP: &contract.HTTPSwitch{URL: server.URL + "/switch?token=hidden", Timeout: "300ms"}},
		Target: contract.Address{Host: "target.example", Port: 5433, Database: "tsdb"}, Migration: "shop", Attempt: 2,
		Key: func(context.Context) (string, error) { return hookKey, nil }}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, code, f.Code, err.Error())
	require.NotContains(t, err.Error(), "hidden")
	require.NotContains(t, err.Error(), hookKey)
}

func TestCallsAreSignedAndObeyedOnce(t *testing.T) {
	h := &hook{}
	o := newHook(t, h)
	r := redirect.Open(o)
	require.NoError(t, r.Check(within(t, time.Second)))
	for range 2 {
		_, err := r.Switch(within(t, 5*time.Second), false)
		require.NoError(t, err)
	}
	require.Empty(t, h.wrong)
	require.Equal(t, map[string]redirect.Call{"timeferry-shop-2": {Action: "switch", Migration: "shop", Host: "target.example", Port: 5433, Database: "tsdb"}}, h.obeyed)
}

// A rollback's call must not be taken for a cutover's that was obeyed before.
func TestACallBackIsAnotherSwitch(t *testing.T) {
	h := &hook{}
	o := newHook(t, h)
	o.Back, o.Target = true, contract.Address{Host: "source.example", Port: 5432, Database: "shop"}
	_, err := redirect.Open(o).Switch(within(t, 5*time.Second), false)
	require.NoError(t, err)
	require.Equal(t, map[string]redirect.Call{"timeferry-shop-back-2": {Action: "switch", Migration: "shop", Host: "source.example", Port: 5432, Database: "shop"}}, h.obeyed)
}

func TestCallsAreRepeatedUntilThereIsAnAnswer(t *testing.T) {
	h := &hook{answer: func(call int, w http.ResponseWriter) bool {
		if call < 3 {
			w.WriteHeader([]int{http.StatusBadGateway, http.StatusTooManyRequests}[call-1])
		}
		return call < 3
	}}
	_, err := redirect.Open(newHook(t, h)).Switch(within(t, 10*time.Second), false)
	require.NoError(t, err)
	require.Equal(t, 3, h.calls)
	require.Len(t, h.obeyed, 1)
}

func TestWhatACallMayHaveDoneIsToldApart(t *testing.T) {
	always := func(status int) func(int, http.ResponseWriter) bool {
		return func(_ int, w http.ResponseWriter) bool { w.WriteHeader(status); return true }
	}
	slow := func(int, http.ResponseWriter) bool { time.Sleep(400 * time.Millisecond); return true }
	for name, c := range map[string]struct {
		hook  *hook
		again bool
		code  string
	}{
		"declined":                   {&hook{answer: always(http.StatusForbidden)}, false, contract.CodeSwitchRefused},
		"redirected":                 {&hook{answer: always(http.StatusFound)}, false, contract.CodeSwitchRefused},
		"busy":                       {&hook{answer: always(http.StatusTooManyRequests)}, false, contract.CodeSwitchRefused},
		"broken":                     {&hook{answer: always(http.StatusInternalServerError)}, false, contract.CodeSwitchUnknown},
		"obeyed, the answer is lost": {&hook{answered: slow}, false, contract.CodeSwitchUnknown},
		"declined after a call that may have been obeyed": {&hook{answer: func(call int, w http.ResponseWriter) bool {
			w.WriteHeader([]int{http.StatusBadGateway, http.StatusConflict}[min(call, 2)-1])
			return true
		}}, false, contract.CodeSwitchUnknown},
		"declined, another process called before": {&hook{answer: always(http.StatusConflict)}, true, contract.CodeSwitchUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := redirect.Open(newHook(t, c.hook)).Switch(within(t, 1200*time.Millisecond), c.again)
			requireCode(t, err, c.code)
		})
	}
}

func TestAServerThatIsNotThereWasNotCalled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	o := newHook(t, &hook{})
	o.Switch.HTTP.URL = "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	_, err = redirect.Open(o).Switch(within(t, 500*time.Millisecond), false)
	requireCode(t, err, contract.CodeSwitchRefused)
	o.Key = func(context.Context) (string, error) { return "", nil }
	_, err = redirect.Open(o).Switch(within(t, 500*time.Millisecond), false)
	requireCode(t, err, contract.CodeSwitchRefused)
	requireCode(t, redirect.Open(o).Check(within(t, time.Second)), contract.CodeSwitchRefused)
}
