# Everything goes through .venv, which is made when it is missing or pyproject.toml changed.
.DEFAULT_GOAL := help
.PHONY: help setup data train sweep seeds caption caption-ucm caption-sydney tensorboard ranking theory report reproduce test soak damage fuzz audit bench profile lint format typecheck check clean

PYTHON ?= python3
BIN := .venv/bin
EPOCHS ?= 15
ARGS ?=
KILLS ?= 200
# Another number of epochs is another study: it gets a folder of its own.
NAME ?= fashion_mnist$(if $(filter 15,$(EPOCHS)),,-epochs$(EPOCHS))
DROPOUT ?= 0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8
LR ?= 0.1,0.01,0.001

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: EPOCHS=15  DROPOUT=0.1,0.2,...  LR=0.1,0.01,...  NAME=folder  ARGS='any other setting'"
	@echo "  e.g. make sweep EPOCHS=1      make train ARGS='dropout=0.5 seed=0'"

setup: .venv/.ready ## make .venv and install the pinned packages

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

data: setup ## fetch Fashion-MNIST into data/ and check it
	@$(BIN)/python -m src.download

train: setup ## train one configuration (ARGS='dropout=0.5 lr=0.01')
	@$(BIN)/python -m src.train epochs=$(EPOCHS) name=$(NAME) $(ARGS)

sweep: setup ## the report's Table 2: dropout x lr, 24 runs, ranked and plotted; goes on where it stopped
	@$(BIN)/python -m src.train -m dropout=$(DROPOUT) lr=$(LR) epochs=$(EPOCHS) name=$(NAME) $(ARGS)

seeds: setup ## the three best cells of Table 2 with three seeds each
	@$(BIN)/python -m src.train -m experiment=table2_seeds epochs=$(EPOCHS) $(ARGS)

caption: setup ## the captioner: draw the scenes, train without and with attention, BLEU, gallery, attention maps
	@$(BIN)/python -m src.train -m experiment=captions $(ARGS)
	@$(BIN)/python -m src.sweep.captions outputs/scenes

caption-ucm: setup ## both decoders on UCM-Captions, three seeds each (ARGS='data.root=FOLDER')
	@$(BIN)/python -m src.train -m experiment=captions_ucm $(ARGS)
	@$(BIN)/python -m src.sweep.captions outputs/captions_ucm

caption-sydney: setup ## both decoders on Sydney-Captions, three seeds each (ARGS='data.root=FOLDER')
	@$(BIN)/python -m src.train -m experiment=captions_sydney $(ARGS)
	@$(BIN)/python -m src.sweep.captions outputs/captions_sydney

theory: setup ## the report's theory as tables: parameter counts, self-attention, equivariance; fails where one does not hold
	@$(BIN)/python -m src.theory $(ARGS)

ranking: setup ## rank and plot a sweep again, also while it runs (NAME=folder under outputs/)
	@$(BIN)/python -m src.sweep.ranking outputs/$(NAME)

tensorboard: setup ## show all runs: curves, kernels, HParams table
	@$(BIN)/tensorboard --logdir outputs

report: setup ## the page that walks through the report, from finished runs: outputs/report/report.html
	@$(BIN)/python -m src.report sweep=outputs/$(NAME) $(ARGS)

reproduce: setup ## everything the page needs, from nothing, then the page; goes on where it stopped
	@$(BIN)/python -m src.reproduce epochs=$(EPOCHS) $(ARGS)

test: setup data ## run all tests
	@$(BIN)/python -m pytest $(ARGS)

soak: setup ## kill sweeps 200 times and compare the ends; then eight at once (KILLS=20 for a short one)
	@$(BIN)/python -m tests.faults kills=$(KILLS) out=outputs/faults $(ARGS)
	@rm -rf outputs/crowd && $(BIN)/python -m tests.faults.crowd outputs/crowd

damage: setup ## damage every file that is read back, 500 times, and see that no wrong number comes of it
	@$(BIN)/python -m tests.damage cases=500 $(ARGS)

fuzz: setup ## 100,000 made-up inputs to everything that reads from outside (about 30 minutes)
	@$(BIN)/python -m tests.fuzz inputs=100000 minutes=60 $(ARGS)

audit: setup ## ask for known vulnerabilities of the pinned packages (needs a network; status 2: nobody could be asked)
	@$(BIN)/python -m src.audit

bench: setup data ## measure speed against the straightforward way, on a quiet machine (ARGS='only=captions')
	@$(BIN)/python -m src.bench $(ARGS)

profile: setup ## traces of the hot paths for ui.perfetto.dev: outputs/profile/
	@$(BIN)/python -m src.bench.profile $(ARGS)

lint: setup ## check style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: setup ## mend style
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

typecheck: setup ## check types
	@$(BIN)/mypy

check: lint typecheck test ## lint, types, tests

clean: ## remove .venv and caches; data/ and outputs/ stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
