"""A gallery draws and captions what was measured, and says of the rest that it was not, and why."""

import inspect

import pandas as pd
import pytest
from IPython.display import Markdown

from bert_repro import figures
from bert_repro.figures.exhibits import Exhibit
from bert_repro.figures.gallery import Picture
from bert_repro.results import tables

CAPTION = "What is seen."


def rows(layers=3, **more):
    about = {"role": "score", "model": "nli-1", "task": "nli", "seed": 1, "metric": "uuas", "n": 7, "units": 5}
    values = [{"layer": layer, "value": layer / 10, "ci_low": 0, "ci_high": 1} for layer in range(layers)]
    return tables.tidy([about | value | more for value in values])


@pytest.fixture
def show(tmp_path):
    return figures.Gallery(tmp_path, "nobody asked for it")


def test_a_figure_is_what_its_function_draws_with_caption_counts_and_data(show):
    made = show("one", CAPTION).layer_curves(rows(), title="A title", ylabel="edges")
    assert isinstance(made, Exhibit) and (made.name, made.caption) == ("one", CAPTION)
    assert made.figure == figures.layer_curves(rows(), title="A title", ylabel="edges")
    assert (
        f"{CAPTION} <small>n 7; 5 units resampled; trainings: 1 of NLI.</small>"
        in made._repr_mimebundle_()["text/html"]
    )
    assert made.rows["value"].tolist() == [0, 0.1, 0.2]
    made = show("one", CAPTION).dots(rows(), "layer", data=rows(2))
    assert made.figure == figures.dots(rows(), "layer") and made.rows["layer"].tolist() == [0, 1]


def test_every_function_that_draws_has_its_method():
    drawing = {
        name
        for name, function in inspect.getmembers(figures, inspect.isfunction)
        if inspect.get_annotations(function).get("return") is figures.dots.__annotations__["return"]
    }
    assert drawing == {name for name in vars(Picture) if name in drawing} and "layer_curves" in drawing


@pytest.mark.parametrize(
    ("given", "data"),
    [([rows()[:0]], None), ([rows(), rows()[:0]], None), ([{"a": "tree"}], rows()[:0]), ([rows()], rows()[:0])],
)
def test_where_a_table_has_no_rows_the_page_says_why_and_nothing_is_drawn(show, given, data):
    said = show("one", CAPTION).against(*given, facet="probe", data=data)
    assert isinstance(said, Markdown) and said.data == "*Not measured here: nobody asked for it.*"
    said = show("one", CAPTION, "it is too late").against(*given, facet="probe", data=data)
    assert said.data == "*Not measured here: it is too late.*"
    assert show("one", CAPTION, "").against(*given, facet="probe", data=data) is None


def test_a_figure_without_a_caption_is_refused(show):
    with pytest.raises(ValueError, match="the figure 'one' has no caption: say what is seen"):
        show("one", " ").layer_curves(rows())


def test_a_table_has_its_caption_and_is_shown_as_it_is_or_rounded_with_blanks_or_not_at_all(show):
    table = pd.DataFrame({"a": [0.12345, None], "b": ["x", "<y>"]})
    shown = show.table(table, CAPTION).data
    assert f'<p class="table-caption"><span class="table-number"></span>{CAPTION}</p>' in shown
    assert table.to_html() in shown and "0.12345" in shown and "NaN" in shown and "&lt;y&gt;" in shown
    rounded = show.table(table, CAPTION, 2).data
    assert "<td>0.12</td>" in rounded and "<td></td>" in rounded and "NaN" not in rounded
    assert show.table(table[:0], CAPTION, 2).data == "*Not measured here: nobody asked for it.*"
    assert show.table(table[:0], CAPTION, missing="") is None and show.nothing("").__class__ is type(None)


def test_names_in_a_table_are_spelt_as_in_figures_and_whole_numbers_have_no_point(show):
    table = pd.DataFrame({"uuas": [0.5, 0.25], "n": [70.0, 10.0]}, index=["nli-1", "ewt:dev"]).rename_axis("model")
    shown = show.table(table, CAPTION, 3).data
    for cell in ("<th>UUAS</th>", "<th>NLI seed 1</th>", "<th>ewt:dev</th>", "<td>0.500</td>", "<td>70</td>"):
        assert cell in shown, cell


def test_a_table_without_a_caption_is_refused(show):
    with pytest.raises(ValueError, match="a table has no caption: say what it holds"):
        show.table(rows(), " ")


def test_what_counts_as_equal_is_shaded_on_both_sides_of_zero():
    for figure, ends in (
        (figures.difference_curves(rows(), within=0.5), ("y0", "y1")),
        (figures.dots(rows(), "layer", zero=True, within=0.5), ("x0", "x1")),
    ):
        (shaded,) = [shape for shape in figure.layout.shapes if shape.type == "rect"]
        assert [shaded[end] for end in ends] == [-0.5, 0.5]
    assert not [s for s in figures.difference_curves(rows()).layout.shapes if s.type == "rect"]
