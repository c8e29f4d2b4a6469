"""The ledger lists every run with its manifest, and text as text."""

import json
import re

from bert_repro.files import ROOT
from bert_repro.results import provenance
from bert_repro.workflow import ledger

MADE = {
    "similarity-a": {
        "notebook": "similarity", "commit": "0123456789", "seconds": 90, "backend": "jax", "machine": {"gpus": ["a GPU"]},
        "parameters": {"layers": [0, 3], "name": "<b>"}, "inputs": {"corpus": "<script>", "weights": "0123456789abcdef" * 4},
    },
    "states-a": {
        "notebook": "hidden_states", "commit": "abcdefghij+changes", "seconds": 30, "machine": {"cores": 2, "cpu": "a CPU"}, "parameters": {},
    },
}  # fmt: skip


def test_overview_has_a_row_a_run_with_machine_and_time_and_says_once_why_runs_are_stale():
    page = ledger.overview(MADE, {"states-a": "the notebook is gone"})
    rows = re.findall(r"<tr>(<td>.*?)</tr>", page)
    assert len(rows) == 2 and "2 runs, 0.0 hours" in page and "1 stale" in page
    assert "0123456<" in rows[0] and "abcdefg+<" in rows[1]  # not committed
    assert 'href="#similarity-a"' in rows[0] and "a GPU, jax" in rows[0] and "<td>1.5</td>" in rows[0]
    assert "2 cores, a CPU" in rows[1] and "reason" not in rows[0] and "<td>reason 1</td>" in rows[1]
    both = ledger.overview(MADE, dict.fromkeys(MADE, "the notebook is gone"))
    assert both.count("the notebook is gone") == 1 and both.count("<td>reason 1</td>") == 2


def test_one_machine_is_named_once():
    made = {
        name: {**manifest, "machine": {"cores": 2, "cpu": "a CPU"}, "backend": "jax"} for name, manifest in MADE.items()
    }
    page = ledger.overview(made, {})
    assert page.count("2 cores, a CPU, jax") == 1 and "<th>machine</th>" not in page and "Why" not in page


def test_details_hold_parameters_command_and_manifest():
    page = ledger.details(MADE, {"states-a": "x"}, "results/minilm/tables")
    assert re.findall(r'id="([^"]+)"', page) == list(MADE)
    assert "python -m bert_repro rerun results/minilm/tables/similarity-a<" in page and "states-a: stale" in page
    assert (
        "<td>layers</td><td>[0, 3]</td>" in page
        and "0123456789abcdef…" in page
        and "0123456789abcdef01" not in page
        and "&lt;script&gt;" in page
        and "<script>" not in page
        and "<b>" not in page
    )


def test_every_published_run_can_be_shown():
    made = provenance.manifests(ROOT / "results" / "minilm" / "tables")
    assert len(made) > 50 and ledger.overview(made, {}).count("<tr><td>") == len(made)
    assert json.loads(json.dumps(list(made))) == re.findall(
        r'<details class="run" id="([^"]+)"', ledger.details(made, {}, "x")
    )


def test_costs_are_summed_by_notebook_task_and_machine():
    tuned = {"notebook": "finetune", "machine": {"cores": 2, "cpu": "a CPU"}, "backend": "jax"}
    made = {f"finetune-{n}": {**tuned, "seconds": 60 * n, "parameters": {"task": "nli"}} for n in (1, 2, 6)} | MADE
    costs = ledger.costs(made)
    assert costs.loc[("finetune", "nli", "2 cores, a CPU, jax")].tolist() == [3, 2, 9]
    assert costs["runs"].sum() == 5


def test_texts_and_versions_are_those_of_the_manifests():
    inputs = [
        {"ewt:dev": "a" * 64, "weights": "b" * 64},
        {"ewt:dev": {"model": {"corpus": "a" * 64, "weights": "c"}, "reference": {"corpus": "a" * 64}}},
        {"ewt:dev": {"corpus": "d" * 64}},
    ]
    made = {str(n): {"inputs": one, "packages": {"numpy": str(n // 2)}, "python": "3"} for n, one in enumerate(inputs)}
    texts = ledger.texts(made)
    assert texts.reset_index().values.tolist() == [["ewt:dev", "a" * 16, 2], ["ewt:dev", "d" * 16, 1]]
    assert ledger.versions(made)["version (runs)"].to_dict() == {"python": "3 (3)", "numpy": "0 (2), 1 (1)"}


def test_a_model_with_two_copies_is_told_from_one_that_was_the_same_everywhere():
    def of(weights):
        return {"weights": weights, "tokenizer": "t", "corpus": "c"}

    def made(inputs, **parameters):
        return {"inputs": inputs, "parameters": parameters}

    tuned, both = "build/s/models/a", {"model": of("w1"), "reference": of("w0")}
    runs = {
        "finetune-a": made({"weights": "w0"}, model="org/small"),
        "similarity-base-a": made({"wiki": both, "gum": both}, model=tuned, reference_model="org/small"),
        "states-a": made({"wiki": of("w1")}, model=tuned),
        "correlation": made({"tables that were read": {"states-a": "f"}}, name="a"),
    }
    assert ledger.copies(runs).empty
    runs["finetune-a-kept"] = made({"weights": "w2"}, model=tuned)
    assert ledger.copies(runs).reset_index().values.tolist() == [
        ["a", "w1", "similarity-base-a, states-a"],
        ["a", "w2", "finetune-a-kept"],
    ]


def test_every_published_text_was_the_same_in_all_runs():
    texts = ledger.texts(provenance.manifests(ROOT / "results" / "minilm" / "tables"))
    assert len(texts) > 10 and texts.index.is_unique
