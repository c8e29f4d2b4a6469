"""The command line: parses arguments and calls the package; it computes nothing itself.

It refuses to show a traceback for what a user can put right: one line says what is wrong and what to do (`--debug` shows all).
"""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from bert_repro.workflow.arguments import parser

if TYPE_CHECKING:
    from bert_repro.workflow.own import Own


def _own(arguments: argparse.Namespace) -> "Own":
    from bert_repro.workflow.own import Own

    return Own(**{field: getattr(arguments, field) for field in Own.__dataclass_fields__})


def _run(arguments: argparse.Namespace) -> None:
    import json

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


def _fetch(what: str, own: "Own") -> None:
    from bert_repro import checkpoints, corpora
    from bert_repro.workflow import study

    models, texts = [what], []
    if what.endswith((".yaml", ".yml")):
        loaded = study.load(what, own)
        models, texts = [loaded.base, *(model.checkpoint for model in loaded.models)], loaded.corpora()
    elif corpora.registered(what):
        models, texts = [], [what]
    encoders = [checkpoints.open(model) for model in models]
    for encoder in encoders:
        encoder.check()
    places = [*(encoder.folder for encoder in encoders), *(path for text in texts for path in corpora.fetch(text))]
    print(*dict.fromkeys(places), sep="\n")


def _list(what: str) -> None:
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


def _study(arguments: argparse.Namespace) -> None:
    from bert_repro import corpora, files
    from bert_repro.results import provenance
    from bert_repro.workflow import staleness, study

    loaded = study.load(arguments.file, _own(arguments))
    if arguments.files:
        print(*(f"{digest}  {path}" for path, digest in corpora.checksums(loaded.corpora()).items()), sep="\n")
        return
    print(f"{loaded.name}: {loaded.title}; base encoder {loaded.base}")
    made = provenance.manifests(files.ROOT / "build" / loaded.name / "tables")
    for run in study.runs(loaded):
        there = (files.ROOT / str(run.parameters["output"])).is_file()
        state = "to do" if not there else "stale" if staleness.changed(made[run.name], run.parameters) else "done"
        print(f"  {run.name:34} {state:6} after {', '.join(run.needs) or '-'}")


def _plan(arguments: argparse.Namespace) -> None:
    from bert_repro.results import parameters
    from bert_repro.workflow import notebooks, plan, study

    if arguments.what.endswith((".yaml", ".yml")):
        if arguments.parameter:
            raise ValueError(f"-p goes with a notebook, {arguments.what} is a study file: edit that")
        print(plan.show(study.load(arguments.what, _own(arguments)), arguments.jobs, arguments.gpu_tflops))
        return
    notebook = notebooks.find(arguments.what)
    setting = {parameter.name: parameter.default for parameter in parameters.read(notebook)}
    given = parameters.parse([tuple(pair) for pair in arguments.parameter], notebook)
    print(plan.show_run(notebook.stem, setting | given))


def _compare(arguments: argparse.Namespace) -> None:
    from bert_repro.results import contrasts, tables

    if arguments.second is None and arguments.other_model is None:
        raise ValueError("one set has nothing to be compared with: give a second one, or --model and --other-model")
    names = [arguments.first, arguments.second or arguments.first]
    first = second = tables.merge(contrasts.folder(names[0]))
    if names[1] != names[0]:
        second = tables.merge(contrasts.folder(names[1]))
    found = contrasts.compare(
        first,
        second,
        model=arguments.model,
        other_model=arguments.other_model,
        tolerance=contrasts.TOLERANCE if arguments.tolerance is None else arguments.tolerance,
    )
    if arguments.model:
        names = [f"{arguments.model} of {names[0]}", f"{arguments.other_model or arguments.model} of {names[1]}"]
    text = contrasts.text(found, *names)
    if arguments.csv:
        found.drop(columns="replicates").rename(columns={"value": "difference"}).to_csv(
            arguments.csv, index=False, float_format="%.7g"
        )
    print(text)


def _compare_checkpoints(arguments: argparse.Namespace) -> None:
    import shutil

    from bert_repro.workflow import quick

    corpus = arguments.corpus or quick.CORPUS
    words = quick.WORDS if arguments.words is None else arguments.words
    shown = shutil.get_terminal_size().columns, quick.can_show_blocks(sys.stdout.encoding)
    for number, paragraph in enumerate(quick.answer(arguments.base, arguments.tuned, corpus, words, *shown)):
        print(f"\n{paragraph}" if number else paragraph, flush=True)  # the first lines are there long before the last


def _states(arguments: argparse.Namespace) -> None:
    from bert_repro import states
    from bert_repro.states import store
    from bert_repro.states.compute import compute

    if arguments.action == "compute":
        given = arguments.max_length
        longest = states.usual(arguments.model).max_length if given is None else given
        setting = states.Setting(longest, arguments.pooling, arguments.dtype, arguments.pairs)
        part, _, parts = arguments.part.partition("/")
        if not (part.isdecimal() and parts.isdecimal()):
            raise ValueError(f"--part takes K/N, e.g. 2/8 for the second of eight parts, got {arguments.part!r}")
        compute(arguments.model, arguments.corpora, setting, int(part), int(parts))
    elif arguments.action == "ls":
        listed, most = states.stored(), store.cap() / 1e9
        print(listed.to_string(index=False) if len(listed) else "the store is empty")
        print(f"{listed['MB'].sum():.1f} MB of at most {most:g} GB in {store.folder()}")
    elif arguments.action == "verify":
        found = {entry.key: entry.damage() for entry in store.entries()}
        faults = [f"{key}: {fault}" for key, damage in found.items() for fault in damage.values()]
        print("\n".join([*faults, f"{len(found)} entries were compared with their checksums"]))
        if faults:
            raise OSError(f"{len(faults)} parts of the store are damaged: the next use of an entry computes them again")
    else:
        drop = arguments.action == "drop"
        done = states.drop(arguments.owner, arguments.model) if drop else _remove(arguments.which, _own(arguments))
        count, megabytes = done
        print(f"{count} entries removed, {megabytes:.1f} MB")


def _remove(which: str, own: "Own") -> tuple[int, float]:
    if which.endswith((".yaml", ".yml")):
        from bert_repro.workflow import plan

        return plan.forget(which, own)
    from bert_repro import states

    return states.remove(which)


def _text(arguments: argparse.Namespace) -> None:
    from bert_repro.corpora import cleaning

    told = cleaning.prepare(arguments.texts, arguments.out, arguments.without, arguments.held_out, arguments.seed)
    for source, count in told["sources"].items():
        sizes = (f"{count[part]['words']:12,} words {name}" for part, name in [("before", "read"), ("after", "kept")])
        print(f"{source:30}{', '.join(sizes)}, {count['held_out']['documents']} documents held out")
    print(arguments.out)


def _vocabulary(given: argparse.Namespace) -> None:
    from bert_repro.checkpoints import vocabulary
    from bert_repro.checkpoints.families import Config

    shape = given.size, given.hidden, given.layers, given.attention_heads, given.feed_forward, given.positions
    vocabulary.make(given.texts, given.out, Config(*shape, initializer_range=given.initializer_range), given.weights)
    print(given.out)


def _have_a_home() -> None:
    """Name a home folder where there is none, as for an account of a container without an entry in passwd: Jupyter needs one."""
    from pathlib import Path

    from bert_repro.files import ROOT

    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(ROOT / "build" / "home")


def main(given: list[str] | None = None) -> int:
    """Run a command and return its exit status.

    It is 0; 1 for an error with a message, or without one where nobody reads any more; 2 for wrong usage; 130 for Ctrl-C.
    """
    arguments = parser().parse_args(given)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _have_a_home()
    try:
        if arguments.command == "run":
            _run(arguments)
        elif arguments.command == "rerun":
            from bert_repro.workflow.notebooks import rerun

            print(rerun.rerun(arguments.table, [tuple(pair) for pair in arguments.parameter]))
        elif arguments.command == "report":
            from bert_repro.files import ROOT
            from bert_repro.workflow import report

            where = arguments.profile, arguments.gpu, arguments.parts, arguments.keep_states
            own = _own(arguments)
            usual = "checkpoints" if own.tuned or own.as_seeds else "demo"
            study = arguments.study or ROOT / "studies" / f"{usual}.yaml"
            report.make(study, own, arguments.jobs, arguments.archive, *where)
        elif arguments.command == "parameters":
            from bert_repro.results import parameters
            from bert_repro.workflow import notebooks

            for p in parameters.read(notebooks.find(arguments.notebook)):
                print(f"{p.name}: {p.type} = {p.default!r}  # {p.help}")
        elif arguments.command == "fetch":
            _fetch(arguments.what, _own(arguments))
        elif arguments.command == "list":
            _list(arguments.what)
        elif arguments.command == "study":
            _study(arguments)
        elif arguments.command == "plan":
            _plan(arguments)
        elif arguments.command == "text":
            _text(arguments)
        elif arguments.command == "vocabulary":
            _vocabulary(arguments)
        elif arguments.command == "compare":
            _compare(arguments)
        elif arguments.command == "compare-checkpoints":
            _compare_checkpoints(arguments)
        else:
            _states(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; what is still to be written goes nowhere
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        if arguments.debug:
            raise
        print(f"bert_repro: {' '.join(str(error).split())}", file=sys.stderr)  # one line, even of YAML
        return 1
    except KeyboardInterrupt:
        print("bert_repro: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
