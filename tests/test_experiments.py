"""What the probe notebooks measure: every score with its controls, on every split but the first."""

import numpy as np
import pytest
from planted import States, bank_of, corpus

from bert_repro.probes import description_length, experiments, scores, spans


@pytest.fixture(scope="module")
def splits():
    draw, made = np.random.default_rng(0), []
    for name, count in (("train", 40), ("dev", 12), ("test", 15)):
        bank = bank_of(corpus(count, (5, 9), seed=count))
        rows = int(bank.rows[-1]) + 20
        states = States(draw.normal(size=(3, rows, 8)).astype(np.float32))
        made.append(experiments.Split(bank, states, f"key {name}", {"corpus": "trees", "split": name}))
    return made


def test_structural_probes_have_a_row_for_everything(splits):
    setting = {"ranks": [4, 2], "seeds": [1, 2], "epochs": 2, "shown": 2, "resamples": 100, "label": ""}
    found = experiments.structural_probes("distance", splits, [0, 2], **setting)
    seen = {(r["split"], r["layer"], r["metric"], r["probe"], r["method"], r["probe_seed"]) for r in found.rows}
    assert seen == {
        (split, layer, metric, *probe)
        for split in ("dev", "test")
        for layer in (0, 2)
        for metric in ("uuas", "dspr")
        for probe in (("structural", "rank 4", 1), ("structural", "rank 4", 2), ("structural, rank sweep", "rank 2", 1))
    }
    assert len(found.rows) == len(seen) and found.dev_loss.keys() == {
        "rank 4, seed 1",
        "rank 4, seed 2",
        "rank 2, seed 1",
    }
    assert all(np.shape(losses) == (2, 2) for losses in found.dev_loss.values())  # epochs layers
    assert [len(tree["edges"]) for tree in found.trees] == [2, 2]
    assert experiments.structural_probes("depth", splits, [0], **setting).trees == []


def test_baselines_are_scored_on_every_split(splits):
    found = experiments.baselines(["distance", "depth"], splits[1:], 100)
    assert {(r["split"], r["target"], r["model"]) for r in found} == {
        (split, *one)
        for split in ("dev", "test")
        for one in (("distance", "linear chain"), ("distance", "random tree"), ("depth", "word position"), ("depth", "first verb"))
    }  # fmt: skip


@pytest.fixture
def brief(monkeypatch):
    """Codes that are not trained to the end."""
    monkeypatch.setattr(description_length, "PLATEAU", {"updates": 1, "epochs": 3})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_edge_probes_stand_beside_their_controls(splits, brief):
    given = experiments.labels("upos", splits)
    setting = {"resamples": 100, "label": "", "kind": "linear", "epochs": 2, "seed": 3}
    found = experiments.edge_probes("upos", given, splits, [0, 1, 2], mixed=True, coded=True, **setting)
    rows = found.rows
    assert found.dev_loss.keys() == {"single layer", "control task", experiments.MIX}
    assert {row["probe"] for row in rows} == {"linear"}
    counted = {}
    for row in rows:
        key = row["method"], row["metric"], row.get("split"), row.get("role")
        counted[key] = counted.get(key, 0) + 1
    expected = {}
    for split in ("dev", "test"):
        expected |= {("single layer", "accuracy", split, None): 3, ("single layer", "selectivity", split, None): 3}
        expected |= {("control task", "accuracy", split, "control"): 3, (experiments.MIX, "accuracy", split, None): 3}
        expected[experiments.MIX, "expected layer", split, None] = 1
    for metric in ("kbits", "compression"):
        expected |= {("online code", metric, "train", None): 3, ("control task", metric, "train", "control"): 3}
    expected |= {
        (experiments.MIX, "mixing weight", None, None): 3,
        (experiments.MIX, "centre of gravity", None, None): 1,
    }
    assert counted == expected
    value = {
        (r["method"], r["metric"], r["layer"]): r["value"] for r in rows if r.get("split") == "test" and "layer" in r
    }
    for layer in range(3):
        gain = value["single layer", "accuracy", layer] - value["control task", "accuracy", layer]
        assert value["single layer", "selectivity", layer] == pytest.approx(gain)
    plain = experiments.edge_probes("upos", given, splits, [0, 1, 2], mixed=False, coded=False, **setting).rows
    assert {row["method"] for row in plain} == {"single layer", "control task"}
    assert [r["model"] for r in experiments.majority("upos", given, splits, 100)] == ["majority"] * 2


def test_one_layer_alone_has_no_expected_layer(splits):
    given = experiments.labels("upos", splits)
    rows = experiments.edge_probes(
        "upos", given, splits, [1], mixed=True, coded=False, resamples=20, label="", kind="linear", epochs=1
    ).rows
    assert "expected layer" not in {row["metric"] for row in rows}
    assert [row["value"] for row in rows if row["metric"] == "centre of gravity"] == [pytest.approx(1)]


def test_the_earlier_notebooks_metric_does_not_see_the_gold_tree(splits):
    projected = (np.random.default_rng(n).normal(size=(1, n, 4)) for n in splits[2].bank.lengths.tolist())
    for tree in scores.trees(splits[2].bank, projected):
        gold, noise = scores.earlier_metric(tree, 0)
        assert gold["earlier notebook"] == noise["earlier notebook"]
        assert gold["DSpr."] != noise["DSpr."]


def test_probes_are_tested_on_further_treebanks_as_on_test(splits):
    more = [*splits, splits[2]._replace(about={"corpus": "others", "split": "further"})]
    setting = {"resamples": 100, "label": "", "epochs": 2}
    shaped = {"ranks": [4], "seeds": [1], "shown": 1}
    found = experiments.structural_probes("distance", more, [0], **shaped, **setting).rows
    given = experiments.labels("arc", more)
    found += experiments.edge_probes("arc", given, more, [0], mixed=False, coded=False, **setting).rows
    by_split = {}
    for row in found:
        by_split.setdefault(row["split"], []).append(
            (row["target"], row["metric"], row["method"], row["value"], row["probe"])
        )
    assert by_split["further"] == by_split["test"] != by_split["dev"]  # the same sentences, the same probes
    assert {(target, probe) for target, *_, probe in by_split["further"]} == {
        ("distance", "structural"),
        ("arc", "bilinear"),
    }
    assert ("arc", "selectivity") in {row[:2] for row in by_split["further"]}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_has_no_control_task_has_no_selectivity(splits, brief, monkeypatch):
    monkeypatch.setitem(spans.EDGE_TARGETS, "upos", spans.EDGE_TARGETS["upos"]._replace(control=""))
    setting = {"mixed": False, "coded": True, "resamples": 100, "label": "", "epochs": 2}
    rows = experiments.edge_probes("upos", experiments.labels("upos", splits), splits, [0], **setting).rows
    assert {(row["method"], row["metric"]) for row in rows} == {
        ("single layer", "accuracy"),
        ("online code", "kbits"),
        ("online code", "compression"),
    }
