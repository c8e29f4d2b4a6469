"""What was erased against random subspaces: planted losses are found, none are found by chance more often than is said."""

import numpy as np
import pandas as pd
import pytest

from bert_repro.results import erasures, intervals, tables
from bert_repro.results.erasures import DIFFERENCE, ERASED, NOTHING, P_HOLM, RANDOM, P

ITEMS, METRICS, DEPTH = 400, ("accuracy", "other"), 4
WEIGHTS = intervals.draws("text", ITEMS, 400)


def counts(share, generator):
    """Right and all of two metrics for each item, right by so large a chance; the second metric counts half of the items."""
    right = generator.random(ITEMS) < share
    half = np.arange(ITEMS) % 2 == 0
    return np.stack([np.stack([right, np.ones(ITEMS)], -1), np.stack([right & half, half], -1)], 1).astype(float)


def planted(losses=(0.0, 0.3, 0.1, 0.0, 0.0), draws=5, seed=0, between=0.0):
    """By layer what is left of a score of .8 after erasing, and after random subspaces that differ among themselves."""
    generator = np.random.default_rng(seed)
    erased = {layer: counts(0.8 - loss, generator) for layer, loss in enumerate(losses)}
    random = {
        layer: [counts(0.8 + between * generator.normal(), generator) for _ in range(draws)]
        for layer in range(len(losses))
    }
    return erased, random


def rows(*given, depth=DEPTH, metrics=METRICS):
    return tables.tidy(erasures.contrasts(metrics, *given, WEIGHTS, depth), role="score")


def test_the_variation_of_one_random_subspace_is_not_guessed():
    erased, random = planted(draws=1)
    with pytest.raises(ValueError, match=r"^layers \[0, 1, 2, 3, 4\] have fewer than two random subspaces"):
        rows(erased, random)


def mean(replicates):
    return np.mean(list(replicates), 0)


def test_a_difference_is_that_of_the_score_and_the_mean_over_random_subspaces():
    erased, random = planted()
    found = rows(erased, random).set_index(["metric", "layer"])
    for layer in range(5):
        for m, metric in enumerate(METRICS):
            score, *others = (one[:, m, 0].sum() / one[:, m, 1].sum() for one in (erased[layer], *random[layer]))
            assert found.loc[(metric, layer), "value"] == pytest.approx(score - np.mean(others))
    assert found.loc[("accuracy", 1), "ci_high"] < -0.2 and found.loc[("accuracy", 1), "n"] == ITEMS
    assert found.loc[("other", 1), "n"] == ITEMS / 2 and set(found["units"]) == {ITEMS}
    assert found.loc[("accuracy", 0), "ci_low"] < 0 < found.loc[("accuracy", 0), "ci_high"]


def test_the_primary_contrast_is_the_mean_over_the_layers_between_the_first_and_the_last():
    found = rows(*planted())
    layers = found[(found["metric"] == "accuracy") & found["layer"].notna()].set_index("layer")
    primary = found[found["layer"].isna() & (found["metric"] == "accuracy")].iloc[0]
    assert primary["value"] == pytest.approx(layers.loc[[1, 2, 3], "value"].mean())
    assert primary["ci_high"] - primary["ci_low"] < (layers["ci_high"] - layers["ci_low"]).min()
    np.testing.assert_allclose(primary["replicates"], mean(layers.loc[[1, 2, 3], "replicates"]), atol=1e-6)
    (p,) = found[found["metric"] == P]["value"]
    assert p < 1e-4
    erased, random = planted()
    ends = {0: erased[0], 4: erased[4]}
    without = rows(ends, {layer: random[layer] for layer in ends})
    assert without["layer"].notna().all() and P not in set(without["metric"])


@pytest.mark.slow
def test_with_nothing_lost_nothing_is_found_more_often_than_is_said():
    primary, layers = 0, 0
    for seed in range(80):
        found = rows(*planted((0.0,) * 5, draws=3, seed=seed, between=0.02))
        primary += found[found["metric"] == P]["value"].iloc[0] < 0.05
        layers += found[found["metric"] == P_HOLM]["value"].min() < 0.05
    assert primary <= 10 and layers <= 10  # .05 of 80 are 4, and three standard errors 6


def test_random_subspaces_that_differ_widen_the_interval():
    alike, differing = (
        rows(*planted(between=between, seed=3)).set_index(["metric", "layer"]) for between in (0.0, 0.1)
    )
    width = [one.loc[("accuracy", 1), "ci_high"] - one.loc[("accuracy", 1), "ci_low"] for one in (alike, differing)]
    assert width[1] > 1.5 * width[0]


def test_a_metric_that_counts_nothing_has_no_rows_and_only_the_main_one_is_tested():
    erased, random = planted()
    for one in (*erased.values(), *(count for several in random.values() for count in several)):
        one[:, 1] = 0
    found = rows(erased, random)
    assert set(found["metric"]) == {"accuracy", P, P_HOLM}
    assert set(rows(*planted())["metric"]) == {*METRICS, P, P_HOLM}


@pytest.mark.parametrize(
    ("ps", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # the example of R's p.adjust
        ([0.5], [0.5]),
        ([0.9, 0.8], [1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([], []),
    ],
)
def test_holms_correction(ps, corrected):
    assert intervals.holm(ps) == pytest.approx(corrected)


def test_a_p_is_that_at_which_the_interval_ends_at_0():
    estimate = intervals.Estimate(0.1, 0.05, ((0.001, 2.0),))
    p = erasures.two_sided(estimate)
    assert estimate.half_width(p / 2) == pytest.approx(0.1, rel=1e-4)
    assert erasures.two_sided(estimate._replace(value=-0.1)) == pytest.approx(p)
    assert erasures.two_sided(intervals.Estimate(0.0, 0.0)) == 1.0


# ---- tables


def study(models=("nli-1",), draws=3, layers=range(3)):
    """A table as the notebook writes it."""
    generator, made = np.random.default_rng(0), []
    weights = intervals.draws("text", ITEMS, 200)

    def score(share, **about):
        count = counts(share, generator)
        for m, metric in enumerate(METRICS):
            value, replicates = intervals.ratio(count[:, m, 0], count[:, m, 1], weights)
            made.append(
                {"metric": metric, "n": ITEMS, "role": "score"} | about | intervals.row(float(value), replicates, ITEMS)
            )
        return count

    for model in models:
        same = {"model": model, "task": model[:-2], "seed": 1, "corpus": "mnli", "split": "dev[400]"}
        score(0.8, method=NOTHING, **same)
        for target in ("upos", "relation"):
            erased, random = {}, {}
            for layer in layers:
                where = same | {"layer": layer, "target": target}
                erased[layer] = score(0.5 if target == "upos" and layer == 1 else 0.8, method=ERASED, **where)
                random[layer] = [
                    score(0.8, method=RANDOM, **where | {"role": "control", "probe_seed": draw})
                    for draw in range(1, draws + 1)
                ]
                check = {"metric": "label_accuracy", "value": 0.3, "role": "score", "n": 9}
                made.append(same | where | check | {"method": NOTHING, "corpus": "ewt"})
            contrasts = erasures.contrasts(METRICS, erased, random, weights, max(layers))
            made += [{"role": "score", "target": target} | same | row for row in contrasts]
    return tables.tidy(made, notebook="erasure", study="small")


def test_changes_are_differences_from_nothing_erased_on_the_same_items():
    table = study()
    changes = erasures.changes(table)
    assert len(changes) == 2 * 3 * 2 and set(changes["metric"]) == {"accuracy"}  # targets, layers, erased and random
    whole = table[(table["method"] == NOTHING) & table["layer"].isna() & (table["metric"] == "accuracy")].iloc[0]
    for method, role in ((ERASED, "score"), (RANDOM, "baseline")):
        mine = changes[changes["method"] == method]
        assert set(mine["role"]) == {role} and mine["probe_seed"].isna().all()
        for row in mine.itertuples():
            same = table[(table["method"] == method) & (table["target"] == row.target) & (table["layer"] == row.layer)]
            same = same[same["metric"] == "accuracy"]
            assert row.value == pytest.approx(same["value"].mean() - whole["value"])
            assert row.ci_low <= row.value <= row.ci_high
            np.testing.assert_allclose(row.replicates, mean(same["replicates"]) - whole["replicates"], atol=1e-6)


def test_where_nothing_was_erased_there_are_no_changes():
    other = study().assign(notebook="finetune").astype(tables.COLUMNS)
    assert erasures.changes(other).empty and erasures.found(other).empty
    assert list(erasures.found(other).columns) == ["difference", "ci_low", "ci_high", "p", "layers"]


def test_what_was_found_is_told_by_model_and_target():
    table = study(("nli-1", "squad-1"))
    found = erasures.found(table)
    assert list(found.index) == [(m, t) for m in ("nli-1", "squad-1") for t in ("upos", "relation")]
    one = found.loc[("nli-1", "upos")]
    assert one["layers"] == "1" and one["p"] < 0.01 and one["ci_low"] < one["difference"] < one["ci_high"] < 0
    row = table[(table["method"] == DIFFERENCE) & (table["target"] == "upos") & table["layer"].isna()].iloc[0]
    assert one["difference"] == row["value"]
    alone = erasures.found(study(layers=[0]))  # no layer lies between
    assert pd.isna(alone["difference"]).all() and pd.isna(alone["p"]).all()
