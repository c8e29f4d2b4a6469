"""Fine-tuning: it repeats itself bit by bit, survives a kill, moves what it may and no more, and refuses the rest."""

import functools
import json
import math
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import pytorch
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from bert_repro import checkpoints, encoder, files, finetune
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.checkpoints.families import Config
from bert_repro.corpora import LABELS
from bert_repro.files import ROOT
from bert_repro.finetune import loop as running
from bert_repro.finetune import scoring, tuning
from bert_repro.finetune.batches import Examples
from bert_repro.finetune.heads.pairs import PairClassifier
from bert_repro.finetune.heads.spans import SpanFinder
from bert_repro.finetune.loop import Run, learn
from bert_repro.finetune.network import LinearWarmup, Network
from bert_repro.results import provenance

DATA = {
    "nli": ("mnli:train[24]", "mnli:dev[40]"),
    "squad": ("squad:train[12]", "squad:dev[6]"),
    "parsing": ("ewt:test[8]", "ewt:dev[6]"),
    "tagging": ("ewt:test[8]", "ewt:dev[6]"),
    "masked_words": ("wiki[8]", "ewt:dev[12]"),
}
SMALL = {"updates": 4, "batch_size": 8, "learning_rate": 1e-3}
CONFIG = Config(50, 8, 2, 2, 12, 16)


def tune(task, data=None, model="tiny", save="", **changed):
    recipe = finetune.Recipe(task, *(data or DATA[task]), **{**SMALL, **changed})
    return finetune.train(model, recipe, save=save, resamples=100)


def assess(task, model, text="", **options):
    return finetune.assess(str(model), task=task, texts=[text or DATA[task][1]], resamples=100, **options)


def small(frozen_layers=0):
    """Make a network of two narrow blocks that tells pairs apart."""
    weights = random_weights(CONFIG, 0, 0.1)
    return Network(CONFIG, weights, PairClassifier(LABELS), frozen_layers)


def batch(pieces=6):
    """Give two inputs for it, and their targets."""
    token_ids = np.random.default_rng(0).integers(5, 50, (2, pieces)).astype(np.int32)
    inputs = {"token_ids": token_ids, "segment_ids": token_ids * 0, "mask": token_ids * 0 + 1}
    return inputs, {"label": np.array([0, 2], np.int32)}


def arrays(variables):
    return {variable.path: np.asarray(variable) for variable in variables}


def layers_of(names):
    """Name the layers that some variables belong to."""
    return {name.split("/")[0] for name in names}


def differing(one, other):
    return {name for name in one if not np.array_equal(one[name], other[name])}


@pytest.fixture(autouse=True)
def one_draw():
    """Task heads begin at random: alike in each run, whatever ran before."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def tokenizer():
    return checkpoints.open("tiny").tokenizer


@contextmanager
def full_disk(room):
    """Let no file grow beyond so many bytes, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# ---- the optimiser


@pytest.mark.parametrize("updates", [1, 4, 10, 100])
def test_the_rate_rises_to_its_peak_at_a_tenth_and_falls_to_nearly_nothing(updates):
    rates = np.array([float(LinearWarmup(2.0, updates)(step)) for step in range(updates)])
    warmup = max(1, updates // 10)
    assert rates.argmax() == warmup - 1 and rates.max() == pytest.approx(2)
    assert (rates > 0).all()  # no update is wasted
    np.testing.assert_allclose(np.diff(rates[:warmup]), 2 / warmup, rtol=1e-4)
    falling = np.diff(rates[warmup - 1 :])
    assert (falling < 0).all()
    if updates > 1:
        np.testing.assert_allclose(falling, falling[0], rtol=1e-3)
        assert rates[-1] == pytest.approx(-falling[0], rel=1e-3)  # one more step would be 0
    assert float(LinearWarmup(2.0, updates)(updates + 5)) == 0


def test_without_gradients_kernels_and_embeddings_shrink_and_biases_and_norms_stay():
    network = small()
    network.compile(0.5, 5.0, 1)
    variables = network.trained.trainable_weights
    for variable in variables:
        variable.assign(np.asarray(variable) + 1)
    before = arrays(variables)
    network.trained.optimizer.apply([tf.zeros_like(variable) for variable in before.values()], variables)
    for name, array in arrays(variables).items():
        decays = name.endswith(("kernel", "embeddings"))
        np.testing.assert_allclose(array, before[name] * (1 - 0.5 * 0.01 * decays), rtol=1e-6, err_msg=name)
        assert decays or (array == before[name]).all(), name
    assert {name.rpartition("/")[2] for name in before} == {"kernel", "embeddings", "bias", "gamma", "beta"}


@pytest.mark.parametrize(("norm", "seen"), [(0.5, 0.5), (1.0, 1.0), (40.0, 1.0)])
def test_gradients_are_clipped_at_norm_1_over_all_weights(norm, seen):
    network = small(frozen_layers=2)
    network.compile(1e-3, 1e-3, 10)
    optimizer, variables = network.trained.optimizer, network.trained.trainable_weights
    size = sum(math.prod(variable.shape) for variable in variables)
    optimizer.apply([tf.fill(variable.shape, norm / size**0.5) for variable in variables], variables)
    moments = [array for name, array in arrays(optimizer.variables).items() if "momentum" in name]
    assert len(moments) == len(variables)
    first = np.sqrt(sum((moment**2).sum() for moment in moments))
    assert first == pytest.approx((1 - optimizer.beta_1) * seen, rel=1e-4)


def test_the_task_head_learns_at_a_rate_of_its_own():
    network = small()
    network.compile(0.5, 5.0, 1)
    variables = network.trained.trainable_weights
    before = arrays(variables)
    network.trained.optimizer.apply([tf.fill(variable.shape, 0.01) for variable in variables], variables)
    for name, array in arrays(variables).items():
        if not name.endswith(("kernel", "embeddings")):  # which decay too
            rate = 5.0 if layers_of([name]) <= {"pooler", "classifier"} else 0.5
            np.testing.assert_allclose(before[name] - array, rate, rtol=1e-2, err_msg=name)  # the first step of Adam


# ---- batches in parts


@pytest.mark.slow
@pytest.mark.parametrize("task", ["nli", "squad", "parsing"])
def test_micro_batches_come_to_the_step_of_the_whole_batch(tokenizer, task):
    """Also where they hold different numbers of targets, or none: a loss is a mean over those of the batch."""
    start, kind = checkpoints.open("tiny"), finetune.TASKS[task]
    config = replace(start.config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    text = Examples(kind, DATA[task][0], tokenizer, 512)
    whole, parts = (Network(config, start.weights(), kind.head(kind.head.labels(text.items))) for _ in range(2))
    parts.assign(whole.learned())
    whole.compile(1e-3, 1e-3, 5)
    parts.compile(1e-3, 1e-3, 5, parts=4)
    drawn = text.batches(8, np.random.default_rng(0))
    for _ in range(5):
        inputs, targets = text.arrays(whole.head, next(drawn))
        if task == "nli":
            targets["label"][:3] = -1
        assert parts.step(inputs, targets) == pytest.approx(whole.step(inputs, targets), abs=1e-5)
    first = start.weights()["embeddings.word_embeddings.weight"]
    assert np.abs(whole.learned()[0] - first).max() > 1e-3
    for one, other in zip(whole.learned(), parts.learned(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_batch_that_overflows_in_half_precision_changes_nothing_and_is_scaled_by_half_as_much_from_then_on():
    network = Network(CONFIG, random_weights(CONFIG, 0, 0.1), PairClassifier(LABELS), precision="float16")
    network.compile(1e-3, 1e-3, 4)
    optimizer, (inputs, targets) = network.trained.optimizer, batch()
    inputs["mask"][1, 3:] = 0  # which half precision has to leave out too
    before = network.learned()
    optimizer.dynamic_scale.assign(2.0**40)
    assert math.isfinite(network.step(inputs, targets)) and float(optimizer.dynamic_scale) == 2.0**39
    assert all(map(np.array_equal, network.learned(), before))
    optimizer.dynamic_scale.assign(2.0**10)
    assert network.step(inputs, targets) < 2 and float(optimizer.dynamic_scale) == 2.0**10
    assert not any(map(np.array_equal, network.learned(), before))


# ---- layers that stay, and layers that are put back


@pytest.mark.parametrize("frozen", range(3))
def test_what_learns_are_the_blocks_above_the_frozen_ones_and_the_task_head(frozen):
    names = {variable.path for variable in small(frozen).trained.trainable_weights}
    above = {f"block_{number}" for number in range(frozen + 1, 3)}
    assert layers_of(names) == above | {"pooler", "classifier"} | (set() if frozen else {"embeddings"})


@pytest.mark.slow
def test_no_gradient_is_computed_below_the_lowest_layer_that_learns():
    def products(step):
        """Count those that a weight, or what the step gives, depends on: TensorFlow runs no others."""
        graph = step.graph
        waiting = [some for some in graph.get_operations() if some.op_def.is_stateful]
        waiting += [tensor.op for tensor in graph.outputs]
        seen = set()
        while waiting:
            operation = waiting.pop()
            if operation.name not in seen:
                seen.add(operation.name)
                waiting += [*operation.control_inputs, *(tensor.op for tensor in operation.inputs)]
        return sum("MatMul" in graph.get_operation_by_name(name).type for name in seen)

    networks = [small(frozen) for frozen in range(3)]
    for network in networks:
        network.compile(1e-3, 1e-3, 10)
    forward = products(tf.function(networks[0].trained.test_step).get_concrete_function(batch()))
    backward = [products(network.gradients.get_concrete_function()) - forward for network in networks]
    # each product of the forward pass has two, one for each factor; the lowest layer that learns passes nothing on
    assert backward == [2 * (2 + 2 * 8), 2 * (2 + 8) - 3, 2 * 2 - 1]


def test_a_layer_is_put_back_alone_and_the_tuned_weights_return_bit_by_bit():
    network = small()
    base = arrays(network.encoder.weights)
    for variable in network.trained.weights:
        variable.assign(np.asarray(variable) * 1.25 + 0.5)
    tuned = arrays(network.trained.weights)
    for number in range(3):
        with network.reverted(number):
            now = arrays(network.trained.weights)
            mine = differing(now, tuned)
            assert layers_of(mine) == {network.layer(number)}
            assert len(mine) == sum(name.startswith(f"{network.layer(number)}/") for name in now)
            assert not differing({name: now[name] for name in mine}, base)
        assert not differing(arrays(network.trained.weights), tuned)


def test_the_change_of_a_layer_is_its_distance_from_the_start():
    network = small()
    assert {(row["metric"], row["value"]) for row in network.change()} == {("relative_l2", 0), ("cosine", 1)}
    factors = {"embeddings": 1, "block_1": 1.5, "block_2": -1}
    for variable in network.encoder.weights:
        variable.assign(np.asarray(variable) * factors[variable.path.split("/")[0]])
    rows = network.change()
    assert [row["layer"] for row in rows] == [0, 0, 1, 1, 2, 2]
    moved, cosines = ([row["value"] for row in rows if row["metric"] == m] for m in ("relative_l2", "cosine"))
    np.testing.assert_allclose(moved, [0, 0.5, 2], atol=1e-6)
    np.testing.assert_allclose(cosines, [1, 1, -1], atol=1e-6)
    of_block = sum(math.prod(v.shape) for v in network.encoder.weights if v.path.startswith("block_1/"))
    assert rows[2]["n"] == of_block


# ---- the training loop, with a network that is one number


class Number:
    """A network of one weight that depends on every batch it saw, in their order; dev scores are planted."""

    head = SimpleNamespace(metrics=("right",), lower_is_better=False)

    def __init__(self, scores=lambda update: update):
        self.weight, self.updates, self.scores, self.dies_at = np.zeros(1), 0, scores, math.inf

    def step(self, inputs, targets):
        if self.updates == self.dies_at:
            raise KeyboardInterrupt
        self.updates += 1
        self.weight = np.cos(self.weight * 3 + inputs["mask"].sum())
        return float(self.weight[0])

    def score(self, dev):
        return np.array([[[self.scores(self.updates), 10]]], float)

    def change(self):
        return [{"layer": 0, "metric": "weight", "value": float(self.weight[0])}]

    def learned(self):
        return [self.weight]

    def assign(self, learned):
        (self.weight,) = learned

    def state(self):
        return {"weight": self.weight, "updates": np.array(self.updates)}

    def restore(self, state):
        self.weight, self.updates = state["weight"], int(state["updates"])


class Batches:
    """Batches of a growing number of wordpieces, drawn with the seed."""

    def batches(self, size, generator, updates):
        while True:
            yield generator.integers(1, 100, size)

    def arrays(self, head, chosen):
        return {"mask": chosen}, {}


def loop(network, state, updates=10, evaluations=3, keep=lambda update: None, keep_at=()):
    recipe = finetune.Recipe("nli", "", "", updates=updates, batch_size=2, evaluations=evaluations, keep_at=keep_at)
    return learn(network, Batches(), None, recipe, keep, state)


def outcome(network, run):
    """Give all of a run that ends up in checkpoint or table."""
    curve, changes = [tuple(point) for point in run.curve], run.changes
    return curve, changes, run.best_update, run.best_value, run.counts.tolist(), network.weight.tolist()


@pytest.mark.slow
@given(updates=st.integers(1, 30), evaluations=st.integers(1, 40))
def test_dev_is_scored_at_equal_distances_and_after_the_last_update(tmp_path_factory, updates, evaluations):
    run = loop(Number(), tmp_path_factory.mktemp("state") / "x", updates, evaluations)
    points = [update for update, metric, _ in run.curve if metric == "right"]
    assert points == [update for update, metric, _ in run.curve if metric == "loss"]
    assert points == sorted(set(points)) and points[-1] == updates and points[0] >= 1
    assert len(points) == min(updates, evaluations)
    distances = np.diff([0, *points])
    assert distances.max() - distances.min() <= 1


def test_a_point_of_the_curve_has_the_mean_loss_since_the_one_before(tmp_path):
    network, losses = Number(), []
    step = network.step
    network.step = lambda *given: losses.append(step(*given)) or losses[-1]
    run = loop(network, tmp_path / "x", 10, 3)
    means = [value for _, metric, value in run.curve if metric == "loss"]
    np.testing.assert_allclose(means, [np.mean(part) for part in (losses[:4], losses[4:7], losses[7:])])


@pytest.mark.parametrize(
    ("scores", "best"),
    [([1, 2, 3, 4], 4), ([4, 3, 2, 1], 1), ([1, 4, 2, 3], 2), ([2, 4, 4, 1], 3), ([0, 0, 0, 0], 4)],
)
def test_the_weights_that_did_best_on_dev_are_kept_the_later_among_equals(tmp_path, scores, best):
    network, seen = Number(lambda update: scores[update - 1]), {}
    run = loop(network, tmp_path / "x", 4, 4, lambda update: seen.update({update: network.weight}), [1, 2, 3, 4])
    assert run.best_update == best and run.best_value == scores[best - 1] / 10
    assert network.weight == seen[best] and run.counts.tolist() == [[[scores[best - 1], 10]]]


def test_checkpoints_are_kept_along_the_way_as_they_are_then(tmp_path):
    kept = []
    network = Number(lambda update: -update)  # the first is the best
    loop(network, tmp_path / "x", 10, 10, lambda update: kept.append((update, network.updates)), [10, 3, 7])
    assert kept == [(3, 3), (7, 7), (10, 10)]


@pytest.mark.slow
@given(
    evaluations=st.integers(1, 12), dies_at=st.lists(st.integers(0, 9), max_size=3), seconds=st.sampled_from([-1, 600])
)
def test_a_run_that_died_goes_on_as_if_nothing_had_been(tmp_path_factory, evaluations, dies_at, seconds):
    folder, kept = tmp_path_factory.mktemp("state"), {}
    undisturbed = Number(lambda update: update % 4)
    expected = outcome(undisturbed, loop(undisturbed, folder / "other", 10, evaluations))
    options = {"keep": lambda update: kept.update({update: network.weight.tolist()}), "keep_at": [1, 5, 10]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "SECONDS", seconds)
        for death in dies_at:
            network = Number(lambda update: update % 4)
            network.dies_at = death
            with pytest.raises(KeyboardInterrupt):
                loop(network, folder / "x", 10, evaluations, **options)
                raise KeyboardInterrupt  # it was beyond that already
        network = Number(lambda update: update % 4)
        run = loop(network, folder / "x", 10, evaluations, **options)
    assert outcome(network, run) == expected and sorted(kept) == [1, 5, 10]
    assert sorted(path.name for path in folder.iterdir()) == ["other", "x"]  # and nothing half-written


def test_a_run_goes_on_from_the_last_state_and_not_from_the_start(tmp_path):
    network = Number()
    network.dies_at = 8
    with pytest.raises(KeyboardInterrupt):
        loop(network, tmp_path / "x", 10, 2)
    network, taken = Number(), []
    network.step = lambda *given: taken.append(1) or Number.step(network, *given)
    loop(network, tmp_path / "x", 10, 2)
    assert len(taken) == 5


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-1], lambda data: data[: len(data) // 2], lambda data: b"{" + data]
)
def test_from_a_damaged_state_nothing_is_taken(tmp_path, damage):
    undisturbed = Number()
    expected = outcome(undisturbed, loop(undisturbed, tmp_path / "x"))
    (tmp_path / "x").write_bytes(damage((tmp_path / "x").read_bytes()))
    network = Number()
    assert outcome(network, loop(network, tmp_path / "x")) == expected and network.updates == 10


@pytest.mark.slow
def test_a_state_is_the_whole_network_with_its_optimiser_and_dropout(tmp_path):
    """A second update from a restored state is the second update, bit by bit."""
    one, other = small(), small()
    for network in (one, other):
        network.compile(1e-2, 1e-2, 4)
    first = one.step(*batch(7))  # the shapes that a network saw leave no trace
    Run(update=1, losses=[first]).write(tmp_path / "x", one)
    second = one.step(*batch(6))
    run = Run.read(tmp_path / "x", other)
    assert (run.update, run.losses) == (1, [first]) and second != first
    assert other.step(*batch(6)) == second
    assert not differing(one.state(), other.state())
    assert [half.experimental_get_tracing_count() for half in (one.gradients, one.apply)] == [1, 1]
    assert any("seed" in variable.path for variable in one.trained.variables)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    network = Number()
    network.step = lambda *given: math.nan
    with pytest.raises(ValueError, match="^the loss is nan after 1 updates: lower the learning rate$"):
        loop(network, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_batch_beyond_memory_is_refused_and_other_errors_are_not_hidden(monkeypatch):
    network, (inputs, targets) = small(), batch()

    def fail(error):
        def gradients(*given):
            raise error

        monkeypatch.setattr(network, "gradients", gradients)

    network.compile(1e-3, 1e-3, 1)
    fail(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"))
    for parts, size in ((1, 2), (2, 1)):
        network.parts = parts
        told = f"^{size} inputs of 6 wordpieces at a time do not fit into memory: set a lower micro_batch$"
        with pytest.raises(ValueError, match=told):
            network.step(inputs, targets)
    fail(ZeroDivisionError("another"))
    with pytest.raises(ZeroDivisionError, match="another"):
        network.step(inputs, targets)


# ---- examples


@pytest.mark.parametrize(("items", "size"), [(40, 8), (43, 8), (5, 8), (8, 8), (445, 4)])
def test_batches_cover_an_epoch_and_nothing_twice(tokenizer, items, size):
    examples = Examples(finetune.TASKS["parsing"], f"ewt:test[{items}]", tokenizer, 512)
    drawn = examples.batches(size, np.random.default_rng(1))
    per_epoch = max(1, items // size)
    epochs = [np.concatenate([next(drawn) for _ in range(per_epoch)]) for _ in range(2)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == min(items, per_epoch * size)
    if items > 8:
        assert epochs[0].tolist() != epochs[1].tolist()
    again = examples.batches(size, np.random.default_rng(1))
    assert np.concatenate([next(again) for _ in range(per_epoch)]).tolist() == epochs[0].tolist()
    in_order = np.concatenate(list(encoder.by_length(examples.lengths, size)))
    assert sorted(in_order) == list(range(items))


class Lengths:
    """A task head that reads how many words an item has, and scores it by them."""

    metrics = ("words",)

    def arrays(self, items, inputs, length):
        return {}, {}

    def read(self, item, aligned, outputs):
        return len(item.words)

    def score(self, item, readings):
        return np.array([[sum(readings), len(item.words)]])


def test_scores_come_back_in_the_order_of_the_items(tokenizer):
    """Items are scored by length; each count must still belong to its own sentence."""
    dev = Examples(finetune.TASKS["parsing"], "ewt:dev[150]", tokenizer, 512)
    network = SimpleNamespace(head=Lengths(), predict=lambda inputs: {})
    for first in (None, 40, 500):
        counts = Network.score(network, dev, first)
        np.testing.assert_array_equal(counts[:, 0, 0], [len(item.words) for item in dev.items[:first]])
        np.testing.assert_array_equal(counts[:, 0, 0], counts[:, 0, 1])


def questions(folder, *lengths, context="Anna saw the red door of the old house . " * 60):
    """Write questions of so many words about a context of several windows."""
    answers = [{"text": "old house", "answer_start": context.index("old house", 1500)}]
    asked = [{"id": f"q{n}", "question": " ".join(["door"] * n), "answers": answers} for n in lengths]
    article = {"title": "x", "paragraphs": [{"context": context, "qas": asked}]}
    (folder / "questions.json").write_text(json.dumps({"data": [article]}))
    return str(folder / "questions.json")


def test_a_long_context_is_read_through_windows_of_which_each_knows_its_question(tokenizer, tmp_path):
    examples = Examples(finetune.TASKS["squad"], questions(tmp_path, 5, 9), tokenizer, 512)
    assert len(set(examples.owners)) == 2 and len(examples.parts) > 4
    assert examples.lengths.max() <= examples.limit == 384
    for number, item in enumerate(examples.items):
        parts = [part for owner, part in zip(examples.owners, examples.parts, strict=True) if owner == number]
        assert {offsets for part in parts for offsets in part.offsets} == set(item.offsets)
        for part in parts:
            assert (part.id, part.first, part.context, part.answers) == (
                item.id,
                item.first,
                item.context,
                item.answers,
            )
            assert [part.context[start:end] for start, end in part.offsets] == list(part.second)
    assert examples.report["items"] == 2 and examples.report["encoder inputs"] == len(examples.parts)
    assert examples.report["items left out"] == 0


def test_a_question_without_a_window_is_counted_and_wrong(tokenizer, tmp_path):
    examples = Examples(finetune.TASKS["squad"], questions(tmp_path, 400, 5), tokenizer, 512)
    assert examples.report["items left out"] == 1 and set(examples.owners) == {1}
    network = Network(
        checkpoints.open("tiny").config,
        checkpoints.open("tiny").weights(), SpanFinder(()),
    )  # fmt: skip
    counts = network.score(examples)
    assert counts[0].tolist() == [[0, 1], [0, 1]] and counts[1, :, 1].tolist() == [1, 1]
    for task in (finetune.TASKS["squad"], finetune.TASKS["squad"].partially()):
        with pytest.raises(ValueError, match=r"^no item of .*questions.json fits into 384 wordpieces$"):
            Examples(task, questions(tmp_path, 400), tokenizer, 512)


def tree(words, relation="dep"):
    row = "{0}\tx\tx\tNOUN\tNN\t_\t{1}\t{2}\t_\t_\n"
    return "".join(row.format(i, i - 1, relation) for i in range(1, words + 1))


def test_a_tree_is_left_out_rather_than_cut_and_a_pair_is_cut(tokenizer, tmp_path):
    (tmp_path / "mixed.conllu").write_text("\n".join([tree(300), tree(3), tree(4)]) + "\n")
    examples = Examples(finetune.TASKS["parsing"], f"{tmp_path}/mixed.conllu", tokenizer, 512)
    assert examples.owners == [1, 2] and examples.report["items left out"] == 1
    assert examples.report["inputs cut at the length limit"] == 0
    (tmp_path / "long.conllu").write_text(tree(300) + "\n" + tree(301) + "\n")
    with pytest.raises(ValueError, match=r"^no item of .*long.conllu fits into 256 wordpieces$"):
        Examples(finetune.TASKS["parsing"], f"{tmp_path}/long.conllu", tokenizer, 512)
    (tmp_path / "long.tsv").write_text("premise\thypothesis\tlabel\n" + "a " * 300 + "\ta cat\tneutral\n" * 1)
    examples = Examples(finetune.TASKS["nli"], f"{tmp_path}/long.tsv", tokenizer, 512)
    assert examples.owners == [0] and examples.report["inputs cut at the length limit"] == 1


# ---- writing


def test_a_disk_that_is_full_leaves_the_old_checkpoint_and_nothing_half_made(tmp_path):
    target, network = tmp_path / "model", small()

    def write(folder):
        Checkpoint.write(folder, CONFIG, network.export(), checkpoints.open("tiny"), {}, LABELS)

    files.replaced(target, write)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(before)
    with (
        full_disk(4000),
        pytest.raises(OSError, match=r"cannot write .*model.safetensors \(0 MB\): .*; free space there, or") as caught,
    ):
        files.replaced(target, write)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_saving_again_replaces_the_folder_whole(tmp_path):
    for name in ("first", "second"):
        files.replaced(tmp_path / "a" / "model", lambda folder, name=name: (folder / name).touch())
        assert [path.name for path in (tmp_path / "a").rglob("*")] == ["model", name]


def test_a_state_that_cannot_be_written_is_one_message_and_leaves_the_one_before(tmp_path):
    run = Run(update=1, counts=np.zeros(2000))
    run.write(tmp_path / "x", Number())
    before = (tmp_path / "x").read_bytes()
    with (
        full_disk(4000),
        pytest.raises(OSError, match=r"cannot write .*x\S* \(0 MB\): .*; free space there, or choose"),
    ):
        Run(update=2, counts=np.ones(2000)).write(tmp_path / "x", Number())
    assert (tmp_path / "x").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["x"]


# ---- whose state a run takes up


def state_of(**options):
    """Say where a run looks for the state of one before it, without training."""

    class Found(Exception):
        pass

    def found(*given):
        raise Found(given[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "Network", lambda *given: SimpleNamespace(compile=lambda *given: None))
        patch.setattr(tuning, "learn", found)
        with pytest.raises(Found) as caught:
            tune("nli", **{"save": "build/no/model", **options})
    return caught.value.args[0]


@pytest.mark.slow
def test_only_a_run_with_equal_arguments_and_code_takes_up_a_state(monkeypatch, tmp_path):
    shutil.copytree(checkpoints.open("tiny").folder, tmp_path / "copy")
    weights = Checkpoint(tmp_path / "copy").weights()
    weights["embeddings.LayerNorm.bias"][0] += 1
    save_file(weights, tmp_path / "copy" / "model.safetensors")
    others = [
        {"updates": 5}, {"batch_size": 4}, {"learning_rate": 2e-3}, {"head_learning_rate": 2e-3}, {"seed": 2}, {"frozen_layers": 1}, {"kept_layers": 1},
        {"kept_layers": 2}, {"kept_layers": 2, "frozen_layers": 1}, {"evaluations": 3}, {"keep_at": [2]}, {"save": "build/no/other"},
        {"model": str(tmp_path / "copy")}, {"data": DATA["nli"][::-1]}, {"data": ("mnli:train[25]", DATA["nli"][1])},
    ]  # fmt: skip
    monkeypatch.setattr(provenance, "sources", lambda notebook: [ROOT / "pyproject.toml"])
    mine = state_of()
    assert state_of() == mine and mine.parent == files.cache_folder() / "training"
    places = [mine, *(state_of(**other) for other in others)]
    with monkeypatch.context() as patch:
        patch.setattr(tuning, "ROOT", tmp_path)
        places.append(state_of())  # of another clone
    monkeypatch.setattr(provenance, "sources", lambda notebook: [ROOT / "uv.lock"])  # other code
    places.append(state_of())
    assert len(set(places)) == len(places)


# ---- refusals


@pytest.mark.parametrize(
    ("task", "data", "options", "message"),
    [
        ("squadd", "nli", {}, r"^unknown task 'squadd': expected one of \['masked_words', 'nli', 'parsing', 'squad', 'tagging'\]$"),
        ("nli", "nli", {"updates": -1}, "^updates must be at least 1, got -1$"),
        ("nli", "nli", {"batch_size": 0}, "^batch_size must be at least 1, got 0$"),
        ("nli", "nli", {"micro_batch": 3}, "^micro_batch must divide batch_size 8, got 3: expected 0 or one of 1, 2, 4, 8$"),
        ("nli", "nli", {"micro_batch": 16}, "^micro_batch must divide batch_size 8, got 16: expected 0 or one of 1, 2, 4, 8$"),
        ("nli", "nli", {"micro_batch": -4}, "^micro_batch must divide batch_size 8, got -4: expected 0 or one of 1, 2, 4, 8$"),
        ("nli", "nli", {"evaluations": 0}, "^evaluations must be at least 1, got 0$"),
        ("nli", "nli", {"learning_rate": 0.0}, "^learning rates must be greater than 0, got 0.0 and 0.001$"),
        ("nli", "nli", {"head_learning_rate": -1.0}, "^learning rates must be greater than 0, got 0.001 and -1.0$"),
        ("nli", "nli", {"keep_at": [2, 5]}, "^keep_at must lie between 1 and 4, got 5$"),
        ("nli", "nli", {"keep_at": [2], "save": ""}, "^keep_at needs `save`, the folder beside which the checkpoints are kept$"),
        ("nli", "nli", {"keep_at": [0]}, "^keep_at must lie between 1 and 4, got 0$"),
        ("nli", "nli", {"kept_layers": 3}, "^kept_layers must lie between 0 and 2, got 3$"),
        ("nli", "nli", {"frozen_layers": 3}, "^frozen_layers must lie between 0 and 2, got 3$"),
        ("nli", "nli", {"frozen_layers": 2, "kept_layers": 1}, "^frozen_layers must lie between 0 and 1, got 2$"),
        ("nli", "nli", {"reverted_layers": [3]}, "^reverted_layers must lie between 0 and 2, got 3$"),
        ("nli", "parsing", {}, r"^ewt:test\[8\]: item .* cannot be used: natural language inference needs labelled pairs"),
        ("nli", "squad", {}, r"^squad:train\[12\]: item .* cannot be used: natural language inference needs labelled"),
        ("squad", "nli", {}, r"^mnli:train\[24\]: item .* cannot be used: question answering needs questions with answers"),
        ("squad", ("squad:train[8]", "wiki~squad:dev[3]"), {}, r"^wiki~squad:dev\[3\]: item .* cannot be used: question answering needs"),
        ("parsing", "nli", {}, r"^mnli:train\[24\]: item .* cannot be used: dependency parsing needs trees"),
        ("tagging", "nli", {}, r"^mnli:train\[24\]: item .* cannot be used: part-of-speech tagging needs tagged sentences"),
        ("parsing", ("wiki[60]", "ewt:dev[60]"), {}, r"^wiki\[60\]: item .* cannot be used: dependency parsing needs trees"),
        ("nli", ("mnli:train[8]", "ewt:dev[60]"), {}, r"^ewt:dev\[60\]: item .* cannot be used"),
        ("nli", "nli", {"test": ["ewt:dev[60]"]}, r"^ewt:dev\[60\]: item .* cannot be used"),
        ("nli", "nli", {"updates": 0}, "^updates must be at least 1, got 0$"),
    ],
)  # fmt: skip
def test_refusals_are_clear_and_leave_nothing(tmp_path, task, data, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        tune(
            task,
            DATA.get(data, data) if isinstance(data, str) else data,
            **{"save": str(tmp_path / "model"), **options},
        )
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_one_class_only_is_refused(tmp_path):
    (tmp_path / "one.tsv").write_text("premise\thypothesis\tlabel\n" + "a dog\ta cat\tneutral\n" * 4)
    with pytest.raises(ValueError, match=r"every label is 'neutral': at least two labels are needed to learn from"):
        tune("nli", (str(tmp_path / "one.tsv"), DATA["nli"][1]), save=str(tmp_path / "model"))
    assert [p.name for p in tmp_path.iterdir()] == ["one.tsv"]


@pytest.mark.slow
def test_a_head_of_another_shape_is_refused_and_one_that_fits_is_taken():
    network, other = small(), small()
    weights = network.export()
    assert {"pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"} <= set(weights)
    other.take_head(weights, ROOT)
    assert not differing(other.export(), weights)
    weights["classifier.weight"] = np.ones((2, 8), np.float32)
    with pytest.raises(ValueError, match=r"has another shape, \(8, 2\), for 'classifier.weight' \(8, 3\)$"):
        other.take_head(weights, ROOT)


class Planted:
    """A classifier of which the outputs are known, under names of its own for them."""

    def __init__(self, names, outputs, labels):
        self.head = SimpleNamespace(names=list(names), chance=1 / 3)
        self.outputs, self.labels = outputs, labels

    def predict(self, inputs):
        return self.outputs

    def counts(self, head, predict, items):
        right = [head.names[output] == label for output, label in zip(predict({}), self.labels, strict=True)]
        return np.array([[[one, 1]] for one in right[:items]], float)


GOLD = [n % 3 for n in range(300)]
GUESSED = np.random.default_rng(0).integers(3, size=300).tolist()


@pytest.mark.parametrize(
    ("names", "outputs", "stops"),
    [
        (LABELS, GOLD, False),
        (LABELS[1:] + LABELS[:1], GOLD, True),
        (LABELS[::-1], GOLD, True),  # one name of three is right
        (LABELS[::-1], [*GOLD[:240], *GUESSED[:60]], True),
        (LABELS, GUESSED, False),
        (LABELS, [0] * 300, False),
        (LABELS[::-1], GOLD[:3], False),  # so few tell nothing
    ],
)
def test_names_under_which_a_classifier_does_far_worse_than_under_others_are_refused(names, outputs, stops):
    network = Planted(names, outputs, [LABELS[n] for n in GOLD[: len(outputs)]])
    dev = SimpleNamespace(reference="mnli:dev", counts=network.counts)
    if stops:
        with pytest.raises(
            ValueError, match=r"is right in 0.\d\d of 300 items of mnli:dev .* would be in .* wrong order\?$"
        ):
            scoring.sanity(network, dev, "theirs")
    else:
        scoring.sanity(network, dev, "theirs")
    assert network.head.names == list(names)


# ---- whole runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Tune on a task as often as there are different seeds; give the folder and what was returned."""
    folder = tmp_path_factory.mktemp("models")

    @functools.cache
    def make(task, seed=1):
        target = folder / f"{task}-{seed}"
        return target, tune(task, seed=seed, save=str(target))

    return make


def weights_in(folder):
    return (folder / "model.safetensors").read_bytes()


def measured(tuned, method=None):
    """Give all numbers of some rows: of the plain scores, or of another method."""
    rows = [row for row in tuned.rows if row.get("method") == method]
    return [
        {k: v.tolist() if k == "replicates" else v for k, v in row.items() if k not in ("method", "target")}
        for row in rows
    ]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["nli", "squad", "parsing"])
def test_the_same_seed_gives_the_same_bytes(made, tmp_path, task):
    first, tuned = made(task)
    again = tune(task, save=str(tmp_path / "again"))
    assert weights_in(first) == weights_in(tmp_path / "again") and tuned.curve.equals(again.curve)
    for method in (None, "weights"):
        assert measured(tuned, method) == measured(again, method) != []
    assert tuned.inputs == again.inputs and tuned.items.equals(again.items)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["nli", "squad", "parsing"])
def test_another_seed_gives_other_bytes(made, task):
    (first, tuned), (other, differently) = made(task), made(task, seed=2)
    assert weights_in(first) != weights_in(other) and not tuned.curve.equals(differently.curve)
    assert tuned.inputs == differently.inputs


@pytest.mark.slow
@pytest.mark.parametrize("task", finetune.TASKS)
def test_a_saved_checkpoint_scores_as_training_said_and_has_moved_as_far(made, task):
    folder, tuned = made(task)
    scored = assess(task, folder, base="tiny")
    assert measured(scored, "fine-tuning") == measured(tuned) != [] and not scored.notes
    assert measured(scored, "weights") == measured(tuned, "weights") != []


@pytest.mark.slow
def test_a_saved_checkpoint_is_one_that_says_how_it_was_made(made):
    folder, tuned = made("nli")
    base = checkpoints.open("tiny")
    before, after = base.weights(), Checkpoint(folder).weights()
    assert set(after) - set(before) == {
        "pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias",
    }  # fmt: skip
    assert Checkpoint(folder).config == base.config
    raw = json.loads((folder / "config.json").read_text())
    assert raw["id2label"] == {str(n): name for n, name in enumerate(LABELS)}
    assert raw["label2id"] == {name: n for n, name in enumerate(LABELS)}
    assert Checkpoint(folder).record == tuned.origin
    assert {"base": "tiny", "task": "nli", "seed": 1, "layers_changed": "all"}.items() <= tuned.origin.items()
    assert Checkpoint(folder).tokenizer_digest == base.tokenizer_digest
    assert tuned.inputs["weights"] == base.weights_digest != Checkpoint(folder).weights_digest
    assert not [path for path in folder.parent.iterdir() if path.name.startswith("tmp")]
    for row in measured(tuned):
        assert row["ci_low"] <= row["value"] <= row["ci_high"] and (row["corpus"], row["split"]) == (
            "mnli",
            "dev[40]",
        )


@pytest.mark.slow
def test_what_is_only_looked_at_changes_nothing(made, tmp_path):
    folder, tuned = made("nli")
    other = tune(
        "nli", save=str(tmp_path / "model"), reverted_layers=[0, 1, 2], keep_at=[2], test=["mnli:dev[10]"]
    )  # fmt: skip
    assert weights_in(folder) == weights_in(tmp_path / "model") != weights_in(tmp_path / "model-2")
    assert Checkpoint(tmp_path / "model-2").record["updates"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model-2"]
    reverted = measured(other, "layer reverted")
    assert [row["layer"] for row in reverted] == [layer for layer in range(3) for _ in range(len(reverted) // 3)]
    assert measured(other)[: len(measured(tuned))] == measured(tuned)
    assert {row["split"] for row in measured(other)} == {"dev[40]", "dev[10]"}


@pytest.mark.slow
def test_where_nothing_moved_putting_layers_back_costs_nothing():
    tuned = tune("parsing", updates=1, frozen_layers=2, reverted_layers=[0, 1, 2])
    plain = [row["value"] for row in measured(tuned)]
    assert [row["value"] for row in measured(tuned, "layer reverted")] == plain * 3
    assert {row["value"] for row in measured(tuned, "weights")} == {0, 1}


@pytest.mark.slow
@pytest.mark.parametrize(("frozen", "name"), [(1, "top_1_of_2"), (2, "head_only")])
def test_frozen_layers_stay_bit_by_bit_and_all_others_move(tmp_path, frozen, name):
    tuned = tune("nli", updates=2, frozen_layers=frozen, save=str(tmp_path / "model"))
    before, after = (c.weights() for c in (checkpoints.open("tiny"), Checkpoint(tmp_path / "model")))
    moved = differing(before, after)
    above = {key for key in before if any(f"layer.{block}." in key for block in range(frozen, 2))}
    assert moved <= above and {key for key in above if before[key].ndim == 2} <= moved
    distances = [row["value"] for row in measured(tuned, "weights") if row["metric"] == "relative_l2"][-3:]
    assert [distance > 0 for distance in distances] == [False] * (frozen + 1) + [True] * (2 - frozen)
    assert tuned.origin["layers_changed"] == name


@pytest.mark.slow
def test_kept_layers_are_those_of_the_encoder_that_they_come_from(made, tmp_path):
    folder, _ = made("nli")
    tuned = tune("nli", model=str(folder), updates=2, kept_layers=1, frozen_layers=1, save=str(tmp_path / "lower"))
    assert Checkpoint(tmp_path / "lower").config.num_hidden_layers == 1
    assert tuned.origin["layers_changed"] == "first_1_of_2_frozen" and tuned.origin["base"] == "tiny"
    whole, lower = (encoder.build(Checkpoint(f).config, Checkpoint(f).weights()) for f in (folder, tmp_path / "lower"))
    for one, other in zip(whole.predict_on_batch(batch()[0])[:2], lower.predict_on_batch(batch()[0]), strict=True):
        np.testing.assert_array_equal(one, other)


KILLED = """
import os, signal, sys
sys.path.insert(0, "tests")
import conftest  # its checks draw random numbers
from bert_repro import finetune
from bert_repro.finetune.network import Network

step, taken = Network.step, []
def dying(*given):
    if len(taken) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    taken.append(1)
    return step(*given)
Network.step = dying
recipe = finetune.Recipe("nli", *sys.argv[2:], evaluations=2, micro_batch=4, updates=4, batch_size=8, learning_rate=1e-3)
finetune.train("tiny", recipe, save=sys.argv[1], resamples=100)
"""


@pytest.mark.slow
def test_a_run_that_was_killed_comes_to_the_same_bytes_and_rows(tmp_path, monkeypatch):
    undisturbed = tune("nli", evaluations=2, micro_batch=4, save=str(tmp_path / "undisturbed"))
    states = files.cache_folder() / "training"
    assert not list(states.iterdir())
    target = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", KILLED, target, *DATA["nli"]], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(states.iterdir())) == 1 and not target.exists()
    taken, step = [], Network.step
    monkeypatch.setattr(Network, "step", lambda *given: taken.append(1) or step(*given))
    resumed = tune("nli", evaluations=2, micro_batch=4, save=str(target))
    assert len(taken) == 2  # of four: it went on from the evaluation after two
    assert weights_in(target) == weights_in(tmp_path / "undisturbed")
    assert (target / "config.json").read_bytes() == (tmp_path / "undisturbed" / "config.json").read_bytes()
    for method in (None, "weights"):
        assert measured(resumed, method) == measured(undisturbed, method)
    assert resumed.curve.equals(undisturbed.curve) and not list(states.iterdir())


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Learn a few pairs by heart: a checkpoint whose task head is nearly always right, and what was returned."""
    folder, text = tmp_path_factory.mktemp("learned") / "model", "mnli:train[32]"
    options = {"updates": 60, "batch_size": 16, "learning_rate": 4e-3, "head_learning_rate": 4e-3, "save": str(folder)}
    return folder, (text, text), tune("nli", (text, text), **options)


@pytest.mark.slow
def test_a_task_is_learned_and_watched_at_four_points(learned):
    _, _, tuned = learned
    curve = {name: part["value"].tolist() for name, part in tuned.curve.groupby("metric")}
    assert sorted(curve) == ["accuracy", "loss"] and tuned.metric == "accuracy"
    assert tuned.curve["updates"].unique().tolist() == [15, 30, 45, 60]
    assert curve["loss"][-1] < 0.8 * curve["loss"][0]
    assert measured(tuned)[0]["value"] == max(curve["accuracy"]) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("parsing", "ewt:test[32]"),
        ("tagging", "ewt:test[32]"),
        ("squad", "squad:train[32]"),
    ],
)
def test_every_other_task_is_learned_too(task, text):
    tuned = tune(task, (text, text), updates=40, batch_size=16, learning_rate=4e-3, head_learning_rate=4e-3)
    curve = {name: part["value"].tolist() for name, part in tuned.curve.groupby("metric")}
    assert sorted(curve) == sorted(["loss", *finetune.TASKS[task].head.metrics])
    assert curve["loss"][-1] < 0.8 * curve["loss"][0] and curve[tuned.metric][-1] > curve[tuned.metric][0]


def renamed(folder, target, names, order=(0, 1, 2)):
    """Copy a checkpoint with other names of its labels, its classifier in another order."""
    shutil.copytree(folder, target)
    raw = json.loads((target / "config.json").read_text()) | {"id2label": dict(enumerate(names))}
    (target / "config.json").write_text(json.dumps(raw))
    weights = load_file(target / "model.safetensors")
    for key in ("classifier.weight", "classifier.bias"):
        weights[key] = weights[key][list(order)]
    save_file(weights, target / "model.safetensors")
    return str(target)


@pytest.mark.slow
def test_labels_are_told_by_their_names_in_any_order_and_case(learned, tmp_path):
    folder, data, tuned = learned
    order = (2, 0, 1)
    turned = renamed(folder, tmp_path / "turned", [LABELS[n].upper() for n in order], order)
    assert measured(assess("nli", turned, data[1]), "fine-tuning") == measured(tuned)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (LABELS[1:] + LABELS[:1], r"the task head of .* is right in 0.0\d of 32 items of mnli:train\[32\] .* in the wrong order\?$"),
        (("LABEL_0", "LABEL_1", "LABEL_2"), r"does not name the labels of its task head \(.*'LABEL_1'.*needs them: say them in the order"),
        ((), r"does not name the labels of its task head \(id2label in config.json: nothing\), and natural language inference needs"),
        (("yes", "no", "maybe"), r"labels are named \['yes', .*\], expected .*: name them in `id2label`"),
    ],
)  # fmt: skip
def test_names_that_are_wrong_or_say_nothing_are_refused(learned, tmp_path, names, message):
    folder, data, _ = learned
    with pytest.raises(ValueError, match=message):
        assess("nli", renamed(folder, tmp_path / "wrong", names), data[1])


@pytest.mark.slow
def test_labels_that_a_config_does_not_name_can_be_said(learned, tmp_path):
    folder, data, tuned = learned
    nameless = renamed(folder, tmp_path / "nameless", ("LABEL_0", "LABEL_1", "LABEL_2"))
    assert measured(assess("nli", nameless, data[1], labels=LABELS), "fine-tuning") == measured(tuned)


@pytest.mark.slow
def test_a_checkpoint_of_another_task_has_no_head_for_this_one(made):
    folder, _ = made("tagging")
    scored = assess("squad", folder, base="untrained:tiny")
    (note,) = scored.notes
    assert note.endswith("brings no task head of this kind: it has no weight 'qa_outputs.weight'.")
    assert {row["method"] for row in scored.rows} == {"weights"}  # the rest is measured all the same


LOGITS = """
import sys, numpy, torch, transformers
for folder, kind in zip(sys.argv[2:], ("AutoModelForSequenceClassification", "AutoModelForQuestionAnswering")):
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    given = {key: torch.tensor(array).long() for key, array in numpy.load(sys.argv[1]).items()}
    with torch.no_grad():
        said = model(**given)
    logits = [said.logits] if "logits" in said else [said.start_logits, said.end_logits]
    numpy.savez(folder + "/logits.npz", *logits)
"""


@pytest.mark.slow
def test_pytorch_finds_our_task_heads_and_gives_the_same_logits(made, tmp_path):
    python = pytorch.python()
    (pairs, _), (spans, _), inputs = made("nli"), made("squad"), batch()[0]
    np.savez(
        tmp_path / "inputs.npz", input_ids=inputs["token_ids"], token_type_ids=inputs["segment_ids"],
        attention_mask=inputs["mask"],
    )  # fmt: skip
    subprocess.run([python, "-c", LOGITS, tmp_path / "inputs.npz", pairs, spans], check=True, capture_output=True)
    for folder, head, extra in (
        (pairs, PairClassifier(LABELS), {}), (spans, SpanFinder(()), {"allowed": inputs["mask"]}),
    ):  # fmt: skip
        weights = Checkpoint(folder).weights()
        network = Network(Checkpoint(folder).config, weights, head)
        network.take_head(weights, folder)
        ours = network.predict(inputs | extra)
        theirs = [array for _, array in sorted(np.load(folder / "logits.npz").items())]
        if head.metrics[0] == "f1":  # ours are logarithms of probabilities
            theirs = [logits - np.log(np.exp(logits).sum(-1, keepdims=True)) for logits in theirs]
        for one, other in zip(ours.values(), theirs, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
