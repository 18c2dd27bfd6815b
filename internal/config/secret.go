// Package config turns references into what they refer to: passwords from the environment, files and Secrets Manager, and
// the word rds into the file with AWS's certificates, which is downloaded once if it is nowhere.
//
// In: contract's endpoint and secret references. Out: pgkit.Endpoint, which holds the password or knows how to read it.
// Invariants: a secret is never part of an error.
//
// Not here: business decisions.
package config

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// SecretReader fetches a Secrets Manager secret's text. source/rdsctl has the real one.
type SecretReader interface {
	Secret(ctx context.Context, arn string) (string, error)
}

// Resolve makes the endpoint ready to dial, with the password as it is now. reader may be nil when no secretArn is used.
// The references rdsManaged and iam must have been turned into a secretArn or a token by the caller, who knows the instance.
func Resolve(ctx context.Context, e contract.Endpoint, reader SecretReader) (pgkit.Endpoint, error) {
	password, err := readPassword(ctx, e, reader)
	if err != nil {
		return pgkit.Endpoint{}, err
	}
	out, err := withoutPassword(e)
	out.Password = password
	return out, err
}

// ResolveLazily is Resolve for work that reconnects by itself: the reference is read anew at each connection, so that a
// rotated password is found. A reference that gives nothing then makes the connection fail, with the same errors.
func ResolveLazily(e contract.Endpoint, reader SecretReader) (pgkit.Endpoint, error) {
	if e.Password.Env == "" && e.Password.File == "" && e.Password.SecretARN == "" {
		return pgkit.Endpoint{}, unreadable(e)
	}
	out, err := ResolveWith(e, func(ctx context.Context) (string, error) { return readPassword(ctx, e, reader) })
	out.Rotates = e.Password.Env == "" // this process's environment stays as it is
	return out, err
}

// ResolveWith makes an endpoint that asks password at each connection, and leaves e's own reference alone: for tokens of
// IAM, which are good for some minutes only, and for passwords that are rotated.
func ResolveWith(e contract.Endpoint, password func(context.Context) (string, error)) (pgkit.Endpoint, error) {
	out, err := withoutPassword(e)
	out.PasswordFunc, out.Rotates = password, true
	return out, err
}

func withoutPassword(e contract.Endpoint) (pgkit.Endpoint, error) {
	root, err := rootCert(e)
	if err != nil {
		return pgkit.Endpoint{}, err
	}
	return pgkit.Endpoint{Host: e.Host, Port: e.Port, Database: e.Database, User: e.User, SSLMode: e.SSLMode, SSLRootCert: root,
		IAM: e.Password.IAM, PasswordFrom: fmt.Sprintf("%+v", e.Password)}, nil
}

// ReadSecret reads what a reference that belongs to no endpoint points to now, like the key that signs calls.
func ReadSecret(ctx context.Context, ref contract.SecretRef, reader SecretReader) (string, error) {
	return readPassword(ctx, contract.Endpoint{User: "the key", Host: "cutover.switch", Password: ref}, reader)
}

func readPassword(ctx context.Context, e contract.Endpoint, reader SecretReader) (string, error) {
	ref := e.Password
	switch {
	case ref.Env != "":
		value, ok := os.LookupEnv(ref.Env)
		if !ok {
			return "", missing(e, "set the environment variable where the worker runs", "environment variable %s is not set", ref.Env)
		}
		return value, nil
	case ref.File != "":
		content, err := os.ReadFile(ref.File)
		if err != nil {
			return "", missing(e, "put the password into this file on the worker's machine, readable by it", "%w", err)
		}
		return strings.TrimRight(string(content), "\r\n"), nil
	case ref.SecretARN != "":
		if reader == nil {
			return "", missing(e, "give the worker AWS credentials", "there is no access to Secrets Manager")
		}
		text, err := reader.Secret(ctx, ref.SecretARN)
		if err != nil {
			return "", err
		}
		return PasswordInSecret(text), nil
	}
	return "", unreadable(e)
}

func unreadable(e contract.Endpoint) error {
	return missing(e, "give one of env, file, secretArn", "the reference cannot be read here")
}

func missing(e contract.Endpoint, hint, format string, args ...any) error {
	return fault.New(fault.Operator, "read password for", e.User+"@"+e.Host, hint, format, args...).WithCode("password-unavailable")
}

// PasswordInSecret takes the password out of a secret: the key "password" of a JSON object, as RDS and the rotation
// templates write it, or else the whole text.
func PasswordInSecret(text string) string {
	var object struct {
		Password *string `json:"password"`
	}
	if json.Unmarshal([]byte(text), &object) == nil && object.Password != nil {
		return *object.Password
	}
	return strings.TrimRight(text, "\r\n")
}
