"""The rules of the house, read off the sources: who may import whom, what a notebook is, how long a file may grow."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bert_repro.files import ROOT
from bert_repro.results import parameters

LEVELS = (
    {"files"},
    {"corpora", "results", "backend"},
    {"checkpoints", "alignment", "encoder"},
    {"states", "similarity", "probes", "finetune"},
    {"figures"},
    {"workflow", "__main__"},
)
"""The rooms of the package, which are the modules and folders at its top, by level: none may import one of a higher level,
not even inside a function, and no circle leads back to where it began, neither of rooms nor of modules."""
ROOMS, ARROWS = 14, 60  # at most; an arrow leads from a room to one that it imports
NOT_BELOW = {
    "similarity": {"states", "corpora"},
    "probes": {"states", "corpora", "checkpoints", "alignment", "encoder"},
}
"""What gets arrays imports none of what makes them."""
WITH_TENSORFLOW = {"backend", "encoder", "finetune", "checkpoints.formats"}
LONGEST = 420  # lines

MODULES = sorted((ROOT / "bert_repro").rglob("*.py"))
NOTEBOOKS = sorted(p for p in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module(path: Path, root: Path = ROOT) -> str:
    """Name a module as others import it, without the package: `corpora.items`; empty for the package's own `__init__`."""
    return ".".join(path.relative_to(root / "bert_repro").with_suffix("").parts).removesuffix("__init__").rstrip(".")


def room(name: str) -> str:
    """Name the module or folder at the top of the package that a module belongs to."""
    return name.partition(".")[0]


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


def inside(path: Path, known: set[str]) -> set[str]:
    """List the modules of the package, of those known, that a file imports itself or takes a name from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {
                name if name.removeprefix("bert_repro.") in known else str(node.module) for name in whole.values()
            }
    return {name.removeprefix("bert_repro.") for name in found} & known


def graph() -> dict[str, set[str]]:
    """Give for each module those that it imports."""
    known = {module(path) for path in MODULES} - {""}
    return {module(path): inside(path, known) - {module(path)} for path in MODULES if module(path)}


def rooms(modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """Give for each room those that it imports."""
    found: dict[str, set[str]] = {room(name): set() for name in modules}
    for name, imported in modules.items():
        found[room(name)] |= {room(other) for other in imported} - {room(name)}
    return found


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Find names that lead to one another; none where there is an order."""
    left = dict(arrows)
    while done := [name for name, imported in left.items() if not imported & set(left)]:
        for name in done:
            del left[name]
    return sorted(left)


def violations(path: Path, root: Path = ROOT) -> list[str]:
    """Say which imports of a file break the order of levels, or the rules beside it."""
    name, found = module(path, root), []
    mine = room(name)
    for imported in sorted(imports(path.read_text(encoding="utf-8"))):
        package, *rest = imported.split(".")
        if not package:
            found.append(f"{name} imports {imported} by a relative name")
        if package in {"tensorflow", "keras"} and not {mine, name} & WITH_TENSORFLOW:
            found.append(f"{name} imports {imported}")
        if package == "plotly" and level(mine) < level("figures"):
            found.append(f"{name} imports {imported}")
        if package == "bert_repro" and rest and rest[0] in set().union(*LEVELS):
            if level(rest[0]) > level(mine):
                found.append(f"{name} (level {level(mine)}) imports {imported} (level {level(rest[0])})")
            if rest[0] in NOT_BELOW.get(mine, ()):
                found.append(f"{mine} gets arrays, yet imports {imported}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_no_module_imports_a_higher_one(path):
    if module(path):
        assert violations(path) == []
    else:
        assert imports(path.read_text(encoding="utf-8")) <= {"importlib", "importlib.metadata"}


def test_every_room_has_a_level_and_no_way_leads_back():
    modules = graph()
    arrows = rooms(modules)
    count = sum(map(len, arrows.values()))
    print(f"{len(arrows)} rooms, {count} arrows")
    for name in sorted(arrows, key=lambda name: (level(name), name)):
        print(f"  {level(name)} {name:12} -> {', '.join(sorted(arrows[name])) or '-'}")
    assert set(arrows) == set().union(*LEVELS)
    assert sum(map(len, LEVELS)) == len(arrows) <= ROOMS
    assert count <= ARROWS
    assert circle(arrows) == [] and circle(modules) == []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["a", "b", "c", "d"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("path", "code", "found"),
    [
        ("files.py", "from bert_repro import corpora", "files (level 0) imports bert_repro.corpora (level 1)"),
        ("corpora/__init__.py", "import bert_repro.states", "corpora (level 1) imports bert_repro.states (level 3)"),
        ("results/tables.py", "from bert_repro.workflow.study import load", "results.tables (level 1) imports bert_repro.workflow"),
        ("checkpoints/hub.py", "def f():\n    from bert_repro.states import get", "checkpoints.hub (level 2) imports bert_repro.states"),
        ("similarity/samples.py", "def f():\n    from bert_repro.states import get", "similarity gets arrays, yet imports bert_repro.states"),
        ("probes/edge.py", "from bert_repro import figures", "probes.edge (level 3) imports bert_repro.figures (level 4)"),
        ("probes/edge.py", "from bert_repro import corpora", "probes gets arrays, yet imports bert_repro.corpora"),
        ("states/compute.py", "def f():\n    import tensorflow.experimental", "states.compute imports tensorflow.experimental"),
        ("checkpoints/hub.py", "import keras", "checkpoints.hub imports keras"),
        ("results/claims.py", "from keras import ops", "results.claims imports keras"),
        ("results/tables.py", "import plotly.express as px", "results.tables imports plotly.express"),
        ("finetune/loop.py", "from . import encoder", "finetune.loop imports . by a relative name"),
    ],
)  # fmt: skip
def test_the_rule_finds_a_planted_violation(tmp_path, path, code, found):
    path = tmp_path / "bert_repro" / path
    path.parent.mkdir(parents=True)
    path.write_text(f"import numpy\nfrom bert_repro import files\n{code}\n")
    assert any(said.startswith(found) for said in violations(path, tmp_path))
    path.write_text("import numpy\nfrom bert_repro import files\n")
    assert violations(path, tmp_path) == []


def loaded_by(modules: list[str]) -> set[str]:
    code = f"import sys, {', '.join(modules)}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def light(name: str) -> bool:
    """Say whether a module is to start without TensorFlow: of the room that tunes, what studies, plans and figures read."""
    return room(name) not in {"encoder", "backend", "finetune"} or name in {
        "finetune", "finetune.tasks", "finetune.counts", "finetune.baselines"
    }  # fmt: skip


@pytest.mark.slow
def test_reading_and_drawing_starts_without_tensorflow():
    loaded = loaded_by([f"bert_repro.{name}" for name in sorted(graph()) if light(name)])
    assert "numpy" in loaded and not {"tensorflow", "keras", "torch"} & loaded


@pytest.mark.slow
def test_what_lies_below_the_figures_starts_without_plotly():
    low = [name for name in sorted(graph()) if level(room(name)) < level("figures") and light(name)]
    assert "plotly" not in loaded_by([f"bert_repro.{name}" for name in low])


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
    elif re.search(r"^[^\w#\n]", "".join(tagged[0]["source"]), re.MULTILINE):  # as a formatter breaks what is too long
        found.add("has a parameter of several lines")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_a_notebook_is_prose_and_calls(path):
    assert faults(json.loads(path.read_text(encoding="utf-8"))) == set()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_defaults_fit_their_own_annotations_and_are_explained(path):
    declared = parameters.read(path)
    parameters.check(path, {one.name: one.default for one in declared})
    assert [one.name for one in declared if not one.help] == []


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
        ([CLEAN[0], CLEAN[1] | {"source": "x: int = (\n    1  # so long\n)"}], "has a parameter of several lines"),
    ],
)  # fmt: skip
def test_the_rules_find_a_planted_fault(cells, fault):
    assert faults({"cells": CLEAN}) == set()
    assert faults({"cells": cells}) == {fault}
