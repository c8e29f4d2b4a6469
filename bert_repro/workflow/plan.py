"""The plan of a study: minutes, memory and disk of every job, their sums, and what a scheduler is asked for."""

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bert_repro import states
from bert_repro.states import store
from bert_repro.workflow import costs, turns
from bert_repro.workflow.own import Own
from bert_repro.workflow.sizes import LARGEST, SIZES
from bert_repro.workflow.study import NOTHING, Run, Study, load, runs


class Job(NamedTuple):
    """A run of a study with its cost."""

    run: Run
    cost: costs.Cost


class Schedule(NamedTuple):
    """How jobs go side by side."""

    seconds: float
    memory: float  # bytes, most at any time
    disk: float  # bytes, likewise
    states: float  # bytes, likewise: of hidden states alone
    device: float  # bytes of a GPU, likewise


def jobs(study: Study, tflops: float = 0.0) -> list[Job]:
    """Estimate what every run of a study takes, chapters and book being one more.

    Args:
        study: The study.
        tflops: What a GPU does, see `Cost.on_gpu`; 0 for none.

    Raises:
        ValueError: The size of its encoder or of a corpus is not known, or a GPU that does nothing.
        FileNotFoundError: A corpus has to be counted, and is not there.
    """
    base = costs.encoder(study.base)
    shapes = {model.checkpoint: costs.encoder(model.checkpoint, base) for model in study.models}
    planned = [
        Job(run, costs.COSTS[run.notebook](run.parameters, shapes.get(str(run.parameters.get("model")), base)))
        for run in runs(study)
    ]
    book = Run("chapters and book", turns.BOOK, {}, tuple(job.run.name for job in planned), study.title)
    planned.append(Job(book, costs.CHAPTERS))
    return [Job(run, cost.on_gpu(tflops)) for run, cost in planned] if tflops else planned


def request(cost: costs.Cost, gpu: bool = False, parts: int = 1) -> dict[str, int]:
    """Say what a scheduler is asked for: MB of memory, and minutes; with a GPU, what computes in the encoder is done sooner.

    Of a job that is shared among parts, each takes its share of the time, and all of the memory.
    """
    gpu = gpu and cost.flop > 0
    memory = costs.MORE_MEMORY * cost.memory + costs.ENGINE + gpu * costs.CUDA
    minutes = costs.MORE_TIME * cost.seconds / parts / 60 / (costs.GPU if gpu else 1) + costs.SETTLE
    return {"mem_mb": math.ceil(memory / 1e6), "runtime": math.ceil(minutes)}


class _Running:
    """A job that runs: first what is computed on its core, then what is computed on the GPU, if there is one."""

    def __init__(self, job: Job, gpu: bool):
        self.job, self.on_gpu = job, job.cost.encoder if gpu and job.cost.flop else 0.0
        self.on_core = job.cost.seconds - self.on_gpu

    def left(self, sharing: int) -> float:
        """Give the seconds until it is through with where it is, as long as so many share the GPU."""
        return self.on_core if self.on_core > 0 else self.on_gpu * sharing

    def go_on(self, seconds: float, sharing: int) -> bool:
        """Let time pass, no more than the least that is left of any job; tell whether the job is done."""
        through = seconds >= self.left(sharing)
        if self.on_core > 0:
            self.on_core = 0.0 if through else self.on_core - seconds
        else:
            self.on_gpu = 0.0 if through else self.on_gpu - seconds / sharing
        return self.on_core == self.on_gpu == 0


def schedule(planned: Sequence[Job], workers: int, gpu: bool = False) -> Schedule:
    """Let jobs run side by side, each as soon as a worker is free and what it needs is there, in the order of `turns`.

    The states of a tuned model are dropped when all that read them are done.

    Args:
        planned: Jobs, each with its cost; with a GPU, that of `Cost.on_gpu`. What they need and is not among them, is there.
        workers: How many run at a time.
        gpu: Whether there is a GPU, which is shared by all that use it at a time.

    Raises:
        ValueError: No worker.
    """
    if workers < 1:
        raise ValueError(f"at least 1 job must run at a time, got {workers}")
    by_name, listed = {job.run.name: job for job in planned}, [job.run for job in planned]
    waiting, readers = [by_name[run.name] for run in turns.order(listed)], turns.served(listed)
    running, done = list[_Running](), {need for run in listed for need in run.needs} - by_name.keys()
    most, clock, lasting, held = Schedule(*[0.0] * len(Schedule._fields)), 0.0, 0.0, dict[str, float]()
    while waiting or running:
        ready = [job for job in waiting if done.issuperset(job.run.needs)]
        for job in ready[: workers - len(running)]:
            waiting.remove(job)
            running.append(_Running(job, gpu))
            lasting += job.cost.disk - job.cost.states
            held[job.run.name] = job.cost.states
        taken, states = [active.job.cost for active in running], sum(held.values())
        now = Schedule(
            clock,
            sum(c.memory for c in taken),
            lasting + states + sum(c.scratch for c in taken),
            states,
            sum(c.device for c in taken),
        )
        most = Schedule(*map(max, most, now))
        sharing = sum(active.on_core <= 0 for active in running)
        step = min(active.left(sharing) for active in running)
        clock += step
        ended = {active.job.run.name for active in running if active.go_on(step, sharing)}
        running = [active for active in running if active.job.run.name not in ended]
        done |= ended
        for name in [name for name, users in readers.items() if name in held and done.issuperset(users)]:
            del held[name]
    return most._replace(seconds=clock)


def stages(study: Study) -> dict[str, tuple[int, float, float, float]]:
    """Sum up a study by notebook: jobs, minutes of one core in all, most memory of a job and disk (GB); errors as in `jobs`."""
    sums: dict[str, tuple[int, float, float, float]] = {}
    for job in jobs(study):
        count, minutes, memory, disk = sums.get(job.run.notebook, (0, 0.0, 0.0, 0.0))
        cost = job.cost
        now = count + 1, minutes + cost.seconds / 60, max(memory, cost.memory / 1e9), disk + cost.disk / 1e9
        sums[job.run.notebook] = now
    return sums


def at_scale(study: Study, words: float) -> dict[str, costs.Cost]:
    """Estimate each stage of a study as one job on a corpus of so many words, its other settings kept; errors as in `jobs`.

    Fine-tuning is one pass over the corpus; both probes learn from all of it; similarity draws its sample from it.
    """
    config, whole = costs.encoder(study.base), SIZES[LARGEST]
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
    return {notebook: costs.COSTS[notebook](setting, config) for notebook, setting in changed.items()}


def show(study: Study, workers: int = 2, tflops: float = 0.0) -> str:
    """Lay the plan of a study out as a table, jobs of one kind and cost in a line, with the sums below.

    Args:
        study: The study; errors as in `jobs`.
        workers: Jobs side by side, a core each.
        tflops: What a GPU does that they share, see `Cost.on_gpu`; 0 for none.
    """
    planned = jobs(study, tflops)
    lines = [f"{study.name}: {study.title}; base encoder {study.base}", ""]
    lines.append(f"{'job':57} {'jobs':>4} {'minutes each':>13} {'GB memory':>10} {'GB disk':>8}")
    for notebook, group in itertools.groupby(planned, lambda job: job.run.notebook):
        lines.append(notebook.replace("_", " "))
        alike: dict[costs.Cost, list[str]] = {}
        for job in group:
            alike.setdefault(job.cost, []).append(job.run.name)
        lines += [
            f"  {_fold(names, 55):55} {len(names):4} {c.seconds / 60:13,.{1 if c.seconds > 60 else 2}f} {c.memory / 1e9:10.1f} {c.disk / 1e9:8.2f}"
            for c, names in alike.items()
        ]
    lines += [*_at_a_time(study)]
    taken = [job.cost for job in planned]
    seconds = sum(c.seconds for c in taken)
    beside, chain = schedule(planned, workers, tflops > 0), schedule(planned, len(planned))
    disk, every = sum(c.disk for c in taken), sum(c.states for c in taken)
    lines += [
        "",
        f"{len(planned)} jobs: {seconds / 60:,.0f} minutes one after another, {beside.seconds / 60:,.0f} with {workers} "
        f"side by side (the longest chain: {chain.seconds / 60:,.0f})",
        f"memory: {beside.memory / 1e9:.1f} GB at most with {workers} side by side"
        + (f", and {beside.device / 1e9:.1f} GB of the GPU's" if tflops else ""),
        f"disk: {beside.disk / 1e9:.1f} GB at most at a time, of which hidden states {beside.states / 1e9:.1f}, as those of tuned "
        "models",
        f"are dropped when all have read them; {disk / 1e9:.1f} and {every / 1e9:.1f} with --keep-states (KEEP_STATES=1)",
        f"computing in the encoder: {sum(c.flop for c in taken) / 1e15:,.2f} PFLOP (float32)",
        "",
        *(_WITH_GPU if tflops else _WITHOUT),
    ]
    if beside.states > store.cap():
        lines.append(
            f"The store holds {store.cap() / 1e9:g} GB: set {store.CAP} to {math.ceil(beside.states / 1e9)}, or states are "
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
    if notebook not in costs.COSTS:
        raise ValueError(
            f"the cost of {notebook!r} is not known: expected a study file or one of {sorted(costs.COSTS)}"
        )
    cost = costs.COSTS[notebook](
        setting, costs.encoder(setting["model"]) if "model" in setting else costs.ENCODERS["tiny"]
    )
    return (
        f"{notebook}: {cost.seconds / 60:,.1f} minutes of one core, {cost.memory / 1e9:.1f} GB of memory, "
        f"{cost.disk / 1e9:.2f} GB of disk ({cost.scratch / 1e9:.2f} more while it runs), {cost.flop / 1e15:,.3f} PFLOP"
    )


def _at_a_time(study: Study) -> Iterator[str]:
    """Say how many inputs the largest training of each task computes at a time, where that is not the whole batch."""
    tunings, base = [run.parameters for run in runs(study) if run.notebook == "finetune"], costs.encoder(study.base)
    for task in study.tasks:
        sizes = [costs.micro_batch(setting, base) for setting in tunings if setting["task"] == task.task]
        if least := min(filter(None, sizes), default=0):
            yield f"{task.task}: {least} of {task.batch_size} inputs at a time, within {task.memory:g} GB for a training"


_WITHOUT = (
    "Minutes are those of one CPU core a job, as measured with minilm and a job beside it. For a GPU, say what it",
    "does: --gpu-tflops 8 (GPU_TFLOPS=8), in 10^12 operations of float32 a second, as trainings reach it.",
)
_WITH_GPU = (
    "Minutes are those of one CPU core a job, and in the encoder of one GPU of that speed, which jobs side by side",
    "share. Trainings reach a fraction of a data sheet's peak: compare the minutes of the first with this plan.",
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
