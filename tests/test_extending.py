"""Adding things in one place: a measure, a target, a task, a corpus and a chapter, each followed to plan, table, figure and book.

The lines of CONTRIBUTING.md are added to a copy of the project, they and nothing else, and used there as anybody would.
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from bert_repro.files import ROOT


def of_page(heading: str) -> str:
    """The lines that CONTRIBUTING.md gives under a heading."""
    section = (ROOT / "CONTRIBUTING.md").read_text().split(f"### {heading}\n")[1].split("\n### ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return f"\n\n{block}"


MEASURE, TARGET = of_page("A measure of similarity"), of_page("A target of edge probes")
TASK, CORPUS, CHAPTER = of_page("A task"), of_page("A corpus"), of_page("A chapter").strip()
STUDY = {
    "name": "own", "title": "my own", "base": "tiny",
    "tasks": [{"task": "tags", "train": "mine", "dev": "mine:dev[20]", "updates": 2, "seeds": [1]}],
    "similarity": {"corpora": ["mine"], "words": 200, "methods": ["rsa", "distances"]},
    "structural_probe": {"train": "mine", "dev": "mine", "test": "mine"},
    "edge_probe": {"train": "mine", "dev": "mine", "test": "mine", "targets": ["length"], "epochs": 2},
}  # fmt: skip
SCRIPT = """
import importlib.util, json
import nbformat
from pathlib import Path
from nbformat import v4
from bert_repro import corpora, figures, files, finetune, similarity, states
from bert_repro.probes import experiments
from bert_repro.results import provenance, tables
from bert_repro.states.compute import compute
from bert_repro.workflow import notebooks, plan, study

here = Path.cwd()
assert files.ROOT == here
own = study.load("study.yaml")
planned = {job.run.name: job.cost.seconds for job in plan.jobs(own)}
less = {"similarity": own.similarity.model_copy(update={"methods": ["rsa"]})}
without = {job.run.name: job.cost.seconds for job in plan.jobs(own.model_copy(update=less))}

tuned = finetune.train("tiny", finetune.Recipe("tags", "mine", "mine:dev[20]", updates=2, evaluations=1, batch_size=8), save="build/own/models/tags-1", resamples=100)
names = {"base": "tiny", "tags-1": "build/own/models/tags-1"}
for folder in names.values():
    compute(folder, ["mine"], states.usual(folder))  # in this process, which has started TensorFlow already
read = [{"mine": states.get(folder, "mine")} for folder in names.values()]
layers = [0, 1, 2]
samples = similarity.sample(read, ["mine"], words=200, seed=1)
compared = similarity.compare(samples, layers, own.similarity.methods, 100)
splits = experiments.split([corpora.treebank("mine")] * 3, [read[0]["mine"]] * 3, least=1)
spans = experiments.labels("length", splits)
probed = experiments.edge_probes("length", spans, splits, layers, mixed=False, coded=False, resamples=100, label="", epochs=2).rows
model = {"model": "tags-1", "task": "tags", "seed": 1, "role": "score"}
written = {
    "finetune": tables.tidy([{"method": "fine-tuning"} | row for row in tuned.rows], **model),
    "similarity": tables.tidy(compared, **model, reference_model="base"),
    "hidden_states": tables.tidy(similarity.geometry(samples, layers, 100), role="score", model="base"),
    "edge_probe": tables.tidy([row for row in probed if "role" not in row], role="score", model="base", probe="linear", probe_seed=1),
}
for notebook, table in written.items():
    made = provenance.manifest(notebook, {"study": "own", "name": "tags-1", "reference_name": "base"}, 1.0)
    tables.write(here / f"build/own/tables/{notebook}-tags-1.parquet", table.assign(study="own", notebook=notebook).astype(tables.COLUMNS), made | {"inputs": {}})
table = tables.merge("build/own/tables")

def panels(figure):
    return [note.text for note in figure.layout.annotations]

scores = table[(table["notebook"] == "finetune") & table["method"].eq("fine-tuning")]
drawn = figures.layer_curves(table[(table["notebook"] == "similarity") & table["layer"].notna()], facet="method")
labels = table[(table["method"] == "single layer") & (table["metric"] == "accuracy")].drop_duplicates("layer")
setting = {"tables_folder": "build/own/tables", "study": "own"}
for name in ("similarity", "mine"):
    notebooks.run(here / f"notebooks/chapters/{name}.ipynb", here / f"build/own/chapters/yours/{name}.ipynb", setting, progress=False)
nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# My study")]), here / "build/own/chapters/index.ipynb")
spec = importlib.util.spec_from_file_location("assemble", here / "book" / "assemble.py")
book = importlib.util.module_from_spec(spec)
spec.loader.exec_module(book)
book.assemble([book.Part("yours", own, here / "build/own/tables")], here / "build/own/chapters", here / "none", here / "book_source")
print(json.dumps({
    "planned": planned, "without": without, "chapters": own.chapters,
    "rows": json.loads(table.drop(columns="replicates").to_json(orient="records")),
    "similarity": panels(drawn), "lines": sorted({t.line.color for t in drawn.data if t.mode == "lines+markers"}),
    "legend": [t.name for t in drawn.data if t.mode == "lines+markers"],
    "dots": [t.marker.color for t in figures.dots(scores, "metric").data],
    "edge": panels(figures.layer_curves(labels, facet="target")),
    "in the chapter": (here / "build/own/chapters/yours/similarity.ipynb").read_text().count("RSA, Euclidean"),
    "contents": (here / "book_source" / "_toc.yml").read_text(),
}))
"""


def grown(clone: Path, module: str, lines: str) -> None:
    with open(clone / "bert_repro" / module, "a") as file:
        file.write(lines)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What comes of a copy of the project that has grown by one of each."""
    clone = tmp_path_factory.mktemp("extended") / "clone"
    for folder in ("bert_repro", "notebooks", "book"):
        shutil.copytree(
            ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        )
    shutil.copyfile(ROOT / "CONTRIBUTING.md", clone / "CONTRIBUTING.md")
    (clone / "data").mkdir()
    for path in (ROOT / "data").iterdir():
        (clone / "data" / path.name).symlink_to(path)
    with gzip.open(ROOT / "data/ud_ewt/en_ewt-ud-dev.conllu.gz", "rt", encoding="utf-8") as text:
        (clone / "data" / "mine.conllu").write_text("\n\n".join(text.read().split("\n\n")[:60]) + "\n\n")
    grown(clone, "similarity/__init__.py", MEASURE)
    grown(clone, "probes/spans.py", TARGET)
    grown(clone, "finetune/tasks.py", TASK)
    grown(clone, "corpora/sources.py", CORPUS)
    parameters = 'tables_folder: str = "build/own/tables"  # tables\nstudy: str = "own"  # name'
    cells = [
        v4.new_markdown_cell("# What I see"),
        v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        v4.new_code_cell(CHAPTER, metadata={"tags": ["hide-input"]}),
    ]
    nbformat.write(v4.new_notebook(cells=cells), clone / "notebooks/chapters/mine.ipynb")
    (clone / "study.yaml").write_text(json.dumps(STUDY))
    environment = os.environ | {"PYTHONPATH": str(clone), "BERT_REPRO_CACHE": str(clone / "cache")}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_an_added_measure_is_planned_tabled_drawn_and_shown_in_its_chapter(told):
    name = "similarity-base-tags-1"
    assert told["planned"][name] > told["without"][name] > 0
    rows = [row for row in told["rows"] if row["method"] == "distances"]
    assert [row["layer"] for row in rows if row["metric"] == "similarity"] == [0, 1, 2]
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in rows if row["metric"] == "similarity")
    assert told["similarity"] == ["<b>RSA</b>", "<b>RSA, Euclidean</b>"]
    assert told["in the chapter"] > 0


@pytest.mark.slow
def test_an_added_target_is_planned_tabled_and_drawn(told):
    assert told["planned"]["edge_probe-base"] > 0
    rows = [row for row in told["rows"] if row["target"] == "length"]
    assert {"accuracy", "selectivity"} <= {row["metric"] for row in rows}
    assert told["edge"] == ["<b>word length</b>"]


@pytest.mark.slow
def test_an_added_task_is_planned_tabled_and_drawn_in_its_colour(told):
    assert told["planned"]["finetune-tags-1"] > 0
    assert {row["metric"] for row in told["rows"] if row["method"] == "fine-tuning"} == {"accuracy"}
    assert "#123456" in told["dots"] and told["lines"] == ["#123456"]
    assert set(told["legend"]) == {"fine tags fine-tuned, seed 1"}


@pytest.mark.slow
def test_an_added_corpus_is_read_everywhere(told):
    corpora = {
        row["corpus"]
        for row in told["rows"]
        if row["notebook"] in ("similarity", "finetune", "edge_probe") and row["corpus"]
    }
    assert corpora == {"mine"} and told["planned"]["states-base"] > 0


@pytest.mark.slow
def test_an_added_chapter_is_in_the_book(told):
    assert told["chapters"][-1] == "mine" and "similarity" in told["chapters"]
    listed = [line.split()[-1] for line in told["contents"].splitlines() if "file: yours/" in line]
    assert listed == ["yours/similarity", "yours/mine"]
