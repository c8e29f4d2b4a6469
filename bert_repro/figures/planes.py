"""Words of one example in the plane of their first two principal axes, turned alike across layers and encoders.

An example that was cut or that has no plane is an error; so are many at once, as each is somebody's text and is looked at
by itself.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from bert_repro import corpora
from bert_repro.figures.theme import name_parts
from bert_repro.similarity.samples import CLASSES

MOST = 5  # examples of a reference
_CLASS_OF = {tag: name for name, tags in CLASSES.items() for tag in tags}


class Pairing(NamedTuple):
    """One example under the base encoder and under a tuned one, layer by layer in planes turned alike.

    Attributes:
        task: What the second was tuned on.
        model: Its name.
        base: As `project` gives it, each layer turned onto the one before.
        tuned: Likewise, each layer turned onto the base's.
    """

    task: str
    model: str
    base: dict[str, Any]
    tuned: dict[str, Any]


def project(
    reference: str,
    rows: pd.DataFrame,
    read: Callable[[Int[np.ndarray, " rows"]], Float[np.ndarray, "layers rows hidden"]],
) -> list[dict[str, Any]]:
    """Put the words of each item of a corpus into the plane in which they vary most, in every layer.

    Args:
        reference: A corpus of at most 5 items.
        rows: What a store of its states has, as `HiddenStates.rows`.
        read: Gives the vectors of row numbers in every layer, as `HiddenStates.vectors`.

    Returns:
        An artefact an item: `key`, and `content` with the item's `id`, `corpus` and its `credit`; `words`; `classes`, one
        a word (content, function, punctuation or other in a sentence; question, answer or context; first or second of
        a pair); `heads` where there is a tree, counted from 1; `layers`; and for each of these `shares`, of the variance in
        the plane, in (0, 1], and `places`, two centred coordinates a word.

    Raises:
        ValueError: Texts that may not be shown, more than 5 items, one that was cut at the length limit, or one of fewer
            than 3 words.
    """
    corpora.refuse_to_show(reference)
    corpus = corpora.load(reference)
    if len(corpus.items) > MOST:
        raise ValueError(
            f"examples are looked at one by one: {reference} has {len(corpus.items)} items, at most {MOST} are shown; "
            "draw some, as in pud[1]"
        )
    projected = []
    for number, table in rows[~rows["special"]].groupby("sentence"):
        item = corpus.items[number]
        if table["truncated"].any() or len(table) < 3:
            raise ValueError(
                f"{item.id!r} of {reference} is no example to look at: {len(table)} words are there, expected all, and at "
                "least 3; take another draw, as in pud[2]"
            )
        places, shares = plane(read(table.index.to_numpy()))
        content = {
            "id": item.id,
            "corpus": corpus.name,
            "credit": corpora.credit(corpus.name),
            "words": table["form"].tolist(),
            "classes": _classes(item, table),
            "heads": table["head"].tolist() if table["head"].notna().all() else [],
            "layers": list(range(len(places))),
            "shares": shares.round(3).tolist(),
            "places": [[[float(f"{x:.4g}") for x in place] for place in layer] for layer in places],
        }
        projected.append({"key": f"{corpus.name}/{item.id}", "content": content})
    return projected


def _classes(item: Any, table: pd.DataFrame) -> list[str]:
    if isinstance(item, corpora.Question):
        begins, ends = np.array(item.offsets).T
        spans = [(begin, begin + len(text)) for text, begin in item.answers]
        answer = np.logical_or.reduce([begins < 0, *((begins < end) & (begin < ends) for begin, end in spans)])
        sides = zip(table["segment"], table["word"], strict=True)
        return ["question" if side == 0 else "answer" if answer[word] else "context" for side, word in sides]
    if isinstance(item, corpora.Pair):
        return [("first", "second")[side] for side in table["segment"]]
    return [_CLASS_OF.get(tag, "other") for tag in table["upos"].fillna("")]


def plane(
    vectors: Float[np.ndarray, "layers words hidden"],
) -> tuple[Float[np.ndarray, "layers words 2"], Float[np.ndarray, " layers"]]:
    """Project words on the first two principal axes of each layer.

    Returns:
        Centred coordinates, in each of which the largest is positive; and the share of the variance that they hold.
    """
    centred = vectors.astype(float) - vectors.mean(1, keepdims=True, dtype=float)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    places = left[:, :, :2] * lengths[:, None, :2]
    largest = np.take_along_axis(places, np.abs(places).argmax(1, keepdims=True), 1)
    return places * np.sign(largest), (lengths[:, :2] ** 2).sum(1) / (lengths**2).sum(1)


def turned(
    places: Float[np.ndarray, "words 2"], onto: Float[np.ndarray, "words 2"] | None = None
) -> Float[np.ndarray, "words 2"]:
    """Scale centred places to a mean squared length of 1, and rotate and mirror them to be near others of the same words.

    Args:
        places: Two coordinates a word.
        onto: Where the words shall lie, as near as an orthogonal transform allows; without it they are only scaled.
    """
    scaled = places / np.sqrt((places**2).sum(1).mean())
    if onto is None:
        return scaled
    left, _, right = np.linalg.svd(scaled.T @ onto)
    return scaled @ left @ right


def beside_base(projections: pd.DataFrame, tasks: Collection[str], most: int = 3) -> list[Pairing]:
    """Pair every example under the base encoder with the same one under tuned encoders, the lowest seed of each task.

    Args:
        projections: Artefacts of the kind `projection`, as `tables.merge_artefacts` gives them.
        tasks: In their order.
        most: How many of them are shown with an example.

    Returns:
        Pairings, those of an example one after the other; none where the base encoder has no projections.

    Raises:
        ValueError: Two models saw other words, or have other layers.
    """
    pairings = []
    for key, rows in projections.groupby("key", sort=False):
        by_model = dict(zip(rows["model"], rows["content"], strict=True))
        for task, name in _first_seeds(by_model, tasks)[: most if "base" in by_model else 0]:
            base, tuned = by_model["base"], by_model[name]
            if (base["words"], base["layers"]) != (tuned["words"], tuned["layers"]):
                raise ValueError(
                    f"base and {name} show other words or layers of {key}: expected tables of one study, made in one go; "
                    "rerun the hidden states of the older one"
                )
            planes = [turned(np.array(base["places"][0]))]
            for layer in base["places"][1:]:
                planes.append(turned(np.array(layer), planes[-1]))
            beside = [turned(np.array(layer), onto) for layer, onto in zip(tuned["places"], planes, strict=True)]
            pairings.append(Pairing(task, name, base | {"places": planes}, tuned | {"places": beside}))
    return pairings


def _first_seeds(models: Iterable[str], tasks: Collection[str]) -> list[tuple[str, str]]:
    """Give the lowest seed of each task, and of what else somebody tuned, with what it was tuned on or what it is called."""
    found: dict[str, list[tuple[int, str]]] = {task: [] for task in tasks}
    for name in models:
        stem, change, seed = name_parts(name)
        if name not in ("base", "untrained") and not (change and stem in tasks):
            found.setdefault(stem, []).append((int(seed or 0), name))
    return [(stem, min(named)[1]) for stem, named in found.items() if named]
