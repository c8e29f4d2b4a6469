"""The rules of the house, read off the sources: who may import whom, what a notebook is, how long a file may grow."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bert_repro.files import ROOT
from bert_repro.workflow import notebooks

LEVELS = (
    {
        "study",
        "machine",
        "provenance",
        "tables",
        "alignment",
        "intervals",
        "sources",
        "store",
        "items",
        "readers",
        "trees",
    },
    {"architectures", "weights", "hub", "datasets", "corpora", "checkpoints", "pretraining_text", "vocabulary"}
    | {
        "similarity",
        "projections",
        "scores",
        "ablation",
        "claims",
        "compare",
        "scorecard",
        "ledger",
        "figures",
    },
    {"backend", "encoder", "heads", "masked_words", "probes"},
    {"states", "finetune"},
    {"costs", "plan", "page", "execute", "report", "rerun", "staleness", "__main__"},
)
"""Modules and subpackages by level: none may import one of a higher level, not even inside a function."""
WITH_TENSORFLOW = {"backend", "encoder", "heads", "masked_words", "finetune", "weights"}
LONGEST = 420  # lines

MODULES = sorted((ROOT / "bert_repro").rglob("*.py"))
NOTEBOOKS = sorted(p for p in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def unit(path: Path, root: Path = ROOT) -> str:
    """Name the module or subpackage that a file belongs to; empty for the package's own `__init__`."""
    first = path.relative_to(root / "bert_repro").parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(code: str) -> set[str]:
    """List what a piece of code imports, at any depth, as dotted names; relative imports begin with a dot."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            names |= {start, *(f"{start}.{alias.name}" for alias in node.names)}
    return names


def level(name: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if name in names)


def violations(path: Path, root: Path = ROOT) -> list[str]:
    """Say which imports of a file break the order of levels, or the rules beside it."""
    mine, found = unit(path, root), []
    for name in sorted(imports(path.read_text(encoding="utf-8"))):
        package, *rest = name.split(".")
        if not package:
            found.append(f"{mine} imports {name} by a relative name")
        if package in {"tensorflow", "keras"} and mine not in WITH_TENSORFLOW:
            found.append(f"{mine} imports {name}")
        if package == "plotly" and level(mine) == 0:
            found.append(f"{mine} imports {name}")
        if package == "bert_repro" and rest and rest[0] in set().union(*LEVELS):
            if mine and level(rest[0]) > level(mine):
                found.append(f"{mine} (level {level(mine)}) imports {name} (level {level(rest[0])})")
            if mine == "probes" and rest[0] not in {"probes", "intervals"}:
                found.append(f"probes get arrays, yet import {name}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_no_module_imports_a_higher_one(path):
    if unit(path):
        assert violations(path) == []
    else:
        assert imports(path.read_text(encoding="utf-8")) <= {"importlib", "importlib.metadata"}


def test_every_module_has_a_level():
    assert {unit(path) for path in MODULES} - {""} == set().union(*LEVELS)
    assert sum(map(len, LEVELS)) == len(set().union(*LEVELS))


@pytest.mark.parametrize(
    ("module", "code", "found"),
    [
        ("intervals.py", "from bert_repro import corpora", "intervals (level 0) imports bert_repro.corpora (level 1)"),
        ("corpora.py", "import bert_repro.states", "corpora (level 1) imports bert_repro.states (level 3)"),
        ("similarity.py", "def f():\n    from bert_repro.states import get", "similarity (level 1) imports bert_repro.states"),
        ("sources.py", "from bert_repro.corpora import Pair", "sources (level 0) imports bert_repro.corpora"),
        ("probes/edge.py", "from bert_repro import states", "probes (level 2) imports bert_repro.states (level 3)"),
        ("probes/edge.py", "from bert_repro import corpora", "probes get arrays, yet import bert_repro.corpora"),
        ("states.py", "def f():\n    import tensorflow.experimental", "states imports tensorflow.experimental"),
        ("claims.py", "from keras import ops", "claims imports keras"),
        ("tables.py", "import plotly.express as px", "tables imports plotly.express"),
        ("heads.py", "from . import encoder", "heads imports . by a relative name"),
    ],
)  # fmt: skip
def test_the_rule_finds_a_planted_violation(tmp_path, module, code, found):
    path = tmp_path / "bert_repro" / module
    path.parent.mkdir(parents=True)
    path.write_text(f"import numpy\nfrom bert_repro import intervals\n{code}\n")
    assert any(one.startswith(found) for one in violations(path, tmp_path))
    path.write_text("import numpy\nfrom bert_repro import intervals\n")
    assert violations(path, tmp_path) == []


def loaded_by(modules: list[str]) -> set[str]:
    code = f"import sys, {', '.join(modules)}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.slow
def test_reading_and_drawing_starts_without_tensorflow():
    low = [f"bert_repro.{name}" for name in sorted(LEVELS[0] | LEVELS[1])]
    loaded = loaded_by(
        [
            *low,
            "bert_repro.probes.structural",
            "bert_repro.states",
            "bert_repro.plan",
            "bert_repro.execute",
            "bert_repro.__main__",
        ]
    )
    assert "numpy" in loaded and not {"tensorflow", "keras", "torch"} & loaded


@pytest.mark.slow
def test_the_lowest_level_starts_without_plotly():
    assert "plotly" not in loaded_by([f"bert_repro.{name}" for name in sorted(LEVELS[0])])


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_every_module_says_what_it_is_for(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring and re.match(r"[A-Z].{20,}", docstring)


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_no_file_grows_long(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{label(path)} has {lines} lines: look for the noun it is hiding"


# ---- notebooks

ALLOWED = {"bert_repro", "numpy", "pandas", "IPython"}
ABSOLUTE = re.compile(r"""(?<![\w.:/<)])(?:/(?:home|work|root|tmp|usr|Users|mnt|data|var|opt)/|~/|[A-Z]:\\)""")


def code_of(notebook: dict) -> str:
    return "\n".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")


def faults(notebook: dict) -> set[str]:
    """Say what in a notebook does not belong into one."""
    found = set()
    code = code_of(notebook)
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                found.add("defines a function or class")
            case ast.For() | ast.AsyncFor() | ast.While():
                found.add("loops")
    comprehensions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.comprehension)]
    if len(comprehensions) > 12:
        found.add("loops in comprehensions")
    if {name.split(".")[0] for name in imports(code)} - ALLOWED:
        found.add("imports more than the package, NumPy, pandas and IPython")
    for cell in notebook["cells"]:
        if cell.get("outputs") or cell.get("execution_count"):
            found.add("holds outputs")
        if ABSOLUTE.search("".join(cell["source"])):
            found.add("holds an absolute path")
    first = notebook["cells"][0]
    if first["cell_type"] != "markdown" or not re.match(r"# \S", "".join(first["source"])):
        found.add("does not begin with a heading")
    tagged = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    if len(tagged) != 1 or tagged[0]["cell_type"] != "code":
        found.add("does not have one parameters cell")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_a_notebook_is_prose_and_calls(path):
    assert faults(json.loads(path.read_text(encoding="utf-8"))) == set()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_defaults_fit_their_own_annotations_and_are_explained(path):
    parameters = notebooks.parameters(path)
    notebooks.check(path, {parameter.name: parameter.default for parameter in parameters})
    assert [parameter.name for parameter in parameters if not parameter.help] == []


def cell(source: str, kind: str = "code", **more: object) -> dict:
    return {"cell_type": kind, "metadata": {}, "source": source, **more}


CLEAN = [cell("# Title\nSee https://a.org/home/x.", "markdown"), cell("x: int = 1", metadata={"tags": ["parameters"]})]


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ([*CLEAN, cell("def f():\n    return 1")], "defines a function or class"),
        ([*CLEAN, cell("f = lambda: 1")], "defines a function or class"),
        ([*CLEAN, cell("class A:\n    pass")], "defines a function or class"),
        ([*CLEAN, cell("if x:\n    for i in range(3):\n        print(i)")], "loops"),
        ([*CLEAN, cell("while x:\n    x = 0")], "loops"),
        ([*CLEAN, cell("[i for i in x]\n" * 13)], "loops in comprehensions"),
        ([*CLEAN, cell("import os")], "imports more than the package, NumPy, pandas and IPython"),
        ([*CLEAN, cell("from plotly import express")], "imports more than the package, NumPy, pandas and IPython"),
        ([*CLEAN, cell("1", outputs=[{"text": "1"}])], "holds outputs"),
        ([*CLEAN, cell("1", execution_count=2)], "holds outputs"),
        ([*CLEAN, cell("read('/home/me/x')")], "holds an absolute path"),
        ([*CLEAN, cell("see ~/data/x", "markdown")], "holds an absolute path"),
        (CLEAN[1:], "does not begin with a heading"),
        ([cell("no heading", "markdown"), *CLEAN], "does not begin with a heading"),
        (CLEAN[:1], "does not have one parameters cell"),
        ([*CLEAN, CLEAN[1]], "does not have one parameters cell"),
    ],
)  # fmt: skip
def test_the_rules_find_a_planted_fault(cells, fault):
    assert faults({"cells": CLEAN}) == set()
    assert faults({"cells": cells}) == {fault}
