"""The table of benchmarks, results/bench.csv: what takes how long beside what, on which machine. The book shows it.

    python benchmarks/table.py        prints which aims are met, and which are missed

A benchmark that is run again replaces its rows of the same size, small or full. Both sides of a row were measured in one run;
seconds of two runs say nothing. They are CPU seconds, so that a busy machine counts little: libraries are to have one thread, as
`make bench` gives them.
"""

import datetime
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sides import Took

from bert_repro.files import ROOT
from bert_repro.results import provenance

PATH = ROOT / "results" / "bench.csv"


class Row(NamedTuple):
    """One comparison; the ratio says how many times as long the other side takes, and the aim what it is to be at least."""

    ours: str
    seconds: float
    beside: str
    seconds_beside: float
    aim: float | None = None
    peak: float | None = None  # MB, of a process of its own
    peak_beside: float | None = None

    @classmethod
    def of(cls, ours: str, mine: Took, beside: str, other: Took, aim: float | None = None) -> "Row":
        """Compare two sides that ran in processes of their own."""
        return cls(ours, mine.seconds, beside, other.seconds, aim, mine.peak, other.peak)


def seconds(work: Callable[[], object]) -> float:
    """Time one call, in CPU seconds of this process and of those it waited for: a busy machine adds none."""
    begin = sum(os.times()[:4])
    work()
    return sum(os.times()[:4]) - begin


def write(benchmark: str, rows: Sequence[Row], full: bool = False, path: Path = PATH) -> None:
    """Put the rows of a benchmark into the table, in the place of earlier ones of it and of its size, and print them."""
    new = pd.DataFrame(rows, columns=Row._fields).astype({"aim": float})
    new.insert(0, "benchmark", benchmark)
    new.insert(1, "size", "full" if full else "small")
    new.insert(6, "ratio", new["seconds_beside"] / new["seconds"])
    verdicts = np.where(new["ratio"] >= new["aim"], "met", "missed")
    new.insert(8, "verdict", np.where(new["aim"].isna(), "", verdicts))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    new = new.assign(machine=f"{provenance.cpu_model()}, {provenance.speed():.0f} GFLOP/s", date=today)
    table = new
    if path.exists():
        old = pd.read_csv(path)
        kept = old[(old["benchmark"] != benchmark) | (old["size"] != new["size"].iloc[0])] if len(new) else old
        table = pd.concat([kept, new], ignore_index=True) if len(kept) else new
    table.sort_values(["benchmark", "size"], kind="stable").to_csv(path, index=False, float_format="%.3g")
    print(new.drop(columns=["benchmark", "machine", "date"]).to_string(index=False, float_format="%.3g", na_rep=""))


def aims(path: Path = PATH) -> list[str]:
    """Say of each aim whether it is met, a line each, those that are missed first."""
    table = pd.read_csv(path).dropna(subset="aim").sort_values("verdict", ascending=False, kind="stable")
    missed = int((table["verdict"] == "missed").sum())
    return [f"{missed} of {len(table)} aims are missed"] + [
        f"{row.verdict:6}  {row.ratio:.3g} times, aim {row.aim:.3g}: {row.benchmark}, {row.ours}; beside: {row.beside} ({row.size}, {row.date})"
        for row in table.itertuples()
    ]


if __name__ == "__main__":
    print("\n".join(aims()))
