"""The demo study's analyses of one encoder beside the same work without the store and without joint training.

    python benchmarks/study.py [--full] [--study studies/demo.yaml] [--layers 3]

Every side runs the study's own notebooks with its own parameters (states, similarity with the base, both probes), for the
untrained encoder, which needs no fine-tuning; fine-tuning is the same with or without a store. Ours: all layers in one run of each
notebook, states read from the store. Without: each notebook runs for each layer alone, from an empty store, so that text is encoded
and probes are trained anew for each layer. Both sides run inside this one process; in full, a third runs a process for each layer, as a loop
of Papermill over layers would. What takes each layer alone is measured on some layers and extrapolated to all.
"""

import argparse
import contextlib
import functools
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from table import Row, seconds, write

from bert_repro import files, states
from bert_repro.files import ROOT
from bert_repro.states import compute
from bert_repro.workflow import notebooks, study


@contextlib.contextmanager
def empty_store() -> Iterator[None]:
    """Work with an empty store, which goes in the end; weights stay where they are."""
    kept = files.cache_folder()
    with tempfile.TemporaryDirectory() as folder:
        for path in kept.iterdir():
            if path.is_dir() and path.name != "states":
                Path(folder, path.name).symlink_to(path)
        os.environ["BERT_REPRO_CACHE"] = folder
        try:
            yield
        finally:
            os.environ["BERT_REPRO_CACHE"] = str(kept)


def inside(run: study.Run, layers: list[int] | None) -> float:
    """Run a notebook's cells in this process, for some layers or as the study has it; give the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        given = run.parameters | {"output": str(Path(folder) / "table.parquet")}
        if layers is not None:
            given["layers"] = layers
        cells = [cell for cell in nbformat.read(notebooks.find(run.notebook), 4).cells if cell.cell_type == "code"]
        scope: dict = {}
        begin = sum(os.times()[:4])
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            for cell in cells:
                exec(compile(cell.source, run.notebook, "exec"), scope)
                if "parameters" in cell.metadata.get("tags", []):
                    scope |= given
        return sum(os.times()[:4]) - begin


def outside(run: study.Run, layer: int) -> float:
    """Run a notebook in a process of its own, for one layer; give the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        given = json.dumps(run.parameters | {"layers": [layer], "output": f"{folder}/table.parquet"})
        command = [sys.executable, "-m", "bert_repro", "run", run.notebook, f"{folder}/out.ipynb", "--json", given]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return seconds(lambda: subprocess.run(command, check=True, cwd=ROOT, **quiet))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--study", default="studies/demo.yaml")
    parser.add_argument("--layers", type=int, nargs="+", default=[3], help="those measured alone")
    given = parser.parse_args()
    states._compute_apart = compute.compute_all  # in this process
    # one process reads an encoder once, whatever it keeps of its states
    compute._network = functools.cache(compute._network.__wrapped__)
    loaded = study.load(given.study)
    runs = {run.name: run for run in study.runs(loaded, "build/bench")}
    wanted = "states-untrained", "similarity-base-untrained", "structural_probe-untrained", "edge_probe-untrained"
    read, *analyses = (runs[name] for name in wanted)
    every = states.get(read.parameters["model"], "ewt:dev[300]").layers  # also warms up what both sides share
    with empty_store():
        together = sum(inside(run, None) for run in (read, *analyses))
    alone = apart = 0.0
    for layer in given.layers:
        for run in analyses:
            with empty_store():
                alone += inside(run, [layer]) * every / len(given.layers)
            if given.full:
                with empty_store():
                    apart += outside(run, layer) * every / len(given.layers)
    ours = f"analyses of one encoder of study {loaded.name}, all {every} layers"
    without = (
        f"each layer alone, without store and joint training, {{}} (from layer {' and '.join(map(str, given.layers))})"
    )
    rows = [Row(ours, together, without.format("in one process"), alone, aim=10)]
    if given.full:
        rows.append(Row(ours, together, without.format("a process each"), apart))
    write("study", rows, given.full)


if __name__ == "__main__":
    main()
