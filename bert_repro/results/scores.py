"""Scores of tuned encoders: brings together the rows that belong together, seeds with their twins, and the change of a layer
with what the layer does.

Only what was measured on the same text is averaged or subtracted.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from bert_repro.results import controls, intervals, provenance, tables

PUBLISHED = (
    {"task": "nli", "corpus": "mnli", "metric": "accuracy_matched", "value": 0.8468, "method": "BERT base, published"},
    {"task": "squad", "corpus": "squad", "metric": "f1", "value": 0.8841, "method": "BERT base, published"},
    {"task": "squad", "corpus": "squad", "metric": "exact_match", "value": 0.8125, "method": "BERT base, published"},
    {"task": "parsing", "corpus": "ewt", "metric": "las", "value": 0.899, "method": "BERT base cased, published"},
    {"task": "parsing", "corpus": "ewt", "metric": "uas", "value": 0.918, "method": "BERT base cased, published"},
    {"task": "tagging", "corpus": "ewt", "metric": "accuracy", "value": 0.970, "method": "BERT base cased, published"},
    {"task": "nli", "metric": "accuracy", "value": 1 / 3, "method": "guessing one of three"},
)
"""What other models score, and guessing; the chapter of the models says where each number stands."""
NOTES = ("best update", "training seconds", "wordpieces a second")
"""What a manifest of fine-tuning notes beside its table, as no other run could repeat it to the digit."""
TUNINGS = ("finetune", "checkpoint")  # notebooks
MEASURE = "rsa"  # the paper's, of the change in a layer
SAME = {"glue/mnli": "mnli", "squad/v1.1": "squad", "universal_dependencies/en_ewt": "ewt"}
"""Other names of the corpora in PUBLISHED."""


def tunings(table: pd.DataFrame) -> pd.DataFrame:
    """Take the rows on how well tuned encoders do their tasks and how far their weights moved; no controls."""
    return table[table["notebook"].isin(TUNINGS) & table["task"].notna() & (table["role"] == "score")]


def held_out(table: pd.DataFrame) -> pd.DataFrame:
    """Give the final scores, also of controls: on a model's test corpora, which were scored once, or on dev where it has none."""
    scores = table[table["method"].isin(["fine-tuning", *controls.CONTROLS.values()])]
    text = tables.texts(scores)
    texts = text.groupby(scores["model"])
    # a model's rows stand in the order in which its corpora were scored, dev first
    return scores[(texts.transform("nunique") == 1) | (text != texts.transform("first"))]


def main(scores: pd.DataFrame) -> pd.DataFrame:
    """Give the rows of the metric that chose the weights that were kept: a task's first score, whatever else is measured."""
    first = tables.select(scores, method="fine-tuning").groupby("task")["metric"].first()
    return scores[scores["metric"] == scores["task"].map(first)]


def whole(table: pd.DataFrame) -> pd.DataFrame:
    """Give the rows of encoders of which every layer was tuned."""
    return table[table["layers_changed"] == "all"]


def over_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """Average over the seeds of a task, where it has several.

    Args:
        scores: Rows of several models; those that have everything but the model and its seed in common are averaged, so seeds
            that were tuned for different numbers of updates are not.

    Returns:
        Tidy rows without a seed, `model` being the task. The interval is that of `intervals.Estimate`: of the units, and
        of the seeds.

    Raises:
        ValueError: Rows without replicates.
    """
    averaged = _seeds(scores) > 1
    rows = [
        group.iloc[0].to_dict() | {"model": group["task"].iloc[0], "seed": pd.NA, "updates": pd.NA} | _mean(group)
        for _, group in scores[averaged].groupby(_ALIKE, sort=False, dropna=False)
    ]
    return tables.tidy(rows) if rows else scores[:0]


_ALIKE = [c for c in tables.COLUMNS if c not in ("model", "seed", *tables.NUMBERS)]


def _seeds(scores: pd.DataFrame) -> pd.Series:
    """Count, for each row, the seeds that a mean would be over; 1 where models of one seed differ in nothing that a column tells."""
    groups = scores.groupby(_ALIKE, sort=False, dropna=False)
    different = groups["seed"].transform("nunique")
    return different.where(groups["seed"].transform("size") == different, 1)


def by_task(scores: pd.DataFrame) -> pd.DataFrame:
    """Give one curve per task: the mean over its seeds as in `over_seeds`, or what only one seed has; all other rows come first.

    Args:
        scores: Scores as `over_seeds` takes them, those of encoders that were not tuned, controls and floors.

    Raises:
        ValueError: Rows without replicates.
    """
    of_task = (scores["role"] == "score") & scores["task"].notna()
    tuned = scores[of_task]
    parts = [scores[~of_task], over_seeds(tuned), tuned[_seeds(tuned) < 2]]
    return pd.concat(parts, ignore_index=True)


def over_probe_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """Average over the seeds of a probe; a row of one seed stays as it is.

    Args:
        scores: Rows of probes; those that have everything but the seed of the probe in common are averaged.

    Returns:
        Tidy rows, those that are means without a seed of the probe. Intervals as in `over_seeds`.

    Raises:
        ValueError: Rows without replicates.
    """
    alike = [c for c in tables.COLUMNS if c not in ("probe_seed", *tables.NUMBERS)]
    rows = [
        group.iloc[0].to_dict() | ({} if len(group) == 1 else {"probe_seed": pd.NA} | _mean(group))
        for _, group in scores.groupby(alike, sort=False, dropna=False)
    ]
    return tables.tidy(rows) if rows else scores[:0]


def _mean(group: pd.DataFrame) -> dict[str, object]:
    """Average rows of several seeds; the replicates of the mean are of the units alone."""
    if group["replicates"].isna().any():
        raise ValueError("rows without replicates have no mean: are the .replicates.parquet files beside the tables?")
    replicates = list(group["replicates"])
    common = min(map(len, replicates))  # a run of fewer resamples has the first of the same
    # those of a jackknife are still known as such
    drawn = np.stack([of_seed[:common] for of_seed in replicates]).view(type(replicates[0]))
    repeats = intervals.Repeats(tuple(range(len(group))), group["value"].to_numpy(float), drawn)
    estimate = intervals.mean(repeats)
    low, high = estimate.interval
    return {"value": estimate.value, "ci_low": low, "ci_high": high, "replicates": repeats.replicates.mean(0)}


def published(scores: pd.DataFrame) -> pd.DataFrame:
    """Give the rows of PUBLISHED that have task, metric and corpus (if any) in common with some scores, beside these."""
    baselines = tables.tidy(PUBLISHED, role="baseline")
    measured = scores[["task", "metric", "corpus", "split"]].drop_duplicates()
    rows = baselines.drop(columns="split").merge(measured, on=["task", "metric"], suffixes=("_known", ""))
    name = rows["corpus"].str.replace(":.*", "", regex=True).replace(SAME)  # chapters name a text with its split
    return rows[rows["corpus_known"].isna() | (rows["corpus_known"] == name)][baselines.columns]


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Subtract the score of the wholly tuned encoder from those with layers frozen, cut off or reverted.

    Args:
        table: Tidy rows of fine-tuning. A reverted layer (method `layer reverted`) is compared with the model that it was
            reverted in, another encoder with the wholly tuned one of its task and seed; without such a twin it has
            no difference.

    Returns:
        Tidy rows, `value` and interval being the paired difference, on the same items and resamples; below 0 where the
        task suffers.

    Raises:
        ValueError: Rows without replicates, or two twins.
    """
    scores = table[table["method"].isin(["fine-tuning", "layer reverted"])]
    reverted = scores["layer"].notna()
    tuned = whole(scores[~reverted])
    twins = tuned[["task", "seed", "model"]].drop_duplicates().rename(columns={"model": "twin"})
    changed = scores[reverted | (scores["layers_changed"] != "all")].merge(twins, on=["task", "seed"], how="left")
    changed["twin"] = changed["twin"].mask(changed["layer"].notna(), changed["model"])
    # the same was measured, whichever layer was reverted, which `layer` and `method` name here
    on = [column for column in tables.MEASURED if column not in ("layer", "method")]
    parts = [
        tables.subtract(group, tuned[tuned["model"] == twin], str(twin), on).assign(reference_model=twin)
        for twin, group in changed.groupby("twin", sort=False)
        if len(tuned[tuned["model"] == twin])
    ]
    return pd.concat([scores[:0], *parts], ignore_index=True).astype(tables.COLUMNS)


def by_learning(scores: pd.DataFrame) -> pd.DataFrame:
    """Order rows by how much of the encoder learned: all of it, ever fewer blocks, none, and last the cut ones."""
    changed = scores["layers_changed"]
    blocks = changed.str.extract(r"^top_(\d+)_")[0].astype("Float64")
    blocks = blocks.mask(changed == "all", np.inf).mask(changed == "head_only", 0).fillna(-1)
    order = blocks.sort_values(ascending=False, kind="stable").index
    cut = changed.str.replace(r"^first_(\d+)_of_(\d+)_frozen$", r"cut after \1 of \2", regex=True)
    return scores.assign(layers_changed=cut.str.replace("_", " ")).loc[order]


def weights(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find how far the weights of wholly tuned encoders moved.

    Returns:
        The rows of the weights that were kept, and rows after the first, the middle and the last evaluation.
    """
    kept, along = (whole(table[table["method"] == name]) for name in ("weights", "weights along the way"))
    points = sorted(along["updates"].unique())
    shown = {points[0], points[(len(points) - 1) // 2], points[-1]} if points else set()
    return kept, along[along["updates"].isin(list(shown))].sort_values("updates", kind="stable")


def learning_curves(folder: Path | str, table: pd.DataFrame) -> pd.DataFrame:
    """Read the learning curves of the models of a table.

    Returns:
        Columns `notebook`, `model`, `task`, `seed`, `layers_changed`, `updates`, `metric` (`loss`, or a score on dev), `value`.
    """
    curves = tables.merge_artefacts(folder, "learning curve")
    points = pd.DataFrame(curves["content"].tolist(), columns=["updates", "metric", "value"])
    models = table[["model", "task", "seed", "layers_changed"]].drop_duplicates("model")
    points = points.assign(notebook="finetune", model=curves["model"]).explode(["updates", "metric", "value"])
    return models.merge(points, on="model").astype({"updates": "Int64", "metric": "string", "value": "Float64"})


def cards(folder: Path | str) -> pd.DataFrame:
    """Read what given checkpoints are: a column per model, a row per property; empty where there are none.

    What was tuned here is none of them, though its masked words may have been scored as of a checkpoint.
    """
    artefacts = tables.merge_artefacts(folder, "checkpoint")
    trained = [m["parameters"] for m in provenance.manifests(folder).values() if m["notebook"] == "finetune"]
    artefacts = artefacts[~artefacts["model"].isin([parameters["name"] for parameters in trained])]
    return pd.DataFrame(artefacts["content"].tolist(), index=artefacts["model"].rename(None)).T


def training(folder: Path | str) -> pd.DataFrame:
    """Read from the manifests what each training took, and when dev was best: rows by model, columns NOTES."""
    finetuned = [m for m in provenance.manifests(folder).values() if m["notebook"] == "finetune"]
    notes = {m["parameters"]["name"]: m["training"] for m in finetuned if "training" in m}
    names = pd.Index(list(notes), dtype="string", name="model")
    return pd.DataFrame(list(notes.values()), index=names, columns=list(NOTES), dtype=float)


class NotMeasuredError(ValueError):
    """The tables lack something that is to be compared."""


def compared(table: pd.DataFrame, models: Iterable[str], base: str = "base") -> pd.DataFrame:
    """Collect `by_layer` for several tuned encoders; those that were not probed are left out.

    Raises:
        NotMeasuredError: There is none of which change and anything else was measured.
    """
    frames, reasons = [], []
    for model in models:
        try:
            frames.append(by_layer(table, model, base))
        except NotMeasuredError as error:
            reasons.append(str(error))
    if not frames:
        raise NotMeasuredError("; ".join(reasons) or "no model was named")
    return pd.concat(frames, ignore_index=True)


def by_layer(table: pd.DataFrame, model: str, base: str = "base") -> pd.DataFrame:
    """Give for each layer of a tuned encoder how much it changed, and the effect of that.

    Args:
        table: Merged tables of a study, with replicates.
        model: The tuned encoder, e.g. `parsing-1`.
        base: The one that it was tuned from.

    Returns:
        Tidy rows by layer. Target `change`: 1 - RSA with the base on the study's first text, in [0, 2]. Target `probe_change`, a
        probe each: |tuned - base| of UUAS and of edge probes' accuracy, on test, in [0, 1]; its interval begins at 0 where that of
        tuned - base holds 0. Target `restored_layer`: how much the task's score on dev falls when that layer is reverted to its
        first weights, in [-1, 1].

    Raises:
        NotMeasuredError: No similarity of the model, or neither probes nor reverted layers.
    """
    similar = tables.select(table, notebook="similarity", metric="similarity", role="score", method=MEASURE)
    similar = tables.select(similar, model=model, reference_model=base, rows=None)
    if similar.empty:
        raise NotMeasuredError(f"no {MEASURE} of {model!r} with {base!r} in the tables: run its similarity first")
    similar = tables.on_first_text(similar)
    parts = [_plain(similar, "change", MEASURE, less=1.0)]
    probed = tables.select(table, model=[model, base], split="test", role="score")
    uuas = tables.select(probed, metric="uuas", probe="structural")
    models = uuas.groupby("probe_seed")["model"].nunique()
    uuas = uuas[uuas["probe_seed"] == models[models == 2].index.min()]  # the first seed that both were probed with
    edges = tables.select(probed, notebook="edge_probe", method="single layer", metric="accuracy")
    for scored in (uuas, edges):
        if scored["model"].nunique() == 2:
            moved = tables.paired(scored, base)
            for target, rows in moved.groupby("target", sort=False):
                parts.append(
                    _plain(rows, "probe_change", f"UUAS, {target}" if scored is uuas else f"accuracy, {target}")
                )
    tuned = tunings(table)
    if (tuned["layer"].notna() & (tuned["method"] == "layer reverted") & (tuned["model"] == model)).any():
        changed = differences(tuned[tuned["model"] == model])
        metric = main(tuned[tuned["model"] == model])["metric"].iloc[0]
        fallen = changed[changed["layer"].notna() & (changed["metric"] == metric)]
        parts.append(_plain(fallen, "restored_layer", str(metric), less=0.0))
    if len(parts) == 1:
        raise NotMeasuredError(f"neither probes nor reverted layers of {model!r} in the tables: run those first")
    about = similar.iloc[0]
    columns = {c: about[c] for c in ("model", "task", "seed", "updates", "layers_changed", "reference_model")}
    return tables.tidy(pd.concat(parts).to_dict("records"), role="score", **columns)


def _plain(rows: pd.DataFrame, target: str, probe: str, less: float | None = None) -> pd.DataFrame:
    """Take `less - value`, or the value's size, with its replicates and interval."""
    rows_made = []
    for row in rows.sort_values("layer").itertuples():
        value, replicates = (np.asarray(numbers, float) for numbers in (row.value, row.replicates))
        value, replicates = (value, replicates) if less is None else (less - value, less - replicates)
        made = intervals.row(float(value), replicates)
        if less is None:
            low, high = intervals.percentiles(replicates)
            made |= {"ci_low": max(low, -high, 0.0), "ci_high": max(-low, high)}
            made |= {"value": abs(float(value)), "replicates": np.float32(abs(replicates))}
        measured = {"notebook": row.notebook, "layer": row.layer, "target": target, "probe": probe, "metric": target}
        rows_made.append(measured | made)
    return pd.DataFrame(rows_made)


PERMUTATIONS = 10_000  # at most
DECIDES = 40  # permutations, below which none could lie in a tail of .025


def residual_correlations(layers: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Correlate change and its effect over models and layers, after subtracting each layer's mean over models.

    Change mostly grows with depth, and so may anything else that does: their correlation over layers says
    little. Of what is left,

        r = sum_ml a_ml b_ml / sqrt(sum_ml a_ml² sum_ml b_ml²),   a_ml = change_ml - mean over models, b likewise,

    asks whether a layer that changed more than in other encoders is one whose function changed more than in others. Its
    interval is r minus the middle 95 % of what permuting the models of one side gives; with fewer than five models no outcome
    could decide, and it is the whole range.

    Args:
        layers: What `by_layer` gives, of several models.

    Yields:
        A row for each target and probe that two models or more have: `residual correlation` in [-1, 1], `n` layers and `units` models.
    """
    layers = layers.assign(probe=layers["probe"].mask(layers["target"] == "restored_layer", "task score"))
    change = layers[layers["target"] == "change"].pivot(index="model", columns="layer", values="value")
    for (target, probe), rows in layers[layers["target"] != "change"].groupby(["target", "probe"], sort=False):
        function = rows.pivot(index="model", columns="layer", values="value")
        models, numbers = change.index.intersection(function.index), change.columns.intersection(function.columns)
        if len(models) < 2:
            continue
        a, b = (side.loc[models, numbers].to_numpy(float) for side in (change, function))
        a, b = a - a.mean(0), b - b.mean(0)
        size = np.sqrt((a**2).sum() * (b**2).sum())
        r = float((a * b).sum() / size) if size else 0.0
        low, high = -1.0, 1.0
        if math.factorial(len(models)) >= DECIDES:
            null = (a[_permutations(len(models))] * b).sum((1, 2)) / size if size else np.zeros(1)
            low, high = np.clip(r - np.percentile(null, [97.5, 2.5]), -1, 1)
        yield {
            "target": target, "probe": probe, "method": MEASURE, "metric": "residual correlation", "value": r,
            "ci_low": float(low), "ci_high": float(high), "n": a.size, "units": len(models),
        }  # fmt: skip


def _permutations(count: int) -> Int[np.ndarray, "permutations models"]:
    """List all orders of some models, or as many random ones as are enough."""
    if math.factorial(count) <= PERMUTATIONS:
        return np.array(list(itertools.permutations(range(count))))
    return np.random.default_rng(0).permuted(np.tile(np.arange(count), (PERMUTATIONS, 1)), axis=1)
