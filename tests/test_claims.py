"""Claims on planted tables: every verdict can be flipped, and none is given on less than the claim asks for."""

import datetime
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from bert_repro.files import ROOT
from bert_repro.results import claims, intervals, tables
from bert_repro.workflow import study

NOISE = np.random.default_rng(0).normal(size=200)
IDS = [
    "no-forgetting", "parsing-reinforces-syntax", "nli-squad-keep-syntax", "top-layers-change-most", "parsing-changes-most",
    "lower-layers-reusable", "parsing-needs-lower-layers", "out-of-domain-changes-less", "top-layers-not-needed",
    "tuning-is-conservative", "robust-to-measure", "similarity-predicts-function",
]  # fmt: skip


def row(value, spread=0.001, **columns):
    return {"role": "score", **columns, "value": value, "replicates": value + spread * NOISE}


def table(rows, study="paper", base="encoder"):
    return tables.tidy(rows, study=study, base=base)


def probe(gain=0.0, spread=0.001, task="parsing", **columns):
    """Base and one tuned encoder of two blocks, probed on dev and test; layer 1 is best on dev."""
    shared = {"notebook": "structural_probe", "target": "distance", "metric": "uuas", **columns}
    return [
        row(value + 0.01 * (layer == 1) + 0.5 * (split == "test" and layer == 2), noise, **shared, **model, layer=layer, split=split)
        for model, value, noise in [({"model": "base"}, 0.6, 0), ({"model": "t-1", "task": task, "seed": 1}, 0.6 + gain, spread)]
        for layer in range(3)
        for split in ("dev", "test")
    ]  # fmt: skip


def claim(
    a=None, b=None, rule="greater", margin=0.01, metric="uuas", both=None, needs=None, weak=(), order=None, more=()
):
    contrast = {"both": both or {}, **({"a": a} if a else {}), **({"b": b} if b is not None else {})}
    contrast |= {"order": order} if order else {}
    test = {
        "contrast": contrast,
        "metric": metric,
        "rule": rule,
        "margin": {"value": margin, "unit": "share", "why": "x"},
    }
    return {
        "id": "planted", "claim": "A claim.", "source": {"kind": "ours", "where": "here"}, "chapter": "similarity", "needs": needs or {},
        "weakened_on": {"bases": list(weak), "reason": "the base has seen it"}, "tests": [test, *more],
    }  # fmt: skip


def content(*planted):
    today = datetime.date(2026, 11, 23)
    return {"written": today, "before": "nothing seen", "history": [], "claims": list(planted)}


def judge(rows, study="paper", **options):
    made = claims.Claims.model_validate(content(claim(**options)))
    return claims.verdicts(made, table(rows), study).iloc[0]


BEST = {"notebook": "structural_probe", "split": "test", "layer": "best"}
BASE = {"model": "base", "task": None}


def test_project_claims_are_twelve_and_complete():
    loaded = claims.load()
    assert [c.id for c in loaded.claims] == IDS
    assert loaded.written == datetime.date(2026, 11, 23)
    for edit in loaded.history:
        assert edit["date"] >= loaded.written and edit["claim"] in {"all", *IDS} and edit["change"]
    raw = yaml.safe_load(claims.PATH.read_text())
    for c in raw["claims"]:
        assert set(c) == {"id", "claim", "source", "chapter", "needs", "weakened_on", "tests"}
        for t in c["tests"]:
            assert set(t) == {"contrast", "metric", "rule", "margin"} and set(t["margin"]) == {"value", "unit", "why"}
    assert {c.id for c in loaded.claims if not c.weakened_on.bases} == {
        "parsing-reinforces-syntax", "parsing-needs-lower-layers", "robust-to-measure", "similarity-predicts-function",
    }  # fmt: skip


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
    assert claims._apply(rule, 1.0, low, high)[0] == expected


def test_margin_zero_asks_for_the_sign_only():
    assert claims._apply("greater", 0.0, 0.1, 0.2)[0] == "supported"
    assert claims._apply("no_drop", 0.0, -0.2, -0.1)[0] == "contradicted"
    assert claims._apply("greater", 0.0, 0.0, 0.0)[0] == "inconclusive"


@pytest.mark.parametrize(
    ("gain", "spread", "expected"),
    [(0.05, 0.001, "supported"), (0, 0.001, "contradicted"), (0.01, 0.01, "inconclusive")],
)
def test_every_verdict_flips_on_a_planted_effect(gain, spread, expected):
    verdict = judge(probe(gain, spread), a={"task": "parsing"}, b=BASE, both=BEST)
    low, high = intervals.percentiles(gain + spread * NOISE)
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


def test_several_tests_all_support_or_any_contradicts():
    good = claim(a={"task": "parsing"}, b=BASE, both=BEST)
    bad = claim(a={"task": "parsing"}, b=BASE, both=BEST, margin=0.2)["tests"][0]
    open_ = claim(a={"task": "parsing"}, b=BASE, both=BEST, margin=0.05)["tests"][0]
    absent = claim(a={"task": "squad"}, b=BASE, both=BEST)["tests"][0]
    for more, expected in [
        ([good["tests"][0]], "supported"), ([open_], "inconclusive"), ([absent], "not tested here"),
        ([open_, bad], "contradicted"), ([absent, bad], "contradicted"),
    ]:  # fmt: skip
        made = claims.Claims.model_validate(content({**good, "tests": [*good["tests"], *more]}))
        assert claims.verdicts(made, table(probe(0.05)), "paper").iloc[0]["verdict"] == expected


def test_missing_rows_are_named():
    verdict = judge(probe(0.05), a=[{"task": "parsing"}, {"task": "squad"}], b=BASE, both=BEST)
    assert (
        verdict["verdict"] == "not tested here"
        and "task squad" in verdict["why"]
        and "task parsing" not in verdict["why"]
    )
    assert pd.isna(verdict["effect"]) and pd.isna(verdict["ci_low"]) and verdict["n_pairs"] == 1


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
    short = [
        r | {"model": "t-2", "seed": 2, "replicates": r["replicates"][:50]} for r in probe() if r["model"] == "t-1"
    ]
    with pytest.raises(ValueError, match=r"replicates: draw all of them alike"):
        judge(probe() + short, **options)


def test_seeds_are_averaged_draw_by_draw():
    plan = {"notebook": "similarity", "metric": "similarity", "layer": 2}
    first, second, base = np.array([0.0, 1.0, 2.0]), np.array([2.0, 1.0, 0.0]), np.array([0.1, 0.2, 0.3])
    rows = [
        {**plan, "role": "score", "model": m, "task": t, "seed": s, "value": v, "replicates": r}
        for m, t, s, v, r in [
            ("t-1", "t", 1, 0.8, first),
            ("t-2", "t", 2, 0.6, second),
            ("base", None, None, 0.5, base),
        ]
    ]
    verdict = judge(rows, a={"task": "t", "layer": 2}, b=BASE, rule="greater", metric="similarity")
    # the seeds cancel: their mean is 1 in every draw, so the interval is that of 1 - base
    assert verdict["effect"] == pytest.approx(0.2)
    low, high = np.percentile([0.9, 0.8, 0.7], [2.5, 97.5])
    assert (verdict["ci_low"], verdict["ci_high"]) == pytest.approx((low, high))
    assert "mean of 2 seeds, whose spread the interval leaves out" in verdict["why"]


def curves(levels, method="rsa", **columns):
    """Similarity of four blocks to base, constant in each half: {task: (lower, upper)}."""
    return [
        row(1.0 if layer == 0 else lower if layer <= 2 else upper, 0.0, notebook="similarity", metric="similarity",
            method=method, task=task, model=f"{task}-1", seed=1, reference_model="base", layer=layer, **columns)
        for task, (lower, upper) in levels.items() for layer in range(5)
    ]  # fmt: skip


def test_summaries_over_layers():
    rows = curves({"mnli": (0.9, 0.5)})
    wants = {"all": (1 + 0.9 * 2 + 0.5 * 2) / 5, "bottom_half": 0.9, "top_half": 0.5, "last": 0.5, 0: 1.0, 3: 0.5}
    for layer, value in wants.items():
        assert judge(rows, a={"layer": layer}, metric="similarity")["effect"] == pytest.approx(value)
    verdict = judge(rows, a={"task": "mnli"}, metric="similarity")
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
    verdict = judge(both, order=order, **options)  # on wiki the first two are equal: every corpus has to agree
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
    "parsing_probed": 0.1, "others_probed": 0.0, "halves": (0.7, 0.5), "parsing_changed": -0.2, "neutral": 0.05,
    "untrained": 0.0, "frozen": 0.0, "frozen_parsing": -0.1, "truncated": 0.0, "correlation": 0.8,
}  # fmt: skip
FAILS = {
    "parsing_probed": -0.1, "others_probed": 0.1, "halves": (0.5, 0.7), "parsing_changed": 0.2, "neutral": -0.05,
    "untrained": 0.9, "frozen": -0.1, "frozen_parsing": 0.0, "truncated": -0.1, "correlation": -0.8,
}  # fmt: skip


def planted_study(name="paper", effects=HOLDS, base="encoder"):
    """A study with the rows of every analysis, in which all twelve claims hold or all fail."""
    rows = []
    for task in ("mnli", "parsing", "squad"):
        gain = effects["parsing_probed" if task == "parsing" else "others_probed"]
        for notebook, target, metric in [
            ("structural_probe", "distance", "uuas"), ("structural_probe", "distance", "dspr"), ("edge_probe", "relation", "accuracy"),
            ("structural_probe", "depth", "nspr"), ("structural_probe", "depth", "root_accuracy"),
        ]:  # fmt: skip
            made = probe(gain, task=task, notebook=notebook, target=target, metric=metric, corpus="ewt")
            made += [r | {"layer": layer} for r in made if r["layer"] == 2 for layer in (3, 4)]  # as deep as the curves
            rows += [r for r in made if r["model"] != "base" or task == "mnli"]
        lower, upper = (half + (effects["parsing_changed"] if task == "parsing" else 0.0) for half in effects["halves"])
        for corpus in ("mnli", "squad", "ewt", "wiki"):
            more = effects["neutral"] if corpus == "wiki" else 0.0
            for method in ("rsa", "cka_debiased", "procrustes"):
                rows += curves({task: (lower + more, upper + more)}, method, corpus=corpus)
            rows += [
                r | {"role": "floor", "seed": 2, "model": f"{task}-2"}
                for r in curves({task: (lower, upper)}, corpus=corpus)
            ]
        loss = effects["frozen_parsing" if task == "parsing" else "frozen"]
        for layers, drop in [("all", 0.0), ("top_2_of_6", loss), ("first_4_of_6_frozen", effects["truncated"])]:
            metric = {"mnli": "accuracy", "parsing": "las", "squad": "f1"}[task]
            rows.append(
                row(
                    0.8 + drop, notebook="finetune", task=task, seed=1, metric=metric, layers_changed=layers, updates=50
                )
            )
    for corpus in ("mnli", "squad", "ewt", "wiki"):
        untrained = curves({"": (effects["untrained"],) * 2}, corpus=corpus)
        rows += [r | {"role": "floor", "model": "untrained", "seed": None} for r in untrained]
    for target in ("probe_change", "restored_layer"):
        rows.append(
            row(effects["correlation"], notebook="change_and_function", metric="spearman", target=target, task="mnli")
        )
    return table(rows, name, base)


@pytest.mark.parametrize(("effects", "expected"), [(HOLDS, "supported"), (FAILS, "contradicted")])
def test_each_of_the_twelve_claims_can_be_supported_and_contradicted(effects, expected):
    verdicts = claims.verdicts(claims.load(), planted_study(effects=effects), "paper").set_index("id")
    assert dict(verdicts["verdict"]) == dict.fromkeys(IDS, expected), verdicts["why"].to_dict()


def test_a_base_that_was_tuned_before_caps_the_claims_it_weakens():
    loaded = claims.load()
    capped = claims.verdicts(loaded, planted_study(base="org/all-MiniLM-L6-v2@abc"), "paper").set_index("id")["verdict"]
    assert dict(capped) == {c.id: "inconclusive" if c.weakened_on.bases else "supported" for c in loaded.claims}


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_text_out_of_domain_has_the_names_that_each_study_gives_it(path):
    (claim,) = (claim for claim in claims.load().claims if claim.id == "out-of-domain-changes-less")
    corpora = {corpus.split(":")[0].split("[")[0] for corpus in study.load(path).similarity.corpora}
    for own, neutral in claim.tests[0].sides({}):
        assert len(corpora & set(own["corpus"])) == 1 and len(corpora & set(neutral["corpus"])) == 1


@pytest.mark.slow
def test_pairs_are_what_the_verdicts_rest_on():
    loaded = claims.load()
    judged = claims.verdicts(loaded, planted_study(), "paper").set_index("id")
    pairs = claims.pairs(loaded, planted_study(), "paper")
    assert dict(pairs["id"].value_counts()) == dict(judged["n_pairs"])
    for name, mine in pairs.groupby("id"):
        decided = judged.loc[name]
        found = mine[(mine["effect"] == decided["effect"]) & (mine["ci_low"] == decided["ci_low"])]
        assert len(found) and (found["verdict"] == decided["verdict"]).all()
        assert any(one in decided["why"] for one in found["measured"]) and set(mine["verdict"]) == {"supported"}


def broken(path, change):
    made = content(claim(a={"task": "x"}))
    change(made)
    path.write_text(yaml.safe_dump(made))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["claims"][0].update(colour=1), r"claim planted\.colour: Extra inputs .* \(got 1\)"),
        (lambda c: c["claims"][0]["tests"][0].update(rul="x"), r"claim planted\.tests\.0\.rul: Extra inputs"),
        (lambda c: c["claims"][0]["tests"][0].update(rule="equal"), r"claim planted\.tests\.0\.rule: .*got 'equal'"),
        (lambda c: c["claims"][0]["tests"][0].pop("margin"), r"claim planted\.tests\.0\.margin: Field required"),
        (lambda c: c["claims"][0].pop("id"), r"claim 0\.id: Field required"),
        (lambda c: c["claims"].append("text"), r"claim 1: .*got 'text'"),
        (lambda c: c["claims"].append(c["claims"][0]), r"each id may be given once, got \['planted', 'planted'\]"),
        (
            lambda c: c["claims"][0]["tests"][0]["contrast"].update(a={"laier": 1}),
            r"no columns to select by: \['laier'\]",
        ),
        (
            lambda c: c["claims"][0]["tests"][0]["contrast"].update(a={"value": 1}),
            r"no columns to select by: \['value'\]",
        ),
        (lambda c: c["claims"][0]["tests"][0]["contrast"].update(a={"layer": "middle"}), r"unknown layer 'middle'"),
        (
            lambda c: c["claims"][0]["tests"][0]["contrast"].update(a={"layer": "best"}),
            r"needs `split: test` beside it",
        ),
        (lambda c: c["claims"][0]["tests"][0].update(rule="order"), r"expected `order` with two selections or more"),
        (
            lambda c: c["claims"][0]["tests"][0].update(contrast={"order": [{"task": "x"}, {"task": "y"}]}),
            r"expected `order`",
        ),
        (lambda c: c.update(extra=1), r"extra: Extra inputs"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        claims.load(broken(tmp_path / "claims.yaml", change))


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no claims file .*the project's own is"):
        claims.load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="is not valid YAML"):
        claims.load(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(ValueError, match=r"got \[1\]"):
        claims.load(tmp_path / "list.yaml")


@pytest.mark.slow
def test_claims_start_without_tensorflow_and_plotly():
    code = "import sys; from bert_repro.results import claims; claims.load(); print({'tensorflow', 'keras', 'plotly'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
