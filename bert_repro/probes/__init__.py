"""Probes: small fits on stored hidden states, for all layers in one job. They get arrays and know neither encoder nor store."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float, Int


@runtime_checkable
class States(Protocol):
    """What probes read of hidden states, of which `states.HiddenStates` has more."""

    hidden: int
    """The width of a vector."""

    def vectors(
        self, rows: Int[np.ndarray, " rows"], layers: Sequence[int] | None = None
    ) -> Float[np.ndarray, "layers rows hidden"]:
        """Read the vectors of some rows, ascending, in some layers, all by default."""
        ...


@runtime_checkable
class Stored(States, Protocol):
    """Hidden states of a corpus, with what its rows are and checksums of what they were made of."""

    inputs: dict[str, Any]

    @property
    def rows(self) -> pd.DataFrame: ...
