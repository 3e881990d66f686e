# Two commands do everything on a fresh machine with Python >= 3.11: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# What is compiled once, pytest's rewritten tests above all, need not be compiled anew by every process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup check test system storm demo bench fuzz audit licences sbom release-check man words deb bundle lock clean
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create the environment (done by every other target as needed)

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "kuma-sync needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.13 $(MAKECMDGOALS)"; exit 1; }
	@echo 'Fetching the libraries into $(VENV): a minute or two.'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip --disable-pip-version-check install --quiet --require-hashes -r requirements-dev.lock
	@$(BIN)/pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

check: setup ## format, lint, types, layers, documents against code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -p no:randomly tests/test_docs.py tests/test_architecture.py

test: setup ## every test, a minute's storm among them, on SQLite and on a real PostgreSQL
	$(BIN)/pytest -n 4 --dist worksteal $(ARGS)

# As root, on Debian; SYSTEM_TESTS=required fails where something is missing, instead of saying what and going on.
system: setup ## install for real: the package under a booted systemd, the image under podman (root)
	SYSTEM_TESTS=$${SYSTEM_TESTS:-run} $(BIN)/pytest -p no:randomly -n 2 --dist loadscope --timeout 1800 --durations 8 tests/system $(ARGS)

MINUTES ?= 20
storm: setup ## bad weather on both databases: make storm MINUTES=20 [SEED=7] [JSON=figures.json] [ARGS="--only 'store file'"]
	PYTHONPATH=tests $(BIN)/python tests/storm/run.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json $(JSON)) $(ARGS)

demo: setup ## a scripted day on both simulators, then both sides compared; to look at the console: make demo ARGS='--listen 127.0.0.1:8484'
	@set -- demo $(ARGS); [ $$# -gt 1 ] || set -- demo --seconds 30; $(BIN)/kuma-sync "$$@"

BENCH := .venv-bench
bench: $(BENCH)/.ready ## every figure of docs/performance.md, taken anew: make bench ARGS='--quick'
	PYTHONPATH=$(CURDIR) $(BENCH)/bin/python benchmarks/run.py $(ARGS)

$(BENCH)/.ready: requirements-bench.lock
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/pip --disable-pip-version-check install --quiet --require-hashes -r requirements-bench.lock
	@touch $(BENCH)/.ready

RELEASE := .venv-release
$(RELEASE)/.ready: requirements-release.lock
	@test -x $(RELEASE)/bin/python || $(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/pip --disable-pip-version-check install --quiet --require-hashes -r requirements-release.lock
	@touch $(RELEASE)/.ready

fuzz: setup $(RELEASE)/.ready ## the doors and the reader of KUMA's pages, given very much that makes no sense: make fuzz [FUZZ_SEED=7]
	SCHEMATHESIS=$(CURDIR)/$(RELEASE)/bin/schemathesis FUZZ_PAGES=$${FUZZ_PAGES:-100000} FUZZ_CALLS=$${FUZZ_CALLS:-5000} $(BIN)/pytest -n 3 -p no:randomly --timeout 1800 tests/fuzz $(ARGS)

audit: setup $(RELEASE)/.ready ## ask for known advisories about what the locks name; what could not be asked is not called clean
	$(BIN)/python deploy/release/audit.py $(RELEASE)/bin/pip-audit requirements*.lock

licences: setup ## the licences of all libraries that the program runs with, into docs/licences.md
	$(BIN)/python deploy/release/licences.py docs/licences.md

sbom: setup $(RELEASE)/.ready ## the bill of materials (CycloneDX) of the image and the archive, into build
	@PYTHON=$(CURDIR)/$(BIN)/python CYCLONEDX=$(CURDIR)/$(RELEASE)/bin/cyclonedx-py deploy/release/sbom.sh build

release-check: setup $(RELEASE)/.ready ## all that a release must pass, an hour or two: make release-check [ARGS='--without system']
	@$(BIN)/python deploy/release/check.py $(ARGS)

WORDS := kuma_sync/web/console/locale
words: setup ## gather the console's texts, so that they can be translated in $(WORDS)
	$(BIN)/pybabel --quiet extract --mapping-file pyproject.toml --keyword sentence:1 --keyword counted:1,2 --add-location file --sort-by-file --width 120 --project kuma-sync --output-file $(WORDS)/console.pot kuma_sync
	$(BIN)/pybabel --quiet update --input-file $(WORDS)/console.pot --output-dir $(WORDS) --domain console --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --width 120
	rm $(WORDS)/console.pot

lock: setup ## pin the requirements anew (hashes, no index addresses)
	$(BIN)/pip --disable-pip-version-check install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header pyproject.toml --group dev --output-file requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --group release --output-file requirements-release.lock
	printf 'dlt\nmatplotlib\norjson\nsniffio\ntrustme\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header pyproject.toml - --constraint requirements.lock --output-file requirements-bench.lock

man: setup ## the manual pages, from the text of --help, into build/man
	$(BIN)/python deploy/man.py build/man

DEB_PYTHON ?= /usr/bin/python3
deb: setup ## the Debian package, into build: make deb [DEB_PYTHON=/usr/bin/python3], that of the Debian it is for
	@$(BIN)/python deploy/deb/build.py build --python $(DEB_PYTHON)

bundle: sbom ## the archive for machines without a network, into build, for the Python of the environment
	@PYTHON=$(CURDIR)/$(BIN)/python SBOM=$$(ls -t build/*.cdx.json | head -n 1) deploy/offline/build.sh build

clean: ## remove the environment and caches
	rm -rf $(VENV) $(BENCH) $(RELEASE) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
