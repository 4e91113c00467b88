# Everything a developer types. `make` alone lists it; each target brings what it needs and does nothing twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Test processes side by side: tests wait more than they reckon, so one more than two cores. More words for pytest, the
# demo or the benchmarks: make test ARGS="-k retention"
JOBS ?= 3
ARGS ?=

python := .venv/bin/python
export PATH := $(CURDIR)/.tools/bin:$(CURDIR)/.venv/bin:$(PATH)

# One line when a check is well, everything it said when it is not.
define quietly
	@out=$$($(2) 2>&1) || { printf '%s\n\n%s: not clean\n' "$$out" '$(1)'; exit 1; }; echo '$(1): clean'
endef

.PHONY: help
help:  ## This list
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

.PHONY: demo
demo: setup tools  ## Back up a small shop, change it, drill its restore, show the status: all below demo/
	@$(python) config/demo/demo.py $(ARGS)

.PHONY: test
test: setup tools packages  ## Run every test, set-up included
	@$(python) -m pytest -n $(JOBS) --dist worksteal $(ARGS)

.PHONY: check
check: setup  ## Format, lint, types and layers, side by side
	@$(MAKE) -s -k -j 4 --output-sync=target checked-format checked-lint checked-types checked-layers

.PHONY: bench
bench: setup tools packages  ## Measure drorch against bare restic and others; prints ratios, judges nothing
	@PYTHONPATH=tests $(python) -m benchmarks $(ARGS)

.PHONY: lab
lab: setup tools packages  ## A shop, its databases and its customers, for you to break; needs root
	@PYTHONPATH=tests $(python) -m lab start

.PHONY: setup
setup:  ## Make .venv with drorch and what its checks and tests need
	@.ci/setup

.PHONY: tools
tools: setup  ## See to a restic that is new enough, in .tools/bin
	@.ci/tools

.PHONY: packages
packages:  ## Install the Debian packages that tests use (as root), or say what is missing
	@.ci/packages openssh-server postgresql ceph-mon ceph-osd radosgw age haproxy knot dnsmasq-base socat nftables arping iproute2 systemd

.PHONY: constraints
constraints: setup  ## Pin in constraints.txt what .venv holds now
	@.ci/constraints

.PHONY: clean
clean:  ## Remove everything that make made, .venv and .tools included
	@rm -rf .venv .tools demo build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: checked-format checked-lint checked-types checked-layers
checked-format:
	$(call quietly,format,ruff format --check .)
checked-lint:
	$(call quietly,lint,ruff check .)
checked-types:
	$(call quietly,types,mypy)
checked-layers:
	$(call quietly,layers,lint-imports)
