# Each target makes .venv when it is missing; nothing else needs to be set up.
#   make demo [DATA=folder] [EPOCHS=14]   draw scans (or read a folder of them), pre-train a narrow network, open demo/report.html
#   make test                 all tests             make lint     ruff and mypy
#   make format               ruff's formatting     make bench    the benchmarks that need no scans (long)
#   make test-zoo             the Model Zoo's checks of every bundle, its linters too
#   make test-label, test-deploy, test-fl           the bundles in the real MONAI Label, MONAI Deploy and NVFLARE, each in an
#                             environment of its own below .environments (gigabytes); what cannot be installed is skipped by name
#   make weights DATA=folder [OUT=weights]   pre-train the released weights anew (hours), and put them into their bundle
#   make test-weights         with UNIVERSAL_MODEL_DATA=folder: the first steps of the same pre-training against the committed losses
#   make bundles              render the task bundles from scripts/bundle_parts/, and every bundle's model card
#   make package BASE_URL=…   dist/: wheel, zipped bundles, weights, hashes, index page; for any web server
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
THREADS ?= 1
OUT ?= weights

.PHONY: demo test test-zoo test-weights test-label test-deploy test-fl lint format bench bundles weights package clean
demo: $(READY)
	$(BIN)/python -m universal_model_components demo --output demo $(if $(DATA),--data "$(DATA)") $(if $(EPOCHS),--epochs $(EPOCHS))

test: $(READY)
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -n auto --dist worksteal tests

test-zoo test-weights test-label test-deploy: test-%: $(READY)
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -rs tests/integration/check_$*.py

test-fl: $(READY)
	OMP_NUM_THREADS=$(THREADS) UNIVERSAL_MODEL_ALL=1 $(BIN)/python -m pytest -rs tests/bundles/test_federated.py tests/integration/check_fl.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bundles: $(READY)
	$(BIN)/python scripts/render_bundles.py && $(BIN)/python scripts/model_card.py

weights: $(READY)
	$(if $(DATA),,$(error give the folder of the scans: make weights DATA=folder))
	$(BIN)/python -m universal_model_components experiment run released --output "$(OUT)" --data "$(DATA)" \
		--only "kind=pretraining,system=universal"
	$(BIN)/python scripts/release_weights.py pretraining "$(OUT)" && $(BIN)/python scripts/model_card.py

package: bundles
	$(if $(BASE_URL),,$(error give the address where dist/ will be served: make package BASE_URL=https://host/path))
	rm -rf build dist/*.whl
	$(BIN)/python -m pip wheel --quiet . --no-deps --wheel-dir dist
	$(BIN)/python scripts/package_bundles.py --base_url $(BASE_URL) --output dist

bench: $(READY)
	for file in $(filter-out benchmarks/linear_probe.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info
