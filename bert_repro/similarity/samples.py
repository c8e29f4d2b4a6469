"""Words drawn from a corpus: the same ones for every model, whose vectors are then read.

More words than there are, classes of words that a corpus does not distinguish, and stores of different texts are errors.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from bert_repro.results import intervals
from bert_repro.similarity.match import common

SENTENCES = 500  # most sentences of a sample
CONTENT = ("ADJ", "ADV", "INTJ", "NOUN", "PROPN", "VERB")
FUNCTION = ("ADP", "AUX", "CCONJ", "DET", "NUM", "PART", "PRON", "SCONJ")
"""Open and closed classes of Universal Dependencies."""
SPECIAL = ("[CLS]", "[SEP]")
CLASSES = {"content": CONTENT, "function": FUNCTION, "punctuation": ("PUNCT",)}
FREQUENCY = {"once": (1, 1), "sometimes": (2, 9), "often": (10, math.inf)}
"""How often a text has a word, ignoring case, from and to: classes that any corpus has."""


@runtime_checkable
class States(Protocol):
    """The part of `states.HiddenStates` that is used here."""

    corpus: str
    split: str
    setting: Any
    inputs: dict[str, Any]

    @property
    def rows(self) -> pd.DataFrame: ...

    def vectors(
        self, rows: Int[np.ndarray, " rows"], layers: Sequence[int] | None = None
    ) -> Float[np.ndarray, "layers rows hidden"]: ...


class Sample(NamedTuple):
    """Words of a corpus, and their vectors under one model or more, in step.

    Attributes:
        corpus: Its name.
        split: Split of the corpus, with the draw if there is one: `dev[600]`.
        key: Names the sample; what is measured on samples with equal keys shares its bootstrap draws.
        sentence: The sentence of each word, 0 .. sentences - 1, ascending.
        vectors: `layers words hidden` of each model; widths and numbers of layers may differ.
        rows: The class of words, empty for all of them.
        left_out: Words of the corpus that not every model was given, and that were not drawn from.
    """

    corpus: str
    split: str
    key: str
    sentence: Int[np.ndarray, " words"]
    vectors: tuple[Float[np.ndarray, "layers words hidden"], ...]
    rows: str = ""
    left_out: int = 0

    def summary(self) -> str:
        """Summarise in a line how many words it has, from how many sentences, and what was left out."""
        text = f"{self.corpus}: {len(self.sentence)} words of {self.sentence[-1] + 1} sentences or items"
        if not self.left_out:
            return text
        return f"{text}; {self.left_out} words of the corpus were left out: not every model was given them"

    def row(
        self, method: str, metric: str, value: float, replicates: Float[np.ndarray, " resamples"]
    ) -> dict[str, object]:
        """Make a table row of a result on this sample."""
        columns = {"corpus": self.corpus, "split": self.split, "rows": self.rows or None}
        return (
            columns
            | {"method": method, "metric": metric, "n": len(self.sentence)}
            | intervals.row(value, replicates, int(self.sentence[-1]) + 1)
        )


def sample(
    models: Sequence[Mapping[str, States]],
    wanted: Sequence[str],
    *,
    words: int,
    seed: int,
    layers: Sequence[int] | Sequence[Sequence[int]] | None = None,
    of: Sequence[str] = ("words",),
    part: int = 0,
    like: str = "",
    units: int = 0,
) -> list[Sample]:
    """Draw words of several corpora, and read their vectors under one model or more.

    Args:
        models: The hidden states of each model, by corpus. Words are drawn from those that all of them were given.
        wanted: References of corpora, among those.
        words: How many words to draw from each, in whole sentences, of which there are at most 500.
        seed: Seed of the random draw.
        layers: Layers to read, all by default: the same of every model, or a list for each.
        of: Classes of words, a sample each, see `draw`.
        part: Which of the draws that share no sentence, the first being 0.
        like: One of the corpora; sentences are drawn that are as long as those which would be drawn from it.
        units: Least sentences, or items such as questions with their passages, that give words, see `draw`.

    Raises:
        ValueError: Fewer words or sentences than asked for, models that were given different texts, or a layer out of range.
    """
    layers_of, lengths = of_each(layers, len(models)), None
    if like:
        pattern = _in_common([states[like] for states in models])[0]
        lengths = pattern.loc[draw(pattern, words, seed)].groupby("sentence").size().to_numpy()
    samples = []
    for of_models in ([states[reference] for states in models] for reference in wanted):
        first = of_models[0]
        rows, numbers, left_out = _in_common(of_models)
        apart = first.setting.pairs == "apart"
        remarks = {"second sample": part, f"as long as {like}": like, "sides apart": apart}
        for words_of in of:
            if lengths is None:
                drawn = draw(rows, words, seed, words_of, part, units)
            else:
                drawn = draw_like(rows, lengths, seed)
            name = ", ".join(
                [words_of] * (words_of != "words") + [remark for remark, holds in remarks.items() if holds]
            )
            less = [f"without {left_out}"] if left_out else []  # other sentences may be drawn from fewer words
            key = "/".join(map(str, [first.inputs["corpus"], words, seed, *([name] if name else []), *less]))
            sentence = np.unique(rows["sentence"].to_numpy()[drawn], return_inverse=True)[1]
            sources = zip(of_models, numbers, layers_of, strict=True)
            vectors = tuple(states.vectors(of_model[drawn], named) for states, of_model, named in sources)
            samples.append(Sample(first.corpus, first.split, key, sentence, vectors, name, left_out))
    return samples


def _in_common(models: Sequence[States]) -> tuple[pd.DataFrame, list[Int[np.ndarray, " rows"]], int]:
    """Give the rows that all models have, their numbers in the store of each, and how many words that leaves out."""
    rows = models[0].rows
    shared, left_out = common([states.rows for states in models])
    if shared is None:
        return rows, [np.arange(len(rows))] * len(models), left_out
    return rows.iloc[shared[0]].reset_index(drop=True), shared, left_out


def of_each(layers: Sequence[int] | Sequence[Sequence[int]] | None, models: int) -> list[Any]:
    """Give the layers of each model: those named for it, or those that are named for all."""
    if layers and isinstance(layers[0], Sequence):
        return list(layers)
    return [layers] * models


def draw(
    rows: pd.DataFrame, words: int, seed: int, of: str = "words", part: int = 0, units: int = 0
) -> Int[np.ndarray, " rows"]:
    """Draw whole sentences until a number of words is reached, or 500 sentences.

    Words of one item depend on one another: thirty long ones say less of a corpus than sixty. So where few would do, more are
    drawn, and words among them.

    Args:
        rows: The rows of a `HiddenStates`.
        words: How many words to draw, special tokens not counted; the last sentence is kept whole.
        seed: Seed of the random draw.
        of: What is taken of the drawn sentences: `words`, which leaves special tokens out; the special token `[CLS]` or
            `[SEP]`, in families that call them otherwise the first one and the others; `content`, `function` or
            `punctuation`; a tag of Universal Dependencies such as `NOUN`; or words that the whole corpus has `once`,
            `sometimes` (2 to 9 times) or `often`.
        part: Which of the draws that follow one another without a sentence in common; the first is 0. A later one has
            fewer words where the corpus ends.
        units: Least sentences, or items such as questions with their passages: where fewer hold the words, so many are drawn,
            and as many of their words as asked for, at random.

    Returns:
        Row numbers, ascending.

    Raises:
        ValueError: The corpus has fewer words or sentences than asked for, or none of the class.
    """
    ordinary = rows[~rows["special"]]
    generator = np.random.default_rng(seed)
    order, (first, enough, last) = _order(ordinary, words, generator, part, units)
    if last > len(order) if part == 0 else first + 2 > len(order):
        request = (
            f"{words} words were" if part == 0 else f"a sample that shares no sentence with {part} of {words} words was"
        )
        raise ValueError(f"{request} asked for, the corpus has {len(ordinary)}: ask for fewer, or take a larger corpus")
    inside = rows["sentence"].isin(order[first:last])
    if last > enough:
        among, chosen = np.flatnonzero(inside & ~rows["special"]), np.zeros(len(rows), bool)
        chosen[generator.choice(among, min(words, len(among)), replace=False)] = True
        inside &= rows["special"] | chosen
    return np.flatnonzero(inside & _of_class(rows, of))


def drawn(tables: Mapping[str, Sequence[pd.DataFrame]], words: int, seed: int, units: int = 0) -> dict[str, list[int]]:
    """Give the sentences that `sample` will draw words from, before there are any vectors of them.

    That is, its first part, of any class of words, with at most so many words and units; what is drawn to be like another corpus
    is not among them.

    Args:
        tables: For each corpus the rows of its `HiddenStates` under each model, as `states.words` gives them.
        words: How many words will be drawn.
        seed: Seed of the random draw.
        units: Least sentences or items.

    Returns:
        Their numbers, ascending; all where there are too few words.

    Raises:
        ValueError: There are fewer units.
    """
    sentences = {}
    for reference, of_models in tables.items():
        shared, _ = common(of_models)
        rows = of_models[0] if shared is None else of_models[0].iloc[shared[0]]
        order, (*_, last) = _order(rows[~rows["special"]], words, np.random.default_rng(seed), 0, units)
        sentences[reference] = np.sort(order[:last]).tolist()
    return sentences


def _order(
    ordinary: pd.DataFrame, words: int, generator: np.random.Generator, part: int, units: int
) -> tuple[Int[np.ndarray, " sentences"], tuple[int, int, int]]:
    """Shuffle the sentences, and say where a part of them begins, where it holds the words, and where the units too."""
    sizes = ordinary.groupby("sentence", sort=True).size()
    order = generator.permutation(sizes.index.to_numpy())
    if units > len(order):
        raise ValueError(
            f"{units} units were asked for, the corpus has {len(order)}: draw more of it, or ask for fewer"
        )
    reached = np.r_[0, np.cumsum(sizes[order].to_numpy())]
    first = last = enough = 0
    for _ in range(part + 1):
        first, enough = last, min(int(np.searchsorted(reached, reached[last] + words)), last + SENTENCES)
        last = max(enough, first + units)
    return order, (first, enough, last)


def draw_like(rows: pd.DataFrame, lengths: Int[np.ndarray, " sentences"], seed: int) -> Int[np.ndarray, " rows"]:
    """Draw sentences of given lengths, each the nearest that is left; special tokens are left out.

    Args:
        rows: The rows of a `HiddenStates`.
        lengths: How many words each sentence shall have.
        seed: Seed of the choice among sentences of equal length.

    Returns:
        Row numbers, ascending.

    Raises:
        ValueError: There are too few sentences of such lengths: on average they would be off by more than a tenth.
    """
    ordinary = ~rows["special"]
    sizes = rows[ordinary].groupby("sentence", sort=True).size().sample(frac=1, random_state=seed)
    pool, drawn, off = sizes.to_numpy(float), [], 0.0
    for length in sorted(lengths, reverse=True)[: len(pool)]:
        nearest = int(np.argmin(np.abs(pool - length)))
        off += abs(pool[nearest] - length)
        drawn.append(sizes.index[nearest])
        pool[nearest] = np.inf
    if len(drawn) < len(lengths) or off > 0.1 * sum(lengths):
        raise ValueError(
            f"the corpus has not enough sentences for {len(lengths)} of {np.mean(lengths):.0f} words on average: "
            "take a larger one, or one of longer sentences"
        )
    return np.flatnonzero(ordinary & rows["sentence"].isin(drawn))


def shuffled(sample: Sample, seed: int) -> Sample:
    """Pair the words of the first model with other words of the second: what remains is not a similarity of words."""
    order = np.random.default_rng(seed).permutation(len(sample.sentence))
    first, *partners = sample.vectors
    return sample._replace(vectors=(first, *(x[:, order] for x in partners)), rows="shuffled words")


def layer_below(sample: Sample) -> Sample:
    """Pair each layer of the first model, from the second one on, with the layer below it: how far a layer is from the next."""
    layers = sample.vectors[0]
    return sample._replace(vectors=(layers[1:], layers[:-1]))


def varied(sample: Sample, layers: Sequence[int]) -> tuple[Sample, Sequence[int]]:
    """Leave out of a class of words the layers in which all of them have one vector, as [CLS] has in the embeddings."""
    kept = [
        at for at, sides in enumerate(zip(*sample.vectors, strict=False)) if all(np.ptp(x, axis=0).any() for x in sides)
    ]
    if not sample.rows or not kept or len(set(map(len, sample.vectors))) > 1:
        return sample, layers
    return sample._replace(vectors=tuple(x[kept] for x in sample.vectors)), [layers[at] for at in kept]


def _of_class(rows: pd.DataFrame, of: str) -> pd.Series:
    special = rows["special"].astype(bool)
    if of == "words":
        return ~special
    if of in set(rows["form"][special]):
        return special & (rows["form"] == of)
    if of in SPECIAL and special.any():  # which other families call otherwise
        return special & (rows["sentence"].duplicated() == (of == "[SEP]"))
    if of in FREQUENCY:
        forms = rows["form"].str.lower()
        of_class = ~special & forms.map(forms[~special].value_counts()).between(*FREQUENCY[of])
    else:
        of_class = ~special & rows["upos"].isin(CLASSES.get(of, (of,)))
    if not of_class.any():
        classes = [
            *sorted(set(rows["form"][special])),
            *CLASSES,
            *FREQUENCY,
            *sorted(set(rows["upos"][~special].dropna()) - {""}),
        ]
        raise ValueError(
            f"no word of this corpus is of the class {of!r}: expected words or one of {classes}; only treebanks have "
            "parts of speech"
        )
    return of_class


def check(x: np.ndarray, y: np.ndarray, sentence: np.ndarray) -> None:
    """Make sure that two models' vectors of a sample, `layers words hidden`, can be compared.

    Raises:
        ValueError: They cannot: not matching, too few, not finite, zero or constant.
    """
    if not x.shape[1] == y.shape[1] == len(sentence):
        raise ValueError(
            f"{x.shape[1]} and {y.shape[1]} words with {len(sentence)} sentence numbers: the two sides do not match"
        )
    if x.shape[1] < 4:
        raise ValueError(f"{x.shape[1]} words are too few to compare: at least 4 are needed")
    for name, side in (("first", x), ("second", y)):
        if not np.isfinite(side).all():
            raise ValueError(f"the {name} model's vectors hold values that are not finite")
        if (np.abs(side).max(-1) == 0).any():
            raise ValueError(f"the {name} model has a word whose vector is zero, which has no direction")
        if (np.ptp(side, axis=1).max(-1) == 0).any():
            raise ValueError(
                f"the {name} model gives every word the same vector in some layer: there is no geometry to compare"
            )
