"""Room: whether this machine has the memory and the disk that the rest of a study is planned to take, and what would fit.

As a plan is an estimate, nothing here is an error: each doubt is a sentence.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bert_repro.files import cache_folder
from bert_repro.states import store
from bert_repro.workflow.plan import Job, Schedule, schedule

LIMITS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
"""Where Linux says how much memory a container, or a scheduler's job, may take."""


def memory() -> float:
    """Give the bytes of memory that are free, as far as the system says; else those that there are."""
    free = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    information = Path("/proc/meminfo")
    if information.is_file():
        fields = dict(line.split(":", 1) for line in information.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024.0
    limits = [Path(place).read_text().strip() for place in LIMITS if Path(place).is_file()]
    return min([free, *(float(limit) for limit in limits if limit.isdigit())])


def disk() -> float:
    """Give the free bytes of the disk that the cache lies on, where hidden states are."""
    folder = cache_folder()
    while not folder.is_dir():
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


def doubts(planned: Sequence[Job], workers: int, gpu: bool, keep_states: bool) -> list[str]:
    """Say what the jobs that are still to be done are planned to take and there is not, with the setting that would fit.

    Args:
        planned: These jobs.
        workers: How many run side by side.
        gpu: Whether a GPU holds what is computed in the encoder.
        keep_states: Whether hidden states of tuned models are kept.
    """
    fewer = [schedule(planned, at_a_time, gpu) for at_a_time in range(1, workers + 1)]
    now, lines = fewer[-1], []
    free = memory()
    if now.memory > free:
        largest = max(planned, key=lambda job: job.cost.memory)
        alone = (
            f"the largest job, {largest.run.name}, takes {largest.cost.memory / 1e9:.1f} GB alone: a `micro_batch` or a text "
            "that is smaller takes less"
        )
        fits = _fewer_jobs([peak.memory for peak in fewer], free) or alone
        lines.append(
            f"{workers} jobs side by side may take {_gigabytes(now.memory, free)} GB of memory are free; {fits}"
        )
    free = disk()
    if (needed := _kept(planned, now) if keep_states else now.disk) > free:
        fits = "without --keep-states (KEEP_STATES=1) it would be less" if keep_states and now.disk <= free else ""
        fits = fits or ("" if keep_states else _fewer_jobs([peak.disk for peak in fewer], free))
        elsewhere = "BERT_REPRO_CACHE=FOLDER takes them to another disk"
        lines.append(
            f"hidden states and models may take {_gigabytes(needed, free)} GB are free beside {cache_folder()}; {fits or elsewhere}"
        )
    states = sum(job.cost.states for job in planned) if keep_states else now.states
    if states > store.cap():
        lines.append(
            f"hidden states may take {_gigabytes(states, store.cap())} GB may be stored; {store.CAP}={states / 1e9 + 1:.0f} lets them"
        )
    return lines


def _gigabytes(needed: float, free: float) -> str:
    return f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f}"


def _fewer_jobs(needed: Sequence[float], free: float) -> str:
    """Say how many jobs at a time would fit; nothing where not even one does."""
    fitting = [at_a_time for at_a_time, size in enumerate(needed, start=1) if size <= free]
    return f"--jobs {fitting[-1]} (JOBS={fitting[-1]}) takes {needed[fitting[-1] - 1] / 1e9:.1f} GB" if fitting else ""


def _kept(planned: Sequence[Job], beside: Schedule) -> float:
    """Give the bytes where no states are dropped."""
    return beside.disk - beside.states + sum(job.cost.states for job in planned)
