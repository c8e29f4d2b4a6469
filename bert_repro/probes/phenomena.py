"""Phenomena: sorts words into classes of dependents, for which probes are scored separately.

A class that has too few words to say anything of is left out, and counted.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from bert_repro.probes.treebank import Treebank

LEAST = 50  # words of a class in the part that is scored
LENGTHS = {1: "1", 2: "2", 3: "3 to 5", 6: "6 and more"}
"""Words from a dependent to its head, by the least of each class."""
TIMES = {0: "0", 1: "1 to 9", 10: "10 to 99", 100: "100 and more"}
"""How often the training part has a word, its case left aside, by the least of each class."""


class Classes(NamedTuple):
    """Classes of words.

    Attributes:
        masks: By name, as in `relation: nsubj`, which rows of the states are their words; a word has one of each kind.
        seldom: Names of those left out, with how many words they have.
    """

    masks: dict[str, Bool[np.ndarray, " rows"]]
    seldom: dict[str, int]


def classes(bank: Treebank, train: Treebank) -> Classes:
    """Sort the words of a part by their relation, the length and direction of their arc, and how often training has them.

    A root has no arc, and is sorted by frequency alone. Subtypes of relations count as the relation.

    Args:
        bank: The part.
        train: What probes learn from.
    """
    known = Counter(word.lower() for sentence in train.sentences for word in sentence.words)
    rows, named = [], []
    for start, item in zip(bank.rows.tolist(), bank.sentences, strict=True):
        for i, (word, head, relation) in enumerate(zip(item.words, item.heads, item.relations, strict=True)):
            kinds = [f"frequency: {_of(TIMES, known[word.lower()])}"]
            if head:
                kinds.append(f"relation: {relation.partition(':')[0]}")
                kinds.append(f"arc length: {_of(LENGTHS, abs(head - 1 - i))}")
                kinds.append(f"direction: head {'before' if head <= i else 'behind'}")
            rows.append(start + i)
            named.append(kinds)
    counts = Counter(kind for kinds in named for kind in kinds)
    masks = {kind: np.zeros(max(rows) + 1, bool) for kind in _ordered(counts) if counts[kind] >= LEAST}
    for row, kinds in zip(rows, named, strict=True):
        for kind in masks.keys() & set(kinds):
            masks[kind][row] = True
    return Classes(masks, {kind: counts[kind] for kind in _ordered(counts) if counts[kind] < LEAST})


def _of(bounds: dict[int, str], number: int) -> str:
    return bounds[max(least for least in bounds if least <= number)]


def _ordered(counts: Counter) -> Iterable[str]:
    """Order relations by their number of words, the most frequent first, and everything else by name."""
    return sorted(counts, key=lambda kind: (kind.partition(":")[0], -counts[kind] if kind[0] == "r" else 0, kind))
