"""Controls of tasks: scores that a tuned encoder's score is compared with, to show how much of it came from pre-training.

Only scores on the same items are subtracted.
"""

from collections.abc import Mapping

import pandas as pd

from bert_repro.results import tables

CONTROLS = {"untrained": "untrained encoder, same updates", "partial_input": "second side alone"}
"""Trainings beside those of a base, one thing being otherwise: names in recipes and studies, and `method` in their rows."""
ALIKE = ["task", "corpus", "split", "metric"]
"""What a score and what stands beside it have in common."""
NOT_MEASURED = "not measured here"


def beside(table: pd.DataFrame, tuned: pd.DataFrame) -> pd.DataFrame:
    """Give the controls and baselines of some scores.

    Args:
        table: Merged tables of a study.
        tuned: Scores of tuned encoders.

    Returns:
        Those rows of fine-tuning that measure what some score does, on the same text; `method` says what each is.
    """
    compared = table[(table["notebook"] == "finetune") & table["role"].isin(["control", "baseline"])]
    compared = compared[compared["method"].isin(CONTROLS.values()) | (compared["role"] == "baseline")]
    return compared.merge(tuned[ALIKE].drop_duplicates(), on=ALIKE)[[*tables.COLUMNS, "replicates"]]


def as_marks(rows: pd.DataFrame) -> pd.DataFrame:
    """Turn such rows into marks that figures draw in grey and name by `method`."""
    return rows.assign(role="baseline", seed=pd.NA).astype(tables.COLUMNS)


def from_pre_training(table: pd.DataFrame, tuned: pd.DataFrame) -> pd.DataFrame:
    """Subtract from scores those of an untrained encoder that was tuned with the same updates, from the same seed.

    Args:
        table: Merged tables of a study, with replicates.
        tuned: Scores of wholly tuned encoders.

    Returns:
        Tidy rows, `value` and interval being the paired difference on the same items: how much of the score came from
        pre-training. Both were trained once, so that the variation between seeds is not in it. Empty where no untrained
        encoder was tuned.

    Raises:
        ValueError: Rows without replicates.
    """
    control = beside(table, tuned)
    control = control[control["method"] == CONTROLS["untrained"]]
    key = [*ALIKE, "seed", "updates"]
    if tuned.merge(control[key], on=key).empty:
        return tuned[:0]
    return tables.subtract(tuned, control, CONTROLS["untrained"], key).assign(reference_model=CONTROLS["untrained"])


def summary(table: pd.DataFrame, tuned: pd.DataFrame) -> pd.DataFrame:
    """List every score with the scores that it has to exceed, for readers.

    Args:
        table: Merged tables of a study, with replicates.
        tuned: Scores of wholly tuned encoders; seeds are averaged.

    Returns:
        Texts, a row per corpus and metric: the score, the first seed's difference from an untrained encoder with the same
        updates, with its interval, what needs no encoder, the second side alone, and the untrained encoder. No row where nothing
        was measured beside any score.
    """
    control, gained = beside(table, tuned), from_pre_training(table, tuned)

    def cell(rows: pd.DataFrame, case: Mapping[str, object], interval: bool = False) -> str:
        rows = rows[(rows[list(case)] == pd.Series(case)).all(axis=1)]
        if rows.empty:
            return NOT_MEASURED
        row = rows.iloc[0]
        ends = f" [{row['ci_low']:.3f}, {row['ci_high']:.3f}]" if interval else ""
        name = f" ({row['method']})" if row["role"] == "baseline" else ""
        return f"{row['value']:.3f}{ends}{name}"

    lines, names = [], ["corpus", "metric"]
    for key, rows in (tuned if len(control) else tuned[:0]).groupby(ALIKE, sort=False):
        case = dict(zip(ALIKE, key, strict=True))
        line = {name: case[name] for name in names}
        line |= {
            "score": f"{rows['value'].mean():.3f}",
            "from pre-training": cell(gained, case, interval=True),
            "without an encoder": cell(control, case | {"role": "baseline"}),
        }
        line |= {name: cell(control, case | {"method": name}) for name in reversed(CONTROLS.values())}
        lines.append(line)
    return pd.DataFrame(lines, columns=None if lines else names).set_index(names)
