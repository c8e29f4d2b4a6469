"""Lookalikes: what is mistaken for a checkpoint or one of its files; the message says what it is and what would work.

Such are the files that a download or a clone left in place of the real ones.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LFS = b"version https://git-lfs.github.com/spec/"
BINARY = (".safetensors", ".h5", ".bin", ".model")
ANSWER = re.compile(
    rb'\s*(\{\s*"(error|message)"|(404: )?not found|entry not found|access to|invalid (username|cred)|repository not)',
    re.I,
)
UNREAD = re.compile(
    r".*\.(onnx|gguf|msgpack|ot|pb|pt|pth|bin|ckpt|safetensors|h5|npz|incomplete|part|crdownload|aria2)"
)
"""Names of files that hold weights in some way, whether these are read here or not."""


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: Its file.
        what: What it should be, for messages.

    Raises:
        ValueError: It is something else.
    """
    check_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no {what}: expected a JSON object, got {type(content).__name__}")
    return content


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object that may be damaged or not there: empty then."""
    try:
        return read_json(path, "object")
    except (ValueError, OSError):
        return {}


def check_file(path: Path) -> None:
    """Make sure that a file is what its name says, by its first bytes and its size.

    Raises:
        ValueError: It is empty or cut, a pointer of Git LFS, or a web page.
    """
    with open(path, "rb") as file:
        start = file.read(512)
    size = path.stat().st_size
    if start.startswith(LFS):
        raise ValueError(
            f"{path} is a pointer of Git LFS, not the file itself: run `git lfs install` and `git lfs pull` in the clone, or "
            "fetch the checkpoint by its name on the hub"
        )
    if re.match(rb"\s*<(!doctype|html|\?xml)", start, re.IGNORECASE):
        raise ValueError(
            f"{path} is a web page, not the file itself: the address was that of a page about it (on the hub, those of files "
            "have /resolve/ where pages have /blob/), or one that asks to log in; fetch the checkpoint again"
        )
    if start.startswith(b"\x1f\x8b"):
        raise ValueError(f"{path} is compressed with gzip, not the file itself: unpack it (gunzip) under that name")
    if ANSWER.match(start) or (path.suffix in BINARY and size < 512 and re.fullmatch(rb"[\s -~]+", start)):
        beginning = " ".join(start[:80].decode(errors="replace").split())
        raise ValueError(
            f"{path} is what a server answered ({beginning!r}), not the file itself: fetch the checkpoint again, logged in where that "
            "is asked for"
        )
    if not start:
        raise ValueError(f"{path} is empty: the download was interrupted; fetch the checkpoint again")
    if path.suffix == ".safetensors" and (whole := _cut(path, size)):
        raise ValueError(
            f"{path} is cut: {size:,} of {whole} bytes are here; the download was interrupted, fetch the checkpoint again"
        )


def _cut(path: Path, size: int) -> str:
    """Say how many bytes a safetensors file should have by its own header; empty where it has them, or where that is
    unknown."""
    with open(path, "rb") as file:
        start = file.read(9)
        length = 8 + int.from_bytes(start[:8], "little")
        if start[8:] != b"{":
            return ""
        if length > size:
            return f"at least {length:,}" if length < 10**8 else ""  # no header is larger
        try:
            header = json.loads(start[8:] + file.read(length - 9))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
            return f"{length + max(ends):,}" if length + max(ends) > size else ""
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return ""


def elsewhere(folder: Path) -> str:
    """Say what a folder is that is not a checkpoint itself, and which one within would work; empty where that is unknown."""
    if links := sorted(path.name for path in folder.iterdir() if path.is_symlink() and not path.exists()):
        return (
            f"{links[0]} is a link to a file that is not there, as in a copy of the hub's cache without its blobs: copy the "
            "files themselves (cp -rL), or fetch the checkpoint again"
        )
    if snapshots := [path for path in (folder / "snapshots").glob("*") if path.is_dir()]:
        if not any(any(path.iterdir()) for path in snapshots):
            return "it is a model's folder in the cache of the hub, without its files: fetch it by its name on the hub"
    for kind, places in _kinds(folder):
        usable = [place for place in places if _usable(place)]
        if usable:
            more = f" (or another one of {', '.join(sorted(place.name for place in usable))})" if usable[1:] else ""
            return f"it is {kind}: give {usable[0]}{more}"
    return ""


def _kinds(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """List what a folder may be, and where its checkpoints would be, the best one first."""
    modules = _list(folder / "modules.json")
    names = [
        str(module.get("path"))
        for module in modules
        if isinstance(module, dict) and "Transformer" in str(module.get("type"))
    ]
    yield (
        "a folder of sentence-transformers, the encoder of which lies deeper",
        [folder / name for name in names if name],
    )
    runs = sorted(
        (path for path in folder.glob("checkpoint-*") if path.name[11:].isdecimal()), key=lambda p: -int(p.name[11:])
    )
    states = [read_object(path / "trainer_state.json") for path in [folder, *runs]]
    best = [
        Path(str(state.get("best_model_checkpoint"))).name for state in states if state.get("best_model_checkpoint")
    ]
    runs.sort(key=lambda path: path.name not in best[:1])
    yield "the folder of a training run", runs
    snapshots = folder if folder.name == "snapshots" else folder / "snapshots"
    main = snapshots.parent / "refs" / "main"
    newest = main.read_text(errors="replace").strip() if main.is_file() else ""
    folders = sorted(snapshots.glob("*"), key=lambda path: (path.name != newest, path.name))
    yield "a model's folder in the cache of the hub", folders
    cached = sorted(folder.glob("models--*/snapshots/*")) or sorted(folder.glob("hub/models--*/snapshots/*"))
    yield "the cache of the hub, with all models", cached
    yield "a folder around one", sorted(path for path in folder.glob("*") if path.is_dir())


def _usable(folder: Path) -> bool:
    """Return whether a folder looks like a checkpoint."""
    return any((folder / name).is_file() for name in ("config.json", "bert_config.json")) and any(
        path.is_file() and UNREAD.fullmatch(path.name) for path in folder.iterdir()
    )


def _list(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return []
    return content if isinstance(content, list) else []


def unread(folder: Path) -> str:
    """Name the files of a folder that hold weights in a way which is not read, or not yet; empty where there are none."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        if path.is_file()
        and UNREAD.fullmatch(path.name)
        and not re.match("(optimizer|scheduler|training_args|rng_state)", path.name)
    )
    broken = [name for name in names if name.endswith((".incomplete", ".part", ".crdownload", ".aria2"))]
    if broken:
        return f"{broken[0]} is the beginning of a download that was interrupted: fetch the checkpoint again"
    if (folder / "zero_to_fp32.py").is_file():
        return "the weights are DeepSpeed's: run zero_to_fp32.py, which lies beside them, and save the model it gives"
    return (
        f"found {', '.join(names[:5])}, which cannot be read here: save the model with save_pretrained" if names else ""
    )
