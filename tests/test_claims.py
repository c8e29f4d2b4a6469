"""The claims file: the project's own is complete, and what cannot be understood is refused with the claim's name."""

import datetime
import subprocess
import sys

import pytest
import yaml
from planted_claims import claim, content

from bert_repro.files import ROOT
from bert_repro.results import claims, verdicts
from bert_repro.workflow import study

IDS = [claim.id for claim in claims.load().claims]


def test_project_claims_are_complete():
    loaded = claims.load()
    assert len(IDS) >= 12
    assert loaded.written == datetime.date(2026, 11, 23)
    for edit in loaded.history:
        assert edit["date"] >= loaded.written and edit["claim"] in {"all", *IDS} and edit["change"]
    raw = yaml.safe_load(claims.PATH.read_text())
    for c in raw["claims"]:
        assert set(c) - {"gates"} == {"id", "claim", "measured", "source", "chapter", "needs", "weakened_on", "tests"}
        for t in c["tests"]:
            assert {"contrast", "metric", "rule", "margin"} <= set(t) and set(t["margin"]) == {"value", "unit", "why"}
    assert [rule.verdict for rule in loaded.verdicts] == list(verdicts.ANSWERS)
    whatever_the_base = {c.id for c in loaded.claims if not c.weakened_on.bases}
    assert {"parsing-reinforces-syntax", "robust-to-measure", "similarity-predicts-function"} <= whatever_the_base


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_neutral_text_has_the_name_that_each_study_gives_it(path):
    loaded = {claim.id: claim for claim in claims.load().claims}
    corpora = {corpus.split(":")[0].split("[")[0] for corpus in study.load(path).similarity.corpora}
    assert len(corpora & set(loaded["top-layers-change-most"].tests[0].primary["corpus"])) == 1


def broken(path, change):
    made = content(claim(a={"task": "x"}))
    change(made)
    path.write_text(yaml.safe_dump(made))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["claims"][0].update(colour=1), r"claim planted\.colour: Extra inputs .* \(got 1\)"),
        (lambda c: c["claims"][0]["tests"][0].update(rul="x"), r"claim planted\.tests\.0\.rul: Extra inputs"),
        (lambda c: c["claims"][0]["tests"][0].update(rule="equal"), r"claim planted\.tests\.0\.rule: .*got 'equal'"),
        (lambda c: c["claims"][0]["tests"][0].pop("margin"), r"claim planted\.tests\.0\.margin: Field required"),
        (lambda c: c["claims"][0].pop("id"), r"claim 0\.id: Field required"),
        (lambda c: c["claims"].append("text"), r"claim 1: .*got 'text'"),
        (lambda c: c["claims"].append(c["claims"][0]), r"each id may be given once, got \['planted', 'planted'\]"),
        (
            lambda c: c["claims"][0]["tests"][0]["contrast"].update(a={"laier": 1}),
            r"no columns to select by: \['laier'\]",
        ),
        (
            lambda c: c["claims"][0]["tests"][0]["contrast"].update(a={"value": 1}),
            r"no columns to select by: \['value'\]",
        ),
        (lambda c: c["claims"][0]["tests"][0]["contrast"].update(a={"layer": "middle"}), r"unknown layer 'middle'"),
        (
            lambda c: c["claims"][0]["tests"][0]["contrast"].update(a={"layer": "best"}),
            r"needs `split: test` beside it",
        ),
        (lambda c: c["claims"][0]["tests"][0].update(rule="order"), r"expected `order` with two selections or more"),
        (
            lambda c: c["claims"][0]["tests"][0].update(contrast={"order": [{"task": "x"}, {"task": "y"}]}),
            r"expected `order`",
        ),
        (
            lambda c: c["claims"][0]["tests"][0].update(primary=None),
            r"claim planted: .*no test of the claim is primary: say which",
        ),
        (lambda c: c["claims"][0]["tests"][0]["margin"].update(unit=""), r"claim planted\.tests\.0\.margin\.unit: "),
        (
            lambda c: c["claims"][0].update(gates=["x"]),
            r"claim planted names gates that are not there: \['x'\]; there are \[\]",
        ),
        (lambda c: c.update(extra=1), r"extra: Extra inputs"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        claims.load(broken(tmp_path / "claims.yaml", change))


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no claims file .*the project's own is"):
        claims.load(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="is not valid YAML"):
        claims.load(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(ValueError, match="is not a claims file: .* got list"):
        claims.load(tmp_path / "list.yaml")


@pytest.mark.slow
def test_claims_start_without_tensorflow_and_plotly():
    code = "import sys; from bert_repro.results import claims; claims.load(); print({'tensorflow', 'keras', 'plotly'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
