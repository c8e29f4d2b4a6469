"""A report: has Snakemake run a study's notebooks, here or on a cluster, builds the book, and says which job failed and why.

A study, data or an encoder that a run could not use, and another report in the same folder, end it before it starts.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from bert_repro import checkpoints, corpora
from bert_repro.files import ROOT, atomically
from bert_repro.results import provenance
from bert_repro.workflow import costs, opening, plan, room, staleness
from bert_repro.workflow import study as studies
from bert_repro.workflow.names import END
from bert_repro.workflow.own import Own


def make(
    study: Path,
    own: Own = studies.NOTHING,
    jobs: int = 0,
    archive: bool = False,
    profile: Path | None = None,
    gpu: bool = False,
    parts: int = 1,
    keep_states: bool = False,
) -> None:
    """Run a study through Snakemake, build its book and say where to open it.

    What is wrong with the study, its data or its base encoder is reported before anything runs. A lock that ends with this
    process and Snakemake's keeps a second run out of the folder, so that nothing needs unlocking after a kill.

    Args:
        study: A study file.
        own: What a reader brings in place of the study's. With it, the study is written to `build/<name>/study.yaml`.
        jobs: Notebooks that run at a time; by default 2, or 1 on one core, or what the profile says.
        archive: Also pack the whole site into one file, `build/<study>/<study>.zip`.
        profile: A folder with Snakemake's options for a cluster, e.g. profiles/slurm; on this machine where not given.
        gpu: On a cluster, ask for a GPU for every job that computes in the encoder.
        parts: Number of jobs among which the extraction of each encoder's hidden states is divided.
        keep_states: Keep the hidden states of tuned models, which are dropped when the last run that reads them is done.

    Raises:
        ValueError: The study cannot be run as it is.
        OSError: Data or weights are missing.
        RuntimeError: A notebook or the book failed, or another report runs in this folder.
        KeyboardInterrupt: Ctrl-C, once Snakemake has ended its jobs.
    """
    loaded = studies.load(study, own)
    if profile and not (profile / "config.yaml").is_file():
        raise ValueError(f"--profile takes a folder with Snakemake's config.yaml, e.g. profiles/slurm, got {profile}")
    # those that this process may use, which are fewer under taskset or an allocation of a cluster
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs < 0 or (jobs > cores and not profile):
        raise ValueError(f"--jobs must lie between 1 and the {cores} cores of this machine, got {jobs}")
    if parts < 1:
        raise ValueError(f"--parts must be at least 1, got {parts}")
    for reference in loaded.corpora():
        corpora.locate(reference)
    with _alone() as lock:
        study, loaded = _opened(study, loaded, own)
        # Snakemake works in the project's folder, its user in any
        study = study.absolute().relative_to(ROOT) if study.absolute().is_relative_to(ROOT) else study.absolute()
        if profile:  # one core a job, as the plan reckons; "rules" would keep quiet about jobs that the cluster ended
            flags = ["reason", "--profile", str(profile.absolute()), *(["--jobs", str(jobs)] if jobs else [])]
            threads = 1
        else:
            jobs = jobs or min(2, cores)
            threads, flags = cores // jobs, ["rules", "--cores", str(cores - cores % jobs)]
        snakemake = [sys.executable, "-m", "snakemake"]
        built = ROOT / "build" / loaded.name
        owner = [] if keep_states else [f"owner={_owner(built)}"]
        options = [
            # at each job's end Snakemake begins to choose among what is ready once more in every such span, until nothing waits
            "--max-jobs-per-timespan", "500/5s", "--nolock", "--rerun-incomplete", "--keep-going", "--quiet", *flags,
            "--config", f"study={study}", f"threads={threads}", f"parts={parts}", *owner, *(["gpu=1"] if gpu else []),
        ]  # fmt: skip
        runs = studies.runs(loaded)
        known = {run.name: run.parameters for run in runs}
        for old in [*(built / "runs").glob("*"), *(built / "tables").glob("*")]:
            gone = old.name.lstrip(".").partition(".")[0] not in known  # of a run that the study no longer has
            if gone and old.is_file():
                old.unlink()
        for page in (built / "chapters" / "yours").glob("[!.]*.ipynb"):
            if page.stem not in (*loaded.chapters, *END):
                page.unlink()
        for name, manifest in provenance.manifests(built / "tables").items():
            # Snakemake sees that as well, but not where its notes were removed
            if staleness.changed(manifest, known[name]):
                (built / "tables" / f"{name}.parquet").unlink(missing_ok=True)
        tables = {path.stem for path in (built / "tables").glob("*.parquet")}
        missing = [run for run in runs if run.name not in tables]
        if missing and not profile:
            _warn(loaded, {run.name for run in missing}, jobs, keep_states)
        if parts > 1 and any(run.notebook == "hidden_states" for run in missing):
            # what fails here the rest goes without, or makes up for
            _run([*snakemake, "read_out", *options], lock)
        failed = _run([*snakemake, "all", *options], lock)
    if failed:
        ended = failures(ROOT / ".snakemake" / "log") if profile else []
        first = ended[0] if ended else "the first error stands above"
        further = f"; {len(ended) - 1} more failed, see above" if ended[1:] else ""
        raise RuntimeError(f"the report is not complete: {first}{further}; what was finished is kept")
    site = built / "book" / "_build" / "html"
    print(f"\nopen {os.path.relpath(site / 'index.html')}")
    if archive:
        print(f"the same in one file: {os.path.relpath(shutil.make_archive(str(built / loaded.name), 'zip', site))}")


@contextlib.contextmanager
def _alone() -> Iterator[int]:
    """Keep other reports out of this folder; give the lock's descriptor, which what is started here holds as well."""
    (ROOT / "build").mkdir(exist_ok=True)
    with open(ROOT / "build" / ".report.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            why = "another report is running in this folder, or what it started still is"
            raise RuntimeError(f"{why}: wait for it, or work in another clone") from None
        yield lock.fileno()


def _opened(study: Path, loaded: studies.Study, own: Own) -> tuple[Path, studies.Study]:
    """Open every encoder of a study; give the file that its jobs read, and the study as it is run.

    Raises:
        ValueError: The study names layers or ranks that its base does not have; of another base they are left out or lowered.
    """
    if loaded.models:
        loaded = opening.show(loaded)
        print()
    base = checkpoints.open(loaded.base)
    if not loaded.models:
        base.check()
    blocks, hidden = base.config.num_hidden_layers, base.config.hidden_size
    fitting = loaded.within(blocks, hidden)
    if fitting != loaded:
        shape = f"{loaded.base} has {blocks} blocks and is {hidden} wide"
        if not own.base:
            raise ValueError(f"{study}: the base {shape}: layers and ranks of probes must lie within that")
        beyond = "layers of the study that lie beyond are left out, and ranks of probes lowered"
        print(f"Warning: {shape}: {beyond}", file=sys.stderr, flush=True)
    if own or loaded.models:
        fitting.write(given := ROOT / "build" / loaded.name / "study.yaml")
        return given, fitting
    return study, fitting


def _warn(study: studies.Study, names: set[str], jobs: int, keep_states: bool) -> None:
    """Say before the first job where this machine may be too small for the runs of these names."""
    gpu = bool(provenance.gpus())
    tflops = costs.GPU * costs.TRAINING / 1e12 if gpu else 0.0
    planned = [job for job in plan.jobs(study, tflops) if job.run.name in names]
    for doubt in room.doubts(planned, jobs, gpu, keep_states):
        print(f"Warning: {doubt}", file=sys.stderr, flush=True)


def _owner(built: Path) -> str:
    """Give the name under which a report's states are its own, wherever its folder lies by now."""
    built.mkdir(parents=True, exist_ok=True)
    path = built / "owner"
    if not path.is_file():
        name = f"id-{uuid.uuid4().hex}"  # Snakemake reads digits as a number
        atomically(path, lambda partial: partial.write_text(name))
    return path.read_text()


def _run(command: Sequence[str], lock: int) -> int:
    """Run Snakemake, which keeps the lock were this process killed; give its exit status.

    Ctrl-C is for Snakemake, which hears it as well, and ends its jobs before itself; only then is it passed on.
    """
    interrupts: list[int] = []
    with subprocess.Popen(command, cwd=ROOT, pass_fds=[lock]) as running:
        before = signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))
        try:
            status = running.wait()
        finally:
            signal.signal(signal.SIGINT, before)
    if interrupts:
        raise KeyboardInterrupt
    return status


def failures(folder: Path) -> list[str]:
    """Say in a line for every failed job which one it was, how the scheduler saw it end, and what its notebook said last.

    Args:
        folder: Where Snakemake keeps its logs: the newest one is read. Where its words are not understood, there is no line.
    """
    lines: dict[str, str] = {}
    log = max(folder.glob("*.log"), key=lambda path: path.stat().st_mtime, default=None)
    if log is None:
        return []
    for block in log.read_text(encoding="utf-8", errors="replace").split("\nError in rule ")[1:]:
        name, _, report = block.partition(":")
        ended = re.search(r"message: (.+?, SLURM status is: '(\w+)')?", report)
        status = (ended and ended[2]) or "failed"
        own = re.search(r"^    log: (\S+)", report, re.MULTILINE)
        errors = []
        if own and Path(own[1]).is_file():
            text = Path(own[1]).read_text(encoding="utf-8", errors="replace")
            errors = re.findall(r"bert_repro: (.*)|error: (.*(?:CANCELLED|memory|oom).*)", text)
        last = "".join(errors[-1]).strip() if errors else ""
        lines.setdefault(name, f"{name}: {status}" + (f", {last}" if last else "") + (f"; see {own[1]}" if own else ""))
    return list(lines.values())
