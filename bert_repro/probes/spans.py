"""Edge-probing targets: hides where labels come from; gives labelled spans of words with the rows of their states.

It refuses an unknown target, annotation that the corpus does not have, and a split without a label that training knows.

Reference:
    Tenney et al. 2019a, section 3; Liu et al. 2019, section 4.1 (arcs against sampled words); Hewitt and Liang 2019, section 2
    (control tasks).
"""

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
    """Each arc, and its dependent with another word of the sentence that is not its head."""
    draw = np.random.default_rng(zlib.crc32("\n".join((sentence.id, *sentence.words)).encode()))
    n = len(sentence.words)
    for i, head in enumerate(sentence.heads):
        others = [j for j in range(n) if j not in (i, head - 1)]
        if head and others:
            other = others[draw.integers(len(others))]
            yield (i, i + 1), (head - 1, head), ("arc",)
            yield (i, i + 1), (other, other + 1), ("none",)


def _directions(sentence: Any) -> Iterator[Edge]:
    return _words(["root" if head == 0 else "left" if head <= i else "right" for i, head in enumerate(sentence.heads)])


class Target(NamedTuple):
    """What an edge probe can be asked for.

    Attributes:
        title: What it is called in figures.
        description: What it is.
        gold: Gives the labelled spans of a sentence.
        spans: Of how many spans a label is, 1 or 2: a probe takes so many times as long.
        metric: What selectivity and the gains of layers are differences of: `accuracy`, or `f1` where spans have several labels.
    """

    title: str
    description: str
    gold: Callable[[Any], Iterator[Edge]]
    spans: int = 1
    metric: str = "accuracy"


EDGE_TARGETS = {
    "upos": Target("UPOS", "part of speech", lambda sentence: _words(sentence.upos)),
    "xpos": Target("XPOS", "the treebank's own part of speech", lambda sentence: _words(sentence.xpos)),
    "number": Target("number", "number of the words that have one", _feature("Number")),
    "tense": Target("tense", "tense of the words that have one", _feature("Tense")),
    "relation": Target("relation", "relation of a word to its head, given both", _relations, spans=2),
    "arc": Target("arc", "whether one of two words is the head of the other", _arcs, spans=2),
    "direction": Target("direction", "on which side the head of a word is", _directions),
    "spans": Target("spans", "the labels of an edge-probing file (.jsonl)", lambda sentence: iter(sentence.spans)),
}
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
        """Identify what is labelled how, whatever file it came from."""
        content = hashlib.sha256("\n".join((*self.labels, *self.words)).encode())
        content.update(self.spans.tobytes() + self.gold.tobytes())
        return content.hexdigest()

    def of(self, chosen: np.ndarray) -> "Labelled":
        """Give the spans of some sentences (numbers, ascending), numbered anew."""
        mine = np.flatnonzero(np.isin(self.sentence, chosen))
        renumbered = np.searchsorted(chosen, self.sentence[mine])
        words = [self.words[i] for i in mine]
        return Labelled(self.labels, self.spans[mine], renumbered, self.gold[mine], words, self.skipped)


def labelled(target: str, bank: Treebank, labels: Sequence[str] = ()) -> Labelled:
    """Read the labelled spans of a split.

    Args:
        target: A name from EDGE_TARGETS.
        bank: Its sentences, with the rows of their states.
        labels: Those of training; without, this is training.

    Raises:
        ValueError: An unknown target; a corpus without this annotation, with one label only, or with labels of one span
            and of two.
    """
    gold_of, description = named(target).gold, named(target).description
    found = [
        (number, start, edge)
        for number, (one, start) in enumerate(zip(bank.sentences, bank.rows, strict=True))
        for edge in gold_of(one)
    ]
    known = tuple(labels) or tuple(sorted({label for *_, edge in found for label in edge[2]}))
    if len(known) < 2 or not found:
        raise ValueError(
            f"target {target!r} ({description}): {len(known)} labels in {len(found)} spans, at least two are needed"
        )
    alone = [bank.sentences[number].id for number, _, edge in found if edge[1] is None]
    if 0 < len(alone) < len(found):
        raise ValueError(f"target {target!r}: sentence {alone[0]!r} labels one span, where other targets label two")
    place = {label: n for n, label in enumerate(known)}
    if any(len(edge[2]) != 1 for *_, edge in found):
        gold = np.zeros((len(found), len(known)), bool)
        for row, (*_, edge) in zip(gold, found, strict=True):
            row[[place[label] for label in edge[2] if label in place]] = True
    else:
        gold = np.array([place.get(edge[2][0], -1) for *_, edge in found])
    unknown = sum(label not in place for *_, edge in found for label in edge[2])
    spans = np.array([[start + np.array(span) for span in edge[:2] if span] for _, start, edge in found])
    numbers = np.unique([number for number, *_ in found], return_inverse=True)[1]
    words = [" ".join(bank.sentences[number].words[slice(*edge[0])]).lower() for number, _, edge in found]
    return Labelled(known, spans, numbers, gold, words, bank.skipped | {"labels that training never saw": unknown})


def control(of: Labelled, train: Labelled, seed: int) -> Labelled:
    """Give every word a label by lot, always the same one: what a probe can learn by heart, and the encoder cannot know.

    Args:
        of: The spans to be labelled.
        train: Those of training, from whose labels the lot is drawn, each as often as it occurs.
        seed: Of the lot.

    Reference:
        Hewitt and Liang 2019, section 2.
    """
    # a word's lot hangs on the word alone: all splits and models draw the same
    lots = {word: zlib.crc32(f"{seed}/{word}".encode()) / 2**32 for word in set(of.words)}
    drawn = np.array([lots[word] for word in of.words])
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
