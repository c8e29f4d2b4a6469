"""Record what PyTorch's BertModel computes, for tests/test_encoder.py; needs torch and transformers, run once.

    python tests/data/record_reference.py tests/data [folder of all-MiniLM-L6-v2]

`tiny.safetensors` holds weights, inputs and states of a random BERT, `minilm.safetensors` the states of two sentences.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoTokenizer, BertConfig, BertModel

# no two sizes are equal but those that must be, so that a mixed-up axis cannot pass
CONFIG = {
    "vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 56,
    "max_position_embeddings": 40, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
}  # fmt: skip
SENTENCES = ["The cat that the dogs chased sleeps.", "Nobody saw unbelievable fireworks!"]


def draw(model: BertModel) -> None:
    """Fill every weight: biases and norms too, embeddings so small that the norm's epsilon counts."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        deviation = 0.003 if "_embeddings" in name else 0.4 if "intermediate" in name else 0.15
        parameter.data = torch.randn(parameter.shape, generator=generator) * deviation
        if "LayerNorm.weight" in name:
            parameter.data += 1


def inputs() -> dict[str, dict[str, np.ndarray]]:
    """Make a single input, a batch of two that is padded, and a pair of two segments."""
    generator = np.random.default_rng(0)

    def one(shape: tuple[int, int], lengths: list[int], second: int) -> dict[str, np.ndarray]:
        places = np.arange(shape[1])[None]
        mask = (places < np.array(lengths)[:, None]).astype(np.int32)
        token_ids = generator.integers(1, CONFIG["vocab_size"], shape).astype(np.int32) * mask
        segment_ids = ((places >= second) * mask).astype(np.int32)
        return {"token_ids": token_ids, "segment_ids": segment_ids, "mask": mask}

    return {"single": one((1, 11), [11], 99), "padded": one((2, 14), [14, 5], 99), "pair": one((1, 17), [17], 8)}


def states(model: BertModel, batch: dict[str, np.ndarray]) -> np.ndarray:
    """Give the hidden states, layers sentences wordpieces hidden."""
    ids, segments, mask = (torch.tensor(batch[name]).long() for name in ("token_ids", "segment_ids", "mask"))
    with torch.no_grad():
        given = model(input_ids=ids, token_type_ids=segments, attention_mask=mask, output_hidden_states=True)
    return torch.stack(given.hidden_states).numpy()


def tiny() -> BertModel:
    """Build the random BERT."""
    model = BertModel(BertConfig(**CONFIG), add_pooling_layer=False).eval()
    draw(model)
    return model


def main(folder: Path, minilm: Path | None) -> None:
    """Write the files."""
    model = tiny()
    arrays = {f"weights/{k}": v.numpy() for k, v in model.state_dict().items() if v.is_floating_point()}
    for name, batch in inputs().items():
        arrays |= {f"{name}/{k}": v for k, v in batch.items()} | {f"{name}/states": states(model, batch)}
    save_file(arrays, folder / "tiny.safetensors", {"config": json.dumps(CONFIG)})
    if minilm is None:
        return
    model = BertModel.from_pretrained(minilm).eval()
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    arrays = {}
    for number, sentence in enumerate(SENTENCES):
        ids = np.array([tokenizer(sentence)["input_ids"]], np.int32)
        batch = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "mask": np.ones_like(ids)}
        arrays |= {f"{number}/token_ids": ids[0], f"{number}/states": states(model, batch)[:, 0]}
    save_file(arrays, folder / "minilm.safetensors", {"sentences": json.dumps(SENTENCES)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
