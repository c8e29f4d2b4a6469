"""Two sets of results side by side: pairs rows that measure the same thing and decides whether their numbers agree.

Nothing is dropped: what only one set has is listed next to what could be compared.

A difference is taken resample by resample. Resamples are seeded by the corpus, so that on the same sentences the chance of
which of them were drawn cancels out; on others the interval is that of two independent samples. Numbers without resamples
(changes of weights, grids of layers) are compared by value. Intervals are of sentences, each for itself, and leave seeds out.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from bert_repro.results import claims, intervals, lines, provenance, tables, verdicts

TOLERANCE = 0.02
"""How much two results may differ and still agree: that much of a share, a correlation or a similarity, and as a share of
the larger of two values above 1, such as norms, layers or kilobits."""
FINDINGS = ("agrees", "open", "differs", "first only", "second only")
"""The whole interval of a difference lies within the tolerance, across its edge, or outside; or a row has no partner."""
REPEATED = 1e-4  # within which a measurement that several tables hold is one measurement
_MEASURED = [c for c in tables.COLUMNS if c not in ("study", "base", *tables.NUMBERS)]
_LEARNED = "learned_from"
_NAMED = 3  # corpora that a list names before it only counts them
_OF_MODEL = ["role", "model", "task", "seed", "updates", "layers_changed"]


def compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    model: str | None = None,
    other_model: str | None = None,
    tolerance: float = TOLERANCE,
) -> pd.DataFrame:
    """Pair the rows of two sets that measure the same thing, and decide which agree.

    Rows are paired where every column is equal except the names of study and base encoder, which distinguish the sets; of
    sets that `read` gives, probes have learned from the same corpus too.

    Args:
        first: Tidy rows, as `read` or `tables.merge` gives them.
        second: Those of the other set; the same one, to compare two of its models.
        model: Only this model of the first set, whatever it was tuned on and for how long; what it is compared with
            (`reference_model`) stays the same.
        other_model: Its partner in the second set; of the same name where not given.
        tolerance: At least 0, see `TOLERANCE`.

    Returns:
        Tidy rows with their replicates, those of a pair as the second set has them: `value`, `ci_low` and `ci_high` are of
        the difference, second minus first. Beside them `first` and `second` (both values), `tolerance` (in the metric's own
        unit), `finding`, one of `FINDINGS`, and `learned_from`.

    Raises:
        ValueError: A negative tolerance, no such model, or rows of one set that measure the same thing and differ.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}: {TOLERANCE} is two points of a share")
    if other_model is not None and model is None:
        raise ValueError(f"other_model {other_model!r} was given without model: say what it is compared with")
    first, second = (side if _LEARNED in side else side.assign(**{_LEARNED: pd.NA}) for side in (first, second))
    key = [*_MEASURED, _LEARNED]
    if model is not None:
        key = [*(column for column in key if column not in _OF_MODEL), "along"]
        first, second = _of(first, model, "first"), _of(second, other_model or model, "second")
    first, second = _once(first, key, "first"), _once(second, key, "second")
    partners = first[[*key, "value", "replicates"]].rename(columns={"value": "first", "replicates": "drawn"})
    # pandas takes NA to equal NA here
    pairs = second.assign(second=second["value"]).merge(partners, on=key, how="left")
    unpaired = first.assign(first=first["value"]).merge(second[key], on=key, how="left", indicator="side")
    unpaired = unpaired[unpaired["side"] == "left_only"].drop(columns="replicates")
    pairs = _less(pd.concat([unpaired, pairs], ignore_index=True))
    allowed = tolerance * pairs[["first", "second"]].abs().max(axis=1).clip(lower=1)
    low, high = (pairs[end].fillna(pairs["value"]) for end in ("ci_low", "ci_high"))
    cases = {
        "first only": pairs["second"].isna(),
        "second only": pairs["first"].isna(),
        "agrees": (low >= -allowed) & (high <= allowed),
        "differs": (low > allowed) | (high < -allowed),
    }
    finding = np.select([case.fillna(False).to_numpy(bool) for case in cases.values()], list(cases), "open")
    pairs = pairs.assign(tolerance=allowed, finding=pd.Series(finding, dtype="string"))
    return pairs[[*tables.COLUMNS, "replicates", "first", "second", "tolerance", "finding", _LEARNED]]


def _of(table: pd.DataFrame, model: str, side: str) -> pd.DataFrame:
    """Take the rows of a model; those of its checkpoints during training, and of points of a line, stay separate."""
    rows = table[table["model"] == model]
    if rows.empty:
        models = ", ".join(sorted(table["model"].dropna().unique()))
        raise ValueError(f"the {side} set has no model {model!r}: it has {models}")
    during = rows["updates"].mask(rows["updates"] == rows["updates"].max()).astype("Float64")
    points = lines.points(rows).mask(rows["metric"].str.startswith((lines.RISE, lines.BARRIER))).astype("Float64")
    return rows.assign(along=during.fillna(points))


def _once(table: pd.DataFrame, key: list[str], side: str) -> pd.DataFrame:
    """Drop repeated rows that several tables of a set hold: a baseline, or the base encoder with itself."""
    repeated = table[table.duplicated(key, keep=False)].groupby(key, dropna=False)["value"]
    apart = repeated.agg(lambda values: values.max() - values.min())
    if (apart > REPEATED).any():
        raise ValueError(
            f"{(apart > REPEATED).sum()} results of the {side} set occur twice and differ, by up to {apart.max():.3g}: "
            "do tables of two studies, or of an older run, lie in its folder?"
        )
    return table.drop_duplicates(key)


def _less(table: pd.DataFrame) -> pd.DataFrame:
    """Subtract the first value from the second; where both have replicates, these too, which gives the interval."""
    paired = table[table[["replicates", "drawn"]].notna().all(axis=1)]
    sides = zip(*(paired[column] for column in ("second", "replicates", "first", "drawn")), strict=True)
    names = ["value", "ci_low", "ci_high", "replicates"]
    differences = pd.DataFrame([intervals.difference(*four) for four in sides], paired.index, names, dtype=object)
    numbers = differences.astype(dict.fromkeys(names[:3], "Float64"))
    return table.assign(**numbers.reindex(table.index)).assign(value=table["second"] - table["first"])


def _name(row: pd.Series, text: str) -> str:
    """Say in words what a row measures, on which text."""
    texts = {column: "" if pd.isna(row[column]) else str(row[column]) for column in _MEASURED}
    target = "" if texts["target"] == texts["task"] else texts["target"]
    words = [
        " and ".join(filter(None, [texts["model"], texts["reference_model"]])),
        " ".join(filter(None, [texts["method"], target, texts["metric"]])),
        texts["layer"]
        and f"layer {texts['layer']}" + (texts["reference_layer"] and f" with {texts['reference_layer']}"),
        text,
        texts["rows"],
        texts["probe_seed"] and f"probe seed {texts['probe_seed']}",
    ]
    return ", ".join(filter(None, words))


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Count the findings of each metric.

    Returns:
        Rows by notebook and metric; the columns `FINDINGS`, and the largest difference, with its sign, empty without a pair.
    """
    of_metric = ["notebook", "metric"]
    counts = found.groupby([*of_metric, "finding"]).size().unstack(fill_value=0).reindex(columns=FINDINGS, fill_value=0)
    by_size = found.sort_values("value", key=abs, na_position="first", kind="stable")
    return counts.assign(largest=by_size.groupby(of_metric)["value"].last().astype(float))


def largest(found: pd.DataFrame, most: int = 20) -> pd.DataFrame:
    """Take the rows that differ, the clearest first, and say in `what` what each measures.

    How clear: how far the near end of the interval lies from 0, in tolerances, so that metrics of all units compare.
    """
    rows = found[found["finding"] == "differs"]
    near = rows[["ci_low", "ci_high"]].abs().min(axis=1).fillna(rows["value"].abs())
    order = (near / rows["tolerance"]).sort_values(ascending=False, kind="stable").index
    rows = rows.loc[order[:most]]
    texts = tables.texts(rows).fillna("")
    return rows.assign(what=[_name(row, text) for (_, row), text in zip(rows.iterrows(), texts, strict=True)])


def in_tolerances(found: pd.DataFrame) -> pd.DataFrame:
    """Divide differences and their intervals by the tolerance of their metric, so that all metrics share an axis."""
    ends = ["value", "ci_low", "ci_high"]
    return found.assign(**{end: found[end] / found["tolerance"] for end in ends})


def judged(sets: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Judge the claims on each of several sets, by its name: what `verdicts.verdicts` gives, with a column `set`."""
    frames = [
        verdicts.verdicts(claims.load(), table, table["study"].iloc[0]).assign(set=name) for name, table in sets.items()
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*verdicts.COLUMNS, "set"])


def side_by_side(judged: pd.DataFrame) -> pd.DataFrame:
    """Set the verdicts of several sets side by side, each with its effect: a row per claim, a column per set."""
    effect = judged["effect"].astype(object).map(" {:+.3f}".format, na_action="ignore")
    texts = judged.assign(said=judged["verdict"] + effect.where(effect.notna(), ""))
    return texts.pivot(index="claim", columns="set", values="said").loc[texts["claim"].unique(), texts["set"].unique()]


def alone(found: pd.DataFrame) -> pd.DataFrame:
    """List what only one set has: rows counted by side, notebook and model, with their updates and corpora, and the corpora
    that probes learned from."""
    rows = found[found["finding"].isin(["first only", "second only"])]
    of_side = rows.assign(text=tables.texts(rows).fillna("")).groupby(["finding", "notebook", "model"], sort=False)
    return of_side.agg(
        rows=("metric", "size"),
        updates=("updates", "max"),
        learned_from=(_LEARNED, _listed),
        corpora=("text", _listed),
    ).reset_index()


def _listed(texts: pd.Series) -> str:
    names = [text for text in texts.dropna().unique() if text]
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join(names[:_NAMED] + more)


def read(folder: Path) -> pd.DataFrame:
    """Read a set of results, with what each result's probe or training learned from, as its manifest says (`learned_from`).

    Two probes that learned from other corpora measure other things, which no other column of a table says.
    """
    table = tables.merge(folder)
    learned: dict[tuple[str, str], str] = {}
    for made in provenance.manifests(folder).values():
        parameters = made["parameters"]
        learned[made["notebook"], parameters.get("name")] = parameters.get("train")
    measured = zip(table["notebook"], table["model"], strict=True)
    return table.assign(**{_LEARNED: pd.array([learned.get(pair) for pair in measured], dtype="string")})


def folder(which: str) -> Path:
    """Find the tables of a set: a folder, or the name of a study, published (`results`) or built here (`build`).

    Raises:
        FileNotFoundError: No tables in any of these places.
    """
    homes = Path(which), tables.ROOT / which, tables.ROOT / "results" / which, tables.ROOT / "build" / which
    for home in homes:
        for place in (home, home / "tables"):
            if any(place.glob("*.parquet")):
                return place
    raise FileNotFoundError(
        f"no tables of {which!r}: give a folder of tables, or a study with results/{which}/tables or build/{which}/tables; "
        f"`make report` makes them"
    )


def headline(found: pd.DataFrame, first: str, second: str) -> str:
    """Say in a sentence how many results of two sets, of these names, agree."""
    count = found["finding"].value_counts().reindex(FINDINGS, fill_value=0)
    pairs = count["agrees"] + count["open"] + count["differs"]
    if pairs == 0:
        texts = [_listed(rows["corpus"].dropna()) or "no text" for _, rows in found.groupby("finding")]
        return (
            f"no result of {first} measures what one of {second} does, so there is nothing to compare: they were measured on "
            f"{', and on '.join(texts)}"
        )
    return (
        f"{second} minus {first}, {pairs:,} pairs of results: {count['agrees']:,} agree, {count['open']:,} are open, "
        f"{count['differs']:,} differ; {count['first only']:,} more in {first} only, {count['second only']:,} in {second} only"
    )


def text(found: pd.DataFrame, first: str, second: str) -> str:
    """Say for a terminal what was found: the summary, the clearest differences, and what only one side has.

    Args:
        found: What `compare` gives.
        first: What the first set is called.
        second: What the second one is called.

    Raises:
        ValueError: Nothing could be paired.
    """
    if found["value"].isna().all():
        raise ValueError(headline(found, first, second))
    told = [headline(found, first, second), "", summary(found).to_string(float_format="{:+.4g}".format, na_rep="")]
    clearest = largest(found)
    if len(clearest):
        told += ["", f"The clearest differences, {len(clearest)} of {(found['finding'] == 'differs').sum():,}"]
    for row in clearest.itertuples():
        interval = "" if pd.isna(row.ci_low) else f" [{row.ci_low:+.4g}, {row.ci_high:+.4g}]"
        told.append(f"{row.value:+.4g}{interval}  {row.notebook}: {row.what}")
    gaps = alone(found)
    if len(gaps):
        told += ["", f"In one set only, the first being {first} and the second {second}", gaps.to_string(index=False)]
    return "\n".join(told)
