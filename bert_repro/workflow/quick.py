"""The quick answer on two checkpoints, in a terminal: similarity and change of weights by layer.

A text with fewer words than asked for is an error before an encoder starts. What cannot be compared is said, not refused.
"""

import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bert_repro import checkpoints, corpora, similarity, states
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.families import Config, differing, weight_change
from bert_repro.workflow.names import UNTUNED

CORPUS = "wiki[80]"
"""Sentences of Wikipedia that come with the clone: 2,167 words."""
WORDS, RESAMPLES, SEED = 2000, 300, 1
NAMES = ("base", "tuned")
METHODS = {"rsa": "RSA", "cka_debiased": "CKA, debiased"}
LEAST = 100  # words: fewer come of one sentence or two, of which there is no interval
NOTABLE = 0.005  # below 1: a similarity above that is called unchanged
EIGHTHS = "▏▎▍▌▋▊▉"
FULL = "█"


class Layer(NamedTuple):
    """What is shown of one layer.

    Attributes:
        number: Layer of the tuned encoder, 0 being the embeddings.
        beside: Layer of the base.
        similar: By method the similarity and both ends of its interval, 1 for equal geometry.
        moved: Norm of the change of all its weights over their norm before, 0 for none; None where shapes differ.
    """

    number: int
    beside: int
    similar: dict[str, tuple[float, float, float]]
    moved: float | None


def answer(
    base: str, tuned: str, corpus: str = CORPUS, words: int = WORDS, width: int = 80, blocks: bool = True
) -> Iterator[str]:
    """Compare two checkpoints, layer by layer.

    Args:
        base: A checkpoint reference, see `checkpoints.open`: what is compared with.
        tuned: Another one: what is compared.
        corpus: A corpus reference, see `corpora.load`.
        words: Words drawn from it, in whole sentences.
        width: Width of the terminal, in characters. The table needs 60.
        blocks: Whether the plot may have block characters; otherwise it has ASCII alone.

    Yields:
        Paragraphs: what the two are; what they share, and what cannot be compared; a table by layer; a plot; a summary; and
        where to go on.

    Raises:
        ValueError: A reference, a checkpoint or a corpus that cannot be used, or too few words.
        OSError: Something that could not be fetched or read.
    """
    if words < LEAST:
        raise ValueError(
            f"{words} words are too few to compare, with intervals: at least {LEAST} are needed, {WORDS} are usual"
        )
    sides = [checkpoints.open(reference) for reference in (base, tuned)]
    shapes = [
        f"{name:5}  {side.reference}\n       {_shape(side.config)}" for name, side in zip(NAMES, sides, strict=True)
    ]
    if (total := corpora.census(corpus).words) < words:
        raise ValueError(f"{words} words were asked for, {corpus} has {total}: ask for fewer, or name a larger corpus")
    doubted = corpora.doubts([corpus])
    yield "\n".join(shapes)
    if sides[0].digests == sides[1].digests:
        same = (
            "The two are the same: equal weights, equal tokenizer. There is nothing to compare, every similarity is 1."
        )
        yield _wrapped([same], width)
        return
    moved, why_not = _moved(sides)
    yield _wrapped([_tokenizers(sides), *([f"Weights are not compared: {why_not}."] if why_not else [])], width)

    stored = [states.get(side.reference, corpus) for side in sides]
    matched = similarity.match(stored[0], stored[1])
    (drawn,) = similarity.sample(
        [{corpus: of_side} for of_side in stored],
        [corpus],
        words=words,
        seed=SEED,
        layers=[matched.beside, matched.layers],
    )
    rows = similarity.compare([drawn], matched.layers, list(METHODS), RESAMPLES, matched.beside)
    notes = [f"{remark[0].upper()}{remark[1:]}." for remark in similarity.remarks(list(METHODS), matched)]
    notes += [f"Compared on {drawn.summary()}."]
    misfits = [f"Warning: {misfit}." for side in sides if (misfit := checkpoints.misfit(side, corpus))]
    notes += [f"In brackets: 95 % intervals, by {RESAMPLES} resamples of sentences or items."]
    yield _wrapped([*(f"Warning: {doubt}" for doubt in doubted), *misfits, *notes], width)

    layers = _layers(rows, moved)
    yield "\n".join(table(layers))
    yield "\n".join(["RSA by layer, 1 for no change", *plot(layers, width, blocks)])
    yield _wrapped(summary(layers), width)
    yield "\n".join(further(base, tuned))


def _shape(config: Config) -> str:
    sizes = f"{config.num_hidden_layers} layers, {config.hidden_size} wide, {config.vocab_size:,} wordpieces"
    return f"{config.model_type}, {sizes}"


def _tokenizers(sides: Sequence[Checkpoint]) -> str:
    """Say whether two encoders cut words alike."""
    if sides[0].tokenizer_digest == sides[1].tokenizer_digest:  # neither has to be read
        return "The tokenizer is the same."
    base, tuned = (side.tokenizer for side in sides)
    if base.backend_tokenizer.to_str() == tuned.backend_tokenizer.to_str():  # files may differ in what is no part of it
        return "The tokenizer is the same."
    if base.get_vocab() == tuned.get_vocab():
        return (
            "The tokenizers have one vocabulary and other rules, such as lower-casing: words are compared all the same."
        )
    return "The tokenizers have other vocabularies: words are compared all the same, each by the mean of its pieces."


def _moved(sides: Sequence[Checkpoint]) -> tuple[dict[int, float], str]:
    """Give the relative change of every layer's weights, or say why they cannot be subtracted; reads and checks all weights."""
    base, tuned = (side.config for side in sides)
    if unlike := differing(tuned, base):
        for side in sides:
            side.check()
        return {}, f"{unlike} as in the base"
    before, after = (side.check() for side in sides)
    rows = weight_change(base, before, after)
    return {int(str(row["layer"])): float(str(row["value"])) for row in rows if row["metric"] == "relative_l2"}, ""


def _layers(rows: Sequence[dict[str, Any]], moved: dict[int, float]) -> list[Layer]:
    """Gather what was measured, by layer."""
    similar: dict[tuple[int, int], dict[str, tuple[float, float, float]]] = {}
    for row in rows:
        if row["metric"] == "similarity":
            of_layer = similar.setdefault((row["layer"], row.get("reference_layer", row["layer"])), {})
            of_layer[row["method"]] = row["value"], row["ci_low"], row["ci_high"]
    return [Layer(number, beside, measured, moved.get(number)) for (number, beside), measured in similar.items()]


def _label(layer: Layer) -> str:
    return str(layer.number) if layer.beside == layer.number else f"{layer.number}/{layer.beside}"


def table(layers: Sequence[Layer]) -> list[str]:
    """Lay the numbers of all layers out, in lines of at most 60 characters."""
    weights = any(layer.moved is not None for layer in layers)
    lines = [_line("layer", METHODS.values(), "weights" if weights else "")]
    for layer in layers:
        cells = ["{:z.3f} [{:z.3f}, {:z.3f}]".format(*layer.similar[method]) for method in METHODS]
        lines.append(_line(_label(layer), cells, "" if layer.moved is None else _share(layer.moved)))
    if any(layer.beside != layer.number for layer in layers):
        lines.append("layer: of the tuned encoder / of the base, if it is another")
    if weights:
        lines.append("weights: norm of their change over their norm before")
    return lines


def _line(label: str, cells: Iterable[str], change: str) -> str:
    return f"{label:>5} {' '.join(f'{cell:23}' for cell in cells)}{change:>7}".rstrip()


def _share(moved: float) -> str:
    """Write a relative change, so that none that is not exactly 0 looks like it."""
    return "0" if moved == 0 else f"{moved:.4f}" if moved >= 0.00005 else "<0.0001"


def plot(layers: Sequence[Layer], width: int, blocks: bool = True) -> list[str]:
    """Draw the RSA of every layer as a bar, 1 being as long as the line allows.

    Args:
        layers: What was measured.
        width: Of the terminal, in characters; at most 100 are used.
        blocks: Whether block characters can be shown, which are eight times as fine.
    """
    longest = max(10, min(width, 100) - 14)
    lines = []
    for layer in layers:
        value = layer.similar["rsa"][0]
        share = min(max(value, 0.0), 1.0) * longest
        bar = "#" * round(share)
        if blocks:
            whole, part = divmod(round(8 * share), 8)
            bar = FULL * whole + (EIGHTHS[part - 1] if part else "")
        lines.append(f"{_label(layer):>5} {bar:{longest}} {value:z.3f}")
    return lines


def can_show_blocks(encoding: str | None) -> bool:
    """Say whether what is written in an encoding can hold the characters of the finer plot."""
    try:
        return bool((FULL + EIGHTHS).encode(encoding or "ascii"))
    except (UnicodeEncodeError, LookupError):
        return False


def summary(layers: Sequence[Layer]) -> list[str]:
    """Say in sentences which layers changed most, and of which the weights are exactly equal."""
    lost = {layer.number: 1 - layer.similar["rsa"][0] for layer in layers}
    largest = max(lost.values())
    if largest < NOTABLE:
        sentences = [f"No layer changed by much: the lowest RSA is {1 - largest:.3f}."]
    else:
        most = [number for number, share in lost.items() if share >= largest / 2]
        place = f", at layer {max(lost, key=lost.__getitem__)}" if len(most) > 1 else ""
        sentences = [f"{_named(most)} changed most: RSA falls to {1 - largest:z.3f}{place}."]
    moved = {layer.number: layer.moved for layer in layers if layer.moved is not None}
    equal = [number for number, share in moved.items() if share == 0]
    if moved and len(equal) == len(moved):
        why = "" if largest < NOTABLE else ": what changed lies in tokenizer or config"
        sentences.append(f"All weights of the encoder are exactly equal{why}.")
    elif equal:
        sentences.append(f"The weights of {_named(equal).lower()} are exactly equal.")
    elif moved:
        most_moved = max(moved, key=moved.__getitem__)
        sentences.append(f"No layer has exactly the weights that it had; those of layer {most_moved} moved most.")
    return sentences


def further(base: str, tuned: str) -> list[str]:
    """Say how to go on from here: the command, in two lines that a shell takes as they are."""
    return [
        "Probes, tasks and every layer with every other, as a book:",
        f"  python -m bert_repro report --base {shlex.quote(base)} \\",
        f"    --tuned {shlex.quote(f'{_name(tuned)}={tuned}')}",
    ]


def _named(layers: Sequence[int]) -> str:
    """Name layers, those that follow one another by the first and the last of them."""
    stretches: list[list[int]] = []
    for number in layers:
        if stretches and number == stretches[-1][-1] + 1:
            stretches[-1].append(number)
        else:
            stretches.append([number])
    names: list[str] = []
    for stretch in stretches:
        names += map(str, stretch) if len(stretch) < 3 else [f"{stretch[0]} to {stretch[-1]}"]
    text = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"Layer{'s' if len(layers) > 1 else ''} {text}"


def _name(reference: str) -> str:
    """Make a name for a checkpoint of its reference, as `own.Own` takes it: small letters, digits, hyphens, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "-", Path(reference.partition("@")[0]).name.lower()).lstrip("-0123456789").rstrip("-")
    return "tuned" if name in ("", *UNTUNED) else name


def _wrapped(sentences: Sequence[str], width: int) -> str:
    return "\n".join(
        textwrap.fill(sentence, max(40, min(width, 100)), break_long_words=False, break_on_hyphens=False)
        for sentence in sentences
    )
