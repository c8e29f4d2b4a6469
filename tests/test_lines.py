"""Points on a straight line keep their names; a rise is what lies above the chord, with an interval for all points together."""

import nbformat
import numpy as np
import pandas as pd
import pytest

from bert_repro.files import ROOT
from bert_repro.results import intervals, lines, provenance, tables
from bert_repro.workflow import notebooks

POINTS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
NOISE = np.random.default_rng(0).standard_normal(400)
OTHERS = np.random.default_rng(1).standard_normal((11, 400))


def line(curve, metric="task_loss", method=lines.OF_TUNED, apart=0.0, points=POINTS, **columns):
    """Make the rows of a line from a function of t; its points vary together, and each by itself as much as is said."""
    about = {
        "role": "score",
        "model": "nli-1",
        "corpus": "mnli",
        "split": "dev",
        "target": "nli",
        "metric": metric,
        "method": method,
    }
    rows = []
    for t, other in zip(points, OTHERS, strict=False):
        drawn = curve(t) + 0.2 * NOISE + apart * other
        rows.append(about | columns | {"layers_changed": lines.place(t), "n": 90} | intervals.row(curve(t), drawn, 30))
    return tables.tidy(rows)


@pytest.mark.parametrize("t", [*POINTS, 1 / 3])
def test_a_point_is_read_as_it_was_named(t):
    assert lines.points(line(lambda t: t, points=[0.0, t, 1.0]))[1] == pytest.approx(t, abs=1e-6)


def test_what_is_no_point_of_a_line_has_none():
    other = line(lambda t: t).assign(layers_changed=["all", "top_2_of_6", None, "all_but_3", "head_only", *["all"] * 6])
    assert lines.points(other).isna().all() and lines.panels(other).empty and lines.rises(other).empty


@pytest.mark.parametrize(
    "points", [[], [0.0], [0.0, 0.5], [0.5, 1.0], [0.0, 0.5, 0.5, 1.0], [0.0, 0.7, 0.3, 1.0], [1.0, 0.0]]
)
def test_points_that_do_not_lead_from_end_to_end_are_refused(points):
    with pytest.raises(ValueError) as error:
        lines.check(points)
    assert str(error.value) == f"points must rise from 0, the base, to 1, the tuned encoder, got {points}"


def largest(made):
    """Give the rise above the chord and that above the higher end."""
    return lines.rises(made).to_dict("records")


def test_a_rise_is_what_lies_above_the_chord_whatever_the_slope():
    for slope in (0.0, -3.0, 5.0):
        row, _ = largest(line(lambda t, s=slope: 2 + s * t + 4 * t * (1 - t)))
        assert row["value"] == pytest.approx(1.0) and row["layers_changed"] == "0.5 of the way"
        assert (row["metric"], row["n"], row["units"], row["model"]) == ("rise of task_loss", 90, 30, "nli-1")
        # what moves all points alike moves no rise
        assert row["ci_low"] == pytest.approx(1.0) and row["ci_high"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("curve", "barrier", "place"),
    [
        (lambda t: 2 + 4 * t * (1 - t), 1.0, "0.5"),
        (lambda t: 2 - t + 4 * t * (1 - t), 0.56, "0.4"),  # above the first end
        (lambda t: 1 + t + 4 * t * (1 - t), 0.56, "0.6"),  # above the last one
        (lambda t: 2 - t**4, -0.0001, "0.1"),  # above the chord, and it falls all the way
        (lambda t: 1 - t * (1 - t), -0.09, "0.1"),
    ],
)
def test_a_barrier_is_what_lies_above_both_ends(curve, barrier, place):
    rise, row = largest(line(curve))
    assert (row["metric"], row["layers_changed"]) == ("barrier of task_loss", f"{place} of the way")
    assert [row[c] for c in ("value", "ci_low", "ci_high")] == pytest.approx([barrier] * 3, abs=1e-6)
    assert rise["value"] >= row["value"] - 1e-9


def test_a_straight_line_rises_by_nothing_and_a_hanging_one_by_less():
    straight, _ = largest(line(lambda t: 2 - t))
    assert straight["value"] == pytest.approx(0, abs=1e-12)
    hanging, _ = largest(line(lambda t: 2 - t - t * (1 - t)))
    assert hanging["value"] == pytest.approx(-0.09) and hanging["ci_high"] < 0


def test_the_interval_of_the_largest_is_wider_than_that_of_one_point():
    many, one = (largest(line(lambda t: 2 - t, apart=0.3, points=points))[0] for points in (POINTS, [0.0, 0.5, 1.0]))
    widths = [row["ci_high"] - row["ci_low"] for row in (many, one)]
    assert widths[0] > 1.1 * widths[1]


@pytest.mark.slow
def test_noise_alone_is_seldom_called_a_barrier():
    """The largest of nine rises of a straight line in noise; without the wider interval, it would be in one line of five."""
    draw, found = np.random.default_rng(2), 0
    about = {"role": "score", "model": "nli-1", "metric": "task_loss"}
    for _ in range(60):
        rows = [
            about
            | {"layers_changed": lines.place(t)}
            | intervals.row(2 + moved, 2 + moved + draw.standard_normal(100), 30)
            for t, moved in zip(POINTS, draw.standard_normal(11), strict=True)
        ]
        found += int(lines.rises(tables.tidy(rows))["ci_low"].iloc[0] > 0)
    assert found <= 6


def test_every_line_text_and_loss_has_a_rise_of_its_own_and_other_metrics_have_none():
    made = [
        line(lambda t: 2 - t), line(lambda t: 3 - t, model="squad-1", target="squad", corpus="squad"), line(lambda t: 4 + t, split="test"),
        line(lambda t: t, metric="accuracy"), line(lambda t: 5 + t * t, "masked_word_loss", lines.OF_BASE, target="masked_words"),
        line(lambda t: 1 - t, "similarity", "rsa", layer=3),
    ]  # fmt: skip
    found = lines.rises(pd.concat(made, ignore_index=True))
    assert found["metric"].tolist() == ["rise of task_loss", "barrier of task_loss"] * 3 + [
        "rise of masked_word_loss",
        "barrier of masked_word_loss",
    ]
    assert found["model"].tolist() == ["nli-1"] * 2 + ["squad-1"] * 2 + ["nli-1"] * 4


def test_a_line_of_two_ends_has_no_rise():
    found = lines.rises(line(lambda t: t, points=[0.0, 1.0]))
    assert found.empty and list(found.columns) == [*tables.COLUMNS, "replicates"]


def test_a_figure_shows_losses_the_last_layer_and_trees_below_it():
    along = [line(lambda t: t), line(lambda t: t, metric="accuracy")]
    along += [
        line(lambda t: t, "masked_word_loss", method, target="masked_words")
        for method in (lines.OF_BASE, lines.OF_TUNED)
    ]
    along += [line(lambda t: t, "similarity", "rsa", layer=layer) for layer in (3, 4, 6)]
    along += [
        line(lambda t: t, metric, "rank 4", layer=layer, probe=probe)
        for metric in ("uuas", "dspr")
        for layer in (3, 4, 6)
        for probe in (lines.FIRST, lines.ANEW)
    ]
    other = line(lambda t: t).assign(layers_changed="all")
    shown = lines.panels(pd.concat([*along, other], ignore_index=True))
    assert shown.groupby("panel", sort=False).size().to_dict() == dict.fromkeys(
        ["task loss", "masked-word loss", "RSA with the base, layer 6", "UUAS by the base's probe, layer 4",
         "UUAS by a probe trained anew, layer 4"], 11,
    )  # fmt: skip
    assert set(shown[shown["metric"] == "masked_word_loss"]["method"]) == {lines.OF_BASE}
    alone = lines.panels(line(lambda t: t, "similarity", "rsa", layer=2))
    assert alone["panel"].unique().tolist() == ["RSA with the base, layer 2"]


# ---- the chapter


def documents(model, task, shift):
    """Make the masked-word loss of a model, one of two metrics, on the same documents as that of others."""
    pieces = np.full(30, 50.0)
    nats = (2 + shift + np.random.default_rng(len(model)).normal(0, 0.1, 30)) * pieces
    value, replicates = intervals.ratio(nats, pieces, intervals.draws("documents", 30, 100))
    about = {
        "role": "score",
        "model": model,
        "task": task,
        "seed": 1 if task else pd.NA,
        "layers_changed": "all",
        "method": "masked words",
    }
    about |= {"target": "masked_words", "corpus": "wiki", "split": "all[30]", "n": 1500}
    return tables.tidy(
        [
            about | {"metric": metric} | intervals.row(float(value), replicates, 30)
            for metric in ("masked_word_loss", "masked_word_accuracy")
        ]
    )


def put(folder, name, notebook, table, extra=None):
    made = provenance.manifest(notebook, {"name": name, "study": "own"}, 1.0) | {"inputs": {}}
    tables.write(
        folder / f"{notebook}-{name}.parquet",
        table.assign(study="own", notebook=notebook).astype(tables.COLUMNS),
        made,
        extra,
    )


def chapter(folder):
    """Execute the chapter of the models, and give what each of its cells shows, by the cell's name: text, or `figure`."""
    notebooks.run(
        ROOT / "notebooks" / "chapters" / "models.ipynb",
        folder / "out.ipynb",
        {"tables_folder": str(folder), "study": "own"},
        progress=False,
    )
    shown = {}
    for cell in nbformat.read(folder / "out.ipynb", 4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            shown[cell["id"]] = (
                "figure"
                if "application/vnd.plotly.v1+json" in data
                else data.get("text/markdown", data.get("text/html", data.get("text/plain", "")))
            )
    return shown


@pytest.mark.slow
def test_the_chapter_shows_lines_and_what_was_forgotten(tmp_path):
    card = tables.artefacts([{"kind": "checkpoint", "key": "x", "content": {"family": "bert"}}], model="base")
    put(tmp_path, "base", "checkpoint", documents("base", None, 0.0), card)
    for name, task in (("nli-1", "nli"), ("squad-1", "squad")):
        put(tmp_path, name, "checkpoint", documents(name, task, 0.5), card.assign(model=name).astype(tables.ARTEFACTS))
        losses = [
            line(lambda t: 2 - t**4, model=name, task=task, seed=1),
            line(lambda t: 1 + t, "masked_word_loss", lines.OF_BASE, model=name, task=task, seed=1),
        ]
        losses = pd.concat(
            [*losses, line(lambda t: 1 - t / 2, "similarity", "rsa", layer=6, model=name, task=task, seed=1)],
            ignore_index=True,
        )
        put(tmp_path, name, "line", pd.concat([losses, lines.rises(losses)], ignore_index=True))
    put(tmp_path, "nli-1", "finetune", documents("nli-1", "nli", 0.0).assign(method="other").astype(tables.COLUMNS))
    shown = chapter(tmp_path)
    assert [shown[name] for name in ("masked-0", "masked-1", "line-figure")] == ["figure"] * 3
    assert "barrier of task_loss" in shown["line-rises-table"] and "0.6 of the way" in shown["line-rises-table"]
    assert "SQuAD seed 1" in shown["cards-1"] and "NLI seed 1" not in shown["cards-1"]  # that was tuned here


@pytest.mark.slow
def test_the_chapter_says_what_was_not_measured(tmp_path):
    put(tmp_path, "nli-1", "checkpoint", documents("nli-1", "nli", 0.0).assign(method="other").astype(tables.COLUMNS))
    shown = chapter(tmp_path)
    assert shown["masked-0"].startswith("*Not measured here: ") and shown["line-figure"].startswith(
        "*Not measured here: "
    )
    assert (
        not {"masked-1", "masked-2", "line-rises", "line-rises-table", "line-numbers", "line-numbers-table"}
        & shown.keys()
    )
