"""Words to wordpieces: makes encoder inputs in which every wordpiece knows the word that it belongs to.

No word is lost silently. The rules, each counted in the report: a word for which the tokenizer yields no piece
becomes the unknown token; an item beyond the length limit is cut at the last whole word that fits (of a pair, the longer
side gives way); an item of which nothing fits is left out. Where a vocabulary does not fit a text, it warns.
"""

import itertools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd

UNKNOWN, SPELLED = 0.05, 0.3
"""Larger shares mean that a vocabulary does not fit a text: of the unknown one among its wordpieces, and of words spelled in
single characters among those of at least `LONG` letters."""
LONG = 4
TOGETHER = 1024  # items in the tokenizer at a time: what it tells of a piece takes many times the piece's own memory


@runtime_checkable
class Tokenizer(Protocol):
    """The parts of a fast Hugging Face tokenizer that are used; a special token that it lacks is None."""

    is_fast: bool
    backend_tokenizer: Any
    all_special_ids: list[int]
    unk_token: str | None
    unk_token_id: int | None
    cls_token_id: int | None
    sep_token_id: int | None
    mask_token_id: int | None

    def __call__(self, *sides: Any, **options: Any) -> Any: ...
    def __len__(self) -> int: ...
    def get_vocab(self) -> dict[str, int]: ...
    def convert_ids_to_tokens(self, ids: int) -> str: ...
    def num_special_tokens_to_add(self, pair: bool) -> int: ...


@dataclass(frozen=True, slots=True)
class Aligned:
    """One encoder input. `starts` holds the first piece of every row; special tokens are rows of their own."""

    token_ids: np.ndarray
    segment_ids: np.ndarray
    starts: np.ndarray


@dataclass
class Report:
    """Counts over a corpus of words that were cut, unknown or left out."""

    items: int = 0
    words: int = 0
    pieces: int = 0
    unknown_pieces: int = 0
    words_without_piece: int = 0
    truncated_items: int = 0
    truncated_words: int = 0
    left_out: list[str] = field(default_factory=list)

    def __add__(self, other: "Report") -> "Report":
        """Count two parts of a corpus together."""
        return Report(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def summary(self) -> pd.Series:
        """Give the counts, as a reader wants them."""
        return pd.Series(
            {
                "items": self.items,
                "words": self.words,
                "wordpieces per word": round(self.pieces / max(self.words, 1), 3),
                "unknown pieces, share": round(self.unknown_pieces / max(self.pieces, 1), 5),
                "words that yield no piece (read as unknown)": self.words_without_piece,
                "items cut at the length limit": self.truncated_items,
                "words lost by that": self.truncated_words,
                "items left out: first word beyond the limit": len(self.left_out),
            },
            dtype=object,  # counts stay whole numbers beside the shares
        )


def align(tokenizer: Tokenizer, items: Sequence[Any], max_length: int) -> tuple[list[Aligned], pd.DataFrame, Report]:
    """Encode sentences or pairs that are already split into words.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        items: `corpora.Sentence` (words, heads, ...) or `corpora.Pair` (first, second).
        max_length: Most pieces of an input, special tokens included; at least 4.

    Returns:
        The inputs; one table row per word or special token, in the order of the inputs, with the columns `sentence`
        (position in `items`), `segment`, `word` (position in its segment, -1 for special tokens), `form`, `special`,
        `pieces`, `truncated` (its item was cut), and the treebank's `head` and `upos`, empty where there are none; and the report.

    Raises:
        ValueError: Nothing to encode, a slow tokenizer, a limit below 4, or a word without a piece where the tokenizer has no unknown token.
    """
    _check(tokenizer, items, max_length)
    report = Report(items=len(items))
    inputs: list[Aligned] = []
    columns: dict[str, list] = {
        name: [] for name in ("sentence", "segment", "word", "form", "special", "pieces", "truncated")
    }
    annotations: dict[str, list] = {name: [] for name in ("head", "upos")}
    for position, cut, aligned, word, side in _encoded(tokenizer, items, max_length, report):
        item = items[position]
        given_words = words_of(item)
        inputs.append(aligned)
        rows, words = len(aligned.starts), word[aligned.starts].tolist()
        special = word[aligned.starts] < 0
        columns["sentence"] += [position] * rows
        columns["segment"] += side[aligned.starts].tolist()
        columns["word"] += words
        columns["special"] += special.tolist()
        columns["pieces"] += np.diff([*aligned.starts, len(aligned.token_ids)]).tolist()
        columns["truncated"] += [cut > 0] * rows
        columns["form"] += [
            given_words[s][w] if w >= 0 else tokenizer.convert_ids_to_tokens(int(aligned.token_ids[start]))
            for start, w, s in zip(aligned.starts, words, side[aligned.starts], strict=True)
        ]
        of_words = (getattr(item, name, ()) for name in ("heads", "upos"))
        for column, value in zip(annotations.values(), of_words, strict=True):
            column += [value[w] if value and w >= 0 else None for w in words]
        report.words += int((~special).sum())
        report.pieces += int((word >= 0).sum())
        report.unknown_pieces += int((aligned.token_ids == tokenizer.unk_token_id).sum())
    types = {"form": "string", "upos": "string", "head": "Int32"}
    types |= dict.fromkeys(("sentence", "segment", "word", "pieces"), "int64")  # also where nothing was kept
    types |= dict.fromkeys(("special", "truncated"), "bool")
    return inputs, pd.DataFrame(columns | annotations).astype(types), report


def inputs(tokenizer: Tokenizer, items: Sequence[Any], max_length: int) -> tuple[list[Aligned], np.ndarray, np.ndarray]:
    """Encode sentences or pairs without the table of their words, which takes most of the time.

    Returns:
        The inputs; the position of each one's item in `items`; and how many words of it were cut off.

    Raises:
        ValueError: As `align`.
    """
    _check(tokenizer, items, max_length)
    encoded = [one[:3] for one in _encoded(tokenizer, items, max_length, Report())]
    position, cut = np.array([one[:2] for one in encoded], int).reshape(-1, 2).T
    return [aligned for *_, aligned in encoded], position, cut


def windows(tokenizer: Tokenizer, pairs: Sequence[Any], max_length: int, stride: int) -> list[list[tuple[int, int]]]:
    """Cut the second sides of pairs into overlapping windows, each of which fits beside the whole first side.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        pairs: `corpora.Pair`.
        max_length: Most pieces of an input, special tokens included.
        stride: Pieces from the start of one window to the next; the window begins with the first word behind them.

    Returns:
        For each pair its windows as first word and the one behind the last; none where the first side leaves no room for
        a stride, or a word of the second is longer than a window.

    Reference:
        Devlin et al. 2019, the published code for SQuAD (doc_stride).
    """
    room_for = tokenizer.num_special_tokens_to_add(pair=True)
    firsts, seconds = ([side(pair) for pair in pairs] for side in (lambda p: p.first, lambda p: p.second))
    result = []
    for before, pieces in zip(_pieces(tokenizer, firsts), _pieces(tokenizer, seconds), strict=True):
        room = max_length - room_for - int(before.sum())
        ends = np.cumsum(pieces)
        spans: list[tuple[int, int]] = []
        if room >= min(stride, ends[-1]) and pieces.max() <= room:
            start = end = 0
            while end < len(pieces):
                passed = int(ends[start - 1]) if start else 0
                end = int(np.searchsorted(ends, passed + room, side="right"))
                spans.append((start, end))
                # no further than the first word that is in no window yet
                start = max(start + 1, min(end, int(np.searchsorted(ends, passed + stride, side="left")) + 1))
        result.append(spans)
    return result


def _pieces(tokenizer: Tokenizer, sides: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Count the pieces of every word, at least 1: a word that yields none is read as unknown."""
    counts: list[np.ndarray] = []
    for start in range(0, len(sides), TOGETHER):
        batch = [list(side) for side in sides[start : start + TOGETHER]]
        encodings = tokenizer(batch, is_split_into_words=True, add_special_tokens=False).encodings
        counts += [
            np.bincount(encoding.word_ids, minlength=len(side)) for encoding, side in zip(encodings, batch, strict=True)
        ]
    return [np.maximum(count, 1) for count in counts]


class Fit(NamedTuple):
    """How well a vocabulary fits a text: shares in [0, 1], see `UNKNOWN`."""

    unknown: float
    spelled: float

    @property
    def bad(self) -> bool:
        """Whether one of them is too large."""
        return self.unknown > UNKNOWN or self.spelled > SPELLED


def fit(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> Fit:
    """Measure how well a vocabulary fits sentences of words; ideographs are ignored, as they are single characters anyway."""
    encodings = tokenizer(
        [list(words) for words in sentences], is_split_into_words=True, add_special_tokens=False
    ).encodings
    unknown = pieces = spelled = long = 0
    for words, encoding in zip(sentences, encodings, strict=True):
        lengths = np.bincount(encoding.word_ids, minlength=len(words)) if encoding.ids else np.zeros(len(words), int)
        pieces += len(encoding.ids)
        unknown += sum(piece == tokenizer.unk_token_id for piece in encoding.ids)
        for word, length in zip(words, lengths, strict=True):
            letters = unicodedata.normalize("NFC", word)
            if len(letters) >= LONG and all(
                unicodedata.category(c)[0] in "LM" and not "\u2e80" <= c <= "\u9fff" for c in letters
            ):
                long, spelled = long + 1, spelled + (length >= len(letters))
    return Fit(unknown / max(pieces, 1), spelled / max(long, 1))


def without_accents(text: str) -> str:
    """Take accents off, as BERT's uncased tokenizers do."""
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def _form(name: Any) -> Callable[[str], str]:
    return lambda word: unicodedata.normalize(name, word)


_CURES: tuple[tuple[Callable[[str], str], str], ...] = (
    (str.lower, "its vocabulary has no capital letters, and its tokenizer keeps them: set do_lower_case to true in tokenizer_config.json"),
    (lambda word: word.lower() if word.isupper() else word, "the text is written in capital letters"),
    (_form("NFC"), "the text has letters and accents apart (NFD), and its vocabulary together: write the text in NFC"),
    (_form("NFD"), "the text has letters and accents together (NFC), and its vocabulary apart: write the text in NFD"),
    (_form("NFKC"), "the text is in other forms of letters, such as wide ones or ligatures: write it in NFKC"),
    (without_accents, "its vocabulary has no accents, and its tokenizer keeps them: set strip_accents to true in tokenizer_config.json"),
)  # fmt: skip
"""What may be done to words, and what is wrong where that halves the shares of `Fit`; the first for uncased vocabularies."""


def misfit(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> str:
    """Say what is wrong where a vocabulary does not fit a text, and the likely cause; empty where it fits."""
    fitted, pieces = fit(tokenizer, sentences), tokenizer.get_vocab()
    if not fitted.bad:
        capitals = sum(cased([piece]) for piece in pieces) / len(pieces)
        if capitals > UNKNOWN and letters(tokenizer).startswith("lower"):
            return (
                f"capital letters as small ones, although {capitals:.0%} of its vocabulary have capitals; most likely do_lower_case "
                "should be false in tokenizer_config.json"
            )
        return ""
    share = f"{fitted.unknown:.0%} of the wordpieces as [UNK]"
    if fitted.unknown <= UNKNOWN:
        share = f"{fitted.spelled:.0%} of the longer words in single characters"
    for cure, cause in _CURES[cased(pieces) :]:
        cured = fit(tokenizer, [[cure(word) or word for word in words] for words in sentences])
        if max(cured.unknown, cured.spelled) < max(fitted.unknown, fitted.spelled) / 2:
            return f"{share}; most likely {cause}"
    return f"{share}; most likely its vocabulary is that of another language or script, or its tokenizer files belong to another checkpoint"


def cased(pieces: Iterable[str]) -> bool:
    """Return whether a vocabulary has capital letters other than those of special tokens such as [UNK]."""
    return any(piece != piece.lower() for piece in pieces if not bracketed(piece))


def bracketed(piece: str) -> bool:
    """Return whether a wordpiece looks like a special token, as [UNK] and <s> do."""
    return piece[:1] + piece[-1:] in ("[]", "<>")


def letters(tokenizer: Tokenizer) -> str:
    """Say what a tokenizer does to capitals and accents."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    normalised = unicodedata.normalize("NFC", normalizer.normalize_str("É") if normalizer else "É")
    accents = "kept" if without_accents(normalised) != normalised else "off"
    return (
        f"lower-cased, accents {accents}" if normalised == normalised.lower() else f"capitals kept, accents {accents}"
    )


def _check(tokenizer: Tokenizer, items: Sequence[Any], max_length: int) -> None:
    if not items:
        raise ValueError("there is nothing to encode: the corpus is empty")
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{type(tokenizer).__name__} is not a fast tokenizer: only fast ones give the word of a wordpiece"
        )
    if max_length < 4:
        raise ValueError(f"max_length must be at least 4, got {max_length}")


def _encoded(
    tokenizer: Tokenizer, items: Sequence[Any], max_length: int, report: Report
) -> Iterator[tuple[int, int, Aligned, np.ndarray, np.ndarray]]:
    """Give position, number of words cut, input, and word and side of every piece, for each item of which something fits."""
    sides_of = list(_sides(tokenizer, items, report))
    parts = (sides_of[start : start + TOGETHER] for start in range(0, len(items), TOGETHER))
    encodings = itertools.chain.from_iterable(_encode(tokenizer, part) for part in parts)
    for position, (item, sides, encoding) in enumerate(zip(items, sides_of, encodings, strict=True)):
        cut = 0
        if len(encoding.ids) > max_length:
            fitting = _fitting(tokenizer, sides, max_length)
            if fitting is None:
                report.left_out.append(item.id)
                continue
            cut = sum(map(len, sides)) - sum(map(len, fitting))
            (encoding,) = _encode(tokenizer, [fitting])
            report.truncated_items += 1
            report.truncated_words += cut
        ids = np.array(encoding.ids, np.int32)
        # a row starts where the word or its side changes, and at every special token
        word = np.array([-1 if w is None else w for w in encoding.word_ids])
        side = np.array([-1 if s is None else s for s in encoding.sequence_ids])
        change = np.ones(len(ids), bool)
        change[1:] = (word[1:] != word[:-1]) | (side[1:] != side[:-1]) | (word[1:] < 0)
        yield position, cut, Aligned(ids, np.array(encoding.type_ids, np.int32), np.flatnonzero(change)), word, side


def _sides(tokenizer: Tokenizer, items: Sequence[Any], report: Report) -> Iterable[tuple[tuple[str, ...], ...]]:
    """Give each item's words, those that yield no piece replaced by the unknown token."""
    sides = [words_of(item) for item in items]
    forms = sorted({form for item in sides for side in item for form in side})
    encoded = tokenizer([[form] for form in forms], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    empty = {form for form, ids in zip(forms, encoded, strict=True) if not ids}
    unknown = tokenizer.unk_token or ""
    if empty and not unknown:
        raise ValueError(
            f"the tokenizer yields no piece for the word {min(empty)!r} and has no unknown token to replace it"
        )
    for item in sides:
        missing = sum(form in empty for side in item for form in side)
        if missing:
            report.words_without_piece += missing
            item = tuple(tuple(unknown if form in empty else form for form in side) for side in item)
        yield item


def words_of(item: Any) -> tuple[tuple[str, ...], ...]:
    """Give the words of a sentence, or of both sides of a pair."""
    return (item.first, item.second) if hasattr(item, "first") else (item.words,)


def _encode(tokenizer: Tokenizer, items: Sequence[tuple[tuple[str, ...], ...]]) -> list[Any]:
    """Encode items of one or two sides, special tokens included, nothing cut or padded."""
    sides = [[list(side) for side in column] for column in zip(*items, strict=True)]
    return list(tokenizer(*sides, is_split_into_words=True, truncation=False, padding=False).encodings)


def _fitting(
    tokenizer: Tokenizer, sides: tuple[tuple[str, ...], ...], max_length: int
) -> tuple[tuple[str, ...], ...] | None:
    """Cut an item to the limit by whole words, always from the side that has more pieces; None where nothing fits."""
    pieces = _pieces(tokenizer, sides)
    budget = max_length - tokenizer.num_special_tokens_to_add(pair=len(sides) == 2)
    kept = [len(side) for side in sides]
    lengths = [int(p.sum()) for p in pieces]
    while sum(lengths) > budget:
        longer = int(np.argmax(lengths))
        kept[longer] -= 1
        lengths[longer] -= int(pieces[longer][kept[longer]])
        if not kept[longer]:
            return None
    return tuple(side[:k] for side, k in zip(sides, kept, strict=True))
