"""Provenance: a run's manifest, the machine, and the files that a notebook's code lies in."""

import ast
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from bert_repro.files import ROOT

PACKAGE = "bert_repro"
_VERSIONS = "numpy scipy pandas keras tensorflow-cpu tensorflow jax torch transformers tokenizers icu4py".split()


def manifest(notebook: str, parameters: Mapping[str, object], seconds: float) -> dict[str, object]:
    """Record what ran, from which code, where and how long."""
    return {
        "notebook": notebook,
        "parameters": dict(parameters),
        "commit": commit(),
        "packages": {name: v for name in (PACKAGE, *_VERSIONS) if (v := _version(name))},
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "python": platform.python_version(),
        "machine": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "gpus": gpus(),
            "gflops": round(speed()),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "seconds": round(seconds, 1),
        # of this process and those it waited for: a busy machine adds none
        "cpu_seconds": round(sum(os.times()[:4]), 1),
    }


def sources(notebook: Path, drawing: bool = False) -> list[Path]:
    """List a notebook and every module of the package that it imports or names, directly or through another one.

    Args:
        notebook: The notebook.
        drawing: Whether to count the figures and what they import, which show what a run computed but do not change it:
            for a new colour no table need be made again.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    paths: set[Path] = set()
    waiting = _imported(code)
    while waiting:
        path = waiting.pop()
        room, *modules = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        if path not in paths and (drawing or room != "figures" or modules == ["planes"]):  # which are computed
            paths.add(path)
            waiting |= _imported_by(path, path.stat().st_mtime_ns)
    return [notebook, *sorted(paths)]


@cache
def _imported_by(path: Path, changed: int) -> set[Path]:
    return _imported(path.read_text(encoding="utf-8"))


def _imported(code: str) -> set[Path]:
    """Find the files of the package's modules that a piece of code imports, inside functions too."""
    stems = [ROOT.joinpath(*name.split(".")) for name in _names(code)]
    return {p for stem in stems for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()}


@cache
def _names(code: str) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)  # of a module that is run in a process of its own
    return frozenset(name for name in names if name.split(".")[0] == PACKAGE)


def manifests(folder: Path | str) -> dict[str, dict[str, Any]]:
    """Read the manifests of a folder's tables, by the names of the runs."""
    paths = sorted(Path(folder).glob("*.manifest.json"))
    return {path.name.removesuffix(".manifest.json"): json.loads(path.read_text(encoding="utf-8")) for path in paths}


@cache
def commit() -> str:
    """Give the commit of the project, marked `+changes` where files differ from it; `unknown` outside git."""

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]  # somebody may be committing
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        top = git("rev-parse", "--show-toplevel")  # of another project, if this one was unpacked inside of it
        head = git("rev-parse", "HEAD") if top and ROOT.samefile(top) else ""
        return f"{head}+changes" if head and git("status", "--porcelain", "--untracked-files=no") else head or "unknown"
    except FileNotFoundError:  # no git on this machine
        return "unknown"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def brief(commit: str) -> str:
    """Shorten a commit as a manifest records it, to seven digits; a + says that files differed from it."""
    return commit[:7] + "+" * commit.endswith("+changes")


def cpu_model() -> str:
    """Name the processor, as far as the system reports it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def gpus() -> list[str]:
    """Name NVIDIA's graphics processors, as far as Linux reports them."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return [
        line.split(":", 1)[1].strip()
        for path in files
        for line in path.read_text().splitlines()
        if line.startswith("Model")
    ]


@cache
def speed() -> float:
    """Measure the current speed of matrix products in GFLOP/s of float32, as seconds differ between machines."""
    square = np.ones((1024, 1024), np.float32)
    seconds = []
    for _ in range(4):  # the first one starts the threads
        begin = time.thread_time()  # beside other work, this thread waits for a core, which is no time of its own
        square @ square
        seconds.append(time.thread_time() - begin)
    return 2 * 1024**3 / min(seconds) / 1e9
