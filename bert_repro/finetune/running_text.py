"""Running text as encoder inputs of equal length: packed without gaps, masked anew in every epoch, read from disk.

Wordpieces of all documents lie one after another in a file of the cache, a separator behind each document; inputs are cut
from it. So memory does not grow with the text, and shapes do not vary.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bert_repro import corpora, encoder
from bert_repro.alignment import Aligned, Tokenizer
from bert_repro.checkpoints.families import Config
from bert_repro.files import cache_folder, made_once
from bert_repro.finetune.batches import Text
from bert_repro.finetune.heads import TaskHead, masked_words
from bert_repro.finetune.tasks import MASKED, Task

SHORT = 128  # wordpieces of an input, until the last part of the updates, which reads inputs of the task's full length
LAST = 0.1  # that part
PARAGRAPHS = 1000  # cut into wordpieces at a time


class Draw(NamedTuple):
    """A batch: where its inputs begin in the text, how long they are, and the seed of all that is random in it."""

    starts: np.ndarray
    length: int
    seed: int
    segments: bool = True  # whether every other input is two segments


class RunningText(Text[Draw]):
    """The encoder inputs of running text; an item is a document.

    Raises:
        ValueError: No running text, less of it than one input, or a tokenizer without the special tokens.
    """

    def __init__(self, task: Task, reference: str, tokenizer: Tokenizer, positions: int):
        self.reference, self.limit = reference, min(task.max_length, positions)
        self.short = min(SHORT, self.limit)
        names = ("cls_token", "sep_token", "mask_token")
        if missing := [name for name in names if getattr(tokenizer, f"{name}_id") is None]:
            raise ValueError(f"the tokenizer has no {', '.join(missing)}: masked words need [CLS], [SEP] and [MASK]")
        self.cls, self.sep, self.mask = (getattr(tokenizer, f"{name}_id") for name in names)
        folder = self._packed(tokenizer)
        self.pieces = np.load(folder / "pieces.npy", mmap_mode="r")
        self.ends = np.load(folder / "ends.npy")  # of each document, its separator included
        notes = json.loads((folder / "notes.json").read_text())
        self.digest, self.items = notes["digest"], notes["documents"]
        if len(self.pieces) < self.short:
            raise ValueError(
                f"{reference} has {len(self.pieces)} wordpieces, less than one input of {self.short}: give more text"
            )
        self.segments = 2
        words = tokenizer.get_vocab()
        special = {*tokenizer.all_special_ids}
        self.vocabulary = np.array(sorted({*words.values()} - special))
        self.ordinary = np.zeros(max(words.values()) + 1, bool)
        self.ordinary[self.vocabulary] = True
        self.continues = np.zeros(len(self.ordinary), bool)
        self.continues[[number for word, number in words.items() if word.startswith("##")]] = True
        inputs = len(self._starts(self.short, 0))
        self.report = {
            "corpus": reference, "items": len(self.items), "encoder inputs": inputs,
            "inputs cut at the length limit": 0, "items left out": 0,
        }  # fmt: skip

    def _packed(self, tokenizer: Tokenizer) -> Path:
        """Cut the text into wordpieces once, and find it again by its content and the tokenizer's."""
        digest = corpora.running_digest(self.reference)
        rules = tokenizer.backend_tokenizer.to_str()
        key = hashlib.sha256(f"{digest} {rules} {self.sep} units".encode()).hexdigest()[:16]
        return made_once(cache_folder() / "running_text" / key, lambda new: self._pack(new, tokenizer, digest))

    def _pack(self, folder: Path, tokenizer: Tokenizer, digest: str) -> None:
        kind = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
        ends: list[int] = []
        documents: list[str] = []
        paragraphs_end: list[int] = []  # of the first document
        size = 0
        with open(folder / "pieces", "wb") as file:
            paragraphs = corpora.paragraphs(self.reference)
            while part := list(islice(paragraphs, PARAGRAPHS)):
                encoded = _as_text(tokenizer.backend_tokenizer, [text for _, text in part])
                for (document, _), encoding in zip(part, encoded, strict=True):
                    if documents and document != documents[-1]:
                        size += file.write(np.array([self.sep], kind).tobytes())
                        ends.append(size // kind().nbytes)
                    if not documents or document != documents[-1]:
                        documents.append(document)
                    size += file.write(np.array(encoding.ids, kind).tobytes())
                    if len(documents) == 1:
                        paragraphs_end.append(size // kind().nbytes)
            size += file.write(np.array([self.sep], kind).tobytes())
            ends.append(size // kind().nbytes)
        if len(documents) == 1:  # scores are resampled by document; one alone would have no interval
            documents = [f"{documents[0]}.{number}" for number in range(1, len(paragraphs_end) + 1)]
            ends = [*paragraphs_end[:-1], *ends]
        pieces = np.memmap(folder / "pieces", kind, "r")
        np.save(folder / "pieces.npy", pieces)
        (folder / "pieces").unlink()
        np.save(folder / "ends.npy", np.array(ends))
        (folder / "notes.json").write_text(json.dumps({"digest": digest, "documents": documents}))

    def check(self, config: Config) -> None:
        """Make sure that an encoder of this shape has embeddings for what occurs; others of the vocabulary are not drawn."""
        highest = np.array([max(int(self.pieces.max()), self.mask, self.cls, self.sep)])
        self.segments = config.segments
        encoder.check([Aligned(highest, np.ones(1, int) * (self.segments > 1), np.zeros(1, int))], config)
        self.vocabulary = self.vocabulary[self.vocabulary < config.vocab_size]

    def _starts(self, length: int, offset: int) -> np.ndarray:
        """Give where inputs of a length begin that cover the text once, [CLS] and [SEP] around each."""
        return np.arange(offset, len(self.pieces) - (length - 2) + 1, length - 2)

    def batches(self, size: int, generator: np.random.Generator, updates: int) -> Iterator[Draw]:
        """Draw batches for ever: shuffled inputs that cover the text, cut elsewhere in each epoch.

        The last tenth of the updates reads inputs of full length, as many wordpieces an update as before; a text that is
        shorter than one of them is read in short ones to the end.
        """
        longer = self.short < self.limit and len(self._starts(self.limit, 0))
        full = updates - int(LAST * updates) if longer else math.inf
        epoch: np.ndarray = np.zeros(0, int)
        length, count, update = self.short, size, 0
        while True:
            if update == full:
                length, count, epoch = self.limit, max(1, size * self.short // self.limit), epoch[:0]
            while len(epoch) < count:
                starts = self._starts(length, int(generator.integers(length)))
                if not len(starts):  # a text of one input
                    starts = self._starts(length, 0)
                epoch = np.concatenate([epoch, generator.permutation(starts)])
            yield Draw(epoch[:count], length, int(generator.integers(2**31)))
            epoch, update = epoch[count:], update + 1

    def arrays(self, head: TaskHead, drawn: Draw) -> tuple[dict, dict]:
        """Cut the inputs of a batch from the text, and mask them."""
        generator = np.random.default_rng(drawn.seed)
        token_ids = np.full((len(drawn.starts), drawn.length), self.sep, np.int32)
        token_ids[:, 0] = self.cls
        segment_ids = np.zeros_like(token_ids)
        for row, start in enumerate(drawn.starts):
            text = self.pieces[start : start + drawn.length - 2]
            if row % 2 and drawn.segments:
                # a separator takes the place of the last piece; no word is cut in two by it
                cut = int(generator.integers(1, len(text) - 1))
                while cut > 1 and self.continues[text[cut]]:
                    cut -= 1
                text = np.concatenate([text[:cut], [self.sep], text[cut:-1]])
                segment_ids[row, cut + 2 :] = self.segments > 1
            token_ids[row, 1 : 1 + len(text)] = text
        token_ids, places, gold = masked_words.mask(
            token_ids, self.ordinary[token_ids], self.vocabulary, self.mask, MASKED, generator
        )
        inputs = {"token_ids": token_ids, "segment_ids": segment_ids, "mask": np.ones_like(token_ids)}
        return inputs | {"masked": places.astype(np.int32), "gold": gold.astype(np.int32)}, {
            "pieces": gold.astype(np.int32)
        }

    def counts(
        self, head: TaskHead, predict: Callable, items: int | None = None
    ) -> Float[np.ndarray, "items metrics 2"]:
        """Sum loss and right pieces over the masks of each document; the same masks whatever the encoder.

        Every wordpiece is read once, in inputs of one segment; what is left behind the last whole input is not.
        """
        sums = np.zeros((len(self.items), 2, 2))
        starts = self._starts(self.short, 0)
        if items is not None:
            starts = starts[:items]
        size = max(1, 8192 // self.short)
        for number in range(0, len(starts), size):
            batch = starts[number : number + size]
            # one shape; what is read twice counts once
            filled = np.resize(batch, size) if len(starts) > size else batch
            inputs, _ = self.arrays(head, Draw(filled, self.short, number, segments=False))
            outputs = predict(inputs)
            real = inputs["gold"][: len(batch)] >= 0
            document = np.searchsorted(self.ends, batch[:, None] + inputs["masked"][: len(batch)] - 1, side="right")
            for metric, name in enumerate(("nats", "right")):
                np.add.at(sums[:, metric, 0], document[real], outputs[name][: len(batch)][real])
                np.add.at(sums[:, metric, 1], document[real], 1)
        return sums


def _as_text(tokenizer: Any, texts: list[str]) -> list[Any]:
    """Encode texts, without special tokens: where [SEP] is written in one, that is text as well."""
    usual, tokenizer.encode_special_tokens = tokenizer.encode_special_tokens, True
    try:
        return list(tokenizer.encode_batch(texts, add_special_tokens=False))
    finally:
        tokenizer.encode_special_tokens = usual
