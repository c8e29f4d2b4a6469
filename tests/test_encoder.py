"""The encoder computes what PyTorch computes, in every layer of every family; a planted fault shows in the same comparison.

The references come from tests/data/record_reference.py, and where PyTorch is installed also from a run of it now.
"""

import importlib.util
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
import pytorch
from safetensors import safe_open
from safetensors.numpy import load_file

from bert_repro import backend, checkpoints, encoder
from bert_repro.alignment import Aligned
from bert_repro.checkpoints import families

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-4
FAMILIES = tuple(families.ARCHITECTURES)
DISTINCT = ("bert", "roberta", "distilbert", "electra")  # XLM-R and CamemBERT are RoBERTa under other names

_spec = importlib.util.spec_from_file_location("parity", DATA.parents[1] / "benchmarks" / "parity.py")
parity = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(parity)


@cache
def recorded(family):
    """The config, and by kind of input what PyTorch was given and gave."""
    with safe_open(DATA / f"{family}.safetensors", "np") as opened:
        config = families.from_raw(json.loads(opened.metadata()["config"]), family)
    return config, parity.reference(DATA / f"{family}.safetensors")


@cache
def built(family):
    config, reference = recorded(family)
    return encoder.build(config, reference["weights"])


def off(model, reference, change=lambda inputs: inputs):
    """Give the largest difference of each layer over all kinds of input, with inputs changed."""
    return np.max([parity.differences(model, reference | {k: change(reference[k])}, k) for k in parity.KINDS], axis=0)


@pytest.mark.parametrize("kind", parity.KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_is_that_of_pytorch(family, kind):
    _, reference = recorded(family)
    assert (parity.differences(built(family), reference, kind) <= TOLERANCE).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_references_are_drawn_wide_and_hold_every_weight(family):
    config, reference = recorded(family)
    table = families.weight_table(config)
    assert {w.key: w.shape for w in table} == {key: array.shape for key, array in reference["weights"].items()}
    assert min(array.std() for array in reference["weights"].values() if array.size > 500) > 0.14
    assert reference["long"]["mask"].shape == (1, config.max_length) and config.max_length == 512


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["padded", "pair"])
@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_that_of_pytorch_and_leaves_the_states_as_they_are(family, kind):
    config, reference = recorded(family)
    both = encoder.build(config, reference["weights"], attention=True)
    given, states = reference[kind], config.num_hidden_layers + 1
    out = both({name: given[name] for name in ("token_ids", "segment_ids", "mask")})
    ours = np.stack([np.asarray(one) for one in out[states:]])
    rows = np.broadcast_to((given["mask"] == 1)[None, :, None, :], ours.shape[:-1])
    assert np.abs(ours - given["attention"])[rows].max() <= TOLERANCE
    np.testing.assert_allclose(ours[rows].sum(-1), 1, atol=1e-5)
    assert (parity.differences(both, reference, kind) <= TOLERANCE).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_does_not_count(family):
    _, reference = recorded(family)
    inputs = {name: reference["padded"][name] for name in ("token_ids", "segment_ids", "mask")}
    short = {name: array[1:, :5] for name, array in inputs.items()}
    for padded, alone in zip(built(family)(inputs), built(family)(short), strict=True):
        np.testing.assert_allclose(np.asarray(padded)[1:, :5], np.asarray(alone), atol=1e-5)


def swapped_segments(inputs):
    return inputs | {"segment_ids": 1 - inputs["segment_ids"]}


@pytest.mark.parametrize("family", DISTINCT)
def test_a_missing_mask_shows(family):
    config, reference = recorded(family)
    model = built(family)
    given = {name: reference["padded"][name] for name in ("token_ids", "segment_ids")}
    states = model(given | {"mask": np.ones_like(given["token_ids"])})
    real = reference["padded"]["mask"] == 1
    worst = max(
        np.abs(np.asarray(s) - r)[real].max() for s, r in zip(states, reference["padded"]["states"], strict=True)
    )
    assert worst > 10 * TOLERANCE


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_swapped_segments_show(family):
    assert off(built(family), recorded(family)[1], swapped_segments).max() > 10 * TOLERANCE


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "camembert", "distilbert"])
def test_families_without_a_second_segment_do_not_look_at_it(family):
    assert (off(built(family), recorded(family)[1], swapped_segments) <= TOLERANCE).all()


FAULTS = {
    "tanh GELU": {"hidden_act": "gelu_new"},
    "ReLU": {"hidden_act": "relu"},
    "the epsilon of another family": None,
    "more attention heads": {"num_attention_heads": 2},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("family", DISTINCT)
def test_a_wrong_config_shows(family, fault):
    config, reference = recorded(family)
    change = FAULTS[fault] or {"layer_norm_eps": 1e-12 if config.layer_norm_eps == 1e-5 else 1e-5}
    assert off(encoder.build(replace(config, **change), reference["weights"]), reference).max() > TOLERANCE


@pytest.mark.parametrize("family", DISTINCT)
def test_positions_counted_from_another_row_show(family):
    config, reference = recorded(family)
    key = "embeddings.position_embeddings.weight"
    model = encoder.build(config, reference["weights"] | {key: np.roll(reference["weights"][key], 1, axis=0)})
    assert (off(model, reference) > 10 * TOLERANCE).all()


@pytest.mark.slow
@pytest.mark.parametrize("family", DISTINCT)
def test_a_transposed_kernel_shows(family):
    config, reference = recorded(family)
    square = [w for w in families.weight_table(config) if w.transposed and w.shape[0] == w.shape[1]]
    assert len(square) == 4 * config.num_hidden_layers
    model = encoder.build(config, reference["weights"])
    variables = {variable.path: variable for variable in model.weights}
    for weight in square:
        kept = np.asarray(variables[weight.variable])
        variables[weight.variable].assign(kept.T)
        worst = off(model, reference)
        variables[weight.variable].assign(kept)
        block = int(weight.variable.split("/")[0].removeprefix("block_"))
        assert (worst[:block] <= TOLERANCE).all() and worst[block] > 10 * TOLERANCE, weight.key


@pytest.mark.slow
@pytest.mark.parametrize("family", DISTINCT)
def test_every_weight_counts(family):
    config, reference = recorded(family)
    model = encoder.build(config, reference["weights"])
    variables = {variable.path: variable for variable in model.weights}
    generator = np.random.default_rng(0)
    for weight in families.weight_table(config):
        if weight.variable.endswith("key/bias"):
            continue  # adds the same to all scores of a query: softmax takes it out
        target = variables[weight.variable]
        kept = np.asarray(target)
        target.assign(kept + generator.standard_normal(kept.shape).astype(np.float32))
        worst = parity.differences(model, reference, "pair").max()
        target.assign(kept)
        assert worst > TOLERANCE, weight.key
    assert (off(model, reference) <= TOLERANCE).all()


@pytest.mark.slow
def test_a_live_run_agrees_with_pytorch_in_every_form_of_checkpoint(tmp_path):
    pytorch.python()
    table = parity.live(tmp_path)
    assert (table["largest difference"] <= TOLERANCE).all(), table[table["largest difference"] > TOLERANCE]
    assert set(table["family"]) == set(FAMILIES) and set(table["inputs"]) == set(parity.KINDS)
    forms = table.groupby("family")["checkpoint"].nunique()
    assert forms.min() >= 8 and forms["bert"] == 11
    assert table["checkpoint"].str.startswith(("TF 1", "tf_model.h5", "pytorch_model.bin")).sum() == 3 * (1 + 6 + 6)


@pytest.mark.slow
def test_the_demo_encoder_is_that_of_pytorch(users_cache):
    minilm = checkpoints.open("minilm")
    expected = load_file(DATA / "minilm.safetensors")
    with safe_open(DATA / "minilm.safetensors", "np") as opened:
        sentences = json.loads(opened.metadata()["sentences"])
    tokenizer = minilm.tokenizer
    rows = [np.array(tokenizer(sentence)["input_ids"], np.int32) for sentence in sentences]
    model = encoder.build(minilm.config, minilm.weights())
    token_ids, mask = encoder.pad(rows, 512)
    states = model({"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids), "mask": mask})
    for number, row in enumerate(rows):
        assert (row == expected[f"{number}/token_ids"]).all()
        ours = np.stack([np.asarray(state)[number, : len(row)] for state in states])
        assert ours.shape == (7, len(row), 384)
        assert np.abs(ours - expected[f"{number}/states"]).max() <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_export_gives_back_what_was_built(family):
    config, reference = recorded(family)
    model, weights = built(family), reference["weights"]
    exported = encoder.export(model, config)
    assert exported.keys() == weights.keys()
    assert all(exported[key].tobytes() == weights[key].tobytes() for key in weights)
    inside = keras.Model(model.input, keras.layers.Dense(3, name="head")(model(model.input)[-1]))
    assert all((encoder.export(inside, config)[key] == weights[key]).all() for key in weights)


def test_without_weights_the_layers_differ_and_dropout_is_on_in_training_only():
    config, reference = recorded("bert")
    model = encoder.build(config)
    inputs = {name: reference["pair"][name] for name in ("token_ids", "segment_ids", "mask")}
    still, again = (np.asarray(model(inputs)[-1]) for _ in range(2))
    assert (still == again).all()
    assert not np.allclose(still, np.asarray(model(inputs, training=True)[-1]))


def test_an_unknown_activation_is_refused():
    config, _ = recorded("bert")
    with pytest.raises(
        ValueError, match=r"activation 'prelu' is not supported: expected one of \['gelu', 'gelu_accurate'"
    ):
        encoder.build(replace(config, hidden_act="prelu"))


def test_rows_are_padded_and_masked_within_the_limit():
    rows = [np.array([5, 6, 7], np.int32), np.arange(1, 36, dtype=np.int32)]
    padded, mask = encoder.pad(rows, 512)
    assert padded.shape == mask.shape == (2, 36) and padded.dtype == mask.dtype == np.int32
    assert padded[0].tolist() == [5, 6, 7] + [0] * 33 and mask.sum(1).tolist() == [3, 35]
    assert encoder.pad(rows, 35)[0].shape == (2, 35)


def test_few_lengths_occur_and_little_is_padding():
    lengths = [encoder.pad([np.zeros(n, np.int32)], 512)[0].shape[1] for n in range(1, 513)]
    assert len(set(lengths)) == 96 and all(n <= length < n * 17 / 16 + 1 for n, length in enumerate(lengths, 1))


def test_jax_which_compiles_for_seconds_sees_a_handful_of_shapes(monkeypatch):
    monkeypatch.setattr(backend, "NAME", "jax")
    buckets = [backend.bucket(n) for n in range(1, 513)]
    assert set(buckets) == {64, 128, 256, 512} and all(bucket >= n for n, bucket in enumerate(buckets, 1))
    assert encoder.pad([np.ones(300, int)], 384)[0].shape == (1, 384)  # within the limit all the same


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 30, 4000])
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_a_row_is_the_mean_or_the_first_of_its_pieces_however_inputs_are_batched(monkeypatch, pooling, batch):
    monkeypatch.setattr(encoder, "BATCH", batch)
    generator = np.random.default_rng(0)
    inputs = []
    for length in generator.integers(2, 20, 12):
        starts = np.r_[0, np.flatnonzero(generator.random(length - 1) < 0.4) + 1]
        ids = generator.integers(1, 60, length).astype(np.int32)
        inputs.append(Aligned(ids, np.zeros_like(ids), starts))
    expected = []
    for one in inputs:
        given = {"token_ids": one.token_ids[None], "segment_ids": one.segment_ids[None]}
        states = built("bert")(given | {"mask": np.ones_like(one.token_ids)[None]})
        layers = np.stack([np.asarray(state)[0] for state in states])
        for start, stop in zip(one.starts, [*one.starts[1:], len(one.token_ids)], strict=True):
            expected.append(layers[:, start:stop].mean(1) if pooling == "mean" else layers[:, start])
    read = encoder.extract(built("bert"), inputs, pooling)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, np.stack(expected, 1), atol=1e-5)
    assert (encoder.extract(built("bert"), inputs, pooling, "float16") == read.astype(np.float16)).all()


@pytest.mark.parametrize(("family", "token", "segment"), [("bert", 61, 0), ("bert", 5, 2), ("roberta", 61, 0)])
def test_inputs_without_an_embedding_are_refused(family, token, segment):
    ids, segments = np.array([2, token], np.int32), np.array([0, segment], np.int32)
    with pytest.raises(
        ValueError, match=r"up to \d+, the encoder has embeddings for 0 to \d+: do tokenizer and weights"
    ):
        encoder.extract(built(family), [Aligned(ids, segments, np.arange(2))], "mean")


def test_a_second_segment_is_no_fault_where_segments_are_not_read():
    ids, segments = np.array([2, 60], np.int32), np.array([0, 1], np.int32)
    for family in ("roberta", "distilbert"):
        assert np.isfinite(encoder.extract(built(family), [Aligned(ids, segments, np.arange(2))], "mean")).all()


@pytest.mark.slow
def test_what_half_precision_cannot_hold_is_infinite():
    config, reference = recorded("bert")
    grown = {"encoder.layer.1.output.LayerNorm.weight": np.full(config.hidden_size, 1e6, np.float32)}
    ids = np.arange(2, 9, dtype=np.int32)
    inputs = [Aligned(ids, np.zeros_like(ids), np.arange(7))]
    read = encoder.extract(encoder.build(config, reference["weights"] | grown), inputs, "mean", "float16")
    assert np.isfinite(read[:2]).all() and np.isinf(read[2]).any() and not np.isnan(read).any()
