"""One job of each kind of the paper's study at BERT base's size: its peak memory beside what the plan says of it.

    python benchmarks/base_size.py [--jobs states nli ...] [--limit 12] [--folder DIR]

The encoder has random weights and BERT base's shape. Data is cut, shapes are not: ranks, words of a sample, batches and micro-batches
are those of `studies/paper.yaml`, and texts of tuning are the longest of `data/`, so that the largest batch occurs. The plan is asked
about the very same job. A job is all of its processes: the notebook's and those that it starts. It is ended where they
hold more than the limit. The folder, in the system's place for such by default, keeps weights and states from call to call.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from sides import ONE_THREAD

from bert_repro import checkpoints, corpora
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.initial import random_weights
from bert_repro.corpora import Pair
from bert_repro.files import ROOT
from bert_repro.workflow import costs, study

BASE, WITHIN = "bert-base-uncased", 1.5
READ = ("similarity", "structural_probe", "edge_probe")  # hidden states that are there
LONGEST = 64  # items of a text for tuning
SMALL = {"train": "ewt:train[400]", "dev": "ewt:dev[100]", "test": "ewt:test[100]", "further": [], "phenomena": False}
TUNING = {"updates": 1, "evaluations": 1, "reverted_layers": [], "keep_at": [], "test": [], "baseline": False}
JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "states": (
        "states-base",
        {"corpora": ["wiki[400]", "squad:dev[80]"], "drawn": [], "apart": [], "examples": ["ewt:test[1]"]},
    ),
    "similarity": (
        "similarity-base-untrained",
        {
            "corpora": ["wiki[400]"], "drawn": [], "classes": [], "lengths_of": "", "as_long": [], "second_sample": False,
            "methods": ["rsa", "cosine"], "more_methods": ["neighbours"], "grid_methods": [],
        },
    ),
    "structural": ("structural_probe-base", SMALL | {"epochs": 2}),
    "edge": ("edge_probe-base", SMALL | {"epochs": 1, "targets": ["upos", "arc"], "description": False}),
    "nli": ("finetune-nli-1", TUNING | {"train": "mnli:train", "dev": "mnli:dev[32]"}),
    "squad": ("finetune-squad-1", TUNING | {"train": "squad:train", "dev": "squad:dev[8]"}),
}  # fmt: skip
"""By kind: which run of the paper's study, and what is cut."""


class Held(NamedTuple):
    """What a job held at its peak, in bytes; whether it was ended for it; seconds."""

    peak: float
    over: bool
    failed: str
    seconds: float


def encoder(folder: Path) -> Path:
    """Make an encoder of BERT base's shape, or find it."""
    made = folder / "encoder"
    if not made.is_dir():
        made.mkdir(parents=True)
        shape = costs.ENCODERS[BASE]
        Checkpoint.write(
            made,
            shape,
            random_weights(shape, seed=0, deviation=shape.initializer_range),
            tokenizer_from=checkpoints.open("minilm"),
        )
    return made


def longest(reference: str, folder: Path) -> str:
    """Write the items of a corpus of pairs with the most words to a file of its own, in its format; give its path."""
    items = sorted(corpora.stream(reference), key=lambda one: -len(one.first) - len(one.second))[:LONGEST]
    path = folder / f"longest-{reference.replace(':', '-')}"
    if hasattr(items[0], "context"):
        passages = [
            {
                "context": one.context,
                "qas": [
                    {
                        "id": one.id,
                        "question": " ".join(one.first),
                        "answers": [{"text": text, "answer_start": at} for text, at in one.answers],
                    }
                ],
            }
            for one in items
        ]
        path = path.with_suffix(".json")
        path.write_text(json.dumps({"data": [{"title": "longest", "paragraphs": passages}]}))
        return str(path)
    path = path.with_suffix(".tsv")
    rows = [f"{' '.join(one.first)}\t{' '.join(one.second)}\t{one.label}" for one in items if isinstance(one, Pair)]
    path.write_text("\n".join(["premise\thypothesis\tlabel", *rows]) + "\n")
    return str(path)


def setting(name: str, made: Path, folder: Path) -> tuple[str, dict[str, Any]]:
    """Give the notebook of a job, and its parameters."""
    wanted, cut = JOBS[name]
    (run,) = [run for run in study.runs(study.load(ROOT / "studies" / "paper.yaml")) if run.name == wanted]
    given = run.parameters | cut
    if run.notebook == "finetune":
        given |= {"train": longest(cut["train"], folder), "save": str(folder / "saved" / name)}
    replaced = {key: value.replace(BASE, str(made)) for key, value in given.items() if isinstance(value, str)}
    return run.notebook, given | replaced | {"output": str(folder / f"{name}.parquet")}


def read_out(parameters: dict[str, Any], environment: dict[str, str]) -> None:
    """Have the hidden states that a job reads computed before it, as a study's own jobs do."""
    texts = parameters.get("corpora") or [parameters[part] for part in ("train", "dev", "test")]
    for model in (parameters["model"], parameters.get("reference_model")):
        if model:
            command = [sys.executable, "-m", "bert_repro", "states", "compute", model, *texts]
            subprocess.run(
                command, check=True, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )


def held(command: list[str], limit: float, environment: dict[str, str], folder: Path) -> Held:
    """Run a job, looking at its processes five times a second; end it where they hold more than the limit, in bytes."""
    begin, peak, alone = time.perf_counter(), 0.0, 0.0
    with open(folder / "said.txt", "w+") as said:
        job = subprocess.Popen(command, stdout=said, stderr=said, env=environment, cwd=ROOT)
        over = False
        while job.poll() is None:
            processes = family(job.pid)
            peak = max(peak, sum(memory(one, "VmRSS") for one in processes))
            alone = max([alone, *(memory(one, "VmHWM") for one in processes)])
            if peak > limit and not over:
                over = True
                for one in reversed(processes):
                    os.kill(one, 9)
            time.sleep(0.2)
        said.seek(0)
        failed = said.read().strip()[-600:] if job.returncode else ""
    return Held(max(peak, alone), over, failed, time.perf_counter() - begin)


def family(parent: int) -> list[int]:
    """List a process and all that come from it, parents first."""
    above = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            above[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
    found = [parent]
    for one in found:
        found += [child for child, its_parent in above.items() if its_parent == one]
    return found


def memory(process: int, what: str) -> float:
    """Read what a process holds (VmRSS) or has held at most (VmHWM), in bytes; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the same: as of other benchmarks")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--limit", type=float, default=12.0, help="GB")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "bert_repro-base-size"))
    given = parser.parse_args()
    folder = given.folder.resolve()
    made = encoder(folder)
    environment = os.environ | ONE_THREAD | {"BERT_REPRO_CACHE": str(folder / "cache")}
    print(
        f"{'job':12} {'peak GB':>8} {'plan GB':>8} {'times':>6} {'seconds':>8}  within {WITHIN} of the plan, under {given.limit:g} GB"
    )
    for name in given.jobs:
        notebook, parameters = setting(name, made, folder)
        cost = costs.COSTS[notebook](parameters, costs.encoder(str(made)))
        if notebook in READ:
            read_out(parameters, environment)
        command = [sys.executable, "-m", "bert_repro", "run", notebook, str(folder / f"{name}.ipynb")]
        took = held([*command, "--json", json.dumps(parameters)], 1e9 * given.limit, environment, folder)
        if took.failed and not took.over:
            raise RuntimeError(f"{name} failed: {took.failed}")
        times = took.peak / cost.memory
        said = "over the limit, ended" if took.over else "yes" if 1 / WITHIN <= times <= WITHIN else "no"
        print(
            f"{name:12} {took.peak / 1e9:8.2f} {cost.memory / 1e9:8.2f} {times:6.2f} {took.seconds:8.0f}  {said}",
            flush=True,
        )


if __name__ == "__main__":
    main()
