"""The schema holds what it is given; pairing is subtraction; a table is stale when code changed, and only then."""

import json
import os

import nbformat
import numpy as np
import pandas as pd
import pytest

from bert_repro import intervals, machine, tables

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


def test_rounding_replicates_keeps_what_intervals_are_made_of():
    draws = np.random.default_rng(0).normal(0.9, [[0.05], [1e-5], [1e-9]], (3, 200)).astype(np.float32)
    for one in draws:
        kept = tables._rounded(one)
        assert near(kept, one)
    assert not np.array_equal(tables._rounded(draws[0]), draws[0])
    assert tables._rounded(np.full(200, 0.5, np.float32)).tolist() == [0.5] * 200


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "deep" / "x.parquet"
    tables.write(path, small(), {"b": 1, "a": [2]})
    same(tables.read(path), small())
    assert tables.read(path)["replicates"][0].dtype == np.float32
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.csv", "x.manifest.json", "x.parquet", "x.replicates.parquet"]  # fmt: skip
    assert json.loads((path.parent / "x.manifest.json").read_text()) == {"a": [2], "b": 1}
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

    def broken(self, *arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", broken)
    with pytest.raises(OSError, match="disk full"):
        tables.write(tmp_path / "x.parquet", small(), {})
    assert {p.name for p in tmp_path.iterdir()} == {"x.manifest.json", "x.csv"}


def test_a_missing_table_is_answered_with_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="no table at .*x.parquet: `make report` makes the tables of a study"):
        tables.read(tmp_path / "x.parquet")


def test_merge_reads_all_tables_in_the_order_of_their_names(tmp_path):
    for name, notebook in (("b", "similarity"), ("a", "structural_probe"), ("c", "similarity")):
        content = small()[2:] if name == "c" else small()[:2]
        extra = tables.artefacts([{"kind": "curve", "content": [1]}, {"kind": "tree", "content": name}], model=name)
        tables.write(tmp_path / f"{name}.parquet", content.assign(notebook=notebook, model=name), {}, extra)
    merged = tables.merge(tmp_path)
    assert merged["model"].tolist() == ["a", "a", "b", "b", "c"]
    assert merged.index.tolist() == list(range(5))
    assert {name: str(kind) for name, kind in merged[list(tables.COLUMNS)].dtypes.items()} == tables.COLUMNS
    assert near(merged["replicates"][3], small()["replicates"][1]) and pd.isna(merged["replicates"][4])
    assert tables.merge(tmp_path, "similarity")["model"].tolist() == ["b", "b", "c"]
    assert tables.merge_artefacts(tmp_path, "tree")["content"].tolist() == ["a", "b", "c"]
    assert tables.merge_artefacts(tmp_path, "curve")["content"].tolist() == [[1]] * 3
    assert tables.merge_artefacts(tmp_path, "none").empty


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
        expected = intervals.together(
            table[mine]["value"].to_numpy(float), np.stack(list(table[mine]["replicates"])).astype(float)
        )
        assert wide[mine][["ci_low", "ci_high"]].to_numpy(float) == pytest.approx(np.stack(expected, -1))
    assert ((wide["ci_high"] - wide["ci_low"]) > (table["ci_high"] - table["ci_low"])).mean() > 0.9
    assert wide.drop(columns=["ci_low", "ci_high", "replicates"]).equals(
        table.drop(columns=["ci_low", "ci_high", "replicates"])
    )


def test_one_row_less_another():
    draw = np.random.default_rng(2).normal(size=(2, 300))
    one, other = intervals.row(0.9, 0.9 + draw[0]), intervals.row(0.6, 0.6 + draw[1])
    found = intervals.less(one, other)
    assert found["value"] == pytest.approx(0.3)
    assert np.allclose(found["replicates"], one["replicates"] - other["replicates"])
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(tuple(np.percentile(found["replicates"], [2.5, 97.5])))


def test_paired_refuses_two_rows_of_the_reference():
    table = tables.tidy([row(0.5), row(0.6), row(0.7, model="other")])
    with pytest.raises(ValueError, match="several rows of 'base' measure the same thing: filter the table first"):
        tables.paired(table, "base")


@pytest.mark.parametrize("rows", [[row(0.5), row(0.6, 1, model="other")], [row(0.5)], [row(0.5, model="other")]])
def test_paired_refuses_when_nothing_pairs(rows):
    with pytest.raises(ValueError, match="no row can be paired with one of 'base'"):
        tables.paired(tables.tidy(rows), "base")


def test_paired_refuses_rows_without_replicates(tmp_path):
    tables.write(tmp_path / "x.parquet", tables.tidy([row(0.5), row(0.7, model="other")]), {})
    (tmp_path / "x.replicates.parquet").unlink()
    with pytest.raises(ValueError, match="rows without replicates cannot be paired: are the .replicates.parquet files"):
        tables.paired(tables.read(tmp_path / "x.parquet"), "base")


def test_paired_refuses_replicates_of_other_draws():
    rows = [row(0.5), row(0.7, model="other") | {"replicates": np.zeros(100, np.float32)}]
    with pytest.raises(ValueError, match="cannot pair 100 with 200 replicates"):
        tables.paired(tables.tidy(rows), "base")


# ---- what made a table

MODULES = {
    "__init__": "",
    "core": '"""Core."""\nX = 1\n',
    "lazy": "def late():\n    from bert_repro import core\n    return core.X\n",
    "near": "import bert_repro.lazy\nimport numpy\n",
    "figures/__init__": "from bert_repro import paint\nfrom bert_repro.figures.look import RED\n",
    "figures/look": "RED = 1\n",
    "paint": "BLUE = 2\n",
    "other": "Y = 2\n",
    "parts/__init__": '"""Parts."""\n',
    "parts/one": "from bert_repro.core import X\n",
}
PARAMETERS = 'layers: list[int] = [0]  # which\nstudy: str = "smoke"\noutput: str = ""'


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of a notebook and a few modules, in place of this one."""
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    for name, code in MODULES.items():
        path = tmp_path / "bert_repro" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    (tmp_path / "notebooks").mkdir()
    notebook(tmp_path)
    return tmp_path


def notebook(root, code="from bert_repro import near, figures\nprint(1)", parameters=PARAMETERS, prose="# Measure"):
    v4 = nbformat.v4
    cells = [v4.new_markdown_cell(prose)]
    cells += [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})] if parameters else []
    path = root / "notebooks" / "measure.ipynb"
    nbformat.write(v4.new_notebook(cells=[*cells, v4.new_code_cell(code)]), path)
    return path


def names(paths):
    return [path.stem for path in paths]


def test_sources_follow_imports_inside_functions_and_packages(project):
    path = project / "notebooks" / "measure.ipynb"
    assert names(tables.sources(path)) == ["measure", "__init__", "core", "lazy", "near", "paint"]
    assert names(tables.sources(path, drawing=True)) == [
        "measure", "__init__", "core", "__init__", "look", "lazy", "near", "paint",
    ]  # fmt: skip
    parts = tables.sources(notebook(project, "from bert_repro.parts import one"))
    assert [p.relative_to(project).as_posix() for p in parts[1:]] == [
        "bert_repro/core.py", "bert_repro/parts/__init__.py", "bert_repro/parts/one.py",
    ]  # fmt: skip


def test_every_notebook_of_this_project_reads_tables_and_no_test():
    for path in sorted((tables.ROOT / "notebooks").rglob("*.ipynb")):
        found = names(tables.sources(path))
        assert "tables" in found and "intervals" in found and not {"look", "curves"} & set(found)


HARMLESS = {
    "comment": ("core", "# why\nX = 1  # one\n"),
    "docstring": ("core", '"""Another."""\nX = 1\n"""Of X."""\n'),
    "layout": ("core", "\n\nX = (\n    1\n)\n"),
    "function docstring": ("lazy", 'def late():\n    """Do it late."""\n    from bert_repro import core\n    return core.X\n'),
    "colour": ("figures/look", "RED = 3\n"),
    "a module not imported": ("other", "Y = 3\n"),
}  # fmt: skip
HARMFUL = {
    "constant": ("core", "X = 2\n"),
    "function": ("lazy", "def late():\n    from bert_repro import core\n    return 2 * core.X\n"),
    "default of a function": ("lazy", "def late(a=1):\n    from bert_repro import core\n    return core.X\n"),
}


@pytest.mark.parametrize("case", [*HARMLESS, *HARMFUL])
def test_fingerprint_changes_with_code_and_survives_what_changes_no_result(project, case):
    path = project / "notebooks" / "measure.ipynb"
    before = tables.fingerprint(path)
    module, code = (HARMLESS | HARMFUL)[case]
    (project / "bert_repro" / f"{module}.py").write_text(code)
    assert (tables.fingerprint(path) == before) == (case in HARMLESS)


def test_fingerprint_of_a_notebook_is_its_code_without_prose_and_parameter_defaults(project):
    before = tables.fingerprint(notebook(project))
    assert tables.fingerprint(notebook(project, prose="# Another title")) == before
    assert tables.fingerprint(notebook(project, parameters=PARAMETERS.replace("[0]", "[0, 6]"))) == before
    assert tables.fingerprint(notebook(project, "from bert_repro import near, figures\n\nprint(1)  # one")) == before
    assert tables.fingerprint(notebook(project, "from bert_repro import near, figures\nprint(2)")) != before


def test_fingerprint_does_not_depend_on_the_version_of_python():
    """Python 3.12 added a field to functions and classes, which would make every table of 3.11 stale."""
    assert "type_params" not in tables._bare("def f(x: int) -> int:\n    return x\nclass C:\n    pass")


def test_a_table_is_stale_when_code_changed(project):
    path = notebook(project)
    recorder = tables.Recorder("measure", {"layers": [0], "study": "s", "output": "out/x.parquet"})
    recorder.write(small(), {})
    table = project / "out" / "x.parquet"
    assert tables.stale(table) is None
    (project / "bert_repro" / "core.py").write_text(HARMFUL["constant"][1])
    assert tables.stale(table) == "the notebook or a module it imports has changed"
    path.unlink()
    assert tables.stale(table) == "the notebook measure is gone"


def test_declared_lists_the_parameters(project):
    assert tables.declared(notebook(project)) == ["layers", "study", "output"]
    with pytest.raises(ValueError, match="measure.ipynb has no cell tagged `parameters`"):
        tables.declared(notebook(project, parameters=""))


def test_recorder_writes_table_manifest_and_artefacts(project, capsys):
    tables.commit.cache_clear()
    namespace = {"layers": [0, 6], "study": "mini", "output": "out/x.parquet", "unrelated": object()}
    extra = tables.artefacts([{"kind": "curve", "content": [1]}])
    tables.Recorder("measure", namespace).write(small(), {"weights": "abc"}, extra)
    assert capsys.readouterr().out == "3 rows written to out/x.parquet\n"
    table = tables.merge(project / "out", "measure")
    assert set(table["study"]) == {"mini"} and set(table["notebook"]) == {"measure"}
    assert tables.merge_artefacts(project / "out", "curve")[["study", "notebook"]].values.tolist() == [
        ["mini", "measure"]
    ]
    manifest = json.loads((project / "out" / "x.manifest.json").read_text())
    assert manifest["parameters"] == {"layers": [0, 6], "study": "mini", "output": "out/x.parquet"}
    assert manifest["inputs"] == {"weights": "abc"}
    assert manifest["fingerprint"] == tables.fingerprint(project / "notebooks" / "measure.ipynb")
    assert manifest["commit"] == "unknown"  # the folder is no repository
    assert manifest["machine"]["cores"] == os.cpu_count() and manifest["machine"]["cpu"]
    assert 1 < manifest["machine"]["gflops"] < 1e5
    assert manifest["machine"]["gpus"] == machine.gpus() and manifest["backend"] == "tensorflow"
    assert {"numpy", "pandas", "bert_repro"} <= set(manifest["packages"]) and manifest["seconds"] >= 0
    tables.commit.cache_clear()


def test_recorder_without_output_says_so_and_writes_nothing(project, capsys):
    tables.Recorder("measure", {"layers": [0], "study": "s", "output": ""}).write(small(), {})
    assert capsys.readouterr().out == "3 rows; no `output` parameter was given, so nothing was written\n"
    assert not list(project.rglob("*.parquet"))


def test_recorder_refuses_an_empty_list_where_there_must_be_some(project):
    namespace = {"layers": [], "study": "s", "output": ""}
    tables.Recorder("measure", namespace)
    with pytest.raises(ValueError, match="layers is empty: at least one is needed"):
        tables.Recorder("measure", namespace, some=["layers"])


def test_recorder_refuses_a_notebook_that_lost_a_parameter(project):
    with pytest.raises(KeyError, match="study"):
        tables.Recorder("measure", {"layers": [0], "output": ""})


def test_kept_replicates_are_enough_for_a_row():
    made = tables.tidy([{"role": "score", "metric": "uuas"} | intervals.row(0.5, NOISE.ravel())])
    assert made["replicates"][0].shape == (intervals.KEPT,)
    assert made["ci_low"][0] < made["value"][0] < made["ci_high"][0]


def test_the_processor_has_a_name():
    assert machine.cpu_model()
