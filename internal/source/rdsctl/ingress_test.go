package rdsctl_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/fault"
	"timeferry/internal/source/rdsctl"
)

func way(migration string) rdsctl.IngressRequest {
	return rdsctl.IngressRequest{Group: "sg-1", CIDR: "10.0.1.15/32", Port: 5432, Migration: migration}
}

func (w world) mustOpenIngress(t *testing.T, request rdsctl.IngressRequest) rdsctl.Rule {
	t.Helper()
	rule, err := w.client.OpenIngress(t.Context(), request)
	require.NoError(t, err)
	return rule
}

func TestOpenAndRevokeIngress(t *testing.T) {
	w := newFixture(t, nil)
	rule := w.mustOpenIngress(t, way("shop"))
	require.True(t, rule.Ours)
	require.Equal(t, []awssim.Rule{{ID: rule.ID, Protocol: "tcp", FromPort: 5432, ToPort: 5432, CIDR: "10.0.1.15/32",
		Description: "Timeferry migration shop", Tags: map[string]string{}}}, w.simulator.Ingress("sg-1"))

	require.Equal(t, rule, w.mustOpenIngress(t, way("shop")), "again: the same rule, still ours")
	require.Equal(t, 1, w.simulator.Calls("AuthorizeSecurityGroupIngress"))
	other := w.mustOpenIngress(t, way("other"))
	require.Equal(t, rdsctl.Rule{ID: rule.ID}, other, "another migration's: there, and not ours")

	require.NoError(t, w.client.RevokeIngress(t.Context(), "sg-1", rule.ID))
	require.Empty(t, w.simulator.Ingress("sg-1"))
	require.NoError(t, w.client.RevokeIngress(t.Context(), "sg-1", rule.ID), "gone already")
	require.NoError(t, w.client.RevokeIngress(t.Context(), "sg-gone", rule.ID), "and so is its group")
	require.Equal(t, fault.Bug, fault.Classify(w.client.RevokeIngress(t.Context(), "sg-1", "")))
}

func TestIngressOfOthersStays(t *testing.T) {
	w := newFixture(t, nil)
	before := []awssim.Rule{
		{Protocol: "tcp", FromPort: 5432, ToPort: 5432, CIDR: "10.0.1.15/32", Description: "by hand"},
		{Protocol: "tcp", FromPort: 5432, ToPort: 5433, CIDR: "10.0.1.16/32"},
		{Protocol: "udp", FromPort: 5432, ToPort: 5432, CIDR: "10.0.1.17/32"},
		{Protocol: "tcp", FromPort: 5432, ToPort: 5432, SourceGroup: "sg-1"},
	}
	w.simulator.AddSecurityGroup(awssim.SecurityGroupConfig{ID: "sg-1", Ingress: before})
	have := w.simulator.Ingress("sg-1")
	require.Equal(t, rdsctl.Rule{ID: have[0].ID}, w.mustOpenIngress(t, way("shop")), "there before: not ours")
	require.Zero(t, w.simulator.Calls("AuthorizeSecurityGroupIngress"))

	request := way("shop")
	for _, address := range []string{"10.0.1.16/32", "10.0.1.17/32", "10.0.1.0/24", "fd00::1/128"} {
		request.CIDR = address
		require.True(t, w.mustOpenIngress(t, request).Ours, "no other rule lets in exactly %s", address)
	}
	require.Len(t, w.simulator.Ingress("sg-1"), 8)
	require.NoError(t, w.client.RevokeIngressOf(t.Context(), "sg-1", "other"))
	require.Len(t, w.simulator.Ingress("sg-1"), 8)
	for migration, want := range map[string]int{"shop": 4, "other": 0} {
		ids, err := w.client.IngressOf(t.Context(), "sg-1", migration)
		require.NoError(t, err)
		require.Len(t, ids, want, migration)
	}
	require.NoError(t, w.client.RevokeIngressOf(t.Context(), "sg-1", "shop"))
	require.Equal(t, have, w.simulator.Ingress("sg-1"), "as it was before")
	require.NoError(t, w.client.RevokeIngressOf(t.Context(), "sg-1", "shop"))
}

func TestIngressThroughFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults []awssim.Fault
		reads  int
	}{
		{"answer lost, the SDK asks again", []awssim.Fault{{Kind: awssim.LoseAnswer, Action: "AuthorizeSecurityGroupIngress"}}, 2},
		{"throttling", []awssim.Fault{{Kind: awssim.Throttle, Count: 5}}, 6},
		{"answer lost and lagging reads", []awssim.Fault{{Kind: awssim.StaleReads, Count: 4}, {Kind: awssim.LoseAnswer, Action: "AuthorizeSecurityGroupIngress"}}, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newFixture(t, nil)
			for _, f := range c.faults {
				w.simulator.Inject(f)
			}
			rule := w.mustOpenIngress(t, way("shop"))
			have := w.simulator.Ingress("sg-1")
			require.Len(t, have, 1)
			require.Equal(t, rdsctl.Rule{ID: have[0].ID, Ours: true}, rule)
			require.Equal(t, c.reads, w.simulator.Calls("DescribeSecurityGroupRules"))
		})
	}
}

// TestIngressAfterDeath ends the call once EC2 has made the rule and before the answer arrives, as a killed worker would.
func TestIngressAfterDeath(t *testing.T) {
	w := newFixture(t, nil)
	ctx, die := context.WithCancel(t.Context())
	front := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		before := w.simulator.Calls("AuthorizeSecurityGroupIngress")
		answer := httptest.NewRecorder()
		w.simulator.ServeHTTP(answer, r)
		if w.simulator.Calls("AuthorizeSecurityGroupIngress") > before {
			die()
			<-r.Context().Done()
			return
		}
		maps.Copy(out.Header(), answer.Header())
		out.WriteHeader(answer.Code)
		out.Write(answer.Body.Bytes())
	}))
	t.Cleanup(front.Close)
	t.Setenv("AWS_ENDPOINT_URL", front.URL)
	_, err := mustOpen(t).OpenIngress(ctx, way("shop"))
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, w.simulator.Ingress("sg-1"), 1)

	rule := w.mustOpenIngress(t, way("shop"))
	require.Equal(t, rdsctl.Rule{ID: w.simulator.Ingress("sg-1")[0].ID, Ours: true}, rule)
	require.Len(t, w.simulator.Ingress("sg-1"), 1)
}

func TestIngressRefusals(t *testing.T) {
	w := newFixture(t, nil)
	request := way("shop")
	for _, cidr := range []string{"", "10.0.1.15", "10.0.1.15/33", "everywhere", "0.0.0.0/0", "::/0"} {
		request.CIDR = cidr
		_, err := w.client.OpenIngress(t.Context(), request)
		requireFault(t, err, fault.Operator, rdsctl.CodeBadWorkerCIDR, cidr)
		require.Contains(t, fault.HintOf(err), "workerCIDR")
	}
	require.Zero(t, w.simulator.Calls("DescribeSecurityGroupRules"))

	request = way("shop")
	request.Group = "sg-gone"
	_, err := w.client.OpenIngress(t.Context(), request)
	requireFault(t, err, fault.Operator, rdsctl.CodeNoSecurityGroup, "sg-gone", "us-west-2")

	w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Action: "AuthorizeSecurityGroupIngress", Code: "UnauthorizedOperation", Status: 403, Message: "no"})
	_, err = w.client.OpenIngress(t.Context(), way("shop"))
	requireFault(t, err, fault.Operator, rdsctl.CodeAccessDenied, "sg-1")
	w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Action: "AuthorizeSecurityGroupIngress", Code: "RulesPerSecurityGroupLimitExceeded", Message: "too many"})
	_, err = w.client.OpenIngress(t.Context(), way("shop"))
	requireFault(t, err, fault.Operator, rdsctl.CodeIngressRefused, "too many")
}

// metadata is a metadata service of version 2 that knows one thing.
func metadata(t *testing.T, address string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
		w.Write([]byte("token"))
	})
	mux.HandleFunc("GET /latest/meta-data/local-ipv4", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Aws-Ec2-Metadata-Token") != "token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Write([]byte(address))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
}

func TestWorkerAddress(t *testing.T) {
	newFixture(t, nil)
	metadata(t, "10.0.1.15\n")
	cidr, err := mustOpen(t).WorkerAddress(t.Context())
	require.NoError(t, err)
	require.Equal(t, "10.0.1.15/32", cidr)
}

func TestNoWorkerAddress(t *testing.T) {
	w := newFixture(t, nil)
	began := time.Now()
	_, err := w.client.WorkerAddress(t.Context())
	requireFault(t, err, fault.Operator, rdsctl.CodeNoWorkerAddress, "metadata service", "prepare.workerCIDR")

	metadata(t, "no address")
	_, err = mustOpen(t).WorkerAddress(t.Context())
	requireFault(t, err, fault.Operator, rdsctl.CodeNoWorkerAddress)

	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", gone.URL)
	_, err = mustOpen(t).WorkerAddress(t.Context())
	requireFault(t, err, fault.Operator, rdsctl.CodeNoWorkerAddress)
	require.Less(t, time.Since(began), 20*time.Second)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = mustOpen(t).WorkerAddress(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fault.Unknown, fault.Classify(err))
}
