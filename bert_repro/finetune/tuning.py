"""Tuning: hides how an encoder is tuned; gives it back with its learning curve, scores and change of weights.

It refuses unknown tasks, data that a task cannot use, and task heads whose label names do not fit the data. The number of
updates is a parameter of its own, as the amount of change in an encoder follows it.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bert_repro import backend, checkpoints, corpora
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.families import Config
from bert_repro.files import ROOT, cache_folder, replaced
from bert_repro.finetune.batches import Examples, Text
from bert_repro.finetune.loop import Run, evaluate, learn
from bert_repro.finetune.network import Network
from bert_repro.finetune.recipe import Recipe
from bert_repro.finetune.running_text import RunningText
from bert_repro.finetune.tasks import TASKS
from bert_repro.results import intervals, provenance

SANITY = 300  # items that tell whether a task head answers worse than chance


class Tuned(NamedTuple):
    """The outcome of a training run."""

    curve: pd.DataFrame  # updates, metric, value: training loss and dev scores along the way
    metric: str  # the one that decides which weights are the best
    rows: list[dict[str, object]]  # table rows: scores with their intervals, and the change of every layer's weights
    origin: dict[str, object]  # table columns that say how the checkpoint was made
    items: pd.DataFrame  # what became of the items of each corpus
    inputs: dict[str, str]  # checksums for the manifest
    notes: dict[str, float]  # for the manifest: after how many updates dev was best, seconds, real wordpieces a second


def train(model: str, recipe: Recipe, *, save: str = "", resamples: int = intervals.RESAMPLES) -> Tuned:
    """Tune an encoder, with a new task head; the weights that do best on dev are kept.

    A run that was killed goes on from its last evaluation when it is started again with the same arguments.

    Args:
        model: The checkpoint to start from, see `checkpoints.open`.
        recipe: What it is tuned on and how.
        save: Folder for the tuned checkpoint, relative to the project; empty for none. What is kept along the way lies
            beside it, as `<save>-<update>`.
        resamples: Bootstrap resamples behind the intervals.

    Raises:
        ValueError: Data that the task cannot use, layers that the encoder does not have, a batch that does not fit into
            memory, a loss that is no number, or a task head that is missing, nameless or worse than chance.
        OSError: A checkpoint or the state of the run cannot be written.
    """
    if recipe.keep_at and not save:
        raise ValueError("keep_at needs `save`, the folder beside which the checkpoints are kept")
    start = checkpoints.open(model)
    config = recipe.shape(start.config)
    texts = _read(recipe, start)
    dev, *_ = scored = texts[1:] if recipe.updates else texts
    source = _partner(recipe.head_of, start, config) if recipe.head_of else start
    labels = _labels(recipe, texts[0], source)
    backend.deterministic(recipe.seed)
    network = _build(recipe, config, labels, start, source)
    origin, inputs = _origin(recipe, start), start.digests | {text.reference: text.digest for text in texts}
    if recipe.head_of:
        inputs["weights of the task head"] = source.weights_digest

    def keep(target: str, record: dict[str, object]) -> None:
        replaced(ROOT / target, lambda new: Checkpoint.write(new, config, network.export(), start, record, labels))

    if recipe.updates:
        state = _state(recipe, origin, inputs, save)
        run = learn(
            network, texts[0], dev, recipe, lambda at: keep(f"{save}-{at}", origin | {"updates": at}), state
        )  # fmt: skip
    else:
        _sanity(network, dev, source.folder)
        run = Run()
        evaluate(run, network, dev)
    if network.precision != "float32":  # trained so; scored like any other
        network = network.in_float32(TASKS[recipe.task].head(labels))
        run.counts = network.score(dev)
    rows = _scores(network, run, scored, resamples) + _without(recipe.reverted_layers, network, dev, resamples)
    rows += [row | {"method": "weights along the way"} for row in run.changes]
    rows += [row | {"method": "weights"} for row in network.change() if recipe.updates]
    if save:
        keep(save, origin)
    if recipe.updates:
        state.unlink(missing_ok=True)
    return Tuned(
        pd.DataFrame(run.curve, columns=["updates", "metric", "value"]),
        network.head.metrics[0],
        rows,
        origin,
        pd.DataFrame([text.report for text in texts]),
        inputs,
        {
            "best update": run.best_update,
            "training seconds": round(run.seconds, 1),
            "wordpieces a second": round(run.pieces / max(run.seconds, 1e-9)),
        },
    )


def _read(recipe: Recipe, start: Checkpoint) -> list[Text]:
    """Read what is learned from, if anything is, then dev and test."""
    task, references = TASKS[recipe.task], [recipe.dev, *recipe.test]
    if recipe.updates:
        references.insert(0, recipe.train)
    read: type[Text] = RunningText if task.running else Examples
    texts = [read(task, reference, start.tokenizer, start.config.max_length) for reference in references]
    for text in texts:
        text.check(start.config)
    return texts


def _labels(recipe: Recipe, text: Text, source: Checkpoint) -> tuple[str, ...]:
    """Name what the task head tells apart: from what it learns from, or as the checkpoint that brings it does."""
    task = TASKS[recipe.task]
    learned = task.head.labels(text.items)
    labels = learned if recipe.updates else source.labels
    if learned and not labels:
        raise ValueError(
            f"{source.folder} does not name the labels of its task head (id2label in config.json), and {task.description} needs "
            "them; with at least one update a new head is trained"
        )
    return labels


def _build(recipe: Recipe, config: Config, labels: Sequence[str], start: Checkpoint, source: Checkpoint) -> Network:
    """Put a task head on the encoder: a new one, ready to learn, or that of `source`."""
    task, weights = TASKS[recipe.task], start.weights()
    head, base = task.head(labels), weights if source is start else source.weights()
    head.tied = source is start
    if not task.dropout:
        config = replace(config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    precision = recipe.precision if recipe.updates else "float32"
    network = Network(config, weights, head, recipe.frozen_layers, precision, base)
    if recipe.updates:
        network.compile(recipe.learning_rate, recipe.head_learning_rate, recipe.updates)
    else:
        network.take_head(base, source.folder)
    return network


def _origin(recipe: Recipe, start: Checkpoint) -> dict[str, object]:
    """Give the table columns that say how the tuned checkpoint is made; of one that is only scored, how it was."""
    origin: dict[str, object] = {"base": start.record.get("base", start.reference)}
    origin |= {"task": recipe.task, "seed": recipe.seed, "updates": recipe.updates}
    if not recipe.updates:
        return origin | start.record
    changed = _changed(start.config.num_hidden_layers, recipe.frozen_layers, recipe.kept_layers)
    return origin | {"layers_changed": changed}


def _state(recipe: Recipe, origin: Mapping[str, object], inputs: Mapping[str, str], save: str) -> Path:
    """Find the file for the state of a run: another one for whatever would make another run of it."""
    # what is kept along the way lies in this clone: another one with the same cache begins a run of its own
    settings = vars(recipe), origin, inputs, str(ROOT / save), code()
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    return cache_folder() / "training" / f"{key}.safetensors"


def _scores(network: Network, run: Run, scored: Sequence[Text], resamples: int) -> list[dict[str, object]]:
    """Score dev, of which the run has the counts, and test."""
    counts = [run.counts, *(network.score(text) for text in scored[1:])]
    pairs = zip(counts, scored, strict=True)
    return [row for count, text in pairs for row in _rows(network.head.metrics, count, text, resamples)]


def _without(layers: Sequence[int], network: Network, dev: Text, resamples: int) -> list[dict[str, object]]:
    """Score dev without the change of each of some layers."""
    rows = []
    for layer in layers:
        with network.reverted(layer):
            counts = network.score(dev)
        changed = {"layer": layer, "layers_changed": f"all_but_{layer}", "method": "layer reverted"}
        rows += [row | changed for row in _rows(network.head.metrics, counts, dev, resamples)]
    return rows


def code() -> str:
    """Identify the files that a run's code lies in, so that none goes on from what other code began."""
    files = provenance.sources(ROOT / "notebooks" / "finetune.ipynb")
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _partner(reference: str, start: Checkpoint, config: Config) -> Checkpoint:
    """Find the checkpoint whose task head another one is read by: of the same shape, and the same pieces."""
    partner = checkpoints.open(reference)
    theirs = partner.config
    for name in ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size"):
        if getattr(theirs, name) != getattr(config, name):
            raise ValueError(
                f"head_of {reference!r}: its {name} is {getattr(theirs, name)}, that of {start.folder} {getattr(config, name)}; "
                "a task head reads the states of its own encoder or of one tuned from that"
            )
    if partner.tokenizer.get_vocab() != start.tokenizer.get_vocab():
        raise ValueError(f"head_of {reference!r}: its vocabulary is another than that of {start.folder}")
    return partner


def _changed(blocks: int, frozen: int, kept: int) -> str:
    """Say which layers a training could change, in the words of the tables: layers are counted in blocks."""
    if kept:
        return f"first_{kept}_of_{blocks}" + ("_frozen" if frozen == kept else "")
    if frozen == blocks:
        return "head_only"
    return f"top_{blocks - frozen}_of_{blocks}" if frozen else "all"


def _rows(metrics: Sequence[str], counts: np.ndarray, scored: Text, resamples: int) -> list[dict[str, object]]:
    """Give the table rows of a corpus; a metric that counts nothing there has none."""
    weights = intervals.draws(scored.digest, len(counts), resamples)
    where = corpora.columns(scored.reference)
    rows: list[dict[str, object]] = []
    for m, name in enumerate(metrics):
        if n := int(counts[:, m, 1].sum()):
            value, replicates = intervals.ratio(counts[:, m, 0], counts[:, m, 1], weights)
            rows.append(where | {"metric": name, "n": n} | intervals.row(float(value), replicates, len(counts)))
    return rows


def _sanity(network: Network, dev: Text, source: Path) -> None:
    """Stop where a classifier does worse than chance on the first items, or would do far better under exchanged names."""
    if not network.head.chance:
        return

    def share() -> tuple[float, float]:
        right, n = network.score(dev, SANITY).sum(0)[0]
        return right / n, n

    names, chance = network.head.names, network.head.chance
    (found, n), best, order = share(), 0.0, names
    for permuted in itertools.permutations(names) if len(names) <= 3 else ():
        network.head.names = list(permuted)
        if (other := share()[0]) > best:
            best, order = other, network.head.names
    network.head.names = names
    doubt = 3 * (chance * (1 - chance) / n) ** 0.5  # three standard errors of a guesser
    if found < max(chance, best - doubt) - doubt:
        better = f", and would be in {best:.2f} if the names were {order}" if best > found else ""
        raise ValueError(
            f"the task head of {source} is right in {found:.2f} of {n:.0f} items of {dev.reference} ({chance:.2f} by chance)"
            f"{better}: are the label names in its config.json (id2label) {names} in the wrong order?"
        )
