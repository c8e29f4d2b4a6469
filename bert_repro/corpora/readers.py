"""Readers of text formats: pairs, questions, trees and running text as items made of words.

A malformed line, an invalid tree, an unknown label or a misplaced answer ends the reading with file and line named.
Multiword ranges and empty nodes of CoNLL-U are not words; pairs whose annotators did not agree have no label, sentences
without targets nothing to probe: they are left out and counted.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import conllu

from bert_repro.corpora import json_files, makers, words
from bert_repro.corpora.items import Sentence
from bert_repro.corpora.lines import lines
from bert_repro.corpora.makers import Record as Record


def records(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    """Read a file, or a folder of running text, record by record, in constant memory but for JSON, which is read whole.

    To count items, or to take few of many, costs little: only what is called is parsed.

    Args:
        path: A .conllu, .tsv, .json, .jsonl (see `json_files`) or .txt file, each also .gz; or a folder, see `text_files`.
        where: Columns of a TSV and the value that a row must have there to be read.
        left_out: Is filled with what of an item was not read, and how often, when it is called.

    Returns:
        A record for each item, or for what is left out a few words that say why.

    Raises:
        ValueError: Malformed content, while reading or when its record is called.
    """
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[-1]
    return _read_folder(path) if path.is_dir() else _READERS[kind](path, where, left_out)


def text_files(path: Path) -> list[Path]:
    """List what running text is read from: the file itself, or all .txt files (also .gz) of a folder by name.

    Raises:
        ValueError: A folder in which there is none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.name.endswith((".txt", ".txt.gz")))
    if not files:
        raise ValueError(f"the folder {path} holds no text: expected .txt or .txt.gz files in it")
    return files


def paragraphs(path: Path, where: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Read running text paragraph by paragraph as it stands in its file, in constant memory.

    Args:
        path: A .txt file, whose lines are paragraphs and whose documents are separated by blank lines; a .tsv with a column
            `paragraph` and, where it is known, `title`, which names the document; or a folder, see `text_files`, where the
            name of a document begins with that of its file.
        where: As in `read`.

    Returns:
        Document and paragraph.

    Raises:
        ValueError: Malformed content, while reading.
    """
    if path.is_dir():
        for file in text_files(path):
            yield from ((f"{file.name}/{name}", text) for name, text in paragraphs(file, {}))
    elif path.name.removesuffix(".gz").endswith(".tsv"):
        for number, row in _rows(path):
            if not _elsewhere(row, where) and row["paragraph"].strip():
                yield row.get("title", f"{number}"), row["paragraph"]
    else:
        for _, document, line in _paragraphs(path):
            yield document, line


def _read_conllu(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    left_out |= {"multiword ranges": 0, "empty nodes": 0}
    block: list[tuple[int, str]] = []
    document = ""
    for number, line in lines(path):
        if line.strip():
            if line.startswith("#"):
                if match := _NEW_DOCUMENT.fullmatch(line):
                    document = match[1] or f"line-{number}"
            elif line.count("\t") != 9:
                columns = line.count("\t") + 1
                raise ValueError(
                    f"{path}:{number}: a CoNLL-U line has 10 tab-separated columns, this one has {columns}: {line[:60]!r}"
                )
            block.append((number, line))
            continue
        if _holds_sentence(block):
            yield partial(_of_block, path, block, document, left_out)
        block = []
    if _holds_sentence(block):
        yield partial(_of_block, path, block, document, left_out)


def _holds_sentence(block: list[tuple[int, str]]) -> bool:
    """Return whether a block is a sentence, even one without words, and not only comments such as a licence."""
    return any(not line.startswith("#") or _OF_SENTENCE.match(line) for _, line in block)


# the columns as they are: ids and heads are checked here, where the line is known; nobody reads what is behind the relation
_FIELDS = conllu.parser.DEFAULT_FIELDS[:8]
_KEEP = dict.fromkeys(_FIELDS, lambda cells, i: cells[i])
_NO_WORD = {"-": "multiword ranges", ".": "empty nodes"}
_ASIDE = re.compile(r"\d+([-.])\d+\t")
_NEW_DOCUMENT = re.compile(r"#\s*newdoc(?:\s+id\s*=\s*(.*?))?\s*")
_OF_SENTENCE = re.compile(r"#\s*(sent_id|text)\s*=")


def _of_block(path: Path, block: list[tuple[int, str]], document: str, left_out: dict[str, int]) -> Sentence:
    tokens_at = [number for number, line in block if not line.startswith("#")]
    start = block[0][0]
    try:
        (parsed,) = conllu.parse("\n".join(line for _, line in block), _FIELDS, _KEEP)
    except (conllu.exceptions.ParseException, ValueError) as error:
        raise ValueError(f"{path}:{start}: not CoNLL-U: {error}") from None
    tokens, places = [], []
    for number, token in zip(tokens_at, parsed, strict=True):
        if match := _ASIDE.match(f"{token['id']}\t"):
            left_out[_NO_WORD[match[1]]] += 1
            continue
        tokens.append(token)
        places.append(f"{path}:{number}")
        if token["id"] != str(len(tokens)):
            raise ValueError(f"{path}:{number}: word id {token['id']!r} where {len(tokens)} was expected")
    name = str(parsed.metadata.get("sent_id") or f"line-{start}")
    return makers.sentence(f"{path}:{start}", name, tokens, places, document)


def _read_tsv(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    for number, row in _rows(path):
        if _elsewhere(row, where):
            yield f"rows not of {' '.join(where.values())}"
        elif row.keys() >= makers.PAIR:
            yield makers.unlabelled(row["label"]) or partial(makers.pair, f"{path}:{number}", f"{number}", row)
        else:
            yield from sentences(row["paragraph"], f"{number}", row.get("title", f"{number}"))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    numbered = lines(path)
    _, header = next(numbered, (0, ""))
    columns = header.split("\t")
    if not _of_pairs(header) and "paragraph" not in columns:
        raise ValueError(f"{path}:1: expected the columns premise, hypothesis, label, or paragraph; got {columns}")
    for number, line in numbered:
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise ValueError(f"{path}:{number}: {len(cells)} columns where the header has {len(columns)}")
        yield number, makers.columns_of_pair(dict(zip(columns, cells, strict=True)))


def _of_pairs(header: str) -> bool:
    return makers.columns_of_pair(dict.fromkeys(header.split("\t"))).keys() >= makers.PAIR


def _elsewhere(row: Mapping[str, str], where: Mapping[str, str]) -> bool:
    return any(row.get(key) != value for key, value in where.items())


def sentences(paragraph: str, name: str, document: str = "") -> Iterator[Callable[[], Sentence]]:
    """Cut a paragraph into sentences, whose ids are its own with a number."""
    for number, text in enumerate(words.sentences(paragraph.strip()), 1):
        if words.there_are(text):
            yield partial(_plain, f"{name}.{number}", text, document)


def _plain(name: str, text: str, document: str) -> Sentence:
    return Sentence(name, words.words(text), document=document)


def article(name: str, text: str) -> Iterator[Record]:
    """Read an encyclopaedia's article as Wiki40B marks it up, sentence by sentence, all of its paragraphs; titles and headings are none.

    Args:
        name: Name of the article.
        text: A marker a line, such as `_START_PARAGRAPH_`, and what it announces on the next; `_NEWLINE_` ends a paragraph.

    Reference:
        Guo et al. 2020, Wiki-40B, section 3.
    """
    paragraphs = 0
    for marker, content in re.findall(r"_START_(ARTICLE|SECTION|PARAGRAPH)_\n((?:(?!_START_).*\n?)*)", text):
        if marker != "PARAGRAPH":
            yield "titles" if marker == "ARTICLE" else "headings"
            continue
        for paragraph in content.split("_NEWLINE_"):
            paragraphs += 1
            yield from sentences(paragraph, f"{name}.{paragraphs}", name)


def _read_text(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    if _of_pairs(next(lines(path), (0, ""))[1]):  # as MultiNLI names its tables
        yield from _read_tsv(path, where, left_out)
        return
    for number, document, line in _paragraphs(path):
        yield from sentences(line, str(number), document)


def _read_folder(path: Path) -> Iterator[Record]:
    for file in text_files(path):
        for number, document, line in _paragraphs(file):
            yield from sentences(line, f"{file.name}/{number}", f"{file.name}/{document}")


def _paragraphs(path: Path) -> Iterator[tuple[int, str, str]]:
    """Number the lines of a text, and its documents, which blank lines separate."""
    document, inside = 0, False
    for number, line in lines(path):
        if line.strip():
            document += not inside
            yield number, str(document), line
        inside = bool(line.strip())


_READERS = {
    "conllu": _read_conllu,
    "tsv": _read_tsv,
    "txt": _read_text,
    "json": json_files.records,
    "jsonl": json_files.lines_of_records,
}
