"""Exhibits: hides how a figure is shown: as a page, with its caption, its data and what made them.

Importing this module makes its renderer plotly's default: a notebook need only end a cell with a figure. It refuses a figure
without a caption.
"""

import html
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.io._base_renderers import MimetypeRenderer

from bert_repro.figures.svg import still
from bert_repro.figures.theme import OURS
from bert_repro.results import provenance

_SPOKEN = 8  # lines that an alternative text tells one by one
_LISTED = 6  # runs that a source names before it only counts
_CONFIG = {"responsive": True, "displayModeBar": False}  # a finger on a figure scrolls the page: see dragmode
# plotly's sliders take no focus: here the figure does, and arrow keys move its slider
_KEYS = """{
const figure = document.currentScript.previousElementSibling
figure.tabIndex = 0
figure.setAttribute("aria-keyshortcuts", "ArrowLeft ArrowRight")
figure.addEventListener("keydown", event => {
  const {active, steps} = figure.layout.sliders[0]
  const step = steps[active + ({ArrowLeft: -1, ArrowRight: 1}[event.key] ?? NaN)]
  if (step) { event.preventDefault(); Plotly.animate(figure, ...step.args).catch(() => {}) }  // overtaken by the next
})
}"""


def as_page(figure: dict, alt: str = "") -> tuple[str, dict]:
    """Give a figure as HTML for a page that has plotly.js, with a still picture for one without, and as plotly's own JSON."""
    # to_json escapes <, > and /, so no text inside the figure can end the script
    text = pio.to_json({**figure, "config": _CONFIG}, validate=False)
    plain = json.loads(text)
    height = plain["layout"].get("height", 450)
    said = f' role="img" aria-label="{html.escape(alt)}"' if alt else ""
    show = f"Plotly.newPlot(document.currentScript.previousElementSibling, {text})"  # no id: equal output each run
    show += f"\n{_KEYS}" if plain["layout"].get("sliders") else ""
    live = f'<div class="bert-repro-figure" style="height:{height}px"{said}></div><script>{show}</script>'
    calm = f"<noscript>{still(plain)}</noscript>" if plain["layout"].get("meta") == OURS else ""  # or a reader's own
    return live + calm, plain


class _BookRenderer(MimetypeRenderer):
    """Shows a figure as HTML for the book, which ships plotly.js once, and as plotly's MIME type for JupyterLab."""

    def to_mimebundle(self, fig_dict: dict) -> dict[str, object]:
        page, figure = as_page(fig_dict)
        return {"text/html": page, "application/vnd.plotly.v1+json": figure}


pio.renderers["bert_repro"] = _BookRenderer()
pio.renderers.default = "bert_repro"


class Exhibit:
    """A figure as the book shows it; `exhibit` makes one.

    What only the book knows stands in the page as marks that book/assemble.py fills in: the figure's number, and where
    CSV file, notebooks and pages of runs lie. In JupyterLab the bare figure shows.
    """

    def __init__(self, figure: go.Figure, rows: pd.DataFrame, name: str, caption: str, folder: Path):
        self.figure, self.name, self.caption = figure, name, caption
        self.rows = rows.drop(columns="replicates", errors="ignore").dropna(axis="columns", how="all")
        self.folder, self.made = folder, provenance.manifests(folder)
        self.runs = behind(rows, self.made)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        page, figure = as_page(self.figure.to_dict(), described(self.figure))
        shown = (
            f'<figure class="bert-repro-exhibit" id="fig-{self.name}">{page}'
            f'<figcaption><span class="figure-number"></span> {html.escape(self.caption)} '
            f"<small>{html.escape(counted(self.rows))}</small></figcaption>"
            f"{self._source()}</figure>"
        )
        data = self.rows.to_csv(index=False, float_format="%.7g")
        return {"text/html": shown, "text/csv": data, "application/vnd.plotly.v1+json": figure}

    def _source(self) -> str:
        """Say which data, notebooks, parameters and commits are behind the figure, and which command remakes it."""
        made = self.made
        items = [f'Data: <span data-csv="{self.name}">CSV, {len(self.rows)} rows</span>.']
        for notebook in dict.fromkeys(made[run]["notebook"] for run in self.runs):
            mine = [run for run in self.runs if made[run]["notebook"] == notebook]
            named = ", ".join(f'<span data-run="{run}">{run}</span>' for run in mine[:_LISTED])
            more = f" and {len(mine) - _LISTED} more" if len(mine) > _LISTED else ""
            commits = ", ".join(sorted({made[run]["commit"][:7] for run in mine}))
            items.append(
                f'Notebook <span data-notebook="{notebook}">{notebook}</span>, {len(mine)} '
                f"{'run' if len(mine) == 1 else 'runs'} (parameters and manifest on each page): {named}{more}; "
                f"commit {commits}."
            )
        if self.runs:
            study = made[self.runs[0]]["parameters"]["study"]
            first = os.path.relpath(self.folder / self.runs[0], provenance.ROOT)  # tables may lie outside the project
            items.append(f"All of it again: <code>make report STUDY=studies/{study}.yaml</code>")
            items.append(
                f"One run with another setting: <code>python -m bert_repro rerun {first} -p layers &quot;[0, 3]&quot;</code>"
            )
        inside = "".join(f"<li>{item}</li>" for item in items)
        return f"<details><summary>Data, notebook, command</summary><ul>{inside}</ul></details>"


def exhibit(figure: go.Figure, rows: pd.DataFrame, name: str, caption: str, folder: Path | str) -> Exhibit:
    """Show a figure with its caption, and below it its data, notebooks, parameters, commit and command.

    Args:
        figure: The figure.
        rows: What it shows, as it goes into the CSV file; replicates are left out.
        name: Of the figure in its chapter; link to it as `#fig-<name>`.
        caption: What is seen, in sentences that can be read without the chapter.
        folder: The tables' folder, whose manifests say what made the rows.

    Raises:
        ValueError: No caption.
    """
    if not caption.strip():
        raise ValueError(f"the figure {name!r} has no caption: say what is seen, for those who read nothing else")
    return Exhibit(figure, rows, name, caption, Path(folder))


def behind(rows: pd.DataFrame, made: Mapping[str, Mapping]) -> list[str]:
    """Name the runs that made rows, of those with these manifests: by notebook, model and, where there is one, reference."""
    columns = [c for c in ("notebook", "model", "reference_model") if c in rows.columns]
    known = rows[columns].drop_duplicates().to_dict("records")
    return [run for run, manifest in made.items() if any(_made_by(manifest, row) for row in known)]


def _made_by(manifest: Mapping, row: Mapping) -> bool:
    given = manifest["parameters"]
    says = {
        "notebook": manifest["notebook"],
        "model": given.get("name"),
        "reference_model": given.get("reference_name"),
    }
    return (
        all(pd.isna(value) or says[c] in (value, None) for c, value in row.items())
        and row.get("model") == says["model"]
    )


def counted(rows: pd.DataFrame) -> str:
    """Say how much is behind rows: n (words, edges, items), units that were resampled, and seeds of each task."""

    def range_of(column: str) -> str:
        numbers = rows[column].dropna().astype(int) if column in rows else pd.Series(dtype=int)
        ends = sorted({numbers.min(), numbers.max()}) if len(numbers) else []
        return " to ".join(f"{end:,}" for end in ends)

    said = [f"n {range_of('n')}"] if range_of("n") else []
    said += [f"{range_of('units')} units resampled"] if range_of("units") else []
    if {"task", "seed"} <= set(rows):
        seeds = rows.dropna(subset=["task", "seed"]).groupby("task", sort=False)["seed"].nunique()
        said += [", ".join(f"{n} {'seed' if n == 1 else 'seeds'} of {task}" for task, n in seeds.items())]
    said = list(filter(None, said))
    return f"{'; '.join(said)}." if said else ""


def described(figure: go.Figure) -> str:
    """Put a figure into words, for those who do not see it: its title and where each line begins and ends."""
    title = (figure.layout.title.text or "").replace("<br>", " ")
    lines = [t for t in figure.data if t.type == "scatter" and t.name and t.fill is None and "lines" in (t.mode or "")]
    told = []
    for line in lines:
        points = [(x, y) for x, y in zip(line.x or (), line.y or (), strict=False) if isinstance(y, int | float)]
        if len(points) > 1:
            (x, y), (last_x, last_y) = points[0], points[-1]
            told.append(f"{html.unescape(line.name)}: {y:.3g} at {x}, {last_y:.3g} at {last_x}")
    text = "; ".join([*told[:_SPOKEN], *([f"and {len(told) - _SPOKEN} more"] if len(told) > _SPOKEN else [])])
    return ". ".join(filter(None, [title, text])) or f"a figure of {', '.join(sorted({t.type for t in figure.data}))}"
