"""The training loop: watches a run, keeps the best weights, and resumes after a kill.

A loss that is not a number is an error.
"""

import dataclasses
import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from bert_repro.checkpoints import formats
from bert_repro.files import atomically
from bert_repro.finetune.batches import Text
from bert_repro.finetune.network import Network
from bert_repro.finetune.recipe import Recipe

SECONDS = 600  # of training after which the state is written between two evaluations
UNTIMED = 10  # updates that a process spends on compiling rather than on learning


@dataclasses.dataclass
class Run:
    """The outcome of a training run."""

    update: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)  # since the last evaluation
    curve: list[tuple[int, str, float]] = dataclasses.field(default_factory=list)  # updates, metric, value
    changes: list[dict[str, object]] = dataclasses.field(default_factory=list)  # table rows
    best_update: int = 0
    best_value: float = -math.inf  # of dev, the greater the better
    seconds: float = 0.0  # of timed updates, evaluations not counted
    pieces: int = 0  # real wordpieces of timed updates
    counts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))  # of dev at its best: items metrics 2
    weights: list[np.ndarray] = dataclasses.field(default_factory=list)  # the best on dev

    def write(self, path: Path, network: Network) -> None:
        """Write the state of run and network, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        arrays = (
            network.state() | {"counts": self.counts} | {f"best {n}": array for n, array in enumerate(self.weights)}
        )
        notes = {name: value for name, value in vars(self).items() if name not in ("counts", "weights")}
        path.parent.mkdir(parents=True, exist_ok=True)
        atomically(path, lambda new: formats.write(arrays, new, {"run": json.dumps(notes)}))

    @classmethod
    def read(cls, path: Path, network: Network) -> "Run":
        """Go on where a state was written, or begin where there is none that can be read."""
        try:
            with safe_open(path, "np") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
                run = cls(**json.loads(file.metadata()["run"]))
        except (OSError, SafetensorError):
            return cls()
        network.restore(arrays)
        run.counts = arrays["counts"]
        run.weights = [arrays[f"best {n}"] for n in range(sum(name.startswith("best ") for name in arrays))]
        return run


def learn(network: Network, examples: Text, dev: Text, recipe: Recipe, keep: Callable[[int], None], state: Path) -> Run:
    """Train a network and leave it with the weights that did best on dev, the later ones among equals.

    Args:
        network: A compiled network.
        examples: What it learns from.
        dev: What it is watched on.
        recipe: How long it learns, from how much at a time, and where it is watched and kept.
        keep: Called with the number of updates where the network is to be kept.
        state: File for the state of the run; where it exists, the run resumes from there.

    Raises:
        ValueError: The loss is no number, or what is computed at a time does not fit into memory.
        OSError: The state or a checkpoint cannot be written.
    """
    run, updates = Run.read(state, network), recipe.updates
    points = {math.ceil(updates * part / recipe.evaluations) for part in range(1, recipe.evaluations + 1)}
    drawn = examples.batches(recipe.batch_size, np.random.default_rng(recipe.seed), updates)
    label = f"{recipe.task}, seed {recipe.seed}"
    batches = itertools.islice(drawn, run.update, None)
    timed_from, written = run.update + UNTIMED, time.monotonic()
    with tqdm(total=updates, initial=run.update, desc=label, unit=" updates", mininterval=1) as bar:
        while run.update < updates:
            inputs, targets = examples.arrays(network.head, next(batches))
            begin = time.perf_counter()
            loss = network.step(inputs, targets)
            run.update += 1
            if not math.isfinite(loss):
                raise ValueError(f"the loss is {loss} after {run.update} updates: lower the learning rate")
            run.losses.append(loss)
            if run.update > timed_from:
                run.seconds += time.perf_counter() - begin
                run.pieces += int(inputs["mask"].sum())
            bar.set_postfix_str(
                f"loss {loss:.3f}, {run.pieces / max(run.seconds, 1e-9):,.0f} wordpieces/s", refresh=False
            )
            bar.update()
            if run.update in recipe.keep_at:
                keep(run.update)
            if run.update in points:
                evaluate(run, network, dev)
            if run.update in points or time.monotonic() - written > SECONDS:
                run.write(state, network)
                written = time.monotonic()
    network.assign(run.weights)
    return run


def evaluate(run: Run, network: Network, dev: Text) -> None:
    """Score a network on dev, and remember its weights where they are the best so far."""
    counts = network.score(dev)
    scores = {name: right / n for name, (right, n) in zip(network.head.metrics, counts.sum(0), strict=True) if n}
    run.curve.append((run.update, "loss", float(np.mean(run.losses))))
    run.curve += [(run.update, name, float(value)) for name, value in scores.items()]
    run.changes += [row | {"updates": run.update} for row in network.change()]
    run.losses = []
    value = scores[network.head.metrics[0]] * (-1 if network.head.lower_is_better else 1)
    if value >= run.best_value:
        run.best_update, run.best_value, run.counts, run.weights = run.update, value, counts, network.learned()
