# One verb per task; `make` alone lists them. PYTHON chooses the interpreter that builds .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests that need neither root nor environments of their own.
PYTEST := $(BIN)/python -m pytest -n auto --ignore=tests/documents --ignore=tests/stack/deployed
export SAM_CLI_TELEMETRY := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install run test test-campaigns test-deployed test-system test-long test-nightly mutation system-packages check audit scan format schema template bench lock sbom clean build-AutoSnapshotsFunction

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 20

install: $(VENV)/.installed ## create .venv in this checkout

$(VENV)/.installed: requirements/dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, {v.major}.{v.minor} found: make PYTHON=python3.13 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/dev.txt
	@touch $@

.venv-%/.installed: requirements/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --require-hashes --no-deps -r $<
	@touch $@

run: install ## three simulated days against an embedded AWS endpoint
	$(BIN)/python -m tools.demo

test: install ## the test suite, with a sample of each campaign: two minutes on two cores
	$(PYTEST)

test-campaigns: install ## the campaigns at daily size: generated inputs, dying runs, two runs at once, a simulated month
	CAMPAIGN=day $(PYTEST) -m campaign

test-deployed: install .venv-sam/.installed .venv-deployed/.installed ## build, package, runtime and a stack's life cycle on this machine (Linux)
	$(BIN)/python -m pytest tests/stack/deployed

# What the system tests mount, freeze and start. The servers' default clusters are neither created nor started.
system-packages:
	@[ "$$(id -u)" = 0 ] || { echo "the system tests mount and freeze file systems: run them as root" >&2; exit 1; }
	mkdir -p /etc/postgresql-common
	[ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
	apt-get -qq update
	had_policy=$$(ls /usr/sbin/policy-rc.d 2>/dev/null); \
	[ -n "$$had_policy" ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d; }; \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
		strace xfsprogs e2fsprogs util-linux mount procps mariadb-server postgresql shellcheck dash >/dev/null; code=$$?; \
	[ -n "$$had_policy" ] || rm -f /usr/sbin/policy-rc.d; exit $$code

# A machine of its own for what freezes, kills and listens: /run, /dev/disk, processes and network are not this one's.
# Its first process is a shell, which reaps what others leave.
ISOLATED := unshare --mount --propagation private --pid --fork --kill-child --mount-proc --net sh -c ' \
	mkdir -p /dev/disk && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/disk && "$$@"; exit $$?' isolated

test-system: install system-packages ## the shipped documents on real file systems and servers (root, apt)
	$(ISOLATED) $(BIN)/python -m pytest tests/documents

test-long: install system-packages ## the same copies and restarts twenty times (root, apt)
	ROUNDS=20 $(ISOLATED) $(BIN)/python -m pytest tests/documents -k adds_up

test-nightly: install ## the whole campaigns: 100,000 generated inputs, every way to die, two simulated years with faults
	CAMPAIGN=nightly $(PYTEST) -m campaign

check: install .venv-sam/.installed .venv-audit/.installed ## lint, format, layers, types, templates, documents and known vulnerabilities; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/vermin --quiet --no-tips --violations --eval-annotations --target=3.6- documents
	$(BIN)/python -m tools.documents --check
	.venv-sam/bin/cfn-lint template.yaml template-member.yaml
	AWS_DEFAULT_REGION=eu-west-1 .venv-sam/bin/sam validate --lint --template template.yaml
	.venv-audit/bin/python requirements/audit.py .venv-audit/bin/pip-audit

audit: .venv-audit/.installed ## known vulnerabilities of the locked packages, from PyPI; AUDIT=strict fails if PyPI does not answer
	.venv-audit/bin/python requirements/audit.py .venv-audit/bin/pip-audit

scan: .venv-scan/.installed ## scan the templates for security faults; they list skipped rules with reasons
	.venv-scan/bin/checkov --framework cloudformation --file template.yaml template-member.yaml --skip-download --compact --quiet

mutation: .venv-mutation/.installed ## mutation tests: each decision, change and step of a freeze altered, one at a time
	rm -rf mutants
	.venv-mutation/bin/mutmut run --max-children 2
	.venv-mutation/bin/python -m tools.mutation_figures

format: install ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: install ## write the JSON Schema and the tables of fields in docs/ from the models of inputs/
	$(BIN)/python -m tools.schema

template: install ## write the documents of documents/ into template.yaml
	$(BIN)/python -m tools.documents

bench: install ## measure resources and speed; ONLY="names" for some
	$(BIN)/python -m tools.bench $(if $(ONLY),--only $(ONLY))

COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes

# In this order: the function's lock constrains dev.in, and dev.txt mutation.in.
lock: ## resolve the requirements again (needs uv)
	$(COMPILE) requirements/lambda.in -o lambda_function/requirements.txt
	for source in $(sort $(filter-out requirements/lambda.in,$(wildcard requirements/*.in))); do \
		$(COMPILE) "$$source" -o "$${source%.in}.txt" || exit; \
	done
	$(MAKE) sbom

sbom: .venv-audit/.installed ## write lambda_function/sbom.cdx.json, the package's bill of materials
	rm -rf .venv-sbom
	$(PYTHON) -m venv --without-pip .venv-sbom
	.venv-audit/bin/python -m pip --python .venv-sbom/bin/python install --quiet --require-hashes --no-deps -r lambda_function/requirements.txt
	.venv-audit/bin/cyclonedx-py environment --output-reproducible --spec-version 1.6 --pyproject pyproject.toml \
		--output-file lambda_function/sbom.cdx.json .venv-sbom/bin/python
	rm -rf .venv-sbom

clean: ## remove everything that make created
	rm -rf $(VENV) .venv-* mutants .aws-sam .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# `sam build` calls this, and the tests build their packages with it.
build-AutoSnapshotsFunction:
	$(MAKE) -C lambda_function $@ ARTIFACTS_DIR="$(abspath $(ARTIFACTS_DIR))"
