"""The figures and tables of a chapter: each is drawn and captioned, or the page says that it was not measured, and why.

A chapter makes one gallery and then says what it shows, whatever its study holds:

    show = figures.Gallery(folder)
    show("change", "How much each task changed the encoder.").dots(changes, "task", xlabel="change")
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from IPython.display import HTML, Markdown
from markupsafe import Markup

from bert_repro.figures import curves, grids, scatter, theme, trees, words
from bert_repro.figures.dots import dots as draw_dots
from bert_repro.figures.exhibits import Exhibit
from bert_repro.figures.history import history as draw_history
from bert_repro.figures.templates import render

NOT_HELD = "the tables of this study do not hold this"
_Shown = Exhibit | Markdown | None


def _spelt(name: object) -> object:
    return theme.short(name) if isinstance(name, str) else name


def _drawing(draw: Callable[..., go.Figure]) -> Callable[..., _Shown]:
    """Make of a function that draws a method that shows: the exhibit, or a note where one of its tables has no rows."""

    def show(self: "Picture", rows: object, *more: object, data: pd.DataFrame | None = None, **keys: object) -> _Shown:
        if any(isinstance(argument, pd.DataFrame) and argument.empty for argument in (rows, *more, data)):
            return self.gallery.nothing(self.missing)
        held = rows if data is None else data
        return Exhibit(draw(rows, *more, **keys), held, self.name, self.caption, self.gallery.folder)

    show.__doc__ = draw.__doc__
    return show


@dataclass(frozen=True)
class Picture:
    """A figure that has a name and a caption and is still to be drawn, by the function of `figures` that a method is named after.

    Each method takes what that function takes, and `data`, which goes into the CSV file where it is not the rows that are drawn.
    """

    gallery: "Gallery"
    name: str
    caption: str
    missing: str | None

    layer_curves = _drawing(curves.layer_curves)
    task_curves = _drawing(curves.task_curves)
    difference_curves = _drawing(curves.difference_curves)
    learning_curves = _drawing(curves.learning_curves)
    line_curves = _drawing(curves.line_curves)
    dots = _drawing(draw_dots)
    layer_grid = _drawing(grids.layer_grid)
    against = _drawing(scatter.against)
    history = _drawing(draw_history)
    tree_arcs = _drawing(trees.tree_arcs)
    tree_plane = _drawing(trees.tree_plane)
    words_through_layers = _drawing(words.words_through_layers)


class Gallery:
    """Shows the figures and tables of one chapter; see the example above.

    Args:
        folder: The tables' folder, whose manifests say what made the rows.
        missing: Why something is not shown where no other reason is given: it follows "Not measured here: ".
    """

    def __init__(self, folder: Path | str, missing: str = NOT_HELD):
        self.folder, self.missing = Path(folder), missing

    def __call__(self, name: str, caption: str, missing: str | None = None) -> Picture:
        """Announce a figure.

        Args:
            name: Name of the figure in its chapter; link to it as `#fig-<name>`.
            caption: What is seen, in sentences that can be read without the chapter; how many words, units and seeds are behind
                it follows by itself.
            missing: Why it is not there, where its tables have no rows; the gallery's reason by default, empty to say nothing.
        """
        return Picture(self, name, caption, missing)

    def table(
        self, rows: pd.DataFrame, caption: str, digits: int | None = None, missing: str | None = None
    ) -> HTML | Markdown | None:
        """Show a table under its caption, or say that it was not measured; the book gives it a number.

        Names are spelt as in figures, and whole numbers without a point.

        Args:
            rows: What is shown.
            caption: What the table holds, in sentences that can be read without the chapter.
            digits: Where given, so many follow the point, and empty cells are blank.
            missing: Why it is not there, as for a figure.

        Raises:
            ValueError: No caption.
        """
        if not caption.strip():
            raise ValueError("a table has no caption: say what it holds, for those who read nothing else")
        if rows.empty:
            return self.nothing(missing)
        whole = [c for c in rows.select_dtypes("number") if (rows[c].dropna() % 1 == 0).all()]
        shown = rows.astype(dict.fromkeys(whole, "Int64")).rename(index=_spelt, columns=_spelt)
        shown = shown if digits is None else shown.astype(object).fillna("")
        spell = None if digits is None else f"{{:.{digits}f}}".format
        return HTML(render("table", caption=caption, table=Markup(shown.to_html(float_format=spell))))

    def nothing(self, missing: str | None = None) -> Markdown | None:
        """Say that something was not measured, and why; nothing where the reason is empty."""
        why = self.missing if missing is None else missing
        return Markdown(f"*Not measured here: {why}.*") if why else None
