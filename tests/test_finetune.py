"""Fine-tuning: it learns, it repeats itself bit by bit, what it saves can be read back, and it refuses what it cannot use."""

import json

import numpy as np
import pytest

from bert_repro import checkpoints, finetune, heads, intervals

RECORD = {"base": "tiny", "task": "nli", "seed": 1, "updates": 4, "layers_changed": "all"}
NLI = ("sample-nli:train[48]", "sample-nli:dev[30]")
TREES = ("sample-trees:train[48]", "sample-trees:dev[30]")
SMALL = {"batch_size": 8, "learning_rate": 1e-3, "resamples": 100}


def tune(task, data, **options):
    return finetune.train("tiny", task, *data, **{**SMALL, "updates": 4, "record": RECORD, **options})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The same fine-tuning three times, the third with another seed: the folders and what was returned."""
    folder = tmp_path_factory.mktemp("models")
    seeds = {"first": 1, "again": 1, "other": 2}
    return {name: (folder / name, tune("nli", NLI, seed=seed, save=str(folder / name))) for name, seed in seeds.items()}


# Learning


@pytest.mark.parametrize(
    ("task", "data", "updates", "metric"),
    [
        ("parsing", ("sample-trees:train[60]", "sample-trees:train[60]"), 60, "uas"),
        ("nli", ("sample-nli:train[32]", "sample-nli:train[32]"), 60, "accuracy"),
    ],
)
def test_a_task_is_learned(task, data, updates, metric):
    tuned = tune(task, data, updates=updates, batch_size=16, learning_rate=4e-3)
    loss = tuned.curve[tuned.curve["metric"] == "loss"]["value"].tolist()
    scores = tuned.curve[tuned.curve["metric"] == metric]["value"].tolist()
    assert loss[-1] < 0.8 * loss[0]
    assert scores[-1] > scores[0] and scores[-1] > 0.6
    assert tuned.rows[0]["metric"] == metric and tuned.rows[0]["value"] == pytest.approx(scores[-1])
    assert tuned.rows[0]["ci_low"] <= tuned.rows[0]["value"] <= tuned.rows[0]["ci_high"]


@pytest.mark.parametrize(("updates", "points"), [(4, [1, 2, 3, 4]), (40, [10, 20, 30, 40])])
def test_the_curve_has_four_evaluations(updates, points):
    data = ("sample-trees:train[4]", "sample-trees:dev[4]")
    curve = tune("parsing", data, updates=updates, batch_size=2).curve
    for metric in ("loss", "uas", "las"):
        assert curve[curve["metric"] == metric]["updates"].tolist() == points
    assert np.isfinite(curve["value"]).all()


def test_one_update_is_one_evaluation():
    assert tune("nli", NLI, updates=1).curve["updates"].tolist() == [1, 1]


def test_a_dev_relation_that_training_lacks_is_no_error(tmp_path):
    lines = "1\tGo\tgo\tVERB\tVB\t_\t0\troot\t_\t_\n2\t!\t!\tPUNCT\t.\t_\t1\t{}\t_\t_\n\n"
    (tmp_path / "train.conllu").write_text(lines.format("punct") * 3)
    (tmp_path / "dev.conllu").write_text(lines.format("discourse") * 3)
    uas, las = tune("parsing", (f"{tmp_path}/train.conllu", f"{tmp_path}/dev.conllu"), updates=1).rows
    assert (uas["n"], las["n"]) == (6, 6) and las["value"] <= 0.5


def test_items_that_a_task_cannot_use_are_counted(tmp_path):
    row = "{0}\tx\tx\tNOUN\tNN\t_\t{1}\tdep\t_\t_\n"
    long = "".join(row.format(i, i - 1) for i in range(1, 300))  # a tree that was cut is no tree
    short = "".join(row.format(i, i - 1) for i in range(1, 4))
    (tmp_path / "mixed.conllu").write_text("\n".join([long, short, short]) + "\n")
    assert tune("parsing", (f"{tmp_path}/mixed.conllu", TREES[1]), updates=1).dropped == 1
    (tmp_path / "long.conllu").write_text("\n".join([long, long]) + "\n")
    with pytest.raises(ValueError, match=r"no item of .*long.conllu fits into 256 pieces"):
        tune("parsing", (f"{tmp_path}/long.conllu", TREES[1]), updates=1)


# Repeating


def test_the_same_seed_gives_the_same_bytes_and_another_others(saved):
    bytes_of = {name: (folder / "model.safetensors").read_bytes() for name, (folder, _) in saved.items()}
    assert bytes_of["first"] == bytes_of["again"] != bytes_of["other"]
    first, again, other = (tuned for _, tuned in saved.values())
    assert first.curve.equals(again.curve) and not first.curve.equals(other.curve)
    for one, two in zip(first.rows, again.rows, strict=True):
        np.testing.assert_array_equal(one.pop("replicates"), two.pop("replicates"))
        assert one == two
    assert first.inputs == again.inputs == other.inputs


def test_the_same_seed_gives_the_same_parser(tmp_path):
    for name in ("first", "again"):
        tune("parsing", TREES, updates=2, save=str(tmp_path / name))
    first, again = (checkpoints.read_weights(tmp_path / name) for name in ("first", "again"))
    assert any("arcs" in key for key in first)
    for key in first:
        np.testing.assert_array_equal(first[key], again[key])


# Saving


def test_a_saved_checkpoint_is_a_checkpoint(saved):
    folder, tuned = saved["first"]
    base = checkpoints.resolve("tiny")
    before, after = checkpoints.read_weights(base), checkpoints.read_weights(folder)
    changed = {key for key, array in before.items() if not np.array_equal(array, after[key])}
    assert {key for key in before if "encoder.layer.0" in key and "query.weight" in key} <= changed
    assert len(changed) > len(before) / 2
    assert {key.split(".")[1] for key in set(after) - set(before)} == {"pooler", "classifier"}
    assert all(key.startswith("head.") for key in set(after) - set(before))
    assert checkpoints.read_config(folder) == checkpoints.read_config(base)
    assert checkpoints.record(folder) == RECORD and checkpoints.record(base) == {}
    assert checkpoints.tokenizer_digest(folder) == checkpoints.tokenizer_digest(base)
    assert tuned.inputs["weights"] == checkpoints.weights_digest(base) != checkpoints.weights_digest(folder)
    assert sorted(p.name for p in folder.parent.iterdir()) == ["again", "first", "other"]  # and nothing half-made


def test_a_saved_checkpoint_can_be_tuned_on(saved, tmp_path):
    folder, _ = saved["first"]
    again = finetune.train(str(folder), "nli", *NLI, updates=1, save=str(tmp_path / "more"), **SMALL)
    assert again.inputs["weights"] == checkpoints.weights_digest(folder)
    keys = [key for key in checkpoints.read_weights(tmp_path / "more") if key.startswith("head.")]
    assert sorted(keys) == sorted(key for key in checkpoints.read_weights(folder) if key.startswith("head."))


def test_saving_again_replaces_the_folder(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "left.txt").write_text("from before")
    tune("nli", NLI, updates=1, save=str(target), record=RECORD | {"updates": 1})
    assert checkpoints.record(target)["updates"] == 1
    assert not (target / "left.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_save_that_fails_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text("{}")

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoints, "write", full)
    with pytest.raises(OSError, match="no space left"):
        tune("nli", NLI, updates=1, save=str(target))
    assert [p.name for p in tmp_path.iterdir()] == ["model"] and (target / "config.json").read_text() == "{}"


def test_a_record_is_json(saved):
    folder, _ = saved["first"]
    assert json.loads((folder / "config.json").read_text())["bert_repro"] == RECORD


# The rate and the batches


@pytest.mark.parametrize("updates", [1, 4, 10, 100])
def test_the_rate_rises_to_its_peak_at_a_tenth_and_falls_to_nearly_nothing(updates):
    rates = np.array([float(finetune.LinearWarmup(2.0, updates)(step)) for step in range(updates)])
    warmup = max(1, updates // 10)
    assert rates.argmax() == warmup - 1 and rates.max() == pytest.approx(2)
    assert (rates > 0).all()  # no update is wasted
    np.testing.assert_allclose(np.diff(rates[:warmup]), 2 / warmup, rtol=1e-4)
    falling = np.diff(rates[warmup - 1 :])
    assert (falling < 0).all()
    if updates > 1:
        np.testing.assert_allclose(falling, falling[0], rtol=1e-3)
        assert rates[-1] == pytest.approx(-falling[0], rel=1e-3)  # one more step would be 0
    assert float(finetune.LinearWarmup(2.0, updates)(updates + 5)) == 0


@pytest.mark.parametrize(("items", "size"), [(40, 8), (43, 8), (5, 8), (8, 8), (450, 4)])
def test_batches_cover_an_epoch_and_nothing_twice(items, size):
    tokenizer = checkpoints.load_tokenizer(checkpoints.resolve("tiny"))
    examples = finetune._Examples(finetune.TASKS["parsing"], f"sample-trees:train[{items}]", tokenizer)
    drawn = examples.batches(size, np.random.default_rng(1))
    per_epoch = max(1, items // size)
    epochs = [np.concatenate([next(drawn) for _ in range(per_epoch)]) for _ in range(2)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == min(items, per_epoch * size)
    if items > 8:
        assert epochs[0].tolist() != epochs[1].tolist()
    again = examples.batches(size, np.random.default_rng(1))
    assert np.concatenate([next(again) for _ in range(per_epoch)]).tolist() == epochs[0].tolist()
    in_order = np.concatenate(list(examples.by_length(size)))
    assert sorted(in_order) == list(range(items))


def test_scores_come_back_in_the_order_of_the_items():
    """Items are evaluated by length; each count must still belong to its own sentence."""
    tuned = tune("parsing", TREES, updates=1)
    tokenizer = checkpoints.load_tokenizer(checkpoints.resolve("tiny"))
    dev = finetune._Examples(finetune.TASKS["parsing"], TREES[1], tokenizer)
    weights = intervals.draws(dev.digest, len(dev.items), 100)
    words = np.array([len(item.words) for item in dev.items])
    assert tuned.rows[0]["n"] == words.sum()

    class Lengths:
        metrics = ("words",)

        def arrays(self, items, inputs, length):
            return {}, {}

        def score(self, items, outputs):
            return np.array([[[len(item.words), 1]] for item in items], float)

    class Nothing:
        def predict_on_batch(self, inputs):
            return {}

    counts = finetune._evaluate(Nothing(), Lengths(), dev)
    np.testing.assert_array_equal(counts[:, 0, 0], words)
    assert weights.shape == (100, len(words))


# Refusals


@pytest.mark.parametrize(
    ("task", "data", "options", "message"),
    [
        ("squadd", NLI, {}, r"unknown task 'squadd': expected one of \['nli', 'parsing'\]"),
        ("nli", NLI, {"updates": 0}, "updates and batch_size must be at least 1, got 0 and 8"),
        ("nli", NLI, {"batch_size": 0}, "updates and batch_size must be at least 1, got 4 and 0"),
        ("nli", TREES, {}, r"sample-trees:train\[48\] holds no labelled pairs: a corpus such as sample-nli:train"),
        ("nli", ("sample-questions:train", NLI[1]), {}, "sample-questions:train holds no labelled pairs"),
        ("nli", (NLI[0], TREES[1]), {}, r"sample-trees:dev\[30\] holds no labelled pairs"),
        ("parsing", NLI, {}, r"sample-nli:train\[48\] has no trees: a treebank \(CoNLL-U\) is needed here"),
        ("parsing", ("sample-text", TREES[1]), {}, "sample-text has no trees"),
        ("parsing", (TREES[0], NLI[1]), {}, r"sample-nli:dev\[30\] has no trees"),
    ],
)
def test_refusals_are_clear_and_leave_nothing(tmp_path, task, data, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        tune(task, data, save=str(tmp_path / "model"), **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_one_class_only_is_refused(tmp_path):
    (tmp_path / "one.tsv").write_text("premise\thypothesis\tlabel\n" + "a dog\ta cat\tneutral\n" * 4)
    with pytest.raises(ValueError, match=r"at least two of the labels .* got \['neutral'\]"):
        tune("nli", (str(tmp_path / "one.tsv"), NLI[1]), save=str(tmp_path / "model"))
    assert [p.name for p in tmp_path.iterdir()] == ["one.tsv"]


def test_every_task_has_a_head_with_the_contract():
    for task in finetune.TASKS.values():
        for name in ("outputs", "arrays", "losses", "score", "metrics"):
            assert hasattr(task.head, name)
    assert finetune.TASKS["parsing"].head is heads.BiaffineParser
