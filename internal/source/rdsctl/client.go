package rdsctl

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/schemas"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"

	"timeferry/internal/fault"
)

const (
	// defaultPollInterval is how often the state of an instance is read at first: its states last minutes, and a tighter loop
	// is throttled on accounts with many instances.
	defaultPollInterval = 5 * time.Second
	// maxAttempts is for throttling and lost connections; the SDK's own 3 are used up by a short burst.
	maxAttempts = 8
)

// Options of Open. The zero value is good.
type Options struct {
	Region       string        // empty: what the AWS default chain says
	PollInterval time.Duration // at first, see pause; zero: 5 s
	MaxBackoff   time.Duration // between attempts of one call; zero: the SDK's 20 s
}

// Client speaks to the AWS API in one region. Safe for concurrent use; there is nothing to close.
type Client struct {
	rds         *rds.Client
	secrets     *secretsmanager.Client
	ec2         *ec2.Client
	metrics     *cloudwatch.Client
	metadata    *imds.Client
	credentials aws.CredentialsProvider
	region      string
	poll        time.Duration
}

// Open reads the AWS configuration by the SDK's default chain (AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_RDS included). The
// credentials are asked for at the first call.
func Open(ctx context.Context, options Options) (*Client, error) {
	// The SDK's own log lines go nowhere: what matters comes back as an error, and the shell above logs it once.
	loaded, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}), config.WithRetryer(func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = maxAttempts
			if options.MaxBackoff > 0 {
				o.MaxBackoff = options.MaxBackoff
			}
		})
	}))
	if err != nil {
		return nil, fault.New(fault.Operator, "read", "AWS configuration", "correct the AWS_* variables or the AWS configuration files of the worker", "%w", err).WithCode(CodeNoAWSConfig)
	}
	if options.Region != "" {
		loaded.Region = options.Region
	}
	if loaded.Region == "" {
		return nil, fault.New(fault.Operator, "read", "AWS configuration", "give source.rds.region in the spec or set AWS_REGION for the worker", "no region is set").WithCode(CodeNoAWSConfig)
	}
	if loaded.Credentials != nil {
		loaded.Credentials = explainedCredentials{loaded.Credentials}
	}
	c := &Client{rds: rds.NewFromConfig(loaded), secrets: secretsmanager.NewFromConfig(loaded),
		ec2: ec2.NewFromConfig(loaded), metrics: cloudwatch.NewFromConfig(loaded, speakJSON), metadata: imds.NewFromConfig(loaded), credentials: loaded.Credentials, region: loaded.Region, poll: options.PollInterval}
	if c.poll <= 0 {
		c.poll = defaultPollInterval
	}
	return c, nil
}

// speakJSON has CloudWatch spoken to in JSON, not in the SDK's binary CBOR: as the AWS CLI does, and so the simulator too.
func speakJSON(o *cloudwatch.Options) {
	o.Protocol = awsjson.New10(schemas.GraniteServiceVersion20100801)
}

// Region is the region in use.
func (c *Client) Region() string { return c.region }

// explainedCredentials says what to do when there are no credentials. The cause is kept as text only: what lies below is
// often a failed connection to the metadata service, and the SDK would repeat that for minutes.
type explainedCredentials struct{ chain aws.CredentialsProvider }

func (p explainedCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := p.chain.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		return credentials, fault.New(fault.Operator, "find", "AWS credentials", hintCredentials, "%s", err.Error()).WithCode(CodeCredentials)
	}
	return credentials, err
}

// Secret gives the text of a Secrets Manager secret.
func (c *Client) Secret(ctx context.Context, arn string) (string, error) {
	out, err := c.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		return "", c.explain(ctx, err, "read secret", arn)
	}
	if out.SecretString != nil {
		return *out.SecretString, nil
	}
	return string(out.SecretBinary), nil
}

// SecretVersion gives the text of a secret and the version that it is.
func (c *Client) SecretVersion(ctx context.Context, arn string) (text, version string, err error) {
	out, err := c.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		return "", "", c.explain(ctx, err, "read secret", arn)
	}
	return aws.ToString(out.SecretString), aws.ToString(out.VersionId), nil
}

// PutSecret makes text the current version of a secret; what was current stays as the previous one. Asked again with the same
// token (32 to 64 characters) and text, it does nothing.
func (c *Client) PutSecret(ctx context.Context, arn, text, token string) (version string, err error) {
	out, err := c.secrets.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &arn, SecretString: &text, ClientRequestToken: &token})
	if err != nil {
		return "", c.explain(ctx, err, "write secret", arn)
	}
	return aws.ToString(out.VersionId), nil
}

// AuthToken makes a password for IAM database authentication. It is valid for 15 minutes and checked only at connect.
func (c *Client) AuthToken(ctx context.Context, host string, port int, user string) (string, error) {
	token, err := auth.BuildAuthToken(ctx, net.JoinHostPort(host, strconv.Itoa(port)), c.region, user, c.credentials)
	if err != nil {
		return "", c.explain(ctx, err, "make IAM token for", user+"@"+host)
	}
	return token, nil
}

// pause waits before the next look, the longer the more looks there were in vain: from one poll interval to four, give or
// take a quarter, so that several waiters do not poll in step.
func (c *Client) pause(ctx context.Context, attempt int) error {
	interval := backoff(c.poll, attempt)
	timer := time.NewTimer(interval - interval/4 + time.Duration(rand.Int64N(int64(interval)/2+1)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// longestPoll is how many poll intervals two looks may lie apart: 20 s in production.
const longestPoll = 4

func backoff(poll time.Duration, attempt int) time.Duration {
	longest := longestPoll * poll
	for range attempt {
		if poll = poll * 5 / 4; poll >= longest {
			return longest
		}
	}
	return poll
}
