"""Paths of the project, its texts and its cache; and files and folders that are written whole or not at all.

A data folder that does not exist, and a new folder over an old one, are errors.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds notebooks/, studies/ and book/."""
OUTSIDE = "(none: this installation is outside a clone, which has them; run `pip install -e .` in a clone)"
"""What a message lists where an installation has no notebooks or studies."""
CLONED = ROOT / "data"
"""The texts that come with the clone."""


def cache_folder() -> Path:
    """Give the folder of weights and hidden states: BERT_REPRO_CACHE, or ~/.cache/bert_repro."""
    return Path(os.environ.get("BERT_REPRO_CACHE") or Path.home() / ".cache" / "bert_repro")


def added_data() -> Path | None:
    """Give the folder of further corpora that BERT_REPRO_DATA names (`make report DATA=...`), or None.

    Raises:
        FileNotFoundError: It is no folder.
    """
    setting = os.environ.get("BERT_REPRO_DATA", "")
    if setting and not Path(setting).is_dir():
        raise FileNotFoundError(f"the data folder {setting!r} does not exist: correct DATA=... or BERT_REPRO_DATA")
    return Path(setting) if setting else None


def atomically(path: Path, save: Callable[[Path], object]) -> None:
    """Write a file next to its place, and move it there once it is complete."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # process ids repeat on machines that share a volume
    try:
        save(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Have a folder made, by one process, or find it; it appears once it is complete, and then nothing need be written."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                for left in folder.parent.glob(f".{folder.name}.*/"):  # by a process that was killed
                    shutil.rmtree(left)
                _make_whole(folder, make)
    return folder


def found_once(kind: str, what: object, find: Callable[[], Any]) -> Any:
    """Give what was found out before, or find it out now; an error is found anew each time.

    Args:
        kind: What it is about, a folder of the cache.
        what: All that decides it, that of the code too (`code_digest`): its text is the key.
        find: Finds it out: anything that JSON has.
    """

    tried, found = [], []

    def write(folder: Path) -> None:
        tried.append(find)
        found.append(find())
        (folder / "found.json").write_text(json.dumps(found[0]), encoding="utf-8")

    key = hashlib.sha256(repr(what).encode()).hexdigest()[:16]
    try:
        return json.loads((made_once(cache_folder() / kind / key, write) / "found.json").read_text(encoding="utf-8"))
    except OSError:
        if tried and not found:  # an error of what was to be found
            raise
        return found[0] if found else find()  # a cache may be full, or read-only


@cache
def code_digest(*places: Path) -> str:
    """Identify code: modules, and those of folders, for what is kept only as long as it would be made the same way."""
    files = sorted(file for place in places for file in ([place] if place.is_file() else place.glob("*.py")))
    return hashlib.sha256(b"".join(map(Path.read_bytes, files))).hexdigest()


def made_new(folder: Path, make: Callable[[Path], object]) -> None:
    """Have a folder made that a user has named; it appears once it is complete.

    Raises:
        FileExistsError: It is there and not empty, which is told before anything is made.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there and not empty: name a new folder, or remove that one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _make_whole(folder, make)


def replaced(folder: Path, make: Callable[[Path], object]) -> None:
    """Write a folder next to its place, and move it there once it is complete; the old one stays until then."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _make_whole(folder, make, over=True)


def _make_whole(folder: Path, make: Callable[[Path], object], over: bool = False) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        partial = Path(temporary) / folder.name
        partial.mkdir()
        make(partial)
        if over and folder.exists():  # folders cannot be replaced in one step
            os.replace(folder, Path(temporary) / "old")
        os.replace(partial, folder)


def without_greetings(text: str) -> str:
    """Leave out what TensorFlow says on stderr whenever it starts, and no setting of its own turns off."""
    return re.sub(r"^(WARNING: All log messages before absl|I0000 ).*\n", "", text, flags=re.MULTILINE)


def sha256(path: Path) -> str:
    """Give the SHA-256 of a file, read once per process as long as its size and time stay as they are."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
