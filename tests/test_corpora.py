"""Corpora: a name gives the same content whichever way it is read; draws repeat; what is not there is told."""

import hashlib
import itertools
import json
import os
import shutil
import tracemalloc
import warnings
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
from test_readers import PAIRS, SMALL, file

from bert_repro import corpora
from bert_repro.__main__ import main
from bert_repro.corpora import counted, json_files, places, readers
from bert_repro.corpora.items import Labelled, Pair, Question, Sentence, from_json, to_json
from bert_repro.corpora.sources import Origin, Source
from bert_repro.files import CLONED, ROOT, sha256


@pytest.mark.parametrize(
    ("reference", "kind", "message"),
    [
        ("ewd:dev", ValueError, r"unknown corpus 'ewd': expected one of \['ewt', .*, a .conllu"),
        ("ewt", ValueError, r"'ewt' has no split None: write one of \['ewt:train'"),
        ("ewt:validation", ValueError, "has no split 'validation'"),
        ("ewt:dev[x]", ValueError, r"cannot read the corpus reference 'ewt:dev\[x\]': write name"),
        ("", ValueError, "cannot read the corpus reference ''"),
        ("nowhere.conllu", FileNotFoundError, "no corpus file nowhere.conllu"),
        ("ewt:dev[2002]", ValueError, r"ewt:dev\[2002\] asks for 2002 items, the corpus has 2001"),
        ("ewt:dev[0]", ValueError, "asks for 0 items"),
        ("ewt:dev[-2001]", ValueError, "asks for 2001 items, the corpus has 2001"),
    ],
)
def test_an_unknown_corpus_is_refused(reference, kind, message):
    with pytest.raises(kind, match=message):
        corpora.load(reference)


# ---- the texts of the clone


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with one small treebank for EWT's dev, listed with its checksum, and nothing else."""
    path = tmp_path / "data" / "ud_ewt" / "en_ewt-ud-dev.conllu.gz"
    path.parent.mkdir(parents=True)
    file(path.parent, path.name, SMALL)
    listed = f"{sha256(path)}  ud_ewt/{path.name}\n"
    (tmp_path / "data" / "files.sha256").write_text(listed)
    monkeypatch.setattr(places, "CLONED", tmp_path / "data")
    monkeypatch.delenv("BERT_REPRO_DATA", raising=False)
    return path


def test_every_file_of_data_is_listed_with_its_checksum():
    listed = dict(reversed(line.split("  ")) for line in (CLONED / "files.sha256").read_text().splitlines())
    there = {path.relative_to(CLONED).as_posix(): path for path in CLONED.rglob("*") if path.is_file()}
    assert {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items() if "/" in name
    } == listed
    assert set(there) - set(listed) == {"README.md", "files.sha256"}
    assert "data/** -text" in (ROOT / ".gitattributes").read_text().splitlines()


def test_a_file_of_the_clone_that_was_changed_is_refused(clone):
    assert len(corpora.load("ewt:dev").items) == 2
    clone.write_bytes(clone.read_bytes().replace(b"\n", b"\r\n") + b"\n")
    with pytest.raises(
        OSError, match=r"dev.conllu.gz is not the file that data/files.sha256 lists: .* line endings"
    ) as told:
        corpora.locate("ewt:dev")
    assert "Delete it and run `git checkout -- data/ud_ewt/en_ewt-ud-dev.conllu.gz`" in str(told.value)


def test_a_file_that_somebody_put_into_data_is_read(clone):
    file(clone.parent, "en_ewt-ud-test.conllu.gz", SMALL)
    assert len(corpora.load("ewt:test").items) == 2


def test_what_does_not_come_with_the_clone_is_read_from_the_added_folder(clone, tmp_path, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match=r"corpus ewt:test does not come with the clone: .* `make report DATA=/path/to/"
    ):
        corpora.load("ewt:test")
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path / "none"))
    for reference in ("ewt:dev", "ewt:test"):
        with pytest.raises(FileNotFoundError, match=r"the data folder '.*none' does not exist: correct DATA="):
            corpora.load(reference)
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path / "added"))
    folder = tmp_path / "added" / "ud_ewt"
    folder.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"corpus ewt:test should lie at .*en_ewt-ud-test.conllu.gz"):
        corpora.load("ewt:test")
    added = file(folder, "en_ewt-ud-test.conllu.gz", SMALL)
    assert str(corpora.locate("ewt:test").path) == added and corpora.locate("ewt:dev").path == clone


def test_the_clone_wins_and_another_file_is_told(clone, tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path / "added"))
    added = tmp_path / "added" / "ud_ewt" / clone.name
    added.parent.mkdir(parents=True)
    shutil.copy(clone, added)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert corpora.locate("ewt:dev").path == clone
    added.write_bytes(b"another")
    with pytest.warns(UserWarning, match=f"{added} is another file than {clone}: the one in the clone is read"):
        assert corpora.locate("ewt:dev").path == clone


@pytest.mark.slow
def test_every_split_in_the_clone_is_read():
    for name in filter(corpora.in_clone, corpora.CORPORA):
        assert all(corpora.census(f"{name}:{split}").words for split in corpora.CORPORA[name].files)


# ---- draws and streams


@pytest.mark.slow
def test_a_draw_repeats_and_keeps_the_order():
    everything, some = corpora.load("ewt:dev"), corpora.load("ewt:dev[50]")
    assert some == corpora.load("ewt:dev[50]") and len({item.id for item in some.items}) == 50
    places = [everything.items.index(item) for item in some.items]
    assert places == sorted(places) and places != list(range(50))
    assert some.split == "dev[50]" and some.digest != everything.digest
    assert 0 < some.left_out["multiword ranges"] < everything.left_out["multiword ranges"]
    assert corpora.load("ewt:dev[2001]").items == everything.items
    others = corpora.load("ewt:dev[-50]").items
    assert len(others) == 1951 and {*some.items, *others} == {*everything.items}


@pytest.mark.parametrize("reference", ["mnli:dev", "squad:dev", "wiki"])
def test_a_draw_is_the_one_it_always_was(reference):
    items = corpora.load(reference).items
    chosen = sorted(np.random.default_rng(0).choice(len(items), 20, replace=False))
    assert corpora.load(f"{reference}[20]").items == tuple(items[i] for i in chosen)


def test_a_draw_parses_no_more_than_it_takes(tmp_path, monkeypatch):
    path = file(tmp_path, "s.conllu", (SMALL + "\n") * 50)
    parsed, parse = [], readers._of_block
    monkeypatch.setattr(readers, "_of_block", lambda *given: parsed.append(given) or parse(*given))
    assert len(corpora.load(f"{path}[7]").items) == len(parsed) == 7


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


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["ewt:dev", "ewt:dev[30]", "mnli:dev[-7000]", "squad:dev[40]", "wiki"])
def test_a_stream_a_census_and_a_loaded_corpus_agree(reference):
    stream, corpus, census = corpora.stream(reference), corpora.load(reference), corpora.census(reference)
    assert (stream.name, stream.split) == (corpus.name, corpus.split) and tuple(stream) == corpus.items
    assert stream.left_out == corpus.left_out == census.left_out
    assert (census.digest, census.items, census.words) == (corpus.digest, len(corpus.items), corpus.words)
    assert census.digest == corpora.digest(reference)
    assert census.digest == hashlib.sha256("\n".join(map(repr, corpus.items)).encode()).hexdigest()


def test_what_a_draw_left_out_is_counted_of_the_draw(tmp_path):
    trees = file(tmp_path, "s.conllu", SMALL.replace("5.1\t", "8.1\t") + "\n" + SMALL)
    whole = corpora.load(trees)
    parts = [corpora.load(f"{trees}[{count}]").left_out for count in (1, -1)]
    assert whole.left_out == {"multiword ranges": 2, "empty nodes": 2}
    assert {name: sum(part[name] for part in parts) for name in whole.left_out} == whole.left_out
    rows = file(tmp_path, "p.tsv", PAIRS + PAIRS.splitlines()[1].replace("neutral", "-") * 1 + "\n")
    assert corpora.load(rows).left_out == {"rows labelled -": 1}
    assert corpora.load(f"{rows}[1]").left_out == {} and len(corpora.load(f"{rows}[2]").items) == 2


def test_what_is_left_out_is_counted_when_the_stream_ends(tmp_path):
    stream = corpora.stream(file(tmp_path, "s.conllu", (SMALL + "\n") * 3))
    next(stream)
    assert stream.left_out == {"multiword ranges": 1, "empty nodes": 1}
    assert len(list(stream)) == 5 and stream.left_out == {"multiword ranges": 3, "empty nodes": 3}


def test_a_corpus_is_counted_once_while_its_file_stays_as_it_is(tmp_path, monkeypatch):
    path = file(tmp_path, "s.txt", "One. Two three.")
    first = corpora.census(path)
    with monkeypatch.context() as patch:
        patch.setattr(readers, "lines", lambda path: pytest.fail("read again"))
        assert corpora.census(path) is first and corpora.digest(path) == first.digest
    monkeypatch.setattr(corpora, "_CENSUSES", {})  # as in another process
    with monkeypatch.context() as patch:
        patch.setattr(readers, "lines", lambda path: pytest.fail("read again"))
        again = corpora.census(path)
    assert again[:-1] == first[:-1] and np.array_equal(again.keys, first.keys) and len(first.keys) == 2
    with monkeypatch.context() as patch:  # by other readers it is counted anew
        patch.setattr(corpora, "_CENSUSES", {})
        patch.setattr(counted, "reader", lambda: "other")
        patch.setattr(readers, "lines", lambda path: iter([(1, "One.")]))
        assert corpora.census(path).items == 1
    file(tmp_path, "s.txt", "One. Two three four.")
    os.utime(path, ns=(0, 0))
    assert corpora.census(path).words == first.words + 1
    assert corpora.census(f"{path}[1]").items == 1


@pytest.mark.parametrize(
    "reference", ["ewt:dev[7]", "mnli:dev[5]", "squad:dev[4]", "wiki~mnli:dev[3]", "wiki~squad:dev[3]"]
)
def test_what_is_drawn_or_laid_out_is_looked_for_once(reference, monkeypatch):
    found = corpora.load(reference)
    with monkeypatch.context() as patch:
        for reader in (readers, json_files):
            patch.setattr(reader, "lines", lambda path: pytest.fail("read again"))
        again = corpora.load(reference)
    assert again == found and repr(again) == repr(found)
    afresh = corpora._read(reference, corpora.locate(reference))
    items = tuple(afresh)
    assert items == found.items and afresh.left_out == found.left_out
    assert corpora.digest(reference) == found.digest
    for one, other in zip(again.items, items, strict=True):
        assert [getattr(one, field.name) for field in fields(one)] == [
            getattr(other, field.name) for field in fields(other)
        ]


def test_an_item_is_what_it_was_after_it_was_written_down():
    spans = (Labelled((0, 1), (2, 3), ("A",)), Labelled((1, 2), None, ()))
    words = ("a", "\u00e9\ud800", "\n")
    sentence = Sentence(
        "1", words, (2, 0, 2), ("r",) * 3, ("U",) * 3, features=("", "Number=Sing", ""), spans=spans, document="d"
    )
    answered = Question("q", ("who",), ("a", "b"), context="a b", offsets=((0, 1), (2, 3)), answers=(("b", 2),))
    for item in (sentence, Pair("2", ("a",), (), "neutral", "matched"), answered):
        again = from_json(to_json(item))
        assert type(again) is type(item) and [getattr(again, f.name) for f in fields(item)] == [
            getattr(item, f.name) for f in fields(item)
        ]
    assert from_json(to_json(sentence)).spans[0].second == (2, 3)


def test_what_is_drawn_is_drawn_anew_from_a_changed_file(tmp_path):
    path = file(tmp_path, "s.txt", "One. Two three.")
    assert corpora.load(f"{path}[2]").words == 3 + 2
    file(tmp_path, "s.txt", "One. Two three four.")
    os.utime(path, ns=(0, 0))
    assert corpora.load(f"{path}[2]").words == 4 + 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s.conllu.gz", "s.tsv", "s.txt"])
def test_memory_for_a_stream_does_not_grow_with_the_corpus(tmp_path, name):
    peaks = []
    for count in (30, 300):
        text = {
            "s.conllu.gz": (SMALL + "\n") * count,
            "s.tsv": "paragraph\n" + "One. Two.\n" * count,
            "s.txt": "One. Two.\n" * count,
        }
        repeated = []
        for again in range(3):  # what other threads of this process allocate counts as well
            path = file(tmp_path, f"{again}-{name}", text[name])
            tracemalloc.start()
            assert corpora.census(path).items == 2 * count
            repeated.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        peaks.append(min(repeated))
    assert peaks[1] < 1.5 * peaks[0]


def test_the_only_split_needs_no_name():
    assert corpora.locate("wiki").split == "all" == corpora.locate("wiki:all").split


def test_rows_are_filtered_by_a_column_and_counted(tmp_path, monkeypatch):
    file(tmp_path, "p.tsv.gz", PAIRS)
    source = Source("data", {"dev": "p.tsv.gz"}, "none", True, Origin("", ""), {"dev": {"source": "b"}})
    monkeypatch.setitem(corpora.CORPORA, "mine", source)
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path))
    corpus = corpora.load("mine:dev")
    assert [pair.id for pair in corpus.items] == ["3"] and corpus.left_out == {"rows not of b": 1}


def test_a_table_of_no_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="p.tsv holds no sentence: an empty corpus cannot be used"):
        corpora.load(file(tmp_path, "p.tsv", PAIRS.splitlines()[0]))


def test_the_sections_of_mnli_are_told_apart():
    assert Counter(pair.section for pair in corpora.load("mnli:dev").items) == {"mismatched": 3912, "matched": 3815}


@pytest.mark.parametrize("name", ["e.conllu", "e.txt", "e.txt.gz", "e.conllu.gz"])
def test_an_empty_file_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} holds no sentence"):
        corpora.load(file(tmp_path, name, "\n\n"))


def test_text_has_no_trees(tmp_path):
    with pytest.raises(ValueError, match=r"has no trees: a treebank \(CoNLL-U\) is needed here"):
        corpora.treebank(file(tmp_path, "p.txt", "One. Two."))
    with pytest.raises(ValueError, match=r"mnli:dev\[60\] has no trees"):
        corpora.treebank("mnli:dev[60]")
    with pytest.raises(ValueError, match=r"mnli:dev\[60\] is no corpus of single sentences"):
        corpora.sentences("mnli:dev[60]")
    assert len(corpora.sentences(file(tmp_path, "p.txt", "One. Two.")).items) == 2


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


@pytest.mark.parametrize(
    ("reference", "items", "words"),
    [
        ("ewt:dev", 2001, 25147),
        pytest.param("ewt:train", 12544, 204577, marks=pytest.mark.slow),
        ("gum:dev", 1575, 28119),
        ("pud:test", 1000, 21180),
        ("squad:train", 11877, None),
        ("squad:extra", 3125, None),
        ("squad:dev", 3327, None),
        ("squadshifts-wiki", 7938, None),
        ("squadshifts-amazon", 2038, None),
        ("squadshifts-reddit", 2061, None),
        ("mnli:train", 26542, None),
        ("mnli:dev", 7727, None),
    ],
)
def test_real_corpora_have_the_published_sizes(request, monkeypatch, reference, items, words):
    if not corpora.in_clone(corpora.named(reference)):
        monkeypatch.setenv("BERT_REPRO_DATA", str(request.getfixturevalue("real_data")))
    corpus = corpora.load(reference)
    assert len(corpus.items) == items and (words is None or corpus.words == words)


def test_a_corpus_given_as_a_file_is_the_registered_one(tmp_path):
    shutil.copy(corpora.locate("pud").path, tmp_path / "other.conllu.gz")
    assert corpora.load(str(tmp_path / "other.conllu.gz")).digest == corpora.load("pud").digest


def test_checksums_are_those_of_the_files_that_are_read(clone, tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path / "added"))
    added = tmp_path / "added" / "ud_ewt" / "en_ewt-ud-test.conllu.gz"
    added.parent.mkdir(parents=True)
    added.write_bytes(b"test")
    assert corpora.checksums(["ewt:test", "ewt:dev[5]", "ewt:dev", "a/file.txt"]) == {
        f"ud_ewt/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in (clone, added)
    }
    with pytest.raises(FileNotFoundError, match="should lie at .*train"):
        corpora.checksums(["ewt:train"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mini", "minilm"])
def test_the_files_behind_the_published_numbers_are_those_listed_and_come_with_the_clone(name, monkeypatch, capsys):
    monkeypatch.delenv("BERT_REPRO_DATA", raising=False)
    assert main(["study", str(ROOT / "studies" / f"{name}.yaml"), "--files"]) == 0
    assert capsys.readouterr().out == (ROOT / "results" / name / "files.sha256").read_text()


@pytest.mark.parametrize("folder", ['a"b[c]', "per%20cent~tilde", "a:b", "it's {x} $HOME #1", "größe/漢字", "[5]", "~"])
def test_a_file_is_found_whatever_signs_are_in_its_path(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True)
    path = file(tmp_path / folder, "s.txt", "One. Two three. Four.")
    assert len(corpora.load(path).items) == 3 and len(corpora.load(f"{path}[2]").items) == 2
    assert corpora.columns(f"{path}[2]") == {"corpus": "s.txt", "split": "[2]"}
    assert str(corpora.Reference.parse(f"{path}[-1]")) == f"{path}[-1]"
    assert corpora.parts(f"{path}[2]~ewt:dev[2]") == [f"{path}[2]", "ewt:dev[2]"]
    assert corpora.parts(f"ewt:dev~{path}") == ["ewt:dev", path]


def test_what_comes_again_in_a_corpus_is_held_once(tmp_path):
    """A word, and a passage that several questions are about, also where others stand between them."""
    asked = [
        {"id": str(n), "question": f"What is {n}?", "answers": [{"text": "cat", "answer_start": 2}]} for n in range(4)
    ]
    passages = ["A cat sat.", "A cat ran off."] * 2
    content = {
        "data": [{"paragraphs": [{"context": text, "qas": [one]} for text, one in zip(passages, asked, strict=True)]}]
    }
    (tmp_path / "mine.json").write_text(json.dumps(content))
    read = corpora.load(str(tmp_path / "mine.json")).items
    assert list(read) == [*corpora.stream(str(tmp_path / "mine.json"))] and [one.context for one in read] == passages
    assert all(read[n].second is read[n + 2].second and read[n].offsets is read[n + 2].offsets for n in (0, 1))
    assert read[0].second[1] is read[1].second[1] and read[0].first[0] is read[3].first[0]
