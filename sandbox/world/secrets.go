package world

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"time"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
	"timeferry/sandbox/shop"
)

// The certificates of the two servers' authorities, in the world's directory.
const (
	sourceRoot = "source-root.pem"
	targetRoot = "target-root.pem"
)

// masterSecret is the secret that RDS manages for the source's master user.
const masterSecret = "rds!db-" + Instance

// TargetPasswordFile holds the target's password, for a spec that takes it from a file.
func (w *World) TargetPasswordFile() string { return w.Path("secrets", "target") }

// keepRoot copies the certificate of a server's authority to where it outlives the server's directory, and anyone may read it.
func (w *World) keepRoot(name string, server *pgserver.Server) error {
	text, err := os.ReadFile(server.RootCert())
	if err != nil {
		return err
	}
	return os.WriteFile(w.Path(name), text, 0o644)
}

func (w *World) keepTargetPassword() error {
	return errors.Join(os.MkdirAll(w.Path("secrets"), 0o700), os.WriteFile(w.TargetPasswordFile(), []byte(w.passwords.target+"\n"), 0o600))
}

// secretText is the form in which RDS keeps a password that it manages.
func secretText(user, password string) (string, error) {
	text, err := json.Marshal(map[string]string{"username": user, "password": password})
	return string(text), err
}

// RotateSource begins a rotation of the source's password, as RDS does it: the server takes the new one first, and the secret shows
// it a moment later.
func (w *World) RotateSource() error {
	text, err := secretText(SourceUser, rand.Text())
	if err != nil {
		return err
	}
	return w.AWS.RotateSecret(masterSecret, text)
}

// SetPassword implements awssim.PasswordSetter.
func (i *instance) SetPassword(ctx context.Context, user, password string) error {
	err := run(ctx, i.world.Source.Superuser("postgres"), "ALTER ROLE "+ident.Quote(user)+" PASSWORD "+ident.Literal(password))
	if err != nil {
		return err
	}
	i.world.secretMu.Lock()
	i.world.passwords.source = password
	i.world.secretMu.Unlock()
	return pgkit.Sleep(ctx, max(i.world.options.RotationGap, time.Millisecond))
}

func (w *World) sourcePassword() string {
	w.secretMu.Lock()
	defer w.secretMu.Unlock()
	return w.passwords.source
}

// SourceMaster is the source's master user, past the gate if there is one.
func (w *World) SourceMaster() pgkit.Endpoint {
	return pgkit.Endpoint{Host: Host, Port: w.Source.Port(), Database: SourceDatabase, User: SourceUser, Password: w.sourcePassword(),
		SSLMode: "verify-full", SSLRootCert: w.Path(sourceRoot)}
}

// SourceApp is the application's role on the source.
func (w *World) SourceApp() pgkit.Endpoint {
	e := w.SourceMaster()
	e.User, e.Password = shop.AppRole, w.passwords.app
	return e
}

// TargetMaster is the target's administrator.
func (w *World) TargetMaster() pgkit.Endpoint {
	return pgkit.Endpoint{Host: Host, Port: w.Ports.Target, Database: TargetDatabase, User: TargetUser, Password: w.passwords.target,
		SSLMode: "verify-full", SSLRootCert: w.Path(targetRoot)}
}

// TargetApp is the application's role on the target, once it has been given the same password there.
func (w *World) TargetApp() pgkit.Endpoint {
	e := w.TargetMaster()
	e.User, e.Password = shop.AppRole, w.passwords.app
	return e
}
