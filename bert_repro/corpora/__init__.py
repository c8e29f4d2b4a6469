"""Corpora: sentences, pairs and questions by a corpus's name, whole or item by item.

A draw of more items than there are, and an empty corpus, are errors; malformed content is one where it is read.
"""

import contextlib
import hashlib
import itertools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bert_repro.corpora import counted, doubtful, layout, readers
from bert_repro.corpora.counted import Census as Census
from bert_repro.corpora.counted import size as size
from bert_repro.corpora.items import LABELS as LABELS
from bert_repro.corpora.items import Pair as Pair
from bert_repro.corpora.items import Question as Question
from bert_repro.corpora.items import Sentence
from bert_repro.corpora.layout import sides as sides
from bert_repro.corpora.places import Located, locate, registered
from bert_repro.corpora.places import checksums as checksums
from bert_repro.corpora.places import columns as columns
from bert_repro.corpora.places import fetch as fetch
from bert_repro.corpora.places import in_clone as in_clone
from bert_repro.corpora.readers import text_files as text_files
from bert_repro.corpora.reference import Reference, named, parts
from bert_repro.corpora.sources import CORPORA
from bert_repro.corpora.sources import credit as credit
from bert_repro.corpora.sources import refuse_to_show as refuse_to_show
from bert_repro.files import sha256


@dataclass(frozen=True)
class Corpus:
    """A named text: its items, all of one type, and counts of what was left out while reading (for a draw, left out of the
    draw).

    `digest` identifies the content (ids, words and annotations), whatever file it came from.
    """

    name: str
    split: str
    items: tuple[Any, ...]  # of Sentence, or of Pair
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return counted.take(self.items, self.left_out).digest

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


def stream(reference: str) -> Stream:
    """Read a corpus item by item, in constant memory except for SQuAD's JSON, which is read whole.

    Args:
        reference: `name`, `name:split`, a file (.conllu, .tsv, .json, .jsonl, .txt, each also .gz), or a folder of .txt
            files, which are one text. `[500]` at the end
            takes 500 items drawn without replacement by a fixed seed, in corpus order: `mnli:dev[500]`; `[-500]` takes all
            the others. Both read the corpus twice, and parse only what they take. `wiki~mnli:dev[500]` is text in the
            layout of another corpus, see `layout`; it is held in memory, or what is drawn of it: sentences, or documents
            where that corpus is of questions. What is drawn or laid out is kept in the cache, and read from there.

    Raises:
        ValueError: More items asked for than there are, or malformed content, here or further on; what `locate` raises;
            and what `layout` refuses.
        OSError: See `locate`.
    """
    place = locate(reference)
    if _is_kept(place):
        census, path = _kept_of(reference, place)
        return Stream(place.name, place.part, counted.kept_items(path), dict(census.left_out))
    return _read(reference, place)


def _is_kept(place: Located) -> bool:
    """Return whether the items of a place are kept: few, for which much must be read, of files that are identified."""
    return (place.layout is not None or (place.drawn or 0) > 0) and _content(place) is not None


def _kept_of(reference: str, place: Located) -> tuple[Census, Path]:
    def read() -> tuple[Iterable[Any], Mapping[str, int]]:
        items = _read(reference, place)
        return items, items.left_out

    return counted.kept(_content(place), read, _is_kept(place))


def _read(reference: str, place: Located) -> Stream:
    """Read a corpus from its files; see `stream`."""
    left_out: dict[str, int] = {}
    if place.layout:
        return Stream(place.name, place.part, _laid_out(Reference.parse(reference), left_out), left_out)
    records = _kept(place.records(left_out), left_out if place.drawn is None else {})
    first = next(records, None)
    if first is None:
        why = "".join(f"; {count} {reason}" for reason, count in left_out.items() if count)
        raise ValueError(f"{place.path} holds no sentence: an empty corpus cannot be used{why}")
    records = itertools.chain([first], records)
    if place.drawn is not None:
        key = _key(place._replace(drawn=None))  # counted, without parsing, once in a process while its file stays
        if key not in _SIZES:
            _SIZES[key] = sum(1 for _ in _kept(place.records({}), {}))
        chosen = _chosen(reference, place.drawn, _SIZES[key], "items")
        records = (record for number, record in enumerate(records) if number in chosen)
    return Stream(place.name, place.part, (record() for record in records), left_out)


def _kept(records: Iterator[readers.Record], left_out: dict[str, int]) -> Iterator[Callable[[], Any]]:
    """Give the records that are of items, and count the others by reason."""
    for record in records:
        if isinstance(record, str):
            left_out[record] = left_out.get(record, 0) + 1
        else:
            yield record


def _laid_out(reference: Reference, left_out: dict[str, int]) -> Iterator[Any]:
    """Read text in the layout of another corpus; what is left out of either is counted."""
    pattern, text, notes = load(str(reference.layout)), reference.text, dict[str, int]()
    streams: list[Stream] = []

    def again(part: Reference) -> Stream:
        streams.append(stream(str(part)))
        return streams[-1]

    if isinstance(pattern.items[0], Question):
        together = _drawn(text, lambda: (part for _, part in itertools.groupby(again(text.whole), layout.together)))
        running = [layout.running(str(text), [*part]) for part in together]
        items = layout.in_questions(str(reference), pattern.items, running, notes)
    else:
        items = layout.in_items(str(reference), pattern.items, [*layout.sentences(again(text))], notes)
    for counts in (pattern.left_out, streams[-1].left_out, notes):
        for reason, count in counts.items():
            left_out[reason] = left_out.get(reason, 0) + count
    yield from items


def _drawn(reference: Reference, documents: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """Give the documents of a corpus, or those that its reference draws, which reads it twice."""
    if reference.drawn is None:
        return documents()
    chosen = _chosen(str(reference), reference.drawn, sum(1 for _ in documents()), "documents")
    return (document for number, document in enumerate(documents()) if number in chosen)


def _chosen(reference: str, drawn: int, total: int, kind: str) -> set[int]:
    count = abs(drawn)
    if not 0 < count <= total or drawn == -total:
        raise ValueError(f"{reference} asks for {count} {kind}, the corpus has {total}")
    chosen = set(np.random.default_rng(0).choice(total, count, replace=False).tolist())
    return chosen if drawn > 0 else set(range(total)) - chosen


def paragraphs(reference: str) -> Iterator[tuple[str, str]]:
    """Read running text paragraph by paragraph, in constant memory.

    A .txt file and a table of paragraphs give theirs as they stand there; a folder those of all its .txt files (also .gz) by
    name; other corpora of single sentences (treebanks, wiki40b) their words joined by blanks, a sentence a paragraph.

    Args:
        reference: As in `stream`; `[500]` and `[-500]` count documents here, or paragraphs of a single document.

    Returns:
        Document and paragraph; consecutive paragraphs with the same document belong together. In a folder, the name of a
        document begins with that of its file.

    Raises:
        ValueError: Pairs, questions or an edge-probing file, a folder without text; and what `stream` raises.
        FileNotFoundError: See `locate`.
    """
    parsed = Reference.parse(reference)
    if parsed.drawn is not None:
        drawn = _drawn(parsed, lambda: units(str(parsed.whole)))
        return (text for part in drawn for text in part)
    items = stream(reference)
    first = next(items)
    if parsed.layout or not isinstance(first, Sentence) or first.spans:
        raise ValueError(
            f"{reference} has no running text: expected a .txt file or a folder of them, a table of paragraphs such as wiki, "
            "a treebank such as ewt:train, or wiki40b/en:train"
        )
    place = locate(reference)
    if place.files and re.search(r"\.(txt|tsv)(\.gz)?$", place.files[0].name):
        return readers.paragraphs(
            place.path, CORPORA[place.name].where.get(place.split, {}) if registered(reference) else {}
        )
    return ((item.document, " ".join(item.words)) for item in itertools.chain([first], items))


def documents(text: Iterable[tuple[str, str]]) -> Iterator[Iterator[tuple[str, str]]]:
    """Split what `paragraphs` gives into documents."""
    return (part for _, part in itertools.groupby(text, key=operator.itemgetter(0)))


def units(reference: str) -> Iterator[Iterable[tuple[str, str]]]:
    """Give what running text is drawn by: its documents or, where it is one document, its paragraphs. Errors as of `paragraphs`."""
    if len([*itertools.islice(documents(paragraphs(reference)), 2)]) > 1:
        return documents(paragraphs(reference))
    return ([paragraph] for paragraph in paragraphs(reference))


def undrawn(reference: str) -> str:
    """Name the whole text that is read for a reference, in its own layout."""
    return str(Reference.parse(reference).text.whole)


def load(reference: str) -> Corpus:
    """Read a corpus whole; reference and errors as in `stream`."""
    items = stream(reference)
    return Corpus(items.name, items.split, tuple(_sharing(items)), items.left_out)


def _sharing(items: Iterable[Any]) -> Iterator[Any]:
    """Have questions about one passage share its words, wherever they stand in a corpus: each takes ten times its own memory."""
    first: dict[str, Question] = {}
    for item in items:
        if isinstance(item, Question) and (like := first.setdefault(item.context, item)) is not item:
            item = replace(item, context=like.context, second=like.second, offsets=like.offsets)
        yield item


def census(reference: str) -> Census:
    """Identify and count a corpus by streaming it, once while its file and reader are unchanged; errors as in `stream`."""
    place = locate(reference)
    key = _key(place)
    if key not in _CENSUSES:
        if _content(place):
            _CENSUSES[key], _ = _kept_of(reference, place)
        else:
            items = _read(reference, place)
            _CENSUSES[key] = counted.take(items, items.left_out)
    return _CENSUSES[key]


def content(reference: str) -> str | None:
    """Identify what is read for a reference, and the code that reads it; None for a prepared dataset. Errors as in `locate`."""
    files = _content(locate(reference))
    return None if files is None else f"{files} {counted.reader()}"


def _content(place: Located) -> tuple | None:
    """Identify what is read from a place; None for a prepared dataset, which is not identified."""
    pattern = _content(place.layout) if place.layout else ()
    if pattern is None or not place.files:
        return None
    digests = (digest for path in place.files for digest in (sha256(path), path.name))
    return *digests, place.name, place.split, place.drawn, *pattern


def _key(place: Located) -> tuple:
    files = tuple(
        (path.absolute(), path.stat().st_size, path.stat().st_mtime_ns) for path in place.files or [place.path]
    )
    key_of_layout = _key(place.layout) if place.layout else ()
    return *files, place.name, place.split, place.drawn, *key_of_layout


_CENSUSES: dict[tuple, Census] = {}
_SIZES: dict[tuple, int] = {}


def digest(reference: str) -> str:
    """Identify the content of a corpus, in constant memory: `load(reference).digest`."""
    return census(reference).digest


def running_digest(reference: str) -> str:
    """Identify the content of running text, in constant memory: its documents and paragraphs. Errors as of `paragraphs`."""
    text = hashlib.sha256()
    for document, paragraph in paragraphs(reference):
        text.update(f"{document}\n{paragraph}\n".encode())
    return text.hexdigest()


def _digests(reference: str) -> Iterator[str]:
    """Give the digests that a manifest may hold of a text: of its items and, where it has any, of its running text."""
    yield digest(reference)
    with contextlib.suppress(ValueError):
        yield running_digest(reference)


def differing(inputs: Mapping[str, Any]) -> list[str]:
    """Name the texts whose content has changed since a manifest was written.

    Args:
        inputs: Inputs of the manifest: by reference a digest, or mappings that hold one under `corpus`.

    Returns:
        References. Those that are not at hand are passed over, and those of tensorflow-datasets, which are large and have
        versions of their own.
    """
    changed = []
    for reference, recorded in inputs.items():
        if registered(reference) and all(CORPORA[named(part)].home != "tfds" for part in parts(reference)):
            with contextlib.suppress(OSError, ValueError):
                changed += [reference] if digest_in(recorded) not in _digests(reference) else []
    return changed


def digest_in(known: Any) -> str:
    """Give the digest of a text in a manifest: a string, or under `corpus`, possibly for each of two models."""
    return known if isinstance(known, str) else digest_in(known.get("corpus") or next(iter(known.values())))


def doubts(references: Iterable[str], learned: str = "") -> list[str]:
    """Say what in some texts is probably not intended, see `doubtful.doubts`.

    Args:
        references: As in `stream`; empty ones are passed over.
        learned: That of the text which is learned from, one of them.

    Raises:
        ValueError: Two texts that tables would call by one name; and what `stream` and `doubtful.doubts` refuse.
        OSError: As `stream`.
    """
    texts = list(dict.fromkeys(filter(None, references)))
    called: dict[tuple[str, ...], str] = {}
    for text in texts:
        namesake = called.setdefault(tuple(columns(text).values()), text)
        if namesake != text and _content(locate(namesake)) != _content(locate(text)):
            raise ValueError(f"{namesake} and {text} would have one name in tables: give one of the files another name")
    return doubtful.doubts({text: census(text) for text in texts}, learned)


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
