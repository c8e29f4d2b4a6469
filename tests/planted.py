<<<<<<< HEAD
"""Claims and tables that are planted, for the tests of claims and verdicts."""

import datetime

import numpy as np

from bert_repro.results import tables

NOISE = np.random.default_rng(0).normal(size=200)
NOISE = (NOISE - NOISE.mean()) / NOISE.std(ddof=1)


def row(value, spread=0.001, **columns):
    return {"role": "score", **columns, "value": value, "replicates": value + spread * NOISE}


def table(rows, study="paper", base="encoder"):
    return tables.tidy(rows, study=study, base=base)


def probe(gain=0.0, spread=0.001, task="parsing", **columns):
    """Base and one tuned encoder of two blocks, probed on dev and test; layer 1 is best on dev."""
    shared = {"notebook": "structural_probe", "target": "distance", "metric": "uuas", **columns}
    return [
        row(value + 0.01 * (layer == 1) + 0.5 * (split == "test" and layer == 2), noise, **shared, **model, layer=layer, split=split)
        for model, value, noise in [({"model": "base"}, 0.6, 0), ({"model": "t-1", "task": task, "seed": 1}, 0.6 + gain, spread)]
        for layer in range(3)
        for split in ("dev", "test")
    ]  # fmt: skip


MINE: dict = {}  # every contrast of a test is primary


def claim(
    a=None, b=None, rule="greater", margin=0.01, metric="uuas", both=None, needs=None, weak=(), order=None, more=(), primary=MINE, gates=(),
    **options,
):  # fmt: skip
    contrast = {"both": both or {}, **({"a": a} if a else {}), **({"b": b} if b is not None else {})}
    contrast |= {"order": order} if order else {}
    test = {
        "contrast": contrast, "metric": metric, "rule": rule, "margin": {"value": margin, "unit": "share", "why": "x"},
        "primary": primary, **options,
    }  # fmt: skip
    return {
        "id": "planted", "claim": "A claim.", "measured": "Score of one minus another", "source": {"kind": "ours", "where": "here"},
        "chapter": "similarity", "needs": needs or {}, "gates": list(gates),
        "weakened_on": {"bases": list(weak), "reason": "the base has seen it"}, "tests": [test, *more],
    }  # fmt: skip


def content(*planted, gates=None):
    today = datetime.date(2026, 11, 23)
    return {
        "written": today, "before": "nothing seen", "history": [], "verdicts": [], "gates": gates or {}, "claims": list(planted)
    }  # fmt: skip


def curves(levels, method="rsa", **columns):
    """Similarity of four blocks to base, constant in each half: {task: (lower, upper)}."""
    return [
        row(1.0 if layer == 0 else lower if layer <= 2 else upper, 0.0, notebook="similarity", metric="similarity",
            method=method, task=task, model=f"{task}-1", seed=1, reference_model="base", layer=layer, **columns)
        for task, (lower, upper) in levels.items() for layer in range(5)
    ]  # fmt: skip
=======
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
>>>>>>> nouns
