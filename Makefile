# One line for each thing to do; what takes more is in scripts/.
PREFIX ?= /usr/local
DESTDIR ?=

.DEFAULT_GOAL := build
.PHONY: build run test simulate lint sanitize fuzz bench install deb deps format clean help

build: ## build/weaseldb and everything beside it, optimized
	scripts/build build

run: ## install what is missing, build, and serve on 127.0.0.1:8080 (ARGS="--set http.port=9000")
	@scripts/deps run && scripts/build build weaseldb weasel && exec build/weaseldb $(ARGS)

test: ## build without warnings and pass all tests
	scripts/deps test && scripts/test

simulate: ## the commit path on a simulated disk, COUNT (2000) seeds from SEED (fresh ones) on
	@scripts/deps test && scripts/build build -Dtests=enabled tests/simulation/simulate
	@build/tests/simulation/simulate $(if $(SEED),--seed $(SEED)) --count $(or $(COUNT),2000)

lint: ## formatting, static analysis, the order of folders, dead links
	scripts/deps test && scripts/lint

sanitize: ## all tests again under ASan and UBSan, and under TSan
	scripts/deps test && scripts/sanitize

fuzz: ## run each fuzzer for FUZZ_SECONDS (60)
	scripts/deps test && scripts/fuzz run $(or $(FUZZ_SECONDS),60)

bench: ## measure side by side with the floor, nginx, h2o and haproxy
	scripts/deps bench && scripts/build build && bench/run

install: ## server, unit, engine library and headers, under PREFIX (/usr/local)
	scripts/build build weaseldb weasel && scripts/install "$(DESTDIR)" "$(PREFIX)"

deb: ## build/weaseldb_VERSION_ARCHITECTURE.deb, for the release of Debian that this is
	scripts/deps run deb && scripts/deb

deps: ## install everything that building, testing and measuring need
	scripts/deps run test bench

format: ## put all C sources in form
	scripts/lint --format

clean: ## remove what was built
	rm -rf build build-*

help: ## this list
	@sed -n 's/^\([a-z]*\): ## /  make \1	/p' Makefile | expand -t 18
