"""Encoders by name: `open` finds or fetches one, whether built in, in a folder or on the hub.

    checkpoints.open("bert-base-uncased").config.num_hidden_layers

An encoder of another family than BERT's, and weights whose checksum, shape or values are wrong, are errors.
"""

import itertools
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from bert_repro import alignment, corpora
from bert_repro.checkpoints import hub
from bert_repro.checkpoints.builtin import ALIASES, MINILM_LICENCE, OUR_LICENCE, minilm, shipped, tiny, untrained_like
from bert_repro.checkpoints.builtin import SHIPPED as SHIPPED
from bert_repro.checkpoints.builtin import untrained as untrained
from bert_repro.checkpoints.checkpoint import Checkpoint
from bert_repro.checkpoints.families import check_layers
from bert_repro.files import ROOT, code_digest, found_once

LOOKED_AT = 200  # items of a text


def open(reference: str) -> Checkpoint:
    """Find or fetch a checkpoint; nothing of it is read yet.

    Args:
        reference: An alias, a folder, a hub id with an optional @revision, or `untrained:` and one of these;
            `untrained-2:` has other random weights.

    Raises:
        ValueError: The reference is none of these, or what it names is no usable checkpoint.
        OSError: It could not be fetched, or its checksum is wrong.
    """
    if reference == "minilm":
        return Checkpoint(minilm(), reference, licence=MINILM_LICENCE)
    if ours := shipped(reference):
        return Checkpoint(ours, reference, licence=OUR_LICENCE)
    if folder := _folder(reference):
        return Checkpoint(folder, reference)
    if Path(reference).expanduser().is_file():
        raise ValueError(f"{reference!r} is a file: give the folder that it lies in, {Path(reference).parent}")
    name, _, revision = reference.partition("@")
    if not hub.is_id(name):
        raise ValueError(
            f"{reference!r} is neither a folder, nor a hub id such as bert-base-uncased or org/name@revision, "
            f"nor one of the names {sorted(ALIASES)}"
        )
    try:
        folder = hub.fetch(name, revision or None)
    except (hub.Unknown, OSError) as error:  # a misspelt folder or alias ends here too
        raise type(error)(f"{error} ({name!r} is no folder, and none of the names {sorted(ALIASES)})") from None
    return Checkpoint(folder, reference, *hub.about(name, revision or None))


def ready(models: Sequence[str], texts: Sequence[str], layers: Sequence[int] = ()) -> list[str]:
    """Make sure that checkpoints can be used, before anything long, and check whether their vocabularies fit some texts.

    Args:
        models: References of checkpoints, see `open`; empty ones stand for none.
        texts: References of what they will read, see `corpora.load`; empty ones stand for none.
        layers: Layers that the first checkpoint must have.

    Returns:
        Warnings, with the likely cause.

    Raises:
        ValueError: What `Checkpoint.check` and `check_layers` refuse.
        OSError: As `open` and `corpora.load`.
    """
    opened = [open(model) for model in dict.fromkeys(models) if model]
    for first in opened[:1]:
        check_layers(layers, first.config.num_hidden_layers)
    for checkpoint in opened:
        _check(checkpoint)
    kinds = {checkpoint.tokenizer_digest: checkpoint for checkpoint in opened}  # often one for all
    whole = {text: corpora.undrawn(text) for text in texts if text}
    pairs = itertools.product(kinds, dict.fromkeys(whole.values()))
    misfits = {(kind, text): _misfit(kinds[kind], text) for kind, text in pairs}
    return [
        f"{checkpoint.reference} reads of {text} {problem}."
        for checkpoint in opened
        for text in whole
        if (problem := misfits[checkpoint.tokenizer_digest, whole[text]])
    ]


def misfit(checkpoint: Checkpoint, text: str) -> str:
    """Say what is wrong where the vocabulary of a checkpoint does not fit a text, and the likely cause; empty where it fits.

    The beginning of the whole text is looked at, in its own layout: a draw or a layout is known when all of it has been read.
    """
    problem = _misfit(checkpoint, corpora.undrawn(text))
    return f"{checkpoint.reference} reads of {text} {problem}" if problem else ""


def _check(checkpoint: Checkpoint) -> None:
    """Check a checkpoint, unless it was found to be sound before."""
    found_once("checked", (checkpoint.digests, _code()), lambda: bool(checkpoint.check()))


def _misfit(checkpoint: Checkpoint, text: str) -> str:
    def find() -> str:
        items = itertools.islice(corpora.stream(text), LOOKED_AT)
        return alignment.misfit(checkpoint.tokenizer, [side for item in items for side in alignment.words_of(item)])

    content = corpora.content(text)
    return found_once("misfits", (checkpoint.tokenizer_digest, content, _code()), find) if content else find()


@cache
def _code() -> str:
    """Identify the code that reads checkpoints, and that tells whether a vocabulary fits."""
    return f"{code_digest(Path(__file__).parent, Path(alignment.__file__))} {metadata.version('transformers')}"


def _folder(reference: str) -> Path | None:
    """Find what is on this machine; None where it may be on the hub."""
    if shape := untrained(reference):
        source, draw = shape
        return untrained_like(open(source), draw)
    if reference == "tiny":
        return tiny()
    for folder in (Path(reference).expanduser(), ROOT / reference):
        if folder.is_dir():
            return folder
    return None
