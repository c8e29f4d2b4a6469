"""Uncertainty: hides how sentences are resampled and how replicates become an interval.

It refuses to resample words, which depend on one another inside a sentence; the unit is always the sentence.

Every statistic of the project is written as a function of *sentence weights* (how often each sentence was drawn), so one
set of draws serves every layer, model and metric. The draws are seeded by the corpus: two models measured on the same
sentences see the same draws, and any two rows of a table can be paired afterwards by subtracting their replicates.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import special  # not stats, which takes a second to import

RESAMPLES = 1000  # behind each interval
GROUPS = 20  # of sentences, in a jackknife
KEPT = 200  # replicates kept beside a table, enough to pair any two rows later


def draws(key: str, sentences: int, resamples: int = RESAMPLES) -> Int[np.ndarray, "resamples sentences"]:
    """Draw sentences with replacement: how often each one occurs in each resample.

    Args:
        key: What was sampled, e.g. the corpus digest; equal keys give equal draws.
        sentences: Number of sentences, at least 2.
        resamples: Number of bootstrap resamples.

    Returns:
        Counts; each row sums to `sentences`.

    Raises:
        ValueError: Fewer than two sentences, which have no spread to estimate.
    """
    if sentences < 2:
        raise ValueError(f"an interval needs at least 2 sentences, got {sentences}: use a larger sample")
    seed = int.from_bytes(hashlib.sha256(f"{key}/{sentences}".encode()).digest()[:8], "little")
    picks = np.random.default_rng(seed).integers(sentences, size=(resamples, sentences))
    counts = np.zeros((resamples, sentences), np.int64)
    np.add.at(counts, (np.arange(resamples)[:, None], picks), 1)
    return counts


def ratio(
    numerator: Float[np.ndarray, "*layers sentences"],
    denominator: Float[np.ndarray, "... sentences"],
    weights: Int[np.ndarray, "resamples sentences"],
) -> tuple[Float[np.ndarray, "*layers"], Float[np.ndarray, "*layers resamples"]]:
    """Pool a per-sentence ratio (correct edges over edges, summed cosines over words) and resample it.

    Returns:
        The value on all sentences, and one value a resample (NaN where a resample drew no denominator).
    """
    with np.errstate(invalid="ignore"):
        value = np.asarray(numerator.sum(-1) / denominator.sum(-1))
        return value, (numerator @ weights.T) / (denominator @ weights.T)


def row(value: float, replicates: Float[np.ndarray, " resamples"]) -> dict[str, object]:
    """Turn a value and its bootstrap replicates into the columns of a table row.

    Returns:
        `value`, the percentile interval `ci_low` and `ci_high` at 95 %, and the first `KEPT` replicates.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    low, high = percentiles(replicates)
    return {
        "value": float(value),
        "ci_low": low,
        "ci_high": high,
        "replicates": np.asarray(replicates[:KEPT], np.float32),
    }


def percentiles(replicates: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """Give the 2.5th and 97.5th percentile of bootstrap replicates, leaving undefined ones out."""
    low, high = np.nanpercentile(replicates, [2.5, 97.5])
    return float(low), float(high)


def difference(
    value: float,
    replicates: Float[np.ndarray, " resamples"],
    other_value: float,
    other_replicates: Float[np.ndarray, " other_resamples"],
) -> tuple[float, float, float]:
    """Subtract two rows measured on the same draws: difference, lower and upper end of its paired interval.

    Raises:
        ValueError: Different numbers of replicates: the rows do not come from the same draws.
    """
    if len(replicates) != len(other_replicates):
        raise ValueError(
            f"cannot pair {len(replicates)} with {len(other_replicates)} replicates: the rows were drawn differently"
        )
    return value - other_value, *percentiles(np.asarray(replicates) - np.asarray(other_replicates))


def less(row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, object]:
    """Subtract two rows measured on the same draws: value, interval and replicates of their difference."""
    low_high = difference(row["value"], row["replicates"], other["value"], other["replicates"])
    names = ("value", "ci_low", "ci_high")
    return dict(zip(names, low_high, strict=True)) | {"replicates": row["replicates"] - other["replicates"]}


def groups(sentence: Int[np.ndarray, " words"], count: int = GROUPS) -> Int[np.ndarray, " words"]:
    """Deal sentences into groups for a jackknife, one after the other, and say for each word which one it is in."""
    return sentence % min(count, int(sentence[-1]) + 1)


def jackknife(
    value: float,
    without: Float[np.ndarray, " groups"],
    weights: Int[np.ndarray, "resamples sentences"],
) -> tuple[float, Float[np.ndarray, " resamples"]]:
    """Make replicates, for what is too dear to be computed on every resample, from values without one group of sentences.

    What a group adds to the value, value without it against the mean of such values, is spread over its sentences; a
    replicate adds it up as often as each was drawn. Its spread is the standard error of the delete-a-group jackknife,
    widened by Student's t as there are few groups. Being made from the same draws, replicates pair with those of a
    bootstrap.

    Args:
        value: On all sentences.
        without: Without each of the groups, as `groups` deals them.
        weights: How often each resample drew each sentence.

    Returns:
        The value and its replicates.

    Reference:
        Shao and Tu 1995, The Jackknife and Bootstrap, section 2.3; Efron and Tibshirani 1993, section 11.5 (the linear
        approximation of the bootstrap).
    """
    many = len(without)
    of_sentence = groups(np.arange(weights.shape[1]))
    sizes = np.bincount(of_sentence)
    adds = ((without.mean() - without) / np.sqrt(sizes))[of_sentence]
    wider = special.stdtrit(many - 1, 0.975) / special.ndtri(0.975)
    return float(value), value + wider * np.sqrt((many - 1) / many) * ((weights - 1) @ (adds - adds.mean()))


def together(
    values: Float[np.ndarray, " rows"], replicates: Float[np.ndarray, "rows resamples"]
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Give intervals that hold for several rows at once, at 95 %: of all, each row's is as wide in its own standard errors.

    The width is the 95th percentile, over resamples, of the largest deviation among the rows, in standard errors: where one
    such interval leaves 0, that is more than the best of so many tries would do by chance.

    Args:
        values: Of the rows, such as the layers of a curve.
        replicates: Theirs, from the same draws.

    Returns:
        Lower and upper ends; a row whose replicates do not vary is left where it is.

    Reference:
        Davison and Hinkley 1997, Bootstrap Methods and their Application, section 4.2.4 (studentised maximum).
    """
    error = replicates.std(1, ddof=1)
    moved = np.divide(
        np.abs(replicates - replicates.mean(1, keepdims=True)), error[:, None], out=np.zeros_like(replicates), where=error[:, None] > 0
    )  # fmt: skip
    width = np.percentile(moved.max(0), 95)
    return values - width * error, values + width * error
