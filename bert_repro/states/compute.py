"""Computing hidden states: runs the encoder over what the store lacks, shard by shard.

Limits that the encoder does not have, and values that the chosen precision cannot hold, are errors.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from bert_repro import alignment, checkpoints, corpora, states
from bert_repro.checkpoints import Checkpoint
from bert_repro.states import store


def compute(
    model: str,
    wanted: Sequence[str],
    setting: states.Setting,
    part: int = 1,
    of: int = 1,
    only: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Compute and store the states of corpora under a checkpoint; what is there already is left alone.

    A second process that wants the same states waits, and then finds them. To share a large corpus out among processes or
    machines with one store, give each a part of its own: whoever is last completes the entry.

    Args:
        model: A checkpoint reference.
        wanted: Corpus references.
        setting: Length limit, pooling, precision and what is done with pairs.
        part: Which part of the shards is computed, from 1.
        of: How many parts there are.
        only: For some corpora, the sentences that vectors are computed for, see `states.get_all`.

    Raises:
        ValueError: A corpus of which no sentence fits the length limit, a limit the encoder does not have, values that
            the precision asked for cannot hold, or a part that there is not.
        OSError: The disk is full, or the store would outgrow its cap.
    """
    if not 1 <= part <= of:
        raise ValueError(f"part {part} of {of} there is not: give the first as 1/{max(of, 1)}")
    encoder = _Encoder(checkpoints.open(model), setting)
    for reference, entry in zip(wanted, states.entries(encoder.checkpoint, wanted, setting, only), strict=True):
        with entry.lock_of(part, of):
            if not entry.mend():
                if found := checkpoints.misfit(encoder.checkpoint, reference):
                    print(f"Warning: {found}.", file=sys.stderr)
                _complete(entry, encoder, reference, part, of, (only or {}).get(reference))


def compute_all(
    model: str, missing: Sequence[tuple[Sequence[str], states.Setting, Mapping[str, Sequence[int]]]]
) -> None:
    """Compute and store several lots of corpora, each with a setting and draws of its own; errors as in `compute`."""
    for wanted, setting, only in missing:
        compute(model, wanted, setting, only=only)


class _Encoder:
    """A checkpoint that turns items into vectors; TensorFlow starts with the first of them."""

    def __init__(self, checkpoint: Checkpoint, setting: states.Setting):
        self.checkpoint, self.setting = checkpoint, setting
        model, most = checkpoint.reference, checkpoint.config.max_length
        if not 4 <= setting.max_length <= most:
            raise ValueError(f"max_length must lie between 4 and {most} for {model}, got {setting.max_length}")

    @property
    def network(self) -> Any:
        return _network(self.checkpoint.reference, self.checkpoint.weights_digest)

    def encode(
        self, items: list[Any], position: int, only: Sequence[int] | None
    ) -> tuple[np.ndarray, pd.DataFrame, dict[str, Any]]:
        """Give the vectors of a shard, what its rows are, and what is to be recorded of it."""
        from bert_repro.encoder import extract

        inputs, rows, report = alignment.align(self.checkpoint.tokenizer, items, self.setting.max_length)
        rows["sentence"] += position
        facts = {"items": len(items), "inputs": len(inputs), "report": asdict(report)}
        if only is not None:
            inputs = [inputs[n] for n in np.flatnonzero(np.isin(rows["sentence"].unique(), only))]
            facts |= {"drawn": len(inputs), "vectors": int(rows["sentence"].isin(only).sum())}
        vectors = extract(self.network, inputs, self.setting.pooling, self.setting.dtype)
        for layer, of_layer in enumerate(vectors):
            if not np.isfinite(of_layer).all():
                raise ValueError(
                    f"layer {layer} of {self.checkpoint.reference} has values that {self.setting.dtype} cannot hold: use dtype float32, "
                    "or other weights if that does not help"
                )
        return vectors, rows, facts


@lru_cache(maxsize=1)
def _network(model: str, weights: str) -> Any:
    """Build an encoder, which takes seconds: once for all settings of the same weights."""
    from bert_repro import encoder

    checkpoint = checkpoints.open(model)
    return encoder.compiled(encoder.build(checkpoint.config, checkpoint.check()))


def _complete(
    entry: store.Entry, encoder: _Encoder, reference: str, part: int, of: int, only: Sequence[int] | None
) -> None:
    """Write what an entry lacks, or the part of it that is this process's."""
    checkpoint, setting, census = encoder.checkpoint, encoder.setting, corpora.census(reference)
    model, config = checkpoint.reference, checkpoint.config
    origin = {"model": model, "corpus": reference, "setting": asdict(setting)}
    made_for = {"made_for": owner} if (owner := os.environ.get(states.OWNER)) else {}
    layers, hidden = config.num_hidden_layers + 1, config.hidden_size
    share = 1 if only is None else len(only) / census.items
    entry.expect(round(share * census.words) * layers * hidden * np.dtype(setting.dtype).itemsize)
    there, position, number = {shard["number"] for shard in entry.shards()}, 0, -1
    with tqdm(total=census.words, unit=" words", unit_scale=True, desc=f"{model} {reference}", mininterval=1) as bar:
        for number, items in enumerate(_shards(reference, setting)):
            if number not in there and number % of == part - 1:
                vectors, rows, facts = encoder.encode(items, position, only)
                entry.write(number, vectors, rows, facts | {"origin": origin} | made_for)
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
    about |= {"digests": states.digests(checkpoint, reference), "left_out": census.left_out, "report": asdict(report)}
    entry.finish(len(shards), about | totals)


def _shards(reference: str, setting: states.Setting) -> Iterator[list[Any]]:
    """Cut a corpus into shards, while reading it."""
    items: list[Any] = []
    words = 0
    for item in corpora.stream(reference):
        apart = setting.pairs == "apart" and isinstance(item, corpora.Pair)
        items += corpora.sides(item) if apart else [item]
        words += corpora.size(item)
        if words >= states.SHARD:
            yield items
            items, words = [], 0
    if items:
        yield items


if __name__ == "__main__":  # the process that `states.get` starts: progress goes to stderr, what went wrong to stdout
    given_model, missing = json.loads(sys.argv[1])
    try:
        compute_all(given_model, [(wanted, states.Setting(**setting), only) for wanted, setting, only in missing])
    except (ValueError, OSError, RuntimeError) as error:
        print(" ".join(str(error).split()))
        sys.exit(1)
