"""Erasing labels inside an encoder at work: fits the erasure, runs the task with it, and scores what the task loses.

A treebank without the labels, layers that the encoder does not have, and a checkpoint without a task head are errors, the
last unless a new one is to be trained on it.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from bert_repro import alignment, checkpoints, corpora, encoder
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.families import check_layers
from bert_repro.encoder import Room
from bert_repro.finetune import scoring, tuning
from bert_repro.finetune.batches import Text
from bert_repro.finetune.counts import score_rows
from bert_repro.finetune.network import Network, NoTaskHeadError
from bert_repro.finetune.recipe import Recipe
from bert_repro.finetune.tasks import named
from bert_repro.probes import erasure
from bert_repro.results import erasures, intervals
from bert_repro.results.erasures import ERASED, MAJORITY, NOTHING, RANDOM

Rows = list[dict[str, object]]
Erasers = dict[tuple[int, str], list[erasure.Eraser]]
"""By layer and target: that of the labels, then the random ones."""


class Erased(NamedTuple):
    """A task's scores after labels were erased."""

    rows: Rows  # table rows
    labels: pd.DataFrame  # of each target: how many labels, of how many wordpieces, how much was left out
    notes: list[str]  # which labels were left out
    inputs: dict[str, str]  # checksums for the manifest
    origin: dict[str, object]  # table columns that say how the checkpoint was made


def erase(
    model: str,
    *,
    task: str,
    text: str,
    treebank: str,
    held_out: str,
    targets: Sequence[str],
    layers: Sequence[int] = (),
    draws: int = 3,
    seed: int = 1,
    labels: Sequence[str] = (),
    head_of: str = "",
    train: str = "",
    updates: int = 0,
    resamples: int = intervals.RESAMPLES,
) -> Erased:
    """Erase labels of words from one layer after another, and score the task each time; the same with random subspaces.

    Args:
        model: The checkpoint, see `checkpoints.open`.
        task: What its task head does, a name from TASKS.
        text: What the task is scored on.
        treebank: A corpus whose words have the labels; erasers are fitted to its wordpieces, each with the label of its word.
        held_out: Another part of it: on one half of its sentences a linear classifier of the labels learns what is left, on the
            other half it is scored.
        targets: Names from EDGE_TARGETS, of labels of single words.
        layers: From which they are erased, 0 being the embeddings; by default from each.
        draws: Random subspaces for each layer and target, at least two.
        seed: Seed of these, and of a new task head.
        labels: Names of the outputs of the task head, in their order, where its config does not say them.
        head_of: Another checkpoint, whose task head reads this one's states.
        train: A corpus for a new task head to learn from, where the checkpoint brings none.
        updates: For so many updates, the encoder being frozen; 0 for no new task head.
        resamples: Bootstrap resamples behind the intervals.

    Raises:
        ValueError: No target, draw or such layer; a treebank without such labels; a text or task head that is of no use to the task.
        OSError: A checkpoint could not be fetched.
    """
    start = checkpoints.open(model)
    chosen = sorted(set(check_layers(layers, start.config.num_hidden_layers)))
    if draws < 2 or not targets:
        raise ValueError(f"at least one target and two random subspaces are needed, got {list(targets)} and {draws}")
    fitted = _Annotated(treebank, start, dict.fromkeys(targets, ()))
    elsewhere = _Annotated(held_out, start, {target: annotation.names for target, annotation in fitted.labels.items()})
    special = start.tokenizer.cls_token_id, start.tokenizer.sep_token_id
    most = max(len(annotation.names) for annotation in fitted.labels.values()) - 1
    room = Room(min(most, start.config.hidden_size), tuple(token for token in special if token is not None))
    frozen = start.config.num_hidden_layers
    recipe = (
        Recipe(task, train, text, updates=updates, frozen_layers=frozen, evaluations=1, seed=seed) if updates else None
    )
    network, record, inputs = _network(start, task, labels, head_of, recipe, room)
    (scored,) = scoring.texts_of(named(task), [text], start)
    scoring.sanity(network, scored, head_of or model)
    erasers = _erasers(fitted, network, chosen, draws, seed)
    rows = _scores(network, scored, erasers, resamples) + [*_left(elsewhere, network, erasers, resamples)]
    about = corpora.columns(treebank)
    for (layer, target), several in erasers.items():
        for draw, eraser in enumerate(several):
            case = about | {"layer": layer, "target": target, "n": fitted.pieces[target]} | _by(draw)
            numbers = {"rank": eraser.rank, "removed_variance": eraser.share}
            rows += [case | {"metric": metric, "value": value} for metric, value in numbers.items()]
    inputs |= {treebank: fitted.digest, held_out: elsewhere.digest, text: scored.digest}
    return Erased(rows, fitted.report(), fitted.notes(), inputs, record)


def _by(draw: int) -> dict[str, object]:
    """Name an eraser: the first is that of the labels, random subspaces follow."""
    return {"method": RANDOM, "probe_seed": draw, "role": "control"} if draw else {"method": ERASED}


class _Annotated:
    """A treebank as encoder inputs, of which every wordpiece has the labels of its word."""

    def __init__(self, reference: str, start: Checkpoint, targets: Mapping[str, Sequence[str]]):
        corpus = corpora.sentences(reference)
        self.reference, self.digest = reference, corpus.digest
        self.labels: dict[str, erasure.Labels] = {
            name: erasure.labels_of(name, corpus.items, names) for name, names in targets.items()
        }
        self.inputs, self.sentences, _ = alignment.inputs(start.tokenizer, corpus.items, start.config.max_length)
        self.count, self.pieces = len(corpus.items), dict.fromkeys(targets, 0)
        encoder.check(self.inputs, start.config)
        for i in range(len(self.inputs)):
            for name, gold in self._gold(i).items():
                self.pieces[name] += int((gold >= 0).sum())

    def _gold(self, i: int) -> dict[str, np.ndarray]:
        """Give the label of every wordpiece of an input but [CLS] and [SEP], which are its first and its last row."""
        pieces = np.diff(self.inputs[i].starts)[1:]
        words = np.repeat(np.arange(len(pieces)), pieces)
        return {name: labels.gold[self.sentences[i]][words] for name, labels in self.labels.items()}

    def states(
        self, network: Network, chosen: Sequence[int]
    ) -> Iterator[tuple[list[np.ndarray], dict[str, np.ndarray], np.ndarray]]:
        """Read inputs, by their numbers, a batch at a time.

        Yields:
            Of all wordpieces of words in a batch: the states by layer, each `wordpieces hidden`; by target the numbers of their
            labels; and the numbers of their sentences.
        """
        for numbers, states in encoder.run(network.encoder, [self.inputs[i] for i in chosen]):
            batch, length = [chosen[n] for n in numbers], states[0].shape[1]
            starts = [self.inputs[i].starts for i in batch]
            places = np.concatenate([np.arange(bounds[1], bounds[-1]) + n * length for n, bounds in enumerate(starts)])
            gold = [self._gold(i) for i in batch]
            sentence = np.repeat(self.sentences[batch], [bounds[-1] - bounds[1] for bounds in starts])
            yield (
                [np.reshape(of_layer, (-1, of_layer.shape[-1]))[places] for of_layer in states],
                {target: np.concatenate([labels[target] for labels in gold]) for target in self.labels},
                sentence,
            )

    def report(self) -> pd.DataFrame:
        """Count the labels and wordpieces of each target, and what was left out for being too rare."""
        lines = [
            {
                "target": target,
                "labels": len(labels.names),
                "wordpieces": self.pieces[target],
                "labels left out": len(labels.left_out),
                "words left out": sum(labels.left_out.values()),
            }
            for target, labels in self.labels.items()
        ]
        return pd.DataFrame(lines).set_index("target")

    def notes(self) -> list[str]:
        """Name the labels that were left out, a sentence for each target that has any."""
        return [
            f"Left out of {target}, with the words that have it: {', '.join(f'{name} {n}' for name, n in labels.left_out.items())}."
            for target, labels in self.labels.items()
            if labels.left_out
        ]


def _network(
    start: Checkpoint, task: str, labels: Sequence[str], head_of: str, recipe: Recipe | None, room: Room
) -> tuple[Network, dict[str, object], dict[str, str]]:
    """Load a checkpoint's task head, or train a new one on its frozen encoder; describe how it was made, and from what."""
    try:
        return (
            scoring.ready(start, start.weights(), task, labels, head_of=head_of, room=room),
            start.record,
            start.digests,
        )
    except NoTaskHeadError as error:
        if recipe is None:
            raise NoTaskHeadError(
                f"{error}; give train and updates, and a new one learns on the encoder as it is"
            ) from None
    with tempfile.TemporaryDirectory() as folder:
        trained = tuning.train(start.reference, recipe, save=f"{folder}/model", resamples=100)
        tuned = checkpoints.open(f"{folder}/model")
        return scoring.ready(tuned, tuned.weights(), task, room=room), trained.origin, trained.inputs


def _moments(
    bank: _Annotated, network: Network, cases: Iterable[tuple[int, str]], chosen: Sequence[int]
) -> dict[tuple[int, str], erasure.Moments]:
    """Add up the states of some inputs, by layer and target."""
    hidden = network.config.hidden_size
    sums = {(layer, target): erasure.Sums(hidden, len(bank.labels[target].names)) for layer, target in cases}
    for states, gold, _ in bank.states(network, chosen):
        for (layer, target), of_case in sums.items():
            of_case.add(states[layer], gold[target])
    return {case: of_case.moments for case, of_case in sums.items()}


def _erasers(bank: _Annotated, network: Network, layers: Sequence[int], draws: int, seed: int) -> Erasers:
    """Fit an eraser of each target's labels to each layer; random ones of its rank and share of the variance follow it."""
    erasers = {}
    cases = [(layer, target) for layer in layers for target in bank.labels]
    for (layer, target), moments in _moments(bank, network, cases, range(len(bank.inputs))).items():
        eraser = erasure.leace(moments)
        seeds = [(seed, layer, draw) for draw in range(1, draws + 1)]
        erasers[layer, target] = [eraser, *erasure.random_erasers(moments, eraser.rank, eraser.share, seeds)]
    return erasers


def _scores(network: Network, scored: Text, erasers: Erasers, resamples: int) -> Rows:
    """Score the task with nothing erased, then with each eraser in its layer; subtract random ones' scores from labels'."""
    metrics, columns = network.head.metrics, corpora.columns(scored.reference)
    rows = [row | {"method": NOTHING} for row in score_rows(metrics, network.score(scored), scored, resamples)]
    counts: dict[str, dict[int, list[np.ndarray]]] = {target: {} for _, target in erasers}
    with tqdm(total=sum(map(len, erasers.values())), desc="erasing", unit=" scores", mininterval=1) as bar:
        for (layer, target), several in erasers.items():
            counts[target][layer] = []
            for draw, eraser in enumerate(several):
                with network.erased(layer, eraser):
                    count = network.score(scored)
                about = {"layer": layer, "target": target} | _by(draw)
                rows += [row | about for row in score_rows(metrics, count, scored, resamples)]
                counts[target][layer].append(count)
                bar.update()
    weights = intervals.draws(scored.digest, len(scored.items), resamples)
    for target, by_layer in counts.items():
        erased = {layer: several[0] for layer, several in by_layer.items()}
        random = {layer: several[1:] for layer, several in by_layer.items()}
        compared = erasures.contrasts(metrics, erased, random, weights, network.config.num_hidden_layers)
        rows += [columns | {"target": target} | row for row in compared]
    return rows


def _left(bank: _Annotated, network: Network, erasers: Erasers, resamples: int) -> Iterator[dict[str, object]]:
    """Score a linear classifier of the labels, by layer, before and after erasing: its accuracy over wordpieces.

    It learns from every second sentence, which no eraser has seen, and is scored on the others; beside it, naming what is most
    frequent in the former.
    """
    odd = bank.sentences % 2 == 1
    learned, tested = (np.flatnonzero(side).tolist() for side in (~odd, odd))
    moments = _moments(bank, network, erasers, learned)
    by = {NOTHING: erasure.Eraser.nothing(network.config.hidden_size)}
    cases = {
        (layer, target, method): eraser
        for (layer, target), (first, second, *_) in erasers.items()
        for method, eraser in (by | {ERASED: first, RANDOM: second}).items()
    }
    classifiers = {
        (k, target, method): erasure.discriminant(moments[k, target].after(e))
        for (k, target, method), e in cases.items()
    }
    most = {target: int(of_layer.shares.argmax()) for (_, target), of_layer in moments.items()}
    right = {case: np.zeros(bank.count) for case in cases} | {
        (-1, target, MAJORITY): np.zeros(bank.count) for target in most
    }
    labelled = {target: np.zeros(bank.count) for target in most}  # wordpieces with a label, of each sentence
    for states, gold, sentence in bank.states(network, tested):
        for target, numbers in gold.items():
            np.add.at(labelled[target], sentence, numbers >= 0)
            np.add.at(right[-1, target, MAJORITY], sentence, numbers == most[target])
        for (layer, target, method), eraser in cases.items():
            named = classifiers[layer, target, method](eraser(states[layer]))
            np.add.at(right[layer, target, method], sentence, named == gold[target])
    columns = corpora.columns(bank.reference) | {"metric": "label_accuracy"}
    roles: dict[str, dict[str, object]] = {RANDOM: {"role": "control", "probe_seed": 1}, MAJORITY: {"role": "baseline"}}
    for (layer, target, method), count in right.items():
        mask = labelled[target] > 0
        weights = intervals.draws(bank.digest, int(mask.sum()), resamples)
        value, replicates = intervals.ratio(count[mask], labelled[target][mask], weights)
        about = columns | {"target": target, "method": method, "n": int(labelled[target].sum())} | roles.get(method, {})
        about |= {} if method == MAJORITY else {"layer": layer}
        yield about | intervals.row(float(value), replicates, int(mask.sum()))
