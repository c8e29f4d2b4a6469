"""What looks like a checkpoint and is none is called by its name, with what would work; no damage to a file ends in another error."""

import importlib.util
import json
import os
import re
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lookalikes import CONFIG, PIECES, change, made, wordpieces

from bert_repro import checkpoints
from bert_repro.checkpoints import Checkpoint, formats

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 440449768\n"
PAGE = "\n<!DOCTYPE html>\n<html><head><title>model</title></head></html>"
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "model.safetensors")


def refused(folder, message):
    with pytest.raises((ValueError, OSError)) as caught:
        checkpoints.open(str(folder)).check()
    assert message in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


# Folders


@pytest.mark.parametrize("inner", ["0_Transformer", "transformer_model"])
@pytest.mark.parametrize("config", ['{"__version__": "0.3.9"}', None])
def test_an_old_folder_of_sentence_transformers_names_its_encoder(tmp_path, inner, config):
    made(tmp_path / "sbert" / inner)
    modules = [
        {"idx": 0, "name": "0", "path": inner, "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (tmp_path / "sbert" / "modules.json").write_text(json.dumps(modules))
    if config:
        (tmp_path / "sbert" / "config.json").write_text(config)
    said = (
        f"it is a folder of sentence-transformers, the encoder of which lies deeper: give {tmp_path / 'sbert' / inner}"
    )
    refused(tmp_path / "sbert", f"{tmp_path / 'sbert'} is not a checkpoint: {said}")
    checkpoints.open(str(tmp_path / "sbert" / inner)).check()


def test_a_folder_of_sentence_transformers_that_is_a_checkpoint_is_read(tmp_path):
    folder = made(tmp_path / "sbert")
    (folder / "modules.json").write_text(json.dumps([{"path": "", "type": "sentence_transformers.models.Transformer"}]))
    checkpoints.open(str(folder)).check()


@pytest.mark.parametrize("best", ["", "checkpoint-500"])
def test_the_folder_of_a_training_run_names_its_last_checkpoint_or_the_best(tmp_path, best):
    for step in (500, 1000, 90):
        made(tmp_path / "run" / f"checkpoint-{step}")
    (tmp_path / "run" / "checkpoint-1000" / "trainer_state.json").write_text(
        json.dumps({"best_model_checkpoint": best and f"out/{best}"})
    )
    first = tmp_path / "run" / (best or "checkpoint-1000")
    said = f"it is the folder of a training run: give {first} (or another one of checkpoint-1000, checkpoint-500, checkpoint-90)"
    refused(tmp_path / "run", f"is not a checkpoint: {said}")
    shutil.copy(first / "config.json", tmp_path / "run")  # and where the config lies above
    refused(tmp_path / "run", f"has no tokenizer: {said}")
    with pytest.raises(ValueError, match=re.escape(f"has no weights in a supported format: {said}")):
        Checkpoint(tmp_path / "run").weights()


def test_a_folder_in_the_hubs_cache_names_its_snapshot(tmp_path):
    model = tmp_path / "hub" / "models--org--name"
    for commit in ("a" * 40, "b" * 40):
        made(model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("b" * 40)
    snapshot = model / "snapshots" / ("b" * 40)
    for folder in (model, model / "snapshots"):
        refused(folder, f"it is a model's folder in the cache of the hub: give {snapshot} (or another one of ")
    refused(tmp_path / "hub", "it is the cache of the hub, with all models: give ")
    refused(tmp_path, "it is the cache of the hub, with all models: give ")


def test_a_folder_in_the_hubs_cache_without_files_is_told(tmp_path):
    (tmp_path / "snapshots" / ("a" * 40)).mkdir(parents=True)
    refused(
        tmp_path, "it is a model's folder in the cache of the hub, without its files: fetch it by its name on the hub"
    )


def test_a_checkpoint_in_a_folder_of_any_other_name_is_found(tmp_path):
    made(tmp_path / "out" / "final")
    refused(tmp_path / "out", f"it is a folder around one: give {tmp_path / 'out' / 'final'}")
    refused(tmp_path, f"{tmp_path} is not a checkpoint: it has no config.json")


def test_links_whose_files_were_not_copied_are_told(tmp_path):
    folder = made(tmp_path / "copy")
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
        os.symlink(f"../../blobs/{name}", folder / name)
    refused(
        folder,
        "config.json is a link to a file that is not there, as in a copy of the hub's cache without its blobs: copy",
    )


def test_a_file_in_place_of_its_folder_names_the_folder(tmp_path):
    folder = made(tmp_path / "model")
    for name in FILES:
        refused(folder / name, f"'{folder / name}' is a file: give the folder that it lies in, {folder}")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["model.onnx"], "has no weights in a supported format: found model.onnx, which cannot be read here: save the model with save_pre"),
        (["onnx/model.onnx", "flax_model.msgpack"], "found flax_model.msgpack, onnx/model.onnx, which cannot be read here"),
        (["model.fp16.safetensors"], "found model.fp16.safetensors, which cannot be read here"),
        (["model.safetensors.incomplete"], "model.safetensors.incomplete is the beginning of a download that was interrupted: fetch"),
        (["zero_to_fp32.py", "latest"], "the weights are DeepSpeed's: run zero_to_fp32.py, which lies beside them"),
        (["optimizer.pt", "training_args.bin"], "has no weights: expected model.safetensors, tf_model.h5"),
    ],
)  # fmt: skip
def test_weights_in_a_format_that_is_not_read_are_named(tmp_path, names, message):
    folder = made(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    refused(folder, message)


# Files


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            POINTER,
            "is a pointer of Git LFS, not the file itself: run `git lfs install` and `git lfs pull` in the clone",
        ),
        (PAGE, "is a web page, not the file itself: the address was that of a page about it"),
        ("", "is empty: the download was interrupted; fetch the checkpoint again"),
        ("\x1f\x8b\x08", "is compressed with gzip, not the file itself: unpack it (gunzip) under that name"),
        (
            '{"error": "Access to it is restricted"}',
            'is what a server answered (\'{"error": "Access to it is restricted"}\'), not',
        ),
        (
            "Entry not found",
            "is what a server answered ('Entry not found'), not the file itself: fetch the checkpoint again",
        ),
    ],
)
def test_what_came_in_place_of_a_file_is_told(tmp_path, name, content, message):
    folder = made(tmp_path / "model")
    (folder / name).write_bytes(content.encode("latin-1"))
    refused(folder, f"{folder / name} {message}")


def test_text_of_any_kind_in_place_of_weights_is_told(tmp_path):
    folder = made(tmp_path / "model")
    (folder / "model.safetensors").write_text("Please log in.\n")
    refused(folder, "model.safetensors is what a server answered ('Please log in.'), not the file itself")


def test_other_weights_are_looked_at_as_well(tmp_path):
    for name in ("tf_model.h5", "pytorch_model.bin"):
        folder = made(tmp_path / name)
        (folder / "model.safetensors").unlink()
        (folder / name).write_text(POINTER)
        refused(folder, f"{folder / name} is a pointer of Git LFS")


def test_a_cut_download_says_how_much_of_it_is_here(tmp_path):
    folder = made(tmp_path / "model")
    whole = (folder / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for size, of in ((len(whole) - 1, f"{len(whole):,}"), (header, f"{len(whole):,}"), (100, f"at least {header:,}")):
        (folder / "model.safetensors").write_bytes(whole[:size])
        refused(
            folder, f"is cut: {size:,} of {of} bytes are here; the download was interrupted, fetch the checkpoint again"
        )
    (folder / "model.safetensors").write_bytes(whole[:3])
    refused(folder, "is damaged or no safetensors file")


@pytest.mark.parametrize("name", ["sentencepiece.bpe.model", "spiece.model"])
def test_sentencepiece_alone_says_that_sentencepiece_is_missing(tmp_path, monkeypatch, name):
    folder = change(made(tmp_path / "model"), model_type="xlm-roberta")
    for other in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (folder / other).unlink()
    (folder / name).write_bytes(b"\x0a\x0e\x0a\x05<unk>")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None if asked == "sentencepiece" else find(asked))
    with pytest.raises(ValueError) as caught:
        _ = Checkpoint(folder).tokenizer
    assert str(caught.value) == (
        f"{folder} has {name} and no tokenizer.json: the package sentencepiece reads it, which is not here; install that, or "
        "save a tokenizer.json where it is (AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER))"
    )


def test_special_tokens_without_an_embedding_are_told(tmp_path):
    folder = made(tmp_path / "model")
    described = json.loads((folder / "tokenizer_config.json").read_text()) | {"cls_token": "[BEGIN]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    last = CONFIG.vocab_size
    refused(
        folder,
        f"its tokenizer has [CLS] as number {last}, its weights have embeddings for 0 to {last - 1}: they do not belong",
    )


def test_a_tokenizer_of_many_more_pieces_than_there_are_embeddings_is_told(tmp_path):
    few, many = (wordpieces(made(tmp_path / str(n)), [*PIECES[5:], *(f"w{i}" for i in range(n))]) for n in (3, 300))
    checkpoints.open(str(few)).check()  # pieces that were added and are not used
    last = CONFIG.vocab_size
    refused(
        many,
        f"its tokenizer has w0 as number {last}, its weights have embeddings for 0 to {last - 1}: they do not belong",
    )


# Damage of any kind

VALUES = st.recursive(
    st.sampled_from(
        [None, True, False, 0, -1, 2, 3.5, 10**30, float("nan"), float("inf"), "", "bert", "x", "\ud800", "[UNK]"]
    ),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "0", "content", "type"]), inner, max_size=2)
    ),
    max_leaves=4,
)
JSON = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
INDEX = "model.safetensors.index.json"


def places(value, path=()):
    """Give all places within a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:6]) if isinstance(value, list) else ()
    for key, inner in list(items)[:40]:
        yield from places(inner, (*path, key))


def put(value, path, other):
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], other)
    return copy


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = made(tmp_path_factory.mktemp("fuzz") / "model")
    for name in ("special_tokens_map.json", "added_tokens.json"):
        (folder / name).write_text(
            json.dumps({"unk_token": "[UNK]", "pad_token": {"content": "[PAD]"}} if "map" in name else {})
        )
    change(folder, id2label={"0": "a", "1": "b"}, bert_repro={"task": "nli"}, architectures=["BertModel"])
    checkpoints.open(str(folder)).check()
    return folder


def survives(folder):
    """Read all that can be read; a failure is one of ours: a ValueError or OSError that names the folder or what was asked for."""
    opened = checkpoints.open(str(folder))
    for read in (
        opened.check,
        lambda: opened.record,
        lambda: opened.labels,
        lambda: opened.digests,
        lambda: opened.by_vocabulary,
    ):
        try:
            read()
        except (ValueError, OSError) as error:
            assert str(folder) in str(error) and "\n" not in str(error), repr(error)


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_json_of_any_content_is_read_or_refused_in_our_words(sound, data):
    name = data.draw(st.sampled_from(JSON))
    path, before = sound / name, (sound / name).read_bytes()
    content = json.loads(before)
    place = data.draw(st.sampled_from(sorted(places(content), key=str)))
    try:
        path.write_text(json.dumps(put(content, place, data.draw(VALUES))))
        survives(sound)
    finally:
        path.write_bytes(before)


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_files_cut_or_flipped_anywhere_are_read_or_refused_in_our_words(sound, data):
    path = sound / data.draw(st.sampled_from([*JSON, "vocab.txt", "model.safetensors"]))
    before = path.read_bytes()
    at = data.draw(st.integers(0, min(len(before), 3000) - 1))
    damaged = data.draw(
        st.sampled_from([before[:at], before[:at] + b"\xff" + before[at + 1 :], before[:at] + b"[" * 9 + before[at:]])
    )
    try:
        path.write_bytes(damaged)
        survives(sound)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("name", JSON)
@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, "null", "3", '"x"', "[]", "{}", "\x00", "9" * 5000]
)
def test_json_of_any_kind_is_read_or_refused_in_our_words(sound, name, content):
    path, before = sound / name, (sound / name).read_bytes()
    try:
        path.write_text(content)
        survives(sound)
    finally:
        path.write_bytes(before)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(values=VALUES)
def test_other_json_beside_a_checkpoint_is_read_or_refused_in_our_words(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("other")
    for name in ("modules.json", "trainer_state.json", "adapter_config.json", INDEX):
        (folder / name).write_text(json.dumps(values))
    (folder / "checkpoint-1").mkdir()
    (folder / "config.json").write_text(json.dumps({"a": values}))
    survives(folder)
    with pytest.raises(ValueError, match=re.escape(str(folder))):
        formats.read(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": values or ""}))
    with pytest.raises(ValueError, match=re.escape(str(folder))):
        formats.read(folder)
