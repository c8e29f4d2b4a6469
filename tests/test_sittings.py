"""Sittings: what a machine that is taken away has done is there on the next one, with its times, and goes on."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

from bert_repro.files import ROOT

SITTING = ROOT / "profiles" / "colab" / "sitting.py"
NOTEBOOK = SITTING.with_name("paper.ipynb")


class Machine:
    """A machine that is lent: a clone of two files, a cache, and the folder that stays."""

    def __init__(self, folder: Path, stays: Path):
        self.root, self.cache, self.stays = folder / "clone", folder / "cache", stays
        (self.root / "profiles" / "colab").mkdir(parents=True)
        shutil.copy(SITTING, self.root / "profiles" / "colab")
        (self.root / "code.py").write_text("first\n")
        stays.mkdir(exist_ok=True)

    def sit(self, command: str, *options: str) -> subprocess.CompletedProcess:
        words = [sys.executable, self.root / "profiles" / "colab" / "sitting.py", *options, self.stays]
        environment = os.environ | {"BERT_REPRO_CACHE": str(self.cache)}
        return subprocess.run(
            [*words, "bash", "-c", command], env=environment, capture_output=True, text=True, timeout=120
        )

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in self.root.rglob("*")
            if path.is_file() and path.name != ".sitting"
        }


def test_the_next_machine_has_what_the_last_one_left_with_its_times(tmp_path):
    stays = tmp_path / "stays"
    first = Machine(tmp_path / "first", stays)
    made = "mkdir -p build .venv .snakemake/metadata .snakemake/log $BERT_REPRO_CACHE/training $BERT_REPRO_CACHE/states"
    made += (
        "; echo table > build/table; touch -d 2020-01-02 build/table; echo x > .venv/x; echo y > .snakemake/metadata/y"
    )
    made += (
        "; echo z > .snakemake/log/z; echo state > $BERT_REPRO_CACHE/training/s; echo big > $BERT_REPRO_CACHE/states/b"
    )
    assert first.sit(made).returncode == 0
    os.utime(first.root / "code.py", (1e9, 1e9))
    assert first.sit("exit 7").returncode == 7
    second = Machine(tmp_path / "second", stays)
    (second.root / "code.py").write_text("of a newer clone\n")
    done = second.sit(
        "cat code.py build/table $BERT_REPRO_CACHE/training/s; rm build/table $BERT_REPRO_CACHE/training/s"
    )
    assert done.stdout.split() == ["first", "table", "state"]
    assert (second.root / "code.py").stat().st_mtime == 1e9
    assert set(second.files()) == {"code.py", "profiles/colab/sitting.py", ".snakemake/metadata/y"}
    third = Machine(tmp_path / "third", stays)  # what has gone stays gone
    assert third.sit("true").returncode == 0 and third.files() == second.files()
    assert not list((third.cache / "training").glob("*"))


@pytest.mark.slow
def test_a_sitting_ends_in_time_and_keeps_what_was_done(tmp_path):
    machine = Machine(tmp_path / "first", tmp_path / "stays")
    slow = "trap 'echo ended > ended; exit 130' INT; echo half > half; for n in {1..600}; do sleep .1; done"
    begin = time.monotonic()
    done = machine.sit(slow, "--hours", "0.001")
    assert done.returncode == 3 and time.monotonic() - begin < 60
    assert done.stderr == "0.001 hours are over: the next sitting goes on from here\n"
    kept = tmp_path / "stays" / "clone"
    assert (kept / "half").read_text() == "half\n" and (kept / "ended").read_text() == "ended\n"


def test_copies_are_made_on_the_way(tmp_path):
    machine = Machine(tmp_path / "first", tmp_path / "stays")
    kept = tmp_path / "stays" / "clone" / "half"
    waits = f"echo half > half; for n in {{1..300}}; do test -e '{kept}' && exit 0; sleep .1; done; exit 1"
    assert machine.sit(waits, "--every", "0.005").returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [(["nowhere", "true"], "no folder nowhere: mount it first, or make it"), (["."], "a command is missing: what is to be run")],
)  # fmt: skip
def test_a_sitting_without_a_folder_or_a_command_is_refused(tmp_path, words, message):
    done = subprocess.run([sys.executable, SITTING, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr


def test_the_page_and_the_notebook_name_what_there_is():
    page = (ROOT / "book" / "sittings.md").read_text()
    cells = "\n".join(cell.source for cell in nbformat.read(NOTEBOOK, 4).cells)
    for place in ("profiles/colab/sitting.py", "studies/paper.yaml"):
        assert place in page and place in cells and (ROOT / place).is_file()
    assert "profiles/colab/paper.ipynb" in page and all(
        "outputs" not in c or not c.outputs for c in nbformat.read(NOTEBOOK, 4).cells
    )


@pytest.mark.slow
def test_the_notebook_makes_a_small_study_in_two_sittings(tmp_path, monkeypatch):
    from nbclient import NotebookClient

    study = {
        "name": "lent", "title": "a small study", "base": "tiny",
        "tasks": [{"task": "nli", "train": "mnli:train[32]", "dev": "mnli:dev[12]", "updates": 2, "batch_size": 8, "seeds": [1]}],
        "similarity": {"corpora": ["ewt:dev[60]"], "words": 200},
        "structural_probe": {"train": "ewt:test[60]", "dev": "ewt:dev[60]", "test": "ewt:test[60]", "rank": 4, "epochs": 1},
        "chapters": ["similarity"],
        "resamples": 100,
    }  # fmt: skip
    (tmp_path / "lent.yaml").write_text(yaml.dump(study))
    stays, tables = tmp_path / "stays", tmp_path / "stays" / "clone" / "build" / "lent" / "tables"
    ignored = shutil.ignore_patterns("build", "mini", "minilm", "shared", ".*", "__pycache__", "*.egg-info")

    def sitting() -> str:
        """Run the notebook on a new machine, but with an environment that is there; give what it said."""
        machine = tmp_path / "machine"  # in the same place each time, as it is with those that are lent
        shutil.rmtree(machine, ignore_errors=True)
        shutil.copytree(ROOT, machine / "bert_repro", ignore=ignored)
        monkeypatch.setenv("BERT_REPRO_CACHE", str(machine / "cache"))
        monkeypatch.setenv("PYTHONPATH", str(machine / "bert_repro"))
        (machine / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (machine / "python").chmod(0o755)
        notebook = nbformat.read(NOTEBOOK, 4)
        told = {
            "FOLDER": str(stays), "STUDY": str(tmp_path / "lent.yaml"), "JOBS": 1,
            "PREPARE": "mkdir -p .venv/bin && cp ../python .venv/bin/python",
        }  # fmt: skip
        notebook.cells[1].source += "\n" + "\n".join(f"{key} = {value!r}" for key, value in told.items())
        NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(machine)}}).execute()
        return "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", []))

    def times() -> dict[str, int]:
        """Tell when each table was made."""
        return {path.name: path.stat().st_mtime_ns for path in tables.glob("*.parquet") if path.name.count(".") == 1}

    monkeypatch.setenv("BERT_REPRO_STORE_GB", "1e-6")  # a machine with room for a training, and for no hidden states
    assert "the report is not complete" in sitting()
    before = times()
    assert set(before) == {"finetune-nli-1.parquet"}
    monkeypatch.delenv("BERT_REPRO_STORE_GB")
    said = sitting()
    assert "the same in one file: build/lent/lent.zip" in said, said
    assert (stays / "clone" / "build" / "lent" / "lent.zip").is_file()
    after = times()
    assert len(after) == 9 and before.items() <= after.items()  # nothing was made again
