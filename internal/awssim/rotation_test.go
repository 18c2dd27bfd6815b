package awssim_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// lockedServer takes new passwords one at a time, when the test lets it.
type lockedServer struct {
	fakeServer
	passwords chan string
	answers   chan error
}

func (s *lockedServer) SetPassword(_ context.Context, user, password string) error {
	s.passwords <- user + "/" + password
	return <-s.answers
}

func TestMasterSecretRotates(t *testing.T) {
	w := newFixture(t)
	server := &lockedServer{passwords: make(chan string, 1), answers: make(chan error, 1)}
	arn := w.simulator.PutSecret("rds!db-1", `{"username":"boss","password":"old"}`)
	w.simulator.AddInstance(awssim.InstanceConfig{ID: "shop", EngineVersion: "15.12", MasterUser: "boss", MasterSecretARN: arn, Server: server})
	secret := func(stage string) string {
		out, err := w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &arn, VersionStage: &stage})
		require.NoError(t, err)
		return *out.SecretString
	}
	status := func() string { return *w.instance(t).MasterUserSecret.SecretStatus }
	require.Equal(t, "active", status())

	require.NoError(t, w.simulator.RotateSecret("rds!db-1", `{"username":"boss","password":"new"}`))
	require.Equal(t, "boss/new", <-server.passwords)
	require.Equal(t, "rotating", status())
	require.Contains(t, secret("AWSCURRENT"), "old", "not there before the server has it")
	server.answers <- nil
	require.Eventually(t, func() bool { return status() == "active" }, 5*time.Second, 2*time.Millisecond)
	require.Contains(t, secret("AWSCURRENT"), "new")
	require.Contains(t, secret("AWSPREVIOUS"), "old")

	server.answers <- errors.New("no")
	require.NoError(t, w.simulator.RotateSecret(arn, "third"))
	require.Equal(t, "boss/third", <-server.passwords)
	require.Eventually(t, func() bool { return status() == "impaired" }, 5*time.Second, 2*time.Millisecond)
	require.Contains(t, secret("AWSCURRENT"), "new")
}

func TestOtherSecretsRotateAtOnce(t *testing.T) {
	w := newFixture(t)
	w.simulator.PutSecret("plain", "one")
	require.NoError(t, w.simulator.RotateSecret("plain", "two"))
	out, err := w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("plain")})
	require.NoError(t, err)
	require.Equal(t, "two", *out.SecretString)
	require.Error(t, w.simulator.RotateSecret("other", "x"))
}

func TestRotationByAPI(t *testing.T) {
	w := newFixture(t)
	server := &lockedServer{passwords: make(chan string, 1), answers: make(chan error, 1)}
	arn := w.simulator.PutSecret("rds!db-1", `{"username":"boss","password":"old"}`)
	w.simulator.AddInstance(awssim.InstanceConfig{ID: "shop", EngineVersion: "15.12", MasterUser: "boss", MasterSecretARN: arn, Server: server})
	status := func() string { return *w.instance(t).MasterUserSecret.SecretStatus }
	rotate := func() (*secretsmanager.RotateSecretOutput, error) {
		return w.secrets.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: &arn})
	}
	rotated, err := rotate()
	require.NoError(t, err)
	_, err = rotate()
	requireCode(t, err, "InvalidRequestException")
	password := strings.TrimPrefix(<-server.passwords, "boss/")
	require.NotEqual(t, "old", password)
	server.answers <- nil
	require.Eventually(t, func() bool { return status() == "active" }, 5*time.Second, 2*time.Millisecond)
	value, err := w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &arn})
	require.NoError(t, err)
	require.JSONEq(t, `{"username":"boss","password":"`+password+`"}`, *value.SecretString)
	require.Equal(t, *rotated.VersionId, *value.VersionId)
	described, err := w.secrets.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	require.NoError(t, err)
	require.Equal(t, "rds", *described.OwningService)
	require.NotNil(t, described.LastRotatedDate)
	require.Equal(t, []string{"AWSCURRENT"}, described.VersionIdsToStages[*value.VersionId])

	w.simulator.Inject(awssim.Fault{Kind: awssim.FailRotation})
	_, err = rotate()
	require.NoError(t, err)
	require.Eventually(t, func() bool { return status() == "impaired" }, 5*time.Second, 2*time.Millisecond)
	require.Empty(t, server.passwords)
	for _, call := range w.simulator.Log() {
		require.NotContains(t, call.String(), password)
	}
}
