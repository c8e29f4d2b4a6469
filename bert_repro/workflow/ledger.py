"""The runs of a study for the book: a list, each run's parameters and manifest, and what all took and read.

What a manifest lacks is left blank.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bert_repro import corpora
from bert_repro.figures.templates import render
from bert_repro.results import provenance

Manifests = Mapping[str, Mapping[str, Any]]
DIGEST = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{48}\b")  # of content


def overview(manifests: Manifests, stale: Mapping[str, str]) -> str:
    """List runs with their notebook, commit, machine and time, as HTML.

    Args:
        manifests: Manifests by the names of the runs, as `provenance.manifests` reads them.
        stale: For runs whose tables are stale, why, as `staleness.stale_tables` says it.
    """
    machines = {_machine(manifest) for manifest in manifests.values()}
    reasons = list(dict.fromkeys(stale.values()))  # many runs share a long one
    rows = [
        {
            "name": name,
            "notebook": manifest["notebook"],
            "commit": provenance.brief(manifest["commit"]),
            "machine": _machine(manifest) if len(machines) > 1 else "",
            "minutes": manifest["seconds"] / 60,
            "why": f"reason {reasons.index(stale[name]) + 1}" if name in stale else "",
        }
        for name, manifest in manifests.items()
    ]
    hours = sum(row["minutes"] for row in rows) / 60
    return render("runs", rows=rows, hours=hours, stale=len(stale), reasons=reasons, machines=sorted(machines))


def details(manifests: Manifests, stale: Mapping[str, str], folder: str) -> str:
    """Show each run's parameters, the command that repeats it, and its manifest, as HTML; a section's id is its name.

    Of digests, which the manifest's file has whole, the beginning is shown.

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
            parameters={parameter: json.dumps(value) for parameter, value in manifest["parameters"].items()},
            manifest=DIGEST.sub(r"\1…", json.dumps({k: v for k, v in manifest.items() if k != "parameters"}, indent=1)),
        )
        for name, manifest in manifests.items()
    )


def costs(manifests: Manifests) -> pd.DataFrame:
    """Summarise what runs took: number, minutes each (median) and in total, by notebook, task tuned on, and machine."""
    rows = [
        {
            "notebook": manifest["notebook"],
            "task": manifest["parameters"].get("task", ""),
            "machine": _machine(manifest),
            "minutes": manifest["seconds"] / 60,
        }
        for manifest in manifests.values()
    ]
    grouped = pd.DataFrame(rows).groupby(["notebook", "task", "machine"], sort=False)["minutes"]
    return grouped.agg(["count", "median", "sum"]).rename(
        columns={"count": "runs", "median": "minutes each", "sum": "minutes"}
    )


def texts(manifests: Manifests) -> pd.DataFrame:
    """List the texts that runs read, each with the digest of its content and how many runs read it."""
    readings: Counter[tuple[str, str]] = Counter()
    for manifest in manifests.values():
        for reference, digests in manifest.get("inputs", {}).items():
            if corpora.registered(reference):
                readings[reference, corpora.digest_in(digests)] += 1
    rows = [(reference, digest[:16], count) for (reference, digest), count in sorted(readings.items())]
    return pd.DataFrame(rows, columns=["text", "content (SHA-256, first 16 of 64)", "runs"]).set_index("text")


def copies(manifests: Manifests) -> pd.DataFrame:
    """List the models whose weights were not the same in all runs, each copy with the runs that read it.

    Returns:
        Rows by model (the last part of its place) and SHA-256 of its weights; empty where every model had one copy.
    """
    readings: dict[tuple[str, str], list[str]] = {}
    for run, manifest in manifests.items():
        for copy in {*_weights(manifest.get("inputs", {}), manifest["parameters"])}:
            readings.setdefault(copy, []).append(run)
    several = Counter(model for model, _ in readings)
    rows = [(model, digest[:16], ", ".join(runs)) for (model, digest), runs in readings.items() if several[model] > 1]
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
    used = pd.DataFrame([{"python": run.get("python"), **run.get("packages", {})} for run in manifests.values()])
    rows = [
        (package, ", ".join(f"{version} ({count})" for version, count in used[package].value_counts().items()))
        for package in used.columns
    ]
    return pd.DataFrame(rows, columns=["package", "version (runs)"]).set_index("package")


def _machine(manifest: Mapping[str, Any]) -> str:
    machine = manifest.get("machine", {})
    name = ", ".join(machine.get("gpus") or []) or f"{machine.get('cores', '?')} cores, {machine.get('cpu', '?')}"
    return f"{name}, {manifest.get('backend', '?')}"
