"""Controls of tasks: partial input hides the first side, nothing takes a control for a tuned encoder, differences are paired."""

import numpy as np
import pandas as pd
import pytest
from test_scores import measured, tuned

from bert_repro import checkpoints, corpora, finetune
from bert_repro.finetune import TASKS
from bert_repro.finetune.batches import Examples
from bert_repro.results import claims, controls, scores, tables
from bert_repro.results.selection import Rows

LABELS = corpora.LABELS
WORDS = ("red", "green", "blue")


# ---- partial input


@pytest.fixture(scope="module")
def tokenizer():
    return checkpoints.open("tiny").tokenizer


@pytest.mark.parametrize(("task", "text"), [("nli", "mnli:dev[12]"), ("squad", "squad:dev[6]")])
def test_partial_input_is_the_second_side_and_nothing_else(tokenizer, task, text):
    whole, partial = (Examples(one, text, tokenizer, 200) for one in (TASKS[task], TASKS[task].partially()))
    assert partial.digest == whole.digest and partial.items == whole.items  # resampled alike
    assert partial.parts == whole.parts and partial.owners == whole.owners
    for part, one, both in zip(partial.parts, partial.inputs, whole.inputs, strict=True):
        (alone,) = tokenizer([list(part.second)], is_split_into_words=True)["input_ids"]
        assert one.token_ids.tolist() == alone and not one.segment_ids.any()
        assert both.token_ids.tolist()[-len(alone) + 1 :] == alone[1:] and len(both.token_ids) > len(alone)


def test_answers_stand_where_they_did_in_a_passage_without_its_question(tokenizer):
    examples = Examples(TASKS["squad"].partially(), "squad:dev[12]", tokenizer, 200)
    head, found = TASKS["squad"].head(), 0
    _, targets = head.arrays(examples.parts, examples.inputs, 200)
    for part, one, start, end in zip(examples.parts, examples.inputs, targets["start"], targets["end"], strict=True):
        words = [np.flatnonzero(one.starts <= piece)[-1] - 1 for piece in (start, end)]  # [CLS] is the first row
        if start:
            first, last = part.offsets[words[0]][0], part.offsets[words[1]][1]
            assert any(text in part.context[first:last] for text, _ in part.answers)
            found += 1
    assert found > 6


def planted(folder, side):
    """Write pairs of colours whose label is that of one side; each colour of the other stands with each label once."""
    rows = [(WORDS[n], WORDS[m], LABELS[n if side == "premise" else m]) for n in range(3) for m in range(3)]
    lines = ["premise\thypothesis\tlabel", *("\t".join(row) for row in rows)]
    path = folder / f"{side}.tsv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(("side", "right"), [("hypothesis", 1), ("premise", 1 / 3)])
def test_of_the_hypothesis_alone_what_depends_on_it_is_learned_and_nothing_of_the_premise(tmp_path, side, right):
    text = planted(tmp_path, side)
    settings = {"updates": 40, "batch_size": 9, "learning_rate": 1e-2, "head_learning_rate": 1e-2, "evaluations": 1}
    recipe = finetune.Recipe("nli", text, text, control="partial_input", **settings)
    row = finetune.train("tiny", recipe, resamples=100).rows[0]
    assert row["metric"] == "accuracy" and row["value"] == pytest.approx(right)


def test_controls_that_cannot_be_are_refused():
    with pytest.raises(
        ValueError, match=r"^unknown control 'x': expected one of \['partial_input', 'untrained'\], or nothing$"
    ):
        finetune.Recipe("nli", "a", "b", updates=1, control="x")
    with pytest.raises(
        ValueError,
        match="^dependency parsing has no partial input, as its items have one side: expected one of nli, squad$",
    ):
        finetune.Recipe("parsing", "a", "b", updates=1, control="partial_input")
    recipe = finetune.Recipe("nli", "mnli:train[9]", "mnli:dev[9]", updates=1, control="untrained")
    with pytest.raises(
        ValueError, match="^the control `untrained` needs an encoder that learned nothing, as untrained:tiny$"
    ):
        finetune.train("tiny", recipe)


def test_a_recipe_says_what_its_rows_are():
    plain, *others = (finetune.Recipe("nli", "a", "b", updates=1, control=name) for name in ("", *controls.CONTROLS))
    assert (plain.role, plain.method) == ("score", "fine-tuning")
    assert [(one.role, one.method) for one in others] == [("control", name) for name in controls.CONTROLS.values()]


# ---- tables

UNTRAINED = {"role": "control", "method": controls.CONTROLS["untrained"], "name": "parsing-untrained-1"}
CHAIN = {"role": "baseline", "method": "chain of words", "name": "chain of words"}
NOBODY = {"seed": None, "updates": None}


def study():
    """Two seeds, and what stands beside them, of which the first seed's twin also has other weights."""
    plain = [*tuned(1, measured(0.8, split="dev"), measured(0.8)), *tuned(2, measured(0.9, split="dev"), measured(0.9))]
    moved = {"layer": 1, "metric": "relative_l2", "value": 0.1, "method": "weights"}
    plain += tuned(1, moved)
    beside = [*tuned(1, measured(0.3, split="dev"), measured(0.3, seed=5), **UNTRAINED)]
    beside += tuned(1, moved, name=UNTRAINED["name"], role="control")
    beside += tuned(1, measured(0.05, split="dev") | NOBODY, measured(0.05) | NOBODY, **CHAIN, changed=None)
    return tables.tidy(plain), tables.tidy([*plain, *beside])


def test_nothing_takes_a_control_or_a_baseline_for_a_tuned_encoder():
    plain, table = study()
    for of in (scores.tunings, lambda table: scores.main(scores.whole(scores.held_out(scores.tunings(table))))):
        pd.testing.assert_frame_equal(of(table), of(plain))
    assert (
        scores.held_out(table)["role"] == "control"
    ).sum() == 1  # what a gate's score has to lie above is held out, too
    both = [scores.weights(scores.tunings(one))[0] for one in (table, plain)]
    pd.testing.assert_frame_equal(*both)


def test_no_claim_selects_controls_or_baselines():
    plain, table = study()
    learned = [gate.score for gate in claims.load().gates.values() if "finetune" in gate.score.get("notebook", [])]
    assert {where["metric"] for where in learned} == {"las", "accuracy", "f1"}
    for where in learned:
        chosen = Rows(table).select(where)
        np.testing.assert_array_equal(chosen, Rows(plain).select(where))
        assert len(chosen) == 2 or where["metric"] != "las"


def test_what_stands_beside_a_score_is_of_the_same_text_and_metric():
    _, table = study()
    beside = controls.beside(table, scores.held_out(scores.tunings(table)))
    assert beside[["role", "method", "split"]].values.tolist() == [
        ["control", controls.CONTROLS["untrained"], "test"],
        ["baseline", "chain of words", "test"],
    ]
    marks = controls.as_marks(beside)
    assert {*marks["role"]} == {"baseline"} and marks["seed"].isna().all()


def test_what_came_from_pre_training_is_a_paired_difference_of_one_seed():
    _, table = study()
    chosen = scores.held_out(scores.tunings(table))
    (found,) = controls.from_pre_training(table, chosen).to_dict("records")
    one = chosen[chosen["seed"] == 1].iloc[0]
    other = table[(table["model"] == UNTRAINED["name"]) & (table["split"] == "test")].iloc[0]
    assert found["model"] == "parsing-1" and found["value"] == pytest.approx(0.5)
    np.testing.assert_allclose(found["replicates"], one["replicates"] - other["replicates"], atol=1e-6)
    assert found["ci_low"] < 0.5 < found["ci_high"]


def test_without_an_untrained_encoder_nothing_is_said_of_pre_training():
    plain, _ = study()
    chosen = scores.held_out(scores.tunings(plain))
    assert controls.from_pre_training(plain, chosen).empty and controls.beside(plain, chosen).empty
    assert controls.summary(plain, chosen).empty


def test_a_summary_says_of_every_score_what_was_measured_beside_it_and_what_was_not():
    _, table = study()
    other = tables.tidy(tuned(1, measured(0.6, "mnli"), task="nli", metric="accuracy"))
    table = pd.concat([table, other], ignore_index=True)
    told = controls.summary(table, scores.held_out(scores.tunings(table)))
    parsing, nli = told.to_dict("records")
    assert [*told.index] == [("ewt", "las"), ("mnli", "accuracy")]
    assert parsing["score"] == "0.850" and parsing["without an encoder"] == "0.050 (chain of words)"
    assert parsing["untrained encoder, same updates"] == "0.300"
    assert parsing["second side alone"] == controls.NOT_MEASURED
    assert parsing["from pre-training"].startswith("0.500 [0.4") and parsing["from pre-training"].endswith("]")
    assert {*nli.values()} == {"0.600", controls.NOT_MEASURED}
