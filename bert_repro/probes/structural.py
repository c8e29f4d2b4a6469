"""Structural probes: how much of the syntactic tree is in the geometry of each layer.

A rank above the width of the states is an error.

Reference:
    Hewitt and Manning 2019 (section 2: the probes; section 3.2: how they are scored), and their released code.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bert_repro.probes import States, scores
from bert_repro.probes.training import Fit, fit
from bert_repro.probes.treebank import Treebank


class Target(NamedTuple):
    """What a structural probe predicts.

    Attributes:
        description: What it is.
        axes: How many axes of words a sentence's values have: 1, or 2 for values of pairs.
        gold: Gives the values of each sentence.
        predict: Gives the values that projected words have: of a word by its own projection, of a pair by the two alone.
        metrics: What `score` gives, the first being the main one.
        score: Compares predictions with gold.
        baselines: Scores what knows nothing of the encoder, by name.
        gradient: From the gradient with respect to what is predicted to that with respect to the projections; for speed alone,
            as it is found by differences where there is none.
    """

    description: str
    axes: int
    gold: Callable[[Treebank], list[np.ndarray]]
    predict: Callable[[Float[np.ndarray, "*any words rank"]], Float[np.ndarray, "..."]]
    metrics: tuple[str, ...]
    score: Callable[[Treebank, scores.Predictions], list[scores.Scores]]
    baselines: Callable[[Treebank], dict[str, list[scores.Scores]]]
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None

    def pull_back(self, error: Float[np.ndarray, "..."], z: Float[np.ndarray, "*any words rank"]) -> np.ndarray:
        """Give the gradient with respect to projections `z`, of a loss whose gradient with respect to `predict(z)` is `error`."""
        return self.gradient(error, z) if self.gradient else _by_differences(self, error, z)


def _by_differences(target: Target, error: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Find a gradient by moving all words along one dimension at a time; those of a pair one after the other."""
    step, words, exact = 1e-6, z.shape[-2], z.astype(float)
    gradient = np.zeros_like(exact)
    for r in range(z.shape[-1]):
        moved = exact.copy()
        moved[..., r] += step
        if target.axes == 1:
            gradient[..., r] = error * (target.predict(moved) - target.predict(exact))
            continue
        values = target.predict(np.concatenate([moved, exact], -2))  # of every word, moved or not, with every other
        still = values[..., words:, words:]
        gradient[..., r] = (error * (values[..., :words, words:] - still)).sum(-1)
        gradient[..., r] += (error * (values[..., words:, :words] - still)).sum(-2)
    return (gradient / step).astype(z.dtype)


def _squared_distances(z: Float[np.ndarray, "*any words rank"]) -> Float[np.ndarray, "*any words words"]:
    """From inner products, |a|^2 + |b|^2 - 2ab, so that no tensor of pairwise differences is ever formed."""
    norms = _squared_norms(z)
    distances = z @ np.swapaxes(z, -1, -2)
    distances *= -2
    distances += norms[..., :, None]
    distances += norms[..., None, :]
    return distances


def _squared_norms(z: Float[np.ndarray, "*any words rank"]) -> Float[np.ndarray, "*any words"]:
    return np.einsum("...wr,...wr->...w", z, z)


TARGETS = {
    "distance": Target(
        "edges between two words, to be the squared distance of their projections", 2, lambda bank: bank.distances,
        _squared_distances, ("uuas", "dspr"), scores.score_distances, scores.distance_baselines,
        lambda error, z: 4 * (error.sum(-1, keepdims=True) * z - error @ z),  # 2 of the square, 2 as each pair occurs twice
    ),
    "depth": Target(
        "edges from a word to the root, to be the squared norm of its projection", 1, lambda bank: bank.depths,
        _squared_norms, ("root_accuracy", "nspr"), scores.score_depths, scores.depth_baselines, lambda error, z: 2 * error[..., None] * z,
    ),
}  # fmt: skip
"""Targets by name; the notebook's `targets` parameter and the tests read this."""


def named(target: str) -> Target:
    """Give a target by its name.

    Raises:
        ValueError: An unknown one.
    """
    if target not in TARGETS:
        raise ValueError(f"unknown target {target!r} of a structural probe: expected one of {sorted(TARGETS)}")
    return TARGETS[target]


class Batch(NamedTuple):
    """Sentences padded to a common length; `scale` is 1 / length^axes on real words, or pairs of them, and 0 elsewhere."""

    vectors: Float[np.ndarray, "layers sentences words hidden"]
    gold: Float[np.ndarray, "sentences words ..."]
    scale: Float[np.ndarray, "sentences words ..."]


def loss(
    target: Target,
    projection: Float[np.ndarray, "active hidden rank"],
    batch: Batch,
    active: Int[np.ndarray, " active"],
    gradient: bool,
) -> tuple[Float[np.ndarray, " active"], Float[np.ndarray, "active hidden rank"] | None]:
    """Score a projection: mean over sentences of the L1 error over length squared (of depths: over length).

    Returns:
        Each active layer's loss, and its gradient if wanted.

    Reference:
        Hewitt and Manning 2019, sections 2.2 and 2.3.
    """
    vectors = batch.vectors if len(active) == len(batch.vectors) else batch.vectors[active]
    layers, sentences, words, hidden = vectors.shape
    flat = vectors.reshape(layers, sentences * words, hidden)
    z = (flat @ projection).reshape(layers, sentences, words, -1)
    error = target.predict(z)
    error -= batch.gold
    losses = np.einsum("ln,n->l", np.abs(error).reshape(layers, -1), batch.scale.ravel()) / sentences
    if not gradient:
        return losses, None
    np.sign(error, out=error)
    error *= batch.scale / np.float32(sentences)
    return losses, flat.transpose(0, 2, 1) @ target.pull_back(error, z).reshape(layers, sentences * words, -1)


class StructuralProbe:
    """One probe per layer, trained together.

    Args:
        target: A name from TARGETS.
        layers: Which stored layers.
        rank: Rank of the projection, at most the width of the states.
        seed: Seed of the initial projections (one stream per layer) and of the order of batches.
        batch_size: Sentences per batch.
        epochs: Maximum number of epochs.

    Raises:
        ValueError: An unknown target, or a rank below 1 (and, at fitting, one above the width).
    """

    def __init__(
        self, target: str, layers: Sequence[int], rank: int, seed: int = 1, batch_size: int = 20, epochs: int = 40
    ):
        self.target, self.layers, self.rank, self.seed = named(target), list(layers), rank, seed
        if rank < 1:
            raise ValueError(f"the rank must be at least 1, got {rank}")
        self.batch_size, self.epochs, self.label = batch_size, epochs, f"{target} probe"
        self.projection: Float[np.ndarray, "layers hidden rank"]
        self.scale: Float[np.ndarray, " layers"]

    def fit(self, train: Treebank, train_states: States, dev: Treebank, dev_states: States, label: str = "") -> Fit:
        """Train on one split, choosing the best epoch of each layer on another.

        Args:
            train: Trees to learn from.
            train_states: Where `train.rows` are read.
            dev: Trees to choose the epoch by.
            dev_states: Where `dev.rows` are read.
            label: Shown beside the progress bar.
        """
        if self.rank > train_states.hidden:
            raise ValueError(f"the rank {self.rank} is above the width of the states, {train_states.hidden}")
        # one number per layer brings vectors to unit mean square: the same initial projection then suits every model
        sample = train.rows[np.linspace(0, len(train.rows) - 1, min(len(train.rows), 500)).astype(int)]
        self.scale = 1 / np.sqrt((train_states.vectors(np.unique(sample), self.layers) ** 2).mean((1, 2)))
        start = np.stack([
            np.random.default_rng([self.seed, layer]).uniform(-0.05, 0.05, (train_states.hidden, self.rank)) for layer in self.layers
        ]).astype(np.float32)  # fmt: skip
        result = fit(
            start, lambda *arguments: loss(self.target, *arguments),
            lambda epoch: self._batches(train, train_states, np.random.default_rng([self.seed, epoch])),
            lambda: self._batches(dev, dev_states, None),
            epochs=self.epochs, label=label or self.label,
        )  # fmt: skip
        self.projection = result.parameters
        return result

    def _batches(self, bank: Treebank, states: States, generator: np.random.Generator | None) -> Iterator[Batch]:
        """Make batches of sentences of similar length, in random order where a generator is given."""
        order = np.argsort(bank.lengths, kind="stable")
        if generator is not None:  # sentences of equal length change places from epoch to epoch
            order = np.lexsort((generator.random(len(order)), bank.lengths))
        starts = np.arange(0, len(order), self.batch_size)
        for first in generator.permutation(starts) if generator is not None else starts:
            yield self._batch(bank, states, order[first : first + self.batch_size])

    def _batch(self, bank: Treebank, states: States, chosen: np.ndarray) -> Batch:
        lengths, known = bank.lengths[chosen], self.target.gold(bank)
        words = int(lengths.max())
        vectors = np.zeros((len(self.layers), len(chosen), words, states.hidden), np.float32)
        gold, scale = np.zeros((2, len(chosen), *[words] * self.target.axes), np.float32)
        order = np.argsort(bank.rows[chosen])
        rows = np.concatenate([bank.rows[i] + np.arange(bank.lengths[i]) for i in chosen[order]])
        scaled = states.vectors(rows, self.layers) * self.scale[:, None, None]
        at = 0
        for place in order:
            n = int(lengths[place])
            vectors[:, place, :n] = scaled[:, at : at + n]
            real = (place, *[slice(n)] * self.target.axes)
            gold[real], scale[real] = known[chosen[place]], 1 / n**self.target.axes
            at += n
        return Batch(vectors, gold, scale)

    def project(self, bank: Treebank, states: States) -> Iterator[Float[np.ndarray, "layers words rank"]]:
        """Give the projected words, sentence by sentence."""
        for start, length in zip(bank.rows, bank.lengths, strict=True):
            vectors = states.vectors(start + np.arange(length), self.layers)
            yield vectors * self.scale[:, None, None] @ self.projection

    def predict(self, bank: Treebank, states: States) -> Iterator[Float[np.ndarray, "layers words ..."]]:
        """Give squared distances of every two words, or squared norms, sentence by sentence."""
        return (self.target.predict(z) for z in self.project(bank, states))
