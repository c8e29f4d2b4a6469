"""Baselines: each does what it says on cases made by hand, agrees with a naive twin, and is counted as task heads are."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bert_repro import corpora
from bert_repro.corpora import LABELS, Pair, Question, Sentence, makers
from bert_repro.finetune import TASKS, baselines, counts
from bert_repro.results import intervals, tables


def question(asked: str, passage: str, answer: str = "") -> Question:
    answer = answer or passage.split()[0]
    return makers.question("here", "q", asked, passage, [(answer, passage.index(answer))])


# ---- questions


@pytest.mark.parametrize(
    ("asked", "passage", "said"),
    [
        (
            "Who wrote the first program in Rome?",
            "Cats sleep. The first program was written by Ada in Rome.",
            "was written by Ada",
        ),
        ("who WROTE it", "It rained all day , and Ada wrote it .", "and Ada"),
        ("red", "blue , green red", "green"),  # one word to either side, as many as the question has
        ("red rare", "red b red , ; , c rare", "b"),  # log 1.5 on either side of b is more than log 2 beside c
        ("red rare", "red b , c rare", "b"),  # equal weights: the first
        ("nothing in common", "some words ; others", "some words"),
        ("a b", "A b , B a !", ""),  # every word is asked about
        ("x", "x a b c d e f g h i j", "a b c d e f g h"),  # cut behind the eighth word
    ],
)
def test_an_answer_lies_amid_what_passage_and_question_share(asked, passage, said):
    assert baselines.overlap_answer(question(asked, passage)) == said


def naive_answer(item: Question) -> str:
    """The same, word by word."""
    asked = {word.lower() for word in item.first if any(map(str.isalnum, word))}
    words = [word.lower() for word in item.second]
    free = [any(map(str.isalnum, word)) and word not in asked for word in words]
    best, answer = -1.0, ""
    for start in range(len(words)):
        if not free[start] or (start and free[start - 1]):
            continue
        stop = start
        while stop < len(words) and free[stop]:
            stop += 1
        around = [*range(max(0, start - len(item.first)), start), *range(stop, min(len(words), stop + len(item.first)))]
        weight = sum(math.log(1 + 1 / words.count(words[i])) for i in around if words[i] in asked)
        if weight > best + 1e-9:
            last = min(stop, start + baselines.LONGEST) - 1
            best, answer = weight, item.context[item.offsets[start][0] : item.offsets[last][1]]
    return answer


WORDS = st.lists(st.sampled_from(["a", "A", "b", "c", "d", "e", ",", "."]), min_size=1, max_size=25).map(" ".join)


@given(WORDS, WORDS)
@example("a", "a a a b a c a")  # two answers are equally good, but for the rounding of sums
def test_an_answer_is_that_of_a_naive_twin(asked, passage):
    assert baselines.overlap_answer(question(asked, passage)) == naive_answer(question(asked, passage))


@given(WORDS, WORDS)
def test_an_answer_is_short_stands_in_the_passage_and_repeats_nothing_that_was_asked(asked, passage):
    said = baselines.overlap_answer(question(asked, passage))
    assert said in passage and len(said.split()) <= baselines.LONGEST
    assert not {*said.lower().split()} & {*asked.lower().split()}


@given(st.lists(st.booleans(), max_size=12))
def test_runs_cover_what_is_true_once_and_nothing_else(free):
    first, last = baselines.runs(np.array(free, bool))
    assert [i for run in zip(first, last, strict=True) for i in range(*run)] == [*np.flatnonzero(free)]
    assert (first[1:] > last[:-1]).all()  # two that touched would be one


def test_questions_are_counted_as_their_task_head_counts():
    items = [question("Who sleeps ?", "Cats sleep , dogs do not .", "dogs do"), question("x ?", "c d", "d")]
    found = baselines.lexical_overlap([], items)
    np.testing.assert_allclose(found[0], [[counts.f1("Cats sleep", "dogs do"), 1], [0, 1]])
    np.testing.assert_allclose(found[1], [[counts.f1("c d", "d"), 1], [0, 1]])


# ---- pairs, trees, words


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=12))
def test_no_other_constant_label_is_right_more_often_of_what_it_was_chosen_by(labels):
    pairs = [Pair(str(n), ("a",), ("b",), label) for n, label in enumerate(labels)]
    right = baselines.majority_label(pairs, pairs)[:, 0, 0].sum()
    assert right == max(labels.count(label) for label in LABELS)


def sentence(heads, relations, words=None, upos=()):
    return Sentence("s", tuple(words or "abcdefghi"[: len(heads)]), tuple(heads), tuple(relations), tuple(upos))


@pytest.mark.parametrize("heads", [(0, 1, 2, 3), (2, 3, 4, 0)], ids=["backward", "forward"])
def test_a_chain_is_wholly_right_of_chains_in_its_direction(heads):
    one = sentence(heads, ["root" if not head else "dep" for head in heads])
    found = baselines.chain_of_words([one], [one, one])
    np.testing.assert_array_equal(found[:, :, 0], found[:, :, 1])
    other = sentence([5 - head if head else 0 for head in heads[::-1]], one.relations[::-1])
    assert baselines.chain_of_words([one], [other])[0, :2, 0].tolist() == [0, 0]  # the other way round


@given(st.integers(1, 9), st.booleans())
def test_a_chain_is_a_tree_of_neighbours(words, backward):
    heads = baselines.chain(words, backward)
    assert (heads == 0).sum() == 1 and heads[0 if backward else -1] == 0
    places = np.arange(1, words + 1)
    assert (abs(heads - places)[heads > 0] == 1).all()


def test_relations_are_those_of_words_whose_heads_the_chain_has_right():
    # in every second word the chain is right, with `obj`; elsewhere `punct` is more frequent, and never right
    train = [sentence([0, 1, 1, 1, 1], ["root", "obj", "punct", "punct", "punct"])]
    test = [sentence([0, 1, 2], ["root", "obj", "punct"])]
    assert baselines.chain_of_words(train, test)[0, :2].tolist() == [[2, 3], [3, 3]]


def test_a_word_has_its_own_most_frequent_tag_and_an_unknown_one_that_of_all():
    train = [sentence([0] * 5, ["x"] * 5, ["run", "run", "run", "dog", "cat"], ["V", "V", "N", "N", "N"])]
    test = [sentence([0] * 3, ["x"] * 3, ["run", "dog", "owl"], ["V", "N", "N"])]
    assert baselines.most_frequent_tag(train, test)[0].tolist() == [[3, 3]]
    assert baselines.most_frequent_tag(train, [sentence([0], ["x"], ["owl"], ["V"])])[0].tolist() == [[0, 1]]


def test_of_equally_frequent_names_the_first_is_taken_and_of_none_an_empty_one():
    assert baselines.most_frequent(["b", "a"]) == "a" and baselines.most_frequent(["b", "a", "b"]) == "b"
    assert baselines.most_frequent([]) == ""


# ---- rows


@pytest.mark.parametrize("task", [name for name, task in TASKS.items() if task.baseline])
def test_rows_are_of_the_baseline_and_pair_with_whatever_was_scored_on_the_same_text(task):
    train, text = {"nli": ("mnli:train[60]", "mnli:dev[40]"), "squad": ("squad:train[4]", "squad:dev[9]")}.get(
        task, ("ewt:dev[30]", "ewt:test[20]")
    )
    table = tables.tidy(baselines.rows(task, train, [text], resamples=100), notebook="finetune", seed=3)
    known = TASKS[task].baseline
    assert {*table["role"]} == {"baseline"} and {*table["model"]} == {*table["method"]} == {known}
    assert table[["seed", "updates", "base", "layers_changed"]].isna().all(axis=None)  # nobody tuned it
    read = corpora.load(text)
    counted = baselines.BASELINES[known].counts(corpora.load(train).items, read.items)
    drawn = intervals.draws(read.digest, len(read.items), 100)
    for m, row in enumerate(table.itertuples()):
        assert row.metric == baselines.BASELINES[known].metrics[m] and row.units == len(read.items)
        assert row.value == pytest.approx(counted[:, m, 0].sum() / counted[:, m, 1].sum())
        expected = (drawn @ counted[:, m, 0]) / (drawn @ counted[:, m, 1])
        np.testing.assert_allclose(row.replicates, expected, rtol=1e-6)


def test_a_task_without_a_baseline_is_refused():
    with pytest.raises(ValueError, match="^masked words has no baseline: nothing is known of it without an encoder$"):
        baselines.rows("masked_words", "wiki[8]", ["ewt:dev[12]"])


def test_every_baseline_that_a_task_names_is_there_under_the_metrics_of_its_task_head():
    assert {task.baseline for task in TASKS.values() if task.baseline} == {*baselines.BASELINES}
    for task in TASKS.values():
        if task.baseline:
            assert baselines.BASELINES[task.baseline].metrics == task.head.metrics


def test_they_need_no_tensorflow():
    code = "import sys, bert_repro.finetune.baselines; print({'tensorflow', 'keras'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
