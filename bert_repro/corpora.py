"""Corpora: hides file formats and where texts come from; gives sentences and pairs made of words.

It refuses what it cannot read in full: a malformed line, a tree that is none or an unknown label ends the reading with the
file and line named. Multiword ranges and empty nodes of CoNLL-U are not words; they are counted and left out.
"""

import gzip
import hashlib
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import conllu
import numpy as np
from filelock import FileLock

from bert_repro import sample
from bert_repro.study import cache_folder, data_folder

LABELS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words with, where the source is a treebank, one value a word in each annotation; `heads` counts from 1, 0 is the root."""

    id: str
    words: tuple[str, ...]
    heads: tuple[int, ...] = ()
    relations: tuple[str, ...] = ()
    upos: tuple[str, ...] = ()
    xpos: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two word sequences read together: premise and hypothesis, or question and context."""

    id: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    label: str = ""


@dataclass(frozen=True)
class Corpus:
    """A named text: its items, all of one type, and what was left out while reading.

    `digest` identifies the content (ids, words and annotations), whatever file it came from.
    """

    name: str
    split: str
    items: tuple[Any, ...]  # of Sentence, or of Pair
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return _count(self.items, self.left_out).digest

    @property
    def words(self) -> int:
        return sum(map(size, self.items))


@dataclass
class Stream(Iterator[Any]):
    """The items of a corpus, read one by one; what is left out is counted in full only after the last."""

    name: str
    split: str
    items: Iterator[Any]
    left_out: dict[str, int]

    def __next__(self) -> Any:
        return next(self.items)


class Census(NamedTuple):
    """What one pass over a corpus tells: the digest of its content, and how much there is of it."""

    digest: str
    items: int
    words: int
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Source:
    """Where a registered corpus lies: a folder kind, a file for each split, and columns to filter by."""

    home: str  # "sample" (generated into the cache) or "data" (the data folder)
    files: Mapping[str, str]
    licence: str
    where: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


CORPORA = {
    "sample-trees": Source("sample", {s: f"trees-{s}.conllu" for s in ("train", "dev", "test")}, "this project's own"),
    "sample-nli": Source("sample", {s: f"nli-{s}.tsv" for s in ("train", "dev")}, "this project's own"),
    "sample-questions": Source("sample", {s: f"questions-{s}.json" for s in ("train", "dev")}, "this project's own"),
    "sample-text": Source("sample", {"all": "paragraphs.txt"}, "this project's own"),
    "ewt": Source("data", {s: f"ud_ewt/en_ewt-ud-{s}.conllu.gz" for s in ("train", "dev", "test")}, "CC BY-SA 4.0"),
    "gum": Source(
        "data",
        {"train": "ud_gum/en_gum-ud-train.dep_only.conllu.gz"}
        | {s: f"ud_gum/en_gum-ud-{s}.slim.conllu.gz" for s in ("dev", "test")},
        "CC BY-NC-SA 4.0",
    ),
    "pud": Source("data", {"test": "ud_pud/en_pud-ud-test.conllu.gz"}, "CC BY-SA 3.0"),
    # the clean part of dev; the other carrier has lost its full stops (see the data folder's README)
    "mnli": Source(
        "data",
        {"train": "mnli/mnli_train.tsv.gz", "dev": "mnli/mnli_dev.tsv.gz"},
        "MultiNLI: OANC and others",
        {"dev": {"source": "taxinli"}},
    ),
    "squad": Source(
        "data",
        {"train": "squad/squad_v1.1_train_44articles.json.gz", "dev": "squad/squad_v1.1_dev_subset.json.gz"},
        "CC BY-SA 4.0",
    ),
    "wiki": Source(
        "data", {"all": "wiki_text/wiki_paragraphs.tsv.gz"}, "CC BY-SA 3.0", {"all": {"source": "wikitext2_test"}}
    ),
}
"""Corpora by name; `python -m bert_repro list corpora` shows them."""

_REFERENCE = re.compile(r"(?P<name>[^:\[\]]+)(:(?P<split>\w+))?(\[(?P<count>\d+)\])?")


class Located(NamedTuple):
    """Where a corpus reference points."""

    name: str
    split: str
    path: Path
    where: Mapping[str, str]
    drawn: int | None  # how many items to draw


def locate(reference: str) -> Located:
    """Find the file of a corpus without reading it; the sample's are written where they are missing.

    Raises:
        ValueError: An unknown name or split.
        FileNotFoundError: The file or the data folder is missing.
    """
    match = _REFERENCE.fullmatch(reference)
    if not match:
        raise ValueError(f"cannot read the corpus reference {reference!r}: write name, name:split or name:split[500]")
    name, split, count = match["name"], match["split"], int(match["count"]) if match["count"] else None
    if name in CORPORA:
        source = CORPORA[name]
        if split is None and len(source.files) == 1:
            (split,) = source.files
        if split not in source.files:
            raise ValueError(
                f"corpus {name!r} has no split {split!r}: write one of {[f'{name}:{s}' for s in source.files]}"
            )
        path = _home(source) / source.files[split]
        if not path.is_file():
            raise FileNotFoundError(
                f"corpus {name}:{split} should lie at {path}, where no file is: check the data folder"
            )
        return Located(name, split, path, source.where.get(split, {}), count)
    if not re.search(r"\.(conllu|tsv|json|txt)(\.gz)?$", name):
        raise ValueError(
            f"unknown corpus {name!r}: expected one of {sorted(CORPORA)} or a .conllu, .tsv, .json or .txt file"
        )
    if not Path(name).is_file():
        raise FileNotFoundError(f"no corpus file {name}")
    return Located(Path(name).name, split or "", Path(name), {}, count)


def stream(reference: str) -> Stream:
    """Read a corpus item by item, in constant memory but for SQuAD's JSON, which is read whole.

    Args:
        reference: `name`, `name:split`, or a file (.conllu, .tsv, .json, .txt, each also .gz). `[500]` at the end
            takes 500 items drawn without replacement by a fixed seed, in corpus order: `mnli:dev[500]`; this
            reads it twice.

    Raises:
        ValueError: More items asked for than there are, or malformed content, here or further on; and what `locate` raises.
        FileNotFoundError: See `locate`.
    """
    place = locate(reference)
    left_out: dict[str, int] = {}
    read = _READERS[place.path.name.removesuffix(".gz").rsplit(".", 1)[-1]](place.path, place.where, left_out)
    first = next(read, None)
    if first is None:
        raise ValueError(f"{place.path} holds no sentence: an empty corpus cannot be used")
    items: Iterator[Any] = itertools.chain([first], read)
    split = place.split
    if place.drawn is not None:
        there = census(reference.rpartition("[")[0]).items
        if not 0 < place.drawn <= there:
            raise ValueError(f"{reference} asks for {place.drawn} items, the corpus has {there}")
        chosen = set(np.random.default_rng(0).choice(there, place.drawn, replace=False).tolist())
        items = (item for number, item in enumerate(items) if number in chosen)
        split = f"{split}[{place.drawn}]"
    return Stream(place.name, split, items, left_out)


def load(reference: str) -> Corpus:
    """Read a corpus whole; reference and errors as in `stream`."""
    read = stream(reference)
    return Corpus(read.name, read.split, tuple(read), read.left_out)


def census(reference: str) -> Census:
    """Identify and count a corpus by streaming it, once in a process while its file stays; errors as in `stream`."""
    place = locate(reference)
    file = place.path.stat()
    key = (place.path.absolute(), file.st_size, file.st_mtime_ns, *sorted(place.where.items()), place.drawn)
    if key not in _CENSUSES:
        read = stream(reference)
        _CENSUSES[key] = _count(read, read.left_out)
    return _CENSUSES[key]


_CENSUSES: dict[tuple, Census] = {}


def digest(reference: str) -> str:
    """Identify the content of a corpus, in constant memory: `load(reference).digest`."""
    return census(reference).digest


def size(item: Sentence | Pair) -> int:
    """Count the words of an item."""
    return len(item.words) if isinstance(item, Sentence) else len(item.first) + len(item.second)


def sides(pair: Pair) -> tuple[Sentence, Sentence]:
    """Take a pair apart, into two texts of their own."""
    return Sentence(f"{pair.id}/1", pair.first), Sentence(f"{pair.id}/2", pair.second)


def _count(items: Iterable[Any], left_out: Mapping[str, int]) -> Census:
    content, number, words = hashlib.sha256(), 0, 0
    for item in items:
        content.update(b"\n" * (number > 0) + repr(item).encode())
        number += 1
        words += size(item)
    return Census(content.hexdigest(), number, words, left_out)


def treebank(reference: str) -> Corpus:
    """Read a corpus whose sentences have trees.

    Raises:
        ValueError: It has none; and everything `load` raises.
    """
    corpus = load(reference)
    if not isinstance(corpus.items[0], Sentence) or not corpus.items[0].heads:
        raise ValueError(
            f"{reference} has no trees: a treebank (CoNLL-U) is needed here, e.g. sample-trees:dev or ewt:dev"
        )
    return corpus


def _home(source: Source) -> Path:
    if source.home == "data":
        return data_folder()
    generator = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(Path(sample.__file__).parent.glob("*.py"))))
    folder = cache_folder() / f"sample-{generator.hexdigest()[:12]}"  # a changed grammar is another corpus
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (folder / "complete").exists():
            sample.write(folder)
            (folder / "complete").touch()
    return folder


def words(text: str) -> tuple[str, ...]:
    """Split running text into words and single punctuation marks."""
    return tuple(re.findall(r"\w+|[^\w\s]", text))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 1
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                yield number, line.decode("utf-8").rstrip("\r\n")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}:{number}: cannot be read as UTF-8 text from here: {error}") from None


def _read_conllu(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Sentence]:
    left_out |= {"multiword ranges": 0, "empty nodes": 0}
    block: list[tuple[int, str]] = []
    for number, line in _lines(path):
        if line.strip():
            if not line.startswith("#") and line.count("\t") != 9:
                found = line.count("\t") + 1
                raise ValueError(
                    f"{path}:{number}: a CoNLL-U line has 10 tab-separated columns, this one has {found}: {line[:60]!r}"
                )
            block.append((number, line))
        elif block:
            yield _sentence(path, block, left_out)
            block = []
    if block:
        yield _sentence(path, block, left_out)


# the columns as they are: ids and heads are checked here, where the line is known; nobody reads what is behind the relation
_FIELDS = conllu.parser.DEFAULT_FIELDS[:8]
_KEEP = dict.fromkeys(_FIELDS, lambda cells, i: cells[i])
_NO_WORD = {"-": "multiword ranges", ".": "empty nodes"}


def _sentence(path: Path, block: list[tuple[int, str]], left_out: dict[str, int]) -> Sentence:
    tokens_at = [number for number, line in block if not line.startswith("#")]
    start = block[0][0]
    try:
        (parsed,) = conllu.parse("\n".join(line for _, line in block), _FIELDS, _KEEP)
    except (conllu.exceptions.ParseException, ValueError) as error:
        raise ValueError(f"{path}:{start}: not CoNLL-U: {error}") from None
    kept = []
    for number, token in zip(tokens_at, parsed, strict=True):
        if match := re.fullmatch(r"\d+([-.])\d+", token["id"]):
            left_out[_NO_WORD[match[1]]] += 1
        else:
            kept.append((number, token))
    if not kept:
        raise ValueError(f"{path}:{start}: a sentence without words")
    for position, (number, token) in enumerate(kept, 1):
        if token["id"] != str(position):
            raise ValueError(f"{path}:{number}: word id {token['id']!r} where {position} was expected")
        if not re.fullmatch(r"[0-9]+", token["head"]) or int(token["head"]) > len(kept):
            raise ValueError(f"{path}:{number}: head {token['head']!r} is not between 0 and {len(kept)}")
    tokens = [token for _, token in kept]
    heads = tuple(int(token["head"]) for token in tokens)
    name = str(parsed.metadata.get("sent_id") or f"line-{start}")
    problem = _not_a_tree(heads)
    if problem:
        raise ValueError(f"{path}:{start}: sentence {name!r} is no tree: {problem}")
    texts = (tuple(str(token[column] or "_") for token in tokens) for column in ("form", "deprel", "upos", "xpos"))
    forms, relations, upos, xpos = texts
    return Sentence(name, forms, heads, relations, upos, xpos)


def _not_a_tree(heads: tuple[int, ...]) -> str:
    if heads.count(0) != 1:
        return f"{heads.count(0)} roots"
    safe = {0}
    for word in range(1, len(heads) + 1):
        path = []
        while word not in safe:
            if word in path:
                return f"word {word} is its own ancestor"
            path.append(word)
            word = heads[word - 1]
        safe.update(path)
    return ""


def _read_tsv(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Sentence | Pair]:
    lines = _lines(path)
    _, header = next(lines, (0, ""))
    columns = header.split("\t")
    reader = _pair if {"premise", "hypothesis", "label"} <= set(columns) else _paragraph
    if reader is _paragraph and "paragraph" not in columns:
        raise ValueError(f"{path}:1: expected the columns premise, hypothesis, label, or paragraph; got {columns}")
    filtered = f"rows not of {' '.join(where.values())}"
    if where:
        left_out[filtered] = 0
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise ValueError(f"{path}:{number}: {len(cells)} columns where the header has {len(columns)}")
        row = dict(zip(columns, cells, strict=True))
        if any(row.get(key) != value for key, value in where.items()):
            left_out[filtered] += 1
        else:
            yield from reader(row, f"{path}:{number}", f"{number}")


def _pair(row: Mapping[str, str], place: str, name: str) -> Iterator[Pair]:
    if row["label"] not in LABELS:
        raise ValueError(f"{place}: label {row['label']!r} is not one of {list(LABELS)}")
    first, second = words(row["premise"]), words(row["hypothesis"])
    if not first or not second:
        raise ValueError(f"{place}: an empty premise or hypothesis")
    yield Pair(name, first, second, row["label"])


def _paragraph(row: Mapping[str, str], place: str, name: str) -> Iterator[Sentence]:
    for number, text in enumerate(re.split(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z])", row["paragraph"].strip()), 1):
        if words(text):
            yield Sentence(f"{name}.{number}", words(text))


def _read_text(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Sentence]:
    for number, line in _lines(path):
        yield from _paragraph({"paragraph": line}, "", str(number))


def _read_questions(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Pair]:
    try:
        for article in json.loads("\n".join(line for _, line in _lines(path)))["data"]:
            for paragraph in article["paragraphs"]:
                context = words(paragraph["context"])
                for question in paragraph["qas"]:
                    yield Pair(str(question["id"]), words(question["question"]), context)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not SQuAD-format JSON (data > paragraphs > context, qas): {error!r}") from None


_READERS = {"conllu": _read_conllu, "tsv": _read_tsv, "txt": _read_text, "json": _read_questions}
