"""Text for pre-training: what shares 13 words in a row with an evaluation goes, nothing else; the rest is parted and repeats."""

import gzip
import itertools
import json
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import fails
from test_readers import file, line

from bert_repro import corpora
from bert_repro.__main__ import main
from bert_repro.corpora import cleaning
from bert_repro.corpora.cleaning import RUN, Runs, prepare

WORDS = [f"w{n}" for n in range(RUN)]
RUN_TEXT = " ".join(WORDS)


def read(folder, name):
    """Give the documents of a written file, each a list of paragraphs."""
    text = gzip.decompress((folder / f"{name}.txt.gz").read_bytes()).decode()
    return [document.split("\n") for document in text.removesuffix("\n\n").split("\n\n")]


def shared(folder, reference, paragraphs):
    runs = Runs()
    runs.add(reference, 0)
    return runs.shared(paragraphs)


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not(tmp_path):
    reference = file(tmp_path, "r.txt", f"before {RUN_TEXT} after\n")
    twelve = " ".join([*WORDS[:6], "x", *WORDS[6:]]), " ".join(WORDS[1:]), " ".join(reversed(WORDS))
    assert shared(tmp_path, reference, [f"x {RUN_TEXT} y", *twelve, "", RUN_TEXT]) == [1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "text",
    [
        RUN_TEXT.upper(),
        ", ".join(WORDS) + ".",
        "--".join(WORDS),
        "(" + "_".join(WORDS) + ")",
    ],
)
def test_case_and_punctuation_do_not_count(tmp_path, text):
    assert shared(tmp_path, file(tmp_path, "r.txt", RUN_TEXT), [text]) == [1]
    assert shared(tmp_path, file(tmp_path, "r.txt", text), [RUN_TEXT]) == [1]


def test_words_of_any_script_count_however_they_are_composed(tmp_path):
    words = ["Élan", "жизнь", "κόσμος", "naïve", "42", "ño", "日本", "ärger", "über", "é", "ça", "öl", "šok"]
    decomposed = " ".join(words).replace("É", "E\u0301").replace("é", "e\u0301")
    reference = file(tmp_path, "r.txt", " ".join(words))
    assert shared(tmp_path, reference, [decomposed.upper(), " ".join(words[1:])]) == [1, 0]


def test_a_run_goes_on_across_the_ends_of_paragraphs_but_not_of_documents(tmp_path):
    halves = " ".join(WORDS[:7]), " ".join(WORDS[7:])
    parted, joined = (
        file(tmp_path, name, between.join(halves)) for name, between in [("p.txt", "\n\n"), ("j.txt", "\n")]
    )
    assert shared(tmp_path, joined, ["x", *halves, "y"]) == [0, 1, 1, 0]
    assert shared(tmp_path, parted, [RUN_TEXT]) == [0]
    prepared = file(tmp_path, "t.txt", "\n\n".join([*halves, "\n".join(halves)]))
    prepare([prepared], tmp_path / "out", [joined])
    assert sorted(read(tmp_path / "out", "train")) == sorted([[halves[0]], [halves[1]]])


def test_what_a_treebank_cuts_off_is_put_back(tmp_path):
    words = ["I", "do", "n't", *WORDS[:10]]
    tree = "\n".join(line(number, word, number - 1) for number, word in enumerate(words, 1))
    assert shared(tmp_path, file(tmp_path, "t.conllu", tree + "\n"), ["I don't " + " ".join(WORDS[:10])]) == [1]


@pytest.mark.parametrize(("side", "bits"), [("premise", [1, 0]), ("hypothesis", [1, 0]), ("both", [0, 0])])
def test_the_sides_of_a_pair_are_texts_of_their_own(tmp_path, side, bits):
    halves = " ".join(WORDS[:7]), " ".join(WORDS[7:])
    cells = {"premise": (RUN_TEXT, "x"), "hypothesis": ("x", RUN_TEXT), "both": halves}[side]
    row = "\t".join([*cells, "neutral"])
    reference = file(tmp_path, "p.tsv", f"premise\thypothesis\tlabel\n{row}\n")
    assert shared(tmp_path, reference, [RUN_TEXT, "x"]) == bits


def test_questions_and_their_contexts_count(tmp_path):
    other = " ".join(f"v{n}" for n in range(RUN))
    asked = {"id": "q", "question": other, "answers": [{"text": "w0", "answer_start": 0}]}
    data = {"data": [{"title": "t", "paragraphs": [{"context": RUN_TEXT, "qas": [asked]}]}]}
    assert shared(tmp_path, file(tmp_path, "q.json", json.dumps(data)), [other, "w0 v1", RUN_TEXT]) == [1, 0, 1]


def naive(references, paragraphs):
    """Compare every run of a document with every one of the references, letter by letter."""

    def words(text):
        return re.findall("[a-z0-9]+", text.lower())

    def runs(text):
        return {tuple(text[start : start + RUN]) for start in range(len(text) - RUN + 1)}

    known = set().union(*(runs(words(text)) for text in references))
    owned = [(word, number) for number, text in enumerate(paragraphs) for word in words(text)]
    gone = {
        number
        for start in range(len(owned) - RUN + 1)
        if tuple(word for word, _ in owned[start : start + RUN]) in known
        for _, number in owned[start : start + RUN]
    }
    return [int(number in gone) for number in range(len(paragraphs))]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_it_finds_what_a_comparison_of_all_with_all_finds(tmp_path_factory, seed):
    draw = random.Random(seed)

    def text(longest):
        return draw.choice([" ", ", "]).join(draw.choices(["a", "A", "b"], k=draw.randrange(1, longest)))

    references, paragraphs = [text(40) for _ in range(4)], [text(25) for _ in range(6)]
    for number in range(0, 6, 2):  # so many runs of two words are shared by chance that these are seldom needed
        paragraphs[number] += " c " + draw.choice(references)
    path = file(tmp_path_factory.mktemp("naive"), "r.txt", "\n\n".join(references))
    assert shared(None, path, paragraphs) == naive(references, paragraphs)


@pytest.fixture
def texts(tmp_path):
    """Write two sources of 40 and 10 documents of two paragraphs, all different, and give their folder."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, count in [("a", 40), ("b", 10)]:
        file(folder, f"{name}.txt.gz", "\n\n".join(f"{name}{n} first\n{name}{n} second part" for n in range(count)))
    return folder


def test_every_document_is_trained_on_or_held_out_and_counted(texts, tmp_path):
    told = prepare([str(texts)], tmp_path / "out", held_out=7)
    train, dev = read(tmp_path / "out", "train"), read(tmp_path / "out", "dev")
    originals = [[text for _, text in document] for document in corpora.documents(corpora.paragraphs(str(texts)))]
    assert sorted(train + dev) == sorted(originals) and len(dev) == 7
    assert train != [document for document in originals if document in train]
    by_source = {name: read(tmp_path / "out", f"dev-{name}") for name in "ab"}
    assert sorted(itertools.chain(*by_source.values())) == sorted(dev)
    assert all(document[0].startswith(name) for name, part in by_source.items() for document in part)
    assert told == json.loads((tmp_path / "out" / "counts.json").read_text())
    assert told["sources"]["a"]["before"] == {"documents": 40, "paragraphs": 80, "words": 200}
    assert [told["sources"][name]["held_out"]["documents"] for name in ("a", "b", "all")] == [6, 1, 7]


def test_what_matches_is_counted_by_reference(texts, tmp_path):
    document = [f"a3 first\na3 second part {RUN_TEXT}", RUN_TEXT, "kept"]
    file(texts, "c.txt", "\n\n".join(document))
    references = [
        file(tmp_path, "one.txt", RUN_TEXT),
        file(tmp_path, "two.txt", " ".join(["part", *WORDS[:-1]])),
        file(tmp_path, "no.txt", "x"),
    ]
    told = prepare([str(texts)], tmp_path / "out", references)["sources"]
    assert told["c"]["matched"] == told["all"]["matched"] == {"one.txt": 2, "two.txt": 1, "no.txt": 0}
    assert told["c"]["before"] == {"documents": 3, "paragraphs": 4, "words": 32}
    assert told["c"]["after"] == {"documents": 2, "paragraphs": 2, "words": 3}
    assert ["a3 first"] in read(tmp_path / "out", "train") and ["kept"] in read(tmp_path / "out", "train")


def test_the_same_seed_gives_the_same_bytes_and_another_another_order(texts, tmp_path):
    for name, seed in [("one", 0), ("two", 0), ("three", 1)]:
        prepare([str(texts)], tmp_path / name, held_out=5, seed=seed)
    written = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two", "three")
    ]
    assert set(written[0]) == {"train.txt.gz", "dev.txt.gz", "dev-a.txt.gz", "dev-b.txt.gz", "counts.json"}
    assert written[0] == written[1] and written[0]["train.txt.gz"] != written[2]["train.txt.gz"]
    assert sorted(read(tmp_path / "one", "train") + read(tmp_path / "one", "dev")) == sorted(
        read(tmp_path / "three", "train") + read(tmp_path / "three", "dev")
    )


def test_sources_are_named_as_files_may_be():
    named = [
        name for text in ("a/b.c.txt.gz", "t.conllu[20]", "wiki40b/en:train[-5]") for name, _ in cleaning._sources(text)
    ]
    assert named == ["b.c", "t-20", "wiki40b-en-train--5"]


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 50), min_size=1), st.integers(0, 200))
def test_shares_are_in_proportion(documents, count):
    total = sum(documents.values())
    if count >= total:
        with pytest.raises(ValueError, match=f"cannot hold out {count} of the {total} documents that are left"):
            cleaning._shares(documents, count)
    else:
        shares = cleaning._shares(documents, count)
        assert sum(shares.values()) == count
        assert all(abs(share - count * documents[source] / total) < 1 for source, share in shares.items())
        assert all(0 <= share <= documents[source] for source, share in shares.items())


def test_a_folder_that_holds_something_is_left_alone(texts, capsys):
    before = {path.name for path in texts.iterdir()}
    message = fails(capsys, "text", texts, "--out", texts)
    assert "texts is there and not empty: name a new folder, or remove that one" in message
    assert {path.name for path in texts.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--held-out", "50"], "cannot hold out 50 of the 50 documents that are left: one must remain to train on"),
        (["--held-out", "-1"], "cannot hold out -1 of the 50 documents"),
        (["--without", "no.txt"], "no corpus file no.txt"),
    ],
)
def test_what_cannot_be_prepared_is_told_and_nothing_left_behind(texts, capsys, tmp_path, arguments, message):
    assert message in fails(capsys, "text", texts, "--out", tmp_path / "out", *arguments)
    assert {path.name for path in tmp_path.iterdir()} == {"texts"}


def test_the_command_prepares_and_counts(texts, capsys, tmp_path):
    reference = file(tmp_path, "r.txt", RUN_TEXT)
    file(texts, "c.txt", RUN_TEXT)
    options = ["--without", reference, "--held-out", "5", "--seed", "3"]
    assert main(["text", str(texts), "--out", str(tmp_path / "new" / "out"), *options]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == str(tmp_path / "new" / "out") and len(out) == 5
    assert " ".join(out[3].split()) == "all 263 words read, 250 words kept, 5 documents held out"


@pytest.mark.slow
def test_numbers_of_runs_do_not_collide():
    words = np.random.default_rng(0).integers(0, 50, 300_000).tolist()  # small numbers, as frequent words have
    assert len(set(cleaning._runs(words))) == len(words) - RUN + 1
