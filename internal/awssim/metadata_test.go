package awssim_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

func TestMetadata(t *testing.T) {
	simulator := awssim.New(awssim.Options{Region: "eu-west-1"})
	t.Cleanup(simulator.Close)
	endpoint := httptest.NewServer(simulator.Metadata(awssim.MetadataConfig{PrivateIP: "10.1.2.3", InstanceID: "i-1", VPC: "vpc-1", MAC: "0a:1"}))
	t.Cleanup(endpoint.Close)
	client := imds.New(imds.Options{Endpoint: endpoint.URL})
	for path, want := range map[string]string{"local-ipv4": "10.1.2.3", "instance-id": "i-1", "placement/region": "eu-west-1", "mac": "0a:1",
		"placement/availability-zone": "eu-west-1a", "network/interfaces/macs/0a:1/vpc-id": "vpc-1"} {
		out, err := client.GetMetadata(t.Context(), &imds.GetMetadataInput{Path: path})
		require.NoError(t, err, path)
		content, err := io.ReadAll(out.Content)
		require.NoError(t, err)
		require.NoError(t, out.Content.Close())
		require.Equal(t, want, string(content), path)
	}
	region, err := client.GetRegion(t.Context(), &imds.GetRegionInput{})
	require.NoError(t, err)
	require.Equal(t, "eu-west-1", region.Region)
	document, err := client.GetInstanceIdentityDocument(t.Context(), &imds.GetInstanceIdentityDocumentInput{})
	require.NoError(t, err)
	require.Equal(t, []string{"10.1.2.3", "i-1", "123456789012"}, []string{document.PrivateIP, document.InstanceID, document.AccountID})
	_, err = client.GetMetadata(t.Context(), &imds.GetMetadataInput{Path: "nothing"})
	require.ErrorContains(t, err, "404")

	response, err := http.Get(endpoint.URL + "/latest/meta-data/local-ipv4")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusUnauthorized, response.StatusCode, "version 1 is off")
}
