"""Room: what a plan takes and a machine has not is told, with the setting that would fit; otherwise nothing is said."""

import pytest

from bert_repro.workflow import costs, plan, room
from bert_repro.workflow.study import Run


def job(name: str, memory: float, states: float = 0.0) -> plan.Job:
    notebook = "hidden_states" if states else "similarity"
    needs = () if states else (f"states-{name}",)
    cost = costs.Cost(1.0, memory * 1e9, 1e9 * (1 + states), states=states * 1e9)
    return plan.Job(Run(f"states-{name}" if states else name, notebook, {"name": name}, needs, name), cost)


JOBS = [made for name in ("a", "b") for made in (job(name, 2.0, states=10.0), job(name, 3.0))]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Say what a machine has, in GB."""
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path))

    def has(memory: float = 100, disk: float = 1000, cap: float = 500) -> None:
        monkeypatch.setattr(room, "memory", lambda: memory * 1e9)
        monkeypatch.setattr(room, "disk", lambda: disk * 1e9)
        monkeypatch.setenv("BERT_REPRO_STORE_GB", str(cap))

    return has


def doubts(workers: int = 2, keep_states: bool = False, planned=JOBS) -> list[str]:
    return room.doubts(planned, workers, False, keep_states)


def test_where_there_is_room_nothing_is_said(machine):
    machine()
    assert doubts() == doubts(keep_states=True) == room.doubts([], 2, False, False) == []


def test_memory_that_fewer_jobs_would_leave_is_told(machine):
    machine(memory=5.5)
    assert doubts() == [
        "2 jobs side by side may take 6.0 GB, and 5.5 GB of memory are free; --jobs 1 (JOBS=1) takes 3.0 GB"
    ]
    machine(memory=2.5)
    (told,) = doubts()
    assert told.endswith(
        "; the largest job, a, takes 3.0 GB alone: a `micro_batch` or a text that is smaller takes less"
    )


def test_a_disk_that_fewer_jobs_or_dropped_states_would_leave_is_told(machine, tmp_path):
    machine(disk=20)
    about = f"hidden states and models may take {{}} GB, and 20.0 GB are free beside {tmp_path}; {{}}"
    assert doubts() == [about.format("24.0", "--jobs 1 (JOBS=1) takes 14.0 GB")]
    assert doubts(1) == []
    assert doubts(1, keep_states=True) == [
        about.format("24.0", "without --keep-states (KEEP_STATES=1) it would be less")
    ]
    machine(disk=5)
    (told,) = doubts()
    assert told.endswith("; BERT_REPRO_CACHE=FOLDER takes them to another disk")


def test_a_store_that_is_too_small_is_told_with_the_size_that_would_do(machine):
    machine(cap=15)
    assert doubts() == ["hidden states may take 20.0 GB, and 15.0 GB may be stored; BERT_REPRO_STORE_GB=21 lets them"]
    machine(cap=20.5)
    assert doubts() == []


def test_a_gpu_holds_what_is_computed_on_it(machine):
    machine(memory=6)
    tuning = plan.Job(
        Run("finetune-a", "finetune", {}, (), "a"), costs.Cost(9.0, 10e9, flop=1.0, encoder=8.0, device=9e9)
    )
    assert room.doubts([tuning], 1, False, False)
    assert not room.doubts([plan.Job(tuning.run, tuning.cost.on_gpu(1.0))], 1, True, False)


def test_a_machines_memory_is_what_is_free_of_it_or_what_a_container_may_take(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "LIMITS", ())
    free = room.memory()
    assert 1e8 < free < 1e14
    (tmp_path / "limit").write_text("50000000\n")
    (tmp_path / "none").write_text("max\n")
    monkeypatch.setattr(room, "LIMITS", (str(tmp_path / "none"), str(tmp_path / "limit"), str(tmp_path / "absent")))
    assert room.memory() == 5e7


def test_a_cache_that_is_not_there_yet_has_the_disk_of_the_folder_it_will_be_in(monkeypatch, tmp_path):
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path / "not" / "yet"))
    assert room.disk() > 0 and not (tmp_path / "not").exists()
