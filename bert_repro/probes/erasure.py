"""Linear erasure: the least change of hidden states after which no linear classifier can predict the labels.

Labels of too few words, and a projection that would leave nothing, are errors. Everything is computed in double precision from
sums over words, so that memory does not grow with their number.

Reference:
    Belrose et al. 2023, LEACE: Perfect linear concept erasure in closed form.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bert_repro.probes import spans

LEAST = 20  # words that a label has to have: the mean of fewer says little of the label
NOTHING = 1e-10
"""Share of the largest eigenvalue of a covariance up to which others count as 0: deviations a hundred thousand times as small as the
largest, which is about what single precision rounds away in a state. Also what a whitened covariance of labels counts as 0."""
RIDGE = 1e-3  # share of the mean variance that a classifier adds in every direction
HALVINGS = 100  # of the interval in which the tilt of a random subspace is looked for


@dataclass(frozen=True)
class Labels:
    """The labels of single words in a treebank.

    Attributes:
        target: A name from `spans.EDGE_TARGETS`.
        names: Names of the labels, sorted.
        gold: For each sentence the number of every word's label, -1 where it has none or one that is left out.
        left_out: How many words each label has that is not among the names.
    """

    target: str
    names: tuple[str, ...]
    gold: list[np.ndarray]
    left_out: dict[str, int]


def labels_of(target: str, sentences: Sequence[Any], names: Sequence[str] = ()) -> Labels:
    """Read the labels of words; of relations, which are of a word and its head, that of the word.

    Args:
        target: A name from `spans.EDGE_TARGETS` that labels single words, each at most once.
        sentences: `corpora.Sentence` with the annotation.
        names: The labels that count; by default all that at least LEAST words have.

    Raises:
        ValueError: An unknown target, one that labels longer spans or a word twice, or fewer than two labels.
    """
    about = spans.named(target)
    annotation: list[list[str | None]] = []
    for sentence in sentences:
        words: list[str | None] = [None] * len(sentence.words)
        for (start, end), _, labels in about.gold(sentence):
            if end != start + 1 or len(labels) != 1 or words[start] is not None:
                raise ValueError(
                    f"target {target!r} ({about.description}) does not label single words, each once, as in sentence "
                    f"{sentence.id!r}: such as upos, relation or xpos can be erased"
                )
            words[start] = labels[0]
        annotation.append(words)
    counts = Counter(label for words in annotation for label in words if label is not None)
    known = tuple(names) or tuple(sorted(label for label, count in counts.items() if count >= LEAST))
    if len(known) < 2:
        raise ValueError(
            f"target {target!r} ({about.description}): {len(known)} labels that {LEAST} words or more have, of {len(counts)} in "
            f"{len(annotation)} sentences: at least two are needed, of a treebank with this annotation or of a longer one"
        )
    place = {label: number for number, label in enumerate(known)}
    gold = [np.array([-1 if label is None else place.get(label, -1) for label in words], int) for words in annotation]
    return Labels(target, known, gold, {label: n for label, n in sorted(counts.items()) if label not in place})


class Moments(NamedTuple):
    """Means and covariance of labelled vectors; what linear erasure and linear classification need to know of them."""

    shares: Float[np.ndarray, " labels"]  # of the vectors, sums to 1
    means: Float[np.ndarray, "labels hidden"]  # of the vectors of each label
    covariance: Float[np.ndarray, "hidden hidden"]  # of all

    @property
    def mean(self) -> Float[np.ndarray, " hidden"]:
        """The mean of all vectors."""
        return self.shares @ self.means

    @property
    def cross(self) -> Float[np.ndarray, "hidden labels"]:
        """The covariance of vectors and labels, of which each is a column that is 1 where a vector has it."""
        return ((self.means - self.mean) * self.shares[:, None]).T

    @property
    def variance(self) -> float:
        """The variance in all directions together."""
        return float(np.trace(self.covariance))

    def after(self, eraser: "Eraser") -> "Moments":
        """Give the moments of the vectors after an eraser."""
        kept = np.eye(len(self.covariance)) - eraser.write @ eraser.read.T
        return Moments(self.shares, eraser(self.means), kept @ self.covariance @ kept.T)


class Sums:
    """Sums over labelled vectors, added a batch at a time."""

    def __init__(self, hidden: int, labels: int):
        self.count = np.zeros(labels)
        self.total, self.square = np.zeros((labels, hidden)), np.zeros((hidden, hidden))
        # near the mean, so that a large one cancels out before squares are added up
        self.shift: np.ndarray | None = None

    def add(self, x: Float[np.ndarray, "words hidden"], gold: Int[np.ndarray, " words"]) -> None:
        """Add vectors with the numbers of their labels; those with -1 are ignored."""
        x, gold = x[gold >= 0].astype(float), gold[gold >= 0]
        if not len(x):
            return
        if self.shift is None:
            self.shift = x.mean(0)
        x -= self.shift
        self.count += np.bincount(gold, minlength=len(self.count))
        self.total += (gold == np.arange(len(self.count))[:, None]).astype(float) @ x
        self.square += x.T @ x

    @property
    def moments(self) -> Moments:
        """The moments that follow from the sums.

        A label of which no vector was added has the share 0, and the mean of all.

        Raises:
            ValueError: No labelled vector was added.
        """
        if self.shift is None:
            raise ValueError("none of the vectors has a label: nothing is known of them")
        mean = self.total.sum(0) / self.count.sum()
        means = np.where(self.count[:, None], self.total / np.maximum(self.count, 1)[:, None], mean) + self.shift
        covariance = self.square / self.count.sum() - np.outer(mean, mean)
        return Moments(self.count / self.count.sum(), means, covariance)


@dataclass(frozen=True)
class Eraser:
    """A projection that removes some directions: x becomes x - write (readᵀ (x - mean)).

    Attributes:
        mean: Mean of the vectors that it was made from; erasure does not move it.
        write: What is taken away, a direction for each rank.
        read: What it is read by.
        share: Share of these vectors' variance that is removed, in [0, 1]. It is also their mean squared change.
    """

    mean: Float[np.ndarray, " hidden"]
    write: Float[np.ndarray, "hidden rank"]
    read: Float[np.ndarray, "hidden rank"]
    share: float

    @classmethod
    def nothing(cls, hidden: int) -> "Eraser":
        """Make one that erases nothing, of rank 0."""
        return cls(np.zeros(hidden), np.zeros((hidden, 0)), np.zeros((hidden, 0)), 0.0)

    @property
    def rank(self) -> int:
        """How many dimensions go."""
        return self.write.shape[1]

    def __call__(self, x: Float[np.ndarray, "words hidden"]) -> Float[np.ndarray, "words hidden"]:
        """Erase."""
        return x - (x - self.mean) @ self.read @ self.write.T


class _Whitened(NamedTuple):
    """Directions in which vectors vary, and how much; in units of their deviation there, the vectors are white."""

    moments: Moments
    variances: Float[np.ndarray, " directions"]
    directions: Float[np.ndarray, "hidden directions"]

    @classmethod
    def of(cls, moments: Moments) -> "_Whitened":
        variances, directions = np.linalg.eigh(moments.covariance)
        mask = variances > NOTHING * max(variances[-1], 0)
        return cls(moments, variances[mask], directions[:, mask])

    def eraser(self, u: Float[np.ndarray, "directions rank"]) -> Eraser:
        """Take the span of some orthonormal columns out of the white vectors, and say what that does to the vectors."""
        write, read = (
            self.directions @ (power * u) for power in (self.variances[:, None] ** 0.5, self.variances[:, None] ** -0.5)
        )
        return Eraser(self.moments.mean, write, read, self.removed(u) / self.moments.variance if u.size else 0.0)

    def removed(self, u: Float[np.ndarray, "directions rank"]) -> float:
        """Give the variance that goes with them."""
        return float(self.variances @ (u**2).sum(1))


def leace(moments: Moments) -> Eraser:
    """Erase labels: the least change after which vectors and labels are uncorrelated.

    With the covariances S of the vectors and C of vectors and labels,

        r(x) = x - W⁺ P W (x - mean),   W = (S^(1/2))⁺,   P the orthogonal projection onto the columns of W C.

    Then every label has the same mean, and no linear classifier does better on these vectors than to name the most frequent one,
    whatever convex loss it is fitted by; among all affine maps that come to this, r changes the vectors least, in the mean
    square. Its rank is at most the number of labels less 1.

    Raises:
        ValueError: So many labels that nothing would be left.

    Reference:
        Belrose et al. 2023, theorems 3.1 and 4.3.
    """
    white = _Whitened.of(moments)
    most = len(moments.shares) - 1
    _possible(most, len(white.variances))
    u, size, _ = np.linalg.svd(white.variances[:, None] ** -0.5 * (white.directions.T @ moments.cross), False)
    return white.eraser(u[:, :most][:, size[:most] > NOTHING])


def random_erasers(moments: Moments, rank: int, share: float, seeds: Sequence[Sequence[int]]) -> Iterator[Eraser]:
    """Erase random subspaces that are of one rank and take one share of the variance: for each seed another.

    A subspace of the white vectors is the span of the columns of diag(variances)^t G, with G drawn from a normal distribution. At
    t = 0 all subspaces are equally likely; as t grows they tilt towards directions of large variance, and of small variance as it
    falls. What they take grows steadily with t, from the least that a subspace of this rank can take to the most, so that there
    is one t at which each takes the share that is asked for, and it is found by halving.

    Args:
        moments: Moments of the vectors; labels play no part.
        rank: Rank of the subspaces.
        share: Share of the variance to remove, such as an `Eraser` of this rank removes.
        seeds: Seeds of the random draws.

    Yields:
        Erasers of the form that `leace` gives, whose share is off by less than a millionth of it.

    Raises:
        ValueError: A rank of which nothing would be left, or a share that no subspace of this rank takes.
    """
    white = _Whitened.of(moments)
    _possible(rank, len(white.variances))
    least, most = white.variances[:rank].sum(), white.variances[::-1][:rank].sum()
    variance = share * moments.variance
    if not least * (1 - 1e-9) <= variance <= most * (1 + 1e-9):
        raise ValueError(
            f"no subspace of rank {rank} takes {share:.3g} of the variance: expected between {least / moments.variance:.3g} and "
            f"{most / moments.variance:.3g}"
        )
    for seed in seeds:
        g = np.random.default_rng(list(seed)).normal(size=(len(white.variances), rank))
        low = high = 0.0
        step = 1.0
        while white.removed(_tilted(white.variances, g, low)) > variance and step < 1e9:
            low, step = low - step, 2 * step
        while white.removed(_tilted(white.variances, g, high)) < variance and step < 1e9:
            high, step = high + step, 2 * step
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            below = white.removed(_tilted(white.variances, g, middle)) < variance
            low, high = (middle, high) if below else (low, middle)
        yield white.eraser(_tilted(white.variances, g, high))


def _tilted(
    variances: Float[np.ndarray, " directions"], g: Float[np.ndarray, "directions rank"], t: float
) -> Float[np.ndarray, "directions rank"]:
    """Give orthonormal columns that span diag(variances)^t g."""
    if not g.size:
        return g
    power = t * np.log(variances)
    order = np.argsort(-power, kind="stable")  # rows far apart in size: the large ones first, or QR would lose the rest
    u = np.empty_like(g)
    u[order] = np.linalg.qr(np.exp(power - power.max())[order, None] * g[order])[0]
    return u


def _possible(rank: int, dimensions: int) -> None:
    if rank >= dimensions:
        raise ValueError(
            f"erasing {rank} dimensions leaves nothing of vectors that vary in {dimensions}: take fewer labels, or a wider encoder"
        )


class Classifier(NamedTuple):
    """A linear classifier: the label with the largest of weightsᵀ x + bias."""

    weights: Float[np.ndarray, "hidden labels"]
    bias: Float[np.ndarray, " labels"]

    def __call__(self, x: Float[np.ndarray, "words hidden"]) -> Int[np.ndarray, " words"]:
        """Give the number of a label for each vector."""
        return (x @ self.weights + self.bias).argmax(1)


def discriminant(moments: Moments) -> Classifier:
    """Fit a linear classifier: the likeliest label if the vectors of each are normal, with one covariance S within labels.

    Of label c with the mean m and the share p, weights S⁻¹ m and bias log p - mᵀ S⁻¹ m / 2; all means being measured from that of
    all vectors. To S is added RIDGE times its mean variance in every direction, so that those without any do no harm.

    Reference:
        Hastie et al. 2009, The Elements of Statistical Learning, section 4.3.
    """
    apart = moments.means - moments.mean
    within = moments.covariance - (apart.T * moments.shares) @ apart
    within = within + RIDGE * np.trace(within) / len(within) * np.eye(len(within))
    weights = np.linalg.solve(within, apart.T)
    with np.errstate(divide="ignore"):  # a label that never occurs is never named
        bias = np.log(moments.shares) - (apart.T * weights).sum(0) / 2
    return Classifier(weights, bias - moments.mean @ weights)
