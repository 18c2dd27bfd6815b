// Package tools holds the programs that only development needs, and checks of files that the product's module should not
// need dependencies for.
package tools

import (
	"context"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// TestCompose loads docker-compose.yml by the compose specification, with its schema and consistency checks.
func TestCompose(t *testing.T) {
	project := loadCompose(t)
	for _, name := range []string{"temporal", "temporal-ui", "source", "target", "rds", "worker"} {
		if _, err := project.GetService(name); err != nil {
			t.Errorf("service %s: %v", name, err)
		}
	}
	for name, service := range project.Services {
		if service.Image == "" && service.Build == nil {
			t.Errorf("service %s has neither an image nor a build", name)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("service %s publishes port %s on %q: only loopback", name, port.Published, port.HostIP)
			}
		}
	}
}

func loadCompose(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../docker-compose.yml"}, cli.WithName("timeferry"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}
