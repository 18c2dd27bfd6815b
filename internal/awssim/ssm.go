package awssim

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// ssmParameter is one of Systems Manager's Parameter Store; only its newest version is kept.
type ssmParameter struct {
	name    string
	value   string
	secure  bool
	version int
	changed time.Time
}

// publicPrefix is where AWS itself has parameters, in no account.
const publicPrefix = "/aws/"

// canonicalPath is where Canonical publishes the AMIs of Ubuntu 24.04, by architecture.
const canonicalPath = "/aws/service/canonical/ubuntu/server/24.04/stable/current/%s/hvm/ebs-gp3/ami-id"

// PutSSMParameter stores value under name, as a new version if the name exists. A secure one is given in clear text only to
// who asks for decryption.
func (s *Simulator) PutSSMParameter(name, value string, secure bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putSSMParameter(name, value, secure)
}

func (s *Simulator) putSSMParameter(name, value string, secure bool) {
	p := s.ssm[name]
	if p == nil {
		p = &ssmParameter{name: name}
		s.ssm[name] = p
	}
	p.value, p.secure, p.changed = value, secure, time.Now().UTC()
	p.version++
}

func (s *Simulator) trySSM(operation string, body []byte) (any, error) {
	var input struct {
		Name           string
		Names          []string
		WithDecryption bool
	}
	if err := json.Unmarshal(body, &input); err != nil {
		return nil, refuse("SerializationException", "the request is not JSON of this operation")
	}
	switch operation {
	case "GetParameter":
		p := s.findSSM(input.Name)
		if p == nil {
			return nil, refuse("ParameterNotFound", "Parameter %s not found.", input.Name)
		}
		return map[string]any{"Parameter": s.ssmJSON(p, input.WithDecryption)}, nil
	case "GetParameters":
		return s.getParameters(input.Names, input.WithDecryption)
	}
	return nil, refuse("UnknownOperationException", "no operation %s", operation)
}

// maxSSMNames is how many parameters one GetParameters may name.
const maxSSMNames = 10

// getParameters leaves out the names it does not know and lists them.
func (s *Simulator) getParameters(names []string, decrypt bool) (any, error) {
	if len(names) == 0 || len(names) > maxSSMNames {
		return nil, refuse("ValidationException", "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length between 1 and %d", maxSSMNames)
	}
	found, unknown := []map[string]any{}, []string{}
	for _, name := range names {
		if p := s.findSSM(name); p != nil {
			found = append(found, s.ssmJSON(p, decrypt))
		} else {
			unknown = append(unknown, name)
		}
	}
	return map[string]any{"Parameters": found, "InvalidParameters": unknown}, nil
}

// findSSM takes a name or an ARN.
func (s *Simulator) findSSM(name string) *ssmParameter {
	if p := s.ssm[name]; p != nil {
		return p
	}
	for _, p := range s.ssm {
		if s.ssmARN(p.name) == name {
			return p
		}
	}
	return nil
}

func (s *Simulator) ssmARN(name string) string {
	if strings.HasPrefix(name, publicPrefix) {
		return "arn:aws:ssm:" + s.options.Region + "::parameter" + name
	}
	return "arn:aws:ssm:" + s.options.Region + ":" + s.options.Account + ":parameter/" + strings.TrimPrefix(name, "/")
}

func (s *Simulator) ssmJSON(p *ssmParameter, decrypt bool) map[string]any {
	kind, value, dataType := "String", p.value, "text"
	if p.secure {
		kind = "SecureString"
		if !decrypt {
			// Not the value in any form: whoever forgets to ask for decryption must notice.
			value = base64.StdEncoding.EncodeToString([]byte("encrypted by alias/aws/ssm: " + p.name))
		}
	}
	if s.images[p.value] != "" {
		dataType = "aws:ec2:image"
	}
	return map[string]any{"Name": p.name, "Type": kind, "Value": value, "Version": p.version, "LastModifiedDate": epoch(p.changed),
		"ARN": s.ssmARN(p.name), "DataType": dataType}
}
