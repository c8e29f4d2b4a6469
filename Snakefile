# A study as a graph: which notebook runs with which setting, and what it reads and writes.
# Called by `make report` (python -m bert_repro report); the settings themselves come from bert_repro/workflow/study.py.
import functools
import json
import shlex
import sys

from bert_repro import states
from bert_repro.files import ROOT
from bert_repro.results import provenance
from bert_repro.workflow import names, plan, turns
from bert_repro.workflow import study as studies

STUDY = studies.load(config["study"])
OUT = f"build/{STUDY.name}"
RUNS = {run.name: run for run in studies.runs(STUDY, OUT)}
PUBLISHED = sorted(path.parent.name for path in (ROOT / "results").glob("*/tables") if any(path.glob("*.parquet")))
THREADS = int(config.get("threads", 1))
GPU = bool(config.get("gpu"))
PARTS = int(config.get("parts", 1))
OWNER = config.get("owner", "")  # of the states that are computed; nobody where all are kept
SURROUNDINGS = {
    "OMP_NUM_THREADS": THREADS,
    "OPENBLAS_NUM_THREADS": THREADS,
    "TF_NUM_INTRAOP_THREADS": THREADS,
    "TF_NUM_INTEROP_THREADS": 1,
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # jobs side by side share a GPU
    states.OWNER: OWNER,
    "PYTHON": shlex.quote(sys.executable),
}
# No part of the commands, which would count as changed, and all be made again, on a machine of other cores or in another folder.
shell.prefix("set -euo pipefail; export " + " ".join(f"{name}={value}" for name, value in SURROUNDINGS.items()) + "; ")
EXECUTE, COMPUTE, DROP = (f'"$PYTHON" -m bert_repro {command}' for command in ("run", "states compute", "states drop"))


@functools.cache
def costs():
    """Estimate what every run takes: once, and only where something is to be run."""
    return {job.run.name: job.cost for job in plan.jobs(STUDY)}


def asked(name=None, parts=1):
    """Tell what a run, a part of one, or a chapter asks of a cluster: twice as much when it is tried again.

    Snakemake evaluates it in a local run too, where nothing comes of it.
    """

    def amount(resource):
        cost = lambda: costs()[name] if name else plan.costs.CHAPTERS
        return lambda wildcards, attempt: attempt * plan.request(cost(), GPU, parts)[resource]

    gpu = {"gpu": 1} if GPU and name and costs()[name].flop else {}
    return {"mem_mb": amount("mem_mb"), "runtime": amount("runtime"), **gpu}


def made(name):
    """What a run leaves: its executed notebook, its table and, for fine-tuning, a checkpoint."""
    model = [f"{RUNS[name].parameters['save']}/model.safetensors"] if "save" in RUNS[name].parameters else []
    return [f"{OUT}/runs/{name}.ipynb", f"{OUT}/tables/{name}.parquet", *model]


def code(notebook, drawing=False):
    """List what a run is made again for when it changed: whatever that computes, no table of one's own is older than its code."""
    paths = provenance.sources(ROOT / "notebooks" / f"{notebook}.ipynb", drawing)
    if drawing:
        paths += sorted((ROOT / "bert_repro" / "figures" / "templates").glob("*.html"))
    return [str(path.relative_to(ROOT)) for path in paths]


TURNS = {run.name: len(RUNS) - turn for turn, run in enumerate(turns.order([*RUNS.values()]))}
SERVED = turns.served([*RUNS.values()]) if OWNER else {}
DROPPED = {name: f"{OUT}/dropped/{name}" for name in SERVED}


rule all:
    input:
        [made(name) for name in RUNS],
        DROPPED.values(),
        f"{OUT}/book/_build/html/index.html",


for run in RUNS.values():

    rule:
        name:
            run.name.replace("-", "_")
        input:
            code(run.notebook),
            [made(need) for need in run.needs],
        output:
            made(run.name),
        params:
            notebook=run.notebook,
            setting=json.dumps(run.parameters),
            title=run.title,
        threads: THREADS
        priority: TURNS[run.name]
        resources:
            **asked(run.name),
        message:
            run.name
        shell:
            EXECUTE + " {params.notebook} {output[0]} --json {params.setting:q} --title {params.title:q}"


# The states of a tuned model lie in the store and are no file of the graph: where they are missing, whoever reads them computes
# them. So nothing is made again because they were dropped; and what reads them once more has them dropped again.
for run in [RUNS[name] for name in DROPPED]:

    rule:
        name:
            f"drop_{run.name}".replace("-", "_")
        input:
            [made(name)[1] for name in SERVED[run.name]],
        output:
            touch(DROPPED[run.name]),
        params:
            model=run.parameters["model"],
        localrule: True
        priority: len(RUNS) + 1
        resources:
            **asked(),
        message:
            f"drop {run.name}"
        shell:
            DROP + ' "$' + states.OWNER + '" {params.model:q}'


READ_OUT = [
    run for run in RUNS.values() if run.notebook == "hidden_states" and PARTS > 1 and not Path(made(run.name)[1]).is_file()
]
FLAGS = {run.name: [f"{OUT}/parts/{run.name}-{number}-of-{PARTS}" for number in range(1, PARTS + 1)] for run in READ_OUT}

if READ_OUT:

    # Hidden states in parts, before the rest: no input of the runs that read them, which would run again whenever PARTS changes.
    # Of a run that is done, they may have been dropped.
    rule read_out:
        input:
            FLAGS.values(),


for run in READ_OUT:
    for number, flag in enumerate(FLAGS[run.name], 1):

        rule:
            name:
                f"{run.name}-{number}-of-{PARTS}".replace("-", "_")
            input:
                [made(need) for need in run.needs],
            output:
                touch(flag),
            params:
                model=run.parameters["model"],
                # of a corpus that is drawn from, a run wants the sentences drawn alone, and computes these itself
                together=[one for one in (*run.parameters["corpora"], *run.parameters["examples"]) if one not in run.parameters["drawn"]],
                apart=run.parameters["apart"],
                part=f"{number}/{PARTS}",
            threads: THREADS
            resources:
                **asked(run.name, PARTS),
            message:
                f"{run.name}, part {number} of {PARTS}"
            shell:
                f"{COMPUTE} {{params.model:q}} {{params.together:q}} --part {{params.part}}"
                + (f" && {COMPUTE} {{params.model:q}} {{params.apart:q}} --pairs apart --part {{params.part}}" if run.parameters["apart"] else "")


def chapters():
    """Give each chapter of the book: its place, its notebook, the tables that it reads and its setting."""
    shown = {name: (f"results/{name}/tables", studies.load(f"studies/{name}.yaml")) for name in PUBLISHED}
    shown["yours"] = f"{OUT}/tables", STUDY
    read = {
        part: [made(run)[1] for run in RUNS]
        if part == "yours"
        else [*sorted(map(str, Path(folder).glob("*.parquet"))), *map(str, Path(folder).parent.glob("staleness.json"))]
        for part, (folder, _) in shown.items()
    }
    for part, (folder, study) in shown.items():
        for chapter in (*study.chapters, *names.END):
            yield f"{part}/{chapter}", chapter, read[part], {"tables_folder": folder, "study": study.name}
    first, first_study = next(iter(shown.values()))
    both = {"published": PUBLISHED, "own": STUDY.name, "own_tables": f"{OUT}/tables"}
    # one's own run beside its published twin; where there is none it has little in common with others: two published ones
    places = [STUDY.name, "yours"] if STUDY.name in PUBLISHED else [*PUBLISHED, "yours", "yours"][:2]
    sides = {}
    for side, (folder, study) in zip(("first", "second"), map(shown.get, places)):
        sides |= {side: folder, f"{side}_name": study.name}
    everything = [path for paths in read.values() for path in paths]
    yield "index", "index", everything, both
    yield "compare", "compare", everything, sides
    yield "reproduce", "reproduce", [*read[next(iter(shown))], "results/bench.csv"], {"tables_folder": first, "study": first_study.name}
    yield "parity", "parity", ["results/parity.csv"], {}
    if history := sorted(map(str, Path("results/life").glob("*.parquet"))):
        yield "life", "life", history, {}


CHAPTERS = {place: rest for place, *rest in chapters()}

for place, (chapter, read, setting) in CHAPTERS.items():

    rule:
        name:
            "chapter_" + place.replace("/", "_")
        input:
            code(f"chapters/{chapter}", drawing=True),
            read,
        output:
            f"{OUT}/chapters/{place}.ipynb",
        params:
            notebook=f"notebooks/chapters/{chapter}.ipynb",
            setting=json.dumps(setting),
        resources:
            **asked(),
        message:
            f"chapter {place}"
        shell:
            EXECUTE + " {params.notebook} {output} --json {params.setting:q}"


rule book:
    input:
        [f"{OUT}/chapters/{place}.ipynb" for place in CHAPTERS],
        [made(name)[0] for name in RUNS],
        [str(p) for p in sorted(Path("book").rglob("*")) if p.is_file() and "__pycache__" not in p.parts],
        [str(p) for p in sorted(Path("bert_repro").rglob("*")) if p.suffix in (".py", ".html")],  # docstrings, templates
        config["study"],
    output:
        f"{OUT}/book/_build/html/index.html",
    params:
        study=config["study"],
        published=" ".join(PUBLISHED),
        build=OUT,
    resources:
        **asked(),
    message:
        "the book"
    shell:
        '"$PYTHON" book/assemble.py --study {params.study:q} --build {params.build}'
        " --published {params.published} && "
        '"$(dirname "$PYTHON")"/jupyter-book build {params.build}/book -n -W --keep-going -q && '
        # a sixth of the site: of the theme's scripts, for its developers; fonts for old browsers; its words in other languages
        "find {params.build}/book/_build '(' -name '*.map' -o -name '*.ttf' ')' -delete && rm -rf {params.build}/book/_build/html/_static/locales"
