"""The scorecard: verdicts side by side, and a card for each claim with its answer, its contrasts and how it was tested."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from bert_repro.figures.templates import render
from bert_repro.results import claims, verdicts

SIGNS = {"supported": "✓", "contradicted": "✗", "inconclusive": "≈", "not tested here": "–"}  # beside colour and word
DECIDED = ("supported", "contradicted")


def table(known: Sequence[claims.Claim], judged: Mapping[str, pd.DataFrame], places: Mapping[str, str]) -> str:
    """Lay the verdicts of studies side by side, a claim a row, with what the numbers are.

    Args:
        known: The claims that are shown.
        judged: Verdicts, as `verdicts.verdicts` gives them, by the heading of their column.
        places: For each heading the address of the page where its claims are argued one by one.

    Returns:
        HTML; each verdict leads to its claim's section.
    """
    by_claim = {name: frame.set_index("id") for name, frame in judged.items()}
    rows: list[dict[str, Any]] = [
        {
            "claim": claim,
            "asked": verdicts.asked(next(test for test in claim.tests if test.primary is not None)),
            "cells": [
                {
                    "study": name,
                    "address": f"{places[name]}#{claim.id}",
                    "verdict": frame.loc[claim.id, "verdict"],
                    "number": _number(frame.loc[claim.id]),
                    "robustness": not frame.loc[claim.id, "primary"],
                    "untested": frame.loc[claim.id, "untested"],
                }
                for name, frame in by_claim.items()
            ],
        }
        for claim in known
    ]
    marked = any(cell["robustness"] for row in rows for cell in row["cells"])
    return render("scorecard", studies=list(judged), rows=rows, signs=SIGNS, marked=marked)


def sections(known: claims.Claims, judged: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """Show each claim with its answer in one sentence, a picture of its contrasts, and how it was tested.

    Args:
        known: The claims.
        judged: Their verdicts on a study.
        pairs: The contrasts that `verdicts.judge` gives for the same study.

    Returns:
        HTML, a section per claim, whose id is the claim's.
    """
    verdict = judged.set_index("id")
    return "".join(_section(claim, verdict.loc[claim.id], pairs[pairs["id"] == claim.id]) for claim in known.claims)


def rules(known: claims.Claims) -> str:
    """Show when each verdict is given, and what a study must have reached: two tables, as HTML."""
    return render("rules", known=known, signs=SIGNS)


def history(known: claims.Claims) -> str:
    """List the later edits of the claims file, as HTML."""
    return render("history", known=known)


def counts(judged: pd.DataFrame) -> str:
    """Count verdicts in words: `2 supported, 1 contradicted, 9 inconclusive`."""
    numbers = judged["verdict"].value_counts()
    return ", ".join(f"{numbers[verdict]} {verdict}" for verdict in SIGNS if verdict in numbers)


def answers(
    judged: Mapping[str, pd.DataFrame], places: Mapping[str, str], weakened: Mapping[str, int], alike: Sequence[str]
) -> str:
    """Say which claims each study decides, and on which of them several studies agree.

    Args:
        judged: As for `table`.
        places: As for `table`.
        weakened: For each heading how many claims its base weakens.
        alike: Headings of the studies between which agreement is looked for; of fewer than two nothing is said.

    Returns:
        HTML; a claim is named by its id, in words, and leads to its section.
    """
    verdict = pd.DataFrame({name: frame.set_index("id")["verdict"] for name, frame in judged.items()})
    decided = verdict.where(verdict.isin(DECIDED))
    studies = [
        {
            "name": name,
            "place": places[name],
            "decided": {word: list(decided.index[decided[name] == word]) for word in DECIDED},
            "rest": counts(frame[~frame["verdict"].isin(DECIDED)]),
            "weakened": weakened[name],
        }
        for name, frame in judged.items()
    ]
    several = decided[list(alike)][decided[list(alike)].count(axis=1) > 1]
    agree = several.nunique(axis=1) == 1
    return render(
        "answers",
        count=len(verdict),
        studies=studies,
        several=len(alike) > 1,
        agree=list(several.index[agree]),
        differ=list(several.index[~agree]),
        place=places[alike[0]] if alike else "",
    )


def _number(row: Any) -> str:
    return "" if pd.isna(row.effect) else verdicts.number(row.effect, row.ci_low, row.ci_high)


def _section(claim: claims.Claim, judged: Any, pairs: pd.DataFrame) -> str:
    margins = {(test.margin.value, test.margin.unit, test.margin.why): (test.rule, test.margin) for test in claim.tests}
    parts = [measured.split(", ") for measured in pairs["measured"]]
    # what all pairs have in common is said once
    common = [part for part in parts[0] if all(part in own for own in parts)] if len(parts) > 1 else []
    rows = [
        row | {"measured": ", ".join(part for part in own if part not in common), "number": _number(pd.Series(row))}
        for row, own in zip(pairs.to_dict("records"), parts, strict=True)
    ]
    return render(
        "claim",
        claim=claim,
        judged=judged,
        margins=list(margins.values()),
        picture=Markup(picture(pairs)),
        pairs=rows,
        common=common,
        further=pairs.loc[~pairs["primary"], "verdict"].value_counts().to_dict(),
        signs=SIGNS,
    )


LEFT, WIDTH, RIGHT = 96, 360, 8  # of a picture: where its axis begins, how wide it is, and what is left at its right
LABEL = 32  # half of what "the claim holds" takes
TALL, LOW, MOST = 22, 6, 120  # heights: of a row of a primary contrast, at most of one of another, and of all others


def picture(pairs: pd.DataFrame) -> str:
    """Draw contrasts as dots with their intervals, the primary ones first, and shade the region in which the claim holds.

    Args:
        pairs: The contrasts of one claim, as `verdicts.judge` gives them.

    Returns:
        An SVG that takes its colours from the page; empty without a contrast.
    """
    if pairs.empty:
        return ""
    primary = pairs.sort_values("primary", ascending=False, kind="stable")
    leading = primary.iloc[0]
    start, end = (edge * leading.margin if np.isfinite(edge) else edge for edge in claims.RULES[leading.rule])
    numbers = [*pairs["ci_low"], *pairs["ci_high"], 0.0, *(edge for edge in (start, end) if np.isfinite(edge))]
    low, high = min(numbers), max(numbers)
    room = 0.06 * (high - low) or 0.01
    low, high = low - room, high + room

    def across(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    count = int(pairs["primary"].sum())
    secondary = len(pairs) - count
    low_row = min(LOW, MOST / max(secondary, 1))
    tall = 20 + TALL * count
    bottom = round(tall + (8 + low_row * secondary if secondary else 0), 1)
    dots = [
        {
            "primary": row.primary,
            "verdict": row.verdict.split()[0],
            "title": f"{row.measured} against {row.against}: {_number(row)}",
            "low": across(row.ci_low),
            "x": across(row.effect),
            "high": across(row.ci_high),
            "y": 14 + TALL * (n + 0.5) if row.primary else tall + 8 + low_row * (n - count),
            "task": row.task or "all models",
        }
        for n, row in enumerate(primary.itertuples())
    ]
    values = [low + room, *([0.0] if low + room < 0 < high - room else []), high - room]
    ticks = [
        (across(value), value)
        for n, value in enumerate(values)
        if n == 0 or across(value) - across(values[n - 1]) > 30  # else numbers would overlap
    ]
    return render(
        "contrasts",
        label=f"{len(pairs)} contrasts with 95 % intervals, {count} of them primary, in {leading.unit}",
        left=LEFT,
        width=WIDTH,
        tall=tall,
        bottom=bottom,
        start=across(start),
        end=across(end),
        label_at=min(max((across(start) + across(end)) / 2, LEFT + LABEL), WIDTH - LABEL),
        zero=across(0),
        dots=dots,
        ticks=ticks,
    )
