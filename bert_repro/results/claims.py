"""Claims of the paper and about it, written down in `claims.yaml` before their results: contrasts, margins, rules and gates.

`load` reads and checks the file; `bert_repro.results.verdicts` applies it to a study's tables.
"""

import datetime
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from bert_repro.results import keys, tables

PATH = Path(__file__).with_name("claims.yaml")
LAYERS = ("all", "bottom_half", "top_half", "last", "best")
INF = np.inf
RULES = {"no_drop": (-1, INF), "equivalent": (-1, 1), "greater": (1, INF), "order": (1, INF), "less": (-INF, -1)}
"""For each rule, the open region in which the difference a - b has to lie, in margins."""
HELD_OUT = "held_out"
"""As a split: the corpora on which a tuned encoder was scored once (not those that chose its weights), and `test` of a probe."""
FREE = {"study", "base", "reference_layer", *tables.NUMBERS}
"""Columns that no selection may name."""
REPEATS = ["model", "reference_model", "seed", "probe_seed"]
"""Columns that are averaged over."""
CASE = [c for c in tables.COLUMNS if c not in {*FREE, *REPEATS, "layer"}]
"""Columns that distinguish the cases of a selection."""
_Value = str | int | None


def _known(selection: dict[str, _Value | list[_Value]]) -> dict[str, _Value | list[_Value]]:
    unknown = sorted(set(selection) - (set(tables.COLUMNS) - FREE))
    if unknown:
        raise ValueError(f"no columns to select by: {unknown}; expected some of {[*REPEATS, 'layer', *CASE]}")
    layer = selection.get("layer")
    if not (layer is None or isinstance(layer, int) or layer in LAYERS):
        raise ValueError(f"unknown layer {layer!r}: expected a number or one of {list(LAYERS)}")
    if layer == "best" and selection.get("split") != "test":
        raise ValueError("layer `best` is chosen on dev, so it needs `split: test` beside it")
    return selection


def listed(value: object) -> Any:
    """Give a value as a list, if it is none."""
    return value if isinstance(value, list) else [value]


Selection = Annotated[dict[str, _Value | list[_Value]], AfterValidator(_known)]


class Contrast(keys.Strict):
    """Which rows are compared: side a with side b (or with zero), or each entry of an order with the next."""

    both: Selection = {}
    a: Annotated[list[Selection], BeforeValidator(listed)] = []
    b: Selection | None = None
    order: list[Selection] = []


class Margin(keys.Strict):
    """How much counts, in the unit of the metric, and one line on why so much."""

    value: float = Field(ge=0)
    unit: str = Field(min_length=1)
    why: str = Field(min_length=1)


class Comparison(keys.Strict):
    """One test: a contrast, on one or more metrics, under a rule.

    Attributes:
        contrast: What is compared.
        metric: The metrics.
        rule: A key of RULES.
        margin: How much counts.
        primary: What the cases of side a have that are *primary*, one per task; none are where it is left out.
        ordered_by: Replaces parts of both sides: only where these rows have an order is one asked for, and then the same one.
        optional: Whether the claim can be judged without its rows.
    """

    contrast: Contrast
    metric: Annotated[list[str], BeforeValidator(listed), Field(min_length=1)]
    rule: Literal["no_drop", "equivalent", "greater", "less", "order"]
    margin: Margin
    primary: Selection | None = None
    ordered_by: Selection | None = None
    optional: bool = False

    @model_validator(mode="after")
    def _sides_fit_the_rule(self) -> "Comparison":
        sides = self.contrast
        if (sides.a or sides.b or len(sides.order) < 2) if self.rule == "order" else (sides.order or not sides.a):
            raise ValueError(
                "expected `order` with two selections or more for the rule `order`, `a` and perhaps `b` for others"
            )
        return self

    def sides(self, defaults: Mapping) -> Iterator[tuple[dict, dict | None]]:
        """Give the selections of side a and side b (None: zero) for each contrast of the test."""
        pairs: list[tuple[dict, dict | None]] = [*pairwise(self.contrast.order)]
        pairs = pairs or [(a, self.contrast.b) for a in self.contrast.a]
        for metric in self.metric:
            for a, b in pairs:
                yield {**defaults, **self.contrast.both, "metric": metric, **a}, b


class Source(keys.Strict):
    """Where the paper says it, as far as it could be read."""

    kind: Literal["abstract", "introduction", "third_party", "ours"]
    where: str


class Weakened(keys.Strict):
    """The base encoders on which a claim gets at most *inconclusive*, and why these or none."""

    bases: list[str]
    reason: str = Field(min_length=1)

    def holds(self, table: pd.DataFrame) -> bool:
        """Return whether the encoders of a table were tuned from one of these bases, or from a copy of it."""
        bases = table["base"].drop_duplicates()  # a folder or hub id with its revision
        names = bases.str.extract(r"([^/@]+)(?:@.*)?$", expand=False)
        return bool(names.isin(self.bases).any())


class Gate(keys.Strict):
    """What a study must have reached before claims are judged on it: a score, or how far one score is above another.

    Attributes:
        what: In words, to follow "not tested here, as".
        tasks: Whose pairs it decides about; with none, all of a claim that names it.
        score: Rows whose mean over seeds is taken; of several cases, such as ranks of a probe, the largest.
        above: Rows whose mean is subtracted, if any.
        least: The least that it takes.
    """

    what: str = Field(min_length=1)
    tasks: list[str] = []
    score: Selection
    above: Selection | None = None
    least: Margin


class Claim(keys.Strict):
    """One claim. `measured` says in words what the number of its primary contrasts is; `chapter` is where the book argues."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    claim: str
    measured: str = Field(min_length=1)
    source: Source
    chapter: str = Field(pattern=r"^[a-z_]+$")
    needs: dict[str, Selection]
    gates: list[str] = []
    weakened_on: Weakened
    tests: list[Comparison] = Field(min_length=1)

    @model_validator(mode="after")
    def _something_is_primary(self) -> "Claim":
        if all(test.primary is None for test in self.tests):
            raise ValueError("no test of the claim is primary: say which contrast decides, one per task")
        return self


class Verdict(keys.Strict):
    """When a verdict is given, in words."""

    verdict: Literal["supported", "contradicted", "inconclusive", "not tested here"]
    when: str


class Claims(keys.Strict):
    """The claims file, validated; `defaults` is what every side selects unless it says otherwise, `tasks` are words for tasks."""

    written: datetime.date
    before: str
    history: list[dict[Literal["date", "claim", "change"], str | datetime.date]]
    verdicts: list[Verdict]
    gates: dict[str, Gate] = {}
    tasks: dict[str, str] = {}
    defaults: Selection = {}
    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_are_distinct(self) -> "Claims":
        ids = [claim.id for claim in self.claims]
        if len(set(ids)) < len(ids):
            raise ValueError(f"each id may be given once, got {ids}")
        for claim in self.claims:
            if unknown := sorted(set(claim.gates) - set(self.gates)):
                raise ValueError(
                    f"claim {claim.id} names gates that are not there: {unknown}; there are {[*self.gates]}"
                )
        return self


def load(path: Path | str = PATH) -> Claims:
    """Read and validate a claims file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not YAML, or not claims; the message names file, claim, key and what was expected.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no claims file {path}: the project's own is {PATH}")
    content = keys.read(path, "claims file")
    try:
        return Claims.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        if place[:1] == ["claims"] and len(place) > 1:
            claim = content["claims"][int(place[1])]
            place = [f"claim {claim['id'] if isinstance(claim, dict) and 'id' in claim else place[1]}", *place[2:]]
        raise ValueError(
            f"{path}: {'.'.join(place)}: {first['msg']} (got {first['input']!r}): correct the file"
        ) from None
