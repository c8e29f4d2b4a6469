"""Puts a checkpoint into this folder under a name that `checkpoints.open` knows; its card, README.md, is written by hand.

    python encoders/ship.py build/mini/models/nli-1 small-nli

Weights are kept in half precision. What is recorded of its making says where it came from by name, and leaves out folders of
the machine that it was made on; a base, which nothing here was made before, has no such record.
"""

import json
import sys

import numpy as np

from bert_repro import checkpoints
from bert_repro.checkpoints import SHIPPED, Checkpoint
from bert_repro.files import ROOT, replaced


def ship(source: str, name: str) -> Checkpoint:
    """Write a checkpoint to `encoders/NAME`.

    Args:
        source: A checkpoint reference.
        name: A name of `checkpoints.SHIPPED`.

    Raises:
        ValueError: Another name, or weights that half precision cannot hold; and what `checkpoints.open` raises.
    """
    if name not in SHIPPED:
        raise ValueError(f"{name!r} is none of the names {sorted(SHIPPED)}")
    start = checkpoints.open(source)
    with np.errstate(over="ignore"):  # told below
        weights = {key: array.astype(np.float16) for key, array in start.weights().items()}
    for key, array in weights.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{source}: {key} has values that half precision cannot hold")
    base = name.partition("-")[0]
    record = {} if name == base else start.record | {"base": base}
    folder = ROOT / "encoders" / name
    cards = [path.read_text(encoding="utf-8") for path in folder.glob("README.md")]
    replaced(folder, lambda new: Checkpoint.write(new, start.config, weights, start, record, start.labels))
    for card in cards:
        (folder / "README.md").write_text(card, encoding="utf-8")
    return checkpoints.open(name)


if __name__ == "__main__":
    shipped = ship(*sys.argv[1:])
    print(
        json.dumps(
            {"folder": str(shipped.folder), "record": shipped.record, "weights": shipped.weights_digest}, indent=1
        )
    )
