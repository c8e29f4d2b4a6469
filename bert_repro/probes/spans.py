"""Edge-probing targets: labelled spans of words with the rows of their states.

An unknown target, annotation that the corpus lacks, and a split without any label known from training are errors.

Reference:
    Tenney et al. 2019a, section 3; Liu et al. 2019, section 4.1 (arcs against sampled words); Hewitt and Liang 2019, section 2
    (control tasks).
"""

import functools
import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int
from scipy.sparse import csr_array

from bert_repro.probes.treebank import Treebank

Edge = tuple[tuple[int, int], tuple[int, int] | None, tuple[str, ...]]
"""A span of words or two, each from the first to behind the last, and their labels."""


def _words(labels: Sequence[str]) -> Iterator[Edge]:
    return (((i, i + 1), None, (label,)) for i, label in enumerate(labels))


def _feature(name: str) -> Callable[[Any], Iterator[Edge]]:
    def read(sentence: Any) -> Iterator[Edge]:
        for i, features in enumerate(sentence.features):
            for feature in features.split("|"):
                if feature.startswith(f"{name}="):
                    yield (i, i + 1), None, (feature.partition("=")[2],)

    return read


def _relations(sentence: Any) -> Iterator[Edge]:
    for i, (head, relation) in enumerate(zip(sentence.heads, sentence.relations, strict=True)):
        at = head - 1 if head else i  # the root points to itself
        yield (i, i + 1), (at, at + 1), (relation,)


def _arcs(sentence: Any) -> Iterator[Edge]:
    """Pair each arc with two other words of the sentence as far apart, in the same order, without an arc."""
    draw = np.random.default_rng(zlib.crc32("\n".join((sentence.id, *sentence.words)).encode()))
    n = len(sentence.words)
    for i, head in enumerate(sentence.heads):
        far = head - 1 - i
        candidates = [j for j in range(max(0, -far), min(n, n - far)) if sentence.heads[j] - 1 != j + far]
        if head and candidates:
            candidate = candidates[draw.integers(len(candidates))]
            yield (i, i + 1), (head - 1, head), ("arc",)
            yield (candidate, candidate + 1), (candidate + far, candidate + far + 1), ("none",)


def _ends(sentence: Any, seed: int) -> Iterator[Edge]:
    """Pair each word with the first and the last of its sentence; which of these is its syntactic head is random, per word
    form."""
    n = len(sentence.words)
    for i, word in enumerate(sentence.words[1:-1], start=1):
        first = lot(word.lower(), seed) < 0.5
        yield (i, i + 1), (0, 1), ("arc" if first else "none",)
        yield (i, i + 1), (n - 1, n), ("none" if first else "arc",)


def _directions(sentence: Any) -> Iterator[Edge]:
    return _words(["root" if head == 0 else "left" if head <= i else "right" for i, head in enumerate(sentence.heads)])


class Target(NamedTuple):
    """What an edge probe predicts.

    Attributes:
        title: What it is called in figures.
        description: What it is.
        gold: Gives the labelled spans of a sentence.
        spans: How many spans a label describes, 1 or 2: a probe takes as many times as long.
        metric: What selectivity and the gains of layers are differences of: `accuracy`, or `f1` where spans have several labels.
        kind: Kind of probe, where it needs another than the one that was asked for.
        control: Its control task, which a probe can learn by heart and no encoder can know: `words`, every word has a label
            at random; `heads`, every word has the first or the last of its sentence as its head, at random; empty where there
            is none.
    """

    title: str
    description: str
    gold: Callable[[Any], Iterator[Edge]]
    spans: int = 1
    metric: str = "accuracy"
    kind: str = ""
    control: str = "words"


EDGE_TARGETS = {
    "upos": Target("UPOS", "part of speech", lambda sentence: _words(sentence.upos)),
    "xpos": Target("XPOS", "the treebank's own part of speech", lambda sentence: _words(sentence.xpos)),
    "number": Target("number", "number of the words that have one", _feature("Number")),
    "tense": Target("tense", "tense of the words that have one", _feature("Tense")),
    "relation": Target("relation", "relation of a word to its head, given both", _relations, spans=2),
    # that two words belong together is in neither alone: no probe that adds up what it reads of each can say it
    "arc": Target(
        "arc", "whether the second of two words is the head of the first, against two as far apart", _arcs, spans=2,
        kind="bilinear", control="heads",
    ),
    "direction": Target("direction", "on which side the head of a word is", _directions),
    # hardly a span of several words occurs twice: a random label could not be memorised
    "spans": Target("spans", "the labels of an edge-probing file (.jsonl)", lambda sentence: iter(sentence.spans), control=""),
}  # fmt: skip
"""Targets by name; the notebook's `targets` parameter, studies, their plan, the figures and the tests read this."""


def named(target: str) -> Target:
    """Give a target by its name.

    Raises:
        ValueError: An unknown one.
    """
    if target not in EDGE_TARGETS:
        raise ValueError(f"unknown target {target!r} of an edge probe: expected one of {sorted(EDGE_TARGETS)}")
    return EDGE_TARGETS[target]


@dataclass(frozen=True)
class Labelled:
    """The labelled spans of a split; spans of one sentence lie together.

    Attributes:
        labels: Their names, sorted; those of training.
        spans: First row of the states and the row behind the last, of one span or two.
        sentence: Number of the sentence that each stands in, from 0, among those that have any.
        gold: The number of each one's label, -1 for one that training never saw; or, where spans have several labels, a
            mask of them.
        words: The words of the first span, in lower case: what a control task knows.
        skipped: What was left out, by reason.
    """

    labels: tuple[str, ...]
    spans: Int[np.ndarray, "items spans 2"]
    sentence: Int[np.ndarray, " items"]
    gold: np.ndarray
    words: list[str]
    skipped: dict[str, int]

    @property
    def several(self) -> bool:
        """Whether a span can have several labels, or none."""
        return self.gold.ndim == 2

    @property
    def digest(self) -> str:
        """Identify the labelled spans by content, whatever file they came from."""
        content = hashlib.sha256("\n".join((*self.labels, *self.words)).encode())
        content.update(self.spans.tobytes() + self.gold.tobytes())
        return content.hexdigest()

    def of(self, chosen: np.ndarray) -> "Labelled":
        """Give the spans of some sentences (numbers, ascending), numbered anew."""
        items = np.flatnonzero(np.isin(self.sentence, chosen))
        renumbered = np.searchsorted(chosen, self.sentence[items])
        words = [self.words[i] for i in items]
        return Labelled(self.labels, self.spans[items], renumbered, self.gold[items], words, self.skipped)


def labelled(
    target: str,
    bank: Treebank,
    labels: Sequence[str] = (),
    read: Callable[[Any], Iterator[Edge]] | None = None,
    several: bool | None = None,
) -> Labelled:
    """Read the labelled spans of a split.

    Args:
        target: A name from EDGE_TARGETS.
        bank: Its sentences, with the rows of their states.
        labels: Those of training; without, this is training.
        read: Gives the spans of a sentence in place of the target's own, as of its control task.
        several: Whether spans can have several labels in training, or none; without, this is training. Where they cannot,
            spans without a label are left out.

    Raises:
        ValueError: An unknown target; a corpus without this annotation, with one label only, without any label of training,
            with labels of one span and of two, or with several labels of a span where training has one.
    """
    gold_of, description = read or named(target).gold, named(target).description
    edges = [
        (number, start, edge)
        for number, (sentence, start) in enumerate(zip(bank.sentences, bank.rows, strict=True))
        for edge in gold_of(sentence)
    ]
    known = tuple(labels) or tuple(sorted({label for *_, edge in edges for label in edge[2]}))
    if len(known) < 2 or not edges:
        raise ValueError(
            f"target {target!r} ({description}): {len(known)} labels in {len(edges)} spans, at least two are needed"
        )
    alone = [bank.sentences[number].id for number, _, edge in edges if edge[1] is None]
    if 0 < len(alone) < len(edges):
        raise ValueError(f"target {target!r}: sentence {alone[0]!r} labels one span, where other targets label two")
    place = {label: n for n, label in enumerate(known)}
    if several is None:
        several = any(len(edge[2]) > 1 for *_, edge in edges)
    without = [] if several else [entry for entry in edges if not entry[-1][2]]
    edges = edges if several else [entry for entry in edges if entry[-1][2]]
    if not several and (more := [bank.sentences[number].id for number, _, edge in edges if len(edge[2]) > 1]):
        raise ValueError(
            f"target {target!r}: a span of sentence {more[0]!r} has several labels, in training each has one"
        )
    if several:
        gold = np.zeros((len(edges), len(known)), bool)
        for row, (*_, edge) in zip(gold, edges, strict=True):
            row[[place[label] for label in edge[2] if label in place]] = True
    else:
        gold = np.array([place.get(edge[2][0], -1) for *_, edge in edges])
    if not (gold.any() if several else (gold >= 0).any()):
        found = sorted({label for *_, edge in edges for label in edge[2]})[:5]
        raise ValueError(
            f"target {target!r}: no label of this split, as {found}, is one of training's, as {list(known[:5])}"
        )
    unknown = sum(label not in place for *_, edge in edges for label in edge[2])
    spans = np.array([[start + np.array(span) for span in edge[:2] if span] for _, start, edge in edges])
    numbers = np.unique([number for number, *_ in edges], return_inverse=True)[1]
    words = [" ".join(bank.sentences[number].words[slice(*edge[0])]).lower() for number, _, edge in edges]
    skipped = bank.skipped | {"labels that training never saw": unknown}
    skipped |= {"spans without a label": len(without)} if without else {}
    return Labelled(known, spans, numbers, gold, words, skipped)


def lot(word: str, seed: int) -> float:
    """Draw a number in [0, 1) that depends on the word alone: it is the same in all splits and models."""
    return zlib.crc32(f"{seed}/{word}".encode()) / 2**32


def controls(target: str, given: Sequence[Labelled], banks: Sequence[Treebank], seed: int) -> list[Labelled]:
    """Give the control task of a target on every split; nothing where it has none.

    Args:
        target: A name from EDGE_TARGETS.
        given: Its spans in every split, training first.
        banks: The sentences of every split.
        seed: Seed of the random labels.

    Reference:
        Hewitt and Liang 2019, section 2: single words by their type; heads by the type of the dependent (section 2.2, here
        the first or the last word, and no arc from a word to itself).
    """
    kind = named(target).control
    if kind == "heads":
        by_lot = functools.partial(_ends, seed=seed)
        return [labelled(target, bank, given[0].labels, by_lot) for bank in banks]
    return [_by_lot(split, given[0], seed) for split in given] if kind else []


def _by_lot(of: Labelled, train: Labelled, seed: int) -> Labelled:
    """Give every word a random label of training, each as often as it occurs there."""
    drawn = np.array([lot(word, seed) for word in of.words])
    gold = train.gold[(drawn * len(train.gold)).astype(int)]
    return Labelled(of.labels, of.spans, of.sentence, gold, of.words, of.skipped)


def averages(spans: Int[np.ndarray, "items spans 2"], rows: int) -> list[csr_array]:
    """Give a matrix for the first span of every item, and one for the second, that turns vectors of rows into their means.

    Args:
        spans: In rows of a batch.
        rows: How many rows the batch has.
    """
    made = []
    for starts, ends in spans.transpose(1, 2, 0):
        lengths = ends - starts
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        columns = np.repeat(starts, lengths) + within
        shares = np.repeat(1 / lengths, lengths).astype(np.float32)
        made.append(csr_array((shares, columns, np.r_[0, np.cumsum(lengths)]), shape=(len(spans), rows)))
    return made
