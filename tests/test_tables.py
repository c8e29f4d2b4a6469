"""The schema holds what it is given; files keep it; pairing is subtraction."""

import json

import numpy as np
import pandas as pd
import pytest

from bert_repro.results import intervals, tables

NOISE = np.random.default_rng(0).normal(size=(4, 200))


def row(value, layer=0, **columns):
    spread = columns.pop("spread", 0.1)
    given = {"role": "score", "model": "base", "metric": "uuas", "layer": layer, "value": value, "n": 7}
    return given | {"replicates": (value + spread * NOISE[layer]).astype(np.float32)} | columns


def small():
    return tables.tidy(
        [row(0.5, seed=3), row(0.75, 1), {"role": "baseline", "value": 1}], study="small", corpus="trees"
    )


# ---- rows


def test_tidy_gives_every_column_in_order_and_type():
    table = small()
    assert list(table.columns) == [*tables.COLUMNS, "replicates"]
    assert {name: str(kind) for name, kind in table[list(tables.COLUMNS)].dtypes.items()} == tables.COLUMNS
    assert table["study"].tolist() == ["small"] * 3
    assert table["layer"].tolist() == [0, 1, pd.NA]
    assert table["seed"].isna().tolist() == [False, True, True]
    assert table["value"].tolist() == [0.5, 0.75, 1.0]


def test_a_row_wins_over_a_constant():
    assert tables.tidy([row(1), row(2, model="own")], model="all")["model"].tolist() == ["base", "own"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "a table needs at least one row: nothing was measured"),
        ([row(1), row(1, colour="red")], r"unknown table columns \['colour'\]: the schema has \['study', 'notebook'"),
        (
            [row(1, role="guess")],
            r"unknown roles \['guess'\]: expected one of \['score', 'control', 'baseline', 'floor'",
        ),
        ([row(1), row(np.nan, 2)], "1 of 2 values are missing or not finite, the first in"),
        ([row(np.inf), row(1)], "1 of 2 values are missing or not finite"),
        ([{"role": "score"}], "1 of 1 values are missing or not finite"),
    ],
)
def test_tidy_refuses(rows, message):
    with pytest.raises(ValueError, match=message):
        tables.tidy(rows)


def test_artefacts_hold_json_of_any_shape_and_no_unknown_column():
    frame = tables.artefacts(
        [{"kind": "curve", "content": {"loss": [1, 0.5]}}, {"kind": "note", "content": None}], model="m"
    )
    assert list(frame.columns) == list(tables.ARTEFACTS)
    assert [json.loads(content) for content in frame["content"]] == [{"loss": [1, 0.5]}, None]
    with pytest.raises(ValueError, match=r"unknown artefact columns \['value'\]: the schema has \['study'"):
        tables.artefacts([{"kind": "curve", "content": 1, "value": 2}])


# ---- files


def same(one, other):
    pd.testing.assert_frame_equal(one.drop(columns="replicates"), other.drop(columns="replicates"))
    for left, right in zip(one["replicates"], other["replicates"], strict=True):
        assert (np.ndim(left) == 0 and pd.isna(left) and pd.isna(right)) or near(left, right)


def near(left, right):
    """Tell whether replicates are others but for the digits that a file does not keep."""
    return np.abs(left - right).max() <= np.std(right) / 32


def test_rounded_replicates_keep_what_intervals_are_made_of():
    for replicates in np.random.default_rng(0).normal(0.9, [[0.05], [1e-5], [1e-7]], (3, 200)).astype(np.float32):
        kept = tables._rounded(replicates)
        assert near(kept, replicates)
        assert np.array_equal(tables._rounded(kept), kept)  # written twice is written once
    assert not np.array_equal(tables._rounded(NOISE[0]), NOISE[0])


@pytest.mark.parametrize("constant", [0.5, 0.0, -3.0, 1e-9])
def test_rounded_replicates_that_do_not_vary_are_exact(constant):
    assert tables._rounded(np.full(200, constant, np.float32)).tolist() == [np.float32(constant)] * 200


def test_rounded_replicates_say_where_one_is_undefined():
    partly = np.where(np.arange(200) % 7 == 0, np.nan, NOISE[0])
    assert np.array_equal(np.isnan(tables._rounded(partly)), np.isnan(partly))
    assert np.isnan(tables._rounded(np.full(200, np.nan))).all()


def test_replicates_are_plain_floats_that_take_a_byte_each(tmp_path):
    noise = np.random.default_rng(1).normal(0, 0.01, (200, 200))
    rows = [row(0.5 + i / 400, i % 4, corpus=f"c{i}") | {"replicates": 0.5 + i / 400 + noise[i]} for i in range(200)]
    tables.write(tmp_path / "x.parquet", tables.tidy(rows), {})
    stored = pd.read_parquet(tmp_path / "x.replicates.parquet")
    assert stored["row"].tolist() == list(range(200))
    assert all(map(np.array_equal, stored["replicates"], tables.read(tmp_path / "x.parquet")["replicates"]))
    assert (tmp_path / "x.replicates.parquet").stat().st_size < 200 * 200 * 0.95


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "deep" / "x.parquet"
    tables.write(path, small(), {"b": 1, "a": [2]})
    same(tables.read(path), small())
    assert tables.read(path)["replicates"][0].dtype == np.float32
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.csv", "x.manifest.json", "x.parquet", "x.replicates.parquet"]  # fmt: skip
    assert json.loads((path.parent / "x.manifest.json").read_text()) == {"a": [2], "b": 1, "schema": tables.SCHEMA}
    people = pd.read_csv(path.parent / "x.csv")
    assert list(people.columns) == list(tables.COLUMNS) and people["value"].tolist() == [0.5, 0.75, 1.0]


def test_a_filtered_table_keeps_its_replicates_with_their_rows(tmp_path):
    tables.write(tmp_path / "x.parquet", small()[1:], {})
    same(tables.read(tmp_path / "x.parquet"), small()[1:].reset_index(drop=True))


@pytest.mark.parametrize("content", [small()[2:], small()[:2]], ids=["without replicates", "with"])
def test_a_table_whose_replicates_file_is_missing_is_read_without(tmp_path, content):
    tables.write(tmp_path / "x.parquet", content, {})
    (tmp_path / "x.replicates.parquet").unlink()
    assert tables.read(tmp_path / "x.parquet")["replicates"].isna().all()


def test_the_table_itself_appears_last(tmp_path, monkeypatch):
    """Whoever finds x.parquet finds all of it; a write that breaks leaves neither a table nor a partial file."""

    def broken(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(tables.parquet, "write_table", broken)
    with pytest.raises(OSError, match="disk full"):
        tables.write(tmp_path / "x.parquet", small(), {})
    assert {p.name for p in tmp_path.iterdir()} == {"x.manifest.json", "x.csv"}


def test_a_missing_table_is_answered_with_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="no table at .*x.parquet: `make report` makes the tables of a study"):
        tables.read(tmp_path / "x.parquet")


def test_a_table_of_a_former_version_is_told_and_not_misread(tmp_path):
    tables.write(tmp_path / "x.parquet", small(), {})
    manifest = tmp_path / "x.manifest.json"
    assert json.loads(manifest.read_text()) == {"schema": tables.SCHEMA}
    manifest.write_text("{}")
    with pytest.raises(
        ValueError, match="x.parquet was written by a former version, .*: remove the folder, and `make report`"
    ):
        tables.merge(tmp_path)


def test_a_split_is_found_whatever_was_drawn_from_it():
    table = tables.tidy(
        [row(0.5) | {"split": split} for split in ("test", "test[500]", "dev[-20]", "", None)], corpus="trees"
    )
    assert tables.of_split(table, "test").tolist() == [True, True, False, False, False]
    laid_out = tables.tidy([row(0.5) | {"split": split} for split in ("test[9]~dev[60]", "test~dev")], corpus="a~b")
    assert tables.of_split(laid_out, "test~dev").all() and not tables.of_split(laid_out, "test").any()
    assert not len(tables.of_split(table[:0], "test"))


def selectable():
    return tables.tidy(
        [
            row(0.1, 0, method="rsa", split="test[500]"),
            row(0.2, 1, method="rsa", split="test", rows="content"),
            row(0.3, 2, method="cka", split="dev[9]"),
            {"role": "baseline", "value": 0.4, "method": "rsa"},
        ]
    )


@pytest.mark.parametrize(
    ("equal", "values"),
    [
        ({}, [0.1, 0.2, 0.3, 0.4]),
        ({"method": "rsa", "role": "score"}, [0.1, 0.2]),
        ({"layer": [0, 2]}, [0.1, 0.3]),
        ({"layer": np.array([2, 7])}, [0.3]),
        ({"method": pd.Series(["cka"])}, [0.3]),
        ({"rows": None}, [0.1, 0.3, 0.4]),
        ({"layer": pd.NA}, [0.4]),
        ({"layer": [None, 1]}, [0.2, 0.4]),
        ({"split": "test"}, [0.1, 0.2]),
        ({"split": "test[500]"}, [0.1]),
        ({"split": ["dev", None]}, [0.3, 0.4]),
        ({"method": []}, []),
        ({"method": "nobody's"}, []),
    ],
)
def test_select_takes_the_rows_that_a_mask_would(equal, values):
    table = selectable()
    chosen = tables.select(table, **equal)
    assert chosen["value"].tolist() == values
    pd.testing.assert_frame_equal(chosen, table.loc[chosen.index])  # rows, order and types are the table's
    assert tables.select(table[:0], **equal).empty


def test_select_finds_rows_where_several_have_one_index():
    twice = pd.concat([selectable(), selectable()])
    assert tables.select(twice, method="cka")["value"].tolist() == [0.3, 0.3]


def test_texts_are_named_as_references():
    named = [("ewt", "dev"), ("ewt", "dev[9]"), ("mine.conllu", "[20]"), ("mine.txt", None), (None, None)]
    table = tables.tidy([row(1, corpus=corpus, split=split) for corpus, split in named])
    assert tables.texts(table).fillna("-").tolist() == ["ewt:dev", "ewt:dev[9]", "mine.conllu[20]", "mine.txt", "-"]


def test_select_refuses_unknown_columns():
    with pytest.raises(ValueError, match=r"^unknown columns \['metrik', 'x'\]: the table has \['study', 'notebook', "):
        tables.select(selectable(), metrik="rsa", role="score", x=None)


def test_the_first_text_is_the_one_that_comes_first():
    texts = [("wiki", "dev"), ("wiki", "test"), ("mnli", "dev"), ("wiki", "dev")]
    table = tables.tidy([row(0.1) | {"corpus": corpus, "split": split} for corpus, split in texts])
    assert tables.on_first_text(table).index.tolist() == [0, 3] and tables.on_first_text(table[:0]).empty


@pytest.mark.parametrize("suffix", [".parquet", ".replicates.parquet"])
@pytest.mark.parametrize(
    "damage", [lambda held: held[: len(held) // 2], lambda held: flipped(held, 40), lambda held: b""]
)
def test_a_damaged_table_is_told_with_what_to_do(tmp_path, suffix, damage):
    tables.write(tmp_path / "x.parquet", small(), {})
    file = (tmp_path / "x.parquet").with_suffix(suffix)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(
        OSError, match=rf"x{suffix} is damaged: `git checkout` .*; remove .*/x.parquet, and `make report`"
    ):
        tables.read(tmp_path / "x.parquet")


def flipped(held, at):
    """Change a bit of what is stored, behind the header of a page."""
    return held[:at] + bytes([held[at] ^ 4]) + held[at + 1 :]


def test_merge_reads_all_tables_in_the_order_of_their_names(tmp_path):
    for name, notebook in (("b", "similarity"), ("a", "structural_probe"), ("c", "similarity")):
        content = small()[2:] if name == "c" else small()[:2]
        extra = tables.artefacts([{"kind": "curve", "content": [1]}, {"kind": "tree", "content": name}], model=name)
        tables.write(
            tmp_path / f"{name}.parquet", content.assign(notebook=notebook, model=name), {"notebook": notebook}, extra
        )
    merged = tables.merge(tmp_path)
    assert merged["model"].tolist() == ["a", "a", "b", "b", "c"]
    assert merged.index.tolist() == list(range(5))
    assert {name: str(kind) for name, kind in merged[list(tables.COLUMNS)].dtypes.items()} == tables.COLUMNS
    assert near(merged["replicates"][3], small()["replicates"][1]) and pd.isna(merged["replicates"][4])
    assert tables.merge(tmp_path, "similarity")["model"].tolist() == ["b", "b", "c"]
    assert tables.merge_artefacts(tmp_path, "tree")["content"].tolist() == ["a", "b", "c"]
    assert tables.merge_artefacts(tmp_path, "curve")["content"].tolist() == [[1]] * 3
    assert tables.merge_artefacts(tmp_path, "none").empty
    tables.write(tmp_path / "bert-v1.1.parquet", small()[:2].assign(model="dotted"), {"notebook": "similarity"})
    assert "dotted" in tables.merge(tmp_path)["model"].tolist()


@pytest.mark.parametrize(("notebook", "what"), [(None, "tables"), ("edge_probe", "tables of edge_probe")])
def test_merge_refuses_an_empty_folder(tmp_path, notebook, what):
    if notebook:
        tables.write(tmp_path / "x.parquet", small().assign(notebook="similarity"), {})
    with pytest.raises(FileNotFoundError, match=f"no {what} in .*: `make report` makes them"):
        tables.merge(tmp_path, notebook)


def test_artefacts_of_a_folder_without_any_are_none(tmp_path):
    assert tables.merge_artefacts(tmp_path, "tree").empty


# ---- pairs


def test_paired_subtracts_row_by_row_and_resample_by_resample():
    table = tables.tidy(
        [row(0.5), row(0.6, 1), row(0.75, model="nli-1", spread=0.2), row(0.5, 1, model="nli-1"), row(0.9, model="parsing-1"), row(0.4, 2, model="parsing-1")],
        notebook="structural_probe", corpus="trees",
    )  # fmt: skip
    difference = tables.paired(table, "base")
    assert list(difference.columns) == [*tables.COLUMNS, "replicates"]
    assert set(difference["reference_model"]) == {"base"}
    assert list(zip(difference["model"], difference["layer"], strict=True)) == [("nli-1", 0), ("nli-1", 1), ("parsing-1", 0)]  # fmt: skip
    assert difference["value"].tolist() == pytest.approx([0.25, -0.1, 0.4])
    assert np.allclose(difference["replicates"][0], 0.25 + 0.1 * NOISE[0], atol=1e-6)
    low, high = np.percentile(0.25 + 0.1 * NOISE[0], [2.5, 97.5])
    assert (difference["ci_low"][0], difference["ci_high"][0]) == pytest.approx((low, high), abs=1e-6)
    # what both models owe to the draw of sentences is gone
    assert difference["ci_low"][1] == pytest.approx(difference["ci_high"][1], abs=1e-6)


def test_minus_is_paired_or_no_rows_where_a_side_is_missing():
    table = tables.tidy([row(0.5), row(0.6, 1), row(0.75, model="nli-1", spread=0.2), row(0.5, 1, model="nli-1")])
    pd.testing.assert_frame_equal(tables.minus(table, "base"), tables.paired(table, "base"))
    together = tables.at_once(tables.paired(table, "base"))
    pd.testing.assert_frame_equal(tables.minus(table, "base", over="layer"), together)
    assert together["ci_low"][0] < tables.paired(table, "base")["ci_low"][0]
    for alone in (table[:0], table[table["model"] == "base"], table[table["model"] == "nli-1"]):
        assert tables.minus(alone, "base", over="layer").empty and "value" in tables.minus(alone, "base")
    with pytest.raises(ValueError, match="no row can be paired with one of 'base'"):
        tables.minus(table.assign(corpus=table["model"]), "base")


def test_corpora_and_tasks_are_paired_like_models():
    rows = [row(0.5, corpus=corpus, model=model, task=task, seed=1) | {"value": value} for corpus, model, task, value in
            [("wiki", "a-1", "a", 0.9), ("mnli", "a-1", "a", 0.6), ("wiki", "b-1", "b", 0.8), ("mnli", "b-1", "b", 0.7)]]  # fmt: skip
    table = tables.tidy(rows)
    texts = tables.paired(table, "wiki", by="corpus", same=["model"])
    assert list(zip(texts["model"], texts["corpus"], texts["value"].round(6), strict=True)) == [
        ("a-1", "mnli", -0.3), ("b-1", "mnli", -0.1)
    ]  # fmt: skip
    assert texts["reference_model"].isna().all()
    tasks = tables.paired(table, "b", by="task", same=["seed"])
    assert list(zip(tasks["task"], tasks["corpus"], tasks["value"].round(6), strict=True)) == [
        ("a", "wiki", 0.1), ("a", "mnli", -0.1)
    ]  # fmt: skip
    with pytest.raises(ValueError, match="several rows of 'wiki' measure the same thing"):
        tables.paired(table, "wiki", by="corpus")


def test_rows_are_paired_where_a_key_is_empty_on_both_sides_only():
    rows = [row(1.0, split="dev"), row(2.0, model="other", split="dev"), row(3.0, model="other")]
    assert tables.paired(tables.tidy(rows), "base")["value"].tolist() == [1.0]


def test_bands_of_a_curve_hold_at_once_and_each_curve_has_its_own():
    draw = np.random.default_rng(1)
    rows = [
        {
            "model": model,
            "layer": layer,
            "metric": "uuas",
            **intervals.row(0.1 * layer, 0.1 * layer + draw.normal(size=200)),
        }
        for model in ("nli-1", "squad-1")
        for layer in range(7)
    ]
    table = tables.tidy(rows, role="score")
    wide = tables.at_once(table)
    for model in ("nli-1", "squad-1"):
        mine = table["model"] == model
        wider = intervals.wider_together(np.stack(list(table[mine]["replicates"])).astype(float))
        half = (table[mine]["ci_high"] - table[mine]["ci_low"]).to_numpy(float) / 2 * wider
        value = table[mine]["value"].to_numpy(float)
        assert wide[mine][["ci_low", "ci_high"]].to_numpy(float) == pytest.approx(
            np.stack([value - half, value + half], -1)
        )
    assert ((wide["ci_high"] - wide["ci_low"]) > (table["ci_high"] - table["ci_low"])).mean() > 0.9
    assert wide.drop(columns=["ci_low", "ci_high", "replicates"]).equals(
        table.drop(columns=["ci_low", "ci_high", "replicates"])
    )


def test_paired_refuses_a_jackknife_beside_a_bootstrap():
    other = row(0.7, model="other")
    rows = [row(0.5), other | {"replicates": other["replicates"].view(intervals.Jackknifed)}]
    with pytest.raises(ValueError, match="a bootstrap and of a jackknife cannot be paired"):
        tables.paired(tables.tidy(rows), "base")


# ---- what made a table


def test_the_first_replicates_are_kept_and_a_jackknife_is_known_as_one(tmp_path):
    drawn = np.random.default_rng(3).normal(size=(3, 1000))
    rows = [
        {"role": "score", "metric": "uuas"} | intervals.row(0.5, of_row)
        for of_row in (*drawn[:2], drawn[2].view(intervals.Jackknifed))
    ]
    tables.write(tmp_path / "x.parquet", tables.tidy(rows), {})
    read = tables.read(tmp_path / "x.parquet")["replicates"]
    assert list(map(len, read)) == [intervals.KEPT] * 3
    assert all(near(kept, of_row[: intervals.KEPT]) for kept, of_row in zip(read, drawn, strict=True))
    assert [isinstance(of_row, intervals.Jackknifed) for of_row in read] == [False, False, True]
