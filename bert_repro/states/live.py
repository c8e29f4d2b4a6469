"""Hidden states of an encoder at hand: what a store would hold, computed when asked for and kept nowhere on disk.

For weights that no checkpoint has, such as those between two of them. `LiveStates` are those of the encoder as it is whenever
they are asked for, so that one network whose weights are assigned anew serves for many; they meet the same protocols as
`HiddenStates`.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from bert_repro import alignment, corpora
from bert_repro.alignment import Tokenizer
from bert_repro.states import Setting


class LiveStates:
    """The states of a corpus under an encoder whose weights may change: computed when they are asked for.

    Attributes:
        corpus: Its name.
        split: Its split, with the draw if there is one.
        setting: How they are computed.
        layers: The numbers of the layers that are there.
        hidden: The width of a state.
        inputs: The checksum of the corpus.
        rows: One line per word or special token, as of `HiddenStates`.

    Args:
        network: The network of `encoder.build`, or some of its outputs; made ready by `encoder.compiled`.
        layers: The numbers of the layers that it gives, in their order.
        tokenizer: Its tokenizer.
        reference: A corpus, see `corpora.load`.
        setting: Length limit, pooling and precision; items are read whole, the sides of a pair together.

    Raises:
        ValueError: A corpus of which nothing fits.
    """

    def __init__(self, network: Any, layers: Sequence[int], tokenizer: Tokenizer, reference: str, setting: Setting):
        place = corpora.locate(reference)
        self.corpus, self.split, self.setting, self.layers = place.name, place.part, setting, list(layers)
        self.network, self.hidden = network, int(network.outputs[0].shape[-1])
        self.inputs: dict[str, Any] = {"corpus": corpora.digest(reference)}
        items = list(corpora.stream(reference))
        self._aligned, self.rows, _ = alignment.align(tokenizer, items, setting.max_length)
        if not self._aligned:
            raise ValueError(f"no item of {reference} fits into {setting.max_length} pieces")
        self._starts = np.cumsum([0, *(len(aligned.starts) for aligned in self._aligned)])  # first row of every input
        self._held: np.ndarray | None = None

    def vectors(
        self, rows: Int[np.ndarray, " rows"], layers: Sequence[int] | None = None
    ) -> Float[np.ndarray, "layers rows hidden"]:
        """Compute the vectors of some rows, ascending, in some of the layers; the inputs that they are of are encoded whole."""
        if self._held is not None:
            return self._held[np.ix_(_places(self.layers, layers), rows)]
        needed, place = np.unique(np.searchsorted(self._starts, rows, side="right") - 1, return_inverse=True)
        lengths = np.diff(self._starts)[needed]
        before = np.cumsum(lengths) - lengths  # rows of the inputs before each one
        at = rows - self._starts[needed][place] + before[place]
        return self._extract(needed)[np.ix_(_places(self.layers, layers), at)]

    def held(self) -> "LiveStates":
        """Compute all of them, and give the same states, which stay as they are now."""
        fixed = copy.copy(self)
        fixed._held = self._extract(np.arange(len(self._aligned)))
        return fixed

    def _extract(self, numbers: np.ndarray) -> np.ndarray:
        from bert_repro.encoder import extract  # what reads states starts without TensorFlow

        return extract(self.network, [self._aligned[n] for n in numbers], self.setting.pooling, self.setting.dtype)


def _places(available: list[int], layers: Sequence[int] | None) -> np.ndarray:
    """Say where some layers stand among those that are there; all of them by default."""
    return np.array([available.index(layer) for layer in (available if layers is None else layers)])
