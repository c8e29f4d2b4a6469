"""Scores of tuned encoders are averaged and subtracted item by item, and never across texts."""

import numpy as np
import pandas as pd
import pytest

from bert_repro.results import intervals, scores, tables

ITEMS = 400


def measured(level, corpus="ewt", split="test", seed=0):
    """Score made-up items, of which some share is right, as the fine-tuning notebook does."""
    right = (np.random.default_rng(seed).permutation(ITEMS) < level * ITEMS).astype(float)
    value, replicates = intervals.ratio(right, np.ones(ITEMS), intervals.draws(f"{corpus}:{split}", ITEMS, 200))
    return {"corpus": corpus, "split": split, "n": ITEMS} | intervals.row(float(value), replicates)


def tuned(seed, *scored, changed="all", name="", task="parsing", **more):
    """Rows of one model: scores, given as dictionaries."""
    model = name or f"{task}-{seed}"
    same = {"role": "score", "method": "fine-tuning", "metric": "las", "model": model, "task": task, "seed": seed,
            "updates": 100, "layers_changed": changed, "notebook": "finetune"}  # fmt: skip
    return [same | row | more for row in scored]


def frozen(seed, changed, row):
    return tuned(seed, row, changed=changed, name=f"parsing-{changed}-{seed}")


def test_held_out_is_every_test_corpus_and_dev_only_where_there_is_none():
    dev, test, other = (measured(0.8, *text) for text in (("ewt", "dev"), ("ewt", "test"), ("gum", "test")))
    table = tables.tidy([*tuned(1, dev, test, other), *tuned(1, measured(0.7, "mnli", "dev"), task="nli")])
    assert scores.held_out(table)[["corpus", "split"]].values.tolist() == [
        ["ewt", "test"], ["gum", "test"], ["mnli", "dev"],
    ]  # fmt: skip


def test_the_main_metric_is_a_task_s_first():
    rows = [*tuned(1, measured(0.8)), *tuned(1, measured(0.9), metric="uas"), *tuned(1, measured(0.6), task="nli")]
    assert scores.main(tables.tidy(rows))["model"].tolist() == ["parsing-1", "nli-1"]
    masked = tuned(1, measured(4.0), metric="masked_word_loss", method="masked words", notebook="checkpoint")
    assert scores.main(tables.tidy([*masked, *rows]))["metric"].tolist() == ["las", "las"]


def test_the_mean_of_equal_seeds_is_each_of_them_with_its_interval():
    row = measured(0.8)
    (mean,) = scores.over_seeds(tables.tidy([*tuned(1, row), *tuned(2, row)])).to_dict("records")
    assert mean["value"] == row["value"] and pd.isna(mean["seed"]) and mean["n"] == ITEMS
    assert [mean["ci_low"], mean["ci_high"]] == pytest.approx([row["ci_low"], row["ci_high"]], abs=0.003)


def test_means_are_of_one_measure_layer_and_class_of_words():
    places = [
        {"method": m, "layer": layer, "rows": words}
        for m in ("rsa", "cosine")
        for layer in (1, 2)
        for words in (None, "NOUN")
    ]
    rows = [
        row for seed in (1, 2) for place in places for row in tuned(seed, measured(0.5 + 0.1 * place["layer"]), **place)
    ]
    means = scores.over_seeds(tables.tidy(rows))
    assert means[["method", "layer", "rows"]].drop_duplicates().shape == (8, 3) and len(means) == 8
    assert np.allclose(means["value"].astype(float), 0.5 + 0.1 * means["layer"].astype(float))


def spread_of_mean(seeds):
    """Average over seeds that score every item alike but differ from one another."""
    rows = [row for seed in range(seeds) for row in tuned(seed + 1, measured(1.0 if seed % 2 else 0.0))]
    (mean,) = scores.over_seeds(tables.tidy(rows)).to_dict("records")
    return mean["ci_high"] - mean["ci_low"]


def test_the_spread_of_seeds_enters_the_interval_from_two_on():
    assert (
        spread_of_mean(2) > 6 and 0.5 < spread_of_mean(5) < 2
    )  # 12.7 and 2.8 standard errors of a mean of zeros and ones


@pytest.mark.parametrize("apart", ["corpus", "target", "layers_changed", "probe_seed", "reference_model", "updates"])
def test_a_single_seed_has_no_mean_and_what_differs_in_anything_else_is_not_mixed(apart):
    one, other = (
        {"corpus": "a"} | measured(0.8) | {apart: value}
        for value in ((1, 2) if apart in ("probe_seed", "updates") else "ab")
    )
    assert scores.over_seeds(tables.tidy([*tuned(1, one), *tuned(2, other)])).empty
    assert len(scores.over_seeds(tables.tidy([*tuned(1, one), *tuned(2, one)]))) == 1


def test_a_mean_needs_replicates():
    with pytest.raises(ValueError, match=r"\.replicates\.parquet"):
        scores.over_seeds(tables.tidy([*tuned(1, {"value": 0.8}), *tuned(2, {"value": 0.9})]))


def test_a_task_has_one_curve_the_mean_of_its_seeds_or_its_only_one():
    rows = [*tuned(1, measured(0.8)), *tuned(2, measured(0.6)), *tuned(1, measured(0.3), task="nli")]
    untuned = tables.tidy([measured(0.1) | {"metric": "las"}], role="score", model="base")
    curves = scores.by_task(pd.concat([untuned, tables.tidy(rows)]))
    assert curves["model"].tolist() == ["base", "parsing", "nli-1"] and curves.index.is_unique
    assert curves["value"].tolist() == pytest.approx([0.1, 0.7, 0.3])
    assert scores.by_task(untuned)["model"].tolist() == ["base"]


def test_what_one_seed_alone_has_stays_beside_the_means_and_models_of_one_seed_are_no_seeds():
    both, alone = measured(0.8), measured(0.6) | {"target": "mix"}
    curves = scores.by_task(tables.tidy([*tuned(1, both, alone), *tuned(2, both)]))
    assert curves[["model", "target"]].fillna("").values.tolist() == [["parsing", ""], ["parsing-1", "mix"]]
    two = tables.tidy([*tuned(1, both, name="mnli"), *tuned(1, measured(0.4), name="mnli-2")])
    assert scores.over_seeds(two).empty and scores.by_task(two)["model"].tolist() == ["mnli", "mnli-2"]


def test_scales_of_a_task_are_no_score_of_it():
    floors = tables.tidy([row | {"role": "floor"} for seed in (1, 2) for row in tuned(seed, {"value": 0.9})])
    assert scores.by_task(floors)["model"].tolist() == ["parsing-1", "parsing-2"]  # nor do they need replicates


def test_seeds_that_kept_more_replicates_are_averaged_over_the_common_ones():
    few, many = measured(0.8), measured(0.6)
    few["replicates"] = few["replicates"][:20]
    (mean,) = scores.over_seeds(tables.tidy([*tuned(1, few), *tuned(2, many)])).to_dict("records")
    assert mean["value"] == pytest.approx(0.7) and len(mean["replicates"]) == 20


def probed(*seeds):
    rows = [
        {"layer": layer, "metric": "uuas", "probe_seed": s} | measured(0.5 + s / 10) for s in seeds for layer in (0, 1)
    ]
    return tables.tidy(rows, role="score", model="base", notebook="structural_probe")


def test_seeds_of_a_probe_are_averaged_layer_by_layer():
    table = scores.over_probe_seeds(pd.concat([probed(1, 2, 3), probed(4).assign(model="nli-1")]))
    assert table[["model", "layer"]].values.tolist() == [["base", 0], ["base", 1], ["nli-1", 0], ["nli-1", 1]]
    assert table["value"].tolist() == pytest.approx([0.7, 0.7, 0.9, 0.9])
    assert table["probe_seed"].isna().tolist() == [True, True, False, False]
    width, alone = (one["ci_high"].iloc[0] - one["ci_low"].iloc[0] for one in (table, probed(2)))
    of_seeds = 2 * 4.302653 * 0.1 / 3**0.5
    assert width == pytest.approx((alone**2 + of_seeds**2) ** 0.5, abs=0.03)
    assert scores.over_probe_seeds(probed(1)[:0]).empty


@pytest.mark.parametrize("corpus", ["ewt", "universal_dependencies/en_ewt", "ewt:test"])  # the last as chapters name it
def test_published_scores_stand_beside_their_corpus_under_any_of_its_names(corpus):
    (found,) = scores.published(tables.tidy(tuned(1, measured(0.8, corpus)))).to_dict("records")
    assert (found["value"], found["role"], found["corpus"], found["split"]) == (0.899, "baseline", corpus, "test")


def test_on_another_text_there_is_no_published_score_but_one_can_guess():
    assert scores.published(tables.tidy(tuned(1, measured(0.8, "mine.conllu")))).empty
    table = tables.tidy(tuned(1, measured(0.8, "mine.tsv"), task="nli", metric="accuracy"))
    assert scores.published(table)[["method", "corpus"]].values.tolist() == [["guessing one of three", "mine.tsv"]]


def test_a_difference_is_paired_with_the_twin_of_the_same_seed():
    table = tables.tidy(
        [*tuned(1, measured(0.8)), *tuned(2, measured(0.5)), *frozen(1, "top_2_of_6", measured(0.7)),
         *frozen(3, "head_only", measured(0.4))]
    )  # fmt: skip
    (found,) = scores.differences(table).to_dict("records")
    assert (found["model"], found["reference_model"]) == ("parsing-top_2_of_6-1", "parsing-1")
    assert found["value"] == pytest.approx(-0.1) and found["method"] == "fine-tuning"
    assert found["ci_low"] < -0.1 < found["ci_high"] < 0


def test_equal_answers_differ_by_exactly_nothing():
    row = measured(0.8)
    (found,) = scores.differences(tables.tidy([*tuned(1, row), *frozen(1, "head_only", row)])).to_dict("records")
    assert (found["value"], found["ci_low"], found["ci_high"]) == (0, 0, 0)


def test_a_layer_put_back_is_compared_with_its_own_model():
    table = tables.tidy(
        [*tuned(1, measured(0.8)), *tuned(2, measured(0.6)),
         *(row for layer in (0, 1) for row in tuned(2, measured(0.5 - layer / 10), method="layer reverted", layer=layer))]
    )  # fmt: skip
    found = scores.differences(table)
    assert found[["layer", "model", "reference_model", "method"]].values.tolist() == [
        [0, "parsing-2", "parsing-2", "layer reverted"], [1, "parsing-2", "parsing-2", "layer reverted"],
    ]  # fmt: skip
    assert found["value"].tolist() == pytest.approx([-0.1, -0.2]) and found["reference_layer"].isna().all()


def test_nothing_changed_gives_an_empty_table_of_differences():
    found = scores.differences(tables.tidy(tuned(1, measured(0.8))))
    assert found.empty and set(tables.COLUMNS) <= set(found.columns)


def test_two_twins_are_refused():
    rows = [*tuned(1, measured(0.8)), *tuned(1, measured(0.8)), *frozen(1, "head_only", measured(0.7))]
    with pytest.raises(ValueError, match="several rows of 'parsing-1'"):
        scores.differences(tables.tidy(rows))


def test_encoders_are_ordered_by_how_many_blocks_learned():
    names = ["first_8_of_12_frozen", "top_10_of_12", "top_2_of_12", "head_only", "all"]
    table = tables.tidy(row for name in names for row in frozen(1, name, measured(0.8)))
    assert scores.by_learning(table)["layers_changed"].tolist() == [
        "all", "top 10 of 12", "top 2 of 12", "head only", "cut after 8 of 12",
    ]  # fmt: skip


def moved(update, method, **more):
    row = {"layer": 0, "metric": "relative_l2", "value": update / 1000}
    return tuned(1, row, method=method, updates=update, **more)


def test_the_change_of_weights_is_of_those_kept_and_of_three_points_of_the_way():
    way = [row for update in (50, 40, 30, 20, 10) for row in moved(update, "weights along the way")]
    rows = [*tuned(1, measured(0.8), updates=50), *way, *moved(50, "weights")]
    kept, along = scores.weights(tables.tidy([*rows, *moved(60, "weights", changed="head_only", name="other")]))
    assert kept["updates"].tolist() == [50] and along["updates"].tolist() == [10, 30, 50]
    assert [len(part) for part in scores.weights(tables.tidy(rows[:1]))] == [0, 0]


def test_curves_and_notes_are_read_from_beside_the_tables(tmp_path):
    table = tables.tidy(tuned(1, measured(0.8)))
    curve = {"updates": [5, 5, 10], "metric": ["loss", "las", "loss"], "value": [2.0, 0.5, 1.0]}
    extra = tables.artefacts([{"kind": "learning curve", "key": "parsing", "model": "parsing-1", "content": curve}])
    manifest = {"notebook": "finetune", "parameters": {"name": "parsing-1"}, "training": {"training seconds": 12.5}}
    assert scores.learning_curves(tmp_path, table).empty and scores.training(tmp_path).empty
    tables.write(tmp_path / "finetune-parsing-1.parquet", table, manifest, extra)
    tables.write(tmp_path / "similarity.parquet", table, {"notebook": "similarity", "parameters": {}})
    read = scores.learning_curves(tmp_path, table)
    assert read[["model", "seed", "layers_changed"]].values.tolist() == [["parsing-1", 1, "all"]] * 3
    assert read[list(curve)].to_dict("list") == curve
    assert scores.training(tmp_path)["training seconds"].to_dict() == {"parsing-1": 12.5}
