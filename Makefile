# Everything is installed into the checkout: uv in .tools/ (unless it is on PATH), packages in .venv/.
PYTHON ?= python3

export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
unexport VIRTUAL_ENV

UV := $(shell command -v uv || echo .tools/bin/uv)
HELM := $(shell command -v helm || echo .tools/bin/helm)
# --inexact: what one target installed, another does not take away
SYNC = $(UV) sync --frozen --inexact --python "$$($(PYTHON) -c 'import sys; print(sys._base_executable)')"

.PHONY: help demo kafka docs test readme-test docker-test chart-test sbom audit chaos lint typecheck bench bench-short

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' Makefile | expand -t 14

demo: .venv/.demo ## score simulated transactions on an embedded broker and watch
	.venv/bin/tenfold demo

kafka: .venv/.demo ## bring a real Kafka and a real Redis up to try things out on, until Ctrl-C
	.venv/bin/python -m tests.kafka_here 9092 6379

test: .venv/.all ## run every test that this machine allows
	.venv/bin/pytest -n 4 --dist worksteal

readme-test: .venv/.all ## type what README and CONTRIBUTING say into a new clone, in an empty home; installs from a registry
	.venv/bin/pytest -m newcomer --capture=no tests/newcomer

docker-test: .venv/.all ## build the images, bring the compose files up, and ask of them what they promise
	.venv/bin/pytest -m "docker or broker" tests/docker tests/integration/test_publisher.py

chart-test: .venv/.all | $(HELM) ## lint and render the Helm chart, and hold what comes out to schemas and code
	.venv/bin/pytest -m chart -n 0 tests/chart

sbom: | $(UV) ## list what each image is made of, in dist/, as CycloneDX
	@mkdir -p dist
	$(UV) export --quiet --frozen --no-dev --format cyclonedx1.5 --output-file dist/serving.cdx.json
	$(UV) export --quiet --frozen --no-dev --format cyclonedx1.5 --extra archive --output-file dist/archive.cdx.json
	$(UV) export --quiet --frozen --no-dev --format cyclonedx1.5 --extra training --output-file dist/training.cdx.json

audit: | $(UV) ## look the packages of uv.lock up among known faults; needs the internet
	$(UV) audit --frozen

chaos: .venv/.all ## break things for an hour or two, and ask the oracle; TENFOLD_CHAOS_SEED=... repeats a run
	.venv/bin/python -m tests.chaos --report chaos-report.md

lint: .venv/.all ## check the style, the format and that uv.lock fits pyproject.toml
	$(UV) lock --check --quiet
	.venv/bin/ruff check
	.venv/bin/ruff format --check

docs: .venv/.all ## make a site of the pages, in site/; a warning or a link that leads nowhere fails
	.venv/bin/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs --doctree-dir .cache/docs . site

typecheck: .venv/.all ## check the types
	.venv/bin/mypy

bench: .venv/.all ## measure everything on this machine, beside others, into bench-report.md: most of an hour
	.venv/bin/python -m benchmarks

bench-short: .venv/.all ## hold the scorer's speed, as a share of the bare model's, against the recorded one
	.venv/bin/python -m benchmarks.short

# What a target needs is installed once, and again when pyproject.toml or uv.lock change.
# `make kafka` needs hardly more than `make demo`; with one stamp for both neither installs anything while the other runs.
.venv/.demo: pyproject.toml uv.lock | $(UV)
	$(SYNC) --no-dev --extra demo --group kafka
	@touch $@

.venv/.all: pyproject.toml uv.lock | $(UV)
	$(SYNC) --all-extras --group docs
	@touch $@

.tools/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Tenfold needs Python 3.11, 3.12 or 3.13. '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	    "Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .tools || { rm -rf .tools; \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 1; }
	.tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'

.tools/bin/helm:
	@command -v go >/dev/null || { echo "The chart's tests need Helm, or Go, which builds it." >&2; exit 1; }
	GOBIN="$(CURDIR)/.tools/bin" go install helm.sh/helm/v3/cmd/helm@v3.22.0
