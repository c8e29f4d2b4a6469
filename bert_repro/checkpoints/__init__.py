"""Checkpoints: hides where encoders come from and how they are named; `open` gives one by its name.

    checkpoints.open("bert-base-uncased").config.num_hidden_layers

It refuses what is no encoder of BERT's family, and weights whose checksum, shape or values are wrong.
"""

from pathlib import Path

from bert_repro.checkpoints import hub
from bert_repro.checkpoints.builtin import ALIASES, minilm, tiny, untrained_like
from bert_repro.checkpoints.builtin import untrained as untrained
from bert_repro.checkpoints.checkpoint import Checkpoint
from bert_repro.files import ROOT


def open(reference: str) -> Checkpoint:
    """Find or fetch a checkpoint; nothing of it is read yet.

    Args:
        reference: An alias, a folder, a hub id with an optional @revision, or `untrained:` and one of these;
            `untrained-2:` is another draw of its weights.

    Raises:
        ValueError: The reference is none of these, or what it names is no usable checkpoint.
        OSError: It could not be fetched, or its checksum is wrong.
    """
    return Checkpoint(_folder(reference), reference)


def _folder(reference: str) -> Path:
    if shape := untrained(reference):
        source, draw = shape
        return untrained_like(open(source), draw)
    if reference == "minilm":
        return minilm()
    if reference == "tiny":
        return tiny()
    for folder in (Path(reference).expanduser(), ROOT / reference):
        if folder.is_dir():
            return folder
    name, _, revision = reference.partition("@")
    if not hub.is_id(name):
        raise ValueError(
            f"{reference!r} is neither a folder, nor a hub id such as bert-base-uncased or org/name@revision, "
            f"nor one of the names {sorted(ALIASES)}"
        )
    try:
        return hub.fetch(name, revision or None)
    except (ValueError, OSError) as error:  # a misspelt folder or alias ends here too
        raise type(error)(f"{error} ({name!r} is no folder, and none of the names {sorted(ALIASES)})") from None
