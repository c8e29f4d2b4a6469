"""Parity with PyTorch: every family in every form of checkpoint, layer by layer; writes results/parity.csv.

    python benchmarks/parity.py

Reference values come from PyTorch's transformers in an environment of its own, see the message where it is missing. The same
comparison is a test (tests/test_encoder.py). Encoders are small and random, their weights drawn wide.
"""

import hashlib
import json
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import tensorflow as tf
from safetensors.numpy import load_file

from bert_repro import encoder
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.families import weight_table
from bert_repro.files import ROOT

TORCH = ROOT / ".venv-torch" / "bin" / "python"
RECORD = ROOT / "tests" / "data" / "record_reference.py"
KINDS = {"padded": "two sentences, one padded", "pair": "a pair", "long": "as long as there are positions"}


def reference(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Read a file of record_reference.py: the weights, and for each kind of input what went in and came out."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, array in load_file(path).items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = array
    return groups


def differences(model, recorded: Mapping[str, Mapping[str, np.ndarray]], kind: str) -> np.ndarray:
    """Give the largest difference of each layer from the reference, over the real pieces that were recorded."""
    given = recorded[kind]
    states = model({name: given[name] for name in ("token_ids", "segment_ids", "mask")})
    places = given["places"]
    ours = np.stack([np.asarray(state)[:, places] for state in states[: len(given["states"])]])
    assert ours.shape == given["states"].shape
    return np.abs(ours - given["states"])[:, given["mask"][:, places] == 1].max((1, 2))


def forms(folder: Path, family: str) -> Iterator[tuple[str, Path]]:
    """List the checkpoints of a family, those that transformers saved first; make the others from them."""
    saved = folder / family
    for form in sorted(path.name for path in saved.iterdir()):
        if form == "pickle":  # where there is no PyTorch, the error tells how to convert it
            try:
                Checkpoint(saved / form).weights()
            except ValueError as error:
                _, program, words = str(error).partition("python -c ")
                subprocess.run([str(TORCH), *shlex.split(program + words)[1:]], check=True, capture_output=True)
        yield (
            {"pickle": "pytorch_model.bin, converted", "sharded": "safetensors, in shards"}.get(
                form, f"safetensors, {form}"
            ),
            saved / form,
        )
    stored = load_file(saved / "Model" / "model.safetensors")
    writers = {"tf_model.h5": _write_h5} | ({"TF 1": _write_tf1} if family == "bert" else {})
    for form, write in writers.items():
        target = saved / form
        target.mkdir()
        (target / "config.json").write_text((saved / "Model" / "config.json").read_text())
        write(target, stored)
        yield form, target
    target = saved / "ours"
    target.mkdir()
    config, weights = Checkpoint(saved / "Model").config, Checkpoint(saved / "Model").weights()
    weights["head.classifier.kernel"] = np.ones((config.hidden_size, 3), np.float32)  # as after fine-tuning
    Checkpoint.write(target, config, weights, record={"task": "nli"})
    yield "as this package writes it", target


def _write_h5(folder: Path, stored: Mapping[str, np.ndarray]) -> None:
    """Write weights as the TensorFlow classes of transformers did (see tests/data/record_h5.py)."""
    with h5py.File(folder / "tf_model.h5", "w") as file:
        for name, array in _as_tensorflow(stored, item="_._", embedding="/weight"):
            file[f"bert/tf_bert_model/bert/{name}:0"] = array


def _write_tf1(folder: Path, stored: Mapping[str, np.ndarray]) -> None:
    """Write weights as Google's BERT repository did, with what its optimizer left."""
    arrays = {f"bert/{name}": array for name, array in _as_tensorflow(stored, item="_", embedding="")}
    arrays |= {f"{name}/adam_m": np.zeros_like(array) for name, array in arrays.items()}
    tf.raw_ops.SaveV2(
        prefix=str(folder / "bert_model.ckpt"), tensor_names=list(arrays), shape_and_slices=[""] * len(arrays),
        tensors=[tf.constant(array) for array in arrays.values()],
    )  # fmt: skip


def _as_tensorflow(stored: Mapping[str, np.ndarray], item: str, embedding: str) -> Iterator[tuple[str, np.ndarray]]:
    """Name and turn weights as TensorFlow has them; `item` is what joins a list and a number, as in `layer_._0`."""
    for key, array in stored.items():
        name = re.sub(r"layer/(?=\d)", f"layer{item}", key.replace(".", "/"))
        name = re.sub(r"_embeddings/weight$", f"_embeddings{embedding}", name)
        if "norm" in name.lower():
            name = name.replace("/weight", "/gamma").replace("/bias", "/beta")
        elif "_embeddings" not in name and name.endswith("/weight"):
            name, array = name.replace("/weight", "/kernel"), array.T
        yield name, array


def live(folder: Path) -> pd.DataFrame:
    """Run PyTorch now and compare.

    Args:
        folder: An empty folder to work in.

    Returns:
        The largest difference over layers, one row for each family, form and kind of input; for the form that this package
        writes also what PyTorch makes of it.
    """
    subprocess.run([str(TORCH), str(RECORD), str(folder), "--checkpoints"], check=True, capture_output=True)
    rows, written = [], []
    for path in sorted(folder.glob("*.safetensors")):
        recorded = reference(path)
        # a form of the same shape and weights, to the last bit, gives the same states
        built: dict[str, list[float]] = {}
        for form, target in forms(folder, path.stem):
            config, weights = Checkpoint(target).config, Checkpoint(target).weights()
            parts = [repr(config).encode(), *(weights[weight.key].tobytes() for weight in weight_table(config))]
            key = hashlib.sha256(b"".join(parts)).hexdigest()
            if key not in built:
                model = encoder.build(config, weights)
                built[key] = [float(differences(model, recorded, kind).max()) for kind in KINDS]
            rows += [(path.stem, form, kind, largest) for kind, largest in zip(KINDS, built[key], strict=True)]
        written.append(str(folder / path.stem / "ours"))
    said = subprocess.run([str(TORCH), str(RECORD), str(folder), "--load", *written], check=True, capture_output=True)
    for family, kind, largest in json.loads(said.stdout):
        rows.append((family, "as this package writes it, loaded by PyTorch", kind, largest))
    return pd.DataFrame(rows, columns=["family", "checkpoint", "inputs", "largest difference"])


def main() -> None:
    """Compare and write the table."""
    if not TORCH.is_file():
        print("PyTorch: python3 -m venv .venv-torch && .venv-torch/bin/pip install torch==2.13.0 'transformers>=5,<6'")
        return
    with tempfile.TemporaryDirectory() as folder:
        table = live(Path(folder))
    table["inputs"] = table["inputs"].map(KINDS)
    table.to_csv(ROOT / "results" / "parity.csv", index=False, float_format="%.1e")
    print(table.pivot(index=["family", "checkpoint"], columns="inputs", values="largest difference").to_string())


if __name__ == "__main__":
    main()
