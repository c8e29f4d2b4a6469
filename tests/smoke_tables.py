"""Compare the smoke tables of today's code with those kept beside published tables, and say which of these are stale.

    make staleness                            # or: python tests/smoke_tables.py --write, once `make smoke` has run
    make renew STUDY=studies/minilm.yaml

A smoke table is what a run notebook makes with its default parameters. `make test` ends with 1 where `staleness.json` of a
published study says something else than is found; that tables are stale, and said to be, is no error. `make renew` keeps today's
smoke tables with a study. That is right when its tables were made again, or when nothing but defaults of notebooks has changed
since all were equal: from then on the tables count as made by today's code.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bert_repro.results import erasures, tables
from bert_repro.workflow import staleness

ROOT = Path(__file__).resolve().parent.parent


class Tolerance(NamedTuple):
    """By how much a number may differ, `absolute + relative * |number|`, and why by so much."""

    absolute: float
    relative: float
    why: str


# One machine with other instruction sets, kernels and threads moved no number by more than 4e-6, of the structural probe 4e-5;
# what a processor of another make may move, a decision at its border, is added.
TOLERANCES = {
    "change_and_function": Tolerance(1e-6, 1e-6, "ranks of published numbers: nothing is computed in an encoder"),
    "hidden_states": Tolerance(1e-5, 1e-4, "means over hundreds of vectors in half precision, some rounded otherwise"),
    "similarity": Tolerance(1e-4, 1e-4, "the same, and the depth of a flat curve multiplies the rounding"),
    "finetune": Tolerance(3e-4, 0.03, "trained: one of a hundred items may be answered otherwise"),
    "checkpoint": Tolerance(1e-6, 1e-5, "nothing is trained: changes of weights, and a share of unknown pieces"),
    "erasure": Tolerance(5e-3, 1e-3, "a task head is trained: two of some seven hundred words may get another tag"),
    "structural_probe": Tolerance(0.02, 0, "trained and decoded: one of sixty roots may be another word"),
    "line": Tolerance(0.01, 0, "probes are trained and decoded at eleven points: some of 769 edges may be others"),
    "edge_probe": Tolerance(5e-3, 1e-3, "trained: two of some five hundred words may get another label"),
}
CLS = 0.02  # absolute, of [CLS] alone: in the smoke encoder its vectors are nearly one, and RSA of what rounding leaves moved by 0.003
P = 0.3  # absolute, of p values alone: one answer more or less moves one by .1, and there are three layers to correct for
NUMBERS = ("value", "ci_low", "ci_high")


def read(path: Path) -> pd.DataFrame:
    """Read the rows of a table's CSV, which has seven digits of each number."""
    return pd.read_csv(path, dtype=tables.COLUMNS, keep_default_na=False, na_values=[""])


def difference(kept: pd.DataFrame, today: pd.DataFrame, tolerance: Tolerance) -> str:
    """Say in a line what two tables differ in, or that they are EQUAL.

    Rows are paired where every column is equal that holds no number; among rows alike in these, the first with the first, and so on.

    Args:
        kept: Rows of `tables.COLUMNS`; replicates are not compared.
        today: Rows that should be the same.
        tolerance: For values and their intervals, of [CLS] CLS being the absolute one, of p values P; `n` must be equal. An empty number
            equals only another.
    """
    keys = [column for column in tables.COLUMNS if column not in (*NUMBERS, "n")]
    sides = [table.assign(again=table.groupby(keys, dropna=False).cumcount()) for table in (kept, today)]
    # pandas takes NA to equal NA here
    both = sides[0].merge(sides[1], "outer", [*keys, "again"], suffixes=("", "_today"), indicator="side")
    count = both["side"].value_counts()
    lines = [
        f"rows {what}: {count[side]}" for side, what in (("left_only", "gone"), ("right_only", "new")) if count[side]
    ]
    pairs = both[both["side"] == "both"]
    cases = (pairs["rows"] == "[CLS]").fillna(False), pairs["metric"].isin([erasures.P, erasures.P_HOLM])
    wide = np.select([case.to_numpy(bool) for case in cases], [CLS, P], tolerance.absolute)
    same = pd.Series(True, pairs.index)
    for column in (*NUMBERS, "n"):
        relative, absolute = (0, 0) if column == "n" else (tolerance.relative, wide)
        then, now = (pairs[name].to_numpy(float, na_value=np.nan) for name in (column, f"{column}_today"))
        same &= np.isclose(now, then, relative, absolute, equal_nan=True)
    # neither counts nor sizes of what differs: on another processor they could be others, and the outcome is committed
    names = sorted({" ".join(row.dropna()) for _, row in pairs.loc[~same, ["method", "target", "metric"]].iterrows()})
    lines += [f"other numbers of {', '.join(names)}"] if names else []
    return "; ".join(lines) or staleness.EQUAL


def found(home: Path, root: Path = ROOT) -> dict[str, dict[str, str]]:
    """Compare the smoke tables kept in the folder of a published study with today's; give what `staleness.json` should hold."""
    outcomes = {}
    for kept in sorted((home / "smoke").glob("*.csv")):
        today, (absolute, relative, why) = root / "build" / "smoke" / kept.name, TOLERANCES[kept.stem]
        there = (
            "the notebook makes none"
            if not today.is_file()
            else difference(read(kept), read(today), TOLERANCES[kept.stem])
        )
        outcomes[kept.stem] = {"today": there, "within": f"{absolute:g} + {relative:g} × the number", "because": why}
    return outcomes


def main(given: list[str] | None = None, root: Path = ROOT) -> int:
    """Compare, or write down what was found; give the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="write every staleness.json anew")
    write, status = parser.parse_args(given).write, 0
    for home in sorted(path.parent for path in (root / "results").glob("*/tables")):
        now, path = found(home, root), home / "staleness.json"
        if write:
            path.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        elif now != (known := staleness.outcomes(home / "tables")):
            lines = [f"  {name}: {now.get(name)}" for name in now | known if now.get(name) != known.get(name)]
            print(f"{path.relative_to(root)} says something else than is found today:", *lines, sep="\n")
            print("If that is meant, `make staleness` writes it anew: readers are then told which tables are stale.")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
