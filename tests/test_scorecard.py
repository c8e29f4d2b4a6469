"""The scorecard shows every claim with its verdict, and text as text."""

import re

import pandas as pd
import pytest

from bert_repro.figures import scorecard
from bert_repro.results import claims, verdicts


def judged(*given, study="minilm"):
    known = claims.load().claims
    rows = [
        {"id": c.id, "claim": c.claim, "verdict": verdict, "effect": effect, "ci_low": effect, "ci_high": effect, "why": "So <b>it</b> is.",
         "study": study, "n_pairs": 1, "answer": f"{verdicts.ANSWERS[verdict]}. <b>Numbers</b>.", "primary": True, "untested": ""}
        for c, verdict in zip(known, (given * len(known))[: len(known)], strict=True)
        for effect in [pd.NA if verdict == "not tested here" else 0.25]
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(verdicts.COLUMNS)).astype(verdicts.COLUMNS)


def pair(effect=0.1, low=0.05, high=0.15, primary=True, verdict="supported", measured="uuas of a & b", task="parsing"):
    return (
        "no-forgetting", primary, task, measured, "zero", effect, low, high, "share", "no_drop", 0.03, "3 against 5 seeds", 0.5, verdict
    )  # fmt: skip


PAIRS = pd.DataFrame([pair()], columns=list(verdicts.PAIRS))


def test_studies_stand_side_by_side_and_each_verdict_leads_to_its_claim():
    page = scorecard.table(
        claims.load().claims,
        {"minilm (published)": judged("supported"), "demo (your run)": judged("not tested here", "contradicted")},
        {"minilm (published)": "minilm/claims.html", "demo (your run)": "yours/claims.html"},
    )
    rows = re.findall(r"(?s)<tr>(.*?)</tr>", page)[1:]
    assert len(rows) == len(claims.load().claims)
    for row, claim in zip(rows, claims.load().claims, strict=True):
        links = re.findall(r'data-study="([^"]+)"><a href="([^"]+)">', row)
        assert links == [
            ("minilm (published)", f"minilm/claims.html#{claim.id}"),
            ("demo (your run)", f"yours/claims.html#{claim.id}"),
        ]
        assert "✓ supported" in row and "+0.250 [+0.250, +0.250]" in row
    assert "– not tested here" in rows[0] and "✗ contradicted" in rows[1]
    assert rows[0].count("<small>") == 2  # what is measured; and without a number where nothing was
    assert "each at its best layer; the claim allows a loss of less than 0.03 UUAS (or DSpr).</small>" in rows[0]
    assert "†" not in page


def test_a_verdict_tells_what_was_not_tested_and_whether_a_contrast_for_robustness_decided():
    page = scorecard.table(
        claims.load().claims, {"a": judged("contradicted").assign(primary=False, untested="SQuAD")}, PLACES
    )
    assert page.count("+0.250 [+0.250, +0.250] †</small> <small>without SQuAD</small>") == len(claims.load().claims)
    assert "† decided by a contrast for robustness" in page


PLACES = {"a": "a/claims.html", "b": "b/claims.html"}


def text(page):
    return " ".join(re.sub("<[^>]+>", "", page).split())


def test_each_study_names_the_claims_that_it_decides_and_leads_to_them():
    known = {"a": judged("supported", "contradicted"), "b": judged("inconclusive")}
    page = scorecard.answers(known, PLACES, {"a": 0, "b": 2}, [])
    first, second, *_ = [claim.id for claim in claims.load().claims]
    assert f'<a href="a/claims.html#{first}">{first.replace("-", " ")}</a>' in page
    said = text(page)
    assert said.startswith("The answer so far, on 12 claims: a: supported: no forgetting, ")
    assert said.index("; contradicted: ") < said.index(second.replace("-", " ")) < said.index("b: 12 inconclusive.")
    assert said.endswith("On this base, 2 cannot come out better than inconclusive, whatever is measured.")


def test_where_several_studies_decide_a_claim_the_page_says_whether_alike():
    known = {
        "a": judged("supported", "contradicted", "supported", "inconclusive"),
        "b": judged("supported", "supported", "inconclusive", "not tested here"),
    }
    said = text(scorecard.answers(known, PLACES, {"a": 0, "b": 0}, ["a", "b"]))
    ids = [claim.id.replace("-", " ") for claim in claims.load().claims]
    end = f"and alike: {', '.join(ids[0::4])}; differently: {', '.join(ids[1::4])}."
    assert said.endswith(f"Decided by more than one of the published studies, {end}")
    known["b"] = judged("inconclusive")
    said = text(scorecard.answers(known, PLACES, {"a": 0, "b": 0}, ["a", "b"]))
    assert said.endswith("No claim is decided by more than one of the published studies.")
    assert "more than one" not in text(scorecard.answers(known, PLACES, {"a": 0, "b": 0}, ["a"]))


def test_every_claim_has_a_section_with_its_margins_and_pairs():
    known = claims.load()
    further = [pair(primary=False)] * 3 + [pair(verdict="contradicted", primary=False)]
    page = scorecard.sections(
        known, judged("supported"), pd.DataFrame([pair(), *further], columns=list(verdicts.PAIRS))
    )
    assert re.findall(r'<section class="claim" id="([^"]+)">', page) == [claim.id for claim in known.claims]
    first = page.split("</section>")[0]
    assert "5 contrasts, the" in first and "uuas of a &amp; b" in first and "+0.100 [+0.050, +0.150]" in first
    assert "3 against 5 seeds" in first and "Further contrasts, each taken alone: 3 on its side, 1 against it." in first
    assert "margin 0.03 UUAS" in first and 'href="edge_probe.html"' in first
    assert "So &lt;b&gt;it&lt;/b&gt; is." in page and "<b>" not in page
    assert first.index("Yes. &lt;b&gt;Numbers") < first.index("<svg") < first.index("<details>")
    assert "<svg" not in page.split("</section>")[1]  # nothing to show, nothing shown


def test_many_contrasts_take_no_more_of_the_page_than_twenty():
    heights = [
        float(
            re.search(
                r'viewBox="0 0 \S+ (\S+)"',
                scorecard.picture(pd.DataFrame([pair(), *[pair(primary=False)] * n], columns=list(verdicts.PAIRS))),
            )[1]
        )
        for n in (2, 20, 88)
    ]
    assert heights[0] < heights[1] == heights[2]


def test_the_picture_has_every_contrast_in_its_place():
    rows = [
        pair(),
        pair(-0.1, -0.2, 0.0, verdict="inconclusive", task="squad"),
        *[pair(0.2, 0.1, 0.3, primary=False)] * 3,
    ]
    drawn = scorecard.picture(pd.DataFrame(rows, columns=list(verdicts.PAIRS)))
    assert (
        drawn.count("<circle") == 5
        and drawn.count('class="primary verdict-') == 2
        and drawn.count("further contrasts") == 1
    )
    at = [float(x) for x in re.findall(r'<circle cx="([^"]+)"', drawn)]
    shaded, width = map(float, re.search(r'class="holds" x="([^"]+)" y="14" width="([^"]+)"', drawn).groups())
    zero = float(re.search(r'class="zero" x1="([^"]+)"', drawn)[1])
    scale = (at[2] - at[1]) / 0.3  # pixels per unit
    assert at[0] - zero == pytest.approx(0.1 * scale, abs=0.3) and zero - shaded == pytest.approx(0.03 * scale, abs=0.3)
    assert shaded + width == scorecard.WIDTH - scorecard.RIGHT  # no end of a loss that is none
    heights = [float(y) for y in re.findall(r'cy="([^"]+)"', drawn)]
    assert heights == sorted(heights) and heights[-1] < float(re.search(r'viewBox="0 0 360 ([^"]+)"', drawn)[1])
    assert scorecard.picture(PAIRS[:0]) == ""


def test_rules_and_gates_are_laid_out():
    known = claims.load()
    page = scorecard.rules(known)
    assert (
        all(verdict in page for verdict in verdicts.ANSWERS)
        and "Holm" in page
        and page.count("at least") == len(known.gates)
    )


def test_what_all_pairs_have_in_common_is_said_once():
    two = pd.DataFrame(
        [pair(measured=f"notebook x, corpus {corpus}, metric uuas") for corpus in "ab"], columns=list(verdicts.PAIRS)
    )
    page = scorecard.sections(claims.load(), judged("supported"), two).split("</section>")[0]
    assert (
        "2 contrasts, the" in page
        and page.partition("<details>")[2].count("notebook x") == 1
        and "In all of them: notebook x, metric uuas." in page
    )
    assert "<td>corpus a</td>" in page and "<td>corpus b</td>" in page


def test_weakness_is_told_once():
    known = claims.load()
    capped = judged("inconclusive").assign(why=f"Would be supported: {known.claims[0].weakened_on.reason}. And so on.")
    assert scorecard.sections(known, judged("supported"), PAIRS).count("At most inconclusive on") == 9
    assert "At most inconclusive" not in scorecard.sections(known, capped, PAIRS).split("</section>")[0]


def test_every_later_edit_is_listed():
    known = claims.load()
    page = scorecard.history(known)
    assert page.count("<li>") == len(known.history) and known.before in page


def test_verdicts_are_counted():
    assert scorecard.counts(judged("contradicted", "supported", "supported")) == "8 supported, 4 contradicted"
