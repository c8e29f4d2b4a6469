"""Layouts: text of one corpus in the layout of another, item by item, so that two corpora can differ in their text alone.

`wiki~mnli:dev[600]` is sentences of Wikipedia in the layout of 600 pairs: two per pair, as long as those that they replace.

Text that is too short, or whose lengths differ too much, is an error.
"""

import bisect
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from bert_repro.corpora import readers
from bert_repro.corpora.items import Pair, Question, Sentence

SEED = 0  # of every choice: a reference always names the same content
OFF = 0.1  # as a share of the words: by how much lengths may differ


def sentences(items: Iterable[Any]) -> Iterator[Sentence]:
    """Give the single sentences of a corpus, each wording once: its own, both sides of pairs, those of passages."""
    seen: set[tuple[str, ...]] = set()
    for item in items:
        parts: Iterable[Sentence] = [item]
        if isinstance(item, Question):
            parts = (record() for record in readers.sentences(item.context, item.id))
        elif isinstance(item, Pair):
            parts = sides(item)
        for sentence in parts:
            if sentence.words not in seen:
                seen.add(sentence.words)
                yield dataclasses.replace(sentence, document="")  # sentences do not follow one another any more


def sides(pair: Pair) -> tuple[Sentence, Sentence]:
    """Split a pair into two separate texts."""
    return Sentence(f"{pair.id}/1", pair.first), Sentence(f"{pair.id}/2", pair.second)


def in_items(
    reference: str, pattern: Sequence[Any], pool: Sequence[Sentence], left_out: dict[str, int]
) -> Iterator[Any]:
    """Replace single sentences or pairs by other sentences: nearest in length, at random among equals, none twice.

    Args:
        reference: What this gives, for messages.
        pattern: Sentences, or pairs; what they say, or are labelled, is not kept.
        pool: The sentences that take their place; those of the pattern itself do not.
        left_out: Is told by how many words the lengths differ in all.

    Raises:
        ValueError: Too few sentences, or lengths that differ by more than OFF of the words.
    """
    paired = isinstance(pattern[0], Pair)
    replaced = [words for item in pattern for words in ((item.first, item.second) if paired else (item.words,))]
    own, lengths = {*replaced}, [*map(len, replaced)]
    pool = [sentence for sentence in pool if sentence.words not in own]
    if len(pool) < len(lengths):
        raise ValueError(
            f"{reference}: {len(lengths)} different sentences are needed, the text has {len(pool)}: take a larger text, or draw less "
            "from what gives the layout, as in wiki~mnli:dev[60]"
        )
    chosen = _nearest(lengths, pool)
    off = sum(abs(length - len(sentence.words)) for length, sentence in zip(lengths, chosen, strict=True))
    if off > OFF * sum(lengths):
        raise ValueError(
            f"{reference}: {len(pool)} sentences do not have the lengths of {len(lengths)} others: they would be off by {off} of "
            f"{sum(lengths)} words; take a larger text, one of such lengths, or draw less from what gives the layout"
        )
    left_out["words by which sentences are longer or shorter"] = off
    if not paired:
        return iter(chosen)
    sides_of_items = zip(pattern, chosen[::2], chosen[1::2], strict=True)
    return (Pair(item.id, first.words, second.words) for item, first, second in sides_of_items)


def _nearest(lengths: Sequence[int], pool: Sequence[Sentence]) -> list[Sentence]:
    """Choose a sentence for each length, the longest first: there are fewest of those."""
    by_length: dict[int, list[Sentence]] = {}
    for place in np.random.default_rng(SEED).permutation(len(pool)):
        by_length.setdefault(len(pool[place].words), []).append(pool[place])
    lengths_left = sorted(by_length)
    chosen: dict[int, Sentence] = {}
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        above = bisect.bisect_left(lengths_left, lengths[place])
        length = min(lengths_left[max(above - 1, 0) : above + 1], key=lambda length: abs(length - lengths[place]))
        chosen[place] = by_length[length].pop()
        if not by_length[length]:
            lengths_left.remove(length)
    return [chosen[place] for place in range(len(lengths))]


class _Running:
    """Text from which passages are cut one after the other, each from the beginning of a sentence.

    Args:
        text: What is cut.
        offsets: Its words, as first character and the one behind the last.
        words: The same, as they are read.
        ends: Behind how many words a sentence ends, ascending, the last being all of them.
    """

    def __init__(self, text: str, words: Sequence[str], offsets: Sequence[tuple[int, int]], ends: Sequence[int]):
        self.text, self._words, self._offsets, self._ends = text, tuple(words), offsets, ends
        self._start = 0

    @property
    def left(self) -> int:
        return len(self._words) - self._start

    def _behind(self, length: int) -> int:
        return self._ends[bisect.bisect_left(self._ends, self._start + length)]

    def lost(self, length: int) -> int:
        """Count the words of a sentence that a passage would cut off at its end."""
        return self._behind(length) - self._start - length

    def take(self, length: int) -> dict[str, Any]:
        length = min(length, self.left)
        first, stop = self._start, self._start + length
        self._start = self._behind(length)
        begin, end = self._offsets[first][0], self._offsets[stop - 1][1]
        offsets = tuple((start - begin, behind - begin) for start, behind in self._offsets[first:stop])
        return {"second": self._words[first:stop], "context": self.text[begin:end], "offsets": offsets}


def together(item: Any) -> str:
    """Identify the running text of an item: the passage of a question, the document of a sentence."""
    return item.context if isinstance(item, Question) else getattr(item, "document", "")


def running(name: str, together: Sequence[Any]) -> _Running:
    """Make running text of a corpus: from the sentences of a document, or from questions about one passage.

    Raises:
        ValueError: Pairs, or sentences of which nobody knows the document.
    """
    first = together[0]
    if isinstance(first, Question):
        return _Running(first.context, first.second, first.offsets, [len(first.second)])
    if isinstance(first, Pair) or not first.document:
        raise ValueError(
            f"{name} has no passages: expected questions, as in squadshifts-wiki, or sentences whose documents are known, "
            "as in wiki or ewt:train"
        )
    words = [word for sentence in together for word in sentence.words]
    starts = [0, *itertools.accumulate(len(word) + 1 for word in words)]
    offsets = [(start, start + len(word)) for start, word in zip(starts, words, strict=False)]
    return _Running(" ".join(words), words, offsets, [*itertools.accumulate(len(s.words) for s in together)])


def in_questions(
    reference: str, pattern: Sequence[Question], texts: Sequence[_Running], left_out: dict[str, int]
) -> Iterator[Question]:
    """Keep questions and replace their passages by others of the same length, which hold no answers, so none are kept.

    A passage that begins with a sentence is cut to the length of the one that it replaces: where several texts are long
    enough, in the one where it ends nearest to the end of a sentence. The longest are replaced first.

    Args:
        reference: What this gives, for messages.
        pattern: The questions; those about one passage are about one again.
        texts: Where the passages come from.
        left_out: Is told how many words passages lack that no text was long enough for.

    Raises:
        ValueError: Passages would lack more than OFF of their words.
    """
    lengths = {question.context: len(question.second) for question in pattern}
    passages_left = [*{text.text: text for text in texts if text.text not in lengths}.values()]
    pool = [passages_left[place] for place in np.random.default_rng(SEED).permutation(len(passages_left))]
    words_there = sum(text.left for text in pool)
    passages: dict[str, dict[str, Any]] = {}
    for context in sorted(lengths, key=lambda context: -lengths[context]):
        enough = [text for text in pool if text.left >= lengths[context]]
        if enough:
            text = min(enough, key=lambda text: text.lost(lengths[context]))
        elif not (text := max(pool, key=lambda text: text.left, default=None)) or not text.left:
            break
        passages[context] = text.take(lengths[context])
    lacking = sum(lengths.values()) - sum(len(passage["second"]) for passage in passages.values())
    if len(passages) < len(lengths) or lacking > OFF * sum(lengths.values()):
        raise ValueError(
            f"{reference}: {len(lengths)} passages of {sum(lengths.values())} words are needed, and {len(pool)} texts of {words_there} words are "
            f"too few or too short for them: {lacking} words would be missing; take a larger text, or draw less from what "
            "gives the layout, as in wiki~squad:dev[60]"
        )
    left_out["words that passages lack"] = lacking
    return (dataclasses.replace(question, **passages[question.context], answers=()) for question in pattern)
