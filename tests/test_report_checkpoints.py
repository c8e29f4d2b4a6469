"""A base and two checkpoints tuned by PyTorch go through `report --base --tuned` to a book; its numbers are PyTorch's."""

import os
import shutil
import subprocess
import sys

import pytest
import tuned

from bert_repro import similarity, states
from bert_repro.files import ROOT
from bert_repro.results import tables
from bert_repro.states import compute

pytestmark = pytest.mark.slow

WORDS = 400
STUDY = f"""\
name: given
title: checkpoints that PyTorch tuned
base: tiny
models:
  - {{name: mnli, checkpoint: tiny, task: nli}}
  - {{name: squad, checkpoint: tiny, task: squad}}
scored_on: {{nli: "{tuned.PAIRS}", squad: "{tuned.QUESTIONS}"}}
similarity:
  corpora: [{", ".join(f'"{text}"' for text in tuned.TEXTS)}]
  words: {WORDS}
  methods: [rsa, cka_debiased]
  more_methods: [procrustes]
  grid_methods: [cka_debiased]
structural_probe: {{train: "ewt:train[60]", dev: "ewt:dev[60]", test: "ewt:test[60]", rank: 8, epochs: 1}}
examples: ["squad:dev[1]"]
chapters: [models, look_inside]
resamples: 100
"""
PREDICTED = {"mnli": "nli", "squad": "squad"}


def _read_out(models):
    """Compute hidden states here: a process for each encoder, as in other reports, takes half a minute more."""
    texts = [*tuned.TEXTS, *(f"ewt:{split}[60]" for split in ("train", "dev", "test")), "squad:dev[1]"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "_compute_apart", compute.compute_all)
        for model in models:
            drawn = similarity.drawn(states.words([str(model)], tuned.TEXTS[1:]), WORDS, seed=1)
            states.get_all(str(model), texts, only=drawn)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """What PyTorch says, where the report was built, its table, and what was said on the way."""
    folder = tmp_path_factory.mktemp("given")
    expected = tuned.make(folder)
    root = folder / "clone"
    ignored = shutil.ignore_patterns("build", "mini", "minilm", "shared", ".*", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, root, ignore=ignored)
    (folder / "given.yaml").write_text(STUDY)
    _read_out([expected.base, f"untrained:{expected.base}", *(expected.folder / name for name in PREDICTED)])
    brought = ["--base", expected.base, "--tuned", *(f"{name}={expected.folder / name}" for name in PREDICTED)]
    done = subprocess.run(
        [sys.executable, "-m", "bert_repro", "report", "given.yaml", *brought],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    (out,) = (root / "build").glob("given*/")
    return expected, out, tables.merge(out / "tables"), done.stdout


def test_every_checkpoint_is_shown_before_anything_is_computed(reported):
    *_, said = reported
    head, first_run, _ = said.partition(".ipynb")  # which a run names when it is done
    assert first_run, said[:3000]
    for word in ("family", "layers", "task head", "entailment"):
        assert word in head, head[:3000]


@pytest.mark.parametrize("text", tuned.TEXTS)
@pytest.mark.parametrize("model", list(PREDICTED))
def test_curves_of_the_book_are_those_of_pytorchs_states(reported, model, text):
    expected, _, table, _ = reported
    (rows,) = states.words([str(expected.base)], [text])[text]
    drawn = similarity.draw(rows, WORDS, seed=1)
    curves = table[(table["notebook"] == "similarity") & (table["role"] == "score") & (table["metric"] == "similarity")]
    curves = curves[
        (curves["model"] == model)
        & (curves["reference_model"] == "base")
        & (curves["corpus"] == text.partition(":")[0])
    ]
    for method, defined in (("rsa", tuned.rsa), ("cka_debiased", tuned.cka_debiased)):
        ours = curves[(curves["method"] == method) & curves["rows"].isna()].set_index("layer")["value"]
        theirs = {
            layer: defined(*(expected.states[name, text][layer, drawn] for name in ("base", model)))
            for layer in range(len(expected.states["base", text]))
        }
        assert ours.to_dict() == pytest.approx(theirs, abs=1e-4), method
        assert min(theirs.values()) < 0.99


@pytest.mark.parametrize("model", list(PREDICTED))
def test_task_scores_of_the_book_are_those_of_pytorchs_predictions(reported, model):
    expected, _, table, _ = reported
    rows = table[(table["notebook"] == "checkpoint") & (table["model"] == model) & table["layer"].isna()]
    scores = rows[rows["method"] == "fine-tuning"].set_index("metric")["value"]
    assert {metric: scores[metric] for metric in expected.scores[model]} == pytest.approx(
        expected.scores[model], abs=1e-12
    )


def test_the_book_says_that_nothing_was_trained(reported):
    _, out, table, _ = reported
    pages = out / "book" / "_build" / "html"
    assert "Somebody else trained them" in (pages / "yours" / "models.html").read_text()
    claims = (pages / "yours" / "claims.html").read_text()
    assert "not tested here" in claims.lower()
    assert not list(out.rglob("*.failed.ipynb")) and not (table["notebook"] == "finetune").any()
