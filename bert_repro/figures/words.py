"""Words of one example through the layers: a slider moves through layers, encoders stand one below the other.

Panels that show different words or layers are an error.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from bert_repro import corpora
from bert_repro.figures.planes import Pairing
from bert_repro.figures.theme import ASIDE, EMPTY, INK, finish, short, stacked

# colours that stand for no model, each with a marker of its own
CLASSES = {
    "content": ("#882255", "circle"), "function": ("#E69F00", "diamond"), "punctuation": (ASIDE, "x"),
    "answer": ("#882255", "square"), "question": ("#E69F00", "diamond"), "context": (ASIDE, "circle-open"),
    "first": ("#882255", "circle"), "second": ("#E69F00", "diamond"), "other": (ASIDE, "circle-open"),
}  # fmt: skip
"""Colour and marker of a class of words, in the order of the legend; the first are drawn on top."""
_PANEL, _SLIDER = 290, 90  # pixels: a panel, the slider above
_GUTTER = 0.3  # around the places, for the words
_CLOSING = re.compile(r" (?=[.,;:?!])")
_MOVE = {"duration": 500, "easing": "cubic-in-out"}


def words_through_layers(pictures: Sequence[Mapping[str, Any]], names: Sequence[str]) -> go.Figure:
    """Draw the words of one example where each encoder puts them, a panel an encoder, with one slider for the layer.

    The sentence, or the question, is its heading; words of a context are written only where the pointer is. It opens at the last
    layer. The treebank's edges are drawn in where there is a tree. Both axes have one scale, and the same one in all panels and layers.

    Args:
        pictures: As `planes.beside_base` gives them: the same words and layers in each.
        names: Names of the models.

    Raises:
        ValueError: No picture, or pictures of different words or layers.
    """
    if not pictures:
        raise ValueError(EMPTY)
    first, layers = pictures[0], pictures[0]["layers"]
    for name, picture in zip(names, pictures, strict=True):
        if (picture["words"], picture["layers"]) != (first["words"], layers):
            raise ValueError(f"{name} shows other words or layers than {names[0]}: expected one example for all panels")
    figure = stacked([_PANEL] * len(pictures), list(names))
    moves: list[list[dict]] = []  # of every trace, where it is in each layer
    for row, (name, picture) in enumerate(zip(names, pictures, strict=True), 1):
        for trace, places in _traces(picture, name):
            moves.append(places)
            figure.add_trace(trace.update(places[-1], showlegend=row == 1), row=row, col=1)
        figure.update_yaxes(scaleanchor="x" if row == 1 else f"x{row}", row=row, col=1)
    figure.frames = [
        go.Frame(name=str(layer), data=[go.Scatter(places[at]) for places in moves], traces=list(range(len(moves))))
        for at, layer in enumerate(layers)
    ]
    extent = np.concatenate([np.array(places) for picture in pictures for places in picture["places"]])
    low, high = extent.min(0) - _GUTTER, extent.max(0) + _GUTTER
    figure.update_xaxes(visible=False, range=[low[0], high[0]])
    figure.update_yaxes(visible=False, range=[low[1], high[1]])
    finish(figure, _PANEL * len(pictures), heading(first))
    room = {"margin_t": figure.layout.margin.t + _SLIDER, "height": figure.layout.height + _SLIDER}
    return figure.update_layout(sliders=[_slider(layers)], margin_l=10, **room)


def heading(picture: Mapping[str, Any]) -> str:
    """Write an example out in a line: its sentence, or of a question with its passage the question."""
    question = [word for word, kind in zip(picture["words"], picture["classes"], strict=True) if kind == "question"]
    return _CLOSING.sub("", " ".join(question or picture["words"]))


def listed(projections: pd.DataFrame) -> pd.DataFrame:
    """List where the words of projections are: a row for each notebook, model, `id` of an example, `layer` and `word`.

    Args:
        projections: Artefacts of the kind `projection`, as `tables.merge_artefacts` gives them.

    Returns:
        Beside those columns `share`, of the variance in the plane; `class` of the word; and its place, `x` and `y`.
    """
    names = ["id", "layers", "shares", "words", "classes", "places"]
    content = pd.DataFrame(projections["content"].tolist(), columns=names)
    table = projections[["notebook", "model"]].join(content).explode(["layers", "shares", "places"])
    table = table.explode(["words", "classes", "places"])
    table = table.assign(x=table["places"].str[0], y=table["places"].str[1]).drop(columns="places")
    return table.rename(columns={"layers": "layer", "shares": "share", "words": "word", "classes": "class"})


def shares(pairings: Sequence[Pairing]) -> pd.DataFrame:
    """Lay out the shares of the variance that planes hold: a row for each example and encoder, a column for each layer."""
    sides = [
        (name, side) for pairing in pairings for name, side in (("base", pairing.base), (pairing.model, pairing.tuned))
    ]
    return pd.DataFrame({(heading(side), name): side["shares"] for name, side in sides}).rename_axis("layer").T


def caption(pairing: Pairing) -> str:
    """Say what a figure of an example shows, and where its text is from."""
    base, tuned = (100 * side["shares"][-1] for side in (pairing.base, pairing.tuned))
    return (
        f"The words of “{heading(pairing.base)}” layer by layer, in the plane in which they vary most: above in the base, "
        f"below in one tuned on {short(pairing.task)}. In the last layer the two planes hold {base:.0f} % and {tuned:.0f} % of the "
        f"variance. Example {pairing.base['id']} of {source(pairing)}."
    )


def source(pairing: Pairing) -> str:
    """Name where the text of an example is from, with its licence; of a reader's own, the corpus."""
    corpus = pairing.base["corpus"]
    return corpora.credit(corpus) or corpus


def _traces(picture: Mapping[str, Any], name: str) -> Iterator[tuple[go.Scatter, list[dict]]]:
    """Give the traces of a panel, each with its x and y in every layer; the classes drawn on top come last."""
    planes, classes = [np.array(places).round(3) for places in picture["places"]], np.array(picture["classes"])
    words = np.array([html.escape(word) for word in picture["words"]], object)
    edges = [[word, head - 1] for word, head in enumerate(picture["heads"]) if head]
    if edges:
        look = {"mode": "lines", "line": {"color": INK, "width": 1}, "opacity": 0.5, "hoverinfo": "skip"}
        yield (
            go.Scatter(name="edge of the tree", legendgroup="edges", **look),
            [_lines(places, edges) for places in planes],
        )
    for rank, (kind, (colour, symbol)) in reversed(
        [*enumerate(CLASSES.items(), 1001)]
    ):  # behind the edges in the legend
        of_kind = classes == kind
        if of_kind.any():
            trace = go.Scatter(
                mode="markers" if kind == "context" else "markers+text", text=words[of_kind].tolist(), textposition="top center",
                textfont={"color": INK, "size": 12}, cliponaxis=False, name=kind, legendgroup=kind, legendrank=rank,
                marker={"color": colour, "symbol": symbol, "size": 8, "line": {"color": INK, "width": 1}},
                hovertemplate=f"%{{text}} ({kind})<extra>{html.escape(short(name))}</extra>",
            )  # fmt: skip
            yield trace, [dict(zip("xy", places[of_kind].T.tolist(), strict=True)) for places in planes]


def _lines(places: np.ndarray, edges: list[list[int]]) -> dict[str, list]:
    """Give edges between words as one line with gaps."""
    gaps = np.full((len(edges), 1, 2), None)
    return dict(zip("xy", np.concatenate([places[edges], gaps], axis=1).reshape(-1, 2).T.tolist(), strict=True))


def _slider(layers: Sequence[int]) -> dict:
    options = {"mode": "immediate", "frame": {"duration": _MOVE["duration"], "redraw": False}, "transition": _MOVE}
    return {
        "active": len(layers) - 1, "x": 0, "len": 1, "y": 1, "yanchor": "bottom", "pad": {"l": 10, "r": 10, "t": 0, "b": 34},
        "currentvalue": {"prefix": "layer ", "font": {"size": 14, "color": INK}}, "font": {"size": 12, "color": INK},
        "bgcolor": "#DDDDDD", "bordercolor": INK, "tickcolor": INK, "ticklen": 4,
        "steps": [{"label": str(n), "method": "animate", "args": [[str(n)], options]} for n in layers],
    }  # fmt: skip
