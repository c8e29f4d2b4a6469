"""Make small checkpoints that are written in odd ways, and what PyTorch computes with them; run where PyTorch's transformers is.

    python odd_by_pytorch.py FOLDER

In FOLDER come the checkpoints, a folder each; expected.json, of each of them (by its path) the wordpieces of some sentences; and
states.npz, of each and sentence (`old/0`) the hidden states of all layers (layers wordpieces hidden). How capitals and accents are
meant to be read is told to PyTorch's tokenizers here in words; the files do not say it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import normalizers
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer, RobertaConfig, RobertaForMaskedLM

SPECIAL = {
    "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"
}  # fmt: skip
CASED = ["The", "the", "Zürich", "naïve", "birds", "Ol", "old", "A", "a", ".", ","]
UNCASED = ["the", "zurich", "naive", "birds", "ol", "old", "a", ".", ","]
ACCENTED = ["the", "zürich", "naïve", "birds", "ol", "old", "a", ".", ","]
SENTENCES = ["The naïve birds , a Zürich", "the old naive .", "Zürich"]
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64,
    "initializer_range": 0.15,
}  # fmt: skip


def save(folder: Path, words: list[str], act: str = "gelu", old: bool = False) -> torch.nn.Module:
    """Save a model of random weights with a vocab.txt of some words; an old config does not say its type."""
    torch.manual_seed(len(words))
    pieces = [*SPECIAL.values(), *words, *(f"##{letter}" for letter in "abcdefgh")]
    kind, sizes = ((RobertaForMaskedLM, RobertaConfig) if old else (BertModel, BertConfig)), SIZES
    model = kind[0](kind[1](vocab_size=len(pieces), hidden_act=act, pad_token_id=0, **sizes)).eval()
    model.save_pretrained(folder)
    if old:
        raw = json.loads((folder / "config.json").read_text())
        raw.pop("model_type")
        (folder / "config.json").write_text(json.dumps(raw))
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    return getattr(model, "roberta", model)


def write(folder: Path, name: str, content: dict) -> None:
    (folder / name).write_text(json.dumps(content))


def main(folder: Path, activations: list[str]) -> None:
    pieces, arrays = {}, {}

    def expect(place: str, model: torch.nn.Module, **letters) -> None:
        tokenizer = BertTokenizer(str(folder / place / "vocab.txt"), **letters)
        pieces[place] = [tokenizer(sentence)["input_ids"] for sentence in SENTENCES]
        for number, ids in enumerate(pieces[place]):
            with torch.no_grad():
                states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
            arrays[f"{place}/{number}"] = np.stack([state[0].numpy() for state in states])

    for act in activations:
        expect(f"act-{act}", save(folder / f"act-{act}", UNCASED, act), do_lower_case=True)
        write(folder / f"act-{act}", "tokenizer_config.json", {"do_lower_case": True})
    cases = {  # words; files; what is meant
        "cased-special-map": (CASED, {"special_tokens_map.json": SPECIAL}, {"do_lower_case": False}),
        "cased-empty-config": (CASED, {"tokenizer_config.json": {"model_max_length": 64}}, {"do_lower_case": False}),
        "cased-alone": (CASED, {}, {"do_lower_case": False}),
        "cased-said-lower": (CASED, {"tokenizer_config.json": {"do_lower_case": True}}, {"do_lower_case": True}),
        "uncased-special-map": (UNCASED, {"special_tokens_map.json": SPECIAL}, {"do_lower_case": True}),
        "accented-special-map": (ACCENTED, {"special_tokens_map.json": SPECIAL}, {"do_lower_case": True, "strip_accents": False}),
        "accented-said": (ACCENTED, {"tokenizer_config.json": {"do_lower_case": True}}, {"do_lower_case": True}),
    }  # fmt: skip
    for name, (words, files, meant) in cases.items():
        model = save(folder / name, words)
        for file, content in files.items():
            write(folder / name, file, content)
        expect(name, model, **meant)
    name = "cased-json"  # says it in tokenizer.json, which transformers itself does not read it from
    model = save(folder / name, CASED)
    tokenizer = BertTokenizer(str(folder / name / "vocab.txt"), do_lower_case=False)
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.backend_tokenizer.save(str(folder / name / "tokenizer.json"))
    expect(name, model, do_lower_case=False)
    expect("sbert/0_Transformer", save(folder / "sbert" / "0_Transformer", UNCASED), do_lower_case=True)
    write(folder / "sbert", "config.json", {"__version__": "0.3.9"})
    # the class alone says that positions are counted as RoBERTa does
    expect("old-roberta", save(folder / "old-roberta", UNCASED, old=True), do_lower_case=True)
    write(folder / "old-roberta", "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    task = BertForMaskedLM(
        BertConfig(vocab_size=len(UNCASED) + 13, **SIZES)
    ).eval()  # with a task head, and buffers of old
    folder.joinpath("task").mkdir()
    task.save_pretrained(folder / "task")
    (folder / "task" / "vocab.txt").write_text((folder / "sbert" / "0_Transformer" / "vocab.txt").read_text())
    expect("task", task.bert, do_lower_case=True)
    write(folder, "expected.json", pieces)
    np.savez(folder / "states.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
