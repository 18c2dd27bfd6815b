package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/launch"
	"timeferry/internal/machine"
)

// machineFlags are those of machine plan and machine launch.
type machineFlags struct {
	file, dataSize, format string
	order                  launch.Order
	environment            []string
	poll                   time.Duration
}

func machineCommand(out io.Writer) *cobra.Command {
	c := &cobra.Command{
		Use:   "machine",
		Short: "Plan, launch and terminate the intermediate machine on EC2",
		Long: `Plan, launch and terminate the intermediate machine on EC2: the one that runs the worker, in the VPC of the RDS database.

These commands speak to AWS with the credentials that are found here (AWS_PROFILE and so on), not with the worker's.
deploy/iam/machine.json is the policy that they need; docs/rds.md says what the machine is.`,
		RunE: group,
	}
	c.AddCommand(machinePlanCommand(out), machineLaunchCommand(out), machineTerminateCommand(out))
	return c
}

func machinePlanCommand(out io.Writer) *cobra.Command {
	var f machineFlags
	c := &cobra.Command{
		Use:   "plan -f SPEC",
		Short: "Show which machine would be launched; changes nothing",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return machinePlan(cmd.Context(), out, f) },
	}
	f.register(c)
	return c
}

func machineLaunchCommand(out io.Writer) *cobra.Command {
	var f machineFlags
	c := &cobra.Command{
		Use:   "launch -f SPEC --worker-url URL --worker-sha256 SUM",
		Short: "Launch the machine, with a worker on it, unless it is there",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return machineLaunch(cmd.Context(), out, f) },
	}
	f.register(c)
	setup, flags := &f.order.Setup, c.Flags()
	flags.StringVar(&setup.WorkerURL, "worker-url", "", "where the machine fetches the worker from, with https; a presigned URL of S3 will do")
	flags.StringVar(&setup.WorkerSHA256, "worker-sha256", "", "what sha256sum says of the worker")
	flags.StringArrayVar(&f.environment, "env", nil, "NAME=value for the worker, like TEMPORAL_ADDRESS; nothing secret")
	flags.StringVar(&setup.EnvironmentSecret, "environment-secret", "", "ARN of a secret with the worker's secret variables, a JSON object")
	flags.StringVar(&setup.EnvironmentParameter, "environment-parameter", "", "parameter of SSM with the worker's secret variables, a JSON object; instead of a secret")
	return c
}

func (f *machineFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "the spec; - is standard input")
	flags.StringVar(&f.dataSize, "data-size", "", "size of the database, like 200GiB (default: the storage that RDS has allocated)")
	flags.StringVar(&f.order.Type, "type", "", "type of machine (default: by the size of the database)")
	flags.StringVar(&f.order.Subnet, "subnet", "", "subnet of the database's VPC (default: one of the database's, in its zone)")
	flags.BoolVar(&f.order.PublicAddress, "public-address", false, "give it a public address, for a subnet without a NAT gateway")
	flags.StringVar(&f.order.InstanceProfile, "instance-profile", "", "instance profile whose role has the worker's policies")
	hiddenPoll(c, &f.poll)
	outputFlag(c, &f.format)
	if err := c.MarkFlagRequired("file"); err != nil {
		panic(err)
	}
}

// hiddenPoll is for tests: a person has no reason to ask AWS more often.
func hiddenPoll(c *cobra.Command, poll *time.Duration) {
	c.Flags().DurationVar(poll, "aws-poll", 0, "how often AWS is asked while something is awaited (default 5s)")
	if err := c.Flags().MarkHidden("aws-poll"); err != nil {
		panic(err)
	}
}

// ready reads the spec, asks RDS about the database, and opens EC2 in its region.
func (f *machineFlags) ready(ctx context.Context) (*launch.Client, launch.Order, error) {
	order := f.order
	_, spec, err := readSpec(f.file)
	if err != nil {
		return nil, order, err
	}
	if spec.Source.RDS == nil {
		return nil, order, usage(errors.New("the spec has no source.rds: a machine is launched beside an RDS database"))
	}
	order.Migration = spec.Name
	if f.dataSize != "" {
		if order.DatabaseBytes, err = contract.ParseBytes(f.dataSize); err != nil || order.DatabaseBytes <= 0 {
			return nil, order, usage(fmt.Errorf("--data-size %s: write a size like 200GiB", f.dataSize))
		}
	}
	if order.Setup.Environment, err = environment(f.environment); err != nil {
		return nil, order, err
	}
	order.Setup.RDSBundle = spec.Source.SSLRootCert == "rds"
	source, err := findSource(ctx, *spec.Source.RDS)
	if err != nil {
		return nil, order, machineError(err)
	}
	order.Source = source.Source
	if order.DatabaseBytes == 0 {
		order.DatabaseBytes = source.allocatedBytes
	}
	c, err := launch.Open(ctx, launch.Options{Region: source.region, PollInterval: f.poll})
	return c, order, machineError(err)
}

func environment(pairs []string) (map[string]string, error) {
	all := map[string]string{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usage(errors.New("--env: write NAME=value")) // not repeated: it may be a secret
		}
		all[name] = value
	}
	return all, nil
}

// machineError chooses the exit code: what was ordered wrongly is bad usage, what is not ours is refused.
func machineError(err error) error {
	var own *fault.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &own):
	case own.Code == launch.CodeBadOrder, own.Code == launch.CodeSecretInOrder, own.Code == launch.CodeNoSubnet:
		return usage(err)
	case own.Code == launch.CodeNotOurs:
		return refused(err)
	}
	return failed(err)
}

func machinePlan(ctx context.Context, out io.Writer, f machineFlags) error {
	c, order, err := f.ready(ctx)
	if err != nil {
		return err
	}
	plan, err := c.Plan(ctx, order)
	if err != nil {
		return machineError(err)
	}
	if f.format == "json" {
		return failed(printJSON(out, plan))
	}
	return failed(printMachinePlan(out, plan))
}

func printMachinePlan(out io.Writer, p launch.Plan) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	profile := p.InstanceProfile
	if profile == "" {
		profile = "none: the worker then needs AWS credentials of its own"
	}
	address := "no"
	if p.PublicAddress {
		address = "yes"
	}
	for _, row := range [][2]string{
		{"migration", p.Migration},
		{"database", machine.Size(p.DatabaseBytes)},
		{"type", fmt.Sprintf("%s: %d CPUs, %s of memory", p.Type, p.CPUs, machine.Size(p.MemoryBytes))},
		{"disk", fmt.Sprintf("%d GiB, gp3, encrypted", p.DiskGiB)},
		{"image", "Ubuntu 24.04, the newest build"},
		{"region", p.Region + ", zone " + p.AvailabilityZone},
		{"network", p.VPC + ", " + p.Subnet},
		{"security group", p.SecurityGroup + ", made for it: nobody comes in"},
		{"public address", address},
		{"metadata", "IMDSv2 only"},
		{"instance profile", profile},
		{"software", fmt.Sprintf("the worker, PostgreSQL's client programs %d", p.PostgresClient)},
	} {
		fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, note := range p.Notes {
		fmt.Fprintln(out, "note:", note)
	}
	return nil
}

func machineLaunch(ctx context.Context, out io.Writer, f machineFlags) error {
	c, order, err := f.ready(ctx)
	if err != nil {
		return err
	}
	launched, err := c.Launch(ctx, order, progressOn(f.format))
	if err != nil {
		return machineError(err)
	}
	if f.format == "json" {
		return failed(printJSON(out, launched))
	}
	m := launched.Machine
	if launched.Existing {
		fmt.Fprintf(out, "machine %s of migration %s is there already: %s, %s, private address %s\n", m.ID, order.Migration, m.Type, m.State, m.PrivateIP)
		return nil
	}
	fmt.Fprintf(out, "machine %s is %s: %s, private address %s, security group %s\n", m.ID, m.State, m.Type, m.PrivateIP, m.SecurityGroup)
	fmt.Fprintf(out, "its worker starts in some minutes; set prepare.machine: require in the spec, and starter preflight -f will check it\n")
	return nil
}

// progressOn tells on standard error what is being waited for, once each; programs are told nothing.
func progressOn(format string) launch.ProgressFunc {
	if format == "json" {
		return nil
	}
	last := ""
	return func(message string) {
		if message != last {
			last = message
			fmt.Fprintln(os.Stderr, message)
		}
	}
}
