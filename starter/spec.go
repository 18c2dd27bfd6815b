package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/goccy/go-yaml"

	"timeferry/internal/contract"
)

// readSpec reads a spec in JSON or YAML ("-" is standard input), and checks it as the workflow will. It returns both the
// JSON for the workflow and the spec.
func readSpec(file string) (json.RawMessage, contract.Spec, error) {
	var content []byte
	var err error
	if file == "-" {
		content, err = io.ReadAll(os.Stdin)
	} else {
		content, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, contract.Spec{}, usage(fmt.Errorf("read spec: %w", err))
	}
	// JSON is YAML too; going through YAML gives both the same rules.
	raw, err := yaml.YAMLToJSON(content)
	if err != nil {
		return nil, contract.Spec{}, usage(fmt.Errorf("read spec %s: it is neither YAML nor JSON: %s", file, firstLine(yaml.FormatError(err, false, false))))
	}
	spec, err := contract.ParseSpec(raw)
	if err != nil {
		return nil, contract.Spec{}, usage(fmt.Errorf("spec %s: %w", file, err))
	}
	return raw, spec, nil
}

func firstLine(s string) string {
	for i, r := range s {
		if r == '\n' {
			return s[:i]
		}
	}
	return s
}
