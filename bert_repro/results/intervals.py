"""Uncertainty: resamples sentences and turns replicates into intervals.

Words are never resampled, as those of a sentence depend on one another; the unit is always the sentence.

Every statistic of the project is written as a function of *sentence weights* (how often each sentence was drawn), so one
set of draws serves every layer, model and metric. The draws are seeded by the corpus: two models measured on the same
sentences see the same draws, and two rows of these can be paired afterwards by subtracting their replicates. Where one leaves
out sentences that the other keeps, as random labels of arcs do, the draws differ: the interval is that of two samples.
"""

import hashlib
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import special  # not stats, which takes a second to import

RESAMPLES = 1000  # behind each interval
GROUPS = 20  # of sentences, in a jackknife
LEAST = 10  # units of an interval: of ten, one at 95 % holds a mean in 90 % of the cases, of five in 83 %
KEPT = 200  # replicates beside a table's row, the first: they give a standard error to 5 %, and all of them its own interval


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
        The value on all sentences, and one value per resample (NaN where a resample drew no denominator).
    """
    with np.errstate(invalid="ignore"):
        value = np.asarray(numerator.sum(-1) / denominator.sum(-1))
        return value, (numerator @ weights.T) / (denominator @ weights.T)


def row(value: float, replicates: Float[np.ndarray, " resamples"], units: int | None = None) -> dict[str, object]:
    """Turn a value and its replicates into the columns of a table row.

    Args:
        value: The value.
        replicates: Its replicates; NaN are left out of the interval.
        units: How many units were resampled.

    Returns:
        `value`, the percentile interval `ci_low` and `ci_high` at 95 %, and the replicates.

    Reference:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    low, high = percentiles(replicates)
    return {
        "value": float(value),
        "ci_low": low,
        "ci_high": high,
        "replicates": np.asanyarray(replicates, np.float32),
        "units": units,
    }


def rows(
    about: dict[str, object],
    layers: Sequence[int | None],
    value: Float[np.ndarray, " layers"],
    replicates: Float[np.ndarray, "layers resamples"],
    units: int,
) -> list[dict[str, object]]:
    """Make a row of each layer, see `row`; None is the layer of what has none."""
    return [
        about | ({} if layer is None else {"layer": layer}) | row(value[i], replicates[i], units)
        for i, layer in enumerate(layers)
    ]


def percentiles(replicates: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """Give the 2.5th and 97.5th percentile of bootstrap replicates, leaving undefined ones out."""
    low, high = np.nanpercentile(replicates, [2.5, 97.5])
    return float(low), float(high)


def difference(
    value: float,
    replicates: Float[np.ndarray, " resamples"],
    other_value: float,
    other_replicates: Float[np.ndarray, " other_resamples"],
) -> tuple[float, float, float, np.ndarray]:
    """Subtract two rows measured on the same draws: difference, lower and upper end of its paired interval, replicates.

    Raises:
        ValueError: See `minus`.
    """
    drawn = minus(replicates, other_replicates)
    return value - other_value, *percentiles(drawn), drawn


class Repeats(NamedTuple):
    """One number measured on several trainings: its variation between seeds, and under resampling of sentences.

    Attributes:
        seeds: What distinguishes the trainings, each once.
        values: The number, by seed.
        replicates: Replicates of each, on the same resamples.
    """

    seeds: tuple[Hashable, ...]
    values: Float[np.ndarray, " seeds"]
    replicates: Float[np.ndarray, "seeds resamples"]

    def minus(self, other: "Repeats") -> "Repeats":
        """Subtract seed by seed and resample by resample, of the seeds that both have."""
        seeds = [seed for seed in self.seeds if seed in other.seeds]
        own, partners = ([side.seeds.index(seed) for seed in seeds] for side in (self, other))
        replicates = minus(self.replicates[own], other.replicates[partners])
        return Repeats(tuple(seeds), self.values[own] - other.values[partners], replicates)


class Estimate(NamedTuple):
    """A mean over seeds, or a difference of two, with what makes it uncertain.

    With a mean of k seeds whose values have the variance s², its half-width at 95 % is

        sqrt(1.96² V_units + t(k - 1)² s² / k),

    a term for each side with seeds of its own. Two sides of equally many seeds share one, with the sum of their variances and
    the degrees of freedom of Welch, as two terms would cover too much (.996 with two seeds on either side). Where a side has
    one seed, nothing is known of its variation, and nothing is added.

    Attributes:
        value: The mean, or the difference of means.
        units: Its standard error for other draws of sentences alone: of its replicates.
        seeds: s² / k and degrees of freedom of each term.
        ends: Ends of an interval that was found otherwise, such as by permutations; p values go by its longer side.
    """

    value: float
    units: float
    seeds: tuple[tuple[float, float], ...] = ()
    ends: tuple[float, float] | None = None

    def half_width(self, tail: float = 0.025) -> float:
        """Give half the width of the interval that leaves out this probability at either end."""
        student = sum(variance * special.stdtrit(free, 1 - tail) ** 2 for variance, free in self.seeds)
        return float(np.sqrt((special.ndtri(1 - tail) * self.units) ** 2 + student))

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the interval at 95 %."""
        half = self.half_width()
        return self.ends or (self.value - half, self.value + half)

    def p_below(self, border: float) -> float:
        """Give the one-sided p value of "it is `border` or more": small where the estimate lies far below.

        It is the tail probability at which the interval ends at the border, so that p and interval never disagree.
        """
        distance = border - self.value
        if distance <= 0:
            return 1.0 if distance < 0 else 0.5
        low, high = 1e-12, 0.5
        if self.half_width(low) <= distance:
            return low
        for _ in range(60):  # half widths shrink as tails grow
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self.half_width(middle) > distance else (low, middle)
        return high

    def p_above(self, border: float) -> float:
        """Give the one-sided p value of "it is `border` or less"."""
        return self._replace(value=-self.value).p_below(-border)


def mean(repeats: Repeats) -> Estimate:
    """Average over seeds.

    Raises:
        ValueError: No seed.
    """
    k = len(repeats.seeds)
    if not k:
        raise ValueError("no seed is common to both sides: there is nothing to average")
    error = float(np.nanstd(repeats.replicates.mean(0), ddof=1))
    seeds = ((float(repeats.values.var(ddof=1)) / k, k - 1.0),) if k > 1 else ()
    return Estimate(float(repeats.values.mean()), error, seeds)


def contrast(left: Repeats, right: Repeats, paired: bool) -> Estimate:
    """Subtract the mean over the seeds of one side from that of another.

    Args:
        left: One side.
        right: The other side.
        paired: Whether equal seeds are of one training, or begin alike: the difference is then taken seed by seed, of the
            seeds that both have. Otherwise the sides vary independently, and each with two seeds or more adds its term.
    """
    if paired:
        return mean(left.minus(right))
    a, b = mean(left), mean(right)
    replicates = minus(left.replicates.mean(0), right.replicates.mean(0))
    seeds = a.seeds + b.seeds
    if len(left.seeds) == len(right.seeds) > 1:
        (u, free), (v, _) = seeds
        seeds = ((u + v, free * (u + v) ** 2 / (u**2 + v**2) if u + v else free),)
    return Estimate(a.value - b.value, float(np.nanstd(replicates, ddof=1)), seeds)


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p values for their number: rejecting those below .05 has a family-wise error rate of .05.

    Reference:
        Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = largest
    return corrected


class Jackknifed(np.ndarray):
    """Replicates of a jackknife: their spread is right, but they follow no draw, so that none pairs with one of a bootstrap."""


def minus(left: Float[np.ndarray, "*rows resamples"], right: Float[np.ndarray, "*rows resamples_of_it"]) -> np.ndarray:
    """Subtract replicates resample by resample, of those that both sides have kept: the first ones.

    Raises:
        ValueError: One side is of a bootstrap, the other of a jackknife.
    """
    if isinstance(left, Jackknifed) != isinstance(right, Jackknifed):
        raise ValueError(
            "replicates of a bootstrap and of a jackknife cannot be paired: compare numbers of one measure"
        )
    kept = min(left.shape[-1], right.shape[-1])
    return left[..., :kept] - right[..., :kept]


def groups(sentence: Int[np.ndarray, " words"], count: int = GROUPS) -> Int[np.ndarray, " words"]:
    """Assign sentences to the groups of a jackknife in turn, and give the group of each word."""
    return sentence % min(count, int(sentence[-1]) + 1)


def jackknife(
    value: float, without: Float[np.ndarray, " groups"], weights: Int[np.ndarray, "resamples sentences"]
) -> tuple[float, Float[np.ndarray, " resamples"]]:
    """Make replicates from values without one group of sentences, for statistics that are too expensive to resample.

    What a group adds to the value, value without it against the mean of such values, is spread over its sentences; a
    replicate adds it up as often as each was drawn. Its spread is the standard error of the delete-a-group jackknife,
    widened by Student's t as there are few groups. They pair with those of another jackknife, and not with a bootstrap's: see
    `Jackknifed`.

    Args:
        value: The value on all sentences.
        without: The values without each of the groups, as `groups` assigns them.
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
    replicates = value + wider * np.sqrt((many - 1) / many) * ((weights - 1) @ (adds - adds.mean()))
    return float(value), replicates.view(Jackknifed)


def wider_together(replicates: Float[np.ndarray, "rows resamples"]) -> float:
    """Say how much wider than each row's own interval those have to be that hold for all rows at once, at 95 %.

    The width is the 95th percentile, over resamples, of the largest deviation among the rows, in standard errors: where one
    such interval leaves 0, that is more than the best of so many tries would do by chance.

    Args:
        replicates: Replicates of rows such as the layers of a curve, from the same draws.

    Returns:
        A factor, 1 where there is one row.

    Reference:
        Davison and Hinkley 1997, Bootstrap Methods and their Application, section 4.2.4 (studentised maximum).
    """
    error = replicates.std(1, ddof=1)
    moved = np.abs(replicates - replicates.mean(1, keepdims=True))[error > 0] / error[error > 0, None]
    if not len(moved):
        return 1.0
    return float(np.percentile(moved.max(0), 95) / np.mean(np.percentile(moved, 95, axis=1)))
