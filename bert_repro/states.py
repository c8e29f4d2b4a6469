"""Hidden states: hides the encoder pass and the store; gives, for every word of a corpus, its vector in every layer.

It refuses to compute anything twice. States are kept under a key of everything they depend on, in shards of sentences
that appear only when complete; a killed job goes on at the shard it was at. Reading needs no TensorFlow: where states are
missing, `get` has them made by a process of its own and then maps the files.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock
from jaxtyping import Float, Int
from tqdm import tqdm

from bert_repro import alignment, checkpoints, corpora, similarity
from bert_repro.study import cache_folder

FORMAT = 2
SHARD = 1024  # sentences
BATCH = 4096  # wordpieces, padding included


@dataclass(frozen=True)
class Setting:
    """Everything the states depend on beside weights, tokenizer and corpus."""

    max_length: int = 512
    pooling: str = "mean"  # or "first": the first piece of a word
    dtype: str = "float16"

    def __post_init__(self) -> None:
        if self.pooling not in ("mean", "first"):
            raise ValueError(f"pooling must be 'mean' or 'first', got {self.pooling!r}")
        if self.dtype not in ("float16", "float32"):
            raise ValueError(f"dtype must be 'float16' or 'float32', got {self.dtype!r}")


class HiddenStates:
    """The states of one corpus under one checkpoint: `layers x words x hidden`, mapped from disk.

    Attributes:
        rows: One line per word or special token, in order; columns as `alignment.align` gives them.
        layers: The number of states: blocks + 1.
        hidden: The width of a state.
        inputs: Checksums of weights, tokenizer and corpus, for manifests.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        about = json.loads((folder / "about.json").read_text())
        self.layers, self.hidden = int(about["layers"]), int(about["hidden"])
        self.report, self.inputs = alignment.Report(**about["report"]), dict(about["inputs"])
        self._shards = [(start, stop, folder / name) for start, stop, name in about["shards"]]

    @cached_property
    def rows(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "rows.parquet")

    @cached_property
    def bounds(self) -> Int[np.ndarray, " boundaries"]:
        """First row of every encoded sentence, and the number of rows at the end."""
        sentence = self.rows["sentence"].to_numpy()
        return np.flatnonzero(np.r_[True, sentence[1:] != sentence[:-1], True])

    @cached_property
    def _maps(self) -> list[tuple[int, int, np.ndarray]]:
        return [(start, stop, np.load(path, mmap_mode="r")) for start, stop, path in self._shards]

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
        total = self._shards[-1][1]
        if len(rows) and (rows[0] < 0 or rows[-1] >= total or (np.diff(rows) <= 0).any()):
            raise ValueError(f"rows must ascend, each once, between 0 and {total - 1}; got {rows[0]} .. {rows[-1]}")
        result = np.empty((len(chosen), len(rows), self.hidden), np.float32)
        for start, stop, shard in self._maps:
            low, high = np.searchsorted(rows, [start, stop])
            if low == high:
                continue
            if rows[high - 1] - rows[low] == high - 1 - low:  # one stretch: a slice instead of a gather
                wanted: slice | np.ndarray = slice(rows[low] - start, rows[high - 1] - start + 1)
            else:
                wanted = rows[low:high] - start
            for i, layer in enumerate(chosen):
                result[i, low:high] = shard[layer, wanted]
        return result


def get(model: str, corpus: str, setting: Setting | None = None) -> HiddenStates:
    """Give the states of a corpus under a checkpoint, computed now if nobody did before.

    Args:
        model: A checkpoint reference, see `checkpoints.resolve`.
        corpus: A corpus reference, see `corpora.load`.
        setting: Length limit, pooling and precision; the defaults where not given.
    """
    return get_all(model, [corpus], setting)[0]


def get_all(model: str, wanted: Sequence[str], setting: Setting | None = None) -> list[HiddenStates]:
    """Give the states of several corpora; those missing are computed by one process."""
    setting = setting or Setting()
    places = [_place(model, corpora.load(reference), setting) for reference in wanted]
    missing = [
        reference for reference, place in zip(wanted, places, strict=True) if not (place / "about.json").is_file()
    ]
    if missing:
        options = ["--max-length", str(setting.max_length), "--pooling", setting.pooling, "--dtype", setting.dtype]
        _compute_apart([model, *missing, *options])
    return [HiddenStates(place) for place in places]


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


def _place(model: str, corpus: corpora.Corpus, setting: Setting) -> Path:
    folder = checkpoints.resolve(model)
    parts = [
        checkpoints.weights_digest(folder),
        checkpoints.tokenizer_digest(folder),
        corpus.digest,
        repr(setting),
        FORMAT,
        SHARD,
    ]
    return cache_folder() / "states" / hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:20]


def compute(model: str, wanted: Sequence[str], setting: Setting) -> None:
    """Compute and store the states of corpora under a checkpoint; what is there already is left alone.

    A second process that wants the same states waits, and then finds them.

    Raises:
        ValueError: A corpus of which no sentence fits the length limit, or a limit the encoder does not have.
    """
    folder = checkpoints.resolve(model)
    config = checkpoints.read_config(folder)
    if not 4 <= setting.max_length <= config.max_position_embeddings:
        raise ValueError(
            f"max_length must lie between 4 and {config.max_position_embeddings} for {model}, got {setting.max_length}"
        )
    encoder = None
    for reference in wanted:
        corpus = corpora.load(reference)
        place = _place(model, corpus, setting)
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock"):
            if (place / "about.json").is_file():
                continue
            tokenizer = checkpoints.load_tokenizer(folder)
            inputs, rows, report = alignment.align(tokenizer, corpus.items, setting.max_length)
            if not inputs:
                raise ValueError(f"no item of {reference} fits into {setting.max_length} pieces")
            if encoder is None:
                from bert_repro import encoder as network  # TensorFlow starts here

                encoder = network.build(config, checkpoints.read_weights(folder))
                encoder.compile(jit_compile=False)
            shards = _write_shards(place, encoder, inputs, setting, f"{model} {reference}")
            digests = {
                "weights": checkpoints.weights_digest(folder),
                "tokenizer": checkpoints.tokenizer_digest(folder),
                "corpus": corpus.digest,
            }
            about = {
                "layers": config.num_hidden_layers + 1, "hidden": config.hidden_size, "shards": shards,
                "report": asdict(report), "inputs": digests, "setting": asdict(setting), "model": model, "reference": reference,
            }  # fmt: skip
            _atomically(place / "rows.parquet", lambda path, rows=rows: rows.to_parquet(path, index=False))
            _atomically(place / "about.json", lambda path, about=about: path.write_text(json.dumps(about, indent=1)))


def _write_shards(
    place: Path, encoder, inputs: list[alignment.Aligned], setting: Setting, label: str
) -> list[tuple[int, int, str]]:
    shards, start = [], 0
    pieces = sum(len(one.token_ids) for one in inputs)
    with tqdm(total=pieces, unit=" pieces", unit_scale=True, desc=label, mininterval=1) as bar:
        for number, first in enumerate(range(0, len(inputs), SHARD)):
            some = inputs[first : first + SHARD]
            rows = sum(len(one.starts) for one in some)
            name = f"{number:05d}.npy"
            if not (place / name).is_file():
                vectors = _encode(encoder, some, setting)
                _atomically(place / name, lambda path, vectors=vectors: _save(path, vectors))
            shards.append((start, start + rows, name))
            start += rows
            bar.update(sum(len(one.token_ids) for one in some))
    return shards


def _encode(encoder, inputs: list[alignment.Aligned], setting: Setting) -> np.ndarray:
    """Run the encoder over inputs of similar length together; pool the pieces of each word; put the rows back in order."""
    from bert_repro.encoder import pad

    offsets = np.cumsum([0, *(len(one.starts) for one in inputs)])
    by_length = sorted(range(len(inputs)), key=lambda i: len(inputs[i].token_ids))
    result = np.empty((len(encoder.outputs), offsets[-1], encoder.outputs[0].shape[-1]), setting.dtype)
    while by_length:
        count = max(1, BATCH // (len(inputs[by_length[-1]].token_ids) + 7))
        batch, by_length = by_length[-count:], by_length[:-count]
        token_ids, mask = pad([inputs[i].token_ids for i in batch], limit=setting.max_length)
        segment_ids, _ = pad([inputs[i].segment_ids for i in batch], limit=setting.max_length)
        states = encoder.predict_on_batch({"token_ids": token_ids, "segment_ids": segment_ids, "mask": mask})
        lengths = mask.sum(1)
        ends = np.cumsum(lengths)
        starts = np.concatenate(
            [inputs[i].starts + end - length for i, end, length in zip(batch, ends, lengths, strict=True)]
        )
        pieces = np.diff(np.r_[starts, ends[-1]])
        target = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in batch])
        real = mask.astype(bool)
        for layer, state in enumerate(states):
            vectors = np.asarray(state)[real]
            if setting.pooling == "mean":
                pooled = np.add.reduceat(vectors, starts, axis=0) / pieces[:, None]
            else:
                pooled = vectors[starts]
            result[layer, target] = pooled
    return result


def _save(path: Path, vectors: np.ndarray) -> None:
    with path.open("wb") as stream:  # given a path, np.save would add a suffix to it
        np.save(stream, vectors)


def _atomically(path: Path, save) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sample(
    models: Sequence[str],
    wanted: Sequence[str],
    *,
    words: int,
    seed: int,
    layers: Sequence[int] | None = None,
    setting: Setting | None = None,
) -> list[similarity.Sample]:
    """Draw words of several corpora, and read their vectors under one model or more.

    Args:
        models: Checkpoint references; all of them see the same words.
        wanted: Corpus references.
        words: How many words to draw from each, in whole sentences.
        seed: Of the draw.
        layers: Layers to read, all by default.
        setting: Length limit, pooling and precision.

    Raises:
        ValueError: Fewer words than asked for, models that were given different words, or a layer out of range.
    """
    everything = [get_all(model, wanted, setting) for model in models]
    samples = []
    for reference, of_models in zip(wanted, zip(*everything, strict=True), strict=True):
        for other in of_models[1:]:
            similarity.check_in_step(of_models[0].rows, other.rows)
        rows = similarity.sample_words(of_models[0].rows, words, seed)
        sentence = np.unique(of_models[0].rows["sentence"].to_numpy()[rows], return_inverse=True)[1]
        where = corpora.locate(reference)
        key = f"{of_models[0].inputs['corpus']}/{words}/{seed}"
        samples.append(
            similarity.Sample(
                where.name, where.split, key, sentence, tuple(one.vectors(rows, layers) for one in of_models)
            )
        )
    return samples


def stored() -> pd.DataFrame:
    """List what the store holds, with sizes in megabytes."""
    listed = []
    for about in sorted((cache_folder() / "states").glob("*/about.json")):
        content = json.loads(about.read_text())
        size = sum(p.stat().st_size for p in about.parent.iterdir()) / 1e6
        listed.append((about.parent.name, content["model"], content["reference"], round(size, 1)))
    return pd.DataFrame(listed, columns=["key", "model", "corpus", "MB"])


def remove(key: str) -> None:
    """Remove one entry of the store, or all with the key `all`.

    Raises:
        ValueError: No such entry.
    """
    keys = stored()["key"].tolist() if key == "all" else [key]
    for one in keys:
        place = cache_folder() / "states" / one
        if not one or one in (".", "..") or "/" in one or not place.is_dir():
            raise ValueError(f"the store has no entry {one!r}: `python -m bert_repro states ls` lists them")
        shutil.rmtree(place)
