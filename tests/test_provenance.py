"""A manifest says what ran, and the files of its code are found."""

import json
import os
import subprocess

import nbformat
import numpy as np
import pytest

from bert_repro.files import ROOT
from bert_repro.results import provenance, recorder, tables


def small():
    """Three rows."""
    return tables.tidy(
        [{"role": "score", "metric": "uuas", "layer": n, "value": n / 4} for n in range(3)], model="base"
    )


MODULES = {
    "__init__": "",
    "core": '"""Core."""\nX = 1\n',
    "lazy": "def late():\n    from bert_repro import core\n    return core.X\n",
    "near": "import bert_repro.lazy\nimport numpy\n",
    "figures/__init__": "from bert_repro import paint\nfrom bert_repro.figures.look import RED\n",
    "figures/look": "RED = 1\n",
    "figures/planes": "X = 1\n",
    "paint": "BLUE = 2\n",
    "other": "Y = 2\n",
    "parts/__init__": '"""Parts."""\n',
    "parts/one": "from bert_repro.core import X\n",
}
PARAMETERS = 'layers: list[int] = [0]  # which\nstudy: str = "smoke"\noutput: str = ""'


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of a notebook and a few modules, in place of this one."""
    monkeypatch.setattr(recorder, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
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
    assert names(provenance.sources(path)) == [
        "measure",
        "__init__",
        "core",
        "lazy",
        "near",
    ]  # nor what draws alone imports
    assert names(provenance.sources(path, drawing=True)) == [
        "measure", "__init__", "core", "__init__", "look", "lazy", "near", "paint",
    ]  # fmt: skip
    assert names(provenance.sources(notebook(project, "from bert_repro.figures import planes")))[1:] == ["planes"]
    parts = provenance.sources(notebook(project, "from bert_repro.parts import one"))
    assert [p.relative_to(project).as_posix() for p in parts[1:]] == [
        "bert_repro/core.py", "bert_repro/parts/__init__.py", "bert_repro/parts/one.py",
    ]  # fmt: skip


def test_what_states_are_computed_by_in_another_process_counts_as_code_of_whoever_reads_them():
    for notebook_of in ("hidden_states", "similarity", "structural_probe", "edge_probe"):
        found = names(provenance.sources(ROOT / "notebooks" / f"{notebook_of}.ipynb"))
        assert {"encoder", "compute", "backend", "alignment"} <= set(found)


def test_the_commit_of_a_project_around_this_one_is_not_taken_for_ours(project):
    git = ["git", "-C", str(project), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "other"]):
        subprocess.run([*git, *command], check=True)
    provenance.commit.cache_clear()
    assert len(provenance.commit()) == 40
    provenance.commit.cache_clear()
    inner = project / "inner"
    inner.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(provenance, "ROOT", inner)
        assert provenance.commit() == "unknown"
    provenance.commit.cache_clear()


def test_every_notebook_of_this_project_reads_tables_and_no_test():
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        found = names(provenance.sources(path))
        assert "tables" in found and "intervals" in found and not {"theme", "curves"} & set(found)


def test_recorder_writes_table_manifest_and_artefacts(project, capsys):
    provenance.commit.cache_clear()
    namespace = {"layers": [0, 6], "study": "minilm", "output": "out/x.parquet", "unrelated": object()}
    extra = tables.artefacts([{"kind": "curve", "content": [1]}])
    recorder.Recorder("measure", namespace).write(small(), {"weights": "abc"}, extra)
    assert capsys.readouterr().out == "3 rows written to out/x.parquet\n"
    table = tables.merge(project / "out", "measure")
    assert set(table["study"]) == {"minilm"} and set(table["notebook"]) == {"measure"}
    assert tables.merge_artefacts(project / "out", "curve")[["study", "notebook"]].values.tolist() == [
        ["minilm", "measure"]
    ]
    manifest = json.loads((project / "out" / "x.manifest.json").read_text())
    assert manifest["parameters"] == {"layers": [0, 6], "study": "minilm", "output": "out/x.parquet"}
    assert manifest["inputs"] == {"weights": "abc"}
    assert "fingerprint" not in manifest
    assert manifest["commit"] == "unknown"  # the folder is no repository
    assert manifest["machine"]["cores"] == os.cpu_count() and manifest["machine"]["cpu"]
    assert 1 < manifest["machine"]["gflops"] < 1e5
    assert manifest["machine"]["gpus"] == provenance.gpus() and manifest["backend"] == "tensorflow"
    assert {"numpy", "pandas", "bert_repro"} <= set(manifest["packages"]) and manifest["seconds"] >= 0
    provenance.commit.cache_clear()


def test_warnings_are_said_once_and_stand_in_the_manifest(project, capsys):
    run = recorder.Recorder("measure", {"layers": [0], "study": "s", "output": "out/x.parquet"})
    run.warn(["One text.", "Another.", "One text."])
    run.warn(["Another."])
    assert capsys.readouterr().out == "Warning: One text.\nWarning: Another.\n"
    run.write(small(), {})
    assert json.loads((project / "out" / "x.manifest.json").read_text())["warnings"] == ["One text.", "Another."]


@pytest.mark.parametrize(
    ("units", "told"), [(10, ""), (9, "3 numbers have an interval of fewer than 10 sentences or items (9 at least)")]
)
def test_intervals_of_few_units_are_told(project, capsys, units, told):
    table = small()
    table["units"], table["replicates"] = units, [np.ones(3, np.float32)] * len(table)
    run = recorder.Recorder("measure", {"layers": [0], "study": "s", "output": ""})
    run.write(table.assign(replicates=None), {})
    assert run.warnings == []
    run.write(table, {})
    assert len(run.warnings) == bool(told) and told in capsys.readouterr().out


def test_recorder_without_output_says_so_and_writes_nothing(project, capsys):
    recorder.Recorder("measure", {"layers": [0], "study": "s", "output": ""}).write(small(), {})
    assert capsys.readouterr().out == "3 rows; no `output` parameter was given, so nothing was written\n"
    assert not list(project.rglob("*.parquet"))


def test_recorder_refuses_an_empty_list_where_there_must_be_some(project):
    namespace = {"layers": [], "study": "s", "output": ""}
    recorder.Recorder("measure", namespace)
    with pytest.raises(ValueError, match="layers is empty: at least one is needed"):
        recorder.Recorder("measure", namespace, some=["layers"])


def test_recorder_refuses_a_notebook_that_lost_a_parameter(project):
    with pytest.raises(KeyError, match="study"):
        recorder.Recorder("measure", {"layers": [0], "output": ""})


def test_the_processor_has_a_name():
    assert provenance.cpu_model()
