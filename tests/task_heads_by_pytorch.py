"""Make a tiny model of every family with each task head, and what PyTorch computes with it; run where PyTorch's transformers is.

    python task_heads_by_pytorch.py FOLDER INPUT.json
    python task_heads_by_pytorch.py FOLDER          # reads such checkpoints, and prints how far from expected.npz they are

INPUT.json holds `text` (lines to learn vocabularies from), `families` (model_type to names of labels, in the order of its
outputs), `nli` and `squad` (lists of two lists of words). In FOLDER come FAMILY-nli and FAMILY-squad, checkpoints with their
tokenizer, and in each expected.npz: `ids`, `mask` and, where the family has them, `segments` (items wordpieces), `second` (1
for wordpieces of the second side) and `logits` (items labels), or `start` and `end` (items wordpieces).
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizer,
    CamembertTokenizer,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

PIECES = 2500
WIDEST = re.compile(r"intermediate|classifier\.dense")
KINDS = {"nli": AutoModelForSequenceClassification, "squad": AutoModelForQuestionAnswering}
INPUTS = {"input_ids": "ids", "attention_mask": "mask", "token_type_ids": "segments"}
# no two sizes are equal but those that must be, so that a mixed-up axis cannot pass
SIZES = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 36, "max_position_embeddings": 512,
    "pad_token_id": 0,
}  # fmt: skip
ROBERTA = SIZES | {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}
DISTILBERT = {
    "dim": 24, "n_layers": 2, "n_heads": 4, "hidden_dim": 36, "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip


def learned(model, pre_tokenizer, trainer, text, normalizer=None) -> dict:
    """Learn a vocabulary, and give what a tokenizer's file says of it."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(text, trainer)
    return json.loads(tokenizer.to_str())["model"]


def wordpiece(text):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=PIECES, special_tokens=special, show_progress=False)
    split, lower = pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer()
    return BertTokenizer(vocab=learned(models.WordPiece(unk_token="[UNK]"), split, trainer, text, lower)["vocab"])


def bytes_in_pairs(text):
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES, special_tokens=special, initial_alphabet=letters, show_progress=False
    )
    model = learned(models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=True), trainer, text)
    return RobertaTokenizer(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], add_prefix_space=True
    )


def unigram(text, kind, special):
    trainer = trainers.UnigramTrainer(vocab_size=PIECES, special_tokens=special, unk_token="<unk>", show_progress=False)
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return kind(vocab=[tuple(entry) for entry in learned(models.Unigram(), split, trainer, text)["vocab"]])


TOKENIZERS = {
    "bert": wordpiece, "distilbert": wordpiece, "electra": wordpiece, "roberta": bytes_in_pairs,
    "xlm-roberta": lambda text: unigram(text, XLMRobertaTokenizer, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]),
    "camembert": lambda text: unigram(
        text, CamembertTokenizer, ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>", "<mask>"]
    ),
}  # fmt: skip


def config_of(family: str, vocabulary: int, names: list[str]):
    sizes = {"distilbert": DISTILBERT, "electra": SIZES | {"embedding_size": 20}, "bert": SIZES}.get(family, ROBERTA)
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: n for n, name in enumerate(names)}}
    return AutoConfig.for_model(family, vocab_size=vocabulary, **sizes, **(labels if names else {}))


def build(kind, config, seed: int) -> torch.nn.Module:
    """Draw a model, every weight wide, biases and norms too: so small an encoder would else hardly mix its words.

    Widest before an activation: the kinds of GELU differ most two from zero.
    """
    model = kind.from_config(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * (0.4 if WIDEST.search(name) else 0.15)
        if "norm" in name.lower() and name.endswith("weight"):
            parameter.data += 1
    return model


def outputs_of(model, given) -> dict[str, np.ndarray]:
    with torch.no_grad():
        said = model(**given)
    logits = {"logits": said.logits} if "logits" in said else {"start": said.start_logits, "end": said.end_logits}
    return {name: array.numpy() for name, array in logits.items()}


def expect(model, tokenizer, items: list[list[list[str]]]) -> dict[str, np.ndarray]:
    """Compute what is expected of items of two sides."""
    firsts, seconds = ([item[side] for item in items] for side in (0, 1))
    given = tokenizer(firsts, seconds, is_split_into_words=True, padding=True, return_tensors="pt")
    second = [[int(side == 1) for side in given.sequence_ids(n)] for n in range(len(items))]
    arrays = {ours: given[name].numpy() for name, ours in INPUTS.items() if name in given}
    return arrays | {"second": np.array(second)} | outputs_of(model, given)


def main(folder: Path, given: dict) -> None:
    for seed, (family, names) in enumerate(given["families"].items()):
        for task, kind in KINDS.items():
            target = folder / f"{family}-{task}"
            TOKENIZERS[family](given["text"]).save_pretrained(target)
            tokenizer = AutoTokenizer.from_pretrained(target)
            model = build(kind, config_of(family, len(tokenizer), names if task == "nli" else []), seed)
            model.save_pretrained(target)
            np.savez(target / "expected.npz", **expect(model, tokenizer, given[task]))


def again(folder: Path) -> dict[str, float]:
    """Load checkpoints, and give the largest difference from what is expected, by their names."""
    differences = {}
    for target in folder.iterdir():
        model, told = KINDS[target.name.rpartition("-")[2]].from_pretrained(target, output_loading_info=True)
        assert not told["missing_keys"], told  # PyTorch would draw them
        with np.load(target / "expected.npz") as expected:
            given = {name: torch.tensor(expected[ours]) for name, ours in INPUTS.items() if ours in expected}
            said = outputs_of(model.eval(), given)
            largest = [np.abs(array - expected[name]).max() for name, array in said.items()]
        differences[target.name] = float(max(largest))
    return differences


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
    else:
        print(json.dumps(again(Path(sys.argv[1]))))
