"""Turns: every run has one, behind what it needs; few states are there at a time, and none goes while a run still reads it."""

from itertools import combinations

import pytest

from bert_repro.files import ROOT
from bert_repro.workflow import costs, plan, study, turns
from bert_repro.workflow.study import Run

STUDIES = sorted((ROOT / "studies").glob("*.yaml"))


def states(model: str, *needs: str) -> Run:
    return Run(f"states-{model}", "hidden_states", {"name": model}, needs, model)


def reader(name: str, *models: str) -> Run:
    return Run(name, "similarity", {"name": models[-1]}, tuple(f"states-{model}" for model in models), name)


SMALL = [
    Run("finetune-a", "finetune", {"name": "a"}, (), "a"), Run("finetune-b", "finetune", {"name": "b"}, (), "b"),
    Run("finetune-frozen", "finetune", {"name": "frozen"}, (), "frozen"),
    states("base"), states("untrained"), states("a", "finetune-a"), states("b", "finetune-b"),
    reader("base-a", "base", "a"), reader("base-b", "base", "b"), reader("a-b", "a", "b"), reader("base-untrained", "base", "untrained"),
    Run("change_and_function", "change_and_function", {}, ("base-a", "base-b"), ""),
]  # fmt: skip


def test_states_have_served_when_all_that_read_them_are_done_and_those_of_untuned_encoders_never():
    assert turns.served(SMALL) == {
        "states-a": ("states-a", "base-a", "a-b"),
        "states-b": ("states-b", "base-b", "a-b"),
    }


def test_runs_go_model_by_model_and_what_needs_no_tuned_states_comes_last():
    names = [run.name for run in turns.order(SMALL)]
    assert names == [
        "finetune-a", "states-a", "states-base", "base-a", "a-b", "finetune-b", "states-b", "base-b",
        "finetune-frozen", "states-untrained", "base-untrained", "change_and_function",
    ]  # fmt: skip


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_of_every_study_each_run_has_one_turn_and_its_model_is_made_before(path):
    listed = study.runs(study.load(path))
    names = [run.name for run in turns.order(listed)]
    assert sorted(names) == sorted(run.name for run in listed)
    made = {run.name: need for run in listed if run.notebook == "hidden_states" for need in run.needs}
    assert all(names.index(need) < names.index(name) for name, need in made.items())


# ---- what that means for the disk


def planned(listed: list[Run], size: float = 10.0) -> list[plan.Job]:
    return [
        plan.Job(run, costs.Cost(1.0, 1.0, *(1 + size, 0.0, 0.0, size) if run.notebook == "hidden_states" else (1.0,)))
        for run in listed
    ]


def test_states_are_counted_while_they_are_there():
    # base, a and b together are the most, as a-b reads two; untrained comes when both are gone
    found = plan.schedule(planned(SMALL), 1)
    assert found.states == 30.0 and found.seconds == len(SMALL)
    assert found.disk == 30.0 + 7  # besides, a byte of each job that has begun, a-b being the last of them
    alone = [run for run in SMALL if run.name != "a-b"]
    assert plan.schedule(planned(alone), 1).states == 20.0


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_most_at_a_time_lies_between_what_stays_and_the_sum(path):
    jobs = plan.jobs(study.load(path))
    stays = sum(
        job.cost.states for job in jobs if job.cost.states and job.run.parameters["name"] in ("base", "untrained")
    )
    every, disk = sum(job.cost.states for job in jobs), sum(job.cost.disk for job in jobs)
    scratch = max(job.cost.scratch for job in jobs)
    for workers in (1, 2, 4):
        found = plan.schedule(jobs, workers)
        assert stays <= found.states <= every
        assert disk - every + stays <= found.disk <= disk + workers * scratch


def test_the_states_of_few_tuned_models_are_there_at_a_time():
    jobs = plan.jobs(study.load(ROOT / "studies" / "paper.yaml"))
    one = max(job.cost.states for job in jobs)
    found = [plan.schedule(jobs, workers) for workers in (1, 2, 4)]
    assert [round(beside.states / one) for beside in found] == [3, 3, 5]
    assert all(more.seconds < fewer.seconds for fewer, more in zip(found, found[1:], strict=False))
    assert all(beside.disk < 60e9 for beside in found)


def test_what_a_tuned_model_is_compared_with_last_keeps_its_states():
    models = [f"m{number}" for number in range(4)]
    listed = [states(model) for model in models] + [reader(f"{a}-{b}", a, b) for a, b in combinations(models, 2)]
    assert (
        plan.schedule(planned(listed), 1).states == 40.0
    )  # each with every other: the first goes when the last is there
