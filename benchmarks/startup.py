"""Start-up: how long each notebook takes until its own work begins, beside a Python that only imports TensorFlow.

    python benchmarks/startup.py [--full]

A notebook's start is checking it, starting its kernel and running its imports; the rest of the run is left out. The best of some
rounds, in turns; in full, of every notebook.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import nbformat
from table import Row, seconds, write

from bert_repro.files import ROOT
from bert_repro.workflow import notebooks

FEW = ("structural_probe", "finetune")  # without TensorFlow, and with


def start_up(notebook: Path) -> float:
    """Run a notebook with its smoke setting; give the seconds from the command to the end of its imports."""
    with tempfile.TemporaryDirectory() as folder:
        output, begin = Path(folder) / "out.ipynb", time.time()
        command = [sys.executable, "-m", "bert_repro", "run", notebook, output]
        subprocess.run(command, check=True, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        cells = [cell for cell in nbformat.read(output, 4).cells if cell.cell_type == "code"]
    imports = next(cell for cell in cells if "import " in cell.source)
    return datetime.fromisoformat(imports.metadata.papermill["end_time"]).timestamp() - begin


def tensorflow() -> float:
    """Give the seconds of a Python that imports TensorFlow and transformers."""
    command = [sys.executable, "-c", "import tensorflow, transformers; transformers.AutoTokenizer"]
    return seconds(lambda: subprocess.run(command, check=True, stderr=subprocess.DEVNULL))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    full = parser.parse_args().full
    paths = [one for one in sorted((ROOT / "notebooks").glob("*.ipynb")) if full or one.stem in FEW]
    best = dict.fromkeys([*paths, None], float("inf"))
    for _ in range(3 if full else 2):
        for notebook in best:
            took = tensorflow() if notebook is None else start_up(notebooks.find(notebook))
            best[notebook] = min(best[notebook], took)
    beside = "Python importing TensorFlow and transformers"
    write("start-up", [Row(f"notebook {path.stem}", best[path], beside, best[None]) for path in paths], full)


if __name__ == "__main__":
    main()
