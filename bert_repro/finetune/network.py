"""An encoder with a task head, as one network: the models that train and predict, the optimiser and what is frozen.

A task head that its checkpoint does not have, and a batch that does not fit into memory, are errors.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bert_repro import backend, encoder
from bert_repro.checkpoints.families import Config, weight_change, weight_table
from bert_repro.finetune.batches import Text
from bert_repro.finetune.heads import TaskHead
from bert_repro.probes.erasure import Eraser


class NoTaskHeadError(ValueError):
    """A checkpoint brings no task head of the kind that was asked for."""


class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises linearly over the first tenth of the updates and falls linearly to zero over the rest."""

    def __init__(self, peak: float, updates: int):
        self.peak, self.updates, self.warmup = peak, updates, max(1, updates // 10)

    def __call__(self, step):
        step = keras.ops.cast(step, "float32") + 1
        down = (self.updates + 1 - step) / max(1, self.updates + 1 - self.warmup)
        return self.peak * keras.ops.clip(keras.ops.minimum(step / self.warmup, down), 0.0, 1.0)


class AdamW(keras.optimizers.AdamW):
    """AdamW with weight decay of matrices only, and a rate for each variable: a factor of the common one."""

    def __init__(self, rate: LinearWarmup, variables: list, factors: Sequence[float]):
        super().__init__(rate, weight_decay=0.01, epsilon=1e-6, global_clipnorm=1.0)
        # by what they are: Keras compares the last part of a name alone, and the norms' are called gamma and beta
        self.exclude_from_weight_decay([v for v in variables if len(v.shape) < 2])
        self.factors = factors
        self.build(variables)

    def update_step(self, gradient, variable, learning_rate):
        # by its number, as for the moments: what comes is Keras' variable or its backend's
        factor = self.factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)


class Network:
    """An encoder and a task head.

    Args:
        config: The encoder's shape.
        weights: A checkpoint's arrays, at least those of the encoder.
        head: A task head, new: its layers are built here.
        frozen_layers: Blocks, from the bottom, that stay as they are; with one or more the embeddings do too. As nothing
            below them learns, no gradient is computed there.
        precision: Precision of the products in training; weights, norms, losses and the optimiser compute in float32 either way.
        base: Arrays of the encoder that change is measured from and that layers are reverted to; by default `weights`.
        room: What may be erased behind each layer; by default nothing.
        on: An encoder of this shape that is there already: the task head is put on it, and its weights stay what they are.

    Raises:
        ValueError: A precision that is not known, or that this device does not compute in.
    """

    def __init__(
        self,
        config: Config,
        weights: Mapping[str, np.ndarray],
        head: TaskHead,
        frozen_layers: int = 0,
        precision: str = "float32",
        base: Mapping[str, np.ndarray] | None = None,
        room: encoder.Room | None = None,
        on: "keras.Model | None" = None,
    ):
        self.config, self.head, self.precision, self.room = config, head, precision, room
        self.base = {w.key: (weights if base is None else base)[w.key] for w in weight_table(config)}
        with backend.products_in(precision):
            self.encoder = encoder.build(config, weights, room=room) if on is None else on
            head.attach(self.encoder, config)
            inputs = {tensor.name: tensor for tensor in self.encoder.inputs} | head.extra_inputs
            outputs = head.outputs(self.encoder.outputs[-1], inputs, config.hidden_dropout_prob)
        self.trained = keras.Model(inputs, outputs, name="network")
        reader = keras.Model(inputs, head.predicted, name="reader")
        self.predict = backend.predictor(reader)
        encoders = {variable.path for variable in self.encoder.weights}
        self.added = [variable for variable in self.trained.weights if variable.path not in encoders]
        for layer in range(frozen_layers + 1 if frozen_layers else 0):
            self.encoder.get_layer(self.layer(layer)).trainable = False

    @staticmethod
    def layer(number: int) -> str:
        """Name a layer as its Keras layer is called: 0 the embeddings, k block k."""
        return f"block_{number}" if number else "embeddings"

    def compile(self, learning_rate: float, head_learning_rate: float, updates: int, parts: int = 1) -> None:
        """Make it ready to learn: AdamW, gradients clipped at norm 1, no decay of biases and norms.

        In float16 the loss is scaled, so that small gradients are not lost; a batch at which they overflow changes nothing, and the
        next one is scaled by half as much.

        Args:
            learning_rate: The peak.
            head_learning_rate: That of the task head.
            updates: After which the rate is zero.
            parts: Micro-batches, into which each batch is cut: one after another they take the memory of one, and come to
                the same step but for rounding and dropout.

        Reference:
            Devlin et al. 2019, appendix A.2 and the recipe of its published code.
        """
        variables, added = self.trained.trainable_weights, {variable.path for variable in self.added}
        factors = [head_learning_rate / learning_rate if v.path in added else 1.0 for v in variables]
        optimizer: Any = AdamW(LinearWarmup(learning_rate, updates), variables, factors)
        if self.precision == "float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            optimizer.build(variables)
        self.trained.compile(optimizer, loss=self.head.losses)
        self.parts = parts
        self.gradients, self.apply = backend.learner(self.trained)

    def step(self, inputs: dict, targets: dict) -> float:
        """Learn from a batch and give its loss.

        Raises:
            ValueError: What is computed at a time does not fit into memory.
        """
        scale = np.float32(self.trained.optimizer.scale_loss(1.0))
        items, pieces = inputs["mask"].shape
        size = -(-items // self.parts)
        # a loss is a mean over targets, of which micro-batches hold different numbers
        real = {name: array >= 0 for name, array in targets.items()}
        loss, total = 0.0, list[Any]()
        try:
            for start in range(0, items, size):
                part = slice(start, start + size)
                shares = {name: np.float32(weight[part].sum() / max(1, weight.sum())) for name, weight in real.items()}
                arrays = [{name: array[part] for name, array in group.items()} for group in (inputs, targets)]
                value, gradients = self.gradients(*arrays, shares, scale)
                loss += float(value)
                for number, gradient in enumerate(total):  # in place of the one before, or there would be three of each
                    gradients[number] = gradient + gradients[number]
                total = gradients
            self.apply(total)
        except backend.OUT_OF_MEMORY:
            raise ValueError(
                f"{size} inputs of {pieces} wordpieces at a time do not fit into memory: set a lower micro_batch"
            ) from None
        return loss

    def score(self, examples: Text, items: int | None = None) -> np.ndarray:
        """Give right and all of each metric for each item (of the first so many): `items metrics 2`."""
        return examples.counts(self.head, self.predict, items)

    def change(self) -> list[dict[str, object]]:
        """Measure how far the weights of every layer are from those it started with: the rows of `families.weight_change`."""
        return [*weight_change(self.config, self.base, encoder.export(self.encoder, self.config))]

    @contextmanager
    def reverted(self, number: int) -> Iterator[None]:
        """Revert a layer to the weights that it started with, within a `with` block."""
        first = {
            w.variable: self.base[w.key].T if w.transposed else self.base[w.key] for w in weight_table(self.config)
        }
        variables = [v for v in self.encoder.weights if v.path.startswith(f"{self.layer(number)}/")]
        tuned = [np.asarray(variable).copy() for variable in variables]
        for variable in variables:
            variable.assign(first[variable.path])
        try:
            yield
        finally:
            for variable, array in zip(variables, tuned, strict=True):
                variable.assign(array)

    @contextmanager
    def erased(self, number: int, eraser: Eraser) -> Iterator[None]:
        """Erase from the words in a layer, within a `with` block; the blocks above see what is left.

        Raises:
            ValueError: The network was built with no room for it.
        """
        if self.room is None or eraser.rank > self.room.rank:
            room = f"room for rank {self.room.rank}" if self.room else "no room for any"
            raise ValueError(f"an eraser of rank {eraser.rank} behind layer {number} of a network with {room}")
        layer = self.encoder.get_layer(f"erasure_{number}")
        empty = np.zeros((self.config.hidden_size, self.room.rank - eraser.rank))
        layer.mean.assign(eraser.mean)
        layer.write.assign(np.hstack([eraser.write, empty]))
        layer.read.assign(np.hstack([eraser.read, empty]))
        try:
            yield
        finally:
            for variable in layer.variables:
                variable.assign(np.zeros(variable.shape))

    def state(self) -> dict[str, np.ndarray]:
        """Give everything that training resumes from: weights, seeds of dropout, moments and step of the optimiser."""
        return {
            str(n): np.asarray(v) for n, v in enumerate((*self.trained.variables, *self.trained.optimizer.variables))
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take a state back."""
        for n, variable in enumerate((*self.trained.variables, *self.trained.optimizer.variables)):
            variable.assign(state[str(n)])

    def learned(self) -> list[np.ndarray]:
        """Give the weights that may change."""
        return [np.asarray(variable).copy() for variable in self.trained.trainable_weights]

    def assign(self, learned: list[np.ndarray]) -> None:
        """Take such weights back."""
        for variable, array in zip(self.trained.trainable_weights, learned, strict=True):
            variable.assign(array)

    def export(self) -> dict[str, np.ndarray]:
        """Give all weights under the names that a checkpoint has for them."""
        head = {}
        for variable in self.added:
            key, transposed = self._key(variable)
            head[key] = np.asarray(variable).T if transposed else np.asarray(variable)
        return encoder.export(self.encoder, self.config) | head

    def take_head(self, weights: Mapping[str, np.ndarray], source: Path) -> None:
        """Fill the task head with a checkpoint's.

        Raises:
            NoTaskHeadError: It has none of this kind.
        """
        for variable in self.added:
            key, transposed = self._key(variable)
            array = weights.get(key)
            array = array.T if transposed and array is not None else array
            if array is None or array.shape != tuple(variable.shape):
                problem = "has no weight" if array is None else f"has another shape, {array.shape}, for"
                raise NoTaskHeadError(
                    f"{source} brings no task head of this kind: it {problem} {key!r} {tuple(variable.shape)}"
                )
            variable.assign(array)

    def in_float32(self, head: TaskHead) -> "Network":
        """Give a network of the same weights whose products are in float32.

        Args:
            head: A new task head of the same kind.
        """
        weights = self.export()
        network = Network(self.config, weights, head)
        network.take_head(weights, Path())
        network.base = self.base
        return network

    def _key(self, variable: Any) -> tuple[str, bool]:
        """Name a weight of the task head as Hugging Face does where that has such a head, and whether it is transposed."""
        names = self.head.checkpoint_names
        layer, _, kind = variable.path.rpartition("/")
        if variable.path in names:
            return names[variable.path], False
        if layer in names:
            parameter = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(kind, kind)
            return f"{names[layer]}.{parameter}", kind == "kernel"
        return f"head.{variable.path.replace('/', '.')}", False
