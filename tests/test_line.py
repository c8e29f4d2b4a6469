"""The straight line between two encoders: its ends are what other notebooks say of the checkpoints, and nothing between them is stored.

Checkpoints are the tiny encoder, moved at random, with task heads drawn at random: none is trained.
"""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_repro import checkpoints, corpora, encoder, finetune, similarity, states
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.checkpoints.families import differing, weight_table
from bert_repro.finetune import line as walking
from bert_repro.finetune.network import Network
from bert_repro.finetune.scoring import texts_of
from bert_repro.probes import experiments
from bert_repro.results import lines, tables
from bert_repro.states import store
from bert_repro.states.live import LiveStates

DATA = {
    "nli": "mnli:dev[40]",
    "squad": "squad:dev[6]",
    "parsing": "ewt:dev[20]",
    "tagging": "ewt:dev[20]",
    "masked_words": "ewt:dev[60]",
}
TEXT, BANK = "wiki[60]", ("ewt:train[30]", "ewt:dev[12]", "ewt:test[12]")
POINTS = [0.0, 0.25, 0.5, 1.0]
PERMUTED = ("intermediate.dense.weight", "intermediate.dense.bias", "output.dense.weight")


@pytest.fixture(scope="module")
def start():
    """The tiny encoder: its checkpoint and weights."""
    opened = checkpoints.open("tiny")
    return SimpleNamespace(opened=opened, config=opened.config, weights=opened.weights())


@pytest.fixture(scope="module")
def make(start, tmp_path_factory):
    """Write a checkpoint with weights, and the task head of a task, drawn at random; give its folder."""

    def made(weights, task="", seed=3):
        folder, labels = tmp_path_factory.mktemp("made"), ()
        if task:
            kind = finetune.TASKS[task]
            labels = kind.head.labels(texts_of(kind, [DATA[task]], start.opened)[0].items) if kind.labelled else ()
            network = Network(start.config, weights, kind.head(labels))
            draw = np.random.default_rng(seed)
            for variable in network.added:
                variable.assign(draw.standard_normal(variable.shape) * 0.3)
            weights = network.export()
        Checkpoint.write(folder, start.config, weights, start.opened, labels=labels)
        return str(folder)

    return made


@pytest.fixture(scope="module")
def moved(start):
    """Weights that lie somewhere else."""
    draw = np.random.default_rng(1)
    return {
        key: (array + 0.1 * draw.standard_normal(array.shape)).astype(np.float32)
        for key, array in start.weights.items()
    }


@pytest.fixture(scope="module")
def base(make, start):
    return make(start.weights, "masked_words")


def values(rows, metric, **columns):
    """Give the values of a metric by point."""
    mine = [
        row
        for row in rows
        if row["metric"] == metric and all(row.get(name) == value for name, value in columns.items())
    ]
    return [row["value"] for row in mine]


def at(rows, point):
    """Give the rows of a point, as they are of the checkpoint there."""
    own = {"layers_changed", "method", "target"}
    return [
        {c: v for c, v in row.items() if c not in own} for row in rows if row["layers_changed"] == lines.place(point)
    ]


def same(rows, others):
    """Tell whether rows say the same, interval by interval."""
    assert len(rows) == len(others) > 0
    for one, other in zip(rows, others, strict=True):
        for column in ("corpus", "split", "metric", "n", "units"):
            assert one[column] == other[column]
        assert [one[c] for c in ("value", "ci_low", "ci_high")] == pytest.approx(
            [other[c] for c in ("value", "ci_low", "ci_high")], abs=1e-5
        )
        assert np.allclose(one["replicates"], other["replicates"], atol=1e-5)
    return True


# ---- weights


@given(st.integers(0, 10**6), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_weights_in_between_are_means_and_those_of_both_ends_to_the_last_bit(seed, t):
    draw = np.random.default_rng(seed)
    first, last = ((10.0 ** draw.uniform(-6, 4) * draw.standard_normal((5, 7))).astype(np.float32) for _ in range(2))
    assert np.array_equal(walking.mixed(first, last, 0.0), first) and np.array_equal(
        walking.mixed(first, last, 1.0), last
    )
    assert np.array_equal(walking.mixed(first, first, t), first)
    between = walking.mixed(first, last, t)
    exact = (1 - t) * first.astype(float) + t * last.astype(float)
    assert between.dtype == np.float32 and np.array_equal(between, exact.astype(np.float32))


def test_weights_are_mixed_a_part_at_a_time_as_all_at_once(monkeypatch):
    first, last = np.random.default_rng(0).standard_normal((2, 9, 5)).astype(np.float32)
    whole = walking.mixed(first, last, 0.3)
    monkeypatch.setattr(walking, "AT_A_TIME", 7)
    assert np.array_equal(walking.mixed(first, last, 0.3), whole)


@pytest.mark.slow
def test_the_network_has_the_weights_of_the_point_where_it_stands(start, make, moved):
    line = finetune.Line("tiny", make(moved))
    for t, weights in ((1.0, moved), (0.0, start.weights)):
        line.go(t)
        assert all(
            np.array_equal(array, weights[key]) for key, array in encoder.export(line.encoder, line.config).items()
        )
    stops = list(line.walk(POINTS))
    assert stops == POINTS
    line.go(0.25)
    found = encoder.export(line.encoder, line.config)
    assert all(np.allclose(found[key], 0.75 * start.weights[key] + 0.25 * moved[key], atol=1e-6) for key in found)


# ---- both ends


@pytest.mark.slow
@pytest.mark.parametrize("task", ["nli", "squad", "parsing", "tagging"])
def test_at_its_end_the_line_scores_what_the_checkpoint_scores(make, moved, base, task):
    tuned, text = make(moved, task), DATA[task]
    rows = finetune.Line(base, tuned).scores(task, [text], [0.0, 0.5, 1.0], resamples=50)
    alone = finetune.assess(tuned, task=task, texts=[text], revert=False, resamples=50).rows
    assert same([row for row in at(rows, 1.0) if row["metric"] != "task_loss"], alone)
    assert {row["method"] for row in rows} == {lines.OF_TUNED} and {row["target"] for row in rows} == {task}
    losses = values(rows, "task_loss")
    assert len(losses) == 3 and len(set(np.round(losses, 6))) == 3


@pytest.mark.slow
def test_the_head_of_the_base_scores_at_both_ends_as_it_does_alone(make, moved, base):
    tuned, text = make(moved), DATA["masked_words"]
    rows = finetune.Line(base, tuned).scores("masked_words", [text], [0.0, 0.5, 1.0], of_base=True, resamples=50)
    mine = finetune.assess(base, masked=text, resamples=50)
    theirs = finetune.assess(tuned, masked=text, head_of=base, resamples=50)
    assert same(at(rows, 0.0), mine.rows) and same(at(rows, 1.0), theirs.rows)
    assert {row["metric"] for row in rows} == {"masked_word_loss", "masked_word_accuracy"}
    assert {row["method"] for row in rows} == {lines.OF_BASE}


@pytest.mark.slow
def test_word_embeddings_that_decode_stay_those_of_the_head(start, make, base):
    """Tuned word embeddings are read by the encoder; the base's decode: their exchange changes what one of the two sees."""
    other = dict(start.weights)
    embeddings = "embeddings.word_embeddings.weight"
    other[embeddings] = start.weights[embeddings] * 2
    tuned = make(other, "masked_words")
    text = DATA["masked_words"]
    own = finetune.assess(tuned, masked=text, resamples=50).rows[0]["value"]
    theirs = finetune.assess(tuned, masked=text, head_of=base, resamples=50).rows[0]["value"]
    both = finetune.assess(tuned, task="masked_words", texts=[text], masked=text, head_of=base, resamples=50).rows
    found = {row["method"]: row["value"] for row in both if row["metric"] == "masked_word_loss"}
    assert found == pytest.approx({"fine-tuning": own, "masked words": theirs}, abs=1e-6)
    rows = finetune.Line(base, tuned).scores("masked_words", [text], [0.0, 1.0], of_base=True, resamples=50)
    assert values(rows, "masked_word_loss")[1] == pytest.approx(theirs, abs=1e-5) and abs(own - theirs) > 0.1
    under_its_own = finetune.Line(base, tuned).scores("masked_words", [text], [0.0, 1.0], resamples=50)
    assert values(under_its_own, "masked_word_loss")[1] == pytest.approx(own, abs=1e-5)
    assert values(under_its_own, "task_loss") == pytest.approx(values(under_its_own, "masked_word_loss"))


@pytest.mark.slow
def test_states_at_both_ends_are_those_of_the_store(make, moved, in_this_process):
    tuned = make(moved)
    line = finetune.Line("tiny", tuned)
    live = line.states(TEXT, [0, 2])
    for model, t in (("tiny", 0.0), (tuned, 1.0)):
        line.go(t)
        stored = states.get(model, TEXT, states.Setting(dtype="float32"))
        assert live.rows.equals(stored.rows) and (live.corpus, live.split) == (stored.corpus, stored.split)
        rows = np.arange(len(stored.rows))
        assert np.allclose(live.held().vectors(rows), stored.vectors(rows, [0, 2]), atol=1e-5)


@pytest.mark.slow
def test_similarity_begins_at_one_and_ends_as_the_notebook_of_similarity_has_it(make, moved, in_this_process):
    tuned, layers = make(moved), [0, 1, 2]
    line = finetune.Line("tiny", tuned)
    live = line.states(TEXT, layers)
    drawn = (({"layers_changed": lines.place(t)}, similarity.sample([{TEXT: live}], [TEXT], words=300, seed=1, layers=layers)[0])
             for t in line.walk(POINTS))  # fmt: skip
    rows = similarity.along(drawn, layers, ["rsa"], 50)
    assert len(rows) == len(layers) * len(POINTS) and {row["metric"] for row in rows} == {"similarity"}
    assert all([row[c] for c in ("value", "ci_low", "ci_high")] == [1.0] * 3 for row in at(rows, 0.0))
    both = [{TEXT: states.get(model, TEXT)} for model in ("tiny", tuned)]
    compared = similarity.compare(
        similarity.sample(both, [TEXT], words=300, seed=1, layers=layers), layers, ["rsa"], 50
    )
    compared = [row for row in compared if row["metric"] == "similarity"]
    for mine, theirs in zip(at(rows, 1.0), compared, strict=True):
        assert mine["layer"] == theirs["layer"] and mine["value"] == pytest.approx(theirs["value"], abs=1e-4)
        assert np.allclose(mine["replicates"], theirs["replicates"], atol=1e-3)  # stored in half precision
    for layer in layers:
        falling = values(rows, "similarity", layer=layer)
        assert falling == sorted(falling, reverse=True) and falling[-1] < 0.99


# ---- lines of which the course is known


@pytest.mark.slow
def test_one_encoder_at_both_ends_gives_a_flat_line(make, start, base):
    line = finetune.Line(base, make(start.weights, "tagging"))
    rows = line.scores("tagging", [DATA["tagging"]], POINTS, resamples=50)
    rows += line.scores("masked_words", [DATA["masked_words"]], POINTS, of_base=True, resamples=50)
    live = line.states(TEXT, [1, 2])
    drawn = (
        ({"layers_changed": lines.place(t)}, similarity.sample([{TEXT: live}], [TEXT], words=300, seed=1)[0])
        for t in line.walk(POINTS)
    )
    rows += similarity.along(drawn, [1, 2], ["rsa"], 50)
    banks = [line.states(text, [1, 2]) for text in BANK]
    way = (({"layers_changed": lines.place(t)}, [bank.held() for bank in banks]) for t in line.walk(POINTS))
    splits = experiments.split([corpora.treebank(text) for text in BANK], banks)
    probed = experiments.structural_probes_along(
        "distance", splits, way, [1, 2], rank=4, seed=1, epochs=2, resamples=50, label=""
    )
    for t in POINTS[1:]:
        assert [row["value"] for row in at(rows + probed, t)] == [row["value"] for row in at(rows + probed, 0.0)]
    assert {row["value"] for row in rows if row["metric"] == "similarity"} == {1.0}
    found = lines.rises(tables.tidy(rows, role="score", model="tagging-1"))
    assert found["metric"].tolist() == [f"{what} of {loss}" for loss in lines.LOSSES for what in ("rise", "barrier")]
    assert found[["value", "ci_low", "ci_high"]].abs().max(axis=None) < 1e-6


@pytest.mark.slow
def test_where_states_are_linear_in_the_point_the_loss_hangs_below_its_chord(start, make):
    """Only the last norm differs: states of the last layer, and so the logits of a linear task head, move on straight lines, of
    which cross-entropy is convex."""
    draw, last = np.random.default_rng(5), "encoder.layer.1.output.LayerNorm"
    other = dict(start.weights)
    for part in ("weight", "bias"):
        key = f"{last}.{part}"
        other[key] = (start.weights[key] + draw.standard_normal(32)).astype(np.float32)
    line = finetune.Line("tiny", make(other, "tagging"))
    rows = line.scores("tagging", [DATA["tagging"]], POINTS, resamples=50)
    loss = values(rows, "task_loss")
    chord = [(1 - t) * loss[0] + t * loss[-1] for t in POINTS]
    assert all(found < straight - 1e-3 for found, straight in zip(loss[1:-1], chord[1:-1], strict=True))
    live = line.states(TEXT, [1, 2])
    held = [live.held().vectors(np.arange(50)) for _ in line.walk([0.0, 0.5, 1.0])]
    assert np.array_equal(held[0][0], held[1][0]) and np.array_equal(held[0][0], held[2][0])
    assert np.allclose(held[1][1], (held[0][1] + held[2][1]) / 2, atol=1e-5)


@pytest.mark.slow
def test_an_encoder_whose_units_changed_places_is_its_base_at_both_ends_and_another_between(start, make, base):
    """Two networks that compute the same, a straight line apart."""
    other, order = dict(start.weights), np.random.default_rng(7).permutation(start.config.intermediate_size)
    for block in range(2):
        into, bias, out = (f"encoder.layer.{block}.{part}" for part in PERMUTED)
        other[into], other[bias], other[out] = other[into][order], other[bias][order], other[out][:, order]
    line = finetune.Line(base, make(other, "tagging"))
    rows = line.scores("tagging", [DATA["tagging"]], POINTS, resamples=50)
    rows += line.scores("masked_words", [DATA["masked_words"]], POINTS, of_base=True, resamples=50)
    for metric in ("task_loss", "masked_word_loss"):
        loss = values(rows, metric)
        assert loss[0] == pytest.approx(loss[-1], abs=1e-5) and abs(loss[2] - loss[0]) > 1e-3
    live = line.states(TEXT, [2])
    held = [live.held().vectors(np.arange(50)) for _ in line.walk([0.0, 0.5, 1.0])]
    assert np.allclose(held[0], held[2], atol=1e-5) and np.abs(held[0] - held[1]).max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("task", ["nli", "squad", "parsing", "tagging"])
def test_the_loss_of_a_task_is_that_of_training_on_all_items_in_one_batch(start, make, task):
    opened = checkpoints.open(make(start.weights, task))
    network = walking.ready(opened, opened.weights(), task)
    (text,) = texts_of(finetune.TASKS[task], [DATA[task]], opened)
    counts, nats = walking.losses(network, text, walking.whole_output(network))
    assert np.array_equal(counts, network.score(text))
    inputs, targets = text.arrays(network.head, np.arange(len(text.inputs)))
    outputs = network.trained(inputs, training=False)
    expected = sum(float(loss(targets[name], outputs[name])) for name, loss in network.head.losses.items())
    row = walking.loss_row(nats, text, 50)
    assert row["value"] == pytest.approx(expected, rel=1e-4) and row["ci_low"] < row["value"] < row["ci_high"]
    assert row["units"] == len(text.items) and (row["corpus"], row["metric"]) == (
        DATA[task].partition(":")[0],
        "task_loss",
    )


# ---- probes on the way


@pytest.fixture(scope="module")
def probed(make, moved):
    line = finetune.Line("tiny", make(moved))
    banks = [line.states(text, [1, 2]) for text in BANK]
    way = (({"layers_changed": lines.place(t)}, [bank.held() for bank in banks]) for t in line.walk([0.0, 0.5, 1.0]))
    splits = experiments.split([corpora.treebank(text) for text in BANK], banks)
    setting = {"rank": 4, "seed": 2, "epochs": 2, "resamples": 50, "label": ""}
    rows = experiments.structural_probes_along("distance", splits, way, [1, 2], **setting)
    line.go(1.0)
    ends = [part._replace(states=bank.held()) for part, bank in zip(splits, banks, strict=True)]
    alone = experiments.structural_probes(
        "distance", ends, [1, 2], ranks=[4], seeds=[2], epochs=2, shown=0, resamples=50, label=""
    )
    return rows, alone.rows


@pytest.mark.slow
def test_at_the_base_both_probes_are_one_and_elsewhere_two(probed):
    rows, _ = probed
    assert len(rows) == 3 * 2 * 2 * 2  # points, layers, probes, metrics
    first, anew = ([row["value"] for row in rows if row["probe"] == name] for name in (lines.FIRST, lines.ANEW))
    assert first[:4] == anew[:4] and first[4:] != anew[4:]
    assert {(row["split"], row["method"], row["probe_seed"], row["target"]) for row in rows} == {
        ("test[12]", "rank 4", 2, "distance")
    }


@pytest.mark.slow
def test_a_probe_that_is_trained_anew_scores_as_one_of_that_encoder_alone(probed):
    rows, alone = probed
    mine = [row for row in rows if row["probe"] == lines.ANEW and row["layers_changed"] == lines.place(1.0)]
    theirs = [row for row in alone if row["split"] == "test[12]"]
    assert [(row["metric"], row["layer"], row["value"], row["ci_low"]) for row in mine] == [
        (row["metric"], row["layer"], row["value"], row["ci_low"]) for row in theirs
    ]


# ---- states


@pytest.mark.slow
def test_some_rows_are_computed_as_all_are(make, moved):
    line = finetune.Line("tiny", make(moved))
    live = line.states("mnli:dev[20]", [1, 2])
    line.go(0.5)
    held = live.held()
    rows = np.sort(np.random.default_rng(0).choice(len(live.rows), 40, replace=False))
    assert np.allclose(live.vectors(rows), held.vectors(rows), atol=1e-5)
    assert np.array_equal(held.vectors(rows, [2])[0], held.vectors(rows)[1])
    assert np.array_equal(live.vectors(rows, [2])[0], live.vectors(rows)[1])
    assert (held.hidden, held.layers, live.setting.dtype) == (32, [1, 2], "float32")
    line.go(1.0)  # what is held stays; what is live does not
    assert not np.allclose(live.vectors(rows), held.vectors(rows), atol=1e-3)


@pytest.mark.slow
def test_no_states_of_a_line_are_stored(make, moved):
    before = {entry.key for entry in store.entries()}
    line = finetune.Line("tiny", make(moved))
    for _ in line.walk([0.0, 0.5, 1.0]):
        line.states("pud[5]", [2]).held()
    assert {entry.key for entry in store.entries()} == before


@pytest.mark.slow
def test_a_line_knows_its_layers_and_what_went_into_it(make, start, moved):
    tuned = make(moved)
    line = finetune.Line("tiny", tuned)
    assert line.layers == [1, 2]
    line.states(TEXT, [1])
    assert (
        line.inputs
        == {"base": start.opened.weights_digest, TEXT: corpora.digest(TEXT)} | checkpoints.open(tuned).digests
    )


# ---- what is refused, and what is told


def test_two_encoders_of_different_shape_are_on_no_line(start, tmp_path):
    config = dataclasses.replace(start.config, num_hidden_layers=1)
    Checkpoint.write(tmp_path, config, random_weights(config, 0, 0.1), start.opened)
    with pytest.raises(ValueError) as error:
        finetune.Line("tiny", str(tmp_path))
    assert str(error.value) == (
        f"no straight line leads from tiny to {tmp_path}: of the second, num_hidden_layers is 1, not 2; "
        "give an encoder and one that was tuned from it"
    )
    assert differing(config, start.config) in str(error.value)


def test_two_encoders_with_different_wordpieces_are_on_no_line(start, tmp_path):
    made = Checkpoint.write(tmp_path, start.config, start.weights, start.opened)
    path = made.folder / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"##ing"', '"##gni"'), encoding="utf-8")
    with pytest.raises(ValueError) as error:
        finetune.Line("tiny", str(tmp_path))
    assert str(error.value) == (
        f"no straight line leads from tiny to {tmp_path}: their vocabularies differ; give an encoder and one that was tuned from it"
    )


def test_layers_and_points_that_there_are_not_are_refused():
    line = finetune.Line("tiny", "untrained:tiny")
    with pytest.raises(
        ValueError, match=r"^layers \[3, -1\] are out of range: this encoder has 0 \(embeddings\) to 2$"
    ):
        line.states(TEXT, [2, 3, -1])
    with pytest.raises(ValueError, match="^points must rise from 0, the base, to 1, the tuned encoder, got "):
        next(line.walk([0.0, 0.5]))


def test_a_corpus_of_which_nothing_fits_is_refused(start, tmp_path):
    (tmp_path / "long.txt").write_text("pneumonoultramicroscopicsilicovolcanoconiosis\n")
    network = encoder.build(start.config, start.weights)
    with pytest.raises(ValueError, match=r"^no item of .*long.txt fits into 4 pieces$"):
        LiveStates(network, [0, 1, 2], start.opened.tokenizer, str(tmp_path / "long.txt"), states.Setting(4))


def test_task_heads_that_are_not_there_are_told():
    line = finetune.Line("tiny", "untrained:tiny")
    assert (
        line.scores("nli", [DATA["nli"]], [0.0, 1.0])
        == line.scores("masked_words", [TEXT], [0.0, 1.0], of_base=True)
        == []
    )
    assert len(line.notes) == 2 and line.notes[0].startswith(
        "Not scored on natural language inference along the line: untrained:tiny brings no task head of this kind: "
    )
    assert line.notes[1].startswith(
        "Not scored on masked words along the line: tiny brings no task head of this kind: "
    )
    assert line.scores("", [], [0.0, 1.0]) == line.scores("nli", [], [0.0, 1.0]) == [] and len(line.notes) == 2


@pytest.mark.slow
def test_one_network_serves_all_points(make, moved, base, monkeypatch):
    """However many points and task heads: what takes memory is two sets of weights and one encoder."""
    built = []
    monkeypatch.setattr(
        walking.encoder, "build", lambda *given, _build=encoder.build: built.append(1) or _build(*given)
    )
    line = finetune.Line(base, make(moved))
    line.scores("masked_words", [DATA["masked_words"]], POINTS, of_base=True, resamples=50)
    line.states(TEXT, [1])
    line.states("pud[5]", [1])
    assert built == [1] and len(line._readers) == 1
    assert {v.path for v in line.encoder.weights} == {w.variable for w in weight_table(line.config)}
    assert isinstance(line.encoder, keras.Model)
