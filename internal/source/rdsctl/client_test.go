package rdsctl_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/awssim/awssimtest"
	"timeferry/internal/fault"
	"timeferry/internal/source/rdsctl"
)

func TestSecret(t *testing.T) {
	w := newFixture(t, nil)
	arn := w.simulator.PutSecret("rds!db-shop", `{"username":"postgres","password":"pw"}`)
	text, err := w.client.Secret(t.Context(), arn)
	require.NoError(t, err)
	require.Equal(t, `{"username":"postgres","password":"pw"}`, text)
	_, err = w.client.Secret(t.Context(), "arn:aws:secretsmanager:us-west-2:1:secret:gone")
	requireFault(t, err, fault.Operator, rdsctl.CodeNoSecret, "gone", "us-west-2")
}

func TestASecretIsWrittenOncePerToken(t *testing.T) {
	w := newFixture(t, nil)
	arn := w.simulator.PutSecret("shop/app", `{"host":"source"}`)
	_, before, err := w.client.SecretVersion(t.Context(), arn)
	require.NoError(t, err)
	token := strings.Repeat("0123456789abcdef", 4)
	var made string
	for range 2 {
		made, err = w.client.PutSecret(t.Context(), arn, `{"host":"target"}`, token)
		require.NoError(t, err)
		require.NotEqual(t, before, made)
	}
	text, version, err := w.client.SecretVersion(t.Context(), arn)
	require.NoError(t, err)
	require.Equal(t, `{"host":"target"}`, text)
	require.Equal(t, made, version)
	_, err = w.client.PutSecret(t.Context(), arn, `{"host":"elsewhere"}`, token)
	require.Error(t, err)
	_, err = w.client.PutSecret(t.Context(), arn+"-none", "x", token)
	requireFault(t, err, fault.Operator, rdsctl.CodeNoSecret, "none", "us-west-2")
	for _, call := range w.simulator.Log() {
		require.NotContains(t, fmt.Sprint(call), `"host"`, "secrets are in no log")
	}
}

func TestAuthToken(t *testing.T) {
	w := newFixture(t, nil)
	token, err := w.client.AuthToken(t.Context(), "db.example", 5432, "app")
	require.NoError(t, err)
	u, err := url.Parse("https://" + token)
	require.NoError(t, err)
	require.Equal(t, "db.example:5432", u.Host)
	require.Equal(t, "app", u.Query().Get("DBUser"))
	require.Contains(t, u.Query().Get("X-Amz-Credential"), "/us-west-2/rds-db/")
}

func TestOpenWithoutRegion(t *testing.T) {
	isolateAWS(t)
	_, err := rdsctl.Open(t.Context(), rdsctl.Options{})
	requireFault(t, err, fault.Operator, rdsctl.CodeNoAWSConfig, "region")
}

func TestNoCredentials(t *testing.T) {
	w := newFixture(t, nil)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	c := mustOpen(t)
	began := time.Now()
	_, err := c.Inspect(t.Context(), shop)
	requireFault(t, err, fault.Operator, rdsctl.CodeCredentials, "AWS_ACCESS_KEY_ID")
	require.Less(t, time.Since(began), 5*time.Second)
	_, err = c.AuthToken(t.Context(), "db.example", 5432, "app")
	requireFault(t, err, fault.Operator, rdsctl.CodeCredentials)
	_, err = c.Secret(t.Context(), "x")
	requireFault(t, err, fault.Operator, rdsctl.CodeCredentials)
	require.Zero(t, w.simulator.Calls("DescribeDBInstances"))
}

func TestAnswersOfAWSAreClassified(t *testing.T) {
	w := newFixture(t, nil)
	for _, c := range []struct {
		awsCode string
		status  int
		class   fault.Class
		code    string
	}{
		{"ExpiredToken", 403, fault.Operator, rdsctl.CodeCredentials},
		{"InvalidClientTokenId", 403, fault.Operator, rdsctl.CodeCredentials},
		{"AccessDenied", 403, fault.Operator, rdsctl.CodeAccessDenied},
		{"InvalidDBInstanceState", 400, fault.NotReady, ""},
	} {
		w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Code: c.awsCode, Status: c.status, Message: "as AWS says"})
		_, err := w.client.Inspect(t.Context(), shop)
		requireFault(t, err, c.class, c.code, c.awsCode+": as AWS says")
	}
	w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Code: "NewlyInvented", Status: 500, Count: 8})
	_, err := w.client.Inspect(t.Context(), shop)
	require.Equal(t, fault.Transient, fault.Classify(err), "a fault of AWS's own: %v", err)
	w.simulator.Inject(awssim.Fault{Kind: awssim.Throttle, Count: 8})
	_, err = w.client.Inspect(t.Context(), shop)
	require.Equal(t, fault.Transient, fault.Classify(err))
	w.inspect(t)
}

func TestThrottlingIsRetried(t *testing.T) {
	w := newFixture(t, nil)
	w.simulator.Inject(awssim.Fault{Kind: awssim.Throttle, Count: 7})
	w.inspect(t)
	require.Equal(t, 8, w.simulator.Calls("DescribeDBInstances"))
}

func TestNobodyAnswers(t *testing.T) {
	newFixture(t, nil)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	t.Setenv("AWS_ENDPOINT_URL", gone.URL)
	_, err := mustOpen(t).Inspect(t.Context(), shop)
	require.Equal(t, fault.Transient, fault.Classify(err), "%v", err)
	require.Contains(t, fault.HintOf(err), "reach the AWS API")
}

func TestClientIsSafeForConcurrentUse(t *testing.T) {
	w := newFixture(t, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := w.client.Inspect(t.Context(), shop)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestPendingNamesKnowsEveryField fails when the SDK learns a new pending modification.
func TestPendingNamesKnowsEveryField(t *testing.T) {
	requireEveryField(t, rdsctl.PendingNames)
	requireEveryField(t, rdsctl.ClusterPendingNames)
}

func requireEveryField[T any](t *testing.T, names func(*T) []string) {
	t.Helper()
	whole := reflect.TypeFor[T]()
	for i := range whole.NumField() {
		field := whole.Field(i)
		if !field.IsExported() {
			continue
		}
		var p T
		value := reflect.ValueOf(&p).Elem().Field(i)
		switch value.Kind() {
		case reflect.Pointer:
			value.Set(reflect.New(field.Type.Elem()))
		case reflect.Slice:
			value.Set(reflect.MakeSlice(field.Type, 1, 1))
		case reflect.String:
			value.SetString("x")
		default:
			require.Fail(t, "a new kind of field", field.Name)
		}
		require.Equal(t, []string{field.Name}, names(&p))
	}
	var nothing T
	require.Empty(t, names(&nothing))
	require.Empty(t, names(nil))
}

// TestSimulatorConforms runs the suite with a client that is configured as production's is, by the environment.
func TestSimulatorConforms(t *testing.T) {
	w := newTimedFixture(t, slow, nil)
	awssimtest.Run(t, w.person, strings.ToUpper("shop"), awssimtest.Options{})
}
