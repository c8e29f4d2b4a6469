"""Alignment: every word has its row, in order; what is cut or left out is counted, and nothing else; windows miss none."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from bert_repro import alignment, checkpoints, corpora
from bert_repro.checkpoints import Checkpoint, hub
from bert_repro.corpora import Pair, Sentence

ODD = ["a", "cat", "Zürich", "İstanbul", "ﬁ", "한국어", "字漢", "👩‍👩‍👧", "\u0301", "e\u0301", "\u200b", "\x07", "\ufeff", "\xad", "\ufffd"]  # fmt: skip
ODD += ["New York", "3 000", " ", "", "[SEP]", "[CLS]", "[PAD]", "[UNK]", "x[MASK]y", "don't", "...", "http://a.b/c?d=e", "z" * 150, "\x85", "\t"]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return checkpoints.open("tiny").tokenizer


def wordpiece():
    """As BERT's: a piece within a word is marked."""
    letters = "abcdefghé한👩"
    pieces = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)])
    model = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    model.normalizer, model.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return model, "[UNK]", "[CLS] $A [SEP]", "$B [SEP]"


def byte_level():
    """As RoBERTa's: no character is unknown, and a word begins with the space before it."""
    pieces = ["<pad>", "<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġa"]
    model = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [("Ġ", "a")]))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return model, "<unk>", "<s> $A </s>", "</s> $B </s>"


def unigram():
    """As XLM-R's: the space before a word is a piece."""
    pieces = ["<pad>", "<unk>", "<s>", "</s>", "▁", *"abcdefghé한👩"]
    model = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=1))
    model.normalizer, model.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    return model, "<unk>", "<s> $A </s>", "</s> $B </s>"


@pytest.fixture(scope="module", params=[wordpiece, byte_level, unigram])
def any_tokenizer(request):
    """A small tokenizer of each family, with its special tokens around a text and between two."""
    model, unknown, single, second = request.param()
    special = [model.id_to_token(number) for number in range(4)]
    model.add_special_tokens(special)
    model.post_processor = processors.TemplateProcessing(
        single=single,
        pair=f"{single} {second}",
        special_tokens=[(token, model.token_to_id(token)) for token in special],
    )
    return PreTrainedTokenizerFast(tokenizer_object=model, unk_token=unknown, pad_token=special[0])


def sentence(*words):
    return Sentence("s", words)


def words_of(rows, segment=0):
    return rows.loc[(rows["segment"] == segment) & ~rows["special"], "form"].tolist()


def check(inputs, rows, report, limit):
    """What holds for every alignment: rows partition the pieces, and the report counts what is in the table."""
    assert len(rows) == sum(len(one.starts) for one in inputs)
    at = 0
    for one in inputs:
        assert len(one.token_ids) == len(one.segment_ids) <= limit
        assert one.starts[0] == 0 and (np.diff(one.starts) > 0).all() and one.starts[-1] < len(one.token_ids)
        mine = rows.iloc[at : at + len(one.starts)]
        assert np.diff([*one.starts, len(one.token_ids)]).tolist() == mine["pieces"].tolist()
        assert mine["sentence"].nunique() == 1 and (mine.loc[mine["special"], "pieces"] == 1).all()
        at += len(one.starts)
    words = rows[~rows["special"]]
    assert report.words == len(words) and report.pieces == words["pieces"].sum()
    assert rows["sentence"].is_monotonic_increasing and rows["sentence"].nunique() == len(inputs)
    assert report.items == len(inputs) + len(report.left_out)
    assert report.truncated_items == rows["sentence"][rows["truncated"]].nunique()
    assert (words["word"] == words.groupby(["sentence", "segment"]).cumcount()).all()


def test_pieces_and_annotations_of_each_word(tokenizer):
    corpus = corpora.load("ewt:dev[60]")
    inputs, rows, report = alignment.align(tokenizer, corpus.items, 512)
    check(inputs, rows, report, 512)
    assert report.items == 60 and report.words == corpus.words and not report.left_out
    assert report.truncated_items == report.words_without_piece == report.unknown_pieces == 0
    assert rows["pieces"].max() > 1
    words = rows[~rows["special"]]
    for column, name in (("form", "words"), ("head", "heads"), ("upos", "upos")):
        assert words[column].tolist() == [value for item in corpus.items for value in getattr(item, name)]
    for number in (0, 7, 59):
        mine = rows[rows["sentence"] == number]
        alone = [len(tokenizer.tokenize(word)) for word in corpus.items[number].words]
        assert mine["pieces"].tolist() == [1, *alone, 1]
        assert mine["form"].tolist() == ["[CLS]", *corpus.items[number].words, "[SEP]"]
        assert mine["head"].isna().tolist() == mine["special"].tolist()
        given = tokenizer(" ".join(corpus.items[number].words))["input_ids"]
        assert inputs[number].token_ids.tolist() == given


def test_the_sides_of_a_pair_are_two_segments(tokenizer):
    inputs, rows, report = alignment.align(tokenizer, [Pair("p", ("a", "cat"), ("a", "xyz", "."))], 64)
    check(inputs, rows, report, 64)
    assert rows["form"].tolist() == ["[CLS]", "a", "cat", "[SEP]", "a", "xyz", ".", "[SEP]"]
    assert rows["segment"].tolist() == [-1, 0, 0, -1, 1, 1, 1, -1]
    assert rows["word"].tolist() == [-1, 0, 1, -1, 0, 1, 2, -1]
    assert inputs[0].segment_ids[inputs[0].starts].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_equal_words_beside_each_other_are_two_rows(tokenizer):
    _, rows, _ = alignment.align(tokenizer, [Pair("p", ("a", "a"), ("a", "a"))], 64)
    assert words_of(rows) == words_of(rows, 1) == ["a", "a"]


@pytest.mark.parametrize("word", ["\u200b", "\x07", "\u0301", "", " "])
def test_a_word_without_a_piece_is_read_as_unknown_and_counted(tokenizer, word):
    inputs, rows, report = alignment.align(tokenizer, [sentence("a", word, "a"), sentence("a")], 64)
    assert inputs[0].token_ids[2] == tokenizer.unk_token_id and len(inputs[0].token_ids) == 5
    assert words_of(rows) == ["a", word, "a", "a"]  # the table keeps the word as it was
    assert report.words_without_piece == report.unknown_pieces == 1
    summary = report.summary()
    assert summary["words that yield no piece (read as unknown)"] == 1 and summary["items"] == 2
    assert summary["wordpieces per word"] == 1 and summary["unknown pieces, share"] == 0.25


def test_an_item_is_cut_at_whole_words(tokenizer):
    long = "qqq"  # three letters, three pieces
    items = [sentence("a", long, long, "a"), sentence("a", "a")]
    for limit, kept in ((10, 4), (9, 3), (8, 2), (7, 2), (6, 2), (5, 1), (4, 1)):
        inputs, rows, report = alignment.align(tokenizer, items, limit)
        check(inputs, rows, report, limit)
        assert (rows["sentence"] == 0).sum() == kept + 2
        assert report.truncated_items == (limit < 10) and report.truncated_words == 4 - kept
        assert rows.groupby("sentence")["truncated"].first().tolist() == [limit < 10, False]
        assert inputs[0].token_ids[-1] == tokenizer.sep_token_id


def test_of_a_pair_the_longer_side_gives_way(tokenizer):
    pair = Pair("p", ("a", "b", "c"), tuple("abcdefghij"))
    for limit, first, second in ((16, 3, 10), (15, 3, 9), (10, 3, 4), (9, 3, 3), (8, 2, 3), (7, 2, 2), (5, 1, 1)):
        inputs, rows, report = alignment.align(tokenizer, [pair], limit)
        check(inputs, rows, report, limit)
        assert words_of(rows) == list("abc"[:first]) and words_of(rows, 1) == list("abcdefghij"[:second])
        assert report.truncated_words == 13 - first - second
    inputs, _, report = alignment.align(tokenizer, [pair], 4)
    assert not inputs and report.left_out == ["p"]


def test_an_item_whose_first_word_is_too_long_is_left_out_and_counted(tokenizer):
    items = [sentence("a"), Sentence("long", ("q" * 9, "a")), sentence("b")]
    inputs, rows, report = alignment.align(tokenizer, items, 6)
    check(inputs, rows, report, 6)
    assert report.left_out == ["long"] and len(inputs) == 2 and report.items == 3
    assert rows["sentence"].unique().tolist() == [0, 2]
    assert report.summary()["items left out: first word beyond the limit"] == 1


def test_a_pair_with_an_empty_side_keeps_the_other(tokenizer):
    inputs, rows, report = alignment.align(tokenizer, [Pair("p", (), tuple("ab" * 20))], 12)
    check(inputs, rows, report, 12)
    assert words_of(rows, 1) == list("ab" * 4 + "a") and words_of(rows) == []


def test_what_cannot_be_aligned_is_refused(tokenizer):
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match="nothing to encode: the corpus is empty"):
        alignment.align(tokenizer, [], 64)
    with pytest.raises(ValueError, match="Slow is not a fast tokenizer: only fast ones give the word of a wordpiece"):
        alignment.align(Slow(), [sentence("a")], 64)
    with pytest.raises(ValueError, match="max_length must be at least 4, got 3"):
        alignment.align(tokenizer, [sentence("a")], 3)


words = st.one_of(
    st.sampled_from(ODD),
    st.text(max_size=6),
    st.text(st.characters(categories=["Mn", "Cf", "Cc", "Zs", "Co", "So", "Lo"]), max_size=4),
    st.text("aé\u0301\u200d\u202e\u05d0👩🏽🇩🇪", min_size=5, max_size=150),
)


@given(st.lists(st.lists(words, min_size=1, max_size=6), min_size=1, max_size=3), st.integers(4, 40), st.booleans())
def test_every_word_has_one_row_or_is_counted_under_any_tokenizer(any_tokenizer, texts, limit, paired):
    sides = [[text, texts[-1]] if paired else [text] for text in map(tuple, texts)]
    items = [(Pair if paired else Sentence)(str(i), *map(tuple, some)) for i, some in enumerate(sides)]
    inputs, rows, report = alignment.align(any_tokenizer, items, limit)
    check(inputs, rows, report, limit)
    left_out = sum(corpora.size(item) for item in items if item.id in report.left_out)
    assert report.words + report.truncated_words + left_out == sum(map(corpora.size, items))
    for number, group in rows[~rows["special"]].groupby("sentence"):
        kept = [group["form"][group["segment"] == segment].tolist() for segment in range(1 + paired)]
        assert all(some and list(side[: len(some)]) == some for side, some in zip(sides[number], kept, strict=True))
        assert group["truncated"].all() == (len(group) < corpora.size(items[number]))


def test_special_tokens_are_rows_of_their_own_under_any_tokenizer(any_tokenizer):
    inputs, rows, report = alignment.align(any_tokenizer, [Pair("p", ("a", "bad"), ("head", "a"))], 64)
    check(inputs, rows, report, 64)
    begin, end, *between = rows["form"].iloc[[0, -1, 3]].tolist() + rows["form"].iloc[4:-3].tolist()
    assert [begin, end, *between] in (["[CLS]", "[SEP]", "[SEP]"], ["<s>", "</s>", "</s>", "</s>"])
    assert words_of(rows) == ["a", "bad"] and words_of(rows, 1) == ["head", "a"]
    assert rows["special"].sum() == 2 + len(between) and (rows["pieces"][rows["special"]] == 1).all()


@pytest.mark.parametrize(("pieces", "kept"), [(300, 3), (508, 3), (509, 2), (510, 1), (600, 1)])
def test_a_sentence_ends_before_the_word_of_which_a_piece_is_beyond_the_limit(pieces, kept):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level()[0], unk_token="<unk>")
    tokenizer.backend_tokenizer.post_processor = processors.BertProcessing(("</s>", 3), ("<s>", 2))
    long = "b" * (pieces - 1)  # and the space before it
    inputs, rows, report = alignment.align(tokenizer, [sentence("a", long, "a"), sentence(long)], 512)
    check(inputs, rows, report, 512)
    assert (rows["sentence"] == 0).sum() == kept + 2 and report.truncated_words == 3 - kept
    assert (rows["sentence"] == 1).sum() == (3 if pieces <= 510 else 0)
    assert report.left_out == ([] if pieces <= 510 else ["s"])


def test_a_word_without_a_piece_is_refused_where_there_is_no_unknown_token():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level()[0])
    assert words_of(alignment.align(tokenizer, [sentence("a", "\u200b", " ")], 64)[1]) == ["a", "\u200b", " "]
    with pytest.raises(ValueError, match="yields no piece for the word '' and has no unknown token"):
        alignment.align(tokenizer, [sentence("a", "")], 64)


def test_parts_of_a_corpus_add_up(tokenizer):
    items = [*corpora.load("ewt:dev[20]").items, sentence("a", "\u200b"), sentence("q" * 30)]
    whole, *parts = (alignment.align(tokenizer, some, 16)[2] for some in (items, items[:5], items[5:]))
    assert parts[0] + parts[1] == whole and whole.left_out == ["s"] and whole.truncated_items


@given(st.lists(st.lists(words, min_size=1, max_size=6), min_size=1, max_size=3))
def test_no_word_is_lost_whatever_it_is_made_of(tokenizer, texts):
    items = [Sentence(str(i), tuple(text)) for i, text in enumerate(texts)]
    inputs, rows, report = alignment.align(tokenizer, items, 10_000)
    check(inputs, rows, report, 10_000)
    assert words_of(rows) == [word for text in texts for word in text]
    assert not report.left_out and not report.truncated_words


@given(st.lists(words, min_size=1, max_size=5), st.lists(words, min_size=1, max_size=5), st.integers(4, 20))
def test_a_cut_pair_keeps_the_beginning_of_both_sides(tokenizer, first, second, limit):
    inputs, rows, report = alignment.align(tokenizer, [Pair("p", tuple(first), tuple(second))], limit)
    check(inputs, rows, report, limit)
    kept = [words_of(rows), words_of(rows, 1)]
    if report.left_out:
        assert kept == [[], []] and not inputs
    else:
        assert all(kept) and kept == [first[: len(kept[0])], second[: len(kept[1])]]
        assert report.truncated_words == len(first) + len(second) - sum(map(len, kept))


def test_limits_baked_into_a_tokenizer_file_are_not_obeyed(tmp_path):
    source = checkpoints.open("tiny").folder
    for name in hub.TOKENIZER_FILES:
        if (source / name).exists():
            (tmp_path / name).write_bytes((source / name).read_bytes())
    baked = json.loads((source / "tokenizer.json").read_text())
    baked["truncation"] = {"direction": "Right", "max_length": 128, "strategy": "LongestFirst", "stride": 0}
    baked["padding"] = {
        "strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(baked))
    inputs, rows, report = alignment.align(Checkpoint(tmp_path).tokenizer, [sentence(*"a" * 298), sentence("a")], 512)
    assert [len(one.token_ids) for one in inputs] == [300, 3]
    assert report.words == 299 and not report.truncated_items


def pair(first, pieces):
    """Make a pair of a side of so many pieces and one of words of so many pieces each."""
    return Pair("p", ("q" * first,), tuple("q" * n for n in pieces))


def naive_windows(pieces, room, stride):
    """Grow each window word by word, as far as there is room; start the next a stride on, but where no word is missed."""
    if max(pieces) > room or room < min(stride, sum(pieces)):
        return []
    found, start = [], 0
    while True:
        end = start
        while end < len(pieces) and sum(pieces[start : end + 1]) <= room:
            end += 1
        found.append((start, end))
        if end == len(pieces):
            return found
        following = start + 1
        while following < end and sum(pieces[start:following]) < stride:
            following += 1
        start = following


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 8), st.integers(4, 40), st.integers(1, 20))
def test_windows_are_those_of_a_naive_twin_and_miss_no_word(tokenizer, pieces, first, limit, stride):
    room = limit - first - 3  # [CLS] and two [SEP]
    (found,) = alignment.windows(tokenizer, [pair(first, pieces)], limit, stride)
    assert found == naive_windows(pieces, room, stride)
    if found:
        assert {word for start, end in found for word in range(start, end)} == set(range(len(pieces)))
        assert all(sum(pieces[start:end]) <= room for start, end in found)
        for (start, end), (following, further) in zip(found, found[1:], strict=False):
            assert start < following <= end <= further  # it moves on and leaves no gap
            assert sum(pieces[start : following - 1]) < stride  # no further than a stride asks for
            assert sum(pieces[start:following]) >= stride or following in (start + 1, end)


@pytest.mark.parametrize(
    ("first", "pieces", "limit", "stride", "expected"),
    [
        (2, [1] * 5, 10, 2, [(0, 5)]),  # it fits as a whole
        (2, [1] * 6, 10, 2, [(0, 5), (2, 6)]),
        (2, [1] * 9, 10, 5, [(0, 5), (5, 9)]),  # a stride of all the room: no overlap
        (2, [1, 1, 3, 1, 1], 9, 3, [(0, 2), (2, 4), (3, 5)]),  # a stride would miss the long word
        (2, [3, 3, 3], 10, 1, [(0, 1), (1, 2), (2, 3)]),  # a stride within a word: the next one
        (5, [1] * 5, 10, 3, []),  # a question that leaves no room for a stride
        (5, [1, 1], 10, 3, [(0, 2)]),  # nor needs one
        (9, [1], 10, 1, []),
        (2, [1, 6, 1], 10, 2, []),  # a word that fits nowhere
    ],
)
def test_windows_of_a_few_words(tokenizer, first, pieces, limit, stride, expected):
    assert alignment.windows(tokenizer, [pair(first, pieces)], limit, stride) == [expected]


@given(
    st.lists(st.lists(words, min_size=1, max_size=12), min_size=2, max_size=4), st.integers(8, 40), st.integers(1, 9)
)
def test_a_window_is_never_cut_under_any_tokenizer(any_tokenizer, texts, limit, stride):
    pairs = [Pair(str(i), tuple(texts[0][:2]), tuple(text)) for i, text in enumerate(texts[1:])]
    found = alignment.windows(any_tokenizer, pairs, limit, stride)
    parts = [Pair(p.id, p.first, p.second[a:b]) for p, some in zip(pairs, found, strict=True) for a, b in some]
    if parts:
        _, rows, report = alignment.align(any_tokenizer, parts, limit)
        assert not report.truncated_items and not report.left_out
        assert [len(words_of(mine, 1)) for _, mine in rows.groupby("sentence")] == [len(p.second) for p in parts]


def test_how_many_items_are_tokenized_at_a_time_makes_no_difference(tokenizer, monkeypatch):
    pairs, questions = corpora.load("mnli:dev[25]").items, corpora.load("squad:dev[7]").items

    def found():
        inputs, rows, report = alignment.align(tokenizer, pairs, 40)
        return (
            [one.token_ids.tolist() for one in inputs],
            rows,
            report,
            alignment.windows(tokenizer, questions, 100, 30),
        )

    (ids, rows, *rest) = found()
    monkeypatch.setattr(alignment, "TOGETHER", 3)
    (ids_by_three, rows_by_three, *rest_by_three) = found()
    assert ids == ids_by_three and rest == rest_by_three
    pd.testing.assert_frame_equal(rows, rows_by_three)
