"""The plan of a new encoder: learns a vocabulary from text and writes config and tokenizer, from which training can start.

A text with fewer wordpieces than asked for, sizes that no encoder has, and a folder that is not empty are errors.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bert_repro import corpora
from bert_repro.checkpoints import initial
from bert_repro.checkpoints.checkpoint import Checkpoint
from bert_repro.checkpoints.families import Config, from_raw, to_raw
from bert_repro.files import made_new

SPECIAL = {
    "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"
}  # fmt: skip
"""BERT's special tokens by their role, in the order of their numbers from 0, in the vocabularies made here."""
ALPHABET = 160
"""Characters that get pieces of their own: those of ASCII, and the most frequent of a text; words with others become [UNK]."""
ASCII = frozenset(letter for letter in map(chr, range(33, 127)) if not letter.isupper())
"""Printed prose has few of `@ # < > ~ |`, which the web is full of."""


def make(texts: Iterable[str], folder: Path, config: Config, seed: int | None = None) -> None:
    """Write config and tokenizer of an encoder without weights; `untrained:FOLDER` draws them.

    Args:
        texts: References of running text, see `corpora.paragraphs`.
        folder: To be made: config.json, tokenizer.json, tokenizer_config.json, vocab.txt.
        config: The shape of the encoder; its `vocab_size` is that of the vocabulary to be learned.
        seed: Seed of first weights, which are then written as well, see `initial`; none for no weights.

    Raises:
        ValueError: An impossible shape, or a text too small for so many pieces; and what `initial.weights` and
            `corpora.paragraphs` raise.
        OSError: The folder is not empty or cannot be written, or a text is not there.
    """
    from_raw(to_raw(config), "the encoder asked for")
    texts = list(texts)

    def make(partial: Path) -> None:
        write_tokenizer(partial, learn(texts, config.vocab_size), config.max_length)
        plan = Checkpoint.write(partial, config, None)
        if seed is not None:
            Checkpoint.write(partial, config, initial.weights(_paragraphs(texts), plan.tokenizer, config, seed))

    made_new(folder, make)


def learn(texts: Iterable[str], size: int) -> list[str]:
    """Learn an uncased WordPiece vocabulary: merges of the most frequent neighbours; two runs give the same.

    Args:
        texts: As in `make`; read twice.
        size: How many pieces, special tokens included.

    Returns:
        The pieces in the order of their numbers, special tokens first.

    Raises:
        ValueError: The text has not so many; and what `corpora.paragraphs` raises.
    """
    from tokenizers import trainers

    texts = list(texts)
    pieces = list(SPECIAL.values())
    tokenizer = wordpiece(pieces)
    characters: Counter[str] = Counter()
    for paragraph in _paragraphs(texts):
        characters.update(tokenizer.normalizer.normalize_str(paragraph))
    ranked = sorted((c for c in characters if not c.isspace()), key=lambda c: (-characters[c], c))
    non_ascii = [letter for letter in ranked if letter not in ASCII]
    letters = sorted({*ASCII, *non_ascii[: ALPHABET - len(ASCII)]})
    # the trainer would number what goes on inside words as it meets it, in no fixed order, and break ties by these numbers;
    # what it is given as special tokens keeps its place
    pieces += letters + [f"##{letter}" for letter in letters if not _punctuation(letter)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=pieces,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_paragraphs(texts), trainer)
    number = tokenizer.get_vocab()
    if len(number) != size:
        raise ValueError(
            f"the text gives {len(number)} pieces, special tokens and single letters included, where {size} were asked for: "
            + ("give more text, or ask for fewer" if len(number) < size else "ask for at least as many")
        )
    return sorted(number, key=lambda piece: number[piece])


def _paragraphs(texts: Iterable[str]) -> Iterator[str]:
    return (paragraph for text in texts for _, paragraph in corpora.paragraphs(text))


def _punctuation(letter: str) -> bool:
    """Return whether BERT treats a character as a separate word."""
    return unicodedata.category(letter)[0] == "P" or letter.isascii() and not letter.isalnum()


def wordpiece(pieces: Sequence[str]) -> Any:
    """Make an uncased tokenizer, as BERT's is, from `SPECIAL` and the other pieces in the order of their numbers."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    number = {piece: n for n, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(number, unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, last = SPECIAL["cls_token"], SPECIAL["sep_token"]
    tokenizer.post_processor = processors.BertProcessing((last, number[last]), (first, number[first]))
    return tokenizer


def write_tokenizer(folder: Path, pieces: Sequence[str], longest: int) -> None:
    """Write the tokenizer files of an encoder that reads inputs of at most `longest` pieces; see `wordpiece`."""
    wordpiece(pieces).save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True, "model_max_length": longest} | SPECIAL
    (folder / "tokenizer_config.json").write_text(json.dumps(described), encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
