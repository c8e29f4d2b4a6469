"""File formats: hides how texts, pairs, questions and trees are written down; gives them as items made of words.

It refuses what it cannot read in full: a malformed line, a tree that is none, an unknown label or an answer out of place ends
the reading with the file and line named. Multiword ranges and empty nodes of CoNLL-U are not words; they are counted and
left out.
"""

import functools
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import conllu

from bert_repro.corpora.items import LABELS, Labelled, Pair, Question, Sentence

_LONGEST = 64 * 10**6  # bytes of a line: SQuAD is one line of 30 MB; what is longer is no text
Record = Callable[[], Any]
"""An item as it stands in its file: told apart from its neighbours, and parsed when it is called."""


def records(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    """Read a file record by record, in constant memory but for JSON, which is read whole.

    To count items, or to take few of many, costs little: only what is called is parsed.

    Args:
        path: A .conllu, .tsv, .json (as SQuAD's), .jsonl (as edge probing suites have it) or .txt file, each also .gz.
        where: Columns of a TSV and the value that a row must have there to be read.
        left_out: Is filled with what was not read, and how often.

    Raises:
        ValueError: Malformed content, while reading or when its record is called.
    """
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1]
    return _READERS[kind](path, where, left_out)


def paragraphs(path: Path, where: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Read running text paragraph by paragraph as it stands in its file, in constant memory.

    Args:
        path: A .txt file, whose lines are paragraphs and whose documents are separated by blank lines; or a .tsv with a column
            `paragraph` and, where it is known, `title`, which names the document.
        where: As in `read`.

    Returns:
        Document and paragraph.

    Raises:
        ValueError: Malformed content, while reading.
    """
    if path.name.removesuffix(".gz").endswith(".tsv"):
        for number, row in _rows(path, where, {}):
            if row["paragraph"].strip():
                yield row.get("title", f"{number}"), row["paragraph"]
    else:
        for _, document, line in _paragraphs(path):
            yield document, line


def words(text: str) -> tuple[str, ...]:
    """Split running text into words and single punctuation marks."""
    return tuple(re.findall(r"\w+|[^\w\s]", text))


@functools.lru_cache(1)  # questions about one context come one after the other, and share its words
def _spans(text: str) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    found = list(re.finditer(r"\w+|[^\w\s]", text))
    return tuple(match[0] for match in found), tuple(match.span() for match in found)


def pair(place: str, name: str, row: Mapping[str, str]) -> Pair:
    """Make a pair of a row with premise, hypothesis, label and, where it is known, section.

    Args:
        place: Where the row stands, for the error's message.
        name: Its id.
        row: What it holds.

    Raises:
        ValueError: An unknown label or section, or a text without words.
    """
    section = row.get("section", "unknown")
    if row["label"] not in LABELS:
        raise ValueError(f"{place}: label {row['label']!r} is not one of {list(LABELS)}")
    if section not in _SECTIONS:
        raise ValueError(f"{place}: section {section!r} is not one of {list(_SECTIONS)}")
    first, second = words(row["premise"]), words(row["hypothesis"])
    if not first or not second:
        raise ValueError(f"{place}: an empty premise or hypothesis")
    return Pair(name, first, second, row["label"], _SECTIONS[section])


_SECTIONS = {"matched": "matched", "mismatched": "mismatched", "unknown": ""}


def question(place: str, name: str, text: str, context: str, answers: Iterable[tuple[str, int]]) -> Question:
    """Make a question about a context, whose answers are parts of that.

    Args:
        place: Where it stands, for the error's message.
        name: Its id.
        text: The question.
        context: What it asks about.
        answers: References, each its text and first character in the context.

    Raises:
        ValueError: Nothing asked, no answer, or an answer that does not stand where it should.
    """
    first, (second, offsets), answers = words(text), _spans(context), tuple(answers)
    if not first or not answers:
        raise ValueError(f"{place}: question {name!r} has no {'answers' if first else 'words'}: it cannot be used")
    for answer, start in answers:
        if not answer.strip() or start < 0 or not context.startswith(answer, start):
            found = context[max(start, 0) :][: max(len(answer), 20)]
            raise ValueError(
                f"{place}: question {name!r}: its answer {answer!r} should stand in the context at character {start}, "
                f"where {found!r} stands"
            )
    return Question(id=name, first=first, second=second, context=context, offsets=offsets, answers=answers)


def sentence(
    place: str, name: str, tokens: Sequence[Mapping[str, str]], places: Sequence[str], document: str = ""
) -> Sentence:
    """Make a sentence of its words, whose heads must form a tree.

    Args:
        place: Where the sentence stands, for the error's message.
        name: Its id.
        tokens: Of each word its form, head, deprel, upos, xpos and, where they are known, feats.
        places: Where each word stands.
        document: What it is part of.

    Raises:
        ValueError: No words, a head that is no number or beyond the sentence, or heads that form no tree.
    """
    if not tokens:
        raise ValueError(f"{place}: a sentence without words")
    for where, token in zip(places, tokens, strict=True):
        if not re.fullmatch(r"[0-9]+", token["head"]) or int(token["head"]) > len(tokens):
            raise ValueError(f"{where}: head {token['head']!r} is not between 0 and {len(tokens)}")
    heads = tuple(int(token["head"]) for token in tokens)
    problem = _not_a_tree(heads)
    if problem:
        raise ValueError(f"{place}: sentence {name!r} is no tree: {problem}")
    columns = ("form", "deprel", "upos", "xpos", "feats")
    forms, relations, upos, xpos, features = (tuple(str(token.get(c) or "_") for token in tokens) for c in columns)
    return Sentence(name, forms, heads, relations, upos, xpos, features, document=document)


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


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 1
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            while line := stream.readline(_LONGEST + 1):
                if len(line) > _LONGEST:
                    raise ValueError(f"{path}:{number}: a line has at most {_LONGEST // 10**6} MB, this one is longer")
                yield number, line.decode("utf-8").rstrip("\r\n")
                number += 1
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}:{number}: cannot be read as UTF-8 text from here: {error}") from None


def _read_conllu(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    left_out |= {"multiword ranges": 0, "empty nodes": 0}
    block: list[tuple[int, str]] = []
    document = ""
    for number, line in _lines(path):
        if line.strip():
            if match := re.fullmatch(r"#\s*newdoc(?:\s+id\s*=\s*(.*?))?\s*", line):
                document = match[1] or f"line-{number}"
            if not line.startswith("#") and line.count("\t") != 9:
                found = line.count("\t") + 1
                raise ValueError(
                    f"{path}:{number}: a CoNLL-U line has 10 tab-separated columns, this one has {found}: {line[:60]!r}"
                )
            if match := _ASIDE.match(line):
                left_out[_NO_WORD[match[1]]] += 1
            block.append((number, line))
        elif block:
            yield partial(_of_block, path, block, document)
            block = []
    if block:
        yield partial(_of_block, path, block, document)


# the columns as they are: ids and heads are checked here, where the line is known; nobody reads what is behind the relation
_FIELDS = conllu.parser.DEFAULT_FIELDS[:8]
_KEEP = dict.fromkeys(_FIELDS, lambda cells, i: cells[i])
_NO_WORD = {"-": "multiword ranges", ".": "empty nodes"}
_ASIDE = re.compile(r"\d+([-.])\d+\t")


def _of_block(path: Path, block: list[tuple[int, str]], document: str) -> Sentence:
    tokens_at = [number for number, line in block if not line.startswith("#")]
    start = block[0][0]
    try:
        (parsed,) = conllu.parse("\n".join(line for _, line in block), _FIELDS, _KEEP)
    except (conllu.exceptions.ParseException, ValueError) as error:
        raise ValueError(f"{path}:{start}: not CoNLL-U: {error}") from None
    tokens, places = [], []
    for number, token in zip(tokens_at, parsed, strict=True):
        if _ASIDE.match(f"{token['id']}\t"):
            continue
        tokens.append(token)
        places.append(f"{path}:{number}")
        if token["id"] != str(len(tokens)):
            raise ValueError(f"{path}:{number}: word id {token['id']!r} where {len(tokens)} was expected")
    name = str(parsed.metadata.get("sent_id") or f"line-{start}")
    return sentence(f"{path}:{start}", name, tokens, places, document)


def _read_tsv(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    for number, row in _rows(path, where, left_out):
        if row.keys() >= _PAIR:
            yield partial(pair, f"{path}:{number}", f"{number}", row)
        else:
            yield from sentences(row["paragraph"], f"{number}", row.get("title", f"{number}"))


_PAIR = {"premise", "hypothesis", "label"}


def _rows(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[tuple[int, dict[str, str]]]:
    lines = _lines(path)
    _, header = next(lines, (0, ""))
    columns = header.split("\t")
    if not _PAIR <= set(columns) and "paragraph" not in columns:
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
            yield number, row


def sentences(paragraph: str, name: str, document: str = "") -> Iterator[Record]:
    """Cut a paragraph into sentences, whose ids are its own with a number."""
    for number, text in enumerate(re.split(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z])", paragraph.strip()), 1):
        if text.strip():  # whatever is no space is a word or a part of one
            yield partial(_plain, f"{name}.{number}", text, document)


def _plain(name: str, text: str, document: str) -> Sentence:
    return Sentence(name, words(text), document=document)


def article(name: str, text: str, left_out: dict[str, int]) -> Iterator[Record]:
    """Read an encyclopaedia's article as Wiki40B marks it up, sentence by sentence, all of its paragraphs.

    Args:
        name: Of the article.
        text: A marker a line, such as `_START_PARAGRAPH_`, and what it announces on the next; `_NEWLINE_` ends a paragraph.
        left_out: Counts `titles` and `headings`, which are no sentences.

    Reference:
        Guo et al. 2020, Wiki-40B, section 3.
    """
    paragraphs = 0
    for marker, content in re.findall(r"_START_(ARTICLE|SECTION|PARAGRAPH)_\n((?:(?!_START_).*\n?)*)", text):
        if marker != "PARAGRAPH":
            left_out["titles" if marker == "ARTICLE" else "headings"] += 1
            continue
        for paragraph in content.split("_NEWLINE_"):
            paragraphs += 1
            yield from sentences(paragraph, f"{name}.{paragraphs}", name)


def _read_text(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    for number, document, line in _paragraphs(path):
        yield from sentences(line, str(number), document)


def _paragraphs(path: Path) -> Iterator[tuple[int, str, str]]:
    """Number the lines of a text, and its documents, which blank lines separate."""
    document, inside = 0, False
    for number, line in _lines(path):
        if line.strip():
            document += not inside
            yield number, str(document), line
        inside = bool(line.strip())


def _read_questions(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    try:
        for article in json.loads("\n".join(line for _, line in _lines(path)))["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    yield partial(_asked, path, paragraph["context"], asked)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise _no_squad(path, error) from None


def _asked(path: Path, context: str, asked: Mapping[str, Any]) -> Question:
    try:
        answers = [(answer["text"], answer["answer_start"]) for answer in asked["answers"]]
        return question(str(path), str(asked["id"]), asked["question"], context, answers)
    except (KeyError, TypeError) as error:
        raise _no_squad(path, error) from None


def _no_squad(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is not SQuAD-format JSON (data > paragraphs > context, qas > answers): {error!r}")


def _read_spans(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    for number, line in _lines(path):
        if line.strip():
            yield partial(_probed, f"{path}:{number}", f"line-{number}", line)


def _probed(place: str, name: str, line: str) -> Sentence:
    try:
        record = json.loads(line)
        text = record["text"]
        targets = [(target["span1"], target.get("span2"), target["label"]) for target in record["targets"]]
        name = str(record.get("info", {}).get("id", name))
        tokens = text.split() if isinstance(text, str) else [str(word) for word in text]
        spans = tuple(
            Labelled(_span(a), None if b is None else _span(b), (label,) if isinstance(label, str) else tuple(map(str, label)))
            for a, b, label in targets
        )  # fmt: skip
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{place}: not an edge-probing record (text, targets > span1, span2 or none, label): {error!r}"
        ) from None
    if not tokens:
        raise ValueError(f"{place}: a sentence without words")
    if not spans:
        raise ValueError(f"{place}: sentence {name!r} has an empty list of targets: there is nothing to probe")
    for start, end in (span for target in spans for span in (target.first, target.second) if span):
        if not 0 <= start < end <= len(tokens):
            raise ValueError(
                f"{place}: sentence {name!r}: the span {[start, end]} is empty or lies outside its {len(tokens)} words"
            )
    if any(not target.labels for target in spans):
        raise ValueError(f"{place}: sentence {name!r} has a target without a label")
    return Sentence(name, tuple(tokens), spans=spans)


def _span(given: Any) -> tuple[int, int]:
    start, end = given
    if isinstance(start, bool) or not isinstance(start, int) or not isinstance(end, int):
        raise ValueError(f"a span is two whole numbers, got {given!r}")
    return start, end


_READERS = {
    "conllu": _read_conllu,
    "tsv": _read_tsv,
    "txt": _read_text,
    "json": _read_questions,
    "jsonl": _read_spans,
}
