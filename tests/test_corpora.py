"""Corpora: what is read is all there; what is malformed is refused with its file and line; draws repeat."""

import gzip
import hashlib
import itertools
import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_repro import corpora

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


@pytest.mark.parametrize("name", ["small.conllu", "small.conllu.gz"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_words_of_a_treebank_are_read_and_ranges_and_empty_nodes_counted(tmp_path, name, newline):
    corpus = corpora.treebank(file(tmp_path, name, SMALL.replace("\n", newline)))
    one, two = corpus.items
    assert one.id == "first" and two.id == "line-13"
    assert one.words == ("Do", "n't", "go", ",", "he", "said", ".")
    assert one.heads == (3, 3, 6, 6, 6, 0, 6)
    assert one.relations == ("aux", "advmod", "ccomp", "punct", "nsubj", "root", "punct")
    assert one.upos[:2] == ("AUX", "PART") and one.xpos[:2] == ("VB", "RB")
    assert two == corpora.Sentence("line-13", ("New York",), (0,), ("root",), ("PROPN",), ("_",))
    assert corpus.left_out == {"multiword ranges": 1, "empty nodes": 1}
    assert corpus.words == 8 and corpus.name == name


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
        ([line(1, "a", 0), line(2, "b", 0)], 3, "sentence 'line-3' is no tree: 2 roots"),
        ([line(1, "a", 1)], 3, "is no tree: 0 roots"),
        ([line(1, "a", 0), line(2, "b", 3), line(3, "c", 2)], 3, "is no tree: word 2 is its own ancestor"),
        (["# only = a comment"], 3, "a sentence without words"),
        ([line("1.1", "a", "_")], 3, "a sentence without words"),
        (["\t" * 9 + "x"], 3, "not CoNLL-U: "),
    ],
)
def test_a_malformed_treebank_is_refused_with_file_and_line(tmp_path, rows, at, message):
    path = file(tmp_path, "bad.conllu", "\n".join([line(1, "fine", 0), "", *rows, ""]))
    with pytest.raises(ValueError) as error:
        corpora.load(path)
    assert str(error.value).startswith(f"{path}:{at}: ") and message in str(error.value)


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    path = file(tmp_path, "latin.txt", b"Fine.\n" * 5000 + "Fünf.\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.txt:5001: cannot be read as UTF-8 text from here: .*0xfc"):
        corpora.load(path)


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:100] + b"?" * 50 + b[150:], lambda b: b"PK" + b])
def test_a_damaged_gz_is_refused(tmp_path, damage):
    path = tmp_path / "cut.txt.gz"
    path.write_bytes(damage(gzip.compress("\n".join(f"Line {n * n}." for n in range(3000)).encode())))
    with pytest.raises(ValueError, match=r"cut.txt.gz:\d+: cannot be read as UTF-8 text"):
        corpora.load(str(path))


@pytest.mark.parametrize(
    ("reference", "kind", "message"),
    [
        ("ewd:dev", ValueError, r"unknown corpus 'ewd': expected one of \['ewt', .*or a .conllu"),
        ("sample-trees", ValueError, r"'sample-trees' has no split None: write one of \['sample-trees:train'"),
        ("sample-trees:validation", ValueError, "has no split 'validation'"),
        ("sample-trees:dev[x]", ValueError, r"cannot read the corpus reference 'sample-trees:dev\[x\]': write name"),
        ("", ValueError, "cannot read the corpus reference ''"),
        ("nowhere.conllu", FileNotFoundError, "no corpus file nowhere.conllu"),
        ("sample-trees:dev[301]", ValueError, r"sample-trees:dev\[301\] asks for 301 items, the corpus has 300"),
        ("sample-trees:dev[0]", ValueError, "asks for 0 items"),
    ],
)
def test_an_unknown_corpus_is_refused(reference, kind, message):
    with pytest.raises(kind, match=message):
        corpora.load(reference)


def test_a_missing_data_folder_is_refused(monkeypatch, tmp_path):
    monkeypatch.delenv("BERT_REPRO_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"not set: give it with `make report DATA=/path/to/data`"):
        corpora.load("ewt:dev")
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"the data folder '.*none' does not exist: correct DATA="):
        corpora.load("ewt:dev")
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"corpus ewt:dev should lie at .*en_ewt-ud-dev.conllu.gz"):
        corpora.load("ewt:dev")


def test_a_draw_repeats_and_keeps_the_order():
    everything, some = corpora.load("sample-trees:dev"), corpora.load("sample-trees:dev[50]")
    assert some == corpora.load("sample-trees:dev[50]") and len(set(some.items)) == 50
    places = [everything.items.index(one) for one in some.items]
    assert places == sorted(places) and places != list(range(50))
    assert some.split == "dev[50]" and some.digest != everything.digest
    assert corpora.load("sample-trees:dev[300]").items == everything.items


def test_a_draw_is_the_one_it_always_was():
    items = corpora.load("sample-nli:dev").items
    chosen = sorted(np.random.default_rng(0).choice(len(items), 20, replace=False))
    assert corpora.load("sample-nli:dev[20]").items == tuple(items[i] for i in chosen)


@pytest.mark.parametrize("name", ["s.conllu", "s.tsv", "s.txt.gz"])
def test_a_stream_gives_what_comes_before_an_error(tmp_path, name):
    good = {"s.conllu": (SMALL + "\n") * 50, "s.tsv": "paragraph\n" + "One. Two.\n" * 50, "s.txt.gz": "One.\n" * 50}[
        name
    ]
    bad = {"s.conllu": "\nno columns\n", "s.tsv": "a\tb\n", "s.txt.gz": b"\xff\n".decode("latin-1")}[name]
    path = file(tmp_path, name, good.encode() + bad.encode("latin-1"))
    stream = corpora.stream(path)
    assert len(list(itertools.islice(stream, 50))) == 50
    with pytest.raises(ValueError, match=f"{name}:"):
        list(stream)


@pytest.mark.parametrize("reference", ["sample-trees:dev", "sample-trees:dev[30]", "sample-nli:dev", "sample-questions:dev", "sample-text"])  # fmt: skip
def test_a_stream_a_census_and_a_loaded_corpus_agree(reference):
    stream, corpus, census = corpora.stream(reference), corpora.load(reference), corpora.census(reference)
    assert (stream.name, stream.split) == (corpus.name, corpus.split) and tuple(stream) == corpus.items
    assert stream.left_out == corpus.left_out == census.left_out
    assert (census.digest, census.items, census.words) == (corpus.digest, len(corpus.items), corpus.words)
    assert census.digest == corpora.digest(reference)
    assert census.digest == hashlib.sha256("\n".join(map(repr, corpus.items)).encode()).hexdigest()


def test_what_is_left_out_is_counted_when_the_stream_ends(tmp_path):
    stream = corpora.stream(file(tmp_path, "s.conllu", (SMALL + "\n") * 3))
    next(stream)
    assert stream.left_out == {"multiword ranges": 1, "empty nodes": 1}
    assert len(list(stream)) == 5 and stream.left_out == {"multiword ranges": 3, "empty nodes": 3}


def test_a_corpus_is_counted_once_while_its_file_stays_as_it_is(tmp_path, monkeypatch):
    path = file(tmp_path, "s.txt", "One. Two three.")
    first = corpora.census(path)
    with monkeypatch.context() as patch:
        patch.setattr(corpora, "_lines", lambda path: pytest.fail("read again"))
        assert corpora.census(path) is first and corpora.digest(path) == first.digest
    file(tmp_path, "s.txt", "One. Two three four.")
    os.utime(path, ns=(0, 0))
    assert corpora.census(path).words == first.words + 1
    assert corpora.census(f"{path}[1]").items == 1


@pytest.mark.parametrize("name", ["s.conllu.gz", "s.tsv", "s.txt"])
def test_memory_for_a_stream_does_not_grow_with_the_corpus(tmp_path, name):
    peaks = []
    for count in (300, 3000):
        text = {
            "s.conllu.gz": (SMALL + "\n") * count,
            "s.tsv": "paragraph\n" + "One. Two.\n" * count,
            "s.txt": "One. Two.\n" * count,
        }
        path = file(tmp_path, name, text[name])
        tracemalloc.start()
        assert corpora.census(path).items == 2 * count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_the_only_split_needs_no_name():
    assert corpora.locate("sample-text").split == "all" == corpora.locate("sample-text:all").split


PAIRS = 'source\tpremise\thypothesis\tlabel\na\tIt\'s "late".\tIt is.\tneutral\nb\tNo.\tYes!\tcontradiction\n'


def test_pairs_are_read_from_tsv_with_quotes_as_they_are(tmp_path):
    one, two = corpora.load(file(tmp_path, "p.tsv", PAIRS)).items
    assert one == corpora.Pair("2", ("It", "'", "s", '"', "late", '"', "."), ("It", "is", "."), "neutral")
    assert two.label == "contradiction" and two.first == ("No", ".")


def test_rows_are_filtered_by_a_column_and_counted(tmp_path, monkeypatch):
    file(tmp_path, "p.tsv.gz", PAIRS)
    source = corpora.Source("data", {"dev": "p.tsv.gz"}, "none", {"dev": {"source": "b"}})
    monkeypatch.setitem(corpora.CORPORA, "mine", source)
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path))
    corpus = corpora.load("mine:dev")
    assert [pair.id for pair in corpus.items] == ["3"] and corpus.left_out == {"rows not of b": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PAIRS.replace("neutral", "maybe"), r"p.tsv:2: label 'maybe' is not one of \['entailment'"),
        (PAIRS.replace("b\tNo.", "No."), "p.tsv:3: 3 columns where the header has 4"),
        (PAIRS.replace("No.", " "), "p.tsv:3: an empty premise or hypothesis"),
        (PAIRS.replace("premise", "text"), r"p.tsv:1: expected the columns premise, .*got \['source', 'text'"),
        (PAIRS.splitlines()[0], "p.tsv holds no sentence: an empty corpus cannot be used"),
        ("", r"p.tsv:1: expected the columns"),
    ],
)
def test_malformed_tsv_is_refused_with_file_and_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        corpora.load(file(tmp_path, "p.tsv", content))


def test_paragraphs_are_split_into_sentences(tmp_path):
    text = 'He said: "No." (Yes!) Dr. Who left? it rained. 3.5 more'
    as_tsv = corpora.load(file(tmp_path, "p.tsv", f"id\tparagraph\n7\t{text}\n8\t \n"))
    as_text = corpora.load(file(tmp_path, "p.txt", f"{text}\n\n"))
    assert [s.words for s in as_tsv.items] == [s.words for s in as_text.items]
    assert sum((s.words for s in as_text.items), ()) == corpora.words(text)
    assert as_tsv.items[0].id == "2.1" and as_text.items[0].id == "1.1"
    assert [s.words[0] for s in as_text.items] == ["He", "Who"]


def test_a_long_paragraph_is_read_whole(tmp_path):
    corpus = corpora.load(file(tmp_path, "p.tsv", "paragraph\n" + "word " * 40000 + "\n"))
    assert corpus.words == 40000


@given(st.text(st.sampled_from("aZé9 .!?\"'()\t\u00a0\u3000\u200b-_한\u0301"), max_size=60))
def test_sentence_splitting_loses_no_word(text):
    sentences = list(corpora._paragraph({"paragraph": text}, "", "1"))
    assert sum((s.words for s in sentences), ()) == corpora.words(text)
    assert "".join(corpora.words(text)) == "".join(text.split())
    assert all(s.words for s in sentences)


def squad(**changes):
    question = {"id": "q1", "question": "Who left?", "answers": []} | changes
    return {"data": [{"paragraphs": [{"context": "Ann left.", "qas": [question]}]}]}


def test_questions_are_read_with_their_context(tmp_path):
    corpus = corpora.load(file(tmp_path, "q.json.gz", json.dumps(squad(), indent=1)))
    assert corpus.items == (corpora.Pair("q1", ("Who", "left", "?"), ("Ann", "left", ".")),)
    assert corpus.words == 6


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"data": 1}', '{"data": [{}]}', json.dumps(squad(question=None)), '"data"']
)
def test_json_that_is_not_squad_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match=r"q.json is not SQuAD-format JSON \(data > paragraphs > context, qas\): "):
        corpora.load(file(tmp_path, "q.json", content))


@pytest.mark.parametrize("name", ["e.conllu", "e.txt", "e.txt.gz", "e.conllu.gz"])
def test_an_empty_file_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} holds no sentence"):
        corpora.load(file(tmp_path, name, "\n\n"))


def test_text_has_no_trees(tmp_path):
    with pytest.raises(ValueError, match=r"has no trees: a treebank \(CoNLL-U\) is needed here"):
        corpora.treebank(file(tmp_path, "p.txt", "One. Two."))
    with pytest.raises(ValueError, match="sample-nli:dev has no trees"):
        corpora.treebank("sample-nli:dev")


def test_the_digest_names_the_content_and_not_the_file(tmp_path):
    digests = [
        corpora.load(file(tmp_path, name, content)).digest
        for name, content in [
            ("a.conllu", SMALL),
            ("b.conllu.gz", SMALL),
            ("a.conllu", SMALL.replace("\tccomp\t", "\tobj\t")),
            ("a.conllu", SMALL.replace("said\tsay", "says\tsay")),
            ("a.conllu", SMALL.replace("= first", "= second")),
        ]
    ]
    assert digests[0] == digests[1] and len(set(digests)) == 4


def test_the_sample_is_written_once_and_whole(cache, monkeypatch):
    path = corpora.locate("sample-text").path
    assert path.is_relative_to(cache) and (path.parent / "complete").exists()
    monkeypatch.setattr(corpora.sample, "write", lambda folder: pytest.fail("written again"))
    assert corpora.locate("sample-nli:dev").path.parent == path.parent
    (path.parent / "complete").unlink()  # as after a kill in the middle
    monkeypatch.setattr(corpora.sample, "write", lambda folder: None)
    corpora.locate("sample-text")
    assert (path.parent / "complete").exists()


def test_every_registered_sample_corpus_is_read():
    for name, source in corpora.CORPORA.items():
        if source.home == "sample":
            assert all(corpora.load(f"{name}:{split}").words for split in source.files)


@pytest.mark.parametrize(
    ("reference", "items", "words"),
    [
        ("ewt:dev", 2001, 25147),
        pytest.param("ewt:train", 12544, 204577, marks=pytest.mark.slow),
        ("gum:dev", 1575, 28119),
        ("pud:test", 1000, 21180),
        ("mnli:train", 26542, None),
        ("mnli:dev", 7727, None),
    ],
)
def test_real_corpora_have_the_published_sizes(real_data, monkeypatch, reference, items, words):
    monkeypatch.setenv("BERT_REPRO_DATA", str(real_data))
    corpus = corpora.load(reference)
    assert len(corpus.items) == items and (words is None or corpus.words == words)


def test_a_corpus_given_as_a_file_is_the_registered_one(real_data, monkeypatch, tmp_path):
    monkeypatch.setenv("BERT_REPRO_DATA", str(real_data))
    shutil.copy(corpora.locate("pud").path, tmp_path / "other.conllu.gz")
    assert corpora.load(str(tmp_path / "other.conllu.gz")).digest == corpora.load("pud").digest
