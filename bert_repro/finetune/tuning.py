"""Tuning an encoder: returns it with its learning curve, scores and change of weights.

Unknown tasks, and data that a task cannot use, are errors. The number of updates is a parameter of its own, as the amount of
change in an encoder follows it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bert_repro import backend, checkpoints
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.families import Config
from bert_repro.files import ROOT, cache_folder, code_digest, replaced
from bert_repro.finetune.cards import landmarks
from bert_repro.finetune.counts import score_rows
from bert_repro.finetune.loop import learn
from bert_repro.finetune.network import Network
from bert_repro.finetune.recipe import Recipe
from bert_repro.finetune.scoring import texts_of, without
from bert_repro.finetune.tasks import TASKS
from bert_repro.results import intervals, provenance


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

    Pre-training on masked words continues with the head of a checkpoint that brings one.

    A killed run resumes from its last evaluation when it is started again with the same arguments.

    Args:
        model: The checkpoint to start from, see `checkpoints.open`.
        recipe: What it is tuned on and how.
        save: Folder for the tuned checkpoint, relative to the project; empty for none. What is kept along the way lies
            beside it, as `<save>-<update>`.
        resamples: Bootstrap resamples behind the intervals.

    Raises:
        ValueError: Data that the task cannot use, layers that the encoder does not have, a batch that does not fit into
            memory, or a loss that is not a number.
        OSError: A checkpoint or the state of the run cannot be written.
    """
    if recipe.keep_at and not save:
        raise ValueError("keep_at needs `save`, the folder beside which the checkpoints are kept")
    if recipe.control == "untrained" and not checkpoints.untrained(model):
        raise ValueError(f"the control `untrained` needs an encoder that learned nothing, as untrained:{model}")
    start = checkpoints.open(model)
    config = recipe.shape(start.config)
    recipe = recipe.fitting(config)
    task = recipe.read_as
    examples, dev, *test = texts_of(task, [recipe.train, recipe.dev, *recipe.test], start)
    if alone := [text.reference for text in (dev, *test) if len(text.items) < 2]:
        raise ValueError(f"{alone[0]} holds one item: an interval needs at least two to be scored")
    labels = task.head.labels(examples.items)
    backend.deterministic(recipe.seed)
    network = _new(recipe, config, labels, start)
    origin = _origin(recipe, start)
    inputs = start.digests | {text.reference: text.digest for text in (examples, dev, *test)}

    def keep(target: str, record: dict[str, object]) -> None:
        replaced(ROOT / target, lambda new: Checkpoint.write(new, config, network.export(), start, record, labels))

    state = _state(recipe, origin, inputs, save)
    run = learn(network, examples, dev, recipe, lambda at: keep(f"{save}-{at}", origin | {"updates": at}), state)
    if network.precision != "float32":  # trained so; scored like any other
        network = network.in_float32(task.head(labels))
        run.counts = network.score(dev)
    counts = [run.counts, *(network.score(text) for text in test)]
    metrics = network.head.metrics
    rows = [
        row
        for count, text in zip(counts, [dev, *test], strict=True)
        for row in score_rows(metrics, count, text, resamples)
    ]
    rows += without(recipe.reverted_layers, network, dev, resamples)
    rows += [row | {"method": "weights along the way"} for row in run.changes]
    rows += [row | {"method": "weights"} for row in network.change()]
    if save:
        keep(save, origin)
    state.unlink(missing_ok=True)
    return Tuned(
        pd.DataFrame(run.curve, columns=["updates", "metric", "value"]),
        metrics[0],
        rows,
        origin,
        pd.DataFrame([text.report for text in (examples, dev, *test)]),
        inputs,
        {
            "best update": run.best_update,
            "inputs at a time": recipe.micro_batch or recipe.batch_size,
            "training seconds": round(run.seconds, 1),
            "wordpieces a second": round(run.pieces / max(run.seconds, 1e-9)),
        },
    )


def _new(recipe: Recipe, config: Config, labels: Sequence[str], start: Checkpoint) -> Network:
    """Put a new task head on the encoder, ready to learn; pre-training continues with the head that a checkpoint brings."""
    task = TASKS[recipe.task]
    if not task.dropout:
        config = replace(config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    weights = start.weights()
    network = Network(config, weights, task.head(labels), recipe.frozen_layers, recipe.precision)
    if task.running and landmarks(start.config)[recipe.task] in weights:
        network.take_head(weights, start.folder)
    network.compile(recipe.learning_rate, recipe.head_learning_rate, recipe.updates, recipe.parts)
    return network


def _origin(recipe: Recipe, start: Checkpoint) -> dict[str, object]:
    """Give the table columns that say how the tuned checkpoint is made."""
    origin: dict[str, object] = {"base": start.record.get("base", start.reference)}
    origin |= {"task": recipe.task, "seed": recipe.seed, "updates": recipe.updates}
    changed = _changed(start.config.num_hidden_layers, recipe.frozen_layers, recipe.kept_layers)
    return origin | {"layers_changed": changed}


def _state(recipe: Recipe, origin: Mapping[str, object], inputs: Mapping[str, str], save: str) -> Path:
    """Find the file for the state of a run: another one for whatever would make another run of it."""
    # what is kept along the way lies in this clone: another one with the same cache begins a run of its own
    settings = vars(recipe), origin, inputs, str(ROOT / save), code()
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    return cache_folder() / "training" / f"{key}.safetensors"


def code() -> str:
    """Identify the files of a run's code, so that no run resumes from a state that other code wrote."""
    return code_digest(*provenance.sources(ROOT / "notebooks" / "finetune.ipynb"))


def _changed(blocks: int, frozen: int, kept: int) -> str:
    """Say which layers a training could change, in the words of the tables: layers are counted in blocks."""
    if kept:
        return f"first_{kept}_of_{blocks}" + ("_frozen" if frozen == kept else "")
    if frozen == blocks:
        return "head_only"
    return f"top_{blocks - frozen}_of_{blocks}" if frozen else "all"
