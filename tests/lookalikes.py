"""Checkpoints made in code, sound or with one fault each, for the tests of what is refused and what is read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from bert_repro.checkpoints import Checkpoint, families
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.checkpoints.families import Config
from bert_repro.checkpoints.vocabulary import SPECIAL, write_tokenizer

LETTERS = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
PIECES = [*SPECIAL.values(), *LETTERS, *(f"##{letter}" for letter in LETTERS)]
CONFIG = Config(len(PIECES), 16, 2, 2, 32, 64)


def made(folder: Path, family: str = "bert", prefix: str = "", more: dict[str, tuple[int, ...]] | None = None) -> Path:
    """Write a checkpoint of random weights.

    Args:
        folder: To be made.
        family: Its `model_type`.
        prefix: Before the names of the encoder's weights.
        more: Shapes of further weights, by their whole names.
    """
    folder.mkdir(parents=True)
    config = replace(CONFIG, model_type=family, embedding_size=8 if family == "electra" else 0)
    weights = {f"{prefix}{key}": array for key, array in random_weights(config, 1, 0.15).items()}
    weights |= {name: np.full(shape, 0.5, np.float32) for name, shape in (more or {}).items()}
    Checkpoint.write(folder, config, weights)
    write_tokenizer(folder, PIECES, 64)
    return folder


def change(folder: Path, **values: object) -> Path:
    """Change lines of config.json; None takes one out."""
    path = folder / "config.json"
    raw = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in raw.items() if value is not None}))
    return folder


def rewrite(folder: Path, change) -> Path:
    """Change the weights, a dict that `change` gets."""
    weights = Checkpoint(folder).weights()
    change(weights)
    save_file(weights, folder / "model.safetensors")
    return folder


def wordpieces(folder: Path, words: list[str], config: dict[str, object] | None = None) -> Path:
    """Put a vocab.txt of some whole words in place of the tokenizer, and beside it special_tokens_map.json, as old ones have it."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in [*SPECIAL.values(), *words]), encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(json.dumps(SPECIAL))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


FAMILIES = tuple(families.ARCHITECTURES)
