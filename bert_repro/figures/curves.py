"""Curves by layer, by update or along a line, with bands for intervals, in panels.

An empty table, and rows that would put two values of one line at the same place, are errors.
"""

import html
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from bert_repro.figures import theme
from bert_repro.results import lines, scores, tables

_LINE = ["role", "model", "reference_model", "rows"]  # what distinguishes lines


class _Axis(NamedTuple):
    title: str
    place: str  # on it
    preposition: str  # before a place


_AXES = {
    "layer": _Axis("layer (0 = embeddings)", "layer {}", "at "),
    "updates": _Axis("updates", "{} updates", "after "),
    "point": _Axis("share of the way from the base to the tuned encoder", "{} of the way", "at "),
}


def layer_curves(
    table: pd.DataFrame,
    *,
    facet: str | None = None,
    title: str = "",
    ylabel: str = "",
    reference: pd.DataFrame | None = None,
    faint: pd.DataFrame | None = None,
) -> go.Figure:
    """Draw a value by layer, a line per model, its 95 % interval as a band.

    Args:
        table: Tidy rows, one value for each model, layer and panel. Rows without a layer are drawn as dotted levels.
        facet: A column whose values get a panel each, one below the other, e.g. `metric` or `corpus`.
        title: Heading of the figure.
        ylabel: What the values are; the metric's name by default.
        reference: More rows without a layer, e.g. trivial baselines.
        faint: More rows by layer that are drawn as faint lines without a name, e.g. the seeds behind a mean.

    Returns:
        A figure whose panels share the layer axis, and the range of values where they show the same metric.

    Raises:
        ValueError: No rows, or several values of one line at one layer.
    """
    return _curves(table, facet, title, ylabel, reference, faint=faint)


def task_curves(table: pd.DataFrame, **look: Any) -> go.Figure:
    """Draw a value by layer: the mean of each task over its trainings, each training faint, and all other rows as they are.

    Args:
        table: Rows as `layer_curves` takes them, with their replicates.
        look: What else `layer_curves` takes.

    Raises:
        ValueError: As `layer_curves`, or rows of several trainings without replicates.
    """
    trainings = tables.select(table, role="score").dropna(subset="task")
    means = scores.by_task(table)
    if facet := look.get("facet"):  # panels in the order of the table, whatever came first in the means
        places = {panel: place for place, panel in enumerate(table[facet].unique())}
        means = means.sort_values(facet, key=lambda panels: panels.map(places), kind="stable")
    return layer_curves(means, faint=trainings, **look)


def difference_curves(
    table: pd.DataFrame,
    *,
    facet: str | None = None,
    title: str = "",
    ylabel: str = "difference",
    within: float | None = None,
    faint: pd.DataFrame | None = None,
) -> go.Figure:
    """Draw paired differences by layer with their intervals and a line at zero.

    Args:
        table: Tidy rows whose value, ci_low and ci_high are the differences.
        facet: A column whose values get a panel each.
        title: Heading of the figure.
        ylabel: What was subtracted from what.
        within: How far from zero still counts as equal: that far is shaded.
        faint: As for `layer_curves`.

    Raises:
        ValueError: No rows, or several values of one line at one layer.
    """
    figure = _curves(table, facet, title, ylabel, None, zero=True, faint=faint)
    return figure if within is None else figure.add_hrect(y0=-within, y1=within, **theme.SHADE)


def learning_curves(
    frame: pd.DataFrame, *, y: str = "loss", facet: str | None = None, title: str = "", ylabel: str = ""
) -> go.Figure:
    """Draw a loss or score by update, a line per model.

    Args:
        frame: Columns `model`, `updates` and `y`; `task` and `seed`, where given, choose colour and label.
        y: The column to draw.
        facet: A column whose values get a panel each, with a range of its own.
        title: Heading of the figure.
        ylabel: What the column is; its name by default.

    Raises:
        ValueError: No rows, a column is missing, or several values of one line after the same update.
    """
    missing = sorted({"model", "updates", y} - set(frame.columns))
    if len(frame) and missing:
        raise ValueError(
            f"learning curves need the columns model, updates and {y}: {missing} missing in {list(frame.columns)}"
        )
    blank = {name: pd.NA for name in tables.COLUMNS if name not in frame.columns} | {"role": "score"}
    scale = frame[facet] if facet else y
    return _curves(
        frame.assign(**blank).assign(metric=scale, value=frame.get(y)), facet, title, ylabel or y, None, x="updates"
    )


def line_curves(table: pd.DataFrame, *, facet: str | None = None, title: str = "") -> go.Figure:
    """Draw a value along the straight line from a base to tuned encoders, a line per model, its 95 % interval as a band.

    Args:
        table: Tidy rows of points, see `results.lines`, one value for each model, point and panel.
        facet: A column whose values get a panel each, with a range of its own where the metric is another.
        title: Heading of the figure.

    Raises:
        ValueError: No rows of points, or several values of one line at one point.
    """
    at = lines.points(table)
    return _curves(table.assign(point=at)[at.notna()], facet, title, "", None, x="point")


def _curves(
    table: pd.DataFrame, facet: str | None, title: str, ylabel: str, reference: pd.DataFrame | None, zero: bool = False,
    x: str = "layer", faint: pd.DataFrame | None = None,
) -> go.Figure:  # fmt: skip
    if table.empty:
        raise ValueError(theme.EMPTY)
    table = table if reference is None else pd.concat([table, reference], ignore_index=True)
    placed = table[table[x].notna()]
    levels = table[table[x].isna()].drop_duplicates(["value", "method", "metric", "corpus"])
    if placed.empty:
        raise ValueError(f"no row of the table names its {x}, so there is no curve to draw")
    panels = [None] if facet is None else list(placed[facet].dropna().unique())
    figure = theme.stacked([theme.PANEL_HEIGHT] * len(panels), None if facet is None else panels)
    shown: set[str] = set()
    first_of: dict[frozenset[str], int] = {}
    traces: dict[int, list[dict]] = {}
    for at, panel in enumerate(panels, start=1):
        of_panel = placed if panel is None else placed[placed[facet] == panel]
        _refuse_two_values(of_panel, x)
        curves = [(rows.sort_values(x), style) for rows, style in _lines(of_panel)]
        bands = [_band(rows, style, x) for rows, style in curves]
        traces[at] = [band for band in bands if band]  # first, so that none covers a line
        if faint is not None:
            behind = faint[faint[x].notna() & (True if panel is None else faint[facet] == panel)]
            traces[at] += [_faint(rows.sort_values(x), style, x) for rows, style in _lines(behind)]
        for rows, style in curves:
            traces[at].append(_line(rows, style, x, style["name"] not in shown))
            shown.add(style["name"])
        ends = [int(placed[x].min()), int(placed[x].max())]
        levels_here = levels if panel is None else levels[(levels[facet] == panel) | levels[facet].isna()]
        for number, (_, row) in enumerate(levels_here.iterrows()):
            traces[at].append(_level(row, ends, right=number % 2 == 1))
        metrics = frozenset(of_panel["metric"].dropna())
        first = first_of.setdefault(metrics, at)
        same_range = None if first == at else f"y{first}" if first > 1 else "y"
        measured = "" if facet == "metric" else ", ".join(map(theme.short, sorted(metrics)))
        figure.update_yaxes(title_text=ylabel or measured or None, matches=same_range, row=at, col=1)
    theme.put(figure, traces)
    if zero:
        figure.add_hline(y=0, line={"color": theme.INK, "width": 1}, row="all", col=1)
    if x == "layer":
        figure.update_xaxes(tickmode="linear", tick0=0, dtick=1, tickangle=0)
    else:
        figure.update_xaxes(rangemode="tozero")
    figure.update_xaxes(title_text=_AXES[x].title, row=len(panels), col=1)
    return theme.finish(figure, theme.PANEL_HEIGHT * len(panels), title)


def _lines(table: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, dict]]:
    """Split rows into lines and give each its look; floors that are named by their words have a marker each."""
    table = table.drop(columns="replicates", errors="ignore")
    named = sorted(table["rows"].dropna().unique())
    kinds = {theme.kind(*pair) for pair in table[["model", "task"]].drop_duplicates().itertuples(index=False)}
    for key, rows in table.groupby(_LINE, sort=False, dropna=False):
        row = rows.iloc[0]
        kind_of_row = theme.kind(row["model"], row["task"])
        turn = theme.turn_of(row["seed"])
        plain = row["role"] == "score" and kind_of_row != "untrained"
        of_words = row["role"] == "floor" and not pd.isna(row["rows"])
        of_task = row["role"] == "floor" and not pd.isna(row["task"]) and not of_words
        paint = theme.colour(kind_of_row, kinds) if plain or of_task or kind_of_row == "base-2" else theme.ASIDE
        line = {
            "color": paint,
            "width": 2.5 if plain else 1.5,
            "dash": theme.DASHES[turn % len(theme.DASHES)] if plain else "dot",
        }
        symbol = theme.marker(named.index(row["rows"]) + 1 if of_words else turn) + ("" if plain else "-open")
        marker = {"color": paint, "size": 7 if plain else 5, "symbol": symbol}
        yield rows, {"name": html.escape(theme.label(row)), "legendgroup": str(key), "line": line, "marker": marker}


def _line(rows: pd.DataFrame, style: dict, x: str, in_legend: bool) -> dict:
    place = f"{_AXES[x].place.format('%{x}')}: "
    return theme.scatter(
        x=theme.numbers(rows[x]), y=theme.numbers(rows["value"]), mode="lines+markers", showlegend=in_legend,
        **theme.hover(rows, place, "y"), **style,
    )  # fmt: skip


def _faint(rows: pd.DataFrame, style: dict, x: str) -> dict:
    return theme.scatter(
        x=theme.numbers(rows[x]), y=theme.numbers(rows["value"]), mode="lines", name=style["name"], hoverinfo="skip", showlegend=False,
        line={"color": _rgba(style["line"]["color"], 0.35), "width": 1},
    )  # fmt: skip


def _rgba(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _band(rows: pd.DataFrame, style: dict, x: str) -> dict | None:
    rows = rows[rows["ci_low"].notna() & rows["ci_high"].notna()]
    if rows.empty:
        return None
    places = theme.numbers(rows[x])
    return theme.scatter(
        x=places + places[::-1], y=theme.numbers(rows["ci_high"]) + theme.numbers(rows["ci_low"])[::-1], mode="lines", fill="toself",
        fillcolor=_rgba(style["line"]["color"], 0.16), line_width=0, hoverinfo="skip", showlegend=False,
        name=f"{style['name']}, 95 % interval", legendgroup=style["legendgroup"],
    )  # fmt: skip


def _level(row: pd.Series, ends: list[int], right: bool) -> dict:
    name = html.escape(theme.label(row))
    return theme.scatter(
        x=ends, y=[float(row["value"])] * 2, mode="lines+text", text=["", name] if right else [name, ""], name=name,
        textposition="top left" if right else "top right", textfont={"size": 12, "color": theme.INK}, showlegend=False,
        line={"color": theme.INK, "width": 1.5, "dash": "dot"}, hovertemplate="%{fullData.name}: %{y:.3f}<extra></extra>",
    )  # fmt: skip


def _refuse_two_values(table: pd.DataFrame, x: str) -> None:
    twice = table[table.duplicated([*_LINE, x], keep=False)]
    if twice.empty:
        return
    _, first = next(iter(twice.groupby([*_LINE, x], sort=False, dropna=False)))
    first = first.drop(columns="replicates", errors="ignore")
    differ = [c for c in first.columns if c not in tables.NUMBERS and first[c].nunique(dropna=False) > 1]
    place = _AXES[x].preposition + _AXES[x].place.format(first[x].iloc[0])
    raise ValueError(
        f"{len(first)} values {place} for {html.escape(theme.label(first.iloc[0]))!r}: the rows differ in {differ}; "
        f"filter the table to one of each, or give one of these columns as `facet`"
    )
