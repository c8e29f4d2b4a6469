"""Edge probes: how well labels of spans can be predicted from each layer.

An unknown kind of probe, and a rank above the width of the states, are errors.

Reference:
    Tenney et al. 2019a and 2019b (targets, scalar mix, centre of gravity); Hewitt and Liang 2019 (linear, low-rank and MLP
    probes); Voita and Titov 2020 (online description length).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array
from scipy.special import expit, log_expit, log_softmax

from bert_repro.probes import States
from bert_repro.probes.spans import Labelled, averages
from bert_repro.probes.training import Fit, fit
from bert_repro.results import intervals

KINDS = ("linear", "low-rank", "mlp", "bilinear")


class Batch(NamedTuple):
    """Words with their vectors, and the spans over them.

    What reads vectors first is linear in every probe, so it is applied to words, and its few outputs are averaged over spans.
    """

    vectors: Float[np.ndarray, "layers words hidden"]
    averages: list[csr_array]  # items x words, of the first span and of the second
    gold: np.ndarray


class Read(NamedTuple):
    """Predictions of probes for the spans of a split: numbers of labels, and the bits of the right ones."""

    hits: Int[np.ndarray, "layers items"]  # predicted labels that are gold
    said: Int[np.ndarray, "layers items"]  # predicted labels
    due: Int[np.ndarray, " items"]  # gold labels
    bits: Float[np.ndarray, "layers items"]  # 0 for a label that training never saw
    sentence: Int[np.ndarray, " items"]

    def rows(
        self,
        layers: Sequence[int | None],
        several: bool,
        key: str,
        resamples: int,
        chosen: Bool[np.ndarray, " items"] | None = None,
    ) -> list[dict[str, object]]:
        """Give table rows, with intervals by resampling sentences.

        Args:
            layers: Numbers of the layers; None for what has none.
            several: Whether a span can have several labels: then micro-F1 stands beside accuracy, which asks for all of a
                span's labels and no other. With one label each, the two are the same number.
            key: What the sentences are of, see `intervals.draws`.
            resamples: Bootstrap resamples.
            chosen: Which items count; all by default.
        """
        chosen = np.ones(len(self.due), bool) if chosen is None else chosen
        right = (self.hits == self.said) & (self.hits == self.due)
        counts = {"accuracy": (right & chosen, chosen)}
        if several:
            counts["f1"] = 2 * self.hits * chosen, (self.said + self.due) * chosen
        weights = intervals.draws(key, int(self.sentence[-1]) + 1, resamples)
        rows: list[dict[str, object]] = []
        for metric, (hits, of) in counts.items():
            value, drawn = intervals.ratio(by_sentence(hits, self.sentence), by_sentence(of, self.sentence), weights)
            about: dict[str, object] = {"metric": metric, "n": int(chosen.sum())}
            rows += intervals.rows(about, layers, value, drawn, weights.shape[1])
        return rows


def majority(spans: Labelled, train: Labelled) -> Read:
    """Predict the label that is most frequent in training for every span; of single labels."""
    most = np.bincount(train.gold, minlength=len(train.labels)).argmax()
    count = np.ones((1, len(spans.gold)), int)
    return Read(count * (spans.gold == most), count, count[0], count * np.log2(len(train.labels)), spans.sentence)


def by_sentence(numbers: np.ndarray, sentence: Int[np.ndarray, " items"]) -> Float[np.ndarray, "*layers sentences"]:
    """Add up the numbers of the spans of each sentence."""
    starts = np.searchsorted(sentence, np.arange(int(sentence[-1]) + 1))
    return np.add.reduceat(np.asarray(numbers, float), starts, axis=-1)


def cross_entropy(
    logits: Float[np.ndarray, "active items labels"], gold: np.ndarray, gradient: bool
) -> tuple[Float[np.ndarray, " active"], Float[np.ndarray, "active items labels"] | None]:
    """Give the mean over the spans of -log p(gold), and its derivative by the logits, (p - gold) / spans, if wanted.

    Args:
        logits: Logits of every probe.
        gold: The number of each span's label, -1 for one that counts nothing; or, of several labels, a mask of them: then
            each is a yes or no of its own.
        gradient: Whether the derivative is wanted.
    """
    count = np.float32(max(len(gold), 1))
    if gold.ndim == 2:
        losses = -np.where(gold, log_expit(logits), log_expit(-logits)).sum((1, 2)) / count
        return losses, (expit(logits) - gold) / count if gradient else None
    known = np.flatnonzero(gold >= 0)
    logs = log_softmax(logits, -1)
    losses = -logs[:, known, gold[known]].sum(1) / count
    if not gradient:
        return losses, None
    d_logits = np.exp(logs)
    d_logits[:, known, gold[known]] -= 1
    d_logits[:, gold < 0] = 0
    d_logits /= count
    return losses, d_logits


class EdgeProbe:
    """One probe per layer, trained together; each learns from its layer alone or from a mix of it and those below.

    Args:
        layers: Which stored layers.
        kind: `linear`; `low-rank`, linear through `size` dimensions; `mlp`, with `size` hidden units; `bilinear`, of two
            spans, through the products of `size` pairs of dimensions: what the two have in common.
        size: Size of the rank or hidden layer.
        mixed: Whether a layer's probe reads a learned mix (softmax weights and a scale) of the layers up to it.
        seed: Seed of the initial weights (one stream per layer) and of the order of batches.
        batch_size: Sentences per batch.
        epochs: Maximum number of epochs.

    Raises:
        ValueError: An unknown kind, or a size below 1 (and, at fitting, a rank above the width, or a bilinear probe of one span).
    """

    def __init__(
        self,
        layers: Sequence[int],
        kind: str = "linear",
        size: int = 64,
        *,
        mixed: bool = False,
        seed: int = 1,
        batch_size: int = 40,
        epochs: int = 10,
    ):
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r} of an edge probe: expected one of {list(KINDS)}")
        if size < 1:
            raise ValueError(f"the size of a probe must be at least 1, got {size}")
        self.layers, self.kind, self.size, self.mixed, self.seed = list(layers), kind, size, mixed, seed
        self.batch_size, self.epochs = batch_size, epochs
        self.parameters: Float[np.ndarray, "layers parameters"]
        self.scale: Float[np.ndarray, " layers"]
        self.shapes: dict[str, tuple[int, ...]]  # of the parts of a probe's parameters, in their order
        self.spans: int  # of an item

    def _begin(self, hidden: int, spans: int, labels: int, scale: np.ndarray) -> Float[np.ndarray, "layers parameters"]:
        """Say which parts the parameters of a probe, one vector for each layer, are cut into, and draw them."""
        self.spans, self.scale, self.shapes = spans, scale, {}
        width = spans * hidden
        if self.mixed:
            self.shapes |= {"mix": (len(self.layers),), "gamma": (1,)}
        if self.kind != "linear":
            self.shapes["first"], width = (width, self.size), self.size
        if self.kind == "mlp":
            self.shapes["shift"] = (width,)
        if self.kind == "bilinear":
            self.shapes["shift"] = (spans, width)
        self.shapes |= {"last": (width, labels), "bias": (labels,)}
        start = []
        for layer in self.layers:
            draw = np.random.default_rng([self.seed, layer])
            drawn = {name: np.zeros(shape) for name, shape in self.shapes.items()}
            for name in ("first", "last"):  # in this order: they share a stream
                if name in drawn:
                    drawn[name] = draw.uniform(-1, 1, self.shapes[name]) / np.sqrt(self.shapes[name][0])
            if self.mixed:
                drawn["gamma"][:] = 1
            start.append(np.concatenate([drawn[name].ravel() for name in self.shapes]))
        return np.stack(start).astype(np.float32)

    def _parts(self, parameters: Float[np.ndarray, "active parameters"]) -> dict[str, np.ndarray]:
        """Cut the parameters into their parts, by name, as views."""
        parts, at = {}, 0
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            parts[name] = parameters[:, at : at + size].reshape(len(parameters), *shape)
            at += size
        return parts

    def _shares(self, parts: dict[str, np.ndarray], active: np.ndarray) -> Float[np.ndarray, "active layers"]:
        """Give the share of each layer in the mix: softmax over the layers up to each probe's own."""
        logits = np.where(np.arange(len(self.layers)) <= active[:, None], parts["mix"], -np.inf)
        logits = np.exp(logits - logits.max(-1, keepdims=True))
        return logits / logits.sum(-1, keepdims=True)

    def loss(
        self,
        parameters: Float[np.ndarray, "active parameters"],
        batch: Batch,
        active: Int[np.ndarray, " active"],
        gradient: bool,
    ) -> tuple[Float[np.ndarray, " active"], Float[np.ndarray, "active parameters"] | None]:
        """Score probes: mean cross-entropy of the spans, in nats (of several labels, summed over them).

        Of each probe, from the vectors X_k of the words in layer k:

            words  = X_l of its own layer l; if mixed, gamma sum_k s_k X_k, where s is the softmax of `mix` over k <= l
            hidden = sum_j A_j words B_j, of the first span and the second: A_j averages words over spans, B_j are the rows
                     of `first` (of a linear probe, of `last`) that read span j
            logits = hidden + bias           linear
                     hidden last + bias      low-rank
                     h last + bias           mlp, where h = max(0, hidden + shift) takes the place of hidden
                     h last + bias           bilinear, where h = r_1 * r_2 does, with r_j = A_j words B_j + shift_j

        Returns:
            Each active layer's loss, and its gradient if wanted.
        """
        parts = self._parts(parameters)
        words, span_vectors, hidden, logits = self._forward(parts, batch, active)
        losses, d_logits = cross_entropy(logits, batch.gold, gradient)
        if d_logits is None:
            return losses, None
        result = np.zeros_like(parameters)
        d_parts = self._parts(result)  # views, filled from the logits down; d_x is the derivative of the loss by x
        d_parts["bias"][:] = d_logits.sum(1)
        d_hidden = d_logits
        if self.kind != "linear":
            d_parts["last"][:] = hidden.swapaxes(1, 2) @ d_logits
            d_hidden = d_logits @ parts["last"].swapaxes(1, 2)
        if self.kind == "mlp":
            d_hidden *= hidden > 0
            d_parts["shift"][:] = d_hidden.sum(1)
        d_spans = [d_hidden] * self.spans
        if self.kind == "bilinear":
            d_spans = [d_hidden * vectors for vectors in reversed(span_vectors)]
            d_parts["shift"][:] = np.stack([d_span.sum(1) for d_span in d_spans], 1)
        d_words: Any = 0
        readings = map(self._readings, (parts, d_parts))
        for average, d_span, reading, d_reading in zip(batch.averages, d_spans, *readings, strict=True):
            d_read = np.stack([average.T @ of_probe for of_probe in d_span])  # by words B_j
            d_reading[:] = words.swapaxes(1, 2) @ d_read
            if self.mixed:
                d_words = d_words + d_read @ reading.swapaxes(1, 2)
        if self.mixed:
            share = self._shares(parts, active)
            d_share = d_words.reshape(len(d_words), -1) @ batch.vectors.reshape(len(batch.vectors), -1).T  # over gamma
            d_parts["gamma"][:, 0] = (share * d_share).sum(1)
            d_share *= parts["gamma"]
            d_parts["mix"][:] = share * (d_share - (share * d_share).sum(1, keepdims=True))
        return losses, result

    def _forward(
        self, parts: dict[str, np.ndarray], batch: Batch, active: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray]:
        """Give words, what each span reads, hidden (where there is an h, that) and logits of every active probe, as `loss` has them."""
        words = batch.vectors if len(active) == len(batch.vectors) else batch.vectors[active]
        if self.mixed:
            mixed = self._shares(parts, active) @ batch.vectors.reshape(len(batch.vectors), -1)
            words = parts["gamma"][..., None] * mixed.reshape(-1, *batch.vectors.shape[1:])
        span_vectors = [
            np.stack([average @ of_probe for of_probe in words @ reading])
            for average, reading in zip(batch.averages, self._readings(parts), strict=True)
        ]
        if self.kind == "bilinear":
            span_vectors = [of_span + parts["shift"][:, j, None] for j, of_span in enumerate(span_vectors)]
            hidden = span_vectors[0] * span_vectors[1]
        else:
            hidden = sum(span_vectors[1:], span_vectors[0])
        if self.kind == "linear":
            return words, span_vectors, hidden, hidden + parts["bias"][:, None]
        if self.kind == "mlp":
            hidden = np.maximum(hidden + parts["shift"][:, None], 0)
        return words, span_vectors, hidden, hidden @ parts["last"] + parts["bias"][:, None]

    def _readings(self, parts: dict[str, np.ndarray]) -> Float[np.ndarray, "spans active hidden outputs"]:
        """Give B_j for the spans j of an item, as a view."""
        first = parts["last" if self.kind == "linear" else "first"]
        return first.reshape(len(first), self.spans, -1, first.shape[-1]).swapaxes(0, 1)

    def fit(
        self,
        train: Labelled,
        train_states: States,
        dev: Labelled,
        dev_states: States,
        label: str = "edge probe",
        updates: int = 1,
        **options: Any,
    ) -> Fit:
        """Train on one split, choosing the best epoch of each layer on another.

        Args:
            train: Spans to learn from.
            train_states: Where their rows are read.
            dev: Spans to choose the epoch by.
            dev_states: Where their rows are read.
            label: Shown beside the progress bar.
            updates: Minimum number of batches in an epoch: few sentences are passed over several times.
            options: Options of `training.fit`, where they are not the probe's own.
        """
        spans, width = train.spans.shape[1], train_states.hidden
        if self.kind == "bilinear" and spans != 2:
            raise ValueError(f"a bilinear probe reads two spans, and these labels are of {spans}: use low-rank")
        if self.kind == "low-rank" and self.size > width * spans:
            raise ValueError(f"the rank {self.size} is above the width of the states, {width * spans}")
        sample = np.unique(
            train.spans[np.linspace(0, len(train.spans) - 1, min(len(train.spans), 500)).astype(int), 0, 0]
        )
        scale = 1 / np.sqrt((train_states.vectors(sample, self.layers) ** 2).mean((1, 2)))
        passes = math.ceil(updates / math.ceil((int(train.sentence[-1]) + 1) / self.batch_size))

        def batches(epoch: int) -> Iterator[Batch]:
            for n in range(passes):  # the first of an epoch is drawn as where there is no other
                generator = np.random.default_rng([self.seed, epoch, n][: 3 if n else 2])
                yield from (batch for _, batch in self._batches(train, train_states, generator))

        result = fit(
            self._begin(width, spans, len(train.labels), scale), self.loss, batches,
            lambda: (batch for _, batch in self._batches(dev, dev_states, None)),
            label=label, **{"epochs": self.epochs, "decay": 0.5} | options,
        )  # fmt: skip
        self.parameters = result.parameters
        return result

    def _batches(
        self, spans: Labelled, states: States, generator: np.random.Generator | None
    ) -> Iterator[tuple[np.ndarray, Batch]]:
        """Make batches of sentences, in random order where a generator is given; also say which spans they hold."""
        sentences = int(spans.sentence[-1]) + 1
        bounds = np.searchsorted(spans.sentence, np.arange(sentences + 1))
        order = np.arange(sentences) if generator is None else generator.permutation(sentences)
        for first in range(0, sentences, self.batch_size):
            chosen = np.sort(order[first : first + self.batch_size])
            items = np.concatenate([np.arange(bounds[s], bounds[s + 1]) for s in chosen])
            extents = spans.spans[items]
            rows = np.unique(np.concatenate([np.arange(start, end) for start, end in extents.reshape(-1, 2)]))
            vectors = states.vectors(rows, self.layers)
            vectors *= self.scale[:, None, None]
            starts = np.searchsorted(rows, extents[..., 0])
            local = np.stack([starts, starts + extents[..., 1] - extents[..., 0]], -1)
            yield items, Batch(vectors, averages(local, len(rows)), spans.gold[items])

    def read(self, spans: Labelled, states: States) -> Read:
        """Score the probes' predictions for every span."""
        layers, active = len(self.layers), np.arange(len(self.layers))
        parts = self._parts(self.parameters)
        hits, said = np.zeros((2, layers, len(spans.gold)), int)
        bits = np.zeros((layers, len(spans.gold)))
        for items, batch in self._batches(spans, states, None):
            logits = self._forward(parts, batch, active)[-1]
            if spans.several:
                predicted = logits > 0
                hits[:, items], said[:, items] = (predicted & batch.gold).sum(-1), predicted.sum(-1)
                cost = -np.where(batch.gold, log_expit(logits), log_expit(-logits)).sum(-1)
            else:
                hits[:, items], said[:, items] = logits.argmax(-1) == batch.gold, 1
                known = np.where(batch.gold >= 0, batch.gold, 0)
                cost = -np.take_along_axis(log_softmax(logits, -1), known[None, :, None], -1)[..., 0]
                cost = np.where(batch.gold >= 0, cost, 0)
            bits[:, items] = cost / np.log(2)
        due = spans.gold.sum(-1) if spans.several else np.ones(len(spans.gold), int)
        return Read(hits, said, due, bits, spans.sentence)

    @property
    def mix(self) -> Float[np.ndarray, "layers layers"]:
        """The learned weights of the layers in the mix of each probe; a row sums to 1."""
        return self._shares(self._parts(self.parameters), np.arange(len(self.layers)))
