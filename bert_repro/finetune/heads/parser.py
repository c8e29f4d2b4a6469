"""The task head for trees: biaffine scores of heads and relations, decoded to a tree."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from jaxtyping import Float, Int
from keras import layers, ops

from bert_repro.alignment import Aligned
from bert_repro.corpora.items import Sentence
from bert_repro.finetune import counts
from bert_repro.finetune.heads import NEVER, MaskedCrossEntropy, TaskHead, distinct, numbers, require, word_means
from bert_repro.finetune.heads.trees import arborescence


class BiaffineParser(TaskHead):
    """Heads and relations of words by deep biaffine attention over word vectors (mean of their pieces; [CLS] is the root).

    Relations are learned at gold heads and read at predicted ones, never for all pairs of words. Relations count with their
    subtypes. Punctuation is what the treebank tags or, without tags, relates so.

    Reference:
        Dozat and Manning 2017, section 2.
    """

    metrics = counts.TREES
    losses = {"arcs": MaskedCrossEntropy(), "relations": MaskedCrossEntropy()}
    arc_size, relation_size = 256, 96

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.extra_inputs = {
            "pooling": keras.Input((None, None), dtype="float32", name="pooling"),
            "gold_heads": keras.Input((None,), dtype="int32", name="gold_heads"),
        }

    @staticmethod
    def labels(items: Sequence[Sentence]) -> tuple[str, ...]:
        require(items, "heads", "a treebank (CoNLL-U)")
        return distinct(items, (relation for sentence in items for relation in sentence.relations))

    def outputs(self, states: Any, inputs: dict[str, Any], dropout: float) -> dict[str, Any]:
        words = layers.Dropout(dropout)(ops.matmul(inputs["pooling"], states))  # batch rows hidden; 0 is the root

        def side(size: int, name: str) -> Any:
            return layers.Dropout(dropout)(layers.Dense(size, "leaky_relu", name=name)(words))

        arcs = Biaffine(1, every_pair=True, name="arcs")(
            side(self.arc_size, "arc_dependent"), side(self.arc_size, "arc_head")
        )[..., 0]
        nobody = ops.cast(ops.equal(ops.sum(inputs["pooling"], -1), 0), "float32") * NEVER  # padding can be no head
        arcs = arcs + ops.expand_dims(nobody, 1)
        dependents = side(self.relation_size, "relation_dependent")
        heads = side(self.relation_size, "relation_head")
        self.biaffine = Biaffine(len(self.names), every_pair=False, name="relations")
        at_gold = ops.take_along_axis(heads, ops.expand_dims(inputs["gold_heads"], -1), 1)
        self.predicted = {"arcs": arcs, "dependents": dependents, "heads": heads}
        return {"arcs": arcs, "relations": self.biaffine(dependents, at_gold)}

    def arrays(self, items: Sequence[Sentence], inputs: Sequence[Aligned], length: int) -> tuple[dict, dict]:
        pooling = word_means(inputs, length)
        heads, relations = np.full((2, *pooling.shape[:2]), -1, np.int32)
        for i, sentence in enumerate(items):
            heads[i, 1 : len(sentence.words) + 1] = sentence.heads
            relations[i, 1 : len(sentence.words) + 1] = numbers(sentence.relations, self.names)
        return {"pooling": pooling, "gold_heads": np.maximum(heads, 0)}, {"arcs": heads, "relations": relations}

    def read(
        self, item: Sentence, aligned: Aligned, outputs: dict[str, np.ndarray]
    ) -> tuple[Int[np.ndarray, "words"], list[str]]:
        """Give heads that form a tree, counted from 1, 0 for the root; and relations to them."""
        n = len(item.words)
        heads = arborescence(outputs["arcs"][1 : n + 1, : n + 1])
        scores = self.biaffine.score(outputs["dependents"][1 : n + 1], outputs["heads"][heads])
        return heads, [self.names[best] for best in scores.argmax(-1)]

    def score(self, item: Sentence, readings: Sequence[tuple[np.ndarray, list[str]]]) -> Float[np.ndarray, "metrics 2"]:
        n = len(item.words)
        heads, relations = readings[0] if readings else ([-1] * n, [""] * n)
        return counts.tree(item, heads, relations)


class Biaffine(layers.Layer):
    """Scores of pairs of words, for every label: a bilinear form with a bias on both sides.

    It takes `batch dependents size` and `batch heads size`, and gives `batch dependents heads labels` for every pair, else, for
    each dependent with the head at its place, `batch dependents labels`.
    """

    def __init__(self, labels: int, every_pair: bool, **options: Any):
        super().__init__(**options)
        self.labels, self.every_pair = labels, every_pair

    def build(self, dependent_shape, head_shape):
        shape = (self.labels, dependent_shape[-1] + 1, head_shape[-1] + 1)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")

    def call(self, dependent, head):
        dependent, head = (ops.concatenate([x, ops.ones_like(x[..., :1])], -1) for x in (dependent, head))
        product = ops.einsum("bid,lde->bile", dependent, self.kernel)
        return ops.einsum("bile,bje->bijl" if self.every_pair else "bile,bie->bil", product, head)

    def score(
        self, dependent: Float[np.ndarray, "words dependent"], head: Float[np.ndarray, "words head"]
    ) -> Float[np.ndarray, "words labels"]:
        """Score words of one sentence, each with the head at its place, outside of any graph."""
        dependent, head = (np.pad(x, ((0, 0), (0, 1)), constant_values=1) for x in (dependent, head))
        return np.einsum("id,lde,ie->il", dependent, np.asarray(self.kernel), head, optimize=True)
