package rdsctl_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/fault"
	"timeferry/internal/source/rdsctl"
)

const shopARN = "arn:aws:rds:us-east-1:123456789012:db:shop"

// deployment is one of the account's blue/green deployments.
type deployment struct{ name, source, target, status string }

// withDeployments puts the deployments, one to a page, in front of the simulator.
func (w world) withDeployments(t *testing.T, all ...deployment) *rdsctl.Client {
	t.Helper()
	front := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		form, parseErr := url.ParseQuery(string(body))
		if err != nil || parseErr != nil || form.Get("Action") != "DescribeBlueGreenDeployments" {
			r.Body = io.NopCloser(bytes.NewReader(body))
			w.simulator.ServeHTTP(out, r)
			return
		}
		var members, marker string
		if page := len(form.Get("Marker")); page < len(all) {
			d := all[page]
			members = fmt.Sprintf(`<member><BlueGreenDeploymentIdentifier>bgd-1</BlueGreenDeploymentIdentifier><BlueGreenDeploymentName>%s</BlueGreenDeploymentName>`+
				`<Source>%s</Source><Target>%s</Target><Status>%s</Status></member>`, d.name, d.source, d.target, d.status)
			if page+1 < len(all) {
				marker = "<Marker>" + strings.Repeat("x", page+1) + "</Marker>"
			}
		}
		fmt.Fprintf(out, `<DescribeBlueGreenDeploymentsResponse xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><DescribeBlueGreenDeploymentsResult>`+
			`<BlueGreenDeployments>%s</BlueGreenDeployments>%s</DescribeBlueGreenDeploymentsResult></DescribeBlueGreenDeploymentsResponse>`, members, marker)
	}))
	t.Cleanup(front.Close)
	t.Setenv("AWS_ENDPOINT_URL", front.URL)
	return mustOpen(t)
}

func TestCheckReadyWithBlueGreen(t *testing.T) {
	w := newFixture(t, nil)
	other := deployment{"other", "arn:aws:rds:us-east-1:123456789012:db:other", "arn:aws:rds:us-east-1:123456789012:db:other-green", "AVAILABLE"}
	for _, c := range []struct {
		deployment
		class fault.Class
		code  string
	}{
		{deployment{"d", shopARN, "x", "PROVISIONING"}, fault.Operator, rdsctl.CodeBlueGreen},
		{deployment{"d", shopARN, "x", "AVAILABLE"}, fault.Operator, rdsctl.CodeBlueGreen},
		{deployment{"d", "x", shopARN, "SWITCHOVER_IN_PROGRESS"}, fault.Operator, rdsctl.CodeBlueGreen},
		{deployment{"d", shopARN, "x", "SWITCHOVER_FAILED"}, fault.Operator, rdsctl.CodeBlueGreen},
		{deployment{"d", shopARN, "x", "DELETING"}, fault.NotReady, ""},
	} {
		client := w.withDeployments(t, other, c.deployment)
		err := client.CheckReady(t.Context(), w.inspect(t))
		requireFault(t, err, c.class, c.code, "blue/green deployment d", "shop")
		if c.class == fault.Operator {
			require.ErrorContains(t, err, c.status)
		}
	}
	client := w.withDeployments(t, other, deployment{"old", shopARN, "x", "SWITCHOVER_COMPLETED"})
	require.NoError(t, client.CheckReady(t.Context(), w.inspect(t)))
	require.NoError(t, w.withDeployments(t).CheckReady(t.Context(), w.inspect(t)))
}

func TestCheckReadyByStatus(t *testing.T) {
	w := newFixture(t, nil)
	client := w.withDeployments(t)
	for _, c := range []struct {
		status string
		class  fault.Class
		code   string
		says   string
	}{
		{"backing-up", fault.NotReady, "", "a backup is running"},
		{"modifying", fault.NotReady, "", "the instance is modifying"},
		{"storage-optimization", fault.NotReady, "", "the instance is storage-optimization"},
		{"storage-full", fault.Operator, rdsctl.CodeInstanceState, "storage-full"},
		{"stopped", fault.Operator, rdsctl.CodeInstanceState, "stopped"},
	} {
		w.simulator.Inject(awssim.Fault{Kind: awssim.ForceStatus, Instance: "shop", Code: c.status})
		requireFault(t, client.CheckReady(t.Context(), w.inspect(t)), c.class, c.code, c.says)
	}
	in := w.inspect(t)
	in.Status, in.ApplyStatus = "available", "failed-to-apply"
	requireFault(t, client.CheckReady(t.Context(), in), fault.Operator, rdsctl.CodeInstanceState, "could not apply")
}
