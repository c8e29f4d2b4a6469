"""JSON files of SQuAD, of the edge-probing suites and of MultiNLI, read as questions, sentences and pairs.

A record of no such kind is an error, with file and line.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bert_repro.corpora import makers
from bert_repro.corpora.items import Labelled, Pair, Question, Sentence
from bert_repro.corpora.lines import lines
from bert_repro.corpora.makers import Record

_WRONG = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


def records(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    """Read a .json file: questions as SQuAD has them, or records, in a list or one per line, as in `lines_of_records`."""
    text = "\n".join(line for _, line in lines(path))
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise _no_questions(path, error) from None
        yield from lines_of_records(path, where, left_out)
        return
    except (ValueError, RecursionError) as error:
        raise _no_questions(path, error) from None
    if isinstance(whole, dict) and ("targets" in whole or makers.PAIR <= makers.columns_of_pair(whole).keys()):
        whole = [whole]
    if isinstance(whole, list) and whole:
        for number, record in enumerate(whole, 1):
            yield _record(f"{path}, record {number}", f"record-{number}", record)
    else:
        yield from _questions(path, whole)


def lines_of_records(path: Path, where: Mapping[str, str], left_out: dict[str, int]) -> Iterator[Record]:
    """Read a record a line: sentences with labelled spans, as the edge probing suites and jiant have them, or pairs."""
    for number, line in lines(path):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _no_record(f"{path}:{number}", error) from None
            yield _record(f"{path}:{number}", f"line-{number}", record)


def _record(place: str, name: str, record: Any) -> Record:
    """Give what makes an item of a record, or say why it is left out."""
    try:
        _encodable(record)
        row = makers.columns_of_pair(record)
        if makers.PAIR <= row.keys():
            row["label"] = _text(str(row["label"]) if _whole(row["label"]) else row["label"])
            return makers.unlabelled(row["label"]) or partial(_pair, place, name, row)
        if record["targets"] == []:
            return "sentences without targets"
    except _WRONG as error:
        raise _no_record(place, error) from None
    return partial(_probed, place, name, record)


def _pair(place: str, name: str, row: Mapping[str, Any]) -> Pair:
    try:
        columns = {key: _text(row[key]) for key in ("premise", "hypothesis", "label", "section") if key in row}
    except _WRONG as error:
        raise _no_record(place, error) from None
    return makers.pair(place, str(row.get("pairID", name)), columns)


def _probed(place: str, name: str, record: Mapping[str, Any]) -> Sentence:
    try:
        text = record["text"]
        name = str(record.get("info", {}).get("id", name))
        tokens = text.split() if isinstance(text, str) else [_text(word) for word in text]
        spans = tuple(_labelled(target) for target in record["targets"])
    except _WRONG as error:
        raise _no_record(place, error) from None
    if not tokens:
        raise ValueError(f"{place}: a sentence without words")
    for start, end in (span for target in spans for span in (target.first, target.second) if span):
        if not 0 <= start < end <= len(tokens):
            raise ValueError(
                f"{place}: sentence {name!r}: the span {[start, end]} is empty or lies outside its {len(tokens)} words: "
                "a span goes from its first word, counted from 0, to behind its last; add 1 to ends that are inclusive"
            )
    return Sentence(name, tuple(tokens), spans=spans)


def _labelled(target: Mapping[str, Any]) -> Labelled:
    label, second = target["label"], target.get("span2")
    labels = label if isinstance(label, list) else [label]
    if not all(isinstance(value, str) or _whole(value) for value in labels):
        raise ValueError(f"a label is a text or a whole number, got {label!r}")
    return Labelled(_span(target["span1"]), None if second is None else _span(second), tuple(map(str, labels)))


def _span(value: Any) -> tuple[int, int]:
    start, end = value
    if not _whole(start) or not _whole(end):
        raise ValueError(f"a span is two whole numbers, got {value!r}")
    return start, end


def _questions(path: Path, whole: Any) -> Iterator[Record]:
    try:
        for article in whole["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    if question.get("is_impossible") is True:
                        yield "questions without an answer"
                    else:
                        yield partial(_question, path, paragraph["context"], question)
    except _WRONG as error:
        raise _no_questions(path, error) from None


def _question(path: Path, context: Any, question: Mapping[str, Any]) -> Question:
    try:
        _encodable([context, question])
        answers = [(_text(answer["text"]), answer["answer_start"]) for answer in question["answers"]]
        if not all(_whole(start) for _, start in answers):
            raise ValueError(f"answer_start is a whole number, got {[start for _, start in answers]}")
        name, text, context = str(question["id"]), _text(question["question"]), _text(context)
    except _WRONG as error:
        raise _no_questions(path, error) from None
    return makers.question(str(path), name, text, context, answers)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a text, got {value!r}")
    return value


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _encodable(record: Any) -> None:
    r"""Refuse half of a surrogate pair, which JSON can hold as \ud800 and no tokenizer reads."""
    json.dumps(record, ensure_ascii=False).encode()


def _no_questions(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is not SQuAD-format JSON (data > paragraphs > context, qas > answers): {error!r}")


def _no_record(place: str, error: Exception) -> ValueError:
    return ValueError(
        f"{place}: not an edge-probing record (text, targets > span1, span2 or none, label), nor a pair (premise, hypothesis "
        f"and label, or sentence1, sentence2 and gold_label): {error!r}"
    )
