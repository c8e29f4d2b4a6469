"""Corpora: hides where texts lie and how much is read at a time; gives sentences, pairs and questions by a corpus's name.

It refuses names, splits and draws that there are not, an empty corpus, and a file of the clone that is not the one it was;
malformed content is refused where it is read.
"""

import contextlib
import functools
import hashlib
import itertools
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bert_repro.corpora import readers, tfds
from bert_repro.corpora.items import LABELS as LABELS
from bert_repro.corpora.items import Pair, Sentence
from bert_repro.corpora.items import Question as Question
from bert_repro.corpora.reference import Reference, drawn_split, named
from bert_repro.corpora.sources import CORPORA, SUCCESSORS
from bert_repro.corpora.sources import credit as credit
from bert_repro.corpora.sources import refuse_to_show as refuse_to_show
from bert_repro.files import CLONED, added_data, sha256


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


class Located(NamedTuple):
    """Where a corpus reference points."""

    name: str
    split: str
    path: Path  # a file, or the folder of a prepared dataset
    records: Callable[[dict[str, int]], Iterator[readers.Record]]  # fills in what it leaves out
    drawn: int | None  # how many items to draw; below 0, how many to leave out

    @property
    def part(self) -> str:
        """What the tables call the split: with its draw, as in `dev[600]`."""
        return drawn_split(self.split, self.drawn)


def locate(reference: str) -> Located:
    """Find a corpus without reading it.

    Raises:
        ValueError: An unknown name or split, or the name of a corpus that is gone.
        OSError: The file or the added folder is missing, the dataset was not fetched, or a file of the clone has changed.
    """
    parsed = Reference.parse(reference)
    name, split, count = parsed.name, parsed.split, parsed.drawn
    if name in SUCCESSORS:
        successor = SUCCESSORS[name]
        raise ValueError(
            f"there are no generated corpora any more: write {successor!r}, real text that comes with the clone, for {name!r} "
            f"(for example {successor}:{[*CORPORA[successor].files][-1]}[60])"
        )
    if name in CORPORA:
        source = CORPORA[name]
        if split is None and len(source.files) == 1:
            (split,) = source.files
        if split is None or split not in source.files:
            raise ValueError(
                f"corpus {name!r} has no split {split!r}: write one of {[f'{name}:{s}' for s in source.files]}"
            )
        if source.home == "tfds":
            records = functools.partial(tfds.records, name, source.files[split])
            return Located(name, split, tfds.folder(name), records, count)
        path = _file(f"{name}:{split}", source.files[split])
        return Located(name, split, path, functools.partial(readers.records, path, source.where.get(split, {})), count)
    if not re.search(r"\.(conllu|tsv|jsonl?|txt)(\.gz)?$", name):
        raise ValueError(
            f"unknown corpus {name!r}: expected one of {sorted(CORPORA)} or a .conllu, .tsv, .json, .jsonl or .txt file"
        )
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"no corpus file {name}")
    return Located(path.name, split or "", path, functools.partial(readers.records, path, {}), count)


def columns(reference: str) -> dict[str, str]:
    """Give the table columns that name a corpus, or a folder of running text; errors as in `locate`."""
    if Path(reference).is_dir() and not registered(reference):
        return {"corpus": Path(reference).name, "split": ""}
    place = locate(reference)
    return {"corpus": place.name, "split": place.part}


def _file(reference: str, name: str) -> Path:
    """Find a file of the real corpora by its path: in the clone's `data/`, or else in the folder that DATA= adds."""
    cloned, added = CLONED / name, added_data()
    there = added / name if added else None
    if cloned.is_file():
        if not _intact(name):
            raise OSError(
                f"{cloned} is not the file that data/files.sha256 lists: a tool has changed it, perhaps its line endings. "
                f"Delete it and run `git checkout -- data/{name}`, in a clone that has the file .gitattributes"
            )
        if there and there.is_file() and sha256(there) != sha256(cloned):
            warnings.warn(f"{there} is another file than {cloned}: the one in the clone is read", stacklevel=3)
        return cloned
    if there is None:
        raise FileNotFoundError(
            f"corpus {reference} does not come with the clone: name the folder that holds {name} with "
            "`make report DATA=/path/to/data` or the environment variable BERT_REPRO_DATA"
        )
    if not there.is_file():
        raise FileNotFoundError(f"corpus {reference} should lie at {there}, where no file is: check DATA=...")
    return there


def _intact(name: str) -> bool:
    """Compare a file of `data/` with the checksum listed there; what is not listed somebody has put there, and it counts."""
    listed = (line.split(maxsplit=1) for line in (CLONED / "files.sha256").read_text(encoding="utf-8").splitlines())
    return {path: checksum for checksum, path in listed}.get(name, sha256(CLONED / name)) == sha256(CLONED / name)


def in_clone(name: str) -> bool:
    """Tell whether all files of a registered corpus come with the clone."""
    source = CORPORA[name]
    return source.home == "data" and all((CLONED / file).is_file() for file in source.files.values())


def registered(reference: str) -> bool:
    """Tell whether a reference begins with a name of CORPORA."""
    return named(reference) in CORPORA


def fetch(reference: str) -> list[Path]:
    """Have a corpus ready, and tell where it lies; without a split, all of it.

    A dataset of tensorflow-datasets is downloaded and prepared, any file expected to be there.

    Raises:
        ValueError: See `locate`.
        OSError: It is not there and cannot be fetched.
    """
    name = named(reference)
    source = CORPORA.get(name)
    if source and source.home == "tfds":
        tfds.fetch(name)
    parts = [f"{name}:{split}" for split in source.files] if source and reference == name else [reference]
    return list(dict.fromkeys(locate(part).path for part in parts))


def stream(reference: str) -> Stream:
    """Read a corpus item by item, in constant memory but for SQuAD's JSON, which is read whole.

    Args:
        reference: `name`, `name:split`, or a file (.conllu, .tsv, .json, .jsonl, .txt, each also .gz). `[500]` at the end
            takes 500 items drawn without replacement by a fixed seed, in corpus order: `mnli:dev[500]`, and `[-500]`
            all the others; either reads the corpus twice, and parses what it takes.

    Raises:
        ValueError: More items asked for than there are, or malformed content, here or further on; and what `locate` raises.
        OSError: See `locate`.
    """
    place = locate(reference)
    left_out: dict[str, int] = {}
    records = place.records(left_out)
    first = next(records, None)
    if first is None:
        raise ValueError(f"{place.path} holds no sentence: an empty corpus cannot be used")
    records = itertools.chain([first], records)
    if place.drawn is not None:
        chosen = _chosen(reference, place.drawn, _items(str(Reference.parse(reference).whole)), "items")
        records = (record for number, record in enumerate(records) if number in chosen)
    return Stream(place.name, place.part, (record() for record in records), left_out)


def _chosen(reference: str, drawn: int, there: int, what: str) -> set[int]:
    count = abs(drawn)
    if not 0 < count <= there or drawn == -there:
        raise ValueError(f"{reference} asks for {count} {what}, the corpus has {there}")
    chosen = set(np.random.default_rng(0).choice(there, count, replace=False).tolist())
    return chosen if drawn > 0 else set(range(there)) - chosen


def paragraphs(reference: str) -> Iterator[tuple[str, str]]:
    """Read running text paragraph by paragraph, in constant memory.

    A .txt file and a table of paragraphs give theirs as they stand there; a folder those of all its .txt files (also .gz) by
    name; other corpora of single sentences (treebanks, wiki40b) their words joined by blanks, a sentence a paragraph.

    Args:
        reference: As in `stream`, or a folder; `[500]` and `[-500]` count documents here.

    Returns:
        Document and paragraph; consecutive paragraphs with the same document belong together. In a folder, the name of a
        document begins with that of its file.

    Raises:
        ValueError: Pairs, questions or an edge-probing file, a folder without text; and what `stream` raises.
        FileNotFoundError: See `locate`.
    """
    if Path(reference).is_dir() and not registered(reference):
        files = text_files(Path(reference))
        return ((f"{path.name}/{name}", text) for path in files for name, text in paragraphs(str(path)))
    parsed = Reference.parse(reference)
    if parsed.drawn is not None:
        whole = str(parsed.whole)
        there = sum(1 for _ in documents(paragraphs(whole)))
        chosen = _chosen(reference, parsed.drawn, there, "documents")
        return (text for number, part in enumerate(documents(paragraphs(whole))) if number in chosen for text in part)
    items = stream(reference)
    first = next(items)
    if not isinstance(first, Sentence) or first.spans:
        raise ValueError(
            f"{reference} has no running text: expected a .txt file or a folder of them, a table of paragraphs such as wiki, "
            "a treebank such as ewt:train, or wiki40b/en:train"
        )
    place = locate(reference)
    if re.search(r"\.(txt|tsv)(\.gz)?$", place.path.name):
        return readers.paragraphs(
            place.path, CORPORA[place.name].where.get(place.split, {}) if registered(reference) else {}
        )
    return ((item.document, " ".join(item.words)) for item in itertools.chain([first], items))


def documents(text: Iterable[tuple[str, str]]) -> Iterator[Iterator[tuple[str, str]]]:
    """Cut what `paragraphs` gives into documents."""
    return (part for _, part in itertools.groupby(text, key=operator.itemgetter(0)))


def text_files(folder: Path) -> list[Path]:
    """List the files of a folder that hold running text, by name.

    Raises:
        ValueError: There is none.
    """
    files = sorted(path for path in folder.iterdir() if path.name.endswith((".txt", ".txt.gz")))
    if not files:
        raise ValueError(f"the folder {folder} holds no text: expected .txt or .txt.gz files in it")
    return files


def load(reference: str) -> Corpus:
    """Read a corpus whole; reference and errors as in `stream`."""
    read = stream(reference)
    return Corpus(read.name, read.split, tuple(read), read.left_out)


def census(reference: str) -> Census:
    """Identify and count a corpus by streaming it, once in a process while its file stays; errors as in `stream`."""
    key = _key(locate(reference))
    if key not in _CENSUSES:
        read = stream(reference)
        _CENSUSES[key] = _count(read, read.left_out)
    return _CENSUSES[key]


def _items(reference: str) -> int:
    """Count the items of a corpus without parsing them, once in a process while its file stays."""
    place = locate(reference)
    key = _key(place)
    if key not in _SIZES:
        _SIZES[key] = sum(1 for _ in place.records({}))
    return _SIZES[key]


def _key(place: Located) -> tuple:
    file = place.path.stat()
    return place.path.absolute(), file.st_size, file.st_mtime_ns, place.name, place.split, place.drawn


_CENSUSES: dict[tuple, Census] = {}
_SIZES: dict[tuple, int] = {}


def digest(reference: str) -> str:
    """Identify the content of a corpus, in constant memory: `load(reference).digest`."""
    return census(reference).digest


def differing(inputs: Mapping[str, Any]) -> list[str]:
    """Name the texts whose content is another now than a manifest says.

    Args:
        inputs: Of the manifest: by reference a digest, or mappings that hold one under `corpus`.

    Returns:
        References. Those that are not at hand are passed over, and those of tensorflow-datasets, which are large and have
        versions of their own.
    """
    found = []
    for reference, known in inputs.items():
        if registered(reference) and CORPORA[named(reference)].home != "tfds":
            with contextlib.suppress(OSError, ValueError):
                found += [reference] if digest(reference) != digest_in(known) else []
    return found


def digest_in(known: Any) -> str:
    """Give the digest that a manifest has of a text: it alone, or under `corpus`, perhaps of each of two models."""
    return known if isinstance(known, str) else digest_in(known.get("corpus") or next(iter(known.values())))


def checksums(references: Iterable[str]) -> dict[str, str]:
    """Give the SHA-256 of the files that texts are read from, by their paths in `data/` or in the folder that DATA= adds.

    Raises:
        OSError: See `locate`.
    """
    places = [locate(one) for one in references if registered(one) and CORPORA[named(one)].home == "data"]
    files = {CORPORA[place.name].files[place.split]: place.path for place in places}
    return {name: sha256(path) for name, path in sorted(files.items())}


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


def sentences(reference: str) -> Corpus:
    """Read a corpus of single sentences, with trees or labelled spans or neither.

    Raises:
        ValueError: It is of pairs or questions; and everything `load` raises.
    """
    corpus = load(reference)
    if not isinstance(corpus.items[0], Sentence):
        raise ValueError(f"{reference} is no corpus of single sentences, which a treebank is, or an edge-probing file")
    return corpus


def treebank(reference: str) -> Corpus:
    """Read a corpus whose sentences have trees.

    Raises:
        ValueError: It has none; and everything `load` raises.
    """
    corpus = load(reference)
    if not isinstance(corpus.items[0], Sentence) or not corpus.items[0].heads:
        raise ValueError(f"{reference} has no trees: a treebank (CoNLL-U) is needed here, e.g. ewt:dev")
    return corpus
