"""Reruns: repeats a run from the manifest next to its table, with other parameters where some are given.

A table without a manifest, and a tuned encoder that neither exists nor can be trained from a manifest, are errors.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_repro import checkpoints
from bert_repro.files import ROOT
from bert_repro.results import parameters, provenance
from bert_repro.workflow import notebooks
from bert_repro.workflow.own import from_here

OUT = Path("build") / "reruns"


def rerun(table: Path | str, changed: Sequence[tuple[str, str]] = ()) -> Path:
    """Run again what made a table, into a folder of its own; first train the tuned encoders that it needs, if not there.

    Args:
        table: The table, with or without its suffix, e.g. `results/minilm/tables/similarity-base-nli-1`.
        changed: Parameters and their values as texts, as on the command line, e.g. `("layers", "[0, 3]")`.

    Returns:
        The page of the run; its executed notebook and its table lie beside it.

    Raises:
        FileNotFoundError: No such table, or no manifest of an encoder that is needed.
        ValueError: A parameter that the notebook does not have, or a value of another type.
    """
    table = Path(table)
    folder, name = table.parent, table.name.removesuffix(".parquet")
    manifests = provenance.manifests(folder)
    if name not in manifests:
        names = ", ".join(manifests) or "none"
        raise FileNotFoundError(f"no manifest of a table {name!r} in {str(folder)!r}: there are {names}")
    notebook = notebooks.find(manifests[name]["notebook"])
    settings = _still_known(notebook, manifests[name]["parameters"])
    settings |= {"output": str(OUT / f"{name}.parquet")} | (
        {"save": str(OUT / "models" / name)} if settings.get("save") else {}
    )
    if "tables_folder" in settings:  # which the run wrote its own table into, too
        settings["tables_folder"] = os.path.relpath(folder, ROOT)
    settings |= from_here(parameters.parse(list(changed), notebook))
    parameters.check(notebook, settings)
    for encoder in (settings.get("model"), settings.get("reference_model")):
        _train(str(encoder or ""), manifests)
    notebooks.run(notebook, ROOT / OUT / f"{name}.ipynb", settings, html=True, title=name)
    return OUT / f"{name}.html"


def _still_known(notebook: Path, settings: dict[str, Any]) -> dict[str, Any]:
    declared = {parameter.name for parameter in parameters.read(notebook)}
    return {name: value for name, value in settings.items() if name in declared}


def _train(encoder: str, manifests: dict[str, dict[str, Any]]) -> None:
    """Train a tuned encoder as its manifest says, where its folder is not there."""
    folder, _ = checkpoints.untrained(encoder) or (encoder, 1)
    if not folder.startswith("build/") or (ROOT / folder).is_dir():
        return
    for name, manifest in manifests.items():
        if manifest["parameters"].get("save") == folder:
            notebook = notebooks.find(manifest["notebook"])
            settings = _still_known(notebook, manifest["parameters"]) | {"output": str(OUT / f"{name}.parquet")}
            _train(str(settings["model"]), manifests)
            print(f"{folder} is not there: training it first, as {name} did in {manifest['seconds'] / 60:.0f} minutes")
            return notebooks.run(notebook, ROOT / OUT / f"{name}.ipynb", settings, title=name)
    raise FileNotFoundError(
        f"the encoder {folder} is not there, and no manifest says how it was trained: run its study"
    )
