"""What each command of the command line does: a function of its arguments per command, which calls the package and prints.

Imports stand inside the functions: a command waits for no room of the package that it does not use. TensorFlow takes seconds.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bert_repro.workflow.own import Own
    from bert_repro.workflow.study import Study


def _own(arguments: argparse.Namespace) -> "Own":
    from bert_repro.workflow.own import Own

    return Own(**{field: getattr(arguments, field) for field in Own.__dataclass_fields__})


def run(arguments: argparse.Namespace) -> None:
    """Execute one notebook with parameters."""
    from bert_repro.results import parameters
    from bert_repro.workflow import notebooks
    from bert_repro.workflow.own import from_here

    notebook = notebooks.find(arguments.notebook)
    try:
        given = json.loads(arguments.json)
    except json.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        raise ValueError(f"--json takes one JSON object, got {arguments.json!r}")
    given |= from_here(parameters.parse([tuple(pair) for pair in arguments.parameter], notebook))
    notebooks.run(notebook, arguments.output, given, html=arguments.html, title=arguments.title)
    print(arguments.output.with_suffix(".html") if arguments.html else arguments.output)


def rerun(arguments: argparse.Namespace) -> None:
    """Run again what made a table."""
    from bert_repro.workflow.notebooks import rerun

    print(rerun.rerun(arguments.table, [tuple(pair) for pair in arguments.parameter]))


def report(arguments: argparse.Namespace) -> None:
    """Run a study and build its book."""
    from bert_repro.workflow import report

    own = _own(arguments)
    where = arguments.profile, arguments.gpu, arguments.parts, arguments.keep_states
    report.make(arguments.study or _usual(own), own, arguments.jobs, arguments.archive, *where)


def _usual(own: "Own") -> Path:
    """Give the study file where none is named."""
    from bert_repro.files import ROOT

    name = "checkpoints" if own.tuned or own.as_seeds else "train" if own.base else "demo"
    return ROOT / "studies" / f"{name}.yaml"


def parameters(arguments: argparse.Namespace) -> None:
    """List what can be set in a notebook."""
    from bert_repro.results import parameters
    from bert_repro.workflow import notebooks

    for p in parameters.read(notebooks.find(arguments.notebook)):
        print(f"{p.name}: {p.type} = {p.default!r}  # {p.help}")


def fetch(arguments: argparse.Namespace) -> None:
    """Download or generate models and corpora, and print where they lie."""
    from bert_repro import checkpoints, corpora
    from bert_repro.workflow import study

    what = arguments.what
    models, texts = [what], []
    if what.endswith((".yaml", ".yml")):
        loaded = study.load(what, _own(arguments))
        models, texts = [loaded.base, *(model.checkpoint for model in loaded.models)], loaded.corpora()
    elif corpora.registered(what):
        models, texts = [], [what]
    encoders = [checkpoints.open(model) for model in models]
    for encoder in encoders:
        encoder.check()
    places = [*(encoder.folder for encoder in encoders), *(path for text in texts for path in corpora.fetch(text))]
    print(*dict.fromkeys(places), sep="\n")


def listing(arguments: argparse.Namespace) -> None:
    """List models, corpora, tasks, measures, targets or notebooks."""
    what = arguments.what
    if what == "models":
        from bert_repro.checkpoints import ALIASES

        lines = [f"{name:18} {text}" for name, text in ALIASES.items()]
        lines.append("untrained:MODEL    the same encoder before any training")
        lines.append("or a folder, or a hub id such as bert-base-uncased or org/name@revision")
    elif what == "corpora":
        from bert_repro.corpora import CORPORA, in_clone

        added = {"data": "DATA=", "tfds": "tfds"}
        homes = {name: "clone" if in_clone(name) else added[source.home] for name, source in CORPORA.items()}
        lines = [f"{name:29} {', '.join(s.files):31} {homes[name]:6} {s.licence}" for name, s in CORPORA.items()]
        lines.append("clone: in data/; DATA=: in a folder that you name; tfds: by `python -m bert_repro fetch NAME`")
        lines.append(
            "or a file: .conllu, .tsv, .json, .jsonl, .txt, each also .gz; a split as in ewt:dev, a draw as in mnli:dev[500], the rest as in mnli:dev[-500]"
        )
        lines.append(
            "wiki~mnli:dev[500]: sentences of wiki in the layout of those pairs; wiki~squad:dev: passages of wiki under SQuAD's questions"
        )
    elif what == "tasks":
        from bert_repro.finetune import TASKS

        lines = [f"{name:18} {task.description}" for name, task in TASKS.items()]
    elif what == "targets":
        from bert_repro.probes.spans import EDGE_TARGETS

        lines = [f"{name:20} {target.description}" for name, target in EDGE_TARGETS.items()]
    elif what == "measures":
        from bert_repro.similarity import MEASURES

        lines = [
            f"{name:20} {m.title}; unchanged by {', '.join(sorted(m.invariant_to))}" for name, m in MEASURES.items()
        ]
    else:
        from bert_repro.files import ROOT

        lines = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "notebooks").rglob("[a-z]*.ipynb"))]
    print("\n".join(lines))


def study(arguments: argparse.Namespace) -> None:
    """Check a study file and show its runs, or the files of its corpora."""
    from bert_repro import corpora, files
    from bert_repro.results import provenance
    from bert_repro.workflow import staleness, study

    loaded = _fitted(arguments.file, _own(arguments))
    if arguments.files:
        print(*(f"{digest}  {path}" for path, digest in corpora.checksums(loaded.corpora()).items()), sep="\n")
        return
    print(f"{loaded.name}: {loaded.title}; base encoder {loaded.base}")
    made = provenance.manifests(files.ROOT / "build" / loaded.name / "tables")
    for run in study.runs(loaded):
        there = (files.ROOT / str(run.parameters["output"])).is_file()
        known = run.name in made and not staleness.changed(made[run.name], run.parameters)
        state = "to do" if not there else "done" if known else "stale"
        print(f"  {run.name:34} {state:6} after {', '.join(run.needs) or '-'}")


def _fitted(file: Path | str, own: "Own") -> "Study":
    """Load a study as a report would run it."""
    from bert_repro.workflow import costs
    from bert_repro.workflow import study as studies

    loaded = studies.load(file, own)
    if not own.base:
        return loaded
    base = costs.encoder(loaded.base)
    return loaded.within(base.num_hidden_layers, base.hidden_size)


def plan(arguments: argparse.Namespace) -> None:
    """Estimate what a study or one run will take."""
    from bert_repro.results import parameters
    from bert_repro.workflow import notebooks, plan

    own = _own(arguments)
    what = arguments.what or str(_usual(own))
    if what.endswith((".yaml", ".yml")):
        if arguments.parameter:
            raise ValueError(f"-p goes with a notebook, {what} is a study file: edit that")
        print(plan.show(_fitted(what, own), arguments.jobs, arguments.gpu_tflops))
        return
    if own or arguments.gpu_tflops:
        raise ValueError(f"{what} is a notebook, which takes -p alone: a study takes checkpoints, texts and a GPU")
    notebook = notebooks.find(what)
    setting = {parameter.name: parameter.default for parameter in parameters.read(notebook)}
    given = parameters.parse([tuple(pair) for pair in arguments.parameter], notebook)
    print(plan.show_run(notebook.stem, setting | given))


def compare(arguments: argparse.Namespace) -> None:
    """Compare two sets of results, or two models."""
    from bert_repro.results import contrasts

    if arguments.second is None and arguments.other_model is None:
        raise ValueError("one set has nothing to be compared with: give a second one, or --model and --other-model")
    names = [arguments.first, arguments.second or arguments.first]
    first = second = contrasts.read(contrasts.folder(names[0]))
    if names[1] != names[0]:
        second = contrasts.read(contrasts.folder(names[1]))
    compared = contrasts.compare(
        first,
        second,
        model=arguments.model,
        other_model=arguments.other_model,
        tolerance=contrasts.TOLERANCE if arguments.tolerance is None else arguments.tolerance,
    )
    if arguments.model:
        names = [f"{arguments.model} of {names[0]}", f"{arguments.other_model or arguments.model} of {names[1]}"]
    text = contrasts.text(compared, *names)
    if arguments.csv:
        compared.drop(columns="replicates").rename(columns={"value": "difference"}).to_csv(
            arguments.csv, index=False, float_format="%.7g"
        )
    print(text)


def compare_checkpoints(arguments: argparse.Namespace) -> None:
    """Print the quick answer on two checkpoints."""
    from bert_repro.workflow import quick

    corpus = arguments.corpus or quick.CORPUS
    words = quick.WORDS if arguments.words is None else arguments.words
    shown = shutil.get_terminal_size().columns, quick.can_show_blocks(sys.stdout.encoding)
    for number, paragraph in enumerate(quick.answer(arguments.base, arguments.tuned, corpus, words, *shown)):
        print(f"\n{paragraph}" if number else paragraph, flush=True)  # the first lines are there long before the last


def compute_states(arguments: argparse.Namespace) -> None:
    """Compute the hidden states of corpora and store them."""
    from bert_repro import states
    from bert_repro.states import store
    from bert_repro.states.compute import compute

    store.cap()  # refused as well where all states are there
    given = arguments.max_length
    longest = states.usual(arguments.model).max_length if given is None else given
    setting = states.Setting(longest, arguments.pooling, arguments.dtype, arguments.pairs)
    part, _, parts = arguments.part.partition("/")
    if not (part.isdecimal() and parts.isdecimal()):
        raise ValueError(f"--part takes K/N, e.g. 2/8 for the second of eight parts, got {arguments.part!r}")
    compute(arguments.model, arguments.corpora, setting, int(part), int(parts))


def list_states(arguments: argparse.Namespace) -> None:
    """List the entries of the store, and its size in GB."""
    from bert_repro import states
    from bert_repro.states import store

    listed, most = states.stored(), store.cap() / 1e9
    print(listed.to_string(index=False) if len(listed) else "the store is empty")
    print(f"{listed['MB'].sum():.1f} MB of at most {most:g} GB in {store.folder()}")


def verify_states(arguments: argparse.Namespace) -> None:
    """Compare everything stored with its checksums."""
    from bert_repro.states import store

    damaged = {entry.key: entry.damage() for entry in store.entries()}
    faults = [f"{key}: {fault}" for key, damage in damaged.items() for fault in damage.values()]
    print("\n".join([*faults, f"{len(damaged)} entries were compared with their checksums"]))
    if faults:
        raise OSError(f"{len(faults)} parts of the store are damaged: the next use of an entry computes them again")


def remove_states(arguments: argparse.Namespace) -> None:
    """Remove one entry of the store, all, or those that a study reads."""
    from bert_repro import states
    from bert_repro.workflow import plan

    which = arguments.which
    of_a_study = which.endswith((".yaml", ".yml"))
    count, megabytes = plan.forget(which, _own(arguments)) if of_a_study else states.remove(which)
    print(f"{count} entries removed, {megabytes:.1f} MB")


def drop_states(arguments: argparse.Namespace) -> None:
    """Remove the states of a model that a report computed, once all its runs have read them."""
    from bert_repro import states

    count, megabytes = states.drop(arguments.owner, arguments.model)
    print(f"{count} entries removed, {megabytes:.1f} MB")


def text(arguments: argparse.Namespace) -> None:
    """Prepare running text for pre-training, and count what was kept."""
    from bert_repro.corpora import cleaning

    counts = cleaning.prepare(arguments.texts, arguments.out, arguments.without, arguments.held_out, arguments.seed)
    for source, count in counts["sources"].items():
        sizes = (f"{count[part]['words']:12,} words {name}" for part, name in [("before", "read"), ("after", "kept")])
        print(f"{source:30}{', '.join(sizes)}, {count['held_out']['documents']} documents held out")
    print(arguments.out)


def vocabulary(arguments: argparse.Namespace) -> None:
    """Learn a vocabulary, and write the plan of a new encoder."""
    from bert_repro.checkpoints import vocabulary
    from bert_repro.checkpoints.families import Config

    a = arguments
    shape = (a.size, a.hidden, a.layers, a.attention_heads, a.feed_forward, a.positions)
    vocabulary.make(a.texts, a.out, Config(*shape, initializer_range=a.initializer_range), a.weights)
    print(a.out)
