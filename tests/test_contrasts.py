"""Two sets side by side: a set agrees with itself, swapping negates, what is planted is found, and no row is lost."""

import nbformat
import numpy as np
import pandas as pd
import pytest

from bert_repro.files import ROOT
from bert_repro.results import contrasts, intervals, tables, verdicts
from bert_repro.workflow import notebooks

NOISE = np.random.default_rng(0).normal(size=(2, 40, 200))
PAIRED = ["agrees", "open", "differs"]


def row(value, at=0, own=0.0, **columns):
    """Make a row; `own` is the spread of noise that no other set shares, at most 39 rows have noise of their own."""
    noise = 0.01 * NOISE[0, at] + own * NOISE[1, at]
    known = {
        "role": "score",
        "notebook": "structural_probe",
        "model": "nli-1",
        "task": "nli",
        "seed": 1,
        "updates": 940,
    }
    return known | {"corpus": "ewt", "split": "test", "metric": "uuas", "layer": at, "n": 7} | intervals.row(value, value + noise) | columns  # fmt: skip


def exact(value, at=0, **columns):
    """Make a row without replicates."""
    known = {"role": "score", "notebook": "finetune", "model": "nli-1", "task": "nli", "seed": 1, "updates": 940}
    return known | {"metric": "relative_l2", "method": "weights", "layer": at, "value": value} | columns


def mixed(shift=0.0, own=0.0, study="one", skip=()):
    """Give a set of rows with and without replicates, on scales below and above 1."""
    rows = [row(0.5 + shift, at, own) for at in range(6)]
    rows += [row(40 * (1 + shift), at, own, metric="norm", notebook="hidden_states") for at in range(6, 9)]
    rows += [exact(0.1 + shift, at) for at in range(4)]
    return tables.tidy([one for number, one in enumerate(rows) if number not in skip], study=study)


def known(table):
    """Name each row by what it measures, as a loop would."""
    columns = [c for c in tables.COLUMNS if c not in ("study", "base", *tables.NUMBERS)]
    return [str([row[c] for c in columns]) for _, row in table.iterrows()]


def numbers(found, *columns):
    return found[[*columns]].to_numpy(float, na_value=np.nan)


# ---- pairs and findings


def test_a_set_agrees_with_itself_exactly():
    for tolerance in (0, 0.02):
        found = contrasts.compare(mixed(), mixed(), tolerance=tolerance)
        assert len(found) == len(mixed())
        assert set(found["finding"]) == {"agrees"} and found["value"].tolist() == [0.0] * len(found)
        assert found[found["notebook"] != "finetune"][["ci_low", "ci_high"]].eq(0).all(axis=None)
    assert contrasts.largest(found).empty and contrasts.alone(found).empty


def test_swapping_the_sets_negates():
    first, second = mixed(skip=[0, 12]), mixed(0.03, own=0.02, skip=[1])
    there, back = contrasts.compare(first, second), contrasts.compare(second, first)
    back = back.set_index(pd.Index(known(back))).loc[known(there)]
    assert numbers(there, "value", "ci_low", "ci_high") == pytest.approx(
        -numbers(back, "value", "ci_high", "ci_low"), nan_ok=True
    )
    assert numbers(there, "first", "second") == pytest.approx(numbers(back, "second", "first"), nan_ok=True)
    sides = {"first only": "second only", "second only": "first only"}
    assert there["finding"].tolist() == back["finding"].replace(sides).tolist()
    assert set(there["finding"]) == {"open", "differs", *sides}


@pytest.mark.parametrize(
    ("shift", "own", "finding"),
    [
        (0.05, 0, "differs"), (-0.05, 0, "differs"), (0.01, 0, "agrees"), (0.05, 0.003, "differs"), (0.0, 0.003, "agrees"),
        (0.02, 0.003, "open"), (0.0, 0.05, "open"),
    ],
)  # fmt: skip
def test_a_planted_shift_is_found_and_planted_noise_leaves_it_open(shift, own, finding):
    rows = [row(0.5, at) for at in range(6)]
    others = [row(0.5 + shift, at, own) for at in range(6)]
    found = contrasts.compare(tables.tidy(rows), tables.tidy(others))
    assert found["finding"].tolist() == [finding] * 6
    assert found["value"].tolist() == pytest.approx([shift] * 6)
    assert (found["second"] - found["first"]).tolist() == pytest.approx([shift] * 6)


def test_what_the_draw_of_sentences_did_to_both_is_gone():
    """The paired interval is that of what the sets do not share; an independent one would hold all the noise."""
    first, second = ([row(0.5, at, own) for at in range(6)] for own in (0, 0.001))
    found = contrasts.compare(tables.tidy(first), tables.tidy(second))
    paired = found["ci_high"] - found["ci_low"]
    own = [np.ptp(np.percentile(0.001 * NOISE[1, at], [2.5, 97.5])) for at in range(6)]
    independent = [np.ptp(np.percentile(0.01 * (NOISE[0, at] - NOISE[0, at + 20]), [2.5, 97.5])) for at in range(6)]
    assert paired.tolist() == pytest.approx(own, abs=1e-6)
    assert (paired < 0.2 * np.array(independent)).all()


def test_rows_are_paired_as_a_loop_would():
    first, second = mixed(skip=[0, 7, 11]), mixed(0.01, skip=[2, 9], study="two").assign(base="another")
    found = contrasts.compare(first, second)
    one, two = (dict(zip(known(table), table["value"], strict=True)) for table in (first, second))
    assert sorted(known(found)) == sorted(one.keys() | two.keys())
    for key, row in zip(known(found), found.itertuples(), strict=True):
        if key in one and key in two:
            assert (row.first, row.second, row.value) == pytest.approx((one[key], two[key], two[key] - one[key]))
            assert row.finding in PAIRED
        else:
            assert row.finding == ("first only" if key in one else "second only")
            assert (row.first if key in one else row.second) == (one | two)[key]
            assert pd.isna(row.value) and pd.isna(row.ci_low) and pd.isna(row.ci_high)


@pytest.mark.parametrize("column", ["role", "model", "seed", "updates", "reference_model", "layer", "corpus", "split", "rows", "target", "probe", "method", "metric"])  # fmt: skip
def test_rows_that_measure_something_else_are_no_pair(column):
    changed = {"seed": 2, "updates": 100, "layer": 9, "role": "control"}.get(column, "another")
    found = contrasts.compare(tables.tidy([row(0.5)]), tables.tidy([row(0.5) | {column: changed}]))
    assert found["finding"].tolist() == ["first only", "second only"]


def test_a_tolerance_is_a_share_of_numbers_above_1():
    rows = [exact(value, at) for at, value in enumerate([0.5, -0.5, 1, 50, -50, 50])]
    others = [exact(value, at) for at, value in enumerate([0.59, -0.59, 1.11, 55, -55, 56])]
    found = contrasts.compare(tables.tidy(rows), tables.tidy(others), tolerance=0.1)
    assert found["tolerance"].tolist() == pytest.approx([0.1, 0.1, 0.111, 5.5, 5.5, 5.6])
    assert found["finding"].tolist() == ["agrees"] * 5 + ["differs"]


def test_numbers_without_replicates_on_a_side_are_compared_by_value():
    bare = tables.tidy([row(0.5, at) | {"replicates": None} for at in range(2)])
    for first, second in ((bare, tables.tidy([row(0.51), row(0.6, 1)])), (tables.tidy([row(0.51), row(0.6, 1)]), bare)):
        found = contrasts.compare(first, second)
        assert found["finding"].tolist() == ["agrees", "differs"]
        assert found[["ci_low", "ci_high", "replicates"]].isna().all(axis=None)


def test_what_several_tables_of_a_set_hold_is_one_result():
    rows = [row(0.5), exact(0.1), exact(0.1), exact(0.100001)]
    assert contrasts.compare(tables.tidy(rows), tables.tidy(rows[:2]))["finding"].tolist() == ["agrees"] * 2
    twice = [*rows, exact(0.2)]
    message = (
        r"1 results of the second set occur twice and differ, by up to 0\.1: do tables of two studies, or of an older"
    )
    with pytest.raises(ValueError, match=message):
        contrasts.compare(tables.tidy(rows), tables.tidy(twice))


# ---- two models


def seeds():
    """Give two seeds of a fine-tuning, the second trained for longer, and the base encoder."""
    of = {"nli-1": {}, "nli-2": {"model": "nli-2", "seed": 2, "updates": 1000}, "base": {"model": "base", "task": None, "seed": None, "updates": None}}  # fmt: skip
    rows = [row(0.5 + 0.1 * number, at) | columns for number, columns in enumerate(of.values()) for at in range(2)]
    compared = [("nli-1", "base", 0.9), ("nli-2", "base", 0.8), ("nli-2", "nli-1", 0.7), ("nli-1", "untrained", 0.1)]
    rows += [row(value) | of[model] | {"reference_model": other, "metric": "similarity"} for model, other, value in compared]  # fmt: skip
    rows += [exact(0.3, updates=updates, method="weights along the way") for updates in (500, 940)]
    rows += [exact(0.4, **(of["nli-2"] | {"updates": updates, "method": "weights along the way"})) for updates in (500, 700, 1000)]  # fmt: skip
    return tables.tidy(rows)


def test_points_of_a_line_between_encoders_are_compared_point_by_point():
    def line(model, rise, where):
        of_model = {"notebook": "line", "model": model, "role": "score", "task": "nli"}
        points = [
            of_model | {"metric": "task_loss", "layers_changed": f"{t} of the way", "value": 1 + rise * t}
            for t in (0.0, 0.5, 1.0)
        ]
        return [*points, of_model | {"metric": "rise of task_loss", "layers_changed": where, "value": rise}]

    table = tables.tidy([*line("nli-1", 0.0, "0.5 of the way"), *line("nli-2", 1.0, "1.0 of the way")])
    found = contrasts.compare(table, table, model="nli-1", other_model="nli-2")
    assert sorted(found["value"].astype(float)) == [0, 0.5, 1, 1] and not found["finding"].str.endswith("only").any()


def test_two_models_are_compared_with_everything_else_equal():
    found = contrasts.compare(seeds(), seeds(), model="nli-1", other_model="nli-2").set_index(["metric", "layer"])
    assert found.loc["uuas"]["value"].tolist() == pytest.approx([0.1, 0.1])
    similar = found.loc["similarity"].set_index("reference_model")
    assert similar["finding"].to_dict() == {"base": "differs", "untrained": "first only", "nli-1": "second only"}
    assert similar.loc["base", "value"] == pytest.approx(-0.1)
    along = found.loc["relative_l2"]  # the end of the one with the end of the other, and what both have on the way
    assert along.set_index("updates")["finding"].to_dict() == {500: "differs", 700: "second only", 1000: "differs"}


def test_a_model_is_compared_with_an_encoder_that_was_not_tuned():
    found = contrasts.compare(seeds(), seeds(), model="nli-1", other_model="base")
    uuas = found[found["metric"] == "uuas"]
    assert uuas["finding"].tolist() == ["differs"] * 2 and set(uuas["model"]) == {"base"}
    assert uuas["value"].tolist() == pytest.approx([0.2, 0.2])


def test_a_model_trained_for_longer_elsewhere_is_paired_where_it_is_named():
    longer = tables.tidy([row(0.5, at, updates=2000) for at in range(2)])
    once = tables.tidy([row(0.5, at) for at in range(2)])
    assert set(contrasts.compare(once, longer)["finding"]) == {"first only", "second only"}
    assert contrasts.compare(once, longer, model="nli-1")["finding"].tolist() == ["agrees"] * 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tolerance": -0.1}, r"tolerance must be at least 0, got -0\.1: 0\.02 is two points of a share"),
        ({"tolerance": float("nan")}, "tolerance must be at least 0, got nan"),
        ({"other_model": "nli-2"}, "other_model 'nli-2' was given without model: say what it is compared with"),
        ({"model": "nli-9"}, "the first set has no model 'nli-9': it has base, nli-1, nli-2"),
        ({"model": "nli-1", "other_model": "nli-9"}, "the second set has no model 'nli-9': it has base, nli-1, nli-2"),
    ],
)
def test_compare_refuses(given, message):
    with pytest.raises(ValueError, match=message):
        contrasts.compare(seeds(), seeds(), **given)


# ---- what is told


def test_a_summary_counts_every_row_once():
    first, second = mixed(skip=[0, 12]), mixed(0.03, own=0.02, skip=[1])
    found = contrasts.compare(first, second)
    counts = contrasts.summary(found)
    assert list(counts.columns) == [*contrasts.FINDINGS, "largest"]
    assert counts[list(contrasts.FINDINGS)].to_numpy().sum() == len(found)
    assert counts.loc[("finetune", "relative_l2")].to_dict() == pytest.approx(
        dict.fromkeys(contrasts.FINDINGS, 0) | {"differs": 3, "second only": 1, "largest": 0.03}
    )
    back = contrasts.summary(contrasts.compare(second, first))
    assert back["largest"].tolist() == pytest.approx((-counts["largest"]).tolist())
    none = contrasts.summary(contrasts.compare(first, second.assign(corpus="gum", notebook="other")))
    assert none["largest"].isna().all() and none[PAIRED].to_numpy().sum() == 0


def test_the_clearest_difference_is_the_furthest_in_tolerances_and_not_the_largest():
    rows = [row(0.5), row(0.5, 1), row(300, 2, metric="kbits"), exact(0.5, 3), row(0.5, 4)]
    others = [row(0.6), row(0.7, 1, 0.08), row(320, 2, metric="kbits"), exact(0.65, 3), row(0.51, 4)]
    found = contrasts.compare(tables.tidy(rows), tables.tidy(others))
    clearest = contrasts.largest(found)
    assert clearest["layer"].tolist() == [3, 0, 2, 1]
    assert clearest["what"].tolist()[:2] == ["nli-1, weights relative_l2, layer 3", "nli-1, uuas, layer 0, ewt:test"]
    assert contrasts.largest(found, 1)["layer"].tolist() == [3]


def test_a_row_is_named_by_what_tells_it_apart():
    grid = {"reference_model": "base", "reference_layer": 2, "method": "rsa", "metric": "similarity across layers", "rows": "content"}  # fmt: skip
    probe = {"target": "upos", "probe_seed": 3, "method": "single layer", "metric": "accuracy"}
    names = contrasts.largest(contrasts.compare(tables.tidy([row(0.1) | grid, row(0.1) | probe]), tables.tidy([row(0.9) | grid, row(0.7) | probe])))  # fmt: skip
    assert names["what"].tolist() == [
        "nli-1 and base, rsa similarity across layers, layer 0 with 2, ewt:test, content",
        "nli-1, single layer upos accuracy, layer 0, ewt:test, probe seed 3",
    ]


def test_probes_that_learned_from_other_corpora_are_no_pair(tmp_path):
    sets = []
    for name, train in (("a", "ewt:train[3000]"), ("b", "ewt:train"), ("c", "ewt:train")):
        parameters = {"name": "nli-1", "train": train}
        made = {"notebook": "structural_probe", "parameters": parameters}
        tables.write(tmp_path / name / "probe.parquet", tables.tidy([row(0.5)]), made)
        sets.append(contrasts.read(tmp_path / name))
    found = contrasts.compare(sets[0], sets[1])
    assert found["finding"].tolist() == ["first only", "second only"]
    assert found["learned_from"].tolist() == ["ewt:train[3000]", "ewt:train"]
    assert contrasts.alone(found)["learned_from"].tolist() == ["ewt:train[3000]", "ewt:train"]
    assert contrasts.compare(sets[1], sets[2])["finding"].tolist() == ["agrees"]


def test_what_one_set_has_alone_lists_three_texts_and_counts_the_others():
    texts = tables.tidy([row(0.5, at, corpus=name) for at, name in enumerate("abcde")])
    found = contrasts.compare(tables.tidy([row(0.5)]), texts)
    assert contrasts.alone(found)["corpora"].tolist() == ["ewt:test", "a:test, b:test, c:test, 2 more"]


def test_what_one_set_has_alone_is_listed():
    gum = tables.tidy([row(0.5, corpus="gum"), row(0.5, 1, corpus="pud")])
    found = contrasts.compare(mixed(), pd.concat([mixed(skip=range(9, 13)), gum], ignore_index=True))
    assert contrasts.alone(found).values.tolist() == [
        ["first only", "finetune", "nli-1", 4, 940, "", ""],
        ["second only", "structural_probe", "nli-1", 2, 940, "", "gum:test, pud:test"],
    ]


def test_the_text_says_what_agrees_what_does_not_and_what_is_alone():
    text = contrasts.text(contrasts.compare(mixed(), mixed(0.03, skip=[0])), "minilm", "mine").splitlines()
    assert text[0] == "mine minus minilm, 12 pairs of results: 0 agree, 0 are open, 12 differ; 1 more in minilm only, 0 in mine only"  # fmt: skip
    assert "The clearest differences, 12 of 12" in text and "In one set only, the first being minilm and the second mine" in text  # fmt: skip
    assert any(
        line.startswith("+0.03 [+0.03, +0.03]  structural_probe: nli-1, uuas, layer 5, ewt:test") for line in text
    )
    assert "+0.03  finetune: nli-1, weights relative_l2, layer 0" in text
    many = [exact(0.1, at) for at in range(30)]
    text = contrasts.text(
        contrasts.compare(tables.tidy(many), tables.tidy([one | {"value": 0.9} for one in many])), "a", "b"
    )
    assert "The clearest differences, 20 of 30" in text and text.count("+0.8  ") == 20
    same = contrasts.text(contrasts.compare(mixed(), mixed()), "a", "b")
    assert "clearest" not in same and "only, the first" not in same


def test_the_text_refuses_sets_that_have_nothing_in_common():
    found = contrasts.compare(mixed(), tables.tidy([row(0.5, corpus="gum")]))
    message = "no result of minilm measures what one of demo does, so there is nothing to compare: they were measured on ewt, and on gum"  # fmt: skip
    with pytest.raises(ValueError, match=message):
        contrasts.text(found, "minilm", "demo")


def test_a_set_is_a_folder_or_a_study(tmp_path, monkeypatch):
    for place in ("build/mine/tables", "build/both/tables", "results/both/tables"):
        tables.write(tmp_path / place / "x.parquet", mixed(), {})
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    for name, place in (("mine", "build/mine"), ("both", "results/both"), ("build/both", "build/both"), ("build/mine/tables", "build/mine")):  # fmt: skip
        assert contrasts.folder(name) == tmp_path / place / "tables"
    monkeypatch.chdir(tmp_path / "build")
    assert contrasts.folder("both").resolve() == tmp_path / "build/both/tables"
    message = (
        "no tables of 'nosuch': give a folder of tables, or a study with results/nosuch/tables or build/nosuch/tables"
    )
    with pytest.raises(FileNotFoundError, match=message):
        contrasts.folder("nosuch")


@pytest.mark.slow
def test_the_published_results_agree_with_themselves_and_two_seeds_mostly_do():
    table = tables.merge(contrasts.folder("minilm"))
    assert set(contrasts.compare(table, table)["finding"]) == {"agrees"}
    found = contrasts.compare(table, table, model="nli-1", other_model="nli-2")
    counts = found["finding"].value_counts()
    assert counts["agrees"] > counts["open"] > 0 and counts["differs"] > 0
    assert len(found) == sum((table["model"] == name).sum() for name in ("nli-1", "nli-2")) - counts[PAIRED].sum()


def test_differences_in_tolerances_keep_their_rows_and_say_how_many_tolerances_wide_they_are():
    found = contrasts.compare(mixed(), mixed(0.05), tolerance=0.01)
    scaled = contrasts.in_tolerances(found)
    for end in ("value", "ci_low", "ci_high"):
        np.testing.assert_allclose(numbers(scaled, end), numbers(found, end) / numbers(found, "tolerance"))
    pd.testing.assert_series_equal(scaled["metric"], found["metric"])


def test_claims_are_judged_on_each_set_and_set_beside_each_other():
    judged = contrasts.judged({"a": mixed(), "b": mixed(0.05, study="two")})
    assert [*judged.columns] == [*verdicts.COLUMNS, "set"] and judged["study"].unique().tolist() == ["one", "two"]
    table = judged.iloc[[0, 1, len(judged) // 2, len(judged) // 2 + 1]].assign(
        claim=["x", "y"] * 2, effect=[0.5, None, None, -0.25], verdict=["supported", "not tested here"] * 2
    )
    beside = contrasts.side_by_side(table)
    assert beside.index.tolist() == ["x", "y"] and beside.columns.tolist() == ["a", "b"]
    assert beside.values.tolist() == [["supported +0.500", "supported"], ["not tested here", "not tested here -0.250"]]
    assert contrasts.judged({}).empty and "effect" in contrasts.judged({})


# ---- the chapter


@pytest.mark.slow
@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (mixed(), ["*Not measured here: both sets are the same folder"]),
        (
            mixed(0.05, skip=[0]),
            ["The clearest differences", "0.05", "1 more in mine only", "no claim could be tested"],
        ),
        (mixed(), ["minilm, second set minus minilm, 13 pairs of results: 13 agree", "None differ"]),
        (tables.tidy([row(0.5, corpus="gum")], study="two"), ["so there is nothing to compare", "gum"]),
    ],
    ids=["one set", "two that differ", "two that agree", "two of other corpora"],
)
def test_the_chapter_shows_what_there_is_to_compare(tmp_path, request, second, expected):
    one = "one set" in request.node.name
    for name, table in (("mine", seeds().assign(study="one") if one else mixed()), ("yours", second)):
        tables.write(tmp_path / name / "x.parquet", table, {"notebook": "finetune", "parameters": {"name": "x"}})
    given = {"first": str(tmp_path / "mine"), "second": str(tmp_path / ("mine" if one else "yours"))}
    given |= {} if "agree" in request.node.name else {"first_name": "mine", "second_name": "yours"}
    notebooks.run(ROOT / "notebooks/chapters/compare.ipynb", tmp_path / "out.ipynb", given)
    page = str([cell.get("outputs") for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells])
    assert [text for text in expected if text not in page] == []
    assert ("neither set has both nli-1 and nli-2" in page) is not one
