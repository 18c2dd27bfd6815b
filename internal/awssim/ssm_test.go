package awssim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// ssm calls an operation; there is no SDK client of SSM among the dependencies.
func (w world) ssm(t *testing.T, operation, body string) (status int, answer map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("X-Amz-Target", "AmazonSSM."+operation)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.NoError(t, json.Unmarshal(text, &answer), string(text))
	return response.StatusCode, answer
}

func TestParameterStore(t *testing.T) {
	w := newFixture(t)
	w.simulator.PutSSMParameter("/shop/token", "first", true)
	w.simulator.PutSSMParameter("/shop/token", "hidden", true)
	const ubuntuARM = "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id"
	status, answer := w.ssm(t, "GetParameter", `{"Name":"`+ubuntuARM+`"}`)
	require.Equal(t, http.StatusOK, status)
	requireAt(t, answer, map[string]any{"Parameter.Value": "ami-0a240400000000002", "Parameter.Type": "String", "Parameter.DataType": "aws:ec2:image",
		"Parameter.ARN": "arn:aws:ssm:us-east-1::parameter" + ubuntuARM})

	_, answer = w.ssm(t, "GetParameter", `{"Name":"/shop/token"}`)
	require.NotContains(t, at(t, answer, "Parameter.Value"), "hidden", "not without being asked to decrypt")
	_, answer = w.ssm(t, "GetParameter", `{"Name":"arn:aws:ssm:us-east-1:123456789012:parameter/shop/token","WithDecryption":true}`)
	requireAt(t, answer, map[string]any{"Parameter.Value": "hidden", "Parameter.Version": 2})
	_, answer = w.ssm(t, "GetParameters", `{"Names":["/none","/shop/token"],"WithDecryption":true}`)
	requireAt(t, answer, map[string]any{"Parameters.0.Value": "hidden", "InvalidParameters.0": "/none"})

	for body, code := range map[string]string{`{"Name":"/none"}`: "ParameterNotFound", `x`: "SerializationException"} {
		status, answer = w.ssm(t, "GetParameter", body)
		require.Equal(t, http.StatusBadRequest, status)
		require.Equal(t, code, answer["__type"])
	}
	_, answer = w.ssm(t, "GetParameters", `{"Names":[]}`)
	require.Equal(t, "ValidationException", answer["__type"])
	_, answer = w.ssm(t, "PutParameter", `{}`)
	require.Equal(t, "UnknownOperationException", answer["__type"])
	w.simulator.Inject(awssim.Fault{Kind: awssim.Throttle, Action: "GetParameter"})
	_, answer = w.ssm(t, "GetParameter", `{"Name":"/none"}`)
	require.Equal(t, "ThrottlingException", answer["__type"])
	log := w.simulator.Log()
	require.Equal(t, "ssm:GetParameters Names=/none,/shop/token WithDecryption=true", log[3].String())
}
