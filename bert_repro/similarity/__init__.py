"""Similarity of representations of the same words: hides pairs, resampling and decompositions; gives values with replicates.

It refuses vectors that are not in step, constant or not finite: a similarity of those is a number without a meaning.

A measure gets representations, arrays of `words x hidden`, which of them to compare, and the sentence of each word. It
declares which changes leave it as it is; the tests hold every measure to its word, in both directions. To add one, write a
function and its entry in MEASURES.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bert_repro.results import intervals
from bert_repro.similarity import crossproducts, kernels
from bert_repro.similarity.geometry import dominating as dominating
from bert_repro.similarity.geometry import geometry as geometry
from bert_repro.similarity.kernels import Result
from bert_repro.similarity.samples import Sample, check, varied
from bert_repro.similarity.samples import check_in_step as check_in_step
from bert_repro.similarity.samples import draw as draw
from bert_repro.similarity.samples import draw_like as draw_like
from bert_repro.similarity.samples import layer_below as layer_below
from bert_repro.similarity.samples import sample as sample
from bert_repro.similarity.samples import shuffled as shuffled

ACROSS = "similarity across layers"  # the metric of a grid's rows, apart from curves of a layer with the same one
THRESHOLD = 0.9  # of similarity, above which a layer counts as unchanged in the summary of depth


class Measure(NamedTuple):
    """A measure, and what holds of it.

    Attributes:
        function: Takes representations, pairs of their positions, the sentence of each word and weights of resamples.
        title: What it is, for people.
        invariant_to: Changes of the first side that leave it as it is: rotation, scale, shift, stretch (a factor for each
            dimension), linear (any invertible map).
        second: Changes of the second side, where they are others.
        symmetric: The sides can be exchanged.
        chance: Unrelated representations score 0, however few the words.
        needs_same_width: It pairs the dimensions of the two sides.
        replicates: `bootstrap`, or `jackknife` where a value on every resample would be too dear.
    """

    function: Callable[..., list[Result]]
    title: str
    invariant_to: frozenset[str]
    second: frozenset[str] | None = None
    symmetric: bool = True
    chance: bool = True
    needs_same_width: bool = False
    replicates: str = "bootstrap"


_TURNED, _MOVED = frozenset({"rotation", "scale"}), frozenset({"rotation", "scale", "shift"})
_STRETCHED = frozenset({"scale", "shift", "stretch"})

MEASURES = {
    "rsa": Measure(kernels.rsa, "RSA (cosine kernel, Pearson)", _TURNED),
    "rsa_centred": Measure(partial(kernels.rsa, prepare=kernels.centred), "RSA, centred", _MOVED),
    "rsa_standardised": Measure(partial(kernels.rsa, prepare=kernels.standardised), "RSA, standardised", _STRETCHED),
    "rsa_spearman": Measure(kernels.rsa_spearman, "RSA (Spearman)", _TURNED, replicates="jackknife"),
    "cka_debiased": Measure(kernels.cka, "linear CKA, debiased", _MOVED),
    "cka_biased": Measure(partial(kernels.cka, debiased=False), "linear CKA, biased", _MOVED, chance=False),
    "procrustes": Measure(
        crossproducts.procrustes, "Procrustes similarity", _MOVED, chance=False, replicates="jackknife"
    ),
    "svcca": Measure(crossproducts.svcca, "SVCCA (99 % of variance)", _MOVED, chance=False, replicates="jackknife"),
    "pwcca": Measure(
        crossproducts.pwcca, "PWCCA", frozenset({"scale", "shift"}), second=_MOVED | {"stretch", "linear"},
        symmetric=False, chance=False, replicates="jackknife",
    ),
    "neighbours": Measure(kernels.neighbour_overlap, "nearest-neighbour overlap", _TURNED),
    "cosine": Measure(kernels.paired_cosine, "mean paired cosine", frozenset({"scale"}), needs_same_width=True),
    "cosine_centred": Measure(
        partial(kernels.paired_cosine, prepare=kernels.centred), "mean paired cosine, centred",
        frozenset({"scale", "shift"}), needs_same_width=True,
    ),
    "cosine_standardised": Measure(
        partial(kernels.paired_cosine, prepare=kernels.standardised), "mean paired cosine, standardised", _STRETCHED,
        needs_same_width=True,
    ),
}  # fmt: skip
"""Measures by name; the notebook's `methods` parameter, the tests and the figures read this."""


def compare(
    samples: Sequence[Sample], layers: Sequence[int], methods: Sequence[str], resamples: int = intervals.RESAMPLES
) -> list[dict[str, object]]:
    """Compare two models layer by layer, on every sample.

    Args:
        samples: Words with their vectors under the two models.
        layers: The number of each layer, ascending.
        methods: Names from MEASURES.
        resamples: Resamples over sentences.

    Returns:
        Table rows: corpus, split, rows, layer, method, value, interval, replicates, n (words), with the metric
        `similarity`; and, from two layers on, two without a layer that sum the curve up: `change`, the area above it over
        the layers' span, 0 where nothing changed; and `depth`, the layer up to which every one stays above 0.9. A layer in
        which a class of words has no geometry, as [CLS] with one vector for all in the embeddings, has no rows.

    Raises:
        ValueError: An unknown measure, or vectors that cannot be compared.
    """
    rows = []
    for whole in samples:
        sample, there = varied(whole, layers)
        x, y = sample.vectors
        check(x, y, sample.sentence)
        pairs = [(layer, len(x) + layer) for layer in range(len(x))]
        for name, results in _measured(sample, [*x, *y], pairs, methods, resamples):
            found = {layer: result for layer, result in zip(there, results, strict=True) if not np.isnan(result[0])}
            if len(found) < len(there) and not sample.rows:
                raise ValueError(
                    f"{name} finds no two pairs of words that differ, in layer {min(set(there) - set(found))} of one of the "
                    "models: there is no geometry to compare"
                )
            for layer, (value, replicates) in found.items():
                rows.append(sample.row(name, "similarity", value, replicates) | {"layer": layer})
            if len(found) > 1:
                curve = np.array([np.r_[value, replicates] for value, replicates in found.values()])
                for metric, summed in zip(("change", "depth"), _summaries([*found], curve), strict=True):
                    rows.append(sample.row(name, metric, summed[0], summed[1:]))
    return rows


def grid(
    sample: Sample,
    layers: Sequence[int],
    names: Sequence[str],
    methods: Sequence[str],
    resamples: int = intervals.RESAMPLES,
) -> list[dict[str, object]]:
    """Compare every layer of every model with every other, within models and between them.

    Args:
        sample: Words with their vectors under any number of models.
        layers: The number of each layer, the same for all models.
        names: Of the models.
        methods: Names from MEASURES; of one that is not symmetric, the earlier model or layer is the first side.
        resamples: Resamples over sentences.

    Returns:
        Table rows as of `compare`, with model, layer, reference_model and reference_layer, each pair once. The later model
        of a pair, or within a model the higher layer, is called the model. The metric is `similarity across layers`.
        Replicates are left out for their number.

    Raises:
        ValueError: An unknown measure, or vectors that cannot be compared.
    """
    for side in sample.vectors:
        check(sample.vectors[0], side, sample.sentence)
    places = [(name, layer) for name in names for layer in layers]
    pairs = list(combinations_with_replacement(range(len(places)), 2))
    rows = []
    for method, results in _measured(sample, [x for side in sample.vectors for x in side], pairs, methods, resamples):
        for (i, j), (value, replicates) in zip(pairs, results, strict=True):
            one = dict(
                zip(("reference_model", "reference_layer", "model", "layer"), places[i] + places[j], strict=True)
            )
            rows.append(sample.row(method, ACROSS, value, replicates) | one | {"replicates": None})
    return rows


def _measured(
    sample: Sample,
    stack: Sequence[np.ndarray],
    pairs: Sequence[tuple[int, int]],
    methods: Sequence[str],
    resamples: int,
) -> Iterator[tuple[str, list[Result]]]:
    """Apply measures to the representations of a sample, and give each name with the results of all pairs."""
    unknown = [name for name in methods if name not in MEASURES]
    if unknown or not methods:
        raise ValueError(f"unknown measures {unknown}: expected some of {sorted(MEASURES)}")
    weights = intervals.draws(sample.key, int(sample.sentence[-1]) + 1, resamples)
    widths = list(dict.fromkeys(x.shape[1] for x in stack))
    for name in methods:
        if MEASURES[name].needs_same_width and len(widths) > 1:
            raise ValueError(
                f"{name} pairs coordinates: the models must be equally wide, got {' and '.join(map(str, widths))}"
            )
        yield name, MEASURES[name].function(stack, pairs, sample.sentence, weights)


def _summaries(
    layers: Sequence[int], curve: Float[np.ndarray, "layers draws"]
) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
    """Sum up curves of similarity: the area above, and the layer, interpolated, at which each first falls under the threshold."""
    at = np.array(layers, float)
    area = np.trapezoid(1 - curve, at, axis=0) / (at[-1] - at[0])
    below = curve < THRESHOLD
    first = np.where(below.any(0), below.argmax(0), len(at) - 1)
    before, draw = np.maximum(first - 1, 0), np.arange(curve.shape[1])
    high, low = curve[before, draw], curve[first, draw]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(high > low, (high - THRESHOLD) / (high - low), 0.0)
    depth = at[before] + np.clip(share, 0, 1) * (at[first] - at[before])
    depth = np.where(below.any(0), depth, at[-1])
    return area, np.where(np.isnan(curve).any(0), np.nan, depth)
