"""Staleness: which tables would come out differently with today's study or code.

Code is judged by what it computes. Next to the tables of a published study are the *smoke tables* of its notebooks: what each
notebook made with its default parameters when the study was run. Where it makes another table today, the study's tables of
that notebook are stale. Code that is moved or rewritten, but computes the same, makes nothing stale. `tests/smoke_tables.py`
compares, and writes `staleness.json` next to the tables.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_repro import corpora
from bert_repro.files import ROOT
from bert_repro.results import parameters, provenance
from bert_repro.workflow.study import load, runs

EQUAL = "equal"
NO_RESULT = {"hidden_states": {"drawn", "units"}, "similarity": {"drawn"}}
"""Parameters of notebooks that say what is computed ahead: but for rounding, no number of a table follows them."""


def outcomes(folder: Path) -> dict[str, dict[str, str]]:
    """Read what was found of each notebook behind published tables: `today` (EQUAL, or what differs), `within` and `because`.

    Tables of one's own have no such file, and need none: `make report` makes them again when their code has changed.
    """
    path = folder.parent / "staleness.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def changed(made: Mapping[str, Any], asked: Mapping[str, object]) -> list[str]:
    """Name the parameters of a run that its study has other values of now.

    Args:
        made: The manifest of its table. A parameter that the notebook did not have then counts as its default.
        asked: The run's parameters as the study has them now; those that it does not set are the notebook's defaults. Empty
            where the study has no such run.
    """
    path = ROOT / "notebooks" / f"{made['notebook']}.ipynb"
    defaults = {p.name: p.default for p in parameters.read(path)} if path.is_file() else {}
    then = defaults | made["parameters"]
    unset = (
        {name: defaults[name] for name in made["parameters"] if name in defaults and name != "study"} if asked else {}
    )
    without = NO_RESULT.get(made["notebook"], set())
    now = unset | dict(asked)
    return [name for name, value in now.items() if name not in without and (name not in then or then[name] != value)]


def stale_tables(folder: Path) -> dict[str, str]:
    """Name the tables of a folder that are stale, and say why."""
    manifests, known = provenance.manifests(folder), outcomes(folder)
    settings: dict[str, Mapping[str, object]] = {}
    for study in {str(manifest["parameters"]["study"]) for manifest in manifests.values()}:
        path = ROOT / "studies" / f"{study}.yaml"
        settings |= {run.name: run.parameters for run in runs(load(path))} if path.is_file() else {}
    reasons = {}
    for name, manifest in manifests.items():
        today = known.get(manifest["notebook"], {"today": "none was kept"})["today"] if known else EQUAL
        if names := changed(manifest, settings.get(name, {})):
            reasons[name] = f"other values in the study now: {' and '.join(names)}"
        elif texts := corpora.differing(manifest.get("inputs", {})):
            reasons[name] = f"{', '.join(texts)}: another content now"
        elif today != EQUAL:
            reasons[name] = f"the smoke table of {manifest['notebook']}: {today}"
    return reasons
