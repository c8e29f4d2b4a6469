"""Items from what a file says: checks labels, answers and trees, and makes pairs, questions and sentences.

An unknown label, a misplaced answer and an invalid tree are errors that name the place in the file.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bert_repro.corpora import words
from bert_repro.corpora.items import LABELS, Pair, Question, Sentence

Record = Callable[[], Any] | str
"""An item as it stands in its file, told apart from its neighbours and parsed when it is called; or why it is left out."""
PAIR = {"premise", "hypothesis", "label"}
_OTHERWISE = {"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"}  # in MultiNLI, SNLI and GLUE
_NUMBERED = dict(zip("012", LABELS, strict=True))  # as GLUE, SNLI, MultiNLI and XNLI of Hugging Face have them
_UNLABELLED = ("-", "-1")


def columns_of_pair(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give the columns of a pair the names that they have here, whatever MultiNLI, SNLI or GLUE call them."""
    return {_OTHERWISE.get(name, name): value for name, value in row.items()} | {n: row[n] for n in PAIR if n in row}


def unlabelled(label: str) -> str:
    """Say why a row of pairs is left out: those who annotated it did not agree on a label; empty where it has one."""
    return f"rows labelled {label}" if label in _UNLABELLED else ""


def pair(place: str, name: str, row: Mapping[str, str]) -> Pair:
    """Make a pair of a row with premise, hypothesis, label and, where it is known, section.

    Args:
        place: Where the row stands, for the error's message.
        name: Its id.
        row: What it holds; a label may be its number, 0 for entailment, 1 for neutral, 2 for contradiction.

    Raises:
        ValueError: An unknown label or section, or a text without words.
    """
    section, label = row.get("section", "unknown"), _NUMBERED.get(row["label"], row["label"])
    if label not in LABELS:
        raise ValueError(f"{place}: label {label!r} is not one of {list(LABELS)}")
    if section not in _SECTIONS:
        raise ValueError(f"{place}: section {section!r} is not one of {list(_SECTIONS)}")
    first, second = words.words(row["premise"]), words.words(row["hypothesis"])
    if not first or not second:
        raise ValueError(f"{place}: an empty premise or hypothesis")
    return Pair(name, first, second, label, _SECTIONS[section])


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
    first, (second, offsets), answers = words.words(text), words.located(context), tuple(answers)
    if not first or not answers:
        raise ValueError(f"{place}: question {name!r} has no {'answers' if first else 'words'}: it cannot be used")
    for answer, start in answers:
        if not answer.strip() or start < 0 or not context.startswith(answer, start):
            text_there = context[max(start, 0) :][: max(len(answer), 20)]
            raise ValueError(
                f"{place}: question {name!r}: its answer {answer!r} should be in the context at character {start}, "
                f"where {text_there!r} stands"
            )
    return Question(id=name, first=first, second=second, context=context, offsets=offsets, answers=answers)


def sentence(
    place: str, name: str, tokens: Sequence[Mapping[str, str]], places: Sequence[str], document: str = ""
) -> Sentence:
    """Make a sentence of its words, whose heads must form a tree.

    Args:
        place: Where the sentence stands, for the error's message.
        name: Its id.
        tokens: For each word its form, head, deprel, upos, xpos and, where they are known, feats.
        places: Where each word stands.
        document: What it is part of.

    Raises:
        ValueError: No words, a head that is no number or beyond the sentence, or heads that form no tree.
    """
    if not tokens:
        raise ValueError(f"{place}: a sentence without words")
    for location, token in zip(places, tokens, strict=True):
        if not re.fullmatch(r"[0-9]+", token["head"]) or int(token["head"]) > len(tokens):
            raise ValueError(f"{location}: head {token['head']!r} is not between 0 and {len(tokens)}")
    heads = tuple(int(token["head"]) for token in tokens)
    problem = _not_a_tree(heads)
    if problem:
        raise ValueError(f"{place}: sentence {name!r} is not a tree: {problem}")
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
