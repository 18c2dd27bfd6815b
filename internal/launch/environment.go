package launch

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"timeferry/internal/fault"
)

// SecretEnvironment reads a worker's variables from a secret of Secrets Manager: one JSON object of strings.
func (c *Client) SecretEnvironment(ctx context.Context, arn string) (map[string]string, error) {
	out, err := c.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &arn})
	if err != nil {
		return nil, explainEnvironment(ctx, err, attempt{"secretsmanager:GetSecretValue", "read the worker's environment from secret", arn})
	}
	text := []byte(aws.ToString(out.SecretString))
	if out.SecretString == nil {
		text = out.SecretBinary
	}
	return parseEnvironment(arn, text)
}

// ParameterEnvironment reads them from a parameter of SSM's parameter store, of the same form.
func (c *Client) ParameterEnvironment(ctx context.Context, name string) (map[string]string, error) {
	out, err := c.store.GetParameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
	if err != nil {
		return nil, explainEnvironment(ctx, err, attempt{"ssm:GetParameter", "read the worker's environment from parameter", name})
	}
	if out.Parameter == nil {
		return nil, badEnvironment(name, "it has no value")
	}
	return parseEnvironment(name, []byte(aws.ToString(out.Parameter.Value)))
}

func parseEnvironment(subject string, text []byte) (map[string]string, error) {
	var raw map[string]any
	if json.Unmarshal(text, &raw) != nil { // its error may repeat a piece of the secret
		return nil, badEnvironment(subject, "it is no JSON object")
	}
	environment := map[string]string{}
	for name, value := range raw {
		word, isText := value.(string)
		switch {
		case !validVariable.MatchString(name):
			return nil, badEnvironment(subject, "%q is no name of a variable", name)
		case !isText:
			return nil, badEnvironment(subject, "the value of %s is no string", name)
		case strings.ContainsRune(word, 0):
			return nil, badEnvironment(subject, "the value of %s has a zero byte", name)
		}
		environment[name] = word
	}
	return environment, nil
}

func explainEnvironment(ctx context.Context, err error, a attempt) error {
	if hasCode(err, "ResourceNotFoundException") || hasCode(err, "ParameterNotFound") {
		return fault.New(fault.Operator, a.op, a.subject, "check its name and the region", "there is none").WithCode(CodeNoEnvironment)
	}
	return explain(ctx, err, a)
}

func badEnvironment(subject, format string, args ...any) error {
	return fault.New(fault.Operator, "read the worker's environment from", subject, `make it like {"SOURCE_PASSWORD": "…"}`, format, args...).WithCode(CodeBadEnvironment)
}

// FormatEnvironment writes variables as systemd reads them in an EnvironmentFile, sorted; a shell reads them the same.
func FormatEnvironment(environment map[string]string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(environment)) {
		fmt.Fprintf(&b, "%s=\"%s\"\n", name, escape.Replace(environment[name]))
	}
	return b.String()
}

// WriteEnvironment writes an EnvironmentFile that only its owner can read, all of it or nothing.
func WriteEnvironment(file string, environment map[string]string) (err error) {
	defer func() {
		if err != nil {
			err = fault.New(fault.Operator, "write the worker's environment to", file, "check that the directory can be written by the user who starts the worker", "%w", err)
		}
	}()
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(dir, ".environment-*") // with mode 0600
	if err != nil {
		return err
	}
	if _, err = temporary.WriteString(FormatEnvironment(environment)); err == nil {
		err = temporary.Sync()
	}
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary.Name(), file)
	}
	if err != nil {
		_ = os.Remove(temporary.Name()) // err says what went wrong
	}
	return err
}
