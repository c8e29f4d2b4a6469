"""No weight of an encoder is dropped: what the table does not know is refused by name, and task heads beside it are not."""

import json
import re

import numpy as np
import pytest
from lookalikes import CONFIG, FAMILIES, change, made, rewrite
from safetensors.numpy import load_file, save_file

from bert_repro import checkpoints
from bert_repro.__main__ import main
from bert_repro.checkpoints import Checkpoint, families, hub
from bert_repro.checkpoints.families import ARCHITECTURES, from_raw, to_raw, weight_table

QUERY = "encoder.layer.0.attention.self.query"
BESIDE = {  # what legitimate checkpoints carry beside the encoder
    "bert": {"bert.pooler.dense.weight": (16, 16), "cls.predictions.bias": (9,), "cls.seq_relationship.weight": (2, 16)},
    "roberta": {"lm_head.layer_norm.weight": (16,), "roberta.pooler.dense.bias": (16,), "classifier.out_proj.weight": (2, 16)},
    "xlm-roberta": {"lm_head.decoder.weight": (9, 16), "lm_head.bias": (9,)},
    "camembert": {"qa_outputs.weight": (2, 16)},
    "distilbert": {"vocab_transform.weight": (16, 16), "pre_classifier.weight": (16, 16), "classifier.bias": (2,)},
    "electra": {"generator_predictions.LayerNorm.weight": (8,), "discriminator_predictions.dense.weight": (16, 16)},
}  # fmt: skip
PREFIX = {"bert": "bert.", "distilbert": "distilbert.", "electra": "electra."}


@pytest.mark.parametrize("form", ["alone", "task"])
@pytest.mark.parametrize("family", FAMILIES)
def test_task_heads_poolers_and_buffers_are_no_weights_of_the_encoder(tmp_path, family, form):
    prefix = "" if form == "alone" else PREFIX.get(family, "roberta.")
    folder = made(tmp_path / "model", family, prefix, BESIDE[family])
    stored = load_file(folder / "model.safetensors")
    stored[f"{prefix}embeddings.position_ids"] = np.arange(64)[None]
    stored[f"{prefix}embeddings.token_type_ids"] = np.zeros((1, 64), np.float32)
    save_file(stored, folder / "model.safetensors")
    read = Checkpoint(folder).weights()
    for weight in weight_table(Checkpoint(folder).config):
        assert (read[weight.key] == stored[f"{prefix}{weight.key}"]).all()
    assert "embeddings.position_ids" not in read  # a number is no weight


MERGE = "the weights of an adapter beside the encoder's own, which are not merged: merge them where"
UNKNOWN = {
    "lora": ({f"{QUERY}.lora_A.default.weight": (4, 16), f"{QUERY}.lora_B.default.weight": (16, 4)}, MERGE),
    "lora of words": ({"embeddings.word_embeddings.lora_embedding_A.default": (4, 99)}, MERGE),
    "lora of a task head": ({"classifier.lora_A.default.weight": (4, 16)}, MERGE),
    "dora": ({f"{QUERY}.lora_magnitude_vector.default.weight": (16,)}, MERGE),
    "ia3": ({"encoder.layer.1.output.dense.ia3_l.default": (1, 32)}, MERGE),
    "bottleneck": ({"encoder.layer.0.output.adapters.nli.adapter_down.0.weight": (4, 16)}, MERGE),
    "houlsby": ({"encoder.layer.0.attention.output.adapter.down_project.weight": (4, 16)}, MERGE),
    "prompt": ({"prompt_encoder.default.embedding.weight": (8, 16)}, MERGE),
    "scales": ({f"{QUERY}.SCB": (16,)}, "quantised weights: supported are weights in floating point"),
    "four bits": ({f"{QUERY}.weight.absmax": (4,)}, "quantised weights: supported"),
    "gptq": ({f"{QUERY}.scales": (1, 16)}, "quantised weights: supported"),
    "pruned": ({f"{QUERY}.weight_mask": (16, 16)}, "weights that others are computed of (pruned, or normalised)"),
    "normalised": ({f"{QUERY}.parametrizations.weight.original0": (16, 1)}, "weights that others are computed of"),
    "relative positions": ({"encoder.layer.0.attention.self.distance_embedding.weight": (127, 8)}, "which no encoder of type 'bert' has"),
    "a norm more": ({"encoder.ln.weight": (16,)}, "which no encoder of type 'bert' has: it is of another family, or was extended"),
    "another table": ({"embeddings.task_type_embeddings.weight": (3, 16)}, "which no encoder of type 'bert' has"),
    "a block more": ({"encoder.layer.2.output.dense.bias": (16,)}, "where its config says 2 layers: correct its num_hidden_layers"),
}  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "bert.", "base_model.model.bert."])
@pytest.mark.parametrize("fault", UNKNOWN)
def test_weights_that_the_table_does_not_know_are_refused_by_name(tmp_path, fault, prefix):
    more, message = UNKNOWN[fault]
    more = {(f"{prefix}{name}" if name.startswith(("enc", "emb")) else name): shape for name, shape in more.items()}
    folder = made(tmp_path / "model", prefix=prefix, more=more)
    with pytest.raises(ValueError, match=f"^{folder} has '{re.escape(min(more))}', {re.escape(message)}"):
        Checkpoint(folder).check()


def test_weights_that_lora_has_moved_are_told_as_such_and_not_as_missing(tmp_path):
    folder = made(tmp_path / "model")
    more = {
        "lora_A.default.weight": np.ones((4, 16), np.float32),
        "lora_B.default.weight": np.ones((16, 4), np.float32),
    }
    rewrite(
        folder,
        lambda w: w.update(
            {f"{QUERY}.base_layer.weight": w.pop(f"{QUERY}.weight")} | {f"{QUERY}.{k}": a for k, a in more.items()}
        ),
    )
    with pytest.raises(ValueError, match=f"has '{QUERY}.base_layer.weight', {MERGE}"):
        Checkpoint(folder).check()
    rewrite(
        made(tmp_path / "words"),
        lambda w: w.update(
            {"embeddings.word_embeddings.base_layer.weight": w.pop("embeddings.word_embeddings.weight")}
        ),
    )
    with pytest.raises(ValueError, match=f"has 'embeddings.word_embeddings.base_layer.weight', {MERGE}"):
        Checkpoint(tmp_path / "words").check()


def test_one_check_stands_at_all_doors(tmp_path, capsys):
    folder = made(tmp_path / "model", more=UNKNOWN["lora"][0])
    said = f"has '{QUERY}.lora_A.default.weight', {MERGE}"
    for ask in (
        lambda: checkpoints.ready([str(folder)], []),
        lambda: checkpoints.ready(["tiny", str(folder)], ["ewt:dev[5]"]),
        lambda: checkpoints.open(str(folder)).weights(),
    ):
        with pytest.raises(ValueError, match=said):
            ask()
    assert main(["fetch", str(folder)]) == 1 and said in capsys.readouterr().err
    assert main(["report", "--base", str(folder)]) == 1 and said in capsys.readouterr().err
    assert main(["states", "compute", str(folder), "ewt:dev[5]"]) == 1 and said in capsys.readouterr().err


def test_integers_in_place_of_weights_are_quantised(tmp_path):
    folder = made(tmp_path / "model")
    rewrite(folder, lambda w: w.update({f"{QUERY}.weight": np.ones((16, 16), np.int8)}))
    with pytest.raises(ValueError, match=f"has '{QUERY}.weight' as int8, quantised: supported are weights in floating"):
        Checkpoint(folder).weights()


def test_attention_heads_that_were_taken_out_are_told_by_the_shapes(tmp_path):
    folder = rewrite(made(tmp_path / "model"), lambda w: w.update({f"{QUERY}.weight": w[f"{QUERY}.weight"][:8]}))
    with pytest.raises(
        ValueError, match=r"has the shape \(8, 16\), its config says \(16, 16\): attention heads were removed, which"
    ):
        Checkpoint(folder).weights()


def test_a_kernel_of_zeros_is_what_a_broken_download_leaves(tmp_path):
    folder = rewrite(made(tmp_path / "model"), lambda w: w.update({f"{QUERY}.weight": np.zeros((16, 16), np.float32)}))
    with pytest.raises(
        ValueError, match=f"{QUERY}.weight holds zeros alone, as in a file whose download or saving was interrupted"
    ):
        Checkpoint(folder).weights()


def test_blocks_of_a_second_encoder_are_told_even_where_it_shares_its_embeddings(tmp_path):
    folder = made(tmp_path / "model", prefix="query.", more={"passage.encoder.layer.0.output.dense.weight": (16, 32)})
    with pytest.raises(ValueError, match=r"holds 2 encoders of BERT's family \('passage.', 'query.' "):
        Checkpoint(folder).weights()


def test_weights_called_by_another_family_are_refused(tmp_path):
    folder = made(tmp_path / "model", prefix="roberta.")
    with pytest.raises(
        ValueError, match=r"has weights called 'roberta.', where its config says type 'bert': correct its model_type"
    ):
        Checkpoint(folder).weights()
    Checkpoint(made(tmp_path / "own", "xlm-roberta", "roberta.")).weights()
    Checkpoint(made(tmp_path / "wrapped", "roberta", "model.bert.")).weights()  # as people call any encoder


RAW = to_raw(CONFIG)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_act": "gelu_10"}, "c.json has the activation 'gelu_10': supported are gelu, gelu_python, gelu_new"),
        ({"hidden_act": "GELU"}, "c.json has the activation 'GELU': supported are"),
        ({"hidden_act": ["gelu"]}, "c.json has the activation ['gelu']: supported are"),
        ({"model_type": "distilbert", "activation": "prelu"}, "c.json has the activation 'prelu': supported are"),
        ({"position_embedding_type": "alibi"}, "c.json has position embeddings of type 'alibi': supported is 'absolute'"),
        ({"pruned_heads": {"0": [1]}}, "c.json says that attention heads were removed (pruned_heads): supported are"),
        ({"quantization_config": {"load_in_8bit": True}}, "c.json says that the weights are quantised (quantization_config): supp"),
        ({"max_position_embeddings": 3}, "c.json: 3 positions leave room for 3 wordpieces: at least 4 are needed"),
        ({"max_position_embeddings": 1, "model_type": "roberta", "pad_token_id": 1}, "1 positions leave room for 0 wordpieces"),
        ({"layer_norm_eps": float("nan")}, "c.json: layer_norm_eps: Input should be"),
        ({"hidden_dropout_prob": 1.0}, "c.json: hidden_dropout_prob: Input should be less than 1"),
        ({"type_vocab_size": -1}, "c.json: type_vocab_size: Input should be greater than or equal to 0"),
        ({"num_hidden_layers": 10**9}, "c.json: num_hidden_layers: Input should be less than or equal to 1000"),
        ({"model_type": ["bert"]}, "c.json describes a model of type ['bert']: supported are"),
        ({"model_type": "\ud800"}, "describes a model of type '\\ud800'"),
    ],
)  # fmt: skip
def test_values_that_are_not_computed_are_refused_by_the_config_alone(tmp_path, values, message):
    with pytest.raises(ValueError) as error:
        from_raw(RAW | values, "c.json")
    assert message in str(error.value)


def test_the_hub_is_asked_for_no_weights_of_what_is_not_computed(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(RAW | {"hidden_act": "prelu"}))
    with pytest.raises(ValueError, match="config.json of model 'org/name' has the activation 'prelu'"):
        hub._check_first("org/name", path)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_old_config_is_of_the_family_of_its_class(family):
    raw = {name: value for name, value in to_raw(sized(family)).items() if name != "model_type"}
    for ending in ("Model", "ForMaskedLM"):
        raw["architectures"] = [f"{ARCHITECTURES[family].name}{ending}"]
        assert from_raw(raw, "c.json").model_type == family
    assert families.family({}) == "bert" == families.family({"architectures": []})
    with pytest.raises(ValueError, match="describes a model of type 'AlbertModel'"):
        from_raw(RAW_WITHOUT | {"architectures": ["AlbertModel"]}, "c.json")


RAW_WITHOUT = {name: value for name, value in RAW.items() if name != "model_type"}


def sized(family):
    from dataclasses import replace

    return replace(CONFIG, model_type=family, embedding_size=8 if family == "electra" else 0)


def test_an_old_config_of_roberta_counts_positions_as_roberta_does(tmp_path):
    folder = change(made(tmp_path / "model", "roberta"), model_type=None)
    assert Checkpoint(folder).config.first_position == 1 + Checkpoint(folder).config.pad_token_id > 0
    Checkpoint(folder).check()
