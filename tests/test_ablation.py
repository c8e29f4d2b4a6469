"""Change and function: a planted order is found, its reverse too, and noise is no order."""

import numpy as np
import pandas as pd
import pytest

from bert_repro.results import claims, intervals, scores, tables, verdicts

LAYERS = range(7)
NOISE = np.random.default_rng(0)


def spread(value, size=1e-3):
    return intervals.row(value, value + size * NOISE.normal(size=200))


def study(effect=lambda layer: layer, restored=lambda layer: layer, size=1e-3, task="parsing"):
    """Tables of a base and a tuned encoder: layer k lost k/10 of RSA, moved its probes and its task's score as told."""
    tuned = {"model": f"{task}-1", "task": task, "seed": 1, "updates": 9, "layers_changed": "all"}
    rows = []
    for layer in LAYERS:
        common = {"role": "score", "layer": layer}
        similar = {
            "notebook": "similarity",
            "reference_model": "base",
            "metric": "similarity",
            "method": "rsa",
            "split": "all",
        }
        rows += [
            {**common, **tuned, **similar, "corpus": "wiki", **spread(1 - layer / 10, size)},
            {**common, **tuned, **similar, "corpus": "other", **spread(0.5, size)},
            {**common, **tuned, **similar, "corpus": "wiki", "rows": "content", **spread(0.3, size)},
        ]
        for model, gain in (({"model": "base"}, 0.0), (tuned, effect(layer) / 100)):
            probe = {
                **common,
                **model,
                "notebook": "structural_probe",
                "probe": "structural",
                "corpus": "ewt",
                "split": "test",
            }
            rows.append({**probe, "metric": "uuas", "target": "distance", "probe_seed": 1, **spread(0.5 + gain, size)})
            edge = {"notebook": "edge_probe", "method": "single layer", "metric": "accuracy", "target": "upos"}
            rows.append({**probe, **edge, **spread(0.9 - gain, size)})
        back = {**common, **tuned, "notebook": "finetune", "corpus": "ewt", "split": "dev", "metric": "las"}
        rows.append(
            {
                **back,
                "method": "layer reverted",
                "layers_changed": f"all_but_{layer}",
                **spread(0.8 - restored(layer) / 100, size),
            }
        )
    rows.append(
        {**tuned, "role": "score", "notebook": "finetune", "method": "fine-tuning", "corpus": "ewt", "split": "dev", "metric": "las", **spread(0.8, size)}
    )  # fmt: skip
    return tables.tidy(rows, study="paper")


def test_each_layer_has_its_change_and_what_came_of_it():
    by_layer = scores.by_layer(study(), "parsing-1")
    found = by_layer.pivot(index=["target", "probe"], columns="layer", values="value").astype(float)
    expected = {("change", "rsa"): 10, ("probe_change", "UUAS, distance"): 100, ("probe_change", "accuracy, upos"): 100,
                ("restored_layer", "las"): 100}  # fmt: skip
    assert set(found.index) == set(expected)
    for row, part in expected.items():  # of size only, whichever way a probe's score went
        np.testing.assert_allclose(found.loc[row], [layer / part for layer in LAYERS], atol=0.01)
    assert set(by_layer["model"]) == {"parsing-1"} and set(by_layer["layers_changed"]) == {"all"}
    sources = by_layer.groupby("probe")["notebook"].unique().map(list).to_dict()  # which a figure names below it
    assert sources == {
        "rsa": ["similarity"],
        "UUAS, distance": ["structural_probe"],
        "accuracy, upos": ["edge_probe"],
        "las": ["finetune"],
    }


def test_the_size_of_a_difference_may_be_none_where_the_difference_may():
    """Signs are told by the interval of the difference: 1 % either way is a size from 0 to 1 %."""
    table = study()
    edges = (table["notebook"] == "edge_probe") & (table["model"] != "base") & (table["layer"] == 3)
    (n,) = np.flatnonzero(edges)
    base = table[(table["notebook"] == "edge_probe") & (table["model"] == "base") & (table["layer"] == 3)].iloc[0]
    table.at[n, "value"] = base["value"] - 0.002
    table.at[n, "replicates"] = base["replicates"] - 0.002 + 0.01 * np.linspace(-1, 1, len(base["replicates"]))
    found = scores.by_layer(table, "parsing-1").set_index(["probe", "layer"])
    low, high = found.loc[("accuracy, upos", 3), ["ci_low", "ci_high"]]
    assert found.loc[("accuracy, upos", 3), "value"] == pytest.approx(0.002, abs=1e-6)
    assert low == 0 and high == pytest.approx(0.0115, abs=2e-4)
    assert found.loc[("accuracy, upos", 6), "ci_low"] > 0.05


def test_the_probe_seed_is_the_first_that_both_models_have():
    table = study()
    structural = table["notebook"] == "structural_probe"
    base = table[structural & (table["model"] == "base")].assign(probe_seed=0)
    both = table[structural].assign(probe_seed=2)
    more = scores.by_layer(pd.concat([base, both, table], ignore_index=True), "parsing-1")
    pd.testing.assert_frame_equal(more, scores.by_layer(table, "parsing-1"))


def several(effect, models=6, size=1e-4):
    """Encoders whose change grows with depth, each in its own way; `effect` gives what comes of a layer's own share of it."""
    own = np.random.default_rng(1).normal(size=(models, len(LAYERS)))
    change = np.arange(7) / 10 + 0.02 * own
    rows = []
    for m in range(models):
        for layer in LAYERS:
            for target, value in (("change", change[m, layer]), ("probe_change", 0.05 * layer + effect(m, layer, own))):
                probe = "rsa" if target == "change" else "UUAS, distance"
                rows.append({"model": f"m{m}", "layer": layer, "target": target, "probe": probe, "value": value})
    return tables.tidy(rows, role="score")


def correlation(layers):
    (row,) = scores.residual_correlations(layers)
    return row


def test_a_planted_relation_is_found_and_its_reverse():
    found = correlation(several(lambda m, layer, own: 0.01 * own[m, layer]))
    assert found["value"] == pytest.approx(1) and found["ci_low"] > 0.35 and (found["n"], found["units"]) == (42, 6)
    found = correlation(several(lambda m, layer, own: -0.01 * own[m, layer]))
    assert found["value"] == pytest.approx(-1) and found["ci_high"] < -0.35


def test_what_grows_with_depth_in_every_encoder_is_no_relation():
    """Change and effect rise together over the layers of each encoder, rank correlation 1, but not over encoders."""
    noise = np.random.default_rng(2).normal(size=(6, 7))
    found = correlation(several(lambda m, layer, own: 1e-3 * noise[m, layer]))
    assert found["ci_low"] < 0 < found["ci_high"] and abs(found["value"]) < 0.5


@pytest.mark.slow
def test_relations_are_found_by_chance_as_often_as_is_said():
    generator, found = np.random.default_rng(3), 0
    for _ in range(200):
        noise = generator.normal(size=(2, 5, 7))
        rows = [
            {"model": f"m{m}", "layer": layer, "target": target, "probe": "x", "value": noise[side, m, layer]}
            for side, target in enumerate(("change", "probe_change")) for m in range(5) for layer in LAYERS
        ]  # fmt: skip
        row = correlation(tables.tidy(rows, role="score"))
        found += not row["ci_low"] <= 0 <= row["ci_high"]
    assert 2 <= found <= 22


def test_with_too_few_encoders_no_outcome_decides():
    row = correlation(several(lambda m, layer, own: 0.01 * own[m, layer], models=4))
    assert row["value"] == pytest.approx(1) and (row["ci_low"], row["ci_high"]) == (-1, 1)
    assert not list(scores.residual_correlations(several(lambda m, layer, own: 0.0, models=1)))


def test_the_claim_reads_these_rows():
    def judged(effect, **options):
        rows = tables.tidy(scores.residual_correlations(several(effect, **options)), role="score", notebook="change_and_function",
                           study="paper")  # fmt: skip
        return verdicts.verdicts(claims.load(), rows, "paper").set_index("id").loc["similarity-predicts-function"]

    assert judged(lambda m, layer, own: 0.01 * own[m, layer])["verdict"] == "supported"
    assert judged(lambda m, layer, own: -0.01 * own[m, layer])["verdict"] == "contradicted"
    assert judged(lambda m, layer, own: 0.01 * own[m, layer], models=3)["verdict"] == "inconclusive"


def test_models_that_were_not_probed_are_left_out():
    table = study()
    assert set(scores.compared(table, ["parsing-1", "nli-1"])["model"]) == {"parsing-1"}
    with pytest.raises(ValueError, match="no rsa of 'nli-1' with 'base' in the tables: run its similarity first"):
        scores.compared(table, ["nli-1"])
    with pytest.raises(ValueError, match="no model was named"):
        scores.compared(table, [])


def test_what_cannot_be_set_side_by_side_is_refused():
    table = study()
    with pytest.raises(ValueError, match="no rsa of 'nli-1' with 'base' in the tables: run its similarity first"):
        scores.by_layer(table, "nli-1")
    with pytest.raises(ValueError, match="neither probes nor reverted layers of 'parsing-1'"):
        scores.by_layer(table[table["notebook"] == "similarity"], "parsing-1")
    half = table[(table["notebook"] != "structural_probe") & (table["notebook"] != "edge_probe")]
    assert set(scores.by_layer(half, "parsing-1")["target"]) == {"change", "restored_layer"}
