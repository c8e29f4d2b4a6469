"""What is planted for probes to find: trees, the rows that an encoder would give them, and vectors of any content."""

import numpy as np
import pandas as pd

from bert_repro import corpora
from bert_repro.probes import treebank


class States:
    """Hidden states from an array, `layers rows hidden`; layers are positions."""

    def __init__(self, array):
        self.array, self.hidden = array, array.shape[2]

    def vectors(self, rows, layers=None):
        return self.array[list(layers)][:, rows]


def random_heads(n, generator):
    """Hang each word, in random order, under one of the three before it: trees of some depth, projective or not."""
    order = generator.permutation(n)
    heads = np.zeros(n, int)
    for place in range(1, n):
        heads[order[place]] = order[max(0, place - generator.integers(1, 4))] + 1
    return tuple(heads.tolist())


def sentence(heads, name="s", upos=None, xpos=None):
    words = tuple(f"{name}.{i}" for i in range(len(heads)))
    tags = upos or ("NOUN",) * len(heads)
    return corpora.Sentence(name, words, tuple(heads), ("dep",) * len(heads), tags, xpos or tags)


def rows_of(sentences, cut=(), left_out=()):
    """The row table of sentences between [CLS] and [SEP]; `cut` gives how many words of a sentence are kept."""
    lines = []
    for number, one in enumerate(sentences):
        if number not in left_out:
            words = one.words[: dict(cut).get(number, len(one.words))]
            lines += [(number, form, special) for form, special in zip(("[CLS]", *words, "[SEP]"), (True, *[False] * len(words), True), strict=True)]  # fmt: skip
    return pd.DataFrame(lines, columns=["sentence", "form", "special"]).astype({"form": "string"})


def corpus(count, lengths, seed, punctuation=0.1):
    generator = np.random.default_rng(seed)
    low, high = lengths
    result = []
    for number in range(count):
        n = int(generator.integers(low, high + 1))
        upos = tuple(np.where(generator.random(n) < punctuation, "PUNCT", "NOUN").tolist())
        result.append(sentence(random_heads(n, generator), f"s{number}", upos))
    return result


def bank_of(sentences, **options):
    return treebank.treebank(sentences, rows_of(sentences), **options)
