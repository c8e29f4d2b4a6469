"""Figures: hides plotly, its one template, and how a tidy table becomes curves with intervals.

It refuses an empty table, and rows that would put two values of one line at the same layer.

Importing this module makes its renderer plotly's default: a notebook need only end a cell with a figure. Colours say
*what kind of model* a line is (base, untrained, or the task it was tuned on) and are the same in every figure; dash and
marker say which seed.
"""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.io._base_renderers import MimetypeRenderer
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

COLOURS = {
    "base": "#000000", "untrained": "#7F7F7F", "nli": "#0072B2", "parsing": "#D55E00", "squad": "#009E73",
    "tagging": "#CC79A7",
}  # fmt: skip
"""One colour a kind of model (Okabe and Ito's palette, told apart by colour-blind readers)."""
SAME = {"mnli": "nli", "snli": "nli", "dependency": "parsing", "questions": "squad", "span": "squad", "pos": "tagging"}
"""Other names of a kind: they share its colour."""
NAMES = {
    "mnli": "MNLI", "snli": "SNLI", "nli": "NLI", "squad": "SQuAD", "pos": "POS tagging", "rsa": "RSA", "cka": "CKA",
    "uuas": "UUAS", "uas": "UAS", "las": "LAS", "dspr": "DSpr", "nspr": "NSpr",
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
_TITLE_WIDTH, _TITLE_LINE = 44, 22  # characters that fit a phone, pixels
_EMPTY = (
    "nothing to draw, the table has no rows: `make report` fills the tables, or loosen the filter before this figure"
)

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


def use_book_renderer() -> None:
    """Make the book's renderer and template plotly's defaults; importing this module has done so already."""
    pio.renderers["bert_repro"] = _BookRenderer()
    pio.renderers.default = "bert_repro"
    pio.templates.default = "bert_repro"


use_book_renderer()


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
    return _curves(table, facet, title, ylabel, reference, zero=False)


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


def learning_curves(frame: pd.DataFrame, *, y: str = "loss", title: str = "", ylabel: str = "") -> go.Figure:
    """Draw a loss or score by update, a line a model.

    Args:
        frame: Columns `model`, `updates` and `y`; `task` and `seed`, where given, choose colour and label.
        y: The column to draw.
        title: Heading of the figure.
        ylabel: What the column is; its name by default.

    Raises:
        ValueError: No rows, or a column is missing.
    """
    if frame.empty:
        raise ValueError(_EMPTY)
    missing = sorted({"model", "updates", y} - set(frame.columns))
    if missing:
        raise ValueError(
            f"learning curves need the columns model, updates and {y}: {missing} missing in {list(frame.columns)}"
        )
    blank: dict[str, Any] = {"task": pd.NA, "seed": pd.NA, "role": "score", "reference_model": pd.NA}
    frame = frame.assign(**{name: value for name, value in blank.items() if name not in frame.columns})
    figure = go.Figure()
    for _, rows, style in _lines(frame):
        rows = rows.sort_values("updates")
        hover = "%{fullData.name}<br>%{x} updates: %{y:.4g}<extra></extra>"
        figure.add_scatter(x=_plain(rows["updates"]), y=_plain(rows[y]), mode="lines", hovertemplate=hover, **style)
    figure.update_xaxes(title_text="updates", rangemode="tozero")
    figure.update_yaxes(title_text=ylabel or y)
    return _finish(figure, 1, title)


def _curves(
    table: pd.DataFrame, facet: str | None, title: str, ylabel: str, reference: pd.DataFrame | None, zero: bool
) -> go.Figure:
    if table.empty:
        raise ValueError(_EMPTY)
    table = table if reference is None else pd.concat([table, reference], ignore_index=True)
    layered = table[table["layer"].notna()]
    levels = table[table["layer"].isna()].drop_duplicates(["value", "method", "metric", "corpus"])
    if layered.empty:
        raise ValueError("no row of the table names a layer, so there is no curve to draw")
    panels = [None] if facet is None else list(layered[facet].dropna().unique())
    titles = None if facet is None else [f"<b>{html.escape(_short(panel))}</b>" for panel in panels]
    gap = 60 / (_PANEL_HEIGHT * len(panels))
    figure = make_subplots(len(panels), 1, shared_xaxes=True, vertical_spacing=gap, subplot_titles=titles)
    figure.update_annotations(x=0, xanchor="left", font_size=14)
    shown: set[str] = set()
    first_of: dict[frozenset[str], int] = {}
    for at, panel in enumerate(panels, start=1):
        mine = layered if panel is None else layered[layered[facet] == panel]
        for bands in (True, False):  # all bands first, so that none covers a line
            for _, rows, style in _lines(mine):
                rows = rows.sort_values("layer")
                _refuse_two_values(rows, style["name"])
                trace = _band(rows, style) if bands else _line(rows, style, style["name"] not in shown)
                if trace is not None:
                    figure.add_trace(trace, row=at, col=1)
                if not bands:
                    shown.add(style["name"])
        ends = [int(layered["layer"].min()), int(layered["layer"].max())]
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
    figure.update_xaxes(tickmode="linear", tick0=0, dtick=1, tickangle=0)
    figure.update_xaxes(title_text="layer (0 = embeddings)", row=len(panels), col=1)
    return _finish(figure, len(panels), title)


def _finish(figure: go.Figure, panels: int, title: str) -> go.Figure:
    heading = textwrap.wrap(html.escape(title), _TITLE_WIDTH)
    top = 10 + _TITLE_LINE * (len(heading) + bool(figure.layout.annotations))
    entries = sum(trace.showlegend is not False for trace in figure.data)
    return figure.update_layout(
        template="bert_repro", title_text="<br>".join(heading) or None, title_pad_t=8 * max(len(heading), 1),
        showlegend=True, autosize=True, hovermode="closest", margin_t=top,
        height=_PANEL_HEIGHT * panels + _AROUND + _ENTRY * entries + top,
    )  # fmt: skip


def _lines(table: pd.DataFrame) -> Iterator[tuple[tuple, pd.DataFrame, dict]]:
    """Split rows into lines and give each its look."""
    for key, rows in table.groupby(["role", "model", "reference_model"], sort=False, dropna=False):
        row = rows.iloc[0]
        what = kind(row["model"], row["task"])
        turn = 0 if pd.isna(row["seed"]) else max(int(row["seed"]) - 1, 0)
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


def _line(rows: pd.DataFrame, style: dict, in_legend: bool) -> go.Scatter:
    interval = " [%{customdata[0]:.3f}, %{customdata[1]:.3f}], n = %{customdata[2]}"
    known = interval if rows["ci_low"].notna().all() else ""
    hover = f"%{{fullData.name}}<br>layer %{{x}}: %{{y:.3f}}{known}<extra></extra>"
    extra = [list(values) for values in zip(*(_plain(rows[c]) for c in ("ci_low", "ci_high", "n")), strict=True)]
    return go.Scatter(
        x=_plain(rows["layer"]), y=_plain(rows["value"]), mode="lines+markers", customdata=extra, hovertemplate=hover,
        showlegend=in_legend, **style,
    )  # fmt: skip


def _band(rows: pd.DataFrame, style: dict) -> go.Scatter | None:
    rows = rows[rows["ci_low"].notna() & rows["ci_high"].notna()]
    if rows.empty:
        return None
    layers = _plain(rows["layer"])
    red, green, blue = (int(style["line"]["color"][i : i + 2], 16) for i in (1, 3, 5))
    return go.Scatter(
        x=layers + layers[::-1], y=_plain(rows["ci_high"]) + _plain(rows["ci_low"])[::-1], mode="lines", fill="toself",
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


def _refuse_two_values(rows: pd.DataFrame, name: str) -> None:
    twice = rows[rows["layer"].duplicated(keep=False)]
    if not twice.empty:
        first = twice[twice["layer"] == twice["layer"].iloc[0]].drop(columns="replicates", errors="ignore")
        differ = [
            c
            for c in first.columns
            if first[c].nunique(dropna=False) > 1 and c not in ("value", "ci_low", "ci_high", "n")
        ]
        raise ValueError(
            f"{len(first)} values at layer {first['layer'].iloc[0]} for {name!r}: the rows differ in {differ}; "
            f"filter the table to one of each, or give one of these columns as `facet`"
        )


def save_static(figure: go.Figure, path: Path | str, width: int = 900) -> None:
    """Save a figure as a picture with a headless Chromium, which plotly needs nowhere else.

    Args:
        figure: The figure; its layout's height is kept.
        path: A file ending in .svg or .png.
        width: Width in pixels; a PNG has twice as many, for sharp screens.

    Raises:
        FileNotFoundError: No Chromium or Chrome on the PATH.
        ValueError: The path ends in something else.
        RuntimeError: The browser made no picture.
    """
    path = Path(path)
    kind_of_file = path.suffix.lstrip(".").lower()
    if kind_of_file not in ("svg", "png"):
        raise ValueError(f"cannot save a figure as {path.name!r}: expected a name ending in .svg or .png")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if browser is None:
        raise FileNotFoundError("a picture needs a Chromium or Chrome on the PATH (Debian: apt-get install chromium)")
    wanted = {"format": kind_of_file, "width": width, "height": figure.layout.height or 450}
    wanted["scale"] = 2 if kind_of_file == "png" else 1
    page = (
        f"<!doctype html><meta charset='utf-8'><script>{get_plotlyjs()}</script><pre id='picture'></pre><script>"
        f"Plotly.toImage({pio.to_json(figure, validate=False)}, {json.dumps(wanted)})"
        ".then(url => { document.getElementById('picture').textContent = url })</script>"
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "figure.html").write_text(page, encoding="utf-8")
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             f"--user-data-dir={folder}/profile", "--virtual-time-budget=10000", "--dump-dom",
             f"file://{folder}/figure.html"],
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    found = re.search(r"<pre id=.picture.>data:image/[^,]*?(;base64)?,([^<]+)</pre>", done.stdout)
    if not found:
        raise RuntimeError(f"{browser} made no picture (exit {done.returncode}): {done.stderr[-500:]}")
    data = unquote_to_bytes(html.unescape(found[2]))
    if found[1]:
        data = base64.b64decode(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
