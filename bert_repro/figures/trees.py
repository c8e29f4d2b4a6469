"""Trees of single sentences: what a probe decodes next to the treebank's tree.

A sentence of which nothing was decoded is an error.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from bert_repro.figures.theme import ASIDE, EMPTY, INK, finish, stacked

RIGHT, WRONG = "#0072B2", "#D55E00"  # distinguished by line as well as by colour
_ARCS, _PLANE = 190, 300  # pixels: a panel


def tree_arcs(tree: Mapping[str, Any], layers: Sequence[int], shown: Sequence[int], *, title: str = "") -> go.Figure:
    """Draw a sentence with the decoded edges of some layers, a panel each.

    Above the words the edges of the treebank: drawn through where the probe has them, dotted where it misses them. Below the
    words, dashed, edges that the probe has and the treebank has not.

    Args:
        tree: As `probes.scores.trees` gives it.
        layers: Numbers of its layers.
        shown: Which of them, by place.
        title: Heading of the figure.

    Raises:
        ValueError: No layer is shown.
    """
    if not len(shown):
        raise ValueError(EMPTY)
    gold = _gold(tree)
    names = [f"layer {layers[n]}: {len(gold & _edges(tree, n))} of {len(gold)} edges" for n in shown]
    figure = stacked([_ARCS] * len(shown), names)
    words = list(tree["words"])
    for row, n in enumerate(shown, 1):
        decoded = _edges(tree, n)
        kinds = [("right", gold & decoded, RIGHT, "solid", 1), ("missed", gold - decoded, ASIDE, "dot", 1), ("wrong", decoded - gold, WRONG, "dash", -1)]  # fmt: skip
        for name, edges, colour, dash, side in kinds:
            x, y = _arches(sorted(edges), side)
            figure.add_scatter(
                x=x, y=y, mode="lines", line={"color": colour, "dash": dash, "width": 2}, name=name, legendgroup=name,
                showlegend=row == 1, hoverinfo="skip", row=row, col=1,
            )  # fmt: skip
        figure.add_scatter(
            x=list(range(len(words))), y=[0] * len(words), mode="text", text=words, textfont={"color": INK, "size": 13},
            showlegend=False, hoverinfo="skip", row=row, col=1,
        )  # fmt: skip
    reach = max((j - i for i, j in gold.union(*(_edges(tree, n) for n in shown))), default=1)
    figure.update_xaxes(visible=False, range=[-0.6, len(words) - 0.4])
    figure.update_yaxes(visible=False, range=[-reach / 2 - 1.5, reach / 2 + 1.5])
    return finish(figure, _ARCS * len(shown), title)


def tree_plane(tree: Mapping[str, Any], layers: Sequence[int], shown: Sequence[int]) -> go.Figure:
    """Draw the words of a sentence where a probe puts them, with the treebank's edges drawn in; a panel a layer.

    Edges that the probe decodes are drawn through, the others dotted. The plane is that in which the projected words vary most.

    Args:
        tree: As `probes.scores.trees` gives it.
        layers: Numbers of its layers.
        shown: Which of them, by place.

    Raises:
        ValueError: No layer is shown.
    """
    if not len(shown):
        raise ValueError(EMPTY)
    gold = _gold(tree)
    kept = np.flatnonzero(~np.array(tree["punctuation"]))
    figure = stacked([_PLANE] * len(shown), [f"layer {layers[n]}" for n in shown])
    for row, n in enumerate(shown, 1):
        places, decoded = np.array(tree["places"][n]), _edges(tree, n)
        for name, edges, colour, dash in (
            ("decoded", gold & decoded, RIGHT, "solid"),
            ("missed", gold - decoded, ASIDE, "dot"),
        ):
            x, y = (
                [v for edge in sorted(edges) for v in (*places[list(edge), axis].tolist(), None)] for axis in (0, 1)
            )
            figure.add_scatter(
                x=x, y=y, mode="lines", line={"color": colour, "dash": dash, "width": 1.5}, name=name, legendgroup=name,
                showlegend=row == 1, hoverinfo="skip", row=row, col=1,
            )  # fmt: skip
        figure.add_scatter(
            x=places[kept, 0].tolist(), y=places[kept, 1].tolist(), mode="markers+text", text=[tree["words"][k] for k in kept],
            textposition="top center", textfont={"color": INK, "size": 12}, marker={"color": INK, "size": 6},
            showlegend=False, hoverinfo="text", row=row, col=1,
        )  # fmt: skip
    figure.update_xaxes(showticklabels=False, title_text="")
    figure.update_yaxes(showticklabels=False, title_text="")
    return finish(figure, _PLANE * len(shown), "")


def _gold(tree: Mapping[str, Any]) -> set[tuple[int, int]]:
    """Give the edges of the treebank between words that are no punctuation."""
    aside = tree["punctuation"]
    edges = {(min(i, head - 1), max(i, head - 1)) for i, head in enumerate(tree["heads"]) if head}
    return {(i, j) for i, j in edges if not aside[i] and not aside[j]}


def _edges(tree: Mapping[str, Any], n: int) -> set[tuple[int, int]]:
    return {(i, j) for i, j in tree["edges"][n]}


def _arches(edges: Sequence[tuple[int, int]], side: int) -> tuple[list, list]:
    """Give half ellipses over (or under) the words, as one line with gaps."""
    turn = np.linspace(0, np.pi, 25)
    x: list = []
    y: list = []
    for i, j in edges:
        x += [*((i + j) / 2 - (j - i) / 2 * np.cos(turn)).round(3).tolist(), None]
        y += [*(side * (0.7 + (j - i) / 2 * np.sin(turn))).round(3).tolist(), None]
    return x, y
