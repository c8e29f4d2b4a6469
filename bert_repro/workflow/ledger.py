"""The ledger of runs: hides how manifests are laid out for the book.

It refuses nothing: what a manifest lacks is left blank.
"""

import html
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bert_repro import corpora

Manifests = Mapping[str, Mapping[str, Any]]


def overview(manifests: Manifests, stale: Mapping[str, str]) -> str:
    """List runs with their notebook, commit, machine and time, as HTML.

    Args:
        manifests: By the names of the runs, as `provenance.manifests` reads them.
        stale: For runs whose tables are stale, why, as `staleness.stale_tables` says it.
    """
    rows = "".join(
        f'<tr><td><a href="#{name}">{name}</a></td><td>{made["notebook"]}</td><td>{made["commit"][:7]}</td>'
        f"<td>{_machine(made)}</td><td>{made['seconds'] / 60:.1f}</td><td>{html.escape(stale.get(name, ''))}</td></tr>"
        for name, made in manifests.items()
    )
    heads = "".join(f"<th>{head}</th>" for head in ("run", "notebook", "commit", "machine", "minutes", "stale"))
    return (
        f"<p>{len(manifests)} runs, {sum(made['seconds'] for made in manifests.values()) / 3600:.1f} hours of them in all; "
        f"{len(stale)} stale.</p>"
        f'<div class="scrolls" tabindex="0"><table class="dataframe"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def details(manifests: Manifests, stale: Mapping[str, str], folder: str) -> str:
    """Show each run's parameters, the command that repeats it, and its whole manifest, as HTML; a section's id is its name.

    Args:
        manifests: By the names of the runs.
        stale: For runs whose tables are stale, why.
        folder: Of the tables, relative to the project.
    """
    return "".join(
        f'<details class="run" id="{name}"><summary>{name}{": stale" if name in stale else ""}</summary>'
        f"<p>Again: <code>python -m bert_repro rerun {folder}/{name}</code></p>"
        f'<div class="scrolls" tabindex="0"><table class="dataframe"><tbody>{_parameters(made)}</tbody></table></div>'
        f"<pre>{html.escape(json.dumps({k: v for k, v in made.items() if k != 'parameters'}, indent=1))}</pre></details>"
        for name, made in manifests.items()
    )


def changed_texts(manifests: Manifests) -> dict[str, str]:
    """Name the runs whose texts have another content now than when they were read, and say which."""
    differ = {name: corpora.differing(made.get("inputs", {})) for name, made in manifests.items()}
    return {name: f"{', '.join(texts)}: another content now" for name, texts in differ.items() if texts}


def costs(manifests: Manifests) -> pd.DataFrame:
    """Sum up what runs took: number, minutes each (median) and in all, by notebook, task tuned on, and machine."""
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
    read: dict[tuple[str, str], int] = {}
    for made in manifests.values():
        for reference, known in made.get("inputs", {}).items():
            if corpora.registered(reference):
                known = corpora.digest_in(known)
                read[reference, known] = read.get((reference, known), 0) + 1
    rows = [(reference, known[:16], count) for (reference, known), count in sorted(read.items())]
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


def _weights(given: Mapping[str, Any], parameters: Mapping[str, Any], side: str = "model") -> Iterator[tuple[str, str]]:
    """Find models with the digests of their weights: of one or two, for all texts together or for each."""
    for name, one in given.items():
        if name == "weights":
            yield Path(parameters[side]).name, one
        elif isinstance(one, Mapping):
            yield from _weights(one, parameters, "reference_model" if name == "reference" else side)


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
    return html.escape(f"{which}, {made.get('backend', '?')}")


def _parameters(made: Mapping[str, Any]) -> str:
    return "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(json.dumps(value))}</td></tr>"
        for name, value in made["parameters"].items()
    )
