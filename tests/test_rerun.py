"""A table's run can be made again from its manifest, with other parameters, and trains first what it needs."""

import json
import shutil
from pathlib import Path

import pytest

from bert_repro.__main__ import main
from bert_repro.files import ROOT
from bert_repro.results import provenance, tables
from bert_repro.workflow.notebooks import rerun

SMOKE = {
    "structural_probe-base": ("structural_probe", {"model": "tiny", "name": "base", "layers": [], "rank": 4, "epochs": 1, "resamples": 100}),
    "similarity-base-nli-1": (
        "similarity",
        {"model": "build/gone/models/nli-1", "name": "nli-1", "reference_model": "tiny", "corpora": ["wiki[60]"], "words": 50,
         "more_methods": [], "grid_methods": [], "classes_corpus": "", "classes": [], "lengths_of": "", "as_long": [],
         "second_sample": False, "resamples": 100},
    ),
    "finetune-nli-1": ("finetune", {"model": "tiny", "updates": 2, "batch_size": 8, "evaluations": 1, "reverted_layers": [], "save": "build/gone/models/nli-1"}),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Manifests of three runs, one of which trains what another reads; the fixture leaves nothing in build/."""
    for name, (notebook, given) in SMOKE.items():
        made = {
            "notebook": notebook,
            "seconds": 60,
            "parameters": given | {"study": "s", "output": f"x/{name}.parquet", "of old": 1},
        }
        (tmp_path / f"{name}.manifest.json").write_text(json.dumps(made))
    return tmp_path


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Reruns go to a folder of the test."""
    monkeypatch.setattr(rerun, "OUT", tmp_path / "reruns")
    return tmp_path / "reruns"


@pytest.mark.slow
def test_a_run_is_made_again_with_another_layer(folder, elsewhere):
    page = rerun.rerun(folder / "structural_probe-base.parquet", [("layers", "[1]")])
    assert page == elsewhere / "structural_probe-base.html" and "Structural" in page.read_text()
    table = tables.read(elsewhere / "structural_probe-base.parquet")
    assert set(table["layer"].dropna()) == {1}
    again = provenance.manifests(elsewhere)["structural_probe-base"]["parameters"]
    assert again["layers"] == [1] and again["rank"] == 4 and "of old" not in again


@pytest.mark.slow
def test_an_encoder_that_is_not_there_is_trained_first(folder, elsewhere, capsys, request):
    saved = Path("build") / elsewhere.parent.name  # encoders lie in the project's build folder, which git ignores
    request.addfinalizer(lambda: shutil.rmtree(ROOT / saved, ignore_errors=True))
    for name in SMOKE:
        path = folder / f"{name}.manifest.json"
        path.write_text(path.read_text().replace("build/gone", str(saved)))
    with pytest.raises(FileNotFoundError):
        rerun._train("build/nowhere/models/x", provenance.manifests(folder))
    rerun.rerun(folder / "similarity-base-nli-1")
    assert "is not there: training it first, as finetune-nli-1 did in 1 minutes" in capsys.readouterr().out
    assert (ROOT / saved / "models" / "nli-1" / "model.safetensors").is_file()
    assert set(tables.read(elsewhere / "similarity-base-nli-1.parquet")["model"]) >= {"nli-1"}


def test_a_run_that_reads_tables_reads_those_beside_its_own(folder, elsewhere, monkeypatch):
    """Not those of build/, which a stranger's clone does not have."""
    parameters = {"study": "s", "tables_folder": "build/gone/tables", "output": "x/change_and_function.parquet"}
    manifest = {"notebook": "change_and_function", "seconds": 1, "parameters": parameters}
    (folder / "change_and_function.manifest.json").write_text(json.dumps(manifest))
    asked = []
    monkeypatch.setattr(rerun.notebooks, "run", lambda notebook, out, settings, **more: asked.append(settings))
    rerun.rerun(folder / "change_and_function")
    assert (ROOT / asked[0]["tables_folder"]).resolve() == folder.resolve()
    rerun.rerun(folder / "change_and_function", [("tables_folder", "results/minilm/tables")])
    assert asked[1]["tables_folder"] == "results/minilm/tables"


def test_what_cannot_be_rerun_is_told(folder, capsys):
    def told(*arguments):
        assert main(["rerun", *map(str, arguments)]) == 1
        return capsys.readouterr().err

    assert "no manifest of a table 'x'" in (said := told(folder / "x")) and "structural_probe-base" in said
    assert "has no parameter 'layer': did you mean 'layers'?" in told(
        folder / "structural_probe-base", "-p", "layer", "[1]"
    )
    assert "must be list[int]" in told(folder / "structural_probe-base", "-p", "layers", '["a"]')
    (folder / "finetune-nli-1.manifest.json").unlink()
    assert "the encoder build/gone/models/nli-1 is not there, and no manifest" in told(folder / "similarity-base-nli-1")
