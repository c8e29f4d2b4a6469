"""The sides of a comparison: each in a process of its own, on one thread, in turns; medians of what they took.

Their seconds are of CPU time, so that what else the machine does in the meantime counts little. Sides of other packages run in
environments of their own, which the project's does not need:

    python3 -m venv .venv-torch && .venv-torch/bin/pip install torch==2.13.0 'transformers>=5,<6'
    python3 -m venv .venv-bench && .venv-bench/bin/pip install rsatoolbox==0.3.2 scikit-learn==1.9.1
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bert_repro.files import ROOT

BESIDE = ROOT / "benchmarks" / "beside"
OURS = Path(sys.executable)
TORCH, OTHERS = (ROOT / name / "bin" / "python" for name in (".venv-torch", ".venv-bench"))
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
        "TQDM_DISABLE",
    ),
    "1",
)  # fmt: skip


def options(about: str) -> argparse.Namespace:
    """Read the command line of a benchmark that compares sides: `full`, `model` and `rounds`."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


class Took(NamedTuple):
    """What a side took: CPU seconds, megabytes of its process at the peak, and what it came to."""

    seconds: float
    peak: float
    values: dict[str, Any]


def process(python: Path, script: str, *arguments: object) -> Took:
    """Run a side, a script of `beside/`, in a process of its own.

    Raises:
        RuntimeError: It failed, with the end of what it said.
    """
    command = [str(python), str(BESIDE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ONE_THREAD)
    if done.returncode:
        raise RuntimeError(f"{script} failed: {done.stderr.strip()[-1000:]}")
    return Took(**json.loads(done.stdout.splitlines()[-1]))


def alternate(sides: Mapping[str, Callable[[], Took]], rounds: int) -> dict[str, Took]:
    """Run the sides in turns; give of each the median seconds, the largest peak, and the values of the last round."""
    found: dict[str, list[Took]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return {
        name: Took(statistics.median(t.seconds for t in took), max(t.peak for t in took), took[-1].values)
        for name, took in found.items()
    }


def there(python: Path, what: str) -> bool:
    """Tell whether an environment is there, and print what is left out where it is not."""
    if not python.is_file():
        print(f"{what}: left out, as there is no {python.parents[1].name}; benchmarks/sides.py says how to make it")
    return python.is_file()
