"""Selections: which rows of a study a claim's side names, and what it measured there, each training apart."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from bert_repro.results import intervals, scores, tables
from bert_repro.results.claims import CASE, FREE, HELD_OUT, LAYERS, REPEATS, listed


class Rows:
    """A study's rows, made ready for many selections; similarity of the same layer only, as no claim is about layers across.

    Attributes:
        case: The number of each row's case.
        cases: What distinguishes each case: its filled columns.
        repeats: What distinguishes each row within its case: its columns REPEATS, None where empty.
        layers: The layer of each row, NaN where it has none.
        values: The numbers, of each row `value`, `ci_low` and `ci_high`.
        replicates: Replicates of each row, None where none were kept.
    """

    def __init__(self, table: pd.DataFrame):
        mask = (table["reference_layer"].isna() | (table["reference_layer"] == table["layer"])).fillna(False)
        table = table[mask].reset_index(drop=True)
        whole = table.assign(split=tables.whole_split(table))  # `test` also stands for `test[500]`
        self._selected_by = {column: _numbered(whole[column]) for column in {*tables.COLUMNS} - FREE}
        full = {column: _numbered(table[column]) for column in CASE}
        codes, self.case = np.unique(
            np.stack([numbers for numbers, _ in full.values()], -1), axis=0, return_inverse=True
        )
        self.cases: list[dict[str, str | int]] = [
            {column: full[column][1][code] for column, code in zip(CASE, row, strict=True) if code >= 0}
            for row in codes
        ]
        self.repeats = list(
            table[REPEATS].astype(object).where(table[REPEATS].notna(), None).itertuples(index=False, name=None)
        )
        self.layers = table["layer"].to_numpy(float, na_value=np.nan)
        self.values = table[["value", "ci_low", "ci_high"]].to_numpy(float, na_value=np.nan)
        self.replicates = [None if of_row is None or np.ndim(of_row) == 0 else of_row for of_row in table["replicates"]]
        tuned = table["notebook"].isin(scores.TUNINGS)
        held_out = table.index.isin(scores.held_out(table[tuned]).index)
        self._held_out = np.where(tuned, held_out, tables.of_split(table, "test"))

    def select(self, where: Mapping) -> Int[np.ndarray, " rows"]:
        """List the rows that a selection names; of a summary over layers, all of them."""
        keep = np.ones(len(self.layers), bool)
        for column, choice in where.items():
            if column == "layer" and choice in LAYERS:
                continue
            if column == "split" and choice == HELD_OUT:
                keep &= self._held_out
                continue
            numbers, values = self._selected_by[column]
            wanted = [value for value in listed(choice) if value is None or value in values]
            keep &= np.isin(numbers, [-1 if value is None else values.index(value) for value in wanted])
        return np.flatnonzero(keep)


def _numbered(column: pd.Series) -> tuple[Int[np.ndarray, " rows"], list]:
    """Number the different values of a column, -1 where it is empty; give the numbers and the values."""
    numbers, values = pd.factorize(column.replace("", pd.NA) if column.dtype == "string" else column)
    return numbers, list(values)


class MissingError(LookupError):
    """What a test asks for is not in the table."""


class UnorderedError(MissingError):
    """What a test orders its sides by puts none of them first."""


class Side(NamedTuple):
    case: dict[str, object]  # the filled columns that distinguish it
    layer: dict[str, str]  # of a summary over layers, which it was
    repeats: intervals.Repeats | None  # None where a row brings an interval alone
    given: intervals.Estimate | None = None


def sides(rows: Rows, where: Mapping) -> list[Side]:
    """Select rows and average them over layers; one side for each case, its seeds apart."""
    chosen = rows.select(where)
    if not len(chosen):
        raise MissingError(f"rows with {words(where)}")
    summary = where.get("layer") if where.get("layer") in LAYERS else ""
    result = []
    for case, of_case in by_case(rows, chosen):
        if summary:
            layers = layers_of(rows, where, case)
            group = of_case[np.isin(rows.layers[of_case], layers)]
            if absent := sorted(set(layers) - set(rows.layers[group].astype(int))):
                raise MissingError(f"layers {absent} of {words(case)}")
            label = {"layer": f"{summary} ({layers[0]})" if len(layers) == 1 else summary}
            result.append(_side(rows, case, label, group))
        else:  # each layer is a case of its own
            for layer in dict.fromkeys(np.nan_to_num(rows.layers[of_case], nan=-1).astype(int)):
                own = case | ({"layer": int(layer)} if layer >= 0 else {})
                result.append(_side(rows, own, {}, of_case[np.nan_to_num(rows.layers[of_case], nan=-1) == layer]))
    return result


def _side(rows: Rows, case: dict[str, object], label: dict[str, str], group: np.ndarray) -> Side:
    """Average the rows of a case over their layers, each training apart."""
    keys = [(rows.repeats[row], rows.layers[row]) for row in group]
    if twice := len(keys) - len({(repeat, str(layer)) for repeat, layer in keys}):
        raise ValueError(f"{twice} rows of {words(case)} occur twice: merge each table of a study once")
    if len(set(Counter(repeat for repeat, _ in keys).values())) > 1:
        raise MissingError(f"some seeds in some layers of {words(case)}")
    drawn = [rows.replicates[row] for row in group]
    if any(replicates is None for replicates in drawn):
        return Side(case, label, None, _given(rows.values[group]))
    of_training = [(*rows.repeats[row], case.get("task")) for row in group]
    return Side(case, label, repeats(of_training, rows.values[group, 0], drawn))


def _given(values: np.ndarray) -> intervals.Estimate | None:
    """Take the interval that a row brings, where it is one row."""
    if len(values) > 1 or np.isnan(values).any():
        return None
    value, low, high = map(float, values[0])
    return intervals.Estimate(value, max(high - value, value - low) / 1.959964, ends=(low, high))


def repeats(
    trainings: Sequence[tuple], values: Float[np.ndarray, " rows"], replicates: Sequence[np.ndarray]
) -> intervals.Repeats:
    """Bring together what was measured on several trainings, each averaged over its layers.

    What repeats is the training; the seeds of a probe are averaged within it, and are what repeats where all rows are of one
    encoder. A training is known by its task, its seed and what it is compared with: equal ones can be paired.

    Args:
        trainings: For each row `model`, `reference_model`, `seed`, `probe_seed` and `task`, None where empty.
        values: The numbers.
        replicates: Theirs.

    Raises:
        ValueError: Trainings of several tasks, whose seeds have nothing in common.
    """
    if len(tasks := sorted({task for *_, task in trainings if task})) > 1:
        raise ValueError(f"seeds of different tasks pooled, {' and '.join(tasks)}: average one task at a time")
    of_probes = len({row[:3] for row in trainings}) == 1 and (not tasks or len({row[3] for row in trainings}) > 1)
    models: dict[tuple, set] = {}  # of each task and seed, of which somebody may have several
    for model, *about, _, task in trainings:
        models.setdefault((task, *about), set()).add(model)
    keys = [
        (
            task if task and len(models[task, reference, seed]) == 1 else model,
            reference,
            seed,
            *([probe] if of_probes else []),
        )
        for model, reference, seed, probe, task in trainings
    ]
    kept = min(map(len, replicates))
    drawn = np.stack([of_row[:kept] for of_row in replicates])  # of a jackknife still known as one
    rows_of = {key: [n for n, k in enumerate(keys) if k == key] for key in dict.fromkeys(keys)}
    means = np.array([values[rows].mean() for rows in rows_of.values()])
    kind = type(replicates[0])
    return intervals.Repeats(
        tuple(rows_of), means, np.stack([drawn[rows].mean(0, dtype=float) for rows in rows_of.values()]).view(kind)
    )


def layers_of(rows: Rows, where: Mapping, case: Mapping) -> list[int]:
    """List the layers of a summary; the best one is chosen on dev, where the corpus may be another."""
    if np.isnan(rows.layers).all():
        raise MissingError(f"layers to summarise of {words(case)}")
    depth = int(np.nanmax(rows.layers))
    if where["layer"] == "best":
        of_dev = {c: v for c, v in {**where, **case}.items() if c != "corpus"} | {"layer": "best", "split": "dev"}
        dev = rows.select(of_dev)
        if not len(dev):
            raise MissingError(f"dev rows to choose the best layer of {words(case)} on")
        means = {
            layer: rows.values[dev[rows.layers[dev] == layer], 0].mean() for layer in sorted(set(rows.layers[dev]))
        }
        return [int(max(means, key=means.__getitem__))]
    parts = {
        "bottom_half": range(1, depth // 2 + 1),
        "top_half": range(depth - depth // 2 + 1, depth + 1),
        "all": range(depth + 1),
        "last": range(depth, depth + 1),
    }
    if not parts[where["layer"]]:
        raise MissingError(f"layers to summarise of {words(case)}")
    return list(parts[where["layer"]])


def by_case(rows: Rows, chosen: np.ndarray) -> Iterator[tuple[dict[str, object], np.ndarray]]:
    """Give the cases among some rows, in the order in which they first come, with the rows of each."""
    for number in dict.fromkeys(rows.case[chosen].tolist()):
        yield dict(rows.cases[number]), chosen[rows.case[chosen] == number]


def words(selection: Mapping) -> str:
    """Write a selection in words."""
    return ", ".join(
        f"{c} {' or '.join('empty' if value is None else str(value) for value in listed(v))}"
        for c, v in selection.items()
    )
