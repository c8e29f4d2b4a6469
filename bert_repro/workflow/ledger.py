"""The runs of a study for the book: a list, each run's parameters and manifest, and what all took and read.

What a manifest lacks is left blank.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bert_repro import corpora
from bert_repro.figures.templates import render

Manifests = Mapping[str, Mapping[str, Any]]


def overview(manifests: Manifests, stale: Mapping[str, str]) -> str:
    """List runs with their notebook, commit, machine and time, as HTML.

    Args:
        manifests: Manifests by the names of the runs, as `provenance.manifests` reads them.
        stale: For runs whose tables are stale, why, as `staleness.stale_tables` says it.
    """
    rows = [
        {
            "name": name,
            "notebook": made["notebook"],
            "commit": made["commit"][:7],
            "machine": _machine(made),
            "minutes": made["seconds"] / 60,
            "why": stale.get(name, ""),
        }
        for name, made in manifests.items()
    ]
    return render("runs", rows=rows, hours=sum(row["minutes"] for row in rows) / 60, stale=len(stale))


def details(manifests: Manifests, stale: Mapping[str, str], folder: str) -> str:
    """Show each run's parameters, the command that repeats it, and its whole manifest, as HTML; a section's id is its name.

    Args:
        manifests: Manifests by the names of the runs.
        stale: For runs whose tables are stale, why.
        folder: Folder of the tables, relative to the project.
    """
    return "".join(
        render(
            "run",
            name=name,
            stale=name in stale,
            folder=folder,
            parameters={parameter: json.dumps(value) for parameter, value in made["parameters"].items()},
            manifest=json.dumps({key: value for key, value in made.items() if key != "parameters"}, indent=1),
        )
        for name, made in manifests.items()
    )


def changed_texts(manifests: Manifests) -> dict[str, str]:
    """Name the runs whose texts have another content now than when they were read, and say which."""
    differ = {name: corpora.differing(made.get("inputs", {})) for name, made in manifests.items()}
    return {name: f"{', '.join(texts)}: another content now" for name, texts in differ.items() if texts}


def costs(manifests: Manifests) -> pd.DataFrame:
    """Summarise what runs took: number, minutes each (median) and in total, by notebook, task tuned on, and machine."""
    rows = [
        {
            "notebook": made["notebook"],
            "task": made["parameters"].get("task", ""),
            "machine": _machine(made),
            "minutes": made["seconds"] / 60,
        }
        for made in manifests.values()
    ]
    grouped = pd.DataFrame(rows).groupby(["notebook", "task", "machine"], sort=False)["minutes"]
    return grouped.agg(["count", "median", "sum"]).rename(
        columns={"count": "runs", "median": "minutes each", "sum": "minutes"}
    )


def texts(manifests: Manifests) -> pd.DataFrame:
    """List the texts that runs read, each with the digest of its content and how many runs read it."""
    read: Counter[tuple[str, str]] = Counter()
    for made in manifests.values():
        for reference, digests in made.get("inputs", {}).items():
            if corpora.registered(reference):
                read[reference, corpora.digest_in(digests)] += 1
    rows = [(reference, digest[:16], count) for (reference, digest), count in sorted(read.items())]
    return pd.DataFrame(rows, columns=["text", "content (SHA-256, first 16 of 64)", "runs"]).set_index("text")


def copies(manifests: Manifests) -> pd.DataFrame:
    """List the models whose weights were not the same in all runs, each copy with the runs that read it.

    Returns:
        Rows by model (the last part of its place) and SHA-256 of its weights; empty where every model had one copy.
    """
    read: dict[tuple[str, str], list[str]] = {}
    for run, made in manifests.items():
        for copy in {*_weights(made.get("inputs", {}), made["parameters"])}:
            read.setdefault(copy, []).append(run)
    several = Counter(model for model, _ in read)
    rows = [(model, digest[:16], ", ".join(runs)) for (model, digest), runs in read.items() if several[model] > 1]
    return pd.DataFrame(sorted(rows), columns=["model", "weights (SHA-256, first 16 of 64)", "read by"]).set_index(
        "model"
    )


def _weights(
    inputs: Mapping[str, Any], parameters: Mapping[str, Any], side: str = "model"
) -> Iterator[tuple[str, str]]:
    """Find models with the digests of their weights: of one model or two, for all texts together or for each."""
    for name, value in inputs.items():
        if name == "weights":
            yield Path(parameters[side]).name, value
        elif isinstance(value, Mapping):
            yield from _weights(value, parameters, "reference_model" if name == "reference" else side)


def versions(manifests: Manifests) -> pd.DataFrame:
    """List the versions of Python and packages that runs used, and how many used each."""
    used = pd.DataFrame([{"python": made.get("python"), **made.get("packages", {})} for made in manifests.values()])
    rows = [
        (package, ", ".join(f"{version} ({count})" for version, count in used[package].value_counts().items()))
        for package in used.columns
    ]
    return pd.DataFrame(rows, columns=["package", "version (runs)"]).set_index("package")


def _machine(made: Mapping[str, Any]) -> str:
    machine = made.get("machine", {})
    which = ", ".join(machine.get("gpus") or []) or f"{machine.get('cores', '?')} cores, {machine.get('cpu', '?')}"
    return f"{which}, {made.get('backend', '?')}"
