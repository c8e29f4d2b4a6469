"""Probes: all layers at once beside the published structural probe and scikit-learn's linear one, which know a layer at a time.

    python benchmarks/probes.py [--full] [--model minilm] [--rounds 3]

Sides run in turns, each in a process of its own on one thread, on the same hidden states: quote the ratios, not the seconds. Ours
read the store, as in a study; the others get arrays in memory. The published side is written anew in plain PyTorch (see
`beside/hewitt_manning.py`). `--full` takes all of EWT, and without it a part.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from beside.linear_probe import parts_of_speech
from sides import OTHERS, OURS, TORCH, alternate, options, process, there
from table import Row, write

from bert_repro import corpora, states
from bert_repro.probes import States, treebank

RANK, EPOCHS = 128, 10
FULL, PART = ("ewt:train", "ewt:dev"), ("ewt:train[1600]", "ewt:dev[300]")


def trees(path: Path, model: str, references: tuple[str, ...], layer: int) -> None:
    """Write what the published loop reads, see `laid_out`."""
    read = states.get_all(model, references)
    banks = [treebank.treebank(corpora.treebank(r).items, one.rows) for r, one in zip(references, read, strict=True)]
    np.savez(path, **laid_out(banks, read, layer))


def laid_out(banks: Sequence[treebank.Treebank], read: Sequence[States], layer: int) -> dict[str, np.ndarray]:
    """Lay out words of a layer, to unit mean square as ours brings them, lengths of sentences and distances, of train and dev."""
    arrays: dict[str, np.ndarray] = {}
    for part, bank, one in zip(("train", "dev"), banks, read, strict=True):
        rows = [row + np.arange(length) for row, length in zip(bank.rows, bank.lengths, strict=True)]
        arrays[f"vectors_{part}"] = vectors(one, np.concatenate(rows), layer)
        arrays[f"lengths_{part}"] = bank.lengths
        arrays[f"distances_{part}"] = np.concatenate([d.ravel() for d in bank.distances]).astype(np.float32)
    scale = np.sqrt((arrays["vectors_train"] ** 2).mean())
    return arrays | {f"vectors_{part}": arrays[f"vectors_{part}"] / scale for part in ("train", "dev")}


def words(path: Path, model: str, references: tuple[str, ...], layer: int) -> None:
    """Write what a linear probe of parts of speech reads: words of one layer, and labels by number."""
    arrays, read = {}, states.get_all(model, references)
    for part, one, labelled in zip(("train", "dev"), read, parts_of_speech(references, read), strict=True):
        arrays[f"vectors_{part}"] = vectors(one, labelled.spans[:, 0, 0], layer)
        arrays[f"labels_{part}"] = labelled.gold
    np.savez(path, **arrays)


def vectors(read: States, rows: np.ndarray, layer: int) -> np.ndarray:
    """Read rows of one layer in any order."""
    found, place = np.unique(rows, return_inverse=True)
    return read.vectors(found, [layer])[0][place]


def structural(model: str, references: tuple[str, ...], layers: int, rounds: int, folder: Path) -> list[Row]:
    """Compare an epoch of distance probes, of a layer."""
    given = (model, *references, RANK)
    together, one = ",".join(map(str, range(layers))), str(layers // 2)
    sides = {
        "together": lambda: process(OURS, "structural_probe.py", *given, together),
        "alone": lambda: process(OURS, "structural_probe.py", *given, one),
    }
    if there(TORCH, "the published structural probe"):
        arrays = folder / "trees.npz"
        trees(arrays, model, references, layers // 2)
        sides["published"] = lambda: process(TORCH, "hewitt_manning.py", arrays, RANK, 1)
    took = alternate(sides, rounds)
    of = f"a layer's epoch of distance probes, {{}}, {references[0]}"
    ours = of.format(f"{layers} layers together")
    rows = [Row.of(ours, took["together"], "one layer alone", took["alone"], aim=1)]
    if published := took.get("published"):
        rows.append(Row.of(ours, took["together"], "published loop in PyTorch", published, aim=20))
        rows.append(Row.of(of.format("one layer"), took["alone"], "published loop in PyTorch", published, aim=20))
    return rows


def linear(model: str, references: tuple[str, ...], layers: int, rounds: int, folder: Path) -> list[Row]:
    """Compare linear probes of parts of speech, trained to their end, of a layer; print what they score."""
    if not there(OTHERS, "scikit-learn"):
        return []
    arrays, layer = folder / "words.npz", layers // 2
    words(arrays, model, references, layer)
    together = ",".join(map(str, range(layers)))
    took = alternate(
        {
            "ours": lambda: process(OURS, "linear_probe.py", model, *references, EPOCHS, together),
            "theirs": lambda: process(OTHERS, "scikit_probe.py", arrays),
        },
        rounds,
    )
    mine, other = took["ours"].values["accuracy"][layer], took["theirs"].values["accuracy"]
    print(f"parts of speech in layer {layer} of {references[1]}: accuracy {mine:.3f}, scikit-learn {other:.3f}")
    ours = f"a layer's linear probe of parts of speech, {layers} layers together, {references[0]}"
    return [Row.of(ours, took["ours"], "scikit-learn, logistic regression of one layer", took["theirs"], aim=1)]


def main() -> None:
    given = options(__doc__)
    references = FULL if given.full else PART
    layers = states.get_all(given.model, references)[0].layers
    with tempfile.TemporaryDirectory() as folder:
        about = given.model, references, layers, given.rounds, Path(folder)
        write("structural probe", structural(*about), given.full)
        write("linear probe", linear(*about), given.full)


if __name__ == "__main__":
    main()
