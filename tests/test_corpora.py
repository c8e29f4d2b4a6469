"""Corpora: a name gives the same content whichever way it is read; draws repeat; what is not there is told."""

import hashlib
import itertools
import os
import shutil
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from test_readers import PAIRS, SMALL, file

from bert_repro import corpora, readers
from bert_repro.__main__ import main
from bert_repro.study import ROOT


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
        ("sample-trees:dev[-300]", ValueError, "asks for 300 items, the corpus has 300"),
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
    others = corpora.load("sample-trees:dev[-50]").items
    assert len(others) == 250 and {*some.items, *others} == {*everything.items}


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
        patch.setattr(readers, "_lines", lambda path: pytest.fail("read again"))
        assert corpora.census(path) is first and corpora.digest(path) == first.digest
    file(tmp_path, "s.txt", "One. Two three four.")
    os.utime(path, ns=(0, 0))
    assert corpora.census(path).words == first.words + 1
    assert corpora.census(f"{path}[1]").items == 1


@pytest.mark.slow
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


def test_rows_are_filtered_by_a_column_and_counted(tmp_path, monkeypatch):
    file(tmp_path, "p.tsv.gz", PAIRS)
    source = corpora.Source("data", {"dev": "p.tsv.gz"}, "none", {"dev": {"source": "b"}})
    monkeypatch.setitem(corpora.CORPORA, "mine", source)
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path))
    corpus = corpora.load("mine:dev")
    assert [pair.id for pair in corpus.items] == ["3"] and corpus.left_out == {"rows not of b": 1}


def test_a_table_of_no_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="p.tsv holds no sentence: an empty corpus cannot be used"):
        corpora.load(file(tmp_path, "p.tsv", PAIRS.splitlines()[0]))


def test_the_sections_of_mnli_are_told_apart(real_data, monkeypatch):
    monkeypatch.setenv("BERT_REPRO_DATA", str(real_data))
    assert Counter(pair.section for pair in corpora.load("mnli:dev").items) == {"mismatched": 3912, "matched": 3815}


@pytest.mark.parametrize("name", ["e.conllu", "e.txt", "e.txt.gz", "e.conllu.gz"])
def test_an_empty_file_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} holds no sentence"):
        corpora.load(file(tmp_path, name, "\n\n"))


def test_text_has_no_trees(tmp_path):
    with pytest.raises(ValueError, match=r"has no trees: a treebank \(CoNLL-U\) is needed here"):
        corpora.treebank(file(tmp_path, "p.txt", "One. Two."))
    with pytest.raises(ValueError, match="sample-nli:dev has no trees"):
        corpora.treebank("sample-nli:dev")
    with pytest.raises(ValueError, match="sample-nli:dev is no corpus of single sentences"):
        corpora.sentences("sample-nli:dev")
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


def test_the_sample_is_written_once_and_whole(cache, monkeypatch):
    path = corpora.locate("sample-text").path
    assert path.is_relative_to(cache) and {p.name for p in path.parent.iterdir()} == set(corpora.sample.FILES)
    monkeypatch.setattr(corpora.sample, "write", lambda folder: pytest.fail("written again"))
    assert corpora.locate("sample-nli:dev").path.parent == path.parent


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
def test_real_corpora_have_the_published_sizes(real_data, monkeypatch, reference, items, words):
    monkeypatch.setenv("BERT_REPRO_DATA", str(real_data))
    corpus = corpora.load(reference)
    assert len(corpus.items) == items and (words is None or corpus.words == words)


def test_a_corpus_given_as_a_file_is_the_registered_one(real_data, monkeypatch, tmp_path):
    monkeypatch.setenv("BERT_REPRO_DATA", str(real_data))
    shutil.copy(corpora.locate("pud").path, tmp_path / "other.conllu.gz")
    assert corpora.load(str(tmp_path / "other.conllu.gz")).digest == corpora.load("pud").digest


def test_checksums_are_those_of_the_files_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path))
    for split in ("dev", "test"):
        path = tmp_path / "ud_ewt" / f"en_ewt-ud-{split}.conllu.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(split.encode())
    found = corpora.checksums(["ewt:test", "ewt:dev[5]", "ewt:dev", "sample-text", "a/file.txt"])
    assert found == {
        f"ud_ewt/en_ewt-ud-{split}.conllu.gz": hashlib.sha256(split.encode()).hexdigest() for split in ("dev", "test")
    }
    with pytest.raises(FileNotFoundError, match="check the data folder"):
        corpora.checksums(["ewt:train"])


@pytest.mark.slow
def test_the_files_behind_the_published_numbers_are_those_listed(monkeypatch, capsys, real_data):
    monkeypatch.setenv("BERT_REPRO_DATA", str(real_data))
    assert main(["study", str(ROOT / "studies" / "mini.yaml"), "--files"]) == 0
    assert capsys.readouterr().out == (ROOT / "results" / "mini" / "files.sha256").read_text()
