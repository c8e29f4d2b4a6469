"""Corpora: hides file formats and where texts come from; gives sentences and pairs made of words.

It refuses what it cannot read in full: a malformed line, a tree that is none or an unknown label ends the reading with the
file and line named. Multiword ranges and empty nodes of CoNLL-U are not words; they are counted and left out.
"""

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping
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
        return hashlib.sha256("\n".join(map(repr, self.items)).encode()).hexdigest()

    @property
    def words(self) -> int:
        return sum(len(i.words) if isinstance(i, Sentence) else len(i.first) + len(i.second) for i in self.items)


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


def load(reference: str) -> Corpus:
    """Read a corpus.

    Args:
        reference: `name`, `name:split`, or a file (.conllu, .tsv, .json, .txt, each also .gz). `[500]` at the end
            takes 500 items drawn without replacement by a fixed seed, in corpus order: `mnli:dev[500]`.

    Raises:
        ValueError: More items asked for than there are, or malformed content; and what `locate` raises.
        FileNotFoundError: See `locate`.
    """
    place = locate(reference)
    items, left_out = _READERS[place.path.name.removesuffix(".gz").rsplit(".", 1)[-1]](place.path, place.where)
    if not items:
        raise ValueError(f"{place.path} holds no sentence: an empty corpus cannot be used")
    split = place.split
    if place.drawn is not None:
        items = _drawn(items, place.drawn, reference)
        split = f"{split}[{place.drawn}]"
    return Corpus(place.name, split, tuple(items), left_out)


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


def _drawn(items: list, count: int, reference: str) -> list:
    if not 0 < count <= len(items):
        raise ValueError(f"{reference} asks for {count} items, the corpus has {len(items)}")
    return [items[i] for i in sorted(np.random.default_rng(0).choice(len(items), count, replace=False))]


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


def _read_conllu(path: Path, where: Mapping[str, str]) -> tuple[list[Sentence], dict[str, int]]:
    sentences: list[Sentence] = []
    left_out = {"multiword ranges": 0, "empty nodes": 0}
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
            sentences.append(_sentence(path, block, left_out))
            block = []
    if block:
        sentences.append(_sentence(path, block, left_out))
    return sentences, left_out


# ids and heads are checked here, where the line is known; the others nobody reads, and parsing them triples the time
_KEEP = {name: (lambda line, i: line[i]) for name in ("id", "head", "feats", "deps", "misc")}


def _sentence(path: Path, block: list[tuple[int, str]], left_out: dict[str, int]) -> Sentence:
    tokens_at = [number for number, line in block if not line.startswith("#")]
    start = block[0][0]
    try:
        (parsed,) = conllu.parse(
            "\n".join(line for _, line in block), field_parsers=conllu.parser.DEFAULT_FIELD_PARSERS | _KEEP
        )
    except (conllu.exceptions.ParseException, ValueError) as error:
        raise ValueError(f"{path}:{start}: not CoNLL-U: {error}") from None
    kept = []
    for number, token in zip(tokens_at, parsed, strict=True):
        if re.fullmatch(r"\d+-\d+", token["id"]):
            left_out["multiword ranges"] += 1
        elif re.fullmatch(r"\d+\.\d+", token["id"]):
            left_out["empty nodes"] += 1
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


def _read_tsv(path: Path, where: Mapping[str, str]) -> tuple[list, dict[str, int]]:
    lines = _lines(path)
    _, header = next(lines, (0, ""))
    columns = header.split("\t")
    reader = _pair if {"premise", "hypothesis", "label"} <= set(columns) else _paragraph
    if reader is _paragraph and "paragraph" not in columns:
        raise ValueError(f"{path}:1: expected the columns premise, hypothesis, label, or paragraph; got {columns}")
    items: list = []
    skipped = 0
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise ValueError(f"{path}:{number}: {len(cells)} columns where the header has {len(columns)}")
        row = dict(zip(columns, cells, strict=True))
        if any(row.get(key) != value for key, value in where.items()):
            skipped += 1
        else:
            items.extend(reader(row, f"{path}:{number}", f"{number}"))
    return items, {f"rows not of {' '.join(where.values())}": skipped} if where else {}


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


def _read_text(path: Path, where: Mapping[str, str]) -> tuple[list[Sentence], dict[str, int]]:
    return [s for number, line in _lines(path) for s in _paragraph({"paragraph": line}, "", str(number))], {}


def _read_questions(path: Path, where: Mapping[str, str]) -> tuple[list[Pair], dict[str, int]]:
    try:
        articles = json.loads("\n".join(line for _, line in _lines(path)))["data"]
        return [
            Pair(str(question["id"]), words(question["question"]), words(paragraph["context"]))
            for article in articles
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ], {}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not SQuAD-format JSON (data > paragraphs > context, qas): {error!r}") from None


_READERS = {"conllu": _read_conllu, "tsv": _read_tsv, "txt": _read_text, "json": _read_questions}
