"""Fine-tuning: hides the training loop; gives an encoder tuned on a task, its learning curve and its scores.

It refuses unknown tasks and data a task cannot use. The number of updates is a parameter of its own, as the amount of change
in an encoder follows it.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from bert_repro import alignment, checkpoints, corpora, encoder, heads, intervals
from bert_repro.study import ROOT


class Task(NamedTuple):
    """What it takes to tune an encoder on something."""

    title: str
    read: Callable[[str], corpora.Corpus]
    head: Callable[[Sequence[Any]], Any]
    max_length: int
    whole: bool  # whether an item that was cut to the length limit is of no use


def _pairs(reference: str) -> corpora.Corpus:
    corpus = corpora.load(reference)
    if not isinstance(corpus.items[0], corpora.Pair) or not corpus.items[0].label:
        raise ValueError(
            f"{reference} holds no labelled pairs: a corpus such as sample-nli:train or mnli:train is needed here"
        )
    return corpus


TASKS = {
    "nli": Task("natural language inference", _pairs, heads.PairClassifier, 128, False),
    "parsing": Task("dependency parsing", corpora.treebank, heads.BiaffineParser, 256, True),
}
"""Tasks by name; the notebook's `task` parameter and the studies read this."""


class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises linearly over the first tenth of the updates and falls linearly to zero over the rest."""

    def __init__(self, peak: float, updates: int):
        self.peak, self.updates, self.warmup = peak, updates, max(1, updates // 10)

    def __call__(self, step):
        step = keras.ops.cast(step, "float32") + 1
        down = (self.updates + 1 - step) / max(1, self.updates + 1 - self.warmup)
        return self.peak * keras.ops.clip(keras.ops.minimum(step / self.warmup, down), 0.0, 1.0)


class Tuned(NamedTuple):
    """The outcome of a training run."""

    curve: pd.DataFrame  # updates, metric, value: training loss and dev scores along the way
    rows: list[dict[str, object]]  # table rows: the final scores with their intervals
    dropped: int  # items left out: of no use after cutting, or nothing of them fitted
    inputs: dict[str, str]  # checksums for the manifest


class _Examples:
    """Items with their encoder inputs, and batches of them."""

    def __init__(self, task: Task, reference: str, tokenizer: Any, positions: int):
        corpus = task.read(reference)
        self.limit = min(task.max_length, positions)
        aligned, rows, _ = alignment.align(tokenizer, corpus.items, self.limit)
        first = rows.drop_duplicates("sentence")
        pairs = zip(first["sentence"], first["truncated"], aligned, strict=True)
        kept = [(corpus.items[number], one) for number, cut, one in pairs if not (cut and task.whole)]
        self.items, self.inputs = [item for item, _ in kept], [one for _, one in kept]
        self.dropped, self.digest = len(corpus.items) - len(kept), corpus.digest
        if not self.items:
            raise ValueError(f"no item of {reference} fits into {self.limit} pieces")

    def arrays(self, head: Any, chosen: np.ndarray) -> tuple[dict, dict]:
        """Pad some examples to arrays: encoder and head inputs, and targets."""
        token_ids, mask = encoder.pad([self.inputs[i].token_ids for i in chosen], self.limit)
        segment_ids, _ = encoder.pad([self.inputs[i].segment_ids for i in chosen], self.limit)
        extra, targets = head.arrays(
            [self.items[i] for i in chosen], [self.inputs[i] for i in chosen], token_ids.shape[1]
        )
        return {"token_ids": token_ids, "segment_ids": segment_ids, "mask": mask} | extra, targets

    def batches(self, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """Draw batches for ever: shuffled, then of similar length within pools of fifty batches."""
        lengths = np.array([len(one.token_ids) for one in self.inputs])
        while True:
            order = generator.permutation(len(lengths))
            order = order[: len(order) - len(order) % size] if len(order) > size else order
            for start in range(0, len(order), size * 50):
                pool = order[start : start + size * 50]
                pool = pool[np.argsort(lengths[pool], kind="stable")]
                batches = [pool[i : i + size] for i in range(0, len(pool), size)]
                for i in generator.permutation(len(batches)):
                    yield batches[i]

    def by_length(self, size: int) -> Iterator[np.ndarray]:
        order = np.argsort([len(one.token_ids) for one in self.inputs], kind="stable")
        yield from (order[i : i + size] for i in range(0, len(order), size))


def train(
    model: str,
    task: str,
    train: str,
    dev: str,
    *,
    updates: int,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    seed: int = 1,
    save: str = "",
    record: dict[str, object] | None = None,
    resamples: int = intervals.RESAMPLES,
) -> Tuned:
    """Tune an encoder on a task.

    Args:
        model: The checkpoint to start from, see `checkpoints.resolve`.
        task: A name from TASKS.
        train: A corpus to learn from.
        dev: A corpus to score on; never learned from.
        updates: Optimiser steps.
        batch_size: Items a step.
        learning_rate: The peak, after a linear warm-up over a tenth of the updates.
        seed: Of the new layers, dropout and the order of items: the same seed gives the same weights on the same machine.
        save: Folder for the tuned checkpoint, relative to the project; empty for none.
        record: Table columns to keep with the checkpoint.
        resamples: Bootstrap resamples behind the intervals.

    Raises:
        ValueError: An unknown task, data it cannot use, or no updates.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: expected one of {sorted(TASKS)}")
    if updates < 1 or batch_size < 1:
        raise ValueError(f"updates and batch_size must be at least 1, got {updates} and {batch_size}")
    folder = checkpoints.resolve(model)
    config = checkpoints.read_config(folder)
    tokenizer = checkpoints.load_tokenizer(folder)
    positions = config.max_length
    examples, held_out = (_Examples(TASKS[task], reference, tokenizer, positions) for reference in (train, dev))
    for some in (examples, held_out):
        encoder.check(some.inputs, config)
    _deterministic(seed)
    network = encoder.build(config, checkpoints.read_weights(folder))
    head = TASKS[task].head(examples.items)
    inputs = (
        dict(zip(("mask", "segment_ids", "token_ids"), sorted(network.inputs, key=lambda i: i.name), strict=True))
        | head.extra_inputs
    )
    outputs = head.outputs(network.outputs[-1], inputs, config.hidden_dropout_prob)
    whole = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.AdamW(LinearWarmup(learning_rate, updates), weight_decay=0.01, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "norm"])
    whole.compile(optimizer, loss=head.losses, jit_compile=False)

    curve: list[tuple[int, str, float]] = []
    evaluate_at = {round(updates * part / 4) for part in range(1, 5)}
    batches = examples.batches(batch_size, np.random.default_rng(seed))
    with tqdm(total=updates, desc=f"{task}, seed {seed}", unit=" updates", mininterval=1) as bar:
        for update in range(1, updates + 1):
            logs = whole.train_on_batch(*examples.arrays(head, next(batches)), return_dict=True)
            if update in evaluate_at:
                curve.append((update, "loss", float(logs["loss"])))
                whole.reset_metrics()  # the next loss is the mean from here on
                counts = _evaluate(whole, head, held_out)
                curve += [
                    (update, name, float(value)) for name, value in zip(head.metrics, _pooled(counts), strict=True)
                ]
            bar.set_postfix_str(f"loss {logs['loss']:.3f}", refresh=False)
            bar.update()
    weights = intervals.draws(held_out.digest, len(held_out.items), resamples)
    rows = []
    for m, name in enumerate(head.metrics):
        value, replicates = intervals.ratio(counts[:, m, 0], counts[:, m, 1], weights)
        rows.append({"metric": name, "n": int(counts[:, m, 1].sum())} | intervals.row(float(value), replicates))
    if save:
        _save(ROOT / save, config, whole, network, folder, record or {})
    digests = {"weights": checkpoints.weights_digest(folder), "train": examples.digest, "dev": held_out.digest}
    frame = pd.DataFrame(curve, columns=["updates", "metric", "value"])
    return Tuned(frame, rows, examples.dropped + held_out.dropped, digests)


def _deterministic(seed: int) -> None:
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _evaluate(whole: keras.Model, head: Any, examples: _Examples) -> np.ndarray:
    counts = np.zeros((len(examples.items), len(head.metrics), 2))
    for chosen in examples.by_length(64):
        inputs, _ = examples.arrays(head, chosen)
        counts[chosen] = head.score([examples.items[i] for i in chosen], whole.predict_on_batch(inputs))
    return counts


def _pooled(counts: np.ndarray) -> np.ndarray:
    return counts[..., 0].sum(0) / counts[..., 1].sum(0)


def _save(
    target: Path,
    config: checkpoints.Config,
    whole: keras.Model,
    network: keras.Model,
    source: Path,
    record: dict[str, object],
) -> None:
    """Write the tuned checkpoint, the encoder's weights under its family's names and the task head's under `head.`."""
    mine = {variable.path for variable in network.weights}
    added = {f"head.{v.path.replace('/', '.')}": np.asarray(v) for v in whole.weights if v.path not in mine}
    arrays = encoder.export(network, config) | added
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        partial = Path(temporary) / target.name
        partial.mkdir()
        checkpoints.write(partial, config, arrays, source, record)
        if (
            target.exists()
        ):  # folders cannot be replaced in one step: the old one goes away first, and is kept until then
            os.replace(target, Path(temporary) / "old")
        os.replace(partial, target)
