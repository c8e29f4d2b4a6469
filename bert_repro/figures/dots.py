"""Dots with intervals, a line of dots per category, in panels.

An empty table is an error.
"""

import html
import textwrap

import pandas as pd
import plotly.graph_objects as go

from bert_repro.figures import theme


def dots(
    table: pd.DataFrame,
    by: str,
    *,
    facet: str | None = None,
    title: str = "",
    xlabel: str = "",
    reference: pd.DataFrame | None = None,
    zero: bool = False,
    each: str | None = None,
    within: float | None = None,
) -> go.Figure:
    """Draw values with their 95 % intervals, a line of dots per category.

    Args:
        table: Tidy rows; one without a seed is a mean of several and drawn larger.
        by: The column of categories, e.g. `metric`, in the order in which they first occur.
        facet: A column whose values get a panel each; differences share one range.
        title: Heading of the figure.
        xlabel: What the values are.
        reference: More rows, e.g. other models' published scores, distinguished by their `label`.
        zero: Whether the values are differences, with a line at zero.
        each: A column that distinguishes the dots of a category, e.g. `study`, instead of task and seed.
        within: How far from zero still counts as equal: that far is shaded.

    Raises:
        ValueError: No rows.
    """
    if table.empty:
        raise ValueError(theme.EMPTY)
    table = table if reference is None else pd.concat([table, reference], ignore_index=True)
    parts = [table] if facet is None else [rows for _, rows in table.groupby(facet, sort=False)]
    most = [int(rows[by].value_counts().max()) for rows in parts]  # dots in a category
    spelt = [[_folded(name) for name in rows[by].unique()] for rows in parts]
    lines = [max(name.count("<br>") + 1 for name in names) for names in spelt]
    # a panel's share of what lies between them, which one line of dots has no room to give
    room = theme.GAP * (len(parts) - 1) / len(parts)
    heights = [
        max(theme.DOT * (count + 2), theme.DOT * 4, theme.LINE * (height + 0.5)) * len(names) + room
        for count, height, names in zip(most, lines, spelt, strict=True)
    ]
    figure = theme.stacked(heights, None if facet is None else [rows[facet].iloc[0] for rows in parts])
    legend: dict[str, dict] = {}
    traces: dict[int, list[dict]] = {}
    for at, (rows, count, names) in enumerate(zip(parts, most, spelt, strict=True), start=1):
        categories = list(rows[by].unique())
        rows = rows.assign(place=rows[by].map(categories.index).astype(float))
        dot = rows.groupby("place")["place"]  # the dots of a category lie one below the other
        rows["place"] += (dot.cumcount() - (dot.transform("size") - 1) / 2) / (count + 2)
        for _, group in rows.groupby([each] if each else ["role", "task", "seed", "method"], sort=False, dropna=False):
            row, aside = group.iloc[0], sum("-open" in look["symbol"] for look in legend.values())
            name, marker = _of_set(row[each], table[each]) if each else _dot(row, aside)
            look = legend.setdefault(name, marker if each else marker | {"color": theme.INK})
            traces.setdefault(at, []).append(_dotted(group, name, marker | {"symbol": look["symbol"]}))
        figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, showgrid=False, row=at, col=1)
        figure.update_yaxes(range=[len(names) - 0.5, -0.5], row=at, col=1)
    theme.put(figure, traces)
    panels = [by, *([facet] if facet else [])]
    if not each and table.groupby(panels, dropna=False)["task"].nunique().max() > 1:
        # only colours tell which of the dots of a category are of which task
        kinds = dict.fromkeys(theme.kind(row.model, row.task) for row in table[table["role"] == "score"].itertuples())
        colours = {theme.short(kind): {"color": theme.colour(kind), "size": 9, "symbol": "circle"} for kind in kinds}
        legend = colours | (legend if len(legend) > 1 else {})
    if zero:
        figure.add_vline(x=0, line={"color": theme.INK, "width": 1}, row="all", col=1)
    for name, marker in legend.items():
        figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)
    figure.update_xaxes(showticklabels=True, **({} if zero else {"matches": None}))
    figure.update_xaxes(title_text=xlabel, row=len(parts), col=1)
    theme.finish(figure, sum(heights), title)
    return figure if within is None else figure.add_vrect(x0=-within, x1=within, **theme.SHADE)


def _folded(name: object) -> str:
    """Spell a category on lines that fit beside the dots."""
    return "<br>".join(textwrap.wrap(html.escape(theme.short(name)), theme.CATEGORY_WIDTH))


def _dot(row: pd.Series, known: int) -> tuple[str, dict]:
    """Name a kind of dot and give its look; seeds have the markers that they have in curves."""
    if row["role"] != "score":
        symbol = f"{theme.ASIDES[known % len(theme.ASIDES)]}-open"
        return html.escape(theme.label(row)), {"color": theme.ASIDE, "size": 9, "symbol": symbol}
    paint = theme.colour(theme.kind(row["model"], row["task"]))
    if pd.isna(row["seed"]):
        return "mean over seeds", {"color": paint, "size": 12, "symbol": "line-ns-open", "line": {"width": 4}}
    return f"seed {row['seed']}", {"color": paint, "size": 7, "symbol": theme.marker(theme.turn_of(row["seed"]))}


def _of_set(name: str, sets: pd.Series) -> tuple[str, dict]:
    """Name and colour a dot by the set of results that it is of."""
    names = list(sets.unique())
    symbol = theme.marker(names.index(name))
    return html.escape(theme.title(name)), {"color": theme.colour(name, names), "size": 8, "symbol": symbol}


def _dotted(rows: pd.DataFrame, name: str, marker: dict) -> dict:
    """Draw dots of one kind, each with its interval."""
    return theme.scatter(
        x=theme.numbers(rows["value"]), y=theme.numbers(rows["place"]), mode="markers", name=name, marker=marker, showlegend=False,
        error_x=theme.bars(rows, marker["color"], thickness=1.5), **theme.hover(rows, "", "x"),
    )  # fmt: skip
