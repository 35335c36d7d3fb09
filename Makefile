# Everything a newcomer needs: `make demo` and `make test`. `make help` lists the rest.

CARGO ?= cargo

.PHONY: help demo build test test-fast prose alerts bench peers faults soak fuzz e2e check deny redis postgres screenshots

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: redis ## See the whole bridge at work on made-up leads, in the console
	$(CARGO) build --workspace --bins
	target/debug/bridge demo

build: ## Build both programs
	$(CARGO) build --workspace

test: redis postgres ## Run every test against a real Redis and a real PostgreSQL
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace

test-fast: ## Run the unit tests
	$(CARGO) test --workspace --lib --bins

prose: ## Count the words that make comments and documents hard to read
	@assets/prose.sh

alerts: ## Evaluate the alert rules against figures; needs promtool (apt install prometheus)
	promtool test rules assets/observability/alerts.test.yml

faults: redis ## Put the bridge through ten minutes of everything that can happen to it
	$(CARGO) build --workspace --bins
	CHECKER_SECONDS=600 $(CARGO) test --workspace --test checker -- --nocapture every_lead
	$(CARGO) test --workspace --test checker -- --nocapture --ignored each_fault

soak: redis ## Run everything for an hour, or SOAK_SECONDS, and see that nothing grows without end
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --test soak -- --ignored --nocapture

fuzz: ## Feed every reader of foreign bytes with rubbish for FUZZ_SECONDS each; needs cargo-fuzz
	@assets/fuzz.sh

bench: redis ## Measure the bridge, beside what Redis itself can do; BENCH="--quick", "--json", "drain pickup"
	$(CARGO) build --release --workspace --bins --bench speed
	$(CARGO) bench --workspace --bench speed -- $(BENCH)

peers: redis ## Measure this worker and others on Redis with a job that does nothing
	$(CARGO) build --release --workspace --bins
	@worker/benches/peers/run.sh

e2e: ## Run the compose file on this machine's Docker engine, with everything that can happen to it
	@.ci/e2e

check: ## Format, lints and documentation, as strict as the landing
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

deny: ## Licences, sources, bans and known holes of what the programs are built of
	@.ci/deny

redis: ## Make sure that redis-server is there
	@assets/ensure-redis.sh

postgres: ## Make sure that PostgreSQL is there, for the tests
	@assets/ensure-postgres.sh

screenshots: redis ## Draw the console's pictures of the README anew, from the running demo
	$(CARGO) build --workspace --bins
	mkdir -p assets/screenshots
	LC_ALL=C.UTF-8 target/debug/bridge demo --pictures assets/screenshots
