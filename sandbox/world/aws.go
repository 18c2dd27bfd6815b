package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"timeferry/internal/awssim"
	"timeferry/internal/pgkit"
)

// startAWS serves the simulated API, and beside it the metadata of the machine that the worker runs on.
func (w *World) startAWS(ctx context.Context) error {
	version, err := w.sourceVersion(ctx)
	if err != nil {
		return err
	}
	if w.options.Gate {
		target := net.JoinHostPort(Host, strconv.Itoa(w.Source.Port()))
		if w.gate, err = openGate(w.Ports.Source, target); err != nil {
			return err
		}
		if err := w.gate.Allow(w.options.Ingress); err != nil {
			return err
		}
	}
	w.AWS = awssim.New(awssim.Options{Region: Region, Timings: w.options.Timings, OnIngress: w.ingressChanged,
		Logf: func(format string, args ...any) { w.say("rds: "+format, args...) }})
	w.AWS.AddSecurityGroup(awssim.SecurityGroupConfig{ID: SecurityGroup, Name: Instance, Ingress: w.options.Ingress})
	secret, err := secretText(SourceUser, w.passwords.source)
	if err != nil {
		return err
	}
	w.AWS.AddInstance(awssim.InstanceConfig{ID: Instance, EngineVersion: version, MasterUser: SourceUser, Host: Host, Port: w.Ports.Source,
		SecurityGroup: SecurityGroup, MasterSecretARN: w.AWS.PutSecret(masterSecret, secret), Server: newInstance(w)})
	err = errors.Join(w.serve(w.Ports.AWS, w.AWS),
		w.serve(w.Ports.Metadata, w.AWS.Metadata(awssim.MetadataConfig{PrivateIP: Host, SecurityGroup: SecurityGroup})))
	if err != nil {
		return err
	}
	w.say("source is the RDS instance %s, PostgreSQL %s, on port %d; its API on port %d, instance metadata on port %d",
		Instance, version, w.Ports.Source, w.Ports.AWS, w.Ports.Metadata)
	return nil
}

func (w *World) sourceVersion(ctx context.Context) (version string, err error) {
	conn, err := pgkit.Dial(ctx, w.Source.Superuser("postgres"), "sandbox")
	if err != nil {
		return "", err
	}
	err = conn.QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&version)
	return version, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

func (w *World) serve(port int, handler http.Handler) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(Host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	w.servers = append(w.servers, server)
	go func() { _ = server.Serve(listener) }() // ends with Close, and says only that
	return nil
}

// ingressChanged lets the gate follow the instance's security group.
func (w *World) ingressChanged(group string, rules []awssim.Rule) {
	if w.gate == nil || group != SecurityGroup {
		return
	}
	if err := w.gate.Allow(rules); err != nil {
		w.say("the gate does not follow the security group: %v", err)
		return
	}
	w.say("security group %s has %s", group, count(len(rules), "inbound rule"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
