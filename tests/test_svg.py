"""A still picture shows what the figure shows: every mark where its value is, every word as text."""

import math
import runpy
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_repro import figures
from bert_repro.figures.exhibits import as_page
from bert_repro.figures.svg import still
from bert_repro.files import ROOT
from bert_repro.results import tables

SVG = "{http://www.w3.org/2000/svg}"


def rows(values, **more):
    known = {"role": "score", "model": "nli-1", "task": "nli", "seed": 1, "metric": "uuas"} | more
    return tables.tidy(
        {**known, "layer": layer, "value": value, "ci_low": value - 0.02, "ci_high": value + 0.03, "n": 9}
        for layer, value in enumerate(values)
    )


def drawn(figure):
    return ET.fromstring(still(figure))


def marks(picture, tag="circle"):
    return [one for one in picture.iter(f"{SVG}{tag}") if one.get("cx") is None or float(one.get("cx")) > 40]


def words(picture):
    return ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]


def ruler(picture):
    """Read the scale of values off the labelled ticks: a height in pixels for each value."""
    found = {}
    for text in picture.iter(f"{SVG}text"):
        if text.get("text-anchor") == "end":
            found[float(text.text.replace("\u2212", "-"))] = float(text.get("y")) - 4
    values, heights = zip(*sorted(found.items()), strict=True)
    return lambda height: np.polyval(np.polyfit(heights, values, 1), height)


@pytest.mark.slow
@settings(deadline=None)  # of a busy machine
@given(st.lists(st.floats(-3, 3).map(lambda v: round(v, 3)), min_size=2, max_size=8, unique=True))
def test_every_point_lies_where_the_labelled_ticks_put_its_value(values):
    picture = drawn(figures.layer_curves(rows(values)))
    points = marks(picture)[: len(values)]
    assert len(points) == len(values)
    read = ruler(picture)([float(point.get("cy")) for point in points])
    assert np.abs(read - values).max() < 0.012 * (max(values) - min(values) + 0.05)
    steps = np.diff([float(point.get("cx")) for point in points])
    assert np.allclose(steps, steps[0], atol=0.2) and steps[0] > 0


def test_bands_are_drawn_and_panels_of_one_metric_share_their_scale():
    table = pd.concat([rows([0.2, 0.4], corpus="one"), rows([0.7, 0.9], corpus="two")], ignore_index=True)
    figure = figures.layer_curves(table, facet="corpus", title="A title", ylabel="UUAS")
    picture = drawn(figure)
    assert sum("Z" in path.get("d") for path in picture.iter(f"{SVG}path")) == 2
    assert {"A title", "one", "two", "UUAS", "NLI fine-tuned, seed 1"} <= set(words(picture))
    heights = [float(point.get("cy")) for point in marks(picture)]
    assert math.isclose(heights[0] - heights[1], heights[2] - heights[3], abs_tol=0.2)
    assert max(float(y) for y in heights) < figure.layout.height


def test_intervals_of_dots_end_where_they_end_and_categories_stand_beside_them():
    picture = drawn(figures.dots(rows([0.6]), "metric", xlabel="score"))
    (dot,) = marks(picture)[:1]
    bar = next(p.get("d") for p in picture.iter(f"{SVG}path") if "H" in p.get("d") and p.get("stroke-width") == "1.5")
    left, right = float(bar[1:].split()[0]), float(bar.split("H")[1])
    at = float(dot.get("cx"))
    assert math.isclose((at - left) / (right - at), 2 / 3, rel_tol=0.02)
    assert "UUAS" in words(picture) and "score" in words(picture)


def test_a_grid_has_its_numbers_in_its_cells_dark_on_light_and_light_on_dark():
    cells = [rows([0.1, 0.9]).assign(model="a", reference_model="b", reference_layer=n) for n in (0, 1)]
    picture = drawn(figures.layer_grid(pd.concat(cells, ignore_index=True)))
    inks = {text.text: text.get("fill") for text in picture.iter(f"{SVG}text") if text.get("fill")}
    assert inks == {"0.10": "#000", "0.90": "#fff"}
    assert sum((one.get("fill") or "").startswith("rgb") for one in picture.iter(f"{SVG}rect")) == 4


def test_a_missing_value_is_a_gap():
    figure = figures.layer_curves(rows([0.1, 0.2, 0.3, 0.4]))
    line = next(trace for trace in figure.data if trace.mode == "lines+markers")
    line.y = [0.1, None, 0.3, 0.4]
    paths = [path.get("d") for path in drawn(figure).iter(f"{SVG}path") if path.get("stroke") == figures.colour("nli")]
    assert max(path.count("M") for path in paths) == 2 and len(marks(drawn(figure))) == 3


def test_text_is_text():
    table = rows([0.1, 0.2]).assign(task="<script>alert(1)</script> & <b>bold</b>")
    picture = drawn(figures.layer_curves(table, title="a < b"))
    assert "a < b" in words(picture) and any("<script>alert(1)</script>" in word for word in words(picture))
    assert not list(picture.iter(f"{SVG}script")) and not list(picture.iter("script"))


def test_dashes_tell_seeds_apart():
    table = pd.concat([rows([0.1, 0.2]), rows([0.3, 0.4], model="nli-2", seed=2)], ignore_index=True)
    lines = [
        p for p in drawn(figures.layer_curves(table)).iter(f"{SVG}path") if p.get("stroke") == figures.colour("nli")
    ]
    assert {line.get("stroke-dasharray") for line in lines} == {None, "8 5"}


def test_what_this_package_does_not_draw_is_refused_and_a_readers_own_figure_has_no_still():
    with pytest.raises(ValueError, match="no still picture is drawn of bar"):
        still(go.Figure(go.Bar(y=[1])))
    assert "<noscript>" not in as_page(go.Figure(go.Bar(y=[1])).to_dict())[0]
    assert "<noscript><svg" in as_page(figures.layer_curves(rows([0.1, 0.2])).to_dict())[0]


@pytest.mark.slow
def test_the_picture_of_the_readme_is_what_its_rule_draws_from_the_published_tables():
    rule = runpy.run_path(str(ROOT / "book" / "headline.py"))
    assert rule["draw"](rule["PUBLISHED"], weights=False) == rule["PICTURE"].read_text(encoding="utf-8")
