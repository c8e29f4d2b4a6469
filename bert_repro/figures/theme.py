"""The look of all figures: plotly's template, colours, names and panels.

Colours say *what kind of model* a line is (base, untrained, or the task it was tuned on) and are the same in every figure;
dash and marker say which seed.
"""

import hashlib
import html
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

from bert_repro.finetune.tasks import TASKS
from bert_repro.probes.spans import EDGE_TARGETS
from bert_repro.similarity import MEASURES

COLOURS = {"base": "#000000", "base-2": "#000000", "untrained": "#7F7F7F"}
"""Of kinds of models that are of no task; those of tasks stand in TASKS."""
SAME = {"mnli": "nli", "snli": "nli", "dependency": "parsing", "questions": "squad", "span": "squad", "pos": "tagging"}
"""Other names of a kind: they share its colour."""
NAMES = {
    "base-2": "second base", "mnli": "MNLI", "snli": "SNLI", "pos": "POS tagging",
    "root_accuracy": "root accuracy", "uuas": "UUAS", "uas": "UAS", "las": "LAS", "dspr": "DSpr", "nspr": "NSpr", "f1": "F1", "exact_match": "exact match",
    "accuracy_matched": "accuracy, matched", "accuracy_mismatched": "accuracy, mismatched",
    "las_without_punctuation": "LAS, no punctuation", "uas_without_punctuation": "UAS, no punctuation",
    "relative_l2": "relative change", "masked_word_loss": "nats per masked wordpiece",
    "masked_word_accuracy": "masked wordpieces named", "task_loss": "nats", "ci_low": "95 % from", "ci_high": "to",
}  # fmt: skip
"""How other names in a table are spelt in a figure than those of tasks, measures and targets, whose titles stand with them."""
_SPARE = ("#E69F00", "#882255", "#332288")
ASIDE = "#7F7F7F"  # controls, floors and baselines
SHADE = {"fillcolor": "gray", "opacity": 0.15, "line_width": 0}
DASHES = ("solid", "dash", "dashdot", "longdash")
MARKERS = ("circle", "diamond", "square", "triangle-up", "x")
ASIDES = (*MARKERS, "triangle-down", "star", "hexagram", "pentagon", "hourglass")  # of what is no score
INK, _PANEL, _GRID = "#666666", "#FAFAFA", "#DDDDDD"  # readable on white and on near-black
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
PANEL_HEIGHT, _AROUND, _ENTRY = 270, 100, 14  # pixels: a panel, the axis below it, a legend entry
DOT, LINE, GAP = 12, 18, 60  # pixels: a line of one dot, one of a label beside it, the room between panels
_TITLE_WIDTH, _TITLE_LINE, CATEGORY_WIDTH = 44, 22, 13  # what fits a phone: characters, pixels, characters beside dots
EMPTY = "nothing to draw, the table has no rows: `make report` fills the tables, or loosen the filter before it"

pio.templates["bert_repro"] = go.layout.Template(
    layout={
        "font": {"family": _FONT, "size": 14, "color": INK},
        "title": {"x": 0, "xanchor": "left", "xref": "container", "y": 1, "yref": "container", "yanchor": "top",
                  "pad": {"t": 8, "l": 4}, "font": {"size": 15}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": _PANEL,
        "dragmode": False,
        "margin": {"l": 60, "r": 10, "t": 10, "b": 60},
        "hoverlabel": {"font": {"family": _FONT, "size": 13}, "namelength": -1},
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "xanchor": "left",
                   "font": {"size": 13}, "tracegroupgap": 2},
        "xaxis": {"gridcolor": _GRID, "zeroline": False, "linecolor": INK, "automargin": True,
                  "title": {"standoff": 8, "font": {"size": 14}}},
        "yaxis": {"gridcolor": _GRID, "zeroline": False, "linecolor": INK, "automargin": True,
                  "title": {"standoff": 8, "font": {"size": 14}}},
    }
)  # fmt: skip
pio.templates.default = "bert_repro"


def kind(model: Any, task: Any = None) -> str:
    """Give the kind of a model: its task, or `base` or `untrained`."""
    name = str(model).split(":")[0] if pd.isna(task) or not task else str(task)
    return SAME.get(name, name)


def colour(name: str, beside: Iterable[str] = ()) -> str:
    """Give the colour of a kind of model: that of its task, if it has one, or else one by its name.

    Args:
        name: The kind.
        beside: All kinds of the same figure: they share no spare colour while there are enough.
    """
    colours = COLOURS | {task: entry.colour for task, entry in TASKS.items() if entry.colour}
    assigned: dict[str, str] = {}
    for kind_name in sorted({*beside, name} - {*colours, *SAME}):
        first = hashlib.sha256(kind_name.encode()).digest()[0]
        turns = [_SPARE[(first + n) % len(_SPARE)] for n in range(len(_SPARE))]
        assigned[kind_name] = next((spare for spare in turns if spare not in assigned.values()), turns[0])
    return assigned.get(name) or colours[SAME.get(name, name)]


def label(row: pd.Series) -> str:
    """Name a row's line in a legend, e.g. `MNLI fine-tuned, seed 1`."""
    if row["role"] == "baseline":
        return str(next((row[c] for c in ("method", "probe", "model") if not pd.isna(row[c])), "baseline"))
    name = _model_name(row["model"], row["task"], row["seed"])
    if row["role"] == "score" or (row["model"] in ("untrained", "base-2") and pd.isna(row["reference_model"])):
        return name
    if not pd.isna(row["rows"]) and row["role"] == "floor":
        return str(row["rows"])
    pair = [row["model"]] if pd.isna(row["reference_model"]) else [row["model"], row["reference_model"]]
    return ("control: " if row["role"] == "control" else "") + " and ".join(map(short, pair))


def _model_name(model: Any, task: Any, seed: Any) -> str:
    if pd.isna(task) or not task:
        return short(model)
    stem, _, number = name_parts(model)
    if SAME.get(stem, stem) != SAME.get(task, task) or (number and not pd.isna(seed) and int(number) != seed):
        return f"{model} ({short(task)})"  # somebody's checkpoint, of which a task may have several
    return f"{short(task)} fine-tuned" + ("" if pd.isna(seed) else f", seed {seed}")


def short(name: object) -> str:
    """Spell a table's name of a model, task, measure, target or metric: `nli-1` as `NLI seed 1`."""
    stem, change, seed = name_parts(name)
    own = stem.partition("-")[0]
    return f"{title(stem + change)} seed {seed}" if seed and SAME.get(own, own) in TASKS else title(str(name))


def name_parts(name: object) -> tuple[str, str, str]:
    """Take a model's name apart, as `nli-frozen4-1`: what it is tuned on or called, `-frozen4`, and the seed `1`, each where it has one."""
    match = re.fullmatch(r"(.*?)(-(?:frozen\d+|kept\d+|untrained|partial))?(?:-(\d+))?", str(name), re.DOTALL)
    stem, change, seed = match.groups("") if match else (str(name), "", "")
    return stem, change, seed


def title(name: str) -> str:
    """Spell a task, measure, target or metric; any other name stays as it is."""
    for registry in (TASKS, MEASURES, EDGE_TARGETS):
        if entry := registry.get(name):
            return entry.title
    return NAMES.get(name, name)


def stacked(heights: list[float], names: list | None) -> go.Figure:
    """Make panels of some heights (pixels), one below the other, on one x axis."""
    titles = None if names is None else [f"<b>{html.escape(short(name))}</b>" for name in names]
    figure = make_subplots(
        len(heights),
        1,
        shared_xaxes=True,
        vertical_spacing=GAP / max(GAP, sum(heights)),
        row_heights=heights,
        subplot_titles=titles,
    )
    return figure.update_annotations(x=0, xanchor="left", font_size=14)


def scatter(**given: object) -> dict:
    """Give a trace that is not checked yet: plotly's checks take most of a figure's time, so each is made once, by `put`."""
    return {"type": "scatter"} | given


def put(figure: go.Figure, traces: Mapping[int, list[dict]]) -> None:
    """Put traces into panels, all of them at once; panels count from 1."""
    rows = [panel for panel, of_panel in traces.items() for _ in of_panel]
    figure.add_traces([trace for of_panel in traces.values() for trace in of_panel], rows=rows, cols=[1] * len(rows))


def finish(figure: go.Figure, height: float, title: str) -> go.Figure:
    """Give a figure with panels of a height in all (pixels) its heading and the room for axis and legend."""
    heading = textwrap.wrap(html.escape(title), _TITLE_WIDTH)
    top = 10 + _TITLE_LINE * (len(heading) + bool(figure.layout.annotations))
    entries = sum(trace.showlegend is not False for trace in figure.data)
    return figure.update_layout(
        template="bert_repro", title_text="<br>".join(heading) or None, title_pad_t=8 * max(len(heading), 1),
        showlegend=True, autosize=True, hovermode="closest", margin_t=top,
        height=height + _AROUND + _ENTRY * entries + top,
    )  # fmt: skip


def marker(turn: int) -> str:
    """Give the symbol of a turn; they begin again after the last."""
    return MARKERS[turn % len(MARKERS)]


def turn_of(seed: Any) -> int:
    """Count seeds from 0, for their dashes and markers."""
    return 0 if pd.isna(seed) else max(int(seed) - 1, 0)


def bars(rows: pd.DataFrame, colour: str, side: str = "", thickness: float = 1) -> dict:
    """Give error bars that lead from values to the ends of their intervals."""
    value = rows[f"value{side}"]
    ends = {"array": numbers(rows[f"ci_high{side}"] - value), "arrayminus": numbers(value - rows[f"ci_low{side}"])}
    return {"type": "data", "symmetric": False, "color": colour, "thickness": thickness, "width": 0} | ends


def hover(rows: pd.DataFrame, where: str, value: str) -> dict:
    """Say of each point what it is, its interval where it has one, and of how many."""
    columns = (
        " [%{customdata[0]:.3f}, %{customdata[1]:.3f}], n = %{customdata[2]}" if rows["ci_low"].notna().all() else ""
    )
    extra = [list(values) for values in zip(*(numbers(rows[c]) for c in ("ci_low", "ci_high", "n")), strict=True)]
    shown = f"%{{fullData.name}}<br>{where}%{{{value}:.3f}}{columns}<extra></extra>"
    return {"customdata": extra, "hovertemplate": shown}


def numbers(column: pd.Series) -> list:
    """Give a column as plain numbers, None where empty."""
    return [None if pd.isna(value) else value for value in column.tolist()]
