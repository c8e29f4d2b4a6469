"""The task head for pairs: a label from [CLS]."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from jaxtyping import Float
from keras import layers

from bert_repro.alignment import Aligned
from bert_repro.checkpoints.families import ARCHITECTURES, Config
from bert_repro.corpora.items import LABELS, Pair
from bert_repro.encoder import ACTIVATIONS
from bert_repro.finetune import counts
from bert_repro.finetune.heads import MaskedCrossEntropy, TaskHead, distinct, numbers, require


class PairClassifier(TaskHead):
    """A label for a pair, from [CLS]: a dense layer (BERT's pooler), dropout, a linear layer, as the encoder's family has them."""

    metrics = counts.PAIRS
    checkpoint_names = {"pooler": "pooler.dense", "classifier": "classifier"}  # BERT's, and so the activation
    activation: Any = "tanh"
    chance = 1 / len(LABELS)
    losses = {"label": MaskedCrossEntropy()}

    def __init__(self, names: Sequence[str]):
        """Take the labels' names, in any case and order.

        Raises:
            ValueError: Other names than those of LABELS.
        """
        self.names = [name.lower() for name in names]
        if sorted(self.names) != sorted(LABELS):
            raise ValueError(
                f"the output layer's labels are named {list(names)}, expected {list(LABELS)} in any order: "
                "name them in `id2label` of the checkpoint's config.json"
            )

    @staticmethod
    def labels(items: Sequence[Pair]) -> tuple[str, ...]:
        require(items, "label", "a corpus of labelled pairs, such as mnli:train,")
        for pair in items:
            if pair.label not in LABELS:
                raise ValueError(f"item {pair.id!r} has the label {pair.label!r}: expected one of {list(LABELS)}")
        distinct(items, (pair.label for pair in items))
        return LABELS

    def attach(self, encoder: keras.Model, config: Config) -> None:
        """Take the names that its family has for the two layers, and the activation between them."""
        dense, output, activation = ARCHITECTURES[config.model_type].classifier
        self.checkpoint_names = {"pooler": dense, "classifier": output}
        self.activation = ACTIVATIONS.get(activation, activation)  # of gelu, the exact one

    def outputs(self, states: Any, inputs: dict[str, Any], dropout: float) -> dict[str, Any]:
        pooled = layers.Dense(states.shape[-1], self.activation, name="pooler")(states[:, 0])
        logits = layers.Dense(len(self.names), name="classifier")(layers.Dropout(dropout)(pooled))
        self.predicted = {"label": logits}
        return self.predicted

    def arrays(self, items: Sequence[Pair], inputs: Sequence[Aligned], length: int) -> tuple[dict, dict]:
        return {}, {"label": numbers([pair.label for pair in items], self.names)}

    def read(self, item: Pair, aligned: Aligned, outputs: dict[str, np.ndarray]) -> str:
        return self.names[outputs["label"].argmax()]

    def score(self, item: Pair, readings: Sequence[str]) -> Float[np.ndarray, "metrics 2"]:
        return counts.pair(item, *readings[:1] or [""])
