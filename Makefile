# Two commands for a fresh machine: `make demo` and `make test`. Both make their own .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install -c constraints.txt

.PHONY: demo test wandb system slow mutation lowest check docs bench
.DELETE_ON_ERROR:

demo: .venv/.installed  ## tune three methods on two small problems
	$(BIN)/parsl-optuna --config config/quickstart.yaml --local

test: .venv/.installed-dev  ## run the tests, unit tests first
	$(BIN)/python -m pytest -n 2 tests/unit
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore tests/unit  # they wait much

system: .venv/.installed-dev  ## run the tests with schedulers and kills
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "system and not slow" tests/e2e tests/browser tests/docs
	$(BIN)/python -m pytest -m "system and not slow" tests/pbs tests/slurm

wandb: .venv-wandb/.installed  ## ask W&B's own packages whether its rules are still those of the tests
	.venv-wandb/bin/python -m pytest tests/e2e/test_wandb_rules.py tests/e2e/test_wandb_contract.py

slow: .venv/.installed-dev mutation  ## run the tests that take minutes, and a mutation run
	$(BIN)/python -m pytest -m slow

mutation: .venv/.installed-dev  ## change the engine in 200 places, one at a time: do its tests notice?
	$(PIP) -e .[mutation]
	$(BIN)/python -m benchmarks.mutation --count 200

lowest:  ## run the unit tests and one study on the lowest declared versions
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip --disable-pip-version-check --quiet install -c constraints-lowest.txt \
	    -e . cmaes hypothesis psutil pytest pytest-xdist
	.venv-lowest/bin/python -m pytest -n 2 -W ignore::DeprecationWarning tests/unit  # old libraries beside new ones
	.venv-lowest/bin/parsl-optuna --config config/quickstart.yaml --set optuna.max_trials=2 --local \
	    --artifacts-dir build/lowest/artifacts --results-dir build/lowest/results

check: .venv/.installed-dev  ## lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/.installed-docs  ## write the references from the code, and the site to build/site
	$(BIN)/python -m docs.generate
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs -d build/doctrees . build/site

bench: .venv/.installed-dev  ## run every benchmark; see benchmarks/README.md
	for script in benchmarks/bench_*.py; do $(BIN)/python -m benchmarks.$$(basename $$script .py) || exit 1; done

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) -e .[dev]
	touch $@

# Beside .venv, which it borrows from: where wandb is installed, programs get it in place of the stand-in.
# sweeps wants numpy 1, and works with 2.
.venv-wandb/.installed: .venv/.installed-dev
	test -x .venv-wandb/bin/python || $(PYTHON) -m venv --without-pip .venv-wandb
	$(BIN)/python -c "import glob, pathlib, site; \
	    pathlib.Path(glob.glob('.venv-wandb/lib/python*/site-packages')[0], 'borrowed.pth').write_text( \
	    f'import site; site.addsitedir({site.getsitepackages()[0]!r})')"
	$(BIN)/python -m pip --disable-pip-version-check --quiet --python .venv-wandb/bin/python \
	    install -c constraints.txt wandb jsonref
	$(BIN)/python -m pip --disable-pip-version-check --quiet --python .venv-wandb/bin/python \
	    install -c constraints.txt --no-deps sweeps
	touch $@

.venv/.installed-docs: .venv/.installed
	$(PIP) -e .[docs]
	touch $@
