// Package tools holds the programs that only development needs, and checks of files that the product's module should not
// need dependencies for.
package tools

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// TestCompose loads docker-compose.yml by the compose specification, with its schema and consistency checks, and looks
// for what would fail only on a machine with Docker.
func TestCompose(t *testing.T) {
	project := loadCompose(t)
	for _, name := range []string{"temporal", "temporal-ui", "source", "target", "rds", "worker"} {
		if _, err := project.GetService(name); err != nil {
			t.Errorf("service %s: %v", name, err)
		}
	}
	var published []string
	for name, service := range project.Services {
		t.Run(name, func(t *testing.T) {
			checkImage(t, service)
			checkMounts(t, service)
			checkDependencies(t, project, service)
			for _, port := range service.Ports {
				published = append(published, port.Published)
				if port.HostIP != "127.0.0.1" {
					t.Errorf("port %s is published on %q: only loopback", port.Published, port.HostIP)
				}
			}
		})
	}
	slices.Sort(published)
	if got, want := strings.Join(published, " "), "4599 54315 54317 7233 8233"; got != want {
		t.Errorf("published ports are %s, want %s", got, want)
	}
}

// TestNoSecretInACommand: a process's arguments can be read by everybody on the machine.
func TestNoSecretInACommand(t *testing.T) {
	project := loadCompose(t)
	secretName := regexp.MustCompile(`PASSWORD|SECRET|TOKEN|ACCESS_KEY`)
	secrets := map[string]string{}
	for _, service := range project.Services {
		for name, value := range service.Environment {
			if secretName.MatchString(name) && value != nil {
				secrets[name] = *value
			}
		}
	}
	if len(secrets) < 5 {
		t.Fatalf("only %d secrets found: the rule by which they are found is wrong", len(secrets))
	}
	for name, service := range project.Services {
		words := slices.Concat(service.Command, service.Entrypoint)
		if service.HealthCheck != nil {
			words = append(words, service.HealthCheck.Test...)
		}
		line := strings.Join(words, " ")
		for secret, value := range secrets {
			if value == "" || strings.Contains(line, value) {
				t.Errorf("service %s: %s is empty, or its value is in %q", name, secret, line)
			}
		}
	}
}

// TestDockerfile checks that what is copied is there and passes .dockerignore, and that stages are named before their use.
func TestDockerfile(t *testing.T) {
	stages := map[string]bool{}
	copied := 0
	for _, words := range instructions(t) {
		switch words[0] {
		case "FROM":
			if !stages[words[1]] && !strings.Contains(words[1], ":") {
				t.Errorf("FROM %s: neither a stage nor an image with a tag", words[1])
			}
			if len(words) == 4 {
				stages[words[3]] = true
			}
		case "COPY":
			sources := words[1 : len(words)-1]
			if stage, ok := strings.CutPrefix(sources[0], "--from="); ok {
				if !stages[stage] {
					t.Errorf("COPY --from=%s: no such stage before it", stage)
				}
				continue
			}
			for _, source := range sources {
				copied++
				mustExist(t, filepath.Join("..", source))
				if !slices.Contains(dockerignore(t), "!"+source) {
					t.Errorf("COPY %s: .dockerignore leaves it out", source)
				}
			}
		}
	}
	if copied == 0 {
		t.Error("nothing is copied")
	}
}

func checkImage(t *testing.T, service types.ServiceConfig) {
	t.Helper()
	_, tag, _ := strings.Cut(service.Image, ":")
	if tag == "" || tag == "latest" {
		t.Errorf("image %q has no tag of its own", service.Image)
	}
	if service.Build == nil {
		return
	}
	mustExist(t, filepath.Join(service.Build.Context, service.Build.Dockerfile))
	named := func(words []string) bool {
		return words[0] == "FROM" && len(words) == 4 && words[3] == service.Build.Target
	}
	if !slices.ContainsFunc(instructions(t), named) {
		t.Errorf("build target %q is no stage of the Dockerfile", service.Build.Target)
	}
}

func checkMounts(t *testing.T, service types.ServiceConfig) {
	t.Helper()
	for _, volume := range service.Volumes {
		if volume.Type != types.VolumeTypeBind {
			continue
		}
		mustExist(t, volume.Source)
		if !volume.ReadOnly {
			t.Errorf("%s is mounted writable", volume.Source)
		}
	}
}

// checkDependencies: a service without a health check never becomes healthy, and what depends on it never starts.
func checkDependencies(t *testing.T, project *types.Project, service types.ServiceConfig) {
	t.Helper()
	for name, dependency := range service.DependsOn {
		other, err := project.GetService(name)
		if err != nil {
			t.Errorf("depends on %s: %v", name, err)
			continue
		}
		switch {
		case dependency.Condition == types.ServiceConditionHealthy && other.HealthCheck == nil:
			t.Errorf("waits for %s to be healthy, which has no health check", name)
		case dependency.Condition == types.ServiceConditionStarted:
			t.Errorf("depends on %s without a condition that means it can be used", name)
		}
	}
}

// instructions are the Dockerfile's, in words, continued lines joined.
func instructions(t *testing.T) [][]string {
	t.Helper()
	content, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var list [][]string
	for line := range strings.Lines(strings.ReplaceAll(string(content), "\\\n", " ")) {
		if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			list = append(list, words)
		}
	}
	return list
}

func dockerignore(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(content))
}

func mustExist(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Error(err)
		return
	}
	if info.Mode().IsRegular() && info.Size() == 0 {
		t.Error(fmt.Errorf("%s is empty", path))
	}
}

// loadCompose loads the file with all its profiles, and with none of this process's environment.
func loadCompose(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../docker-compose.yml"}, cli.WithName("timeferry"), cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}
