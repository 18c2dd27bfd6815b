package launch

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go/logging"

	"timeferry/internal/fault"
)

const (
	// defaultPollInterval is how often a machine's state is read; it takes tens of seconds to start.
	defaultPollInterval = 5 * time.Second
	// maxAttempts is for throttling and lost connections; the SDK's own 3 are used up by a short burst.
	maxAttempts = 8
	// settleAttempts is how many polls EC2 may take to show, or to let go, what was just made or removed.
	settleAttempts = 60
)

// Options of Open.
type Options struct {
	Region       string        // empty: what the AWS default chain says
	PollInterval time.Duration // zero: 5 s
	MaxBackoff   time.Duration // between attempts of one call; zero: the SDK's 20 s
}

// Client speaks to EC2, Secrets Manager and the parameter store in one region. Safe for concurrent use; there is nothing to
// close.
type Client struct {
	ec2     *ec2.Client
	secrets *secretsmanager.Client
	store   *ssm.Client
	region  string
	poll    time.Duration
}

// Open reads the AWS configuration by the SDK's default chain. The credentials are asked for at the first call.
func Open(ctx context.Context, options Options) (*Client, error) {
	// The SDK's own log lines go nowhere: what matters comes back as an error.
	loaded, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}), config.WithRetryer(func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = maxAttempts
			if options.MaxBackoff > 0 {
				o.MaxBackoff = options.MaxBackoff
			}
		})
	}))
	if err != nil {
		return nil, fault.New(fault.Operator, "read", "AWS configuration", "correct the AWS_* variables or the AWS configuration files", "%w", err).WithCode(CodeNoAWSConfig)
	}
	if options.Region != "" {
		loaded.Region = options.Region
	}
	if loaded.Region == "" {
		return nil, fault.New(fault.Operator, "read", "AWS configuration", "give source.rds.region in the spec, --region, or set AWS_REGION", "no region is set").WithCode(CodeNoAWSConfig)
	}
	if loaded.Credentials != nil {
		loaded.Credentials = explainedCredentials{loaded.Credentials}
	}
	c := &Client{ec2: ec2.NewFromConfig(loaded), secrets: secretsmanager.NewFromConfig(loaded), store: ssm.NewFromConfig(loaded),
		region: loaded.Region, poll: options.PollInterval}
	if c.poll <= 0 {
		c.poll = defaultPollInterval
	}
	return c, nil
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

// pause waits for one poll interval, give or take a quarter, so that several waiters do not poll in step.
func (c *Client) pause(ctx context.Context) error {
	timer := time.NewTimer(c.poll - c.poll/4 + time.Duration(rand.Int64N(int64(c.poll)/2+1)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
