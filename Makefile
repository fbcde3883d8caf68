# Everything goes through .venv, which is made when it is missing or pyproject.toml changed.
.DEFAULT_GOAL := help
.PHONY: help setup data train sweep seeds caption caption-ucm caption-sydney tensorboard ranking theory report reproduce demo models notebook
.PHONY: test test-slow test-engines bench extras audit size lint format typecheck check clean

PYTHON ?= python3
BIN := .venv/bin
DATA ?= fashion_mnist
EPOCHS ?= 15
ARGS ?=
# Another number of epochs is another study: it gets a folder of its own.
NAME ?= $(DATA)$(if $(filter 15,$(EPOCHS)),,-epochs$(EPOCHS))
DROPOUT ?= 0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8
LR ?= 0.1,0.01,0.001

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Variables: DATA=mnist  EPOCHS=1  DROPOUT=0.1,0.2  LR=0.1,0.01  NAME=folder  ARGS='any other setting'"
	@echo "  e.g. make sweep DATA=mnist EPOCHS=1      make train ARGS='dropout=0.5 seed=0'"

##@ Install

setup: .venv/.ready ## make .venv and install the pinned packages

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

data: setup ## fetch DATA (fashion_mnist or mnist) into data/ and check it
	@$(BIN)/python -m src.download name=$(DATA)

##@ Train and rank

train: setup ## train one configuration (ARGS='dropout=0.5 lr=0.01')
	@$(BIN)/python -m src.train data=$(DATA) epochs=$(EPOCHS) name=$(NAME) $(ARGS)

sweep: setup ## the report's Table 2: dropout x lr, 24 runs, ranked and plotted; goes on where it stopped
	@$(BIN)/python -m src.train -m data=$(DATA) dropout=$(DROPOUT) lr=$(LR) epochs=$(EPOCHS) name=$(NAME) $(ARGS)

seeds: setup ## Table 2's dropouts with five seeds each, and a picture of which of them differ
	@$(BIN)/python -m src.train -m experiment=table2_seeds epochs=$(EPOCHS) $(ARGS)
	@$(BIN)/python -m src.rank outputs/table2_seeds table=seeds

ranking: setup ## rank and plot a sweep again, also while it runs (NAME=folder under outputs/)
	@$(BIN)/python -m src.rank outputs/$(NAME)

tensorboard: setup ## show all runs: curves, kernels, HParams table
	@$(BIN)/tensorboard --logdir outputs

##@ Caption

caption: setup ## the captioner: draw the scenes, train without and with attention, BLEU, gallery, attention maps
	@$(BIN)/python -m src.train -m experiment=captions $(ARGS)
	@$(BIN)/python -m src.rank outputs/scenes table=captions

caption-ucm: setup ## both decoders on UCM-Captions, three seeds each (ARGS='data.root=FOLDER')
	@$(BIN)/python -m src.train -m experiment=captions_ucm $(ARGS)
	@$(BIN)/python -m src.rank outputs/captions_ucm table=captions

caption-sydney: setup ## both decoders on Sydney-Captions, three seeds each (ARGS='data.root=FOLDER')
	@$(BIN)/python -m src.train -m experiment=captions_sydney $(ARGS)
	@$(BIN)/python -m src.rank outputs/captions_sydney table=captions

##@ Understand and show

theory: setup ## the report's theory as tables: parameter counts, self-attention, equivariance; fails where one does not hold
	@$(BIN)/python -m src.theory $(ARGS)

report: setup ## the page that walks through the report, from finished runs: outputs/report/report.html
	@$(BIN)/python -m src.report sweep=outputs/$(NAME) $(ARGS)

models: setup ## train what is missing, then export the models behind the headline rows: models/ (UCM=FOLDER adds its captioner)
	@$(BIN)/python -m src.train experiment=best_small $(ARGS)
	@$(BIN)/python -m src.export run=outputs/best_small to=safetensors output=models/best
	@$(BIN)/python -m src.train -m experiment=captions_scenes_best seed=42 $(ARGS)
	@$(BIN)/python -m src.export run=outputs/scenes_best to=safetensors half=true output=models/scenes
ifdef UCM
	@$(BIN)/python -m src.train -m experiment=captions_best data.root=$(UCM) $(ARGS)
	@$(BIN)/python -m src.export run=outputs/captions_best to=safetensors half=true output=models/ucm
endif

demo: setup ## a local page: own images labelled and captioned by the runs under outputs/ (ARGS='models=[FOLDER,...]')
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo]"
	@$(BIN)/python -m src.demo $(ARGS)

notebook: setup ## notebooks/tour.ipynb in the browser
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt notebook && $(BIN)/jupyter notebook notebooks/tour.ipynb

reproduce: sweep caption theory report ## everything the page needs, from nothing, then the page; goes on where it stopped

##@ Measure

bench: setup data ## ratios against straightforward ways, measured side by side, on a quiet machine (ARGS='only=captions')
	@$(BIN)/python -m src.bench $(ARGS)

##@ Check and change the code

check: lint typecheck test ## lint, types, tests

lint: setup ## check style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: setup ## mend style
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

typecheck: setup ## check types
	@$(BIN)/mypy

test: setup data ## run the tests
	@$(BIN)/python -m pytest $(ARGS)

test-slow: setup data ## the long forms: kills, corruption, concurrency, fuzzing
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-engines: setup data ## launchers and sweepers on a real SLURM, a Ray cluster, Optuna (root, Debian's slurm-wlm and munge)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[slurm,ray,optuna]'
	@$(BIN)/python -m pytest -m engines -n 2 --dist=loadfile $(ARGS)

extras: setup ## resolve each extra as it is pinned, in a fresh environment (EXTRAS='ray slurm')
	@.ci/extras $(EXTRAS)

audit: setup ## ask for known vulnerabilities of the pinned packages (needs a network)
	@$(BIN)/python -m pip install --quiet pip-audit && $(BIN)/pip-audit --requirement constraints.txt --no-deps

size: ## lines of Python, and the longest files
	@for part in src tests; do echo "$$part: $$(git ls-files "$$part/*.py" | xargs cat | wc -l) lines"; done
	@for part in $$(ls -d src/*/); do echo "  $$part $$(find $$part -name '*.py' | xargs cat | wc -l)"; done
	@git ls-files 'src/*.py' 'tests/*.py' | xargs wc -l | sort -rn | sed -n 2,6p

clean: ## remove .venv and caches; data/ and outputs/ stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
