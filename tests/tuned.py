"""A tiny base and two models tuned from it by PyTorch's transformers, in seconds; and what PyTorch says of them.

    expected = tuned.make(folder)
    expected.base, expected.mnli, expected.squad  # folders
    expected.states["mnli", "ewt:dev[60]"]  # layers rows hidden
    expected.scores["mnli"]["accuracy"], expected.scores["squad"]["f1"]

The measures here are written from their definitions, apart from the package's.
"""

import dataclasses
import json
import re
import string
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch

from bert_repro import corpora

SCRIPT = Path(__file__).parent / "tuned_by_pytorch.py"
MODELS = ("base", "mnli", "squad")
TEXTS = ("ewt:dev[60]", "mnli:dev[60]")
PAIRS, QUESTIONS = "mnli:dev[60]", "squad:dev[20]"


@dataclass(frozen=True)
class Expected:
    """Three checkpoints, and what PyTorch computes with them.

    Attributes:
        folder: Holds them, by their names.
        states: By model and reference of a text, the vectors of all its words and special tokens, in the order of the rows
            of hidden states: `layers rows hidden`, float32.
        labels: Predicted for the pairs, in their order.
        answers: To the questions, in their order.
        scores: By model (mnli, squad) and metric, in [0, 1], of these predictions.
    """

    folder: Path
    states: dict[tuple[str, str], np.ndarray]
    labels: list[str]
    answers: list[str]
    scores: dict[str, dict[str, float]]

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def mnli(self) -> Path:
        return self.folder / "mnli"

    @property
    def squad(self) -> Path:
        return self.folder / "squad"


def make(folder: Path, texts: Sequence[str] = TEXTS, pairs: str = PAIRS, questions: str = QUESTIONS) -> Expected:
    """Make the checkpoints, or skip where there is no PyTorch; in CI there must be.

    Args:
        folder: An existing folder, which gets base, mnli and squad.
        texts: References of the texts whose hidden states are expected.
        pairs: What the first tuned model is scored on; none may be longer than the task's limit.
        questions: The same of the other one; a context that is too long is read in windows.
    """
    python = pytorch.python()
    scored = {"pairs": corpora.load(pairs).items, "questions": corpora.load(questions).items}
    # so small a model is right of what it has seen alone: it learns most of what it is scored on, or exchanged labels would not show
    learned = {
        "pairs": [*corpora.load("mnli:train[60]").items, *_most(scored["pairs"])],
        "questions": [*corpora.load("squad:train[40]").items, *_most(scored["questions"])],
    }
    sides = [side for item in (*learned["pairs"], *learned["questions"]) for side in (item.first, item.second)]
    lines = [" ".join(words) for words in [*sides, *(item.words for item in corpora.load("ewt:train[2000]").items)]]
    given = {"text": lines, "texts": {text: [_sides(item) for item in corpora.load(text).items] for text in texts}}
    for kind in ("pairs", "questions"):
        parts = {"train": learned[kind], "dev": scored[kind]}
        given[kind] = {part: [dataclasses.asdict(item) for item in items] for part, items in parts.items()}
    (folder / "input.json").write_text(json.dumps(given))
    done = subprocess.run([python, SCRIPT, folder, folder / "input.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "states.npz") as stored:
        states = {tuple(name.split("/", 1)): array for name, array in stored.items()}
    predictions = json.loads((folder / "predictions.json").read_text())
    right = np.equal(predictions["labels"], [pair.label for pair in scored["pairs"]])
    scores = {"mnli": {"accuracy": float(right.mean())}, "squad": {}}
    for metric, same in (("f1", f1), ("exact_match", exact_match)):
        best = [
            max(same(said, reference) for reference, _ in question.answers)
            for said, question in zip(predictions["answers"], scored["questions"], strict=True)
        ]
        scores["squad"][metric] = float(np.mean(best))
    return Expected(folder, states, predictions["labels"], predictions["answers"], scores)


def _most(items: Sequence) -> list:
    """Leave every third item out."""
    return [item for number, item in enumerate(items) if number % 3]


def _sides(item) -> list[list[str]]:
    return [list(item.words)] if isinstance(item, corpora.Sentence) else [list(item.first), list(item.second)]


def rsa(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of the cosines of all pairs of words, of two representations `words hidden`."""
    upper = np.triu_indices(len(x), 1)
    cosines = []
    for vectors in (x.astype(float), y.astype(float)):
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines.append((vectors @ vectors.T)[upper])
    return float(np.corrcoef(*cosines)[0, 1])


def cka_debiased(x: np.ndarray, y: np.ndarray) -> float:
    """Linear CKA by the unbiased estimate of HSIC (Song et al. 2012, equation 5), of two representations `words hidden`."""
    n = len(x)
    kernels = [vectors.astype(float) @ vectors.astype(float).T for vectors in (x, y)]
    for kernel in kernels:
        np.fill_diagonal(kernel, 0)

    def criterion(k: np.ndarray, other: np.ndarray) -> float:
        trace = np.sum(k * other)  # both are symmetric
        middle = k.sum() * other.sum() / ((n - 1) * (n - 2))
        return (trace + middle - 2 / (n - 2) * (k.sum(0) @ other.sum(0))) / (n * (n - 3))

    cross, own, theirs = (criterion(kernels[i], kernels[j]) for i, j in ((0, 1), (0, 0), (1, 1)))
    return float(cross / np.sqrt(own * theirs))


def _normal(text: str) -> list[str]:
    """Split an answer into words as SQuAD's own script does: no case, punctuation or articles."""
    kept = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def f1(said: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the words of an answer."""
    mine, theirs = Counter(_normal(said)), Counter(_normal(reference))
    common = sum((mine & theirs).values())
    if not common:
        return 0.0
    precision, recall = common / sum(mine.values()), common / sum(theirs.values())
    return 2 * precision * recall / (precision + recall)


def exact_match(said: str, reference: str) -> float:
    """1 where two answers have the same words, else 0."""
    return float(_normal(said) == _normal(reference))
