"""Text in another corpus's layout: lengths and layout are those of the one, words of the other, none twice, and always the same."""

import functools
import hashlib
import itertools
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_readers import file

from bert_repro import alignment, checkpoints, corpora
from bert_repro.__main__ import main
from bert_repro.corpora import cleaning, layout, makers, words
from bert_repro.corpora.items import Pair, Question, Sentence
from bert_repro.corpora.reference import Reference
from bert_repro.corpora.sources import may_show
from bert_repro.workflow import sizes

NAMES = ("name", "of:dev", "of:dev[60]", "name[-5]", "a/file.conllu.gz[7]")


@pytest.mark.parametrize("text", NAMES)
@pytest.mark.parametrize("pattern", NAMES)
def test_a_reference_is_read_as_it_is_written(text, pattern):
    parsed = Reference.parse(f"{text}~{pattern}")
    assert str(parsed) == f"{text}~{pattern}"
    assert parsed.text == Reference.parse(text) and parsed.layout == Reference.parse(pattern)


@pytest.mark.parametrize("wrong", ["~", "wiki~", "~mnli:dev", "a~b~c", "wiki~mnli:dev[x]", "~/text.txt"])
def test_what_is_not_two_references_is_refused(wrong):
    with pytest.raises(
        ValueError, match="cannot read the corpus reference .* or two of them with a ~ between, the text and"
    ):
        corpora.locate(wrong)


# ---- single sentences and pairs


def sentences(lengths, name="s", **more):
    """Sentences of given lengths, no word twice."""
    return [Sentence(f"{name}{i}", tuple(f"{name}{i}.{w}" for w in range(n)), **more) for i, n in enumerate(lengths)]


def pairs(lengths):
    return [Pair(f"p{i}", *(s.words for s in sentences(both, f"p{i}/")), "neutral") for i, both in enumerate(lengths)]


def in_items(pattern, pool):
    notes = {}
    return [*layout.in_items("a~b", pattern, pool, notes)], notes["words by which sentences are longer or shorter"]


def lengths_of(item):
    return [len(item.first), len(item.second)] if isinstance(item, Pair) else [len(item.words)]


wanted = st.lists(st.integers(1, 60), min_size=1, max_size=30)


@given(wanted, st.randoms(use_true_random=False))
def test_where_the_text_has_all_lengths_they_are_those_of_the_layout(lengths, random):
    pool = sentences([*random.sample(lengths * 2, 2 * len(lengths))])
    made, off = in_items(sentences(lengths, "y"), pool)
    assert [len(sentence.words) for sentence in made] == lengths and off == 0
    assert len({sentence.words for sentence in made}) == len(made) and {*made} <= {*pool}


@given(st.lists(st.tuples(st.integers(30, 60), st.integers(30, 60)), min_size=1, max_size=20), st.integers(0, 1))
def test_pairs_get_two_sentences_as_long_as_theirs_and_lose_their_label(lengths, more):
    pool = sentences(2 * [n + more for both in lengths for n in both])
    pattern = pairs(lengths)
    made, off = in_items(pattern, pool)
    assert [type(pair) for pair in made] == [Pair] * len(made) and {pair.label for pair in made} == {""}
    assert [pair.id for pair in made] == [pair.id for pair in pattern]
    difference = np.subtract([*map(lengths_of, made)], [*map(lengths_of, pattern)])
    assert off == np.abs(difference).sum() <= layout.OFF * sum(map(sum, lengths))
    sides = [side for pair in made for side in (pair.first, pair.second)]
    assert len({*sides}) == len(sides) and {*sides} <= {sentence.words for sentence in pool}


def test_the_nearest_length_is_taken_and_the_longest_first():
    made, off = in_items(sentences([10, 30, 30], "y"), sentences([9, 12, 28, 29, 33]))
    assert [len(sentence.words) for sentence in made] == [9, 29, 28] and off == 4


def test_sentences_are_drawn_at_random_among_those_of_one_length():
    made, _ = in_items(sentences([5] * 10, "y"), sentences([5] * 200))
    places = [int(sentence.id[1:]) for sentence in made]
    assert places != sorted(places) and max(places) > 100


def test_what_gives_the_layout_does_not_take_its_own_place():
    own = sentences([5] * 3)
    made, _ = in_items(own, [*own, *sentences([5] * 3, "other")])
    assert {sentence.id for sentence in made} == {"other0", "other1", "other2"}
    with pytest.raises(ValueError, match="a~b: 3 different sentences are needed, the text has 0: take a larger text"):
        in_items(own, own)


def test_lengths_that_the_text_does_not_have_are_refused_with_counts():
    with pytest.raises(
        ValueError, match="a~b: 6 sentences do not have the lengths of 4 others: .* off by 40 of 40 words; take"
    ):
        in_items(pairs([(10, 10), (10, 10)]), sentences([20] * 6))


def test_the_sentences_of_a_corpus_are_its_own_or_both_sides_or_those_of_passages_each_once():
    trees = sentences([2, 3], heads=(0, 1), document="d")
    assert [s.id for s in layout.sentences([*trees, trees[0]])] == ["s0", "s1"]
    assert {s.document for s in layout.sentences(trees)} == {""} and [*layout.sentences(trees)][0].heads == (0, 1)
    assert [s.words for s in layout.sentences([Pair("p", ("a",), ("b",)), Pair("q", ("a",), ("c",))])] == [
        ("a",), ("b",), ("c",)
    ]  # fmt: skip
    asked = [question("q", "It rains. He said: go home!"), question("r", "It rains. He said: go home!")]
    assert [s.words for s in layout.sentences(asked)] == [("It", "rains", "."), ("He", "said", ":", "go", "home", "!")]


# ---- questions


def question(name, context, own=()):
    found = [*own] or words.words(context)
    starts = [*itertools.accumulate((len(word) for word in found), initial=0)]
    offsets = tuple((start, start + len(word)) for start, word in zip(starts, found, strict=False))
    return Question(
        id=name, first=("why", name), second=tuple(found), context=context, offsets=offsets, answers=(("a", 0),)
    )


def about(lengths, name="y"):
    """Questions about passages of given lengths, whose words are letters."""
    return [
        question(f"{name}{i}", f"{name}{i}" + "x" * n, [f"{name}{i}", *"x" * (n - 1)]) for i, n in enumerate(lengths)
    ]


def in_questions(pattern, documents):
    notes = {}
    texts = [layout.running("x", document) for document in documents]
    return [*layout.in_questions("a~b", pattern, texts, notes)], notes["words that passages lack"]


def document(name, lengths):
    return sentences(lengths, name, document=name)


@pytest.mark.slow
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6), min_size=1, max_size=8),
)
def test_passages_are_stretches_of_documents_as_long_as_those_they_replace(lengths, documents):
    pattern = about(lengths)
    texts = [document(f"d{i}_", of) for i, of in enumerate([*documents, *([30] for _ in lengths)])]
    running = [[word for sentence in text for word in sentence.words] for text in texts]
    starts = {sentence.words[0] for text in texts for sentence in text}
    made, lacking = in_questions(pattern, texts)
    assert lacking == 0 and [len(one.second) for one in made] == lengths
    for one, before in zip(made, pattern, strict=True):
        assert type(one) is Question and (one.id, one.first, one.answers) == (before.id, before.first, ())
        assert one.second[0] in starts  # a passage begins with a sentence
        assert any(
            one.second == tuple(words[at : at + len(one.second)]) for words in running for at in range(len(words))
        )
        assert tuple(one.context[start:end] for start, end in one.offsets) == one.second
        assert (one.offsets[0][0], one.offsets[-1][1]) == (0, len(one.context))
    used = [word for one in made for word in one.second]
    assert len({*used}) == len(used)  # no text is used twice


def test_one_passage_gets_the_same_one_wherever_it_is_asked_about():
    first, second, third = about([8, 8, 6])
    made, _ = in_questions([first, second, third, first, second], [document("d", [5] * 12)])
    assert [one.context == made[0].context for one in made] == [True, False, False, True, False]
    assert made[1] == made[4]


def test_the_text_is_taken_in_which_a_passage_ends_nearest_to_a_sentence():
    (made,), _ = in_questions(about([10]), [document("a", [6, 6]), document("b", [6, 4, 9]), document("c", [9, 9])])
    assert made.second[-1] == "b1.3"


def test_a_passage_of_a_question_corpus_is_cut_where_its_words_end():
    context = "Dr. Who's here -- and stays for long."
    whole = makers.question("", "q", "Who?", context, [("here", 10)])
    (made,), _ = in_questions(about([5]), [[whole]])
    assert made.second == whole.second[:5] and made.context == context[: whole.offsets[4][1]] == "Dr. Who's"
    assert [made.context[a:b] for a, b in made.offsets] == ["Dr", ".", "Who", "'", "s"]


def test_shorter_passages_are_counted_and_refused_where_they_are_many():
    made, lacking = in_questions(about([10, 10, 20]), [document("d", [10, 10]), document("e", [10, 8])])
    assert sorted(len(one.second) for one in made) == [8, 10, 20] and lacking == 2
    with pytest.raises(
        ValueError, match="a~b: 2 passages of 40 words are needed, and 2 texts of 25 words are too few or too "
    ):
        in_questions(about([20, 20]), [document("d", [15]), document("e", [10])])
    with pytest.raises(
        ValueError, match="2 passages of 4 words are needed, and 1 texts of 2 words .*: 2 words would be missing"
    ):
        in_questions(about([2, 2]), [document("d", [2])])


def test_a_passage_does_not_take_its_own_place():
    own = about([5, 5])
    with pytest.raises(ValueError, match="2 passages of 10 words are needed, and 0 texts of 0 words are too few"):
        in_questions(own, [[one] for one in own])


@pytest.mark.parametrize("together", [pairs([(3, 4)]), sentences([3, 4])])
def test_what_has_no_documents_has_no_passages(together):
    with pytest.raises(
        ValueError, match="mine has no passages: expected questions, as in squadshifts-wiki, or sentences whose"
    ):
        layout.running("mine", together)


# ---- wherever a corpus reference works

load = functools.cache(corpora.load)
PAIRED, ASKED, SINGLE = "wiki~mnli:dev[40]", "squadshifts-wiki~squad:dev[30]", "wiki~ewt:dev[50]"


@pytest.mark.slow
@pytest.mark.parametrize("reference", [PAIRED, ASKED, SINGLE, "wiki~squad:dev[30]"])
def test_real_text_has_the_lengths_and_the_layout_of_another(reference):
    made, pattern = load(reference), load(reference.partition("~")[2])
    assert [*map(type, made.items)] == [*map(type, pattern.items)]
    difference = np.subtract([*map(lengths_of, made.items)], [*map(lengths_of, pattern.items)])
    assert np.abs(difference).max() <= 2 and np.abs(difference).mean() < 0.05
    tokenizer = checkpoints.open("tiny").tokenizer
    rows, theirs = (alignment.align(tokenizer, one.items, 2000)[1] for one in (made, pattern))
    for of_item, before in zip(rows.groupby("sentence"), theirs.groupby("sentence"), strict=True):
        marks = [part.loc[part["special"], ["segment", "form"]].to_numpy().tolist() for _, part in (of_item, before)]
        assert marks[0] == marks[1]  # [CLS] a [SEP] b [SEP]
        if not difference.any():
            assert (of_item[1]["segment"].to_numpy() == before[1]["segment"].to_numpy()).all()


@pytest.mark.slow
def test_all_words_are_the_texts_but_for_those_of_the_questions():
    wiki = {sentence.words for sentence in load("wiki").items}
    assert {side for pair in load(PAIRED).items for side in (pair.first, pair.second)} <= wiki
    assert {sentence.words for sentence in load(SINGLE).items} <= wiki
    contexts = {question.context for question in load("squadshifts-wiki").items}
    for one, asked in zip(load(ASKED).items, load("squad:dev[30]").items, strict=True):
        assert one.first == asked.first and any(context.startswith(one.context) for context in contexts)


@pytest.mark.slow
@pytest.mark.parametrize("reference", [PAIRED, ASKED, SINGLE])
def test_it_repeats_and_a_stream_a_census_and_a_loaded_corpus_agree(reference):
    stream, corpus, census = corpora.stream(reference), load(reference), corpora.census(reference)
    assert tuple(stream) == corpus.items and stream.left_out == corpus.left_out == census.left_out
    assert (census.digest, census.items, census.words) == (corpus.digest, len(corpus.items), corpus.words)
    assert census.digest == hashlib.sha256("\n".join(map(repr, corpus.items)).encode()).hexdigest()
    assert census.digest not in {corpora.digest(part) for part in reference.split("~")}


def test_the_tables_name_text_and_layout_with_their_draws():
    assert corpora.columns(PAIRED) == {"corpus": "wiki~mnli", "split": "all~dev[40]"}
    assert corpora.columns("ewt:train[9]~squad:dev") == {"corpus": "ewt~squad", "split": "train[9]~dev"}
    corpus = load(PAIRED)
    assert (corpus.name, corpus.split) == ("wiki~mnli", "all~dev[40]")


def test_what_either_leaves_out_is_counted():
    counts = Counter(load("wiki").left_out) + Counter(load("mnli:dev[40]").left_out)
    assert load(PAIRED).left_out == counts | {"words by which sentences are longer or shorter": 0}


@pytest.mark.slow
def test_a_draw_of_the_text_is_of_sentences_or_of_documents_under_questions():
    few = {sentence.words for sentence in load("wiki[900]").items}
    made = load("wiki[900]~mnli:dev[20]")
    assert {side for pair in made.items for side in (pair.first, pair.second)} <= few
    asked = load("wiki[3]~squad:dev[12]")
    documents = {sentence.document for sentence in load("wiki").items}
    drawn = np.random.default_rng(0).choice(len(documents), 3, replace=False)
    texts = [
        " ".join(w for s in part for w in s.words)
        for _, part in itertools.groupby(load("wiki").items, lambda s: s.document)
    ]
    assert {next(at for at, text in enumerate(texts) if one.context in text) for one in asked.items} <= {
        *drawn.tolist()
    }
    with pytest.raises(ValueError, match=r"wiki\[62\] asks for 62 documents, the corpus has 61"):
        load("wiki[62]~squad:dev[12]")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("wikki~mnli:dev[9]", "unknown corpus 'wikki'"),
        ("wiki~mnli", r"corpus 'mnli' has no split None: write one of \['mnli:train'"),
        ("pud~ewt:dev", "pud~ewt:dev: 2001 different sentences are needed, the text has 1000: take a larger text, or draw"),
        ("pud~squad:dev[120]", "114 passages of 16049 words are needed, and 397 texts of 21180 words are too few or too"),
        ("mnli:dev~squad:dev[9]", "mnli:dev has no passages: expected questions"),
        ("pud~mnli:dev[600]", r"pud~mnli:dev\[600\]: 1200 different sentences are needed, the text has 1000"),
    ],
)  # fmt: skip
def test_what_cannot_be_laid_out_so_is_refused(reference, message):
    with pytest.raises(ValueError, match=message):
        corpora.load(reference)


def test_it_has_neither_trees_nor_running_text_of_its_own(tmp_path):
    text = file(tmp_path, "own.txt", "It rains.\nIt rains hard.\n\nIt snows.")
    pattern = file(tmp_path, "two.tsv", "premise\thypothesis\tlabel\nSo be it.\tIt is.\tneutral\n")
    single = file(tmp_path, "one.txt", "It hails.")
    for reference in (f"{text}~{single}", f"{text}[1]~{single}"):
        with pytest.raises(ValueError, match=r"own.txt~.*one.txt has no running text"):
            corpora.paragraphs(reference)
    with pytest.raises(ValueError, match=r"own.txt~.*two.tsv is no corpus of single sentences"):
        corpora.sentences(f"{text}~{pattern}")
    with pytest.raises(ValueError, match="has no trees"):
        corpora.treebank(f"{text}~{single}")


def test_both_may_be_shown_or_nothing_and_both_are_credited():
    assert may_show(ASKED) and not may_show(PAIRED) and not may_show("mnli:dev~wiki[5]")
    with pytest.raises(ValueError, match="texts of mnli may not be shown"):
        corpora.refuse_to_show(PAIRED)
    credit = corpora.credit("squadshifts-wiki~squad")
    assert credit.startswith("SQuADShifts (Miller et al. 2020)") and "; SQuAD 1.1 (Rajpurkar et al. 2016)" in credit
    assert corpora.credit("my.txt~squad") == corpora.credit("squad")


def test_the_files_of_both_are_fetched_and_listed(capsys):
    both = [corpora.locate(part).path for part in ("wiki", "mnli:dev")]
    assert corpora.fetch(PAIRED) == both and corpora.fetch("wiki~wiki[5]") == both[:1]
    assert [*corpora.checksums([PAIRED])] == ["mnli/mnli_dev.tsv.gz", "wiki_text/wiki_paragraphs.tsv.gz"]
    assert main(["fetch", PAIRED]) == 0 and capsys.readouterr().out.split() == [*map(str, both)]


@pytest.mark.slow
def test_another_content_of_either_is_noticed(tmp_path):
    path = file(tmp_path, "own.tsv", "premise\thypothesis\tlabel\nSo it is.\tIt is so.\tneutral\n")
    first = corpora.digest(f"wiki~{path}")
    file(tmp_path, "own.tsv", "premise\thypothesis\tlabel\nSo it is not.\tIt is so.\tneutral\n")
    assert corpora.digest(f"wiki~{path}") != first
    known = {PAIRED: "another", ASKED: corpora.digest(ASKED), f"wiki~{path}": "a file of one's own"}
    assert corpora.differing(known) == [PAIRED]


def test_it_is_planned_as_large_as_what_gives_the_layout(monkeypatch, tmp_path):
    monkeypatch.setattr(corpora, "census", lambda reference: pytest.fail(f"{reference} was read"))
    assert sizes.size(PAIRED) == sizes.size("mnli:dev[40]")
    assert sizes.size("wiki40b/en:test[900]~glue/mnli:matched[40]") == sizes.size("glue/mnli:matched[40]")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="unknown corpus 'wikki'"):
        sizes.size("wikki~mnli:dev[40]")
    path = file(tmp_path, "own.txt", "One two. Three four five.")
    assert sizes.size(f"wiki~{path}") == sizes.Size(2, 7)


@pytest.mark.slow
def test_the_neutral_text_of_the_studies_shares_no_run_of_words_with_what_it_is_laid_out_as():
    """Paragraphs of squadshifts-wiki, which lie in the same file, are not read as `wiki`."""
    assert load("wiki").left_out == {"rows not of wikitext2_test": 1581}
    wiki = cleaning.Runs()
    wiki.add("wiki", 0)
    for other in ("squadshifts-wiki", "squad:dev", "mnli:dev"):
        contexts = {json.dumps(q.context) if isinstance(q, Question) else " ".join(q.first) for q in load(other).items}
        assert not any(wiki.shared([text])[0] for text in contexts)
