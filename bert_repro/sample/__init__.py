"""A small English of our own: hides a seeded grammar behind texts in the formats of real corpora.

It refuses to share a sentence, pair or paragraph between training and evaluation data, and knows no words but its own.
"""

import json
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from bert_repro.sample.grammar import Speaker
from bert_repro.sample.pairs import LABELS, Pairs
from bert_repro.sample.prose import Author
from bert_repro.sample.tree import conllu, surface

Item = TypeVar("Item")

FILES = {  # file: kind, number of items; the files of a kind share nothing
    "trees-train.conllu": ("trees", 1600),
    "trees-dev.conllu": ("trees", 300),
    "trees-test.conllu": ("trees", 300),
    "nli-train.tsv": ("nli", 2400),
    "nli-dev.tsv": ("nli", 400),
    "questions-train.json": ("questions", 600),
    "questions-dev.json": ("questions", 120),
    "paragraphs.txt": ("paragraphs", 240),
}


def trees(n: int, seed: int) -> str:
    """Write sentences with their trees as CoNLL-U.

    Args:
        n: Number of sentences, at least 1.
        seed: Equal seeds give equal text.

    Raises:
        ValueError: `n` is below 1.
    """
    return _trees(n, seed, set())


def nli(n: int, seed: int) -> str:
    """Write sentence pairs as TSV: source, pairID, genre (how the pair was made), premise, hypothesis, label.

    Args:
        n: Number of pairs, at least 1; the labels differ in number by at most 1.
        seed: Equal seeds give equal text.

    Raises:
        ValueError: `n` is below 1.
    """
    return _nli(n, seed, set())


def questions(n: int, seed: int) -> str:
    """Write paragraphs and questions as JSON in the form of SQuAD 1.1.

    Args:
        n: Number of questions, at least 1.
        seed: Equal seeds give equal text.

    Raises:
        ValueError: `n` is below 1.
    """
    return _questions(n, seed, set())


def paragraphs(n: int, seed: int) -> str:
    """Write paragraphs as plain text, one a line.

    Args:
        n: Number of paragraphs, at least 1.
        seed: Equal seeds give equal text.

    Raises:
        ValueError: `n` is below 1.
    """
    return _paragraphs(n, seed, set())


def write(folder: Path, seed: int = 0) -> None:
    """Write every sample corpus into a folder, each file whole or not at all.

    Args:
        folder: Made if it does not exist; files of the same names are replaced.
        seed: Equal seeds give equal bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    makers = {"trees": _trees, "nli": _nli, "questions": _questions, "paragraphs": _paragraphs}
    seen: dict[str, set[object]] = {kind: set() for kind in makers}
    for place, (name, (kind, n)) in enumerate(FILES.items()):
        text = makers[kind](n, seed * len(FILES) + place, seen[kind])
        part = folder / f".{name}.{os.getpid()}"
        part.write_bytes(text.encode())
        os.replace(part, folder / name)


def _trees(n: int, seed: int, seen: set[object]) -> str:
    speaker = Speaker(_generator("trees", n, seed))
    blocks = (conllu(_new(speaker.sentence, surface, seen), f"sample-{seed}-{place}") for place in range(1, n + 1))
    return "".join(f"{block}\n" for block in blocks)


def _nli(n: int, seed: int, seen: set[object]) -> str:
    rng = _generator("nli", n, seed)
    pairs, rows = Pairs(rng), [("source", "pairID", "genre", "premise", "hypothesis", "label")]
    while len(rows) <= n:
        for label in rng.sample(LABELS, 3):
            frame, premise, hypothesis = _new(partial(pairs.pair, label), lambda pair: pair[1:], seen)
            rows.append(("sample", str(len(rows)), frame, premise, hypothesis, label))
    return "".join("\t".join(row) + "\n" for row in rows[: n + 1])


def _questions(n: int, seed: int, seen: set[object]) -> str:
    author, data, asked = Author(_generator("questions", n, seed)), list[object](), 0
    while asked < n:
        title, context, found = _new(author.context, lambda drawn: drawn[1], seen)
        qas = []
        for question, answer, start in found[: n - asked]:
            asked += 1
            answers = [{"text": answer, "answer_start": start}]
            qas.append({"id": f"sample-{seed}-{asked}", "question": question, "answers": answers})
        data.append({"title": title, "paragraphs": [{"context": context, "qas": qas}]})
    return json.dumps({"version": "1.1", "data": data}, indent=1) + "\n"


def _paragraphs(n: int, seed: int, seen: set[object]) -> str:
    author = Author(_generator("paragraphs", n, seed))
    return "".join(f"{_new(author.paragraph, str, seen)}\n" for _ in range(n))


def _generator(kind: str, n: int, seed: int) -> random.Random:
    if n < 1:
        raise ValueError(f"{kind}: n must be at least 1, got {n}")
    return random.Random(f"{kind}/{seed}")  # a text seed is hashed the same in every process


def _new(draw: Callable[[], Item], key: Callable[[Item], object], seen: set[object]) -> Item:
    """Draw until something new comes, and remember it."""
    while (text := key(item := draw())) in seen:
        pass
    seen.add(text)
    return item
