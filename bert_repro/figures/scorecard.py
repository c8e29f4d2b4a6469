"""The scorecard: verdicts side by side, and a card for each claim with its answer, its contrasts and how it was tested."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bert_repro.results import claims, verdicts

SIGNS = {"supported": "✓", "contradicted": "✗", "inconclusive": "≈", "not tested here": "–"}  # beside colour and word


def table(judged: Mapping[str, pd.DataFrame], places: Mapping[str, str]) -> str:
    """Lay the verdicts of studies side by side, a claim a row.

    Args:
        judged: Verdicts, as `verdicts.verdicts` gives them, by the heading of their column.
        places: For each heading the address of the page where its claims are argued one by one.

    Returns:
        HTML; each verdict leads to its claim's section.
    """
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in judged)
    by_claim = {name: frame.set_index("id") for name, frame in judged.items()}
    lines = []
    for row in next(iter(judged.values())).itertuples():
        cells = "".join(
            f'<td data-study="{html.escape(name)}"><a href="{places[name]}#{row.id}">{_badge(frame.loc[row.id])}</a></td>'
            for name, frame in by_claim.items()
        )
        lines.append(f'<tr><th scope="row">{html.escape(row.claim)}</th>{cells}</tr>')
    return (
        f'<table class="scorecard"><thead><tr><th>claim</th>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    )


def sections(known: claims.Claims, judged: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """Show each claim with its answer in one sentence, a picture of its contrasts, and how it was tested.

    Args:
        known: The claims.
        judged: Their verdicts on a study.
        pairs: What `verdicts.pairs` gives for the same study.

    Returns:
        HTML, a section per claim, whose id is the claim's.
    """
    verdict = judged.set_index("id")
    return "".join(_section(claim, verdict.loc[claim.id], pairs[pairs["id"] == claim.id]) for claim in known.claims)


def rules(known: claims.Claims) -> str:
    """Show when each verdict is given, and what a study must have reached: two tables, as HTML."""
    given = "".join(
        f"<tr><td>{_verdict(rule.verdict)}</td><td>{html.escape(rule.when)}</td></tr>" for rule in known.verdicts
    )
    asked = "".join(
        f"<tr><td>{html.escape(', '.join(gate.tasks) or 'claims about probes')}</td><td>at least {gate.least.value:g} "
        f"{html.escape(gate.least.unit)}</td><td>{html.escape(gate.least.why)}</td></tr>"
        for gate in known.gates.values()
    )
    return (
        f'<table class="rules"><thead><tr><th>verdict</th><th>when</th></tr></thead><tbody>{given}</tbody></table>'
        f'<table class="rules"><thead><tr><th>gate of</th><th>mean over seeds</th><th>why so much</th></tr></thead><tbody>{asked}</tbody></table>'
    )


def history(known: claims.Claims) -> str:
    """List the later edits of the claims file, as HTML."""
    items = "".join(
        f"<li>{one['date']}, <i>{html.escape(str(one['claim']))}</i>: {html.escape(str(one['change']))}</li>"
        for one in known.history
    )
    return f"<p>Written {known.written}. {html.escape(known.before)} Edits since:</p><ul>{items}</ul>"


def counts(judged: pd.DataFrame) -> str:
    """Count verdicts in words: `2 supported, 1 contradicted, 9 inconclusive`."""
    found = judged["verdict"].value_counts()
    return ", ".join(f"{found[verdict]} {verdict}" for verdict in SIGNS if verdict in found)


def _verdict(verdict: str) -> str:
    return f'<span class="verdict {verdict.split()[0]}">{SIGNS[verdict]} {verdict}</span>'


def _badge(row: Any) -> str:
    number = "" if pd.isna(row.effect) else f"<small>{verdicts.number(row.effect, row.ci_low, row.ci_high)}</small>"
    return f"{_verdict(row.verdict)} {number}"


def _section(claim: claims.Claim, judged: Any, pairs: pd.DataFrame) -> str:
    weak = ""
    if claim.weakened_on.bases and claim.weakened_on.reason not in judged.why:
        where = " or ".join(claim.weakened_on.bases)
        weak = f"<p>At most inconclusive on the base {where}: {html.escape(claim.weakened_on.reason)}.</p>"
    margins = {(test.margin.value, test.margin.unit, test.margin.why): test.rule for test in claim.tests}
    said = "".join(
        f"<li>Rule <i>{rule}</i>, margin {value:g} {html.escape(unit)}: {html.escape(why)}</li>"
        for (value, unit, why), rule in margins.items()
    )
    source = f"{claim.source.kind.replace('_', ' ')}: {claim.source.where}"
    shown = ""
    if judged.verdict != "not tested here":  # or its chapter may not even be there
        against = " After Holm's correction one speaks against it." * judged.why.startswith("Contradicted for")
        others = f"<p>{judged.agree} of {judged.others} further contrasts agree.{against}</p>" if judged.others else ""
        place = f'<a href="{claim.chapter}.html">{claim.chapter.replace("_", " ")}</a>'
        shown = f"{picture(pairs)}{others}<p>Discussed in {place}.</p>"
    return (
        f'<section class="claim" id="{claim.id}"><h3>{html.escape(claim.claim)}</h3>'
        f'<p>{_verdict(judged.verdict)}</p><p class="answer">{html.escape(judged.answer)}</p>{shown}'
        f"<details><summary>How it was tested</summary><p>{html.escape(judged.why)}</p>{weak}"
        f"<p>Source: {html.escape(source)}.</p><ul>{said}</ul>{_pairs(pairs)}</details></section>"
    )


LEFT, WIDTH, RIGHT = 96, 360, 8  # of a picture: where its axis begins, how wide it is, and what is left at its right
TALL, LOW = 22, 6  # heights of the rows of a primary and of another contrast


def picture(pairs: pd.DataFrame) -> str:
    """Draw contrasts as dots with their intervals, the primary ones first, and shade where the claim wants those to lie.

    Args:
        pairs: Of one claim, as `verdicts.pairs` gives them.

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
    others = len(pairs) - count
    tall = 20 + TALL * count
    bottom = tall + (8 + LOW * others if others else 0)
    drawn = [
        f'<rect class="holds" x="{across(start)}" y="14" width="{round(across(end) - across(start), 1)}" height="{tall - 14}"/>',
        f'<text class="note" x="{(across(start) + across(end)) / 2:.1f}" y="10" text-anchor="middle">the claim holds</text>',
        f'<line class="zero" x1="{across(0)}" x2="{across(0)}" y1="14" y2="{bottom}"/>',
    ]
    for n, row in enumerate(primary.itertuples()):
        y = 14 + TALL * (n + 0.5) if row.primary else tall + 8 + LOW * (n - count)
        kind = "primary" if row.primary else "other"
        shown = html.escape(
            f"{row.measured} against {row.against}: {verdicts.number(row.effect, row.ci_low, row.ci_high)}"
        )
        drawn.append(
            f'<g class="{kind} verdict-{row.verdict.split()[0]}"><title>{shown}</title>'
            f'<line x1="{across(row.ci_low)}" x2="{across(row.ci_high)}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle cx="{across(row.effect)}" cy="{y:.1f}" r="{4 if row.primary else 2}"/></g>'
        )
        if row.primary:
            drawn.append(
                f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{html.escape(row.task or "all models")}</text>'
            )
    if others:
        middle = (tall + bottom) / 2 + 8
        drawn.append(f'<text class="note" x="{LEFT - 8}" y="{middle:.1f}" text-anchor="end">further contrasts</text>')
    ticks = [low + room, *([0.0] if low + room < 0 < high - room else []), high - room]
    drawn += [
        f'<text class="tick" x="{across(tick)}" y="{bottom + 14}" text-anchor="middle">{tick:+.2f}</text>'
        for n, tick in enumerate(ticks)
        if n == 0 or across(tick) - across(ticks[n - 1]) > 30
    ]
    label = html.escape(f"{len(pairs)} contrasts with 95 % intervals, {count} of them primary, in {leading.unit}")
    return f'<svg class="contrasts" role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {bottom + 20}">{"".join(drawn)}</svg>'


def _pairs(pairs: pd.DataFrame) -> str:
    """List the pairs of a claim; what all of them have in common is said once."""
    if pairs.empty:
        return ""
    parts = [measured.split(", ") for measured in pairs["measured"]]
    common = [part for part in parts[0] if len(parts) > 1 and all(part in other for other in parts)]
    rows = "".join(
        f"<tr{' class=primary' * p.primary}><td>{html.escape(', '.join(part for part in mine if part not in common))}</td><td>{html.escape(p.against)}</td>"
        f'<td class="number">{verdicts.number(p.effect, p.ci_low, p.ci_high)}</td><td>{p.seeds}</td><td>{p.rule}, {p.margin:g}</td>'
        f'<td class="number">{SIGNS[p.verdict]} {p.verdict}</td></tr>'
        for p, mine in zip(pairs.itertuples(), parts, strict=True)
    )
    told = f"<p>In all of them: {html.escape(', '.join(common))}.</p>" if common else ""
    heads = "".join(
        f"<th>{head}</th>"
        for head in ("measured", "against", "difference [95 % interval]", "seeds", "rule, margin", "its interval alone")
    )
    return (
        f"<p>{len(pairs)} {'contrast' if len(pairs) == 1 else 'contrasts'}, the primary ones marked.</p>{told}"
        f'<div class="scrolls" tabindex="0"><table class="dataframe"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
