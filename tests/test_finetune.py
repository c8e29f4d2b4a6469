"""Fine-tuning: it learns, it repeats itself bit by bit, what it saves can be read back, and it refuses what it cannot use."""

import numpy as np
import pytest

from bert_repro import checkpoints, encoder, finetune

RECORD = {"base": "tiny", "task": "nli", "seed": 1, "updates": 4, "layers_changed": "all"}
NLI = ("sample-nli:train[24]", "sample-nli:dev[12]")
TREES = ("sample-trees:train[8]", "sample-trees:dev[6]")
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "text", "updates", "metrics"),
    [
        ("parsing", "sample-trees:train[32]", 40, ["uas", "las"]),
        ("nli", "sample-nli:train[32]", 60, ["accuracy"]),
    ],
)
def test_a_task_is_learned_and_watched_at_four_points(task, text, updates, metrics):
    tuned = tune(task, (text, text), updates=updates, batch_size=16, learning_rate=4e-3)
    curve = {name: part["value"].tolist() for name, part in tuned.curve.groupby("metric")}
    assert sorted(curve) == sorted(["loss", *metrics])
    for name in curve:
        points = tuned.curve[tuned.curve["metric"] == name]["updates"].tolist()
        assert points == [updates // 4, updates // 2, updates * 3 // 4, updates]
    assert curve["loss"][-1] < 0.8 * curve["loss"][0]
    assert curve[metrics[0]][-1] > curve[metrics[0]][0] and curve[metrics[0]][-1] > 0.6
    for row, name in zip(tuned.rows, metrics, strict=True):
        assert row["metric"] == name and row["value"] == pytest.approx(curve[name][-1])
        assert row["ci_low"] <= row["value"] <= row["ci_high"]


@pytest.mark.slow
def test_cut_trees_are_dropped_and_relations_new_in_dev_are_wrong(tmp_path):
    row = "{0}\tx\tx\tNOUN\tNN\t_\t{1}\t{2}\t_\t_\n"
    long = "".join(row.format(i, i - 1, "dep") for i in range(1, 300))
    short = "".join(row.format(i, i - 1, "dep") for i in range(1, 4))
    odd = "".join(row.format(i, i - 1, "odd") for i in range(1, 4))
    for name, sentences in {"mixed": [long, short, short], "long": [long, long], "odd": [short, odd]}.items():
        (tmp_path / f"{name}.conllu").write_text("\n".join(sentences) + "\n")
    tuned = tune("parsing", (f"{tmp_path}/mixed.conllu", f"{tmp_path}/odd.conllu"), updates=1)
    assert tuned.dropped == 1  # a tree that was cut is no tree
    assert set(tuned.curve["updates"]) == {1}  # one update, one evaluation
    uas, las = tuned.rows
    assert (uas["n"], las["n"]) == (6, 6) and las["value"] <= 0.5
    with pytest.raises(ValueError, match=r"no item of .*long.conllu fits into 256 pieces"):
        tune("parsing", (f"{tmp_path}/long.conllu", TREES[1]))


# Repeating


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_others(saved):
    bytes_of = {name: (folder / "model.safetensors").read_bytes() for name, (folder, _) in saved.items()}
    assert bytes_of["first"] == bytes_of["again"] != bytes_of["other"]
    first, again, other = (tuned for _, tuned in saved.values())
    assert first.curve.equals(again.curve) and not first.curve.equals(other.curve)
    for one, two in zip(first.rows, again.rows, strict=True):
        np.testing.assert_array_equal(one.pop("replicates"), two.pop("replicates"))
        assert one == two
    assert first.inputs == again.inputs == other.inputs


@pytest.mark.slow
def test_the_same_seed_gives_the_same_parser_and_saving_again_replaces_the_folder(tmp_path):
    target = tmp_path / "model"
    tune("parsing", TREES, updates=2, save=str(target))
    first = checkpoints.read_weights(target)
    (target / "left.txt").write_text("from before")
    tune("parsing", TREES, updates=2, save=str(target), record=RECORD | {"seed": 7})
    again = checkpoints.read_weights(target)
    assert checkpoints.record(target)["seed"] == 7 and not (target / "left.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert set(first) == set(again) and any("arcs" in key for key in first)
    for key in first:
        np.testing.assert_array_equal(first[key], again[key])


# Saving


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_saved_checkpoint_can_be_tuned_on(saved, tmp_path):
    folder, _ = saved["first"]
    again = finetune.train(str(folder), "nli", *NLI, updates=1, save=str(tmp_path / "more"), **SMALL)
    assert again.inputs["weights"] == checkpoints.weights_digest(folder)
    keys = [key for key in checkpoints.read_weights(tmp_path / "more") if key.startswith("head.")]
    assert sorted(keys) == sorted(key for key in checkpoints.read_weights(folder) if key.startswith("head."))


@pytest.mark.slow
def test_a_save_that_fails_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text("{}")

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoints, "write", full)
    base = checkpoints.resolve("tiny")
    config = checkpoints.read_config(base)
    network = encoder.build(config)
    with pytest.raises(OSError, match="no space left"):
        finetune._save(target, config, network, network, base, RECORD)
    assert [p.name for p in tmp_path.iterdir()] == ["model"] and (target / "config.json").read_text() == "{}"


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
    examples = finetune._Examples(finetune.TASKS["parsing"], f"sample-trees:train[{items}]", tokenizer, 512)
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
    tokenizer = checkpoints.load_tokenizer(checkpoints.resolve("tiny"))
    dev = finetune._Examples(finetune.TASKS["parsing"], "sample-trees:dev[150]", tokenizer, 512)

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
    np.testing.assert_array_equal(counts[:, 0, 0], [len(item.words) for item in dev.items])


# Refusals


@pytest.mark.parametrize(
    ("task", "data", "options", "message"),
    [
        ("squadd", NLI, {}, r"unknown task 'squadd': expected one of \['nli', 'parsing'\]"),
        ("nli", NLI, {"updates": 0}, "updates and batch_size must be at least 1, got 0 and 8"),
        ("nli", NLI, {"batch_size": 0}, "updates and batch_size must be at least 1, got 4 and 0"),
        ("nli", TREES, {}, r"sample-trees:train\[8\] holds no labelled pairs: a corpus such as sample-nli:train"),
        ("nli", ("sample-questions:train", NLI[1]), {}, "sample-questions:train holds no labelled pairs"),
        ("nli", (NLI[0], TREES[1]), {}, r"sample-trees:dev\[6\] holds no labelled pairs"),
        ("parsing", NLI, {}, r"sample-nli:train\[24\] has no trees: a treebank \(CoNLL-U\) is needed here"),
        ("parsing", ("sample-text", TREES[1]), {}, "sample-text has no trees"),
        ("parsing", (TREES[0], NLI[1]), {}, r"sample-nli:dev\[12\] has no trees"),
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
