"""Provenance: hides what a run's manifest says, and how a table that its code would no longer make is told from a fresh one.

It refuses a notebook without a parameters cell, as nobody could say with which setting that ran.
"""

import ast
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Set
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from bert_repro import machine
from bert_repro.study import ROOT, load, runs

PACKAGE = "bert_repro"
_VERSIONS = (
    "numpy",
    "scipy",
    "pandas",
    "keras",
    "tensorflow-cpu",
    "tensorflow",
    "jax",
    "torch",
    "transformers",
    "tokenizers",
)


def manifest(notebook: str, parameters: Mapping[str, object], seconds: float) -> dict[str, object]:
    """Say what ran, from which code, where and how long."""
    return {
        "notebook": notebook,
        "parameters": dict(parameters),
        "fingerprint": fingerprint(ROOT / "notebooks" / f"{notebook}.ipynb"),
        "commit": commit(),
        "packages": {name: v for name in (PACKAGE, *_VERSIONS) if (v := _version(name))},
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "python": platform.python_version(),
        "machine": {
            "cpu": machine.cpu_model(),
            "cores": os.cpu_count(),
            "gpus": machine.gpus(),
            "gflops": round(machine.speed()),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "seconds": round(seconds, 1),
    }


def declared(notebook: Path) -> list[str]:
    """List the names assigned in a notebook's parameters cell."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            return [
                ast.unparse(n.target) for n in ast.parse("".join(cell["source"])).body if isinstance(n, ast.AnnAssign)
            ]
    raise ValueError(f"{notebook} has no cell tagged `parameters`")


def sources(notebook: Path, drawing: bool = False) -> list[Path]:
    """List a notebook and every module of the package that it imports, directly or through another one.

    Args:
        notebook: The notebook.
        drawing: Whether to count the figures, which show what a run computed but do not change it: a new colour
            makes no table stale.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    found: set[Path] = set()
    waiting = _imported(code)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting |= _imported(path.read_text(encoding="utf-8"))
    drawn = {path for path in found if path.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py") == "figures"}
    return [notebook, *sorted(found if drawing else found - drawn)]


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
    return frozenset(name for name in names if name.split(".")[0] == PACKAGE)


def fingerprint(notebook: Path) -> str:
    """Hash a notebook's code and the modules it imports, comments and docstrings left out."""
    digest = hashlib.sha256()
    for path in sources(notebook):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            # the parameters cell is left out: its values are in the manifest, one by one
            cells = [c for c in json.loads(text)["cells"] if "parameters" not in c["metadata"].get("tags", [])]
            text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        digest.update(f"{path.relative_to(ROOT)}\n{_bare(text)}\n".encode())
    return digest.hexdigest()


@cache
def _bare(code: str) -> str:
    """Give code as its syntax tree, without comments, docstrings and layout."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return ast.dump(tree).replace(", type_params=[]", "")  # which only Python 3.12 and later write


def stale(path: Path | str, expected: Mapping[str, object] | None = None) -> str | None:
    """Say why a table is no longer what its run would make, or None while it is.

    Code counts as the same where its fingerprint is, or where `equivalent.yaml` beside the folder of tables says that
    older code was shown to make the same numbers as today's.

    Args:
        path: The table.
        expected: The run's parameters as the study has them now; parameters that did not exist when the table was made
            are left to the comparison of code.
    """
    made = json.loads(Path(path).with_suffix(".manifest.json").read_text())
    return _why({made["notebook"]}, Path(path).parent)(made, expected)


def manifests(folder: Path | str) -> dict[str, dict[str, Any]]:
    """Read what made the tables of a folder: manifests by the names of the runs."""
    found = sorted(Path(folder).glob("*.manifest.json"))
    return {path.name.removesuffix(".manifest.json"): json.loads(path.read_text(encoding="utf-8")) for path in found}


def stale_tables(folder: Path | str) -> dict[str, str]:
    """Name the tables of a folder that today's study or code would make otherwise, and say why."""
    made = manifests(folder)
    asked: dict[str, Mapping[str, object]] = {}
    for name in {str(one["parameters"]["study"]) for one in made.values()}:
        path = ROOT / "studies" / f"{name}.yaml"
        asked |= {run.name: run.parameters for run in runs(load(path))} if path.is_file() else {}
    why = _why({one["notebook"] for one in made.values()}, Path(folder))
    reasons = {name: why(one, asked.get(name)) for name, one in made.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _why(notebooks: Set[str], folder: Path) -> Callable[[Mapping[str, Any], Mapping[str, object] | None], str | None]:
    """Look once at today's code and at what is known of older code; give what says why a table is stale."""
    ledger = folder.parent / "equivalent.yaml"
    known = yaml.safe_load(ledger.read_text(encoding="utf-8")) if ledger.is_file() else []
    same: dict[str, set[str]] = {}
    for name in notebooks:
        path = ROOT / "notebooks" / f"{name}.ipynb"
        if path.is_file():
            now = fingerprint(path)
            same[name] = {now, *(old for one in known if one["code"] == now for old in one["same_as"])}

    def why(made: Mapping[str, Any], expected: Mapping[str, object] | None) -> str | None:
        given, notebook = made["parameters"], made["notebook"]
        if notebook not in same:
            return f"the notebook {notebook} is gone"
        changed = [name for name, value in (expected or {}).items() if name in given and given[name] != value]
        if changed:
            return f"the study has another {' and '.join(changed)} now"
        return None if made["fingerprint"] in same[notebook] else "the notebook or a module it imports has changed"

    return why


@cache
def commit() -> str:
    """Give the commit of the project, marked `+changes` where files differ from it; `unknown` outside git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "HEAD")
        return f"{head}+changes" if head and git("status", "--porcelain", "--untracked-files=no") else head or "unknown"
    except FileNotFoundError:  # no git on this machine
        return "unknown"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
