"""Faults of the machine: on a disk that is full or cannot be written a command says so, nothing is damaged, the next run goes on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bert_repro import checkpoints, corpora
from bert_repro.files import ROOT, cache_folder

TINY = ["tiny", "ewt:dev[300]"]


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own, made and unmade; it holds the tiny encoder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("a disk of one's own takes the right to mount: run as root, outside a container that forbids it")
    tiny = checkpoints.open("tiny").folder
    shutil.copytree(tiny, folder / tiny.relative_to(cache_folder()))
    room = shutil.disk_usage(folder).used // 1024 + 500
    subprocess.run(["mount", "-o", f"remount,size={room}k", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def call(disk: Path, *arguments: object) -> tuple[int, str]:
    """Run a command with its cache on that disk; give its status and the last line of errors that is its own.

    On some processors TensorFlow adds a line that no setting turns off.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bert_repro", *map(str, arguments)],
        env=os.environ | {"BERT_REPRO_CACHE": str(disk), "TQDM_DISABLE": "1"},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("bert_repro:")]
    return done.returncode, (said or [""])[-1]


@pytest.mark.slow
def test_a_full_disk_ends_a_command_and_more_room_lets_it_go_on(disk):
    code, line = call(disk, "states", "compute", *TINY)
    assert code == 1 and line.startswith("bert_repro: the disk is full: ") and "makes room" in line
    assert not list(disk.glob("states/*/about.json"))
    assert call(disk, "states", "verify")[0] == 0  # what is there is sound
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    assert call(disk, "states", "compute", *TINY) == (0, "")
    assert len(list(disk.glob("states/*/about.json"))) == 1 and call(disk, "states", "verify")[0] == 0


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_read_and_what_it_lacks_is_told(disk, tmp_path):
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    assert call(disk, "states", "compute", *TINY)[0] == 0
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        assert call(disk, "states", "ls")[0] == call(disk, "states", "verify")[0] == 0
        code, line = call(disk, "states", "compute", "tiny", "ewt:test[60]")
        assert code == 1 and line.startswith("bert_repro: ") and "Read-only file system" in line
        read = "from bert_repro import states; print(len(states.get('tiny', 'ewt:dev[300]').bounds) - 1)"
        environment = os.environ | {"BERT_REPRO_CACHE": str(disk)}
        done = subprocess.run([sys.executable, "-c", read], env=environment, capture_output=True, text=True, check=True)
        assert int(done.stdout) == len(corpora.load("ewt:dev[300]").items)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
