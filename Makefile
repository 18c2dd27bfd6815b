# Programs that only development needs are built once from tools/ and kept here, over clones and over runs.
CACHE := $(or $(TIMEFERRY_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/timeferry)
TOOLS := $(CACHE)/bin
# Tests of rooms start real servers: a few packages at a time suit a machine of two cores.
TEST_FLAGS ?= -timeout 60m -p 2
# What must not be skipped: a test whose server or program is missing fails. (In a function's arguments the commas would part it.)
TIMEFERRY_REQUIRE ?= pg,temporal,aws,pgbouncer,browser

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

# How long each of the stream's tests goes on in soak, from the same first seed each time; TIMEFERRY_SEED=random goes where nobody was.
SOAK ?= 2h

soak: tools/run ## twenty kills of a copy, ten thousand tables, and for SOAK=2h random changes beside native replication, a hundred kills, every crash point (long)
	go run ./sandbox/install
	PATH="$(TOOLS):$$PATH" TIMEFERRY_SOAK=1 TIMEFERRY_REQUIRE="$(TIMEFERRY_REQUIRE)" go test $(TEST_FLAGS) -count=1 -v -run 'CopySurvives|ManyTables' ./test/e2e
	TIMEFERRY_SOAK=$(SOAK) TIMEFERRY_REQUIRE="$(TIMEFERRY_REQUIRE)" go test -timeout 24h -count=1 -v ./test/stream

# How long each target is fuzzed. What is found is kept under testdata/fuzz, and is a test from then on.
FUZZTIME ?= 1m

fuzz: ## every fuzz target for FUZZTIME=1m, one after the other
	@for f in $$(grep -rl --include='*_test.go' '^func Fuzz' internal); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$f); do \
			echo "$$target in $$(dirname $$f)"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$f) || exit 1; \
		done; \
	done

test/short: ## the tests that need no server
	go test -short $(TEST_FLAGS) ./...

test/race: tools/run ## all tests with the race detector
	go run ./sandbox/install
	PATH="$(TOOLS):$$PATH" go test -race $(TEST_FLAGS) ./...

bench: ## every benchmark once
	go run ./sandbox/install
	go test -run '^$$' -bench . -benchtime 1x $(TEST_FLAGS) ./...

bench-copy: tools/run ## the initial copy against pgcopydb, pg_dump and plain pipes, into docs/benchmarks (long; nothing else should run)
	for database in first wide small; do PATH="$(TOOLS):$$PATH" go run ./test/bench/copy -database $$database || exit 1; done

bench-stream: ## the change stream against native replication and pgcopydb follow, into docs/benchmarks (long; nothing else should run)
	for workload in backlog hot wide steady; do go run ./test/bench/stream -workload $$workload || exit 1; done

bench-cutover: tools/run ## the downtime that clients see in 20 cutovers under load, into docs/benchmarks (long; nothing else should run)
	PATH="$(TOOLS):$$PATH" go run ./test/bench/cutover

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

.PHONY: help demo sandbox test test-matrix soak fuzz test/short test/race bench bench-copy bench-stream bench-cutover verify build tools/run tools/check
