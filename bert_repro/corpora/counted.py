"""A census: what one pass over a corpus finds; it is taken once, and cached while the text and its readers are unchanged.

The items of what is drawn, or laid out, are cached with it: to find them, all that they are drawn from must be read.
"""

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from bert_repro.corpora.items import Pair, Question, Sentence, from_json, to_json
from bert_repro.files import cache_folder, code_digest, made_once

WITHHELD = "_"  # what stands for a form that is not given away
SPECIAL = {"[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]", "<s>", "</s>", "<pad>", "<mask>", "<unk>"}


class Census(NamedTuple):
    """What one pass over a corpus finds.

    Attributes:
        digest: Digest of the content.
        items, words: How many there are.
        left_out: How many items by reason.
        withheld: Items whose forms are not given away.
        special: Words that are written as special tokens are.
        inside: Questions whose answers lie inside words.
        keys: A number of 64 bits for each item that is not withheld; equal ones have equal words.
    """

    digest: str
    items: int
    words: int
    left_out: Mapping[str, int]
    withheld: int
    special: int
    inside: int
    keys: np.ndarray


def take(items: Iterable[Any], left_out: Mapping[str, int]) -> Census:
    """Count items in one pass; `left_out` is read when they end."""
    content, number, words, withheld, special, inside = hashlib.sha256(), 0, 0, 0, 0, 0
    keys = array("Q")
    for item in items:
        content.update(b"\n" * (number > 0) + repr(item).encode())
        sides = (item.words,) if isinstance(item, Sentence) else (item.first, item.second)
        number += 1
        words += size(item)
        if all(set(side) == {WITHHELD} for side in sides):
            withheld += 1
            continue
        keys.append(int.from_bytes(hashlib.blake2b(repr(sides).encode(), digest_size=8).digest()))
        special += sum(word in SPECIAL for side in sides for word in side)
        inside += isinstance(item, Question) and not _in_words(item)
    counts = content.hexdigest(), number, words, dict(left_out), withheld, special, inside
    return Census(*counts, np.array(keys, np.uint64))


def kept(what: object, read: Callable[[], tuple[Iterable[Any], Mapping[str, int]]], whole: bool) -> tuple[Census, Path]:
    """Have a census taken, or find it in the cache.

    Args:
        what: All that decides it but the code: its text is the key.
        read: Gives the items, and what is left out of them, see `take`.
        whole: Whether the items are kept too, so that nobody need look for them again.

    Returns:
        The census, and where `kept_items` finds the items.
    """

    def write(folder: Path) -> None:
        items, left_out = read()
        with (folder / "items.jsonl").open("w", encoding="utf-8") if whole else nullcontext() as file:
            census = take(_written(items, file) if file else items, left_out)
        np.save(folder / "keys.npy", census.keys)
        (folder / "census.json").write_text(json.dumps(census._replace(keys=None)._asdict()), encoding="utf-8")  # type: ignore[arg-type]

    key = hashlib.sha256(f"{what} {reader()}".encode()).hexdigest()[:16]
    folder = made_once(cache_folder() / "censuses" / key, write)
    counted = json.loads((folder / "census.json").read_text(encoding="utf-8"))
    return Census(**counted | {"keys": np.load(folder / "keys.npy")}), folder / "items.jsonl"


def _written(items: Iterable[Any], file: TextIO) -> Iterator[Any]:
    """Pass items on, and write them down on the way."""
    for item in items:
        file.write(to_json(item) + "\n")
        yield item


def kept_items(path: Path) -> Iterator[Any]:
    """Read the items that were kept, one by one."""
    with path.open(encoding="utf-8") as file:
        yield from map(from_json, file)


def size(item: Sentence | Pair) -> int:
    """Count the words of an item."""
    return len(item.words) if isinstance(item, Sentence) else len(item.first) + len(item.second)


@cache
def reader() -> str:
    """Identify the code that reads texts: this folder's modules, and the library that finds the ends of words."""
    return f"{code_digest(Path(__file__).parent)} {metadata.version('icu4py')}"


def _in_words(question: Question) -> bool:
    """Return whether some answer begins and ends at word boundaries, or there are no answers."""
    begin, end = ({place[side] for place in question.offsets} for side in (0, 1))
    return not question.answers or any(start in begin and start + len(text) in end for text, start in question.answers)
