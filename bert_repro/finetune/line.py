"""The straight line between two encoders' weights: losses, scores and states at its points, computed by one network.

Checkpoints of different shape, or with different wordpieces, have no line between them and are an error.

Reference:
    Goodfellow et al. 2015, section 3 (linear interpolation); Frankle et al. 2020.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import keras
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from bert_repro import backend, checkpoints, corpora, encoder, states
from bert_repro.checkpoints.families import check_layers, differing, weight_table
from bert_repro.finetune.batches import Examples, Text
from bert_repro.finetune.counts import score_rows
from bert_repro.finetune.network import Network, NoTaskHeadError
from bert_repro.finetune.scoring import ready, sanity, texts_of
from bert_repro.finetune.tasks import named
from bert_repro.results import intervals, lines
from bert_repro.states.live import LiveStates

Predictor = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
AT_A_TIME = 2**22  # weights that are held in double precision


class Line:
    """The encoders whose weights are w(t) = (1 - t) base + t tuned, t in [0, 1]: one network, whose weights are assigned.

    Task heads are no part of the line: that of the tuned encoder and that of its base read all points as they are.

    Attributes:
        base, tuned: The checkpoints at the ends.
        layers: A few layers to look at: the middle one, that at two thirds, the last.
        notes: What could not be measured, and why: a sentence each.
        inputs: Checksums for the manifest.
        encoder: The network; its weights are those of the point where a walk stands, first the base's.

    Args:
        base: The checkpoint at t = 0, see `checkpoints.open`.
        tuned: The checkpoint at t = 1.

    Raises:
        ValueError: Checkpoints of different shape, or with different wordpieces; and what `checkpoints.open` raises.
        OSError: A checkpoint could not be fetched.
    """

    def __init__(self, base: str, tuned: str):
        self.base, self.tuned = checkpoints.open(base), checkpoints.open(tuned)
        ends = f"no straight line leads from {base} to {tuned}"
        if unlike := differing(self.tuned.config, self.base.config):
            raise ValueError(f"{ends}: of the second, {unlike}; give an encoder and one that was tuned from it")
        if self.tuned.tokenizer.get_vocab() != self.base.tokenizer.get_vocab():
            raise ValueError(f"{ends}: their vocabularies differ; give an encoder and one that was tuned from it")
        self._weights = self.base.weights(), self.tuned.weights()
        self.config, self.notes = self.base.config, list[str]()
        self.inputs = {"base": self.base.weights_digest} | self.tuned.digests
        self.encoder = encoder.build(self.config, self._weights[0])
        self._readers: dict[tuple[int, ...], keras.Model] = {}  # by the layers that they give
        blocks = self.config.num_hidden_layers
        self.layers = sorted({-(-blocks // 2), -(-2 * blocks // 3), blocks})

    @cached_property
    def setting(self) -> states.Setting:
        """How states are computed: as by default, but in single precision."""
        return states.Setting(min(512, self.config.max_length), dtype="float32")

    def go(self, point: float) -> None:
        """Give the network the weights of a point; at 0 and 1 they are the checkpoints' own, bit for bit."""
        variables = {variable.path: variable for variable in self.encoder.weights}
        for weight in weight_table(self.config):
            first, last = (arrays[weight.key] for arrays in self._weights)
            between = mixed(first, last, point)
            variables[weight.variable].assign(between.T if weight.transposed else between)

    def walk(self, points: Sequence[float], label: str = "") -> Iterator[float]:
        """Go from point to point.

        Args:
            points: Where to stop.
            label: Shown beside the progress bar.

        Raises:
            ValueError: They do not rise from 0 to 1.
        """
        lines.check(points)
        for point in tqdm(points, desc=label or "straight line", unit=" points", mininterval=1):
            self.go(point)
            yield point

    def scores(
        self,
        task: str,
        texts: Sequence[str],
        points: Sequence[float],
        *,
        labels: Sequence[str] = (),
        of_base: bool = False,
        resamples: int = intervals.RESAMPLES,
    ) -> list[dict[str, object]]:
        """Score a task along the line under one task head; where that is not there, a note says so.

        Args:
            task: A name from TASKS; empty for none.
            texts: What it is scored on, each of them.
            points: Where, rising from 0 to 1.
            labels: Names of the outputs of the task head, in their order, where its config does not say them.
            of_base: Whether it is the base's task head, and not the tuned encoder's.
            resamples: Bootstrap resamples behind the intervals.

        Returns:
            Table rows by point: every metric of the task, and the `task_loss`, which training had made small: the mean
            cross-entropy in nats of a label, of a word's arc and relation, or of the start and end of an answer, those of
            two outputs being added. Under the base's task head, the metrics alone.

        Raises:
            ValueError: An unknown task, a text it cannot use, or a task head whose labels are nameless or worse than chance.
        """
        if not (task and texts):
            return []
        owner, weights = (self.base, self._weights[0]) if of_base else (self.tuned, self._weights[1])
        kind = named(task)
        try:
            network = ready(owner, weights, task, labels, on=self.encoder)
        except NoTaskHeadError as error:
            self.notes.append(f"Not scored on {kind.description} along the line: {error}.")
            return []
        examples = texts_of(kind, texts, self.tuned)
        self.go(1.0)
        sanity(network, examples[0], owner.reference)
        predict = network.predict if kind.running else whole_output(network)
        about = {"method": lines.OF_BASE if of_base else lines.OF_TUNED, "target": task}
        rows = []
        for point in self.walk(points, kind.description):
            for text in examples:
                counts, nats = losses(network, text, predict)
                scored = score_rows(network.head.metrics, counts, text, resamples)
                scored += [] if of_base else [loss_row(nats, text, resamples)]
                rows += [row | about | {"layers_changed": lines.place(point)} for row in scored]
        self.inputs.update({text.reference: text.digest for text in examples})
        return rows

    def states(self, reference: str, layers: Sequence[int]) -> LiveStates:
        """Read a corpus; its states are those of the point where a walk stands when they are asked for.

        Args:
            reference: The corpus.
            layers: Numbers of the layers to extract.

        Raises:
            ValueError: A layer that this encoder does not have, or a corpus of which nothing fits.
        """
        layers = check_layers(layers, self.config.num_hidden_layers)
        if (key := tuple(layers)) not in self._readers:
            inputs = {tensor.name: tensor for tensor in self.encoder.inputs}
            reader = keras.Model(inputs, [self.encoder.outputs[layer] for layer in layers])
            self._readers[key] = encoder.compiled(reader)
        live = LiveStates(self._readers[key], layers, self.tuned.tokenizer, reference, self.setting)
        self.inputs[reference] = str(live.inputs["corpus"])
        return live


def mixed(first: np.ndarray, last: np.ndarray, point: float) -> np.ndarray:
    """Give (1 - point) first + point last in single precision, rounded once; where both are the same, so is the outcome."""
    flat, flat_last = first.ravel(), last.ravel()
    result = np.empty(flat.shape, np.float32)
    for start in range(0, len(flat), AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        result[part] = (1 - point) * flat[part].astype(float) + point * flat_last[part].astype(float)
    return result.reshape(first.shape)


def whole_output(network: Network) -> Predictor:
    """Compile a network's whole output: what its losses see, and what its task head reads."""
    inputs = {tensor.name: tensor for tensor in network.trained.inputs}
    return backend.predictor(keras.Model(inputs, network.head.predicted | network.trained.output))


def losses(
    network: Network, text: Text, predict: Predictor
) -> tuple[Float[np.ndarray, "items metrics 2"], Float[np.ndarray, "items outputs 2"]]:
    """Count the right ones in each item, and sum its nats, of which the network's losses are means.

    Args:
        network: The network.
        text: What is scored.
        predict: Gives all outputs of the network, and what its task head reads.

    Returns:
        As `Network.score` does; and of each item and output the sum of the cross-entropy of its targets, and how many there are.
        Windows of one item add up. Of running text, what its documents' losses are made of.
    """
    if not isinstance(text, Examples):
        counts = network.score(text)
        return counts, counts[:, :1]
    nats = np.zeros((len(text.items), len(network.head.losses), 2))

    def hear(item: int, targets: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
        for number, name in enumerate(network.head.losses):
            gold = np.asarray(targets[name])
            real = gold >= 0
            values = cross_entropy(outputs[name][real], gold[real])
            nats[item, number] += values.sum(), values.size

    return text.counts(network.head, predict, heard=hear), nats


def cross_entropy(
    logits: Float[np.ndarray, "targets labels"], gold: Int[np.ndarray, " targets"]
) -> Float[np.ndarray, " targets"]:
    """Give -log softmax(logits)[gold] of each target, in nats."""
    logits = logits.astype(float) - logits.max(-1, keepdims=True, initial=-np.inf)
    return np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, gold[:, None].astype(int), -1)[:, 0]


def loss_row(nats: Float[np.ndarray, "items outputs 2"], text: Text, resamples: int) -> dict[str, object]:
    """Give the table row of a task's loss: the mean cross-entropy of each output, added up."""
    weights = intervals.draws(text.digest, len(nats), resamples)
    value, replicates = intervals.ratio(nats[..., 0].T, nats[..., 1].T, weights)
    about = {"metric": "task_loss", "n": int(nats[:, 0, 1].sum())}
    return corpora.columns(text.reference) | about | intervals.row(float(value.sum()), replicates.sum(0), len(nats))
