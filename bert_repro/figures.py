"""Figures: hides plotly, its one template, and how a tidy table becomes curves or dots with intervals.

It refuses an empty table, and rows that would put two values of one line at the same place.

Importing this module makes its renderer plotly's default: a notebook need only end a cell with a figure. Colours say
*what kind of model* a line is (base, untrained, or the task it was tuned on) and are the same in every figure; dash and
marker say which seed.
"""

import hashlib
import html
import json
import textwrap
from collections.abc import Iterator
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.io._base_renderers import MimetypeRenderer
from plotly.subplots import make_subplots

from bert_repro import tables

COLOURS = {
    "base": "#000000", "untrained": "#7F7F7F", "nli": "#0072B2", "parsing": "#D55E00", "squad": "#009E73",
    "tagging": "#CC79A7",
}  # fmt: skip
"""One colour a kind of model (Okabe and Ito's palette, told apart by colour-blind readers)."""
SAME = {"mnli": "nli", "snli": "nli", "dependency": "parsing", "questions": "squad", "span": "squad", "pos": "tagging"}
"""Other names of a kind: they share its colour."""
NAMES = {
    "mnli": "MNLI", "snli": "SNLI", "nli": "NLI", "squad": "SQuAD", "pos": "POS tagging", "rsa": "RSA", "cka": "CKA",
    "uuas": "UUAS", "uas": "UAS", "las": "LAS", "dspr": "DSpr", "nspr": "NSpr", "f1": "F1", "exact_match": "exact match",
    "accuracy_matched": "accuracy, matched", "accuracy_mismatched": "accuracy, mismatched",
    "las_without_punctuation": "LAS, no punctuation", "uas_without_punctuation": "UAS, no punctuation",
    "relative_l2": "relative change",
}  # fmt: skip
"""How names in a table are spelt in a figure; others as they are."""
_SPARE = ("#E69F00", "#56B4E9")
_ASIDE = "#7F7F7F"  # controls, floors and baselines
_DASHES = ("solid", "dash", "dashdot", "longdash")
_MARKERS = ("circle", "diamond", "square", "triangle-up", "x")
_INK, _PANEL, _GRID = "#666666", "#FAFAFA", "#DDDDDD"  # readable on white and on near-black
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
_CONFIG = {"responsive": True, "displayModeBar": False}  # a finger on a figure scrolls the page: see dragmode
_PANEL_HEIGHT, _AROUND, _ENTRY = 270, 100, 14  # pixels: a panel, the axis below it, a legend entry
_DOT, _GAP = 12, 60  # pixels: a line of one dot, the room between panels
_TITLE_WIDTH, _TITLE_LINE, _CATEGORY_WIDTH = 44, 22, 13  # what fits a phone: characters, pixels, characters beside dots
_EMPTY = "nothing to draw, the table has no rows: `make report` fills the tables, or loosen the filter before it"

pio.templates["bert_repro"] = go.layout.Template(
    layout={
        "font": {"family": _FONT, "size": 14, "color": _INK},
        "title": {"x": 0, "xanchor": "left", "xref": "container", "y": 1, "yref": "container", "yanchor": "top",
                  "pad": {"t": 8, "l": 4}, "font": {"size": 15}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": _PANEL,
        "dragmode": False,
        "margin": {"l": 60, "r": 10, "t": 10, "b": 60},
        "hoverlabel": {"font": {"family": _FONT, "size": 13}, "namelength": -1},
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "xanchor": "left",
                   "font": {"size": 13}, "tracegroupgap": 2},
        "xaxis": {"gridcolor": _GRID, "zeroline": False, "linecolor": _INK, "automargin": True,
                  "title": {"standoff": 8, "font": {"size": 14}}},
        "yaxis": {"gridcolor": _GRID, "zeroline": False, "linecolor": _INK, "automargin": True,
                  "title": {"standoff": 8, "font": {"size": 14}}},
    }
)  # fmt: skip


class _BookRenderer(MimetypeRenderer):
    """Shows a figure as HTML for the book, which ships plotly.js once, and as plotly's MIME type for JupyterLab."""

    def to_mimebundle(self, fig_dict: dict) -> dict[str, object]:
        # to_json escapes <, > and /, so no text inside the figure can end the script
        text = pio.to_json({**fig_dict, "config": _CONFIG}, validate=False)
        figure = json.loads(text)
        height = figure["layout"].get("height", 450)
        show = f"Plotly.newPlot(document.currentScript.previousElementSibling, {text})"  # no id: equal output each run
        return {
            "text/html": f'<div class="bert-repro-figure" style="height:{height}px"></div><script>{show}</script>',
            "application/vnd.plotly.v1+json": figure,
        }


pio.renderers["bert_repro"] = _BookRenderer()
pio.renderers.default = pio.templates.default = "bert_repro"


def kind(model: Any, task: Any = None) -> str:
    """Say of what kind a model is: its task, or `base` or `untrained`."""
    name = str(model).split(":")[0] if pd.isna(task) or not task else str(task)
    return SAME.get(name, name)


def colour(name: str) -> str:
    """Give the colour of a kind of model; kinds without an entry in COLOURS get one by their name."""
    name = SAME.get(name, name)
    return COLOURS.get(name) or _SPARE[hashlib.sha256(name.encode()).digest()[0] % len(_SPARE)]


def label(row: pd.Series) -> str:
    """Name a row's line in a legend, e.g. `MNLI fine-tuned, seed 1`."""
    if row["role"] == "baseline":
        return str(next((row[c] for c in ("method", "probe", "model") if not pd.isna(row[c])), "baseline"))
    name = _model_name(row["model"], row["task"], row["seed"])
    if row["role"] == "score" or (row["role"] == "control" and row["model"] == "untrained"):
        return name
    pair = [row["model"]] if pd.isna(row["reference_model"]) else [row["model"], row["reference_model"]]
    return f"{row['role']}: {' and '.join(map(_short, pair))}"


def _model_name(model: Any, task: Any, seed: Any) -> str:
    if pd.isna(task) or not task:
        return _short(model)
    return f"{_short(task)} fine-tuned" + ("" if pd.isna(seed) else f", seed {seed}")


def _short(name: object) -> str:
    """Spell a table's name of a model, task or metric: `nli-1` as `NLI seed 1`."""
    stem, _, seed = str(name).rpartition("-")
    return f"{NAMES.get(stem, stem)} seed {seed}" if stem and seed.isdecimal() else NAMES.get(str(name), str(name))


def layer_curves(
    table: pd.DataFrame,
    *,
    facet: str | None = None,
    title: str = "",
    ylabel: str = "",
    reference: pd.DataFrame | None = None,
) -> go.Figure:
    """Draw a value by layer, a line a model, its 95 % interval as a band.

    Args:
        table: Tidy rows, one value for each model, layer and panel. Rows without a layer are drawn as dotted levels.
        facet: A column whose values get a panel each, one below the other, e.g. `metric` or `corpus`.
        title: Heading of the figure.
        ylabel: What the values are; the metric's name by default.
        reference: More rows without a layer, e.g. trivial baselines.

    Returns:
        A figure whose panels share the layer axis, and the range of values where they show the same metric.

    Raises:
        ValueError: No rows, or several values of one line at one layer.
    """
    return _curves(table, facet, title, ylabel, reference)


def difference_curves(
    table: pd.DataFrame, *, facet: str | None = None, title: str = "", ylabel: str = "difference"
) -> go.Figure:
    """Draw paired differences by layer with their intervals and a line at zero.

    Args:
        table: Tidy rows whose value, ci_low and ci_high are the differences.
        facet: A column whose values get a panel each.
        title: Heading of the figure.
        ylabel: What was subtracted from what.

    Raises:
        ValueError: No rows, or several values of one line at one layer.
    """
    return _curves(table, facet, title, ylabel, None, zero=True)


def learning_curves(
    frame: pd.DataFrame, *, y: str = "loss", facet: str | None = None, title: str = "", ylabel: str = ""
) -> go.Figure:
    """Draw a loss or score by update, a line a model.

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


def dots(
    table: pd.DataFrame,
    by: str,
    *,
    facet: str | None = None,
    title: str = "",
    xlabel: str = "",
    reference: pd.DataFrame | None = None,
    zero: bool = False,
) -> go.Figure:
    """Draw values with their 95 % intervals, a line of dots a category.

    Args:
        table: Tidy rows; one without a seed is a mean of several and drawn larger.
        by: The column of categories, e.g. `metric`, in the order in which they first occur.
        facet: A column whose values get a panel each; differences share one range.
        title: Heading of the figure.
        xlabel: What the values are.
        reference: More rows, e.g. other models' published scores, told apart by their `label`.
        zero: Whether the values are differences, with a line at zero.

    Raises:
        ValueError: No rows.
    """
    if table.empty:
        raise ValueError(_EMPTY)
    table = table if reference is None else pd.concat([table, reference], ignore_index=True)
    parts = [table] if facet is None else [rows for _, rows in table.groupby(facet, sort=False)]
    most = [int(rows[by].value_counts().max()) for rows in parts]  # dots in a category
    heights = [_DOT * max(many + 2, 4) * rows[by].nunique() for many, rows in zip(most, parts, strict=True)]
    figure = _panels(heights, None if facet is None else [rows[facet].iloc[0] for rows in parts])
    legend: dict[str, dict] = {}
    for at, (rows, many) in enumerate(zip(parts, most, strict=True), start=1):
        categories = list(rows[by].unique())
        rows = rows.assign(place=rows[by].map(categories.index).astype(float))
        dot = rows.groupby("place")["place"]  # the dots of a category lie one below the other
        rows["place"] += (dot.cumcount() - (dot.transform("size") - 1) / 2) / (many + 2)
        for _, group in rows.groupby(["role", "seed", "method"], sort=False, dropna=False):
            name, marker = _dot(group.iloc[0], len(legend))
            look = legend.setdefault(name, marker | {"color": _INK})
            figure.add_trace(_dotted(group, name, marker | {"symbol": look["symbol"]}), row=at, col=1)
        spelt = ["<br>".join(textwrap.wrap(html.escape(_short(name)), _CATEGORY_WIDTH)) for name in categories]
        figure.update_yaxes(tickvals=list(range(len(spelt))), ticktext=spelt, showgrid=False, row=at, col=1)
        figure.update_yaxes(range=[len(spelt) - 0.5, -0.5], row=at, col=1)
        if zero:
            figure.add_vline(x=0, line={"color": _INK, "width": 1}, row=at, col=1)
    for name, marker in legend.items():
        figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)
    figure.update_xaxes(showticklabels=True, **({} if zero else {"matches": None}))
    figure.update_xaxes(title_text=xlabel, row=len(parts), col=1)
    return _finish(figure, sum(heights), title)


def _dot(row: pd.Series, known: int) -> tuple[str, dict]:
    """Name a kind of dot and give its look; seeds have the markers that they have in curves."""
    if row["role"] != "score":
        symbol = f"{_MARKERS[known % len(_MARKERS)]}-open"
        return html.escape(label(row)), {"color": _ASIDE, "size": 9, "symbol": symbol}
    paint = colour(kind(row["model"], row["task"]))
    if pd.isna(row["seed"]):
        return "mean over seeds", {"color": paint, "size": 12, "symbol": "line-ns-open", "line": {"width": 4}}
    return f"seed {row['seed']}", {"color": paint, "size": 7, "symbol": _MARKERS[_turn(row["seed"]) % len(_MARKERS)]}


def _dotted(rows: pd.DataFrame, name: str, marker: dict) -> go.Scatter:
    """Draw dots of one kind, each with its interval."""
    values = rows["value"].astype(float)
    ends = {"array": rows["ci_high"].astype(float) - values, "arrayminus": values - rows["ci_low"].astype(float)}
    bars = {"type": "data", "color": marker["color"], "thickness": 1.5, "width": 0, "symmetric": False}
    return go.Scatter(
        x=_plain(values), y=_plain(rows["place"]), mode="markers", name=name, marker=marker, showlegend=False,
        error_x=bars | {side: _plain(lengths) for side, lengths in ends.items()}, **_hover(rows, "", "x"),
    )  # fmt: skip


def _curves(
    table: pd.DataFrame, facet: str | None, title: str, ylabel: str, reference: pd.DataFrame | None, zero: bool = False,
    x: str = "layer",
) -> go.Figure:  # fmt: skip
    if table.empty:
        raise ValueError(_EMPTY)
    table = table if reference is None else pd.concat([table, reference], ignore_index=True)
    placed = table[table[x].notna()]
    levels = table[table[x].isna()].drop_duplicates(["value", "method", "metric", "corpus"])
    if placed.empty:
        raise ValueError(f"no row of the table names its {x}, so there is no curve to draw")
    panels = [None] if facet is None else list(placed[facet].dropna().unique())
    figure = _panels([_PANEL_HEIGHT] * len(panels), None if facet is None else panels)
    shown: set[str] = set()
    first_of: dict[frozenset[str], int] = {}
    for at, panel in enumerate(panels, start=1):
        mine = placed if panel is None else placed[placed[facet] == panel]
        for bands in (True, False):  # all bands first, so that none covers a line
            for _, rows, style in _lines(mine):
                rows = rows.sort_values(x)
                _refuse_two_values(rows, style["name"], x)
                trace = _band(rows, style, x) if bands else _line(rows, style, x, style["name"] not in shown)
                if trace is not None:
                    figure.add_trace(trace, row=at, col=1)
                if not bands:
                    shown.add(style["name"])
        ends = [int(placed[x].min()), int(placed[x].max())]
        here = levels if panel is None else levels[(levels[facet] == panel) | levels[facet].isna()]
        for number, (_, row) in enumerate(here.iterrows()):
            figure.add_trace(_level(row, ends, right=number % 2 == 1), row=at, col=1)
        if zero:
            figure.add_hline(y=0, line={"color": _INK, "width": 1}, row=at, col=1)
        metrics = frozenset(mine["metric"].dropna())
        first = first_of.setdefault(metrics, at)
        same_range = None if first == at else f"y{first}" if first > 1 else "y"
        measured = "" if facet == "metric" else ", ".join(map(_short, sorted(metrics)))
        figure.update_yaxes(title_text=ylabel or measured or None, matches=same_range, row=at, col=1)
    if x == "layer":
        figure.update_xaxes(tickmode="linear", tick0=0, dtick=1, tickangle=0)
    else:
        figure.update_xaxes(rangemode="tozero")
    figure.update_xaxes(title_text="layer (0 = embeddings)" if x == "layer" else x, row=len(panels), col=1)
    return _finish(figure, _PANEL_HEIGHT * len(panels), title)


def _panels(heights: list[int], names: list | None) -> go.Figure:
    """Make panels of some heights (pixels), one below the other, on one x axis."""
    titles = None if names is None else [f"<b>{html.escape(_short(name))}</b>" for name in names]
    figure = make_subplots(
        len(heights),
        1,
        shared_xaxes=True,
        vertical_spacing=_GAP / max(_GAP, sum(heights)),
        row_heights=heights,
        subplot_titles=titles,
    )
    return figure.update_annotations(x=0, xanchor="left", font_size=14)


def _finish(figure: go.Figure, height: int, title: str) -> go.Figure:
    """Give a figure with panels of a height in all (pixels) its heading and the room for axis and legend."""
    heading = textwrap.wrap(html.escape(title), _TITLE_WIDTH)
    top = 10 + _TITLE_LINE * (len(heading) + bool(figure.layout.annotations))
    entries = sum(trace.showlegend is not False for trace in figure.data)
    return figure.update_layout(
        template="bert_repro", title_text="<br>".join(heading) or None, title_pad_t=8 * max(len(heading), 1),
        showlegend=True, autosize=True, hovermode="closest", margin_t=top,
        height=height + _AROUND + _ENTRY * entries + top,
    )  # fmt: skip


def _lines(table: pd.DataFrame) -> Iterator[tuple[tuple, pd.DataFrame, dict]]:
    """Split rows into lines and give each its look."""
    for key, rows in table.groupby(["role", "model", "reference_model"], sort=False, dropna=False):
        row = rows.iloc[0]
        what = kind(row["model"], row["task"])
        turn = _turn(row["seed"])
        plain = row["role"] == "score" and what != "untrained"
        paint = colour(what) if plain or row["role"] == "floor" and not pd.isna(row["task"]) else _ASIDE
        line = {
            "color": paint,
            "width": 2.5 if plain else 1.5,
            "dash": _DASHES[turn % len(_DASHES)] if plain else "dot",
        }
        symbol = _MARKERS[turn % len(_MARKERS)] + ("" if plain else "-open")
        marker = {"color": paint, "size": 7 if plain else 5, "symbol": symbol}
        yield key, rows, {"name": html.escape(label(row)), "legendgroup": str(key), "line": line, "marker": marker}


def _turn(seed: Any) -> int:
    """Count seeds from 0, for their dashes and markers."""
    return 0 if pd.isna(seed) else max(int(seed) - 1, 0)


def _line(rows: pd.DataFrame, style: dict, x: str, in_legend: bool) -> go.Scatter:
    where = "layer %{x}: " if x == "layer" else f"%{{x}} {x}: "
    return go.Scatter(
        x=_plain(rows[x]), y=_plain(rows["value"]), mode="lines+markers", showlegend=in_legend,
        **_hover(rows, where, "y"), **style,
    )  # fmt: skip


def _hover(rows: pd.DataFrame, where: str, value: str) -> dict:
    """Say of each point what it is, its interval where it has one, and of how many."""
    known = (
        " [%{customdata[0]:.3f}, %{customdata[1]:.3f}], n = %{customdata[2]}" if rows["ci_low"].notna().all() else ""
    )
    extra = [list(values) for values in zip(*(_plain(rows[c]) for c in ("ci_low", "ci_high", "n")), strict=True)]
    shown = f"%{{fullData.name}}<br>{where}%{{{value}:.3f}}{known}<extra></extra>"
    return {"customdata": extra, "hovertemplate": shown}


def _band(rows: pd.DataFrame, style: dict, x: str) -> go.Scatter | None:
    rows = rows[rows["ci_low"].notna() & rows["ci_high"].notna()]
    if rows.empty:
        return None
    places = _plain(rows[x])
    red, green, blue = (int(style["line"]["color"][i : i + 2], 16) for i in (1, 3, 5))
    return go.Scatter(
        x=places + places[::-1], y=_plain(rows["ci_high"]) + _plain(rows["ci_low"])[::-1], mode="lines", fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.16)", line_width=0, hoverinfo="skip", showlegend=False,
        name=f"{style['name']}, 95 % interval", legendgroup=style["legendgroup"],
    )  # fmt: skip


def _level(row: pd.Series, ends: list[int], right: bool) -> go.Scatter:
    name = html.escape(label(row))
    return go.Scatter(
        x=ends, y=[float(row["value"])] * 2, mode="lines+text", text=["", name] if right else [name, ""], name=name,
        textposition="top left" if right else "top right", textfont={"size": 12, "color": _INK}, showlegend=False,
        line={"color": _INK, "width": 1.5, "dash": "dot"}, hovertemplate="%{fullData.name}: %{y:.3f}<extra></extra>",
    )  # fmt: skip


def _plain(column: pd.Series) -> list:
    """Give a column as plain numbers, None where empty."""
    return [None if pd.isna(value) else value for value in column.tolist()]


def _refuse_two_values(rows: pd.DataFrame, name: str, x: str) -> None:
    twice = rows[rows[x].duplicated(keep=False)]
    if not twice.empty:
        first = twice[twice[x] == twice[x].iloc[0]].drop(columns="replicates", errors="ignore")
        numbers = ("value", "ci_low", "ci_high", "n")
        differ = [c for c in first.columns if c not in numbers and first[c].nunique(dropna=False) > 1]
        where = f"at layer {first[x].iloc[0]}" if x == "layer" else f"after {first[x].iloc[0]} {x}"
        raise ValueError(
            f"{len(first)} values {where} for {name!r}: the rows differ in {differ}; "
            f"filter the table to one of each, or give one of these columns as `facet`"
        )
