"""The machine: hides where a system says what it is made of; names its processors and measures one.

It refuses nothing: what the system does not tell is left out.
"""

import platform
import time
from functools import cache
from pathlib import Path

import numpy as np


def cpu_model() -> str:
    """Name the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def gpus() -> list[str]:
    """Name NVIDIA's graphics processors, as far as Linux tells."""
    told = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return [
        line.split(":", 1)[1].strip()
        for path in told
        for line in path.read_text().splitlines()
        if line.startswith("Model")
    ]


@cache
def speed() -> float:
    """Measure what this process multiplies at the moment, in GFLOP/s of float32: seconds on one machine say little of another."""
    square = np.ones((1024, 1024), np.float32)
    taken = []
    for _ in range(4):  # the first one starts the threads
        begin = time.perf_counter()
        square @ square
        taken.append(time.perf_counter() - begin)
    return 2 * 1024**3 / min(taken) / 1e9
