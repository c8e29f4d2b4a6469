"""Text for pre-training: removes what evaluation texts contain, shuffles documents and holds some out.

Holding out more documents than there are, and writing to a folder that is not empty, are errors.
"""

import gzip
import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bert_repro import corpora
from bert_repro.corpora.items import Pair
from bert_repro.files import made_new

RUN = 13
"""So many words in a row a paragraph may not share with a text that is evaluated on."""


class Runs:
    """The runs of `RUN` words in some corpora, to find them in other texts.

    Words are runs of letters and digits of any script, lower-cased; what stands between them does not count, be it the end of
    a paragraph. A run is known by a number of 64 bits: by chance, one text of 46 million words in 100,000 would share one.
    """

    def __init__(self) -> None:
        self._words: dict[str, int] = {}  # numbered from 1; 0 is any word that is in none of the corpora
        self._corpora: dict[int, int] = {}  # by run, a bit for each corpus that holds it

    def add(self, reference: str, bit: int) -> None:
        """Take up the runs of a corpus: of documents across the ends of sentences, of pairs and questions text by text.

        Raises:
            ValueError, OSError: See `corpora.stream`.
        """
        for text in _texts(reference):
            numbers = [self._words.setdefault(word, len(self._words) + 1) for word in _words(text)]
            for run in _runs(numbers):
                self._corpora[run] = self._corpora.get(run, 0) | 1 << bit

    def shared(self, paragraphs: Sequence[str]) -> list[int]:
        """Give a bit for each corpus that has a run of this document, to every paragraph that a word of the run stands in."""
        removed = [0] * len(paragraphs)
        if self._corpora:
            words = [_words(paragraph) for paragraph in paragraphs]
            numbers = [self._words.get(word, 0) for word in itertools.chain(*words)]
            places = [(place, run) for place, run in enumerate(_runs(numbers)) if run in self._corpora]
            if places:
                owners = [number for number, part in enumerate(words) for _ in part]
                for place, run in places:
                    for owner in {*owners[place : place + RUN]}:
                        removed[owner] |= self._corpora[run]
        return removed


def _texts(reference: str) -> Iterator[str]:
    """Give the separate texts of a corpus: documents, or the sides of pairs and questions."""
    items = corpora.stream(reference)
    for _, part in itertools.groupby(items, lambda item: getattr(item, "document", "") or item.id):
        first, *more = part
        if isinstance(first, Pair):
            yield from (" ".join(side) for item in (first, *more) for side in (item.first, item.second))
        else:
            text = " ".join(word for item in (first, *more) for word in item.words)
            # which treebanks cut off: words of its own, `don` and `t`, as elsewhere
            yield re.sub(r" (?=n['’]t\b)", "", text)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFC", text.lower()))


def _runs(words: Sequence[int]) -> list[int]:
    """Number the run that begins at each word but the last: a polynomial of its words, each stirred into 64 bits."""
    values = np.array(words, np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):  # splitmix64
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    runs = np.zeros(max(len(values) - RUN + 1, 0), np.uint64)
    for start in range(RUN):
        runs = runs * np.uint64(0x9E3779B97F4A7C15) + values[start : start + len(runs)]
    return runs.tolist()


class Document(NamedTuple):
    """The rest of a document, in UTF-8, which takes half the memory of a `str` with curly quotes."""

    source: str
    text: bytes  # a paragraph a line
    size: Mapping[str, int]


def prepare(
    texts: Iterable[str], folder: Path, without: Sequence[str] = (), held_out: int = 0, seed: int = 0
) -> dict[str, Any]:
    """Remove evaluation texts from texts, shuffle their documents, and hold some out.

    A paragraph goes where a word of it is one of `RUN` in a row that its document shares with `without`; those around it close
    up. Documents are held out of each source in proportion to what is left of it. All of the text is held in memory.

    Args:
        texts: References of running text (see `corpora.paragraphs`); each file of a folder is a source of its own.
        folder: To be made: train.txt.gz, dev.txt.gz (what is held out), dev-SOURCE.txt.gz (the same, by source), counts.json.
        without: References of corpora of any kind (see `corpora.stream`).
        held_out: How many documents.
        seed: Seed of the order, and of what is held out.

    Returns:
        What counts.json says: of each source and of `all`, documents, paragraphs and words (parted by blanks) before, after,
        and of the latter those held out; and by reference the paragraphs that matched.

    Raises:
        ValueError: More to hold out than can be spared; and what `corpora.paragraphs` and `corpora.stream` raise.
        OSError: The folder is not empty or cannot be written, or a text is not there.
    """
    facts: dict[str, Any] = {}

    def make(partial: Path) -> None:
        documents, counts = _clean(texts, without)
        shares = _shares({source: count["after"]["documents"] for source, count in counts.items()}, held_out)
        files: dict[str, list[bytes]] = {name: [] for name in ("train", "dev", *(f"dev-{name}" for name in counts))}
        for number in np.random.default_rng(seed).permutation(len(documents)).tolist():
            document = documents[number]
            names = ["train"]
            if shares[document.source]:
                shares[document.source] -= 1
                counts[document.source]["held_out"].update(document.size)
                names = ["dev", f"dev-{document.source}"]
            for name in names:
                files[name].append(document.text + b"\n")
        for name, parts in files.items():
            if parts:  # bytes that tell neither the time nor the name
                with (
                    open(partial / f"{name}.txt.gz", "wb") as file,
                    gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
                ):
                    packed.writelines(parts)
        total = {part: _sum(count[part] for count in counts.values()) for part in _PARTS}
        facts.update(run=RUN, seed=seed, sources=counts | {"all": total})
        (partial / "counts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    made_new(folder, make)
    return facts


_PARTS = ("before", "after", "held_out", "matched")


def _clean(texts: Iterable[str], without: Sequence[str]) -> tuple[list[Document], dict[str, dict[str, Counter[str]]]]:
    runs = Runs()
    for bit, reference in enumerate(without):
        runs.add(reference, bit)
    names = [reference if corpora.registered(reference) else Path(reference).name for reference in without]
    documents: list[Document] = []
    counts: dict[str, dict[str, Counter[str]]] = {}
    for source, reference in (part for text in texts for part in _sources(text)):
        if source not in counts:
            counts[source] = {
                part: Counter(dict.fromkeys(names, 0) if part == "matched" else _size([])) for part in _PARTS
            }
        count = counts[source]
        for document in corpora.documents(corpora.paragraphs(reference)):
            paragraphs = [text for _, text in document]
            shared = runs.shared(paragraphs)
            kept = [text for text, bits in zip(paragraphs, shared, strict=True) if not bits]
            count["before"].update(_size(paragraphs))
            count["matched"].update(
                name for bits in shared if bits for bit, name in enumerate(names) if bits >> bit & 1
            )
            if kept:
                documents.append(Document(source, "".join(f"{text}\n" for text in kept).encode(), _size(kept)))
                count["after"].update(documents[-1].size)
    return documents, counts


def _sources(reference: str) -> Iterator[tuple[str, str]]:
    """Name the sources of a reference, as files may be named, and where each is read."""
    if corpora.registered(reference) or not Path(reference).is_dir():
        name = reference if corpora.registered(reference) else re.sub(r"\.\w+(\.gz)?(?=\[|$)", "", Path(reference).name)
        yield re.sub(r"[^\w.-]+", "-", name).strip("-"), reference
    else:
        for path in corpora.text_files(Path(reference)):
            yield from _sources(str(path))


def _size(paragraphs: Sequence[str]) -> dict[str, int]:
    words = sum(len(paragraph.split()) for paragraph in paragraphs)
    return {"documents": int(bool(paragraphs)), "paragraphs": len(paragraphs), "words": words}


def _sum(counts: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)  # which, unlike +, keeps what is zero
    return total


def _shares(documents: Mapping[str, int], count: int) -> dict[str, int]:
    """Share a number out in proportion, by largest remainders."""
    total = sum(documents.values())
    if not 0 <= count < total:
        raise ValueError(f"cannot hold out {count} of the {total} documents that are left: one must remain to train on")
    shares = {source: count * number // total for source, number in documents.items()}
    extra = sorted(documents, key=lambda source: -(count * documents[source] % total))[: count - sum(shares.values())]
    return {source: share + (source in extra) for source, share in shares.items()}
