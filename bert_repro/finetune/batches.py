"""Texts as batches of encoder inputs: what the training loop and the scores read of a corpus.

`Examples` are the items of a corpus, each an input or several; `running_text.RunningText` is cut without regard to items. They
refuse corpora that hold an item of no use to the task, or none that fits; what is cut or left out is counted.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from jaxtyping import Float

from bert_repro import alignment, backend, corpora, encoder
from bert_repro.alignment import Tokenizer
from bert_repro.checkpoints.families import Config
from bert_repro.finetune.heads import TaskHead
from bert_repro.finetune.tasks import Task

STRIDE = 128  # wordpieces from the start of one window to the next
POOL = 50  # batches among which inputs of similar length are brought together
Draw = TypeVar("Draw")
Heard = Callable[[int, dict[str, np.ndarray], dict[str, np.ndarray]], None]


class Text(Protocol[Draw]):
    """The encoder inputs of a corpus for a task: drawn in batches to learn from, or all scored.

    Attributes:
        reference: The corpus.
        items: What scores are resampled by.
        digest: Identifies the corpus.
        report: What became of the items: a line of a table.
    """

    reference: str
    items: Sequence[Any]
    digest: str
    report: dict[str, Any]

    def __init__(self, task: Task, reference: str, tokenizer: Tokenizer, positions: int):
        """Read a corpus.

        Args:
            task: The task that reads it.
            reference: A corpus, see `corpora.load` and `corpora.paragraphs`.
            tokenizer: A fast tokenizer.
            positions: Most wordpieces that the encoder takes.

        Raises:
            ValueError: The corpus, an item or the tokenizer is of no use to the task, or nothing fits.
        """

    def check(self, config: Config) -> None:
        """Make sure that the encoder has an embedding for everything in the inputs; see `encoder.check`."""
        ...

    def batches(self, size: int, generator: np.random.Generator, updates: int) -> Iterator[Draw]:
        """Draw batches for ever; they may change with the share of the updates that is done."""
        ...

    def arrays(self, head: TaskHead, drawn: Draw) -> tuple[dict, dict]:
        """Make the arrays of a batch: what the encoder and the task head read, and the targets."""
        ...

    def counts(
        self, head: TaskHead, predict: Callable, items: int | None = None
    ) -> Float[np.ndarray, "items metrics 2"]:
        """Count the right ones and the total of each metric for each item (of the first so many)."""
        ...


class Examples(Text[np.ndarray]):
    """The encoder inputs of a corpus of items; each input knows the item that it belongs to."""

    def __init__(self, task: Task, reference: str, tokenizer: Tokenizer, positions: int):
        corpus = corpora.load(reference)
        self.reference, self.items, self.digest = reference, corpus.items, corpus.digest
        for item in self.items:
            if not task.usable(item):
                raise ValueError(f"{reference}: item {item.id!r} cannot be used: {task.description} needs {task.needs}")
        self.limit = min(task.max_length, positions)
        parts = list(enumerate(self.items))
        if task.too_long == "windows":
            windows = alignment.windows(tokenizer, self.items, self.limit, STRIDE)
            parts = [
                (n, dataclasses.replace(item, second=item.second[start:end], offsets=item.offsets[start:end]))
                for (n, item), spans in zip(parts, windows, strict=True)
                for start, end in spans
            ]
        # where no window fits, the items themselves are tried, and found to be too long
        texts = [part for _, part in parts] or list(self.items)
        if task.partial:  # in windows, and so in batches, as large as beside the first side
            texts = [corpora.sides(part)[1] for part in texts]
        inputs, places, cut = alignment.inputs(tokenizer, texts, self.limit)
        fits = np.flatnonzero((cut == 0) | (task.too_long == "cut"))
        if not len(fits) or not parts:
            raise ValueError(f"no item of {reference} fits into {self.limit} wordpieces")
        self.inputs = [inputs[i] for i in fits]
        kept = [parts[place] for place in places[fits]]
        self.owners, self.parts = [owner for owner, _ in kept], [part for _, part in kept]
        self.lengths = np.array([len(aligned.token_ids) for aligned in self.inputs])
        self.report = {
            "corpus": reference,
            "items": len(self.items),
            "encoder inputs": len(self.inputs),
            "inputs cut at the length limit": int((cut[fits] > 0).sum()),
            "items left out": len(self.items) - len(set(self.owners)),
        }

    def arrays(self, head: TaskHead, drawn: np.ndarray) -> tuple[dict, dict]:
        inputs = [self.inputs[i] for i in drawn]
        token_ids, mask = encoder.pad([aligned.token_ids for aligned in inputs], self.limit)
        segment_ids, _ = encoder.pad([aligned.segment_ids for aligned in inputs], self.limit)
        extra, targets = head.arrays([self.parts[i] for i in drawn], inputs, token_ids.shape[1])
        return {"token_ids": token_ids, "segment_ids": segment_ids, "mask": mask} | extra, targets

    def batches(self, size: int, generator: np.random.Generator, updates: int = 0) -> Iterator[np.ndarray]:
        """Draw batches for ever, numbers of inputs: shuffled, then of similar length within pools of batches."""
        while True:
            order = generator.permutation(len(self.inputs))
            order = order[: len(order) - len(order) % size] if len(order) > size else order
            for start in range(0, len(order), size * POOL):
                pool = order[start : start + size * POOL]
                pool = pool[np.argsort(self.lengths[pool], kind="stable")]
                batches = [pool[i : i + size] for i in range(0, len(pool), size)]
                for i in generator.permutation(len(batches)):
                    yield batches[i]

    def check(self, config: Config) -> None:
        encoder.check(self.inputs, config)

    def counts(
        self, head: TaskHead, predict: Callable, items: int | None = None, heard: Heard | None = None
    ) -> Float[np.ndarray, "items metrics 2"]:
        """Count as every text does; tell `heard`, if anybody hears, of each input: its item's number, targets and outputs."""
        items = len(self.items) if items is None else min(items, len(self.items))
        readings: list[list] = [[] for _ in range(items)]
        counted = np.array(self.owners) < items
        for chosen in encoder.by_length(self.lengths, 8192):
            chosen = chosen[counted[chosen]]
            if not len(chosen):
                continue
            filled = np.resize(chosen, backend.bucket(len(chosen)))  # few shapes occur; what is read twice counts once
            inputs, targets = self.arrays(head, filled)
            outputs = predict(inputs)
            for place, i in enumerate(chosen):
                rows = {name: array[place] for name, array in outputs.items()}
                readings[self.owners[i]].append(head.read(self.parts[i], self.inputs[i], rows))
                if heard:
                    heard(self.owners[i], {name: array[place] for name, array in targets.items()}, rows)
        scored = zip(self.items[:items], readings, strict=True)
        return np.array([head.score(item, reading) for item, reading in scored], float)
