"""Task heads: hides the output layers of each fine-tuning task, with their loss and their metric.

It refuses labels and trees that a head cannot learn from; what a head predicts is scored per item, so that intervals follow.

A head has `inputs` (beside the encoder's), `outputs`, `arrays` (of one batch), `losses`, and `score`.
"""

from collections.abc import Sequence
from typing import Any

import keras
import networkx
import numpy as np
from keras import layers, ops

from bert_repro.alignment import Aligned
from bert_repro.corpora import LABELS, Pair, Sentence


class MaskedCrossEntropy(keras.losses.Loss):
    """Cross-entropy averaged over the positions whose label is not negative."""

    def call(self, y_true, y_pred):
        real = ops.cast(y_true >= 0, y_pred.dtype)
        each = ops.sparse_categorical_crossentropy(ops.maximum(y_true, 0), y_pred, from_logits=True)
        return ops.sum(each * real) / ops.maximum(ops.sum(real), 1)


class PairClassifier:
    """A label for a pair, from [CLS]: pooler, dropout, linear layer, as in BERT."""

    metrics = ("accuracy",)
    extra_inputs: dict[str, Any] = {}

    def __init__(self, train: Sequence[Pair]):
        found = {pair.label for pair in train}
        if len(found) < 2 or not found <= set(LABELS):
            raise ValueError(
                f"pairs with at least two of the labels {list(LABELS)} are needed to learn from, got {sorted(found)}"
            )

    def outputs(self, states: Any, inputs: dict[str, Any], dropout: float) -> dict[str, Any]:
        width = states.shape[-1]
        pooled = layers.Dense(width, "tanh", name="pooler")(states[:, 0])
        return {"label": layers.Dense(len(LABELS), name="classifier")(layers.Dropout(dropout)(pooled))}

    losses = {"label": MaskedCrossEntropy()}

    def arrays(self, items: Sequence[Pair], inputs: Sequence[Aligned], length: int) -> tuple[dict, dict]:
        return {}, {"label": np.array([LABELS.index(pair.label) for pair in items], np.int32)}

    def score(self, items: Sequence[Pair], outputs: dict[str, np.ndarray]) -> np.ndarray:
        """Give right and all labels of each item: `items metrics 2`."""
        right = outputs["label"].argmax(-1) == [LABELS.index(pair.label) for pair in items]
        return np.stack([right, np.ones_like(right)], -1)[:, None].astype(float)


class BiaffineParser:
    """Heads and relations of words by deep biaffine attention over word vectors (mean of their pieces; [CLS] is the root).

    Reference:
        Dozat and Manning 2017, section 2.
    """

    metrics = ("uas", "las")

    def __init__(self, train: Sequence[Sentence], arc_size: int = 256, relation_size: int = 96):
        if not all(sentence.heads for sentence in train):
            raise ValueError("sentences without trees cannot teach a parser: a treebank (CoNLL-U) is needed")
        self.relations = sorted({relation for sentence in train for relation in sentence.relations})
        self.arc_size, self.relation_size = arc_size, relation_size
        self.extra_inputs = {"pooling": keras.Input((None, None), dtype="float32", name="pooling")}

    def outputs(self, states: Any, inputs: dict[str, Any], dropout: float) -> dict[str, Any]:
        words = layers.Dropout(dropout)(
            ops.matmul(inputs["pooling"], states)
        )  # sentences words+1 hidden; 0 is the root

        def side(size: int, name: str) -> Any:
            return layers.Dropout(dropout)(layers.Dense(size, "leaky_relu", name=name)(words))

        nobody = ops.cast(ops.equal(ops.sum(inputs["pooling"], -1), 0), "float32") * -1e9  # padding can be no head
        arcs = Biaffine(1, name="arcs")(side(self.arc_size, "arc_dependent"), side(self.arc_size, "arc_head"))[..., 0]
        relations = Biaffine(len(self.relations), name="relations")(
            side(self.relation_size, "relation_dependent"), side(self.relation_size, "relation_head")
        )
        return {"arcs": arcs + ops.expand_dims(nobody, 1), "relations": relations}

    @property
    def losses(self) -> dict[str, keras.losses.Loss]:
        return {"arcs": MaskedCrossEntropy(), "relations": RelationsAtGoldHeads()}

    def arrays(self, items: Sequence[Sentence], inputs: Sequence[Aligned], length: int) -> tuple[dict, dict]:
        words = -(-max(len(s.words) for s in items) // 4) * 4 + 1
        pooling = np.zeros((len(items), words, length), np.float32)
        heads, relations = np.full((2, len(items), words), -1, np.int32)
        known = {relation: number for number, relation in enumerate(self.relations)}
        for i, (sentence, one) in enumerate(zip(items, inputs, strict=True)):
            bounds = [*one.starts, len(one.token_ids)]
            for word in range(len(sentence.words) + 1):  # 0 is [CLS]; [SEP] takes no part
                pooling[i, word, bounds[word] : bounds[word + 1]] = 1 / (bounds[word + 1] - bounds[word])
            heads[i, 1 : len(sentence.heads) + 1] = sentence.heads
            relations[i, 1 : len(sentence.heads) + 1] = [known.get(relation, -1) for relation in sentence.relations]
        return {"pooling": pooling}, {"arcs": heads, "relations": np.stack([heads, relations], -1)}

    def score(self, items: Sequence[Sentence], outputs: dict[str, np.ndarray]) -> np.ndarray:
        """Give right and all words of each sentence, by head and by head and relation: `items metrics 2`; punctuation counts."""
        result = []
        for sentence, arcs, relations in zip(items, outputs["arcs"], outputs["relations"], strict=True):
            n = len(sentence.words)
            heads = arborescence(arcs[1 : n + 1, : n + 1])
            best = relations[np.arange(1, n + 1), heads].argmax(-1)
            right = heads == sentence.heads
            labelled = right & np.array([self.relations[b] == r for b, r in zip(best, sentence.relations, strict=True)])
            result.append([[right.sum(), n], [labelled.sum(), n]])
        return np.array(result, float)


class Biaffine(layers.Layer):
    """Scores of every pair of words, for every label: a bilinear form with a bias on both sides."""

    def __init__(self, labels: int, **options: Any):
        super().__init__(**options)
        self.labels = labels

    def build(self, dependent_shape, head_shape):
        shape = (self.labels, dependent_shape[-1] + 1, head_shape[-1] + 1)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="glorot_uniform")

    def call(self, dependent, head):
        dependent, head = (ops.concatenate([x, ops.ones_like(x[..., :1])], -1) for x in (dependent, head))
        left = ops.einsum("bid,lde->bile", dependent, self.kernel)
        return ops.einsum("bile,bje->bijl", left, head)


class RelationsAtGoldHeads(MaskedCrossEntropy):
    """Cross-entropy of relations, each word's scores read at its gold head; labels are (head, relation)."""

    def call(self, y_true, y_pred):
        at_gold = ops.one_hot(ops.maximum(y_true[..., 0], 0), ops.shape(y_pred)[2], dtype=y_pred.dtype)
        return super().call(y_true[..., 1], ops.einsum("bij,bijl->bil", at_gold, y_pred))


def arborescence(scores: np.ndarray) -> np.ndarray:
    """Give each word its head such that all form one tree with one root and the greatest sum of scores.

    Args:
        scores: `words words+1`: of each head for each word, 0 for the root.

    Returns:
        Heads, counted from 1, 0 for the root.
    """
    greedy = scores.argmax(1)
    if (greedy == 0).sum() == 1 and _reaches_root(greedy):
        return greedy
    n = len(scores)
    # a second root costs more than any tree can gain
    cost = np.ptp(scores) * (n + 1) + 1
    arcs = (
        (head, word + 1, scores[word, head] - cost * (head == 0))
        for word in range(n)
        for head in range(n + 1)
        if head != word + 1
    )
    graph = networkx.DiGraph()
    graph.add_weighted_edges_from(arcs)
    tree = networkx.maximum_spanning_arborescence(graph)
    return np.array([head for _, head in sorted((word, head) for head, word in tree.edges)])


def _reaches_root(heads: np.ndarray) -> bool:
    reached = heads
    for _ in range(len(heads).bit_length()):  # doubling: after k rounds 2^k steps up
        padded = np.r_[0, reached]
        reached = padded[reached]
    return not reached.any()
