package launch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"timeferry/internal/fault"
)

// Codes of this package's Operator errors.
const (
	CodeNoAWSConfig    = "no-aws-config"     // region or configuration missing
	CodeCredentials    = "aws-credentials"   // none found, expired, or not valid
	CodeAccessDenied   = "aws-access-denied" // the policy lacks an action
	CodeBadOrder       = "bad-machine-order" // what was asked for makes no sense
	CodeSecretInOrder  = "secret-in-machine-order"
	CodeNoSubnet       = "no-machine-subnet"       // no subnet fits
	CodeNotOurs        = "not-our-machine"         // it lacks our tags
	CodeLaunchRefused  = "machine-launch-refused"  // EC2 refused to launch it
	CodeLaunchFailed   = "machine-launch-failed"   // it was launched and ended at once
	CodeNoEnvironment  = "no-worker-environment"   // the secret or the parameter is missing
	CodeBadEnvironment = "bad-worker-environment"  // it is no JSON object of variables
	CodeTerminateStuck = "machine-terminate-stuck" // EC2 does not let go of it
)

const hintCredentials = "give AWS credentials that are valid now: an instance role, AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

// credentialCodes are AWS's words for credentials that are missing or not valid.
var credentialCodes = map[string]bool{"ExpiredToken": true, "ExpiredTokenException": true, "RequestExpired": true,
	"InvalidClientTokenId": true, "UnrecognizedClientException": true, "SignatureDoesNotMatch": true,
	"InvalidSignatureException": true, "MissingAuthenticationToken": true, "MissingAuthenticationTokenException": true,
	"IncompleteSignature": true, "OptInRequired": true, "AuthFailure": true}

var deniedCodes = map[string]bool{"AccessDenied": true, "AccessDeniedException": true, "UnauthorizedOperation": true}

// launchHints are remedies for what EC2 says to a launch.
var launchHints = map[string]string{
	"InsufficientInstanceCapacity":      "try again later, or choose another --type or --subnet",
	"InstanceLimitExceeded":             "terminate machines that are not in use, or ask AWS for a higher quota",
	"VcpuLimitExceeded":                 "terminate machines that are not in use, or ask AWS for a higher quota of vCPUs",
	"VolumeLimitExceeded":               "delete volumes that are not in use, or ask AWS for a higher quota",
	"MaxIOPSLimitExceeded":              "delete volumes that are not in use, or ask AWS for a higher quota",
	"Unsupported":                       "choose another --type or --subnet",
	"InvalidInstanceType":               "choose a --type that the region has",
	"InvalidSubnetID.NotFound":          "choose a --subnet of the database's VPC",
	"InsufficientFreeAddressesInSubnet": "choose a --subnet with free addresses",
	"IdempotentParameterMismatch":       "an earlier launch with other options is under way: wait a minute and repeat, or run starter machine terminate first",
	"SecurityGroupLimitExceeded":        "delete security groups that are not in use, or ask AWS for a higher quota",
	"InvalidGroup.NotFound":             "repeat the command: EC2 may not have shown the newest state",
	"InvalidAMIID.NotFound":             "the region has no such image: see docs/rds.md",
	"InvalidParameterValue":             "correct --type, --subnet or --instance-profile",
	"OperationNotPermitted":             "take away the machine's termination protection first",
}

// awsError reads "Code: message" instead of the SDK's line with request ids and host names, and keeps the chain.
type awsError struct {
	smithy.APIError
	chain error
}

func (e awsError) Error() string {
	message, _, _ := strings.Cut(e.ErrorMessage(), " Encoded authorization failure message:") // long, and for a machine
	return e.ErrorCode() + ": " + message
}

func (e awsError) Unwrap() error { return e.chain }

// attempt says what was being done, for explain.
type attempt struct{ action, op, subject string }

// explain turns an error of an AWS call into a *fault.Error with class and remedy. The caller's cancellation passes through,
// and so does an error that has its class already.
func explain(ctx context.Context, err error, a attempt) error {
	var own *fault.Error
	if errors.As(err, &own) {
		return fmt.Errorf("%s %s: %w", a.op, a.subject, own)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", a.op, a.subject, err)
	}
	out := &fault.Error{Class: fault.Classify(err), Op: a.op, Subject: a.subject, Err: err}
	var api smithy.APIError
	if !errors.As(err, &api) {
		if out.Class == fault.Transient {
			out.Hint = "check that the AWS API can be reached from here"
		}
		return out
	}
	out.Err = awsError{api, err}
	remedy(out, api.ErrorCode(), a.action)
	var response *smithyhttp.ResponseError
	if out.Class == fault.Unknown && errors.As(err, &response) && response.HTTPStatusCode() >= http.StatusInternalServerError {
		out.Class = fault.Transient
	}
	return out
}

func remedy(out *fault.Error, code, action string) {
	hint, known := launchHints[code]
	switch {
	case credentialCodes[code]:
		out.Class, out.Code, out.Hint = fault.Operator, CodeCredentials, hintCredentials
	case deniedCodes[code]:
		out.Class, out.Code, out.Hint = fault.Operator, CodeAccessDenied, "allow "+action+", as "+policyOf(action)+" does"
	case known:
		out.Class, out.Code, out.Hint = fault.Operator, CodeLaunchRefused, hint
	case strings.HasPrefix(code, "InvalidParameter"):
		out.Class, out.Code, out.Hint = fault.Operator, CodeLaunchRefused, launchHints["InvalidParameterValue"]
	}
}

// policyOf is the file of deploy/iam with the action: reading the environment is the worker's, all else the launching person's.
func policyOf(action string) string {
	if strings.HasPrefix(action, "ec2:") {
		return "deploy/iam/machine.json"
	}
	return "deploy/iam/secrets.json"
}

// hasCode says whether err is AWS's answer with that code.
func hasCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}
