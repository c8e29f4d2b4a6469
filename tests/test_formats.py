"""Weights: every format gives the same arrays under the same names; what is damaged or contradicts itself is one ValueError."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import pytorch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save, save_file

from bert_repro.checkpoints import formats

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[1]
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
TF1_NAMES = {
    "bert/embeddings/word_embeddings": "bert.embeddings.word_embeddings.weight",
    "bert/embeddings/LayerNorm/gamma": "bert.embeddings.LayerNorm.weight",
    "bert/embeddings/LayerNorm/beta": "bert.embeddings.LayerNorm.bias",
    "bert/encoder/layer_0/attention/self/query/kernel": "bert.encoder.layer.0.attention.self.query.weight",
    "bert/encoder/layer_11/output/dense/kernel": "bert.encoder.layer.11.output.dense.weight",
    "bert/encoder/layer_11/output/dense/bias": "bert.encoder.layer.11.output.dense.bias",
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/predictions/transform/LayerNorm/gamma": "cls.predictions.transform.LayerNorm.weight",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "output_weights": "output_weights",
}


def draw(name, seed=0):
    shape = (4,) if name.endswith(("bias", "beta", "gamma", "LayerNorm.weight")) else (4, 6)
    return np.random.default_rng([seed, *name.encode()]).standard_normal(shape).astype(np.float32)


@pytest.fixture
def arrays():
    return {name: draw(name) for name in TF1_NAMES.values()}


def equal(found, expected):
    """Compare what is in floating point, which weights are."""
    found = {name: array for name, array in found.items() if formats.is_float(array)}
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == np.float32 and array.flags.c_contiguous and array.shape == expected[name].shape
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    return True


def write_shards(folder, arrays):
    names = sorted(arrays)
    for shard, some in zip(SHARDS, (names[::2], names[1::2]), strict=True):
        save_file({name: arrays[name] for name in some}, folder / shard)
    places = {name: SHARDS[i % 2] for i, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def change_index(folder, **places):
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"] |= places
    index.write_text(json.dumps(content))


def write_tf1(folder, arrays, name="bert_model.ckpt"):
    import tensorflow as tf

    tf.raw_ops.SaveV2(
        prefix=str(folder / name),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=[tf.convert_to_tensor(array) for array in arrays.values()],
    )


def refused(folder, message):
    with pytest.raises(ValueError, match=message):
        formats.read(folder)


IN_ORDER = [
    ["model.safetensors"],
    [*SHARDS, "model.safetensors.index.json"],
    ["tf_model.h5"],
    ["bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index"],
    ["pytorch_model.bin"],
    ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"],
]


def test_one_format_is_chosen_and_pickles_come_last():
    rest = {name for files in IN_ORDER for name in files}
    others = [
        "config.json",
        "onnx/model.safetensors",
        "old/bert_model.ckpt.index",
        "vocab.txt",
        "training_args.bin",
        "bert_model.ckpt.meta",
    ]
    for files in IN_ORDER:
        assert formats.choose([*others, *sorted(rest, reverse=True)]) == sorted(files) == formats.choose(files)
        rest -= set(files)
    assert formats.choose(others) == []


def test_parts_without_the_file_that_names_them_are_nothing():
    for files in IN_ORDER:
        assert formats.choose([name for name in files if "-0000" in name]) == []


def test_checkpoints_that_carry_their_step_are_found():
    files = ["model.ckpt-1000.data-00000-of-00001", "model.ckpt-1000.index"]
    assert formats.choose([*files, "model.ckpt-1000.meta", "checkpoint"]) == files


def test_what_is_written_is_read_bit_by_bit(tmp_path, arrays):
    save_file(arrays, tmp_path / "model.safetensors")
    assert equal(formats.read(tmp_path), arrays)


def test_shards_are_one_checkpoint(tmp_path, arrays):
    write_shards(tmp_path, arrays)
    assert equal(formats.read(tmp_path), arrays)


def test_tf1_variables_get_their_names_and_orientation_in_pytorch(tmp_path, arrays):
    stored = {ours: arrays[name].T if ours.endswith("kernel") else arrays[name] for ours, name in TF1_NAMES.items()}
    kernel = "bert/encoder/layer_0/attention/self/query/kernel"
    slots = {
        f"{kernel}/adam_m": stored[kernel],
        f"{kernel}/adam_v": stored[kernel],
        "output_weights/Adam_1": np.ones(3),
    }
    write_tf1(tmp_path, stored | slots | {"global_step": np.int64(7), "note": np.array(b"text")})
    assert equal(formats.read(tmp_path), arrays)


def test_h5_of_transformers_is_read_as_transformers_does(tmp_path):
    shutil.copy(DATA / "tf_model.h5", tmp_path)
    found, expected = formats.read(tmp_path), load_file(DATA / "tf_model.safetensors")
    assert equal(found, expected)
    assert {"bert.encoder.layer.0.intermediate.dense.weight", "cls.seq_relationship.weight"} < found.keys()


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_precisions_are_read_as_float32(tmp_path, arrays, dtype):
    given = {name: array.astype(dtype) for name, array in arrays.items()}
    save_file(given | {"scalar": np.array(2, dtype)}, tmp_path / "model.safetensors")
    expected = {name: array.astype(np.float32) for name, array in given.items()}
    assert equal(formats.read(tmp_path), expected | {"scalar": np.float32(2)})


def test_bfloat16_is_read_where_nothing_else_has_taught_it_to_numpy(tmp_path):
    save_file({"one": np.array([1, -2.5], ml_dtypes.bfloat16)}, tmp_path / "model.safetensors")
    code = "import pathlib, sys; from bert_repro.checkpoints import formats; print(formats.read(pathlib.Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str({"one": np.array([1, -2.5], np.float32)})


def test_what_has_no_floating_point_is_given_as_it_is(tmp_path, arrays):
    others = {"embeddings.position_ids": np.arange(4)[None], "mask": np.ones(3, bool), "step": np.array(3, np.uint8)}
    save_file(arrays | others, tmp_path / "model.safetensors")
    found = formats.read(tmp_path)
    assert equal(found, arrays) and found.keys() == arrays.keys() | others.keys()
    for name, array in others.items():
        assert found[name].dtype == array.dtype and (found[name] == array).all() and not formats.is_float(found[name])


def test_norms_have_one_name_and_other_names_stay(tmp_path):
    names = {
        "bert.encoder.layer.0.output.LayerNorm.gamma": "bert.encoder.layer.0.output.LayerNorm.weight",
        "bert.encoder.layer.0.output.LayerNorm.beta": "bert.encoder.layer.0.output.LayerNorm.bias",
        "head.kernel": "head.kernel",
        "head.beta.scale": "head.beta.scale",
        "my_gamma": "my_gamma",
    }
    save_file({name: draw(name) for name in names}, tmp_path / "model.safetensors")
    assert equal(formats.read(tmp_path), {name: draw(stored) for stored, name in names.items()})


def test_one_weight_has_one_value(tmp_path):
    one = np.array([1, np.nan], np.float32)
    save_file({"norm.gamma": one, "norm.weight": one.copy()}, tmp_path / "model.safetensors")
    assert equal(formats.read(tmp_path), {"norm.weight": one})
    save_file({"norm.gamma": one, "norm.weight": one + 1}, tmp_path / "model.safetensors")
    refused(tmp_path, "model.safetensors has two different weights 'norm.weight': one of them is wrong; fetch")


def test_a_folder_without_weights_says_what_would_be_some(tmp_path):
    (tmp_path / "model.safetensors").mkdir()
    refused(
        tmp_path, r"has no weights: expected model.safetensors, tf_model.h5, .*, or pytorch_model.bin; of the first"
    )


def test_two_checkpoints_in_one_folder_are_refused(tmp_path):
    for name in ("a.ckpt.index", "b.ckpt-12.index"):
        (tmp_path / name).touch()
    refused(
        tmp_path, r"has the weights of several checkpoints, \['a.ckpt.index', 'b.ckpt-12.index'\]: keep those of one"
    )


@pytest.mark.parametrize("name", ["../outside.safetensors", f"../{SHARDS[0]}", f"./{SHARDS[0]}", "other.bin"])
def test_an_index_leads_to_nothing_but_shards_beside_it(tmp_path, arrays, name):
    folder = tmp_path / "model"
    folder.mkdir()
    write_shards(folder, arrays)
    for outside in ("outside.safetensors", SHARDS[0], "model/other.bin"):
        save_file({"secret": np.ones(2)}, tmp_path / outside)
    change_index(folder, secret=name)
    refused(folder, re.escape(f"names [{name!r}], which are not shards next to it: expected file names such as"))


def test_a_shard_that_is_missing_or_lacks_a_weight_is_named(tmp_path, arrays):
    write_shards(tmp_path, arrays)
    change_index(tmp_path, extra=SHARDS[1])
    refused(
        tmp_path, f"{SHARDS[1]} has no 'extra', which model.safetensors.index.json places there; fetch the checkpoint"
    )
    (tmp_path / SHARDS[0]).unlink()
    refused(tmp_path, rf"index.json names \['{SHARDS[0]}'\], which are not shards next to it")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": "b", "c": 3}}', "\xff"]
)
def test_an_index_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text, encoding="latin-1")
    refused(tmp_path, "index.json is damaged or no index: expected JSON with a 'weight_map' .*, got .*; fetch")


def test_damaged_shards_are_named(tmp_path, arrays):
    write_shards(tmp_path, arrays)
    (tmp_path / SHARDS[1]).write_bytes((tmp_path / SHARDS[1]).read_bytes()[:-1])
    refused(tmp_path, rf"{SHARDS[1]} is damaged or no safetensors file: .*; fetch the checkpoint again")


def write_type(folder, kind, size):
    header = json.dumps({"a": {"dtype": kind, "shape": [2], "data_offsets": [0, size]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2"])
def test_eight_bits_are_quantised_weights(tmp_path, kind):
    write_type(tmp_path, kind, 2)
    refused(
        tmp_path, rf"model.safetensors has 'a' as {kind}, quantised: supported are weights in floating point of 16 bits"
    )


def test_a_type_that_nobody_has_is_refused(tmp_path):
    write_type(tmp_path, "X9", 2)
    refused(tmp_path, "model.safetensors is damaged or no safetensors file: ")


WHOLE = save({"a.weight": np.ones((2, 3), np.float32), "b": np.ones(5, np.float16), "ids": np.arange(3)})
DATA_START = 8 + int.from_bytes(WHOLE[:8], "little")


def read_bytes(folder, content):
    """Give the shapes of what a file of these bytes holds, or None where it is refused."""
    (folder / "model.safetensors").write_bytes(content)
    try:
        found = formats.read(folder)
    except ValueError as error:
        assert f"{folder / 'model.safetensors'}" in str(error)
        return None
    return {name: array.shape for name, array in found.items() if formats.is_float(array)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


SHAPES = {"a.weight": (2, 3), "b": (5,)}


@settings(deadline=None)
@given(cut=st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_short_is_refused(place, cut):
    assert read_bytes(place, WHOLE) == SHAPES
    assert read_bytes(place, WHOLE[:cut]) is None


@settings(deadline=None, max_examples=300)
@given(
    flips=st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 7)), min_size=1, max_size=3, unique=True)
)
def test_flipped_bits_change_values_or_are_refused(place, flips):
    content = bytearray(WHOLE)
    for byte, bit in flips:
        content[byte] ^= 1 << bit
    found = read_bytes(place, bytes(content))
    if all(byte >= DATA_START for byte, _ in flips):
        assert found == SHAPES
    elif found is not None:  # a name may have become another, but never more numbers than the file holds
        assert sum(np.prod(shape) for shape in found.values()) <= 11 + 3


@settings(deadline=None)
@given(header=st.binary(max_size=60), data=st.binary(max_size=30))
def test_bytes_that_are_no_safetensors_are_refused(place, header, data):
    assert not read_bytes(place, header + data)
    assert not read_bytes(place, len(header).to_bytes(8, "little") + header + data)


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b[:1000], lambda b: b"", lambda b: b"PK" + b])
def test_a_damaged_h5_is_refused(tmp_path, damage):
    (tmp_path / "tf_model.h5").write_bytes(damage((DATA / "tf_model.h5").read_bytes()))
    refused(tmp_path, "tf_model.h5 is damaged or no h5 file: .*; fetch the checkpoint again")


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        (".index", lambda path: path.write_bytes(b"")),
        (".index", lambda path: path.write_bytes(path.read_bytes()[:-1])),
        (".data-00000-of-00001", lambda path: path.unlink()),
        (".data-00000-of-00001", lambda path: path.write_bytes(path.read_bytes()[:9])),
        (".data-00000-of-00001", lambda path: path.write_bytes(bytes(path.stat().st_size))),
    ],
)
def test_a_damaged_tf1_checkpoint_is_refused(tmp_path, arrays, part, damage):
    write_tf1(tmp_path, arrays)
    damage(tmp_path / f"bert_model.ckpt{part}")
    refused(tmp_path, "bert_model.ckpt.index is damaged or no TF 1 checkpoint: .*; fetch the checkpoint again")


def command_for(folder):
    """Give the command that is proposed where there is no PyTorch."""
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ValueError, match="Either install torch here, or") as caught,
    ):
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        formats.read(folder)
    said = str(caught.value)
    assert "\n" not in said
    return shlex.split(said[said.index("python -c ") :])


def test_without_pytorch_a_pickle_is_refused_with_a_command_that_converts_it(tmp_path, monkeypatch):
    folder = tmp_path / "it's a $(model)"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    program, option, code, argument = command_for(folder)
    assert (program, option, argument) == ("python", "-c", str(folder))
    compile(code, "command", "exec")
    monkeypatch.chdir(folder)  # the command holds wherever it is pasted
    assert command_for(Path("."))[-1] == str(folder)


@pytest.fixture(scope="module")
def torch_python():
    return pytorch.python()


MAKE_PICKLES = """
import json, os, pathlib, sys, torch
from safetensors.torch import load_file
place = pathlib.Path(sys.argv[1])
state = load_file(place / "expected.safetensors")
state |= {"tied": state["output_weights"], "turned": state["output_weights"].T, "half": torch.tensor([1, 2.5]).half(),
          "brain": torch.tensor([1, 2.5]).bfloat16(),
          "ids": torch.arange(3), "learned": torch.nn.Parameter(torch.ones(2))}
class Evil:
    def __reduce__(self):
        return os.system, (f"touch {place}/owned",)
for name in ("single", "legacy", "shards", "evil", "other", "damaged"):
    (place / name).mkdir()
torch.save(state, place / "single/pytorch_model.bin")
torch.save(state, place / "legacy/pytorch_model.bin", _use_new_zipfile_serialization=False)
torch.save({"a": torch.ones(2), "b": Evil()}, place / "evil/pytorch_model.bin")
torch.save({"model": state, "step": 3}, place / "other/pytorch_model.bin")
(place / "damaged/pytorch_model.bin").write_bytes((place / "single/pytorch_model.bin").read_bytes()[:-50])
places = {name: f"pytorch_model-0000{i % 2 + 1}-of-00002.bin" for i, name in enumerate(state)}
for shard in set(places.values()):
    torch.save({name: tensor for name, tensor in state.items() if places[name] == shard}, place / "shards" / shard)
(place / "shards/pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
"""

READ_THERE = """
import pathlib, sys
import numpy
sys.path.insert(0, "bert_repro/checkpoints")  # alone: that environment has not all that the package needs
import formats
numpy.savez(sys.argv[2], **formats.read(pathlib.Path(sys.argv[1])))
"""


@pytest.fixture
def pickles(tmp_path, torch_python, arrays):
    """Make folders of pickles, and give the weights that the good ones hold."""
    save_file(arrays, tmp_path / "expected.safetensors")
    subprocess.run([torch_python, "-c", MAKE_PICKLES, tmp_path], check=True, capture_output=True)
    last = arrays["output_weights"]
    half = np.array([1, 2.5], np.float32)
    return arrays | {"tied": last, "turned": last.T, "half": half, "brain": half, "learned": np.ones(2, np.float32)}


@pytest.mark.slow
def test_pytorch_reads_its_pickles_and_the_command_converts_them(tmp_path, torch_python, pickles):
    for name in ("single", "legacy", "shards"):
        there = [torch_python, "-W", "error", "-c", READ_THERE, tmp_path / name, tmp_path / "read.npz"]
        subprocess.run(there, cwd=ROOT, check=True)
        with np.load(tmp_path / "read.npz") as read:
            assert equal(dict(read), pickles)
        command = command_for(tmp_path / name)
        subprocess.run([torch_python, *command[1:]], check=True)
        assert equal(formats.read(tmp_path / name), pickles)


@pytest.mark.slow
def test_a_pickle_runs_no_code(tmp_path, torch_python, pickles):
    for name, message in (
        ("evil", "is damaged, or a pickle that wants to run code, which is refused (UnpicklingError): fetch it again"),
        ("damaged", "is damaged, or a pickle that wants to run code, which is refused ("),
        ("other", "is not a state dict: expected tensors by name, got dict of other things"),
    ):
        there = [torch_python, "-c", READ_THERE, tmp_path / name, tmp_path / "read.npz"]
        done = subprocess.run(there, cwd=ROOT, capture_output=True, text=True)
        assert f"ValueError: {tmp_path / name / 'pytorch_model.bin'} {message}" in done.stderr.splitlines()[-1]
        done = subprocess.run([torch_python, *command_for(tmp_path / name)[1:]], capture_output=True)
        assert done.returncode and not (tmp_path / name / "model.safetensors").exists()
    assert not (tmp_path / "owned").exists()
    careless = "import sys, torch; torch.load(sys.argv[1], weights_only=False)"
    subprocess.run([torch_python, "-c", careless, tmp_path / "evil" / "pytorch_model.bin"], check=True)
    assert (tmp_path / "owned").exists()  # so it would have run
