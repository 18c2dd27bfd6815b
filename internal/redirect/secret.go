package redirect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// Secrets reads and writes the current version of a secret. Writing twice with one token writes once.
type Secrets interface {
	SecretVersion(ctx context.Context, arn string) (text, version string, err error)
	PutSecret(ctx context.Context, arn, text, token string) (version string, err error)
}

type secret struct {
	Options
	contract.SecretSwitch
}

func (s *secret) Hold(context.Context) error    { return nil }
func (s *secret) Release(context.Context) error { return nil }

// Check reads the secret. Whether it may be written shows only by writing.
func (s *secret) Check(ctx context.Context) error {
	text, _, err := s.Secrets.SecretVersion(ctx, s.ARN)
	if err != nil {
		return err
	}
	_, _, err = s.rewrite(text)
	return err
}

// Settle reads what stands in the secret: until it holds the target's address, nobody was led there by it.
func (s *secret) Settle(ctx context.Context) (bool, error) {
	_, err := s.Switch(ctx, true)
	return err == nil, err
}

// Switch writes the secret, and reads it back where the answer was lost. As soon as a write may have been obeyed, only reading
// the target's address ends the doubt.
func (s *secret) Switch(ctx context.Context, again bool) (Done, error) {
	obeyed := again
	var last error
	for {
		done, certain, err := s.once(ctx, &obeyed)
		if err == nil {
			return done, nil
		}
		last = err
		if certain || pgkit.Sleep(ctx, retryPause) != nil {
			break
		}
	}
	if !obeyed {
		return Done{}, refused(s.ARN, fault.HintOf(last), "%w", last)
	}
	return Done{}, unknown(s.ARN, last)
}

// once tries once. certain: trying again would not help.
func (s *secret) once(ctx context.Context, obeyed *bool) (done Done, certain bool, err error) {
	text, version, err := s.Secrets.SecretVersion(ctx, s.ARN)
	if err != nil {
		return Done{}, denied(err), err
	}
	changed, was, err := s.rewrite(text)
	if err != nil {
		return Done{}, true, err
	}
	if changed == text {
		return Done{Words: "the secret holds the address of " + s.to() + ", in version " + version}, false, nil
	}
	sum := sha256.Sum256([]byte(fmt.Sprintf("%s %d %s", s.Migration, s.Attempt, changed)))
	made, err := s.Secrets.PutSecret(ctx, s.ARN, changed, hex.EncodeToString(sum[:]))
	if err != nil {
		certain = denied(err)
		*obeyed = *obeyed || !certain
		return Done{}, certain, err
	}
	return Done{Words: "wrote the address of " + s.to() + " into the secret, version " + made, Previous: "version " + version + ": " + was}, false, nil
}

// denied is true for an answer that means no.
func denied(err error) bool { return fault.Classify(err) == fault.Operator }

// rewrite puts the target's address into the secret's text. Everything else stays as it is written, but for the order of keys.
func (s *secret) rewrite(text string) (changed, was string, err error) {
	hint := "the secret must be a JSON object with the address in it, like RDS's own"
	keys := map[string]json.RawMessage{}
	if json.Unmarshal([]byte(text), &keys) != nil { // its error could repeat the text
		return "", "", fault.New(fault.Operator, "read secret", s.ARN, hint, "it is no JSON object").WithCode(contract.CodeSwitchRefused)
	}
	var host string
	if json.Unmarshal(keys[s.HostKey], &host) != nil {
		return "", "", fault.New(fault.Operator, "read secret", s.ARN, hint, "it has no text under the key %q", s.HostKey).WithCode(contract.CodeSwitchRefused)
	}
	was, same := "host "+host, host == s.Target.Host
	set := func(key string, value any) error {
		raw, err := json.Marshal(value)
		keys[key] = raw
		return err
	}
	errs := []error{set(s.HostKey, s.Target.Host)}
	if old, there := keys[s.PortKey]; there || s.Target.Port != 5432 {
		was += ", port " + plain(old)
		same = same && plain(old) == strconv.Itoa(s.Target.Port)
		if len(old) > 0 && old[0] == '"' {
			errs = append(errs, set(s.PortKey, strconv.Itoa(s.Target.Port)))
		} else {
			errs = append(errs, set(s.PortKey, s.Target.Port))
		}
	}
	if old, there := keys[s.DatabaseKey]; there {
		was += ", database " + plain(old)
		same = same && plain(old) == s.Target.Database
		errs = append(errs, set(s.DatabaseKey, s.Target.Database))
	}
	if same {
		return text, was, errors.Join(errs...)
	}
	out, err := json.Marshal(keys)
	return string(out), was, errors.Join(append(errs, err)...)
}

// plain is a JSON text or number without its quotes.
func plain(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}
