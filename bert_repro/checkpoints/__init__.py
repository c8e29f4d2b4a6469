"""Checkpoints: hides where weights come from and how they are named; gives folders, configs and arrays.

It refuses what is no encoder of BERT's family, and weights whose checksum, shape or values are wrong.
"""

from pathlib import Path

from bert_repro.checkpoints import hub
from bert_repro.checkpoints.builtin import ALIASES, minilm, tiny, untrained_like
from bert_repro.checkpoints.builtin import untrained as untrained
from bert_repro.checkpoints.folder import labels as labels
from bert_repro.checkpoints.folder import load_tokenizer, read_config, read_weights
from bert_repro.checkpoints.folder import record as record
from bert_repro.checkpoints.folder import tokenizer_digest as tokenizer_digest
from bert_repro.checkpoints.folder import weights_digest as weights_digest
from bert_repro.checkpoints.folder import write as write
from bert_repro.files import ROOT


def resolve(reference: str) -> Path:
    """Find or fetch a checkpoint: an alias, a folder, a hub id with an optional @revision, or `untrained:` and one of
    these; `untrained-2:` is another draw of its weights.

    Returns:
        A folder with a config, weights and tokenizer files.

    Raises:
        ValueError: The reference is none of these, or what it names is no usable checkpoint.
        OSError: It could not be fetched, or its checksum is wrong.
    """
    if shape := untrained(reference):
        source, draw = shape
        return untrained_like(resolve(source), draw)
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


def check(reference: str) -> Path:
    """Resolve a checkpoint, and read all that a run will need of it, so that what no run could use is told before the first.

    Raises:
        ValueError, OSError: As `resolve`, `read_config`, `load_tokenizer` and `read_weights` do.
    """
    folder = resolve(reference)
    read_config(folder)
    load_tokenizer(folder)
    read_weights(folder)
    return folder
