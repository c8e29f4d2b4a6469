# make report|plan|publish|pretrain [STUDY=studies/minilm.yaml DATA=/path/to/data BASE=bert-base-uncased TUNED="mnli=org/name mine=path" JOBS=2 PROFILE=profiles/slurm GPU=1 PARTS=8 KEEP_STATES=1 GPU_TFLOPS=8] · test · staleness · renew · lint · bench [FULL=1] · picture · lab · clean
UV ?= $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN = $(UV) run --frozen --no-sync
PYTEST = pytest -n 2 --dist loadfile
DEVICE = $(if $(GPU),gpu,cpu)
READY = .venv/.ready-$(DEVICE)$(if $(PROFILE),-slurm)
export BERT_REPRO_DATA := $(if $(DATA),$(shell cd "$(DATA)" 2>/dev/null && pwd || echo "$(DATA)"),$(BERT_REPRO_DATA))
.PHONY: report plan publish pretrain smoke staleness renew test lint bench picture lab clean

GIVEN = $(if $(STUDY),"$(STUDY)") $(if $(BASE),--base "$(BASE)") $(if $(TUNED),--tuned $(TUNED)) $(if $(AS_SEEDS),--as-seeds $(AS_SEEDS)) \
  $(if $(LABELS),--labels $(LABELS)) $(if $(TEXT),--text "$(TEXT)") $(if $(TREEBANK),--treebank $(TREEBANK)) $(if $(JOBS),--jobs $(JOBS))
WHERE = $(if $(PROFILE),--profile "$(PROFILE)" $(if $(GPU),--gpu)) $(if $(PARTS),--parts $(PARTS)) $(if $(KEEP_STATES),--keep-states)

report: $(READY) ; $(RUN) python -m bert_repro report $(GIVEN) $(WHERE)

publish: $(READY) ; $(RUN) python -m bert_repro report $(GIVEN) $(WHERE) --archive

plan: $(READY) ; @$(RUN) python -m bert_repro plan $(GIVEN) $(if $(GPU_TFLOPS),--gpu-tflops $(GPU_TFLOPS))

# an encoder of one's own: its text cleaned of what it will be judged on, a vocabulary, masked words. Stopped, it resumes
OUT ?= build/encoder
UPDATES ?= 20000
SEED ?= 1
HELD_OUT ?= 100
WITHOUT ?= ewt:dev ewt:test pud mnli:dev squad:dev squadshifts-wiki wiki
PRETRAIN = -p model $(OUT)/plan -p task masked_words -p train $(OUT)/text/train.txt.gz -p dev $(OUT)/text/dev.txt.gz \
  -p updates $(UPDATES) -p seed $(SEED) -p batch_size 8 -p learning_rate 0.0005 -p head_learning_rate 0.0005 -p evaluations 16 -p reverted_layers "[]" \
  $(if $(KEEP_AT),-p keep_at "$(KEEP_AT)") -p name $(notdir $(OUT)) -p save $(OUT)/encoder -p output $(OUT)/pretraining.parquet $(if $(PRECISION),-p precision $(PRECISION))

pretrain: $(READY) $(OUT)/plan
	$(RUN) python -m bert_repro plan finetune $(PRETRAIN)
	$(RUN) python -m bert_repro run finetune $(OUT)/pretraining.ipynb $(PRETRAIN)

$(OUT)/plan: $(OUT)/text ; $(RUN) python -m bert_repro vocabulary $</train.txt.gz --out $@ --weights $(SEED)
$(OUT)/text: | $(READY) ; $(RUN) python -m bert_repro text $(TEXT) --out $@ --held-out $(HELD_OUT) --without $(WITHOUT)

# two processes, a core each: libraries that take all cores wait for one another
test smoke bench: export OMP_NUM_THREADS = 1
test smoke bench: export OPENBLAS_NUM_THREADS = 1
test smoke bench: export TF_NUM_INTRAOP_THREADS = 1
test smoke bench: export TF_NUM_INTEROP_THREADS = 1
test smoke bench: export TQDM_DISABLE = 1
test: $(READY)
	$(MAKE) -j 2 lint smoke  # the run notebooks; and once more below, to the same outputs
	$(RUN) $(PYTEST) --no-loadscope-reorder tests  # chapters run in tests/test_book.py
	BERT_REPRO_CACHE="$(CURDIR)/build/smoke/cache" $(RUN) $(PYTEST) -p no:cacheprovider --nbval build/smoke --nbval-sanitize-with tests/sanitise.cfg
	$(RUN) python tests/smoke_tables.py

# the run notebooks with their defaults; hidden states that older code left in the cache would hide what today's makes of them
smoke: export BERT_REPRO_CACHE = $(CURDIR)/build/smoke/cache
smoke: $(READY)
	rm -rf build/smoke
	printf '%s\n' $(notdir $(basename $(wildcard notebooks/*.ipynb))) | xargs -P 2 -I {} $(RUN) python -m bert_repro run {} build/smoke/{}.ipynb -p output build/smoke/{}.parquet

# which published tables today's code would make otherwise
staleness: smoke ; $(RUN) python tests/smoke_tables.py --write

# the published tables of STUDY were made again, or only defaults of notebooks have changed: they count as made by today's code
renew: KEPT = results/$(or $(basename $(notdir $(STUDY))),$(error say which: STUDY=studies/mini.yaml))/smoke
renew: smoke
	rm -rf $(KEPT) && mkdir $(KEPT) && cp build/smoke/*.csv $(KEPT)
	$(RUN) python tests/smoke_tables.py --write

lint: $(READY) ; $(RUN) ruff check . && $(RUN) ruff format --check . && $(RUN) mypy

# some minutes on a core; FULL=1 for the sizes of a study, and one job of each kind at BERT base's size, which takes hours
NO_BENCH = benchmarks/table.py benchmarks/sides.py $(if $(FULL),,benchmarks/base_size.py)
bench: $(READY)
	for b in $(filter-out $(NO_BENCH),$(wildcard benchmarks/*.py)); do $(RUN) python $$b $(if $(FULL),--full) || exit 1; done
	$(RUN) python benchmarks/table.py

# the README's picture, from the published tables
picture: $(READY) ; $(RUN) python book/headline.py

lab: $(READY) ; $(UV) run --frozen --extra $(DEVICE) --group lab jupyter lab notebooks

clean: ; rm -rf build

# compiled at once: where Python may not write bytecode, each of a study's processes would compile TensorFlow anew
$(READY): pyproject.toml uv.lock | $(UV) ; $(UV) sync --frozen --compile-bytecode --extra $(DEVICE) $(if $(PROFILE),--extra slurm) && rm -f .venv/.ready-* && touch $@

.tools/bin/uv: ; python3 -m venv .tools && .tools/bin/pip install -q uv==0.13.9
