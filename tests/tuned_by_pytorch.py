"""Make a tiny base and two models tuned from it, and what PyTorch computes with them; run where PyTorch's transformers is.

    python tuned_by_pytorch.py FOLDER INPUT.json

INPUT.json holds `text` (lines), `pairs` and `questions` (each `train` and `dev`, the fields of corpora.Pair and Question) and
`texts`: by reference a list of items, each of them its sides, each of them its words. In FOLDER come the checkpoints base, mnli
and squad, as save_pretrained writes them; states.npz, of every model and text (`mnli/ewt:dev[60]`) the hidden states of all words
and special tokens, the mean of their pieces (layers rows hidden); and predictions.json: `labels` of the pairs, `answers` to the
questions. tuned.py reads it all.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertTokenizer,
)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LABELS = ["entailment", "neutral", "contradiction"]
PIECES, POSITIONS, BLOCKS = 4000, 512, 3
PAIR_LIMIT, QUESTION_LIMIT = 128, 384  # wordpieces of an input
STRIDE = 128  # wordpieces from the start of one window of a context to the next
LONGEST = 30  # words of an answer
BATCH = 16
LEARNED = 192  # wordpieces of a question and its context that are learned from, for speed


def tokenizer_of(text: list[str]) -> BertTokenizer:
    """Learn wordpieces from lines of text."""
    learned = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learned.normalizer = normalizers.BertNormalizer(lowercase=True)
    learned.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # as special tokens, letters keep their numbers, by which the trainer breaks ties; it would number them in no fixed order
    letters = sorted(set("".join(map(learned.normalizer.normalize_str, text))) - {" "})
    first = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=PIECES, special_tokens=first, initial_alphabet=letters, show_progress=False
    )
    learned.train_from_iterator(text, trainer)
    return BertTokenizer(vocab=learned.get_vocab(), do_lower_case=True, model_max_length=POSITIONS)


def encoded(tokenizer: BertTokenizer, *sides: list, **options):
    return tokenizer(*sides, is_split_into_words=True, return_tensors="pt", **options)


def learn(model, batches) -> None:
    """Take a step on every batch, which is the model's arguments."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    model.train()
    for batch in batches:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.eval()


def drawn(items: list, steps: int, generator: np.random.Generator):
    """Draw so many batches of items."""
    for _ in range(steps):
        yield [items[n] for n in generator.choice(len(items), min(BATCH, len(items)), replace=False)]


def masked(tokenizer: BertTokenizer, lines: list[str], generator: np.random.Generator) -> dict:
    """Hide every seventh piece or so of some lines, to be guessed."""
    batch = tokenizer(lines, padding=True, truncation=True, max_length=64, return_tensors="pt")
    chosen = torch.tensor(generator.random(tuple(batch["input_ids"].shape)) < 0.15) & (
        batch["input_ids"] >= len(SPECIAL)
    )
    batch["labels"] = torch.where(chosen, batch["input_ids"], -100)
    batch["input_ids"] = torch.where(chosen, tokenizer.mask_token_id, batch["input_ids"])
    return batch


def pieces_of_words(batch, number: int) -> list[list[int]]:
    """Give for each word of the second side of an input its pieces."""
    words: dict[int, list[int]] = {}
    for place, (word, side) in enumerate(zip(batch.word_ids(number), batch.sequence_ids(number), strict=True)):
        if side == 1:
            words.setdefault(word, []).append(place)
    return list(words.values())


def with_spans(tokenizer: BertTokenizer, questions: list[dict]) -> dict:
    """Encode questions together with the first and last piece of an answer, [CLS] where it was cut off."""
    firsts, seconds = [question["first"] for question in questions], [question["second"] for question in questions]
    batch = encoded(tokenizer, firsts, seconds, padding=True, truncation="only_second", max_length=LEARNED)
    starts, ends = [], []
    for number, question in enumerate(questions):
        (text, begin), words = question["answers"][0], pieces_of_words(batch, number)
        inside = [n for n, (a, b) in enumerate(question["offsets"]) if a < begin + len(text) and begin < b]
        there = inside[-1] < len(words)
        starts.append(words[inside[0]][0] if there else 0)
        ends.append(words[inside[-1]][-1] if there else 0)
    return dict(batch) | {"start_positions": torch.tensor(starts), "end_positions": torch.tensor(ends)}


def windows(sizes: list[int], room: int) -> list[tuple[int, int]]:
    """Cut a context into overlapping windows of whole words, given the pieces of each word: first word, one behind the last."""
    cut, start, end = [], 0, 0
    while end < len(sizes):
        end = start
        while end < len(sizes) and sum(sizes[start : end + 1]) <= room:
            end += 1
        cut.append((start, end))
        behind = start
        while behind < end and sum(sizes[start:behind]) < STRIDE:
            behind += 1
        start = behind
    return cut


def answer(model, tokenizer: BertTokenizer, question: dict) -> str:
    """Find the best span of whole words in any window: greatest sum of its first piece's start and its last piece's end.

    Starts and ends are logarithms of probabilities over the context and [CLS], so that windows compare.
    """
    whole = encoded(tokenizer, question["first"], question["second"])
    sizes = [len(pieces) for pieces in pieces_of_words(whole, 0)]
    spans = []
    for before, behind in windows(sizes, QUESTION_LIMIT - (whole["input_ids"].shape[1] - sum(sizes))):
        batch = encoded(tokenizer, question["first"], question["second"][before:behind])
        with torch.no_grad():
            said = model(**batch)
        words = pieces_of_words(batch, 0)
        allowed = torch.tensor([0, *range(words[0][0], words[-1][-1] + 1)])
        start, end = (
            dict(zip(allowed.tolist(), logits[0, allowed].log_softmax(0).tolist(), strict=True))
            for logits in (said.start_logits, said.end_logits)
        )
        for i in range(len(words)):
            for j in range(i, min(i + LONGEST, len(words))):
                spans.append((start[words[i][0]] + end[words[j][-1]], before + i, before + j))
    _, first, last = max(spans)
    return question["context"][question["offsets"][first][0] : question["offsets"][last][1]]


def label(model, tokenizer: BertTokenizer, pair: dict) -> str:
    batch = encoded(tokenizer, pair["first"], pair["second"])
    assert batch["input_ids"].shape[1] <= PAIR_LIMIT, f"the pair {pair['id']} would be cut"
    with torch.no_grad():
        return LABELS[int(model(**batch).logits[0].argmax())]


def hidden_states(model, tokenizer: BertTokenizer, items: list[list[list[str]]]) -> np.ndarray:
    """Give the vectors of all words and special tokens of some texts, `layers rows hidden`."""
    vectors = []
    for sides in items:
        batch = encoded(tokenizer, *sides)
        assert batch["input_ids"].shape[1] <= POSITIONS, f"an item would be cut: {sides}"
        with torch.no_grad():
            states = torch.stack(model(**batch).hidden_states)[:, 0].numpy()
        before = None
        rows: list[list[int]] = []
        for place, here in enumerate(zip(batch.word_ids(), batch.sequence_ids(), strict=True)):
            if here[0] is None or here != before:
                rows.append([])
            rows[-1].append(place)
            before = here
        vectors += [states[:, row].mean(1) for row in rows]
    return np.stack(vectors, 1)


def main(folder: Path, given: dict) -> None:
    """Make all of it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    tokenizer = tokenizer_of(given["text"])
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=BLOCKS, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=POSITIONS, initializer_range=0.1,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    base = BertForMaskedLM(config)
    learn(base, (masked(tokenizer, lines, generator) for lines in drawn(given["text"], 40, generator)))
    base.save_pretrained(folder / "base")

    named = {"id2label": dict(enumerate(LABELS)), "label2id": {name: n for n, name in enumerate(LABELS)}}
    mnli = BertForSequenceClassification.from_pretrained(folder / "base", **named)

    def labelled(pairs: list[dict]) -> dict:
        sides = ([pair[side] for pair in pairs] for side in ("first", "second"))
        batch = encoded(tokenizer, *sides, padding=True, truncation=True, max_length=PAIR_LIMIT)
        return dict(batch) | {"labels": torch.tensor([LABELS.index(pair["label"]) for pair in pairs])}

    learn(mnli, (labelled(pairs) for pairs in drawn(given["pairs"]["train"], 80, generator)))
    squad = BertForQuestionAnswering.from_pretrained(folder / "base")
    learn(squad, (with_spans(tokenizer, questions) for questions in drawn(given["questions"]["train"], 24, generator)))
    states = {}
    for name, model in (("base", base), ("mnli", mnli), ("squad", squad)):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        model.config.output_hidden_states = True
        states |= {f"{name}/{text}": hidden_states(model, tokenizer, items) for text, items in given["texts"].items()}
        model.config.output_hidden_states = False
    np.savez(folder / "states.npz", **states)
    predictions = {
        "labels": [label(mnli, tokenizer, pair) for pair in given["pairs"]["dev"]],
        "answers": [answer(squad, tokenizer, question) for question in given["questions"]["dev"]],
    }
    (folder / "predictions.json").write_text(json.dumps(predictions))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
