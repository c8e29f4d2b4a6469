"""Encoders of other depth, width and tokenizer: which layers and words stand beside each other, and what is left out and said."""

from dataclasses import replace
from fractions import Fraction
from math import floor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bert_repro import checkpoints, similarity
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.results import tables
from bert_repro.similarity import MEASURES
from bert_repro.similarity.match import common

LENGTHS = (4, 6, 3, 5, 6, 2, 5, 4)
BYTES = {"cls": "<s>", "sep": "</s>", "middle": 2}  # as RoBERTa has them: two between the sides of a pair


def rows_of(lengths=LENGTHS, second=(), cut=(), cls="[CLS]", sep="[SEP]", middle=1):
    """Rows of a store: sentences, or pairs where `second` gives the lengths of their other side; `cut` gives the words kept."""
    tags = ("DET", "NOUN", "VERB", "ADV", "PROPN", "PUNCT")
    lines = []
    for sentence, length in enumerate(lengths):
        kept = dict(cut).get(sentence, length)
        lines.append((sentence, -1, -1, cls, True, ""))
        lines += [(sentence, 0, word, f"{sentence}.{word}", False, tags[word]) for word in range(kept)]
        if second:
            lines += [(sentence, -1, -1, sep, True, "")] * middle
            lines += [(sentence, 1, word, f"{sentence}:{word}", False, tags[word]) for word in range(second[sentence])]
        lines.append((sentence, -1, -1, sep, True, ""))
    return pd.DataFrame(lines, columns=["sentence", "segment", "word", "form", "special", "upos"])


def vector_of(name, layer, hidden):
    """A vector that depends on word and layer alone, whatever the tokenizer."""
    return np.random.default_rng([layer, *name.encode()]).normal(size=hidden)


class Stored:
    """Hidden states whose layers are named: equal names give equal vectors."""

    def __init__(self, names, hidden=12, rows=None, inputs="text"):
        self.corpus, self.split, self.inputs = "text", "dev", {"corpus": inputs}
        self.setting = SimpleNamespace(pairs="together")
        self.rows = rows_of() if rows is None else rows
        self.names, self.layers, self.hidden = names, len(names), hidden
        # special tokens by where they stand: the first, the last, others
        last = ~self.rows["sentence"].duplicated(keep="last")
        forms = np.where(self.rows["special"], np.where(last, "end", "other"), self.rows["form"])
        forms = np.where(self.rows["sentence"].duplicated(), forms, "first")
        marks = [f"{number}/{form}" for number, form in zip(self.rows["sentence"], forms, strict=True)]
        self.array = np.array([[vector_of(mark, name, hidden) for mark in marks] for name in names], np.float32)

    def vectors(self, rows, layers=None):
        return self.array[list(layers or range(self.layers))][:, rows]


def compared(reference, model, methods=("rsa",), layers=(), words=30, **options):
    matched = similarity.match(reference, model, layers)
    samples = similarity.sample(
        [{"text": reference}, {"text": model}], ["text"], words=words, seed=0, layers=[matched.beside, matched.layers],
        **options,
    )  # fmt: skip
    able = similarity.comparable(methods, matched)
    return similarity.compare(samples, matched.layers, able, 60, matched.beside)


def curve(rows, method="rsa"):
    return [
        (row["layer"], row.get("reference_layer"), round(row["value"], 5))
        for row in rows
        if row["method"] == method and row["metric"] == "similarity"
    ]


# ---- layers


def test_a_layer_stands_beside_the_one_at_the_same_part_of_the_way():
    assert [similarity.layer_beside(k, 6, 12) for k in range(7)] == [0, 2, 4, 6, 8, 10, 12]
    assert [similarity.layer_beside(k, 12, 6) for k in range(13)] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    for blocks in range(1, 25):
        for others in range(1, 25):
            beside = [similarity.layer_beside(k, blocks, others) for k in range(blocks + 1)]
            assert beside == [floor(Fraction(k * others, blocks) + Fraction(1, 2)) for k in range(blocks + 1)]
            assert beside[0] == 0 and beside[-1] == others and beside == sorted(beside)
            assert blocks != others or beside == list(range(blocks + 1))


def test_a_match_gives_the_layers_of_both_and_of_the_reference_each_once():
    deep, shallow = Stored(range(7)), Stored(range(4), hidden=8)
    assert similarity.match(deep, shallow) == ([0, 1, 2, 3], [0, 2, 4, 6], list(range(7)), (6, 3), (12, 8))
    assert similarity.match(shallow, deep)[:3] == ([*range(7)], [0, 1, 1, 2, 2, 3, 3], [0, 1, 2, 3])
    assert similarity.match(shallow, deep, [2, 5, 6])[:3] == ([2, 5, 6], [1, 3, 3], [1, 3])
    assert similarity.match(deep, deep, [2, 5])[:3] == ([2, 5], [2, 5], [2, 5])


def test_every_second_block_of_an_encoder_equals_it_at_the_layers_beside():
    rows = compared(Stored(range(7)), Stored(range(0, 7, 2)), list(MEASURES))
    for method in MEASURES:
        assert curve(rows, method) == [(0, 0, 1), (1, 2, 1), (2, 4, 1), (3, 6, 1)]
    summed = {row["metric"]: row for row in rows if row["method"] == "rsa" and "layer" not in row}
    assert summed["change"]["value"] == pytest.approx(0, abs=1e-6) and summed["depth"]["value"] == 3
    assert all("reference_layer" not in row for row in summed.values())


def test_a_change_in_known_layers_of_the_deeper_one_is_found_where_they_stand():
    changed = [*range(4), 104, 105, 106]
    copy = Stored(range(0, 7, 2))
    of_shallow = curve(compared(Stored(changed), copy))
    assert [value == 1 for _, _, value in of_shallow] == [True, True, False, False]
    assert [pair[:2] for pair in of_shallow] == [(0, 0), (1, 2), (2, 4), (3, 6)]
    of_deep = curve(compared(copy, Stored(changed)))
    assert [pair[:2] for pair in of_deep] == [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]
    assert [layer for layer, _, value in of_deep if value == 1] == [0, 2]  # the others the copy never had, or not so


def test_with_equal_shapes_rows_are_as_they_were():
    reference, model = Stored(range(4)), Stored([0, 1, 12, 13])
    rows = compared(reference, model, list(MEASURES))
    samples = similarity.sample([{"text": reference}, {"text": model}], ["text"], words=30, seed=0)
    before = similarity.compare(samples, [0, 1, 2, 3], list(MEASURES), 60)
    assert [list(row) for row in rows] == [list(row) for row in before]
    for row, former in zip(rows, before, strict=True):
        assert np.array_equal(row.pop("replicates"), former.pop("replicates")) and row == former
    assert all("reference_layer" not in row for row in rows) and samples[0].key == "text/30/0"


def test_classes_second_samples_and_shuffled_words_have_their_partner_too():
    deep, shallow = Stored(range(5)), Stored(range(0, 5, 2))
    for options in ({"of": ["[CLS]", "NOUN"]}, {"part": 1, "words": 12}):
        rows = [row for row in compared(deep, shallow, **options) if "layer" in row]
        assert {(row["layer"], row["reference_layer"], round(row["value"], 5)) for row in rows} == {
            (0, 0, 1), (1, 2, 1), (2, 4, 1)
        }  # fmt: skip
    (drawn,) = similarity.sample(
        [{"text": deep}, {"text": shallow}], ["text"], words=30, seed=0, layers=[[0, 2, 4], [0, 1, 2]]
    )
    rows = similarity.compare([similarity.shuffled(drawn, 1)], [0, 1, 2], ["rsa"], 60, [0, 2, 4])
    assert [pair[:2] for pair in curve(rows)] == [(0, 0), (1, 2), (2, 4)] and all(
        value < 1 for _, _, value in curve(rows)
    )


def test_a_layer_that_a_class_lacks_is_left_out_with_its_partner():
    deep, shallow = Stored(range(5)), Stored(range(0, 5, 2))
    for stored in (deep, shallow):
        stored.array[0, ~stored.rows["sentence"].duplicated()] = 1  # [CLS] in the embeddings
    assert curve(compared(deep, shallow, of=["[CLS]"])) == [(1, 2, 1), (2, 4, 1)]


def test_the_layer_below_is_about_every_layer_of_the_reference_alone():
    deep, shallow = Stored(range(5)), Stored(range(0, 5, 2), hidden=8)
    matched = similarity.match(deep, shallow)
    (drawn,) = similarity.sample(
        [{"text": deep}, {"text": shallow}], ["text"], words=30, seed=0, layers=[matched.own, matched.layers]
    )
    rows = similarity.compare([similarity.layer_below(drawn)], matched.own[1:], ["cosine"], 60)
    assert [pair[:2] for pair in curve(rows, "cosine")] == [(1, None), (2, None), (3, None), (4, None)]


def test_a_grid_has_all_layers_of_each_model():
    deep, shallow = Stored(range(5)), Stored(range(0, 5, 2), hidden=12)
    (drawn,) = similarity.sample(
        [{"text": deep}, {"text": shallow}], ["text"], words=30, seed=0, layers=[range(5), range(3)]
    )
    rows = similarity.grid(drawn, [range(5), range(3)], ["deep", "shallow"], ["rsa"], 60)
    assert len(rows) == 8 * 9 / 2
    equal = {
        (row["reference_layer"], row["layer"])
        for row in rows
        if (row["reference_model"], row["model"]) == ("deep", "shallow") and row["value"] > 1 - 1e-6
    }
    assert equal == {(0, 0), (2, 1), (4, 2)}


# ---- widths


def test_where_widths_differ_what_pairs_dimensions_is_left_out_and_said():
    narrow, wide = Stored(range(3), hidden=8), Stored(range(3))
    matched = similarity.match(narrow, wide)
    pairing = [name for name, measure in MEASURES.items() if measure.needs_same_width]
    assert similarity.comparable(list(MEASURES), matched) == [name for name in MEASURES if name not in pairing]
    assert similarity.remarks(list(MEASURES), matched) == [
        f"{name}: left out, as it pairs dimensions, of which the model has 12 and the reference 8" for name in pairing
    ]
    assert {row["method"] for row in compared(narrow, wide, ["rsa", "cosine"])} == {"rsa"}
    same = similarity.match(wide, wide)
    assert (
        similarity.comparable(list(MEASURES), same) == list(MEASURES) and similarity.remarks(list(MEASURES), same) == []
    )
    with pytest.raises(ValueError, match=r"unknown measures \['cca'\]"):
        similarity.comparable(["cca"], same)


def test_how_layers_are_matched_is_said_in_a_line():
    matched = similarity.match(Stored(range(5)), Stored(range(3)))
    assert similarity.remarks(["rsa"], matched) == [
        "layers: the model has 2 blocks, the reference 4, so layer k stands beside layer round(k * 4 / 2) of the "
        "reference: 0 beside 0, 1 beside 2, 2 beside 4"
    ]


# ---- words


def test_stores_that_list_the_same_rows_have_all_in_common():
    assert common([rows_of(), rows_of().assign(pieces=1), rows_of()]) == (None, 0)


@pytest.mark.parametrize("second", [(), LENGTHS[::-1]])
def test_families_with_other_special_tokens_have_words_and_special_tokens_in_common(second):
    left, right = rows_of(second=second), rows_of(second=second, **BYTES)
    kept, left_out = common([left, right])
    assert kept is None if not second else len(kept[0]) == len(left) == len(right) - len(LENGTHS)
    assert left_out == 0
    if second:
        sides = left.iloc[kept[0]].reset_index(drop=True), right.iloc[kept[1]].reset_index(drop=True)
        words = ~sides[0]["special"]
        assert (sides[0]["form"] == sides[1]["form"])[words].all() and (
            sides[0]["special"] == sides[1]["special"]
        ).all()
        left_alone = np.setdiff1d(np.arange(len(right)), kept[1])  # the first of the two between the sides
        assert (right["form"].iloc[left_alone] == "</s>").all() and (right["form"].iloc[left_alone + 1] == "</s>").all()


def test_words_that_one_side_lacks_are_left_out_and_counted():
    left, right = rows_of(cut={1: 4, 4: 5}), rows_of(cut={1: 5, 6: 1})
    kept, left_out = common([left, right])
    assert left_out == 1 + 1 + 4  # a word that neither has is none of them
    forms = [rows["form"].to_numpy()[at] for rows, at in zip((left, right), kept, strict=True)]
    assert list(forms[0]) == list(forms[1]) == list(rows_of(cut={1: 4, 4: 5, 6: 1})["form"])
    assert all((np.diff(at) > 0).all() for at in kept)
    third = rows_of(cut={0: 1, 1: 5})
    assert common([left, right, third]).left_out == left_out + 3


def test_a_sentence_that_one_side_lacks_is_left_out():
    whole = rows_of()
    without = whole[whole["sentence"] != 2].reset_index(drop=True)
    kept, left_out = common([whole, without])
    assert left_out == LENGTHS[2] and len(kept[0]) == len(without) and list(kept[1]) == list(range(len(without)))


def test_stores_of_different_texts_are_refused_with_the_first_difference():
    rows, other = rows_of(), rows_of()
    other.loc[[9, 12], "form"] = "x"
    for right in (other, other[:-1]):
        with pytest.raises(ValueError, match="are of different texts: word 2 of sentence 1 is '1.2' and 'x'$"):
            common([rows, right])
    with pytest.raises(
        ValueError, match="the models' states have no word in common: they are states of different texts"
    ):
        common([rows, rows.assign(sentence=rows["sentence"] + 100)])


@pytest.mark.parametrize("seed", range(3))
def test_the_same_words_are_drawn_for_both_whatever_their_tokenizers_kept(seed):
    left, right = Stored(range(2), rows=rows_of(cut={1: 4})), Stored(range(2), rows=rows_of(cut={4: 3}, **BYTES))
    drawn = similarity.sample([{"text": left}, {"text": right}], ["text"], words=20, seed=seed)
    drawn += similarity.sample([{"text": right}, {"text": left}], ["text"], words=20, seed=seed, of=["[CLS]", "[SEP]"])
    for one in drawn:
        assert np.array_equal(*one.vectors) and one.left_out == 2 + 3
        assert one.key.startswith(f"text/20/{seed}") and one.key.endswith("/without 5")
    assert [len(one.sentence) for one in drawn[1:]] == [drawn[0].sentence[-1] + 1] * 2
    assert (
        drawn[0]
        .summary()
        .endswith("sentences or items; 5 words of the corpus were left out: not every model was given them")
    )
    whole = similarity.sample([{"text": Stored([0])}] * 2, ["text"], words=35, seed=seed)[0]
    assert whole.summary() == "text: 35 words of 8 sentences or items"


def test_lengths_to_draw_by_are_those_of_the_words_in_common():
    left, right = Stored(range(2)), Stored(range(2), rows=rows_of(cut=dict.fromkeys(range(8), 2)))
    (drawn,) = similarity.sample(
        [{"text": left, "long": left}, {"text": right, "long": right}], ["text"], words=8, seed=0, like="long"
    )
    assert np.array_equal(*drawn.vectors) and list(np.bincount(drawn.sentence)) == [2, 2, 2, 2]


# ---- the notebook


@pytest.mark.slow
def test_the_notebook_compares_a_deeper_wider_encoder_and_says_what_it_leaves_out(tmp_path, executed, capsys):
    source = checkpoints.open("tiny")
    config = replace(
        source.config, num_hidden_layers=4, hidden_size=48, num_attention_heads=4, max_position_embeddings=60
    )
    (tmp_path / "deep").mkdir()
    Checkpoint.write(tmp_path / "deep", config, random_weights(config, 0, 0.15), tokenizer_from=source)
    where = tmp_path / "similarity.parquet"
    given = {"model": "tiny", "reference_model": str(tmp_path / "deep"), "resamples": 100, "output": str(where)}
    given |= {"corpora": ["wiki[60]"], "words": 300, "as_long": ["ewt:dev[150]"], "lengths_of": "mnli:dev[30]"}
    executed("similarity", **given)
    table, printed = tables.read(where), capsys.readouterr().out
    assert (
        "layers: the model has 2 blocks, the reference 4" in printed and "0 beside 0, 1 beside 2, 2 beside 4" in printed
    )
    assert printed.count("cosine: left out") == 1 and "words of the corpus were left out" in printed
    assert not (table["method"] == "cosine").any() and {"procrustes", "rsa"} <= {*table["method"]}
    curves = table[(table["metric"] == "similarity") & (table["reference_model"] == "base")]
    assert (curves["reference_layer"] == 2 * curves["layer"]).all()
    assert {"shuffled words", "second sample", "content", "[CLS]", "sides apart"} <= {*curves["rows"].dropna()}
    below = table[table["reference_model"] == "layer below"]
    assert set(below["layer"].dropna()) == {1, 2, 3, 4} and below["reference_layer"].isna().all()
    across = table[table["metric"] == similarity.ACROSS]
    assert len(across) == 8 * 9 / 2 and across["value"].notna().all()
