"""The settings in a study file: what is tuned or given, compared, probed; each key with its type, its bounds and its default.

They refuse what they do not know, values of another type, and numbers that come twice.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from bert_repro.results.keys import Strict
from bert_repro.workflow.names import MeasureName, TargetName, TaskName


class FinetuneTask(Strict):
    """One fine-tuning task of a study: the data it learns from, for how many updates, and which layers take part."""

    task: TaskName
    train: str
    dev: str
    test: list[str] = []
    updates: int = Field(ge=1)
    batch_size: int = Field(default=32, ge=1)
    micro_batch: int = Field(default=0, ge=0)  # 0 for as many as fit `memory`, in gigabytes
    memory: float = Field(default=12.0, gt=0)
    learning_rate: float = Field(default=1e-4, gt=0)
    head_learning_rate: float = Field(default=1e-3, gt=0)
    evaluations: int = Field(default=4, ge=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[1, 2], min_length=1)
    frozen_layers: list[Annotated[int, Field(ge=1)]] = []
    kept_layers: list[Annotated[int, Field(ge=1)]] = []
    reverted_layers: list[Annotated[int, Field(ge=0)]] = []
    keep_at: list[Annotated[int, Field(ge=1)]] = []
    # what its scores are set against: a training each, of the first seed, but a baseline, which needs no encoder
    controls: list[Literal["baseline", "untrained", "partial_input"]] = []

    def within(self, blocks: int) -> "FinetuneTask":
        """Leave out layers that an encoder of so many blocks does not have, and cuts that cut nothing off."""
        most = {"frozen_layers": blocks, "kept_layers": blocks - 1, "reverted_layers": blocks}
        return self.model_copy(update={k: [n for n in getattr(self, k) if n <= last] for k, last in most.items()})

    @field_validator("seeds", "frozen_layers", "kept_layers", "reverted_layers", "keep_at")
    @classmethod
    def _nothing_comes_twice(cls, numbers: list[int]) -> list[int]:
        if len(set(numbers)) < len(numbers):
            raise ValueError("expected different numbers")
        return numbers

    @model_validator(mode="after")
    def _controls_are_those_that_the_task_can_have(self) -> "FinetuneTask":
        from bert_repro.finetune.tasks import named  # when a study is read, not before

        if len(set(self.controls)) < len(self.controls):
            raise ValueError(f"controls: expected different ones, got {self.controls}")
        if "baseline" in self.controls and not named(self.task).baseline:
            raise ValueError(f"controls: no baseline of {self.task} is known")
        if "partial_input" in self.controls:
            named(self.task).partially()
        return self

    @model_validator(mode="after")
    def _batches_consist_of_micro_batches(self) -> "FinetuneTask":
        from bert_repro.finetune.recipe import divides

        divides(self.micro_batch, self.batch_size)
        return self

    @model_validator(mode="after")
    def _checkpoints_lie_on_the_way(self) -> "FinetuneTask":
        if self.keep_at and max(self.keep_at) > self.updates:
            raise ValueError(f"keep_at: {max(self.keep_at)} is after the last of {self.updates} updates")
        return self


class GivenModel(Strict):
    """A checkpoint that somebody made: everything is measured of it that needs no training."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    checkpoint: str = Field(min_length=1)
    # what it was tuned on; scored where we know such a task
    task: str = Field(default="", pattern=r"^([a-z][a-z0-9_-]*)?$")
    seed: int = Field(default=1, ge=0)
    base: str = "base"  # what it was made from: the study's base, or the name of another model
    labels: list[str] = []  # of its task head, in the order of its outputs, where its config.json does not say them
    updates: int | None = Field(default=None, ge=0)  # after which it was kept, where its config.json does not say them

    @property
    def tuned(self) -> dict[str, object]:
        """What the tables say of it where its own config.json does not: task, or its name in place of one, seed, updates."""
        trained = {} if self.updates is None else {"updates": self.updates}
        return {"task": self.task or self.name, "seed": self.seed, "layers_changed": "all"} | trained

    @property
    def from_pretraining(self) -> bool:
        """Whether it was kept while the base was being pre-trained, and is no descendant of it."""
        return self.task == "masked_words"


class SimilaritySetting(Strict):
    """What representations are compared on, and how; see notebooks/similarity.ipynb for each."""

    corpora: list[str] = Field(min_length=1)
    words: int = Field(default=5000, ge=10)
    units: int = Field(default=0, ge=0)
    methods: list[MeasureName] = Field(default=["rsa", "cka_debiased", "cosine"], min_length=1)
    more_methods: list[MeasureName] = []
    # for the first seed of a task alone
    grid_methods: list[MeasureName] = []
    classes_corpus: str = ""
    classes: list[str] = []
    lengths_of: str = ""
    as_long: list[str] = []

    @model_validator(mode="after")
    def _what_needs_a_corpus_has_one(self) -> "SimilaritySetting":
        if bool(self.classes) != bool(self.classes_corpus):
            raise ValueError("classes and classes_corpus: expected both or neither")
        if self.as_long and not self.lengths_of:
            raise ValueError("as_long: lengths_of names no corpus to be as long as")
        return self


class Treebanks(Strict):
    """What probes learn from, stop by and are tested on."""

    train: str
    dev: str
    test: str
    further: list[str] = []  # tested on as well: syntax that neither tuning nor probing has seen
    # whether scores are taken apart by relation, arc and frequency, of first seeds and of what was not tuned
    phenomena: bool = False


class ProbeSetting(Treebanks):
    """The size of the structural probes."""

    rank: int = Field(default=128, ge=1)
    more_ranks: list[Annotated[int, Field(ge=1)]] = []  # for the base encoder alone
    epochs: int = Field(default=10, ge=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[1], min_length=1)
    more_seeds: list[Annotated[int, Field(ge=0)]] = []  # for the base encoder alone: what the probe's seed does
    shown: int = Field(default=3, ge=0)  # sentences whose decoded trees are kept

    def within(self, hidden: int) -> "ProbeSetting":
        """Lower ranks to the width of an encoder."""
        rank = min(self.rank, hidden)
        more = [other for other in self.more_ranks if other <= hidden and other != rank]
        return self.model_copy(update={"rank": rank, "more_ranks": more})

    @model_validator(mode="after")
    def _nothing_is_probed_twice(self) -> "ProbeSetting":
        for name, values in (("seeds", self.seeds + self.more_seeds), ("ranks", [self.rank, *self.more_ranks])):
            if len(set(values)) < len(values):
                raise ValueError(f"expected different {name}, got {values}")
        return self


class EdgeSetting(Treebanks):
    """What edge probes read off, and how; mixes and description lengths are measured for first seeds and what was not tuned."""

    targets: list[TargetName] = Field(default=["upos", "relation"], min_length=1)
    probe: Literal["linear", "low-rank", "mlp", "bilinear"] = "linear"
    size: int = Field(default=64, ge=1)
    epochs: int = Field(default=5, ge=1)
    seed: int = Field(default=1, ge=0)
    description: bool = True
    mixed: bool = True


class ErasureSetting(Strict):
    """What is erased from tuned encoders, first seeds alone, before their task is scored; see notebooks/erasure.ipynb for each."""

    treebank: str
    held_out: str
    targets: list[TargetName] = Field(default=["upos", "relation"], min_length=1)
    layers: list[Annotated[int, Field(ge=0)]] = []  # empty for all
    draws: int = Field(default=5, ge=2)
    seed: int = Field(default=1, ge=0)

    def within(self, blocks: int) -> "ErasureSetting":
        """Leave out layers that an encoder of so many blocks does not have."""
        return self.model_copy(update={"layers": [layer for layer in self.layers if layer <= blocks]})


class LineSetting(Strict):
    """What is measured between the base and tuned encoders, and at which points; see notebooks/line.ipynb."""

    neutral: str
    words: int = Field(default=5000, ge=10)
    train: str
    dev: str
    test: str
    rank: int = Field(default=64, ge=1)
    epochs: int = Field(default=10, ge=1)
    layers: list[Annotated[int, Field(ge=0)]] = []  # the middle one, that at two thirds and the last unless said
    points: list[float] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]

    def within(self, blocks: int, hidden: int) -> "LineSetting":
        """Leave out layers that an encoder of so many blocks does not have, and lower the rank to its width."""
        layers = [layer for layer in self.layers if layer <= blocks]
        return self.model_copy(update={"layers": layers, "rank": min(self.rank, hidden)})

    @field_validator("points")
    @classmethod
    def _from_end_to_end(cls, points: list[float]) -> list[float]:
        if points[:1] != [0] or points[-1:] != [1] or points != sorted({*points}):
            raise ValueError("expected points that rise from 0, the base, to 1, the tuned encoder")
        return points
