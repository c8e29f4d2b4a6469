"""The table of benchmarks, results/bench.csv: what takes how long beside what, on which machine. The book shows it.

A comparison that is made again replaces its row. Both sides of a row were measured in one run; seconds of two runs say nothing.
"""

import datetime
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd

from bert_repro.files import ROOT
from bert_repro.results import provenance

PATH = ROOT / "results" / "bench.csv"


class Row(NamedTuple):
    """One comparison; the ratio says how many times as long the other side takes."""

    ours: str
    seconds: float
    beside: str
    seconds_beside: float
    aim: float | None = None


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def write(benchmark: str, rows: Sequence[Row]) -> None:
    """Put the rows of a benchmark into the table, in the place of earlier ones of the same two sides, and print them."""
    new = pd.DataFrame(rows)
    new.insert(0, "benchmark", benchmark)
    new.insert(5, "ratio", new["seconds_beside"] / new["seconds"])
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    new = new.assign(machine=f"{provenance.cpu_model()}, {provenance.speed():.0f} GFLOP/s", date=today)
    old = pd.read_csv(PATH) if PATH.exists() else new[:0]
    sides = ["benchmark", "ours", "beside"]
    kept = old[~old.set_index(sides).index.isin(new.set_index(sides).index)]
    table = pd.concat([kept, new], ignore_index=True) if len(kept) else new
    table.sort_values("benchmark", kind="stable").to_csv(PATH, index=False, float_format="%.3g")
    print(new.drop(columns=["benchmark", "machine", "date"]).to_string(index=False, float_format="%.3g"))
