"""The scorecard: hides how verdicts and what is behind them are laid out for the book.

It refuses nothing: a claim without a verdict says that it was not tested.
"""

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bert_repro.results import claims

SIGNS = {"supported": "✓", "contradicted": "✗", "inconclusive": "≈", "not tested here": "–"}  # beside colour and word


def table(judged: Mapping[str, pd.DataFrame], places: Mapping[str, str]) -> str:
    """Lay the verdicts of studies side by side, a claim a row.

    Args:
        judged: Verdicts, as `claims.verdicts` gives them, by the heading of their column.
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
    """Show each claim with its verdict, what decided it, and every pair that tests it.

    Args:
        known: The claims.
        judged: Their verdicts on a study.
        pairs: What `claims.pairs` gives for the same study.

    Returns:
        HTML, a section a claim, whose id is the claim's.
    """
    verdict = judged.set_index("id")
    return "".join(_section(claim, verdict.loc[claim.id], pairs[pairs["id"] == claim.id]) for claim in known.claims)


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


def _badge(row: Any) -> str:
    number = "" if pd.isna(row.effect) else f"<small>{claims.number(row.effect, row.ci_low, row.ci_high)}</small>"
    word = f'<span class="verdict {row.verdict.split()[0]}">{SIGNS[row.verdict]} {row.verdict}</span>'
    return f"{word} {number}"


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
    return (
        f'<section class="claim" id="{claim.id}"><h3>{html.escape(claim.claim)}</h3><p>{_badge(judged)}</p>'
        f"<p>{html.escape(judged.why)}</p>{weak}<p>Source: {html.escape(source)}. "
        f'Argued in <a href="{claim.chapter}.html">{claim.chapter.replace("_", " ")}</a>.</p><ul>{said}</ul>{_pairs(pairs)}</section>'
    )


def _pairs(pairs: pd.DataFrame) -> str:
    """List the pairs of a claim; what all of them have in common is said once."""
    if pairs.empty:
        return ""
    parts = [measured.split(", ") for measured in pairs["measured"]]
    common = [part for part in parts[0] if len(parts) > 1 and all(part in other for other in parts)]
    rows = "".join(
        f"<tr><td>{html.escape(', '.join(part for part in mine if part not in common))}</td><td>{html.escape(p.against)}</td>"
        f'<td class="number">{claims.number(p.effect, p.ci_low, p.ci_high)}</td><td>{p.rule}, {p.margin:g}</td>'
        f'<td class="number">{SIGNS[p.verdict]} {p.verdict}</td></tr>'
        for p, mine in zip(pairs.itertuples(), parts, strict=True)
    )
    told = f"<p>In all of them: {html.escape(', '.join(common))}.</p>" if common else ""
    heads = "".join(
        f"<th>{head}</th>" for head in ("measured", "against", "difference [95 % interval]", "rule, margin", "verdict")
    )
    return (
        f"<details><summary>{len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'} compared</summary>{told}"
        f'<div class="scrolls" tabindex="0"><table class="dataframe"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )
