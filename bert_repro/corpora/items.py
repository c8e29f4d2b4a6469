"""Items of a corpus: a sentence with its annotations, a pair of sentences, a question about a passage."""

import json
import sys
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

LABELS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words and, where the source is a treebank, one value per word in each annotation; `heads` counts from 1, 0 is the root.

    `features` are UD's, as they stand in the file (`Number=Sing|Person=3`); `spans` are of an edge-probing file;
    `document` names the text it is part of, as far as its file tells: sentences of one follow one another.
    """

    id: str
    words: tuple[str, ...]
    heads: tuple[int, ...] = ()
    relations: tuple[str, ...] = ()
    upos: tuple[str, ...] = ()
    xpos: tuple[str, ...] = ()
    # no states depend on these: they are left out of what identifies a corpus
    features: tuple[str, ...] = field(default=(), repr=False, compare=False)
    spans: tuple["Labelled", ...] = field(default=(), repr=False, compare=False)
    document: str = field(default="", repr=False, compare=False)


class Labelled(NamedTuple):
    """A span of words, or two, each from its first word to the one after its last, counted from 0; and its labels."""

    first: tuple[int, int]
    second: tuple[int, int] | None
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two word sequences read together; `section` is MultiNLI's: matched, mismatched, or empty if unknown."""

    id: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    label: str = ""
    section: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Pair):
    """A question (`first`) about a context (`second`).

    `offsets` gives for every word of `second` the first character and the one behind the last, counted in the text `context`;
    `answers` are references, each its text and first character there.
    """

    context: str
    offsets: tuple[tuple[int, int], ...] = field(repr=False)  # follows from the context
    answers: tuple[tuple[str, int], ...]


def to_json(item: Sentence | Pair) -> str:
    """Write an item as one line, all that it says included."""
    return json.dumps({"kind": type(item).__name__} | {one.name: getattr(item, one.name) for one in fields(item)})


def from_json(line: str) -> Sentence | Pair:
    """Read what `to_json` wrote: an equal item, whose strings are stored once for all items."""
    said = {name: _frozen(value) for name, value in json.loads(line).items()}
    if spans := said.get("spans"):
        said["spans"] = tuple(Labelled(*span) for span in spans)
    kind: type[Sentence | Pair] = {"Sentence": Sentence, "Pair": Pair, "Question": Question}[said.pop("kind")]
    return kind(**said)


def _frozen(value: Any) -> Any:
    if isinstance(value, str):
        return sys.intern(value)
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
