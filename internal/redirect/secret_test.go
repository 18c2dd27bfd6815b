package redirect_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/redirect"
)

// fakeVault keeps one secret in memory, and fails as told. The real one is tried in rdsctl, over the simulator.
type fakeVault struct {
	text    string
	version int
	tokens  map[string]bool
	put     func(call int) (obeys bool, err error)
	puts    int
	readErr error
}

func (v *fakeVault) SecretVersion(context.Context, string) (string, string, error) {
	return v.text, "v" + string(rune('0'+v.version)), v.readErr
}

func (v *fakeVault) PutSecret(_ context.Context, _, text, token string) (string, error) {
	v.puts++
	obeys, err := true, error(nil)
	if v.put != nil {
		obeys, err = v.put(v.puts)
	}
	if obeys && !v.tokens[token] {
		v.tokens[token], v.text = true, text
		v.version++
	}
	return "v" + string(rune('0'+v.version)), err
}

const rdsSecret = `{"username":"app","password":"hidden","engine":"postgres","host":"source.example","port":5432,"dbname":"shop","big":12345678901234567890}`

func newVault(text string) (*fakeVault, redirect.Redirector) {
	v := &fakeVault{text: text, version: 1, tokens: map[string]bool{}}
	return v, redirect.Open(redirect.Options{Switch: contract.Switch{Secret: &contract.SecretSwitch{ARN: "arn:shop", HostKey: "host", PortKey: "port", DatabaseKey: "dbname"}},
		Target: contract.Address{Host: "target.example", Port: 5433, Database: "tsdb"}, Migration: "shop", Attempt: 1, Secrets: v})
}

func TestOnlyTheAddressInTheSecretChanges(t *testing.T) {
	v, r := newVault(rdsSecret)
	require.NoError(t, r.Check(within(t, time.Second)))
	done, err := r.Switch(within(t, time.Second), false)
	require.NoError(t, err)
	require.Equal(t, "version v1: host source.example, port 5432, database shop", done.Previous)
	require.JSONEq(t, `{"username":"app","password":"hidden","engine":"postgres","host":"target.example","port":5433,"dbname":"tsdb","big":12345678901234567890}`, v.text)
	require.Contains(t, v.text, "12345678901234567890")
	_, err = r.Switch(within(t, time.Second), true)
	require.NoError(t, err)
	require.Equal(t, 1, v.puts)

	v, r = newVault(`{"host":"a","port":"5432"}`)
	_, err = r.Switch(within(t, time.Second), false)
	require.NoError(t, err)
	var keys map[string]any
	require.NoError(t, json.Unmarshal([]byte(v.text), &keys))
	require.Equal(t, map[string]any{"host": "target.example", "port": "5433"}, keys, "a port that is text stays text")
}

func TestAnAnswerOfTheVaultThatIsLostIsReadBack(t *testing.T) {
	v, r := newVault(rdsSecret)
	v.put = func(call int) (bool, error) { return call == 1, errors.New("connection reset") }
	_, err := r.Switch(within(t, 5*time.Second), false)
	require.NoError(t, err)
	require.Equal(t, 1, v.puts)
}

func TestWhatAVaultMayHaveDoneIsToldApart(t *testing.T) {
	denied := fault.New(fault.Operator, "write secret", "arn:shop", "allow secretsmanager:PutSecretValue", "access denied")
	for name, c := range map[string]struct {
		text  string
		put   func(int) (bool, error)
		again bool
		code  string
	}{
		"denied":               {rdsSecret, func(int) (bool, error) { return false, denied }, false, contract.CodeSwitchRefused},
		"lost for good":        {rdsSecret, func(int) (bool, error) { return false, errors.New("connection reset") }, false, contract.CodeSwitchUnknown},
		"denied after another": {rdsSecret, func(int) (bool, error) { return false, denied }, true, contract.CodeSwitchUnknown},
		"no object":            {"hidden", nil, false, contract.CodeSwitchRefused},
		"no host":              {`{"password":"hidden"}`, nil, false, contract.CodeSwitchRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, r := newVault(c.text)
			v.put = c.put
			_, err := r.Switch(within(t, 700*time.Millisecond), c.again)
			requireCode(t, err, c.code)
		})
	}
	v, r := newVault("hidden")
	requireCode(t, r.Check(within(t, time.Second)), contract.CodeSwitchRefused)
	v.readErr = denied
	require.ErrorIs(t, r.Check(within(t, time.Second)), denied)
}
