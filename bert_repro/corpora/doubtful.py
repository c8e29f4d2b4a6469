"""Texts that are probably not what was meant: a sentence for each thing that looks wrong, such as many repeated items.

A text from which any result would be nonsense is an error.
"""

from collections.abc import Mapping

import numpy as np

from bert_repro.corpora.counted import Census

MOSTLY = 0.5  # the share of sentences whose forms are withheld from which on we refuse
REPEATED = 0.1  # of the items, those that repeat an earlier one: of UD's EWT .065, of its draws less, of other texts here .02 at most
SHARED = 0.1  # of the items, those that were learned from: of EWT's test .045, of other texts here none
INSIDE = 0.1  # of the questions, those whose answers lie inside words: of SQuAD .008 at most


def doubts(texts: Mapping[str, Census], learned: str = "") -> list[str]:
    """Say what in some texts is probably not intended, with counts.

    Args:
        texts: By reference, what is counted of them.
        learned: The one of them that is learned from; the others should hold little of it.

    Returns:
        A sentence for each: forms that are withheld; words that are written as special tokens, which tokenizers take for
        these; more than INSIDE of the questions with answers inside words; more than REPEATED of the items repeating others;
        more than SHARED of them learned from.

    Raises:
        ValueError: The forms of more than MOSTLY of the sentences are withheld, or all items, of at least two, are equal.
    """
    sentences: list[str] = []
    for reference, census in texts.items():
        count, different = census.items, len(np.unique(census.keys))
        if census.withheld > MOSTLY * count:
            raise ValueError(
                f"{reference}: {census.withheld} of {count} sentences have no words but `_`: their forms are withheld, and what is "
                "computed of them would mean nothing; restore the text as the treebank's README says"
            )
        if different == 1 < count:
            raise ValueError(
                f"{reference}: all {count} items are equal: there is nothing to compare, and no interval to compute; is this the intended text?"
            )
        again = len(census.keys) - different
        told = {
            f"{census.withheld} of {count} sentences have no words but `_`: their forms are withheld.": census.withheld,
            f"{census.special} words are written as special tokens are ([SEP], <pad>, ...): a tokenizer that has such a one reads "
            "it as that.": census.special,
            f"{census.inside} of {count} questions have no answer that begins and ends where a word does: no span of words can be "
            "exactly right for them.": census.inside > INSIDE * count,
            f"{again} of {len(census.keys)} items repeat others, {different} are different: intervals are too narrow, as they take "
            "each for new.": again > REPEATED * len(census.keys),
        }
        sentences += [f"{reference}: {text}" for text, holds in told.items() if holds]
    for reference, census in texts.items():
        equal = int(np.isin(census.keys, texts[learned].keys).sum()) if learned in texts and reference != learned else 0
        if equal > SHARED * len(census.keys):
            sentences.append(
                f"{reference}: {equal} of {len(census.keys)} items are in {learned} too, which is learned from: scores are too good."
            )
    return sentences
