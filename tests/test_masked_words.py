"""Masked words: exactly so many are masked, in the shares of BERT; text is covered once an epoch; PyTorch agrees on every logit."""

import dataclasses
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_repro import backend, checkpoints, finetune
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.checkpoints.families import ARCHITECTURES, Config
from bert_repro.files import ROOT
from bert_repro.finetune import loop, running_text
from bert_repro.finetune.heads import masked_words
from bert_repro.finetune.network import Network
from bert_repro.finetune.running_text import RunningText
from bert_repro.finetune.tasks import Task

TASK: Task = finetune.TASKS["masked_words"]
TORCH = ROOT / ".venv-torch" / "bin" / "python"


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """Give a folder with two texts whose documents are each about two words."""
    folder, generator = tmp_path_factory.mktemp("text"), np.random.default_rng(0)
    words = "time people year way day man thing woman life child world school state family student group".split()
    for name, documents in (("train", 60), ("dev", 12)):
        lines = []
        for _ in range(documents):
            topic = generator.choice(words, 2, replace=False)
            lines += [f"{first} {second} {first} {first}" for first, second in generator.choice(topic, (30, 2))]
            lines.append("")
        (folder / f"{name}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def tokenizer():
    return checkpoints.open("tiny").tokenizer


@pytest.fixture(scope="module")
def read(text, tokenizer) -> RunningText:
    return RunningText(TASK, f"{text}/train.txt", tokenizer, 512)


# ---- masks


@given(st.integers(0, 10**6), st.integers(8, 200), st.floats(0.05, 0.4))
@settings(max_examples=30, deadline=None)
def test_as_many_are_masked_in_every_input_and_only_what_may_be(seed, length, share):
    generator = np.random.default_rng(seed)
    pieces = generator.integers(5, 90, (4, length))
    maskable = generator.random(pieces.shape) < 0.9
    masked, places, gold = masked_words.mask(pieces, maskable, np.arange(5, 90), 4, share, np.random.default_rng(seed))
    assert places.shape == gold.shape == (4, round(share * length))
    assert all((np.diff(row) > 0).all() for row in places)
    counted = gold >= 0
    assert (counted.sum(1) == np.minimum(maskable.sum(1), round(share * length))).all()
    assert (np.take_along_axis(maskable, places, 1) == counted).all()
    assert (gold[counted] == np.take_along_axis(pieces, places, 1)[counted]).all()
    untouched = np.ones(pieces.shape, bool)
    np.put_along_axis(untouched, places, ~counted, 1)
    assert (masked[untouched] == pieces[untouched]).all()


def test_of_masked_pieces_80_percent_are_the_mask_10_random_and_10_as_they_were():
    pieces = np.full((400, 100), 7)
    masked, places, _ = masked_words.mask(pieces, pieces > 0, np.arange(1000, 2000), 4, 0.15, np.random.default_rng(1))
    chosen = np.take_along_axis(masked, places, 1)
    shares = [(chosen == 4).mean(), (chosen >= 1000).mean(), (chosen == 7).mean()]
    # three standard errors of 6,000 draws
    assert np.allclose(shares, [0.8, 0.1, 0.1], atol=3 * (0.16 / 6000) ** 0.5)
    assert len(set(chosen[chosen >= 1000].tolist())) > 300


# ---- running text


def test_the_pieces_are_those_of_the_text_with_a_separator_behind_each_document(read, text, tokenizer):
    documents = (text / "train.txt").read_text().split("\n\n")
    expected = [
        number
        for document in documents
        for number in [
            *tokenizer(document.replace("\n", " "), add_special_tokens=False)["input_ids"],
            tokenizer.sep_token_id,
        ]
    ]
    assert read.pieces.tolist() == expected
    assert len(read.items) == len(read.ends) == 60 and read.ends[-1] == len(expected)


def test_an_epoch_covers_the_text_and_no_input_comes_twice(read):
    size = 4
    drawn = read.batches(size, np.random.default_rng(3), 10**6)
    inputs = len(read.pieces) // 126 - 1  # an epoch begins anywhere in the first input
    starts = np.concatenate([next(drawn).starts for _ in range(inputs // size)])
    assert len(set(starts.tolist())) == len(starts)
    assert (np.diff(np.sort(starts)) % 126 == 0).all()
    again = read.batches(size, np.random.default_rng(3), 10**6)
    assert np.array_equal(np.concatenate([next(again).starts for _ in range(inputs // size)]), starts)


def test_the_last_tenth_of_the_updates_reads_long_inputs_of_as_many_wordpieces(read):
    drawn = read.batches(6, np.random.default_rng(0), 50)
    shapes = [(len(draw.starts), draw.length) for draw in (next(drawn) for _ in range(50))]
    assert shapes == [(6, 128)] * 45 + [(2, 384)] * 5


@pytest.mark.parametrize(("pieces", "length"), [(382, 384), (381, 128), (128, 128)])
def test_a_text_shorter_than_a_long_input_is_read_in_short_ones_as_many_as_before(tmp_path, tokenizer, pieces, length):
    (tmp_path / "short.txt").write_text("the " * (pieces - 1) + "\n")
    text = RunningText(TASK, str(tmp_path / "short.txt"), tokenizer, 512)
    assert len(text.pieces) == pieces
    drawn = text.batches(6, np.random.default_rng(0), 50)
    shapes = [(len(draw.starts), draw.length) for draw in (next(drawn) for _ in range(50))]
    assert shapes == [(6, 128)] * 45 + [(6 * 128 // length, length)] * 5


def test_every_other_input_is_two_segments_of_consecutive_text(read, tokenizer):
    drawn = next(read.batches(8, np.random.default_rng(5), 100))
    inputs, targets = read.arrays(None, drawn)
    ids = inputs["token_ids"].copy()
    gold = inputs["gold"]
    np.put_along_axis(ids, inputs["masked"], np.where(gold < 0, np.take_along_axis(ids, inputs["masked"], 1), gold), 1)
    assert np.array_equal(targets["pieces"], gold) and (inputs["mask"] == 1).all() and ids.shape == (8, 128)
    for row, start in enumerate(drawn.starts):
        stretch = read.pieces[start : start + 126].tolist()
        assert ids[row, 0] == tokenizer.cls_token_id and ids[row, -1] == tokenizer.sep_token_id
        if row % 2 == 0:
            assert ids[row, 1:-1].tolist() == stretch and not inputs["segment_ids"][row].any()
            continue
        second = int(inputs["segment_ids"][row].argmax())
        assert inputs["segment_ids"][row].tolist() == [0] * second + [1] * (128 - second)
        assert ids[row, second - 1] == tokenizer.sep_token_id
        assert [*ids[row, 1 : second - 1].tolist(), *ids[row, second:-1].tolist()] == stretch[:-1]
        assert not tokenizer.convert_ids_to_tokens(int(ids[row, second])).startswith("##")


def test_masks_are_drawn_anew_for_every_batch_and_the_same_by_seed(read):
    drawn = next(read.batches(8, np.random.default_rng(5), 100))
    first, second = (read.arrays(None, drawn)[0]["masked"] for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, read.arrays(None, drawn._replace(seed=drawn.seed + 1))[0]["masked"])


def test_counts_of_documents_are_those_of_a_loop_over_pieces(read):
    """A predictor that says the place of each mask as its loss: every mask is counted once, in its own document."""

    def predict(inputs):
        return {"nats": inputs["masked"].astype(float), "right": (inputs["masked"] % 2).astype(float)}

    counts = read.counts(None, predict)
    expected = np.zeros_like(counts)
    for number, start in enumerate(range(0, len(read.pieces) - 126 + 1, 126)):
        draws = read.arrays(None, running_text.Draw(
            np.resize(np.arange(0, len(read.pieces) - 126 + 1, 126)[number // 64 * 64 :][:64], 64), 128, number // 64 * 64, False
        ))[0]  # fmt: skip
        for place, gold in zip(draws["masked"][number % 64], draws["gold"][number % 64], strict=True):
            if gold >= 0:
                document = int((read.ends <= start + place - 1).sum())
                expected[document] += [[place, 1], [place % 2, 1]]
    assert np.allclose(counts, expected) and counts[:, 0, 1].sum() > 0.14 * len(read.pieces)


def test_text_is_packed_once_and_found_again_by_its_content(text, tokenizer, cache, read):
    def packed() -> list[Path]:
        return sorted(path for path in (cache / "running_text").iterdir() if path.is_dir())

    folders = packed()
    copy = text / "copy.txt"
    copy.write_text((text / "train.txt").read_text())
    RunningText(TASK, str(copy), tokenizer, 512)
    assert packed() == folders
    copy.write_text((text / "train.txt").read_text() + "more .\n")
    RunningText(TASK, str(copy), tokenizer, 512)
    assert len(packed()) == len(folders) + 1


# ---- refusals


def test_a_text_shorter_than_one_input_is_refused(tmp_path, tokenizer):
    (tmp_path / "short.txt").write_text("only a few words .\n")
    with pytest.raises(ValueError, match=r"short\.txt has \d+ wordpieces, less than one input of 128: give more text$"):
        RunningText(TASK, str(tmp_path / "short.txt"), tokenizer, 512)


def test_a_corpus_without_running_text_is_refused(tmp_path, tokenizer):
    (tmp_path / "pairs.tsv").write_text("premise\thypothesis\tlabel\na b\tc d\tneutral\n")
    with pytest.raises(ValueError, match="has no running text"):
        RunningText(TASK, str(tmp_path / "pairs.tsv"), tokenizer, 512)


def test_a_vocabulary_without_special_tokens_is_refused(text, tokenizer):
    class Bare:
        def __getattr__(self, name):
            return None if name in ("mask_token_id", "sep_token_id") else getattr(tokenizer, name)

    with pytest.raises(
        ValueError, match=r"^the tokenizer has no sep_token, mask_token: masked words need \[CLS\], \[SEP\]"
    ):
        RunningText(TASK, f"{text}/train.txt", Bare(), 512)


RATES = {"learning_rate": 3e-3, "head_learning_rate": 3e-3}


def train(text: Path, model: str = "untrained:tiny", save: str = "", **changed):
    given = {"updates": 4, "batch_size": 8, "evaluations": 1} | RATES | changed
    recipe = finetune.Recipe("masked_words", f"{text}/train.txt", f"{text}/dev.txt", **given)
    return finetune.train(model, recipe, save=save, resamples=50)


def assess(text: Path, model: str, **options):
    return finetune.assess(model, task="masked_words", texts=[f"{text}/dev.txt"], resamples=50, **options)


@pytest.mark.slow
def test_an_encoder_without_a_masked_word_head_cannot_be_scored(text):
    scored = assess(text, "tiny")
    assert scored.rows == [] and scored.items.empty
    assert "brings no task head of this kind: it has no weight 'cls.predictions.transform" in scored.notes[0]


def test_a_head_of_another_checkpoint_needs_an_encoder_of_the_same_shape(text, tmp_path):
    config = Config(40, 16, 1, 2, 32, 64)
    Checkpoint.write(tmp_path, config, random_weights(config, 0, 0.02), checkpoints.open("tiny"))
    scored = assess(text, "untrained:tiny", head_of=str(tmp_path))
    assert scored.rows == [] and re.match(
        r"Not scored on masked words: head_of .*: its vocab_size is 40, not \d+ as in .*; a task head reads the states of",
        scored.notes[0],
    )


def test_a_head_of_another_checkpoint_needs_an_encoder_of_the_same_wordpieces(text, tmp_path):
    tiny = checkpoints.open("tiny")
    made = Checkpoint.write(tmp_path, tiny.config, tiny.weights(), tiny)
    path = made.folder / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"##ing"', '"##gni"'), encoding="utf-8")
    scored = assess(text, "untrained:tiny", head_of=str(tmp_path))
    assert scored.rows == [] and re.fullmatch(
        r"Not scored on masked words: head_of '.*': its vocabulary is another than that of .*\.", scored.notes[0]
    )


def test_an_unknown_precision_and_one_that_the_device_lacks_are_refused(text, monkeypatch):
    with pytest.raises(
        ValueError, match=r"^unknown precision 'float8': expected one of \['bfloat16', 'float16', 'float32'\]$"
    ):
        train(text, precision="float8")
    for device, asked, fits in (
        ((7, 0), "bfloat16", "float16"),
        ((5, 2), "bfloat16", "float32"),
        ((5, 2), "float16", "float32"),
    ):
        monkeypatch.setattr(backend.tf.config, "list_physical_devices", lambda kind: ["one"])
        monkeypatch.setattr(
            backend.tf.config.experimental,
            "get_device_details",
            lambda gpu, device=device: {"compute_capability": device},
        )
        with pytest.raises(
            ValueError, match=f"^this device does not compute in {asked} under tensorflow: use precision {fits}$"
        ):
            train(text, precision=asked)
        assert backend.computes_in("float32") and backend.computes_in("float16") == (device >= (5, 3))


# ---- learning


@pytest.mark.slow
def test_pre_training_learns_from_context_and_the_head_comes_back_as_it_was_saved(text, read, tmp_path):
    """Its loss falls below the entropy of pieces, which is the least that no context allows."""
    tuned = train(text, model="tiny", updates=300, batch_size=16, save=str(tmp_path / "base"), evaluations=3)
    first, *_, last = tuned.curve[tuned.curve["metric"] == "masked_word_loss"]["value"]
    scores = {row["metric"]: row for row in tuned.rows if row.get("metric", "").startswith("masked_word")}
    counts = np.bincount(read.pieces[read.ordinary[read.pieces]])
    shares = counts[counts > 0] / counts.sum()
    assert last < first and last < -(shares * np.log(shares)).sum() - 0.3 and tuned.metric == "masked_word_loss"
    assert (
        scores["masked_word_loss"]["ci_low"]
        < scores["masked_word_loss"]["value"]
        < scores["masked_word_loss"]["ci_high"]
    )
    base = str(tmp_path / "base")
    again = assess(text, base)
    assert again.rows[0]["value"] == pytest.approx(scores["masked_word_loss"]["value"], abs=1e-5)
    # the untrained encoder under this head is worse; with each layer put back to the base's, the base itself
    other = assess(text, "untrained:tiny", head_of=base, base=base, revert=True)
    whole = [row for row in other.rows if row["metric"] == "masked_word_loss"]
    assert whole[0]["value"] > last + 0.5
    assert len(whole) == 4 and len({round(row["value"], 4) for row in whole}) == 4
    own = assess(text, base, head_of=base, base=base, revert=True)
    losses = [row["value"] for row in own.rows if row["metric"] == "masked_word_loss"]
    assert np.allclose(losses, scores["masked_word_loss"]["value"], atol=1e-5)
    # more pre-training goes on with its head: after updates at next to no rate, the loss is what it was
    further = train(text, model=base, updates=2, learning_rate=1e-9, head_learning_rate=1e-9)
    (loss,) = further.curve[further.curve["metric"] == "masked_word_loss"]["value"]
    assert loss == pytest.approx(scores["masked_word_loss"]["value"], abs=1e-4)


@pytest.mark.slow
def test_half_the_digits_learn_as_float32_does(text):
    curves = [
        train(text, updates=60, batch_size=16, evaluations=6, precision=precision).curve
        for precision in ("float32", "bfloat16", "float16")
    ]
    first, *others = (c[c["metric"] == "masked_word_loss"]["value"].to_numpy() for c in curves)
    for other in others:
        assert not np.array_equal(first, other) and np.abs(first - other).max() < 0.02


LOGITS = """
import sys, numpy as np, torch
from transformers import AutoModelForMaskedLM
for folder in sys.argv[1:]:
    ids = torch.tensor(np.load(f"{folder}/ids.npy"))
    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        np.save(f"{folder}/logits.npy", model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.numpy())
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Give for every family a network with a head, saved by us, what it is asked, and the logits of PyTorch's."""
    if not TORCH.is_file():
        skip = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        skip("PyTorch is not there: .ci/run installs it into .venv-torch")
    asked, folder = {}, tmp_path_factory.mktemp("families")
    for family, architecture in ARCHITECTURES.items():
        narrow = {"embedding_size": 16} if family == "electra" else {}
        pad = {"pad_token_id": 1} if architecture.offset else {}
        config = Config(90, 32, 2, 2, 64, 70, model_type=family, initializer_range=0.3, **narrow, **pad)
        network = Network(config, random_weights(config, 1, 0.3), TASK.head())
        generator = np.random.default_rng(2)
        for variable in network.added:
            variable.assign(generator.standard_normal(variable.shape) * 0.3)
        (folder / family).mkdir()
        Checkpoint.write(folder / family, config, network.export())
        asked[family] = network, generator.integers(5, 90, (3, 20)).astype(np.int32)
        np.save(folder / family / "ids.npy", asked[family][1].astype(np.int64))
    command = [TORCH, "-c", LOGITS, *(folder / family for family in asked)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return {family: (*both, np.load(folder / family / "logits.npy")) for family, both in asked.items()}


@pytest.mark.slow
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_logits_are_those_of_pytorch_transformers(saved, family):
    """A head of every family, saved by us and opened by `AutoModelForMaskedLM`."""
    network, ids, expected = saved[family]
    places = np.tile(np.arange(20, dtype=np.int32), (3, 1))
    inputs = {"token_ids": ids, "segment_ids": 0 * ids, "mask": 0 * ids + 1, "masked": places, "gold": ids}
    logits = np.asarray(network.trained(inputs)["pieces"])
    assert np.abs(logits - expected).max() < 1e-4 and np.abs(expected).max() > 1
    nats = network.predict(inputs)["nats"]
    shifted = expected - expected.max(-1, keepdims=True)
    naive = np.log(np.exp(shifted).sum(-1)) - np.take_along_axis(shifted, ids[..., None].astype(int), -1)[..., 0]
    assert np.abs(nats - naive).max() < 1e-4


@pytest.mark.slow
def test_a_pre_training_that_was_stopped_ends_in_the_same_bytes(text, tmp_path, monkeypatch):
    """A real kill is among the tests of fine-tuning."""
    monkeypatch.setattr(loop, "SECONDS", 0)  # the state is saved after every update
    step, done = Network.step, []

    def start(dies_after: int) -> None:
        def stopping(self, *given):
            if len(done) == dies_after:
                raise KeyboardInterrupt
            done.append(step(self, *given))
            return done[-1]

        done.clear()
        monkeypatch.setattr(Network, "step", stopping)
        recipe = finetune.Recipe(
            "masked_words", f"{text}/train.txt", f"{text}/dev.txt", updates=12, batch_size=8,
            learning_rate=3e-3, head_learning_rate=3e-3, evaluations=2,
        )  # fmt: skip
        finetune.train("untrained:tiny", recipe, save=str(tmp_path / "mine"), resamples=50)

    start(-1)
    undisturbed = (tmp_path / "mine" / "model.safetensors").read_bytes()
    (tmp_path / "mine" / "model.safetensors").unlink()
    with pytest.raises(KeyboardInterrupt):
        start(5)
    start(-1)
    assert len(done) == 7  # it went on
    assert (tmp_path / "mine" / "model.safetensors").read_bytes() == undisturbed
    assert json.loads((tmp_path / "mine" / "config.json").read_text())["bert_repro"]["task"] == "masked_words"


# ---- what readers bring


def test_a_text_of_one_document_has_an_interval_over_its_paragraphs(text, tokenizer):
    lines = [line for line in (text / "dev.txt").read_text().splitlines() if line]
    one = text / "one.txt"
    one.write_text("\n".join(lines))
    read = RunningText(TASK, str(one), tokenizer, 512)
    assert len(read.items) == len(read.ends) == len(lines) and read.ends[-1] == len(read.pieces)
    recipe = finetune.Recipe("masked_words", f"{text}/train.txt", str(one), updates=1, evaluations=1)
    tuned = finetune.train("tiny", recipe, resamples=50)
    (loss,) = [row for row in tuned.rows if row["metric"] == "masked_word_loss"]
    assert loss["ci_low"] < loss["value"] < loss["ci_high"] and loss["units"] == len(lines)
    drawn = RunningText(TASK, f"{one}[90]", tokenizer, 512)
    assert len(drawn.items) == 90
    one.write_text(" ".join(lines))
    with pytest.raises(ValueError, match="one.txt holds one item: an interval needs at least two to be scored"):
        finetune.train("tiny", recipe)


def changed(folder: Path, **shape: int) -> str:
    """Write `tiny` in another shape."""
    start = checkpoints.open("tiny")
    config = dataclasses.replace(start.config, **shape)
    folder.mkdir()
    Checkpoint.write(folder, config, random_weights(config, 0, 0.1), start, {})
    return str(folder)


def test_a_piece_that_was_added_and_does_not_occur_does_no_harm(text, tmp_path):
    folder = Path(changed(tmp_path / "added"))
    rules = json.loads((folder / "tokenizer.json").read_text())
    number = max(rules["model"]["vocab"].values()) + 1
    plain = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized", "special"], False)
    rules["added_tokens"].append({"id": number, "content": "[UNUSED]"} | plain)
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    recipe = finetune.Recipe("masked_words", f"{text}/train.txt", f"{text}/dev.txt", updates=2, evaluations=1)
    assert len(finetune.train(str(folder), recipe, resamples=50).curve)


def test_an_encoder_of_one_segment_is_trained_on_one(text, tmp_path):
    recipe = finetune.Recipe("masked_words", f"{text}/train.txt", f"{text}/dev.txt", updates=2, evaluations=1)
    tuned = finetune.train(changed(tmp_path / "one", type_vocab_size=1), recipe, resamples=50)
    assert np.isfinite(tuned.curve["value"]).all()
