"""The task head for words: a tag for each."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from jaxtyping import Float
from keras import layers, ops

from bert_repro.alignment import Aligned
from bert_repro.corpora.items import Sentence
from bert_repro.finetune import counts
from bert_repro.finetune.heads import MaskedCrossEntropy, TaskHead, distinct, numbers, require, word_means


class WordTagger(TaskHead):
    """A part of speech (UPOS) for every word, from the mean of its pieces: a linear layer; words that were cut off are wrong."""

    metrics = counts.TAGS
    losses = {"tags": MaskedCrossEntropy()}

    def __init__(self, names: Sequence[str]):
        self.names, self.chance = list(names), 1 / max(len(names), 1)
        self.extra_inputs = {"pooling": keras.Input((None, None), dtype="float32", name="pooling")}

    @staticmethod
    def labels(items: Sequence[Sentence]) -> tuple[str, ...]:
        require(items, "upos", "a treebank (CoNLL-U) with parts of speech")
        return distinct(items, (tag for sentence in items for tag in sentence.upos))

    def outputs(self, states: Any, inputs: dict[str, Any], dropout: float) -> dict[str, Any]:
        words = layers.Dropout(dropout)(ops.matmul(inputs["pooling"], states))  # batch rows hidden; 0 is [CLS]
        self.predicted = {"tags": layers.Dense(len(self.names), name="classifier")(words)}
        return self.predicted

    def arrays(self, items: Sequence[Sentence], inputs: Sequence[Aligned], length: int) -> tuple[dict, dict]:
        pooling = word_means(inputs, length)
        tags = np.full(pooling.shape[:2], -1, np.int32)
        for i, (sentence, aligned) in enumerate(zip(items, inputs, strict=True)):
            known = sentence.upos[: len(aligned.starts) - 2]
            tags[i, 1 : len(known) + 1] = numbers(known, self.names)
        return {"pooling": pooling}, {"tags": tags}

    def read(self, item: Sentence, aligned: Aligned, outputs: dict[str, np.ndarray]) -> list[str]:
        return [self.names[best] for best in outputs["tags"][1 : len(aligned.starts) - 1].argmax(-1)]

    def score(self, item: Sentence, readings: Sequence[list[str]]) -> Float[np.ndarray, "metrics 2"]:
        return counts.tags(item, [tag for reading in readings for tag in reading])
