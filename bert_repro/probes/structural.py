"""The structural probe: hides its loss, batches and scores; says how much of the tree is in the geometry of each layer.

It refuses sentences it cannot score: those of one word have no distances and are counted, and a treebank out of step with
the stored states is an error.

Reference:
    Hewitt and Manning 2019 (section 2: the probe; section 3.2: UUAS and DSpr.), and their released code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.stats import rankdata

from bert_repro import intervals
from bert_repro.probes.training import Fit, fit

LENGTHS = range(5, 51)  # sentence lengths that enter DSpr., punctuation counted


def tree_distances(heads: Sequence[int]) -> Int[np.ndarray, "words words"]:
    """Count the edges between every two words of a tree.

    Args:
        heads: Head of each word, counted from 1; 0 for the root.
    """
    n = len(heads)
    ancestors = np.zeros((n, n + 1), bool)  # of each word, itself and the artificial root included
    for word in range(n):
        node = word + 1
        while True:
            ancestors[word, node] = True
            if node == 0:
                break
            node = heads[node - 1]
    depth = ancestors.sum(1)
    shared = ancestors.astype(np.int32) @ ancestors.astype(np.int32).T
    return depth[:, None] + depth[None, :] - 2 * shared


@dataclass(frozen=True)
class Treebank:
    """One split, ready for probing: which stored rows its sentences are, and their trees.

    Attributes:
        ids: Sentence ids.
        rows: First row of each sentence in `vectors`.
        heads: Heads of each sentence, counted from 1.
        punctuation: Whether each word is punctuation, a mask a sentence.
        skipped: Sentences that could not be used, by reason.
    """

    ids: list[str]
    rows: Int[np.ndarray, " sentences"]
    heads: list[tuple[int, ...]]
    punctuation: list[np.ndarray]
    skipped: dict[str, int]

    @cached_property
    def distances(self) -> list[np.ndarray]:
        return [tree_distances(heads) for heads in self.heads]

    @cached_property
    def lengths(self) -> Int[np.ndarray, " sentences"]:
        return np.array([len(heads) for heads in self.heads])


def treebank(sentences: Sequence, rows, *, punctuation: str = "upos") -> Treebank:
    """Bring a treebank and the rows of its stored states together.

    Args:
        sentences: `corpora.Sentence` with heads.
        rows: The row table of their states (`HiddenStates.rows`).
        punctuation: What counts as punctuation: "upos" (tag PUNCT) or "xpos" (the tags of Hewitt and Manning's code).

    Raises:
        ValueError: An unknown rule, or words in the rows that are not the treebank's.
    """
    if punctuation not in ("upos", "xpos"):
        raise ValueError(f"punctuation must be 'upos' or 'xpos', got {punctuation!r}")
    marks = {"PUNCT"} if punctuation == "upos" else {"''", ",", ".", ":", "``", "-LRB-", "-RRB-"}
    words = rows.index[~rows["special"]].to_numpy()
    sentence = rows["sentence"].to_numpy()[words]
    first = np.flatnonzero(np.r_[True, sentence[1:] != sentence[:-1]]) if len(words) else np.empty(0, int)
    found = dict(zip(sentence[first], zip(words[first], np.diff(np.r_[first, len(words)]), strict=True), strict=True))
    skipped = {"of one word": 0, "cut at or beyond the length limit": 0}
    ids, starts, heads, masks = [], [], [], []
    forms = rows["form"].to_numpy()
    for number, one in enumerate(sentences):
        start, count = found.pop(number, (0, 0))
        pairs = zip(forms[start : start + count], one.words, strict=False)
        if count > len(one.words) or any(form not in (word, "[UNK]", "<unk>") for form, word in pairs):
            raise ValueError(
                f"sentence {one.id!r} of the treebank is not what the states were made of: was the treebank changed?"
            )
        if count < len(one.words):
            skipped["cut at or beyond the length limit"] += 1
            continue
        if count == 1:
            skipped["of one word"] += 1
            continue
        ids.append(one.id)
        starts.append(start)
        heads.append(one.heads)
        masks.append(np.array([tag in marks for tag in (one.upos if punctuation == "upos" else one.xpos)]))
    if found:
        raise ValueError(f"the states hold {len(found)} sentences more than the treebank: was the treebank changed?")
    if not ids:
        raise ValueError(f"no sentence can be probed: {skipped}")
    return Treebank(ids, np.array(starts), heads, masks, skipped)


class Batch(NamedTuple):
    """Sentences padded to a common length; `scale` is 1 / length^2 on real pairs of words and 0 elsewhere."""

    vectors: Float[np.ndarray, "layers sentences words hidden"]
    distances: Float[np.ndarray, "sentences words words"]
    scale: Float[np.ndarray, "sentences words words"]


def distance_loss(
    projection: Float[np.ndarray, "active hidden rank"],
    batch: Batch,
    active: Int[np.ndarray, " active"],
    gradient: bool,
) -> tuple[Float[np.ndarray, " active"], Float[np.ndarray, "active hidden rank"] | None]:
    """Score squared probe distances against tree distances: mean over sentences of the L1 error over length squared.

    Squared distances come from inner products, |a|^2 + |b|^2 - 2ab, and the gradient from the same products, so that no
    tensor of pairwise differences is ever formed.

    Returns:
        Each active layer's loss, and its gradient if wanted.

    Reference:
        Hewitt and Manning 2019, section 2.2.
    """
    vectors = batch.vectors if len(active) == len(batch.vectors) else batch.vectors[active]
    layers, sentences, words, hidden = vectors.shape
    flat = vectors.reshape(layers, sentences * words, hidden)
    z = (flat @ projection).reshape(layers, sentences, words, -1)
    error = _squared_distances(z)
    error -= batch.distances
    losses = np.einsum("lstu,stu->l", np.abs(error), batch.scale) / sentences
    if not gradient:
        return losses, None
    np.sign(error, out=error)
    error *= batch.scale * np.float32(4 / sentences)  # 2 from the square, 2 as each pair occurs twice
    dz = error.sum(-1, keepdims=True) * z - error @ z
    return losses, flat.transpose(0, 2, 1) @ dz.reshape(layers, sentences * words, -1)


def _squared_distances(z: Float[np.ndarray, "*any words rank"]) -> Float[np.ndarray, "*any words words"]:
    norms = np.einsum("...wr,...wr->...w", z, z)
    distances = z @ np.swapaxes(z, -1, -2)
    distances *= -2
    distances += norms[..., :, None]
    distances += norms[..., None, :]
    return distances


class DistanceProbe:
    """One distance probe a layer, trained together.

    Args:
        layers: Which stored layers.
        rank: Of the projection, at most the width of the states.
        seed: Of initial projections (one stream a layer) and of the order of batches.
        batch_size: Sentences a batch.
        epochs: Most epochs.

    Raises:
        ValueError: A rank below 1 (and, at fitting, one above the width).
    """

    def __init__(self, layers: Sequence[int], rank: int, seed: int = 1, batch_size: int = 20, epochs: int = 40):
        if rank < 1:
            raise ValueError(f"the rank must be at least 1, got {rank}")
        self.layers, self.rank, self.seed, self.batch_size, self.epochs = list(layers), rank, seed, batch_size, epochs
        self.projection: np.ndarray
        self.scale: np.ndarray

    def fit(self, train: Treebank, train_states, dev: Treebank, dev_states, label: str = "distance probe") -> Fit:
        """Train on one split, choosing the best epoch of each layer on another.

        Args:
            train: Trees to learn from.
            train_states: Where `train.rows` are read: anything with `vectors(rows, layers)` and `hidden`.
            dev: Trees to choose the epoch by.
            dev_states: Where `dev.rows` are read.
            label: Shown beside the progress bar.
        """
        if self.rank > train_states.hidden:
            raise ValueError(f"the rank {self.rank} is above the width of the states, {train_states.hidden}")
        # one number a layer brings vectors to unit mean square: the same initial projection then suits every model
        some = train.rows[np.linspace(0, len(train.rows) - 1, min(len(train.rows), 500)).astype(int)]
        self.scale = 1 / np.sqrt((train_states.vectors(np.unique(some), self.layers) ** 2).mean((1, 2)))
        start = np.stack([
            np.random.default_rng([self.seed, layer]).uniform(-0.05, 0.05, (train_states.hidden, self.rank)) for layer in self.layers
        ]).astype(np.float32)  # fmt: skip
        result = fit(
            start, distance_loss,
            lambda epoch: self._batches(train, train_states, np.random.default_rng([self.seed, epoch])),
            lambda: self._batches(dev, dev_states, None),
            epochs=self.epochs, label=label,
        )  # fmt: skip
        self.projection = result.parameters
        return result

    def _batches(self, bank: Treebank, states, generator: np.random.Generator | None) -> Iterator[Batch]:
        """Make batches of sentences of similar length, in random order where a generator is given."""
        order = np.argsort(bank.lengths, kind="stable")
        if generator is not None:  # sentences of equal length change places from epoch to epoch
            order = np.lexsort((generator.random(len(order)), bank.lengths))
        starts = np.arange(0, len(order), self.batch_size)
        for first in generator.permutation(starts) if generator is not None else starts:
            yield self._batch(bank, states, order[first : first + self.batch_size])

    def _batch(self, bank: Treebank, states, chosen: np.ndarray) -> Batch:
        lengths = bank.lengths[chosen]
        words = int(lengths.max())
        vectors = np.zeros((len(self.layers), len(chosen), words, states.hidden), np.float32)
        distances, scale = np.zeros((2, len(chosen), words, words), np.float32)
        order = np.argsort(bank.rows[chosen])
        rows = np.concatenate([bank.rows[i] + np.arange(bank.lengths[i]) for i in chosen[order]])
        read = states.vectors(rows, self.layers) * self.scale[:, None, None]
        at = 0
        for place in order:
            n = int(lengths[place])
            vectors[:, place, :n] = read[:, at : at + n]
            distances[place, :n, :n] = bank.distances[chosen[place]]
            scale[place, :n, :n] = 1 / n**2
            at += n
        return Batch(vectors, distances, scale)

    def predict(self, bank: Treebank, states) -> Iterator[tuple[int, Float[np.ndarray, "layers words words"]]]:
        """Give the probe's squared distances, sentence by sentence with its number."""
        for number in range(len(bank.rows)):
            rows = bank.rows[number] + np.arange(bank.lengths[number])
            z = states.vectors(rows, self.layers) * self.scale[:, None, None] @ self.projection
            yield number, _squared_distances(z)


class Scores(NamedTuple):
    """Per-sentence sums from which both metrics and their intervals follow; a leading axis of layers."""

    correct: Float[np.ndarray, "layers sentences"]
    edges: Float[np.ndarray, " sentences"]
    spearman: Float[np.ndarray, "layers sentences"]  # summed over the words of a sentence
    lengths: Int[np.ndarray, " sentences"]

    def rows(self, layers: Sequence[int | None], key: str, resamples: int) -> list[dict[str, object]]:
        """Give table rows for UUAS and DSpr., with intervals by resampling sentences.

        Raises:
            ValueError: No sentence of a length that enters DSpr., or no edge between words.
        """
        weights = intervals.draws(key, len(self.lengths), resamples)
        if not self.edges.sum() or not np.isin(self.lengths, LENGTHS).any():
            raise ValueError(f"nothing to score: no edges, or no sentence of {LENGTHS[0]} to {LENGTHS[-1]} words")
        uuas, uuas_draws = intervals.ratio(self.correct, self.edges, weights)
        dspr, dspr_draws = self._mean_over_lengths(weights)
        rows = []
        for i, layer in enumerate(layers):
            here: dict[str, object] = {} if layer is None else {"layer": layer}
            rows.append(here | {"metric": "uuas", "n": int(self.edges.sum())} | intervals.row(uuas[i], uuas_draws[i]))
            words = int(self.lengths[np.isin(self.lengths, LENGTHS)].sum())
            rows.append(here | {"metric": "dspr", "n": words} | intervals.row(dspr[i], dspr_draws[i]))
        return rows

    def _mean_over_lengths(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, draws = [], []
        for length in sorted(set(self.lengths.tolist()) & set(LENGTHS)):
            at = self.lengths == length
            value, drawn = intervals.ratio(self.spearman[:, at], self.lengths[at].astype(float), weights[:, at])
            values.append(value)
            # A length that a resample did not draw keeps its value: left out, it would take the long sentences, which are
            # few and hard, away from most resamples, and shift the whole interval upwards.
            draws.append(np.where(np.isnan(drawn), value[:, None], drawn))
        return np.mean(values, axis=0), np.mean(draws, axis=0)


def score(bank: Treebank, predictions: Iterator[tuple[int, Float[np.ndarray, "layers words words"]]]) -> Scores:
    """Compare predicted with tree distances.

    UUAS: share of the edges of the gold tree that are in the minimum spanning tree of the predictions, punctuation taken out
    of both. DSpr.: Spearman correlation of each word's predicted and gold distances, its own zero included.
    """
    correct, spearman, edges = [], [], []
    for number, predicted in predictions:
        gold = bank.distances[number]
        kept = np.flatnonzero(~bank.punctuation[number])
        gold_edges = spanning_tree(gold[np.ix_(kept, kept)])
        edges.append(len(gold_edges))
        correct.append([len(gold_edges & spanning_tree(one[np.ix_(kept, kept)])) for one in predicted])
        spearman.append(_spearman_rows(predicted, gold).sum(-1))
    return Scores(np.array(correct, float).T, np.array(edges, float), np.array(spearman).T, bank.lengths)


def spanning_tree(distances: Float[np.ndarray, "words words"] | Int[np.ndarray, "words words"]) -> set[tuple[int, int]]:
    """Give the edges of the minimum spanning tree, each as (lower, higher) word."""
    if len(distances) < 2:
        return set()
    # scipy takes 0 for "no edge"; adding a constant to all edges leaves the tree as it is (in float64, however short they are)
    tree = minimum_spanning_tree(np.triu(distances.astype(float) + (1 - min(0, distances.min())), 1)).tocoo()
    return {(int(min(i, j)), int(max(i, j))) for i, j in zip(tree.row, tree.col, strict=True)}


def _spearman_rows(
    predicted: Float[np.ndarray, "layers words words"], gold: Int[np.ndarray, "words words"]
) -> np.ndarray:
    one, other = rankdata(predicted, axis=-1), rankdata(gold, axis=-1)
    one, other = one - one.mean(-1, keepdims=True), other - other.mean(-1, keepdims=True)
    scale = np.sqrt((one**2).sum(-1) * (other**2).sum(-1))
    # constant predictions rank nothing: they count as no correlation
    return np.divide((one * other).sum(-1), scale, out=np.zeros_like(scale), where=scale > 0)


def linear_chain(bank: Treebank) -> Scores:
    """Score the baseline that takes the distance of two words to be how far apart they stand in the sentence."""

    def chain() -> Iterator[tuple[int, np.ndarray]]:
        for number, length in enumerate(bank.lengths):
            position = np.arange(length, dtype=float)
            yield number, np.abs(position[:, None] - position[None, :])[None]

    return score(bank, chain())
