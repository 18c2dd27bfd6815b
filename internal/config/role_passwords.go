package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/goccy/go-yaml"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// CodeRolePasswords is a list of roles' passwords that cannot be used.
const CodeRolePasswords = "role-passwords-unreadable"

const (
	// openToOthers are the permissions that such a file must not give: any for everybody, and writing for a group. Reading by a
	// group is how services are handed their secrets.
	openToOthers = 0o027
	// mostPasswordBytes is enough for ten thousand roles; more is the wrong file.
	mostPasswordBytes = 1 << 20
)

// RolePasswords reads passwords by role: a JSON or YAML object in a file of this machine, or a JSON object in a secret.
func RolePasswords(ctx context.Context, from contract.PasswordsFrom, reader SecretReader) (map[string]string, error) {
	switch {
	case (from.File == "") == (from.SecretARN == ""):
		return nil, unusable("", "give exactly one of file, secretArn", "there is no single place to look for them")
	case from.SecretARN != "":
		if reader == nil {
			return nil, unusable(from.SecretARN, "give the worker AWS credentials", "there is no access to Secrets Manager")
		}
		text, err := reader.Secret(ctx, from.SecretARN)
		if err != nil {
			return nil, err
		}
		if !json.Valid([]byte(text)) {
			return nil, unusable(from.SecretARN, passwordsForm, "it is not valid JSON")
		}
		return parsePasswords(from.SecretARN, []byte(text))
	}
	text, err := readPrivate(from.File)
	if err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		if text, err = yamlToJSON(from.File, text); err != nil {
			return nil, err
		}
	}
	return parsePasswords(from.File, text)
}

const passwordsForm = `write one object of role and password, like {"app": "…"}, every password in quotes`

func unusable(subject, hint, format string, args ...any) error {
	return fault.New(fault.Operator, "read roles' passwords from", subject, hint, format, args...).WithCode(CodeRolePasswords)
}

// readPrivate reads a file that only its owner, and perhaps a group, can read. What is checked is the file that is read, and a
// pipe is not waited for.
func readPrivate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unusable(path, "put it on the worker's machine, readable by the worker's user; with several workers, on each", "%w", err)
	}
	defer f.Close() // only read from
	info, err := f.Stat()
	if err != nil {
		return nil, unusable(path, "", "%w", err)
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return nil, unusable(path, "give a file", "it is no regular file")
	case mode.Perm()&openToOthers != 0:
		return nil, unusable(path, "run: chmod 600 "+path, "its mode is %04o: others than the worker can read or change it", mode.Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, mostPasswordBytes+1))
	switch {
	case err != nil:
		return nil, unusable(path, "", "%w", err)
	case len(text) > mostPasswordBytes:
		return nil, unusable(path, passwordsForm, "it is larger than %d bytes", mostPasswordBytes)
	}
	return text, nil
}

// yamlToJSON says at most where the text is wrong: the parser's own words quote it.
func yamlToJSON(path string, text []byte) ([]byte, error) {
	out, err := yaml.YAMLToJSON(text)
	if err == nil {
		return out, nil
	}
	where := ""
	var located yaml.Error
	if errors.As(err, &located) && located.GetToken() != nil && located.GetToken().Position != nil {
		where = fmt.Sprintf(", at line %d", located.GetToken().Position.Line)
	}
	return nil, unusable(path, passwordsForm, "it is neither YAML nor JSON%s", where)
}

// parsePasswords reads the object key by key: a role that is named twice is a mistake that must not pass, and the messages of
// encoding/json can quote what they read.
func parsePasswords(subject string, text []byte) (map[string]string, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, unusable(subject, passwordsForm, "it is no object")
	}
	all := map[string]string{}
	for d.More() {
		key, err := d.Token()
		role, ok := key.(string)
		if err != nil || !ok {
			return nil, unusable(subject, passwordsForm, "it is no object of role and password")
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return nil, unusable(subject, passwordsForm, "the password of role %s cannot be read", role)
		}
		password, ok := value.(string)
		if !ok {
			return nil, unusable(subject, passwordsForm, "the password of role %s is not a string", role)
		}
		if _, twice := all[role]; twice {
			return nil, unusable(subject, "keep one of them", "role %s is named twice", role)
		}
		if strings.ContainsRune(password, '\uFFFD') {
			return nil, unusable(subject, "write it in UTF-8", "the password of role %s has a character that cannot be read", role)
		}
		all[role] = password
	}
	if len(all) == 0 {
		return nil, unusable(subject, passwordsForm, "it names no role")
	}
	return all, nil
}
