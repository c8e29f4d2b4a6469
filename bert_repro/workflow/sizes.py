"""How much there is of a corpus: items, words and wordpieces, from a table where it need not be there, or by counting.

A corpus that is neither known nor found is an error.
"""

from typing import NamedTuple

from bert_repro import corpora
from bert_repro.corpora.reference import Reference


class Size(NamedTuple):
    """How much there is of a corpus."""

    items: float
    words: float

    def pieces(self, limit: int = 512) -> float:
        """Estimate the mean number of wordpieces of an item, special tokens included."""
        # within 5 % for BERT's vocabulary on MNLI, SQuAD, EWT and Wikipedia
        return min(limit, 1.08 * self.words / self.items + 3)


SIZES = {
    "mnli:train": Size(26_542, 924_726), "mnli:dev": Size(7_727, 289_216),
    "squad:train": Size(11_877, 1_740_876), "squad:dev": Size(3_327, 531_183),
    "ewt:train": Size(12_544, 204_577), "ewt:dev": Size(2_001, 25_147), "ewt:test": Size(2_077, 25_094),
    "wiki": Size(8_974, 235_834), "gum:dev": Size(1_575, 28_119), "pud": Size(1_000, 21_180),
    "squadshifts-wiki": Size(7_938, 1_243_975), "squadshifts-amazon": Size(2_038, 370_372),
    "squadshifts-reddit": Size(2_061, 372_308),
    # as published; their words by the mean length of the parts above, EWT's release differing by little
    "glue/mnli:train": Size(392_702, 13_700_000), "glue/mnli:dev": Size(19_647, 735_000),
    "glue/mnli:matched": Size(9_815, 367_000), "glue/mnli:mismatched": Size(9_832, 368_000),
    "squad/v1.1:train": Size(87_599, 12_800_000), "squad/v1.1:dev": Size(10_570, 1_690_000),
    "universal_dependencies/en_ewt:train": Size(12_544, 204_577),
    "universal_dependencies/en_ewt:dev": Size(2_001, 25_147),
    "universal_dependencies/en_ewt:test": Size(2_077, 25_094),
    # articles as published, each taken to have DOCUMENT sentences, as long as those of our part of Wikipedia
    "wiki40b/en:train": Size(46_824_000, 1_230_000_000), "wiki40b/en:dev": Size(2_617_000, 68_800_000),
    "wiki40b/en:test": Size(2_596_000, 68_200_000),
}  # fmt: skip
"""Corpora that need not be there to be planned with; any other one is counted."""
LARGEST = "wiki40b/en:train"
DOCUMENT = 16  # sentences
SPELT = 1.4  # wordpieces a word, of a vocabulary of 8,192


def size(reference: str) -> Size:
    """Give the size of a corpus, from the table or by counting; errors as in `corpora.census`."""
    parsed = Reference.parse(reference)
    if parsed.layout:
        size(str(parsed.text))  # has to be known as well, though the lengths are not its own
        return size(str(parsed.layout))
    whole = SIZES.get(str(parsed.whole))
    if whole is None:
        return Size(*corpora.census(reference)[1:3])
    drawn = whole.items if parsed.drawn is None else parsed.drawn
    items = drawn if drawn >= 0 else whole.items + drawn
    return Size(items, whole.words * items / whole.items)


def running(reference: str) -> Size:
    """Give the size of running text as the task masked_words reads it: packed into inputs of one length; errors as above."""
    parsed = Reference.parse(reference)
    known, whole = SIZES.get(reference), SIZES.get(str(parsed.whole))
    if known is None and whole and parsed.drawn and not corpora.in_clone(corpora.named(reference)):
        documents = parsed.drawn if parsed.drawn > 0 else whole.items / DOCUMENT + parsed.drawn
        known = Size(documents * DOCUMENT, whole.words * documents * DOCUMENT / whole.items)
    words = known.words if known else sum(len(text.split()) for _, text in corpora.paragraphs(reference))
    inputs = SPELT * words / 126
    return Size(inputs, inputs * 125 / 1.08)  # of 128 wordpieces each, as `pieces` counts them
