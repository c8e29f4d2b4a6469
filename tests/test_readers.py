"""File formats: what is read is all there, in its place; what is malformed is refused with its file and line."""

import gzip
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_repro.corpora import items, makers, readers, words

SMALL = """\
# sent_id = first
# text = Don't go, he said.
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\t_\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t6\tccomp\t_\tSpaceAfter=No
4\t,\t,\tPUNCT\t,\t_\t6\tpunct\t_\t_
5\the\the\tPRON\tPRP\tCase=Nom\t6\tnsubj\t_\t_
5.1\tnever\t_\t_\t_\t_\t_\t_\t6:advmod\t_
6\tsaid\tsay\tVERB\tVBD\t_\t0\troot\t_\t_
7\t.\t.\tPUNCT\t.\t_\t6\tpunct\t_\t_

1\tNew York\t_\tPROPN\t_\t_\t0\troot\t_\t_
"""


def line(number, form, head, relation="dep"):
    return f"{number}\t{form}\t_\tX\tX\t_\t{head}\t{relation}\t_\t_"


def file(folder, name, content):
    path = folder / name
    content = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(path)


@dataclass
class Content:
    items: tuple
    left_out: dict


def load(path, where=None):
    left_out = {}
    told = [*readers.records(Path(path), where or {}, left_out)]
    made = tuple(record() for record in told if not isinstance(record, str))
    return Content(made, left_out | Counter(record for record in told if isinstance(record, str)))


@pytest.mark.parametrize("name", ["small.conllu", "small.conllu.gz"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_words_of_a_treebank_are_read_and_ranges_and_empty_nodes_counted(tmp_path, name, newline):
    corpus = load(file(tmp_path, name, SMALL.replace("\n", newline)))
    one, two = corpus.items
    assert one.id == "first" and two.id == "line-13"
    assert one.words == ("Do", "n't", "go", ",", "he", "said", ".")
    assert one.heads == (3, 3, 6, 6, 6, 0, 6)
    assert one.relations == ("aux", "advmod", "ccomp", "punct", "nsubj", "root", "punct")
    assert one.upos[:2] == ("AUX", "PART") and one.xpos[:2] == ("VB", "RB")
    assert two == items.Sentence("line-13", ("New York",), (0,), ("root",), ("PROPN",), ("_",))
    assert corpus.left_out == {"multiword ranges": 1, "empty nodes": 1}


@pytest.mark.parametrize(
    ("rows", "at", "message"),
    [
        (["1\ta\t_\tX\tX\t_\t0\troot\t_"], 3, "has 10 tab-separated columns, this one has 9: '1"),
        ([line(1, "a", 0), line(2, "b", 7)], 4, "head '7' is not between 0 and 2"),
        ([line(1, "a", 0), line(2, "b", -1)], 4, "head '-1' is not"),
        ([line(1, "a", 0), line(2, "b", "_")], 4, "head '_' is not"),
        ([line(1, "a", 0), line(2, "b", "x")], 4, "head 'x' is not"),
        ([line(1, "a", 0), line(3, "b", 1)], 4, "word id '3' where 2 was expected"),
        ([line(2, "a", 0), line(1, "b", 2)], 3, "word id '2' where 1 was expected"),
        ([line(1, "a", 0), line("_", "b", 1)], 4, "word id '_' where 2 was expected"),
        ([line(1, "a", 0), line("2-x", "b", 1)], 4, "word id '2-x' where 2"),
        ([line(1, "a", 0), line(2, "b", 0)], 3, "sentence 'line-3' is not a tree: 2 roots"),
        ([line(1, "a", 1)], 3, "is not a tree: 0 roots"),
        ([line(1, "a", 0), line(2, "b", 3), line(3, "c", 2)], 3, "is not a tree: word 2 is its own ancestor"),
        (["# sent_id = a", "# text = lost"], 3, "a sentence without words"),
        ([line("1.1", "a", "_")], 3, "a sentence without words"),
        (["\t" * 9 + "x"], 3, "not CoNLL-U: "),
    ],
)
def test_a_malformed_treebank_is_refused_with_file_and_line(tmp_path, rows, at, message):
    path = file(tmp_path, "bad.conllu", "\n".join([line(1, "fine", 0), "", *rows, ""]))
    with pytest.raises(ValueError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}:{at}: ") and message in str(error.value)


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    path = file(tmp_path, "latin.txt", b"Fine.\n" * 5000 + "Fünf.\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.txt:5001: cannot be read as UTF-8 text from here: .*0xfc"):
        load(path)


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:100] + b"?" * 50 + b[150:], lambda b: b"PK" + b])
def test_a_damaged_gz_is_refused(tmp_path, damage):
    path = tmp_path / "cut.txt.gz"
    path.write_bytes(damage(gzip.compress("\n".join(f"Line {n * n}." for n in range(3000)).encode())))
    with pytest.raises(ValueError, match=r"cut.txt.gz:\d+: cannot be read as UTF-8 text"):
        load(str(path))


PAIRS = 'source\tpremise\thypothesis\tlabel\na\tIt\'s "late".\tIt is.\tneutral\nb\tNo.\tYes!\tcontradiction\n'


@pytest.mark.parametrize(("told", "kept"), [("matched", "matched"), ("mismatched", "mismatched"), ("unknown", "")])
def test_the_section_of_a_pair_is_kept_where_it_is_known(tmp_path, told, kept):
    rows = [f"{told if number else 'section'}\t{row}" for number, row in enumerate(PAIRS.splitlines())]
    assert {pair.section for pair in load(file(tmp_path, "p.tsv", "\n".join(rows))).items} == {kept}


def test_pairs_are_read_from_tsv_with_quotes_as_they_are(tmp_path):
    one, two = load(file(tmp_path, "p.tsv", PAIRS)).items
    assert one == items.Pair("2", ("It", "'", "s", '"', "late", '"', "."), ("It", "is", "."), "neutral")
    assert two.label == "contradiction" and two.first == ("No", ".")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PAIRS.replace("neutral", "maybe"), r"p.tsv:2: label 'maybe' is not one of \['entailment'"),
        (PAIRS.replace("b\tNo.", "No."), "p.tsv:3: 3 columns where the header has 4"),
        (PAIRS.replace("No.", " "), "p.tsv:3: an empty premise or hypothesis"),
        (PAIRS.replace("premise", "text"), r"p.tsv:1: expected the columns premise, .*got \['source', 'text'"),
        (
            PAIRS.replace("source", "section"),
            r"p.tsv:2: section 'a' is not one of \['matched', 'mismatched', 'unknown'\]",
        ),
        ("", r"p.tsv:1: expected the columns"),
    ],
)
def test_malformed_tsv_is_refused_with_file_and_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load(file(tmp_path, "p.tsv", content))


def test_paragraphs_are_split_into_sentences(tmp_path):
    text = 'He said: "No." (Yes!) Dr. Who left? it rained. 3.5 more'
    as_tsv = load(file(tmp_path, "p.tsv", f"id\tparagraph\n7\t{text}\n8\t \n"))
    as_text = load(file(tmp_path, "p.txt", f"{text}\n\n"))
    assert [s.words for s in as_tsv.items] == [s.words for s in as_text.items]
    assert sum((s.words for s in as_text.items), ()) == words.words(text)
    assert as_tsv.items[0].id == "2.1" and as_text.items[0].id == "1.1"
    assert [s.words[0] for s in as_text.items] == ["He", "Who"]


def test_a_long_paragraph_is_read_whole(tmp_path):
    (only,) = load(file(tmp_path, "p.tsv", "paragraph\n" + "word " * 40000 + "\n")).items
    assert len(only.words) == 40000


def visible(text):
    """Leave spaces out, and what cannot be seen."""
    return "".join("".join(text.split()).split("\u200b"))


@given(st.text(st.sampled_from("aZé9 .!?\"'()\t\u00a0\u3000\u200b-_한\u0301"), max_size=60))
def test_sentence_splitting_loses_no_word(text):
    sentences = [record() for record in readers.sentences(text, "1")]
    assert sum((s.words for s in sentences), ()) == words.words(text)
    assert "".join(words.words(text)) == visible(text)
    assert all(s.words for s in sentences)


CONTEXT = "Ann \u00a0left in the 1990s, (they say)."


def answer(text, start):
    return {"text": text, "answer_start": start}


def squad(context=CONTEXT, **changes):
    asked = {"id": "q1", "question": "Who left?", "answers": [answer("Ann", 0), answer("1990", 17)]} | changes
    return {"data": [{"paragraphs": [{"context": context, "qas": [asked]}]}]}


def test_questions_are_read_with_context_and_answers(tmp_path):
    (only,) = load(file(tmp_path, "q.json.gz", json.dumps(squad(), indent=1))).items
    assert (only.id, only.first, only.context) == ("q1", ("Who", "left", "?"), CONTEXT)
    assert only.second == ("Ann", "left", "in", "the", "1990s", ",", "(", "they", "say", ")", ".")
    assert only.answers == (("Ann", 0), ("1990", 17)) and isinstance(only, items.Pair)


@given(st.text(st.sampled_from("aZé9 .!?\"'()\t\u00a0\u3000\u200b-_한\u0301"), min_size=1, max_size=40))
def test_the_offsets_of_words_cut_them_out_of_the_context(text):
    answers = [(word, text.index(word)) for word in text.split()]
    if answers:
        made = makers.question("here", "q", "Who?", text, answers)
        assert tuple(text[start:end] for start, end in made.offsets) == made.second == words.words(text)
        ends = [place for span in made.offsets for place in span]
        assert ends == sorted(ends)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": []}, "question 'q1' has no answers: it cannot be used"),
        ({"question": " "}, "question 'q1' has no words: it cannot be used"),
        ({"answers": [answer("Ann", 1)]}, "'q1': its answer 'Ann' should be in the context at character 1, where 'nn "),
        ({"answers": [answer("say).", -5)]}, "its answer 'say).' should be in the context at character -5, where"),
        ({"answers": [answer("Ann", 0), answer("Ann", 99)]}, "should be in the context at character 99, where ''"),
        ({"answers": [answer("", 0)]}, "its answer '' should"),
        ({"answers": [answer(" ", 3)]}, "its answer ' ' should"),
        ({"context": " "}, "its answer 'Ann' should"),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_answered_is_refused_by_name(tmp_path, changes, message):
    path = file(tmp_path, "q.json", json.dumps(squad(**changes)))
    with pytest.raises(
        ValueError, match=re.escape(f"{path}: question 'q1'") + ".*" + re.escape(message[-20:])
    ) as error:
        load(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"data": 1}',
        '{"data": [{}]}',
        json.dumps(squad(question=None)),
        '"data"',
        json.dumps(squad(answers=[{}])),
    ],
)
def test_json_that_is_not_squad_is_refused(tmp_path, content):
    with pytest.raises(
        ValueError, match=r"q.json is not SQuAD-format JSON \(data > paragraphs > context, qas > answers\): "
    ):
        load(file(tmp_path, "q.json", content))
