"""JSON as it comes: SQuAD, jiant's edge probing and MultiNLI are read, what says nothing is counted, anything else refused in our words."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_readers import PAIRS, SMALL, answer, file, load, squad

from bert_repro.corpora import items, readers


def edge(*targets, text="The senator praised the nurse .", **more):
    return {"text": text, "info": {"document_id": "d/1", "sentence_id": 0}, "targets": [*targets]} | more


def target(first=(0, 2), label="PERSON", **more):
    return {"span1": [*first], "label": label} | more


def nli(label="entailment", **more):
    sides = {"sentence1": "It rained.", "sentence2": "The ground got wet."}
    return {"annotator_labels": ["neutral"], "gold_label": label, "pairID": "2n", "genre": "travel"} | sides | more


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


RECORDS = [edge(target(), target((3, 5), "ORG")), edge(), edge(target((1, 2), ["A", "B"], span2=[0, 1]))]
LAYOUTS = {
    "a.jsonl": lines(*RECORDS),
    "b.jsonl.gz": lines(*RECORDS).replace("\n", "\r\n\r\n"),
    "c.json": lines(*RECORDS),
    "d.json": json.dumps(RECORDS, indent=1),
    "e.jsonl": "\ufeff" + lines(*RECORDS),
}


@pytest.mark.parametrize(("name", "content"), LAYOUTS.items())
def test_edge_probing_files_are_read_in_every_layout(tmp_path, name, content):
    corpus = load(file(tmp_path, name, content))
    assert [one.spans for one in corpus.items] == [
        (items.Labelled((0, 2), None, ("PERSON",)), items.Labelled((3, 5), None, ("ORG",))),
        (items.Labelled((1, 2), (0, 1), ("A", "B")),),
    ]
    assert corpus.left_out == {"sentences without targets": 1}
    assert corpus.items[0].words == ("The", "senator", "praised", "the", "nurse", ".")


def test_one_record_in_a_json_file_is_read(tmp_path):
    (only,) = load(file(tmp_path, "a.json", json.dumps(RECORDS[0], indent=2))).items
    assert len(only.spans) == 2
    (pair,) = load(file(tmp_path, "b.json", json.dumps(nli()))).items
    assert pair.label == "entailment" and pair.first == ("It", "rained", ".")


def test_labels_may_be_none_one_or_several(tmp_path):
    told = edge(target(label=[]), target(label=["A", "B"]), target(label=3), target(label=["x"]))
    (only,) = load(file(tmp_path, "a.jsonl", lines(told))).items
    assert [one.labels for one in only.spans] == [(), ("A", "B"), ("3",), ("x",)]


@pytest.mark.parametrize("span", [(3, 3), (0, 0), (4, 7), (-1, 2), (2, 1)])
def test_inclusive_ends_are_refused_with_what_to_do(tmp_path, span):
    path = file(tmp_path, "a.jsonl", lines(RECORDS[0], edge(target(span))))
    message = f"{path}:2: sentence 'line-2': the span {[*span]} is empty or lies outside its 6 words: a span goes from its first"
    with pytest.raises(ValueError, match=re.escape(message)) as told:
        load(path)
    assert str(told.value).endswith("add 1 to ends that are inclusive")


NLI = [nli(), nli("-"), nli("contradiction", pairID="3n")]
TABLE = "gold_label\tpairID\tsentence1\tsentence2\nentailment\t2n\tIt rained.\tThe ground got wet.\n-\t1\tA.\tB.\ncontradiction\t3\tA.\tB.\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("multinli_1.0_dev_matched.jsonl", lines(*NLI)),
        ("multinli.json", "\ufeff" + lines(*NLI)),
        ("multinli_1.0_dev_matched.txt", TABLE),
        ("dev_matched.tsv", "\ufeff" + TABLE.replace("\n", "\r\n")),
        ("hub.jsonl", lines(*({"premise": p, "hypothesis": "The ground got wet.", "label": n}
                             for p, n in (("It rained.", 0), ("A.", -1), ("B.", 2))))),
    ],
)  # fmt: skip
def test_pairs_are_read_as_multinli_and_glue_have_them(tmp_path, name, content):
    corpus = load(file(tmp_path, name, content))
    assert [pair.label for pair in corpus.items] == ["entailment", "contradiction"]
    assert corpus.items[0].first == ("It", "rained", ".")
    assert corpus.items[0].second == ("The", "ground", "got", "wet", ".")
    assert corpus.left_out == {"rows labelled -1" if name.startswith("hub") else "rows labelled -": 1}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (nli("maybe"), "label 'maybe' is not one of ['entailment'"),
        (nli(3), "label '3' is not one of"),
        (nli(None), "nor a pair (premise, hypothesis and label, or sentence1, sentence2 and gold_label): ValueError('expected a text"),
        (nli(sentence1=7), "ValueError('expected a text, got 7')"),
        (nli(sentence1=" "), "an empty premise or hypothesis"),
        (nli(sentence1="\ud800"), "nor a pair (premise, hypothesis and label, or sentence1, sentence2 and gold_label): UnicodeEncodeError"),
        (edge(target(label=None)), "a label is a text or a whole number, got None"),
        (edge(target((0, 1.5))), "a span is two whole numbers, got [0, 1.5]"),
        (edge(target((True, 2))), "a span is two whole numbers, got [True, 2]"),
        (edge(target(), text=" "), "a sentence without words"),
        (edge(target(), text=[1]), "not an edge-probing record (text, targets > span1, span2 or none, label), nor a pair"),
        (edge(7), "not an edge-probing record"),
        ({}, "not an edge-probing record (text, targets > span1, span2 or none, label), nor a pair"),
        (3, "not an edge-probing record"),
    ],
)  # fmt: skip
def test_a_record_of_no_kind_is_refused_with_its_line(tmp_path, record, message):
    path = file(tmp_path, "a.jsonl", "\n" + lines(record))
    with pytest.raises(ValueError) as told:
        load(path)
    assert str(told.value).startswith(f"{path}:2: ") and message in str(told.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": [answer("Ann", 0.5)]}, "answer_start is a whole number, got [0.5]"),
        ({"answers": [answer(3, 0)]}, "expected a text, got 3"),
        ({"question": "\ud800?"}, "UnicodeEncodeError"),
    ],
)
def test_a_question_of_other_types_is_refused(tmp_path, changes, message):
    path = file(tmp_path, "q.json", json.dumps(squad(**changes)))
    with pytest.raises(ValueError, match=r"q.json is not SQuAD-format JSON .*" + re.escape(message)):
        load(path)


def test_questions_without_an_answer_are_left_out_and_counted(tmp_path):
    whole = squad()
    asked = whole["data"][0]["paragraphs"][0]["qas"]
    asked += [{"id": "q2", "question": "Why?", "answers": [], "is_impossible": True}]
    corpus = load(file(tmp_path, "q.json", "\ufeff" + json.dumps(whole)))
    assert [question.id for question in corpus.items] == ["q1"]
    assert corpus.left_out == {"questions without an answer": 1}


@pytest.mark.parametrize("name", ["deep.json", "deep.jsonl", "long.json", "long.jsonl"])
def test_what_json_itself_gives_up_on_is_refused_in_our_words(tmp_path, name):
    content = "[" * 200_000 if name.startswith("deep") else "1" * 5000
    with pytest.raises(ValueError, match=r"is not SQuAD-format JSON|not an edge-probing record"):
        load(file(tmp_path, name, content))


KEYS = ["data", "paragraphs", "context", "qas", "id", "question", "answers", "text", "answer_start", "is_impossible", "targets",
        "span1", "span2", "label", "info", "premise", "hypothesis", "sentence1", "sentence2", "gold_label"]  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats()
    | st.sampled_from(["", "-", "neutral", "a b", "\ud800"])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6), max_leaves=25
)  # fmt: skip


def mutated(record, path, value):
    """Put another value at a place of a record, which a list of numbers names."""
    if not path or not isinstance(record, dict | list) or not record:
        return value
    keys = [*record] if isinstance(record, dict) else [*range(len(record))]
    key = keys[path[0] % len(keys)]
    copy = record.copy()
    copy[key] = mutated(record[key], path[1:], value)
    return copy


@given(st.data())
def test_no_json_ends_in_an_error_that_is_not_ours(tmp_path_factory, data):
    whole = data.draw(
        VALUES
        | st.builds(
            mutated, st.sampled_from([squad(), *RECORDS, *NLI]), st.lists(st.integers(0, 9), min_size=1, max_size=7), VALUES
        )
    )  # fmt: skip
    name = data.draw(st.sampled_from(["fuzz.json", "fuzz.jsonl"]))
    path = file(tmp_path_factory.getbasetemp(), name, json.dumps(whole))
    try:
        load(path)
    except ValueError as error:
        assert type(error) is ValueError and name in str(error)


@given(st.text(st.sampled_from("premisehypothesislabel paragraph\t\n\r-1_#.=\ufeffé"), max_size=80), st.booleans())
def test_no_table_text_or_treebank_ends_in_an_error_that_is_not_ours(tmp_path_factory, text, begun):
    for name, start in (("f.tsv", PAIRS), ("f.conllu", SMALL), ("f.txt", "One."), ("f.tsv", "title\tparagraph\n")):
        path = file(tmp_path_factory.getbasetemp(), name, start * begun + text)
        try:
            load(path)
            [*readers.paragraphs(tmp_path_factory.getbasetemp() / name, {})] if name == "f.txt" else None
        except ValueError as error:
            assert type(error) is ValueError and name in str(error)
