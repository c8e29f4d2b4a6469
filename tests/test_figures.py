"""Figures show what the table says, look the same for the same model everywhere, and fit a phone."""

import functools
import itertools
import json
import math

import numpy as np
import pandas as pd
import plotly.io as pio
import pytest

from bert_repro import figures
from bert_repro.figures import theme
from bert_repro.finetune.tasks import TASKS
from bert_repro.results import tables

MODELS = [
    ("base", None, None),
    ("nli-1", "nli", 1),
    ("nli-2", "nli", 2),
    ("parsing-1", "parsing", 1),
    ("squad-1", "squad", 1),
]


def rows(metric="uuas", corpus="sample"):
    """Curves over seven layers, an untrained control, and a baseline that has no layer."""
    for shift, (model, task, seed) in enumerate([*MODELS, ("untrained", None, None)]):
        role = "control" if model == "untrained" else "score"
        known = {"role": role, "model": model, "task": task, "seed": seed, "metric": metric, "corpus": corpus, "n": 150}
        for layer in range(7):
            value = 0.5 + 0.2 * math.sin(layer) + shift / 100
            yield {**known, "layer": layer, "value": value, "ci_low": value - 0.02, "ci_high": value + 0.03}
        yield {**known, "role": "baseline", "method": "linear chain", "value": 0.43}


@pytest.fixture
def table():
    return tables.tidy(rows())


def curves(figure):
    return {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}


def bands(figure):
    return {trace.name.removesuffix(", 95 % interval"): trace for trace in figure.data if trace.fill == "toself"}


@pytest.mark.parametrize("draw", [figures.layer_curves, figures.difference_curves])
def test_a_curve_is_the_table_and_its_band_is_the_interval(draw, table):
    shuffled = table.sample(frac=1, random_state=0)
    figure = draw(shuffled)
    assert len(curves(figure)) == len(bands(figure)) == len(MODELS) + 1
    mine = table[(table["model"] == "nli-2") & table["layer"].notna()]
    curve, band = curves(figure)["NLI fine-tuned, seed 2"], bands(figure)["NLI fine-tuned, seed 2"]
    assert list(curve.x) == list(range(7)) and list(curve.y) == mine["value"].tolist()
    assert list(band.x) == [*range(7), *reversed(range(7))]
    assert list(band.y) == mine["ci_high"].tolist() + mine["ci_low"].tolist()[::-1]
    assert [list(c) for c in curve.customdata] == mine[["ci_low", "ci_high", "n"]].values.tolist()


def test_rows_without_an_interval_have_no_band(table):
    figure = figures.layer_curves(table.assign(ci_low=pd.NA, ci_high=pd.NA))
    assert not bands(figure) and len(curves(figure)) == len(MODELS) + 1


def test_a_row_without_a_layer_is_one_dotted_level_with_its_name(table):
    levels = [trace for trace in figures.layer_curves(table).data if trace.mode == "lines+text"]
    assert [(t.name, list(t.x), list(t.y), t.line.dash) for t in levels] == [
        ("linear chain", [0, 6], [0.43, 0.43], "dot")
    ]
    apart = figures.layer_curves(table[table["layer"].notna()], reference=table[table["layer"].isna()])
    assert apart == figures.layer_curves(table)


def test_what_is_faint_has_its_colour_no_band_and_no_entry_in_the_legend(table):
    seeds = table[table["task"].eq("nli") & table["layer"].notna()]
    figure = figures.layer_curves(table, faint=table[table["task"].eq("nli")])
    thin = [trace for trace in figure.data if trace.mode == "lines" and trace.fill is None]
    assert [list(t.y) for t in thin] == [group["value"].tolist() for _, group in seeds.groupby("model")]
    assert {t.line.color for t in thin} == {f"rgba(0,114,178,{0.35})"} and not any(t.showlegend for t in thin)
    assert curves(figure) == curves(figures.layer_curves(table)) and bands(figure) == bands(figures.layer_curves(table))


def test_panels_keep_the_order_of_the_table_though_means_come_last(table):
    placed = table[table["layer"].notna()]
    placed = placed.assign(replicates=[np.full(20, value) for value in placed["value"]])
    tuned_alone = placed[placed["task"].notna()].assign(metric="rsa")
    figure = figures.task_curves(pd.concat([tuned_alone, placed]), facet="metric")
    assert [note.text for note in figure.layout.annotations] == ["<b>RSA</b>", "<b>UUAS</b>"]


def test_the_curve_of_a_task_is_the_mean_of_its_trainings_and_all_else_is_drawn_as_it_is(table):
    placed = table[table["layer"].notna()]
    placed = placed.assign(replicates=[np.full(20, value) for value in placed["value"]])
    figure = figures.task_curves(placed, title="one curve per task")
    drawn = curves(figure)
    assert set(drawn) == {
        "base",
        "untrained",
        "NLI fine-tuned",
        "parsing fine-tuned, seed 1",
        "SQuAD fine-tuned, seed 1",
    }
    of_nli = placed[placed["task"].eq("nli")].groupby("layer")["value"].mean()
    assert list(drawn["NLI fine-tuned"].y) == pytest.approx(of_nli.tolist())
    assert sum(trace.mode == "lines" and trace.fill is None for trace in figure.data) == 4  # the four trainings


def test_a_second_base_is_a_base_and_a_scale(table):
    base = table[(table["model"] == "base") & table["layer"].notna()]
    second = base.assign(model="base-2", role="floor")
    drawn = curves(figures.layer_curves(pd.concat([base, second])))
    assert drawn["second base"].line.color == drawn["base"].line.color == figures.colour("base")
    assert (drawn["second base"].line.dash, drawn["base"].line.dash) == ("dot", "solid")
    assert "second base and base" in curves(figures.layer_curves(second.assign(reference_model="base")))


def test_a_kind_of_model_has_one_colour_and_a_seed_its_own_dash(table):
    similarity = tables.tidy(
        {"role": "score", "model": "mnli-2", "task": "mnli", "seed": 2, "reference_model": "base", "layer": k,
         "metric": "rsa", "value": 1 - k / 10} for k in range(7)
    )  # fmt: skip
    drawn = curves(figures.layer_curves(table)) | curves(figures.layer_curves(similarity))
    same = [drawn[name] for name in ("NLI fine-tuned, seed 1", "NLI fine-tuned, seed 2", "MNLI fine-tuned, seed 2")]
    assert {trace.line.color for trace in same} == {figures.colour("nli")}
    assert same[0].line.dash != same[1].line.dash and same[0].marker.symbol != same[1].marker.symbol
    assert (
        len(
            {
                drawn[n].line.color
                for n in ("base", "untrained", "parsing fine-tuned, seed 1", "SQuAD fine-tuned, seed 1")
            }
        )
        == 4
    )
    assert drawn["untrained"].line.dash == "dot"
    assert (
        figures.colour("a new task")
        == figures.colour("a new task")
        not in {figures.colour(name) for name in ("base", "untrained", *TASKS)}
    )
    ranks = [f"rank {rank}" for rank in (4, 16, 128)]
    assert len({figures.colour(one, [*ranks, "base", "mnli"]) for one in ranks}) == 3
    assert figures.colour("mnli", ranks) == figures.colour("nli")


def test_a_floor_says_which_two_it_compares():
    floor = tables.tidy(
        {"role": "floor", "model": "nli-2", "task": "nli", "seed": 2, "reference_model": "nli-1", "layer": k,
         "metric": "rsa", "value": 0.9} for k in range(3)
    )  # fmt: skip
    assert set(curves(figures.layer_curves(floor))) == {"NLI seed 2 and NLI seed 1"}


@pytest.mark.slow
def test_panels_share_layers_and_the_range_of_a_metric():
    both = tables.tidy([*rows(corpus="ewt"), *rows(corpus="gum")])
    figure = figures.layer_curves(both, facet="corpus")
    assert figure.layout.yaxis2.matches == "y" and figure.layout.xaxis.matches == "x2"
    assert [note.text for note in figure.layout.annotations] == ["<b>ewt</b>", "<b>gum</b>"]
    entries = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert len(entries) == len(set(entries)) == len(MODELS) + 1
    figure = figures.layer_curves(tables.tidy([*rows("uuas"), *rows("dspr")]), facet="metric")
    assert figure.layout.yaxis2.matches is None


def test_the_legend_lies_below_and_the_width_is_the_page_s(table):
    figure = figures.layer_curves(table, title="a heading that is rather longer than the width of a phone")
    legend = pio.templates["bert_repro"].layout.legend
    assert (legend.orientation, legend.yref, legend.y, legend.yanchor) == ("h", "container", 0, "bottom")
    assert figure.layout.width is None and figure.layout.autosize and figure.layout.height > 300
    assert "<br>" in figure.layout.title.text
    assert figure.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"


def test_differences_have_a_line_at_zero_and_layers_are_whole_numbers(table):
    figure = figures.difference_curves(table[table["layer"].notna()])
    assert [(shape.y0, shape.y1) for shape in figure.layout.shapes] == [(0, 0)]
    assert figure.layout.xaxis.dtick == 1 and figure.layout.xaxis.title.text == "layer (0 = embeddings)"


def test_an_empty_table_is_refused_with_what_to_run(table):
    by_metric = functools.partial(figures.dots, by="metric")
    for draw in (figures.layer_curves, figures.difference_curves, figures.learning_curves, by_metric):
        with pytest.raises(ValueError, match="make report"):
            draw(table[:0])
    with pytest.raises(ValueError, match="names its layer"):
        figures.layer_curves(table[table["layer"].isna()])


def test_two_values_at_one_layer_are_refused_and_the_difference_named():
    with pytest.raises(ValueError, match=r"2 values at layer 0 for 'base'.*\['corpus'\]"):
        figures.layer_curves(tables.tidy([*rows(corpus="ewt"), *rows(corpus="gum")]))


def test_learning_curves():
    frame = pd.DataFrame(
        {"model": ["nli-1"] * 3, "task": "nli", "seed": 1, "updates": [0, 20, 10], "loss": [1.1, 0.3, 0.6]}
    )
    (trace,) = figures.learning_curves(frame).data
    assert (trace.name, list(trace.x), list(trace.y)) == ("NLI fine-tuned, seed 1", [0, 10, 20], [1.1, 0.6, 0.3])
    assert trace.line.color == figures.colour("nli")
    with pytest.raises(ValueError, match="score"):
        figures.learning_curves(frame, y="score")
    with pytest.raises(ValueError, match="3 values after 10 updates for 'NLI fine-tuned, seed 1'"):
        figures.learning_curves(pd.concat([frame, frame[1:].assign(updates=10)]))


def on_line(**columns):
    """Make a line of three points of two models, and a row that is of none."""
    for model, task, at in itertools.product(
        ("nli-1", "squad-1"), ("",), ("0 of the way", "0.5 of the way", "1 of the way")
    ):
        value = float(at.split()[0]) + (model == "squad-1")
        yield {"role": "score", "model": model, "task": model[:-2] + task, "seed": 1, "layers_changed": at, "metric": "task_loss", "value": value,
               "ci_low": value - 0.1, "ci_high": value + 0.1, "n": 9} | columns  # fmt: skip
    yield {"role": "score", "model": "nli-1", "metric": "task_loss", "value": 5.0, "layers_changed": "all"}


def test_a_line_is_drawn_by_the_share_of_the_way():
    figure = figures.line_curves(tables.tidy([*on_line(), *on_line(metric="uuas")]), facet="metric")
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [trace.name for trace in lines] == ["NLI fine-tuned, seed 1", "SQuAD fine-tuned, seed 1"] * 2
    assert all(list(trace.x) == [0, 0.5, 1] for trace in lines) and list(lines[1].y) == [1, 1.5, 2]
    assert list(bands(figure)["NLI fine-tuned, seed 1"].y) == pytest.approx([0.1, 0.6, 1.1, 0.9, 0.4, -0.1])
    assert "%{x} of the way: " in lines[0].hovertemplate
    assert figure.layout.xaxis2.title.text == "share of the way from the base to the tuned encoder"
    assert figure.layout.yaxis.title.text is None and [note.text for note in figure.layout.annotations] == [
        "<b>nats</b>",
        "<b>UUAS</b>",
    ]
    with pytest.raises(ValueError, match="2 values at 0.5 of the way for 'NLI fine-tuned, seed 1'"):
        figures.line_curves(tables.tidy([*on_line(), *on_line(corpus="other")]).iloc[[0, 1, 2, 8]])
    with pytest.raises(ValueError, match="^nothing to draw, the table has no rows"):
        figures.line_curves(tables.tidy(on_line()).iloc[-1:])


def test_learning_curves_of_several_tasks_have_ranges_of_their_own():
    frame = pd.DataFrame({"model": ["nli-1", "squad-1"], "task": ["nli", "squad"], "updates": 10, "loss": [1.1, 5.0]})
    figure = figures.learning_curves(frame, facet="task")
    assert [note.text for note in figure.layout.annotations] == ["<b>NLI</b>", "<b>SQuAD</b>"]
    assert figure.layout.yaxis2.matches is None
    assert [axis.title.text for axis in (figure.layout.yaxis, figure.layout.yaxis2)] == ["loss", "loss"]


def scored(metric, *values, task="nli", **more):
    """A row a seed; the last may be given another role or no seed."""
    for seed, value in enumerate(values, start=1):
        yield {"role": "score", "model": f"{task}-{seed}", "task": task, "seed": seed, "metric": metric, "value": value,
               "ci_low": value - 0.02, "ci_high": value + 0.03, "n": 100, "corpus": task, **more}  # fmt: skip


def drawn_dots(figure):
    """Dots by axis and name; what only fills the legend is left out."""
    return {(trace.yaxis or "y", trace.name): trace for trace in figure.data if trace.x[0] is not None}


def test_dots_are_the_table_with_its_intervals_one_category_below_the_other():
    table = tables.tidy([*scored("accuracy", 0.7, 0.8), *scored("f1", 0.5, 0.6)])
    first, second = drawn_dots(figures.dots(table, "metric")).values()
    assert (first.name, list(first.x)) == ("seed 1", [0.7, 0.5]) and list(second.x) == [0.8, 0.6]
    assert list(first.error_x.array) == pytest.approx([0.03] * 2)
    assert list(first.error_x.arrayminus) == pytest.approx([0.02] * 2)
    assert list(first.customdata[1]) == pytest.approx([0.48, 0.53, 100])
    figure = figures.dots(table, "metric")
    assert list(figure.layout.yaxis.ticktext) == ["accuracy", "F1"]
    bottom, top = figure.layout.yaxis.range
    assert bottom > first.y[1] > 0.5 > second.y[0] > first.y[0] > top, "dots of a category overlap, or leave it"


def test_one_dot_alone_is_drawn():
    (dot,) = drawn_dots(figures.dots(tables.tidy(scored("accuracy", 0.7)), "metric", facet="task")).values()
    assert list(dot.x) == [0.7]


def test_a_mean_and_another_model_are_told_from_seeds_by_their_look():
    mean = list(scored("accuracy", 0.75, seed=None))
    other = tables.tidy(
        [{"role": "baseline", "metric": "accuracy", "value": 0.9, "method": "BERT base", "corpus": "nli"}]
    )
    figure = figures.dots(
        tables.tidy([*scored("accuracy", 0.7, 0.8), *mean]), "metric", facet="corpus", reference=other
    )
    dots = {name: trace for (_, name), trace in drawn_dots(figure).items()}
    assert list(dots) == ["seed 1", "seed 2", "mean over seeds", "BERT base"]
    assert {dots[name].marker.color for name in list(dots)[:3]} == {figures.colour("nli")}
    assert dots["BERT base"].marker.color == figures.colour("untrained")
    assert len({trace.marker.symbol for trace in dots.values()}) == 4
    assert dots["mean over seeds"].marker.size > dots["seed 1"].marker.size
    assert sorted(trace.name for trace in figure.data if trace.showlegend is not False) == sorted(dots)


def test_dots_of_two_sets_are_told_apart_by_colour_and_marker():
    both = [
        one.assign(set=name)
        for name, one in ((n, tables.tidy(scored("accuracy", 0.7, 0.8))) for n in ("<minilm>", "yours"))
    ]
    figure = figures.dots(pd.concat(both, ignore_index=True), "metric", each="set")
    first, second = drawn_dots(figure).values()
    assert (first.name, second.name) == ("&lt;minilm&gt;", "yours") and list(first.x) == list(second.x) == [0.7, 0.8]
    assert first.marker.color != second.marker.color and first.marker.symbol != second.marker.symbol
    legend = {trace.name: trace.marker for trace in figure.data if trace.showlegend is not False}
    assert legend == {"&lt;minilm&gt;": first.marker, "yours": second.marker}
    bare = pd.concat(both, ignore_index=True)[["set", "metric", "value", "ci_low", "ci_high", "n"]]  # as verdicts are
    assert drawn_dots(figures.dots(bare, "metric", each="set")).keys() == drawn_dots(figure).keys()


@pytest.mark.parametrize("zero", [False, True])
def test_dots_have_panels_and_only_differences_a_common_range_with_a_line_at_zero(zero):
    table = tables.tidy([*scored("accuracy", 0.7), *scored("f1", 0.5, 0.6, 0.7, task="squad")])
    figure = figures.dots(table, "metric", facet="task", zero=zero)
    axes = figure.layout
    assert {axis for axis, _ in drawn_dots(figure)} == {"y", "y2"}
    assert (axes.xaxis.matches == "x2", len(axes.shapes)) == ((True, 2) if zero else (False, 0))
    assert axes.xaxis.showticklabels is True
    tall = [axis.domain[1] - axis.domain[0] for axis in (axes.yaxis, axes.yaxis2)]
    assert tall[1] > tall[0], "three dots need more room than one"


def test_a_notebook_stores_equal_output_each_time_and_no_markup_of_a_name():
    table = tables.tidy(
        {**row, "model": "</script><script>alert(1)</script>"} for row in rows() if row.get("model") == "base"
    )
    outputs = [pio.renderers["bert_repro"].to_mimebundle(figures.layer_curves(table).to_dict()) for _ in range(2)]
    assert outputs[0] == outputs[1]
    assert outputs[0]["text/html"].count("<script") == 1
    shown = outputs[0]["application/vnd.plotly.v1+json"]
    assert shown == json.loads(json.dumps(shown)) and shown["config"]["responsive"]
    assert pio.renderers.default == "bert_repro" and pio.templates.default == "bert_repro"


# ---- grids


def grid_rows(**more):
    layers = [(0, 0), (0, 1), (1, 1)]
    within = [
        {"model": m, "reference_model": m, "reference_layer": a, "layer": b}
        for m in ("base", "nli-1")
        for a, b in layers
    ]
    between = [
        {"model": "nli-1", "reference_model": "base", "reference_layer": a, "layer": b}
        for a, b in itertools.product((0, 1), (0, 1))
    ]
    rows = [row | {"value": 1 - 0.3 * n / 10, "ci_low": 0.1, "ci_high": 0.9} for n, row in enumerate(within + between)]
    return tables.tidy(rows, role="score", method="rsa", metric="similarity across layers", **more)


def test_a_grid_has_a_panel_a_pair_of_models_and_is_filled_in_by_symmetry():
    figure = figures.layer_grid(grid_rows(), title="Grid")
    assert [trace.type for trace in figure.data] == ["heatmap"] * 3
    first, _, last = figure.data
    assert first.z[0][1] == first.z[1][0] == pytest.approx(0.97) and last.z[0][1] != last.z[1][0]
    assert last.z[1][0] == pytest.approx(1 - 0.3 * 7 / 10)  # down the later model's layer, across the earlier one's
    assert list(last.x) == list(last.y) == [0, 1] and tuple(last.customdata[0][0]) == (0.1, 0.9)
    assert [note.text for note in figure.layout.annotations][-1] == "<b>NLI seed 1 (down) and base (across)</b>"
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)


def test_a_grid_refuses_nothing_and_two_values_for_a_cell():
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.layer_grid(grid_rows()[:0])
    with pytest.raises(ValueError, match=r"several values for the layers 0 and 0: filter the table"):
        figures.layer_grid(pd.concat([grid_rows(), grid_rows()]))


def test_a_floor_with_a_class_of_rows_is_called_by_it():
    found = {
        "value": 0.1,
        "layer": 0,
        "role": "floor",
        "model": "nli-1",
        "rows": "shuffled words",
        "metric": "similarity",
    }
    assert figures.label(tables.tidy([found]).iloc[0]) == "shuffled words"


def test_many_panels_with_one_dot_each_have_room_for_it():
    of_measures = [row | {"method": f"measure {n}"} for n in range(8) for row in scored("accuracy", 0.1 * n)]
    figure = figures.dots(tables.tidy(of_measures), "metric", facet="method")
    domains = [getattr(figure.layout, f"yaxis{n or ''}").domain for n in [0, *range(2, 9)]]
    inner = figure.layout.height - figure.layout.margin.t - 100
    assert all((high - low) * inner > 40 for low, high in domains)


def test_dots_of_several_tasks_in_a_panel_have_their_colours_and_one_legend():
    found = [{"value": 0.1 * n, "ci_low": 0.0, "ci_high": 1.0, "task": task, "model": f"{task}-1", "seed": 1}
             for n, task in enumerate(("nli", "parsing", "squad"))]  # fmt: skip
    figure = figures.dots(tables.tidy(found, role="score", metric="change"), "task")
    assert [trace.marker.color for trace in figure.data[:3]] == [figures.colour(one["task"]) for one in found]
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == ["seed 1"]
    mixed = figures.dots(
        tables.tidy(found, role="score", metric="change", corpus="wiki"), "corpus"
    )  # all in one category
    entries = {trace.name: trace.marker.color for trace in mixed.data if trace.showlegend is not False}
    assert entries == {figures.short(one["task"]): figures.colour(one["task"]) for one in found}


def test_floors_named_by_their_words_are_lines_of_their_own_in_grey():
    found = [{"value": 0.1, "layer": 0, "rows": rows, "role": "floor" if rows else "score"}
             for rows in (None, "second sample", "shuffled words")]  # fmt: skip
    drawn = curves(figures.layer_curves(tables.tidy(found, model="nli-1", task="nli", seed=1, metric="similarity")))
    assert {name: line.line.color for name, line in drawn.items()} == {
        "NLI fine-tuned, seed 1": figures.colour("nli"),
        "second sample": "#7F7F7F",
        "shuffled words": "#7F7F7F",
    }
    assert len({line.marker.symbol for line in drawn.values()}) == 3


TREE = {
    "id": "s", "words": ["The", "dog", "barks", "!"], "heads": [2, 3, 0, 3], "punctuation": [False, False, False, True],
    "edges": [[[0, 1], [0, 2]], [[0, 1], [1, 2]]], "places": [[[0, 0], [1, 0], [1, 1], [5, 5]], [[0, 0], [1, 0], [2, 0], [5, 5]]],
}  # fmt: skip


def test_arcs_say_which_edges_are_right_missed_and_wrong():
    figure = figures.tree_arcs(TREE, [0, 6], [0, 1])
    assert [note.text for note in figure.layout.annotations] == [
        "<b>layer 0: 1 of 2 edges</b>",
        "<b>layer 6: 2 of 2 edges</b>",
    ]
    ends = {}
    for n, trace in enumerate(figure.data):
        if trace.mode == "lines":
            ends[n // 4, trace.name] = (
                sorted(x for x in trace.x if x is not None),
                [y for y in trace.y if y is not None],
            )
    assert ends[0, "right"][0][::24] == [0, 1] and min(ends[0, "right"][1]) > 0  # The-dog, above the words
    assert ends[0, "missed"][0][::24] == [1, 2] and min(ends[0, "missed"][1]) > 0  # dog-barks
    assert ends[0, "wrong"][0][::24] == [0, 2] and max(ends[0, "wrong"][1]) < 0  # The-barks, below
    assert ends[1, "missed"] == ends[1, "wrong"] == ([], [])
    assert {trace.line.dash for trace in figure.data if trace.mode == "lines"} == {"solid", "dot", "dash"}
    assert list(figure.data[3].text) == TREE["words"]


def test_a_plane_has_the_words_and_the_edges_of_the_treebank():
    figure = figures.tree_plane(TREE, [0, 6], [1])
    decoded, missed, words = figure.data
    assert list(decoded.x) == [0, 1, None, 1, 2, None] and list(missed.x) == []
    assert list(words.text) == ["The", "dog", "barks"] and list(words.x) == [0, 1, 2]  # punctuation is left out


@pytest.mark.parametrize("draw", [figures.tree_arcs, figures.tree_plane])
def test_a_tree_without_a_layer_is_refused(draw):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(TREE, [0, 6], [])


def test_one_thing_against_another_is_a_point_a_layer_with_both_intervals():
    def side(metric, shift, models=("nli-1", "parsing-1")):
        for model in models:
            for layer in range(3):
                value = shift + layer / 10
                yield {"role": "score", "model": model, "task": model[:-2], "seed": 1, "layer": layer, "metric": metric, "value": value,
                       "ci_low": value - 0.01, "ci_high": value + 0.02}  # fmt: skip

    change, effects = tables.tidy(side("change", 0)), tables.tidy([*side("uuas", 0.5), *side("accuracy", 0.2)])
    figure = figures.against(change, effects[::-1], facet="metric", xlabel="change", ylabel="effect")
    assert len(figure.data) == 4 and [t.showlegend for t in figure.data].count(True) == 2
    for trace in figure.data:
        assert list(trace.x) == [0, 0.1, 0.2] and list(trace.text) == ["0", "1", "2"]
        assert list(trace.y) == pytest.approx([0.5, 0.6, 0.7] if trace.yaxis == "y2" else [0.2, 0.3, 0.4])
        assert list(trace.error_x.array) == pytest.approx([0.02] * 3) and list(
            trace.error_y.arrayminus
        ) == pytest.approx([0.01] * 3)
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.against(change[:0], effects, facet="metric")
    with pytest.raises(ValueError, match="no layer of a model in common"):
        figures.against(tables.tidy(side("change", 0, ("squad-1",))), effects, facet="metric")


@pytest.mark.parametrize(
    ("model", "task", "seed", "called"),
    [
        ("nli-2", "nli", 2, "NLI fine-tuned, seed 2"), ("nli-frozen4-1", "nli", 1, "NLI fine-tuned, seed 1"),
        ("mnli", "nli", 1, "NLI fine-tuned, seed 1"), ("mnli-2", "nli", 2, "NLI fine-tuned, seed 2"), ("nli", "nli", None, "NLI fine-tuned"),
        ("mnli-2", "nli", 1, "mnli-2 (NLI)"), ("mine", "nli", 1, "mine (NLI)"), ("kept-281", "masked_words", 1, "kept-281 (masked words)"),
    ],
)  # fmt: skip
def test_a_line_is_called_by_task_and_seed_and_somebodys_checkpoint_by_its_name(model, task, seed, called):
    (row,) = tables.tidy([{"role": "score", "model": model, "task": task, "seed": seed, "value": 1.0}]).iloc
    assert theme.label(row) == called


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("nli-1", "NLI seed 1"),
        ("mnli-2", "MNLI seed 2"),
        ("weblog_000200-0001", "weblog_000200-0001"),
        ("kept-1125", "kept-1125"),
    ],
)
def test_only_a_tasks_name_has_a_seed(name, spelt):
    assert theme.short(name) == spelt
