"""Task heads: what a fine-tuning task puts on top of an encoder, with its losses, predictions and metrics.

Items that a task head cannot learn from, and label names that do not say what they stand for, are errors.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
from jaxtyping import Float, Int
from keras import ops

from bert_repro.alignment import Aligned
from bert_repro.checkpoints.families import Config

NEVER = -1e9
"""Added to the logit of what may not be chosen: its probability, and so its gradient, is exactly 0 in float32."""


class TaskHead(Protocol):
    """The layers of a task on top of an encoder, with losses, predictions and counts.

    An *example* is one encoder input with its item: the whole item, or a window of one that is too long for the encoder.
    """

    names: list[str]
    """The labels, in the order of the output layer."""
    metrics: tuple[str, ...]
    """The first one decides which weights are the best."""
    checkpoint_names: dict[str, str] = {}
    """Where the layers of a Hugging Face checkpoint's task head are: name of the layer here, name there."""
    extra_inputs: dict[str, Any] = {}
    """Keras inputs beside `token_ids`, `segment_ids` and `mask`."""
    predicted: dict[str, Any]
    """The outputs that `read` needs; set by `outputs`, and available without any gold annotation."""
    losses: dict[str, keras.losses.Loss]
    """One for every output."""
    chance: float = 0.0
    """What blind guessing scores under the first metric; 0 where there is nothing to guess."""
    lower_is_better: bool = False
    """Of the first metric."""
    tied: bool = True
    """Whether it may share weights with the encoder; set to False where it belongs to another one."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the labels that `labels` gave, or a checkpoint's: in the order of the output layer."""

    def attach(self, encoder: keras.Model, config: Config) -> None:  # noqa: B027, most heads share nothing
        """Take the layers that the task head shares with its encoder, before its own are built."""

    @staticmethod
    def labels(items: Sequence[Any]) -> tuple[str, ...]:
        """Name the labels to learn from training items; nothing where there are none to name.

        Raises:
            ValueError: Items that cannot teach.
        """
        ...

    def outputs(self, states: Any, inputs: dict[str, Any], dropout: float) -> dict[str, Any]:
        """Build the layers.

        Args:
            states: Keras tensor of the last hidden states, `batch wordpieces hidden`.
            inputs: The encoder's inputs and `extra_inputs`.
            dropout: Probability of dropping a feature in training, in [0, 1).

        Returns:
            What the losses see.
        """
        ...

    def arrays(self, items: Sequence[Any], inputs: Sequence[Aligned], length: int) -> tuple[dict, dict]:
        """Give the extra inputs and the targets of a batch of examples, padded to `length` wordpieces; target -1 is ignored."""
        ...

    def read(self, item: Any, aligned: Aligned, outputs: dict[str, np.ndarray]) -> Any:
        """Give the prediction for one example from its rows of `predicted`."""
        ...

    def score(self, item: Any, readings: Sequence[Any]) -> Float[np.ndarray, "metrics 2"]:
        """Count the right ones and the total under each metric.

        Args:
            item: The whole item.
            readings: What the task head says of all its examples; none where nothing of it fitted the encoder, which makes all of it wrong.
        """
        ...


class MaskedCrossEntropy(keras.losses.Loss):
    """Cross-entropy averaged over the positions whose label is not negative."""

    def call(self, y_true, y_pred):
        real = ops.cast(y_true >= 0, y_pred.dtype)
        losses = ops.sparse_categorical_crossentropy(ops.maximum(y_true, 0), y_pred, from_logits=True)
        return ops.sum(losses * real) / ops.maximum(ops.sum(real), 1)


def require(items: Sequence[Any], annotation: str, source: str) -> None:
    """Make sure that every item has an annotation to learn from."""
    for item in items:
        if not getattr(item, annotation, ()):
            raise ValueError(f"item {item.id!r} has no {annotation} to learn from: {source} is needed here")


def distinct(items: Sequence[Any], labels: Iterable[str]) -> tuple[str, ...]:
    """Give the distinct labels of items, sorted, of which there have to be two."""
    names = tuple(sorted(set(labels)))
    if len(names) < 2:
        raise ValueError(
            f"from item {items[0].id!r} on, every label is {names[0]!r}: at least two labels are needed to learn from"
        )
    return names


def numbers(labels: Sequence[str], names: Sequence[str]) -> Int[np.ndarray, "labels"]:
    """Number labels by their place among the names; -1 for one that training never saw."""
    number_of = {name: number for number, name in enumerate(names)}
    return np.array([number_of.get(label, -1) for label in labels], np.int32)


def word_means(inputs: Sequence[Aligned], length: int) -> Float[np.ndarray, "batch rows wordpieces"]:
    """Give the matrices that average the pieces of each word; row 0 is [CLS], [SEP] takes no part, padded rows are 0.

    There are as many rows as wordpieces, the most words there can be: so few shapes occur.
    """
    pooling = np.zeros((len(inputs), length, length), np.float32)
    for weights, aligned in zip(pooling, inputs, strict=True):
        pieces = np.diff(aligned.starts)  # of each row but [SEP]
        row = np.repeat(np.arange(len(pieces)), pieces)
        weights[row, np.arange(len(row))] = 1 / pieces[row]
    return pooling
