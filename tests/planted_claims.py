"""Claims and tables that are planted, for the tests of claims and verdicts."""

import datetime

import numpy as np

from bert_repro.results import tables

NOISE = np.random.default_rng(0).normal(size=200)
NOISE = (NOISE - NOISE.mean()) / NOISE.std(ddof=1)


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


MINE: dict = {}  # every contrast of a test is primary


def claim(
    a=None, b=None, rule="greater", margin=0.01, metric="uuas", both=None, needs=None, weak=(), order=None, more=(), primary=MINE, gates=(),
    **options,
):  # fmt: skip
    contrast = {"both": both or {}, **({"a": a} if a else {}), **({"b": b} if b is not None else {})}
    contrast |= {"order": order} if order else {}
    test = {
        "contrast": contrast, "metric": metric, "rule": rule, "margin": {"value": margin, "unit": "share", "why": "x"},
        "primary": primary, **options,
    }  # fmt: skip
    return {
        "id": "planted", "claim": "A claim.", "measured": "Score of one minus another", "source": {"kind": "ours", "where": "here"},
        "chapter": "similarity", "needs": needs or {}, "gates": list(gates),
        "weakened_on": {"bases": list(weak), "reason": "the base has seen it"}, "tests": [test, *more],
    }  # fmt: skip


def content(*planted, gates=None):
    today = datetime.date(2026, 11, 23)
    return {
        "written": today, "before": "nothing seen", "history": [], "verdicts": [], "gates": gates or {}, "claims": list(planted)
    }  # fmt: skip


def curves(levels, method="rsa", **columns):
    """Similarity of four blocks to base, constant in each half: {task: (lower, upper)}."""
    return [
        row(1.0 if layer == 0 else lower if layer <= 2 else upper, 0.0, notebook="similarity", metric="similarity",
            method=method, task=task, model=f"{task}-1", seed=1, reference_model="base", layer=layer, **columns)
        for task, (lower, upper) in levels.items() for layer in range(5)
    ]  # fmt: skip
