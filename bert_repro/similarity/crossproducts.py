"""Measures on cross-products of dimensions: Procrustes, SVCCA and PWCCA, with jackknife intervals.

All three need only the products of dimensions summed over words, `hidden x hidden`. To leave a group of sentences out, what
it adds to these sums is subtracted; the words are read once.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from bert_repro.similarity.measure import Sentences, Vectors, jackknifed

KEPT = 0.99  # of the variance, in the directions that SVCCA looks at

_Products = tuple[np.ndarray, np.ndarray, np.ndarray]  # of x with x, y with y and x with y, centred


def _products(x: Vectors, y: Vectors, groups: Sentences) -> Iterator[_Products]:
    """Give centred cross-products of all words, and then without each group."""
    # from the mean of all, near that of most, so that no digits are lost when the rest is subtracted
    x, y = (side - side.mean(0, dtype=float) for side in (x, y))

    def summed(mask: np.ndarray) -> list[Any]:
        a, b = x[mask], y[mask]
        return [len(a), a.sum(0), b.sum(0), a.T @ a, b.T @ b, a.T @ b]

    def centre(sums: list[Any]) -> _Products:
        n, a, b, aa, bb, ab = sums
        return aa - np.outer(a, a) / n, bb - np.outer(b, b) / n, ab - np.outer(a, b) / n

    whole = summed(np.ones(len(x), bool))
    yield centre(whole)
    for group in range(groups.max() + 1):
        yield centre([total - part for total, part in zip(whole, summed(groups == group), strict=True)])


@partial(jackknifed, leaving_out=_products)
def procrustes(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> float:
    """Measure how close a rotation brings one representation to the other: 1 - d² / 2, both centred and scaled to norm 1.

    The narrower of two representations is padded with zeros. The similarity lies in [0, 1], 1 for equal geometry.

    Reference:
        Ding et al. 2021, section 2 (orthogonal Procrustes distance).
    """
    return float(np.linalg.svd(xy, compute_uv=False).sum() / np.sqrt(np.trace(xx) * np.trace(yy)))


@partial(jackknifed, leaving_out=_products)
def svcca(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> float:
    """Mean canonical correlation of the principal directions that carry 99 % of the variance, in [0, 1].

    Of as many directions as the side with fewer has. Needs many more words than dimensions: those of unrelated
    representations correlate by about the root of dimensions over words.

    Reference:
        Raghu et al. 2017, section 2.
    """
    crossed = _whitening(xx, KEPT).T @ xy @ _whitening(yy, KEPT)
    squares = np.linalg.eigvalsh(crossed @ crossed.T)  # of its singular values, which are the canonical correlations
    return float(np.sqrt(np.clip(squares[-min(crossed.shape) :], 0, 1)).mean())


@partial(jackknifed, leaving_out=_products)
def pwcca(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> float:
    """Canonical correlations, each weighted by what its direction accounts for in the dimensions of the first side.

    Not symmetric; values and the need of many words as in `svcca`, on all directions.

    Reference:
        Morcos et al. 2018, section 2.2.
    """
    white = _whitening(xx)
    crossed = white.T @ xy @ _whitening(yy)
    squares, directions = np.linalg.eigh(crossed @ crossed.T)
    many = min(crossed.shape)
    combined = white @ directions[:, -many:]  # the canonical variables, of the dimensions of x
    share = np.abs(combined.T @ xx).sum(1)  # what each accounts for in all of them
    return float(np.sqrt(np.clip(squares[-many:], 0, 1)) @ share / share.sum())


def _whitening(products: np.ndarray, kept: float = 1.0) -> np.ndarray:
    """Give the map from dimensions to principal directions of variance 1, as many as carry `kept` of all variance."""
    variance, directions = np.linalg.eigh(products)
    variance, directions = variance[::-1], directions[:, ::-1]
    real = int((variance > variance[0] * len(variance) * np.finfo(variance.dtype).eps).sum())  # others are rounding
    share = np.cumsum(variance[:real]) / variance[:real].sum()
    many = min(real, int(np.searchsorted(share, kept)) + 1)
    return directions[:, :many] / np.sqrt(variance[:many])
