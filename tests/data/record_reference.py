"""Record what PyTorch's encoders compute, for tests/test_encoder.py and benchmarks/parity.py; needs torch and transformers.

    python tests/data/record_reference.py tests/data --minilm FOLDER    # what is kept with the tests
    python tests/data/record_reference.py /tmp/live --checkpoints       # and every form that transformers saves

`<family>.safetensors` holds weights, inputs, states and attention of a small random encoder, `minilm.safetensors` the states
of two sentences. `<family>/<form>/` are checkpoints with the same encoder in them.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file
from transformers import AutoModel, AutoTokenizer

# no two sizes are equal but those that must be, so that a mixed-up axis cannot pass
SIZES = {
    "vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 36,
    "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
}  # fmt: skip
ROBERTA = SIZES | {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}
DISTILBERT = {
    "vocab_size": 61, "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 36, "max_position_embeddings": 512,
    "activation": "gelu", "pad_token_id": 0,
}  # fmt: skip
FAMILIES = {  # model_type: (config, task models)
    "bert": (SIZES, ["ForSequenceClassification", "ForQuestionAnswering", "ForMaskedLM", "ForPreTraining"]),
    "roberta": (ROBERTA, ["ForSequenceClassification", "ForQuestionAnswering", "ForMaskedLM"]),
    "xlm-roberta": (ROBERTA, ["ForSequenceClassification", "ForMaskedLM"]),
    "camembert": (ROBERTA, ["ForTokenClassification", "ForMaskedLM"]),
    "distilbert": (DISTILBERT, ["ForSequenceClassification", "ForQuestionAnswering", "ForMaskedLM"]),
    "electra": (SIZES | {"embedding_size": 20}, ["ForSequenceClassification", "ForPreTraining", "ForMaskedLM"]),
}
SENTENCES = ["The cat that the dogs chased sleeps.", "Nobody saw unbelievable fireworks!"]


def build(family: str) -> torch.nn.Module:
    """Build a random encoder; every weight is drawn wide, biases and norms too."""
    config = transformers.AutoConfig.for_model(family, **FAMILIES[family][0])
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * (0.4 if "intermediate" in name else 0.15)
        if "norm" in name.lower() and name.endswith("weight"):
            parameter.data += 1
    return model


def inputs(config) -> dict[str, dict[str, np.ndarray]]:
    """Make a padded batch of two, a pair of two segments, and an input as long as there are positions."""
    generator = np.random.default_rng(0)

    def one(shape: tuple[int, int], lengths: list[int], second: int) -> dict[str, np.ndarray]:
        places = np.arange(shape[1])[None]
        mask = (places < np.array(lengths)[:, None]).astype(np.int32)
        drawn = generator.integers(2, config.vocab_size, shape)
        token_ids = np.where(mask, drawn, config.pad_token_id).astype(np.int32)
        # RoBERTa's family has one segment, DistilBERT none
        segment_ids = ((places >= second) * mask * (getattr(config, "type_vocab_size", 1) > 1)).astype(np.int32)
        return {"token_ids": token_ids, "segment_ids": segment_ids, "mask": mask}

    return {"padded": one((2, 14), [14, 5], 99), "pair": one((1, 17), [17], 8), "long": one((1, 512), [512], 300)}


def run(model: torch.nn.Module, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give hidden states, `layers sentences wordpieces hidden`, and attention, `blocks sentences heads wordpieces wordpieces`."""
    ids, segments, mask = (torch.tensor(batch[name]).long() for name in ("token_ids", "segment_ids", "mask"))
    more = {} if model.config.model_type == "distilbert" else {"token_type_ids": segments}
    with torch.no_grad():
        given = model(input_ids=ids, attention_mask=mask, output_hidden_states=True, output_attentions=True, **more)
    return {"states": torch.stack(given.hidden_states).numpy(), "attention": torch.stack(given.attentions).numpy()}


def record(model: torch.nn.Module, path: Path) -> None:
    """Write the weights, the inputs and what comes out; of long inputs some places only."""
    kept = {k: v for k, v in model.state_dict().items() if v.is_floating_point() and not k.startswith("pooler")}
    arrays = {f"weights/{k}": v.numpy() for k, v in kept.items()}
    for name, batch in inputs(model.config).items():
        out = run(model, batch)
        places = np.arange(0, batch["mask"].shape[1], 37 if name == "long" else 1, dtype=np.int32)
        arrays |= {f"{name}/{k}": v for k, v in batch.items()}
        arrays |= {f"{name}/places": places, f"{name}/states": np.ascontiguousarray(out["states"][:, :, places])}
        if name != "long":
            arrays[f"{name}/attention"] = out["attention"]
    save_file(arrays, path, {"config": model.config.to_json_string(use_diff=False)})


def save_forms(model: torch.nn.Module, family: str, folder: Path) -> None:
    """Save the encoder in every form that transformers gives it: alone, in task models, in shards, as a pickle."""
    model.save_pretrained(folder / "Model")
    for task in FAMILIES[family][1]:
        whole = getattr(transformers, type(model).__name__.replace("Model", task))(model.config)
        whole.base_model.load_state_dict(model.state_dict(), strict=False)
        whole.save_pretrained(folder / task)
    whole.save_pretrained(folder / "sharded", max_shard_size="20KB")
    (folder / "pickle").mkdir()
    torch.save(whole.state_dict(), folder / "pickle" / "pytorch_model.bin")
    whole.config.save_pretrained(folder / "pickle")


def compare(folder: Path, checkpoint: Path) -> list[tuple[str, str, float]]:
    """Load a checkpoint with transformers; give its largest difference from the recorded states for each kind of input."""
    model = AutoModel.from_pretrained(checkpoint, attn_implementation="eager").eval()
    family = model.config.model_type
    recorded, rows = load_file(folder / f"{family}.safetensors"), []
    for kind, batch in inputs(model.config).items():
        states = run(model, batch)["states"][:, :, recorded[f"{kind}/places"]]
        real = batch["mask"][:, recorded[f"{kind}/places"]] == 1
        rows.append((family, kind, float(np.abs(states - recorded[f"{kind}/states"])[:, real].max())))
    return rows


def main() -> None:
    """Read the command line and write the files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoints", action="store_true", help="also save every form of every family")
    parser.add_argument(
        "--load", type=Path, nargs="+", default=[], help="compare these checkpoints with what is recorded"
    )
    parser.add_argument("--minilm", type=Path, help="folder of all-MiniLM-L6-v2")
    given = parser.parse_args()
    if given.load:
        print(json.dumps([row for path in given.load for row in compare(given.folder, path)]))
        return
    for family in FAMILIES:
        model = build(family)
        record(model, given.folder / f"{family}.safetensors")
        if given.checkpoints:
            save_forms(model, family, given.folder / family)
    if given.minilm:
        model = AutoModel.from_pretrained(given.minilm, attn_implementation="eager").eval()
        tokenizer = AutoTokenizer.from_pretrained(given.minilm)
        arrays = {}
        for number, sentence in enumerate(SENTENCES):
            ids = np.array([tokenizer(sentence)["input_ids"]], np.int32)
            batch = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "mask": np.ones_like(ids)}
            arrays |= {f"{number}/token_ids": ids[0], f"{number}/states": run(model, batch)["states"][:, 0]}
        save_file(arrays, given.folder / "minilm.safetensors", {"sentences": json.dumps(SENTENCES)})


if __name__ == "__main__":
    main()
