# Everything a new machine needs: Python 3.10 to 3.13, make and access to PyPI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_SETUP := $(VENV)/.demo-setup-done
STUDIO_SETUP := $(VENV)/.studio-setup-done
SETUP := $(VENV)/.setup-done

.PHONY: setup demo studio test test-slow check format bench fuzz fuzz-images soak protos docs lock clean

setup: $(SETUP)

# What the demo needs: the client, the exporter and the embedded server.
$(DEMO_SETUP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else "styleserve needs Python 3.10 to 3.13; this is %d.%d. Name another: make setup PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[tensorflow]'
	@touch $@

# And what tests, checks and documents need.
$(SETUP): $(DEMO_SETUP)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[tensorflow,studio,formats,heif,bulk,dev,docs]'
	@touch $@

demo: $(DEMO_SETUP)
	$(BIN)/python demo/run.py

# What the studio needs beside.
$(STUDIO_SETUP): $(DEMO_SETUP)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[tensorflow,studio]'
	@touch $@

# Exports a model if there is none, and opens the page; ARGS="--port 8700" and so on.
studio: $(STUDIO_SETUP)
	$(BIN)/python -m demo.studio $(ARGS)

# In one process a processor, up to four, each with the fixtures of whole files; ARGS="-n 0" for one process.
PYTEST = $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test: $(SETUP)
	$(PYTEST) -m "not slow" $(ARGS)

# Soak, kills, fuzz, browsers and benchmarks, which take minutes.
test-slow: $(SETUP)
	$(PYTEST) -m slow $(ARGS)

check: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Five to ten minutes on two processors, without PyTorch; ARGS=--full for the long form, ARGS="step --sides 256" for one
# part.
bench: $(SETUP)
	$(BIN)/python -m benchmarks $(ARGS)

# TensorFlow's greeting, and its search for a GPU that is not there, are not what these have to say.
fuzz fuzz-images soak: export TF_CPP_MIN_LOG_LEVEL ?= 3

# Hostile requests to a server of its own; SEED repeats a run. About five minutes on two processors.
CASES ?= 10000
fuzz: $(SETUP)
	$(BIN)/python -m tests.fuzz --cases $(CASES) $(if $(SEED),--seed $(SEED)) $(ARGS)

# Hostile pictures to the client, guided by coverage. Linux, Python 3.11 and later.
fuzz-images: SECONDS ?= 300
fuzz-images: $(SETUP)
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz.images -max_total_time=$(SECONDS) $(ARGS)

# Mixed load on a server whose versions come and go: half an hour; SECONDS=120 for two minutes.
soak: SECONDS ?= 1800
soak: $(SETUP)
	$(BIN)/python -m tests.soak --seconds $(SECONDS) $(ARGS)

# Compiles client/wire/proto/*.proto for the client and for callers in other languages.
protos: $(SETUP)
	cd client/wire/proto && ../../../$(BIN)/python -m grpc_tools.protoc --proto_path=. --include_imports \
	  --descriptor_set_out=tensorflow_serving.protoset tensorflow_serving.proto

# The site, in docs/_build: open docs/_build/index.html.
docs: $(SETUP)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

# Pins what was tested. TensorFlow stays at 2.20.0: the newest with a published tensorflow/serving image.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet uv
	printf 'tensorflow==2.20.0\ntensorflow-serving-api==2.20.0\n' > $(VENV)-lock/pins.txt
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.10 --extra tensorflow --extra studio --extra formats --extra heif --extra bulk --extra dev --extra docs --no-annotate --no-header \
	  --constraint $(VENV)-lock/pins.txt pyproject.toml --output-file requirements.lock
	{ echo "# Tested versions. 'make lock' writes this file; 'make setup' installs from it."; cat requirements.lock; } > $(VENV)-lock/lock
	mv $(VENV)-lock/lock requirements.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) build docs/_build dist *.egg-info demo/stylized.png demo/report.png
