"""Change and function: a planted order is found, its reverse too, and noise is no order."""

import numpy as np
import pandas as pd
import pytest

from bert_repro.results import claims, intervals, scores, tables

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


def correlated(table):
    rows = tables.tidy(scores.rank_correlations(scores.by_layer(table, "parsing-1")), role="score")
    return rows.set_index(["target", "probe"])


def test_each_layer_has_its_change_and_what_came_of_it():
    by_layer = scores.by_layer(study(), "parsing-1")
    found = by_layer.pivot(index=["target", "probe"], columns="layer", values="value").astype(float)
    expected = {("change", "rsa"): 10, ("probe_change", "UUAS, distance"): 100, ("probe_change", "accuracy, upos"): 100,
                ("restored_layer", "las"): 100}  # fmt: skip
    assert set(found.index) == set(expected)
    for row, part in expected.items():  # of size only, whichever way a probe's score went
        np.testing.assert_allclose(found.loc[row], [layer / part for layer in LAYERS], atol=0.01)
    assert set(by_layer["model"]) == {"parsing-1"} and set(by_layer["layers_changed"]) == {"all"}


def test_the_probe_seed_is_the_first_that_both_models_have():
    table = study()
    structural = table["notebook"] == "structural_probe"
    base = table[structural & (table["model"] == "base")].assign(probe_seed=0)
    both = table[structural].assign(probe_seed=2)
    more = scores.by_layer(pd.concat([base, both, table], ignore_index=True), "parsing-1")
    pd.testing.assert_frame_equal(more, scores.by_layer(table, "parsing-1"))


def test_a_planted_order_gives_one_and_its_reverse_minus_one():
    rho = correlated(study(restored=lambda layer: 9 - layer))
    assert rho.loc["probe_change", "value"].tolist() == [1.0, 1.0]
    assert (rho.loc["probe_change", "ci_low"] > 0.9).all() and (rho["n"] == 7).all()
    assert rho.loc[("restored_layer", "las"), "value"] == -1 and rho.loc[("restored_layer", "las"), "ci_high"] < -0.9


def test_noise_is_no_order():
    rho = correlated(study(restored=lambda layer: 0.0, size=0.02)).loc[("restored_layer", "las")]
    assert rho["ci_low"] < 0 < rho["ci_high"] and rho["ci_high"] - rho["ci_low"] > 0.8


def test_spearman_shares_ranks_among_ties_and_a_constant_side_has_no_order():
    left = np.array([[1.0, 2, 2, 3], [1, 1, 1, 1], [3, 1, 2, 0]])
    right = np.array([[10.0, 20, 20, 30], [1, 2, 3, 4], [0, 2, 1, 3]])
    assert scores.spearman(left, right) == pytest.approx([1, 0, -1])
    some = NOISE.normal(size=(50, 7)), NOISE.normal(size=(50, 7))
    naive = [pd.Series(a).corr(pd.Series(b), method="spearman") for a, b in zip(*some, strict=True)]
    assert scores.spearman(*some) == pytest.approx(naive)


def test_the_claim_reads_these_rows():
    def judged(table):
        rows = tables.tidy(scores.rank_correlations(scores.by_layer(table, "parsing-1")), role="score", notebook="change_and_function",
                           model="parsing-1", task="parsing", seed=1, layers_changed="all", study="paper")  # fmt: skip
        return claims.verdicts(claims.load(), rows, "paper").set_index("id").loc["similarity-predicts-function"]

    assert judged(study())["verdict"] == "supported" and judged(study())["n_pairs"] == 3
    assert judged(study(restored=lambda layer: 9 - layer))["verdict"] == "contradicted"


def test_what_cannot_be_set_side_by_side_is_refused():
    table = study()
    with pytest.raises(ValueError, match="no rsa of 'nli-1' with 'base' in the tables: run its similarity first"):
        scores.by_layer(table, "nli-1")
    with pytest.raises(ValueError, match="neither probes nor layers put back of 'parsing-1'"):
        scores.by_layer(table[table["notebook"] == "similarity"], "parsing-1")
    half = table[(table["notebook"] != "structural_probe") & (table["notebook"] != "edge_probe")]
    assert set(scores.by_layer(half, "parsing-1")["target"]) == {"change", "restored_layer"}
