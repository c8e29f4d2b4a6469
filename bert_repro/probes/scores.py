"""Scores of structural probes: decodes trees, ranks words, adds trivial baselines; rows with intervals.

A split with nothing to score is an error.

Reference:
    Hewitt and Manning 2019, section 3.2, and their released code (reporter.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.stats import rankdata, spearmanr

from bert_repro.probes.treebank import Treebank, tree_distances
from bert_repro.results import intervals

LENGTHS = range(5, 51)  # sentence lengths that enter DSpr. and NSpr., punctuation counted
STRATUM = 5  # sentences whose spread about their mean is measured together

Predictions = Iterable[Float[np.ndarray, "layers words ..."]]


class Scores(NamedTuple):
    """Sums of each sentence, from which a metric and its interval follow."""

    metric: str
    right: Float[np.ndarray, "layers sentences"]
    all: Float[np.ndarray, " sentences"]
    lengths: Int[np.ndarray, " sentences"] | None = None  # where the metric is a mean over lengths
    of: str = ""  # a class of words, where it is of that alone

    def rows(self, layers: Sequence[int | None], key: str, resamples: int) -> list[dict[str, object]]:
        """Give a table row per layer, with its interval by resampling sentences.

        Args:
            layers: Numbers of the layers; None for what has none.
            key: What the sentences are of, see `intervals.draws`.
            resamples: Bootstrap resamples.

        Raises:
            ValueError: Nothing to score.
        """
        counted = self.all > 0
        if self.lengths is not None:
            counted &= np.isin(self.lengths, LENGTHS)
        if not counted.any():
            raise ValueError(f"nothing to score: no sentence counts for {self.metric}")
        weights = intervals.draws(key, len(self.all), resamples)
        if self.lengths is None:
            value, drawn = intervals.ratio(self.right, self.all, weights)
        else:
            value, drawn = self._mean_over_lengths(self.lengths, weights)
        about: dict[str, object] = {"metric": self.metric, "n": int(self.all[counted].sum())}
        about |= {"rows": self.of} if self.of else {}
        return intervals.rows(about, layers, value, drawn, len(self.all))

    def _mean_over_lengths(self, lengths: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = np.flatnonzero(np.isin(lengths, LENGTHS) & (self.all > 0))
        scores = self.right[:, at] / self.all[at]
        different, of_length, count = np.unique(lengths[at], return_inverse=True, return_counts=True)
        shares = 1 / (count[of_length] * len(different))  # of each sentence in the mean over lengths
        value = scores @ shares
        # A length of one sentence has no spread of its own, and most resamples leave it out. So a resample moves the value by
        #     sum_s (w_s - 1) share_s (score_s - mean) sqrt(m / (m - 1)),
        # the mean being that of the m sentences that are about as long: neighbouring lengths are joined until there are STRATUM
        strata, members, left = [0], 0, len(at)
        for sentences in count:
            full = members >= STRATUM and left >= STRATUM
            strata.append(strata[-1] + full)
            members, left = sentences + members * (not full), left - sentences
        stratum = np.array(strata[1:])[of_length]
        size = np.bincount(stratum)
        means = np.stack([np.bincount(stratum, layer) for layer in scores]) / size
        spread = (scores - means[:, stratum]) * np.sqrt(size / np.maximum(size - 1, 1))[stratum]
        return value, value[:, None] + (shares * spread) @ (weights[:, at] - 1).T


def score_distances(
    bank: Treebank, predictions: Predictions, classes: Mapping[str, Bool[np.ndarray, " rows"]] = {}
) -> list[Scores]:
    """Compare predicted with tree distances.

    Args:
        bank: The sentences.
        predictions: Predictions for each, `layers words words`.
        classes: Classes of words, by name: which rows of the states they are. UUAS is then also of the edges whose dependent is one.

    Returns:
        UUAS: the share of the edges of the gold tree that are in the minimum spanning tree of the predictions, punctuation
        taken out of both. DSpr.: the Spearman correlation of each word's predicted and gold distances, its own zero included,
        averaged over the words of all sentences of a length, then over lengths.
    """
    right, edges, spearman = [], [], []
    counts = np.zeros((len(classes), len(bank.rows)))
    hits: dict[str, list[np.ndarray]] = {name: [] for name in classes}
    for n, (gold, punctuation, predicted) in enumerate(zip(bank.distances, bank.punctuation, predictions, strict=True)):
        kept = np.flatnonzero(~punctuation)
        expected = sorted(spanning_tree(gold[np.ix_(kept, kept)]))
        decoded = [spanning_tree(matrix[np.ix_(kept, kept)]) for matrix in predicted]
        matched = np.array([[edge in tree for edge in expected] for tree in decoded], float).reshape(len(decoded), -1)
        edges.append(len(expected))
        right.append(matched.sum(1))
        spearman.append(_spearman(predicted, gold).sum(-1))
        if classes:
            at, arcs = _dependents(bank.sentences[n].heads, kept, expected)
            for number, (name, mask) in enumerate(classes.items()):
                members = arcs & mask[bank.rows[n] + at]
                counts[number, n] = members.sum()
                hits[name].append(matched @ members)
    return [
        Scores("uuas", np.array(right, float).T, np.array(edges, float)),
        Scores("dspr", np.array(spearman).T, bank.lengths.astype(float), bank.lengths),
        *(
            Scores("uuas", np.array(hits[name]).T, count, of=name)
            for name, count in zip(classes, counts, strict=True)
            if count.any()
        ),
    ]


def _dependents(
    heads: Sequence[int], kept: Int[np.ndarray, " kept"], edges: Sequence[tuple[int, int]]
) -> tuple[Int[np.ndarray, " edges"], Bool[np.ndarray, " edges"]]:
    """Give the dependent of every edge, and whether it is an arc: one that bridges punctuation left out is none."""
    first, second = kept[np.array(edges, int).reshape(-1, 2)].T
    above = np.array(heads) - 1
    return np.where(above[first] == second, first, second), (above[first] == second) | (above[second] == first)


def score_depths(bank: Treebank, predictions: Predictions) -> list[Scores]:
    """Compare predicted with tree depths.

    Returns:
        Root accuracy: the share of sentences whose root is the word of least depth, punctuation left out; a sentence of
        punctuation alone does not count. NSpr.: the Spearman correlation of the depths of a sentence, averaged over the
        sentences of a length, then over lengths.
    """
    right, spearman = [], []
    for gold, punctuation, predicted in zip(bank.depths, bank.punctuation, predictions, strict=True):
        least = np.where(punctuation, np.inf, predicted).argmin(-1)
        right.append((gold[least] == 0) & (not punctuation.all()))
        spearman.append(_spearman(predicted, gold))
    counted = np.array([not punctuation.all() for punctuation in bank.punctuation], float)
    return [
        Scores("root_accuracy", np.array(right, float).T, counted),
        Scores("nspr", np.array(spearman).T, np.ones(len(bank.rows)), bank.lengths),
    ]


def spanning_tree(distances: Float[np.ndarray, "words words"] | Int[np.ndarray, "words words"]) -> set[tuple[int, int]]:
    """Give the edges of the minimum spanning tree, each as (lower, higher) word."""
    if len(distances) < 2:
        return set()
    # scipy takes 0 for "no edge"; adding a constant to all edges leaves the tree as it is (in float64, however short they are)
    tree = minimum_spanning_tree(np.triu(distances.astype(float) + (1 - min(0, distances.min())), 1)).tocoo()
    return {(int(min(i, j)), int(max(i, j))) for i, j in zip(tree.row, tree.col, strict=True)}


def _spearman(predicted: Real[np.ndarray, "... words"], gold: Int[np.ndarray, "... words"]) -> np.ndarray:
    x, y = rankdata(predicted, axis=-1), rankdata(gold, axis=-1)
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    scale = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    # constant predictions rank nothing: they count as no correlation
    return np.divide((x * y).sum(-1), scale, out=np.zeros_like(scale), where=scale > 0)


def distance_baselines(bank: Treebank) -> dict[str, list[Scores]]:
    """Score baselines without an encoder: `linear chain`, how far apart two words stand; `random tree`, what a tree drawn
    at random has right on average.
    """
    words = np.array([(~punctuation).sum() for punctuation in bank.punctuation], float)
    # each of the n (n - 1) / 2 pairs is one of the n - 1 edges as often as any other
    random = Scores("uuas", np.maximum(2 - 2 / np.maximum(words, 1), 0)[None], np.maximum(words - 1, 0))
    return {"linear chain": score_distances(bank, map(_chain, bank.lengths.tolist())), "random tree": [random]}


def depth_baselines(bank: Treebank) -> dict[str, list[Scores]]:
    """Score baselines without an encoder: `word position`; `first verb`, the root by part of speech alone (the first verb,
    else the first noun, name or adjective, else the first word).
    """
    positions = (np.arange(n, dtype=float)[None] for n in bank.lengths)
    verbs = (_likely_roots(sentence.upos)[None] for sentence in bank.sentences)
    return {"word position": score_depths(bank, positions), "first verb": score_depths(bank, verbs)[:1]}


def _chain(length: int) -> Float[np.ndarray, "1 words words"]:
    position = np.arange(length, dtype=float)
    return np.abs(position[:, None] - position)[None]


def _likely_roots(upos: Sequence[str]) -> Float[np.ndarray, " words"]:
    kinds = ({"VERB"}, {"NOUN", "PROPN", "ADJ"})
    rank = [next((n for n, kind in enumerate(kinds) if tag in kind), len(kinds)) for tag in upos]
    return np.array(rank) + np.arange(len(rank)) / len(rank)


def trees(bank: Treebank, projected: Iterable[Float[np.ndarray, "layers words rank"]]) -> Iterator[dict[str, Any]]:
    """Decode the tree of every sentence, with its words in the plane in which a layer's projections vary most.

    Args:
        bank: The sentences.
        projected: Their words, as a distance probe projects them.

    Returns:
        Of each sentence its id, words, gold heads and mask of punctuation; and of each layer the decoded edges (between words
        that are no punctuation, counted from 0) and two coordinates a word.
    """
    for sentence, punctuation, z in zip(bank.sentences, bank.punctuation, projected, strict=True):
        kept = np.flatnonzero(~punctuation)
        left, size, _ = np.linalg.svd(z - z.mean(1, keepdims=True), full_matrices=False)
        places = np.zeros((*z.shape[:2], 2))
        places[..., : size.shape[-1]] = (left * size[:, None])[..., :2]
        squares = ((z[:, :, None] - z[:, None]) ** 2).sum(-1)
        edges = [spanning_tree(matrix[np.ix_(kept, kept)]) for matrix in squares]
        yield {
            "id": sentence.id,
            "words": list(sentence.words),
            "heads": list(sentence.heads),
            "punctuation": punctuation.tolist(),
            "edges": [sorted((int(kept[i]), int(kept[j])) for i, j in tree) for tree in edges],
            "places": np.round(places, 3).tolist(),
        }


def earlier_metric(tree: Mapping[str, Any], layer: int) -> list[dict[str, object]]:
    """Compute the "Spearman" of the notebook that this project grew out of beside DSpr., for a decoded tree.

    It handed `spearmanr` two matrices, which correlates columns, and kept the block in which predictions meet predictions.

    Args:
        tree: As `trees` gives it.
        layer: Which of its layers, by place.

    Returns:
        Two rows: compared with the gold distances, and with the same numbers in random order.
    """
    places = np.array(tree["places"][layer])
    predicted, gold = np.square(places[:, None] - places).sum(-1), tree_distances(tree["heads"])
    noise = np.random.default_rng(0).permutation(gold.ravel()).reshape(gold.shape)
    # a column of noise may be constant: it dropped what is undefined, and so it is done here
    with np.errstate(invalid="ignore"):
        return [
            {
                "sentence": tree["id"],
                "compared with": name,
                "earlier notebook": np.nanmean(spearmanr(predicted, distances)[0][: len(gold), : len(gold)]),
                "DSpr.": _spearman(predicted, distances).mean(),
            }
            for name, distances in (("the gold tree", gold), ("noise", noise))
        ]
