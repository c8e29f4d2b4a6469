# A study as a graph: which notebook runs with which setting, and what it reads and writes.
# Called by `make report` (python -m bert_repro report); the settings themselves come from bert_repro/study.py.
import json
import sys

from bert_repro import study as studies
from bert_repro import provenance
from bert_repro.study import ROOT

STUDY = studies.load(config["study"], str(config.get("base") or ""))
OUT = f"build/{STUDY.name}"
RUNS = {run.name: run for run in studies.runs(STUDY, OUT)}
CHAPTERS = ["index", *STUDY.chapters, "claims", "parity"]
THREADS = int(config.get("threads", 1))
EXECUTE = (
    f"OMP_NUM_THREADS={THREADS} OPENBLAS_NUM_THREADS={THREADS} TF_NUM_INTRAOP_THREADS={THREADS} TF_NUM_INTEROP_THREADS=1 "
    f"{sys.executable} -m bert_repro run"
)


def made(name):
    """What a run leaves: its executed notebook, its table and, for fine-tuning, a checkpoint."""
    model = [f"{RUNS[name].parameters['save']}/model.safetensors"] if "save" in RUNS[name].parameters else []
    return [f"{OUT}/runs/{name}.ipynb", f"{OUT}/tables/{name}.parquet", *model]


def code(notebook, drawing=False):
    paths = provenance.sources(ROOT / "notebooks" / f"{notebook}.ipynb", drawing)
    return [str(path.relative_to(ROOT)) for path in paths]


rule all:
    input:
        [made(name) for name in RUNS],
        f"{OUT}/book/_build/html/index.html",


for run in RUNS.values():

    rule:
        name:
            run.name.replace("-", "_")
        input:
            code(run.notebook),
            [made(need) for need in run.needs],
        output:
            made(run.name),
        params:
            notebook=run.notebook,
            setting=json.dumps(run.parameters),
            title=run.title,
        threads: THREADS
        message:
            run.name
        shell:
            EXECUTE + " {params.notebook} {output[0]} --json {params.setting:q} --title {params.title:q}"


for chapter in CHAPTERS:

    rule:
        name:
            f"chapter_{chapter}"
        input:
            code(f"chapters/{chapter}", drawing=True),
            "results/parity.csv" if chapter == "parity" else [made(name)[1] for name in RUNS],
        output:
            f"{OUT}/chapters/{chapter}.ipynb",
        params:
            notebook=f"notebooks/chapters/{chapter}.ipynb",
            setting=json.dumps({"tables_folder": f"{OUT}/tables", "study": STUDY.name}),
        message:
            f"chapter {chapter}"
        shell:
            EXECUTE + " {params.notebook} {output} --json {params.setting:q}"


rule book:
    input:
        [f"{OUT}/chapters/{chapter}.ipynb" for chapter in CHAPTERS],
        [made(name)[0] for name in RUNS],
        [str(p) for p in sorted(Path("book").rglob("*")) if p.is_file() and "__pycache__" not in p.parts],
        config["study"],
    output:
        f"{OUT}/book/_build/html/index.html",
    params:
        study=config["study"],
        base=config.get("base") or "",
        source=f"{OUT}/book",
    message:
        "the book"
    shell:
        f"{sys.executable} book/assemble.py --study {{params.study:q}} --base={{params.base:q}} --chapters {OUT}/chapters --runs {OUT}/runs"
        " --out {params.source} && "
        f"{Path(sys.executable).parent}/jupyter-book build {{params.source}} -n -W --keep-going -q"
