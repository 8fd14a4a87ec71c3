# One verb per task; `make` alone lists them. PYTHON chooses the interpreter that builds .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAM_VENV := .venv-sam
SCAN_VENV := .venv-scan
DEPLOYED_VENV := .venv-deployed
AUDIT_VENV := .venv-audit
SBOM_VENV := .venv-sbom
MUTATION_VENV := .venv-mutation
SAM := $(SAM_VENV)/bin/sam
# What needs neither root nor environments of its own.
PYTEST := $(BIN)/python -m pytest -n auto --ignore=tests/documents --ignore=tests/stack/deployed
export SAM_CLI_TELEMETRY := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install run test test-campaigns test-deployed test-system test-long test-nightly mutation system-packages check audit scan format schema template bench lock sbom clean build-AutoSnapshotsFunction

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 20

install: $(VENV)/.installed ## prepare .venv in this checkout

$(VENV)/.installed: requirements/dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, {v.major}.{v.minor} found: make PYTHON=python3.13 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/dev.txt
	@touch $@

$(SAM_VENV)/.installed: requirements/sam.txt
	$(PYTHON) -m venv $(SAM_VENV)
	$(SAM_VENV)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/sam.txt
	@touch $@

run: install ## three simulated days against an embedded AWS endpoint
	$(BIN)/python -m tools.demo

test: install ## the test suite, with a sample of each campaign: two minutes on two cores
	$(PYTEST)

test-campaigns: install ## the campaigns at the size of every day: made-up inputs, dying runs, two runs at once, a simulated month
	CAMPAIGN=day $(PYTEST) -m campaign

$(DEPLOYED_VENV)/.installed: requirements/deployed.txt
	$(PYTHON) -m venv $(DEPLOYED_VENV)
	$(DEPLOYED_VENV)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/deployed.txt
	@touch $@

test-deployed: install $(SAM_VENV)/.installed $(DEPLOYED_VENV)/.installed ## build, package, runtime and a stack's whole life on this machine (Linux)
	$(BIN)/python -m pytest tests/stack/deployed

# What the system tests mount, freeze and start. The servers' own clusters are neither created nor started.
system-packages:
	@[ "$$(id -u)" = 0 ] || { echo "the system tests mount and freeze file systems: run them as root" >&2; exit 1; }
	mkdir -p /etc/postgresql-common
	[ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
	apt-get -qq update
	had_policy=$$(ls /usr/sbin/policy-rc.d 2>/dev/null); \
	[ -n "$$had_policy" ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d; }; \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
		xfsprogs e2fsprogs util-linux mount procps mariadb-server postgresql shellcheck dash >/dev/null; code=$$?; \
	[ -n "$$had_policy" ] || rm -f /usr/sbin/policy-rc.d; exit $$code

test-system: install system-packages ## the shipped documents on real file systems and servers (root, apt)
	$(BIN)/python -m pytest tests/documents

test-long: install system-packages ## the same copies and restarts twenty times (root, apt)
	ROUNDS=20 $(BIN)/python -m pytest tests/documents -k adds_up

test-nightly: install ## the campaigns whole: 100,000 inputs made up, every way to die, two simulated years with faults
	CAMPAIGN=nightly $(PYTEST) -m campaign

check: install $(SAM_VENV)/.installed $(AUDIT_VENV)/.installed ## lint, format, layers, types, templates, documents and known vulnerabilities; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m tools.documents --check
	$(SAM_VENV)/bin/cfn-lint template.yaml template-member.yaml
	AWS_DEFAULT_REGION=eu-west-1 $(SAM) validate --lint --template template.yaml
	$(AUDIT_VENV)/bin/python requirements/audit.py $(AUDIT_VENV)/bin/pip-audit

$(AUDIT_VENV)/.installed: requirements/audit.txt
	$(PYTHON) -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/audit.txt
	@touch $@

audit: $(AUDIT_VENV)/.installed ## known vulnerabilities of the locked packages, asked of PyPI; AUDIT=strict fails where it does not answer
	$(AUDIT_VENV)/bin/python requirements/audit.py $(AUDIT_VENV)/bin/pip-audit

$(SCAN_VENV)/.installed: requirements/scan.txt
	$(PYTHON) -m venv $(SCAN_VENV)
	$(SCAN_VENV)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/scan.txt
	@touch $@

scan: $(SCAN_VENV)/.installed ## the templates before a security scanner; what it is told to pass over stands there with the reason
	$(SCAN_VENV)/bin/checkov --framework cloudformation --file template.yaml template-member.yaml --skip-download --compact --quiet

$(MUTATION_VENV)/.installed: requirements/mutation.txt
	$(PYTHON) -m venv $(MUTATION_VENV)
	$(MUTATION_VENV)/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements/mutation.txt
	@touch $@

mutation: $(MUTATION_VENV)/.installed ## would the tests notice? each decision, change and step of a freeze altered, one at a time
	rm -rf mutants
	$(MUTATION_VENV)/bin/mutmut run --max-children 2
	$(MUTATION_VENV)/bin/python -m tools.mutation_figures

format: install ## rewrite the code in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: install ## write the JSON Schema and the tables of fields in docs/ from the models of inputs/
	$(BIN)/python -m tools.schema

template: install ## write the documents of documents/ into template.yaml
	$(BIN)/python -m tools.documents

bench: install ## what it takes and how fast it is, measured; ONLY="names", RECORD=yes for docs/performance.md
	$(BIN)/python -m tools.bench $(if $(ONLY),--only $(ONLY)) $(if $(RECORD),--record)

lock: ## resolve the requirements again (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes requirements/lambda.in -o lambda_function/requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes requirements/dev.in -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes requirements/sam.in -o requirements/sam.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes requirements/scan.in -o requirements/scan.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes requirements/deployed.in -o requirements/deployed.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes requirements/audit.in -o requirements/audit.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes requirements/mutation.in -o requirements/mutation.txt
	$(MAKE) sbom

sbom: $(AUDIT_VENV)/.installed ## write lambda_function/sbom.cdx.json, the bill of materials that goes into the package
	rm -rf $(SBOM_VENV)
	$(PYTHON) -m venv --without-pip $(SBOM_VENV)
	$(AUDIT_VENV)/bin/python -m pip --python $(SBOM_VENV)/bin/python install --quiet --require-hashes --no-deps -r lambda_function/requirements.txt
	$(AUDIT_VENV)/bin/cyclonedx-py environment --output-reproducible --spec-version 1.6 --pyproject pyproject.toml \
		--output-file lambda_function/sbom.cdx.json $(SBOM_VENV)/bin/python
	rm -rf $(SBOM_VENV)

clean: ## remove everything that was made here
	rm -rf $(VENV) $(SAM_VENV) $(SCAN_VENV) $(DEPLOYED_VENV) $(AUDIT_VENV) $(SBOM_VENV) $(MUTATION_VENV) mutants .aws-sam .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What `sam build` calls; the tests build their own packages by it.
build-AutoSnapshotsFunction:
	$(MAKE) -C lambda_function $@ ARTIFACTS_DIR="$(abspath $(ARTIFACTS_DIR))"
