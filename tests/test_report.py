"""A reader's own encoder goes through a whole study; a second report does nothing, a change reruns what depends on it."""

import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
from filelock import FileLock

from bert_repro import checkpoints, states
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.files import ROOT
from bert_repro.workflow import names
from bert_repro.workflow import study as studies
from bert_repro.workflow.own import Own

pytestmark = pytest.mark.slow

STUDY = """\
name: reader_test
title: a reader's own encoder
base: tiny
tasks:
  - {task: nli, train: "mnli:train[32]", dev: "mnli:dev[12]", updates: 4, batch_size: 8, seeds: [1]}
similarity:
  corpora: ["ewt:dev[60]"]
  words: 200
structural_probe:
  train: "ewt:test[60]"
  dev: "ewt:dev[60]"
  test: "ewt:test[60]"
  rank: 8
  epochs: 1
chapters: [hidden_states]
resamples: 100
"""
SIMILAR = ["similarity-base-nli-1", "similarity-base-untrained"]
PROBES = ["structural_probe-base", "structural_probe-nli-1", "structural_probe-untrained"]
RUNS = ["finetune-nli-1", *SIMILAR, "states-base", "states-nli-1", "states-untrained", *PROBES]

CHAPTERS = ["hidden_states", *names.END, "index", "compare", "reproduce"]


class Clone:
    """A copy of the project, with a study and an encoder that lie outside it, as a reader's do."""

    def __init__(self, folder: Path):
        self.root, self.study, self.base = folder / "clone", folder / "reader.yaml", folder / "my bert"
        ignored = shutil.ignore_patterns("build", "mini", "minilm", "shared", ".*", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT, self.root, ignore=ignored)
        self.study.write_text(STUDY)
        tiny = checkpoints.open("tiny")
        config = tiny.config
        self.base.mkdir()
        Checkpoint.write(self.base, config, random_weights(config, 7, 0.1), tiny, {})
        self.name = studies.load(
            self.study, Own(base=str(self.base))
        ).name  # a base of one's own makes it another study
        self.out = self.root / "build" / self.name
        self.book = self.out / "book" / "_build" / "html"
        self.done: set[str] = set()  # runs, when the first report was killed

    def start(self, *more: str) -> subprocess.Popen:
        """Begin a report, from a folder that is not the project's."""
        command = [sys.executable, "-m", "bert_repro", "report", self.study.name, "--base", str(self.base)]
        environment = os.environ | {"PYTHONPATH": str(self.root)}
        with open(self.study.with_suffix(".log"), "w") as log:
            return subprocess.Popen(
                [*command, *more],
                cwd=self.study.parent,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def report(self, *more: str, status: int = 0) -> str:
        """Make the report; give what it said."""
        code = self.start(*more).wait(timeout=600)
        said = self.said()
        assert code == status, said[-5000:]
        return said

    def said(self) -> str:
        return self.study.with_suffix(".log").read_text()

    def times(self) -> dict[str, int]:
        """Tell when each executed notebook and the book was made."""
        pages = [
            *self.out.glob("runs/[a-z]*.ipynb"),
            *self.out.glob("chapters/**/[a-z]*.ipynb"),
            self.book / "index.html",
        ]
        return {page.stem if page.suffix == ".ipynb" else "book": page.stat().st_mtime_ns for page in pages}

    def states(self) -> set[str]:
        """Name the models whose states are in the store."""
        names = {
            str(self.base): "base",
            f"untrained:{self.base}": "untrained",
            f"build/{self.name}/models/nli-1": "nli-1",
        }
        return {names[model] for model in set(states.stored()["model"]) & set(names)}

    def remade(self, before: dict[str, int]) -> set[str]:
        return {name for name, moment in self.times().items() if before.get(name) != moment}

    def edit(self, notebook: str, code: str) -> None:
        """Put a line at the end of a notebook's imports."""
        path = self.root / "notebooks" / f"{notebook}.ipynb"
        content = nbformat.read(path, 4)
        (imports, *_) = [cell for cell in content.cells if "Recorder(" in cell.source]
        imports.source = re.sub(r"\n# edited.*|$", "", imports.source, count=1, flags=re.S) + f"\n# edited\n{code}"
        nbformat.write(content, path)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone whose first report was killed in the middle, and finished by a second that shared the reading out."""
    clone = Clone(tmp_path_factory.mktemp("reader"))
    running = clone.start()
    deadline = time.monotonic() + 300
    while not list(clone.out.glob("tables/[a-z]*.parquet")) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert running.poll() is None, clone.said()
    started = psutil.Process(running.pid).children(recursive=True)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    psutil.wait_procs(started, timeout=60)  # a kernel is in no group of its parent's: it may still end what it does
    clone.done = {path.stem for path in clone.out.glob("tables/[a-z]*.parquet")}
    assert not clone.book.exists()
    clone.report("--parts", "2")
    return clone


def test_a_killed_report_goes_on_without_unlocking(clone):
    assert set(clone.times()) == {*RUNS, *CHAPTERS, "life", "parity", "book"}
    done = [path.name for path in clone.out.rglob("*") if "partial" in path.name or "failed" in path.name]
    assert done == []
    with FileLock(clone.root / "build" / ".report.lock", timeout=0):  # nobody holds it
        pass


def test_hidden_states_were_read_out_in_parts_before_what_reads_them(clone):
    left = [
        run for run in RUNS if run.startswith("states-") and run not in clone.done
    ]  # of others, nothing need be there
    names = [f"{run}-{part}-of-2" for run in left for part in (1, 2)]
    assert "states-nli-1" in left
    made = {path.name: path.stat().st_mtime_ns for path in (clone.out / "parts").glob("*")}
    assert sorted(made) == sorted(names)
    assert max(made.values()) < min(
        clone.times()[run] for run in RUNS if run not in clone.done and not run.startswith("finetune")
    )


def test_states_of_tuned_models_are_dropped_when_all_have_read_them_and_others_stay(clone):
    assert clone.states() == {"base", "untrained"}
    dropped = clone.out / "dropped" / "states-nli-1"
    readers = ["states-nli-1", "similarity-base-nli-1", "structural_probe-nli-1"]
    assert dropped.stat().st_mtime_ns > max(clone.times()[name] for name in readers)


def test_tables_hold_the_study_and_its_models(clone):
    from bert_repro.results import tables

    table = tables.merge(clone.out / "tables")
    assert list(table.columns) == [*tables.COLUMNS, "replicates"]
    assert set(table["study"]) == {clone.name}
    assert {path.stem for path in clone.out.glob("tables/*.parquet") if len(path.suffixes) == 1} == set(RUNS)
    similar = table[table["notebook"] == "similarity"]
    assert set(zip(similar["model"], similar["role"], similar["reference_model"], strict=True)) == {
        ("nli-1", "score", "base"),
        ("nli-1", "floor", "base"),  # shuffled words, second sample
        ("untrained", "floor", "base"),
        ("base", "floor", "layer below"),
    }
    probes = table[(table["notebook"] == "structural_probe") & (table["role"] != "baseline")]
    assert set(zip(probes["model"], probes["role"], strict=True)) == {
        ("base", "score"),
        ("nli-1", "score"),
        ("untrained", "control"),
    }
    assert set(table["layer"].dropna()) == {0, 1, 2}
    tuned = table[table["model"] == "nli-1"]
    assert set(tuned["task"]) == {"nli"} and set(tuned["seed"]) == {1}
    assert set(tuned["updates"][tuned["method"] != "weights along the way"]) == {4}
    assert (table["ci_low"] <= table["ci_high"]).all()
    csv = pd.read_csv(clone.out / "tables" / f"{SIMILAR[0]}.csv")
    exact = tables.read(clone.out / "tables" / f"{SIMILAR[0]}.parquet")["value"]
    np.testing.assert_allclose(csv["value"], exact, rtol=1e-6)  # people get seven digits


def test_manifests_say_what_went_in_and_no_path_but_the_readers(clone):
    digest = Checkpoint(clone.base).weights_digest
    for name in RUNS:
        text = (clone.out / "tables" / f"{name}.manifest.json").read_text()
        manifest = json.loads(text)
        assert manifest["parameters"]["study"] == clone.name and manifest["parameters"]["resamples"] == 100
        assert re.search(r"[0-9a-f]{64}", json.dumps(manifest["inputs"]))
        assert {"commit", "packages", "machine", "seconds", "python"} <= set(manifest)
        assert re.findall(r'"(?:untrained:)?(/[^"]*)"', text.replace(str(clone.base), "")) == []
        assert str(clone.root) not in text
    finetune = json.loads((clone.out / "tables" / "finetune-nli-1.manifest.json").read_text())
    assert finetune["inputs"]["weights"] == digest
    for page in clone.out.glob("runs/*.ipynb"):
        assert str(clone.root) not in page.read_text()


def test_the_base_with_itself_is_shown_as_one(clone):
    notebook = nbformat.read(clone.out / "runs" / f"{SIMILAR[0]}.ipynb", 4)
    (cell,) = [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and "pivot" in cell.source and "itself" in cell.source
    ]
    (shown,) = [output["data"]["text/plain"] for output in cell.outputs if "data" in output]
    numbers = re.findall(r"^(?:rsa|cosine) +(.*)$", shown, re.M)
    assert len(numbers) == 2 and all(line.split() == ["1.0", "1.0", "1.0"] for line in numbers)


def test_the_book_is_there_with_every_run(clone):
    index = (clone.book / "index.html").read_text()
    assert f"Your run: study {clone.name}, " in index  # the banner: no setting of the paper
    assert {page.stem for page in (clone.book / "yours" / "runs").glob("*.html")} == set(RUNS)
    assert "0 stale" in (clone.book / "yours" / "runs.html").read_text()
    words = (clone.book / "yours" / "hidden_states.html").read_text()
    assert "wordpieces per word" in words and "multiword ranges" in words and "ewt:dev[60]" in words


def test_the_checkpoint_says_where_it_comes_from(clone):
    record = Checkpoint(clone.out / "models" / "nli-1").record
    assert record == {"base": str(clone.base), "task": "nli", "seed": 1, "updates": 4, "layers_changed": "all"}


@pytest.mark.parametrize("parts", [[], ["--parts", "2"], ["--parts", "3"], ["--jobs", "1"], ["--keep-states"]])
def test_a_second_report_runs_nothing_in_parts_or_whole(clone, parts):
    before, begin = clone.times(), time.monotonic()
    said = clone.report(*parts)
    assert time.monotonic() - begin < 30
    assert clone.remade(before) == set()
    assert not re.search(r"Finished job|cell/s|reading sources", said)
    assert said.rstrip().endswith("index.html")
    assert clone.states() == {"base", "untrained"}


def test_the_whole_site_can_be_had_in_one_file(clone):
    before = clone.times()
    said = clone.report("--archive")
    assert not re.search(r"Finished job|cell/s|reading sources", said) and clone.states() == {"base", "untrained"}
    assert clone.remade(before) == set() and f"the same in one file: clone/build/{clone.name}/{clone.name}.zip" in said
    with zipfile.ZipFile(clone.out / f"{clone.name}.zip") as packed:
        names = {name for name in packed.namelist() if not name.endswith("/")}
        assert packed.read("index.html") == (clone.book / "index.html").read_bytes()
    assert names == {path.relative_to(clone.book).as_posix() for path in clone.book.rglob("*") if path.is_file()}


def test_a_failing_notebook_keeps_its_siblings_and_what_changed_is_run_again_with_what_depends_on_it(clone):
    before = clone.times()
    clone.edit("similarity", "raise ValueError('no such luck')")
    clone.study.write_text(clone.study.read_text().replace("rank: 8", "rank: 6"))
    said = clone.report("--keep-states", status=1)
    mine = [line for line in said.splitlines() if line.startswith("bert_repro: ")]
    assert sum("notebooks/similarity.ipynb, cell 3 of 21: ValueError: no such luck" in line for line in mine) == len(
        SIMILAR
    )
    assert mine[-1].startswith("bert_repro: the report is not complete: the first error stands above")
    assert "Traceback" not in said
    failed = {f"{name}.failed" for name in SIMILAR}
    assert clone.remade(before) - failed == set(PROBES)  # another rank; the siblings ran all the same
    assert clone.states() == {"base", "untrained", "nli-1"}  # computed again for the probe
    clone.edit("similarity", "edited = True")
    before = clone.times()
    clone.report()
    assert clone.remade(before) == {*SIMILAR, *CHAPTERS, "book"}
    assert not list(clone.out.rglob("*.failed.ipynb"))
    assert clone.states() == {"base", "untrained", "nli-1"}  # what was to be kept is not dropped by a later report


# nbval


def sanitised(text: str) -> str:
    """Apply tests/sanitise.cfg as nbval does."""
    config = configparser.RawConfigParser()
    config.read(ROOT / "tests" / "sanitise.cfg")
    for name in config.sections():
        text = re.sub(config.get(name, "regex"), config.get(name, "replace"), text)
    return text


@pytest.mark.parametrize(
    "line",
    [
        "0.8312",
        "uuas 0.712 [0.70, 0.72]",
        "7 layers",
        "layer 3: -0.25",
        "2020",
        "1e-05  3.5e+02",
        "wiki: 501 words in 60 sentences",
        "12 rows; no `output` parameter was given, so nothing was written",
        "0 items left out (longer than the task's length limit)",
        "rsa     1.0  1.0  1.0",
        "nli/parsing 1/2",
        '{"y": [0.25, 0.5], "x": [0, 1, 2]}',
        "2020-12",
    ],
)
def test_no_result_is_sanitised(line):
    assert sanitised(line) == line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('id="0f8fad5b-d9cb-469f-a165-70867728950e" 0.5', 'id="UUID" 0.5'),
        ("at 2026-11-23T23:42:29+00:00: 0.5", "at TIME: 0.5"),
        ("written to /tmp/pytest-1/x.parquet 0.5", "written to PATH 0.5"),
        ("12.5 seconds, 0.5", "DURATION, 0.5"),
    ],
)
def test_ids_times_and_paths_are_sanitised(line, expected):
    assert sanitised(line) == expected
