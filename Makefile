# The one entry point. `make` lists what there is.

.DEFAULT_GOAL := help
.PHONY: help demo chat demo-down test fuzz bench bench-controller lint audit unit image crds clients clean

# The demo's file: FILE=path of your own, or SIZE bytes of random content.
FILE ?=
SIZE ?= 300000000
# Options of the benchmark: see dev/bench.
BENCH ?=
# For how long to fuzz.
FUZZ_SECONDS ?= 600
# local: a Kubernetes of the demo's own on this machine. current: the cluster of your kubeconfig.
CLUSTER ?= local

help: ## Show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: ## Send a file to the bot and get its link: stand-ins for Telegram and Object Storage, a real Kubernetes
	@FILE='$(FILE)' SIZE='$(SIZE)' CLUSTER='$(CLUSTER)' dev/demo up

chat: ## Talk to the bot of the running demo
	@dev/demo chat

demo-down: ## Remove everything the demo started
	@CLUSTER='$(CLUSTER)' dev/demo down

test: ## Everything CI checks: lint, unit, conformance, API server, end to end on a real node
	@dev/test

fuzz: ## Throw noise and tampered packets at the MTProto side, FUZZ_SECONDS=600 long
	@dev/fuzz '$(FUZZ_SECONDS)'

bench: ## Measure the product and its peers side by side (15 minutes; BENCH=--quick for a try)
	@dev/bench $(BENCH)

bench-controller: ## Measure the controller, on a real node and with 100,000 jobs (20 minutes; BENCH=--quick for a try)
	@dev/bench-controller $(BENCH)

lint: ## rustfmt, clippy, cargo-deny, shellcheck, helm lint
	@dev/lint

audit: ## Known vulnerabilities among the dependencies (asks the RustSec database on the network)
	@dev/audit

unit: ## Tests that need no cluster
	@cargo test --workspace --lib --locked

image: ## Build the image as an OCI archive, target/image/telestream.tar
	@dev/image

crds: ## Write the generated CRD to where it is kept
	@dev/crds

clients: ## Install the independent clients that the stand-ins are proven with
	@dev/clients

clean: ## Remove what was built here
	@cargo clean
