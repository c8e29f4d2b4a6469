"""One quantity against another, a dot per layer, in panels.

An empty table, and sides without a layer in common, are errors.
"""

import html

import pandas as pd
import plotly.graph_objects as go

from bert_repro.figures.theme import (
    DASHES,
    EMPTY,
    INK,
    MARKERS,
    PANEL_HEIGHT,
    colour,
    finish,
    kind,
    label,
    numbers,
    stacked,
    turn_of,
)


def against(
    across: pd.DataFrame, up: pd.DataFrame, *, facet: str, xlabel: str = "", ylabel: str = "", title: str = ""
) -> go.Figure:
    """Draw the layers of models as points, one quantity against another; a line leads from layer to layer.

    Args:
        across: Tidy rows, one for each model and layer: what goes to the right.
        up: Tidy rows, one for each model, layer and value of `facet`: what goes up.
        facet: A column of `up` whose values get a panel each, with a range of their own.
        xlabel: What goes to the right.
        ylabel: What goes up.
        title: Heading of the figure.

    Raises:
        ValueError: No rows, or no layer of a model on both sides.
    """
    if across.empty or up.empty:
        raise ValueError(EMPTY)
    sides = across[["model", "layer", "value", "ci_low", "ci_high"]]
    merged = up.merge(sides, on=["model", "layer"], suffixes=("", "_across"))
    if merged.empty:
        raise ValueError("the two sides have no layer of a model in common: they are of other models")
    panels = list(merged[facet].unique())
    figure = stacked([PANEL_HEIGHT] * len(panels), panels)
    shown: set[str] = set()
    for at, panel in enumerate(panels, start=1):
        for _, rows in merged[merged[facet] == panel].groupby("model", sort=False):
            rows = rows.sort_values("layer")
            row = rows.iloc[0]
            name, paint, turn = html.escape(label(row)), colour(kind(row["model"], row["task"])), turn_of(row["seed"])
            bars = {"type": "data", "symmetric": False, "color": paint, "thickness": 1, "width": 0}
            figure.add_scatter(
                x=numbers(rows["value_across"]), y=numbers(rows["value"]), mode="lines+markers+text", name=name, legendgroup=name,
                showlegend=name not in shown, text=[str(layer) for layer in rows["layer"]], textposition="top center",
                textfont={"color": INK, "size": 12}, line={"color": paint, "width": 1, "dash": DASHES[turn % len(DASHES)]},
                marker={"color": paint, "size": 7, "symbol": MARKERS[turn % len(MARKERS)]},
                error_x=bars | _ends(rows, "_across"), error_y=bars | _ends(rows, ""), row=at, col=1,
                hovertemplate="%{fullData.name}<br>layer %{text}: %{x:.3f} across, %{y:.3f} up<extra></extra>",
            )  # fmt: skip
            shown.add(name)
        figure.update_yaxes(title_text=ylabel, row=at, col=1)
    figure.update_xaxes(title_text=xlabel, row=len(panels), col=1)
    return finish(figure, PANEL_HEIGHT * len(panels), title)


def _ends(rows: pd.DataFrame, side: str) -> dict[str, list]:
    value = rows[f"value{side}"]
    return {
        "array": numbers(rows[f"ci_high{side}"] - value),
        "arrayminus": numbers(value - rows[f"ci_low{side}"]),
    }
