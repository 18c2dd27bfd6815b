package rdsctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"timeferry/internal/fault"
)

// Codes of this package's Operator errors.
const (
	CodeNoAWSConfig          = "no-aws-config"         // region or configuration missing
	CodeCredentials          = "aws-credentials"       // none found, expired, or not valid
	CodeAccessDenied         = "aws-access-denied"     // the policy lacks an action
	CodeNoInstance           = "no-such-instance"      //
	CodeNotPostgres          = "not-postgres"          // another engine
	CodeClusterMember        = "cluster-member"        // takes a cluster parameter group
	CodeBadParameter         = "bad-parameter"         // unknown, locked, or a value that RDS does not take
	CodeBadGroupName         = "bad-group-name"        //
	CodeGroupDiffers         = "group-differs"         // a group of that name exists and is not ours
	CodeGroupRefused         = "group-refused"         // RDS refused to make or change the group
	CodeNoGroup              = "no-such-group"         // the parameter group is gone
	CodeWindowClosed         = "window-closed"         // the time in which a reboot is allowed is over
	CodePendingModifications = "pending-modifications" // attaching would set off other changes
	CodeInstanceState        = "instance-state"        // the instance is in a state that needs a person
	CodeStillPending         = "still-pending-reboot"  // a reboot did not bring the parameters into force
	CodeNoSecret             = "no-such-secret"        //
	CodeBlueGreen            = "blue-green"            // a blue/green deployment of the instance is under way
	CodeNoWorkerAddress      = "no-worker-address"     // the machine has no metadata service
	CodeBadWorkerCIDR        = "bad-worker-cidr"       // not a range of addresses, or the whole world
	CodeNoSecurityGroup      = "no-such-security-group"
	CodeIngressRefused       = "ingress-refused" // EC2 refused the rule
)

const (
	hintCredentials = "give the worker AWS credentials that are valid now: an instance role, AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	hintPolicy      = "add the action named here to the policy of the worker's role; deploy/iam has the least policies, with a reason for each action"
)

// credentialCodes are AWS's words for credentials that are missing or not valid.
var credentialCodes = map[string]bool{"ExpiredToken": true, "ExpiredTokenException": true, "RequestExpired": true,
	"InvalidClientTokenId": true, "UnrecognizedClientException": true, "SignatureDoesNotMatch": true,
	"InvalidSignatureException": true, "MissingAuthenticationToken": true, "MissingAuthenticationTokenException": true,
	"IncompleteSignature": true, "OptInRequired": true, "AuthFailure": true}

var deniedCodes = map[string]bool{"AccessDenied": true, "AccessDeniedException": true, "UnauthorizedOperation": true}

// awsError reads "Code: message" instead of the SDK's line with request ids and host names, and keeps the chain.
type awsError struct {
	smithy.APIError
	chain error
}

func (e awsError) Error() string { return e.ErrorCode() + ": " + e.ErrorMessage() }
func (e awsError) Unwrap() error { return e.chain }

// explain turns an error of an AWS call into a *fault.Error with class and remedy. The caller's cancellation passes
// through, and so does an error that has its class already.
func (c *Client) explain(ctx context.Context, err error, op, subject string) error {
	var own *fault.Error
	if ctx.Err() != nil || errors.As(err, &own) {
		return fmt.Errorf("%s %s: %w", op, subject, keepShort(err, own))
	}
	out := &fault.Error{Class: fault.Classify(err), Op: op, Subject: subject, Err: err}
	var api smithy.APIError
	if !errors.As(err, &api) {
		out.Hint = remedyWithoutAnswer(out.Class)
		return out
	}
	out.Err = awsError{api, err}
	c.remedy(out, api.ErrorCode())
	if out.Class == fault.Unknown && failedInside(err) {
		out.Class = fault.Transient
	}
	return out
}

// keepShort drops the SDK's layers above an error of ours.
func keepShort(err error, own *fault.Error) error {
	if own != nil {
		return own
	}
	return err
}

func remedyWithoutAnswer(class fault.Class) string {
	if class == fault.Transient {
		return "check that the worker can reach the AWS API"
	}
	return ""
}

func (c *Client) remedy(out *fault.Error, code string) {
	switch {
	case credentialCodes[code]:
		out.Class, out.Code, out.Hint = fault.Operator, CodeCredentials, hintCredentials
	case deniedCodes[code]:
		out.Class, out.Code, out.Hint = fault.Operator, CodeAccessDenied, hintPolicy
	case code == "DBInstanceNotFound":
		out.Class, out.Code = fault.Operator, CodeNoInstance
		out.Hint = fmt.Sprintf("check source.rds.instance and source.rds.region: region %s of the account in use has no instance of that name", c.region)
	case code == "DBClusterNotFoundFault":
		out.Class, out.Code = fault.Operator, CodeNoInstance
		out.Hint = fmt.Sprintf("check source.rds.cluster and source.rds.region: region %s of the account in use has no cluster of that name; an instance that is in no cluster is named under source.rds.instance", c.region)
	case slices.Contains(noGroupCodes, code):
		out.Class, out.Code, out.Hint = fault.Operator, CodeNoGroup, "make the parameter group again, or resume to let it be made"
	case code == "ResourceNotFoundException":
		out.Class, out.Code = fault.Operator, CodeNoSecret
		out.Hint = fmt.Sprintf("check the secret's ARN; it was looked for in region %s", c.region)
	case code == "DBParameterGroupQuotaExceeded":
		out.Class, out.Code, out.Hint = fault.Operator, CodeGroupRefused, "delete parameter groups that are not in use, or ask AWS for a higher quota"
	case code == "InvalidParameterValue", code == "InvalidParameterCombination":
		out.Class, out.Code, out.Hint = fault.Operator, CodeGroupRefused, "correct prepare.parameterGroup and prepare.parameters in the spec"
	case code == "InvalidGroup.NotFound", code == "InvalidGroupId.Malformed", code == "InvalidGroupId.NotFound":
		out.Class, out.Code = fault.Operator, CodeNoSecurityGroup
		out.Hint = fmt.Sprintf("check prepare.securityGroup: the id of a security group in region %s, like sg-0123456789abcdef0", c.region)
	case code == "RulesPerSecurityGroupLimitExceeded":
		out.Class, out.Code, out.Hint = fault.Operator, CodeIngressRefused, "remove rules from the security group, or name another group of the instance's under prepare.securityGroup"
	case out.Class == fault.NotReady:
		out.Hint = "RDS is busy with another operation on it; it is tried again"
	}
}

// failedInside is true for an error of AWS itself, which does not say whether the request took effect.
func failedInside(err error) bool {
	var response *smithyhttp.ResponseError
	return errors.As(err, &response) && response.HTTPStatusCode() >= http.StatusInternalServerError
}

// hasCode says whether err is AWS's answer with one of the codes.
func hasCode(err error, codes ...string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode())
}
