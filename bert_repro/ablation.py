"""Change and function: hides how what changed in a layer is set against what that layer does.

It refuses a model whose layers were not compared with the base, probed, or put back: there is nothing to set side by side.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float

from bert_repro import intervals, scores, tables

MEASURE = "rsa"  # the paper's


def by_layer(table: pd.DataFrame, model: str, base: str = "base") -> pd.DataFrame:
    """Say of each layer of a tuned encoder how much it changed, and what came of that.

    Args:
        table: Merged tables of a study, with replicates.
        model: The tuned encoder, e.g. `parsing-1`.
        base: The one that it was tuned from.

    Returns:
        Tidy rows by layer, in [0, 2]. Target `change`: 1 - RSA with the base on the study's first text. Target
        `probe_change`, a probe each: |tuned - base| of UUAS and of edge probes' accuracy, on test. Target `restored_layer`:
        how much the task's score on dev falls when that layer's first weights are put back.

    Raises:
        ValueError: No similarity of the model, or neither probes nor layers put back.
    """
    similar = table[
        (table["notebook"] == "similarity") & (table["metric"] == "similarity") & (table["role"] == "score")
    ]
    similar = similar[
        (similar["model"] == model) & (similar["reference_model"] == base) & (similar["method"] == MEASURE)
    ]
    similar = similar[similar["rows"].isna()]
    if similar.empty:
        raise ValueError(f"no {MEASURE} of {model!r} with {base!r} in the tables: run its similarity first")
    text = similar[["corpus", "split"]].iloc[0]
    similar = similar[(similar[["corpus", "split"]] == text).all(axis=1)]
    found = [_plain(similar, "change", MEASURE, less=1.0)]
    probed = table[table["model"].isin([model, base]) & (table["split"] == "test") & (table["role"] == "score")]
    uuas = probed[(probed["metric"] == "uuas") & (probed["probe"] == "structural")]
    both = uuas.groupby("probe_seed")["model"].nunique()
    uuas = uuas[uuas["probe_seed"] == both[both == 2].index.min()]  # the first seed that both were probed with
    edges = probed[
        (probed["notebook"] == "edge_probe") & (probed["method"] == "single layer") & (probed["metric"] == "accuracy")
    ]
    for one in (uuas, edges):
        if one["model"].nunique() == 2:
            moved = tables.paired(one, base)
            for target, rows in moved.groupby("target", sort=False):
                found.append(_plain(rows, "probe_change", f"UUAS, {target}" if one is uuas else f"accuracy, {target}"))
    tuned = table[table["notebook"] == "finetune"]
    if (tuned["layer"].notna() & (tuned["method"] == "layer reverted") & (tuned["model"] == model)).any():
        changed = scores.differences(tuned[tuned["model"] == model])
        metric = scores.main(tuned[tuned["model"] == model])["metric"].iloc[0]
        fallen = changed[changed["layer"].notna() & (changed["metric"] == metric)]
        found.append(_plain(fallen, "restored_layer", str(metric), less=0.0))
    if len(found) == 1:
        raise ValueError(f"neither probes nor layers put back of {model!r} in the tables: run those first")
    known = similar.iloc[0]
    same = {c: known[c] for c in ("model", "task", "seed", "updates", "layers_changed", "reference_model")}
    return tables.tidy(pd.concat(found).to_dict("records"), role="score", **same)


def _plain(rows: pd.DataFrame, target: str, probe: str, less: float | None = None) -> pd.DataFrame:
    """Take `less - value`, or the value's size, with its replicates and interval."""
    made = []
    for row in rows.sort_values("layer").itertuples():
        value, replicates = (np.asarray(one, float) for one in (row.value, row.replicates))
        value, replicates = (less - value, less - replicates) if less is not None else (abs(value), abs(replicates))
        made.append(
            {
                "layer": row.layer,
                "target": target,
                "probe": probe,
                "metric": target,
                **intervals.row(float(value), replicates),
            }
        )
    return pd.DataFrame(made)


def rank_correlations(layers: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Correlate the change of layers with each thing that came of it: Spearman's rho over layers.

    With seven layers rho is coarse: it takes few values, and its interval says how far sampled text alone would move it.

    Args:
        layers: What `by_layer` gives.

    Yields:
        A row for each target and probe: `spearman` in [-1, 1] with its interval; replicate i of one side meets replicate
        i of the other, which were drawn from different texts.
    """
    change = layers[layers["target"] == "change"].set_index("layer")
    for (target, probe), rows in layers[layers["target"] != "change"].groupby(["target", "probe"], sort=False):
        effect = rows.set_index("layer")
        both = change.index.intersection(effect.index)
        sides = [one.loc[both] for one in (change, effect)]
        value = spearman(*(np.array([one["value"]], float) for one in sides))[0]
        replicates = spearman(*(np.stack(list(one["replicates"])).T for one in sides))
        yield {
            "target": target, "probe": probe, "method": MEASURE, "metric": "spearman", "n": len(both), **intervals.row(value, replicates)
        }  # fmt: skip


def spearman(
    left: Float[np.ndarray, "resamples layers"], right: Float[np.ndarray, "resamples layers"]
) -> Float[np.ndarray, " resamples"]:
    """Give Spearman's rho of each row, ties sharing their mean rank; 0 where a side has no order, all its values being equal."""
    ranks = [pd.DataFrame(side).rank(axis=1).to_numpy() for side in (left, right)]
    centred = [one - one.mean(1, keepdims=True) for one in ranks]
    norms = np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    return np.divide((centred[0] * centred[1]).sum(1), norms, out=np.zeros_like(norms), where=norms > 0)
