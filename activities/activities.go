package activities

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/client"

	"timeferry/internal/config"
	"timeferry/internal/contract"
	"timeferry/internal/machine"
	"timeferry/internal/obs"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/rdsctl"
	"timeferry/internal/spool"
)

// Activities is what every activity shares: only clients and places, no state of a migration but how many streams of its copy run here.
// It is safe for concurrent use.
type Activities struct {
	// Client tells workflows of early results (the snapshot's holder).
	Client client.Client
	// Spools are the spool directories of this worker.
	Spools *spool.Set
	// HostID is this worker's identity, kept in its data directory.
	HostID string
	Log    *slog.Logger
	// Metrics may be nil.
	Metrics *obs.Metrics
	// AWSPoll is how often RDS is asked while something is awaited; zero: the default.
	AWSPoll time.Duration
	// AWSMaxBackoff is the longest pause between attempts of one AWS call; zero: the SDK's.
	AWSMaxBackoff time.Duration
	// Machine says what the machine is that this runs on; nil: it is not compared with what the database asks for.
	Machine func(context.Context) (machine.Facts, error)
	// Now is the clock that prepare.window goes by; nil: the machine's.
	Now func() time.Time

	shares     copyShares
	copyLimits copyLimits
}

func (a *Activities) now() time.Time {
	if a.Now != nil {
		return a.Now()
	}
	return time.Now()
}

// aws opens the RDS room for the spec's region.
func (a *Activities) aws(ctx context.Context, spec contract.Spec) (*rdsctl.Client, error) {
	region := ""
	if spec.Source.RDS != nil {
		region = spec.Source.RDS.Region
	}
	return rdsctl.Open(ctx, rdsctl.Options{Region: region, PollInterval: a.AWSPoll, MaxBackoff: a.AWSMaxBackoff})
}

// lazySecrets reaches for AWS only when a secret is asked for.
type lazySecrets struct {
	a    *Activities
	spec contract.Spec
}

func (l lazySecrets) Secret(ctx context.Context, arn string) (string, error) {
	c, err := l.a.aws(ctx, l.spec)
	if err != nil {
		return "", err
	}
	return c.Secret(ctx, arn)
}

// source is the source's endpoint. Its password, or a fresh IAM token, is asked for anew at each connection, so that rooms
// which reconnect by themselves follow a rotation.
func (a *Activities) source(_ context.Context, spec contract.Spec) (pgkit.Endpoint, error) {
	return a.endpoint(spec, spec.Source.Endpoint)
}

// target is the target's endpoint, likewise.
func (a *Activities) target(_ context.Context, spec contract.Spec) (pgkit.Endpoint, error) {
	return a.endpoint(spec, spec.Target)
}

func (a *Activities) endpoint(spec contract.Spec, e contract.Endpoint) (pgkit.Endpoint, error) {
	if !e.Password.IAM {
		return config.ResolveLazily(e, lazySecrets{a, spec})
	}
	return config.ResolveWith(e, func(ctx context.Context) (string, error) {
		c, err := a.aws(ctx, spec)
		if err != nil {
			return "", err
		}
		return c.AuthToken(ctx, e.Host, e.Port, e.User)
	})
}

// withSource runs do on one connection to the source, made for purpose.
func (a *Activities) withSource(ctx context.Context, spec contract.Spec, purpose string, do func(*pgx.Conn) error) error {
	e, err := a.source(ctx, spec)
	if err != nil {
		return err
	}
	return withConn(ctx, e, purpose, do)
}

// withTarget runs do on one connection to the target, made for purpose.
func (a *Activities) withTarget(ctx context.Context, spec contract.Spec, purpose string, do func(*pgx.Conn) error) error {
	e, err := a.target(ctx, spec)
	if err != nil {
		return err
	}
	return withConn(ctx, e, purpose, do)
}

// withBoth runs do on one connection to each side.
func (a *Activities) withBoth(ctx context.Context, spec contract.Spec, purpose string, do func(source, target *pgx.Conn) error) error {
	return a.withSource(ctx, spec, purpose, func(source *pgx.Conn) error {
		return a.withTarget(ctx, spec, purpose, func(target *pgx.Conn) error { return do(source, target) })
	})
}

func withConn(ctx context.Context, e pgkit.Endpoint, purpose string, do func(*pgx.Conn) error) error {
	conn, err := pgkit.Dial(ctx, e, purpose)
	if err != nil {
		return err
	}
	defer closeQuietly(ctx, conn)
	return do(conn)
}

// closeQuietly ends a connection whose work is done: a failure to say goodbye changes nothing.
func closeQuietly(ctx context.Context, conn *pgx.Conn) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = conn.Close(closing)
}
