package awssim

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// secret is one of Secrets Manager; only its newest version is kept.
type secret struct {
	name    string
	arn     string
	text    string
	version int
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
	known.text, known.changed = text, now
	known.version++
	return known.arn
}

// arnSuffix stands for the six random characters that AWS appends; derived from the name, so that ARNs can be written down.
func arnSuffix(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base32.StdEncoding.EncodeToString(sum[:])[:6]
}

func (x *secret) versionID() string { return fmt.Sprintf("00000000-0000-4000-9000-%012d", x.version) }

// epoch is how JSON 1.1 writes a time.
func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// serveSecrets answers one operation of Secrets Manager.
func (s *Simulator) serveSecrets(w http.ResponseWriter, operation string, body []byte, _ string) {
	answer, err := s.runSecrets(operation, body)
	if err != nil {
		writeJSONError(w, asAPIError(err))
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (s *Simulator) runSecrets(operation string, body []byte) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[operation]++
	if err := s.failBefore(operation); err != nil {
		return nil, err
	}
	var input struct{ SecretId string }
	if err := json.Unmarshal(body, &input); err != nil || input.SecretId == "" {
		return nil, refuse("InvalidParameterException", "SecretId is missing")
	}
	x := s.findSecret(input.SecretId)
	if x == nil {
		return nil, refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	switch operation {
	case "GetSecretValue":
		return map[string]any{"ARN": x.arn, "Name": x.name, "SecretString": x.text, "CreatedDate": epoch(x.changed),
			"VersionId": x.versionID(), "VersionStages": []string{"AWSCURRENT"}}, nil
	case "DescribeSecret":
		return map[string]any{"ARN": x.arn, "Name": x.name, "CreatedDate": epoch(x.created), "LastChangedDate": epoch(x.changed),
			"VersionIdsToStages": map[string][]string{x.versionID(): {"AWSCURRENT"}}}, nil
	}
	return nil, refuse("UnknownOperationException", "no operation %s", operation)
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
