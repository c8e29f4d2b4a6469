"""The store: arrays with a table of their rows on disk, shard by shard, under a key.

Only what is complete and sound is read, and the store stays below its cap, BERT_REPRO_STORE_GB gigabytes.

An entry is a folder. A shard of it is an array (`00000.npy`, layers x rows x hidden), a table that says what its rows are
(`00000.parquet`), and `00000.json` with the checksums of both, which is written last and alone makes the shard count;
`about.json` is there once all shards are. What is found damaged is dropped, and so made again by whoever needs it next.
Nothing is forced to the disk before that: after a power cut the checksums tell. They are CRC-32, enough against accidents
and three times as fast as SHA-256.
"""

import errno
import fcntl
import json
import os
import shutil
import sys
import weakref
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import BaseFileLock, FileLock, Timeout
from jaxtyping import Shaped

from bert_repro.files import atomically, cache_folder

CAP = "BERT_REPRO_STORE_GB"
_HEADERS = 10_000  # bytes; the array's header and the JSON of a shard are smaller


def folder() -> Path:
    """Give the folder of all entries."""
    return cache_folder() / "states"


def cap() -> int:
    """Give the most bytes that the store may take.

    Raises:
        ValueError: BERT_REPRO_STORE_GB is no positive number.
    """
    setting = os.environ.get(CAP) or "100"
    try:
        gigabytes = float(setting)
    except ValueError:
        gigabytes = 0.0
    if not 0 < gigabytes < float("inf"):
        raise ValueError(f"{CAP} must be a number of gigabytes above 0, e.g. 100, got {setting!r}")
    return int(gigabytes * 1e9)


def entries() -> list["Entry"]:
    """List all entries, complete or not."""
    return [Entry(path.name) for path in sorted(folder().glob("*")) if path.is_dir()]


class Entry:
    """One entry of the store.

    Attributes:
        key: The name of its folder.
        lock: Whoever writes holds it; one process at a time can.
    """

    def __init__(self, key: str):
        self.key, self.folder = key, folder() / key
        self.lock = FileLock(self.folder / ".lock")

    def lock_of(self, part: int, of: int) -> BaseFileLock:
        """Give the lock of those who write a part of the shards: parts are written side by side."""
        return self.lock if of == 1 else FileLock(self.folder / f".lock-{part}-of-{of}")

    def hold(self) -> None:
        """Keep every process from removing the entry as long as this object lives."""
        with suppress(OSError), _lock_store():  # where this cannot be written, nothing can be removed
            self.folder.mkdir(exist_ok=True)
            weakref.finalize(self, os.close, self._flock(fcntl.LOCK_SH))

    def shards(self) -> list[dict[str, Any]]:
        """Give what is recorded of each shard that is there: `number`, `rows`, and the facts that `write` was told."""
        records = ({"number": int(path.stem)} | (_unseal(path) or {}) for path in self.folder.glob("[0-9]*.json"))
        return sorted((shard for shard in records if "rows" in shard), key=lambda shard: shard["number"])

    def array(self, number: int) -> Shaped[np.ndarray, "layers rows hidden"]:
        """Map the array of a shard."""
        return np.load(self.folder / f"{number:05d}.npy", mmap_mode="r")

    def table(self, number: int) -> pd.DataFrame:
        """Read the table of a shard."""
        return pd.read_parquet(self.folder / f"{number:05d}.parquet")

    def expect(self, size: int) -> None:
        """Refuse to begin what could never be finished: before others are removed for it, and before the work is done.

        Raises:
            OSError: An entry of this size, in bytes, exceeds the store's cap.
        """
        if size > cap():
            raise OSError(
                f"the states {self.key} will take about {size / 1e9:.3g} GB, the store may take {cap() / 1e9:.3g} GB: "
                f"give {CAP} a larger number"
            )

    def write(
        self, number: int, vectors: Shaped[np.ndarray, "layers rows hidden"], rows: pd.DataFrame, facts: dict[str, Any]
    ) -> None:
        """Store a shard, all of it or nothing; entries that nobody used for long make room for it.

        Where another process, with other parts or with none, has stored the same shard meanwhile, that one stays.

        Args:
            number: Its place in the entry, from 0.
            vectors: Its array.
            rows: What each row of it is.
            facts: What else `shards` is to give, as JSON values.

        Raises:
            OSError: The disk is full, or the store would outgrow its cap.
        """
        name, table = f"{number:05d}", rows.to_parquet(index=False)
        with _lock_store():
            if _unseal(self.folder / f"{name}.json"):
                return
            self._drop(name)
            self._make_room(vectors.nbytes + len(table) + _HEADERS)
            try:
                atomically(self.folder / f"{name}.npy", lambda path: _save(path, vectors))
                atomically(self.folder / f"{name}.parquet", lambda path: path.write_bytes(table))
                files = {file: _measure(self.folder / file) for file in (f"{name}.npy", f"{name}.parquet")}
                _seal(self.folder / f"{name}.json", {"files": files, "rows": len(rows)} | facts)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                self._drop(name)
                raise OSError(
                    f"the disk is full: {self.folder} cannot take another {vectors.nbytes / 1e6:.1f} MB; "
                    "`python -m bert_repro states rm KEY` makes room"
                ) from None

    def finish(self, shards: int, facts: dict[str, Any]) -> None:
        """Declare the entry complete, with so many shards; the facts, JSON values, are what `about` gives."""
        _seal(self.folder / "about.json", {"shards": shards} | facts)

    @property
    def about(self) -> dict[str, Any] | None:
        """The facts that `finish` was given; None where the entry is not complete."""
        return _unseal(self.folder / "about.json")

    @property
    def used(self) -> float:
        """When the entry was last opened, or made, in seconds since 1970."""
        about = self.folder / "about.json"
        return (about if about.is_file() else self.folder).stat().st_mtime

    @property
    def size(self) -> int:
        """The size of all its files."""
        total = 0
        for path in self.folder.glob("*"):
            with suppress(FileNotFoundError):  # another process is at work
                total += path.stat().st_size
        return total

    def open(self) -> dict[str, Any]:
        """Give the facts that `finish` was given, after checking all shards, and note that the entry is used.

        Raises:
            FileNotFoundError: The entry is not complete.
        """
        about = self.about if self.mend() else None
        if about is None:
            raise FileNotFoundError(f"{self.folder} is not complete: `states.get` computes what is missing")
        with suppress(OSError):  # a cache may be read-only
            os.utime(self.folder / "about.json")
        return about

    def damage(self) -> dict[str, str]:
        """Say what is wrong with each shard, and with `about`, by comparing checksums; nothing in a sound entry."""
        about = self.folder / "about.json"
        names = {path.stem for path in self.folder.glob("[0-9]*.json")}
        faults = {}
        if about.is_file():
            facts = self.about
            if facts is None:
                faults["about"] = "about.json is damaged"
            else:
                names |= {f"{number:05d}" for number in range(facts["shards"])}
        return faults | {name: fault for name in sorted(names) if (fault := self._fault(name))}

    def mend(self) -> bool:
        """Remove what is damaged, with a warning; return whether the entry is complete."""
        if self.damage():
            with self.lock:
                for name, fault in self.damage().items():  # as it is now: another process may have mended it
                    print(f"states {self.key}: {fault}; it will be computed again", file=sys.stderr)
                    self._drop("about")
                    self._drop(name)
        return (self.folder / "about.json").is_file()

    def remove(self) -> int:
        """Remove the entry, and return how many bytes were freed.

        Raises:
            BlockingIOError: A process reads or writes it.
        """
        with _lock_store():
            return self._remove()

    def _remove(self) -> int:
        try:
            with self.lock.acquire(timeout=0):
                os.close(self._flock(fcntl.LOCK_EX | fcntl.LOCK_NB))
                size = self.size
                shutil.rmtree(self.folder)
                return size
        except (Timeout, BlockingIOError):
            raise BlockingIOError(f"the states {self.key} are in use: wait until the other process has ended") from None

    def _make_room(self, more: int) -> None:
        allowed, own = cap(), self.size + more
        sizes = {entry: entry.size for entry in entries() if entry.key != self.key}
        for entry in sorted(sizes, key=lambda entry: entry.used):
            if own > allowed or own + sum(sizes.values()) <= allowed:
                break
            with suppress(BlockingIOError):
                gone = entry._remove() / 1e6
                del sizes[entry]
                print(f"states {entry.key}: removed to make room ({gone:.1f} MB; {CAP})", file=sys.stderr)
        if own + sum(sizes.values()) > allowed:
            raise OSError(
                f"the states {self.key} take {own / 1e9:.3g} GB and others that stay {sum(sizes.values()) / 1e9:.3g} GB, "
                f"the store may take {allowed / 1e9:.3g} GB: give {CAP} a larger number"
            )

    def _flock(self, operation: int) -> int:
        descriptor = os.open(self.folder / ".readers", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, operation)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _fault(self, name: str) -> str:
        recorded = _unseal(self.folder / f"{name}.json")
        if recorded is None:
            return f"{name}.json is missing or damaged"
        for file, expected in recorded["files"].items():
            path = self.folder / file
            if not path.is_file():
                return f"{file} is missing"
            actual = _measured(path.absolute(), path.stat().st_size, path.stat().st_mtime_ns)
            if actual != expected:
                return f"{file} is damaged: {actual} where {expected} was written"
        return ""

    def _drop(self, name: str) -> None:
        for pattern in (f"{name}.*", f".{name}.*"):  # the second is what a kill left half-written
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)


def _lock_store() -> FileLock:
    folder().mkdir(parents=True, exist_ok=True)
    return FileLock(folder() / ".lock")


def _save(path: Path, vectors: np.ndarray) -> None:
    with path.open("wb") as stream:  # np.save would hide the number of the error of a full disk
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(vectors))
        stream.write(np.ascontiguousarray(vectors).data)


def _seal(path: Path, content: dict[str, Any]) -> None:
    checksum = zlib.crc32(json.dumps(content).encode())
    atomically(path, lambda partial: partial.write_text(json.dumps({"crc32": checksum, **content}, indent=1)))


def _unseal(path: Path) -> dict[str, Any] | None:
    """Read what `_seal` wrote; None where it is not there, or not as it was."""
    try:
        content = json.loads(path.read_text())
        checksum = content.pop("crc32")
    except (FileNotFoundError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return content if checksum == zlib.crc32(json.dumps(content).encode()) else None


def _measure(path: Path) -> dict[str, int]:
    """Give size and checksum of a file, read in pieces: a map would count as memory."""
    checksum = 0
    with path.open("rb", buffering=0) as stream:
        while piece := stream.read(2**20):
            checksum = zlib.crc32(piece, checksum)
    return {"bytes": path.stat().st_size, "crc32": checksum}


@cache
def _measured(path: Path, size: int, changed: int) -> dict[str, int]:
    return _measure(path)
