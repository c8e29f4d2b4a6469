"""Grids of layers by layers, a panel per pair of models, on one colour scale.

An empty table, and two values for one cell, are errors.
"""

import pandas as pd
import plotly.graph_objects as go

from bert_repro.figures.theme import EMPTY, INK, finish, numbers, short, stacked

_CELL, _LEAST = 26, 260  # pixels: height of a row of cells, of a panel
# from white through one blue to near-black: equal steps of lightness, whatever eyes see of colours
_SCALE = [[0.0, "#FFFFFF"], [0.5, "#6BAED6"], [1.0, "#08306B"]]


def layer_grid(table: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Draw the similarity of every layer of one model with every layer of another, a panel per pair of models.

    Args:
        table: Tidy rows with model, layer, reference_model and reference_layer; within a model, cells that are not there
            are filled in by symmetry.
        title: Heading of the figure.

    Raises:
        ValueError: No rows, or several values for a cell.
    """
    if table.empty:
        raise ValueError(EMPTY)
    within = table[table["model"] == table["reference_model"]]
    turned = within.rename(columns={"layer": "reference_layer", "reference_layer": "layer"})
    table = pd.concat([table, turned[turned["layer"] != turned["reference_layer"]]], ignore_index=True)
    pairs = table.groupby(["reference_model", "model"], sort=False)
    sides = [max(_LEAST, _CELL * rows["layer"].nunique()) for _, rows in pairs]
    figure = stacked(
        sides, [f"{short(model)} (down) and {short(reference)} (across)" for (reference, model), _ in pairs]
    )
    for at, (_, rows) in enumerate(pairs, start=1):
        cells = rows.set_index(["layer", "reference_layer"])
        if cells.index.has_duplicates:
            layers = " and ".join(map(str, cells.index[cells.index.duplicated()][0]))
            raise ValueError(f"several values for the layers {layers}: filter the table")
        shown = {
            name: cells[name].unstack().sort_index(axis=0).sort_index(axis=1) for name in ("value", "ci_low", "ci_high")
        }
        ends = [
            [list(pair) for pair in zip(*rows, strict=True)]
            for rows in zip(*(_lists(shown[c]) for c in ("ci_low", "ci_high")), strict=True)
        ]
        figure.add_heatmap(
            z=_lists(shown["value"]), x=list(shown["value"].columns), y=list(shown["value"].index), customdata=ends,
            coloraxis="coloraxis", xgap=1, ygap=1, row=at, col=1,
            hovertemplate="layers %{y} and %{x}: %{z:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(tickmode="linear", dtick=1, showgrid=False, showticklabels=True)
    figure.update_yaxes(tickmode="linear", dtick=1, showgrid=False, autorange="reversed", title_text="layer")
    figure.update_xaxes(title_text="layer (0 = embeddings)", row=len(sides), col=1)
    figure.update_layout(
        coloraxis={"colorscale": _SCALE, "cmin": 0, "cmax": 1,
                   "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"color": INK}, "len": 1, "y": 0.5}}
    )  # fmt: skip
    return finish(figure, sum(sides), title)


def _lists(frame: pd.DataFrame) -> list[list]:
    return [numbers(row) for _, row in frame.iterrows()]
