"""Reruns: repeats a run from the manifest next to its table, with other parameters where some are given.

A table without a manifest, and a tuned encoder that neither exists nor can be trained from a manifest, are errors.
"""

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
    made = provenance.manifests(folder)
    if name not in made:
        there = ", ".join(made) or "none"
        raise FileNotFoundError(f"no manifest of a table {name!r} in {str(folder)!r}: there are {there}")
    notebook = notebooks.find(made[name]["notebook"])
    given = _still_known(notebook, made[name]["parameters"])
    given |= {"output": str(OUT / f"{name}.parquet")} | (
        {"save": str(OUT / "models" / name)} if given.get("save") else {}
    )
    given |= from_here(parameters.parse(list(changed), notebook))
    parameters.check(notebook, given)
    for encoder in (given.get("model"), given.get("reference_model")):
        _train(str(encoder or ""), made)
    notebooks.run(notebook, ROOT / OUT / f"{name}.ipynb", given, html=True, title=name)
    return OUT / f"{name}.html"


def _still_known(notebook: Path, given: dict[str, Any]) -> dict[str, Any]:
    declared = {one.name for one in parameters.read(notebook)}
    return {name: value for name, value in given.items() if name in declared}


def _train(encoder: str, made: dict[str, dict[str, Any]]) -> None:
    """Train a tuned encoder as its manifest says, where its folder is not there."""
    folder, _ = checkpoints.untrained(encoder) or (encoder, 1)
    if not folder.startswith("build/") or (ROOT / folder).is_dir():
        return
    for name, manifest in made.items():
        if manifest["parameters"].get("save") == folder:
            notebook = notebooks.find(manifest["notebook"])
            given = _still_known(notebook, manifest["parameters"]) | {"output": str(OUT / f"{name}.parquet")}
            _train(str(given["model"]), made)
            print(f"{folder} is not there: training it first, as {name} did in {manifest['seconds'] / 60:.0f} minutes")
            return notebooks.run(notebook, ROOT / OUT / f"{name}.ipynb", given, title=name)
    raise FileNotFoundError(
        f"the encoder {folder} is not there, and no manifest says how it was trained: run its study"
    )
