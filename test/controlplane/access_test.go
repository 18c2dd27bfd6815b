package controlplane

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
)

// forever is more often than anybody tries.
const forever = 1 << 20

// denied is what AWS answers to who lacks a privilege.
func denied(service, action string) awssim.Fault {
	f := awssim.Fault{Kind: awssim.FailCall, Action: action, Count: forever, Status: 403, Code: "AccessDenied",
		Message: fmt.Sprintf("User: arn:aws:sts::123456789012:assumed-role/ferry/i-1 is not authorized to perform: %s:%s because no identity-based policy allows the %s:%s action",
			service, action, service, action)}
	switch service {
	case "ec2":
		f.Code = "UnauthorizedOperation"
	case "secretsmanager":
		f.Code, f.Status = "AccessDeniedException", 400
	}
	return f
}

func accessScenarios() []scenario {
	var out []scenario
	for _, c := range []struct {
		action, end string
		build       func(*testing.T, *stage)
	}{
		{action: "DescribeDBInstances", end: refused},
		{action: "DescribeDBEngineVersions", end: refused},
		{action: "DescribeDBParameters", end: refused},
		{action: "DescribeDBParameterGroups", end: refused},
		{action: "DescribeBlueGreenDeployments", end: refused},
		{action: "ListTagsForResource", end: refused, build: beside("postgres15", migrationName, replicating)},
		{action: "AddTagsToResource", end: stopped, build: beside("postgres15", "another", replicating)},
		{action: "CreateDBParameterGroup", end: stopped},
		{action: "CopyDBParameterGroup", end: stopped, build: inGroup(otherGroup, "", false, tuned)},
		{action: "ModifyDBParameterGroup", end: stopped},
		{action: "ModifyDBInstance", end: stopped},
		{action: "RebootDBInstance", end: stopped},
	} {
		out = append(out, scenario{name: "no privilege for " + c.action, build: c.build, faults: []awssim.Fault{denied("rds", c.action)},
			end: c.end, code: "aws-access-denied", says: []string{"rds:" + c.action, "policy"}})
	}
	for _, action := range []string{"DescribeSecurityGroupRules", "AuthorizeSecurityGroupIngress"} {
		out = append(out, scenario{name: "no privilege for " + action, prepare: map[string]any{"securityGroup": securityGroup},
			faults: []awssim.Fault{denied("ec2", action)}, end: refused, code: "aws-access-denied", says: []string{"ec2:" + action, "policy"}})
	}
	return append(out,
		scenario{name: "no privilege for GetSecretValue", password: storedSecret, faults: []awssim.Fault{denied("secretsmanager", "GetSecretValue")},
			end: refused, code: "aws-access-denied", says: []string{"secretsmanager:GetSecretValue", "policy"}},
		scenario{name: "instance not found", instance: "shoppe", end: refused, code: "no-such-instance", says: []string{"source.rds.instance", "region REGION"}},
		scenario{name: "no instance in this region", build: func(*testing.T, *stage) {}, end: refused, code: "no-such-instance", says: []string{"source.rds.region"}},
		scenario{name: "expired credentials", faults: []awssim.Fault{{Kind: awssim.FailCall, Count: forever, Status: 403, Code: "ExpiredToken",
			Message: "The security token included in the request is expired"}}, end: refused, code: "aws-credentials", says: []string{"AWS_PROFILE"}},
		scenario{name: "no credentials", environment: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
			end: refused, code: "aws-credentials", says: []string{"AWS_ACCESS_KEY_ID"}},
	)
}

// withRule makes the instance behind a group with a rule that somebody made.
func withRule(cidr string) func(*testing.T, *stage) {
	return func(_ *testing.T, s *stage) {
		port := s.source.Server.Port()
		s.sim.AddSecurityGroup(awssim.SecurityGroupConfig{ID: securityGroup, Ingress: []awssim.Rule{
			{Protocol: "tcp", FromPort: port, ToPort: port, CIDR: cidr, Description: "the application"}}})
		s.instance(awssim.InstanceConfig{})
	}
}

func networkScenarios() []scenario {
	open := map[string]any{"securityGroup": securityGroup}
	openFor := func(cidr string) map[string]any {
		return map[string]any{"securityGroup": securityGroup, "workerCIDR": cidr}
	}
	return []scenario{
		{name: "way in is opened and closed", prepare: open, end: ready},
		{name: "way in is opened for given addresses", prepare: openFor("10.1.2.0/28"), end: ready},
		{name: "way in is given already", prepare: open, build: withRule(workerAddress + "/32"), end: ready},
		{name: "way in is given for others", prepare: open, build: withRule("10.9.9.9/32"), end: ready},
		{name: "way in is closed after a refusal", prepare: map[string]any{"securityGroup": securityGroup, "reboot": "never"}, end: refused, code: "wal-level"},
		{name: "way in is closed when nobody wants the reboot", prepare: map[string]any{"securityGroup": securityGroup, "reboot": "approve"}, answer: answerAbort, end: stopped},
		{name: "security group not found", prepare: map[string]any{"securityGroup": "sg-00000000000000000"}, end: refused, code: "no-such-security-group",
			says: []string{"prepare.securityGroup"}},
		{name: "worker without metadata", prepare: open, environment: map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"},
			end: refused, code: "no-worker-address", says: []string{"prepare.workerCIDR"}},
		{name: "worker without metadata, addresses given", prepare: openFor("10.1.2.3/32"),
			environment: map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}, end: ready},
		{name: "addresses that are none", prepare: openFor("10.1.2.3.4"), end: refused, code: "bad-spec", says: []string{"prepare.workerCIDR"}},
	}
}

// Names of the secrets.
const (
	ownSecret     = "shop/password"
	managedSecret = "rds!db-shop"
)

func secretText(password string) string {
	return fmt.Sprintf(`{"username": "shopmaster", "password": %q}`, password)
}

// storedSecret is the password as somebody stored it.
func storedSecret(s *stage) any {
	return map[string]any{"secretArn": s.sim.PutSecret(ownSecret, secretText(s.source.Master.Password))}
}

func rdsManaged(*stage) any { return map[string]any{"rdsManaged": true} }

// withManagedSecret makes an instance whose password RDS manages.
func withManagedSecret(_ *testing.T, s *stage) {
	s.instance(awssim.InstanceConfig{MasterSecretARN: s.sim.PutSecret(managedSecret, secretText(s.source.Master.Password))})
}

func secretScenarios() []scenario {
	return []scenario{
		{name: "password in a secret", password: storedSecret, end: ready},
		{name: "password managed by RDS", password: rdsManaged, build: withManagedSecret, end: ready},
		{name: "password managed by RDS is rotated", password: rdsManaged, build: withManagedSecret, prepare: map[string]any{"reboot": "approve"},
			answer: contract.SignalApproveReboot, atGate: rotate, end: ready},
		{name: "password is not managed by RDS", password: rdsManaged, end: refused, code: "password-unavailable", says: []string{"secretArn"}},
		{name: "secret not found", password: func(s *stage) any {
			return map[string]any{"secretArn": fmt.Sprintf("arn:aws:secretsmanager:%s:123456789012:secret:nothing-AbCdEf", s.region)}
		}, end: refused, code: "no-such-secret"},
		{name: "IAM is not for replication", password: func(*stage) any { return map[string]any{"iam": true} }, end: refused, code: "iam-no-replication",
			says: []string{"rds.iam_auth_for_replication"}},
	}
}

// rotate lets RDS rotate the master user's password and waits until it has.
func rotate(t *testing.T, s *stage) {
	t.Helper()
	s.awaitWatch(t)
	require.NoError(t, s.sim.RotateSecret(managedSecret, secretText("rotated-"+strings.Repeat("x", 12))))
	require.Eventually(t, func() bool {
		out, err := s.api.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: aws.String(instanceID)})
		return err == nil && *out.DBInstances[0].MasterUserSecret.SecretStatus == "active"
	}, 20*time.Second, 10*time.Millisecond)
}

// awaitWatch waits until whoever watches the source while the gate is closed has logged in: whether that comes before or after
// the rotation would show in the calls.
func (s *stage) awaitWatch(t *testing.T) {
	t.Helper()
	conn, err := pgkit.Dial(t.Context(), s.source.Endpoint, "test")
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
	require.Eventually(t, func() bool {
		var there bool
		err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1)",
			pgkit.ApplicationName+" watch").Scan(&there)
		return err == nil && there
	}, 20*time.Second, 10*time.Millisecond)
}
