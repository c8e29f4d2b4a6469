"""The history of an encoder: checkpoints kept during its pre-training, itself, and what was tuned from it, in this order.

A history that begins after the encoder was as unlike its end as a tuned one has no answer there: it is left blank.
"""

from typing import Any

import numpy as np
import pandas as pd

FROM_PRETRAINING = "masked_words"  # the task of what was kept on the way


def stations(table: pd.DataFrame) -> pd.DataFrame:
    """List the encoders of a history: those kept on the way by their updates, the base, and those tuned from it.

    Args:
        table: Tidy rows; those of the base and of what was tuned from it have one model each.

    Returns:
        Rows by model with `kept` (kept on the way, or the base) and `updates` of pre-training (of the base, and of those
        tuned from it, none); in the order of the history.
    """
    of_models = (
        table[table["role"].eq("score") & table["model"].ne("untrained")].drop_duplicates("model").set_index("model")
    )
    kept = of_models[of_models["task"].eq(FROM_PRETRAINING)].assign(updates=lambda rows: rows["updates"].astype(float))
    kept = kept.sort_values("updates").assign(kept=True)
    base = of_models[of_models.index == "base"].assign(kept=True, updates=np.nan)
    tuned = of_models.drop([*kept.index, *base.index]).assign(kept=False, updates=np.nan)
    return pd.concat([kept, base, tuned])[["kept", "updates"]]


def abilities(table: pd.DataFrame) -> pd.DataFrame:
    """Select what encoders of a history could do: masked-word loss, and by layer UUAS and accuracy of parts of speech.

    Args:
        table: Tidy rows of a study.
    """
    scored = table[table["role"].eq("score") & table["rows"].isna()]
    words = scored[scored["target"].eq("masked_words") & scored["metric"].eq("masked_word_loss")]
    probed = scored[scored["split"].eq("test")]
    trees = probed[probed["probe"].eq("structural") & probed["metric"].eq("uuas")]
    tags = probed[probed["target"].eq("upos") & probed["metric"].eq("accuracy") & probed["method"].eq("single layer")]
    return pd.concat([words, trees, tags.assign(metric="accuracy of parts of speech")])


def to_the_end(similarity: pd.DataFrame) -> pd.DataFrame:
    """Add the base to similarities with it: 1 in every layer, which nothing has to measure."""
    layers = similarity.drop_duplicates("layer")
    end = layers.assign(model="base", task=pd.NA, seed=pd.NA, updates=pd.NA, value=1.0, ci_low=pd.NA, ci_high=pd.NA)
    return pd.concat([similarity, end.astype(similarity.dtypes)])


def as_far_from_the_end(similarity: pd.DataFrame, last: int) -> pd.DataFrame:
    """Say when, during pre-training, an encoder was as unlike its end as each encoder that was tuned from that end is.

    Between two checkpoints the similarity is taken to change along a straight line.

    Args:
        similarity: Tidy rows by model and layer of one measure: the similarity with the base, of what was kept on the way and
            of what was tuned.
        last: Updates of the whole pre-training, at whose end the similarity is 1.

    Returns:
        Rows by tuned model (with the updates of its `tuning`) and layer: `value`, the similarity of both; `updates` of
        pre-training; and `left`, the share of pre-training that was left then. Blank where even the first checkpoint was
        more alike.
    """
    whole = to_the_end(similarity)
    order = stations(whole)
    rows = []
    for model in order.index[~order["kept"]]:
        for row in similarity[similarity["model"].eq(model)].sort_values("layer").itertuples():
            layer = whole[whole["layer"].eq(row.layer)].drop_duplicates("model").set_index("model")["value"]
            at = _when(float(row.value), layer.astype(float), order, last)
            rows.append((model, row.updates, row.layer, float(row.value), at, 1 - at / last))
    return pd.DataFrame(rows, columns=["model", "tuning", "layer", "value", "updates", "left"])


def as_bad_at_masked_words(table: pd.DataFrame, last: int) -> pd.DataFrame:
    """Say after how many updates pre-training predicted masked words as badly as each tuned encoder does now.

    Args:
        table: Tidy rows of a study.
        last: Updates of the whole pre-training.

    Returns:
        Rows by tuned model: `value`, its loss in nats per masked wordpiece, and `updates` of pre-training, on straight lines
        between checkpoints; blank where the first checkpoint with a loss was better.
    """
    loss = (
        abilities(table)[lambda rows: rows["metric"].eq("masked_word_loss")].set_index("model")["value"].astype(float)
    )
    order = stations(table)
    tuned = [model for model in order.index[~order["kept"]] if model in loss]
    rows = [(model, loss[model], _when(-loss[model], -loss, order, last)) for model in tuned]
    return pd.DataFrame(rows, columns=["model", "value", "updates"])


def in_words(far: pd.DataFrame) -> str:
    """Say where the first block, the layer that was set back furthest, and the last of each tuned encoder lie, as Markdown.

    Args:
        far: What `as_far_from_the_end` gives.
    """

    def at(row: Any) -> str:
        # two digits: it is read off a straight line between two checkpoints
        rounded = "" if pd.isna(row.updates) else f"at about {float(f'{row.updates:.2g}'):,.0f}"
        return f"layer {row.layer} {rounded or 'before the first checkpoint'} (RSA {row.value:.2f})"

    lines = []
    for name, rows in far.groupby("model", sort=False):
        furthest = rows["layer"].iloc[int(rows["updates"].fillna(-1).argmin())]
        told = map(at, rows[rows["layer"].isin([1, furthest, rows["layer"].max()])].itertuples())
        lines.append(f"- {name} ({rows['tuning'].iloc[0]:,} updates of tuning): {', '.join(told)}")
    return "\n".join(lines)


def _when(value: float, of_models: pd.Series, order: pd.DataFrame, last: int) -> float:
    """Say at which update what was kept on the way had a value for the last time: from there on it lies above."""
    way = of_models.reindex(order.index[order["kept"]]).dropna()
    updates = order["updates"].fillna(last).loc[way.index]  # the base is the end
    for n in range(len(way) - 1, 0, -1):
        if way.iloc[n - 1] <= value <= way.iloc[n]:
            return float(np.interp(value, way.iloc[n - 1 : n + 1], updates.iloc[n - 1 : n + 1]))
    return float("nan")
