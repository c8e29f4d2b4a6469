"""What a run notebook keeps in order to say, at its end, what made its table; and how it writes that table."""

import time
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import pandas as pd

from bert_repro.files import ROOT
from bert_repro.results import intervals, parameters, provenance, tables


class Recorder:
    """Collects during a run what the manifest of its table records.

    Args:
        notebook: The notebook's name, e.g. `similarity`.
        namespace: The notebook's `globals()`. The parameters are read off its parameters cell, so that the manifest
            can neither forget nor misname one; what papermill's command line gave as text becomes what it says.
        some: Parameters that are lists and must not be empty.

    Raises:
        ValueError: One of them is empty, a parameter that the notebook does not have, or a value of another type.
    """

    def __init__(self, notebook: str, namespace: MutableMapping[str, Any], some: Sequence[str] = ()):
        self.notebook, self.started = notebook, time.time()
        self.warnings: list[str] = []
        self.parameters = parameters.take(ROOT / "notebooks" / f"{notebook}.ipynb", namespace)
        for name in some:
            if not self.parameters[name]:
                raise ValueError(f"{name} is empty: at least one is needed")

    def warn(self, warnings: Iterable[str]) -> None:
        """Give warnings for readers of the results, each once, in the notebook and in the manifest.

        Args:
            warnings: Sentences, such as `corpora.doubts` gives.
        """
        for warning in dict.fromkeys(warnings):
            if warning not in self.warnings:
                self.warnings.append(warning)
                print(f"Warning: {warning}")

    def write(
        self, table: pd.DataFrame, inputs: Mapping[str, object], extra: pd.DataFrame | None = None, **notes: object
    ) -> None:
        """Write the run's table to its `output` parameter, or say that none was asked for.

        A warning says where intervals are of fewer than `intervals.LEAST` units.

        Args:
            table: Rows made by `tables.tidy`.
            inputs: Checksums of weights, tokenizer and data that went in.
            extra: Artefacts of the run, if any.
            notes: More for the manifest: what no other run could repeat, such as a speed.
        """
        resampled = table[table["replicates"].notna()] if "replicates" in table else table[:0]
        few = resampled["units"][resampled["units"] < intervals.LEAST] if len(resampled) else []
        if len(few):
            self.warn([
                f"{len(few)} numbers have an interval of fewer than {intervals.LEAST} sentences or items ({min(few)} at least), "
                "which is too narrow: take larger samples."
            ])  # fmt: skip
        output = str(self.parameters["output"])
        if not output:
            print(f"{len(table)} rows; no `output` parameter was given, so nothing was written")
            return
        target = ROOT / output
        table = table.assign(study=str(self.parameters["study"]), notebook=self.notebook).astype(tables.COLUMNS)
        if extra is not None:
            extra = extra.assign(study=str(self.parameters["study"]), notebook=self.notebook).astype(tables.ARTEFACTS)
        manifest = provenance.manifest(self.notebook, self.parameters, time.time() - self.started)
        notes = {"inputs": dict(inputs), "warnings": self.warnings} | notes
        tables.write(target, table, manifest | notes, extra)
        print(f"{len(table)} rows written to {output}")
