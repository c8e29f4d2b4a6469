"""Similarity of two representations of the same words: hides kernels and their resampling; gives values with replicates.

It refuses vectors that are not in step, constant or not finite: a similarity of those is a number without a meaning.

A measure gets two `words x hidden` arrays and the sentence of each word. It declares which changes leave it as it is; the
tests hold every measure to its word, in both directions. To add one, write a function and its entry in MEASURES.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import sparse

from bert_repro import intervals

Vectors = Float[np.ndarray, "words hidden"]
OtherVectors = Float[np.ndarray, "words other_hidden"]
Result = tuple[float, Float[np.ndarray, " resamples"]]


class Measure(NamedTuple):
    """A measure, and the changes of *one* side (rotation, scale, shift) that leave it as it is."""

    function: Callable[..., Result]
    title: str
    invariant_to: frozenset[str]
    needs_same_width: bool = False


class Sample(NamedTuple):
    """Words of a corpus, and their vectors under one model or more, in step.

    Attributes:
        corpus: Its name.
        split: Of the corpus.
        key: Names the sample; what is measured on samples with equal keys shares its bootstrap draws.
        sentence: The sentence of each word, 0 .. sentences - 1, ascending.
        vectors: `layers words hidden` of each model; widths and numbers of layers may differ.
    """

    corpus: str
    split: str
    key: str
    sentence: Int[np.ndarray, " words"]
    vectors: tuple[Float[np.ndarray, "layers words hidden"], ...]


def rsa(
    x: Vectors, y: OtherVectors, sentence: Int[np.ndarray, " words"], weights: Int[np.ndarray, "resamples sentences"]
) -> Result:
    """Representational similarity analysis: Pearson correlation of the two cosine kernels over all pairs of words.

    A resample that draws sentence a w_a times weighs a pair of words of two sentences by w_a w_b, and one of a single
    sentence by w_a: a sentence is never paired with its own copy, whose pairs are no draw from the text and would pull every
    resample to one side. All pairs enter through five sums per pair of sentences, so that the kernels are formed once,
    whatever the number of resamples.

    Args:
        x: One representation.
        y: The other, of the same words; the widths may differ.
        sentence: The sentence of each word, 0 .. sentences - 1, ascending.
        weights: How often each resample drew each sentence.

    Returns:
        The similarity in [-1, 1], 1 for kernels equal up to scale and shift; and its value in every resample (NaN where a
        resample drew no two pairs of words with different cosines).

    Raises:
        ValueError: All pairs of words have the same cosine on one side.

    Reference:
        Kriegeskorte et al. 2008; Abnar et al. 2019, section 3 (cosine kernel, Pearson over the upper triangle).
    """
    x, y = _unit(x), _unit(y)
    first = np.flatnonzero(np.r_[True, sentence[1:] != sentence[:-1]])
    bounds = np.r_[first, len(sentence)]
    sentences = len(first)
    moments = np.zeros((5, sentences, sentences))  # sums of k, l, kk, ll, kl over the word pairs of two sentences
    # taken from their mean, as cosines that are all near 1 lose their differences in float32 when they are squared
    middle = [_pair_mean(np.ones((1, 1)), u.sum(0, float)[None], np.array([len(u)]))[0].astype(u.dtype) for u in (x, y)]
    # a few thousand words at a time: the kernels of 5,000 words never exist as a whole
    step = max(1, int(2**24 / max(len(x), 1)))
    start = 0
    while start < sentences:
        stop = max(start + 1, int(np.searchsorted(bounds, bounds[start] + step, "right")) - 1)
        rows = slice(bounds[start], bounds[stop])
        k, l = x[rows] @ x.T, y[rows] @ y.T  # noqa: E741
        k -= middle[0]
        l -= middle[1]  # noqa: E741
        own = np.arange(bounds[start], bounds[stop])
        k[np.arange(len(own)), own] = l[np.arange(len(own)), own] = 0  # a word with itself
        inside = bounds[start:stop] - bounds[start]
        for moment, product in enumerate((k, l, k * k, l * l, k * l)):
            moments[moment, start:stop] = np.add.reduceat(np.add.reduceat(product, first, axis=1), inside, axis=0)
        start = stop
    lengths = np.diff(bounds).astype(float)
    count = np.outer(lengths, lengths) - np.diag(lengths)
    value = float(_pearson(moments.sum((1, 2)), count.sum()))
    if np.isnan(value):
        raise ValueError("one model gives all pairs of words the same cosine: there is no geometry to compare")
    return value, _pearson(np.stack([_quadratic(weights, m) for m in moments]), _quadratic(weights, count))


def _quadratic(weights: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Sum a matrix over pairs of drawn sentences: w_a w_b times each entry off the diagonal, w_a times those on it."""
    within = np.diag(matrix)
    return np.einsum("rs,rs->r", weights @ matrix, weights) - (weights.astype(float) ** 2 - weights) @ within


def _pearson(moments: np.ndarray, count: np.ndarray | float) -> np.ndarray:
    """Correlate; NaN where a kernel is constant but for the rounding of its float32 cosines."""
    with np.errstate(invalid="ignore", divide="ignore"):
        k, l, kk, ll, kl = moments / count  # noqa: E741
        spread, other_spread = kk - k * k, ll - l * l
        varied = (spread > 1e-6 * kk + 1e-12) & (other_spread > 1e-6 * ll + 1e-12)
        return np.where(varied, (kl - k * l) / np.sqrt(spread * other_spread), np.nan)


def cosine(
    x: Vectors, y: Vectors, sentence: Int[np.ndarray, " words"], weights: Int[np.ndarray, "resamples sentences"]
) -> Result:
    """Mean cosine of each word's two vectors; first-order, so it knows nothing of geometry and reacts to any rotation.

    Returns:
        The mean in [-1, 1], 1 for vectors of equal direction; and its value in every resample.
    """
    each = np.einsum("wh,wh->w", _unit(x), _unit(y))
    place = _by_sentence(sentence)
    value, replicates = intervals.ratio(place @ each.astype(float), np.asarray(place.sum(1)).ravel(), weights)
    return float(value), replicates


MEASURES = {
    "rsa": Measure(rsa, "RSA (cosine kernel, Pearson)", frozenset({"rotation", "scale"})),
    "cosine": Measure(cosine, "mean paired cosine", frozenset({"scale"}), needs_same_width=True),
}
"""Measures by name; the notebook's `methods` parameter, the tests and the figures read this."""


def _unit(x: Vectors) -> Vectors:
    x = np.asarray(x, np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def sample_words(rows: pd.DataFrame, words: int, seed: int) -> Int[np.ndarray, " rows"]:
    """Draw whole sentences until a number of words is reached; special tokens are left out.

    Args:
        rows: The rows of a `HiddenStates`.
        words: How many words to draw; the last sentence is kept whole.
        seed: Of the draw.

    Returns:
        Row numbers, ascending.

    Raises:
        ValueError: The corpus has fewer words than asked for.
    """
    usable = rows.index[~rows["special"]].to_numpy()
    sentence = rows["sentence"].to_numpy()[usable]
    if words > len(usable):
        raise ValueError(
            f"{words} words were asked for, the corpus has {len(usable)}: ask for fewer, or take a larger corpus"
        )
    order = np.random.default_rng(seed).permutation(np.unique(sentence))
    sizes = pd.Series(sentence).value_counts().reindex(order).to_numpy()
    drawn = order[: int(np.searchsorted(np.cumsum(sizes), words)) + 1]
    return usable[np.isin(sentence, drawn)]


def compare(
    samples: Sequence[Sample], layers: Sequence[int], methods: Sequence[str], resamples: int = intervals.RESAMPLES
) -> list[dict[str, object]]:
    """Compare two models layer by layer, on every sample.

    Args:
        samples: Words with their vectors under the two models.
        layers: The number of each layer.
        methods: Names from MEASURES.
        resamples: Bootstrap resamples over sentences.

    Returns:
        Table rows: corpus, split, layer, method, value, interval, replicates, n (words).

    Raises:
        ValueError: An unknown measure, or vectors that cannot be compared.
    """
    unknown = [name for name in methods if name not in MEASURES]
    if unknown or not methods:
        raise ValueError(f"unknown measures {unknown}: expected some of {sorted(MEASURES)}")
    rows = []
    for sample in samples:
        x, y = sample.vectors
        _check(x, y, sample.sentence)
        weights = intervals.draws(sample.key, int(sample.sentence[-1]) + 1, resamples)
        for name in methods:
            measure = MEASURES[name]
            if measure.needs_same_width and x.shape[2] != y.shape[2]:
                raise ValueError(
                    f"{name} pairs coordinates: the models must be equally wide, got {x.shape[2]} and {y.shape[2]}"
                )
            for layer, one, other in zip(layers, x, y, strict=True):
                value, replicates = measure.function(one, other, sample.sentence, weights)
                rows.append(_row(sample, layer, name, "similarity", value, replicates))
    return rows


def geometry(
    samples: Sequence[Sample], layers: Sequence[int], resamples: int = intervals.RESAMPLES
) -> list[dict[str, object]]:
    """Describe one model's vectors layer by layer: their mean norm, the anisotropy, and how far one dimension dominates.

    Anisotropy is the mean cosine of two different words, in [-1, 1]; 0 where directions are spread evenly. It is computed
    over all pairs, from the sums of unit vectors of each sentence. Dominance is the share of the mean squared norm that the
    largest dimension of the sample carries, in [1 / hidden, 1].

    Returns:
        Table rows as `compare` gives them, with the metrics `norm`, `anisotropy` and `dominance`.

    Reference:
        Ethayarajh 2019, section 3.3; Timkey and van Schijndel 2021, section 3.
    """
    rows = []
    for sample in samples:
        _check(sample.vectors[0], sample.vectors[0], sample.sentence)
        sentences = int(sample.sentence[-1]) + 1
        weights = intervals.draws(sample.key, sentences, resamples)
        place = _by_sentence(sample.sentence)
        words = np.asarray(place.sum(1)).ravel()
        for layer, x in zip(layers, sample.vectors[0], strict=True):
            found = {"norm": intervals.ratio(place @ np.linalg.norm(x, axis=1).astype(float), words, weights)}
            sums = place @ _unit(x).astype(float)
            found["anisotropy"] = _pair_mean(np.ones((1, sentences)), sums, words)[0], _pair_mean(weights, sums, words)
            squares = place @ x.astype(float) ** 2
            largest = squares[:, squares.sum(0).argmax()]
            found["dominance"] = intervals.ratio(largest, squares.sum(1), weights)
            rows += [_row(sample, layer, "mean", name, float(v), replicates) for name, (v, replicates) in found.items()]
    return rows


def dominating(sample: Sample, layers: Sequence[int], count: int = 5) -> list[dict[str, object]]:
    """List the dimensions that carry most of the mean squared norm of one model's vectors.

    Args:
        sample: Words with their vectors.
        layers: The number of each layer.
        count: Dimensions a layer.

    Returns:
        For each layer: `layer` and `content`, a list with the `dimension`, its `share` of the mean squared norm in [0, 1],
        and the `mean` and standard deviation (`sd`) of its values; the largest share first.
    """
    listed = []
    for layer, x in zip(layers, sample.vectors[0], strict=True):
        squares = (x.astype(float) ** 2).mean(0)
        largest = np.argsort(-squares, kind="stable")[:count]
        columns = zip(
            largest, squares[largest] / squares.sum(), x[:, largest].mean(0), x[:, largest].std(0), strict=True
        )
        names = ("dimension", "share", "mean", "sd")
        content = [dict(zip(names, (int(d), *(round(float(v), 5) for v in rest)), strict=True)) for d, *rest in columns]
        listed.append({"layer": layer, "content": content})
    return listed


def _by_sentence(sentence: np.ndarray) -> sparse.csr_array:
    """Give the matrix `sentences words` that sums the words of each sentence."""
    words = len(sentence)
    return sparse.csr_array((np.ones(words), (sentence, np.arange(words))), (int(sentence[-1]) + 1, words))


def _pair_mean(weights: np.ndarray, sums: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Mean cosine over pairs of different words, pairs weighted as in `rsa`, from the sum of unit vectors of each sentence."""
    squares = weights.astype(float) ** 2
    norms = (sums**2).sum(1)
    cosines = ((weights @ sums) ** 2).sum(1) - squares @ norms + weights @ (norms - words)
    pairs = (weights @ words) ** 2 - squares @ words**2 + weights @ (words * (words - 1))
    # a resample of copies of one word has no pair and no mean
    return np.divide(cosines, pairs, out=np.full_like(cosines, np.nan), where=pairs > 0)


def _row(
    sample: Sample, layer: int, method: str, metric: str, value: float, replicates: np.ndarray
) -> dict[str, object]:
    where = {"corpus": sample.corpus, "split": sample.split, "layer": layer, "method": method, "metric": metric}
    return where | {"n": len(sample.sentence)} | intervals.row(value, replicates)


def _check(x: np.ndarray, y: np.ndarray, sentence: np.ndarray) -> None:
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"{x.shape[0]} layers cannot be paired with {y.shape[0]}: name as many of each with `layers`")
    if not x.shape[1] == y.shape[1] == len(sentence):
        raise ValueError(
            f"{x.shape[1]} and {y.shape[1]} words with {len(sentence)} sentence numbers: the two sides are out of step"
        )
    if x.shape[1] < 4:
        raise ValueError(f"{x.shape[1]} words are too few to compare: at least 4 are needed")
    for name, side in (("first", x), ("second", y)):
        if not np.isfinite(side).all():
            raise ValueError(f"the {name} model's vectors hold values that are not finite")
        if (np.abs(side).max(-1) == 0).any():
            raise ValueError(f"the {name} model has a word whose vector is zero, which has no direction")
        if (np.ptp(side, axis=1).max(-1) == 0).any():
            raise ValueError(
                f"the {name} model gives every word the same vector in some layer: there is no geometry to compare"
            )


def check_in_step(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Make sure that two stores list the same words in the same order.

    Raises:
        ValueError: They do not; the first row that differs is named.
    """
    columns = ["sentence", "segment", "word", "form"]
    if len(one) != len(other):
        raise ValueError(
            f"the two models' states have {len(one)} and {len(other)} rows: their tokenizers dropped different words"
        )
    different = (one[columns] != other[columns]).any(axis=1).to_numpy()
    if different.any():
        at = int(np.flatnonzero(different)[0])
        raise ValueError(
            f"the two models' states differ at row {at}: {one.loc[at, columns].to_dict()} and "
            f"{other.loc[at, columns].to_dict()}"
        )
