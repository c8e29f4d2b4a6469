"""The ledger lists every run with its manifest, and text as text."""

import json
import re

import yaml

from bert_repro import ledger, provenance
from bert_repro.study import ROOT

MADE = {
    "similarity-a": {
        "notebook": "similarity", "commit": "0123456789", "seconds": 90, "backend": "jax", "machine": {"gpus": ["a GPU"]},
        "parameters": {"layers": [0, 3], "name": "<b>"}, "inputs": {"corpus": "<script>"},
    },
    "states-a": {
        "notebook": "hidden_states", "commit": "abcdefghij", "seconds": 30, "machine": {"cores": 2, "cpu": "a CPU"}, "parameters": {},
    },
}  # fmt: skip


def test_overview_has_a_row_a_run_with_machine_time_and_why_it_is_stale():
    page = ledger.overview(MADE, {"states-a": "the notebook is gone"})
    rows = re.findall(r"<tr>(<td>.*?)</tr>", page)
    assert len(rows) == 2 and "2 runs, 0.0 hours" in page and "1 stale" in page
    assert 'href="#similarity-a"' in rows[0] and "a GPU, jax" in rows[0] and "<td>1.5</td><td></td>" in rows[0]
    assert "2 cores, a CPU" in rows[1] and "the notebook is gone" in rows[1]


def test_details_hold_parameters_command_and_manifest():
    page = ledger.details(MADE, {"states-a": "x"}, "results/mini/tables")
    assert re.findall(r'id="([^"]+)"', page) == list(MADE)
    assert "python -m bert_repro rerun results/mini/tables/similarity-a<" in page and "states-a: stale" in page
    assert (
        "<td>layers</td><td>[0, 3]</td>" in page
        and "&lt;script&gt;" in page
        and "<script>" not in page
        and "<b>" not in page
    )


def test_equivalents_are_listed_or_said_to_be_none(tmp_path):
    assert "None is claimed" in ledger.equivalents(tmp_path / "equivalent.yaml")
    known = [{"notebook": "similarity", "code": "c", "same_as": ["a", "b"], "shown": "by running <both>"}]
    (tmp_path / "equivalent.yaml").write_text(yaml.safe_dump(known))
    assert "2 older versions: by running &lt;both&gt;" in ledger.equivalents(tmp_path / "equivalent.yaml")


def test_every_published_run_can_be_shown():
    made = provenance.manifests(ROOT / "results" / "mini" / "tables")
    assert len(made) > 50 and ledger.overview(made, {}).count("<tr><td>") == len(made)
    assert json.loads(json.dumps(list(made))) == re.findall(
        r'<details class="run" id="([^"]+)"', ledger.details(made, {}, "x")
    )
