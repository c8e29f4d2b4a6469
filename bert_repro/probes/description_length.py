"""Description length and depth: how short the labels become under an online code, and where in the encoder they are.

A treebank too small to be split is an error.

Reference:
    Voita and Titov 2020, section 2 (online coding) and footnote 4 (where training is split); Tenney et al. 2019b, section 3
    (expected layer, centre of gravity).
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bert_repro.probes import States
from bert_repro.probes.edge import EdgeProbe, by_sentence
from bert_repro.probes.spans import Labelled
from bert_repro.results import intervals

BLOCKS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.25, 12.5, 25, 50, 100)  # percent of the sentences, where training is split
PLATEAU: dict[str, Any] = {"updates": 20, "epochs": 100, "patience": 3, "tolerance": 1e-3, "learning_rate": 3e-3}
"""Of every block: least updates between two looks at dev, most looks, after how many of them that gain less than so many nats a
label training ends, and the rate at its start: three times that of other probes, as it falls until there is nothing to gain (of
MiniLM, ten times made codes 5 % longer)."""


class Code(NamedTuple):
    """The bits that the labels of every training sentence cost."""

    bits: Float[np.ndarray, "layers sentences"]
    uniform: Float[np.ndarray, " sentences"]  # where all labels are taken to be equally likely

    def rows(self, layers: Sequence[int], items: int, key: str, resamples: int) -> list[dict[str, object]]:
        """Give table rows: `kbits` (thousands of bits) and `compression` (uniform over online, 1 for nothing learned).

        Their intervals resample the sentences that were encoded; the probes that encoded them stay as they are.

        Args:
            layers: Numbers of the layers.
            items: How many labels were encoded.
            key: What the sentences are of, see `intervals.draws`.
            resamples: Bootstrap resamples.
        """
        weights = intervals.draws(key, len(self.uniform), resamples)
        value, drawn = intervals.ratio(np.broadcast_to(self.uniform, self.bits.shape), self.bits, weights)
        total, totals = self.bits.sum(1) / 1000, self.bits @ weights.T / 1000
        rows: list[dict[str, object]] = []
        for metric, estimate, replicates in (("kbits", total, totals), ("compression", value, drawn)):
            rows += intervals.rows({"metric": metric, "n": items}, layers, estimate, replicates, len(self.uniform))
        return rows


def online_code(
    probe: EdgeProbe,
    train: Labelled,
    train_states: States,
    dev: Labelled,
    dev_states: States,
    label: str = "online code",
) -> Code:
    """Send the labels of training block by block, each encoded by probes that learned from those before it.

    The first block is sent with the uniform code. For every other the probes are trained until dev gains no more, however
    many epochs that takes: what a code of few updates is too long by is the optimiser's, not the encoder's. All layers go
    side by side.

    Args:
        probe: Its layers, kind, size and seed are used; it is trained anew for every block.
        train: The labels to send; its sentences are shuffled by the probe's seed.
        train_states: Where their vectors are read.
        dev: Spans to choose the epoch by.
        dev_states: Where their vectors are read.
        label: Shown beside the progress bars.

    Raises:
        ValueError: Fewer than two sentences.
    """
    sentences = int(train.sentence[-1]) + 1
    if sentences < 2:
        raise ValueError(f"{sentences} sentence with labels cannot be split into blocks: at least two are needed")
    ends = sorted({max(1, int(np.ceil(sentences * percent / 100))) for percent in BLOCKS})
    order = np.random.default_rng([probe.seed, 0]).permutation(sentences)
    cost = np.full(len(train.gold), float(len(train.labels)) if train.several else np.log2(len(train.labels)))
    uniform = by_sentence(cost, train.sentence)
    bits = np.tile(uniform, (len(probe.layers), 1))  # of the first block
    unfinished = []
    for start, end in zip(ends, ends[1:], strict=False):
        known, title = train.of(np.sort(order[:start])), f"{label}, {start} sentences"
        fitted = probe.fit(known, train_states, dev, dev_states, label=title, **PLATEAU)
        if len(fitted.dev_loss) == PLATEAU["epochs"]:
            unfinished.append(str(start))
        block = np.sort(order[start:end])
        sent = train.of(block)
        reading = probe.read(sent, train_states)
        bits[:, block] = by_sentence(reading.bits, reading.sentence)
    if unfinished:
        title = f"{label}: after {', '.join(unfinished)} sentences dev still gained in epoch {PLATEAU['epochs']}"
        warnings.warn(f"{title}: this code is longer than it need be", stacklevel=2)
    return Code(bits, uniform)


def expected_layer(
    scores: Float[np.ndarray, "... layers"], layers: Sequence[int] | None = None
) -> Float[np.ndarray, "..."]:
    """Give the layer at which, on average, probes that see all layers up to one gain: sum of l D_l over sum of D_l.

    Args:
        scores: Scores of probes on mixes of the first layers, beginning with the first alone; D_l is what layer l adds.
        layers: Their numbers, ascending; 0, 1, 2, ... by default.

    Returns:
        NaN where the layers above the first add nothing to it.

    Reference:
        Tenney et al. 2019b, section 3.2.
    """
    gains = np.diff(scores, axis=-1)
    numbers = np.arange(gains.shape[-1] + 1) if layers is None else np.asarray(layers)
    total, weighted = gains.sum(-1), (gains * numbers[1:]).sum(-1)
    return np.divide(weighted, total, out=np.full(np.shape(total), np.nan), where=total != 0)


def centre_of_gravity(
    weights: Float[np.ndarray, "... layers"], layers: Sequence[int] | None = None
) -> Float[np.ndarray, "..."]:
    """Give the mean layer of a mix: sum of l s_l, of weights that sum to 1; layers as in `expected_layer`.

    Reference:
        Tenney et al. 2019b, section 3.1.
    """
    numbers = np.arange(weights.shape[-1]) if layers is None else np.asarray(layers)
    return np.asarray((weights * numbers).sum(-1))
