package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

// Write writes result as JSON to file, whose name ends in .json, and the plot beside it.
func Write(file string, result any, plot []byte) error {
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(strings.TrimSuffix(file, ".json")+".svg", plot, 0o644)
}
