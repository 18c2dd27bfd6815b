// Package pgkit opens connections to PostgreSQL and reads its catalogue into shape's values.
//
// In: an Endpoint with its password. Out: connections whose sessions are fit for long work, and shape.Table.
// Invariants: a password never leaves this package in an error or a log.
//
// Not here: policy about which side it serves.
package pgkit

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Endpoint is a database, and how to log in. It holds a secret: never log or serialise it.
type Endpoint struct {
	Host        string
	Port        int
	Database    string
	User        string
	Password    string
	SSLMode     string // libpq's words; empty means prefer
	SSLRootCert string // file, for verify-ca and verify-full
	// PasswordFunc, if not nil, is asked for the password anew for each connection, instead of Password.
	PasswordFunc func(context.Context) (string, error) `json:"-"`
	// IAM says that the password is a token of AWS's IAM, which replication connections take only where RDS is told so.
	IAM bool
	// Rotates says that the password may be replaced while we work: a refused login is then tried again for a while, see
	// login.go.
	Rotates bool
	// PasswordFrom names where the password is read, never what it is: a login with a password from elsewhere is another login.
	PasswordFrom string
}

// passwordTimeout bounds how long PasswordFunc may take: a vault may be far away.
const passwordTimeout = 30 * time.Second

// CurrentPassword is what to log in with now. Ask again for each connection.
func (e Endpoint) CurrentPassword(ctx context.Context) (string, error) {
	if e.PasswordFunc == nil {
		return e.Password, nil
	}
	ctx, cancel := context.WithTimeout(ctx, passwordTimeout)
	defer cancel()
	password, err := e.PasswordFunc(ctx)
	if err != nil {
		return "", fmt.Errorf("log in to %s: %w", e, err)
	}
	return password, nil
}

// String names the endpoint without its password.
func (e Endpoint) String() string {
	return fmt.Sprintf("%s@%s:%d/%s", e.User, e.Host, e.Port, e.Database)
}

// GoString keeps the password out of %#v too.
func (e Endpoint) GoString() string { return e.String() }

// ApplicationName is what our sessions are called in pg_stat_activity; the fence spares sessions with this prefix.
const ApplicationName = "timeferry"

// Dial connects for ordinary SQL. purpose goes into application_name as "timeferry <purpose>". The caller closes the
// connection. Timeouts that would end long work are switched off for the session, the time zone and date style are fixed,
// and default_transaction_read_only is off, so that our own fence does not stop us. A login that worked before and is refused
// now is tried again for up to two minutes where the password can be rotated.
func Dial(ctx context.Context, e Endpoint, purpose string) (*pgx.Conn, error) {
	return DialThrough(ctx, e, purpose, nil)
}

// DialThrough is Dial with wrap, if not nil, around the reader of what the server sends, from its first message on. It is
// called for each attempt to connect; the last one's reader is the connection's.
func DialThrough(ctx context.Context, e Endpoint, purpose string, wrap func(io.Reader) io.Reader) (*pgx.Conn, error) {
	return dial(ctx, e, purpose, throughReader(wrap), nil)
}

func throughReader(wrap func(io.Reader) io.Reader) pgconn.BuildFrontendFunc {
	if wrap == nil {
		return nil
	}
	return func(r io.Reader, w io.Writer) *pgproto3.Frontend { return pgproto3.NewFrontend(wrap(r), w) }
}

// DialNoticing is Dial with onNotice being called for each notice and warning of the server, from the goroutine that reads.
func DialNoticing(ctx context.Context, e Endpoint, purpose string, onNotice func(*pgconn.Notice)) (*pgx.Conn, error) {
	return dial(ctx, e, purpose, nil, onNotice)
}

func dial(ctx context.Context, e Endpoint, purpose string, build pgconn.BuildFrontendFunc, onNotice func(*pgconn.Notice)) (*pgx.Conn, error) {
	conn, err := logIn(ctx, e, false, func() (*pgx.Conn, error) {
		config, reached, err := e.config(ctx, purpose)
		if err != nil {
			return nil, err
		}
		if build != nil {
			config.BuildFrontend = build
		}
		if onNotice != nil {
			config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { onNotice(n) }
		}
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return nil, explainConnect(e, *reached, err)
		}
		return conn, nil
	})
	if err != nil {
		return nil, err
	}
	begun, cancel := beginning(ctx, e)
	defer cancel()
	if _, err := conn.Exec(begun, sessionSettings); err != nil {
		_ = conn.Close(context.WithoutCancel(ctx)) // the first error is the one that matters
		return nil, fmt.Errorf("prepare session on %s: %w", e, err)
	}
	return conn, nil
}

// sessionSettings are run on every ordinary connection. transaction_timeout (17) and idle_session_timeout (14) exist only on newer servers.
// With the keepalives the server gives up a session, and its locks, a minute after our machine vanished, not after two hours.
// The first SET stands alone: on a busy server, a database's own statement_timeout could strike while the others are found.
const sessionSettings = `SET statement_timeout = 0; SELECT set_config(name, value, false) FROM (VALUES
	('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
	('idle_session_timeout', '0'), ('transaction_timeout', '0'), ('default_transaction_read_only', 'off'),
	('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'),
	('TimeZone', 'UTC'), ('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'), ('extra_float_digits', '3'),
	('bytea_output', 'hex'), ('lc_monetary', 'C'), ('standard_conforming_strings', 'on')) s(name, value)
	JOIN pg_catalog.pg_settings USING (name)`

// DialConsole connects to the console of a pooler, which speaks the protocol and knows neither our settings nor prepared
// statements. The caller closes the connection.
func DialConsole(ctx context.Context, e Endpoint, purpose string) (*pgconn.PgConn, error) {
	config, reached, err := e.config(ctx, purpose)
	if err != nil {
		return nil, err
	}
	delete(config.RuntimeParams, "options") // empty, and yet refused
	conn, err := pgconn.ConnectConfig(ctx, &config.Config)
	if err != nil {
		return nil, explainConnect(e, *reached, err)
	}
	return conn, nil
}

// DialReplication connects for the replication protocol (replication=database). The caller closes the connection.
func DialReplication(ctx context.Context, e Endpoint, purpose string) (*pgconn.PgConn, error) {
	return logIn(ctx, e, true, func() (*pgconn.PgConn, error) { return dialReplication(ctx, e, purpose) })
}

func dialReplication(ctx context.Context, e Endpoint, purpose string) (*pgconn.PgConn, error) {
	config, reached, err := e.config(ctx, purpose)
	if err != nil {
		return nil, err
	}
	gather(config)
	config.RuntimeParams["replication"] = "database"
	// The stream's values come as this session's text: it must not depend on the server's or the database's settings. With an
	// empty search_path the names in regclass and the like come qualified, as the target wants them.
	config.RuntimeParams["options"] = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0" +
		" -c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=3 -c bytea_output=hex -c lc_monetary=C -c search_path="
	conn, err := pgconn.ConnectConfig(ctx, &config.Config)
	if err != nil {
		return nil, explainReplication(e, explainConnect(e, *reached, err))
	}
	return conn, nil
}

// connectTimeout is for one address, from the first packet to the end of the login.
const connectTimeout = 15 * time.Second

// beginning bounds the first statements of a session, which nobody watches yet: what is cut off just then would wait for ever.
func beginning(ctx context.Context, e Endpoint) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("%s has not answered the first statement of a session within %s", e, connectTimeout))
}

// config also gives what it will note: whether an address was reached, which pgconn's errors do not tell after a timeout.
func (e Endpoint) config(ctx context.Context, purpose string) (config *pgx.ConnConfig, reached *bool, err error) {
	mode := e.SSLMode
	if mode == "" {
		mode = "prefer"
	}
	// Everything that matters is in the string, even where it is empty, so that PGHOST, PGSSLROOTCERT and the like cannot
	// change it.
	dsn := fmt.Sprintf("sslmode=%s sslrootcert='%s' sslcert='' sslkey='' passfile='' options=''", mode, escapeDSN(e.SSLRootCert)) + fmt.Sprintf(" host='%s' port=%d dbname='%s' user='%s' target_session_attrs=any",
		escapeDSN(e.Host), e.Port, escapeDSN(e.Database), escapeDSN(e.User))
	config, err = pgx.ParseConfig(dsn)
	if err != nil {
		return nil, nil, explainSettings(e)
	}
	if config.Password, err = e.CurrentPassword(ctx); err != nil {
		return nil, nil, err
	}
	config.ConnectTimeout = connectTimeout
	config.RuntimeParams["client_encoding"] = "UTF8" // else text would come in the database's encoding
	config.RuntimeParams["application_name"] = ApplicationName + " " + purpose
	dialer := &net.Dialer{Control: giveUpUnanswered, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 10 * time.Second, Count: 6}}
	reached = new(bool)
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		*reached = *reached || err == nil
		return conn, err
	}
	return config, reached, nil
}

func escapeDSN(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] == '\'' || s[i] == '\\' {
			out = append(out, '\\')
		}
		out = append(out, s[i])
	}
	return string(out)
}
