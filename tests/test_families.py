"""Families: a config goes out and comes back; what the encoder would not compute as its authors did is refused."""

from dataclasses import asdict, replace

import pytest

from bert_repro.checkpoints.families import ARCHITECTURES, Config, differing, from_raw, to_raw, weight_table

CONFIG = Config(50, 8, 3, 2, 12, 16, type_vocab_size=2, layer_norm_eps=1e-5, pad_token_id=1)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_config_that_is_written_is_read_back(family):
    config = replace(CONFIG, model_type=family, embedding_size=4 if family == "electra" else 0)
    if family == "distilbert":  # whose config has neither
        config = replace(config, type_vocab_size=2, layer_norm_eps=1e-12)
    raw = to_raw(config)
    assert from_raw(raw, "config.json") == config and raw["architectures"] == [f"{ARCHITECTURES[family].name}Model"]


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_the_weight_table_names_every_weight_once(family):
    config = replace(CONFIG, model_type=family, embedding_size=4 if family == "electra" else 0)
    table = weight_table(config)
    variables, keys, transposed, shapes = zip(*table, strict=True)
    segments, projection = family != "distilbert", 2 * (family == "electra")
    assert len(set(variables)) == len(set(keys)) == len(table) == 2 + segments + 2 + projection + 3 * 16
    kernels = [len(shape) == 2 and "_embeddings" not in key for key, shape in zip(keys, shapes, strict=True)]
    assert list(transposed) == kernels


@pytest.mark.parametrize(("family", "first", "longest"), [("bert", 0, 16), ("roberta", 2, 14), ("camembert", 2, 14)])
def test_robertas_family_counts_positions_from_its_padding_token(family, first, longest):
    config = replace(CONFIG, model_type=family)
    assert (config.first_position, config.max_length) == (first, longest)


@pytest.mark.parametrize(
    ("family", "key", "field", "expected"),
    [
        ("roberta", "pad_token_id", "first_position", 2),
        ("xlm-roberta", "pad_token_id", "first_position", 2),
        ("camembert", "pad_token_id", "max_length", 14),
        ("bert", "pad_token_id", "pad_token_id", 0),
        ("electra", "embedding_size", "embedding_size", 128),
    ],
)
def test_what_a_config_leaves_out_is_what_its_family_has(family, key, field, expected):
    raw = to_raw(replace(CONFIG, model_type=family, embedding_size=4))
    for without in (raw | {key: None}, {name: value for name, value in raw.items() if name != key}):
        assert getattr(from_raw(without, "config.json"), field) == expected


def test_an_electra_without_projection_stays_one():
    config = replace(CONFIG, model_type="electra")
    again = from_raw(to_raw(config), "config.json")
    assert weight_table(again) == weight_table(config)


def test_a_config_without_a_type_is_berts():
    raw = to_raw(CONFIG)
    del raw["model_type"]
    assert from_raw(raw, "bert_config.json") == CONFIG


def test_names_of_other_configs_are_not_looked_at():
    assert from_raw(
        to_raw(CONFIG) | {"id2label": {"0": "x"}, "torch_dtype": None, "pad_token_id": None}, "c"
    ) == replace(CONFIG, pad_token_id=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "gpt2"}, "c.json describes a model of type 'gpt2': supported are bert, roberta, xlm-roberta, camembert"),
        ({"model_type": None}, "describes a model of type None"),
        ({"position_embedding_type": "relative_key"}, "position embeddings of type 'relative_key': supported is 'absolute'"),
        ({"is_decoder": True}, "describes a decoder: supported are encoders"),
        ({"add_cross_attention": True}, "describes a decoder"),
        ({"hidden_size": None}, "c.json: hidden_size: Field required, got None"),
        ({"hidden_size": "8"}, "c.json: hidden_size: Input should be a valid integer, got '8'"),
        ({"num_hidden_layers": 0}, "c.json: num_hidden_layers: Input should be greater than or equal to 1, got 0"),
        ({"model_type": "distilbert", "dim": 8.5}, "c.json: dim: Input should be a valid integer, got 8.5"),
        ({"layer_norm_eps": "small"}, "c.json: layer_norm_eps: Input should be a valid number"),
        ({"num_attention_heads": 3}, "c.json: a width of 8 cannot be split among 3 attention heads"),
    ],
)  # fmt: skip
def test_another_architecture_and_impossible_sizes_are_refused(values, message):
    with pytest.raises(ValueError) as error:
        from_raw(asdict(CONFIG) | values, "c.json")
    assert message in str(error.value)


@pytest.mark.parametrize(
    "name", ["max_position_embeddings", "type_vocab_size", "embedding_size", "vocab_size", "hidden_size"]
)
def test_whatever_changes_the_shape_of_a_weight_is_told(name):
    config = Config(60, 8, 2, 2, 16, 32, type_vocab_size=2, embedding_size=4)
    other = replace(config, **{name: getattr(config, name) * 2})
    assert weight_table(config) != weight_table(other)
    told = name if name != "type_vocab_size" else "segments"
    assert differing(config, other) == f"{told} is {getattr(config, name)}, not {getattr(other, name)}"
    assert differing(config, config) == ""
