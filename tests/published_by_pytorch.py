"""Make tiny repositories as people publish them, and what PyTorch computes with each; run where PyTorch's transformers is.

    python published_by_pytorch.py FOLDER SENTENCES.json TEXT.txt

In FOLDER come repositories/NAME, the files of each, and expected/NAME.npz: of every sentence, which is a list of words, the
numbers of its wordpieces (`ids/3`) and the hidden states of its words and special tokens, the mean of their pieces
(`states/3`, layers rows hidden).
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LABELS = ("entailment", "neutral", "contradiction")
ADDED = ("[NEW]", "newword")


def vocabulary(text: list[str], cased: bool, size: int = 600) -> list[str]:
    """Learn wordpieces from lines of text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(text, trainer)
    numbers = tokenizer.get_vocab()
    return sorted(numbers, key=numbers.__getitem__)


def make(kind: type, pieces: list[str], seed: int, **changes):
    """Draw a tiny model, its weights wide: so small an encoder would else hardly mix its words."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128, initializer_range=0.15, **changes,
    )  # fmt: skip
    return kind(config).eval()


def expect(model, tokenizer, sentences: list[list[str]]) -> dict[str, np.ndarray]:
    """Compute the hidden states of words, see the head of this file."""
    expected = {}
    for number, words in enumerate(sentences):
        encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            states = torch.stack(model(**encoded, output_hidden_states=True).hidden_states)[:, 0].float().numpy()
        rows, before = [], -1
        for place, word in enumerate(encoded.word_ids()):
            if word is None or word != before:
                rows.append([])
            rows[-1].append(place)
            before = word
        expected[f"ids/{number}"] = encoded["input_ids"][0].numpy()
        expected[f"states/{number}"] = np.stack([states[:, row].mean(1) for row in rows], 1)
    return expected


def main(folder: Path, sentences: list[list[str]], text: list[str]) -> None:
    """Make all repositories."""
    repositories, expected = folder / "repositories", folder / "expected"
    expected.mkdir(parents=True)
    uncased, cased = vocabulary(text, cased=False), vocabulary(text, cased=True)

    def old_tokenizer(name: str, pieces: list[str], **described) -> None:
        """Write the files that a tokenizer had before there was tokenizer.json."""
        (repositories / name / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
        config = {"tokenizer_class": "BertTokenizer", "model_max_length": 128} | described
        (repositories / name / "tokenizer_config.json").write_text(json.dumps(config))

    def publish(name: str, model, pieces: list[str], lower: bool = True, whole: bool = True, **saving) -> None:
        """Save a model with its tokenizer, as `whole` in one file of today or as the files of before."""
        model.save_pretrained(repositories / name, **saving)
        old_tokenizer(name, pieces, do_lower_case=lower)
        if whole:
            AutoTokenizer.from_pretrained(repositories / name).save_pretrained(repositories / name)
            (repositories / name / "vocab.txt").unlink()

    def record(name: str, model) -> None:
        tokenizer = AutoTokenizer.from_pretrained(repositories / name)
        np.savez(expected / f"{name}.npz", **expect(model, tokenizer, sentences))

    names = {"id2label": dict(enumerate(LABELS)), "label2id": {label: n for n, label in enumerate(LABELS)}}
    for seed, (name, kind, pieces, changes, saving) in enumerate(
        (
            ("pairs", BertForSequenceClassification, uncased, names, {}),
            ("questions", BertForQuestionAnswering, uncased, {}, {}),
            ("h5", BertForSequenceClassification, uncased, names, {"whole": False}),
            ("pickle", BertForSequenceClassification, uncased, names, {}),
            ("sharded", BertForMaskedLM, uncased, {}, {"max_shard_size": "60KB"}),
            ("vocabulary", BertForMaskedLM, uncased, {}, {"whole": False}),
            ("cased", BertForMaskedLM, cased, {}, {"lower": False}),
            ("cased_vocabulary", BertForMaskedLM, cased, {}, {"lower": False, "whole": False}),
            ("half", BertForMaskedLM, uncased, {}, {}),
        )
    ):
        model = make(kind, pieces, seed, **changes)
        publish(name, model.half() if name == "half" else model, pieces, **saving)
        record(name, model.float())
        if name == "pickle":
            (repositories / name / "model.safetensors").unlink()
            torch.save(model.state_dict(), repositories / name / "pytorch_model.bin")

    model = make(BertForMaskedLM, uncased, 20)
    model.resize_token_embeddings(len(uncased) + len(ADDED), mean_resizing=False)
    publish("added", model, uncased, whole=False)
    added = {piece: len(uncased) + n for n, piece in enumerate(ADDED)}
    (repositories / "added" / "added_tokens.json").write_text(json.dumps(added))
    special = {"additional_special_tokens": [ADDED[0]], "unk_token": "[UNK]"}
    (repositories / "added" / "special_tokens_map.json").write_text(json.dumps(special))
    record("added", model)

    publish("decoder", make(BertLMHeadModel, uncased, 21, is_decoder=True), uncased)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=len(uncased), n_positions=128, n_embd=32, n_layer=1, n_head=2)
    ).save_pretrained(repositories / "gpt2")
    old_tokenizer("gpt2", uncased)
    (repositories / "lora").mkdir()
    described = {"base_model_name_or_path": "org/base", "peft_type": "LORA", "task_type": "SEQ_CLS", "r": 8}
    (repositories / "lora" / "adapter_config.json").write_text(json.dumps(described))
    save_file(
        {"base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight": torch.ones(8, 32)},
        repositories / "lora" / "adapter_model.safetensors",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3]).read_text().splitlines())
