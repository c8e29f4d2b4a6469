"""A checkpoint's folder: hides the Hugging Face layout; reads and writes config, weights and tokenizer, and identifies them.

It refuses what is no encoder of BERT's family, and weights whose shape or values are wrong.
"""

import hashlib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from bert_repro.checkpoints import formats
from bert_repro.checkpoints.families import Config, from_raw, to_raw, weight_table
from bert_repro.checkpoints.hub import CONFIG_FILES, TOKENIZER_FILES
from bert_repro.files import sha256

# in a notebook, tqdm would ask for Jupyter widgets as soon as transformers or the hub import it; bars are plain text here
warnings.filterwarnings("ignore", message="IProgress not found")

SPECIAL = {
    "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"
}  # fmt: skip
"""BERT's special tokens by their role, in the order of their numbers from 0, in the vocabularies made here."""


def read_config(folder: Path) -> Config:
    """Read the config of a checkpoint folder.

    Raises:
        ValueError: No config.json, or not that of a supported encoder; see `families.from_raw`.
    """
    path, raw = _raw_config(folder)
    return from_raw(raw, path)


def _raw_config(folder: Path) -> tuple[Path, dict[str, Any]]:
    path = next((folder / name for name in CONFIG_FILES if (folder / name).is_file()), None)
    if path is None:
        raise ValueError(f"{folder} is no checkpoint: it has no config.json")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON, or of UTF-8
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError(f"{path} is no config: expected a JSON object, got {type(raw).__name__}")
    return path, raw


def record(folder: Path) -> dict[str, Any]:
    """Give the table columns that say how a checkpoint was made (task, seed, updates); empty for a base encoder."""
    return dict(_raw_config(folder)[1].get("bert_repro", {}))


def labels(folder: Path) -> tuple[str, ...]:
    """Give the names of what a checkpoint's task head tells apart, in the order of its outputs; empty where it names none.

    Raises:
        ValueError: The numbers of its `id2label` do not count from 0.
    """
    path, raw = _raw_config(folder)
    named = raw.get("id2label") or {}
    if not isinstance(named, dict) or sorted(named, key=str) != sorted(map(str, range(len(named))), key=str):
        raise ValueError(f"{path}: id2label must name the outputs 0, 1, ... of the task head, got {named!r}")
    return tuple(str(named[str(n)]) for n in range(len(named)))


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Read all weights of a checkpoint, the encoder's without the prefix that a task model gives them (`bert.`).

    Raises:
        ValueError: No weights in a format that is read, damaged ones, no encoder or several, or a weight of it missing, of
            another shape, or not finite.
    """
    config, weights = read_config(folder), formats.read(folder)
    landmark = "embeddings.word_embeddings.weight"
    prefixes = sorted(key.removesuffix(landmark) for key in weights if key == landmark or key.endswith(f".{landmark}"))
    if len(prefixes) != 1:
        raise ValueError(
            f"{folder} holds {len(prefixes)} encoders of BERT's family ({', '.join(map(repr, prefixes)) or 'no'} "
            f"{landmark}): expected the weights of one"
        )
    weights = {key.removeprefix(prefixes[0]): array for key, array in weights.items()}
    for _, key, _, shape in weight_table(config):
        if key not in weights:
            raise ValueError(f"{folder} has no weight {key!r}, which an encoder of type {config.model_type!r} needs")
        if weights[key].shape != shape:
            raise ValueError(f"{folder}: {key} has the shape {weights[key].shape}, its config says {shape}")
        if not np.isfinite(weights[key]).all():
            raise ValueError(f"{folder}: {key} holds values that are not finite")
    return weights


def write(
    folder: Path,
    config: Config,
    weights: Mapping[str, np.ndarray],
    tokenizer_from: Path | None,
    record: Mapping[str, object],
    labels: Sequence[str] = (),
) -> None:
    """Write a checkpoint in the Hugging Face layout.

    Args:
        folder: An existing folder.
        config: The encoder's shape.
        weights: Encoder weights without prefix; those of a task head under names of their own.
        tokenizer_from: The checkpoint whose tokenizer files are copied, if any.
        record: How it was made: table columns such as task, seed, updates.
        labels: Names of what a task head tells apart, in the order of its outputs.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    write_config(folder, config, record, labels)
    save_arrays(weights, folder / "model.safetensors", {"format": "pt"})
    if tokenizer_from is not None:
        for name in TOKENIZER_FILES:
            if (tokenizer_from / name).is_file():
                shutil.copyfile(tokenizer_from / name, folder / name)


def write_config(folder: Path, config: Config, record: Mapping[str, object] = {}, labels: Sequence[str] = ()) -> None:
    """Write the config.json of a checkpoint; see `write`."""
    raw = to_raw(config)
    if labels:
        raw |= {"id2label": dict(enumerate(labels)), "label2id": {name: n for n, name in enumerate(labels)}}
    text = json.dumps(raw | ({"bert_repro": dict(record)} if record else {}), indent=1)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def save_arrays(arrays: Mapping[str, np.ndarray], path: Path, metadata: dict[str, str]) -> None:
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


def weights_digest(folder: Path) -> str:
    """Identify a checkpoint's weights and shape."""
    return _digest(folder, (*CONFIG_FILES, *formats.choose(path.name for path in folder.iterdir())))


def tokenizer_digest(folder: Path) -> str:
    """Identify a checkpoint's tokenizer."""
    return _digest(folder, TOKENIZER_FILES)


def _digest(folder: Path, names: Iterable[str]) -> str:
    there = (name for name in names if (folder / name).is_file())
    return hashlib.sha256("".join(f"{name} {sha256(folder / name)}\n" for name in there).encode()).hexdigest()


def load_tokenizer(folder: Path) -> Any:
    """Load the fast tokenizer of a checkpoint, with whatever cutting and padding its file has baked in taken out.

    A folder with nothing but a vocab.txt, as Google published BERT, is read as WordPiece, lower-cased where the vocabulary
    has no capital letters.

    Raises:
        ValueError: The folder has no tokenizer files, damaged ones, or those of a slow tokenizer.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it would say that PyTorch is missing, which is as meant
    from transformers import AutoTokenizer, BertTokenizer  # seconds to import

    there = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not set(there) - {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}:
        raise ValueError(f"{folder} has no tokenizer: expected tokenizer.json or vocab.txt beside the weights")
    try:
        if there == ["vocab.txt"]:
            pieces = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
            cased = any(piece != piece.lower() for piece in pieces if not piece.startswith("["))
            tokenizer: Any = BertTokenizer(str(folder / "vocab.txt"), do_lower_case=not cased)
        else:
            # words come one by one; byte-level vocabularies know them by the space before them
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, add_prefix_space=True)
    except Exception as error:  # tokenizers raises bare Exceptions of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{folder} has tokenizer files that cannot be read ({', '.join(there)}): {reason}") from None
    if not tokenizer.is_fast:
        raise ValueError(
            f"{folder} has a tokenizer of type {type(tokenizer).__name__}, which cannot tell the word of a piece: "
            "a fast one (tokenizer.json) is needed"
        )
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = sys.maxsize  # lengths are checked in alignment.py; this only silences a warning
    return tokenizer


def wordpiece(pieces: Sequence[str]) -> Any:
    """Make an uncased tokenizer, as BERT's is, from `SPECIAL` and the other pieces in the order of their numbers."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    number = {piece: n for n, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(number, unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, last = SPECIAL["cls_token"], SPECIAL["sep_token"]
    tokenizer.post_processor = processors.BertProcessing((last, number[last]), (first, number[first]))
    return tokenizer


def write_tokenizer(folder: Path, pieces: Sequence[str], longest: int) -> None:
    """Write the tokenizer files of an encoder that reads inputs of at most `longest` pieces; see `wordpiece`."""
    wordpiece(pieces).save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True, "model_max_length": longest} | SPECIAL
    (folder / "tokenizer_config.json").write_text(json.dumps(described), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
