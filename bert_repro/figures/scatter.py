"""One quantity against another, a dot per layer, in panels.

An empty table, and sides without a layer in common, are errors.
"""

import html

import pandas as pd
import plotly.graph_objects as go

from bert_repro.figures import theme


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
        raise ValueError(theme.EMPTY)
    sides = across[["model", "layer", "value", "ci_low", "ci_high"]]
    merged = up.merge(sides, on=["model", "layer"], suffixes=("", "_across"))
    if merged.empty:
        raise ValueError("the two sides have no layer of a model in common: they are of other models")
    panels = list(merged[facet].unique())
    figure = theme.stacked([theme.PANEL_HEIGHT] * len(panels), panels)
    shown: set[str] = set()
    for at, panel in enumerate(panels, start=1):
        for _, rows in merged[merged[facet] == panel].groupby("model", sort=False):
            rows = rows.sort_values("layer")
            row = rows.iloc[0]
            name, paint, turn = (
                html.escape(theme.label(row)),
                theme.colour(theme.kind(row["model"], row["task"])),
                theme.turn_of(row["seed"]),
            )
            figure.add_scatter(
                x=theme.numbers(rows["value_across"]), y=theme.numbers(rows["value"]), mode="lines+markers+text", name=name, legendgroup=name,
                showlegend=name not in shown, text=[str(layer) for layer in rows["layer"]], textposition="top center",
                textfont={"color": theme.INK, "size": 12}, line={"color": paint, "width": 1, "dash": theme.DASHES[turn % len(theme.DASHES)]},
                marker={"color": paint, "size": 7, "symbol": theme.marker(turn)},
                error_x=theme.bars(rows, paint, "_across"), error_y=theme.bars(rows, paint), row=at, col=1,
                hovertemplate="%{fullData.name}<br>layer %{text}: %{x:.3f} across, %{y:.3f} up<extra></extra>",
            )  # fmt: skip
            shown.add(name)
        figure.update_yaxes(title_text=ylabel, row=at, col=1)
    figure.update_xaxes(title_text=xlabel, row=len(panels), col=1)
    return theme.finish(figure, theme.PANEL_HEIGHT * len(panels), title)
