"""Encoders that lie in the clone: small enough, opened by name, and with nothing of the machine that they were made on."""

import importlib.util
import json
import re

import numpy as np
import pytest
from safetensors import safe_open

from bert_repro import checkpoints
from bert_repro.checkpoints import builtin
from bert_repro.files import ROOT

FOLDERS = sorted(path.parent for path in (ROOT / "encoders").glob("*/config.json"))


@pytest.fixture
def ship(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("ship", ROOT / "encoders" / "ship.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(builtin, "ROOT", tmp_path)
    return module.ship


def test_every_name_has_its_folder():
    assert {path.name for path in FOLDERS} == set(checkpoints.SHIPPED)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_what_is_shipped_is_small_half_precise_and_says_where_it_came_from(folder):
    opened = checkpoints.open(folder.name)
    assert opened.folder == folder and opened.licence == "apache-2.0"
    opened.check()
    with safe_open(folder / "model.safetensors", "np") as weights:
        assert {weights.get_tensor(key).dtype for key in weights.keys()} == {np.dtype(np.float16)}  # noqa: SIM118
    assert sum(path.stat().st_size for path in folder.iterdir()) < 16e6
    assert not re.search(r'"[^"]*/[^"]*"', (folder / "config.json").read_text())
    assert (opened.record.get("base"), opened.record.get("seed")) == (
        ("small", 1) if "-" in folder.name else (None, None)
    )
    card = (folder / "README.md").read_text()
    for said in ("Licence", "Apache-2.0", "updates", "must not be used"):
        assert said in card, said


def test_shipping_rounds_to_half_precision_and_forgets_where_it_was_made(ship, tmp_path):
    source = tmp_path / "made" / "nli-1"
    source.mkdir(parents=True)
    tiny = checkpoints.open("tiny")
    record = {"base": "/somewhere/plan", "task": "nli", "seed": 1, "updates": 940}
    checkpoints.Checkpoint.write(source, tiny.config, tiny.weights(), tiny, record, ("yes", "no"))
    (tmp_path / "encoders" / "small-nli").mkdir(parents=True)
    (tmp_path / "encoders" / "small-nli" / "README.md").write_text("A card.")
    shipped = ship(str(source), "small-nli")
    assert shipped.record == record | {"base": "small"} and shipped.labels == ("yes", "no")
    assert shipped.tokenizer_digest == tiny.tokenizer_digest
    for key, array in tiny.weights().items():
        np.testing.assert_array_equal(shipped.weights()[key], array.astype(np.float16).astype(np.float32))
    assert (shipped.folder / "README.md").read_text() == "A card."
    assert ship(str(source), "small").record == {}
    assert "somewhere" not in json.dumps([path.read_text() for path in (tmp_path / "encoders").rglob("*.json")])


def test_shipping_refuses_other_names_and_weights_beyond_half_precision(ship, tmp_path):
    with pytest.raises(ValueError, match=r"^'mine' is none of the names \['small', 'small-nli', "):
        ship("tiny", "mine")
    tiny = checkpoints.open("tiny")
    weights = tiny.weights()
    weights["pooler.dense.bias"] = np.full(32, 1e6, np.float32)
    (tmp_path / "large").mkdir()
    checkpoints.Checkpoint.write(tmp_path / "large", tiny.config, weights, tiny)
    with pytest.raises(ValueError, match=r"large: pooler.dense.bias has values that half precision cannot hold$"):
        ship(str(tmp_path / "large"), "small")


def test_outside_a_clone_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(builtin, "ROOT", tmp_path)
    with pytest.raises(
        OSError, match=rf"^'small' lies in encoders/ of a clone of this project, and {tmp_path} has none: run "
    ):
        checkpoints.open("small")
