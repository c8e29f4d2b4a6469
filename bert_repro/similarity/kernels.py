"""Measures on kernels: hides the pairs of words, of which there are millions; gives RSA, CKA and neighbour overlap.

It refuses a vector without a direction; where all pairs of words look alike, its values are not numbers.

A kernel holds a number for each pair of words of one representation. All kernels of a call are formed once, a stripe at a
time and only on one side of the diagonal, whatever the number of comparisons and resamples.

A resample that draws sentence a w_a times weighs a pair of words of two sentences by w_a w_b, and one of a single sentence
by w_a: neither a word nor its sentence is ever paired with its own copy, whose pairs are no draw from the text and would
pull every resample to one side.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from bert_repro.results import intervals

Vectors = Float[np.ndarray, "words _hidden"]
Sentences = Int[np.ndarray, " words"]
Weights = Int[np.ndarray, "resamples sentences"]
Pairs = Sequence[tuple[int, int]]
Result = tuple[float, Float[np.ndarray, " resamples"]]

STRIPE = 2**25  # numbers of all kernels that are held at a time
NEIGHBOURS = 10


def as_is(x: Vectors) -> Vectors:
    """Leave the vectors as they are, in single precision unless they have more."""
    return x.astype(np.result_type(x.dtype, np.float32), copy=False)


def centred(x: Vectors) -> Vectors:
    """Take the mean vector of the sample away: what all words share, which raises every cosine."""
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
    counts = with_whole(weights)
    lengths = np.bincount(sentence).astype(float)
    number = over_pairs(counts, np.outer(lengths, lengths), lengths)
    sums = [kernel_sum(x, sentence, counts) for x in stack]
    # taken from their mean, as cosines that are all near 1 lose their differences in float32 when they are squared
    middles = [float(one[0] / number[0]) for one in sums]
    wanted = [*((i, i) for i in range(len(stack))), *pairs]
    products = _products(stack, wanted, sentence, counts, middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [one / number - middle for one, middle in zip(sums, middles, strict=True)]
        squares, cross = products[: len(stack)] / number, products[len(stack) :] / number
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
    counts = with_whole(weights)
    n = counts @ np.bincount(sentence)
    wanted = [*((i, i) for i in range(len(stack))), *pairs]
    products = _products(stack, wanted, sentence, counts, [0.0] * len(stack))
    rows = _row_products(stack, wanted, sentence, counts, debiased)
    sums = [kernel_sum(x, sentence, counts) for x in stack]
    with np.errstate(invalid="ignore", divide="ignore"):
        if debiased:
            sizes = (1 / ((n - 1) * (n - 2)), 2 / (n - 2))
        else:
            sizes = (1 / n**2, 2 / n)
            norms, first = [np.einsum("wh,wh->w", x, x, dtype=float) for x in stack], places(sentence)[:-1]
            products += np.array([counts @ np.add.reduceat(norms[i] * norms[j], first) for i, j in wanted])
            sums = [one + counts @ np.add.reduceat(norm, first) for one, norm in zip(sums, norms, strict=True)]
        criteria = [
            kl + sizes[0] * sums[i] * sums[j] - sizes[1] * row
            for (i, j), kl, row in zip(wanted, products, rows, strict=True)
        ]
        own, cross = criteria[: len(stack)], criteria[len(stack) :]
        return [
            _result(np.where((own[i] > 0) & (own[j] > 0) & (n > 3), hsic / np.sqrt(np.abs(own[i] * own[j])), np.nan))
            for (i, j), hsic in zip(pairs, cross, strict=True)
        ]


def rsa_spearman(stack: Iterable[Vectors], pairs: Pairs, sentence: Sentences, weights: Weights) -> list[Result]:
    """RSA by Spearman's rank correlation, which no small set of extreme cosines decides; arguments as in `rsa`.

    The cosines of all pairs of words are ranked, and again with each group of sentences left out, so that it takes some
    twenty times as long as `rsa` and holds all pairs in memory. Replicates are those of the jackknife, see
    `intervals.jackknife`.

    Reference:
        Nili et al. 2014, section on comparing dissimilarity matrices by rank.
    """
    upper = np.triu_indices(len(sentence), 1)
    ranked = []
    for x in map(unit, map(as_is, stack)):
        values, place = np.unique((x @ x.T)[upper], return_inverse=True)
        ranked.append((place, len(values)))
    groups = intervals.groups(sentence)
    of_pair = [groups[side] for side in upper]
    results = []
    for i, j in pairs:
        without = [
            _rank_correlation(
                ranked[i], ranked[j], None if group is None else (of_pair[0] != group) & (of_pair[1] != group)
            )
            for group in (None, *range(groups.max() + 1))
        ]
        results.append(intervals.jackknife(without[0], np.array(without[1:]), weights))
    return results


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
    sums, words = (np.add.reduceat(one, places(sentence)[:-1], dtype=float) for one in (each, np.ones(len(each))))
    value, replicates = intervals.ratio(sums, words, weights)
    return float(value), replicates


def _result(values: np.ndarray) -> Result:
    """Part the value on the whole sample, which comes first, from its replicates."""
    return float(values[0]), values[1:]


def with_whole(weights: np.ndarray) -> np.ndarray:
    """Put the sample itself, each sentence once, before its resamples."""
    return np.vstack([np.ones((1, weights.shape[1])), weights])


def places(sentence: np.ndarray) -> np.ndarray:
    """Give the first word of each sentence, and the number of words."""
    return np.flatnonzero(np.r_[True, sentence[1:] != sentence[:-1], True])


def _mean_square_one(x: np.ndarray) -> np.ndarray:
    """Scale a representation, so that sums of products stay within single precision."""
    return x / np.sqrt(np.einsum("wh,wh->", x, x, dtype=float) / len(x)).astype(x.dtype)


def over_pairs(counts: np.ndarray, matrix: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Sum a `sentences x sentences` matrix over drawn pairs of words; `lengths` is a word with itself, summed by sentence."""
    within = np.diag(matrix)
    return np.einsum("rs,rs->r", counts @ matrix, counts) - counts**2 @ within + counts @ (within - lengths)


def kernel_sum(x: np.ndarray, sentence: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum a linear kernel over drawn pairs of different words, from the sum of vectors of each sentence."""
    place = places(sentence)[:-1]
    sums = np.add.reduceat(x, place, axis=0, dtype=float)
    own = np.add.reduceat(np.einsum("wh,wh->w", x, x, dtype=float), place)
    norms = np.einsum("sh,sh->s", sums, sums)
    return np.einsum("rh,rh->r", counts @ sums, counts @ sums) - counts**2 @ norms + counts @ (norms - own)


def _stripes(sentence: np.ndarray, kernels: int) -> Iterator[tuple[int, int]]:
    """Cut the sentences into stretches whose rows of all kernels fit into a stripe; a sentence is never cut."""
    place = places(sentence)
    sentences, step = len(place) - 1, max(1, STRIPE // (kernels * len(sentence)))
    start = 0
    while start < sentences:
        stop = max(start + 1, int(np.searchsorted(place, place[start] + step, "right")) - 1)
        yield start, stop
        start = stop


def _products(
    stack: Sequence[np.ndarray], pairs: Pairs, sentence: np.ndarray, counts: np.ndarray, middles: Sequence[float]
) -> np.ndarray:
    """Sum products of two kernels over drawn pairs of different words: `pairs resamples`.

    Every kernel is formed once, from its diagonal on, and `middles` subtracted. Stripe by stripe the products are summed
    over the words of two sentences, and then over the sentences that each resample drew.
    """
    place, drawn = places(sentence), np.ascontiguousarray(counts.T)
    total = np.zeros((len(pairs), len(counts)))
    for start, stop in _stripes(sentence, len(stack)):
        origin, rows = place[start], slice(place[start], place[stop])
        own = np.arange(place[stop] - origin)
        kernels = []
        for x, middle in zip(stack, middles, strict=True):
            kernel = x[rows] @ x[origin:].T
            if middle:
                kernel -= x.dtype.type(middle)
            kernel[own, own] = 0  # a word with itself
            kernels.append(kernel)
        for a in range(start, stop):
            words, first = slice(place[a] - origin, place[a + 1] - origin), place[a] - origin
            mine = [kernel[words, first:] for kernel in kernels]
            by_word = np.stack([np.einsum("mn,mn->n", mine[i], mine[j]) for i, j in pairs])
            sums = np.add.reduceat(by_word, place[a:-1] - place[a], axis=1, dtype=float)
            total += drawn[a] * (sums[:, :1] + 2 * (sums[:, 1:] @ drawn[a + 1 :]))
    return total


def _row_products(
    stack: Sequence[np.ndarray], pairs: Pairs, sentence: np.ndarray, counts: np.ndarray, debiased: bool
) -> np.ndarray:
    """Sum, over drawn words, the product of their rows' sums in two linear kernels: `pairs resamples`."""
    place = places(sentence)[:-1]
    sums = [np.add.reduceat(x, place, axis=0, dtype=float) for x in stack]
    norms = [np.einsum("wh,wh->w", x, x) for x in stack]
    of_sentence = [np.einsum("wh,wh->w", x, s.astype(x.dtype)[sentence]) for x, s in zip(stack, sums, strict=True)]
    step = max(1, STRIPE // (len(stack) * len(sentence)))
    parts = []
    for at in range(0, len(counts), step):
        drawn = counts[at : at + step]
        of_word = drawn.T.astype(stack[0].dtype)[sentence]
        root = np.sqrt(of_word)
        rows = []
        for x, s, norm, inside in zip(stack, sums, norms, of_sentence, strict=True):
            row = x @ (drawn @ s).T.astype(x.dtype)
            # of its own sentence's copies a word sees one, and in that not itself, unless this is to count
            row -= of_word * inside[:, None]
            row += (inside - norm if debiased else inside)[:, None]
            row *= root  # on both sides of a product: the weight of its word
            rows.append(row)
        parts.append(np.array([np.einsum("wr,wr->r", rows[i], rows[j]) for i, j in pairs], float))
    return np.concatenate(parts, axis=1)


def _rank_correlation(one: tuple[np.ndarray, int], other: tuple[np.ndarray, int], kept: np.ndarray | None) -> float:
    """Correlate mean ranks of what is kept; values come as their place among the different ones, and how many there are."""
    ranks = []
    for place, different in (one, other):
        place = place if kept is None else place[kept]
        count = np.bincount(place, minlength=different)
        rank = (np.cumsum(count) - (count - 1) / 2)[place]
        ranks.append(rank - rank.mean())
    one_rank, other_rank = ranks
    with np.errstate(invalid="ignore"):
        return float(one_rank @ other_rank / np.sqrt((one_rank @ one_rank) * (other_rank @ other_rank)))


def _nearest(x: np.ndarray, count: int) -> np.ndarray:
    """Find the words with the largest cosines to each word: `words count`, in no order."""
    step = max(1, STRIPE // (4 * len(x)))
    found = []
    for start in range(0, len(x), step):
        kernel = x[start : start + step] @ x.T
        own = np.arange(len(kernel))
        kernel[own, start + own] = -np.inf
        found.append(np.argpartition(kernel, -count, axis=1)[:, -count:])
    return np.concatenate(found)
