"""What the probe notebooks measure: runs fits, splits and controls in order and returns table rows."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_repro.probes import States, Stored, description_length, edge, phenomena, spans, structural
from bert_repro.probes import scores as probe_scores
from bert_repro.probes.treebank import Treebank, treebank
from bert_repro.results import intervals, lines

Rows = list[dict[str, Any]]
Losses = list[list[float | None]]
"""On dev, of every epoch and layer; None where a layer had stopped."""
MIX = "mix of the layers up to this one"
APART = "by phenomenon"


class Split(NamedTuple):
    """A part of a treebank with its states."""

    bank: Treebank
    states: States
    key: str  # what its sentences are of, see `intervals.draws`
    about: dict[str, object]  # columns that name it: corpus, split


def split(texts: Sequence[Any], stored: Sequence[Stored], **options: Any) -> list[Split]:
    """Bring corpora and their stored states together as train, dev, test and, of all that come behind these, `further`.

    Args:
        texts: `corpora.Corpus` of each.
        stored: `states.HiddenStates` of each.
        options: Options of `treebank.treebank`.
    """
    uses = ("train", "dev", "test", *["further"] * len(texts[3:]))
    return [
        Split(
            treebank(text.items, entry.rows, **options), entry, entry.inputs["corpus"],
            {"corpus": text.name, "split": used + "".join(text.split.partition("[")[1:])},  # by its use, with its draw
        )
        for text, entry, used in zip(texts, stored, uses, strict=True)
    ]  # fmt: skip


class Measured(NamedTuple):
    """What probes of one target yielded."""

    rows: Rows
    dev_loss: dict[str, Losses]  # by rank and seed, as in `rank 64, seed 1`; of edge probes by method
    trees: Sequence[dict[str, Any]] = ()  # decoded, of distances


def kept(dev_loss: np.ndarray) -> Losses:
    """Give dev losses as they are kept beside a table, `epochs layers`."""
    return [[None if np.isnan(value) else round(float(value), 6) for value in epoch] for epoch in dev_loss]


def by_phenomenon(splits: Sequence[Split]) -> list[phenomena.Classes]:
    """Sort the words of the splits that nothing was chosen by, test and any further, by phenomenon."""
    return [phenomena.classes(part.bank, splits[0].bank) for part in splits[2:]]


def doubts(splits: Sequence[Split]) -> list[str]:
    """Say where the rule for punctuation does not fit a treebank, see `Treebank.doubts`."""
    return [f"{part.about['corpus']}, {part.about['split']}: {doubt}" for part in splits for doubt in part.bank.doubts]


def seldom(splits: Sequence[Split], apart: Sequence[phenomena.Classes]) -> list[str]:
    """Name the phenomena that are not scored separately, as they are too rare."""
    return [
        f"{part.about['corpus']}, {part.about['split']}: fewer than {phenomena.LEAST} words of "
        + ", ".join(f"{name} ({count})" for name, count in classes.seldom.items())
        for part, classes in zip(splits[2:], apart, strict=bool(apart))
        if classes.seldom
    ]


def dev_losses(measured: Mapping[str, Measured]) -> Rows:
    """Give the dev losses of every probe, by target, for `tables.artefacts`."""
    return [{"kind": "dev loss", "key": target, "content": result.dev_loss} for target, result in measured.items()]


def baselines(targets: Sequence[str], splits: Sequence[Split], resamples: int) -> Rows:
    """Score the baselines, which need no encoder, on every split."""
    return [
        row | {"target": target, "model": name, "method": name, **split.about}
        for split in splits
        for target in targets
        for name, scores in structural.named(target).baselines(split.bank).items()
        for score in scores
        for row in score.rows([None], split.key, resamples)
    ]


def structural_probes(
    target: str,
    splits: Sequence[Split],
    layers: Sequence[int],
    *,
    ranks: Sequence[int],
    seeds: Sequence[int],
    epochs: int,
    shown: int,
    resamples: int,
    label: str,
    apart: Sequence[phenomena.Classes] = (),
) -> Measured:
    """Train structural probes on the first split, stop them by the second, and score them on all but the first.

    Args:
        target: A name from `structural.TARGETS`.
        splits: Train, dev, test, and any further splits that no choice depends on.
        layers: Numbers of the layers.
        ranks: Ranks of the map; those after the first are a sweep, with the first seed.
        seeds: Each is a probe of its own.
        epochs: Maximum number of passes over train.
        shown: Sentences of test, the first of 6 to 12 words, whose trees are decoded.
        resamples: Bootstrap resamples.
        label: Shown beside the progress bars.
        apart: What `by_phenomenon` gives: edges are also scored by that, with the first rank and seed.
    """
    train, dev, test, *further = splits
    few = test.bank.of([n for n, length in enumerate(test.bank.lengths) if 6 <= length <= 12][:shown])
    rows: Rows = []
    losses: dict[str, Losses] = {}
    trees: list[dict[str, Any]] = []
    for rank, seed in [*((ranks[0], seed) for seed in seeds), *((rank, seeds[0]) for rank in ranks[1:])]:
        probe = structural.StructuralProbe(target, layers, rank, seed, epochs=epochs)
        fitted = probe.fit(train.bank, train.states, dev.bank, dev.states, label=label)
        kind = "structural" if rank == ranks[0] else "structural, rank sweep"
        about = {"target": target, "probe": kind, "probe_seed": seed, "method": f"rank {rank}"}
        begun = (rank, seed) == (ranks[0], seeds[0])
        masks = [classes.masks for classes in apart] if begun and probe.target.axes == 2 else []
        for part, classes in itertools.zip_longest((dev, test, *further), [{}, *masks]):
            of = {"classes": classes} if classes else {}
            for score in probe.target.score(part.bank, probe.predict(part.bank, part.states), **of):
                kind_of = {"probe": f"{kind}, {APART}"} if score.of else {}
                rows += [row | about | kind_of | part.about for row in score.rows(layers, part.key, resamples)]
        losses[f"rank {rank}, seed {seed}"] = kept(fitted.dev_loss)
        if begun:
            trees = list(probe_scores.trees(few, probe.project(few, test.states))) if probe.target.axes == 2 else []
    return Measured(rows, losses, trees)


def structural_probes_along(
    target: str,
    splits: Sequence[Split],
    way: Iterable[tuple[Mapping[str, object], Sequence[States]]],
    layers: Sequence[int],
    *,
    rank: int,
    seed: int,
    epochs: int,
    resamples: int,
    label: str,
) -> Rows:
    """Probe encoders along a line: by the probe of the first one, and by one trained anew on each.

    The first says whether trees still lie in the directions in which they lay; the second, whether they lie in any.

    Args:
        target: A name from `structural.TARGETS`.
        splits: Train, dev and test, as `split` gives them.
        way: For each encoder the table columns that name it, and the states of the splits under it; read once.
        layers: Numbers of the layers.
        rank: Rank of the map.
        seed: Seed of the probes.
        epochs: Maximum number of passes over train.
        resamples: Bootstrap resamples.
        label: Shown beside the progress bars.

    Returns:
        Table rows of test by encoder; `probe` is `lines.FIRST` or `lines.ANEW`. Of the first encoder both are of one probe.
    """
    first, rows = None, []
    for about, encoded in way:
        train, dev, test = (part._replace(states=states) for part, states in zip(splits, encoded, strict=True))
        anew = structural.StructuralProbe(target, layers, rank, seed, epochs=epochs)
        anew.fit(train.bank, train.states, dev.bank, dev.states, label=label)
        first = first or anew
        for name, probe in ((lines.FIRST, first), (lines.ANEW, anew)):
            columns = {"target": target, "probe": name, "probe_seed": seed, "method": f"rank {rank}"} | test.about
            columns |= about
            for score in probe.target.score(test.bank, probe.predict(test.bank, test.states)):
                rows += [row | columns for row in score.rows(layers, test.key, resamples)]
    return rows


def labels(target: str, splits: Sequence[Split]) -> list[spans.Labelled]:
    """Read the labelled spans of every split, the first being training; errors as in `spans.labelled`."""
    first = spans.labelled(target, splits[0].bank)
    return [first, *(spans.labelled(target, split.bank, first.labels, several=first.several) for split in splits[1:])]


def majority(target: str, given: Sequence[spans.Labelled], splits: Sequence[Split], resamples: int) -> Rows:
    """Score the label that is most frequent in training; nothing where spans have several labels."""
    about = {"target": target, "model": "majority", "method": "majority"}
    return [
        row | about | split.about
        for part, split in zip(given[1:], splits[1:], strict=True)
        if not part.several
        for row in edge.majority(part, given[0]).rows([None], False, split.key, resamples)
    ]


def edge_probes(
    target: str,
    given: Sequence[spans.Labelled],
    splits: Sequence[Split],
    layers: Sequence[int],
    *,
    mixed: bool,
    coded: bool,
    resamples: int,
    label: str,
    apart: Sequence[phenomena.Classes] = (),
    **options: Any,
) -> Measured:
    """Probe single layers with their control task, and, where wanted, mixes of layers and description lengths.

    Args:
        target: What is predicted.
        given: The labelled spans of the splits, see `labels`.
        splits: Train, dev, test, and any further that nothing was chosen by.
        layers: Numbers of the layers.
        mixed: Whether to probe mixes of the layers up to each one.
        coded: Whether to measure description lengths.
        resamples: Bootstrap resamples.
        label: Shown beside the progress bars.
        apart: What `by_phenomenon` gives: labels of words are also scored by that.
        options: Options of `edge.EdgeProbe`; the target may ask for another kind.
    """
    definition = spans.named(target)
    options = options | ({"kind": definition.kind} if definition.kind else {})
    about = {"target": target, "probe": options.get("kind", "linear")}
    by_lot = spans.controls(target, given, [split.bank for split in splits], options.get("seed", 1))
    metric, rows = definition.metric, []
    losses: dict[str, Losses] = {}

    def scored(
        method: str, labels: Sequence[spans.Labelled], mix: bool = False
    ) -> tuple[edge.EdgeProbe, list[edge.Read], list[Rows]]:
        probe = edge.EdgeProbe(layers, mixed=mix, **options)
        fitted = probe.fit(labels[0], splits[0].states, labels[1], splits[1].states, label=label)
        losses[method] = kept(fitted.dev_loss)
        reads = [probe.read(labelled, split.states) for labelled, split in zip(labels[1:], splits[1:], strict=True)]
        tested = zip(reads, labels[1:], splits[1:], strict=True)
        return probe, reads, [reading.rows(layers, part.several, s.key, resamples) for reading, part, s in tested]

    _, reads, single = scored("single layer", given)
    classed = apart if definition.control == "words" else ()
    for reading, labelled, split, classes in zip(reads[1:], given[2:], splits[2:], classed, strict=bool(classed)):
        columns = about | split.about | {"method": f"single layer, {APART}"}
        for name, mask in classes.masks.items():
            chosen = mask[labelled.spans[:, 0, 0]]
            rows += [
                row | columns | {"rows": name}
                for row in reading.rows(layers, False, split.key, resamples, chosen)
                if chosen.any()
            ]
    lots = scored("control task", by_lot)[-1] if by_lot else [[] for _ in single]
    for real, control, split in zip(single, lots, splits[1:], strict=True):
        columns = about | split.about | {"method": "single layer"}
        rows += [row | columns for row in real]
        rows += [row | columns | {"method": "control task", "role": "control"} for row in control]
        for a, b in zip(real, control, strict=False):
            if a["metric"] == metric:
                less = intervals.row(a["value"] - b["value"], a["replicates"] - b["replicates"], a["units"])
                rows.append(a | {"metric": "selectivity"} | columns | less)
    if mixed:
        probe, _, mixes = scored(MIX, given, mix=True)
        for mix, split in zip(mixes, splits[1:], strict=True):
            columns = about | {"method": MIX, **split.about}
            scores = [row for row in mix if row["metric"] == metric]
            rows += [row | columns for row in mix]
            value = description_length.expected_layer(np.array([row["value"] for row in scores]), layers)
            drawn = description_length.expected_layer(np.stack([row["replicates"] for row in scores], -1), layers)
            if np.isfinite(value):  # else no layer adds to the first, and there is none to expect
                expected = intervals.row(float(value), drawn, scores[0]["units"])
                rows.append({"metric": "expected layer", "n": scores[0]["n"]} | expected | columns)
        weights, columns = probe.mix[-1], about | {"method": MIX}
        centre = float(description_length.centre_of_gravity(weights, layers))
        of_layers = zip(layers, weights, strict=True)
        rows += [{"metric": "mixing weight", "layer": n, "value": float(w)} | columns for n, w in of_layers]
        rows.append({"metric": "centre of gravity", "value": centre} | columns)
    codes = {"online code": given} | ({"control task": by_lot} if by_lot else {})
    for method, used in codes.items() if coded else ():
        probe = edge.EdgeProbe(layers, **options)
        sent = description_length.online_code(probe, used[0], splits[0].states, used[1], splits[1].states, label=label)
        columns = about | {"method": method, **splits[0].about}
        columns |= {"role": "control"} if method == "control task" else {}
        rows += [row | columns for row in sent.rows(layers, len(used[0].gold), splits[0].key, resamples)]
    return Measured(rows, losses)
