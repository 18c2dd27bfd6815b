// Command awssim serves the simulated APIs of RDS, EC2, Secrets Manager and SSM, and instance metadata on a port of its own,
// for one RDS instance or cluster, whose PostgreSQL server runs somewhere else, usually in another container; with --apis-only
// there is none. docs/simulator.md tells how to test one's own automation with it.
//
// A reboot of the instance restarts that server. Nothing can start a process in another container, so the two share a
// directory (--control-dir): this program writes the settings and a token there, and server-loop.sh, which runs the server,
// restarts it when the token changes. postgresql.conf must include the settings; include-settings.sh sees to that when the
// official image makes its data directory.
//
// A rotation of the master user's secret sets the new password on that server. Faults are switched on, and calls held and
// listed, below /_control/ of the same address.
//
// What it knows (parameter groups, tags, what is attached) lives in memory: started again, it begins anew.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"timeferry/internal/awssim"
	"timeferry/internal/pgkit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "awssim:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	listen     string
	metadata   awssim.MetadataConfig
	metaListen string
	region     string
	control    string
	state      time.Duration
	instance   awssim.InstanceConfig
	cluster    string
	engine     string
	apisOnly   bool
	server     pgkit.Endpoint
	passFile   string
	masterPass string
}

// parse reads the flags. Each has an environment variable of the same name in capitals after AWSSIM_, dashes as
// underscores, that gives its default.
func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("awssim", flag.ContinueOnError)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:4566", "`address` to serve the APIs on")
	flags.StringVar(&o.metaListen, "metadata-listen", "", "`address` to serve instance metadata (IMDSv2) on, for AWS_EC2_METADATA_SERVICE_ENDPOINT;\ndefault: it is not served")
	flags.StringVar(&o.metadata.PrivateIP, "metadata-private-ip", "127.0.0.1", "private `address` that the metadata shows: that of the worker")
	flags.StringVar(&o.region, "region", "us-east-1", "AWS region in ARNs")
	flags.StringVar(&o.control, "control-dir", "/control", "`directory` shared with server-loop.sh, which runs the PostgreSQL server: a reboot\n"+
		"writes settings.conf and then a new token to the file restart; the loop restarts the\nserver and, if it does not start, writes that token to the file failed")
	flags.DurationVar(&o.state, "state-duration", time.Second, "how long modifying, applying and rebooting last at least")
	flags.StringVar(&o.instance.ID, "instance", "shop-prod", "identifier of the instance")
	flags.StringVar(&o.cluster, "cluster", "", "identifier of a `cluster`, which is there instead of the instance")
	flags.StringVar(&o.engine, "engine", "aurora-postgresql", "`engine` of the cluster: aurora-postgresql, or postgres for a Multi-AZ DB cluster")
	flags.BoolVar(&o.apisOnly, "apis-only", false, "no server is behind the instance: a reboot is only played")
	flags.StringVar(&o.instance.EngineVersion, "engine-version", "", "`version` that the API shows; default: what the server says")
	flags.StringVar(&o.instance.Host, "host", "127.0.0.1", "`host` of the endpoint that the API shows")
	flags.IntVar(&o.instance.Port, "port", 5432, "port of the endpoint that the API shows")
	flags.StringVar(&o.instance.MasterUser, "master-user", "postgres", "master user that the API shows")
	flags.StringVar(&o.masterPass, "master-password-file", "", "`file` with the master user's password; the API then offers it as the secret that RDS manages")
	flags.StringVar(&o.server.Host, "server-host", "", "`host` where this program reaches the server; default: --host")
	flags.IntVar(&o.server.Port, "server-port", 0, "`port` there; default: --port")
	flags.StringVar(&o.server.User, "superuser", "postgres", "superuser of the server, to see that a restart took effect")
	flags.StringVar(&o.server.Database, "superuser-database", "postgres", "database it connects to")
	flags.StringVar(&o.passFile, "superuser-password-file", "", "`file` with its password; default: the variable PGPASSWORD")
	var bad error
	flags.VisitAll(func(f *flag.Flag) {
		name := "AWSSIM_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, set := os.LookupEnv(name); set {
			if err := f.Value.Set(value); err != nil {
				bad = errors.Join(bad, fmt.Errorf("%s: %w", name, err))
			}
		}
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	return o, errors.Join(bad, o.complete(flags.Args()))
}

// complete fills in what follows from other flags, and reads the superuser's password.
func (o *options) complete(rest []string) (err error) {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected argument %q", rest[0])
	}
	if o.server.Host == "" {
		o.server.Host = o.instance.Host
	}
	if o.server.Port == 0 {
		o.server.Port = o.instance.Port
	}
	if o.apisOnly && o.instance.EngineVersion == "" {
		return errors.New("--apis-only: there is no server to ask for its version: give --engine-version, like 16.8")
	}
	if o.cluster != "" && o.engine != "aurora-postgresql" && o.engine != "postgres" {
		return fmt.Errorf("--engine %s: choose aurora-postgresql or postgres", o.engine)
	}
	o.server.Password = os.Getenv("PGPASSWORD")
	if o.passFile != "" {
		o.server.Password, err = readSecret(o.passFile)
	}
	return err
}

func readSecret(file string) (string, error) {
	content, err := os.ReadFile(file)
	return strings.TrimRight(string(content), "\r\n"), err
}

func run(ctx context.Context, o options) error {
	var behind awssim.Server
	if !o.apisOnly {
		server := &server{endpoint: o.server, control: o.control}
		version, err := server.awaitVersion(ctx)
		if err != nil {
			return err
		}
		if o.instance.EngineVersion == "" {
			o.instance.EngineVersion = version
		}
		behind = server
	}
	simulator, err := o.account(behind)
	if err != nil {
		return err
	}
	defer simulator.Close()
	sites := []site{{"the APIs of RDS, EC2, Secrets Manager and SSM are", o.listen, simulator}}
	if o.metaListen != "" {
		sites = append(sites, site{"instance metadata is", o.metaListen, simulator.Metadata(o.metadata)})
	}
	return serveAll(ctx, sites)
}

// account makes the simulated account with its instance or cluster. Close it.
func (o options) account(behind awssim.Server) (*awssim.Simulator, error) {
	simulator := awssim.New(awssim.Options{Region: o.region, Logf: log.Printf,
		Timings: awssim.Timings{Modifying: o.state, Applying: o.state, BeforeReboot: o.state / 2, Rebooting: o.state}})
	id, in := o.instance.ID, o.instance
	if o.cluster != "" {
		id = o.cluster
	}
	if o.masterPass != "" {
		password, err := readSecret(o.masterPass)
		if err != nil {
			simulator.Close()
			return nil, err
		}
		in.MasterSecretARN = simulator.PutSecret("rds!db-"+id, masterSecret(in.MasterUser, password))
	}
	in.Server = behind
	if o.cluster == "" {
		simulator.AddInstance(in)
		return simulator, nil
	}
	simulator.AddCluster(awssim.ClusterConfig{ID: id, Engine: o.engine, EngineVersion: in.EngineVersion, MasterUser: in.MasterUser, Host: in.Host, Port: in.Port,
		MasterSecretARN: in.MasterSecretARN, Server: in.Server})
	return simulator, nil
}

// site is one address and what answers there.
type site struct {
	what    string
	address string
	handler http.Handler
}

// serveAll answers until ctx ends, or one of the sites cannot go on, which ends the others.
func serveAll(ctx context.Context, sites []site) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(sites))
	for _, x := range sites {
		go func() { ended <- serve(ctx, x) }()
	}
	var all error
	for range sites {
		all = errors.Join(all, <-ended)
		cancel()
	}
	return all
}

// serve answers until ctx ends.
func serve(ctx context.Context, x site) error {
	web := &http.Server{Addr: x.address, Handler: x.handler, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- web.ListenAndServe() }()
	log.Printf("%s on http://%s", x.what, x.address)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return web.Shutdown(grace)
	}
}
