"""A published table is stale when its study or what its notebook computes changed, and only then."""

import json
import shutil

import pandas as pd
import pytest
import smoke_tables

from bert_repro import corpora, similarity
from bert_repro.files import ROOT
from bert_repro.results import provenance, tables
from bert_repro.workflow import staleness

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
HOMES = sorted(path.parent for path in (ROOT / "results").glob("*/tables"))
CLOSE = smoke_tables.Tolerance(0.001, 0.01, "a test")
STUDY = """
name: s
title: a study of one run
base: tiny
tasks: [{task: nli, train: a, dev: b, updates: 10, seeds: [1]}]
similarity: {corpora: ["wiki[60]"], words: 50}
structural_probe: {train: a, dev: b, test: c}
"""
SMALL = {
    "corpora": ["wiki[60]"], "words": 50, "more_methods": [], "grid_methods": [], "classes_corpus": "", "classes": [],
    "lengths_of": "", "as_long": [], "second_sample": False, "resamples": 100,
}  # fmt: skip


def rows(*changes):
    """Four rows of layers, two of them alike but for their value, with changes by row."""
    made = [
        {"role": "score", "method": "rsa", "metric": "similarity", "layer": layer, "value": value, "n": 9}
        for layer, value in ((0, 0.5), (1, 0.25), (1, 0.75), (2, -2.0))
    ]
    for number, change in changes:
        made[number] |= change
    return tables.tidy(made, model="base")


@pytest.mark.parametrize(
    ("today", "found"),
    [
        (rows((0, {"value": 0.505}), (3, {"value": -2.02})), "equal"),
        (rows((1, {"n": 9, "value": 0.25, "ci_low": pd.NA})), "equal"),
        (rows((0, {"value": 0.507})), "other numbers of rsa similarity"),
        (rows((3, {"value": -2.03, "metric": "similarity"})), "other numbers of rsa similarity"),
        (rows((2, {"value": 0.25})), "other numbers of rsa similarity"),
        (rows((1, {"n": 10})), "other numbers of rsa similarity"),
        (rows((1, {"ci_low": 0.2})), "other numbers of rsa similarity"),
        (rows((1, {"layer": 3}), (2, {"layer": 4})), "rows gone: 2; rows new: 2"),
        (rows()[:3], "rows gone: 1"),
        (pd.concat([rows(), rows()[:1]]), "rows new: 1"),
        (pd.concat([rows()[:1], rows((0, {"method": "cka"}))]), "rows new: 1"),
        (rows()[::-1].iloc[[0, 2, 1, 3]], "equal"),
        (rows((1, {"target": "upos"}), (0, {"value": 9.0})), "rows gone: 1; rows new: 1; other numbers of rsa similarity"),
    ],
)  # fmt: skip
def test_what_differs_is_said_in_a_line(today, found):
    assert smoke_tables.difference(rows(), today, CLOSE) == found


def test_cls_may_move_more():
    cls = [(number, {"rows": "[CLS]"}) for number in range(4)]
    for value, found in ((0.515, "equal"), (0.53, "other numbers of rsa similarity")):
        assert smoke_tables.difference(rows(*cls), rows(*cls, (0, {"value": value})), CLOSE) == found


def test_p_values_may_move_more():
    for metric in ("p", "p_holm"):
        ps = [(number, {"metric": metric}) for number in range(4)]
        for value, found in ((0.7, "equal"), (0.9, f"other numbers of rsa {metric}")):
            assert smoke_tables.difference(rows(*ps), rows(*ps, (0, {"value": value})), CLOSE) == found


def test_a_table_is_the_same_once_it_went_through_its_csv(tmp_path):
    table = rows((0, {"value": 1 / 3, "ci_low": 1e-9, "rows": "NA"}))
    table.drop(columns="replicates").to_csv(tmp_path / "t.csv", index=False, float_format="%.7g")
    read = smoke_tables.read(tmp_path / "t.csv")
    assert smoke_tables.difference(table, read, smoke_tables.Tolerance(1e-12, 1e-6, "")) == "equal"


# ---- a study in a project of its own


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A published study of one table, made by the notebook `similarity`, and today's smoke table, which is the one kept."""
    monkeypatch.setattr(staleness, "ROOT", tmp_path)
    for folder in ("notebooks", "studies", "results/s/tables", "results/s/smoke", "build/smoke"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copyfile(ROOT / "notebooks" / "similarity.ipynb", tmp_path / "notebooks" / "similarity.ipynb")
    (tmp_path / "studies" / "s.yaml").write_text(STUDY)
    given = {"study": "s", "words": 50, "corpora": ["wiki[60]"]}
    made = {"notebook": "similarity", "parameters": given, "fingerprint": "of old"}
    (tmp_path / "results" / "s" / "tables" / "similarity-base-nli-1.manifest.json").write_text(json.dumps(made))
    smoke(tmp_path, rows())
    renew(tmp_path)
    return tmp_path


def smoke(project, table):
    table.drop(columns="replicates").to_csv(project / "build" / "smoke" / "similarity.csv", index=False)


def renew(project):
    """Do what `make renew` does."""
    shutil.copyfile(
        project / "build" / "smoke" / "similarity.csv", project / "results" / "s" / "smoke" / "similarity.csv"
    )
    assert smoke_tables.main(["--write"], project) == 0


def test_a_parameter_that_the_study_no_longer_sets_is_that_of_the_notebook():
    made = {"notebook": "finetune", "parameters": {"study": "s", "seed": 1, "baseline": True}}
    assert (
        staleness.changed(made, {"seed": 1}) == ["baseline"]
        and staleness.changed(made, {"seed": 1, "baseline": True}) == []
    )
    assert staleness.changed(made, {}) == []  # the study has no such run


def today(project):
    """Say what was written down."""
    return staleness.outcomes(project / "results" / "s" / "tables")["similarity"]["today"]


def stale(project):
    return staleness.stale_tables(project / "results" / "s" / "tables")


def asked(monkeypatch, **parameters):
    run = staleness.runs(staleness.load(ROOT / "studies" / "train.yaml"))[0]
    mine = run._replace(name="similarity-base-nli-1", parameters={"words": 50, "corpora": ["wiki[60]"]} | parameters)
    monkeypatch.setattr(staleness, "runs", lambda study: [mine])


def test_a_table_is_fresh_while_study_and_smoke_table_are_the_same(project, monkeypatch):
    asked(monkeypatch)
    assert smoke_tables.main([], project) == 0
    assert stale(project) == {}
    written = {
        "today": "equal",
        "within": "0.0001 + 0.0001 × the number",
        "because": smoke_tables.TOLERANCES["similarity"].why,
    }
    assert json.loads((project / "results" / "s" / "staleness.json").read_text()) == {"similarity": written}


@pytest.mark.parametrize(
    ("parameters", "names"),
    [({"words": 60}, "words"), ({"words": 60, "corpora": ["ewt:dev"]}, "words and corpora"), ({"seed": 1}, ""), ({"seed": 2}, "seed"),
     ({"younger": 1}, "younger")],
)  # fmt: skip
def test_a_table_is_stale_when_the_study_has_other_parameters(project, monkeypatch, parameters, names):
    """A parameter that the notebook did not have when the table was made counts as its default, here of `seed`."""
    asked(monkeypatch, **parameters)
    reason = {"similarity-base-nli-1": f"other values in the study now: {names}"} if names else {}
    assert stale(project) == reason


def test_another_smoke_table_is_told_until_it_is_written_down_and_then_shown(project, monkeypatch, capsys):
    asked(monkeypatch)
    smoke(project, rows((0, {"value": 0.8})))
    assert smoke_tables.main([], project) == 1
    first, line, last = capsys.readouterr().out.splitlines()
    assert first == "results/s/staleness.json says something else than is found today:"
    assert (
        line.startswith("  similarity: {'today': 'other numbers of rsa similarity', ")
        and "`make staleness` writes it" in last
    )
    assert stale(project) == {}
    assert (
        smoke_tables.main(["--write"], project) == smoke_tables.main([], project) == 0
    )  # stale, and said to be: no error
    assert stale(project) == {"similarity-base-nli-1": "the smoke table of similarity: other numbers of rsa similarity"}
    renew(project)
    assert smoke_tables.main([], project) == 0 and stale(project) == {}


def test_a_table_that_is_said_to_be_stale_and_is_not_is_told_as_well(project, capsys):
    smoke(project, rows((0, {"value": 0.8})))
    smoke_tables.main(["--write"], project)
    smoke(project, rows())
    assert smoke_tables.main([], project) == 1 and "  similarity: {'today': 'equal', " in capsys.readouterr().out
    (project / "results" / "s" / "smoke" / "similarity.csv").unlink()
    assert smoke_tables.main([], project) == 1 and "  similarity: None\n" in capsys.readouterr().out


def test_a_notebook_that_is_gone_and_a_smoke_table_that_nobody_kept(project, monkeypatch):
    asked(monkeypatch)
    (project / "build" / "smoke" / "similarity.csv").unlink()
    smoke_tables.main(["--write"], project)
    assert stale(project) == {"similarity-base-nli-1": "the smoke table of similarity: the notebook makes none"}
    (project / "results" / "s" / "staleness.json").write_text('{"edge_probe": {"today": "equal"}}')
    assert stale(project) == {"similarity-base-nli-1": "the smoke table of similarity: none was kept"}


def test_a_table_whose_text_is_another_now_is_stale(project, monkeypatch):
    asked(monkeypatch)
    path = project / "results" / "s" / "tables" / "similarity-base-nli-1.manifest.json"
    manifest = json.loads(path.read_text())
    text = "mnli:dev[5]"
    same = {
        text: {"corpus": corpora.digest(text)},
        "wiki[2]": corpora.running_digest("wiki[2]"),
        "ewt:nowhere": "0" * 64,
    }
    for inputs, why in (
        (same, {}),
        (
            {text: "0" * 64, "weights": "0" * 64, "glue/mnli:dev": "0" * 64},
            {"similarity-base-nli-1": f"{text}: another content now"},
        ),
        ({"wiki[2]": "0" * 64}, {"similarity-base-nli-1": "wiki[2]: another content now"}),
    ):
        path.write_text(json.dumps(manifest | {"inputs": inputs}))
        assert stale(project) == why


def test_tables_of_ones_own_are_judged_by_their_parameters_alone(project, monkeypatch):
    shutil.copytree(project / "results" / "s" / "tables", project / "build" / "s" / "tables")
    asked(monkeypatch)
    assert staleness.stale_tables(project / "build" / "s" / "tables") == {}
    asked(monkeypatch, words=60)
    assert list(staleness.stale_tables(project / "build" / "s" / "tables")) == ["similarity-base-nli-1"]


# ---- this project


def test_every_run_notebook_has_a_tolerance_and_a_reason():
    assert sorted(smoke_tables.TOLERANCES) == NOTEBOOKS
    assert all(len(one.why) > 20 for one in smoke_tables.TOLERANCES.values())


@pytest.mark.parametrize("home", HOMES, ids=lambda home: home.name)
def test_smoke_tables_lie_beside_every_published_study(home):
    used = {made["notebook"] for made in provenance.manifests(home / "tables").values()}
    assert (
        used
        <= set(NOTEBOOKS)
        == {path.stem for path in (home / "smoke").iterdir()}
        == set(staleness.outcomes(home / "tables"))
    )
    for path in (home / "smoke").iterdir():
        assert len(smoke_tables.read(path)) and path.stat().st_size < 100_000


@pytest.mark.slow
def test_a_changed_measure_is_seen_and_a_moved_one_is_not(project, executed, monkeypatch):
    """A hundredth less in the cosine, of which the figures would hardly tell."""
    asked(monkeypatch)
    output = project / "build" / "smoke" / "similarity.parquet"
    executed("similarity", output=str(output), **SMALL)
    renew(project)
    cosine = similarity.MEASURES["cosine"]

    def moved(*given):
        return cosine.function(*given)

    def changed(*given):
        return [(value * 0.99, replicates) for value, replicates in cosine.function(*given)]

    other = "other numbers of cosine change, cosine depth, cosine similarity"
    for function, found in ((moved, "equal"), (changed, other)):
        monkeypatch.setitem(similarity.MEASURES, "cosine", cosine._replace(function=function))
        executed("similarity", output=str(output), **SMALL)
        smoke_tables.main(["--write"], project)
        assert today(project) == found
    assert list(stale(project)) == ["similarity-base-nli-1"]


def test_what_is_computed_ahead_makes_nothing_stale_but_micro_batches_draw_another_dropout():
    made = {"notebook": "finetune", "parameters": {"batch_size": 32}}
    assert staleness.changed(made, {"batch_size": 32, "micro_batch": 0}) == []
    assert staleness.changed(made, {"batch_size": 32, "micro_batch": 8}) == ["micro_batch"]
    made = {"notebook": "similarity", "parameters": {"units": 0}}
    assert staleness.changed(made, {"units": 9, "drawn": ["mnli:dev"]}) == ["units"]
    assert staleness.changed(made | {"notebook": "hidden_states"}, {"units": 9, "drawn": ["mnli:dev"]}) == []
