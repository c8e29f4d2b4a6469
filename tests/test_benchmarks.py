"""Benchmarks: the published loop learns what ours learns, sides are measured apart, and the table says what is missed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch
from planted import States, bank_of, corpus, rows_of

from bert_repro import corpora
from bert_repro.files import ROOT
from bert_repro.probes.structural import StructuralProbe

sys.path.append(str(ROOT / "benchmarks"))

import base_size
import probes
import sides
import table
from beside import taken

GIB = 2**30


# ---- the published loop


def test_the_published_loop_has_our_losses_epoch_by_epoch(tmp_path):
    """Of one batch, whose order is all the same: from the same start, on sentences of many lengths, with the same optimiser."""
    banks, read = [], []
    for seed in (1, 2):
        sentences = corpus(20, (2, 15), seed)
        banks.append(bank_of(sentences))
        array = np.random.default_rng(seed).normal(size=(2, len(rows_of(sentences)), 12))
        array /= np.sqrt((array**2).mean(-1, keepdims=True))  # so that neither side has anything to scale
        read.append(States(array.astype(np.float32)))
    fitted = StructuralProbe("distance", [1], 5, epochs=4).fit(banks[0], read[0], banks[1], read[1])

    start = np.random.default_rng([1, 1]).uniform(-0.05, 0.05, (12, 5)).astype(np.float32)
    arrays = probes.laid_out(banks, read, 1) | {"start": start}
    np.savez(tmp_path / "arrays.npz", **arrays)
    pytorch.python()  # or the test is skipped
    published = sides.process(sides.TORCH, "hewitt_manning.py", tmp_path / "arrays.npz", 5, 4).values
    assert published["train_loss"] == pytest.approx(fitted.train_loss[:, 0], rel=1e-4)
    assert published["dev_loss"] == pytest.approx(fitted.dev_loss[:, 0], rel=1e-4)
    assert published["train_loss"][-1] < published["train_loss"][0] * (1 - 1e-4)  # it learns


# ---- sides


def test_sides_take_turns_and_medians_are_taken():
    said = []

    def side(name, seconds):
        def run():
            said.append(name)
            return sides.Took(seconds.pop(0), float(len(said)), {"round": len(said)})

        return run

    found = sides.alternate({"a": side("a", [1.0, 9.0, 2.0]), "b": side("b", [5.0, 4.0, 6.0])}, 3)
    assert said == ["a", "b"] * 3
    assert (found["a"].seconds, found["b"].seconds) == (2, 5)
    assert (found["a"].peak, found["b"].values) == (5, {"round": 6})


def test_a_side_that_fails_says_why():
    with pytest.raises(RuntimeError, match="hewitt_manning.py failed: (?s:.*)(No module named 'torch'|IndexError)"):
        sides.process(sides.OURS, "hewitt_manning.py")


def test_an_environment_that_is_not_there_is_told(tmp_path, capsys):
    assert sides.there(sides.OURS, "ours") and not capsys.readouterr().out
    assert not sides.there(tmp_path / "nowhere" / "bin" / "python", "theirs")
    assert "theirs: left out, as there is no nowhere" in capsys.readouterr().out


def test_peak_memory_is_of_what_was_held():
    code = (
        "import numpy as np, taken; before = taken.peak_memory(); held = np.ones(2**25); "  # 256 MiB, touched
        "print(taken.peak_memory() - before)"
    )  # in a process of its own, whose peak no other test has raised
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(taken.__file__).parent, capture_output=True, text=True, check=True
    )
    assert 250 < float(done.stdout) < 300


# ---- the table


def row(ratio, aim=None, ours="ours"):
    return table.Row(ours, 1.0, "theirs", ratio, aim)


def test_the_table_says_which_aims_are_missed_and_those_come_first(tmp_path):
    path = tmp_path / "bench.csv"
    table.write("one", [row(25, 20), row(3, None, "without an aim")], path=path)
    table.write("other", [row(0.5, 1)], path=path)
    assert pd.read_csv(path)["verdict"].fillna("").tolist() == ["met", "", "missed"]
    head, first, second = table.aims(path)
    assert head == "1 of 2 aims are missed"
    assert first.startswith("missed  0.5 times, aim 1: other, ours; beside: theirs (small,")
    assert second.startswith("met     25 times, aim 20: one, ours")


def test_a_benchmark_replaces_its_rows_of_its_size_and_no_others(tmp_path):
    path = tmp_path / "bench.csv"
    table.write("one", [row(1), row(2, ours="gone")], path=path)
    table.write("one", [row(3)], full=True, path=path)
    table.write("other", [row(4)], path=path)
    table.write("one", [row(5)], path=path)
    table.write("one", [], path=path)  # its environment is not there
    found = pd.read_csv(path)
    assert [*zip(found["benchmark"], found["size"], found["ratio"], strict=True)] == [
        ("one", "full", 3), ("one", "small", 5), ("other", "small", 4),
    ]  # fmt: skip


# ---- a job's memory

of_linux = pytest.mark.skipif(not Path("/proc").is_dir(), reason="what processes hold is read from /proc")

HOLDS = "import time; held = bytearray({}); held[::4096] = b'x' * len(held[::4096]); time.sleep(1)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLDS.format(3 * GIB // 10)!r}]); {HOLDS.format(GIB // 10)}"


@pytest.mark.slow
@of_linux
def test_a_jobs_memory_is_that_of_all_its_processes(tmp_path):
    found = base_size.held([sys.executable, "-c", PARENT], 4e9, dict(os.environ), tmp_path)
    assert not found.over and not found.failed
    assert 0.3 * GIB < found.peak < 0.45 * GIB  # the child's, beside a parent that holds nothing yet


@of_linux
def test_a_job_over_its_limit_is_ended(tmp_path):
    found = base_size.held([sys.executable, "-c", PARENT], 0.2e9, dict(os.environ), tmp_path)
    assert found.over and found.seconds < 30


@of_linux
def test_a_job_that_fails_says_why(tmp_path):
    found = base_size.held([sys.executable, "-c", "raise SystemExit('not today')"], 4e9, dict(os.environ), tmp_path)
    assert found.failed == "not today" and not found.over


@pytest.mark.parametrize("reference", ["mnli:dev[200]", "squad:dev[200]"])
def test_the_longest_items_are_read_back_as_they_were(reference, tmp_path):
    items = list(corpora.stream(reference))
    longest = list(corpora.stream(base_size.longest(reference, tmp_path)))
    lengths = [len(one.first) + len(one.second) for one in longest]
    assert len(longest) == base_size.LONGEST
    assert lengths == sorted((len(one.first) + len(one.second) for one in items), reverse=True)[: base_size.LONGEST]
    assert {(one.first, one.second, one.label) for one in longest} <= {(i.first, i.second, i.label) for i in items}
