"""A figure as it is shown: as HTML for a page, with its caption, its data and what made them.

Importing this module makes its renderer plotly's default, so a notebook need only end a cell with a figure. A figure without a
caption is an error.
"""

import html
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from markupsafe import Markup
from plotly.io._base_renderers import MimetypeRenderer

from bert_repro.figures import theme
from bert_repro.figures.templates import render
from bert_repro.results import provenance

MIME = "application/vnd.bert-repro.exhibit+json"  # what is behind a figure, for the book to link
_SPOKEN = 8  # lines that an alternative text describes one by one
_LISTED = 6  # runs that a source names before it only counts them
# of a run, the first that it has
_SETTINGS = {"layers": '-p layers "[0, 3]"', "seed": "-p seed 2", "resamples": "-p resamples 200"}
_CONFIG = {"responsive": True, "displayModeBar": False}  # a finger on a figure scrolls the page: see dragmode


@dataclass(frozen=True)
class Links:
    """What a figure's page alone knows; empty in a notebook.

    Args:
        number: Such as "Figure 2.1."
        data: Address of the CSV file.
        run: Address of a run's page, with `{}` in the place of the run's name.
        notebook: Address of a notebook, with `{}` in the place of its name.
    """

    number: str = ""
    data: str = ""
    run: str = ""
    notebook: str = ""


def as_page(figure: Mapping[str, Any], alt: str = "") -> tuple[str, dict[str, Any]]:
    """Write a figure for a page.

    Args:
        figure: Plotly's dictionary of the figure, with arrays or as JSON.
        alt: What a screen reader says instead; empty for nothing.

    Returns:
        HTML for a page that has plotly.js, which says `alt` where a browser runs no scripts; and plotly's own JSON.
    """
    # to_json escapes <, > and /, so no text inside the figure can end the script
    text = pio.to_json({**figure, "config": _CONFIG}, validate=False)
    plain = json.loads(text)
    page = render(
        "figure",
        height=plain["layout"].get("height", 450),
        alt=alt,
        json=Markup(text),
        slider=bool(plain["layout"].get("sliders")),
    )
    return page, plain


class _BookRenderer(MimetypeRenderer):
    """Shows a figure as HTML for the book, which ships plotly.js once, and as plotly's MIME type for JupyterLab."""

    def to_mimebundle(self, fig_dict: dict) -> dict[str, object]:
        page, figure = as_page(fig_dict)
        return {"text/html": page, "application/vnd.plotly.v1+json": figure}


pio.renderers["bert_repro"] = _BookRenderer()
pio.renderers.default = "bert_repro"


class Exhibit:
    """A figure with its caption, and below it its data, notebooks, parameters, commit and command.

    Its output also holds what is behind the figure as JSON, from which the book draws it again, with a number and links. In
    JupyterLab the bare figure shows.

    Args:
        figure: The figure.
        rows: What it shows, as it goes into the CSV file; replicates are left out.
        name: Name of the figure in its chapter; link to it as `#fig-<name>`.
        caption: What is seen, in sentences that can be read without the chapter.
        folder: The tables' folder, whose manifests say what made the rows.

    Raises:
        ValueError: No caption.
    """

    def __init__(self, figure: go.Figure, rows: pd.DataFrame, name: str, caption: str, folder: Path):
        if not caption.strip():
            raise ValueError(f"the figure {name!r} has no caption: say what is seen, for those who read nothing else")
        self.figure, self.name, self.caption = figure, name, caption
        self.rows = rows.drop(columns="replicates", errors="ignore").dropna(axis="columns", how="all")
        self.folder, self.made = folder, provenance.manifests(folder)
        self.runs = behind(rows, self.made)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
        facts = self.facts()
        page, figure = drawn(self.figure.to_dict(), facts, Links())
        data = self.rows.to_csv(index=False, float_format="%.7g")
        return {"text/html": page, "text/csv": data, MIME: facts, "application/vnd.plotly.v1+json": figure}

    def facts(self) -> dict[str, Any]:
        """Collect what is shown below the figure: caption, data, notebooks with their runs and commits, and a run to
        repeat."""
        sources = []
        for notebook in dict.fromkeys(self.made[run]["notebook"] for run in self.runs):
            runs = [run for run in self.runs if self.made[run]["notebook"] == notebook]
            commits = sorted({provenance.brief(self.made[run]["commit"]) for run in runs})
            sources.append({"notebook": notebook, "count": len(runs), "runs": runs[:_LISTED], "commits": commits})
        first = self.runs[0] if self.runs else None
        made = self.made[first]["parameters"] if first else {}
        published = (provenance.ROOT / "studies" / f"{made.get('study')}.yaml").is_file()
        return {
            "name": self.name,
            "caption": self.caption,
            "counted": counted(self.rows),
            "alt": described(self.figure),
            "rows": len(self.rows),
            "sources": sources,
            "study": made.get("study"),
            # with what a reader brought, a study is written to where it is built
            "study_file": f"studies/{made.get('study')}.yaml" if published else f"build/{made.get('study')}/study.yaml",
            "setting": next((setting for name, setting in _SETTINGS.items() if name in made), ""),
            # tables may lie outside the project
            "first": first and os.path.relpath(self.folder / first, provenance.ROOT),
        }


def drawn(figure: Mapping[str, Any], facts: Mapping[str, Any], links: Links) -> tuple[str, dict[str, Any]]:
    """Draw a figure as HTML, with its caption and what is behind it.

    Args:
        figure: As for `as_page`.
        facts: What `Exhibit.facts` gives.
        links: Its number and addresses.

    Returns:
        As `as_page`.
    """
    page, plain = as_page(figure, facts["alt"])
    return render("exhibit", figure=Markup(page), links=links, **facts), plain


def behind(rows: pd.DataFrame, made: Mapping[str, Mapping]) -> list[str]:
    """Name the runs that made rows, of those with these manifests: by notebook, model and, where there is one, reference."""
    columns = [c for c in ("notebook", "model", "reference_model") if c in rows.columns]
    distinct = rows[columns].drop_duplicates().to_dict("records")
    return [run for run, manifest in made.items() if any(_made_by(manifest, row) for row in distinct)]


def _made_by(manifest: Mapping, row: Mapping) -> bool:
    parameters = manifest["parameters"]
    of_run = {
        "notebook": manifest["notebook"],
        "model": parameters.get("name"),
        "reference_model": parameters.get("reference_name"),
    }
    return (
        all(pd.isna(value) or of_run[column] in (value, None) for column, value in row.items())
        and row.get("model") == of_run["model"]
    )


def counted(rows: pd.DataFrame) -> str:
    """Say how much data is behind rows: n (words, edges, items), units that were resampled, and seeds of each task."""

    def range_of(column: str) -> str:
        numbers = rows[column].dropna().astype(int) if column in rows else pd.Series(dtype=int)
        ends = sorted({numbers.min(), numbers.max()}) if len(numbers) else []
        return " to ".join(f"{end:,}" for end in ends)

    phrases = [f"n {range_of('n')}"] if range_of("n") else []
    phrases += [f"{range_of('units')} units resampled"] if range_of("units") else []
    if {"task", "seed"} <= set(rows):
        seeds = rows.dropna(subset=["task", "seed"]).groupby("task", sort=False)["seed"].nunique()
        trainings = ", ".join(f"{n} of {theme.short(task)}" for task, n in seeds.items())
        phrases += [f"trainings: {trainings}"] if trainings else []
    return f"{'; '.join(phrases)}." if phrases else ""


def described(figure: go.Figure) -> str:
    """Describe a figure in words, for those who do not see it: its title and where each line begins and ends."""
    title = (figure.layout.title.text or "").replace("<br>", " ")
    lines = [t for t in figure.data if t.type == "scatter" and t.name and t.fill is None and "lines" in (t.mode or "")]
    phrases = []
    for line in lines:
        points = [(x, y) for x, y in zip(line.x or (), line.y or (), strict=False) if isinstance(y, int | float)]
        if len(points) > 1:
            (x, y), (last_x, last_y) = points[0], points[-1]
            phrases.append(f"{html.unescape(line.name)}: {y:.3g} at {x}, {last_y:.3g} at {last_x}")
    text = "; ".join([*phrases[:_SPOKEN], *([f"and {len(phrases) - _SPOKEN} more"] if len(phrases) > _SPOKEN else [])])
    return ". ".join(filter(None, [title, text])) or f"a figure of {', '.join(sorted({t.type for t in figure.data}))}"
