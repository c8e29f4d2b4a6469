"""Models of the Hugging Face hub: fetches what is needed into the cache, where it works without a network.

Names that are no hub ids, repositories without an encoder or readable weights, and files whose checksum is not the hub's
are errors.
"""

import os
import re
from functools import cache
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bert_repro.checkpoints import families, formats
from bert_repro.checkpoints.lookalikes import read_json
from bert_repro.files import sha256

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

CONFIG_FILES = ("config.json", "bert_config.json")
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json",
    "merges.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "bpe.codes",
)  # fmt: skip

_ID = re.compile(r"(?!.*(--|\.\.))\w([\w.-]*\w)?(/\w([\w.-]*\w)?)?", re.ASCII)
_REVISION = re.compile(r"(?!.*\.\.)\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)


class Unknown(ValueError):
    """A name that the hub does not know, or does not show."""


class About(NamedTuple):
    """Commit and licence of a model on the hub."""

    commit: str
    licence: str
    """As its card names it, such as apache-2.0; empty where it names none, or the hub could not be asked."""


def is_id(name: str) -> bool:
    """Return whether a name has the form of a hub id: name or org/name."""
    return _ID.fullmatch(name) is not None


def fetch(name: str, revision: str | None) -> Path:
    """Give the folder of a model on the hub: config, tokenizer and weights in one format; what is missing is downloaded.

    The hub is asked once per process, so that a model does not change under a run; where it does not answer, the copy in
    the cache is used. Weights are checked against the SHA-256 that the hub stores them under, however long ago they came.

    Args:
        name: A hub id, such as bert-base-uncased or org/name.
        revision: A branch, tag or commit; the default branch if None.

    Returns:
        The snapshot's folder in the hub's cache.

    Raises:
        Unknown: A model that the hub does not have or does not show, and the cache neither.
        ValueError: A malformed id or revision, a revision that the model does not have, or a model without config, tokenizer
            or readable weights, of a family that is not supported, or that is an adapter of another one.
        OSError: The hub is out of reach and the model is not in the cache, or only a part of it is; a download that
            broke off; a wrong checksum.
    """
    return _get(name, revision)[0]


def about(name: str, revision: str | None) -> About:
    """Give the commit and the licence of a model on the hub, which is fetched, and the hub asked, as by `fetch`; errors as there."""
    return _get(name, revision)[1]


@cache
def _get(name: str, revision: str | None) -> tuple[Path, About]:
    if not is_id(name):
        raise ValueError(f"{name!r} is not a hub id: expected one such as bert-base-uncased or org/name")
    if revision is not None and not _REVISION.fullmatch(revision):
        raise ValueError(
            f"{revision!r} is not a revision of {name}: expected a branch, a tag or a commit, such as main"
        )
    from huggingface_hub import HfApi, constants, hf_hub_download  # half a second to import, and only needed here
    from huggingface_hub.errors import HTTPError

    try:
        # of the client's ways to list a repository, this one takes a time limit; the others wait for ever
        listed = HfApi().model_info(name, revision=revision, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
    except (HTTPError, OSError, JSONDecodeError) as error:
        folder, licence = _cached(name, revision, error), ""
    else:
        names, licence = [file.rfilename for file in listed.siblings or []], _licence(listed)
        # of an adapter nothing but what says whose it is
        first, *files = [formats.ADAPTER] if formats.is_adapter(names) else _wanted(name, names)
        try:
            # the first by the name of the revision, so that the cache notes its commit; the others from that commit
            folder = Path(hf_hub_download(name, first, revision=revision)).parent
            _check_first(name, folder / first)
            for file in files:
                hf_hub_download(name, file, revision=folder.name)
        except (HTTPError, OSError, RuntimeError) as error:  # the last from hf_xet, whatever went wrong
            raise _failure(name, revision, error) from None
    _verify(folder, _wanted(name, [path.name for path in folder.iterdir() if path.is_file()]))
    return folder, About(folder.name, licence)


def _licence(listed: "ModelInfo") -> str:
    """Find the licence that a model's card names, or else its tags."""
    card: Any = listed.card_data or {}
    named = card.get("license")
    if named == "other":  # the card then has a name of its own for it
        named = card.get("license_name") or named
    tags = [tag.removeprefix("license:") for tag in listed.tags or [] if tag.startswith("license:")]
    return ", ".join(map(str, named if isinstance(named, list) else [named] if named else tags))


def _check_first(name: str, path: Path) -> None:
    """Refuse a model by its smallest file, before its weights are fetched: an adapter, or another family."""
    if path.name == formats.ADAPTER:
        raise formats.adapter(repr(name), path)
    families.check_family(read_json(path, "config"), f"{path.name} of model {name!r}")


def _wanted(name: str, names: list[str]) -> list[str]:
    """Choose the files to read of those a repository has, in the order to fetch them."""
    config, tokenizer = ([file for file in files if file in names] for files in (CONFIG_FILES, TOKENIZER_FILES))
    chosen = formats.choose(names)
    needed = {"config.json": config, "weights in a readable format": chosen, "tokenizer files": tokenizer}
    if missing := [kind for kind, files in needed.items() if not files]:
        raise ValueError(f"model {name!r} has no {missing[0]}: found {sorted(names)}")
    # an index sorts behind its shards: where the download breaks off, those that came are not taken for a whole checkpoint
    return config + tokenizer + chosen


def _cached(name: str, revision: str | None, error: Exception) -> Path:
    """Find a model in the cache, given why the hub could not be asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # no patterns: the client is not to miss any file; which are needed is decided below
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=[]))
    except LocalEntryNotFoundError:
        raise _failure(name, revision, error) from None
    names = [path.name for path in folder.iterdir() if path.is_file()]
    if formats.is_adapter(names):
        _check_first(name, folder / formats.ADAPTER)
    try:
        _wanted(name, names)
    except ValueError as missing:
        raise OSError(
            f"{missing} in the cache, and the hub could not be asked for the rest: {_reason(error)}. "
            "Connect to the network and run again"
        ) from None
    return folder


def _failure(name: str, revision: str | None, error: Exception) -> ValueError | OSError:
    """Say what an error of the hub's client means and what to do."""
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, RevisionNotFoundError

    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, RevisionNotFoundError):
        return ValueError(f"model {name!r} has no revision {revision!r}: see its branches, tags and commits on the hub")
    if isinstance(error, GatedRepoError):
        return ValueError(f"model {name!r} is gated: accept its terms on the hub, then `hf auth login` or set HF_TOKEN")
    if status in (401, 404) and not isinstance(error, EntryNotFoundError):
        return Unknown(f"unknown model {name!r}: not on the hub, or private; correct the name or `hf auth login`")
    return OSError(
        f"model {name!r} could not be fetched from the hub: {_reason(error)}. Run again when the hub can be reached; "
        "without a network, give a folder with config.json, the weights and the tokenizer files"
    )


def _reason(error: Exception) -> str:
    """Give the first line of an error of the hub's client, or of the error that caused it."""
    error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _verify(folder: Path, names: list[str]) -> None:
    """Compare files of a snapshot with their checksums, and remove those that are wrong.

    A snapshot consists of links to files named by the hub's tag: for large files their SHA-256, for small ones a git hash.
    Small ones, and any in a cache that was told to have no links, were checked by the client for their size only.
    """
    for path in (folder / name for name in names):
        # one link only: the file named by its tag may itself be a link, into a store shared by all models
        blob = folder / os.readlink(path) if path.is_symlink() else path
        if re.fullmatch("[0-9a-f]{64}", blob.name) and (checksum := sha256(path)) != blob.name:
            for part in (path.resolve(), blob, path):
                part.unlink(missing_ok=True)
            raise OSError(
                f"{path.name} of {folder} has the checksum {checksum}, expected {blob.name}: the download or the disk "
                "damaged it; the file is removed, run again to fetch it again"
            )
