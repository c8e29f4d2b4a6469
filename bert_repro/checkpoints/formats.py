"""Weights from files of all formats, as float32 where they are floating point, with PyTorch's names and orientation.

Files that are damaged, incomplete or contradictory, pickles that hold more than tensors, and adapters are errors.
"""

import importlib.util
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

Tensors = Iterator[tuple[str, np.ndarray]]

ADAPTER = "adapter_config.json"
"""What shows that the weights of a repository or folder are changes of another model's, as peft saves them."""
_MERGED_AS = {
    "SEQ_CLS": "SequenceClassification", "QUESTION_ANS": "QuestionAnswering", "TOKEN_CLS": "TokenClassification",
    "FEATURE_EXTRACTION": "FeatureExtraction",
}  # fmt: skip

DEQUANTISE = (
    "supported are weights in floating point of 16 bits and more; load it where it comes from, model.dequantize() and "
    "model.save_pretrained, or give the checkpoint from before"
)
"""What to do with quantised weights."""
TO_SAFETENSORS = (
    "import pathlib, sys, torch; from safetensors.torch import save_file; folder = pathlib.Path(sys.argv[1]); "
    'save_file({k: v.clone().contiguous() for p in folder.glob("pytorch_model*.bin") '
    'for k, v in torch.load(p, map_location="cpu", weights_only=True).items()}, '
    'folder / "model.safetensors", {"format": "pt"})'
)
"""A program for another environment, which has PyTorch: turns the pickles of a folder into model.safetensors."""


def choose(names: Iterable[str]) -> list[str]:
    """Choose, of the files of a checkpoint, those that its weights are read from.

    Args:
        names: File names relative to the checkpoint, of a folder or of a hub listing; those in subfolders do not count.

    Returns:
        The names of one format, sorted: safetensors before h5, TF 1 and pickles; empty where there is none.
    """
    return _format(names)[1]


def is_adapter(names: Iterable[str]) -> bool:
    """Return whether the files of a checkpoint are those of an adapter alone; `names` as in `choose`."""
    names = list(names)
    return ADAPTER in names and not choose(names)


def adapter(name: str, described: Path) -> ValueError:
    """Say of an adapter which model it belongs to, and how the two become a checkpoint.

    Args:
        name: What it was given as.
        described: Its adapter_config.json.
    """
    try:
        about = json.loads(described.read_text(encoding="utf-8"))
        base, task = about.get("base_model_name_or_path") or about.get("model_name"), str(about.get("task_type"))
    except (ValueError, AttributeError, RecursionError):  # damaged, or no object: an adapter all the same
        base, task = None, ""
    merging = f"peft.AutoPeftModel{f'For{_MERGED_AS[task]}' if task in _MERGED_AS else ''}.from_pretrained({name})"
    return ValueError(
        f"{name} is an adapter of {repr(base) if base else 'a model that it does not name'}, no checkpoint: merge the two "
        f"(in Python, {merging}.merge_and_unload().save_pretrained('merged')), save the tokenizer beside it, and give "
        "that folder"
    )


def read(folder: Path) -> dict[str, np.ndarray]:
    """Read all that is stored as weights in a checkpoint folder, whatever the file format.

    Returns:
        Arrays by their PyTorch name, with whatever prefix is stored: kernels `out x in`; what is in floating point as float32,
        other numbers (buffers such as position_ids, or quantised weights) as they are.

    Raises:
        ValueError: No weights, a file that is damaged or missing, two checkpoints in one folder, one weight with two
            values, or a pickle where there is no PyTorch to read it.
    """
    heads, files, tensors = _format(path.name for path in folder.iterdir() if path.is_file())
    if not heads:
        raise ValueError(
            f"{folder} has no weights: expected model.safetensors, tf_model.h5, bert_model.ckpt.index with its "
            "bert_model.ckpt.data-*, or pytorch_model.bin; of the first and the last also shards with their .index.json"
        )
    if len(heads) > 1:
        raise ValueError(f"{folder} has the weights of several checkpoints, {heads}: keep those of one")
    head = folder / heads[0]
    weights: dict[str, np.ndarray] = {}
    for stored_name, stored in _of_shards(head, files, tensors) if head.suffix == ".json" else tensors(head):
        name = re.sub(r"\bgamma$", "weight", re.sub(r"\bbeta$", "bias", stored_name))
        array = np.asarray(stored, np.float32 if is_float(stored) else None, order="C")
        if name in weights and not np.array_equal(weights[name], array, equal_nan=True):
            raise ValueError(
                f"{head} has two different weights {name!r}: one of them is wrong; fetch the checkpoint again"
            )
        weights[name] = array
    return weights


def is_float(array: np.ndarray) -> bool:
    """Return whether an array is in floating point of any precision."""
    return "float" in array.dtype.name


def write(arrays: Mapping[str, np.ndarray], path: Path, metadata: dict[str, str]) -> None:
    """Write arrays as safetensors.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    try:
        save_file({key: np.asarray(array, order="C") for key, array in arrays.items()}, path, metadata)
    except SafetensorError as error:  # which hides what the system said in a text
        size = sum(array.nbytes for array in arrays.values()) / 1e6
        raise OSError(
            f"cannot write {path} ({size:.0f} MB): {error}; free space there, or choose another folder"
        ) from None


def _of_shards(index: Path, files: list[str], tensors: Callable[[Path], Tensors]) -> Tensors:
    """Read the shards that an index names; `files` are those it may name, so that it leads nowhere else."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(places.values()))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{index} is damaged or no index: expected JSON with a 'weight_map' from weights to file names, "
            f"got {error!r}; fetch the checkpoint again"
        ) from None
    if foreign := [shard for shard in shards if shard not in files]:
        raise ValueError(
            f"{index} names {foreign}, which are not shards next to it: expected file names such as "
            "model-00001-of-00002.safetensors; fetch the checkpoint again"
        )
    for shard in shards:
        missing = {name for name, place in places.items() if place == shard}
        for name, array in tensors(index.parent / shard):
            missing.discard(name)
            yield name, array
        if missing:
            raise ValueError(
                f"{index.parent / shard} has no {min(missing)!r}, which {index.name} places there; fetch the checkpoint again"
            )


def _damaged(path: Path, kind: str, error: Exception) -> ValueError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ValueError(f"{path} is damaged or no {kind}: {reason}; fetch the checkpoint again")


def _safetensors(path: Path) -> Tensors:
    try:
        with safe_open(path, "np") as stored:
            for name in stored.keys():  # noqa: SIM118, it is no mapping
                kind = stored.get_slice(name).get_dtype()
                if kind == "BF16":
                    import ml_dtypes  # noqa: F401, NumPy learns bfloat16 from it
                elif re.match("F[468]_", kind):  # eight bits or fewer
                    raise ValueError(f"{path} has {name!r} as {kind}, quantised: {DEQUANTISE}")
                yield name, stored.get_tensor(name)
    except (
        SafetensorError,
        TypeError,
        AttributeError,
        LookupError,
        OverflowError,
    ) as error:  # for types that NumPy has not
        raise _damaged(path, "safetensors file", error) from None


def _h5(path: Path) -> Tensors:
    """Read what transformers' TensorFlow classes saved: datasets `layer/model/name/of/the/variable:0`."""
    import h5py

    names: list[str] = []
    try:
        with h5py.File(path, "r") as stored:
            # not by the attributes that list the weights: long ones are split, and say no more than the paths
            stored.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            for name in names:
                yield _from_tensorflow(name.removesuffix(":0").split("/", 2)[-1], stored[name][()])
    except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
        raise _damaged(path, "h5 file", error) from None


def _tf1(path: Path) -> Tensors:
    import tensorflow as tf

    try:
        stored = tf.train.load_checkpoint(str(path.with_suffix("")))
        names = stored.get_variable_to_shape_map()
        for name in names:
            if name.rpartition("/")[0] not in names:  # a variable below another is a slot of the optimizer
                yield _from_tensorflow(name, np.asarray(stored.get_tensor(name)))
    except (tf.errors.OpError, LookupError, RuntimeError, ValueError) as error:
        raise _damaged(path, "TF 1 checkpoint", error) from None


def _from_tensorflow(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Rename a variable as PyTorch has it, and turn a kernel from `in x out` to `out x in`.

    Items of a list are `layer_._0` in transformers and `layer_0` in TF 1; `mlm___cls` says that PyTorch has it as `cls`.
    """
    if name.endswith("/kernel"):
        array = array.T
    name = re.sub(r"[^/]*___", "", re.sub(r"_\._|(?<=/layer)_(?=\d)", "/", name)).replace("/", ".")
    name = re.sub(r"\.(kernel|embeddings|output_weights)$|(?<=_embeddings)$", ".weight", name)
    return name.replace(".output_bias", ".bias"), array


def _pickle(path: Path) -> Tensors:
    if importlib.util.find_spec("torch") is None:
        command = shlex.join(["python", "-c", TO_SAFETENSORS, str(path.parent.absolute())])
        raise ValueError(
            f"{path} is a pickle, which PyTorch reads and this environment does not have. Either install torch here, "
            f"or run this once in an environment with torch and safetensors: {command}"
        )
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the bytes of a pickle are instructions, and damaged ones may fail in any way
        raise ValueError(  # without PyTorch's own words: they advise to let the file run its code
            f"{path} is damaged, or a pickle that wants to run code, which is refused ({type(error).__name__}): "
            "fetch it again, or take the checkpoint's model.safetensors"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ValueError(
            f"{path} is not a state dict: expected tensors by name, got {type(state).__name__} of other things"
        )
    for name in list(state):
        tensor = state.pop(name)
        yield name, (tensor.detach().float() if tensor.is_floating_point() else tensor).numpy()


_FORMATS: tuple[tuple[str, str, Callable[[Path], Tensors]], ...] = (
    (r"model\.safetensors", "", _safetensors),
    (r"model\.safetensors\.index\.json", r"model-\d{5}-of-\d{5}\.safetensors", _safetensors),
    (r"tf_model\.h5", "", _h5),
    (r"[^/]+\.ckpt(-\d+)?\.index", r"[^/]+\.ckpt(-\d+)?\.data-\d{5}-of-\d{5}", _tf1),
    (r"pytorch_model\.bin", "", _pickle),
    (r"pytorch_model\.bin\.index\.json", r"pytorch_model-\d{5}-of-\d{5}\.bin", _pickle),
)
"""By preference: the file that shows the format, those that go with it, and what reads one file of tensors."""


def _format(names: Iterable[str]) -> tuple[list[str], list[str], Callable[[Path], Tensors]]:
    """Find the preferred format: the files that show it, all of its files, and its reader."""
    names = sorted(names)
    for head, parts, tensors in _FORMATS:
        if heads := [name for name in names if re.fullmatch(head, name)]:
            return heads, [name for name in names if name in heads or re.fullmatch(parts, name)], tensors
    return [], [], lambda path: iter(())
