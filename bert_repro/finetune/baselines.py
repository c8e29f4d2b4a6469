"""Baselines of tasks: what can be answered without any encoder, counted as task heads count.

Pure NumPy: TensorFlow does not start here. Each learns next to nothing from the training items, and still gets some test
items right; a score that is not above that says little. A task without a baseline is an error.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bert_repro import corpora
from bert_repro.corpora.items import Pair, Question, Sentence
from bert_repro.finetune import counts
from bert_repro.finetune.tasks import named
from bert_repro.results import intervals

LONGEST = 8  # words of an answer: with more, F1 on training questions of SQuAD gains less than .001


class Baseline(NamedTuple):
    """A baseline, which needs no encoder.

    Attributes:
        metrics: Names of what it is counted under.
        counts: Gives right and all of each metric for each test item, `items metrics 2`, from the training items and those.
    """

    metrics: tuple[str, ...]
    counts: Callable[[Sequence[Any], Sequence[Any]], np.ndarray]


class _Text(NamedTuple):
    reference: str
    digest: str


def rows(
    task: str, train: str, texts: Sequence[str], *, resamples: int = intervals.RESAMPLES
) -> list[dict[str, object]]:
    """Score a task's baseline, which needs no encoder, on texts.

    Args:
        task: A name from TASKS.
        train: The corpus that a tuned encoder learns from.
        texts: Corpora that it is scored on: equal ones see the same resamples, so that both can be paired.
        resamples: Bootstrap resamples behind the intervals.

    Returns:
        Table rows of role `baseline`, whose `model` and `method` say what it is.

    Raises:
        ValueError: The task has none, and what `corpora.load` raises.
    """
    kind = named(task)
    if not kind.baseline:
        raise ValueError(f"{kind.description} has no baseline: nothing is known of it without an encoder")
    answer, learned = BASELINES[kind.baseline], corpora.load(train).items
    about = {"role": "baseline", "model": kind.baseline, "method": kind.baseline, "task": task, "target": task}
    unlike = dict.fromkeys(("base", "seed", "updates", "layers_changed"))  # it was not tuned
    table_rows: list[dict[str, object]] = []
    for reference in texts:
        text = corpora.load(reference)
        counted = answer.counts(learned, text.items)
        of_text = counts.score_rows(answer.metrics, counted, _Text(reference, text.digest), resamples)
        table_rows += [row | about | unlike for row in of_text]
    return table_rows


def most_frequent(names: Iterable[str]) -> str:
    """Give the most frequent name, the first in the alphabet among equals; an empty one if there is none."""
    return min(Counter(names).items(), key=lambda item: (-item[1], item[0]), default=("", 0))[0]


# ---- pairs


def majority_label(train: Sequence[Pair], items: Sequence[Pair]) -> Float[np.ndarray, "items metrics 2"]:
    """Say the most frequent label of the training pairs of every pair."""
    label = most_frequent(pair.label for pair in train)
    return np.array([counts.pair(pair, label) for pair in items])


# ---- questions


def lexical_overlap(train: Sequence[Question], items: Sequence[Question]) -> Float[np.ndarray, "items metrics 2"]:
    """Answer every question by `overlap_answer`; nothing is learned."""
    return np.array([counts.question(question, [overlap_answer(question)]) for question in items])


def overlap_answer(question: Question) -> str:
    """Give the words of a passage, LONGEST at most, that are surrounded by words of the question.

    A word of the passage that occurs in the question, in any case, weighs `log(1 + 1 / c)`, as it occurs c times in the passage.
    Answers are the runs of words between such words and punctuation marks, each cut behind LONGEST words; the one with the
    greatest weight around it, as many words to either side as the question has, is the answer, the first among equals.

    Reference:
        After the sliding window of Richardson et al. 2013, section 4.1, which Rajpurkar et al. 2016, section 5.1, turned on
        spans of the passage; as there, an answer's own words do not count. Theirs are constituents of a parser.
    """
    words = [word.lower() for word in question.second]
    clues, often = {word.lower() for word in question.first if _spelt(word)}, Counter(words)
    weights = np.array([np.log1p(1 / often[word]) if word in clues else 0.0 for word in words])
    free = np.array([_spelt(word) and word not in clues for word in words])
    first, last = runs(free)
    if not len(first):
        return ""
    before = np.r_[0.0, np.cumsum(weights)]
    low, high = np.maximum(first - len(question.first), 0), np.minimum(last + len(question.first), len(words))
    around = np.round(before[high] - before[low], 9)  # inside a run nothing weighs; equal but for rounding is equal
    best = int(around.argmax())
    end = min(first[best] + LONGEST, last[best])
    return question.context[question.offsets[first[best]][0] : question.offsets[end - 1][1]]


def runs(free: np.ndarray) -> tuple[Int[np.ndarray, "runs"], Int[np.ndarray, "runs"]]:
    """Find the runs of true values: the first place of each, and the one after its last."""
    steps = np.diff(np.r_[0, free.astype(int), 0])
    return np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)


def _spelt(word: str) -> bool:
    """Return whether a token is a word, not a punctuation mark."""
    return any(letter.isalnum() for letter in word)


# ---- trees


def chain_of_words(train: Sequence[Sentence], items: Sequence[Sentence]) -> Float[np.ndarray, "items metrics 2"]:
    """Attach every word to the one before it, or every word to the next: whichever is right more often in training.

    The word at the end of the chain is the root. It has the most frequent relation of the words that are roots there in
    training as well, and every other word that of the words whose heads are right in training.
    """

    def right(backward: bool) -> list[tuple[int, str]]:
        arcs = [
            (predicted, head, relation)
            for sentence in train
            for predicted, head, relation in zip(
                chain(len(sentence.words), backward), sentence.heads, sentence.relations, strict=True
            )
        ]
        return [(head, relation) for predicted, head, relation in arcs if predicted == head]

    arcs_by_direction = {backward: right(backward) for backward in (True, False)}
    backward = len(arcs_by_direction[True]) >= len(arcs_by_direction[False])
    root, relation = (
        most_frequent(name for head, name in arcs_by_direction[backward] if bool(head) == inner)
        for inner in (False, True)
    )
    counted = []
    for sentence in items:
        heads = chain(len(sentence.words), backward)
        counted.append(counts.tree(sentence, heads, [relation if head else root for head in heads]))
    return np.array(counted)


def chain(words: int, backward: bool) -> Int[np.ndarray, "words"]:
    """Give the heads of a chain, from 1 and 0 for the root: each word's is the one before it, or else the next."""
    heads = np.arange(words) if backward else np.arange(2, words + 2)
    return np.where(heads > words, 0, heads)


# ---- words


def most_frequent_tag(train: Sequence[Sentence], items: Sequence[Sentence]) -> Float[np.ndarray, "items metrics 2"]:
    """Give every word the tag that it has most often in training, and one never seen there the most frequent of all."""
    seen: dict[str, list[str]] = {}
    for sentence in train:
        for word, tag in zip(sentence.words, sentence.upos, strict=True):
            seen.setdefault(word, []).append(tag)
    tag_of = {word: most_frequent(tags) for word, tags in seen.items()}
    default = most_frequent(tag for tags in seen.values() for tag in tags)
    return np.array([counts.tags(item, [tag_of.get(word, default) for word in item.words]) for item in items])


BASELINES = {
    "majority label": Baseline(counts.PAIRS, majority_label),
    "lexical overlap": Baseline(counts.QUESTIONS, lexical_overlap),
    "chain of words": Baseline(counts.TREES, chain_of_words),
    "most frequent tag": Baseline(counts.TAGS, most_frequent_tag),
}
"""Baselines without any encoder, by their names in the tables; a task names its own."""
