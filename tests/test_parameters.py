"""Papermill's own command line is a door like the others: values are read as they are meant, or refused in the first cell."""

import shutil
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
from test_notebooks import write

from bert_repro.files import ROOT
from bert_repro.results import parameters


@pytest.fixture
def path(tmp_path):
    return write(tmp_path)


@pytest.fixture
def namespace(path):
    """A notebook's globals before anything was put in."""
    return {one.name: one.default for one in parameters.read(path)} | {"pd": pd}


def test_texts_become_what_they_say_and_numbers_stay(path, namespace):
    given = {
        "layers": "[0, 2]",
        "corpora": '["wiki", "pud"]',
        "fast": "true",
        "weights": '{"a": 1.5}',
        "words": 7,
        "rate": 1,
    }
    before = dict(namespace)
    taken = parameters.take(path, namespace | {})
    assert taken == {name: value for name, value in before.items() if name != "pd"}
    namespace.update(given)
    taken = parameters.take(path, namespace)
    assert taken == {
        "layers": [0, 2], "corpora": ["wiki", "pud"], "fast": True, "weights": {"a": 1.5}, "words": 7, "rate": 1, "name": "base"
    }  # fmt: skip
    assert {name: namespace[name] for name in taken} == taken and namespace["pd"] is pd


def test_a_text_stays_a_text(path, namespace):
    assert parameters.take(path, namespace | {"name": "[0]"})["name"] == "[0]"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": "0, 2"}, r"parameter layers \(which layers, 0 = embeddings\) must be list\[int\], got '0, 2' of type str"),
        ({"layers": 2}, r"parameter layers .* must be list\[int\], got 2 of type int"),
        ({"layers": '["a"]'}, r"must be list\[int\], got \['a'\] of type list"),
        ({"words": "many"}, "parameter words must be int, got 'many' of type str"),
        ({"words": 2.5}, "parameter words must be int, got 2.5 of type float"),
        ({"fast": "no"}, "parameter fast must be bool, got 'no' of type str"),
        ({"name": 5}, r"parameter name \(a label\) must be str, got 5 of type int"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_by_name_and_type(path, namespace, given, message):
    with pytest.raises(ValueError, match=message):
        parameters.take(path, namespace | given)


def test_a_parameter_that_is_not_there_is_refused(path, namespace):
    namespace["In"] = ["", "layers: list[int] = [0, 6]", "# Parameters\nlayer = 3\nwords = 5\n"]
    with pytest.raises(ValueError, match="has no parameter 'layer': did you mean 'layers'"):
        parameters.take(path, namespace)
    namespace["In"] = ["", "# Parameters\nlayers = [3]\nwords = 5\n"]
    assert parameters.take(path, namespace)["words"] == 5


def papermill(out, *given):
    command = [
        sys.executable,
        "-m",
        "papermill",
        "notebooks/structural_probe.ipynb",
        str(out),
        "--no-progress-bar",
        *given,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_papermill_runs_what_is_meant(tmp_path):
    table = "build/by_papermill/table.parquet"
    done = papermill(
        tmp_path / "o.ipynb",
        "-p",
        "layers",
        "[0, 2]",
        "-p",
        "targets",
        '["distance"]',
        "-p",
        "epochs",
        "1",
        "-p",
        "output",
        table,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    written = pd.read_parquet(ROOT / table)
    shutil.rmtree((ROOT / table).parent)
    assert set(written["layer"].dropna()) == {0, 2} and set(written["target"].dropna()) == {"distance"}


@pytest.mark.slow
def test_papermill_is_told_in_the_first_cell(tmp_path):
    done = papermill(tmp_path / "o.ipynb", "-p", "layers", "two")
    assert done.returncode != 0
    assert "parameter layers" in done.stderr and "must be list[int], got 'two' of type str" in done.stderr
    cells = [cell for cell in nbformat.read(tmp_path / "o.ipynb", 4).cells if cell.cell_type == "code"]
    ran = [
        cell
        for cell in cells
        if cell.get("execution_count")
        and not {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", []))
    ]
    assert len([cell for cell in ran if "papermill-error-cell-tag" not in cell.metadata.get("tags", [])]) == 1
