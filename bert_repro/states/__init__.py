"""Hidden states: for every word of a corpus, its vector in every layer, computed once and mapped from disk.

Nothing is computed twice, and no corpus is held in memory. States are kept under a key of everything they depend
on, in shards of some thousand sentences; a killed job resumes at the shard it was at. Reading needs no TensorFlow: where
states are missing, `get` computes them in a separate process and then maps the files.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from bert_repro import alignment, checkpoints, corpora
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.families import check_layers
from bert_repro.files import ROOT, cache_folder, code_digest, made_once, without_greetings
from bert_repro.states import store

SHARD = 32_768  # words: counted in sentences, a shard of long texts would take ten times the memory
OWNER = "BERT_REPRO_STATES_OF"
"""The environment variable by which a report says that states computed now are its own, to be dropped by it: see `drop`."""
CHOICES = {"pooling": ("mean", "first"), "dtype": ("float16", "float32"), "pairs": ("together", "apart")}


@dataclass(frozen=True)
class Setting:
    """Everything that the states depend on besides weights, tokenizer and corpus."""

    max_length: int = 512
    pooling: str = "mean"  # or "first": the first piece of a word
    dtype: str = "float16"  # or "float32"
    pairs: str = "together"  # or "apart": each side of a pair is an input of its own

    def __post_init__(self) -> None:
        for name, (usual, other) in CHOICES.items():
            if getattr(self, name) not in (usual, other):
                raise ValueError(f"{name} must be {usual!r} or {other!r}, got {getattr(self, name)!r}")


class HiddenStates:
    """The states of one corpus under one checkpoint: `layers x words x hidden`, mapped from disk.

    Attributes:
        corpus: Its name.
        split: Its split, with the draw if there is one: `dev[600]`.
        setting: How they were computed.
        layers: The number of states: blocks + 1.
        hidden: The width of a state.
        report: Counts of words that were cut, unknown or left out, an `alignment.Report`.
        left_out: Counts of what the reader of the corpus left out, by reason.
        inputs: Checksums of weights, tokenizer and corpus, for manifests.
        only: Numbers of the sentences that have vectors, as in `rows`, which has the words of all; None for all.
    """

    def __init__(self, entry: store.Entry, reference: str, setting: Setting, only: Sequence[int] | None = None):
        about, where = entry.open(), corpora.locate(reference)
        self.corpus, self.split, self.setting = where.name, where.part, setting
        self._entry, self.folder, self.only = entry, entry.folder, only
        self.layers, self.hidden = int(about["layers"]), int(about["hidden"])
        self.report, self.inputs = alignment.Report(**about["report"]), dict(about["digests"])
        self.left_out = dict(about["left_out"])
        # the first row of every shard, among those that have vectors
        self._starts = np.cumsum([0, *(shard.get("vectors", shard["rows"]) for shard in entry.shards())])

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One line per word or special token, in order; columns as `alignment.align` gives them."""
        return pd.concat([self._entry.table(number) for number in range(len(self._starts) - 1)], ignore_index=True)

    @cached_property
    def bounds(self) -> Int[np.ndarray, " boundaries"]:
        """First row of every encoded sentence, and the number of rows at the end."""
        sentence = self.rows["sentence"].to_numpy()
        return np.flatnonzero(np.r_[True, sentence[1:] != sentence[:-1], True])

    @cached_property
    def _held(self) -> np.ndarray:
        """Tell which rows have a vector."""
        return self.rows["sentence"].isin(self.only).to_numpy()

    @cached_property
    def _maps(self) -> list[np.ndarray]:
        return [self._entry.array(number) for number in range(len(self._starts) - 1)]

    def vectors(
        self, rows: Int[np.ndarray, " rows"], layers: Sequence[int] | None = None
    ) -> Float[np.ndarray, "layers rows hidden"]:
        """Read the vectors of some rows, in their order, as float32.

        Args:
            rows: Row numbers, ascending, each once.
            layers: Layers to read, all by default.

        Raises:
            ValueError: A layer or row that is not there or was not drawn, or rows out of order.
        """
        chosen = check_layers(layers, self.layers - 1)
        total = self._starts[-1] if self.only is None else len(self._held)
        if len(rows) and (rows[0] < 0 or rows[-1] >= total or (np.diff(rows) <= 0).any()):
            raise ValueError(f"rows must ascend, each once, between 0 and {total - 1}; got {rows[0]} .. {rows[-1]}")
        if self.only is not None:
            if not self._held[rows].all():
                first = self.rows["sentence"].iloc[rows[~self._held[rows]][0]]
                raise ValueError(
                    f"sentence {first} of {self.corpus}:{self.split} was not drawn: its vectors are not computed"
                )
            rows = np.cumsum(self._held)[rows] - 1
        result = np.empty((len(chosen), len(rows), self.hidden), np.float32)
        ends = np.searchsorted(rows, self._starts)
        for array, start, low, high in zip(self._maps, self._starts, ends, ends[1:], strict=False):
            if low == high:
                continue
            if rows[high - 1] - rows[low] == high - 1 - low:  # one stretch: a slice instead of a gather
                wanted: slice | np.ndarray = slice(rows[low] - start, rows[high - 1] - start + 1)
            else:
                wanted = rows[low:high] - start
            for i, layer in enumerate(chosen):
                result[i, low:high] = array[layer, wanted]
        return result

    def sentences(
        self, first: int, stop: int, layers: Sequence[int] | None = None
    ) -> tuple[Float[np.ndarray, "layers rows hidden"], pd.DataFrame]:
        """Read a range of encoded sentences, special tokens included.

        Args:
            first: The first of them, counted from 0 among the encoded ones, as in `bounds`.
            stop: The one behind the last.
            layers: Layers to read, all by default.

        Returns:
            The vectors as float32, and what each row is: a part of `rows`, its index kept.

        Raises:
            ValueError: A layer that is not there, or no range of sentences.
        """
        if not 0 <= first <= stop < len(self.bounds):
            raise ValueError(f"sentences {first} to {stop} are not a range within 0 and {len(self.bounds) - 1}")
        low, high = self.bounds[[first, stop]]
        return self.vectors(np.arange(low, high), layers), self.rows[low:high]


def usual(model: str) -> Setting:
    """Give the setting that is used where none is given: inputs of up to 512 wordpieces, or as many as the encoder takes."""
    return Setting(min(512, checkpoints.open(model).config.max_length))


def get(model: str, corpus: str, setting: Setting | None = None) -> HiddenStates:
    """Give the states of a corpus under a checkpoint, computed now if they are not stored.

    Args:
        model: A checkpoint reference, see `checkpoints.open`.
        corpus: A corpus reference, see `corpora.load`.
        setting: Length limit, pooling, precision and what is done with pairs; `usual(model)` where not given.
    """
    return get_all(model, [corpus], setting)[0]


def get_all(
    model: str,
    wanted: Sequence[str],
    setting: Setting | None = None,
    only: Mapping[str, Sequence[int]] | None = None,
    apart: Sequence[str] = (),
) -> list[HiddenStates]:
    """Give the states of several corpora; those missing or damaged are computed by one process.

    Args:
        model: A checkpoint reference, see `checkpoints.open`.
        wanted: Corpus references.
        setting: As for `get`.
        only: For some of these corpora, the sentences that vectors are computed for, by their numbers, ascending: those that
            will be looked at. The words of all are counted, and listed in `rows`.
        apart: Corpora of pairs, each side of which is to be an input of its own: their states come last.
    """
    setting, checkpoint = setting or usual(model), checkpoints.open(model)
    found, missing = [], []
    for texts, how, drawn in ((wanted, setting, only or {}), (apart, replace(setting, pairs="apart"), {})):
        places = entries(checkpoint, texts, how, drawn)
        lacking = [reference for reference, entry in zip(texts, places, strict=True) if not entry.mend()]
        if lacking:
            missing.append((lacking, how, {one: drawn[one] for one in lacking if one in drawn}))
        found += [(entry, reference, how, drawn.get(reference)) for entry, reference in zip(places, texts, strict=True)]
    if missing:
        _compute_apart(model, missing)
    return [HiddenStates(*one) for one in found]


def words(models: Sequence[str], wanted: Sequence[str]) -> dict[str, list[pd.DataFrame]]:
    """List the words of corpora as each of some models is given them, as `HiddenStates.rows` does; no encoder is run.

    Args:
        models: Checkpoint references, see `checkpoints.open`.
        wanted: Corpus references.
    """
    opened = [checkpoints.open(model) for model in models]
    return {reference: [_words(one, reference) for one in opened] for reference in wanted}


def _words(checkpoint: Checkpoint, reference: str) -> pd.DataFrame:
    """List the words of a corpus: found once for all models of one tokenizer, which a study has many of."""
    limit = usual(checkpoint.reference).max_length
    parts = [checkpoint.tokenizer_digest, corpora.digest(reference), limit, _code()]
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:20]

    def write(folder: Path) -> None:
        rows = alignment.align(checkpoint.tokenizer, list(corpora.stream(reference)), limit)[1]
        rows.to_parquet(folder / "rows.parquet", index=False)

    return pd.read_parquet(made_once(cache_folder() / "words" / key, write) / "rows.parquet")


def _compute_apart(model: str, missing: "Sequence[tuple[Sequence[str], Setting, Mapping[str, Sequence[int]]]]") -> None:
    """Have `compute` run in a process of its own, its progress passed on, so that the reader stays free of TensorFlow.

    Args:
        model: A checkpoint reference.
        missing: Corpora, with the setting and the draws that all of them are computed by.
    """
    asked = [(wanted, asdict(setting), only) for wanted, setting, only in missing]
    apart("bert_repro.states.compute", json.dumps([model, asked]))


def apart(module: str, argument: str) -> str:
    """Run a module in a process of its own, which ends with TensorFlow's memory; pass its progress on, which is on stderr.

    Args:
        module: Its whole name; is run as a script.
        argument: What it is given.

    Returns:
        What it wrote to stdout.

    Raises:
        RuntimeError: It failed; the message is the last line of its stdout, if any, or says how it ended.
    """
    command = [sys.executable, "-m", module, argument]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, env=quiet) as child,
    ):
        assert child.stderr is not None
        while chunk := os.read(child.stderr.fileno(), 4096):  # in a notebook, what the child writes itself is not seen
            sys.stderr.write(without_greetings(chunk.decode(errors="replace")))
        status = child.wait()
        output.seek(0)
        said = output.read()
    if status:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with {status}"
        raise RuntimeError((said.splitlines() or [f"the encoder's process {how}"])[-1])
    return said


def _code() -> str:
    """Identify the code that makes states and lays them into shards: what older code made is not what today's would."""
    names = "alignment", "encoder", "states/compute", "states/store"
    return code_digest(*(ROOT / "bert_repro" / f"{name}.py" for name in names))


def entries(
    checkpoint: Checkpoint, wanted: Sequence[str], setting: Setting, only: Mapping[str, Sequence[int]] | None = None
) -> list[store.Entry]:
    """Find the store's entries of states, and keep them from being evicted."""
    places = []
    for reference in wanted:
        parts = [*digests(checkpoint, reference).values(), repr(setting), _code(), SHARD]
        parts += [",".join(map(str, only[reference]))] if only and reference in only else []
        places.append(store.Entry(hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:20]))
        places[-1].hold()
    return places


def digests(checkpoint: Checkpoint, reference: str) -> dict[str, str]:
    """Give the checksums of all that states are made of."""
    return checkpoint.digests | {"corpus": corpora.digest(reference)}


def stored() -> pd.DataFrame:
    """List what the store holds: one line an entry, its size in megabytes, its setting where it is not the default."""
    listed = []
    for entry in store.entries():
        for shard in entry.shards()[:1]:  # none where nothing was computed yet
            model, corpus, given = shard["origin"].values()
            setting = ", ".join(f"{name}={value}" for name, value in given.items() if value != getattr(Setting, name))
            drawn = sum(one.get("drawn", 0) for one in entry.shards())
            setting = ", ".join(([setting] if setting else []) + ([f"{drawn} sentences drawn"] if drawn else []))
            words = sum(one["report"]["words"] for one in entry.shards())
            used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
            state = "complete" if entry.about else "partial"
            listed.append((entry.key, model, corpus, setting, words, round(entry.size / 1e6, 1), used, state))
    return pd.DataFrame(listed, columns=["key", "model", "corpus", "setting", "words", "MB", "used", "state"])


def drop(owner: str, model: str) -> tuple[int, float]:
    """Remove the states of a model that were computed for a report whose runs are done with them.

    What was there before, was computed for another report or by hand, or is being read, stays.

    Args:
        owner: What OWNER was when they were computed.
        model: The checkpoint reference.

    Returns:
        How many entries went, and how many megabytes.
    """
    count, gone = 0, 0
    for entry in store.entries():
        shards = entry.shards()
        if shards and all((one.get("made_for"), one["origin"]["model"]) == (owner, model) for one in shards):
            try:
                gone += entry.remove()
            except BlockingIOError as error:
                print(f"{error}; they stay", file=sys.stderr)
            else:
                count += 1
    return count, gone / 1e6


def remove(which: str) -> tuple[int, float]:
    """Remove entries of the store, and return how many, and how many megabytes, were removed.

    Args:
        which: A key, or `all`.

    Raises:
        ValueError: No such entry.
        BlockingIOError: A process reads or writes one of them.
    """
    known = [entry.key for entry in store.entries()]
    if which != "all":
        if which not in known:
            raise ValueError(f"the store has no entry {which!r}: `python -m bert_repro states ls` lists them")
        known = [which]
    return len(known), sum(store.Entry(key).remove() for key in known) / 1e6
