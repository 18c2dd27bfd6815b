package launch

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"timeferry/internal/fault"
)

// Source is what the machine has to stand beside.
type Source struct {
	ID               string // the instance's or the cluster's name, for messages
	EngineVersion    string // "15.12"
	VPC              string
	Subnets          []string
	AvailabilityZone string // empty: it has several
}

// Order is what a person asks for. Zero fields of the second group are chosen by Plan.
type Order struct {
	Migration     string
	Source        Source
	DatabaseBytes int64

	Type            string
	Subnet          string
	PublicAddress   bool
	InstanceProfile string // name or ARN

	Setup Setup
}

// Setup is what the machine does when it starts first. Plan does not need it.
type Setup struct {
	WorkerURL    string // https
	WorkerSHA256 string
	// At most one of these says where the worker finds its secret environment, a JSON object: the ARN of a secret, or the name
	// of a parameter in SSM's parameter store.
	EnvironmentSecret    string
	EnvironmentParameter string
	// Environment is not secret: it is in user data, which others in the account can read.
	Environment map[string]string
	// RDSBundle fetches AWS's certificate bundle, for sslRootCert: rds.
	RDSBundle bool
}

var (
	validMigration = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
	validSHA256    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	validSecret    = regexp.MustCompile(`^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]+$`)
	validParameter = regexp.MustCompile(`^(/[A-Za-z0-9_.-]+)+$`)
	validVariable  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	secretName     = regexp.MustCompile(`(?i)PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|KEY|CREDENTIAL`)
	secretInURL    = regexp.MustCompile(`(?i)[a-z]+://[^/\s:@]*:[^/\s@]+@|\bpassword\s*=`)
	leadingNumber  = regexp.MustCompile(`^[0-9]+`)
)

func badOrder(what, hint, format string, args ...any) *fault.Error {
	return fault.New(fault.Operator, "read", what, hint, format, args...).WithCode(CodeBadOrder)
}

// validate checks what Plan needs.
func (o Order) validate() error {
	switch {
	case !validMigration.MatchString(o.Migration):
		return badOrder("name", "choose 1 to 40 of a-z, 0-9 and -", "%q cannot name a migration", o.Migration)
	case o.DatabaseBytes <= 0:
		return badOrder("size of the database", "give it with --data-size, like 200GiB", "it is not known")
	case o.Source.VPC == "":
		return badOrder("network of "+o.Source.ID, "launch a machine by hand", "RDS names no VPC of it")
	}
	_, err := o.Source.major()
	return err
}

// major is PostgreSQL's, of "15.12".
func (s Source) major() (int, error) {
	n, err := strconv.Atoi(leadingNumber.FindString(s.EngineVersion))
	if err != nil || n < 10 || n > 99 {
		return 0, badOrder("version of "+s.ID, "name a database whose engine is PostgreSQL", "%q is no version of PostgreSQL", s.EngineVersion)
	}
	return n, nil
}

// validate lets nothing into user data that is secret, or that a shell or systemd would take for more than a word.
func (s Setup) validate() error {
	worker, err := url.Parse(s.WorkerURL)
	switch {
	case s.WorkerURL == "":
		return badOrder("--worker-url", "put the worker of make build where the machine can fetch it", "it is missing")
	case err != nil || worker.Scheme != "https" || worker.Host == "" || strings.ContainsFunc(s.WorkerURL, isControlOrSpace):
		return badOrder("--worker-url", "give a URL with https, like a presigned one of S3", "it is no such URL")
	case worker.User != nil:
		return secretInOrder("--worker-url", "give a URL without user and password, like a presigned one of S3 that expires soon")
	case !validSHA256.MatchString(strings.ToLower(s.WorkerSHA256)):
		return badOrder("--worker-sha256", "give what sha256sum says of the worker", "it must be 64 hexadecimal digits")
	case s.EnvironmentSecret != "" && s.EnvironmentParameter != "":
		return badOrder("--environment-secret", "choose one of --environment-secret and --environment-parameter", "both are given")
	case s.EnvironmentSecret != "" && !validSecret.MatchString(s.EnvironmentSecret):
		return badOrder("--environment-secret", "give the ARN of the secret", "it is no ARN of Secrets Manager")
	case s.EnvironmentParameter != "" && !validParameter.MatchString(s.EnvironmentParameter):
		return badOrder("--environment-parameter", "give a name like /timeferry/shop", "%q is no name of a parameter", s.EnvironmentParameter)
	}
	return s.validateEnvironment()
}

func (s Setup) validateEnvironment() error {
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		value := s.Environment[name]
		switch {
		case !validVariable.MatchString(name):
			return badOrder("--env", "write NAME=value", "%q is no name of a variable", name)
		case looksSecret(name), secretInURL.MatchString(value):
			return secretInOrder("--env "+name, "put it into the secret of --environment-secret or the parameter of --environment-parameter")
		case strings.ContainsFunc(value, isControl):
			return badOrder("--env "+name, "put it into the secret of --environment-secret", "its value has more than one line, or control characters")
		}
	}
	_, addressed := s.Environment["TEMPORAL_ADDRESS"]
	if !addressed && s.EnvironmentSecret == "" && s.EnvironmentParameter == "" {
		return badOrder("--env", "add --env TEMPORAL_ADDRESS=host:7233, or put it into the worker's secret environment", "the worker would not know where Temporal is")
	}
	return nil
}

func secretInOrder(what, hint string) error {
	return fault.New(fault.Operator, "read", what, hint, "it looks like a secret, and user data can be read by others").WithCode(CodeSecretInOrder)
}

// looksSecret judges by the name. A path to a file with a secret is none.
func looksSecret(name string) bool {
	upper := strings.ToUpper(name)
	return secretName.MatchString(upper) && !strings.HasSuffix(upper, "_PATH") && !strings.HasSuffix(upper, "_FILE")
}

func isControl(r rune) bool        { return r < ' ' || r == 0x7f }
func isControlOrSpace(r rune) bool { return r == ' ' || isControl(r) }

// groupName is the name of the machine's own security group.
func groupName(migration string) string { return fmt.Sprintf("timeferry-machine-%s", migration) }
