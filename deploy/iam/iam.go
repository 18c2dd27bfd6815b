// Package iam gives tests the IAM policies of this folder, to compare them with the calls that are really made.
//
// In: the JSON files beside this one. Out: the actions in them.
//
// Not here: production code. Nothing but tests imports it.
package iam

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
)

//go:embed *.json
var files embed.FS

// ByProxy are the actions that another service, or a larger call, asks for in our name: no call of Timeferry has their name.
var ByProxy = map[string]string{
	"ssm:GetParameters":   "ec2:RunInstances",
	"ec2:CreateTags":      "ec2:RunInstances",
	"iam:PassRole":        "ec2:RunInstances",
	"kms:Decrypt":         "secretsmanager:GetSecretValue",
	"kms:GenerateDataKey": "secretsmanager:PutSecretValue",
	"rds-db:connect":      "",
}

// Files lists the policies: "database.json" and so on.
func Files() ([]string, error) { return fs.Glob(files, "*.json") }

type policy struct {
	Version   string
	Statement []Statement
}

// Statement is one of a policy.
type Statement struct {
	Sid, Effect string
	Action      words
	Resource    words
	Condition   map[string]map[string]words
}

// words is a list that JSON may give as a single string.
type words []string

func (w *words) UnmarshalJSON(raw []byte) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		*w = words{one}
		return nil
	}
	return json.Unmarshal(raw, (*[]string)(w))
}

// Statements reads a policy.
func Statements(file string) ([]Statement, error) {
	raw, err := files.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	var p policy
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("read policy %s: %w", file, err)
	}
	return p.Statement, nil
}

// Actions lists what a policy allows, like "rds:DescribeDBInstances", sorted and each once.
func Actions(file string) ([]string, error) {
	statements, err := Statements(file)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, s := range statements {
		all = append(all, s.Action...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
