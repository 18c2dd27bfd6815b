# Programs that only development needs are built once from tools/ and kept here, over clones and over runs.
CACHE := $(or $(TIMEFERRY_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/timeferry)
TOOLS := $(CACHE)/bin
# Tests of rooms start real servers: a few packages at a time suit a machine of two cores.
TEST_FLAGS ?= -timeout 30m -p 2
# What must not be skipped: a test whose server or program is missing fails. (In a function's arguments the commas would part it.)
TIMEFERRY_REQUIRE ?= pg,temporal,aws

.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z\/-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: tools/run ## from nothing to a migrated database: the whole job on this machine, once
	go run ./sandbox demo

sandbox: tools/run ## the same world as demo, kept up for you to try things
	go run ./sandbox up

test: tools/run ## install what the tests need, and run all of them
	go run ./sandbox/install
	PATH="$(TOOLS):$$PATH" TIMEFERRY_REQUIRE="$(TIMEFERRY_REQUIRE)" go test $(TEST_FLAGS) ./...
	cd tools && go test ./...

test-matrix: tools/run ## every version of the source and both of the target: schema, data and comparison (long)
	go run ./sandbox/install -target 18
	PATH="$(TOOLS):$$PATH" TIMEFERRY_MATRIX=1 TIMEFERRY_REQUIRE="$(TIMEFERRY_REQUIRE)" go test $(TEST_FLAGS) -count=1 -run 'Fixture|Superusers|Managed|EverySchema|Version|Newest|18' \
		./internal/target/provision ./internal/schemadiff ./internal/source/prepare ./internal/testkit/... ./test/e2e

test/short: ## the tests that need no server
	go test -short $(TEST_FLAGS) ./...

test/race: tools/run ## all tests with the race detector
	go run ./sandbox/install
	PATH="$(TOOLS):$$PATH" go test -race $(TEST_FLAGS) ./...

bench: ## every benchmark once
	go run ./sandbox/install
	go test -run '^$$' -bench . -benchtime 1x $(TEST_FLAGS) ./...

verify: tools/check ## formatting, vet, staticcheck, workflowcheck, tidy modules
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "not gofmt-ed: $$unformatted"; exit 1; fi
	go vet ./...
	$(TOOLS)/staticcheck ./...
	$(TOOLS)/workflowcheck -config workflowcheck.config.yaml ./workflows/...
	go mod tidy -diff
	cd tools && go vet ./... && go mod tidy -diff
	cd tools/tctl && go mod tidy -diff

build: ## worker and starter into bin/
	go build -o bin/worker ./worker
	go build -o bin/starter ./starter

# tools/build.sh builds a tool only when the version in its go.mod is not in the cache yet.
tools/run:
	@tools/build.sh "$(TOOLS)" temporal tctl

tools/check:
	@tools/build.sh "$(TOOLS)" staticcheck workflowcheck

.PHONY: help demo sandbox test test-matrix test/short test/race bench verify build tools/run tools/check
