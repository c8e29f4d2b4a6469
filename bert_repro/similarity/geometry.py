"""Plain geometry of one model's vectors: norm, anisotropy and the dimensions that dominate.

Errors are those of a similarity.
"""

from collections.abc import Sequence

import numpy as np

from bert_repro.results import intervals
from bert_repro.similarity.kernels import unit, word_mean
from bert_repro.similarity.samples import Sample, check
from bert_repro.similarity.sums import kernel_sum, over_pairs, places, with_whole


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
        check(sample.vectors[0], sample.vectors[0], sample.sentence)
        first, words = places(sample.sentence)[:-1], np.bincount(sample.sentence).astype(float)
        weights = intervals.draws(sample.key, len(words), resamples)
        counts = with_whole(weights)
        pairs = over_pairs(counts, np.outer(words, words), words)
        for layer, x in zip(layers, sample.vectors[0], strict=True):
            x = x.astype(float)
            cosines = kernel_sum(unit(x), sample.sentence, counts)
            # a resample of copies of one word has no pair and no mean
            means = np.divide(cosines, pairs, out=np.full_like(cosines, np.nan), where=pairs > 0)
            squares = np.add.reduceat(x**2, first)
            largest = squares[:, squares.sum(0).argmax()]
            metrics = {
                "norm": word_mean(np.linalg.norm(x, axis=1), sample.sentence, weights),
                "anisotropy": (means[0], means[1:]),
                "dominance": intervals.ratio(largest, squares.sum(1), weights),
            }
            rows += [
                sample.row("mean", name, float(value), replicates) | {"layer": layer}
                for name, (value, replicates) in metrics.items()
            ]
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
        content = [dict(zip(names, (int(d), *(round(float(v), 5) for v in row)), strict=True)) for d, *row in columns]
        listed.append({"layer": layer, "content": content})
    return listed
