"""The scorecard shows every claim with its verdict, and text as text."""

import re

import pandas as pd

from bert_repro.figures import scorecard
from bert_repro.results import claims


def judged(*verdicts, study="minilm"):
    known = claims.load().claims
    rows = [
        {"id": c.id, "claim": c.claim, "verdict": verdict, "effect": effect, "ci_low": effect, "ci_high": effect, "why": "So <b>it</b> is.",
         "study": study, "n_pairs": 1}
        for c, verdict in zip(known, (verdicts * len(known))[: len(known)], strict=True)
        for effect in [pd.NA if verdict == "not tested here" else 0.25]
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(claims.COLUMNS)).astype(claims.COLUMNS)


PAIRS = pd.DataFrame(
    [("no-forgetting", "uuas of a & b", "zero", 0.1, 0.05, 0.15, "share", "no_drop", 0.03, 1, "supported")],
    columns=["id", "measured", "against", "effect", "ci_low", "ci_high", "unit", "rule", "margin", "seeds", "verdict"],
)


def test_studies_stand_side_by_side_and_each_verdict_leads_to_its_claim():
    page = scorecard.table(
        {"minilm (published)": judged("supported"), "demo (your run)": judged("not tested here", "contradicted")},
        {"minilm (published)": "minilm/claims.html", "demo (your run)": "yours/claims.html"},
    )
    rows = re.findall(r"<tr>(.*?)</tr>", page)[1:]
    assert len(rows) == len(claims.load().claims)
    for row, claim in zip(rows, claims.load().claims, strict=True):
        links = re.findall(r'data-study="([^"]+)"><a href="([^"]+)">', row)
        assert links == [
            ("minilm (published)", f"minilm/claims.html#{claim.id}"),
            ("demo (your run)", f"yours/claims.html#{claim.id}"),
        ]
        assert "✓ supported" in row and "+0.250 [+0.250, +0.250]" in row
    assert "– not tested here" in rows[0] and "✗ contradicted" in rows[1]
    assert rows[0].count("<small>") == 1  # without a number where nothing was measured


def test_every_claim_has_a_section_with_its_margins_and_pairs():
    known = claims.load()
    page = scorecard.sections(known, judged("supported"), PAIRS)
    assert re.findall(r'<section class="claim" id="([^"]+)">', page) == [claim.id for claim in known.claims]
    first = page.split("</section>")[0]
    assert "1 pair compared" in first and "uuas of a &amp; b" in first and "+0.100 [+0.050, +0.150]" in first
    assert "margin 0.03 share of edges" in first and 'href="edge_probe.html"' in first
    assert "So &lt;b&gt;it&lt;/b&gt; is." in page and "<b>it" not in page
    assert "pairs compared" not in page.split("</section>")[1]  # nothing to show, nothing shown


def test_what_all_pairs_have_in_common_is_said_once():
    two = pd.concat([PAIRS.assign(measured=f"notebook x, corpus {corpus}, metric uuas") for corpus in ("a", "b")])
    page = scorecard.sections(claims.load(), judged("supported"), two).split("</section>")[0]
    assert (
        "2 pairs compared" in page
        and page.count("notebook x") == 1
        and "In all of them: notebook x, metric uuas." in page
    )
    assert "<td>corpus a</td>" in page and "<td>corpus b</td>" in page


def test_weakness_is_told_once():
    known = claims.load()
    capped = judged("inconclusive").assign(why=f"Would be supported: {known.claims[0].weakened_on.reason}. And so on.")
    assert scorecard.sections(known, judged("supported"), PAIRS).count("At most inconclusive on") == 8
    assert "At most inconclusive" not in scorecard.sections(known, capped, PAIRS).split("</section>")[0]


def test_every_later_edit_is_listed():
    known = claims.load()
    page = scorecard.history(known)
    assert page.count("<li>") == len(known.history) and known.before in page


def test_verdicts_are_counted():
    assert scorecard.counts(judged("contradicted", "supported", "supported")) == "8 supported, 4 contradicted"
