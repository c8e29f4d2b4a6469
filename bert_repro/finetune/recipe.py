"""The recipe of a tuning: what decides what is learned, checked before anything is read."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace

from bert_repro.checkpoints.families import Config
from bert_repro.finetune.memory import GIGABYTES, micro_batch
from bert_repro.finetune.tasks import Task, named
from bert_repro.results.controls import CONTROLS


@dataclass(frozen=True)
class Recipe:
    """What an encoder is tuned on and how: with one checkpoint and one machine, equal recipes end in equal bytes.

    Args:
        task: A name from TASKS.
        train: A corpus to learn from.
        dev: A corpus to watch and to choose the weights by; never learned from.
        test: Corpora that are scored once, with the weights that are kept.
        updates: Optimiser steps.
        batch_size: Items per step; all of them where a corpus has fewer.
        micro_batch: How many of these are computed at a time; 0 for as many as fit `memory`. Running text, whose last inputs are
            longer, has as many micro-batches, of fewer inputs each. But for rounding and dropout, the step is the same.
        memory: Gigabytes that the training may take, by an estimate that knows the encoder and the longest input.
        learning_rate: The peak, after a linear warm-up over a tenth of the updates.
        head_learning_rate: The same for the task head, which starts at random: so the encoder can learn at one rate under
            every task head.
        seed: Seed of the new layers, of dropout and of the order of items: the same seed gives the same weights on the same machine.
        frozen_layers: Blocks, from the bottom, that stay as they are; with one or more the embeddings do too.
        kept_layers: Blocks, from the bottom, that the encoder consists of; 0 for all.
        reverted_layers: Layers (0 the embeddings) that are reverted to their first weights, one at a time, to score dev
            without their change.
        evaluations: How many times dev is scored, at equal intervals.
        keep_at: Updates after which the checkpoint is kept as well.
        precision: `float32`, or `bfloat16` or `float16` for the products of training; weights, optimiser and the
            scores of what is kept are in float32, those along the way are computed as in training.
        control: What the run is a control by, a name from CONTROLS: `untrained`, an encoder that learned nothing before, or
            `partial_input`, the second side of every item alone; empty for none. All else is as it would be without.

    Raises:
        ValueError: An unknown task or control, one that the task cannot have, or a number out of its range.
    """

    task: str
    train: str
    dev: str
    _: KW_ONLY
    test: Sequence[str] = ()
    updates: int
    batch_size: int = 32
    micro_batch: int = 0
    memory: float = GIGABYTES
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    seed: int = 1
    frozen_layers: int = 0
    kept_layers: int = 0
    reverted_layers: Sequence[int] = ()
    evaluations: int = 4
    keep_at: Sequence[int] = ()
    precision: str = "float32"
    control: str = ""

    def __post_init__(self) -> None:
        named(self.task)
        if self.control and self.control not in CONTROLS:
            raise ValueError(f"unknown control {self.control!r}: expected one of {sorted(CONTROLS)}, or nothing")
        if self.control == "partial_input":
            named(self.task).partially()
        _within("updates", self.updates, 1)
        _within("batch_size", self.batch_size, 1)
        divides(self.micro_batch, self.batch_size)
        _within("evaluations", self.evaluations, 1)
        if not (self.learning_rate > 0 and self.head_learning_rate > 0):
            rates = f"{self.learning_rate} and {self.head_learning_rate}"
            raise ValueError(f"learning rates must be greater than 0, got {rates}")
        for update in self.keep_at:
            _within("keep_at", update, 1, self.updates)

    @property
    def parts(self) -> int:
        """Micro-batches of a batch."""
        return self.batch_size // self.micro_batch if self.micro_batch else 1

    @property
    def read_as(self) -> Task:
        """The task, as its items are read."""
        return named(self.task).partially() if self.control == "partial_input" else named(self.task)

    @property
    def role(self) -> str:
        """The role of its rows in a table."""
        return "control" if self.control else "score"

    @property
    def method(self) -> str:
        """The method of its scores in a table: controls have other names, so that none is mistaken for a tuned encoder."""
        return CONTROLS.get(self.control, "fine-tuning")

    def fitting(self, config: Config) -> "Recipe":
        """Give the recipe with as many inputs at a time as fit into `memory`, where it does not say how many.

        Args:
            config: Of the encoder that learns.

        Raises:
            ValueError: Not even one fits.
        """
        if self.micro_batch:
            return self
        longest = min(named(self.task).max_length, config.max_length)
        return replace(self, micro_batch=micro_batch(config, self.frozen_layers, self.batch_size, longest, self.memory))

    def shape(self, config: Config) -> Config:
        """Give the shape of the encoder that is made of one of the shape `config`.

        Raises:
            ValueError: Layers that it does not have.
        """
        _within("kept_layers", self.kept_layers, 0, config.num_hidden_layers)
        blocks = self.kept_layers or config.num_hidden_layers
        _within("frozen_layers", self.frozen_layers, 0, blocks)
        for layer in self.reverted_layers:
            _within("reverted_layers", layer, 0, blocks)
        return replace(config, num_hidden_layers=blocks)


def divides(micro_batch: int, batch_size: int) -> None:
    """Make sure that batches consist of whole micro-batches.

    Raises:
        ValueError: They do not.
    """
    if micro_batch < 0 or (micro_batch and batch_size % micro_batch):
        fit = ", ".join(str(size) for size in range(1, batch_size + 1) if batch_size % size == 0)
        raise ValueError(
            f"micro_batch must divide batch_size {batch_size}, got {micro_batch}: expected 0 or one of {fit}"
        )


def _within(name: str, value: int, low: int, high: int | None = None) -> None:
    if value < low or (high is not None and value > high):
        raise ValueError(
            f"{name} must be at least {low}, got {value}" if high is None
            else f"{name} must lie between {low} and {high}, got {value}"
        )  # fmt: skip
