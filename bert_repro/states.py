"""Hidden states: hides the encoder pass and the store; gives, for every word of a corpus, its vector in every layer.

It refuses to compute anything twice, or to hold a corpus in memory. States are kept under a key of everything they depend
on, in shards of some thousand sentences; a killed job goes on at the shard it was at. Reading needs no TensorFlow: where
states are missing, `get` has them made by a process of its own and then maps the files.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from tqdm import tqdm

from bert_repro import alignment, checkpoints, corpora, similarity, store, study

FORMAT = 4  # what a layer is, and what lies in a shard
SHARD = 32_768  # words: counted in sentences, a shard of long texts would take ten times the memory
CHOICES = {"pooling": ("mean", "first"), "dtype": ("float16", "float32"), "pairs": ("together", "apart")}


@dataclass(frozen=True)
class Setting:
    """Everything the states depend on beside weights, tokenizer and corpus."""

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
        layers: The number of states: blocks + 1.
        hidden: The width of a state.
        report: What became of the words, an `alignment.Report`.
        left_out: What the reader of the corpus left out, and how often.
        inputs: Checksums of weights, tokenizer and corpus, for manifests.
    """

    def __init__(self, entry: store.Entry):
        about = entry.open()
        self._entry, self.folder = entry, entry.folder
        self.layers, self.hidden = int(about["layers"]), int(about["hidden"])
        self.report, self.inputs = alignment.Report(**about["report"]), dict(about["digests"])
        self.left_out = dict(about["left_out"])
        self._starts = np.cumsum([0, *(shard["rows"] for shard in entry.shards())])  # first row of every shard

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
    def _maps(self) -> list[np.ndarray]:
        return [self._entry.array(number) for number in range(len(self._starts) - 1)]

    def check_layers(self, layers: Sequence[int] | None) -> list[int]:
        """Give the layers asked for, all where none are named.

        Raises:
            ValueError: One that this encoder does not have.
        """
        chosen = list(range(self.layers)) if not layers else list(layers)
        wrong = [layer for layer in chosen if not 0 <= layer < self.layers]
        if wrong:
            raise ValueError(f"layers {wrong} are out of range: this encoder has 0 (embeddings) to {self.layers - 1}")
        return chosen

    def vectors(
        self, rows: Int[np.ndarray, " rows"], layers: Sequence[int] | None = None
    ) -> Float[np.ndarray, "layers rows hidden"]:
        """Read the vectors of some rows, in their order, as float32.

        Args:
            rows: Row numbers, ascending, each once.
            layers: Layers to read, all by default.

        Raises:
            ValueError: A layer or row that is not there, or rows out of order.
        """
        chosen = self.check_layers(layers)
        total = self._starts[-1]
        if len(rows) and (rows[0] < 0 or rows[-1] >= total or (np.diff(rows) <= 0).any()):
            raise ValueError(f"rows must ascend, each once, between 0 and {total - 1}; got {rows[0]} .. {rows[-1]}")
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
            raise ValueError(f"sentences {first} to {stop} are no range within 0 and {len(self.bounds) - 1}")
        low, high = self.bounds[[first, stop]]
        return self.vectors(np.arange(low, high), layers), self.rows[low:high]


def usual(model: str) -> Setting:
    """Give the setting that is used where none is given: inputs of up to 512 wordpieces, or as many as the encoder takes."""
    return Setting(min(512, checkpoints.read_config(checkpoints.resolve(model)).max_length))


def get(model: str, corpus: str, setting: Setting | None = None) -> HiddenStates:
    """Give the states of a corpus under a checkpoint, computed now if nobody did before.

    Args:
        model: A checkpoint reference, see `checkpoints.resolve`.
        corpus: A corpus reference, see `corpora.load`.
        setting: Length limit, pooling, precision and what is done with pairs; `usual(model)` where not given.
    """
    return get_all(model, [corpus], setting)[0]


def get_all(model: str, wanted: Sequence[str], setting: Setting | None = None) -> list[HiddenStates]:
    """Give the states of several corpora; those missing or damaged are computed by one process."""
    setting = setting or usual(model)
    entries = _entries(model, wanted, setting)
    missing = [reference for reference, entry in zip(wanted, entries, strict=True) if not entry.mend()]
    if missing:
        options = [
            text for name, value in asdict(setting).items() for text in (f"--{name.replace('_', '-')}", str(value))
        ]
        _compute_apart([model, *missing, *options])
    return [HiddenStates(entry) for entry in entries]


def _compute_apart(arguments: list[str]) -> None:
    """Run `compute` in a process of its own, its progress passed on, so that the reader stays free of TensorFlow."""
    command = [sys.executable, "-m", "bert_repro", "states", "compute", *arguments]
    said = b""
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}) as child:
        assert child.stderr is not None
        while chunk := os.read(child.stderr.fileno(), 4096):
            sys.stderr.write(chunk.decode(errors="replace"))
            said = (said + chunk)[-4000:]
    if child.returncode:
        reasons = [line for line in said.decode(errors="replace").splitlines() if line.startswith("bert_repro: ")]
        reason = (
            reasons[-1].removeprefix("bert_repro: ")
            if reasons
            else f"the encoder's process ended with {child.returncode}"
        )
        raise RuntimeError(reason)


def _entries(model: str, wanted: Sequence[str], setting: Setting) -> list[store.Entry]:
    """Find the places of states, and keep them from being removed."""
    folder, entries = checkpoints.resolve(model), []
    for reference in wanted:
        parts = [*_digests(folder, reference).values(), repr(setting), FORMAT, SHARD]
        entries.append(store.Entry(hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:20]))
        entries[-1].hold()
    return entries


def _digests(folder: Path, reference: str) -> dict[str, str]:
    weights, tokenizer = checkpoints.weights_digest(folder), checkpoints.tokenizer_digest(folder)
    return {"weights": weights, "tokenizer": tokenizer, "corpus": corpora.digest(reference)}


def compute(model: str, wanted: Sequence[str], setting: Setting, part: int = 1, of: int = 1) -> None:
    """Compute and store the states of corpora under a checkpoint; what is there already is left alone.

    A second process that wants the same states waits, and then finds them. To share a large corpus out among processes or
    machines with one store, give each a part of its own: whoever is last completes the entry.

    Args:
        model: A checkpoint reference.
        wanted: Corpus references.
        setting: Length limit, pooling, precision and what is done with pairs.
        part: Which part of the shards is computed, from 1.
        of: How many parts there are.

    Raises:
        ValueError: A corpus of which no sentence fits the length limit, a limit the encoder does not have, values that
            the precision asked for cannot hold, or a part that there is not.
        OSError: The disk is full, or the store would outgrow its cap.
    """
    if not 1 <= part <= of:
        raise ValueError(f"part {part} of {of} there is not: give the first as 1/{max(of, 1)}")
    encoder = _Encoder(model, setting)
    for reference, entry in zip(wanted, _entries(model, wanted, setting), strict=True):
        with entry.lock_of(part, of):
            if not entry.mend():
                _complete(entry, encoder, reference, part, of)


class _Encoder:
    """A checkpoint that turns items into vectors; TensorFlow starts with the first of them."""

    def __init__(self, model: str, setting: Setting):
        self.model, self.setting, self.folder = model, setting, checkpoints.resolve(model)
        self.config = checkpoints.read_config(self.folder)
        most = self.config.max_length
        if not 4 <= setting.max_length <= most:
            raise ValueError(f"max_length must lie between 4 and {most} for {model}, got {setting.max_length}")
        self.tokenizer = checkpoints.load_tokenizer(self.folder)

    @cached_property
    def network(self) -> Any:
        from bert_repro import encoder

        network = encoder.build(self.config, checkpoints.read_weights(self.folder))
        network.compile(jit_compile=False)
        for size in (2, 3):  # shapes of no input: a graph kept for the first one met would give that other last bits
            ones = np.ones((size, size), np.int32)
            network.predict_on_batch({"token_ids": ones, "segment_ids": ones * 0, "mask": ones})
        return network

    def encode(self, items: list[Any], position: int) -> tuple[np.ndarray, pd.DataFrame, dict[str, Any]]:
        """Give the vectors of a shard, what its rows are, and what is to be recorded of it."""
        from bert_repro.encoder import read_out

        inputs, rows, report = alignment.align(self.tokenizer, items, self.setting.max_length)
        vectors = read_out(self.network, inputs, self.setting.pooling, self.setting.dtype)
        for layer, states in enumerate(vectors):
            if not np.isfinite(states).all():
                raise ValueError(
                    f"layer {layer} of {self.model} has values that {self.setting.dtype} cannot hold: use dtype float32, "
                    "or other weights where that is of no help"
                )
        rows["sentence"] += position
        return vectors, rows, {"items": len(items), "inputs": len(inputs), "report": asdict(report)}


def _complete(entry: store.Entry, encoder: _Encoder, reference: str, part: int, of: int) -> None:
    """Write what an entry lacks, or the part of it that is this process's."""
    model, setting, census = encoder.model, encoder.setting, corpora.census(reference)
    origin = {"model": model, "corpus": reference, "setting": asdict(setting)}
    layers, hidden = encoder.config.num_hidden_layers + 1, encoder.config.hidden_size
    entry.expect(census.words * layers * hidden * np.dtype(setting.dtype).itemsize)
    there, position, number = {shard["number"] for shard in entry.shards()}, 0, -1
    with tqdm(total=census.words, unit=" words", unit_scale=True, desc=f"{model} {reference}", mininterval=1) as bar:
        for number, items in enumerate(_shards(reference, setting)):
            if number not in there and number % of == part - 1:
                vectors, rows, facts = encoder.encode(items, position)
                entry.write(number, vectors, rows, facts | {"origin": origin})
                del vectors, rows  # before there are those of the next shard
            position += len(items)
            bar.update(sum(map(corpora.size, items)))
    shards = entry.shards()
    if len(shards) <= number:  # other processes are at the rest
        return
    totals = {name: sum(shard[name] for shard in shards) for name in ("items", "inputs", "rows")}
    if not totals["inputs"]:
        raise ValueError(f"no item of {reference} fits into {setting.max_length} pieces")
    about: dict[str, Any] = {"layers": layers, "hidden": hidden, "origin": origin}
    report = sum((alignment.Report(**shard["report"]) for shard in shards), alignment.Report())
    about |= {"digests": _digests(encoder.folder, reference), "left_out": census.left_out, "report": asdict(report)}
    entry.finish(len(shards), about | totals)


def _shards(reference: str, setting: Setting) -> Iterator[list[Any]]:
    """Cut a corpus into shards, while reading it."""
    items: list[Any] = []
    words = 0
    for item in corpora.stream(reference):
        apart = setting.pairs == "apart" and isinstance(item, corpora.Pair)
        items += corpora.sides(item) if apart else [item]
        words += corpora.size(item)
        if words >= SHARD:
            yield items
            items, words = [], 0
    if items:
        yield items


def sample(
    models: Sequence[str],
    wanted: Sequence[str],
    *,
    words: int,
    seed: int,
    layers: Sequence[int] | None = None,
    setting: Setting | None = None,
    of: Sequence[str] = ("words",),
    part: int = 0,
    like: str = "",
) -> list[similarity.Sample]:
    """Draw words of several corpora, and read their vectors under one model or more.

    Args:
        models: Checkpoint references; all of them see the same words.
        wanted: Corpus references.
        words: How many words to draw from each, in whole sentences, of which there are at most 500.
        seed: Of the draw.
        layers: Layers to read, all by default.
        setting: Length limit, pooling and precision, and what is done with pairs.
        of: Classes of words, a sample each, see `similarity.draw`.
        part: Which of the draws that share no sentence, the first being 0.
        like: A corpus; sentences are drawn that are as long as those which would be drawn from it.

    Raises:
        ValueError: Fewer words than asked for, models that were given different words, or a layer out of range.
    """
    everything = [get_all(model, wanted, setting) for model in models]
    lengths = None
    if like:
        model_rows = get(models[0], like).rows
        lengths = model_rows.loc[similarity.draw(model_rows, words, seed)].groupby("sentence").size().to_numpy()
    remarks = {"second sample": part, f"as long as {like}": like, "sides apart": setting and setting.pairs == "apart"}
    samples = []
    for reference, of_models in zip(wanted, zip(*everything, strict=True), strict=True):
        table, where = of_models[0].rows, corpora.locate(reference)
        for other in of_models[1:]:
            similarity.check_in_step(table, other.rows)
        for one in of:
            if lengths is None:
                drawn = similarity.draw(table, words, seed, one, part)
            else:
                drawn = similarity.draw_like(table, lengths, seed)
            named = ", ".join([*([one] if one != "words" else []), *(name for name, holds in remarks.items() if holds)])
            key = "/".join(map(str, [of_models[0].inputs["corpus"], words, seed, *([named] if named else [])]))
            sentence = np.unique(table["sentence"].to_numpy()[drawn], return_inverse=True)[1]
            vectors = tuple(states.vectors(drawn, layers) for states in of_models)
            samples.append(similarity.Sample(where.name, where.split, key, sentence, vectors, named))
    return samples


def stored() -> pd.DataFrame:
    """List what the store holds: one line an entry, its size in megabytes, its setting where it is not the default."""
    listed = []
    for entry in store.entries():
        for shard in entry.shards()[:1]:  # none where nothing was computed yet
            model, corpus, given = shard["origin"].values()
            setting = ", ".join(f"{name}={value}" for name, value in given.items() if value != getattr(Setting, name))
            words = sum(one["report"]["words"] for one in entry.shards())
            used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
            state = "complete" if entry.about else "partial"
            listed.append((entry.key, model, corpus, setting, words, round(entry.size / 1e6, 1), used, state))
    return pd.DataFrame(listed, columns=["key", "model", "corpus", "setting", "words", "MB", "used", "state"])


def remove(which: str, base: str = "") -> tuple[int, float]:
    """Remove entries of the store, and tell how many, and how many megabytes, went.

    Args:
        which: A key; `all`; or a study file, which stands for the states of its models and corpora, as they are named
            there, under any setting.
        base: Another base encoder than the study's.

    Raises:
        ValueError: No such entry; or what `study.load` raises.
        BlockingIOError: A process reads or writes one of them.
    """
    known = [entry.key for entry in store.entries()]
    if which.endswith((".yaml", ".yml")):
        loaded, listed = study.load(which, base), stored()
        models = [run.parameters.get("model") for run in study.runs(loaded)]
        known = listed["key"][listed["model"].isin(models) & listed["corpus"].isin(loaded.read_out())].tolist()
    elif which != "all":
        if which not in known:
            raise ValueError(f"the store has no entry {which!r}: `python -m bert_repro states ls` lists them")
        known = [which]
    return len(known), sum(store.Entry(key).remove() for key in known) / 1e6
