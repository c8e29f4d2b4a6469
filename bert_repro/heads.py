"""Task heads: hides the output layers of each fine-tuning task, with their losses, predictions and metrics.

It refuses items that a task head cannot learn from, and names of labels that do not say what they stand for.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
from jaxtyping import Float, Int
from keras import layers, ops

from bert_repro.alignment import Aligned
from bert_repro.items import LABELS, Pair, Question, Sentence
from bert_repro.trees import arborescence

NEVER = -1e9
"""Added to the logit of what may not be chosen: its probability, and so its gradient, is exactly 0 in float32."""


class TaskHead(Protocol):
    """What a task puts on top of an encoder.

    An *example* is one encoder input with its item: the whole item, or a window of one that is too long for the encoder.
    """

    metrics: tuple[str, ...]
    """The first one decides which weights are the best."""
    checkpoint_names: dict[str, str] = {}
    """Where the layers of a Hugging Face checkpoint's task head are: name of the layer here, name there."""
    extra_inputs: dict[str, Any] = {}
    """Keras inputs beside `token_ids`, `segment_ids` and `mask`."""
    predicted: dict[str, Any]
    """What `read` looks at; set by `outputs`, and to be had without any gold annotation."""
    losses: dict[str, keras.losses.Loss]
    """One for every output."""
    chance: float = 0.0
    """What blind guessing scores under the first metric; 0 where there is nothing to guess."""
    lower_is_better: bool = False
    """Of the first metric."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the labels that `labels` gave, or a checkpoint's: in the order of the output layer."""

    def attach(self, encoder: keras.Model, config: Any) -> None:  # noqa: B027, most heads share nothing
        """Take what the head shares with its encoder, before the layers are built."""

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
        """Count what is right, and all there is, under each metric.

        Args:
            item: The whole item.
            readings: Of all its examples; none where nothing of it fitted the encoder, which makes all of it wrong.
        """
        ...


class MaskedCrossEntropy(keras.losses.Loss):
    """Cross-entropy averaged over the positions whose label is not negative."""

    def call(self, y_true, y_pred):
        real = ops.cast(y_true >= 0, y_pred.dtype)
        each = ops.sparse_categorical_crossentropy(ops.maximum(y_true, 0), y_pred, from_logits=True)
        return ops.sum(each * real) / ops.maximum(ops.sum(real), 1)


class PairClassifier(TaskHead):
    """A label for a pair, from [CLS]: pooler, dropout, linear layer, as in BERT."""

    metrics = ("accuracy", "accuracy_matched", "accuracy_mismatched")
    checkpoint_names = {"pooler": "pooler.dense", "classifier": "classifier"}
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
        _require(items, "label", "a corpus of labelled pairs, such as mnli:train,")
        for pair in items:
            if pair.label not in LABELS:
                raise ValueError(f"item {pair.id!r} has the label {pair.label!r}: expected one of {list(LABELS)}")
        _several(items, (pair.label for pair in items))
        return LABELS

    def outputs(self, states: Any, inputs: dict[str, Any], dropout: float) -> dict[str, Any]:
        pooled = layers.Dense(states.shape[-1], "tanh", name="pooler")(states[:, 0])
        logits = layers.Dense(len(self.names), name="classifier")(layers.Dropout(dropout)(pooled))
        self.predicted = {"label": logits}
        return self.predicted

    def arrays(self, items: Sequence[Pair], inputs: Sequence[Aligned], length: int) -> tuple[dict, dict]:
        return {}, {"label": _numbers([pair.label for pair in items], self.names)}

    def read(self, item: Pair, aligned: Aligned, outputs: dict[str, np.ndarray]) -> str:
        return self.names[outputs["label"].argmax()]

    def score(self, item: Pair, readings: Sequence[str]) -> Float[np.ndarray, "metrics 2"]:
        counted = np.array([1, item.section == "matched", item.section == "mismatched"])
        return np.stack([counted * (item.label in readings), counted], -1).astype(float)


class SpanFinder(TaskHead):
    """First and last wordpiece of the answer to a question in its context, as in BERT; [CLS] where a window holds no answer.

    Items are windows: questions of which `second` and `offsets` may be a part of the context's. The windows of a context
    compare by the probability of their best spans, which is low where [CLS] takes it. Scores are those of SQuAD 1.1: the best
    over all answers that annotators gave.

    Reference:
        Devlin et al. 2019, section 4.2; Rajpurkar et al. 2016, section 6.1.
    """

    metrics = ("f1", "exact_match")
    checkpoint_names = {"qa_outputs": "qa_outputs"}
    losses = {"start": MaskedCrossEntropy(), "end": MaskedCrossEntropy()}
    longest = 30  # words of an answer

    def __init__(self, names: Sequence[str] = ()):
        self.names = list(names)
        self.extra_inputs = {"allowed": keras.Input((None,), dtype="int32", name="allowed")}

    @staticmethod
    def labels(items: Sequence[Question]) -> tuple[str, ...]:
        _require(items, "answers", "a corpus of questions with answers, such as squad:train,")
        return ()

    def outputs(self, states: Any, inputs: dict[str, Any], dropout: float) -> dict[str, Any]:
        logits = ops.cast(layers.Dense(2, name="qa_outputs")(states), "float32")
        barred = (1 - ops.cast(inputs["allowed"], "float32")) * NEVER
        self.predicted = {name: ops.log_softmax(logits[..., i] + barred) for i, name in enumerate(("start", "end"))}
        return self.predicted

    def arrays(self, items: Sequence[Question], inputs: Sequence[Aligned], length: int) -> tuple[dict, dict]:
        allowed = np.zeros((len(items), length), np.int32)
        allowed[:, 0] = 1
        spans = np.zeros((len(items), 2), np.int32)
        for i, (item, aligned) in enumerate(zip(items, inputs, strict=True)):
            first, last = self._context(item, aligned)
            allowed[i, first[0] : last[-1] + 1] = 1
            words = self._answer(item)
            if len(words):
                spans[i] = first[words[0]], last[words[-1]]
        return {"allowed": allowed}, {"start": spans[:, 0], "end": spans[:, 1]}

    def read(self, item: Question, aligned: Aligned, outputs: dict[str, np.ndarray]) -> tuple[float, str]:
        """Give the log-probability of the best span in a window, and its text."""
        first, last = self._context(item, aligned)
        end = np.pad(outputs["end"][last], (0, self.longest - 1), constant_values=-np.inf)
        ends = np.lib.stride_tricks.sliding_window_view(end, self.longest)  # words longest: of spans from each word on
        scores = outputs["start"][first, None] + ends
        start, more = np.unravel_index(scores.argmax(), scores.shape)
        text = item.context[item.offsets[start][0] : item.offsets[start + more][1]]
        return float(scores[start, more]), text

    def score(self, item: Question, readings: Sequence[tuple[float, str]]) -> Float[np.ndarray, "metrics 2"]:
        found = [text for _, text in sorted(readings)[-1:]]
        pairs = [(text, reference) for text in found for reference, _ in item.answers]
        return np.array([[max((same(*pair) for pair in pairs), default=0.0), 1] for same in (f1, exact_match)])

    @staticmethod
    def _context(item: Question, aligned: Aligned) -> tuple[Int[np.ndarray, "words"], Int[np.ndarray, "words"]]:
        """Find the first and the last piece of every word of the context."""
        row = len(aligned.starts) - 1 - len(item.second)  # of its first word; a separator stands before it
        tokens = aligned.token_ids[aligned.starts]
        separators = np.flatnonzero(tokens == tokens[-1])
        if row - 1 not in separators or row in separators:
            raise ValueError(
                f"the window of question {item.id!r} was cut: expected all of its {len(item.second)} words"
            )
        bounds = aligned.starts[row:]
        return bounds[:-1], bounds[1:] - 1

    @staticmethod
    def _answer(item: Question) -> Int[np.ndarray, "words"]:
        """Find the words of the first answer that lies wholly in a window, widened to whole words; none without one."""
        begins, ends = np.array(item.offsets).T
        for text, begin in item.answers:
            end = begin + len(text)
            if begins[0] <= begin and end <= ends[-1]:
                return np.flatnonzero((begins < end) & (begin < ends))
        return np.zeros(0, int)


def f1(prediction: str, reference: str) -> float:
    """Give the harmonic mean of precision and recall of words, repeated ones as often as they stand there; in [0, 1]."""
    found, expected = _normalised(prediction), _normalised(reference)
    common = (Counter(found) & Counter(expected)).total()
    return 2 * common / (len(found) + len(expected)) if common else 0.0


def exact_match(prediction: str, reference: str) -> float:
    """Give 1 where two texts are the same but for case, punctuation, articles and white space, else 0."""
    return float(_normalised(prediction) == _normalised(reference))


def _normalised(text: str) -> list[str]:
    text = text.lower().translate(dict.fromkeys(map(ord, string.punctuation)))
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


class BiaffineParser(TaskHead):
    """Heads and relations of words by deep biaffine attention over word vectors (mean of their pieces; [CLS] is the root).

    Relations are learned at gold heads and read at predicted ones, never for all pairs of words. Relations count with their
    subtypes. Punctuation is what the treebank tags or, without tags, relates so.

    Reference:
        Dozat and Manning 2017, section 2.
    """

    metrics = ("las", "uas", "las_without_punctuation", "uas_without_punctuation")
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
        _require(items, "heads", "a treebank (CoNLL-U)")
        return _several(items, (relation for sentence in items for relation in sentence.relations))

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
        pooling = _pooling(inputs, length)
        heads, relations = np.full((2, *pooling.shape[:2]), -1, np.int32)
        for i, sentence in enumerate(items):
            heads[i, 1 : len(sentence.words) + 1] = sentence.heads
            relations[i, 1 : len(sentence.words) + 1] = _numbers(sentence.relations, self.names)
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
        right = np.equal(heads, item.heads)
        labelled = right & np.equal(relations, item.relations)
        words = np.array([tag.lower() != "punct" for tag in item.upos or item.relations])
        return np.array(
            [[sum(some & counted), sum(counted)] for counted in (words | True, words) for some in (labelled, right)],
            float,
        )


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
        left = ops.einsum("bid,lde->bile", dependent, self.kernel)
        return ops.einsum("bile,bje->bijl" if self.every_pair else "bile,bie->bil", left, head)

    def score(
        self, dependent: Float[np.ndarray, "words dependent"], head: Float[np.ndarray, "words head"]
    ) -> Float[np.ndarray, "words labels"]:
        """Score words of one sentence, each with the head at its place, outside of any graph."""
        dependent, head = (np.pad(x, ((0, 0), (0, 1)), constant_values=1) for x in (dependent, head))
        return np.einsum("id,lde,ie->il", dependent, np.asarray(self.kernel), head, optimize=True)


class WordTagger(TaskHead):
    """A part of speech (UPOS) for every word, from the mean of its pieces: a linear layer; words that were cut off are wrong."""

    metrics = ("accuracy",)
    losses = {"tags": MaskedCrossEntropy()}

    def __init__(self, names: Sequence[str]):
        self.names, self.chance = list(names), 1 / max(len(names), 1)
        self.extra_inputs = {"pooling": keras.Input((None, None), dtype="float32", name="pooling")}

    @staticmethod
    def labels(items: Sequence[Sentence]) -> tuple[str, ...]:
        _require(items, "upos", "a treebank (CoNLL-U) with parts of speech")
        return _several(items, (tag for sentence in items for tag in sentence.upos))

    def outputs(self, states: Any, inputs: dict[str, Any], dropout: float) -> dict[str, Any]:
        words = layers.Dropout(dropout)(ops.matmul(inputs["pooling"], states))  # batch rows hidden; 0 is [CLS]
        self.predicted = {"tags": layers.Dense(len(self.names), name="classifier")(words)}
        return self.predicted

    def arrays(self, items: Sequence[Sentence], inputs: Sequence[Aligned], length: int) -> tuple[dict, dict]:
        pooling = _pooling(inputs, length)
        tags = np.full(pooling.shape[:2], -1, np.int32)
        for i, (sentence, aligned) in enumerate(zip(items, inputs, strict=True)):
            known = sentence.upos[: len(aligned.starts) - 2]
            tags[i, 1 : len(known) + 1] = _numbers(known, self.names)
        return {"pooling": pooling}, {"tags": tags}

    def read(self, item: Sentence, aligned: Aligned, outputs: dict[str, np.ndarray]) -> list[str]:
        return [self.names[best] for best in outputs["tags"][1 : len(aligned.starts) - 1].argmax(-1)]

    def score(self, item: Sentence, readings: Sequence[list[str]]) -> Float[np.ndarray, "metrics 2"]:
        found = [tag for reading in readings for tag in reading]
        return np.array([[sum(map(str.__eq__, found, item.upos)), len(item.words)]], float)


def _require(items: Sequence[Any], annotation: str, source: str) -> None:
    """Make sure that every item has an annotation to learn from."""
    for item in items:
        if not getattr(item, annotation, ()):
            raise ValueError(f"item {item.id!r} has no {annotation} to learn from: {source} is needed here")


def _several(items: Sequence[Any], labels: Iterable[str]) -> tuple[str, ...]:
    """Give the distinct labels of items, sorted, of which there have to be two."""
    found = tuple(sorted(set(labels)))
    if len(found) < 2:
        raise ValueError(
            f"from item {items[0].id!r} on, every label is {found[0]!r}: at least two labels are needed to learn from"
        )
    return found


def _numbers(labels: Sequence[str], names: Sequence[str]) -> Int[np.ndarray, "labels"]:
    """Number labels by their place among the names; -1 for one that training never saw."""
    known = {name: number for number, name in enumerate(names)}
    return np.array([known.get(label, -1) for label in labels], np.int32)


def _pooling(inputs: Sequence[Aligned], length: int) -> Float[np.ndarray, "batch rows wordpieces"]:
    """Give the matrices that average the pieces of each word; row 0 is [CLS], [SEP] takes no part, padded rows are 0.

    There are as many rows as wordpieces, the most words there can be: so few shapes occur.
    """
    pooling = np.zeros((len(inputs), length, length), np.float32)
    for weights, one in zip(pooling, inputs, strict=True):
        pieces = np.diff(one.starts)  # of each row but [SEP]
        row = np.repeat(np.arange(len(pieces)), pieces)
        weights[row, np.arange(len(row))] = 1 / pieces[row]
    return pooling
