package redirect

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
)

// Headers of a call. The signature is "sha256=" and the hex HMAC-SHA256, by the spec's key, over the timestamp (Unix seconds), a
// full stop, and the body. Calls with one idempotency key ask for one switch.
const (
	HeaderTimestamp = "Timeferry-Timestamp"
	HeaderSignature = "Timeferry-Signature"
	HeaderKey       = "Idempotency-Key"
)

// Call is the body.
type Call struct {
	Action    string `json:"action"` // "switch"
	Migration string `json:"migration"`
	Host      string `json:"host"`
	Port      int    `json:"port"`
	Database  string `json:"database"`
}

// Sign makes the signature's header.
func Sign(key, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

type call struct {
	Options
	contract.HTTPSwitch
}

// Check only reads the key: a call that asks nothing would mean nothing to a server that was not made for it.
func (c *call) Check(ctx context.Context) error {
	_, err := c.key(ctx)
	return err
}

func (c *call) key(ctx context.Context) (string, error) {
	key, err := c.Options.Key(ctx)
	if err == nil && key == "" {
		err = refused(c.host(), "put one where cutover.switch.http.key points", "the key is empty")
	}
	return key, err
}

func (c *call) Hold(context.Context) error    { return nil }
func (c *call) Release(context.Context) error { return nil }

// Settle asks once more: the idempotency key makes that safe, and only the answer tells.
func (c *call) Settle(ctx context.Context) (bool, error) {
	_, err := c.Switch(ctx, true)
	return err == nil, err
}

// host names the server in errors: paths and queries may hold secrets.
func (c *call) host() string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return "http"
	}
	return u.Host
}

// answer is what a call came to.
type answer int

const (
	taken    answer = iota // 2xx
	declined               // the server answered that it does not
	unsent                 // it never got there
	busy                   // it was turned away, and may be repeated
	lost                   // it got there, and may have been obeyed
)

// Switch calls until there is an answer that means yes or no. As soon as one call may have been obeyed, only a yes is believed.
func (c *call) Switch(ctx context.Context, again bool) (Done, error) {
	key, err := c.key(ctx)
	if err != nil {
		if again {
			return Done{}, unknown(c.host(), err)
		}
		return Done{}, refused(c.host(), "", "%w", err)
	}
	body, err := json.Marshal(Call{Action: "switch", Migration: c.Migration, Host: c.Target.Host, Port: c.Target.Port, Database: c.Target.Database})
	if err != nil {
		return Done{}, refused(c.host(), "", "%w", err)
	}
	obeyed := again
	for {
		answer, err := c.once(ctx, key, body)
		switch answer {
		case taken:
			return Done{Words: "called " + c.host()}, nil
		case declined:
			if obeyed {
				return Done{}, unknown(c.host(), err)
			}
			return Done{}, refused(c.host(), "look at the called server, then cut over again", "%w", err)
		case lost:
			obeyed = true
		}
		if pgkit.Sleep(ctx, retryPause) != nil {
			if obeyed {
				return Done{}, unknown(c.host(), ended(ctx, err))
			}
			return Done{}, refused(c.host(), "look at the called server, then cut over again", "%w", ended(ctx, err))
		}
	}
}

// once makes one call. Redirections are not followed: they would lead the signed body elsewhere.
func (c *call) once(ctx context.Context, key string, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.TimeoutDuration(), errors.New("cutover.switch.http.timeout has passed"))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return unsent, err
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(HeaderTimestamp, timestamp)
	request.Header.Set(HeaderSignature, Sign(key, timestamp, body))
	request.Header.Set(HeaderKey, c.idempotencyKey())
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true} // a connection of its own: nothing is sent twice behind our back
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return unsent, withoutURL(err)
		}
		return lost, withoutURL(err)
	}
	defer response.Body.Close() // only read from
	said, _ := io.ReadAll(io.LimitReader(response.Body, 200))
	status := response.StatusCode
	err = fmt.Errorf("the answer is %s: %s", response.Status, strings.TrimSpace(string(said)))
	switch {
	case status >= 200 && status < 300:
		return taken, nil
	case status == http.StatusTooManyRequests || status == http.StatusTooEarly:
		return busy, err
	case status == http.StatusRequestTimeout || status >= 500:
		return lost, err
	}
	return declined, err
}

func (c *call) idempotencyKey() string {
	what := contract.WorkflowID(c.Migration)
	if c.Back {
		what += "-back"
	}
	return fmt.Sprintf("%s-%d", what, c.Attempt)
}

// withoutURL keeps the address, whose query may hold a secret, out of the error.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
