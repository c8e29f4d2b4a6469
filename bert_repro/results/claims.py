"""Claims: hides how a claim of the paper, written down as contrasts in `claims.yaml`, becomes a verdict on a tidy table.

It refuses to judge from less than a claim asks for: missing rows, layers or replicates give "not tested here", never a guess.

There is one mechanism for all claims: select rows, average over seeds and layers, subtract side b from side a draw by draw,
and look where the interval of the difference lies. A verdict needs the whole interval inside or outside the rule's region.
"""

import datetime
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import yaml
from jaxtyping import Float
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bert_repro.results import intervals, tables

PATH = Path(__file__).with_name("claims.yaml")
COLUMNS = {
    "id": "string", "claim": "string", "verdict": "string", "effect": "Float64", "ci_low": "Float64", "ci_high": "Float64",
    "n_pairs": "Int64", "why": "string", "study": "string",
}  # fmt: skip
"""Columns of the verdicts and their pandas types."""
PAIRS = ("id", "measured", "against", "effect", "ci_low", "ci_high", "unit", "rule", "margin", "seeds", "verdict")
"""Columns of the pairs behind the verdicts."""
LAYERS = ("all", "bottom_half", "top_half", "last", "best")
INF = np.inf
RULES = {"no_drop": (-1, INF), "equivalent": (-1, 1), "greater": (1, INF), "order": (1, INF), "less": (-INF, -1)}
"""For each rule, the open region in which the difference a - b has to lie, in margins."""
_NUMBERS = {"study", "base", "reference_layer", "value", "ci_low", "ci_high", "n"}  # what no selection may name
_REPEATS = ["model", "reference_model", "seed", "probe_seed"]  # what is averaged over
_CASE = [c for c in tables.COLUMNS if c not in {*_NUMBERS, *_REPEATS, "layer"}]  # what tells one pair from another
_TEXT = [c for c, kind in tables.COLUMNS.items() if kind == "string"]
_Value = str | int | None


def _known(selection: dict[str, _Value | list[_Value]]) -> dict[str, _Value | list[_Value]]:
    unknown = sorted(set(selection) - (set(tables.COLUMNS) - _NUMBERS))
    if unknown:
        raise ValueError(f"no columns to select by: {unknown}; expected some of {[*_REPEATS, 'layer', *_CASE]}")
    layer = selection.get("layer")
    if not (layer is None or isinstance(layer, int) or layer in LAYERS):
        raise ValueError(f"unknown layer {layer!r}: expected a number or one of {list(LAYERS)}")
    if layer == "best" and selection.get("split") != "test":
        raise ValueError("layer `best` is chosen on dev, so it needs `split: test` beside it")
    return selection


def _listed(value: object) -> Any:
    return value if isinstance(value, list) else [value]


Selection = Annotated[dict[str, _Value | list[_Value]], AfterValidator(_known)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Contrast(_Strict):
    """Which rows are compared: side a with side b (or with zero), or each entry of an order with the next."""

    both: Selection = {}
    a: Annotated[list[Selection], BeforeValidator(_listed)] = []
    b: Selection | None = None
    order: list[Selection] = []


class Margin(_Strict):
    """How much counts, in the unit of the metric, and one line on why so much."""

    value: float = Field(ge=0)
    unit: str = Field(min_length=1)
    why: str = Field(min_length=1)


class Comparison(_Strict):
    """One test: a contrast, on one or more metrics, under a rule."""

    contrast: Contrast
    metric: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
    rule: Literal["no_drop", "equivalent", "greater", "less", "order"]
    margin: Margin

    @model_validator(mode="after")
    def _sides_fit_the_rule(self) -> "Comparison":
        sides = self.contrast
        if (sides.a or sides.b or len(sides.order) < 2) if self.rule == "order" else (sides.order or not sides.a):
            raise ValueError(
                "expected `order` with two selections or more for the rule `order`, `a` and perhaps `b` for others"
            )
        return self

    def sides(self, defaults: Mapping) -> Iterator[tuple[dict, dict | None]]:
        """Give what side a selects, and what side b says instead (None: zero), for each contrast of the test."""
        pairs: list[tuple[dict, dict | None]] = [*pairwise(self.contrast.order)]
        pairs = pairs or [(a, self.contrast.b) for a in self.contrast.a]
        for metric in self.metric:
            for a, b in pairs:
                yield {**defaults, **self.contrast.both, "metric": metric, **a}, b


class Source(_Strict):
    """Where the paper says it, as far as it could be read."""

    kind: Literal["abstract", "introduction", "third_party", "ours"]
    where: str


class Weakened(_Strict):
    """The base encoders on which a claim gets at most *inconclusive*, and why these or none."""

    bases: list[str]
    reason: str = Field(min_length=1)

    def holds(self, table: pd.DataFrame) -> bool:
        """Tell whether the encoders of a table were tuned from one of these bases, whoever's copy of it that is."""
        names = table["base"].str.extract(r"([^/@]+)(?:@.*)?$", expand=False)  # of a folder or hub id with its revision
        return bool(names.isin(self.bases).any())


class Claim(_Strict):
    """One claim; supported when every test is, contradicted when any is. `chapter` is where the book argues about it."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    claim: str
    source: Source
    chapter: str = Field(pattern=r"^[a-z_]+$")
    needs: dict[str, Selection]
    weakened_on: Weakened
    tests: list[Comparison] = Field(min_length=1)


class Claims(_Strict):
    """The claims file, validated; `defaults` is what every side selects unless it says otherwise."""

    written: datetime.date
    before: str
    history: list[dict[Literal["date", "claim", "change"], str | datetime.date]]
    defaults: Selection = {}
    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_are_distinct(self) -> "Claims":
        ids = [claim.id for claim in self.claims]
        if len(set(ids)) < len(ids):
            raise ValueError(f"each id may be given once, got {ids}")
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
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None
    try:
        return Claims.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        if where[:1] == ["claims"] and len(where) > 1:
            claim = content["claims"][int(where[1])]
            where = [f"claim {claim['id'] if isinstance(claim, dict) and 'id' in claim else where[1]}", *where[2:]]
        raise ValueError(
            f"{path}: {'.'.join(where)}: {first['msg']} (got {first['input']!r}): correct the file"
        ) from None


class _MissingError(LookupError):
    """What a test asks for is not in the table."""


class _Summary(NamedTuple):
    case: dict[str, object]  # the filled columns that tell it from others
    layer: dict[str, str]  # of a summary over layers, which it was
    value: float
    replicates: Float[np.ndarray, " replicates"]
    seeds: int


class _Pair(NamedTuple):
    verdict: str
    slack: (
        float  # how far the interval lies inside the rule's region; negative where it crosses a border or lies outside
    )
    difference: tuple[float, float, float]
    side: str  # what was measured on side a, and
    against: str  # what it was compared with
    seeds: int  # averaged over
    test: Comparison

    @property
    def text(self) -> str:
        text = f"{self.side} against {self.against}: {number(*self.difference)} {self.test.margin.unit}, "
        text += f"rule {self.test.rule}, margin {self.test.margin.value:g}"
        return text + (f"; mean of {self.seeds} seeds, whose spread the interval leaves out" if self.seeds > 1 else "")


def verdicts(claims: Claims, table: pd.DataFrame, study: str) -> pd.DataFrame:
    """Judge every claim on the results of one study.

    Args:
        claims: What `load` gives.
        table: Merged tables with their replicates, as `tables.merge` gives them.
        study: Name of the study; rows of other studies are left out.

    Returns:
        `COLUMNS`, one row a claim. Effect and interval are those of the pair that decided: the one nearest to the rule's
        border, or deepest on its wrong side. `n_pairs` counts the pairs compared. Intervals cover the sentences, not the
        seeds, which are averaged.

    Raises:
        ValueError: Rows that cannot be told apart, a side b that fits a side a more than once, or replicates that cannot be
            paired.
    """
    return judge(claims, table, study)[0]


def pairs(claims: Claims, table: pd.DataFrame, study: str) -> pd.DataFrame:
    """Show the pairs behind the verdicts: what was compared with what, under which rule, and what came out.

    Args:
        claims: What `load` gives.
        table: As for `verdicts`.
        study: Name of the study.

    Returns:
        Columns `PAIRS`, a row a pair; claims that lack what they need have none.
    """
    return judge(claims, table, study)[1]


def judge(claims: Claims, table: pd.DataFrame, study: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare once, and give both: `verdicts` and `pairs`."""
    rows = _rows(table, study)
    tested = [(claim, *_tested(claim, rows, claims.defaults)) for claim in claims.claims]
    judged = [_judge(*one, study, one[0].weakened_on.holds(rows)) for one in tested]
    found = [
        (claim.id, p.side, p.against, *p.difference, p.test.margin.unit, p.test.rule, p.test.margin.value, p.seeds, p.verdict)
        for claim, pairs, _ in tested
        for p in pairs
    ]  # fmt: skip
    return pd.DataFrame(judged, columns=list(COLUMNS)).astype(COLUMNS), pd.DataFrame(found, columns=list(PAIRS))


def _rows(table: pd.DataFrame, study: str) -> pd.DataFrame:
    """Prepare a study's rows for many selections; similarity of the same layer only, as no claim is about layers across."""
    same = (table["reference_layer"].isna() | (table["reference_layer"] == table["layer"])).fillna(False)
    rows = table[same & (table["study"] == study)].copy()
    rows[_TEXT] = rows[_TEXT].replace("", pd.NA)
    for name, columns in (("case", _CASE), ("repeat", _REPEATS)):  # the filled columns of each kind, as one key
        filled = rows[columns].to_dict("records")
        rows[name] = [tuple((c, v) for c, v in row.items() if not pd.isna(v)) for row in filled]
    for column in {*tables.COLUMNS} - _NUMBERS:  # `test` also stands for `test[500]`
        cells = tables.whole_split(rows) if column == "split" else rows[column]
        rows[_BY + column] = cells.astype("category")
    return rows


_BY = "selected by "


def _tested(claim: Claim, table: pd.DataFrame, defaults: Mapping) -> tuple[list[_Pair], list[str]]:
    """Compare all pairs that a claim asks for; give them, and what is missing."""
    missing = [
        f"{what} (no rows with {_words(rows)})" for what, rows in claim.needs.items() if _select(table, rows).empty
    ]
    pairs: list[_Pair] = []
    for test, side, other in [] if missing else [(t, *sides) for t in claim.tests for sides in t.sides(defaults)]:
        try:
            pairs += _compare(table, side, other, test)
        except _MissingError as error:
            missing.append(str(error))
    return pairs, missing


def _judge(claim: Claim, pairs: list[_Pair], missing: list[str], study: str, weakened: bool) -> dict[str, object]:
    found = {pair.verdict for pair in pairs}
    if missing and "contradicted" not in found:
        why, numbers = f"Missing: {'; '.join(dict.fromkeys(missing))}.", (pd.NA,) * 3
        verdict = "not tested here"
    else:
        verdict = next(v for v in ("contradicted", "inconclusive", "supported") if v in found)
        decided = min((p for p in pairs if p.verdict == verdict), key=lambda p: p.slack)
        why, numbers = f"Deciding one of {len(pairs)} pairs: {decided.text}.", decided.difference
        if verdict != "inconclusive" and weakened:
            why = f"Would be {verdict}, but at most inconclusive on this base: {claim.weakened_on.reason}. {why}"
            verdict = "inconclusive"
    return dict(zip(COLUMNS, (claim.id, claim.claim, verdict, *numbers, len(pairs), why, study), strict=True))


def _compare(table: pd.DataFrame, side: dict, other: dict | None, test: Comparison) -> Iterator[_Pair]:
    """Pair each case of side a with the one of side b that agrees in every column b leaves alone; apply the rule."""
    lefts = _summaries(table, side)
    rights = [] if other is None else _summaries(table, side | other)
    named = {*(other or {})} | (
        {"split"} if "corpus" in (other or {}) else set()
    )  # another corpus has splits of its own
    for left in lefts:
        differs = [{c for c in left.case.keys() & r.case.keys() - named if left.case[c] != r.case[c]} for r in rights]
        fits = [r for r, columns in zip(rights, differs, strict=True) if not columns]
        if other is None:
            fits = [_Summary({}, {}, 0.0, np.zeros_like(left.replicates), 1)]
        if not fits:
            raise _MissingError(
                f"what to compare {_words(left.case)} with: side b differs in {sorted(set.union(*differs))}"
            )
        if len(fits) > 1:
            cases = " | ".join(_words(r.case) for r in fits)
            raise ValueError(
                f"{len(fits)} cases fit {_words(left.case)}: {cases}: name one of them in the claim's side b"
            )
        difference = intervals.difference(left.value, left.replicates, fits[0].value, fits[0].replicates)
        against = "zero" if other is None else _words({**other, **fits[0].layer})
        found = _apply(test.rule, test.margin.value, *difference[1:])
        yield _Pair(
            *found, difference, _words({**left.case, **left.layer}), against, max(left.seeds, fits[0].seeds), test
        )


def _apply(rule: str, margin: float, low: float, high: float) -> tuple[str, float]:
    """Say whether an interval lies inside a rule's region, outside or across its border; and how far inside."""
    start, end = (edge if np.isinf(edge) else edge * margin for edge in RULES[rule])
    inside, outside = start < low and high < end, high < start or low > end
    return "supported" if inside else "contradicted" if outside else "inconclusive", min(low - start, end - high)


def _select(table: pd.DataFrame, where: Mapping) -> pd.DataFrame:
    """Take the rows that a selection names."""
    keep = np.ones(len(table), bool)
    for column, wanted in where.items():
        if column == "layer" and wanted in LAYERS:
            continue
        cells, values = table[_BY + column], _listed(wanted)
        keep &= (cells.isin([v for v in values if v is not None]) | (cells.isna() & (None in values))).to_numpy()
    return table[keep]


def _summaries(table: pd.DataFrame, where: Mapping) -> list[_Summary]:
    """Select rows and average them over seeds and layers; one summary for each case."""
    rows = _select(table, where)
    if rows.empty:
        raise _MissingError(f"rows with {_words(where)}")
    summary = where.get("layer") if where.get("layer") in LAYERS else ""
    result = []
    for key, group in rows.groupby(["case"] if summary else ["case", "layer"], dropna=False, sort=False):
        case = dict(key[0]) | ({} if summary or pd.isna(key[1]) else {"layer": int(key[1])})
        name, label = _words(case), {}
        if summary:
            layers = _layers(table, where, case)
            group = group[group["layer"].isin(layers)]
            if absent := sorted(set(layers) - set(group["layer"])):
                raise _MissingError(f"layers {absent} of {name}")
            label = {"layer": f"{summary} ({layers[0]})" if len(layers) == 1 else summary}
        if twice := int(group.duplicated(["repeat", "layer"]).sum()):
            raise ValueError(f"{twice} rows of {name} occur twice: merge each table of a study once")
        repeats = group["repeat"].value_counts()
        if repeats.nunique() > 1:
            raise _MissingError(f"some seeds in some layers of {name}")
        if group["replicates"].isna().any():
            raise _MissingError(f"bootstrap replicates of {name}")
        if len(lengths := sorted(set(map(len, group["replicates"])))) > 1:
            raise ValueError(f"{name} has rows with {lengths} replicates: draw all of them alike, to average them")
        replicates = np.mean([np.asarray(r, float) for r in group["replicates"]], axis=0)
        result.append(_Summary(case, label, float(group["value"].mean()), replicates, len(repeats)))
    return result


def _layers(table: pd.DataFrame, where: Mapping, case: Mapping) -> list[int]:
    """List the layers of a summary; the best one is chosen on dev, where the corpus may be another."""
    depth = int(table["layer"].max()) if table["layer"].notna().any() else 0
    if depth < 2:
        raise _MissingError(f"layers to summarise of {_words(case)}")
    if where["layer"] == "best":
        dev = _select(
            table, {c: v for c, v in {**where, **case}.items() if c != "corpus"} | {"layer": "best", "split": "dev"}
        )
        if dev.empty:
            raise _MissingError(f"dev rows to choose the best layer of {_words(case)} on")
        return [int(dev.groupby("layer")["value"].mean().idxmax())]
    parts = {
        "bottom_half": range(1, depth // 2 + 1),
        "top_half": range(depth - depth // 2 + 1, depth + 1),
        "all": range(depth + 1),
        "last": range(depth, depth + 1),
    }
    return list(parts[where["layer"]])


def _words(selection: Mapping) -> str:
    return ", ".join(
        f"{c} {' or '.join('empty' if value is None else str(value) for value in _listed(v))}"
        for c, v in selection.items()
    )


def number(effect: float, low: float, high: float) -> str:
    """Write an effect with its interval."""
    return f"{effect:+.3f} [{low:+.3f}, {high:+.3f}]"
