package awssim

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// secret is one of Secrets Manager; its newest two versions are kept.
type secret struct {
	name    string
	arn     string
	text    string
	before  string // the version before, AWSPREVIOUS; only if version > 1
	version int
	tokens  map[string]putByAPI // by ClientRequestToken
	created time.Time
	changed time.Time
}

// PutSecret stores text under name, as a new version if the name exists, and gives its ARN.
func (s *Simulator) PutSecret(name, text string) (arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UTC()
	known := s.secrets[name]
	if known == nil {
		known = &secret{name: name, arn: s.arn("secretsmanager", "secret", name+"-"+arnSuffix(name)), created: now}
		s.secrets[name] = known
	}
	known.put(text)
	return known.arn
}

func (x *secret) put(text string) {
	x.before, x.text, x.changed = x.text, text, time.Now().UTC()
	x.version++
}

// putByAPI is a version that PutSecretValue made.
type putByAPI struct {
	text    string
	version int
}

// putByAPI makes a new version. Asked again with the same token it does nothing, and refuses another text.
func (x *secret) putByAPI(text, token string) (any, error) {
	switch made, again := x.tokens[token]; {
	case len(token) < 32 || len(token) > 64:
		return nil, refuse("InvalidParameterException", "ClientRequestToken must have 32 to 64 characters")
	case text == "":
		return nil, refuse("InvalidParameterException", "You must provide either SecretString or SecretBinary.")
	case again && made.text != text:
		return nil, refuse("ResourceExistsException", "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", token, x.arn)
	case !again:
		if x.tokens == nil {
			x.tokens = map[string]putByAPI{}
		}
		x.put(text)
		x.tokens[token] = putByAPI{text, x.version}
	}
	return map[string]any{"ARN": x.arn, "Name": x.name, "VersionId": versionID(x.tokens[token].version), "VersionStages": []string{stageCurrent}}, nil
}

// arnSuffix stands for the six random characters that AWS appends; derived from the name, so that ARNs can be written down.
func arnSuffix(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base32.StdEncoding.EncodeToString(sum[:])[:6]
}

func versionID(version int) string { return fmt.Sprintf("00000000-0000-4000-9000-%012d", version) }

// epoch is how JSON 1.1 writes a time.
func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (s *Simulator) trySecrets(operation string, body []byte) (any, error) {
	var input struct{ SecretId, VersionStage, SecretString, ClientRequestToken string }
	if err := json.Unmarshal(body, &input); err != nil || input.SecretId == "" {
		return nil, refuse("InvalidParameterException", "SecretId is missing")
	}
	x := s.findSecret(input.SecretId)
	if x == nil {
		return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	switch operation {
	case "GetSecretValue":
		return x.value(input.VersionStage)
	case "PutSecretValue":
		return x.putByAPI(input.SecretString, input.ClientRequestToken)
	case "DescribeSecret":
		return s.describeSecret(x), nil
	case "RotateSecret":
		return s.rotateByAPI(x)
	}
	return nil, refuse("UnknownOperationException", "no operation %s", operation)
}

// describeSecret says nothing of the text.
func (s *Simulator) describeSecret(x *secret) map[string]any {
	out := map[string]any{"ARN": x.arn, "Name": x.name, "CreatedDate": epoch(x.created), "LastChangedDate": epoch(x.changed),
		"RotationEnabled": false, "VersionIdsToStages": x.stages()}
	if s.ownerOf(x.arn) != nil {
		out["OwningService"], out["RotationEnabled"] = "rds", true
	}
	if x.version > 1 {
		out["LastRotatedDate"] = epoch(x.changed)
	}
	return out
}

const (
	stageCurrent  = "AWSCURRENT"
	stagePrevious = "AWSPREVIOUS"
)

func (x *secret) stages() map[string][]string {
	out := map[string][]string{versionID(x.version): {stageCurrent}}
	if x.version > 1 {
		out[versionID(x.version-1)] = []string{stagePrevious}
	}
	return out
}

func (x *secret) value(stage string) (any, error) {
	text, version := x.text, x.version
	switch {
	case stage == stagePrevious && x.version > 1:
		text, version = x.before, x.version-1
	case stage == "":
		stage = stageCurrent
	case stage != stageCurrent:
		return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: %s", stage)
	}
	return map[string]any{"ARN": x.arn, "Name": x.name, "SecretString": text, "CreatedDate": epoch(x.changed),
		"VersionId": versionID(version), "VersionStages": []string{stage}}, nil
}

// findSecret takes a name, an ARN, or an ARN without the random characters.
func (s *Simulator) findSecret(id string) *secret {
	for _, x := range s.secrets {
		if id == x.name || id == x.arn || id == strings.TrimSuffix(x.arn, "-"+arnSuffix(x.name)) {
			return x
		}
	}
	return nil
}
