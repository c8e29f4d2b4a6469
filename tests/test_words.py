"""Words through layers: the slider moves both panels, in a browser too; a word of a corpus is shown, never run."""

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from bert_repro import corpora, figures
from bert_repro.figures import planes, words
from bert_repro.figures.exhibits import as_page

WORDS = ["The", "<b>dog</b>", "barks", "<script>window.ran = true</script>"]


def picture(seed=0, layers=(0, 1, 2), **more):
    places = np.random.default_rng(seed).normal(size=(len(layers), len(WORDS), 2))
    classes = ["function", "content", "content", "punctuation"]
    content = {"id": "s", "words": WORDS, "classes": classes, "heads": [2, 3, 0, 3], "layers": list(layers)}
    return content | {"places": list(places - places.mean(1, keepdims=True))} | more


def panels(figure):
    """Give the traces of each panel by name."""
    return [{trace.name: trace for trace in figure.data if trace.xaxis == axis} for axis in ("x", "x2")]


def test_words_lie_where_each_encoder_puts_them_and_open_at_the_last_layer():
    one, two = picture(0), picture(1)
    figure = figures.words_through_layers([one, two], ["base", "nli-1"])
    assert [note.text for note in figure.layout.annotations] == ["<b>base</b>", "<b>NLI seed 1</b>"]
    for drawn, given in zip(panels(figure), (one, two), strict=True):
        content = drawn["content"]
        assert np.stack([content.x, content.y], 1) == pytest.approx(given["places"][-1][1:3], abs=1e-3)
        edges = drawn["edge of the tree"]
        ends = given["places"][-1][[0, 1, 1, 2, 3, 2], 0]
        assert [x for x in edges.x if x is not None] == pytest.approx(ends, abs=1e-3)
        assert [n for n, x in enumerate(edges.x) if x is None] == [2, 5, 8]


def test_every_layer_has_a_frame_and_a_step_of_the_slider_that_move_all_traces():
    one, two = picture(0, (0, 3, 6)), picture(1, (0, 3, 6))
    figure = figures.words_through_layers([one, two], ["base", "nli-1"])
    (slider,) = figure.layout.sliders
    assert [step.args[0][0] for step in slider.steps] == ["0", "3", "6"] and slider.active == 2
    assert [frame.name for frame in figure.frames] == ["0", "3", "6"]
    content = [n for n, trace in enumerate(figure.data) if trace.name == "content"]
    for at, frame in enumerate(figure.frames):
        assert list(frame.traces) == list(range(len(figure.data)))
        for n, given in zip(content, (one, two), strict=True):
            assert list(frame.data[n].x) == pytest.approx(given["places"][at][1:3, 0], abs=1e-3)


def test_both_axes_have_one_scale_and_room_for_all_layers():
    one, two = picture(0), picture(1)
    figure = figures.words_through_layers([one, two], ["base", "nli-1"])
    assert (figure.layout.yaxis.scaleanchor, figure.layout.yaxis2.scaleanchor) == ("x", "x2")
    every = np.concatenate([*one["places"], *two["places"]])
    for axis, values in ((figure.layout.xaxis, every[:, 0]), (figure.layout.yaxis2, every[:, 1])):
        assert axis.range[0] < values.min() and axis.range[1] > values.max()


def test_words_of_a_corpus_are_text_wherever_they_stand():
    figure = figures.words_through_layers([picture()], ["base"])
    drawn = {trace.name: trace for trace in figure.data}
    assert list(drawn["content"].text) == ["&lt;b&gt;dog&lt;/b&gt;", "barks"]
    assert "<script" not in as_page(figure.to_dict())[0].split("<script>", 1)[1]
    assert figure.layout.title.text.startswith("The &lt;b&gt;dog&lt;/b&gt; barks")


def test_classes_are_told_apart_by_marker_and_colour_and_are_those_that_projections_give():
    looks = [{words.CLASSES[name] for name in some} for some in (
        ("content", "function", "punctuation", "other"), ("answer", "question", "context"), ("first", "second"),
    )]  # fmt: skip
    assert [len(some) for some in looks] == [4, 3, 2]
    assert {symbol for some in looks for _, symbol in some} >= {"circle", "diamond", "x"}
    assert set(planes._CLASS_OF.values()) <= set(words.CLASSES)


def test_a_question_is_the_heading_and_its_passage_speaks_under_the_pointer():
    asked = picture(words=["Who", "?", "Ann", "came"], classes=["question", "question", "answer", "context"], heads=[])
    figure = figures.words_through_layers([asked], ["base"])
    assert figure.layout.title.text == "Who?"
    assert {trace.name: trace.mode for trace in figure.data} == {
        "context": "markers", "question": "markers+text", "answer": "markers+text",
    }  # fmt: skip
    assert figure.data[0].name == "context" and figure.data[-1].name == "answer"  # which lies on top


def test_what_cannot_stand_side_by_side_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.words_through_layers([], [])
    for other in (picture(words=[*WORDS[:3], "?"]), picture(layers=(0, 1))):
        with pytest.raises(ValueError, match="nli-1 shows other words or layers than base: expected one example"):
            figures.words_through_layers([picture(), other], ["base", "nli-1"])


# ---- what stands beside the figures


def pairing(corpus, **more):
    base = picture(id="s-1", corpus=corpus, shares=[0.5, 0.25, 0.125])
    return planes.Pairing("nli", "nli-1", base, base | {"shares": [0.5, 0.25, 0.75]} | more)


def test_a_caption_says_which_example_and_how_much_of_the_variance_is_seen_and_whose_text_it_is():
    told = words.caption(pairing("mine"))
    assert told.startswith(f"The words of “{words.heading(pairing('mine').base)}” layer by layer, ")
    assert "below in one tuned on NLI." in told
    assert told.endswith("the two planes hold 12 % and 75 % of the variance. Example s-1 of mine.")
    assert words.source(pairing("ewt")) == corpora.credit("ewt") != "ewt"


def test_shares_have_a_row_for_each_encoder_and_a_column_for_each_layer():
    told = words.shares([pairing("mine")])
    text = words.heading(pairing("mine").base)
    assert told.index.tolist() == [(text, "base"), (text, "nli-1")] and told.columns.tolist() == [0, 1, 2]
    assert told.values.tolist() == [[0.5, 0.25, 0.125], [0.5, 0.25, 0.75]] and words.shares([]).empty


def test_every_word_is_listed_in_every_layer_where_it_is_drawn():
    content = pairing("mine").base
    told = words.listed(pd.DataFrame({"notebook": "hidden_states", "model": ["base"], "content": [content]}))
    assert len(told) == len(WORDS) * 3 and told["word"].tolist() == WORDS * 3
    assert told["layer"].tolist() == [layer for layer in range(3) for _ in WORDS]
    assert told[["x", "y"]].to_numpy(float) == pytest.approx(np.concatenate(content["places"]))
    assert told.columns.tolist() == ["notebook", "model", "id", "layer", "share", "word", "class", "x", "y"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 390])
def test_slider_and_arrow_keys_move_the_words_of_both_panels_in_a_browser(browser, tmp_path, width):
    layers = tuple(range(13))
    figure = figures.words_through_layers([picture(0, layers), picture(1, layers)], ["base", "nli-1"])
    file = tmp_path / "page.html"
    file.write_text(f"<script>{get_plotlyjs()}</script>{as_page(figure.to_dict())[0]}", encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 1000})
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(file.as_uri())
    drawn = page.locator(".bert-repro-figure")
    drawn.locator(".point").first.wait_for(state="attached")

    def settled(layer):
        """Wait until the words stand still, and say where."""
        drawn.get_by_text(f"layer {layer}", exact=True).wait_for()
        page.wait_for_timeout(900)
        return [
            [point.get_attribute("transform") for point in panel.locator(".point").all()]
            for panel in drawn.locator(".scatterlayer").all()
        ]

    last = settled(12)
    rail = drawn.locator(".slider-rail-touch-rect").bounding_box()
    page.mouse.click(rail["x"] + 2, rail["y"] + rail["height"] / 2)
    first = settled(0)
    drawn.focus()
    page.keyboard.press("ArrowLeft")  # there is nothing before the embeddings
    assert settled(0) == first
    page.keyboard.press("ArrowRight")
    second = settled(1)
    assert len(first) == 2 and all(len(panel) == len(WORDS) for panel in first)
    for panel in zip(first, second, last, strict=True):
        assert all(len(set(word)) == 3 for word in zip(*panel, strict=True)), "a word did not move"

    slider, box = drawn.locator(".slider-group").bounding_box(), drawn.bounding_box()
    assert box["x"] <= slider["x"] and slider["x"] + slider["width"] <= box["x"] + box["width"]
    labels = [label.bounding_box() for label in drawn.locator(".slider-labels text").all()]
    assert all(one["x"] + one["width"] <= two["x"] for one, two in zip(labels, labels[1:], strict=False))
    texts = [text.bounding_box() for text in drawn.locator(".gtitle, .annotation-text, .textpoint, .legendtext").all()]
    assert len(texts) == 1 + 2 + 2 * len(WORDS) + 4
    for text in texts:
        above, below = text["y"] + text["height"] <= slider["y"] + 1, text["y"] >= slider["y"] + slider["height"] - 1
        assert above or below, "a label covers the slider"
    assert "<b>dog</b>" in drawn.inner_text() and page.evaluate("window.ran") is None
    page.close()
    assert wrong == []
