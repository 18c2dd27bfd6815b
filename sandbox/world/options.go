package world

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"timeferry/internal/awssim"
	"timeferry/internal/fault"
)

// Ports on 127.0.0.1. A zero field means any free port.
type Ports struct {
	Source, Target, AWS, Metadata, Temporal, UI int
}

// DefaultPorts are those of the documentation.
func DefaultPorts() Ports {
	return Ports{Source: 54315, Target: 54317, AWS: 4599, Metadata: 4598, Temporal: 7233, UI: 8233}
}

// PortSetting is how a person chooses one port.
type PortSetting struct {
	Flag, Env, What string
	Port            *int
}

// Settings lists the ports with the flag and the environment variable that set them.
func (p *Ports) Settings() []PortSetting {
	return []PortSetting{
		{"source-port", "SANDBOX_SOURCE_PORT", "the source PostgreSQL", &p.Source},
		{"target-port", "SANDBOX_TARGET_PORT", "the target PostgreSQL", &p.Target},
		{"aws-port", "SANDBOX_AWS_PORT", "the RDS API simulator", &p.AWS},
		{"metadata-port", "SANDBOX_METADATA_PORT", "the instance metadata", &p.Metadata},
		{"temporal-port", "SANDBOX_TEMPORAL_PORT", "the Temporal server", &p.Temporal},
		{"ui-port", "SANDBOX_UI_PORT", "the Temporal UI", &p.UI},
	}
}

// Options of a world. The zero value is a world on free ports in the repository's .sandbox, with almost no data.
type Options struct {
	Root       string         // the repository; empty: found from the working directory upward
	Dir        string         // state; empty: .sandbox in Root
	Ports      Ports          // 0: free ones
	Scale      float64        // of the shop's data; 1 is two million rows in metrics
	TemporalDB string         // a file that keeps Temporal's histories; empty: in memory
	Timings    awssim.Timings // how long RDS's states last
	WorkerArgs []string       // more of the worker's arguments
	NoWorker   bool           // the caller starts it with StartWorker
	// Gate keeps everybody out of the source whom no rule of its security group lets in; the spec then asks for a rule.
	Gate    bool
	Ingress []awssim.Rule // that the group has from the start
	// RotationGap is how long the server already has the new password while the secret still shows the old one.
	RotationGap time.Duration
	Log         io.Writer // a line for each step; nil: nowhere
}

// DemoTimings are long enough for a person to see the states, and far shorter than RDS's own.
var DemoTimings = awssim.Timings{Modifying: time.Second, Applying: time.Second, BeforeReboot: 500 * time.Millisecond, Rebooting: 2 * time.Second}

func (o *Options) complete() error {
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Root == "" {
		root, err := findRoot()
		if err != nil {
			return err
		}
		o.Root = root
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(o.Root, ".sandbox")
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	return o.Ports.check()
}

// findRoot looks for the directory with both the module and the sandbox's parts.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, "go.mod")) && exists(filepath.Join(dir, "sandbox", "shop", "schema.sql")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fault.New(fault.Operator, "find the", "repository", "run the sandbox inside of a clone of Timeferry", "no directory from here upward is one")
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// check makes sure that every port is free, and chooses those that are 0. All chosen ports differ, since each is held
// until all are known.
func (p *Ports) check() error {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close() // nobody has connected
		}
	}()
	for _, s := range p.Settings() {
		l, err := net.Listen("tcp", net.JoinHostPort(Host, strconv.Itoa(*s.Port)))
		if err != nil {
			return fault.New(fault.Operator, "use port", fmt.Sprintf("%d for %s", *s.Port, s.What),
				fmt.Sprintf("stop what listens there, or choose another port with --%s or %s; 0 is any free one", s.Flag, s.Env), "%w", err).WithCode("port-in-use")
		}
		held = append(held, l)
		*s.Port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}
