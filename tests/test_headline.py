"""The README's picture is drawn by a rule, from the published tables."""

import json
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def rule():
    return runpy.run_path(str(ROOT / "book" / "headline.py"))


def test_the_picture_of_the_readme_shows_the_published_tables(rule):
    first = rule["PICTURE"].read_text(encoding="utf-8").splitlines()[0]
    shown = json.loads(first.removeprefix("<!-- ").removesuffix(" -->"))
    today = rule["curves"](rule["draw"](rule["PUBLISHED"], weights=False))
    assert [name for name, _ in shown] == [name for name, _ in today] and len(today) > 4
    for (_, before), (_, after) in zip(shown, today, strict=True):
        assert before == pytest.approx(after, abs=0.0011)  # the last of three decimals


@pytest.mark.slow
def test_the_rule_draws_every_panel_and_curve(rule, browser):
    figure = rule["draw"](rule["PUBLISHED"], weights=False)
    root = ElementTree.fromstring(rule["still"](figure, browser))
    curves = [path for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("class") == "js-line"]
    assert len(curves) >= len(rule["curves"](figure))
    said = "".join(root.itertext())
    assert all(annotation.text[3:-4] in said for annotation in figure.layout.annotations)
