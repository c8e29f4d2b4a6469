"""Verdicts on planted tables: every one can be flipped, and none is given on less than the claim asks for."""

import numpy as np
import pandas as pd
import pytest
from planted_claims import NOISE, claim, content, curves, probe, row, table
from test_claims import IDS

from bert_repro.results import claims, intervals, selection, verdicts


def judge(rows, study="paper", gates=None, gates_of_claim=(), **options):
    made = claims.Claims.model_validate(content(claim(gates=gates_of_claim, **options), gates=gates))
    return verdicts.verdicts(made, table(rows), study).iloc[0]


BEST = {"notebook": "structural_probe", "split": "test", "layer": "best"}
BASE = {"model": "base", "task": None}


def planted_pair(rule, margin, low, high):
    test = (
        claims.Claims.model_validate(content(claim(a={"task": "x"}, rule="greater", margin=margin))).claims[0].tests[0]
    )
    estimate = intervals.Estimate((low + high) / 2, (high - low) / 2 / 1.959964)
    return verdicts.Pair(test.model_copy(update={"rule": rule}), {}, "a", "b", estimate, "1 seed")


@pytest.mark.parametrize(
    ("rule", "low", "high", "expected"),
    [
        ("no_drop", -0.5, 9, "supported"), ("no_drop", -9, -2, "contradicted"), ("no_drop", -2, 2, "inconclusive"),
        ("equivalent", -0.5, 0.5, "supported"), ("equivalent", 2, 3, "contradicted"), ("equivalent", -3, -2, "contradicted"),
        ("equivalent", -0.5, 1.5, "inconclusive"), ("equivalent", -2, 2, "inconclusive"),
        ("greater", 1.5, 2, "supported"), ("greater", -2, 0.5, "contradicted"), ("greater", 0.5, 2, "inconclusive"),
        ("order", 1.5, 2, "supported"), ("order", -2, 0.5, "contradicted"), ("order", 0.5, 2, "inconclusive"),
        ("less", -3, -2, "supported"), ("less", -0.5, 3, "contradicted"), ("less", -2, 0, "inconclusive"),
    ],
)  # fmt: skip
def test_rules_on_planted_intervals(rule, low, high, expected):
    assert planted_pair(rule, 1.0, low, high).verdict == expected


def test_margin_zero_asks_for_the_sign_only():
    assert planted_pair("greater", 0.0, 0.1, 0.2).verdict == "supported"
    assert planted_pair("no_drop", 0.0, -0.2, -0.1).verdict == "contradicted"
    assert planted_pair("greater", 0.0, 0.0, 0.0).verdict == "inconclusive"


@pytest.mark.parametrize("rule", claims.RULES)
def test_p_and_interval_say_the_same(rule):
    """Where p is below the tail of an interval at 95 %, the interval lies outside, and nowhere else."""
    for middle in np.linspace(-4, 4, 41):
        pair = planted_pair(rule, 1.0, middle - 1, middle + 1)
        assert (pair.p < verdicts.TAIL) == (pair.verdict == "contradicted")


@pytest.mark.parametrize(
    ("gain", "spread", "expected"),
    [(0.05, 0.001, "supported"), (0, 0.001, "contradicted"), (0.01, 0.01, "inconclusive")],
)
def test_every_verdict_flips_on_a_planted_effect(gain, spread, expected):
    verdict = judge(probe(gain, spread), a={"task": "parsing"}, b=BASE, both=BEST)
    low, high = gain - 1.959964 * spread, gain + 1.959964 * spread
    assert verdict["verdict"] == expected
    assert verdict["effect"] == pytest.approx(gain, abs=1e-6)
    assert (verdict["ci_low"], verdict["ci_high"]) == pytest.approx((low, high), abs=1e-6)
    assert verdict["n_pairs"] == 1 and verdict["study"] == "paper"
    assert "best (1)" in verdict["why"]  # layer 2 is higher on test, but layers are chosen on dev


def test_a_study_that_is_not_in_the_table_tests_nothing():
    assert judge(probe(0.05), study="demo", a={"task": "parsing"}, b=BASE, both=BEST)["verdict"] == "not tested here"


@pytest.mark.parametrize(("gain", "would"), [(0.05, "supported"), (0, "contradicted")])
def test_weakened_base_caps_the_verdict(gain, would):
    verdict = judge(probe(gain), a={"task": "parsing"}, b=BASE, both=BEST, weak=["encoder"])
    assert verdict["verdict"] == "inconclusive"
    assert f"Would be {would}" in verdict["why"] and "the base has seen it" in verdict["why"]
    assert judge(probe(gain), a={"task": "parsing"}, b=BASE, both=BEST, weak=["another"])["verdict"] == would


def several(rows, *more, **options):
    good = claim(a={"task": "parsing"}, b=BASE, both=BEST, **options)
    made = claims.Claims.model_validate(content({**good, "tests": [*good["tests"], *more]}))
    return verdicts.verdicts(made, table(rows), "paper").iloc[0]


def test_primary_contrasts_decide_and_others_count():
    """The planted gain is .05 with a standard error of .001; a margin of .0495 leaves the interval open, one of .2 is far off."""
    other = {"a": {"task": "parsing"}, "b": BASE, "both": BEST, "primary": None}
    good, open_, bad = (claim(margin=margin, **other)["tests"][0] for margin in (0.01, 0.0495, 0.2))
    absent = claim(**(other | {"a": {"task": "squad"}}))["tests"][0]
    for more, expected in [
        ([good], "supported"), ([open_], "supported"), ([good, open_, bad], "contradicted"), ([absent], "supported"),
    ]:  # fmt: skip
        found = several(probe(0.05), *more)
        assert (found["verdict"], found["n_pairs"]) == (expected, 1 + len(more) - (absent in more))
    found = several(probe(0.05), bad)
    assert "Contradicted for robustness (p" in found["why"] and not found["primary"]
    assert (
        found["answer"].startswith("No, by a contrast for robustness: +0.050 [")
        and "The primary contrasts: " in found["answer"]
    )
    assert several(probe(0.05), good)["primary"]
    assert several(probe(0.05), margin=0.0495)["verdict"] == "inconclusive"
    assert several(probe(0.05), good, margin=0.2)["verdict"] == "contradicted"


def test_a_task_has_one_primary_contrast():
    twice = claim(a={"task": "parsing"}, b=BASE, both=BEST)["tests"][0]
    with pytest.raises(ValueError, match="claim planted: more than one primary contrast of parsing"):
        several(probe(0.05), twice)


def test_each_task_is_tested_that_is_there_and_the_others_are_named():
    verdict = judge(probe(0.05), a=[{"task": "parsing"}, {"task": "squad"}], b=BASE, both=BEST)
    assert verdict["verdict"] == "supported" and "(parsing)" in verdict["answer"]
    assert "Missing: rows with" in verdict["why"] and "task squad" in verdict["why"] and verdict["n_pairs"] == 1
    assert verdict["untested"] == "squad" and verdict["answer"].endswith(" Not tested: squad.")
    verdict = judge(probe(0.05), a=[{"task": "squad"}], b=BASE, both=BEST)
    assert verdict["verdict"] == "not tested here" and "task squad" in verdict["why"]
    assert verdict["answer"] == "Not tested here: this study has not measured what the claim compares."
    assert pd.isna(verdict["effect"]) and pd.isna(verdict["ci_low"]) and verdict["n_pairs"] == 0


GATE = {
    "what": "parsing was not learned, its LAS", "tasks": ["parsing"], "score": {"notebook": "finetune", "metric": "las", "split": "held_out"},
    "least": {"value": 0.78, "unit": "LAS", "why": "x"},
}  # fmt: skip


def tuned(*las, split="test"):
    return [
        row(value, notebook="finetune", task="parsing", model=f"t-{seed}", seed=seed, metric="las", method="fine-tuning", corpus="ewt",
            split=split)
        for seed, value in enumerate(las, 1)
    ]  # fmt: skip


def test_a_gate_keeps_out_what_was_not_learned_by_the_mean_over_seeds():
    options = {"a": {"task": "parsing"}, "b": BASE, "both": BEST, "gates": {"parsing": GATE}}
    assert judge(probe(0.05) + tuned(0.75, 0.82), **options)["verdict"] == "supported"
    kept_out = judge(probe(0.05) + tuned(0.75, 0.79), **options)
    assert kept_out["verdict"] == "not tested here" and kept_out["n_pairs"] == 0
    assert kept_out["answer"] == "Not tested here: parsing was not learned, its LAS is 0.770, less than 0.78 LAS."
    # a gate of another task is no reason, also beside one that is
    squad = GATE | {"what": "questions were not learned, their F1", "tasks": ["squad"]}
    squad["score"] = GATE["score"] | {"metric": "f1"}
    both = [*tuned(0.5), *(r | {"task": "squad", "model": "q-1", "metric": "f1"} for r in tuned(0.2))]
    told = judge(probe(0.05) + both, **options | {"gates": {"questions": squad, "parsing": GATE}})
    assert told["answer"] == "Not tested here: parsing was not learned, its LAS is 0.500, less than 0.78 LAS."
    assert "questions" not in told["why"]
    other = judge(probe(0.05) + tuned(0.75), **options | {"a": {"task": "squad"}})
    assert other["answer"] == "Not tested here: this study has not measured what the claim compares."
    # dev, which chose the weights, does not count, and nothing tuned here leaves nothing to judge by
    dev = [r | {"value": 0.9, "split": "dev"} for r in tuned(0.75)]
    assert judge(probe(0.05) + dev + tuned(0.75), **options)["verdict"] == "not tested here"
    assert judge(probe(0.05), **options)["verdict"] == "supported"
    with pytest.raises(
        ValueError, match="claim planted: gate parsing names a score that no table has: notebook finetune, metric las"
    ):
        judge(probe(0.05) + [r | {"metric": "uas"} for r in tuned(0.8)], **options)


def test_a_gate_of_a_claim_may_ask_for_a_lead():
    lead = {
        "what": "the base has too little to lose, its UUAS", "score": BEST | {"model": "base"},
        "above": BEST | {"model": "untrained"}, "least": {"value": 0.08, "unit": "UUAS", "why": "x"},
    }  # fmt: skip
    for below, expected in ((0.1, "supported"), (0.05, "not tested here")):
        untrained = [
            r | {"model": "untrained", "role": "control", "value": r["value"] - below}
            for r in probe()
            if r["model"] == "base"
        ]
        options = {"a": {"task": "parsing"}, "b": BASE | {"role": "score"}, "both": BEST}
        found = judge(probe(0.05) + untrained, gates={"lead": lead}, gates_of_claim=["lead"], **options)
        assert found["verdict"] == expected
        assert (f"is {below:.3f} above {0.61 - below:.3f}, less than 0.08 UUAS" in found["answer"]) == (
            expected != "supported"
        )
        assert (
            judge(probe(0.05) + untrained, gates={"lead": lead}, **options)["verdict"] == "supported"
        )  # not the claim's gate


def test_inference_that_hypotheses_alone_give_is_none():
    """By the gates as they are: the control is scored on the same texts as the encoders, and is none of them."""
    gates, defaults = claims.load().gates, claims.load().defaults
    for alone, closed in ((0.51, {"nli"}), (0.49, set()), (None, set())):
        scored = [
            r | {"task": "nli", "metric": "accuracy", "layers_changed": "all"} for r in tuned(0.5, 0.6, split="dev")
        ]
        scored += [r | {"split": "dev[-2000]", "corpus": "mnli"} for r in scored]
        control = {"role": "control", "method": "second side alone", "model": "nli-partial-1"}
        scored += [r | control | {"value": alone} for r in scored if r["seed"] == 1 and alone]
        found = verdicts.closed(
            "nli above hypotheses", gates["nli above hypotheses"], selection.Rows(table(scored)), defaults
        )
        assert set(found) == closed, found


def test_an_encoder_of_one_block_is_judged_as_far_as_it_has_layers():
    shallow = [r for r in probe(0.05) if r["layer"] < 2]
    lead = {
        "what": "too little",
        "score": BEST | {"model": "base"},
        "least": {"value": 0.5, "unit": "UUAS", "why": "x"},
    }
    options = {
        "a": {"task": "parsing"},
        "b": BASE | {"role": "score"},
        "gates": {"lead": lead},
        "gates_of_claim": ["lead"],
    }
    assert judge(shallow, both=BEST, **options)["verdict"] == "supported"
    halves = judge(shallow, both={"split": "test", "layer": "top_half"}, **options)
    assert halves["verdict"] == "not tested here" and "layers to summarise" in halves["why"]
    without = [r for r in shallow if r["split"] == "test"]  # no dev to choose the best layer on
    assert "too little was not measured" in judge(without, both=BEST, **options)["answer"]


def test_a_gate_is_judged_by_all_words_like_a_claim():
    """Scores by phenomenon are there on test alone, so they have no best layer."""
    some = [r | {"rows": "arc length: 1", "value": 0.1} for r in probe() if r["split"] == "test"]
    least = {"value": 0.6, "unit": "UUAS", "why": "x"}
    gate = claims.Gate(what="too little syntax", score=BEST | {"model": "base"}, least=least)
    rows = selection.Rows(table(probe() + some))
    assert verdicts.closed("syntax", gate, rows, {"rows": None}) == {}


def test_missing_analysis_is_named():
    needs = {"edge probes": {"notebook": "edge_probe"}}
    verdict = judge(probe(0), a={"task": "parsing"}, b=BASE, both=BEST, needs=needs)
    assert (
        verdict["verdict"] == "not tested here" and "edge probes (no rows with notebook edge_probe)" in verdict["why"]
    )


@pytest.mark.parametrize(
    ("drop", "named"),
    [
        (lambda r: r["split"] == "dev", "dev rows to choose the best layer"),
        (lambda r: r["split"] == "test" and r["layer"] == 1 and r["model"] == "base", "layers [1]"),
        (lambda r: r["split"] == "test" and r["model"] == "base", "model base"),
    ],
)
def test_missing_layers_and_splits_are_named(drop, named):
    verdict = judge([r for r in probe(0.05) if not drop(r)], a={"task": "parsing"}, b=BASE, both=BEST)
    assert verdict["verdict"] == "not tested here" and named in verdict["why"]


def test_missing_replicates_and_seeds_and_partners_are_named():
    options = {"a": {"task": "parsing"}, "b": BASE, "both": {"split": "test", "layer": "all"}}
    bare = [{k: v for k, v in r.items() if k != "replicates" or r["model"] == "base"} for r in probe(0.05)]
    assert "bootstrap replicates of" in judge(bare, **options)["why"]
    second = [r | {"model": "t-2", "seed": 2} for r in probe(0.05) if r["model"] == "t-1" and r["layer"] < 2]
    assert "some seeds in some layers" in judge(probe(0.05) + second, **options)["why"]
    elsewhere = [r | {"corpus": "ewt" if r["model"] == "base" else "gum"} for r in probe(0.05)]
    assert "side b differs in ['corpus']" in judge(elsewhere, **options)["why"]
    flat = [{k: v for k, v in r.items() if k != "layer"} for r in probe(0.05) if r["layer"] == 1]
    assert "layers to summarise" in judge(flat, **options)["why"]


def test_rows_that_cannot_be_told_apart_end_the_judging():
    options = {"a": {"task": "parsing"}, "b": BASE, "both": BEST}
    with pytest.raises(ValueError, match="1 rows of .* occur twice: merge each table"):
        judge(
            probe() + [r for r in probe() if r["layer"] == 1 and r["split"] == "test" and r["model"] == "base"],
            **options,
        )
    two = [r | {"updates": u} for u in (10, 20) for r in probe() if r["model"] == "base"]
    with pytest.raises(ValueError, match="2 cases fit .*updates 10.*updates 20.*name one of them"):
        judge([r for r in probe() if r["model"] != "base"] + two, **options)


def test_rows_that_kept_more_replicates_are_paired_on_the_first_ones():
    long = [
        r | {"replicates": np.concatenate([r["replicates"], r["replicates"]])} if r["model"] == "base" else r
        for r in probe(0.05)
    ]
    found, plain = (judge(rows, a={"task": "parsing"}, b=BASE, both=BEST) for rows in (long, probe(0.05)))
    assert found[["effect", "ci_low", "ci_high"]].tolist() == plain[["effect", "ci_low", "ci_high"]].tolist()


def test_replicates_of_a_jackknife_and_a_bootstrap_refuse_to_be_paired():
    mixed = [
        r | {"replicates": r["replicates"].view(intervals.Jackknifed)} if r["model"] == "base" else r
        for r in probe(0.05)
    ]
    with pytest.raises(
        ValueError, match="claim planted: replicates of a bootstrap and of a jackknife cannot be paired"
    ):
        judge(mixed, a={"task": "parsing"}, b=BASE, both=BEST)


def seeded(values, task="t", **columns):
    plan = {"notebook": "similarity", "metric": "similarity", "layer": 2, **columns}
    return [row(value, 0.01, **plan, task=task, model=f"{task}-{s}", seed=s) for s, value in enumerate(values, 1)]


def test_probe_seeds_repeat_where_there_is_one_training_of_a_task_too():
    probed = [("t-1", "base", 1, probe, "t") for probe in (1, 2, 3)]
    alone = selection.repeats(probed, np.array([0.1, 0.2, 0.3]), [NOISE] * 3)
    assert alone.values.tolist() == [0.1, 0.2, 0.3] and len(alone.seeds) == 3
    second = [("t-2", "base", 2, probe, "t") for probe in (1, 2, 3)]
    both = selection.repeats(probed + second, np.array([0.1, 0.2, 0.3, 0.3, 0.4, 0.5]), [NOISE] * 6)
    assert both.values == pytest.approx([0.2, 0.4]) and both.seeds == (("t", "base", 1), ("t", "base", 2))


def test_two_given_encoders_of_one_task_and_seed_are_two_trainings():
    given = [("mnli", "base", 1, None, "nli"), ("mine", "base", 1, None, "nli")]
    both = selection.repeats(given, np.array([0.1, 0.3]), [NOISE] * 2)
    assert both.values.tolist() == [0.1, 0.3] and both.seeds == (("mnli", "base", 1), ("mine", "base", 1))


def test_intervals_hold_the_variation_between_seeds():
    base = [row(0.5, 0.01, notebook="similarity", metric="similarity", layer=2, model="base")]
    options = {"a": {"task": "t"}, "b": BASE, "metric": "similarity"}
    verdict = judge(seeded([0.8, 0.6, 0.7]) + base, **options)
    half = 4.302653 * 0.1 / 3**0.5  # the draws are the same, so units cancel: t(2) s / sqrt(3)
    assert (verdict["effect"], verdict["ci_low"]) == pytest.approx((0.2, 0.2 - half), abs=1e-5)
    assert "3 against 1 seed" in verdict["why"]
    alone = judge(seeded([0.8]) + base, **options)
    assert (
        alone["ci_high"] - alone["ci_low"] < 1e-6 and "1 seed, whose variation is not in the interval" in alone["why"]
    )


def test_equal_trainings_are_paired_by_seed_and_others_are_not():
    mine, theirs = [0.8, 0.6, 0.7], [0.75, 0.56, 0.64]
    rows = seeded(mine, corpus="own") + seeded(theirs, corpus="other")
    paired = judge(rows, a={"corpus": "own"}, b={"corpus": "other"}, metric="similarity")
    assert "3 seeds, paired" in paired["why"] and paired["ci_high"] - paired["ci_low"] < 0.1
    apart = judge(
        seeded(mine) + seeded(theirs, "u"), order=[{"task": "t"}, {"task": "u"}], rule="order", metric="similarity"
    )
    assert "3 against 3 seeds" in apart["why"] and apart["ci_high"] - apart["ci_low"] > 0.4
    assert paired["effect"] == pytest.approx(apart["effect"])
    # a run of one seed is compared with its twin, not with the mean of all
    frozen = [r | {"layers_changed": "top", "value": 0.5} for r in seeded(mine)[:1]]
    whole = [r | {"layers_changed": "all"} for r in seeded(mine)]
    twin = judge(
        frozen + whole, a={"layers_changed": "top"}, b={"layers_changed": "all"}, rule="less", metric="similarity"
    )
    assert twin["effect"] == pytest.approx(-0.3) and "1 seed" in twin["why"]


def test_seeds_of_different_tasks_are_not_pooled():
    with pytest.raises(ValueError, match="seeds of different tasks pooled, t and u: average one task at a time"):
        selection.repeats([("t-1", None, 1, None, "t"), ("u-1", None, 1, None, "u")], np.zeros(2), [NOISE, NOISE])


def test_the_order_of_one_measure_is_asked_of_another_only_where_it_has_one():
    rows = curves({"x": (0.9, 0.5), "y": (0.5, 0.9), "z": (0.7, 0.7)})
    same = curves({"x": (0.8, 0.6), "y": (0.6, 0.8), "z": (0.9, 0.1)}, "cka")
    options = {
        "both": {"layer": "bottom_half", "task": ["x", "y", "z"]}, "a": {"method": "cka"}, "b": {"layer": "top_half"},
        "ordered_by": {"method": "rsa"}, "margin": 0.0, "metric": "similarity",
    }  # fmt: skip
    found = judge(rows + same, **options)
    assert found["verdict"] == "supported" and found["n_pairs"] == 2  # none for z, whatever the other measure says
    assert judge(rows + curves({"x": (0.8, 0.6), "y": (0.8, 0.6)}, "cka"), **options)["verdict"] == "contradicted"
    flat = judge([r | {"value": 0.7} for r in rows] + same, **options)
    assert flat["answer"] == "Not tested here: this study has no clear order by rsa."


def test_a_row_may_bring_its_own_interval():
    given = {"role": "score", "notebook": "change_and_function", "metric": "correlation", "value": 0.6}
    found = judge(
        [given | {"ci_low": 0.5, "ci_high": 0.65}],
        a={"notebook": "change_and_function"},
        metric="correlation",
        margin=0.3,
    )
    assert found["verdict"] == "supported" and (found["ci_low"], found["ci_high"]) == pytest.approx((0.5, 0.65))
    wide = judge(
        [given | {"ci_low": -1.0, "ci_high": 1.0}],
        a={"notebook": "change_and_function"},
        metric="correlation",
        margin=0.3,
    )
    assert wide["verdict"] == "inconclusive"


def test_summaries_over_layers():
    rows = curves({"mnli": (0.9, 0.5)})
    wants = {"all": (1 + 0.9 * 2 + 0.5 * 2) / 5, "bottom_half": 0.9, "top_half": 0.5, "last": 0.5, 0: 1.0, 3: 0.5}
    for layer, value in wants.items():
        assert judge(rows, a={"layer": layer}, metric="similarity")["effect"] == pytest.approx(value)
    options = {"a": {"task": "mnli"}, "metric": "similarity", "primary": {"layer": 3}}
    verdict = judge(rows, **options)
    assert verdict["n_pairs"] == 5 and verdict["effect"] == pytest.approx(0.5)  # without a layer, each is a pair


def test_order_and_free_columns():
    levels = {"mnli": (0.9, 0.8), "squad": (0.8, 0.7), "parsing": (0.5, 0.4)}
    options = {"both": {"layer": "all"}, "rule": "order", "metric": "similarity"}
    order = [{"task": task} for task in levels]
    assert judge(curves(levels), order=order, **options)["verdict"] == "supported"
    assert judge(curves(levels), order=order, **options)["n_pairs"] == 2
    assert judge(curves(levels), order=order[::-1], **options)["verdict"] == "contradicted"
    both = curves(levels, corpus="ewt", split="test[5]") + curves(
        {"mnli": (0.9, 0.8), "squad": (0.9, 0.8), "parsing": (0.5, 0.4)}, corpus="wiki"
    )
    verdict = judge(both, order=order, primary={"corpus": "ewt"}, **options)  # on wiki the first two are equal
    assert verdict["verdict"] == "contradicted" and verdict["n_pairs"] == 4 and "corpus wiki" in verdict["why"]
    assert judge(both, order=order, **{**options, "both": {"layer": "all", "corpus": "ewt"}})["verdict"] == "supported"


def test_unequal_updates_are_not_compared():
    rows = curves({"mnli": (0.9, 0.8)}, updates=100) + curves({"parsing": (0.5, 0.4)}, updates=900)
    verdict = judge(
        rows, order=[{"task": "mnli"}, {"task": "parsing"}], both={"layer": "all"}, rule="order", metric="similarity"
    )
    assert verdict["verdict"] == "not tested here" and "differs in ['updates']" in verdict["why"]


def test_another_corpus_brings_its_own_split():
    rows = curves({"mnli": (0.5, 0.4)}, corpus="mnli", split="dev") + curves(
        {"mnli": (0.9, 0.8)}, corpus="wiki", split="all"
    )
    options = {"a": {"corpus": "mnli", "layer": "all"}, "b": {"corpus": "wiki"}, "metric": "similarity", "rule": "less"}
    assert judge(rows, **options)["verdict"] == "supported"


def test_similarity_across_layers_is_left_out():
    rows = [r | {"reference_layer": r["layer"]} for r in curves({"mnli": (0.9, 0.5)})]
    across = [r | {"reference_layer": 0, "value": 0.1} for r in curves({"mnli": (0.9, 0.5)}) if r["layer"]]
    assert judge(rows + across, a={"layer": "top_half"}, metric="similarity")["effect"] == pytest.approx(0.5)


HOLDS = {
    "parsing_probed": 0.1, "others_probed": 0.0, "halves": (0.7, 0.5), "parsing_changed": -0.2, "other_text": 0.05, "neighbour": 0.2,
    "frozen": 0.0, "frozen_parsing": -0.1, "truncated": 0.0, "correlation": 0.8,
}  # fmt: skip
FAILS = {
    "parsing_probed": -0.1, "others_probed": 0.1, "halves": (0.5, 0.7), "parsing_changed": 0.2, "other_text": -0.05, "neighbour": 0.95,
    "frozen": -0.1, "frozen_parsing": 0.0, "truncated": -0.1, "correlation": -0.8,
}  # fmt: skip
OWN = {"nli": ("mnli", "wiki~mnli"), "parsing": ("ewt", "wiki~ewt"), "squad": ("squad", "squadshifts-wiki~squad")}


def planted_study(name="paper", effects=HOLDS, base="encoder"):
    """A study with the rows of every analysis, in which all twelve claims hold or all fail."""
    rows = []
    for task, (own, alike) in OWN.items():
        gain = effects["parsing_probed" if task == "parsing" else "others_probed"]
        for notebook, target, metric in [
            ("structural_probe", "distance", "uuas"), ("structural_probe", "distance", "dspr"), ("edge_probe", "relation", "accuracy"),
            ("structural_probe", "depth", "nspr"), ("structural_probe", "depth", "root_accuracy"),
        ]:  # fmt: skip
            method = "single layer" if notebook == "edge_probe" else "rank 128"
            made = probe(gain, task=task, notebook=notebook, target=target, metric=metric, corpus="ewt", method=method)
            made += [r | {"layer": layer} for r in made if r["layer"] == 2 for layer in (3, 4)]  # as deep as the curves
            rows += [r for r in made if r["model"] != "base" or task == "nli"]
        lower, upper = (half + (effects["parsing_changed"] if task == "parsing" else 0.0) for half in effects["halves"])
        for corpus in (own, alike, "pud", "wiki"):
            more = effects["other_text"] if corpus in (alike, "pud") else 0.0
            for method in ("rsa", "cka_debiased", "procrustes"):
                # other measures than RSA always see the lower half change less, and parsing change more
                seen = (lower, upper) if method == "rsa" else (0.9, 0.6) if effects is HOLDS else (lower, upper)[::-1]
                other = 0.3 * (task == "parsing") if method != "rsa" else 0.0
                sides = tuple(side + more - (other if effects is HOLDS else -other) for side in seen)
                rows += curves({task: sides}, method, corpus=corpus)
        loss = effects["frozen_parsing" if task == "parsing" else "frozen"]
        for layers, drop in [("all", 0.0), ("top_2_of_6", loss), ("first_4_of_6_frozen", effects["truncated"])]:
            metric = {"nli": "accuracy", "parsing": "las", "squad": "f1"}[task]
            columns = {
                "notebook": "finetune",
                "task": task,
                "seed": 1,
                "metric": metric,
                "layers_changed": layers,
                "updates": 50,
            }
            rows.append(
                row(0.9 + drop, **columns, model=f"{task}-{layers}", method="fine-tuning", corpus=own, split="test")
            )
    floor = {"notebook": "similarity", "metric": "similarity", "method": "rsa", "role": "floor"}
    for corpus in ("mnli", "wiki~mnli", "squad", "squadshifts-wiki~squad", "ewt", "wiki~ewt", "pud", "wiki"):
        for layer in range(5):
            rows.append(row(0.0, **floor, model="untrained", reference_model="base", layer=layer, corpus=corpus))
            columns = {"model": "base", "reference_model": "layer below", "layer": layer, "corpus": corpus}
            rows += [row(effects["neighbour"], **floor, **columns)] if layer else []
    for r in [r for r in rows if r["notebook"] == "structural_probe" and r["model"] == "base"]:
        rows.append(r | {"model": "untrained", "role": "control", "value": r["value"] - 0.3})
    given = {
        "role": "score",
        "notebook": "change_and_function",
        "metric": "residual correlation",
        "value": effects["correlation"],
    }
    for target, by in (("probe_change", "UUAS, distance"), ("restored_layer", "las")):
        ends = {"ci_low": given["value"] - 0.1, "ci_high": given["value"] + 0.1}
        rows.append(given | ends | {"target": target, "probe": by})
    return table(rows, name, base)


@pytest.mark.parametrize(("effects", "expected"), [(HOLDS, "supported"), (FAILS, "contradicted")])
def test_each_of_the_twelve_claims_can_be_supported_and_contradicted(effects, expected):
    judged = verdicts.verdicts(claims.load(), planted_study(effects=effects), "paper").set_index("id")
    assert dict(judged["verdict"]) == dict.fromkeys(IDS, expected), judged["why"].to_dict()
    assert judged["answer"].str.startswith(verdicts.ANSWERS[expected]).all()


def test_a_base_that_was_tuned_before_caps_the_claims_it_weakens():
    loaded = claims.load()
    judged = verdicts.verdicts(loaded, planted_study(base="org/all-MiniLM-L6-v2@abc"), "paper").set_index("id")
    assert dict(judged["verdict"]) == {
        c.id: "inconclusive" if c.weakened_on.bases else "supported" for c in loaded.claims
    }
    weak = [c.id for c in loaded.claims if c.weakened_on.bases]
    assert judged.loc[weak, "answer"].str.startswith("Undecided: what was measured says yes, but ").all()


def test_pairs_are_what_the_verdicts_rest_on():
    loaded, rows = claims.load(), planted_study()
    judged, pairs = verdicts.judge(loaded, rows, "paper")
    judged = judged.set_index("id")
    assert dict(pairs["id"].value_counts()) == dict(judged["n_pairs"])
    for name, mine in pairs.groupby("id"):
        decided = judged.loc[name]
        primary = mine[mine["primary"]]
        found = primary[(primary["effect"] == decided["effect"]) & (primary["ci_low"] == decided["ci_low"])]
        assert len(found) and (found["verdict"] == decided["verdict"]).all() and primary["task"].is_unique
        assert any(side in decided["why"] for side in found["measured"]) and set(mine["verdict"]) == {"supported"}


# ---- what the rules promise, on many simulated studies

SEEDS, STUDIES = 5, 200
ERROR, UNITS = (
    0.01,
    0.009,
)  # standard errors of a mean over seeds: in all, and of the units alone (four fifths of the variance)
FAR = 4 * ERROR


def simulated(generator, effect, task, corpus="wiki"):
    """Similarity of five trainings on one text; what its sentences add is common to all, and each seed adds its own."""
    units, seeds = generator.normal(0, UNITS), generator.normal(0, ((ERROR**2 - UNITS**2) * SEEDS) ** 0.5, SEEDS)
    drawn = generator.normal(0, UNITS, 200)
    return [
        {"role": "score", "notebook": "similarity", "metric": "similarity", "corpus": corpus, "model": f"{task}-{seed}", "task": task,
         "seed": seed, "value": effect + units + own, "replicates": effect + units + own + drawn}
        for seed, own in enumerate(seeds)
    ]  # fmt: skip


def outcomes(rows, *planted, gates=None):
    """Judge many claims at once, each on a simulated study of its own, which is a task here."""
    made = [claim | {"id": f"study-{n}"} for n, claim in enumerate(planted)]
    return verdicts.verdicts(claims.Claims.model_validate(content(*made, gates=gates)), table(rows), "paper")["verdict"]


CASES = {
    "true": ("greater", 0.02, 0.02 + FAR, 0.9, "supported"),
    "false": ("greater", 0.02, 0.02 - FAR, 0.9, "contradicted"),
    "undecidable": ("equivalent", ERROR / 2, 0.0, 0.9, "inconclusive"),
    "not learned": ("greater", 0.02, 0.02 + FAR, 0.78 - FAR, "not tested here"),
}


@pytest.mark.parametrize("case", CASES)
def test_simulated_studies_get_the_verdict_they_should(case):
    rule, margin, effect, las, expected = CASES[case]
    generator, rows, planted, gates = np.random.default_rng(3), [], [], {}
    for n in range(STUDIES):
        task = f"task{n}"
        rows += simulated(generator, effect, task)
        rows += [r | {"task": task, "value": las + generator.normal(0, ERROR)} for r in tuned(*[las] * SEEDS)]
        gates[task] = GATE | {"tasks": [task]}
        planted.append(claim(a={"task": task, "notebook": "similarity"}, rule=rule, margin=margin, metric="similarity"))
    assert (outcomes(rows, *planted, gates=gates) == expected).sum() >= 190


@pytest.mark.slow
def test_where_only_the_layout_differs_the_domain_is_found_not_to_matter():
    """Own text and other text of its layout change alike, single sentences less: only the contrast at equal layout says no."""
    generator, rows, alike, single = np.random.default_rng(4), [], [], []
    for n in range(STUDIES):
        task = f"task{n}"
        for corpus, effect in (("mnli", 0.6), ("wiki~mnli", 0.6), ("wiki", 0.6 + 4 * FAR)):
            rows += simulated(generator, effect, task, corpus)
        own = {"a": {"task": task, "corpus": "mnli"}, "rule": "less", "margin": FAR * 2**0.5, "metric": "similarity"}
        alike.append(claim(b={"corpus": "wiki~mnli"}, **own))
        single.append(claim(b={"corpus": "wiki"}, **own))
    assert (outcomes(rows, *alike) == "contradicted").sum() >= 190
    assert (outcomes(rows, *single) == "supported").sum() >= 190


@pytest.mark.slow
def test_many_contrasts_on_the_border_seldom_contradict():
    """A true claim with 47 robustness contrasts that lie on the border of their margin: as bad as can be, and still true."""
    generator, contradicted = np.random.default_rng(5), 0
    good = planted_pair("greater", 0.02, 0.02 + FAR - 0.01, 0.02 + FAR + 0.01)
    border = good.test.model_copy(update={"primary": None})
    for _ in range(STUDIES):
        seeds = generator.normal(0, ((ERROR**2 - UNITS**2) * SEEDS) ** 0.5, (47, SEEDS))
        estimates = [
            intervals.Estimate(
                0.02 + of.mean() + generator.normal(0, UNITS), UNITS, ((of.var(ddof=1) / SEEDS, SEEDS - 1.0),)
            )
            for of in seeds
        ]
        others = [good._replace(test=border, estimate=estimate) for estimate in estimates]
        contradicted += verdicts.decide([good, *others])[0] == "contradicted"
        uncorrected = any(other.verdict == "contradicted" for other in others)
    assert contradicted < 0.05 * STUDIES and uncorrected  # some pair of 47 lies outside nearly always
