"""The straight line between two encoders' weights in tables: names of its points, and how far a loss rises along it.

Points that do not lead from one end to the other are an error.

A point on the line, w(t) = (1 - t) base + t tuned, stands in the column `layers_changed`, which says how much of an encoder
is not its base's: `0.3 of the way`. Everything else of a row is as it would be of the tuned encoder, so that rows of two
points, which were measured on the same units, can be paired.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bert_repro.results import intervals, tables

WAY = " of the way"
OF_TUNED, OF_BASE = "task head of the tuned encoder", "task head of the base"
"""Methods: whose task head reads the encoders on the line. It stays what it is, the word embeddings that decode included."""
FIRST, ANEW = "structural, of the base", "structural, trained anew"
"""Probes: that of the encoder at the beginning, as it is, and one trained on the encoder at each point."""
LOSSES = ("task_loss", "masked_word_loss")
"""Metrics of which it is asked whether they rise above their chord, the primary contrasts, and above both ends."""
RISE, BARRIER = "rise of ", "barrier of "
"""Before such a metric: its largest rise above the chord, and above the higher of both ends."""


def check(points: Sequence[float]) -> None:
    """Make sure that points lead from the base to the tuned encoder.

    Raises:
        ValueError: They do not rise from 0 to 1.
    """
    if not points or points[0] != 0 or points[-1] != 1 or (np.diff(points) <= 0).any():
        raise ValueError(f"points must rise from 0, the base, to 1, the tuned encoder, got {list(points)}")


def place(point: float) -> str:
    """Name a point for the column `layers_changed`."""
    return f"{point:g}{WAY}"


def points(table: pd.DataFrame) -> pd.Series:
    """Read the points of rows, in [0, 1]; NaN for rows of encoders that are no points of a line."""
    named = table["layers_changed"].astype("string")
    return pd.to_numeric(named.where(named.str.endswith(WAY)).str.removesuffix(WAY)).astype(float)


def rises(table: pd.DataFrame) -> pd.DataFrame:
    """Say by how much each loss rises where it does most: above the chord between its ends, and above the higher of them.

    At a point t the first is loss(t) - (1 - t) loss(0) - t loss(1), the second loss(t) - max(loss(0), loss(1)), on the same units and
    resamples. A loss may lie above its chord and yet fall all the way; above both ends, it is a barrier. The largest of several is
    above 0 by chance alone, so that its interval is widened until those of all points hold together (`tables.at_once`): the loss
    rises somewhere if that interval lies above 0.

    Args:
        table: Rows of points on lines, with replicates; those of other metrics than LOSSES are left out.

    Returns:
        Tidy rows, two of each line, text and loss: the metric is `rise of ...` or `barrier of ...`, `layers_changed` the point. None of
        a line that has no point between its ends.

    Reference:
        Frankle et al. 2020, section 2 (the barrier is above the mean of two ends that are about equal).
    """
    at = points(table)
    losses = table[table["metric"].isin(LOSSES) & at.notna()]
    alike = [column for column in tables.COLUMNS if column not in ("layers_changed", *tables.NUMBERS)]
    rows = []
    for _, line in losses.groupby(alike, dropna=False, sort=False):
        for name in (RISE, BARRIER):
            above = _above(line, at[line.index].to_numpy(), higher=name == BARRIER)
            if len(above):
                widened = tables.at_once(above, over="layers_changed")
                largest = widened.loc[[widened["value"].astype(float).idxmax()]]
                rows.append(largest.assign(metric=name + largest["metric"]))
    return pd.concat([losses[:0], *rows]).astype(tables.COLUMNS)


def _above(line: pd.DataFrame, at: np.ndarray, higher: bool) -> pd.DataFrame:
    """Subtract from each point between the ends the chord's value there, or the higher end."""
    first, last = (line.iloc[int(end)] for end in (at.argmin(), at.argmax()))
    rows = []
    for (_, row), t in zip(line.iterrows(), at, strict=True):
        if 0 < t < 1:
            share = float(last["value"] > first["value"]) if higher else t
            value = row["value"] - (1 - share) * first["value"] - share * last["value"]
            replicates = [np.asarray(row_of["replicates"], float) for row_of in (row, first, last)]
            drawn = replicates[0] - (1 - share) * replicates[1] - share * replicates[2]
            rows.append(row.to_dict() | intervals.row(float(value), drawn, row["units"]))
    return tables.tidy(rows) if rows else line[:0]


def panels(table: pd.DataFrame) -> pd.DataFrame:
    """Choose what a figure of lines shows: losses; RSA in the last layer measured; UUAS in the last but one, under both probes.

    Returns:
        The rows with a column `panel`, in that order; of a line where one layer alone was measured, that one.
    """
    on_line = table[points(table).notna()]
    layers = sorted(map(int, on_line["layer"].dropna().unique())) or [0]
    top, trees = layers[-1], layers[-2:][0]
    metric, probe, layer = (on_line[column] for column in ("metric", "probe", "layer"))
    chosen = {
        "task loss": metric == "task_loss",
        "masked-word loss": (metric == "masked_word_loss") & (on_line["method"] == OF_BASE),
        f"RSA with the base, layer {top}": (metric == "similarity") & (layer == top),
        f"UUAS by the base's probe, layer {trees}": (metric == "uuas") & (probe == FIRST) & (layer == trees),
        f"UUAS by a probe trained anew, layer {trees}": (metric == "uuas") & (probe == ANEW) & (layer == trees),
    }
    return pd.concat([on_line[rows.fillna(False).astype(bool)].assign(panel=name) for name, rows in chosen.items()])
