package launch

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"

	"timeferry/internal/fault"
)

//go:embed setup.sh.tmpl
var setupText string

//go:embed worker.service.tmpl
var serviceText string

var (
	setupTemplate   = template.Must(template.New("setup.sh").Funcs(template.FuncMap{"quote": shellQuote}).Parse(setupText))
	serviceTemplate = template.Must(template.New("worker.service").Parse(serviceText))
)

// maxUserData is EC2's limit, before base64.
const maxUserData = 16 << 10

// script is what the templates see.
type script struct {
	Order
	Plan                      Plan
	SHA256, Unit, Environment string
	EnvironmentFlag           string // of the worker's environment command; empty: nothing secret is fetched
}

// userData writes the script that cloud-init runs when the machine starts first. Everything from outside in it has passed
// Setup.validate.
func userData(o Order, p Plan) (string, error) {
	s := script{Order: o, Plan: p, SHA256: strings.ToLower(o.Setup.WorkerSHA256), Environment: FormatEnvironment(o.Setup.Environment)}
	switch {
	case o.Setup.EnvironmentSecret != "":
		s.EnvironmentFlag = "--secret " + o.Setup.EnvironmentSecret
	case o.Setup.EnvironmentParameter != "":
		s.EnvironmentFlag = "--parameter " + o.Setup.EnvironmentParameter
	}
	var unit, out strings.Builder
	if err := serviceTemplate.Execute(&unit, s); err != nil {
		return "", fmt.Errorf("write unit of the worker: %w", err)
	}
	s.Unit = unit.String()
	if err := setupTemplate.Execute(&out, s); err != nil {
		return "", fmt.Errorf("write setup of the machine: %w", err)
	}
	if out.Len() > maxUserData {
		return "", fault.New(fault.Operator, "write", "setup of the machine", "give fewer or shorter --env, or move them into the secret of --environment-secret",
			"it has %d bytes, and EC2 takes %d", out.Len(), maxUserData).WithCode(CodeBadOrder)
	}
	return out.String(), nil
}

func shellQuote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
