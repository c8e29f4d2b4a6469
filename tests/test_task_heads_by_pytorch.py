"""Task heads of every family, published by PyTorch: the same wordpieces, and logits that are PyTorch's, for pairs and questions.

Models and what PyTorch says of them are made by task_heads_by_pytorch.py.
"""

import itertools
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import pytorch

from bert_repro import corpora
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.families import ARCHITECTURES
from bert_repro.corpora import LABELS
from bert_repro.finetune import TASKS, scoring
from bert_repro.finetune.cards import task_heads

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "task_heads_by_pytorch.py"
TOLERANCE = 1e-5
PAIRS, QUESTIONS = "mnli:dev[80]", "squad:dev[60]"  # of which short ones are taken, that no encoder cuts
ORDERS = dict(zip(ARCHITECTURES, itertools.permutations(map(str.upper, LABELS)), strict=True))
"""Names of labels by family, each in another order, as publishers have them."""


NEAREST = {"tanh": "relu", "relu": "gelu", "gelu": "gelu_new"}
"""Activations that could be taken for one another."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of all models, and the texts by task."""
    python, folder = pytorch.python(), tmp_path_factory.mktemp("heads")
    pairs = [item for item in corpora.load(PAIRS).items if len(item.first) + len(item.second) < 40][:40]
    rows = ["\t".join([" ".join(pair.first), " ".join(pair.second), pair.label]) for pair in pairs]
    (folder / "short.tsv").write_text("\n".join(["premise\thypothesis\tlabel", *rows]))
    questions = [item for item in corpora.load(QUESTIONS).items if len(item.second) < 120][:12]
    paragraphs = []
    for item in questions:
        answers = [{"text": text, "answer_start": first} for text, first in item.answers]
        asked = {"id": item.id, "question": " ".join(item.first), "answers": answers}
        paragraphs.append({"context": item.context, "qas": [asked]})
    (folder / "short.json").write_text(json.dumps({"data": [{"title": "short", "paragraphs": paragraphs}]}))
    texts = {"nli": str(folder / "short.tsv"), "squad": str(folder / "short.json")}
    sides = {
        task: [[list(item.first), list(item.second)] for item in corpora.load(text).items]
        for task, text in texts.items()
    }
    lines = [" ".join(words) for of_task in sides.values() for item in of_task for words in item]
    given = {"text": lines, "families": ORDERS} | sides
    (folder / "input.json").write_text(json.dumps(given))
    done = subprocess.run([python, SCRIPT, folder, folder / "input.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, texts


def read(made, family, task):
    """Open a model as a report does: its network, its text, all inputs of that as one batch, and what PyTorch says."""
    folder, texts = made
    start = Checkpoint(folder / f"{family}-{task}")
    with np.load(start.folder / "expected.npz") as stored:
        expected = dict(stored)
    network = scoring.ready(start, start.weights(), task)
    (text,) = scoring.texts_of(TASKS[task], [texts[task]], start)
    assert len(text.inputs) == len(text.items) == len(expected["ids"])  # none is cut, or read in windows
    inputs, _ = text.arrays(network.head, np.arange(len(text.inputs)))
    width = expected["ids"].shape[1]
    mask = expected["mask"]
    assert (inputs["mask"][:, :width] == mask).all() and not inputs["mask"][:, width:].any()
    assert (inputs["token_ids"][:, :width] * mask == expected["ids"] * mask).all()
    return network, text, inputs, expected


def off(ours, theirs):
    return float(np.abs(np.asarray(ours) - theirs).max())


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_labels_of_pairs_are_those_of_pytorch(made, family):
    network, text, inputs, expected = read(made, family, "nli")
    ours = network.predict(inputs)
    largest = off(ours["label"], expected["logits"])
    print(f"{family}: {largest:.1e}")
    assert largest <= TOLERANCE and expected["logits"].std(0).min() > 0.01

    said = [
        network.head.read(item, aligned, {"label": logits})
        for item, aligned, logits in zip(text.items, text.inputs, ours["label"], strict=True)
    ]
    theirs = [ORDERS[family][number].lower() for number in expected["logits"].argmax(1)]
    assert said == theirs
    right = np.mean([label == item.label for label, item in zip(theirs, text.items, strict=True)])
    assert network.score(text).sum(0)[0, 0] / len(text.items) == pytest.approx(right)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_probabilities_of_answers_are_those_of_pytorch(made, family):
    network, _, inputs, expected = read(made, family, "squad")
    allowed = expected["second"].copy()
    allowed[:, 0] = 1
    width = allowed.shape[1]
    assert (inputs["allowed"][:, :width] == allowed).all() and not inputs["allowed"][:, width:].any()
    ours, differences = network.predict(inputs), []
    for name in ("start", "end"):
        theirs = np.where(allowed == 1, expected[name].astype(float), -np.inf)
        theirs -= np.log(np.exp(theirs).sum(1, keepdims=True))
        differences.append(off(ours[name][:, :width][allowed == 1], theirs[allowed == 1]))
    print(f"{family}: {max(differences):.1e}")
    assert max(differences) <= TOLERANCE
    assert expected["start"][allowed == 1].std() > 0.05 and off(expected["start"], expected["end"]) > 0.1


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_another_activation_in_the_task_head_shows(made, family, monkeypatch):
    dense, output, activation = ARCHITECTURES[family].classifier
    changed = ARCHITECTURES[family]._replace(classifier=(dense, output, NEAREST[activation]))
    monkeypatch.setitem(ARCHITECTURES, family, changed)
    network, _, inputs, expected = read(made, family, "nli")
    largest = off(network.predict(inputs)["label"], expected["logits"])
    print(f"{family}: {largest:.1e}")
    assert largest > 10 * TOLERANCE


def test_pytorch_reads_what_we_write_and_gives_the_same_logits(made, tmp_path):
    for family, task in itertools.product(ARCHITECTURES, made[1]):
        network, text, _, expected = read(made, family, task)
        start = Checkpoint(made[0] / f"{family}-{task}")
        target = tmp_path / f"{family}-{task}"
        target.mkdir()
        Checkpoint.write(
            target, start.config, network.export(), tokenizer_from=start, labels=start.labels[: 3 * (task == "nli")]
        )
        np.savez(target / "expected.npz", **expected)
    done = subprocess.run([pytorch.python(), SCRIPT, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    differences = json.loads(done.stdout)
    assert len(differences) == 2 * len(ARCHITECTURES) and max(differences.values()) <= 1e-6, differences


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_what_a_published_model_brings_is_told(made, family):
    for task in ("nli", "squad"):
        start = Checkpoint(made[0] / f"{family}-{task}")
        kinds = task_heads(start.weights(), start.config)
        assert kinds == [{"nli": "labels of the whole input"}.get(task, TASKS[task].description)]
    assert Checkpoint(made[0] / f"{family}-nli").labels == ORDERS[family]
