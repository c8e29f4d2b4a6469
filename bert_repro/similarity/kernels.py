"""Measures on kernels: RSA, CKA and neighbour overlap, over millions of pairs of words.

A vector without a direction is an error; where all pairs of words look alike, the values are not numbers.

A kernel holds a number for each pair of words of one representation. All kernels of a call are formed once, a stripe at a
time and only on one side of the diagonal, whatever the number of comparisons and resamples; how the pairs of a resample are
summed stands in `sums`.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from jaxtyping import Float

from bert_repro.results import intervals
from bert_repro.similarity import sums
from bert_repro.similarity.measure import Pairs, Result, Sentences, Vectors, Weights, jackknifed, kept

NEIGHBOURS = 10


def as_is(x: Vectors) -> Vectors:
    """Leave the vectors as they are, in single precision unless they have more."""
    return x.astype(np.result_type(x.dtype, np.float32), copy=False)


def centred(x: Vectors) -> Vectors:
    """Subtract the mean vector of the sample, which all words share and which raises every cosine."""
    x = as_is(x)
    return x - x.mean(0, dtype=float).astype(x.dtype)


def standardised(x: Vectors) -> Vectors:
    """Give every dimension mean 0 and variance 1, so that none dominates.

    A dimension that is constant, but for the last bit of the half precision in which states are stored, becomes 0.

    Reference:
        Timkey and van Schijndel 2021, section 4.
    """
    mean, spread = x.mean(0, dtype=float), x.std(0, dtype=float)
    varied = spread > np.abs(mean) * 2.0**-10
    return centred(x) * np.where(varied, 1 / np.where(varied, spread, 1), 0).astype(as_is(x).dtype)


def unit(x: Vectors) -> Vectors:
    """Scale each vector to length 1.

    Raises:
        ValueError: A vector of length 0, which has no direction.
    """
    length = np.sqrt(np.einsum("wh,wh->w", x, x))[:, None]
    if not length.all():
        raise ValueError(f"word {int(np.argmin(length))} has a vector of length zero, which has no direction")
    return x / length


def rsa(
    stack: Iterable[Vectors],
    pairs: Pairs,
    sentence: Sentences,
    weights: Weights,
    prepare: Callable[[Vectors], Vectors] = as_is,
) -> list[Result]:
    """Representational similarity analysis: Pearson correlation of two cosine kernels over all pairs of words.

    Args:
        stack: Representations of the same words, gone through once; their widths may differ.
        pairs: Which of them are compared, by position.
        sentence: The sentence of each word, 0 .. sentences - 1, ascending.
        weights: How often each resample drew each sentence.
        prepare: What is done to the vectors first: `as_is`, `centred` or `standardised`, on the whole sample.

    Returns:
        For each pair the similarity in [-1, 1], 1 for kernels equal up to scale and shift; and its value in every resample.
        NaN where no two pairs of words have different cosines.

    Reference:
        Kriegeskorte et al. 2008; Abnar et al. 2019, section 3 (cosine kernel, Pearson over the upper triangle).
    """
    stack = [unit(prepare(x)) for x in stack]
    counts = sums.with_whole(weights)
    lengths = np.bincount(sentence).astype(float)
    number = sums.over_pairs(counts, np.outer(lengths, lengths), lengths)
    totals = [sums.kernel_sum(x, sentence, counts) for x in stack]
    # taken from their mean, as cosines that are all near 1 lose their differences in float32 when they are squared
    middles = [float(total[0] / number[0]) for total in totals]
    cells = [*((i, i) for i in range(len(stack))), *pairs]
    crossed = sums.products(stack, cells, sentence, counts, middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [total / number - middle for total, middle in zip(totals, middles, strict=True)]
        squares, cross = crossed[: len(stack)] / number, crossed[len(stack) :] / number
        spreads = [square - mean**2 for square, mean in zip(squares, means, strict=True)]
        varied = [v > 1e-6 * square + 1e-12 for v, square in zip(spreads, squares, strict=True)]  # not mere rounding
        return [
            _result(
                np.where(varied[i] & varied[j], (kl - means[i] * means[j]) / np.sqrt(spreads[i] * spreads[j]), np.nan)
            )
            for (i, j), kl in zip(pairs, cross, strict=True)
        ]


def cka(
    stack: Iterable[Vectors], pairs: Pairs, sentence: Sentences, weights: Weights, debiased: bool = True
) -> list[Result]:
    """Centred kernel alignment of linear kernels; arguments as in `rsa`.

    Args:
        debiased: Leave a word's product with itself out and correct for it (Song et al.), so that unrelated
            representations score about 0; otherwise the biased estimate, which nears 1 for any two of them when words are
            few beside dimensions.

    Returns:
        For each pair the similarity, 1 for equal geometry; in [0, 1] where biased, a little below 0 at times where not; and
        its value in every resample. NaN where there are too few words, or one vector for all.

    Reference:
        Kornblith et al. 2019, section 3; Song et al. 2012, equation 5; Murphy et al. 2024.
    """
    stack = [_mean_square_one(centred(x)) for x in stack]
    counts = sums.with_whole(weights)
    n = counts @ np.bincount(sentence)
    cells = [*((i, i) for i in range(len(stack))), *pairs]
    crossed = sums.products(stack, cells, sentence, counts, [0.0] * len(stack))
    rows = sums.row_products(stack, cells, sentence, counts, debiased)
    totals = [sums.kernel_sum(x, sentence, counts) for x in stack]
    with np.errstate(invalid="ignore", divide="ignore"):
        if debiased:
            sizes = (1 / ((n - 1) * (n - 2)), 2 / (n - 2))
        else:
            sizes = (1 / n**2, 2 / n)
            norms, first = [np.einsum("wh,wh->w", x, x, dtype=float) for x in stack], sums.places(sentence)[:-1]
            crossed += np.array([counts @ np.add.reduceat(norms[i] * norms[j], first) for i, j in cells])
            totals = [total + counts @ np.add.reduceat(norm, first) for total, norm in zip(totals, norms, strict=True)]
        criteria = [
            kl + sizes[0] * totals[i] * totals[j] - sizes[1] * row
            for (i, j), kl, row in zip(cells, crossed, rows, strict=True)
        ]
        own, cross = criteria[: len(stack)], criteria[len(stack) :]
        return [
            _result(np.where((own[i] > 0) & (own[j] > 0) & (n > 3), hsic / np.sqrt(np.abs(own[i] * own[j])), np.nan))
            for (i, j), hsic in zip(pairs, cross, strict=True)
        ]


_Ranked = tuple[np.ndarray, int]  # of each pair of words its place among the different cosines; how many there are


def _ranked(x: Vectors) -> _Ranked:
    x = unit(as_is(x))
    values, place = np.unique((x @ x.T)[_upper(len(x))], return_inverse=True)
    return place, len(values)


def _upper(words: int) -> np.ndarray:
    """Mark the entries of a kernel for two different words, each pair once: `words words`."""
    return ~np.tri(words, dtype=bool)


def _ranked_without(x: _Ranked, y: _Ranked, groups: Sentences) -> Iterator[tuple[_Ranked, _Ranked, np.ndarray]]:
    upper = _upper(len(groups))
    return ((x, y, np.logical_and.outer(words, words)[upper]) for words in kept(groups))


@partial(jackknifed, prepare=_ranked, leaving_out=_ranked_without)
def rsa_spearman(x: _Ranked, y: _Ranked, pairs: np.ndarray) -> float:
    """RSA by Spearman's rank correlation, which no small set of extreme cosines decides; arguments as in `rsa`.

    The cosines of all pairs of words are ranked, and again with each group of sentences left out, so that it takes 20
    (1,000 words) to 130 (5,000) times as long as `rsa` and holds all pairs in memory. Replicates are those of the jackknife.

    Reference:
        Nili et al. 2014, section on comparing dissimilarity matrices by rank.
    """
    ranks = []
    for place, different in (x, y):
        count = np.bincount(place[pairs], minlength=different)
        rank = (np.cumsum(count) - (count - 1) / 2)[place[pairs]]  # equal cosines share their mean rank
        ranks.append(rank - rank.mean())
    left, right = ranks
    with np.errstate(invalid="ignore"):
        return float(left @ right / np.sqrt((left @ left) * (right @ right)))


def neighbour_overlap(
    stack: Iterable[Vectors], pairs: Pairs, sentence: Sentences, weights: Weights, count: int = NEIGHBOURS
) -> list[Result]:
    """Share of a word's nearest neighbours that are the same in both representations; arguments as in `rsa`.

    Neighbours are the `count` words of the sample with the largest cosine, or half of the others where the sample is
    small; they stay the same in every resample, which draws the words whose neighbours are compared.

    Returns:
        For each pair the mean share in [0, 1]; and its value in every resample.

    Reference:
        Klabunde et al. 2024, the nearest-neighbour measures.
    """
    count = min(count, (len(sentence) - 1) // 2)
    near = [_nearest(unit(as_is(x)), count) for x in stack]
    return [
        word_mean((near[i][:, :, None] == near[j][:, None, :]).sum((1, 2)) / count, sentence, weights) for i, j in pairs
    ]


def paired_cosine(
    stack: Iterable[Vectors],
    pairs: Pairs,
    sentence: Sentences,
    weights: Weights,
    prepare: Callable[[Vectors], Vectors] = as_is,
) -> list[Result]:
    """Mean cosine of each word's two vectors; first-order: it knows nothing of geometry and reacts to any rotation.

    Arguments as in `rsa`, the widths being equal.

    Returns:
        For each pair the mean in [-1, 1], 1 for vectors of equal direction; and its value in every resample.
    """
    stack = [unit(prepare(x)) for x in stack]
    return [word_mean(np.einsum("wh,wh->w", stack[i], stack[j]), sentence, weights) for i, j in pairs]


def word_mean(each: Float[np.ndarray, " words"], sentence: Sentences, weights: Weights) -> Result:
    """Average a number of each word over words, and over those of every resample."""
    totals, words = (
        np.add.reduceat(values, sums.places(sentence)[:-1], dtype=float) for values in (each, np.ones(len(each)))
    )
    value, replicates = intervals.ratio(totals, words, weights)
    return float(value), replicates


def _result(values: np.ndarray) -> Result:
    """Separate the value on the whole sample, which comes first, from its replicates."""
    return float(values[0]), values[1:]


def _mean_square_one(x: np.ndarray) -> np.ndarray:
    """Scale a representation, so that totals of products stay within single precision."""
    return x / np.sqrt(np.einsum("wh,wh->", x, x, dtype=float) / len(x)).astype(x.dtype)


def _nearest(x: np.ndarray, count: int) -> np.ndarray:
    """Find the words with the largest cosines to each word: `words count`, in no order."""
    step = sums.rows_at_a_time(4, len(x))
    neighbours = []
    for start in range(0, len(x), step):
        kernel = x[start : start + step] @ x.T
        own = np.arange(len(kernel))
        kernel[own, start + own] = -np.inf
        neighbours.append(np.argpartition(kernel, -count, axis=1)[:, -count:])
    return np.concatenate(neighbours)
