# podid: EKS Pod Identity for every Kubernetes cluster.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LINT     = go tool -modfile=tools/lint/go.mod
CHECKS   ?= 100000
FUZZTIME ?= 60s

# Static binaries without the paths of the machine they were built on.
BUILD = CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/podid, bin/podid-agent, bin/podid-webhook and the example bin/list-files
	$(BUILD) -o bin/ ./cmd/podid ./cmd/podid-agent ./cmd/podid-webhook ./examples/list-files

.PHONY: demo
demo: build ## tell the story of Pod Identity from end to end, on real parts
	PATH="$(CURDIR)/bin:$$PATH" bin/podid demo

.PHONY: test
test: ## run all tests
	go test ./...

.PHONY: sdks
sdks: ## install SDKs of other languages, and test podid with them
	cd test/sdks && npm ci --ignore-scripts --no-audit --no-fund
	go test -count=1 -run '^TestSDKs' ./test

.PHONY: race
race: ## run the tests of what is concurrent under the race detector
	CGO_ENABLED=1 go test -race -short ./internal/agent/... ./internal/feed ./internal/kube ./internal/webhook/... ./internal/s3front/... ./internal/store/... ./internal/token/...

.PHONY: bench
bench: ## run the benchmarks
	go test -run '^$$' -bench . ./...
	go test -count=1 -run '^TestSixHoursOfANode$$' -v ./internal/agent

.PHONY: oracle
oracle: ## compare the policy evaluator with an independent one, on CHECKS random questions
	cd test/oracle && go test -count=1 -v -rapid.checks=$(CHECKS) .

.PHONY: fuzz
fuzz: ## feed arbitrary input to the policy language for FUZZTIME each, and to all other parsers briefly
	tools/fuzz $(FUZZTIME)

.PHONY: kube
kube: ## run the tests with a real Kubernetes; the first time builds one, which takes minutes
	cd test/kube && go vet ./... && go test -count=1 -v -timeout 40m .

.PHONY: kube-node
kube-node: export PODID_KUBE_NODE = 1
kube-node: kube ## the same with a node, on which pods run; needs root and containerd

.PHONY: lint
lint: ## check the formatting, go vet and staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	$(LINT) staticcheck ./...

.PHONY: fmt
fmt: ## format all Go files
	gofmt -w .
