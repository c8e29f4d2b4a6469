"""The names that a study file may use: of tasks, measures, targets and chapters, looked up where these are registered.

So whoever adds one has no list of names to keep. The registries are read where a name is, as NumPy takes its time to start.
"""

import difflib
import math
from collections.abc import Callable, Collection
from typing import Annotated

from pydantic import AfterValidator

from bert_repro.files import ROOT
from bert_repro.results import parameters

UNTUNED = ("base", "untrained")  # models that every study has
SECOND = "base-2"  # the base pre-trained once more, where a study has it
CHAPTERS = ROOT / "notebooks" / "chapters"
END = ("claims", "runs")  # chapters that every part of the book ends with
PAGES = ("index", "life", "compare", "reproduce", "parity")  # of the book as a whole


def chapters() -> dict[str, str]:
    """List the chapters that a study can have: the notebooks of notebooks/chapters.

    The metadata of a chapter's notebook may say, under `bert_repro`, its `place` among the others, a number, behind which those
    without one come by name; and what it `needs`: a key of the study's file.

    Returns:
        In their order, the key that each needs; empty where it is there for every study.

    Raises:
        ValueError: No notebook, or one whose place is no number.
    """
    paths = [path for path in sorted(CHAPTERS.glob("[!.]*.ipynb")) if path.stem not in (*END, *PAGES)]
    metadata = {path.stem: parameters.content(path).get("metadata", {}).get("bert_repro", {}) for path in paths}
    places = {name: about.get("place", math.inf) for name, about in metadata.items()}
    for name, place in places.items():
        if not isinstance(place, int | float):
            raise ValueError(f"the chapter {name} has the place {place!r}, by its metadata: expected a number")
    return {name: metadata[name].get("needs", "") for name in sorted(places, key=places.__getitem__)}


def _tasks() -> Collection[str]:
    from bert_repro.finetune.tasks import TASKS

    return TASKS


def _measures() -> Collection[str]:
    from bert_repro.similarity import MEASURES

    return MEASURES


def _targets() -> Collection[str]:
    from bert_repro.probes.spans import EDGE_TARGETS

    return EDGE_TARGETS


def _known(kind: str, registry: Callable[[], Collection[str]]) -> AfterValidator:
    """Have a name looked up in a registry; one that is not there is answered with the nearest, and with all there are."""

    def check(name: str) -> str:
        known = registry()
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? Expected" if near else "expected"
            raise ValueError(f"unknown {kind}: {hint} one of {', '.join(known)}")
        return name

    return AfterValidator(check)


TaskName = Annotated[str, _known("task", _tasks)]
MeasureName = Annotated[str, _known("measure", _measures)]
TargetName = Annotated[str, _known("target", _targets)]
ChapterName = Annotated[str, _known("chapter", chapters)]
