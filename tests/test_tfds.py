"""Datasets of tensorflow-datasets: the same content through them and through a file is the same; what is not there is told."""

import gzip
import itertools
import json
import re
import tracemalloc
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from test_readers import PAIRS, SMALL, answer, file, load, squad

from bert_repro import corpora
from bert_repro.corpora import LABELS, tfds

TREES = SMALL.replace("\n\n1\tNew", "\n\n# sent_id = second\n1\tNew")
UD, SQUAD, MNLI, WIKI = "universal_dependencies/en_ewt", "squad/v1.1", "glue/mnli", "wiki40b/en"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Keep what is prepared apart, and everything off the network."""
    import tensorflow_datasets

    monkeypatch.setattr(tensorflow_datasets.core.constants, "DATA_DIR", str(tmp_path / "tfds"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    return tmp_path / "tfds"


# Without what they hold


@pytest.mark.parametrize("name", [UD, SQUAD, MNLI, WIKI])
def test_what_was_not_fetched_is_told_with_the_command(name, home):
    with pytest.raises(
        FileNotFoundError, match=f"dataset {name} is not in {home}/.*`python -m bert_repro fetch {name}`"
    ):
        corpora.locate(f"{name}:train")
    with pytest.raises(ValueError, match=f"'{name}' has no split 'validation': write one of"):
        corpora.locate(f"{name}:validation")
    assert not home.exists()


def test_every_registered_dataset_is_known_to_the_library_and_readable():
    registered = {name: source.files for name, source in corpora.CORPORA.items() if source.home == "tfds"}
    assert set(registered) == set(tfds._ROWS)
    for name in registered:
        assert tfds._builder(name).info.full_name.startswith(f"{name}/")


# What they hold: prepared for real, of files of our own


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Have a dataset prepared by the library from given files, named as those that it would download."""
    import tensorflow_datasets

    def local(manager, urls):
        if isinstance(urls, dict):
            return {name: local(manager, url) for name, url in urls.items()}
        return [local(manager, url) for url in urls] if isinstance(urls, list) else str(tmp_path / Path(urls).name)

    def go(name, files):
        for place, content in files.items():
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_text(content)
        with monkeypatch.context() as patch:
            patch.setattr(tfds, "_reach", lambda name, hosts: None)
            patch.setattr(tensorflow_datasets.download.DownloadManager, "download_and_extract", local)
            return corpora.fetch(name)

    return go


def trees(content):
    return {f"en_ewt-ud-{split}.conllu": content for split in ("train", "dev", "test")}


def questions(content):
    return {f"{split}-v1.1.json": json.dumps(content) for split in ("train", "dev")}


def pairs(**contents):
    """Lay out tables of pairs as GLUE does, without a section."""
    told = {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"}
    names = ("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched")
    return {
        f"MNLI.zip/MNLI/{name}.tsv": re.sub("|".join(told), lambda m: told[m[0]], contents.get(name, PAIRS), count=3)
        for name in names
    }


def by_id(items):
    return sorted(items, key=lambda item: item.id)  # the library stores rows in an order of its own


@pytest.mark.slow
def test_trees_are_those_of_the_file_and_what_is_no_word_is_counted(prepare, home, tmp_path):
    assert prepare(UD, trees(TREES)) == [home / UD / "1.0.1"]
    of_file = load(tmp_path / "en_ewt-ud-dev.conllu")
    for split in ("train", "dev", "test"):
        corpus = corpora.treebank(f"{UD}:{split}")
        assert by_id(corpus.items) == by_id(of_file.items)
        assert corpus.left_out == of_file.left_out == {"multiword ranges": 1, "empty nodes": 1}


@pytest.mark.slow
def test_real_trees_are_those_of_the_file(prepare):
    content = gzip.decompress(corpora.locate("ewt:dev").path.read_bytes()).decode()
    prepare(UD, trees(TREES) | {"en_ewt-ud-dev.conllu": content})
    there, here = corpora.load(f"{UD}:dev"), corpora.load("ewt:dev")
    assert by_id(there.items) == by_id(here.items) and there.left_out == here.left_out
    features = [[sentence.features for sentence in by_id(corpus.items)] for corpus in (there, here)]
    assert features[0] == features[1]  # sentences are compared without


@pytest.mark.slow
def test_questions_are_those_of_the_file(prepare, tmp_path):
    places = prepare(SQUAD, questions(squad()))
    assert corpora.fetch(SQUAD) == places  # again, without a network
    assert corpora.load(f"{SQUAD}:train").items == load(tmp_path / "train-v1.1.json").items
    assert corpora.census(f"{SQUAD}:dev").items == 1


@pytest.mark.slow
@pytest.mark.parametrize("order", list(itertools.permutations(LABELS))[::2])
def test_pairs_are_those_of_the_file_whatever_the_order_of_labels(prepare, tmp_path, monkeypatch, order):
    monkeypatch.setattr(tfds._builder(MNLI).builder_config, "label_classes", order)
    prepare(MNLI, pairs(train=PAIRS, dev_matched=PAIRS, dev_mismatched=PAIRS.replace("neutral", "entailment")))
    of_file = load(file(tmp_path, "p.tsv", PAIRS)).items
    for split, section in (("train", ""), ("matched", "matched")):
        read = by_id(corpora.load(f"{MNLI}:{split}").items)
        assert read == [replace(one, id=two.id, section=section) for one, two in zip(of_file, read, strict=True)]
    both = corpora.load(f"{MNLI}:dev")
    assert both.items == corpora.load(f"{MNLI}:matched").items + corpora.load(f"{MNLI}:mismatched").items
    assert [pair.label for pair in by_id(both.items)] == ["neutral", "contradiction", "entailment", "contradiction"]
    assert len({pair.id for pair in both.items}) == 4
    drawn, census = corpora.load(f"{MNLI}:dev[3]"), corpora.census(f"{MNLI}:dev")
    assert set(drawn.items) < set(both.items) and len(drawn.items) == 3
    assert (census.digest, census.items) == (both.digest, 4) and census != corpora.census(f"{MNLI}:train")
    assert corpora.census(f"{MNLI}:dev") is census


# Rows that are not as they should be


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        (UD, trees(TREES.replace("\t0\troot", "\t1\troot")), "row [01]: sentence '(first|second)' is not a tree: 0 roots"),
        (UD, trees(TREES.replace("\t3\taux", "\t0\taux")), "row [01]: sentence 'first' is not a tree: 2 roots"),
        (UD, trees(TREES.replace("\t3\taux", "\t2\taux").replace("\t3\tadvmod", "\t1\tadvmod")), "row [01]: .* its own"),
        (UD, trees(TREES.replace("\t3\taux", "\t_\taux")), "row [01]: head 'None' is not between 0 and 7"),
        (UD, trees("# sent_id = only\n1-2\tA\t" + "_\t" * 7 + "_\n\n"), "row 0: a sentence without words"),
        (SQUAD, questions(squad(answers=[])), "row 0: question 'q1' has no answers"),
        (SQUAD, questions(squad(answers=[answer("Ann", 2)])), "row 0: .*'Ann' should be in the context at character 2"),
        (MNLI, pairs(train=PAIRS.replace("No.", " ")), "row [01]: an empty premise or hypothesis"),
    ],
)  # fmt: skip
def test_a_malformed_row_is_refused_with_dataset_split_and_row(prepare, name, files, message):
    prepare(name, files)
    with pytest.raises(ValueError, match=f"^{name}:train, {message}"):
        corpora.load(f"{name}:train")


@pytest.mark.slow
def test_a_row_without_a_label_is_left_out_and_counted(prepare):
    prepare(MNLI, pairs(train=PAIRS + PAIRS.splitlines()[1].replace("neutral", "-1") + "\n"))
    corpus = corpora.load(f"{MNLI}:train")
    assert len(corpus.items) == 2 and corpus.left_out == {"rows labelled -1": 1}


@pytest.mark.slow
def test_memory_for_a_dataset_does_not_grow_with_it(prepare):
    prepare(MNLI, pairs(train=PAIRS + (PAIRS.splitlines()[1] + "\n") * 3000))
    stream = corpora.stream(f"{MNLI}:train")
    tracemalloc.start()
    assert sum(1 for _ in stream) == 3002
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


# Without a network


def test_what_cannot_be_reached_is_told_and_nothing_is_left(home):
    with pytest.raises(
        OSError, match=rf"dataset {MNLI} could not be fetched: none of \['https://.*Run again, or prepare"
    ):
        corpora.fetch(MNLI)
    assert not home.exists()


@pytest.mark.slow
def test_a_broken_download_is_told_and_nothing_is_taken_for_the_dataset(home, monkeypatch):
    import tensorflow_datasets

    def broken(manager, urls):
        raise tensorflow_datasets.download.DownloadError("HTTP code: 503.")

    monkeypatch.setattr(tfds, "_reach", lambda name, hosts: None)
    monkeypatch.setattr(tensorflow_datasets.download.DownloadManager, "download_and_extract", broken)
    with pytest.raises(OSError, match=f"dataset {SQUAD} could not be fetched: HTTP code: 503.. Run again"):
        corpora.fetch(SQUAD)
    assert not [*home.rglob("*3.0.0*")]
    with pytest.raises(FileNotFoundError, match="get it with"):
        corpora.locate(f"{SQUAD}:dev")


def test_a_dataset_that_would_have_to_be_built_with_a_library_that_is_missing_is_told(home, monkeypatch):
    builder = tfds._builder(WIKI)

    def build(self):
        raise ImportError("no module apache_beam")

    monkeypatch.setattr(tfds, "_reach", lambda name, hosts: None)
    monkeypatch.setattr(type(builder), "download_and_prepare", build)
    with pytest.raises(
        OSError, match=f"dataset {WIKI} could not be fetched: no module apache_beam. Run again, or prepare"
    ):
        corpora.fetch(WIKI)


def test_a_host_that_answers_at_all_is_there(monkeypatch):
    asked = []

    def urlopen(request, timeout):
        asked.append(request.full_url)
        if request.full_url == "https://a":
            raise urllib.error.URLError("unknown")
        raise urllib.error.HTTPError(request.full_url, 403, "no", {}, None)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    tfds._reach("x", ["https://a", "https://b", "https://c"])
    assert asked == ["https://a", "https://b"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        (
            MNLI,
            {"premise": "A cat sits.", "hypothesis": "It sits.", "label": 2, "idx": 7},
            corpora.Pair("train-7", ("A", "cat", "sits", "."), ("It", "sits", "."), "contradiction"),
        ),
        (
            SQUAD,
            {"id": "q", "title": "t", "question": "Who sits?", "context": "A cat sits.",
             "answers": {"text": ["A cat", "cat"], "answer_start": [0, 2]}},
            corpora.Question(
                "q", ("Who", "sits", "?"), ("A", "cat", "sits", "."), context="A cat sits.",
                offsets=((0, 1), (2, 5), (6, 10), (10, 11)), answers=(("A cat", 0), ("cat", 2)),
            ),
        ),
    ],
    ids=["pair", "question"],
)  # fmt: skip
def test_a_row_as_the_library_lays_it_out_becomes_an_item(name, row, expected):
    """The library's own mock, with its real features and an example that it could hold."""
    import tensorflow as tf
    import tensorflow_datasets

    def rows(builder, *_, **__):
        return tf.data.Dataset.from_generator(lambda: [row], output_signature=builder.info.features.get_tensor_spec())

    with tensorflow_datasets.testing.mock_data(as_dataset_fn=rows):
        assert [record() for record in tfds.records(name, "train", {})] == [expected]


ARTICLE = """
_START_ARTICLE_
Salt marsh
_START_SECTION_
Plants
_START_PARAGRAPH_
Glasswort grows low. It is eaten!_NEWLINE_Sea lavender flowers late; see _START_ here.
_START_SECTION_
Empty section
_START_SECTION_
Birds
_START_PARAGRAPH_
Redshanks nest here."""


@pytest.mark.slow
def test_articles_are_read_with_all_their_paragraphs_and_without_titles(home):
    """The library's own mock, with the features of the real dataset."""
    import tensorflow as tf
    import tensorflow_datasets

    articles = [{"wikidata_id": "Q1", "text": ARTICLE, "version_id": "7"},
                {"wikidata_id": "Q2", "text": "\n_START_ARTICLE_\nNothing\n", "version_id": "8"}]  # fmt: skip

    def rows(builder, *_, **__):
        spec = builder.info.features.get_tensor_spec()
        return tf.data.Dataset.from_generator(lambda: iter(articles), output_signature=spec)

    left_out: dict[str, int] = {}
    with tensorflow_datasets.testing.mock_data(as_dataset_fn=rows):
        records = [*tfds.records(WIKI, "train", left_out)]
    items = [record() for record in records if not isinstance(record, str)]
    assert [(item.id, " ".join(item.words)) for item in items] == [
        ("Q1.1.1", "Glasswort grows low ."),
        ("Q1.1.2", "It is eaten !"),
        ("Q1.2.1", "Sea lavender flowers late ; see _START_ here ."),
        ("Q1.3.1", "Redshanks nest here ."),
    ]
    assert Counter(record for record in records if isinstance(record, str)) == {"titles": 2, "headings": 3}
    assert left_out == {}


@pytest.mark.slow
def test_articles_are_streamed(home):
    """What the library makes up for text has no marker: nothing is read, and no article is held."""
    import tensorflow_datasets

    with tensorflow_datasets.testing.mock_data(num_examples=200):
        assert [record() for record in tfds.records(WIKI, "train", {})] == []


def test_a_dataset_that_is_only_fetched_as_built_is_looked_for_in_the_bucket(home):
    with pytest.raises(OSError, match=rf"dataset {WIKI} could not be fetched: none of \['https://storage"):
        corpora.fetch(WIKI)
    assert not home.exists()
