"""The plan of a study: minutes, memory and disk of every job, their sums, and what a scheduler is asked for."""

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bert_repro import states
from bert_repro.states import store
from bert_repro.workflow.costs import (
    CHAPTERS,
    COSTS,
    CUDA,
    ENCODERS,
    ENGINE,
    GPU,
    LARGEST,
    MORE_MEMORY,
    MORE_TIME,
    SETTLE,
    SIZES,
    Cost,
    encoder,
)
from bert_repro.workflow.own import Own
from bert_repro.workflow.study import NOTHING, Run, Study, load, runs


class Job(NamedTuple):
    """A run of a study with its cost."""

    run: Run
    cost: Cost


class Schedule(NamedTuple):
    """How jobs go side by side."""

    seconds: float
    memory: float  # bytes, most at any time


def jobs(study: Study) -> list[Job]:
    """Estimate what every run of a study takes, chapters and book being one more.

    Raises:
        ValueError: The size of its encoder or of a corpus is not known.
        FileNotFoundError: A corpus has to be counted, and is not there.
    """
    base = encoder(study.base)
    shapes = {model.checkpoint: encoder(model.checkpoint, base) for model in study.models}
    planned = [
        Job(run, COSTS[run.notebook](run.parameters, shapes.get(str(run.parameters.get("model")), base)))
        for run in runs(study)
    ]
    book = Run("chapters and book", "book", {}, tuple(job.run.name for job in planned), study.title)
    return [*planned, Job(book, CHAPTERS)]


def request(cost: Cost, gpu: bool = False, parts: int = 1) -> dict[str, int]:
    """Say what a scheduler is asked for: MB of memory, and minutes; with a GPU, what computes in the encoder is done sooner.

    Of a job that is shared among parts, each takes its share of the time, and all of the memory.
    """
    gpu = gpu and cost.flop > 0
    memory = MORE_MEMORY * cost.memory + ENGINE + gpu * CUDA
    minutes = MORE_TIME * cost.seconds / parts / 60 / (GPU if gpu else 1) + SETTLE
    return {"mem_mb": math.ceil(memory / 1e6), "runtime": math.ceil(minutes)}


def schedule(planned: Sequence[Job], workers: int) -> Schedule:
    """Let jobs run side by side, each as soon as a worker is free and what it needs is there, in their order.

    Raises:
        ValueError: No worker.
    """
    if workers < 1:
        raise ValueError(f"at least 1 job must run at a time, got {workers}")
    waiting, running, done, clock, memory = list(planned), list[tuple[float, Job]](), set[str](), 0.0, 0.0
    while waiting or running:
        ready = [job for job in waiting if done.issuperset(job.run.needs)]
        for job in ready[: workers - len(running)]:
            waiting.remove(job)
            running.append((clock + job.cost.seconds, job))
        memory = max(memory, sum(job.cost.memory for _, job in running))
        running.sort(key=lambda one: one[0])
        clock, first = running.pop(0)
        done.add(first.run.name)
    return Schedule(clock, memory)


def stages(study: Study) -> dict[str, tuple[int, float, float, float]]:
    """Sum up a study by notebook: jobs, minutes of one core in all, most memory of a job and disk (GB); errors as in `jobs`."""
    found: dict[str, tuple[int, float, float, float]] = {}
    for job in jobs(study):
        count, minutes, memory, disk = found.get(job.run.notebook, (0, 0.0, 0.0, 0.0))
        cost = job.cost
        now = count + 1, minutes + cost.seconds / 60, max(memory, cost.memory / 1e9), disk + cost.disk / 1e9
        found[job.run.notebook] = now
    return found


def at_scale(study: Study, words: float) -> dict[str, Cost]:
    """Estimate each stage of a study as one job on a corpus of so many words, its other settings kept; errors as in `jobs`.

    Fine-tuning is one pass over the corpus; both probes learn from all of it; similarity draws its sample from it.
    """
    config, whole = encoder(study.base), SIZES[LARGEST]
    items = round(whole.items * words / whole.words)
    text = f"{LARGEST}[{items}]"
    first: dict[str, dict[str, Any]] = {run.notebook: dict(run.parameters) for run in reversed(runs(study))}
    tuned = {"train": text, "updates": items // first["finetune"]["batch_size"]}
    changed: dict[str, dict[str, Any]] = {
        "finetune": first["finetune"] | tuned,
        "hidden_states": {"corpora": [text], "apart": []},
        "similarity": first["similarity"] | {"corpora": [text]},
        "structural_probe": first["structural_probe"] | {"train": text, "more_ranks": []},
        "edge_probe": first["edge_probe"] | {"train": text},
    }
    return {notebook: COSTS[notebook](setting, config) for notebook, setting in changed.items()}


def show(study: Study, workers: int = 2) -> str:
    """Lay the plan of a study out as a table, jobs of one kind and cost in a line, with the sums below.

    Args:
        study: The study; errors as in `jobs`.
        workers: Jobs side by side.
    """
    planned = jobs(study)
    lines = [f"{study.name}: {study.title}; base encoder {study.base}", ""]
    lines.append(f"{'job':57} {'jobs':>4} {'minutes each':>13} {'GB memory':>10} {'GB disk':>8}")
    for notebook, group in itertools.groupby(planned, lambda job: job.run.notebook):
        lines.append(notebook.replace("_", " "))
        alike: dict[Cost, list[str]] = {}
        for job in group:
            alike.setdefault(job.cost, []).append(job.run.name)
        lines += [
            f"  {_fold(names, 55):55} {len(names):4} {c.seconds / 60:13,.1f} {c.memory / 1e9:10.1f} {c.disk / 1e9:8.2f}"
            for c, names in alike.items()
        ]
    costs = [job.cost for job in planned]
    seconds, beside, chain = sum(c.seconds for c in costs), schedule(planned, workers), schedule(planned, len(planned))
    disk = sum(c.disk for c in costs) + workers * max(c.scratch for c in costs)
    states = sum(job.cost.disk for job in planned if job.run.notebook == "hidden_states")
    lines += [
        "",
        f"{len(planned)} jobs: {seconds / 60:,.0f} minutes one after another, {beside.seconds / 60:,.0f} with {workers} "
        f"side by side (the longest chain: {chain.seconds / 60:,.0f})",
        f"memory: {beside.memory / 1e9:.1f} GB at most with {workers} side by side; disk: {disk / 1e9:.1f} GB, "
        f"of which hidden states {states / 1e9:.1f}",
        f"computing in the encoder: {sum(c.flop for c in costs) / 1e15:,.2f} PFLOP (float32)",
        "",
        "Minutes are those of one CPU core, as measured with minilm and a job beside it. For a GPU, divide the PFLOP",
        "by what it does in a second; what is not computed in the encoder stays as it is.",
    ]
    if states > store.cap():
        lines.append(
            f"The store holds {store.cap() / 1e9:g} GB: set {store.CAP} to {math.ceil(states / 1e9)}, or states are "
            "computed over again."
        )
    return "\n".join(lines)


def show_run(notebook: str, setting: Mapping[str, Any]) -> str:
    """Say what one run of a notebook takes.

    Args:
        notebook: Its name.
        setting: All of its parameters.

    Raises:
        ValueError: A notebook whose cost nobody has measured; and as in `jobs`.
    """
    if notebook not in COSTS:
        raise ValueError(f"the cost of {notebook!r} is not known: expected a study file or one of {sorted(COSTS)}")
    cost = COSTS[notebook](setting, encoder(setting["model"]) if "model" in setting else ENCODERS["tiny"])
    return (
        f"{notebook}: {cost.seconds / 60:,.1f} minutes of one core, {cost.memory / 1e9:.1f} GB of memory, "
        f"{cost.disk / 1e9:.2f} GB of disk ({cost.scratch / 1e9:.2f} more while it runs), {cost.flop / 1e15:,.3f} PFLOP"
    )


def _fold(names: list[str], width: int) -> str:
    """Write names that begin alike as one."""
    if len(names) == 1:
        return names[0]
    start = os.path.commonprefix(names)
    text = start + "{" + ", ".join(name.removeprefix(start) for name in names) + "}"
    return text if len(text) <= width else text[: width - 3].rpartition(",")[0] + ", …}"


def forget(study: str, own: Own = NOTHING) -> tuple[int, float]:
    """Remove from the store the states of a study's models and corpora, as they are named there, under any setting.

    Args:
        study: A study file.
        own: What stands in place of the study's, see `study.load`.

    Returns:
        How many entries went, and how many megabytes.

    Raises:
        ValueError: What `study.load` raises.
        BlockingIOError: A process reads or writes one of them.
    """
    loaded, listed = load(study, own), states.stored()
    models = [run.parameters.get("model") for run in runs(loaded)]
    keys = listed["key"][listed["model"].isin(models) & listed["corpus"].isin(loaded.read_out())].tolist()
    return len(keys), sum(states.remove(key)[1] for key in keys)
