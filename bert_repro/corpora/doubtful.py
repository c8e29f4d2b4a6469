"""Texts that cannot be meant: hides what makes one so, and how much of it is too much; gives a sentence for each thing to tell.

It refuses texts of which any result would be nonsense.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from bert_repro.corpora.items import Question, Sentence

WITHHELD, MOSTLY = (
    "_",
    0.5,
)  # what stands for a form that is not given away; the share of sentences of such from which on we refuse
REPEATED = 0.1  # of the items, those that repeat an earlier one: of UD's EWT .065, of its draws less, of other texts here .02 at most
SHARED = 0.1  # of the items, those that were learned from: of EWT's test .045, of other texts here none
INSIDE = 0.1  # of the questions, those whose answers lie inside words: of SQuAD .008 at most
SPECIAL = {"[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]", "<s>", "</s>", "<pad>", "<mask>", "<unk>"}


def doubts(texts: Mapping[str, Iterable[Any]], learned: str = "") -> list[str]:
    """Say what of some texts is perhaps not meant to be so, with counts.

    Args:
        texts: By reference, their items; read once, and a number of 64 bits is held of each that is different.
        learned: The one of them that is learned from; the others should hold little of it.

    Returns:
        A sentence for each: forms that are withheld; words that are written as special tokens, which tokenizers take for
        these; more than INSIDE of the questions with answers inside words; more than REPEATED of the items repeating others; more than SHARED of them learned from.

    Raises:
        ValueError: The forms of more than MOSTLY of the sentences are withheld, or all items, of at least two, are equal.
    """
    told: list[str] = []
    known: dict[str, list[int]] = {}
    for reference, items in texts.items():
        keys, withheld, special, inside = [], 0, 0, 0
        for item in items:
            sides = (item.words,) if isinstance(item, Sentence) else (item.first, item.second)
            if all(set(side) == {WITHHELD} for side in sides):
                withheld += 1
                continue
            keys.append(hash(sides))
            special += sum(word in SPECIAL for side in sides for word in side)
            inside += isinstance(item, Question) and not _in_words(item)
        known[reference], count, different = keys, len(keys) + withheld, len(set(keys))
        if withheld > MOSTLY * count:
            raise ValueError(
                f"{reference}: {withheld} of {count} sentences have no words but `_`: their forms are withheld, and what is "
                "computed of them would mean nothing; put the text back as the treebank's README says"
            )
        if different == 1 < count:
            raise ValueError(
                f"{reference}: all {count} items are equal: there is nothing to compare, and no interval to be had; was the text meant?"
            )
        if withheld:
            told.append(
                f"{reference}: {withheld} of {count} sentences have no words but `_`: their forms are withheld."
            )
        if special:
            told.append(
                f"{reference}: {special} words are written as special tokens are ([SEP], <pad>, ...): a tokenizer that has "
                "such a one reads it as that."
            )
        if inside > INSIDE * count:
            told.append(
                f"{reference}: {inside} of {count} questions have no answer that begins and ends where a word does: no span of "
                "words can be exactly right for them."
            )
        if (again := len(keys) - different) > REPEATED * len(keys):
            told.append(
                f"{reference}: {again} of {len(keys)} items repeat others, {different} are different: intervals are too "
                "narrow, as they take each for new."
            )
    seen = set(known.get(learned, ()))
    for reference, keys in known.items():
        equal = sum(key in seen for key in keys)
        if reference != learned and equal > SHARED * len(keys):
            told.append(
                f"{reference}: {equal} of {len(keys)} items are in {learned} too, which is learned from: scores are too good."
            )
    return told


def _in_words(question: Question) -> bool:
    """Tell whether some answer begins where a word does, and ends where one does; without answers there is none to miss."""
    begin, end = ({place[side] for place in question.offsets} for side in (0, 1))
    return not question.answers or any(start in begin and start + len(text) in end for text, start in question.answers)
