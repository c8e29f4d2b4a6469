"""Counts: how much is right in a prediction for an item, of how much; and the table rows of a text made of them.

Task heads and what needs no encoder count by the same functions, so that their scores differ by their predictions alone. Pure
NumPy: TensorFlow does not start here.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float

from bert_repro import corpora
from bert_repro.corpora.items import Pair, Question, Sentence
from bert_repro.results import intervals

PAIRS = ("accuracy", "accuracy_matched", "accuracy_mismatched")
QUESTIONS = ("f1", "exact_match")
TREES = ("las", "uas", "las_without_punctuation", "uas_without_punctuation")
TAGS = ("accuracy",)


class Scored(Protocol):
    """A text that was scored: its reference, and the digest of its content."""

    @property
    def reference(self) -> str: ...

    @property
    def digest(self) -> str: ...


def pair(item: Pair, label: str) -> Float[np.ndarray, "metrics 2"]:
    """Count a label under PAIRS; an empty one is wrong."""
    counted = np.array([1, item.section == "matched", item.section == "mismatched"])
    return np.stack([counted * (item.label == label), counted], -1).astype(float)


def question(item: Question, answers: Sequence[str]) -> Float[np.ndarray, "metrics 2"]:
    """Count the best of some answers against the best of all references, under QUESTIONS; none is wrong."""
    pairs = [(text, reference) for text in answers for reference, _ in item.answers]
    return np.array([[max((metric(*two) for two in pairs), default=0.0), 1] for metric in (f1, exact_match)])


def tree(item: Sentence, heads: Sequence[int] | np.ndarray, relations: Sequence[str]) -> Float[np.ndarray, "metrics 2"]:
    """Count heads, from 1 and 0 for the root, with and without their relations, under TREES.

    Punctuation is what the treebank tags or, without tags, relates so.
    """
    right = np.equal(heads, item.heads)
    labelled = right & np.equal(relations, item.relations)
    tagged = any(tag != "_" for tag in item.upos)
    words = np.array([tag.lower() != "punct" for tag in (item.upos if tagged else item.relations)])
    return np.array(
        [[sum(hits & counted), sum(counted)] for counted in (words | True, words) for hits in (labelled, right)],
        float,
    )


def tags(item: Sentence, found: Sequence[str]) -> Float[np.ndarray, "metrics 2"]:
    """Count the tags of the first words, as many as were read, under TAGS; words that were not are wrong."""
    return np.array([[sum(map(str.__eq__, found, item.upos)), len(item.words)]], float)


def f1(prediction: str, reference: str) -> float:
    """Give the harmonic mean of precision and recall of words, repeated ones as often as they occur; in [0, 1].

    Reference:
        Rajpurkar et al. 2016, section 6.1.
    """
    words, expected = _normalised(prediction), _normalised(reference)
    common = (Counter(words) & Counter(expected)).total()
    return 2 * common / (len(words) + len(expected)) if common else 0.0


def exact_match(prediction: str, reference: str) -> float:
    """Give 1 where two texts are the same but for case, punctuation, articles and white space, else 0."""
    return float(_normalised(prediction) == _normalised(reference))


def _normalised(text: str) -> list[str]:
    text = text.lower().translate(dict.fromkeys(map(ord, string.punctuation)))
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def score_rows(metrics: Sequence[str], counts: np.ndarray, scored: Scored, resamples: int) -> list[dict[str, object]]:
    """Give the table rows of a text; a metric that counts nothing there has none.

    Args:
        metrics: Their names.
        counts: Right and all, `items metrics 2`.
        scored: The text: equal ones see the same draws.
        resamples: Bootstrap resamples behind the intervals.
    """
    weights = intervals.draws(scored.digest, len(counts), resamples)
    columns = corpora.columns(scored.reference)
    rows: list[dict[str, object]] = []
    for m, name in enumerate(metrics):
        if n := int(counts[:, m, 1].sum()):
            value, replicates = intervals.ratio(counts[:, m, 0], counts[:, m, 1], weights)
            rows.append(columns | {"metric": name, "n": n} | intervals.row(float(value), replicates, len(counts)))
    return rows
