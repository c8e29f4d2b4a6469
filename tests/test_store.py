"""The store: what is read is what was written, or nothing; no damage passes, no kill harms, no cap is broken."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bert_repro.states import store
from bert_repro.states.store import Entry

SHARDS = 3


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path))
    (tmp_path / "states").mkdir()
    return tmp_path / "states"


def vectors(number, rows=50):
    return np.random.default_rng(number).standard_normal((2, rows, 8)).astype(np.float16)


def rows_of(number, rows=50):
    return pd.DataFrame({"sentence": np.arange(rows) // 7 + number, "form": [f"w{i}" for i in range(rows)]})


def fill(key, rows=50):
    """Make an entry as a job does that may have been here before."""
    entry = Entry(key)
    entry.hold()
    with entry.lock:
        if not entry.mend():
            there = {shard["number"] for shard in entry.shards()}
            for number in set(range(SHARDS)) - there:
                entry.write(number, vectors(number, rows), rows_of(number, rows), {"items": 8})
            entry.finish(SHARDS, {"layers": 2})
    return entry


def content(folder):
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith((".lock", ".readers"))
    }


def test_what_is_read_is_what_was_written():
    entry = fill("a")
    assert entry.open() == {"shards": SHARDS, "layers": 2}
    assert [(one["number"], one["rows"], one["items"]) for one in entry.shards()] == [(n, 50, 8) for n in range(SHARDS)]
    for number in range(SHARDS):
        read = entry.array(number)
        assert isinstance(read, np.memmap) and read.dtype == np.float16 and (read == vectors(number)).all()
        pd.testing.assert_frame_equal(entry.table(number), rows_of(number))
    assert not entry.damage() and [one.key for one in store.entries()] == ["a"]


def test_an_entry_is_not_there_before_it_is_complete():
    entry = Entry("a")
    entry.hold()
    assert not entry.mend() and entry.about is None and entry.shards() == []
    entry.write(0, vectors(0), rows_of(0), {})
    assert not entry.mend() and len(entry.shards()) == 1
    with pytest.raises(FileNotFoundError, match=r"states/a is not complete: `states.get` computes what is missing"):
        entry.open()


def test_a_flipped_bit_anywhere_is_found_and_costs_one_shard(capsys):
    entry = fill("a")
    before, times = content(entry.folder), iter(range(10**18, 2 * 10**18, 10**9))
    assert len(before) == 3 * SHARDS + 1
    draw = np.random.default_rng(0)
    for name, data in before.items():
        for at in (0, len(data) - 1, *draw.integers(len(data), size=4)):
            damaged = bytearray(data)
            damaged[at] ^= 1
            (entry.folder / name).write_bytes(damaged)
            os.utime(entry.folder / name, ns=(0, next(times)))  # two writes may share a tick of the clock
            part = name.partition(".")[0]
            assert list(entry.damage()) == [part]
            with pytest.raises(FileNotFoundError, match="not complete"):
                entry.open()
            assert f"states a: {name} is" in (said := capsys.readouterr().err) and said.count("\n") == 1
            assert set(before) - set(content(entry.folder)) == {"about.json"} | {n for n in before if n[:5] == part}
            assert content(fill("a").folder) == before and not entry.damage()


@pytest.mark.parametrize("name", ["00001.npy", "00001.parquet", "00001.json", "00002.json"])
@pytest.mark.parametrize("change", [os.unlink, lambda path: os.truncate(path, path.stat().st_size - 1)])
def test_a_missing_or_cut_file_is_made_again(name, change):
    before = content(fill("a").folder)
    entry = Entry("a")
    change(entry.folder / name)
    assert list(entry.damage()) == [name[:5]] and not entry.mend()
    assert content(fill("a").folder) == before


def test_what_was_verified_is_not_read_again(monkeypatch):
    entry = fill("a")
    entry.open()
    monkeypatch.setattr(store, "_measure", lambda path: pytest.fail("read again"))
    entry.open()


def interrupted(stop_at):
    """Let the replacement of a file number `stop_at` never come back."""
    count = iter(range(100))
    replace = os.replace

    def stop(source, target):
        if next(count) == stop_at:
            raise KeyboardInterrupt
        replace(source, target)

    return stop


def test_an_interrupted_job_goes_on_to_the_same_bytes(monkeypatch):
    before = content(fill("a").folder)
    for stop_at in range(len(before)):
        Entry("a").remove()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", interrupted(stop_at))
            fill("a")
        there = content(Entry("a").folder)
        assert "about.json" not in there and len(Entry("a").shards()) == stop_at // 3
        times = {name: (Entry("a").folder / name).stat().st_ino for name in there}
        folder = fill("a").folder
        assert content(folder) == before
        assert all((folder / f"{n:05d}.npy").stat().st_ino == times[f"{n:05d}.npy"] for n in range(stop_at // 3))


def run(*calls):
    """Run statements on this file's functions, in processes side by side; give what they print."""
    start = (
        f"import os, signal, sys, time; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_store import *\n"
    )
    command = [sys.executable, "-W", "error", "-c"]
    jobs = [subprocess.Popen([*command, start + call], stdout=subprocess.PIPE, text=True) for call in calls]
    return [(job.communicate(timeout=60)[0].strip(), job.returncode) for job in jobs]


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_that_stays():
    before = content(fill("b").folder)
    kill = "store._measure = lambda path: os.kill(os.getpid(), signal.SIGKILL)\nfill('a')"
    assert run(kill) == [("", -9)]
    assert set(content(Entry("a").folder)) == {"00000.npy", "00000.parquet"}
    (Entry("a").folder / ".00000.npy.123").write_text("half")  # had it been killed earlier
    assert content(fill("a").folder) == before


@pytest.mark.slow
def test_of_two_processes_one_waits_and_finds_what_the_other_made():
    call = """
write = Entry.write
def slowly(self, *given):
    time.sleep(.3)
    print("wrote", flush=True)
    write(self, *given)
Entry.write = slowly
print(fill("a").open()["shards"])
"""
    said = sorted(run(call, call))
    assert said == [("3", 0), ("wrote\nwrote\nwrote\n3", 0)]


def test_an_entry_that_is_read_or_written_is_not_removed():
    fill("a")
    reader = fill("a")
    with pytest.raises(BlockingIOError, match="the states a are in use: wait until the other process has ended"):
        Entry("a").remove()
    del reader
    with Entry("a").lock, pytest.raises(BlockingIOError, match="in use"):
        Entry("a").remove()
    size = Entry("a").size
    assert size > 0 and Entry("a").remove() == size and store.entries() == []


def used(key, when):
    os.utime(Entry(key).folder / "about.json", (when, when))


@pytest.fixture
def three(monkeypatch):
    """Entries a, b and c, used in this order, and a cap that a fourth would break."""
    for when, key in enumerate("abc", 1):
        fill(key, rows=500)
        used(key, when)
    size = Entry("a").size
    monkeypatch.setenv(store.CAP, str(3.5 * size / 1e9 + 1e-5))
    return size


def keys():
    return [entry.key for entry in store.entries()]


def test_what_was_not_used_for_long_makes_room(three, capsys):
    Entry("a").open()
    fill("d", rows=500)
    assert keys() == ["a", "c", "d"] and all(not entry.damage() for entry in store.entries())
    assert "states b: removed to make room (0." in (said := capsys.readouterr().err) and said.count("\n") == 1
    assert sum(entry.size for entry in store.entries()) <= store.cap()


def test_what_is_in_use_is_kept_and_the_next_goes(three):
    reader = Entry("a")
    reader.hold()
    with Entry("b").lock:
        fill("d", rows=500)
    assert keys() == ["a", "b", "d"]


def test_an_entry_beyond_the_cap_is_refused_and_nothing_goes_for_it(three, monkeypatch):
    message = (
        r"the states d take 0.000\d+ GB and others .* the store may take 0.000\d+ GB: give BERT_REPRO_STORE_GB a larger"
    )
    with pytest.raises(OSError, match=message):
        fill("d", rows=10_000)
    assert keys() == ["a", "b", "c", "d"] and Entry("d").shards() == []


def test_entries_in_use_may_leave_no_room(three):
    readers = [fill(key) for key in "abc"]
    with pytest.raises(OSError, match="the states d take .* and others that stay .* GB"):
        fill("d", rows=500)
    assert len(readers) == 3 and not any(reader.damage() for reader in readers)


@pytest.mark.parametrize("value", ["0", "-1", "many", "nan", "inf", "1 GB"])
def test_a_cap_that_is_no_positive_number_is_refused(monkeypatch, value):
    monkeypatch.setenv(store.CAP, value)
    with pytest.raises(ValueError, match=f"BERT_REPRO_STORE_GB must be a number of gigabytes above 0.* got '{value}'"):
        store.cap()


def test_the_cap_is_a_hundred_gigabytes_or_what_is_set(monkeypatch):
    monkeypatch.delenv(store.CAP, raising=False)
    assert store.cap() == 100 * 10**9
    monkeypatch.setenv(store.CAP, "0.5")
    assert store.cap() == 5 * 10**8


def test_a_shard_that_another_process_has_stored_meanwhile_stays():
    mine, other = Entry("a"), Entry("a")
    with mine.lock_of(1, 2), other.lock, Entry("a").lock_of(1, 4):  # of other parts, or of none
        other.write(0, vectors(0), rows_of(0), {})
        before = content(mine.folder)
        mapped = other.array(0)
        mine.write(0, vectors(1), rows_of(1), {})
    assert content(mine.folder) == before and (mapped == vectors(0)).all()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_nothing_half_written_stays(monkeypatch, number):
    def full(path, array):
        path.write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(store, "_save", full)
    with pytest.raises(OSError, match=r"the disk is full: .*states/a cannot take another 0.0 MB; .*states rm KEY"):
        fill("a")
    assert content(Entry("a").folder) == {}


def test_another_error_while_writing_is_passed_on(monkeypatch):
    monkeypatch.setattr(store, "_seal", lambda path, facts: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken"):
        fill("a")
    assert Entry("a").shards() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this system")
def test_a_full_disk_shows_as_one_when_an_array_is_written():
    with pytest.raises(OSError) as error:
        store._save(Path("/dev/full"), np.zeros((2, 1000, 8)))
    assert error.value.errno == errno.ENOSPC


def test_a_store_that_cannot_be_written_is_read(monkeypatch):
    fill("a")

    def refuse(*given, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(store, "_lock_store", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    entry = Entry("a")
    entry.hold()
    assert entry.open()["layers"] == 2
