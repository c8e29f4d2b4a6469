"""A measure: what is declared of it, what it costs, and how any number that two arrays give becomes one.

A new measure takes five lines, here RSA by distances in place of cosines:

    def distances(x, y):
        return np.corrcoef(pdist(x), pdist(y))[0, 1]

    _MOVED = frozenset({"rotation", "scale", "shift"})
    MEASURES["distances"] = Measure(jackknifed(distances), "RSA, Euclidean", _MOVED, of_kernels(20))
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bert_repro.results import intervals

Vectors = Float[np.ndarray, "words _hidden"]
Sentences = Int[np.ndarray, " words"]
Weights = Int[np.ndarray, "resamples sentences"]
Pairs = Sequence[tuple[int, int]]
Result = tuple[float, Float[np.ndarray, " resamples"]]
Seconds = Callable[[float, float, float, float], float]


class Measure(NamedTuple):
    """A measure with its title, invariances and cost.

    Attributes:
        function: Takes representations, pairs of their positions, the sentence of each word and weights of resamples, as
            `kernels.rsa` does; `jackknifed` makes one.
        title: Its name in figures.
        invariant_to: Changes of the first side that leave it as it is: rotation, scale, shift, stretch (a factor for each
            dimension), linear (any invertible map).
        seconds: What it takes on one core, by words, dimensions, representations and pairs of these that are compared:
            see `of_kernels` and the functions below it.
        second: Changes of the second side, where they are others.
        symmetric: The sides can be exchanged.
        chance: Unrelated representations score 0, however few the words.
        needs_same_width: It pairs the dimensions of the two sides.
        held: Bytes per number of a kernel that stay in memory; 0 where kernels are computed in stripes.
    """

    function: Callable[..., list[Result]]
    title: str
    invariant_to: frozenset[str]
    seconds: Seconds
    second: frozenset[str] | None = None
    symmetric: bool = True
    chance: bool = True
    needs_same_width: bool = False
    held: float = 0.0

    @property
    def family(self) -> str:
        """Say what kind it is: of `coordinates`, of `geometry`, or, where unrelated representations score too, of `alignment`."""
        return "coordinates" if self.needs_same_width else "geometry" if self.chance else "alignment"


def jackknifed(
    statistic: Callable[..., float],
    prepare: Callable[[Vectors], Any] = lambda x: x,
    leaving_out: Callable[[Any, Any, Sentences], Iterator[tuple]] | None = None,
) -> Callable[..., list[Result]]:
    """Make a measure of any number that two arrays give, with the interval of a delete-a-group jackknife.

    Args:
        statistic: Function of two representations of the same words, `words hidden` each, whose widths may differ.
        prepare: Function applied to each representation once, before words are left out.
        leaving_out: Gives the statistic's arguments, of two prepared representations and the group of each word: for all
            words, and then without each group of sentences in turn. By default the rows of its words are left out; for
            what can be had sooner than from the words that remain.

    Returns:
        A function as `Measure.function`; its replicates are those of `intervals.jackknife`.

    Reference:
        Shao and Tu 1995, The Jackknife and Bootstrap, section 2.3.
    """
    arguments = leaving_out or _rows

    @wraps(statistic)
    def measure(stack: Iterable[Vectors], pairs: Pairs, sentence: Sentences, weights: Weights) -> list[Result]:
        sides, groups = [prepare(x) for x in stack], intervals.groups(sentence)
        results = []
        for i, j in pairs:
            value, *without = (float(statistic(*arrays)) for arrays in arguments(sides[i], sides[j], groups))
            results.append(intervals.jackknife(value, np.array(without), weights))
        return results

    return measure


def kept(groups: Sentences) -> Iterator[np.ndarray]:
    """Mark the words that are left, `words`: all of them, and then those without each group."""
    yield groups >= 0
    yield from (groups != group for group in range(groups.max() + 1))


def _rows(x: Vectors, y: Vectors, groups: Sentences) -> Iterator[tuple[Vectors, Vectors]]:
    return ((x[words], y[words]) for words in kept(groups))


# Seconds are those of one core (AMD EPYC) while other work runs beside; workflow/costs.py scales them to a study.
KERNEL = 8e-12  # seconds a pair of words and column of a kernel, of which half is formed
PAIR = 1.5e-9  # seconds a pair of words, of a kernel or of two that are compared
VECTOR = 4e-9  # seconds a number of a representation
RANK = 1.5e-6  # seconds a pair of words that are ranked, with every group left out
DECOMPOSE = 8e-10  # seconds a number of columns cubed


def of_kernels(work: float = 1.0) -> Seconds:
    """Estimate the cost by a kernel for each representation, which takes so many times the work of one of RSA."""
    return lambda words, hidden, stack, compared: (
        words**2 * (work * stack * hidden * KERNEL + (stack + compared) * PAIR)
    )


def of_vectors(work: float = 1.0) -> Seconds:
    """Estimate the cost by so many steps through the numbers of each representation."""
    return lambda words, hidden, stack, compared: work * words * hidden * stack * VECTOR


def of_ranks(words: float, hidden: float, stack: float, compared: float) -> float:
    """Estimate the cost by ranks of all pairs of words, for each pair of representations and group that is left out."""
    return compared * words**2 * RANK


def of_decompositions(words: float, hidden: float, stack: float, compared: float) -> float:
    """Estimate the cost by a decomposition for each pair and group of sentences that is left out."""
    return compared * intervals.GROUPS * hidden**3 * DECOMPOSE
