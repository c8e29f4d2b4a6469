"""Scores of a task after something was erased from its encoder, against erasing random subspaces, over layers.

At least two random subspaces are needed: the variation between them is in every interval.

What was erased stands in `target`, from which layer in `layer`, what by in `method`; `probe_seed` numbers the random subspaces.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from bert_repro.results import intervals, scores, tables

NOTHING, ERASED, RANDOM = "nothing erased", "erased", "random subspace"
DIFFERENCE = "erased minus random subspace"
MAJORITY = "most frequent label"
P, P_HOLM = "p", "p_holm"  # metrics: of the mean over layers, and of a layer after Holm's correction for their number
Counts = Float[np.ndarray, "items metrics 2"]


def contrasts(
    metrics: Sequence[str],
    erased: Mapping[int, Counts],
    random: Mapping[int, Sequence[Counts]],
    weights: Int[np.ndarray, "resamples items"],
    depth: int,
) -> list[dict[str, object]]:
    """Subtract from the score after labels were erased the mean score after random subspaces were, on the same items.

    Args:
        metrics: Metrics of the task, the first being the main one.
        erased: By layer, what is right and all there is, of each item and metric.
        random: The same for each random subspace, at least two.
        weights: How often each resample drew each item.
        depth: The number of blocks.

    Returns:
        Rows of each layer and, without a layer, of the mean over those between the embeddings and the last block: the primary
        contrast. Intervals are of the items and of the random subspaces. For the main metric the two-sided p of the
        primary contrast (P) and those of the layers after Holm's correction (P_HOLM) follow.

    Raises:
        ValueError: One random subspace, whose variation nothing tells.
    """
    if few := sorted(layer for layer, drawn in random.items() if len(drawn) < 2):
        raise ValueError(f"layers {few} have fewer than two random subspaces: nothing tells how much these vary")
    rows: list[dict[str, object]] = []
    for m, metric in enumerate(metrics):
        n = int(next(iter(erased.values()))[:, m, 1].sum())
        if not n:
            continue
        differences = {layer: _difference(erased[layer], random[layer], m, weights) for layer in erased}
        between = [differences[layer] for layer in differences if 0 < layer < depth]
        estimates = {layer: intervals.mean(of_layer) for layer, of_layer in differences.items()}
        about = {"method": DIFFERENCE, "metric": metric, "n": n, "units": weights.shape[1]}
        rows += [about | {"layer": layer} | _row(estimates[layer], differences[layer]) for layer in estimates]
        if between:
            values, replicates = (
                np.mean([getattr(of_layer, name) for of_layer in between], 0) for name in ("values", "replicates")
            )
            primary = intervals.Repeats(between[0].seeds, values, replicates)
            rows.append(about | _row(intervals.mean(primary), primary))
        if m == 0:
            tests: dict[str, object] = {"method": DIFFERENCE, "n": n, "units": weights.shape[1]}
            corrected = intervals.holm([two_sided(of_layer) for of_layer in estimates.values()])
            rows += [
                tests | {"metric": P_HOLM, "layer": layer, "value": p}
                for layer, p in zip(estimates, corrected, strict=True)
            ]
            rows += [tests | {"metric": P, "value": two_sided(intervals.mean(primary))}] if between else []
    return rows


def _difference(erased: Counts, random: Sequence[Counts], metric: int, weights: np.ndarray) -> intervals.Repeats:
    """Subtract each random subspace's score; they are what repeats."""
    value, replicates = intervals.ratio(erased[:, metric, 0], erased[:, metric, 1], weights)
    drawn = [intervals.ratio(counts[:, metric, 0], counts[:, metric, 1], weights) for counts in random]
    values = np.array([float(value - random_value) for random_value, _ in drawn])
    return intervals.Repeats(
        tuple(range(1, len(drawn) + 1)), values, np.stack([replicates - random_value for _, random_value in drawn])
    )


def _row(estimate: intervals.Estimate, repeats: intervals.Repeats) -> dict[str, object]:
    low, high = estimate.interval
    drawn = repeats.replicates.mean(0).astype(np.float32)
    return {"value": estimate.value, "ci_low": low, "ci_high": high, "replicates": drawn}


def two_sided(estimate: intervals.Estimate) -> float:
    """Give the p value of "there is no difference": that at which the interval ends at 0."""
    return min(1.0, 2 * min(estimate.p_below(0.0), estimate.p_above(0.0)))


def changes(table: pd.DataFrame) -> pd.DataFrame:
    """Say how much the main metric of each task changes when labels, or random subspaces, are erased from a layer.

    Args:
        table: Merged tables of a study.

    Returns:
        Tidy rows by model, target and layer: the score minus that with nothing erased, paired on the same items. Those of random
        subspaces, in the role of a baseline, are means whose interval holds the variation between them. Empty where
        nothing was erased.

    Raises:
        ValueError: Rows without replicates.
    """
    measured = table[table["notebook"] == "erasure"]
    on = [column for column in tables.MEASURED if column not in ("layer", "target", "probe_seed", "method")]
    parts = [measured[:0]]
    for model, rows in measured.groupby("model", sort=False):
        whole = rows[rows["method"].eq(NOTHING) & rows["layer"].isna()]
        after = rows[
            rows["method"].isin([ERASED, RANDOM]) & rows["metric"].eq(whole["metric"].iloc[0] if len(whole) else "")
        ]
        if len(after):
            parts.append(tables.subtract(after, whole, str(model), on))
    changed = pd.concat(parts, ignore_index=True).astype(tables.COLUMNS)
    kept, drawn = changed[changed["method"] == ERASED], changed[changed["method"] == RANDOM]
    return pd.concat([kept, scores.over_probe_seeds(drawn).assign(role="baseline")], ignore_index=True)


def found(table: pd.DataFrame) -> pd.DataFrame:
    """Lay out the contrasts: the primary one of each model and target, and in which layers there is a difference by itself.

    Args:
        table: Merged tables of a study.

    Returns:
        By model and target: `difference`, `ci_low`, `ci_high` and `p` of the primary contrast (empty of an encoder without a layer
        between the first and the last), and `layers`, those whose p is below .05 after Holm's correction.
    """
    rows = table[(table["notebook"] == "erasure") & (table["method"] == DIFFERENCE)]
    lines = []
    for (model, target), of_both in rows.groupby(["model", "target"], sort=False):
        mean = of_both[of_both["layer"].isna()]
        primary, p = mean[mean["metric"] != P].head(1), mean[mean["metric"] == P]["value"]
        line: dict[str, object] = {"model": model, "target": target}
        for column, name in (("value", "difference"), ("ci_low", "ci_low"), ("ci_high", "ci_high")):
            line[name] = primary[column].iloc[0] if len(primary) else pd.NA
        by_layer = of_both[of_both["metric"] == P_HOLM]
        layers = by_layer["layer"][by_layer["value"] < 0.05].sort_values()
        lines.append(line | {"p": p.iloc[0] if len(p) else pd.NA, "layers": ", ".join(map(str, layers)) or "none"})
    columns = ["model", "target", "difference", "ci_low", "ci_high", "p", "layers"]
    return pd.DataFrame(lines, columns=columns).set_index(["model", "target"])
