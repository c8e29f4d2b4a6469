"""The command line: parses arguments and calls the package; it computes nothing itself.

It refuses to show a traceback for what a user can put right: one line says what is wrong and what to do (`--debug` shows all).
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bert_repro.workflow.own import Own


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "bert_repro", description="Run one notebook, fetch what it needs, see what there is, compare results."
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="execute one notebook with parameters, strictly checked")
    run.add_argument("notebook", help="its name, e.g. similarity, or a file")
    run.add_argument("output", type=Path, help="the executed notebook to write (.ipynb)")
    run.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    run.add_argument("--title", help="setting shown in the page's heading")
    run.add_argument("--html", action="store_true", help="leave a single self-contained page beside it")

    run.add_argument("--json", default="{}", help="parameters as one JSON object; -p wins")

    again = commands.add_parser("rerun", help="run again what made a table, with other parameters where some are given")
    again.add_argument("table", type=Path, help="e.g. results/minilm/tables/structural_probe-base")
    again.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))

    report = commands.add_parser("report", help="run a study and build its book")
    report.add_argument(
        "study",
        type=Path,
        nargs="?",
        help="a study file; studies/demo.yaml if not given, or studies/checkpoints.yaml with --tuned",
    )
    _add_own(report)
    report.add_argument(
        "--jobs", type=int, default=0, help="notebooks side by side; the cores are shared out among them"
    )

    report.add_argument("--archive", action="store_true", help="also pack the site into one file")
    report.add_argument("--profile", type=Path, help="run on a cluster, as this folder says, e.g. profiles/slurm")
    report.add_argument("--gpu", action="store_true", help="on a cluster: a GPU for each job that trains or reads out")
    report.add_argument("--parts", type=int, default=1, help="jobs among which each encoder's reading out is shared")

    show = commands.add_parser("parameters", help="list a notebook's parameters")
    show.add_argument("notebook")

    fetch = commands.add_parser("fetch", help="download or generate what a run needs, ahead of it")
    fetch.add_argument(
        "what",
        metavar="MODEL|CORPUS|STUDY.yaml",
        help="an alias, or a hub id with an optional @revision; a corpus such as glue/mnli; or all that a study reads",
    )
    _add_own(fetch)

    listing = commands.add_parser("list", help="list what there is")
    listing.add_argument("what", choices=("models", "corpora", "tasks", "measures", "targets", "notebooks"))

    study = commands.add_parser("study", help="check a study file and show its runs")
    study.add_argument("file", type=Path)
    _add_own(study)
    study.add_argument("--files", action="store_true", help="list the files of its corpora as sha256sum does")

    plan = commands.add_parser(
        "plan", help="estimate the minutes, memory and disk of a study, job by job, or of one run"
    )
    plan.add_argument("what", metavar="STUDY.yaml|NOTEBOOK", help="a study file, or a run notebook, e.g. finetune")
    plan.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    _add_own(plan)
    plan.add_argument("--jobs", type=int, default=2, help="notebooks side by side, one core each")

    compare = commands.add_parser("compare", help="lay two sets of results side by side, or two models of one")
    compare.add_argument("first", help="a folder of tables, or a study's name, e.g. minilm")
    compare.add_argument("second", nargs="?", help="the other set; not needed for two models of one")
    compare.add_argument("--model", help="only this model of the first set, e.g. nli-1")
    compare.add_argument("--other-model", help="its partner in the second set, e.g. nli-2; by default that of its name")
    compare.add_argument("--tolerance", type=float, help="how much may differ; .02 (two points) if not given")
    compare.add_argument("--csv", type=Path, metavar="OUT.csv", help="write every pair and every row without one")

    quick = commands.add_parser(
        "compare-checkpoints", help="the quick answer on two checkpoints: similarity and change of weights by layer"
    )
    quick.add_argument("base", help="an alias, a folder, or a hub id with an optional @revision")
    quick.add_argument("tuned", help="another one, such as what somebody made of the first")
    quick.add_argument(
        "--corpus", help="whose words both read, see `list corpora`; sentences of Wikipedia if not given"
    )
    quick.add_argument("--words", type=int, help="how many of them; 2000 if not given")

    text = commands.add_parser("text", help="prepare running text for pre-training: cleaned, shuffled, some held out")
    text.add_argument("texts", nargs="+", metavar="TEXT", help="a .txt file, a folder of them, or a corpus, e.g. wiki")
    text.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    text.add_argument(
        "--without",
        nargs="+",
        action="extend",
        default=[],
        metavar="CORPUS",
        help="take out every paragraph that shares 13 words in a row with one of these, e.g. ewt:dev squad:dev",
    )
    text.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="documents to put aside, from each source its part"
    )
    text.add_argument("--seed", type=int, default=0, help="of the order of documents, and of those put aside")

    vocabulary = commands.add_parser(
        "vocabulary", help="learn a vocabulary, and write the plan of a new encoder with it"
    )
    vocabulary.add_argument("texts", nargs="+", metavar="TEXT", help="as of the command text")
    vocabulary.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="a new folder; untrained:FOLDER is a model"
    )
    for name, value in [
        ("size", 8192), ("layers", 6), ("hidden", 256), ("attention-heads", 4), ("feed-forward", 1024), ("positions", 512)
    ]:  # fmt: skip
        vocabulary.add_argument(f"--{name}", type=int, default=value, metavar="N", help=f"{value} if not given")
    vocabulary.add_argument(
        "--initializer-range", type=float, default=0.02, metavar="X", help="deviation of the first weights"
    )

    states = commands.add_parser("states", help="the store of hidden states").add_subparsers(
        dest="action", required=True
    )
    compute = states.add_parser("compute", help="compute the states of corpora under a model")
    compute.add_argument("model")
    compute.add_argument("corpora", nargs="+")
    compute.add_argument("--max-length", type=int, help="512 if not given, or what the encoder takes")
    compute.add_argument("--pooling", default="mean")
    compute.add_argument("--dtype", default="float16")
    compute.add_argument("--pairs", default="together")
    compute.add_argument(
        "--part", default="1/1", metavar="K/N", help="only the K-th of N parts, each by a process of its own"
    )
    states.add_parser("ls", help="list what is stored")
    states.add_parser("verify", help="compare everything stored with its checksums")
    remove = states.add_parser("rm", help="remove an entry")
    remove.add_argument("which", metavar="KEY|all|STUDY.yaml", help="as `states ls` shows it, or what a study reads")
    _add_own(remove)
    return parser


def _add_own(command: argparse.ArgumentParser) -> None:
    """Let a command take what a reader brings to a study."""
    command.add_argument("--base", default="", help="another base encoder: hub id, folder or alias")
    command.add_argument(
        "--tuned",
        nargs="+",
        default=[],
        metavar="NAME=CHECKPOINT",
        help="checkpoints that somebody tuned from the base",
    )
    command.add_argument(
        "--as-seeds",
        nargs="+",
        default=[],
        metavar="NAME=CHECKPOINT,CHECKPOINT",
        help="several that are seeds of one task",
    )
    command.add_argument(
        "--labels",
        nargs="+",
        default=[],
        metavar="NAME=LABEL,LABEL",
        help="of a task head whose config names none, in its order",
    )
    command.add_argument(
        "--text", default="", help="neutral text of your own: a .txt file, one line a paragraph, or a corpus"
    )
    command.add_argument(
        "--treebank",
        nargs="+",
        default=[],
        metavar="CONLLU",
        help="a treebank: train, dev and test, or a folder of them",
    )


def _own(arguments: argparse.Namespace) -> "Own":
    from bert_repro.workflow.own import Own

    return Own(**{field: getattr(arguments, field) for field in Own.__dataclass_fields__})


def _run(arguments: argparse.Namespace) -> None:
    import json

    from bert_repro.workflow import notebooks

    notebook = notebooks.find(arguments.notebook)
    try:
        given = json.loads(arguments.json)
    except json.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        raise ValueError(f"--json takes one JSON object, got {arguments.json!r}")
    given |= notebooks.parse([tuple(pair) for pair in arguments.parameter], notebook)
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
    from bert_repro.workflow import notebooks, plan, study

    if arguments.what.endswith((".yaml", ".yml")):
        if arguments.parameter:
            raise ValueError(f"-p goes with a notebook, {arguments.what} is a study file: edit that")
        print(plan.show(study.load(arguments.what, _own(arguments)), arguments.jobs))
        return
    notebook = notebooks.find(arguments.what)
    setting = {parameter.name: parameter.default for parameter in notebooks.parameters(notebook)}
    given = notebooks.parse([tuple(pair) for pair in arguments.parameter], notebook)
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
        count, megabytes = _remove(arguments.which, _own(arguments))
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
    vocabulary.make(given.texts, given.out, Config(*shape, initializer_range=given.initializer_range))
    print(given.out)


def main(given: list[str] | None = None) -> int:
    """Run a command and return its exit status.

    It is 0; 1 for an error with a message, or without one where nobody reads any more; 2 for wrong usage; 130 for Ctrl-C.
    """
    arguments = _parser().parse_args(given)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        if arguments.command == "run":
            _run(arguments)
        elif arguments.command == "rerun":
            from bert_repro.workflow.notebooks import rerun

            print(rerun.rerun(arguments.table, [tuple(pair) for pair in arguments.parameter]))
        elif arguments.command == "report":
            from bert_repro.files import ROOT
            from bert_repro.workflow import report

            where = arguments.profile, arguments.gpu, arguments.parts
            own = _own(arguments)
            usual = "checkpoints" if own.tuned or own.as_seeds else "demo"
            study = arguments.study or ROOT / "studies" / f"{usual}.yaml"
            report.make(study, own, arguments.jobs, arguments.archive, *where)
        elif arguments.command == "parameters":
            from bert_repro.workflow import notebooks

            for p in notebooks.parameters(notebooks.find(arguments.notebook)):
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
