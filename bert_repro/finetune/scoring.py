"""Scores of checkpoints as they are: what a task head that somebody trained gets right, and how far its encoder has moved.

A task head whose labels are named in the wrong order, or not at all, is an error; a missing one is reported.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd

from bert_repro import checkpoints
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.families import differing, weight_change
from bert_repro.encoder import Room
from bert_repro.finetune.batches import Examples, Text
from bert_repro.finetune.cards import landmarks
from bert_repro.finetune.counts import score_rows
from bert_repro.finetune.network import Network, NoTaskHeadError
from bert_repro.finetune.running_text import RunningText
from bert_repro.finetune.tasks import TASKS, Task, named
from bert_repro.results import intervals

SANITY = 300  # items that tell whether a task head answers worse than chance


class MisfitError(ValueError):
    """A task head of another checkpoint does not fit an encoder."""


class Scored(NamedTuple):
    """The scores of a checkpoint as it is."""

    rows: list[dict[str, object]]  # table rows: change of weights, scores with their intervals
    notes: list[str]  # what could not be measured, and why: a sentence each
    items: pd.DataFrame  # what became of the items of each text
    inputs: dict[str, str]  # checksums for the manifest


def assess(
    model: str,
    *,
    base: str = "",
    task: str = "",
    texts: Sequence[str] = (),
    labels: Sequence[str] = (),
    revert: bool = False,
    masked: str = "",
    head_of: str = "",
    resamples: int = intervals.RESAMPLES,
) -> Scored:
    """Measure everything about a checkpoint that needs no training.

    Args:
        model: The checkpoint, see `checkpoints.open`.
        base: The one that it was tuned from: change of weights is measured from there. Empty for none.
        task: What its task head does, a name from TASKS; empty for nothing that is known here.
        texts: What the task is scored on; layers are reverted on the first.
        labels: Names of the outputs of the task head, in their order, where its config does not say them.
        revert: Whether the task is also scored with one layer after another reverted to its weights in `base`.
        masked: Running text whose masked words are predicted, where the checkpoint can; empty for none.
        head_of: Another checkpoint whose masked-word head reads this one's states, say its base: with all that is its own, the
            word embeddings that decode included. It reads `masked`, and the task where that is masked words and `masked` is empty.
        resamples: Bootstrap resamples behind the intervals.

    Returns:
        Rows of method `weights`, `fine-tuning`, `layer reverted` and `masked words`, by layer where they are of one.

    Raises:
        ValueError: An unknown task, a text it cannot use, or a task head whose labels are nameless or worse than chance; and
            what `checkpoints.open` raises.
        OSError: A checkpoint could not be fetched.
    """
    scored = Scored([], [], pd.DataFrame(), {})
    start = checkpoints.open(model)
    scored.inputs.update(start.digests)
    weights, first = start.weights(), None
    if base:
        base_checkpoint = checkpoints.open(base)
        if unlike := differing(start.config, base_checkpoint.config):
            scored.notes.append(f"No change of weights: {unlike} as in {base}.")
        else:
            first = base_checkpoint.weights()
            scored.rows.extend(row | {"method": "weights"} for row in weight_change(start.config, first, weights))
            scored.inputs["weights of the base"] = base_checkpoint.weights_digest
    reports = []
    own = head_of if task == "masked_words" and not masked else ""
    requests = [(task, list(texts), "fine-tuning", tuple(labels), own)] * bool(task and texts)
    requests += [("masked_words", [masked], "masked words", (), head_of)] * bool(masked)
    for name, references, method, named_so, head_owner in requests:
        try:
            network = ready(start, weights, name, named_so, base=first, head_of=head_owner)
        except (NoTaskHeadError, MisfitError) as error:
            scored.notes.append(f"Not scored on {TASKS[name].description}: {error}.")
            continue
        data = texts_of(TASKS[name], references, start)
        sanity(network, data[0], model)
        layers = (
            range(start.config.num_hidden_layers + 1)
            if revert and first is not None and method == "fine-tuning"
            else ()
        )
        rows = [row for text in data for row in score_rows(network.head.metrics, network.score(text), text, resamples)]
        rows += without(layers, network, data[0], resamples)
        scored.rows.extend({"method": method, "target": name} | row for row in rows)
        scored.inputs.update({text.reference: text.digest for text in data})
        if head_owner:
            scored.inputs["weights of the masked-word head"] = checkpoints.open(head_owner).weights_digest
        reports += [text.report for text in data]
    return scored._replace(items=pd.DataFrame(reports))


def ready(
    start: Checkpoint,
    weights: Mapping[str, np.ndarray],
    task: str,
    labels: Sequence[str] = (),
    *,
    base: Mapping[str, np.ndarray] | None = None,
    head_of: str = "",
    room: Room | None = None,
    on: "keras.Model | None" = None,
) -> Network:
    """Load a checkpoint's own task head on its encoder.

    Args:
        start: The checkpoint.
        weights: What `start.weights()` gives, which takes its time.
        task: A name from TASKS.
        labels: Names of its outputs, in their order; by default those of its config.
        base: The arrays that layers are reverted to, by default its own.
        head_of: Another checkpoint, whose task head is taken instead.
        room: What may be erased behind each layer, see `encoder.build`.
        on: An encoder of its shape that is there already, whatever its weights: the task head is put on that.

    Raises:
        NoTaskHeadError: It brings none of this kind.
        MisfitError: The other checkpoint is of another shape, or has other wordpieces.
        ValueError: The names of the labels are not known, or do not fit the task.
    """
    kind = named(task)
    source = _partner(head_of, start) if head_of else start
    head_weights = source.weights() if head_of else weights
    landmark = landmarks(source.config).get(task)
    if landmark and landmark not in head_weights:
        raise NoTaskHeadError(f"{source.reference} brings no task head of this kind: it has no weight {landmark!r}")
    names = tuple(labels) or source.labels
    if kind.labelled and (not names or _nameless(names)):
        raise ValueError(
            f"{source.reference} does not name the labels of its task head (id2label in config.json: {list(names) or 'nothing'}), "
            f'and {kind.description} needs them: say them in the order of its outputs, as in LABELS="NAME=entailment,neutral,contradiction"'
        )
    head = kind.head(names)
    head.tied = source is start and on is None
    network = Network(start.config, weights, head, base=base, room=room, on=on)
    network.take_head(head_weights, source.folder)
    return network


def texts_of(task: Task, references: Sequence[str], start: Checkpoint) -> list[Text]:
    """Read texts for a task, as inputs of an encoder.

    Raises:
        ValueError: One that the task cannot use, or pieces that the encoder does not know.
    """
    reader: type[Text] = RunningText if task.running else Examples
    texts = [reader(task, reference, start.tokenizer, start.config.max_length) for reference in references]
    for text in texts:
        text.check(start.config)
    return texts


def without(layers: Sequence[int], network: Network, dev: Text, resamples: int) -> list[dict[str, object]]:
    """Score dev without the change of each of some layers."""
    rows = []
    for layer in layers:
        with network.reverted(layer):
            counts = network.score(dev)
        changed = {"layer": layer, "layers_changed": f"all_but_{layer}", "method": "layer reverted"}
        rows += [row | changed for row in score_rows(network.head.metrics, counts, dev, resamples)]
    return rows


def sanity(network: Network, dev: Text, source: str) -> None:
    """Stop where a classifier does worse than chance on the first items, or would do far better under exchanged names.

    Raises:
        ValueError: It does; the message names the order of labels that fits.
    """
    if not network.head.chance:
        return

    outputs: list[dict[str, np.ndarray]] = []

    def predict(inputs: dict) -> dict[str, np.ndarray]:
        outputs.append(network.predict(inputs))
        return outputs[-1]

    def replayed() -> Callable[[dict], dict[str, np.ndarray]]:
        again = iter(outputs)
        return lambda inputs: next(again)

    def share(predict: Callable[[dict], dict[str, np.ndarray]]) -> tuple[float, float]:
        right, n = dev.counts(network.head, predict, SANITY).sum(0)[0]
        return right / n, n

    names, chance = network.head.names, network.head.chance
    (accuracy, n), best, order = share(predict), 0.0, names
    for permuted in itertools.permutations(names) if len(names) <= 3 else ():
        network.head.names = list(permuted)
        if (share_of_other := share(replayed())[0]) > best:
            best, order = share_of_other, network.head.names
    network.head.names = names
    doubt = 3 * (chance * (1 - chance) / n) ** 0.5  # three standard errors of a guesser
    if accuracy < max(chance, best - doubt) - doubt:
        better = f", and would be in {best:.2f} if the names were {order}" if best > accuracy else ""
        raise ValueError(
            f"the task head of {source} is right in {accuracy:.2f} of {n:.0f} items of {dev.reference} ({chance:.2f} by chance)"
            f"{better}: are the label names in its config.json (id2label) {names} in the wrong order?"
        )


def _nameless(labels: Sequence[str]) -> bool:
    """Return whether labels are the default names of transformers."""
    return all(label == f"LABEL_{number}" for number, label in enumerate(labels))


def _partner(reference: str, start: Checkpoint) -> Checkpoint:
    """Open the checkpoint whose task head reads another one: it must have the same shape and wordpieces."""
    partner = checkpoints.open(reference)
    if unlike := differing(partner.config, start.config):
        raise MisfitError(
            f"head_of {reference!r}: its {unlike} as in {start.folder}; "
            "a task head reads the states of its own encoder or of one tuned from that"
        )
    if partner.tokenizer.get_vocab() != start.tokenizer.get_vocab():
        raise MisfitError(f"head_of {reference!r}: its vocabulary is another than that of {start.folder}")
    return partner
