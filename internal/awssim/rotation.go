package awssim

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
)

// Statuses of the secret that RDS manages for a master user.
const (
	secretActive   = "active"
	secretRotating = "rotating"
	secretImpaired = "impaired"
)

// PasswordSetter is a Server whose master user's password follows the rotation of its secret. Optional.
type PasswordSetter interface {
	// SetPassword is called without locks, before callers can read the new secret.
	SetPassword(ctx context.Context, user, password string) error
}

func orActive(status string) string {
	if status == "" {
		return secretActive
	}
	return status
}

// masterSecret is the part of a database, instance or cluster, that has to do with its secret.
type masterSecret struct {
	what   string
	user   string
	server Server
	status *string
}

// RotateSecret replaces the text of a secret by a new version. If RDS manages the secret, that is if it is the MasterSecretARN
// of an instance or cluster, this only begins the rotation: the secret is rotating, the server is given the new password (see
// PasswordSetter), then the new text is there and the secret is active again; if the server refuses, it is impaired.
func (s *Simulator) RotateSecret(name, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.findSecret(name)
	if x == nil {
		return fmt.Errorf("awssim: no secret %q", name)
	}
	s.beginRotation(x, text)
	return nil
}

// beginRotation gives the number of the version that there will be.
func (s *Simulator) beginRotation(x *secret, text string) (version int) {
	version = x.version + 1
	owner := s.ownerOf(x.arn)
	if owner == nil {
		x.put(text)
		return version
	}
	*owner.status = secretRotating
	s.options.Logf("%s: its secret is %s", owner.what, secretRotating)
	s.wg.Go(func() { s.rotate(x, text, *owner) })
	return version
}

// rotateByAPI gives the secret a random new password; in the form of RDS everything else in it stays.
func (s *Simulator) rotateByAPI(x *secret) (any, error) {
	if owner := s.ownerOf(x.arn); owner != nil && orActive(*owner.status) == secretRotating {
		return nil, refuse("InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
	}
	version := s.beginRotation(x, withPassword(x.text, rand.Text()))
	return map[string]any{"ARN": x.arn, "Name": x.name, "VersionId": versionID(version)}, nil
}

// withPassword puts a new password into a secret's text.
func withPassword(text, password string) string {
	var fields map[string]any
	if err := json.Unmarshal([]byte(text), &fields); err != nil || fields["password"] == nil {
		return password
	}
	fields["password"] = password
	out, err := json.Marshal(fields)
	if err != nil {
		panic(fmt.Sprintf("awssim: %v", err)) // it was JSON a moment ago
	}
	return string(out)
}

func (s *Simulator) ownerOf(arn string) *masterSecret {
	for _, in := range s.world.instances {
		if c := in.config; c.MasterSecretARN == arn {
			return &masterSecret{"instance " + c.ID, c.MasterUser, c.Server, &in.secret}
		}
	}
	for _, cl := range s.world.clusters {
		if c := cl.config; c.MasterSecretARN == arn {
			return &masterSecret{"cluster " + c.ID, c.MasterUser, c.Server, &cl.secret}
		}
	}
	return nil
}

func (s *Simulator) rotate(x *secret, text string, owner masterSecret) {
	if !s.lasts(s.options.Timings.Rotating) {
		return
	}
	s.mu.Lock()
	broken := s.take("RotateSecret", FailRotation) != nil
	s.mu.Unlock()
	var failed error
	if broken {
		failed = errors.New("the rotation shall fail")
	} else if setter, can := owner.server.(PasswordSetter); can {
		failed = setter.SetPassword(s.ctx, owner.user, passwordIn(text))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if failed != nil {
		*owner.status = secretImpaired
		s.options.Logf("%s: its secret is %s: %v", owner.what, secretImpaired, failed)
		return
	}
	x.put(text)
	*owner.status = secretActive
	s.options.Logf("%s: its secret is %s", owner.what, secretActive)
}

// passwordIn reads the form that RDS writes, {"username": …, "password": …}; any other text is the password itself.
func passwordIn(text string) string {
	var fields struct{ Password string }
	if err := json.Unmarshal([]byte(text), &fields); err == nil && fields.Password != "" {
		return fields.Password
	}
	return text
}
