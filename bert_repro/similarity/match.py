"""What two encoders have in common, so that they can be compared: pairs of layers and of words, across depths and tokenizers.

Stores that have other words at the same place of a text, and stores that share none, are errors.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Int


@runtime_checkable
class Shaped(Protocol):
    """The part of `states.HiddenStates` that is used here."""

    layers: int
    hidden: int


class Match(NamedTuple):
    """Which layers of a model are compared with which of its reference, and the widths of both.

    Attributes:
        layers: Layers of the model, ascending, 0 being the embeddings.
        beside: Layers of the reference, one for each of these; where the reference has fewer blocks, some of them twice or more.
        own: Layers of the reference, each once: for what is about it alone, or about every layer with every other.
        blocks: The number of blocks of the reference, and of the model.
        widths: The width of the reference's hidden states, and of the model's.
    """

    layers: list[int]
    beside: list[int]
    own: list[int]
    blocks: tuple[int, int]
    widths: tuple[int, int]

    @property
    def same_width(self) -> bool:
        """Whether dimensions of the two can be paired."""
        return self.widths[0] == self.widths[1]


def layer_beside(layer: int, blocks: int, reference_blocks: int) -> int:
    """Give the layer of a reference with R blocks that is compared with layer k of a model with L blocks.

    It is the one that lies at the same part of the way through the encoder:

        round(k R / L),  halves upwards

    so that embeddings stand beside embeddings, the last layer beside the last, and with as many blocks each beside its like.

    Args:
        layer: k, in [0, L], 0 being the embeddings.
        blocks: L, at least 1.
        reference_blocks: R, at least 1.

    Returns:
        A layer in [0, R].
    """
    # in whole numbers, as floats would round some halves down
    return (2 * layer * reference_blocks + blocks) // (2 * blocks)


def match(reference: Shaped, model: Shaped, layers: Sequence[int] = ()) -> Match:
    """Pair layers of a model with those of its reference.

    Args:
        reference: Hidden states of the one that is compared with.
        model: Hidden states of the one that is compared.
        layers: Layers of the model, all where none are named. Of the reference all are taken then too, for what is about it
            alone; otherwise those that stand beside the named ones.
    """
    chosen, blocks = list(layers or range(model.layers)), (reference.layers - 1, model.layers - 1)
    beside = [layer_beside(layer, blocks[1], blocks[0]) for layer in chosen]
    # of equal depth these are the model's own, in the order in which they were named
    own = list(dict.fromkeys(beside) if layers else range(reference.layers))
    return Match(chosen, beside, own, blocks, (reference.hidden, model.hidden))


class Common(NamedTuple):
    """The rows that several stores of one text have in common.

    Attributes:
        rows: Their numbers in each store, ascending; None where all stores list the same rows.
        left_out: How many words not every store has.
    """

    rows: list[Int[np.ndarray, " rows"]] | None = None
    left_out: int = 0


def common(tables: Sequence[pd.DataFrame]) -> Common:
    """Find the words, and the special tokens, that several stores of one text have in common.

    A limit of length cuts off other words where the tokenizer is another one. Special tokens have names of their own in every
    family, and of pairs there may be more between the sides: they are distinguished by their position.

    Args:
        tables: `rows` of each store.

    Raises:
        ValueError: One place of the text has other words in two stores, which is named, or no word is in all.
    """
    first, *further = places = [_places(rows) for rows in tables]
    if all(first.equals(place) for place in further):
        for rows in tables[1:]:
            _check_words(tables[0], rows)
        return Common()
    for place in further:
        first = first[first.isin(place)]
    kept = [index.get_indexer(first) for index in places]
    aligned = [rows.iloc[at] for rows, at in zip(tables, kept, strict=True)]
    words = int((~aligned[0]["special"]).sum())
    if not words:
        raise ValueError("the models' states have no word in common: they are states of different texts")
    for rows in aligned[1:]:
        _check_words(aligned[0], rows)
    union = places[0]
    for place in further:
        union = union.union(place)
    return Common(kept, int((union.get_level_values("word") >= 0).sum()) - words)


def _places(rows: pd.DataFrame) -> pd.MultiIndex:
    """Give the position of each row: sentence, segment and word; for special tokens -1 for the first, -2 and below for
    others.

    These are counted from the end: that before the second side of a pair stands beside its like whatever stands before it.
    """
    special = rows["special"].to_numpy(bool)
    word = rows["word"].to_numpy(int, copy=True)
    from_end = rows[special].groupby("sentence").cumcount(ascending=False).to_numpy(int)
    word[special] = np.where(rows["sentence"][special].duplicated(), -2 - from_end, -1)
    return pd.MultiIndex.from_arrays([rows["sentence"], rows["segment"], word], names=["sentence", "segment", "word"])


def _check_words(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Make sure that rows of the same places hold the same words."""
    different = ~left["special"].to_numpy(bool) & (left["form"].to_numpy() != right["form"].to_numpy())
    if different.any():
        at = int(np.flatnonzero(different)[0])
        place, forms = left.iloc[at], (left["form"].iloc[at], right["form"].iloc[at])
        raise ValueError(
            f"the two models' states are of different texts: word {place['word']} of sentence {place['sentence']} is "
            f"{forms[0]!r} and {forms[1]!r}"
        )
