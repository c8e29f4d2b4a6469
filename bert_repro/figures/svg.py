"""A figure as a still picture in SVG: for the README, which shows no scripts, and for readers of the book whose browser runs none.

It draws what this package's figures are made of: lines, bands, markers with their intervals, words and grids. A figure with a
slider shows the layer at which it opens. Unlike plotly's own export it needs no browser.
"""

import html
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from bert_repro.figures.theme import ASIDE, INK

_WIDTH, _RIGHT, _BELOW, _ROW, _LETTER = 680, 14, 56, 20, 7  # pixels; the last two of a line in the legend and a letter
_DASHES = {"dot": "2 3", "dash": "8 5", "dashdot": "8 4 2 4", "longdash": "13 5"}
_SHAPES = {
    "diamond": "0,-1.3 1.3,0 0,1.3 -1.3,0",
    "square": "-1,-1 1,-1 1,1 -1,1",
    "triangle-up": "0,-1.2 1.2,1 -1.2,1",
}
_STROKES = {"x": "M-1-1L1 1M-1 1L1-1", "line-ns": "M0-1.4V1.4"}


class _Plain(dict):
    """A part of a figure, read as plotly's own objects are, which take a hundred times as long; None for what is not set."""

    _PARTS = ("title", "margin", "line", "marker", "error_x", "error_y", "coloraxis")

    def __getattr__(self, name: str) -> Any:
        value = self.get(name, {} if name in self._PARTS else () if name in ("shapes", "annotations") else None)
        if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            return [_Plain(item) for item in value]
        return _Plain(value) if isinstance(value, dict) else value


def still(figure: go.Figure | dict) -> str:
    """Draw a figure as an SVG element of a fixed width that scales with the page.

    Args:
        figure: Panels one below the other, of scatter traces and heat maps, with its height set: as this package draws.
            As plotly's object, or as a dictionary of numbers and lists.

    Raises:
        ValueError: A trace of another type.
    """
    picture = _Plain(figure if isinstance(figure, dict) else figure.to_dict())
    wrong = sorted({trace.type for trace in picture.data} - {"scatter", "heatmap"})
    if wrong:
        raise ValueError(f"no still picture is drawn of {', '.join(wrong)}: lines, markers, words and heat maps only")
    entries = [t for t in picture.data if t.type == "scatter" and t.showlegend is not False and t.name]
    legend, rows = _legend(sorted(entries, key=lambda trace: trace.legendrank or 1000))
    height, top = picture.layout.height, picture.layout.margin.t
    longest = max(
        (len(line) for axis in _axes(picture, "y") for name in axis.ticktext or () for line in _lines(name)), default=5
    )
    box = 28 + _LETTER * longest, top, _WIDTH - _RIGHT, height - _BELOW - _ROW * rows
    drawn = [_texts(_lines(picture.layout.title.text or ""), 4, 17, 15, "start", step=22)]
    for at, (across, up) in enumerate(zip(_axes(picture, "x"), _axes(picture, "y"), strict=True), 1):
        drawn.extend(_panel(picture, at, across, up, box))
    for note in picture.layout.annotations:
        y = box[1] + (1 - note.y) * (box[3] - box[1]) - 6
        drawn.append(_texts(_lines(note.text), box[0], y, 14, "start", "font-weight='bold'"))
    drawn.append(f"<g transform='translate(8,{height - _ROW * rows})'>{legend}</g>")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'style="width:100%;max-width:{_WIDTH}px" font-family="sans-serif" fill="{INK}">{"".join(drawn)}</svg>'
    )


def _axes(figure: _Plain, letter: str) -> list[Any]:
    axes = [axis for axis in figure.layout if re.fullmatch(rf"{letter}axis\d*", axis)]
    return [getattr(figure.layout, axis) for axis in sorted(axes, key=lambda name: int(name[5:] or 1))]


def _panel(figure: _Plain, at: int, across: Any, up: Any, box: tuple) -> Iterator[str]:
    """Draw a panel, the one with this number: frame, ticks, marks, and lines across it."""
    left, top, right, bottom = box
    low, high = up.domain or (0, 1)
    top, bottom = bottom - high * (bottom - top), bottom - low * (bottom - top)
    ends = {letter: _range(figure, letter, at) for letter in "xy"}
    to_x, to_y = _scale(ends["x"], left, right), _scale(ends["y"], bottom, top)
    yield f"<rect x='{left}' y='{top:.1f}' width='{right - left}' height='{bottom - top:.1f}' fill='{ASIDE}' fill-opacity='.06'/>"
    for value, name in _ticks(across, ends["x"]):
        yield _stroke(f"M{to_x(value):.1f} {top:.1f}V{bottom:.1f}", "#ddd") if across.showgrid is not False else ""
        yield _texts(_lines(name), to_x(value), bottom + 16, 13, "middle") if across.showticklabels is not False else ""
    for value, name in _ticks(up, ends["y"]):
        yield _stroke(f"M{left} {to_y(value):.1f}H{right}", "#ddd") if up.showgrid is not False else ""
        lines = _lines(name)
        high = to_y(value) + 4 - 7 * (len(lines) - 1)
        yield _texts(lines, left - 6, high, 13, "end") if up.showticklabels is not False else ""
    if across.title.text:
        yield _texts(_lines(across.title.text), (left + right) / 2, bottom + 38, 14, "middle")
    if up.title.text:
        middle = (top + bottom) / 2
        yield _texts(_lines(up.title.text), 12, middle, 14, "middle", f"transform='rotate(-90 12 {middle:.1f})'")
    for shape in figure.layout.shapes:  # lines at zero
        if shape.xref.split()[0] == _name("x", at) and "domain" in shape.xref:
            yield _stroke(f"M{left} {to_y(shape.y0):.1f}H{right}", INK)
        if shape.yref.split()[0] == _name("y", at) and "domain" in shape.yref:
            yield _stroke(f"M{to_x(shape.x0):.1f} {top:.1f}V{bottom:.1f}", INK)
    for trace in figure.data:
        if (trace.yaxis or "y") == _name("y", at):
            yield from _cells(figure, trace, to_x, to_y) if trace.type == "heatmap" else _marks(trace, to_x, to_y)


def _name(letter: str, at: int) -> str:
    return letter if at == 1 else f"{letter}{at}"


def _range(figure: _Plain, letter: str, at: int) -> tuple[float, float]:
    """Give an axis's ends: as set, or those of all data on it and on the axes that it matches, with room around."""
    axes = {_name(letter, n): axis for n, axis in enumerate(_axes(figure, letter), 1)}
    axis = axes[_name(letter, at)]
    if axis.range:
        return axis.range[0], axis.range[1]
    group = axis.matches or _name(letter, at)
    shared = {name for name, axis in axes.items() if group in (name, axis.matches)}
    values = [v for t in figure.data if (t.get(f"{letter}axis") or letter) in shared for v in _extent(t, letter)]
    low, high = min(values, default=0), max(values, default=1)
    room = 0.5 if figure.data[0].type == "heatmap" else (high - low or 1) * 0.06
    low = 0 - room if axis.rangemode == "tozero" else low - room
    return (high + room, low) if axis.autorange == "reversed" else (low, high + room)


def _extent(trace: Any, letter: str) -> Iterator[float]:
    values = [v for v in trace.get(letter) or () if _known(v)]
    yield from map(float, values)
    bars = getattr(trace, f"error_{letter}") if trace.type == "scatter" else None
    if bars is not None and bars.array is not None:
        for value, more, less in zip(trace[letter], bars.array, bars.arrayminus, strict=True):
            if _known(value) and _known(more) and _known(less):
                yield from (value - less, value + more)


def _known(value: Any) -> bool:
    return value is not None and not math.isnan(value)


def _scale(ends: tuple[float, float], start: float, end: float) -> Any:
    return lambda value: start + (value - ends[0]) / (ends[1] - ends[0]) * (end - start)


def _ticks(axis: Any, ends: tuple[float, float]) -> Iterable[tuple[float, str]]:
    if axis.visible is False:
        return []
    if axis.tickvals is not None:
        return list(zip(axis.tickvals, axis.ticktext, strict=True))
    low, high = sorted(ends)
    size = 10 ** math.floor(math.log10((high - low) / 4))
    step = axis.dtick or next(size * n for n in (1, 2, 5, 10) if (high - low) / (size * n) <= 6)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [(n * step, f"{n * step:.{places}f}".replace("-", "\u2212")) for n in numbers]


def _marks(trace: Any, to_x: Any, to_y: Any) -> Iterator[str]:
    """Draw a scatter trace: its band or its line, intervals, markers and words."""
    points = [
        (to_x(x), to_y(y)) if _known(x) and _known(y) else None
        for x, y in zip(trace.x or (), trace.y or (), strict=True)
    ]
    path = "".join(
        "" if point is None else f"{'L' if before else 'M'}{point[0]:.1f} {point[1]:.1f}"
        for before, point in zip([None, *points], points, strict=False)
    )
    mode, paint = trace.mode or "", trace.line.color or trace.marker.color or INK
    if trace.fill == "toself":
        yield f"<path d='{path}Z' fill='{trace.fillcolor}'/>"
    elif "lines" in mode:
        yield _stroke(path, paint, trace.line.width or 2, trace.line.dash, trace.opacity)
    for letter, turn in (("x", to_x), ("y", to_y)):
        bars = getattr(trace, f"error_{letter}")
        for n, point in enumerate(points if bars.array is not None else ()):
            if point and _known(bars.array[n]) and _known(bars.arrayminus[n]):
                value = trace[letter][n]
                ends = turn(value - bars.arrayminus[n]), turn(value + bars.array[n])
                line = (
                    f"M{ends[0]:.1f} {point[1]:.1f}H{ends[1]:.1f}"
                    if letter == "x"
                    else f"M{point[0]:.1f} {ends[0]:.1f}V{ends[1]:.1f}"
                )
                yield _stroke(line, paint, 1.5)
    if "markers" in mode:
        yield from (_marker(trace.marker, *point) for point in points if point)
    if "text" in mode:
        place = trace.textposition or "middle center"
        lift = {"top": -8, "bottom": 18}.get(place.split()[0], 4)
        anchor = {"left": "end", "right": "start"}.get(place.split()[-1], "middle")
        for point, text in zip(points, trace.text, strict=True):
            yield _texts(_lines(text), point[0], point[1] + lift, 12, anchor) if point and text else ""


def _marker(marker: Any, x: float, y: float) -> str:
    name = (marker.symbol or "circle").removesuffix("-open")
    paint, size = marker.color or INK, (marker.size or 6) / 2
    if name in _STROKES:
        return f"<path d='{_STROKES[name]}' transform='translate({x:.1f} {y:.1f}) scale({size})' stroke='{paint}' stroke-width='.5' fill='none'/>"
    look = f"fill='{paint}'" if name == marker.symbol or not marker.symbol else f"fill='none' stroke='{paint}'"
    if name == "circle":
        return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{size}' {look} stroke-width='1.3'/>"
    return f"<polygon points='{_SHAPES[name]}' transform='translate({x:.1f} {y:.1f}) scale({size})' {look} stroke-width='.4'/>"


def _cells(figure: _Plain, trace: Any, to_x: Any, to_y: Any) -> Iterator[str]:
    """Draw a heat map, with the number in each cell: a still picture has no pointer that asks for it."""
    scale = figure.layout.coloraxis
    width, height = abs(to_x(1) - to_x(0)) - 1, abs(to_y(1) - to_y(0)) - 1
    for y, row in zip(trace.y, trace.z, strict=True):
        for x, value in zip(trace.x, row, strict=True):
            if _known(value):
                at = min(max((value - scale.cmin) / (scale.cmax - scale.cmin), 0.0), 1.0)
                paint = sample_colorscale([list(step) for step in scale.colorscale], at)[0]  # it refuses tuples
                place = to_x(x) - width / 2, to_y(y) - height / 2
                yield f"<rect x='{place[0]:.1f}' y='{place[1]:.1f}' width='{width:.1f}' height='{height:.1f}' fill='{paint}'/>"
                if width > 4 * _LETTER:
                    ink = f"fill='{_ink(paint)}'"
                    yield _texts([f"{value:.2f}"], to_x(x), to_y(y) + 4, 11, "middle", ink)


def _ink(paint: str) -> str:
    """Give black or white, whichever stands out on a colour like `rgb(0, 114, 178)`."""
    red, green, blue = map(int, re.findall(r"\d+", paint))
    return "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"


def _legend(traces: list[Any]) -> tuple[str, int]:
    """Draw the legend's entries, line by line, and count its lines."""
    drawn, x, row = [], 0, 0
    for trace in traces:
        room = 44 + _LETTER * len(html.unescape(trace.name))
        if x and x + room > _WIDTH - 16:
            x, row = 0, row + 1
        y = _ROW * row + 10
        if "lines" in (trace.mode or ""):
            drawn.append(_stroke(f"M{x} {y}h26", trace.line.color or INK, trace.line.width or 2, trace.line.dash))
        if "markers" in (trace.mode or ""):
            drawn.append(_marker(trace.marker, x + 13, y))
        drawn.append(_texts(_lines(trace.name), x + 32, y + 4, 13, "start"))
        x += room
    return "".join(drawn), (row + 1) * bool(traces)


def _lines(text: Any) -> list[str]:
    """Split a text of plotly's into lines, each ready to stand in SVG: of plotly's marks only line breaks are kept."""
    plain = re.sub(r"</?b>", "", str(text))
    return [html.escape(html.unescape(line)) for line in plain.split("<br>")]


def _texts(lines: list[str], x: float, y: float, size: int, anchor: str, more: str = "", step: int = 14) -> str:
    return "".join(
        f"<text x='{x:.1f}' y='{y + step * n:.1f}' font-size='{size}' text-anchor='{anchor}' {more}>{line}</text>"
        for n, line in enumerate(lines) if line
    )  # fmt: skip


def _stroke(path: str, paint: str, width: float = 1, dash: str | None = None, opacity: float | None = None) -> str:
    dashes = f" stroke-dasharray='{_DASHES[dash]}'" if dash in _DASHES else ""
    faint = f" opacity='{opacity}'" if opacity else ""
    return f"<path d='{path}' stroke='{paint}' stroke-width='{width}' fill='none'{dashes}{faint}/>"
