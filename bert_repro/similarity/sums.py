"""Sums over the pairs of words in a resample, of which there are millions, without forming any of them.

A kernel holds a number for each pair of words of one representation. A resample that draws sentence a w_a times weighs a
pair of words of two sentences by w_a w_b, and one of a single sentence by w_a: neither a word nor its sentence is ever paired
with its own copy, whose pairs are no draw from the text and would pull every resample to one side.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from bert_repro.similarity.measure import Pairs

STRIPE = 2**25  # numbers of all kernels that are held at a time


def rows_at_a_time(kernels: int, words: int) -> int:
    """Say how many rows of so many kernels, or columns of so many words, are held at a time."""
    return max(1, STRIPE // (kernels * words))


def with_whole(weights: np.ndarray) -> np.ndarray:
    """Prepend the sample itself, each sentence once, to its resamples."""
    return np.vstack([np.ones((1, weights.shape[1])), weights])


def places(sentence: np.ndarray) -> np.ndarray:
    """Give the first word of each sentence, and the number of words."""
    return np.flatnonzero(np.r_[True, sentence[1:] != sentence[:-1], True])


def over_pairs(counts: np.ndarray, kernel: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Sum a kernel over all drawn pairs of different words, from its sums over the words of two sentences.

    With w_a how often a resample drew sentence a, K_ab the kernel summed over a word of a and one of b, and D_a the kernel of
    a word of a with itself:

        sum_ab w_a w_b K_ab  -  sum_a w_a^2 K_aa  +  sum_a w_a (K_aa - D_a)

    Args:
        counts: w, `resamples sentences`.
        kernel: K, `sentences sentences`.
        diagonal: D, `sentences`.

    Returns:
        The sum in every resample: `resamples`.
    """
    every_copy = np.einsum("ra,ra->r", counts @ kernel, counts)
    return _without_own_copies(every_copy, np.diag(kernel), diagonal, counts)


def kernel_sum(x: np.ndarray, sentence: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum a linear kernel over all drawn pairs of different words: `over_pairs` of K_ab = s_a . s_b, which is never formed.

    With s_a the sum of the vectors of sentence a, the first term is |sum_a w_a s_a|^2, and D_a the sum of |x_i|^2 in a.

    Args:
        x: Vectors, `words hidden`.
        sentence: The sentence of each word, `words`.
        counts: w, `resamples sentences`.

    Returns:
        The sum in every resample: `resamples`.
    """
    place = places(sentence)[:-1]
    sums = np.add.reduceat(x, place, axis=0, dtype=float)
    diagonal = np.add.reduceat(np.einsum("wh,wh->w", x, x, dtype=float), place)
    within = np.einsum("ah,ah->a", sums, sums)
    every_copy = np.einsum("rh,rh->r", counts @ sums, counts @ sums)
    return _without_own_copies(every_copy, within, diagonal, counts)


def _without_own_copies(
    every_copy: np.ndarray, within: np.ndarray, diagonal: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """From a sum over all pairs of drawn copies, subtract those within a sentence, and add those within each single copy
    again.

    Args:
        every_copy: The sum, `resamples`.
        within: K_aa, `sentences`.
        diagonal: D_a, `sentences`: no word is paired with itself.
        counts: w, `resamples sentences`.
    """
    return every_copy - counts**2 @ within + counts @ (within - diagonal)


def _stripes(sentence: np.ndarray, kernels: int) -> Iterator[tuple[int, int]]:
    """Cut the sentences into stretches whose rows of all kernels fit into a stripe; a sentence is never cut."""
    place = places(sentence)
    sentences, step = len(place) - 1, rows_at_a_time(kernels, len(sentence))
    start = 0
    while start < sentences:
        stop = max(start + 1, int(np.searchsorted(place, place[start] + step, "right")) - 1)
        yield start, stop
        start = stop


def products(
    stack: Sequence[np.ndarray], pairs: Pairs, sentence: np.ndarray, counts: np.ndarray, middles: Sequence[float]
) -> np.ndarray:
    """Sum the products of two kernels over drawn pairs of different words.

    With P_ab the sum of (K_ij - k)(L_ij - l) over the words i of sentence a and j of b, i and j being different, and k and l
    the kernels' `middles`:

        sum_a w_a (P_aa + 2 sum_{b > a} w_b P_ab)

    Every kernel is formed once, from its diagonal on and stripe by stripe, whatever the number of pairs and resamples.

    Args:
        stack: Representations whose linear kernels are meant, `words hidden` each.
        pairs: Which of them are multiplied.
        sentence: The sentence of each word, `words`.
        counts: w, `resamples sentences`.
        middles: What is subtracted from each kernel, one number a representation.

    Returns:
        The sums: `pairs resamples`.
    """
    place, drawn = places(sentence), np.ascontiguousarray(counts.T)
    total = np.zeros((len(pairs), len(counts)))
    for start, stop in _stripes(sentence, len(stack)):
        rows = slice(place[start], place[stop])
        kernels = [_stripe(x, middle, rows) for x, middle in zip(stack, middles, strict=True)]
        for a in range(start, stop):
            of_a = slice(place[a] - rows.start, place[a + 1] - rows.start)
            of_words = [kernel[of_a, of_a.start :] for kernel in kernels]  # words of a, all words from a on
            by_word = np.stack([np.einsum("ij,ij->j", of_words[k], of_words[m]) for k, m in pairs])
            summed = np.add.reduceat(by_word, place[a:-1] - place[a], axis=1, dtype=float)  # P_ab: pairs sentences
            total += drawn[a] * (summed[:, :1] + 2 * (summed[:, 1:] @ drawn[a + 1 :]))
    return total


def _stripe(x: np.ndarray, middle: float, rows: slice) -> np.ndarray:
    """Form the rows of some words in a linear kernel, from the diagonal on: `rows words`, of the words from the first row on."""
    kernel = x[rows] @ x[rows.start :].T
    if middle:
        kernel -= x.dtype.type(middle)
    np.fill_diagonal(kernel, 0)  # a word with itself
    return kernel


def row_products(
    stack: Sequence[np.ndarray], pairs: Pairs, sentence: np.ndarray, counts: np.ndarray, debiased: bool
) -> np.ndarray:
    """Sum, over drawn words, the product of their row sums in two linear kernels.

    With a the sentence of word i, and K_ib the kernel of i summed over the words of sentence b:

        sum_i w_a R_i(K) R_i(L),    R_i(K) = sum_b w_b K_ib  -  w_a K_ia  +  K_ia  [- K_ii]

    as of its own sentence's copies a word sees one alone, and in that not itself where the estimate is `debiased`.

    Args:
        stack: Representations, `words hidden` each.
        pairs: Which of them are multiplied.
        sentence: The sentence of each word, `words`.
        counts: w, `resamples sentences`.
        debiased: Whether the last term counts.

    Returns:
        The sums: `pairs resamples`.
    """
    place = places(sentence)[:-1]
    sums = [np.add.reduceat(x, place, axis=0, dtype=float) for x in stack]
    own = [np.einsum("wh,wh->w", x, s.astype(x.dtype)[sentence]) for x, s in zip(stack, sums, strict=True)]  # K_ia
    once = [inside - np.einsum("wh,wh->w", x, x) if debiased else inside for x, inside in zip(stack, own, strict=True)]
    step = rows_at_a_time(len(stack), len(sentence))
    parts = []
    for drawn in (counts[at : at + step] for at in range(0, len(counts), step)):
        of_word = drawn.T.astype(stack[0].dtype)[sentence]  # w_a: words resamples
        root = np.sqrt(of_word)
        rows = []
        for x, s, inside, single in zip(stack, sums, own, once, strict=True):
            row = x @ (drawn @ s).T.astype(x.dtype)  # words resamples
            row -= of_word * inside[:, None]
            row += single[:, None]
            row *= root  # on both sides of a product: together w_a
            rows.append(row)
        parts.append(np.array([np.einsum("wr,wr->r", rows[k], rows[m]) for k, m in pairs], float))
    return np.concatenate(parts, axis=1)
