"""The encoder computes what PyTorch's BertModel computes, in every layer; a planted fault shows in the same comparison.

The references come from tests/data/record_reference.py.
"""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from bert_repro import checkpoints, encoder

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[1]
TOLERANCE = 1e-4
KINDS = ("single", "padded", "pair")


@pytest.fixture(scope="module")
def reference():
    return load_file(DATA / "tiny.safetensors")


@pytest.fixture(scope="module")
def config():
    with safe_open(DATA / "tiny.safetensors", "np") as opened:
        return checkpoints.Config(**json.loads(opened.metadata()["config"]))


@pytest.fixture(scope="module")
def weights(reference, config, tmp_path_factory):
    """The recorded weights, gone through a checkpoint folder."""
    folder = tmp_path_factory.mktemp("reference")
    given = {key.removeprefix("weights/"): array for key, array in reference.items() if key.startswith("weights/")}
    checkpoints.write(folder, config, given, tokenizer_from=None, record={})
    assert given.keys() == checkpoints.shapes(config).keys()
    return checkpoints.read_weights(folder)


@pytest.fixture(scope="module")
def model(config, weights):
    return encoder.build(config, weights)


def batch(reference, kind):
    return {name: reference[f"{kind}/{name}"] for name in ("token_ids", "segment_ids", "mask")}


def off(model, reference, kinds=KINDS, change=lambda inputs: inputs):
    """Give the largest difference of each layer from the reference, over the real pieces."""
    worst = np.zeros(len(model.outputs))
    for kind in kinds:
        inputs = batch(reference, kind)
        states = np.stack([np.asarray(state) for state in model(change(inputs))])
        assert states.shape == reference[f"{kind}/states"].shape
        worst = np.maximum(worst, np.abs((states - reference[f"{kind}/states"])[:, inputs["mask"] == 1]).max((1, 2)))
    return worst


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_is_that_of_pytorch(model, reference, kind):
    assert (off(model, reference, [kind]) <= TOLERANCE).all()


def test_padding_does_not_count(model, reference):
    inputs = batch(reference, "padded")
    short = {name: array[1:, :5] for name, array in inputs.items()}
    for padded, alone in zip(model(inputs), model(short), strict=True):
        np.testing.assert_allclose(np.asarray(padded)[1:, :5], np.asarray(alone), atol=1e-5)


def no_mask(inputs):
    return inputs | {"mask": np.ones_like(inputs["mask"])}


def swapped_segments(inputs):
    return inputs | {"segment_ids": 1 - inputs["segment_ids"]}


@pytest.mark.parametrize("change", [no_mask, swapped_segments])
def test_wrong_inputs_show(model, reference, change):
    assert off(model, reference, change=change).max() > 10 * TOLERANCE


@pytest.mark.parametrize("values", [{"hidden_act": "gelu_new"}, {"hidden_act": "relu"}, {"layer_norm_eps": 1e-6}])
def test_a_wrong_config_shows(config, weights, reference, values):
    assert off(encoder.build(replace(config, **values), weights), reference).max() > 3 * TOLERANCE


@pytest.mark.parametrize(
    "key", ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
)
def test_a_transposed_kernel_shows(config, weights, reference, key):
    key = f"encoder.layer.1.{key}.weight"
    worst = off(encoder.build(config, weights | {key: weights[key].T}), reference)
    assert (worst[:2] <= TOLERANCE).all() and worst[2] > 10 * TOLERANCE


def test_every_weight_counts(config, weights, model, reference):
    generator = np.random.default_rng(0)
    for variable, key, transposed in checkpoints.weight_table(config.num_hidden_layers):
        if key.endswith("self.key.bias"):
            continue  # adds the same to all scores of a query: softmax takes it out
        (target,) = [v for v in model.weights if v.path == variable]
        noise = generator.standard_normal(weights[key].shape).astype(np.float32)
        target.assign((weights[key] + noise).T if transposed else weights[key] + noise)
        worst = off(model, reference).max()
        target.assign(weights[key].T if transposed else weights[key])
        assert worst > TOLERANCE, key
    assert (off(model, reference) <= TOLERANCE).all()


@pytest.mark.slow
def test_a_live_run_agrees_with_pytorch(config, tmp_path):
    python = ROOT / ".venv-torch" / "bin" / "python"
    if not python.is_file():
        how = "python3 -m venv .venv-torch && .venv-torch/bin/pip install torch==2.13.0 'transformers>=5,<6'"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            f"PyTorch has an environment of its own: {how}"
        )
    subprocess.run([python, DATA / "record_reference.py", tmp_path], check=True, capture_output=True)
    live = load_file(tmp_path / "tiny.safetensors")
    weights = {key.removeprefix("weights/"): array for key, array in live.items() if key.startswith("weights/")}
    assert (off(encoder.build(config, weights), live) <= TOLERANCE).all()


@pytest.mark.slow
def test_the_demo_encoder_is_that_of_pytorch(users_cache):
    folder = checkpoints.resolve("minilm")
    recorded = load_file(DATA / "minilm.safetensors")
    with safe_open(DATA / "minilm.safetensors", "np") as opened:
        sentences = json.loads(opened.metadata()["sentences"])
    tokenizer = checkpoints.load_tokenizer(folder)
    rows = [np.array(tokenizer(sentence)["input_ids"], np.int32) for sentence in sentences]
    model = encoder.build(checkpoints.read_config(folder), checkpoints.read_weights(folder))
    token_ids, mask = encoder.pad(rows)
    states = model({"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids), "mask": mask})
    for number, row in enumerate(rows):
        assert (row == recorded[f"{number}/token_ids"]).all()
        ours = np.stack([np.asarray(state)[number, : len(row)] for state in states])
        assert ours.shape == (7, len(row), 384)
        assert np.abs(ours - recorded[f"{number}/states"]).max() <= TOLERANCE


def test_export_gives_back_what_was_built(config, weights, model):
    exported = encoder.export(model, config)
    assert exported.keys() == weights.keys()
    assert all(exported[key].tobytes() == weights[key].tobytes() for key in weights)
    state = model(model.input)[-1]
    inside = keras.Model(model.input, keras.layers.Dense(3, name="head")(state))
    assert all((encoder.export(inside, config)[key] == weights[key]).all() for key in weights)


def test_without_weights_the_layers_differ_and_dropout_is_on_in_training_only(config, reference):
    model = encoder.build(config)
    inputs = batch(reference, "pair")
    still, again = (np.asarray(model(inputs)[-1]) for _ in range(2))
    assert (still == again).all()
    assert not np.allclose(still, np.asarray(model(inputs, training=True)[-1]))


def test_an_unknown_activation_is_refused(config):
    with pytest.raises(ValueError, match=r"activation 'swish' is not supported: expected one of \['gelu', 'gelu_new'"):
        encoder.build(replace(config, hidden_act="swish"))


def test_rows_are_padded_to_a_multiple_and_masked():
    rows = [np.array([5, 6, 7], np.int32), np.arange(1, 10, dtype=np.int32)]
    padded, mask = encoder.pad(rows)
    assert padded.shape == mask.shape == (2, 16) and padded.dtype == mask.dtype == np.int32
    assert padded[0].tolist() == [5, 6, 7] + [0] * 13 and mask.sum(1).tolist() == [3, 9]
    assert encoder.pad(rows, limit=10)[0].shape == (2, 10)
    assert encoder.pad(rows, limit=99)[0].shape == (2, 16)
    assert encoder.pad(rows[1:], multiple=3)[0].shape == (1, 9)
