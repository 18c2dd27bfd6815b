package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"timeferry/internal/launch"
)

// writeEnvironment is "worker environment": it writes the worker's secret variables, from Secrets Manager or SSM's parameter
// store, to a file for systemd that only its owner can read. A machine that starter machine launched runs it before each
// start of the worker, as root.
func writeEnvironment(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("worker environment", flag.ContinueOnError)
	flags.SetOutput(out)
	secret := flags.String("secret", "", "ARN of the secret: a JSON object of variables")
	parameter := flags.String("parameter", "", "name of the parameter of SSM: a JSON object of variables")
	region := flags.String("region", "", "where it is (default: what the AWS configuration says)")
	file := flags.String("file", "", "the file to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if (*secret == "") == (*parameter == "") || *file == "" || flags.NArg() > 0 {
		return errors.New("environment: give --file, and one of --secret and --parameter")
	}
	client, err := launch.Open(ctx, launch.Options{Region: *region})
	if err != nil {
		return err
	}
	read, from := client.SecretEnvironment, *secret
	if *parameter != "" {
		read, from = client.ParameterEnvironment, *parameter
	}
	environment, err := read(ctx, from)
	if err != nil {
		return err
	}
	if err := launch.WriteEnvironment(*file, environment); err != nil {
		return err
	}
	fmt.Fprintf(out, "worker: %d variables are in %s\n", len(environment), *file)
	return nil
}
