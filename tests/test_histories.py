"""The history of an encoder: what comes in which order, and how far one fine-tuning is, measured in pre-training."""

import pandas as pd
import pytest

from bert_repro import figures
from bert_repro.results import histories


def rows(**columns):
    """Tidy rows of scores, a column per keyword; where none is given, of RSA with the base."""
    return pd.DataFrame(
        {"role": "score", "metric": "similarity", "ci_low": pd.NA, "ci_high": pd.NA, "n": 5} | columns
    ).convert_dtypes()


HISTORY = rows(
    model=["b", "a", "untrained", "base", "tuned", "far"],
    task=["masked_words", "masked_words", pd.NA, pd.NA, "nli", "squad"],
    updates=[100, 0, pd.NA, pd.NA, 900, 900],
    layer=[1] * 6,
    value=[0.6, 0.2, 0.0, 1.0, 0.8, 0.1],
)


def test_encoders_come_in_the_order_in_which_they_were_made():
    order = histories.stations(HISTORY)
    assert order.index.tolist() == ["a", "b", "base", "tuned", "far"]
    assert order["kept"].tolist() == [True, True, True, False, False]
    assert order["updates"].tolist()[:2] == [0, 100] and order["updates"][2:].isna().all()  # 900 are updates of tuning


def test_a_tuned_encoder_is_placed_on_the_straight_line_between_two_checkpoints():
    """RSA with the end: .2 at the start, .6 after 100 of 300 updates, 1 at the end. So .8 was reached half way to the end."""
    far = histories.as_far_from_the_end(HISTORY[HISTORY["model"] != "base"], last=300).set_index("model")
    assert far.loc["tuned", "updates"] == pytest.approx(200) and far.loc["tuned", "left"] == pytest.approx(1 / 3)
    told = "- tuned (900 updates of tuning): layer 1 at about 200 (RSA 0.80)"
    assert histories.in_words(far.reset_index()).splitlines()[0] == told


def test_what_is_farther_than_the_first_checkpoint_has_no_place():
    far = histories.as_far_from_the_end(HISTORY, last=300)
    assert pd.isna(far.set_index("model").loc["far", "updates"])
    assert "layer 1 before the first checkpoint (RSA 0.10)" in histories.in_words(far)


def test_of_several_passages_the_last_counts():
    """A similarity that rises, falls and rises again: from the last passage on, the encoder was more alike."""
    there_and_back = rows(
        model=["a", "b", "c", "tuned"], task=["masked_words"] * 3 + ["nli"], updates=[0, 10, 20, 5], layer=0, value=[0.1, 0.9, 0.3, 0.5],
    )  # fmt: skip
    assert histories.as_far_from_the_end(there_and_back, last=27)["updates"].tolist() == pytest.approx([22])


def test_the_end_of_a_history_is_like_itself():
    kept = HISTORY[HISTORY["model"].isin(["a", "b"])]
    both = pd.concat([kept, kept.assign(layer=2)]).convert_dtypes()
    whole = histories.to_the_end(both)
    assert whole[whole["model"] == "base"][["layer", "value"]].values.tolist() == [[1, 1.0], [2, 1.0]]
    assert len(whole) == 6 and whole[whole["model"] == "base"]["task"].isna().all()


def test_what_an_encoder_could_do_is_one_value_an_encoder_and_layer():
    table = pd.DataFrame(
        {
            "role": "score",
            "rows": pd.NA,
            "model": "a",
            "split": ["dev", "test", "test", "test", "test", pd.NA],
            "probe": ["structural", "structural", "structural", "linear", "linear", pd.NA],
            "target": ["distance", "distance", "distance", "upos", "upos", "masked_words"],
            "method": [pd.NA, pd.NA, pd.NA, "single layer", "mix of the layers up to this one", "masked words"],
            "metric": ["uuas", "uuas", "dspr", "accuracy", "accuracy", "masked_word_loss"],
            "value": [0.1, 0.2, 0.3, 0.4, 0.6, 0.5],
        }
    )
    assert histories.abilities(table)["value"].tolist() == [0.5, 0.2, 0.4]


def test_a_loss_is_placed_where_pretraining_had_it():
    """Losses of 8 after 100 updates, 4 after 300 of 300; before training nobody had one. 6 was the loss half way."""
    table = pd.DataFrame(
        {
            "role": "score", "rows": pd.NA, "split": pd.NA, "probe": pd.NA, "target": "masked_words", "method": "masked words",
            "metric": "masked_word_loss", "model": ["b", "base", "tuned", "worse"], "task": ["masked_words", pd.NA, "nli", "squad"],
            "updates": [100, pd.NA, 900, 900], "value": [8.0, 4.0, 6.0, 9.0],
        }
    )  # fmt: skip
    unscored = table[:1].assign(model="a", updates=0, metric="similarity", target=pd.NA)
    found = histories.as_bad_at_masked_words(pd.concat([table, unscored]), last=300).set_index("model")
    assert found["value"].to_dict() == {"tuned": 6.0, "worse": 9.0}
    assert found.loc["tuned", "updates"] == pytest.approx(200) and pd.isna(found.loc["worse", "updates"])


def test_a_history_joins_what_pre_training_made_and_leaves_the_tuned_apart():
    columns = {"a": "0", "b": "100", "base": "300", "tuned": "NLI"}
    drawn = figures.history(HISTORY, columns, 3, title="life")
    joined, apart = (trace for trace in drawn.data if trace.x[0] is not None)
    assert joined.mode == "lines+markers" and (joined.x, joined.y) == ((0, 1, 2), (0.2, 0.6, 1.0))
    assert apart.mode == "markers" and (apart.x, apart.y) == ((3,), (0.8,))
    assert drawn.layout.xaxis.ticktext == ("0", "100", "300", "NLI")
    assert [trace.name for trace in drawn.data if trace.showlegend] == ["layer 1"]


def test_a_history_refuses_nothing_and_two_values_of_a_layer():
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.history(HISTORY, {"nobody": ""}, 1)
    with pytest.raises(ValueError, match="several values of one layer"):
        figures.history(pd.concat([HISTORY, HISTORY]), {"a": "0"}, 1)
