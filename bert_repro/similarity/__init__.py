"""Similarity of representations of the same words: every measure with its interval, for pairs of layers and models.

Vectors that do not match, are constant or are not finite are errors: their similarity would be a number without a meaning.

A measure declares which changes leave it as it is, and the tests hold it to its word, in both directions; what it is called in
figures; and what it takes. To add one, write a function of two arrays and its entry in MEASURES: see `measure`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Float

from bert_repro.results import intervals
from bert_repro.similarity import crossproducts, kernels
from bert_repro.similarity.geometry import dominating as dominating
from bert_repro.similarity.geometry import geometry as geometry
from bert_repro.similarity.match import Match as Match
from bert_repro.similarity.match import layer_beside as layer_beside
from bert_repro.similarity.match import match as match
from bert_repro.similarity.measure import Measure, Result, of_decompositions, of_kernels, of_ranks, of_vectors
from bert_repro.similarity.measure import jackknifed as jackknifed
from bert_repro.similarity.samples import Sample, check, of_each, varied
from bert_repro.similarity.samples import draw as draw
from bert_repro.similarity.samples import draw_like as draw_like
from bert_repro.similarity.samples import drawn as drawn
from bert_repro.similarity.samples import layer_below as layer_below
from bert_repro.similarity.samples import sample as sample
from bert_repro.similarity.samples import shuffled as shuffled

ACROSS = "similarity across layers"  # the metric of a grid's rows, apart from curves of a layer with the same one
THRESHOLD = 0.9  # of similarity, above which a layer counts as unchanged in the summary of depth

_TURNED, _MOVED = frozenset({"rotation", "scale"}), frozenset({"rotation", "scale", "shift"})
_SCALED, _SHIFTED = frozenset({"scale"}), frozenset({"scale", "shift"})
_STRETCHED = _SHIFTED | {"stretch"}

MEASURES = {
    "rsa": Measure(kernels.rsa, "RSA", _TURNED, of_kernels()),
    "rsa_centred": Measure(partial(kernels.rsa, prepare=kernels.centred), "RSA, centred", _MOVED, of_kernels()),
    "rsa_standardised": Measure(
        partial(kernels.rsa, prepare=kernels.standardised), "RSA, standardised", _STRETCHED, of_kernels()
    ),
    "rsa_spearman": Measure(kernels.rsa_spearman, "RSA, Spearman", _TURNED, of_ranks, held=4.0),
    "cka_debiased": Measure(kernels.cka, "CKA, debiased", _MOVED, of_kernels(1.4)),
    "cka_biased": Measure(partial(kernels.cka, debiased=False), "CKA, biased", _MOVED, of_kernels(1.4), chance=False),
    "procrustes": Measure(crossproducts.procrustes, "Procrustes", _MOVED, of_decompositions, chance=False),
    "svcca": Measure(crossproducts.svcca, "SVCCA", _MOVED, of_decompositions, chance=False),
    "pwcca": Measure(
        crossproducts.pwcca, "PWCCA", _SHIFTED, of_decompositions, second=_MOVED | {"stretch", "linear"},
        symmetric=False, chance=False,
    ),
    "neighbours": Measure(kernels.neighbour_overlap, "nearest-neighbour overlap", _TURNED, of_kernels(2)),
    "cosine": Measure(kernels.paired_cosine, "paired cosine", _SCALED, of_vectors(), needs_same_width=True),
    "cosine_centred": Measure(
        partial(kernels.paired_cosine, prepare=kernels.centred), "paired cosine, centred", _SHIFTED, of_vectors(2),
        needs_same_width=True,
    ),
    "cosine_standardised": Measure(
        partial(kernels.paired_cosine, prepare=kernels.standardised), "paired cosine, standardised", _STRETCHED,
        of_vectors(3), needs_same_width=True,
    ),
}  # fmt: skip
"""Measures by name; the notebook's `methods` parameter, studies, their plan, the figures and the tests read this."""


def named(methods: Sequence[str]) -> dict[str, Measure]:
    """Give measures by their names.

    Raises:
        ValueError: An unknown one.
    """
    if unknown := [name for name in methods if name not in MEASURES]:
        raise ValueError(f"unknown measures {unknown}: expected some of {sorted(MEASURES)}")
    return {name: MEASURES[name] for name in methods}


def comparable(methods: Sequence[str], matched: Match) -> list[str]:
    """Give the measures that can compare two encoders: where these differ in width, those that pair no dimensions.

    Raises:
        ValueError: An unknown measure.
    """
    return [name for name, measure in named(methods).items() if matched.same_width or not measure.needs_same_width]


def remarks(methods: Sequence[str], matched: Match) -> list[str]:
    """Say, a line each, how layers of encoders of different depth are matched, and which measures are left out, and why."""
    (reference_blocks, blocks), (reference_width, width) = matched.blocks, matched.widths
    lines = []
    if blocks != reference_blocks:
        pairs = ", ".join(f"{k} beside {partner}" for k, partner in zip(matched.layers, matched.beside, strict=True))
        lines.append(
            f"layers: the model has {blocks} blocks, the reference {reference_blocks}, so layer k stands beside layer "
            f"round(k * {reference_blocks} / {blocks}) of the reference: {pairs}"
        )
    able = comparable(methods, matched)
    lines += [
        f"{name}: left out, as it pairs dimensions, of which the model has {width} and the reference {reference_width}"
        for name in named(methods)
        if name not in able
    ]
    return lines


def compare(
    samples: Sequence[Sample],
    layers: Sequence[int],
    methods: Sequence[str],
    resamples: int = intervals.RESAMPLES,
    beside: Sequence[int] | None = None,
) -> list[dict[str, object]]:
    """Compare two models layer by layer, on every sample.

    Args:
        samples: Words with their vectors under the reference and the model, layer by layer in pairs.
        layers: The number of each layer, ascending.
        methods: Names from MEASURES.
        resamples: Resamples over sentences.
        beside: The numbers of the reference's layers, where they differ, see `match`.

    Returns:
        Table rows: corpus, split, rows, layer, method, value, interval, replicates, n (words), with the metric
        `similarity`; and, from two layers on, two rows without a layer that summarise the curve: `change`, the area above
        it over the layers' span, 0 where nothing changed; and `depth`, the layer up to which every similarity stays above
        0.9. A layer in which a class of words has no geometry, as [CLS] with one vector for all in the embeddings, has no
        rows. Where `beside` has other numbers, rows of a layer have these as `reference_layer`.

    Raises:
        ValueError: An unknown measure, or vectors that cannot be compared.
    """
    rows = []
    partner = {} if beside is None or [*beside] == [*layers] else dict(zip(layers, beside, strict=True))
    for whole in samples:
        sample, kept = varied(whole, layers)
        x, y = sample.vectors
        if len(x) != len(y):
            raise ValueError(f"{len(x)} layers cannot be paired with {len(y)}: name as many of each with `layers`")
        check(x, y, sample.sentence)
        pairs = [(layer, len(x) + layer) for layer in range(len(x))]
        for name, results in _measured(sample, [*x, *y], pairs, methods, resamples):
            by_layer = {layer: result for layer, result in zip(kept, results, strict=True) if not np.isnan(result[0])}
            if len(by_layer) < len(kept) and not sample.rows:
                raise ValueError(
                    f"{name} finds no two pairs of words that differ, in layer {min(set(kept) - set(by_layer))} of one of the "
                    "models: there is no geometry to compare"
                )
            for layer, (value, replicates) in by_layer.items():
                number = {"layer": layer} | ({"reference_layer": partner[layer]} if partner else {})
                rows.append(sample.row(name, "similarity", value, replicates) | number)
            if len(by_layer) > 1:
                curve = np.array([np.r_[value, replicates] for value, replicates in by_layer.values()])
                kind = type(next(iter(by_layer.values()))[1])  # of a bootstrap or a jackknife
                for metric, summed in zip(("change", "depth"), _summaries([*by_layer], curve), strict=True):
                    rows.append(sample.row(name, metric, summed[0], summed[1:].view(kind)))
    return rows


def along(
    samples: Iterable[tuple[Mapping[str, object], Sample]],
    layers: Sequence[int],
    methods: Sequence[str],
    resamples: int = intervals.RESAMPLES,
) -> list[dict[str, object]]:
    """Compare encoders on a way with the first of them.

    Args:
        samples: For each encoder the table columns that name it, and the same words with their vectors under it; gone through
            once, and none but the first is kept.
        layers: The number of each layer.
        methods: Names from MEASURES.
        resamples: Resamples over sentences.

    Returns:
        Table rows of the metric `similarity` as of `compare`, by encoder, the first one with itself among them.

    Raises:
        ValueError: As `compare`.
    """
    rows, first = [], None
    for about, both_sides in samples:
        first = first or both_sides
        pair = both_sides._replace(vectors=(*first.vectors, *both_sides.vectors))
        compared = compare([pair], layers, methods, resamples)
        rows += [{**row, **about} for row in compared if row["metric"] == "similarity"]
    return rows


def grid(
    sample: Sample,
    layers: Sequence[int] | Sequence[Sequence[int]],
    names: Sequence[str],
    methods: Sequence[str],
    resamples: int = intervals.RESAMPLES,
) -> list[dict[str, object]]:
    """Compare every layer of every model with every other, within models and between them.

    Args:
        sample: Words with their vectors under any number of models.
        layers: The number of each layer, the same for all models, or a list for each.
        names: Names of the models.
        methods: Names from MEASURES; of one that is not symmetric, the earlier model or layer is the first side.
        resamples: Resamples over sentences.

    Returns:
        Table rows as of `compare`, with model, layer, reference_model and reference_layer, each pair once. The later model
        of a pair, or within a model the higher layer, is called the model. The metric is `similarity across layers`.
        There are no replicates, as they would be too many.

    Raises:
        ValueError: An unknown measure, or vectors that cannot be compared.
    """
    for side in sample.vectors:
        check(sample.vectors[0], side, sample.sentence)
    numbers = zip(names, of_each(layers, len(names)), strict=True)
    places = [(name, layer) for name, of_model in numbers for layer in of_model]
    pairs = list(combinations_with_replacement(range(len(places)), 2))
    rows = []
    for method, results in _measured(sample, [x for side in sample.vectors for x in side], pairs, methods, resamples):
        for (i, j), (value, replicates) in zip(pairs, results, strict=True):
            about = dict(
                zip(("reference_model", "reference_layer", "model", "layer"), places[i] + places[j], strict=True)
            )
            rows.append(sample.row(method, ACROSS, value, replicates) | about | {"replicates": None})
    return rows


def _measured(
    sample: Sample,
    stack: Sequence[np.ndarray],
    pairs: Sequence[tuple[int, int]],
    methods: Sequence[str],
    resamples: int,
) -> Iterator[tuple[str, list[Result]]]:
    """Apply measures to the representations of a sample, and give each name with the results of all pairs."""
    measures = named(methods)
    if not measures:
        raise ValueError(f"no measure is named: expected some of {sorted(MEASURES)}")
    weights = intervals.draws(sample.key, int(sample.sentence[-1]) + 1, resamples)
    widths = list(dict.fromkeys(x.shape[1] for x in stack))
    for name, measure in measures.items():
        if measure.needs_same_width and len(widths) > 1:
            raise ValueError(
                f"{name} pairs coordinates: the models must be equally wide, got {' and '.join(map(str, widths))}"
            )
        yield name, measure.function(stack, pairs, sample.sentence, weights)


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
