"""The life of an encoder: a column per encoder, in the order in which they were made, and in it every layer.

An empty table, and two values of one layer in one column, are errors.
"""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from bert_repro.figures import theme

_LOWEST, _HIGHEST = 0.05, 0.9  # of the colour scale: what can be read on white and on near-black


def history(
    table: pd.DataFrame, columns: Mapping[str, str], joined: int, *, xlabel: str = "", title: str = ""
) -> go.Figure:
    """Draw values by encoder, a line per layer while the encoder was being pre-trained, and dots for what was tuned from it.

    Args:
        table: Tidy rows, one for each model, layer and metric, which has a panel; rows without a layer are of whole encoders.
        columns: The models, in their order, with what is written below each.
        joined: How many of them, from the first, are joined: those of pre-training. The others lie on grey.
        xlabel: What the columns are.
        title: Heading of the figure.

    Raises:
        ValueError: No rows, or several values of one layer of one model.
    """
    rows = table[table["model"].isin([*columns])]
    if rows.empty:
        raise ValueError(theme.EMPTY)
    if rows.duplicated(["model", "layer", "metric"]).any():
        raise ValueError("several values of one layer of one model: filter the table to one of each")
    panels = list(rows["metric"].unique())
    figure = theme.stacked([theme.PANEL_HEIGHT] * len(panels), panels)
    layers = sorted(rows["layer"].dropna().unique())
    scale = [_LOWEST + (_HIGHEST - _LOWEST) * n / max(len(layers) - 1, 1) for n in range(len(layers))]
    paints = dict(zip(layers, sample_colorscale("Viridis", scale), strict=True)) if layers else {}
    place = {model: number for number, model in enumerate(columns)}
    shown = {"whole encoder"}  # has no line to be told from others
    traces: dict[int, list[dict]] = {}
    for at, panel in enumerate(panels, start=1):
        traces[at] = []
        for layer, of_layer in rows[rows["metric"] == panel].groupby("layer", dropna=False):
            of_layer = of_layer.assign(place=of_layer["model"].map(place)).sort_values("place")
            paint = paints.get(layer, theme.INK)
            name = "whole encoder" if pd.isna(layer) else f"layer {layer}"
            for part, mode in ((of_layer["place"] < joined, "lines+markers"), (of_layer["place"] >= joined, "markers")):
                there = of_layer[part]
                traces[at].append(
                    theme.scatter(
                        x=theme.numbers(there["place"]), y=theme.numbers(there["value"]), mode=mode, name=name, legendgroup=name, showlegend=name not in shown,
                        line={"color": paint, "width": 2}, marker={"color": paint, "size": 8},
                        error_y=theme.bars(there, paint),
                        **theme.hover(there, "", "y"),
                    )
                )  # fmt: skip
                shown.add(name)
    theme.put(figure, traces)
    figure.add_vrect(x0=joined - 0.5, x1=len(columns) - 0.5, row="all", col=1, **theme.SHADE)
    figure.update_xaxes(
        tickvals=[*place.values()],
        ticktext=[*columns.values()],
        autotickangles=[0, -45, -90],  # on a phone there is no room for them side by side
        range=[-0.5, len(columns) - 0.5],
        showgrid=False,
    )
    figure.update_xaxes(title_text=xlabel, row=len(panels), col=1)
    return theme.finish(figure, theme.PANEL_HEIGHT * len(panels), title)
