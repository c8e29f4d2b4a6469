"""Treebanks for probing: sentences matched with the rows of their stored states; trees as numbers.

A treebank that does not match the stored states is an error; sentences that cannot be probed are counted, by reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from unicodedata import category

import numpy as np
from jaxtyping import Int

PUNCTUATION = {"upos": {"PUNCT"}, "xpos": {"''", ",", ".", ":", "``", "-LRB-", "-RRB-"}, "none": set()}
"""What counts as punctuation: UD's tag, those of Hewitt and Manning's code, or nothing."""
FITS = (
    0.5  # of the words that are punctuation marks, those that a rule has to find: in EWT and PUD they find .94 and more
)


def tree_distances(heads: Sequence[int]) -> Int[np.ndarray, "words words"]:
    """Count the edges between every two words of a tree.

    Args:
        heads: Head of each word, counted from 1; 0 for the root.
    """
    above = _ancestors(heads)
    depth = above.sum(1)
    return depth[:, None] + depth[None, :] - 2 * (above @ above.T)


def tree_depths(heads: Sequence[int]) -> Int[np.ndarray, "words"]:
    """Count the edges from every word of a tree up to its root, which has none.

    Args:
        heads: Head of each word, counted from 1; 0 for the root.
    """
    return _ancestors(heads).sum(1) - 2


def _ancestors(heads: Sequence[int]) -> Int[np.ndarray, "words words+1"]:
    """Mark what is above each word, itself and the artificial root included."""
    above = np.zeros((len(heads), len(heads) + 1), np.int32)
    for word in range(len(heads)):
        node = word + 1
        while node:
            above[word, node] = 1
            node = heads[node - 1]
    above[:, 0] = 1
    return above


@dataclass(frozen=True)
class Treebank:
    """One split, ready for probing: which stored rows its sentences are, and their trees.

    Attributes:
        rows: First row of each sentence in `vectors`.
        sentences: What the treebank says of each.
        punctuation: Whether each word is punctuation, a mask a sentence.
        skipped: Sentences that could not be used, by reason.
        rule: What counts as punctuation, a name from PUNCTUATION.
    """

    sentences: list
    rows: Int[np.ndarray, " sentences"]
    punctuation: list[np.ndarray]
    skipped: dict[str, int]
    rule: str = "none"

    @property
    def doubts(self) -> list[str]:
        """Say in a sentence that a rule for punctuation does not fit the treebank, with counts; nothing where it does."""
        marks = [
            [all(category(character)[0] == "P" for character in word) for word in item.words] for item in self.sentences
        ]
        written, flagged = np.concatenate(marks), np.concatenate(self.punctuation)
        if self.rule == "none" or (written & flagged).sum() >= FITS * written.sum():
            return []
        return [
            f"The rule punctuation={self.rule} finds {(written & flagged).sum()} of the {written.sum()} words that are punctuation marks in this "
            f"treebank of {len(flagged)} words: the others count in UUAS and root; another rule may fit, one of {', '.join(PUNCTUATION)}."
        ]

    def of(self, chosen: Sequence[int]) -> "Treebank":
        """Give some of the sentences, by number."""
        sentences = [self.sentences[n] for n in chosen]
        return Treebank(
            sentences, self.rows[list(chosen)], [self.punctuation[n] for n in chosen], self.skipped, self.rule
        )

    @cached_property
    def distances(self) -> list[np.ndarray]:
        return [tree_distances(sentence.heads) for sentence in self.sentences]

    @cached_property
    def depths(self) -> list[np.ndarray]:
        return [tree_depths(sentence.heads) for sentence in self.sentences]

    @cached_property
    def lengths(self) -> Int[np.ndarray, " sentences"]:
        return np.array([len(sentence.words) for sentence in self.sentences], int)


def treebank(sentences: Sequence, rows, *, punctuation: str = "upos", least: int = 2) -> Treebank:
    """Bring a treebank and the rows of its stored states together.

    Args:
        sentences: `corpora.Sentence` with heads.
        rows: The row table of their states (`HiddenStates.rows`).
        punctuation: What counts as punctuation, a name from PUNCTUATION.
        least: The fewest words of a sentence that is kept: one word has no distances, but it has a part of speech.

    Raises:
        ValueError: An unknown rule, or words in the rows that are not the treebank's.
    """
    if punctuation not in PUNCTUATION:
        raise ValueError(f"punctuation must be one of {list(PUNCTUATION)}, got {punctuation!r}")
    marks = PUNCTUATION[punctuation]
    words = rows.index[~rows["special"]].to_numpy()
    sentence = rows["sentence"].to_numpy()[words]
    first = np.flatnonzero(np.r_[True, sentence[1:] != sentence[:-1]]) if len(words) else np.empty(0, int)
    places = dict(zip(sentence[first], zip(words[first], np.diff(np.r_[first, len(words)]), strict=True), strict=True))
    skipped = {"of one word": 0, "cut at or beyond the length limit": 0}
    kept, starts, masks = [], [], []
    forms = rows["form"].to_numpy()
    for number, item in enumerate(sentences):
        start, count = places.pop(number, (0, 0))
        pairs = zip(forms[start : start + count], item.words, strict=False)
        if count > len(item.words) or any(form not in (word, "[UNK]", "<unk>") for form, word in pairs):
            raise ValueError(
                f"sentence {item.id!r} of the treebank is not what the states were made of: was the treebank changed?"
            )
        if count < len(item.words):
            skipped["cut at or beyond the length limit"] += 1
            continue
        if count < least:
            skipped["of one word"] += 1
            continue
        kept.append(item)
        starts.append(start)
        masks.append(np.array([tag in marks for tag in (item.xpos if punctuation == "xpos" else item.upos)], bool))
    if places:
        raise ValueError(f"the states hold {len(places)} sentences more than the treebank: was the treebank changed?")
    if not kept:
        raise ValueError(f"no sentence can be probed: {skipped}")
    return Treebank(kept, np.array(starts), masks, skipped, punctuation)
