"""Fine-tuning: hides how an encoder is tuned; gives it back with its learning curve, scores and change of weights.

It refuses unknown tasks, data that a task cannot use, and task heads whose label names do not fit the data. The number of
updates is a parameter of its own, as the amount of change in an encoder follows it.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bert_repro import backend, checkpoints, corpora
from bert_repro.checkpoints.families import Config
from bert_repro.files import ROOT, cache_folder, replaced
from bert_repro.finetune.batches import Examples, Task
from bert_repro.finetune.heads import masked_words
from bert_repro.finetune.heads.pairs import PairClassifier
from bert_repro.finetune.heads.parser import BiaffineParser
from bert_repro.finetune.heads.spans import SpanFinder
from bert_repro.finetune.heads.tagger import WordTagger
from bert_repro.finetune.loop import Run, evaluate, learn
from bert_repro.finetune.network import Network
from bert_repro.finetune.running_text import RunningText
from bert_repro.results import intervals, provenance


def _tree(item: Any) -> bool:
    return isinstance(item, corpora.Sentence) and bool(item.heads)


TASKS = {
    "nli": Task(
        "natural language inference", "labelled pairs, such as mnli:train",
        lambda item: isinstance(item, corpora.Pair) and bool(item.label), PairClassifier, 128, "cut",
    ),
    "squad": Task(
        "question answering", "questions with answers, such as squad:train",
        lambda item: isinstance(item, corpora.Question) and bool(item.answers), SpanFinder, 384, "windows",
    ),
    "parsing": Task(
        "dependency parsing", "trees, such as ewt:train", _tree, BiaffineParser, 256, "left out",
    ),
    "tagging": Task(
        "part-of-speech tagging", "tagged sentences, such as ewt:train",
        lambda item: _tree(item) and bool(item.upos), WordTagger, 256, "left out",
    ),
    # what pre-training is, begun from an untrained encoder: a text is read once or twice, so nothing is dropped
    "masked_words": Task(
        "masked words", "running text, such as wiki or a .txt file", lambda item: True, masked_words.MaskedWords, 384,
        reader=RunningText, dropout=False,
    ),
}  # fmt: skip
"""Tasks by name; the notebook's `task` parameter and the studies read this."""
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


def train(
    model: str,
    task: str,
    train: str,
    dev: str,
    *,
    test: Sequence[str] = (),
    updates: int,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    head_learning_rate: float = 1e-3,
    seed: int = 1,
    frozen_layers: int = 0,
    kept_layers: int = 0,
    reverted_layers: Sequence[int] = (),
    evaluations: int = 4,
    keep_at: Sequence[int] = (),
    save: str = "",
    precision: str = "float32",
    head_of: str = "",
    resamples: int = intervals.RESAMPLES,
) -> Tuned:
    """Tune an encoder on a task, with a new task head; the weights that do best on dev are kept.

    A run that was killed goes on from its last evaluation when it is started again with the same arguments.

    Args:
        model: The checkpoint to start from, see `checkpoints.resolve`.
        task: A name from TASKS.
        train: A corpus to learn from.
        dev: A corpus to watch and to choose the weights by; never learned from.
        test: Corpora that are scored once, with the weights that are kept.
        updates: Optimiser steps; with 0, the checkpoint is scored with the task head that it brings.
        batch_size: Items a step; all of them where a corpus has fewer.
        learning_rate: The peak, after a linear warm-up over a tenth of the updates.
        head_learning_rate: The same of the task head, which begins at random: so the encoder can learn at one rate
            whatever is on top.
        seed: Of the new layers, dropout and the order of items: the same seed gives the same weights on the same machine.
        frozen_layers: Blocks, from the bottom, that stay as they are; with one or more the embeddings do too.
        kept_layers: Blocks, from the bottom, that the encoder consists of; 0 for all.
        reverted_layers: Layers (0 the embeddings) whose first weights are put back, one at a time, to score dev
            without their change.
        evaluations: How many times dev is scored, at equal distances.
        keep_at: Updates after which the checkpoint is kept as well, as `<save>-<update>`.
        save: Folder for the tuned checkpoint, relative to the project; empty for none.
        precision: `float32`, or `bfloat16` for the products of training; weights, optimiser and scores are in float32.
        head_of: With 0 updates, another checkpoint whose task head reads this one's states, say its base; reverted layers
            then get that checkpoint's weights.
        resamples: Bootstrap resamples behind the intervals.

    Raises:
        ValueError: An unknown task, data it cannot use, a number out of its range, a batch that does not fit into memory,
            a loss that is no number, or a task head that is missing, nameless or worse than chance.
        OSError: A checkpoint or the state of the run cannot be written.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: expected one of {sorted(TASKS)}")
    _within("updates", updates, 0)
    _within("batch_size", batch_size, 1)
    _within("evaluations", evaluations, 1)
    if not (learning_rate > 0 and head_learning_rate > 0):
        raise ValueError(f"learning rates must be greater than 0, got {learning_rate} and {head_learning_rate}")
    for update in keep_at:
        _within("keep_at", update, 1, updates)
    if head_of and updates:
        raise ValueError(f"head_of {head_of!r} goes with 0 updates: training begins with a new task head")
    if keep_at and not save:
        raise ValueError("keep_at needs `save`, the folder beside which the checkpoints are kept")
    folder = checkpoints.resolve(model)
    config = checkpoints.read_config(folder)
    blocks = config.num_hidden_layers
    _within("kept_layers", kept_layers, 0, blocks)
    config = dataclasses.replace(config, num_hidden_layers=kept_layers or blocks)
    _within("frozen_layers", frozen_layers, 0, config.num_hidden_layers)
    for layer in reverted_layers:
        _within("reverted_layers", layer, 0, config.num_hidden_layers)
    tokenizer = checkpoints.load_tokenizer(folder)
    read = TASKS[task].reader or Examples
    texts = [read(TASKS[task], text, tokenizer, config.max_length) for text in ([train] * bool(updates) + [dev, *test])]
    examples, scored = texts[0], texts[bool(updates) :]
    for text in texts:
        text.check(config)

    backend.deterministic(seed)
    weights = checkpoints.read_weights(folder)
    source = _partner(head_of, folder, config) if head_of else folder
    base = checkpoints.read_weights(source) if head_of else weights
    learned = TASKS[task].head.labels(examples.items)
    labels = learned if updates else checkpoints.labels(source)
    if learned and not labels:
        raise ValueError(
            f"{source} does not name the labels of its task head (id2label in config.json), and {TASKS[task].title} needs them; "
            "with at least one update a new head is trained"
        )
    head = TASKS[task].head(labels, tied=False) if head_of and task == "masked_words" else TASKS[task].head(labels)
    network = Network(_to_train(config, task), weights, head, frozen_layers, precision if updates else "float32", base)
    record = checkpoints.record(folder)
    origin: dict[str, object] = {"base": record.get("base", model), "task": task, "seed": seed, "updates": updates}
    origin |= {"layers_changed": _changed(blocks, frozen_layers, kept_layers)} if updates else record
    inputs = {"weights": checkpoints.weights_digest(folder), "tokenizer": checkpoints.tokenizer_digest(folder)} | {
        text.reference: text.digest for text in texts
    }
    if head_of:
        inputs["weights of the task head"] = checkpoints.weights_digest(source)

    def keep(target: str, made: dict[str, object]) -> None:
        replaced(ROOT / target, lambda new: checkpoints.write(new, config, network.export(), folder, made, labels))

    if updates:
        network.compile(learning_rate, head_learning_rate, updates)
        # what is kept along the way lies in this clone: another one with the same cache begins a run of its own
        data, kept = (inputs, train, dev, batch_size), (evaluations, [*keep_at], str(ROOT / save))
        settings = origin, data, kept, learning_rate, head_learning_rate, frozen_layers, precision, code()
        key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
        state = cache_folder() / "training" / f"{key}.safetensors"
        run = learn(
            network, examples, scored[0], updates=updates, batch_size=batch_size, seed=seed, evaluations=evaluations,
            keep=lambda update: keep(f"{save}-{update}", origin | {"updates": update}), keep_at=keep_at, state=state, label=f"{task}, seed {seed}",
        )  # fmt: skip
    else:
        network.take_head(base, source)
        _sanity(network, scored[0], source)
        run = Run()
        evaluate(run, network, scored[0])
    if precision != "float32" and updates:  # trained so; scored like any other
        trained = network.export()
        network = Network(config, trained, TASKS[task].head(labels), base=weights)
        network.take_head(trained, folder)
        run.counts = network.score(scored[0])
    rows: list[dict[str, object]] = []
    for some in scored:
        counts = run.counts if some is scored[0] else network.score(some)
        rows += _rows(network.head.metrics, counts, some, resamples)
    for layer in reverted_layers:
        with network.reverted(layer):
            found = _rows(network.head.metrics, network.score(scored[0]), scored[0], resamples)
        changed = {"layer": layer, "layers_changed": f"all_but_{layer}", "method": "layer reverted"}
        rows += [row | changed for row in found]
    rows += [row | {"method": "weights along the way"} for row in run.changes]
    rows += [row | {"method": "weights"} for row in network.change() if updates]
    if save:
        keep(save, origin)
    if updates:
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


def code() -> str:
    """Identify the files that a run's code lies in, so that none goes on from what other code began."""
    files = provenance.sources(ROOT / "notebooks" / "finetune.ipynb")
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _within(name: str, value: int, low: int, high: int | None = None) -> None:
    if value < low or (high is not None and value > high):
        raise ValueError(
            f"{name} must be at least {low}, got {value}" if high is None
            else f"{name} must lie between {low} and {high}, got {value}"
        )  # fmt: skip


def _to_train(config: Config, task: str) -> Config:
    return config if TASKS[task].dropout else dataclasses.replace(
        config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )  # fmt: skip


def _partner(reference: str, folder: Path, config: Config) -> Path:
    """Find the checkpoint whose task head another one is read by: of the same shape, and the same pieces."""
    partner = checkpoints.resolve(reference)
    theirs = checkpoints.read_config(partner)
    for name in ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size"):
        if getattr(theirs, name) != getattr(config, name):
            raise ValueError(
                f"head_of {reference!r}: its {name} is {getattr(theirs, name)}, that of {folder} {getattr(config, name)}; "
                "a task head reads the states of its own encoder or of one tuned from that"
            )
    if checkpoints.load_tokenizer(partner).get_vocab() != checkpoints.load_tokenizer(folder).get_vocab():
        raise ValueError(f"head_of {reference!r}: its vocabulary is another than that of {folder}")
    return partner


def _changed(blocks: int, frozen: int, kept: int) -> str:
    """Say which layers a training could change, in the words of the tables: layers are counted in blocks."""
    if kept:
        return f"first_{kept}_of_{blocks}" + ("_frozen" if frozen == kept else "")
    if frozen == blocks:
        return "head_only"
    return f"top_{blocks - frozen}_of_{blocks}" if frozen else "all"


def _rows(metrics: Sequence[str], counts: np.ndarray, scored: Examples, resamples: int) -> list[dict[str, object]]:
    """Give the table rows of a corpus; a metric that counts nothing there has none."""
    weights = intervals.draws(scored.digest, len(counts), resamples)
    where = corpora.columns(scored.reference)
    rows: list[dict[str, object]] = []
    for m, name in enumerate(metrics):
        if n := int(counts[:, m, 1].sum()):
            value, replicates = intervals.ratio(counts[:, m, 0], counts[:, m, 1], weights)
            rows.append(where | {"metric": name, "n": n} | intervals.row(float(value), replicates, len(counts)))
    return rows


def _sanity(network: Network, dev: Examples, source: Path) -> None:
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
