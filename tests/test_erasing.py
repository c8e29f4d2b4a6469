"""Erasing in the forward pass: what goes is what the eraser says, in one layer, of words alone; and a task that needs it falls."""

import numpy as np
import pandas as pd
import pytest
from test_finetune import CONFIG, arrays, differing, small

from bert_repro import alignment, checkpoints, corpora, encoder, finetune
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.encoder import Room
from bert_repro.finetune import erasing, scoring
from bert_repro.finetune.heads.pairs import PairClassifier
from bert_repro.finetune.network import Network
from bert_repro.probes import erasure
from bert_repro.probes.erasure import Eraser
from bert_repro.results import erasures, tables
from bert_repro.results.erasures import DIFFERENCE, ERASED, MAJORITY, NOTHING, RANDOM

SPECIAL = (2, 3)
ROOM = Room(5, SPECIAL)
TREEBANK, HELD_OUT, TEXT = "ewt:train[150]", "ewt:dev[60]", "ewt:dev[40]"
ASKED = {"task": "tagging", "text": TEXT, "treebank": TREEBANK, "held_out": HELD_OUT, "targets": ["upos", "relation"]}


def roomy(room=ROOM):
    return Network(CONFIG, random_weights(CONFIG, 0, 0.1), PairClassifier(corpora.LABELS), room=room)


def batch():
    """Two inputs between special tokens, the second padded."""
    token_ids = np.array([[2, 7, 8, 3, 9, 3], [2, 10, 11, 3, 0, 0]], np.int32)
    mask = np.array([[1] * 6, [1] * 4 + [0] * 2], np.int32)
    return {"token_ids": token_ids, "segment_ids": token_ids * 0, "mask": mask}


WORDS = np.array([[0, 1, 1, 0, 1, 0], [0, 1, 1, 0, 0, 0]], bool)


def eraser(rank=3, seed=0):
    generator = np.random.default_rng(seed)
    write = generator.normal(size=(8, rank))
    return Eraser(generator.normal(size=8), write, np.linalg.pinv(write).T, 0.5)


def states(network):
    return [np.asarray(one) for one in network.encoder(batch(), training=False)]


# ---- the encoder


@pytest.mark.slow
def test_the_ordinary_encoder_has_nothing_for_erasing():
    assert not [layer.name for layer in small().encoder.layers if "erasure" in layer.name]
    assert len(small().encoder.weights) == len(roomy().encoder.weights) - 3 * 3


@pytest.mark.slow
def test_with_empty_room_every_state_is_the_same_to_the_last_bit():
    start = checkpoints.open("tiny")
    inputs, _, _ = alignment.inputs(start.tokenizer, corpora.load("ewt:dev[30]").items, 512)
    plain, room = (
        encoder.extract(encoder.build(start.config, start.weights(), room=room), inputs, "mean")
        for room in (None, ROOM)
    )
    np.testing.assert_array_equal(room, plain)


@pytest.mark.slow
def test_what_goes_is_what_the_eraser_says_from_words_in_its_layer_alone():
    network, one = roomy(), eraser()
    before = states(network)
    for layer in range(3):
        with network.erased(layer, one):
            after = states(network)
        for lower in range(layer):
            np.testing.assert_array_equal(after[lower], before[lower])
        np.testing.assert_allclose(after[layer][WORDS], one(before[layer][WORDS]), atol=1e-5)
        np.testing.assert_array_equal(after[layer][~WORDS], before[layer][~WORDS])
        for upper in range(layer + 1, 3):  # [CLS] looks at words
            assert (np.abs(after[upper] - before[upper])[:, 0].max(-1) > 1e-4).all()
        for state, same in zip(states(network), before, strict=True):
            np.testing.assert_array_equal(state, same)


@pytest.mark.slow
def test_blocks_above_see_what_is_left():
    network, one = roomy(), eraser()
    with network.erased(1, one):
        _, left, after = states(network)
    expected, _ = network.encoder.get_layer("block_2")(left, batch()["mask"])
    np.testing.assert_allclose(after, np.asarray(expected), atol=1e-6)


@pytest.mark.slow
def test_predictions_change_for_a_while_and_weights_return_bit_by_bit():
    network = roomy()
    weights, before = arrays(network.trained.weights), network.predict(batch())["label"]
    with pytest.raises(ZeroDivisionError), network.erased(0, eraser(rank=5)):
        during = network.predict(batch())["label"]
        raise ZeroDivisionError
    assert np.abs(during - before).max() > 1e-4
    np.testing.assert_array_equal(network.predict(batch())["label"], before)
    assert not differing(arrays(network.trained.weights), weights)


@pytest.mark.slow
def test_nothing_erased_changes_nothing():
    network = roomy()
    before = network.predict(batch())["label"]
    with network.erased(1, Eraser.nothing(8)):
        np.testing.assert_array_equal(network.predict(batch())["label"], before)


@pytest.mark.slow
def test_room_learns_nothing_and_is_no_part_of_a_checkpoint():
    plain, room = small(), roomy()
    assert len(room.trained.trainable_weights) == len(plain.trained.trainable_weights)
    assert room.export().keys() == plain.export().keys()


@pytest.mark.parametrize(
    ("room", "rank", "message"),
    [
        (None, 1, "an eraser of rank 1 behind layer 2 of a network with no room for any"),
        (ROOM, 6, "an eraser of rank 6 behind layer 2 of a network with room for rank 5"),
    ],
)
def test_an_eraser_without_room_is_refused(room, rank, message):
    with pytest.raises(ValueError, match=message), roomy(room).erased(2, eraser(rank)):
        pass


# ---- the treebank


@pytest.fixture(scope="module")
def start():
    return checkpoints.open("tiny")


@pytest.fixture(scope="module")
def bank(start):
    return erasing._Annotated(TREEBANK, start, {"upos": (), "relation": ()})


@pytest.fixture(scope="module")
def network(start):
    special = start.tokenizer.cls_token_id, start.tokenizer.sep_token_id
    head = finetune.TASKS["tagging"].head(("NOUN", "VERB"))
    return Network(start.config, start.weights(), head, room=Room(31, special))


@pytest.mark.slow
def test_every_wordpiece_has_the_label_of_its_word(start, bank, network):
    sentences = corpora.load(TREEBANK).items
    inputs, rows, _ = alignment.align(start.tokenizer, sentences, 512)
    expected = {name: erasure.labels_of(name, sentences) for name in ("upos", "relation")}
    vectors = encoder.extract(network.encoder, inputs, "mean")
    words = ~rows["special"].to_numpy()
    tagged = {name: np.concatenate(one.gold) for name, one in expected.items()}
    read = [*bank.states(network, range(len(bank.inputs)))]
    assert sum(len(sentence) for *_, sentence in read) == rows["pieces"][words].sum()
    for name in tagged:
        # the sum over pieces is that of the words' means times their pieces; of each label
        pieces = rows["pieces"].to_numpy()[words]
        gold = np.concatenate([one[name] for _, one, _ in read])
        for layer in range(3):
            states = np.concatenate([of_layers[layer] for of_layers, _, _ in read])
            for label in range(len(expected[name].names)):
                mine = tagged[name] == label
                ours = states[gold == label].sum(0, dtype=float)
                np.testing.assert_allclose(ours, (vectors[layer][words][mine] * pieces[mine, None]).sum(0), atol=1e-2)
        assert bank.pieces[name] == pieces[tagged[name] >= 0].sum() == (gold >= 0).sum()
    counts = pd.Series(np.concatenate([sentence for *_, sentence in read])).value_counts()
    assert counts.to_dict() == rows[words].groupby("sentence")["pieces"].sum().to_dict()


@pytest.mark.slow
def test_erased_in_the_forward_pass_states_are_uncorrelated_with_the_labels(bank, network):
    made = erasing._erasers(bank, network, [0, 1, 2], draws=1, seed=1)
    for (layer, target), (labels, random) in made.items():
        assert random.rank == labels.rank and random.share == pytest.approx(labels.share, rel=1e-6)
        before = erasing._moments(bank, network, [(layer, target)], range(len(bank.inputs)))[layer, target]
        for eraser, most in ((labels, 1e-4), (random, np.inf)):
            with network.erased(layer, eraser):
                after = erasing._moments(bank, network, [(layer, target)], range(len(bank.inputs)))[layer, target]
            left = np.abs(after.cross).max() / np.abs(before.cross).max()
            assert left < most and (eraser is labels or left > 0.05)
            assert after.variance == pytest.approx(before.variance * (1 - eraser.share), rel=1e-3)


def test_what_was_left_out_is_reported(bank):
    report = bank.report()
    assert list(report.index) == ["upos", "relation"] and (report["labels"] > 5).all()
    assert report.loc["relation", "wordpieces"] < report.loc["upos", "wordpieces"]
    tags = pd.Series([tag for one in corpora.load(TREEBANK).items for tag in one.upos]).value_counts()
    rare = tags[tags < erasure.LEAST].sort_index()
    assert (
        report.loc["upos", ["labels left out", "words left out"]].tolist() == [len(rare), rare.sum()] and len(rare) > 1
    )
    listed = ", ".join(f"{name} {count}" for name, count in rare.items())
    assert bank.notes()[0] == f"Left out of upos, with the words that have it: {listed}."


# ---- what a task loses


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A tagger that has learned the text that it is scored on, so that there is something to lose."""
    folder = tmp_path_factory.mktemp("tuned") / "model"
    recipe = finetune.Recipe(
        "tagging", TEXT, TEXT, updates=60, batch_size=20, learning_rate=3e-3, head_learning_rate=1e-2
    )
    made = finetune.train("tiny", recipe, save=str(folder), resamples=100)
    return folder, made


@pytest.fixture(scope="module")
def erased(tuned):
    folder, _ = tuned
    found = finetune.erase(str(folder), **ASKED | {"treebank": TEXT, "targets": ["upos"]}, draws=4, resamples=200)
    return found, tables.tidy([{"role": "score"} | row for row in found.rows], model="m", notebook="erasure", study="s")


@pytest.mark.slow
def test_a_task_that_is_the_labels_falls_when_they_are_erased_and_less_without_random_subspaces(tuned, erased):
    _, table = erased
    scored = table[table["metric"] == "accuracy"]
    whole = scored[scored["method"] == NOTHING]["value"].iloc[0]
    assert whole == pytest.approx(tuned[1].rows[0]["value"], abs=1e-6) and whole > 0.6
    last = scored[scored["layer"] == 2]
    fallen, random = (last[last["method"] == method]["value"].mean() for method in (ERASED, RANDOM))
    tags = pd.Series([tag for one in corpora.load(TEXT).items for tag in one.upos])
    left_out = tags.isin(list(erasure.labels_of("upos", corpora.load(TEXT).items).left_out)).mean()
    # the tagger is linear: on the text that the eraser was fitted to it has nothing but how frequent tags are, and those left out
    assert fallen < tags.value_counts(normalize=True).iloc[0] + left_out + 0.03 and random > fallen + 0.1
    row = scored[(scored["method"] == DIFFERENCE) & (scored["layer"] == 2)].iloc[0]
    assert row["value"] == pytest.approx(fallen - random) and row["ci_high"] < 0


@pytest.mark.slow
def test_a_linear_classifier_finds_the_labels_before_and_no_more_than_the_most_frequent_after(erased):
    _, table = erased
    left = table[table["metric"] == "label_accuracy"]
    by = left.set_index(["method", "layer"])["value"].astype(float)
    majority = left[left["method"] == MAJORITY]["value"].iloc[0]
    for layer in range(3):
        assert by[NOTHING, layer] > by[RANDOM, layer] - 0.03 and by[NOTHING, layer] > by[ERASED, layer] + 0.05
        assert by[ERASED, layer] < majority + 0.1
    assert left["n"].nunique() == 1 and set(left["corpus"] + ":" + left["split"]) == {HELD_OUT}


@pytest.mark.slow
def test_rank_and_variance_are_told_and_are_those_of_the_random_subspaces(erased):
    found, table = erased
    for metric in ("rank", "removed_variance"):
        rows = table[table["metric"] == metric]
        assert len(rows) == 3 * 5 and set(rows["corpus"] + ":" + rows["split"]) == {TEXT}
        spread = rows.groupby("layer")["value"].agg(lambda values: values.max() - values.min())
        assert (spread < 1e-5).all()
    ranks = table[table["metric"] == "rank"]["value"]
    assert (ranks == found.labels.loc["upos", "labels"] - 1).all()
    shares = table[table["metric"] == "removed_variance"]["value"]
    assert ((shares > 0) & (shares < 1)).all()


@pytest.mark.slow
def test_the_table_says_where_scores_come_from_and_what_was_read(tuned, erased):
    found, table = erased
    assert found.origin["task"] == "tagging" and found.origin["layers_changed"] == "all"
    assert set(found.inputs) == {"weights", "tokenizer", TEXT, HELD_OUT}
    random = table[table["method"] == RANDOM]
    assert set(random["role"]) == {"control"} and set(random["probe_seed"]) == {1, 2, 3, 4}
    changes = erasures.changes(table.assign(task="tagging").astype(tables.COLUMNS))
    assert sorted(changes["layer"]) == [0, 0, 1, 1, 2, 2]


@pytest.mark.slow
def test_the_same_arguments_give_the_same_rows_and_fewer_layers_the_same_numbers(tuned, erased):
    folder, _ = tuned
    asked = ASKED | {"treebank": TEXT, "targets": ["upos"], "layers": [1]}
    again = finetune.erase(str(folder), **asked, draws=4, resamples=200)
    again = tables.tidy([{"role": "score"} | row for row in again.rows], model="m")
    same = ["method", "layer", "probe_seed", "metric", "value", "ci_low", "ci_high"]
    both = again[same].merge(erased[1][same].drop_duplicates(), on=same[:4], suffixes=("", "_first"))
    both = both[(both["layer"] == 1) & (both["metric"] != erasures.P_HOLM)]  # corrected for fewer layers
    assert len(both) == 5 + 1 + 3 + 2 * 5
    for name in ("value", "ci_low", "ci_high"):
        np.testing.assert_allclose(*(both[c].to_numpy(float, na_value=-1) for c in (name, f"{name}_first")), atol=1e-6)


@pytest.mark.slow
def test_a_new_task_head_learns_on_the_encoder_as_it_is(start):
    found = finetune.erase("tiny", **ASKED | {"layers": [1]}, train="ewt:train[60]", updates=3, draws=2, resamples=100)
    assert found.origin == {"base": "tiny", "task": "tagging", "seed": 1, "updates": 3, "layers_changed": "head_only"}
    assert set(found.inputs) == {"weights", "tokenizer", "ewt:train[60]", TREEBANK, HELD_OUT, TEXT}
    assert found.inputs["weights"] == start.weights_digest
    assert {row["target"] for row in found.rows if "layer" in row} == {"upos", "relation"}


# ---- what is refused


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layers": [0, 3]}, r"layers \[3\] are out of range: this encoder has 0 \(embeddings\) to 2"),
        ({"draws": 1}, r"at least one target and two random subspaces are needed, got \['upos', 'relation'\] and 1"),
        ({"targets": []}, r"at least one target and two random subspaces are needed, got \[\] and 3"),
        ({"treebank": "wiki[60]"}, r"target 'upos' \(part of speech\): 0 labels .* of 0 in 60 sentences"),
        ({"treebank": "mnli:dev[5]"}, "mnli:dev.5. is no corpus of single sentences"),
        ({"targets": ["arc"]}, "target 'arc' .* does not label single words"),
        ({"text": "mnli:dev[5]", "updates": 0}, "brings no task head of this kind: .*; give train and updates, and a new one learns"),
    ],
)  # fmt: skip
def test_what_cannot_be_erased_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        finetune.erase("tiny", **ASKED | changed)


@pytest.mark.slow
def test_a_task_head_whose_labels_are_exchanged_is_refused(tuned, monkeypatch):
    seen = []
    monkeypatch.setattr(scoring, "sanity", lambda network, text, source: seen.append((text.reference, source)))
    monkeypatch.setattr(erasing, "_erasers", lambda *given: {})
    monkeypatch.setattr(erasing, "_scores", lambda *given: [])
    monkeypatch.setattr(erasing, "_left", lambda *given: [])
    finetune.erase(str(tuned[0]), **ASKED)
    assert seen == [(TEXT, str(tuned[0]))]
