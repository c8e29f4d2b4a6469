"""The arguments of the command line: every command with its options and their help."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bert_repro.workflow import commands


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "bert_repro", description="Run one notebook, fetch what it needs, see what there is, compare results."
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def add(among: Any, call: Callable, name: str, help: str) -> argparse.ArgumentParser:
        added = among.add_parser(name, help=help)
        added.set_defaults(call=call)
        return added

    kinds = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = add(kinds, commands.run, "run", "execute one notebook with parameters, strictly checked")
    run.add_argument("notebook", help="its name, e.g. similarity, or a file")
    run.add_argument("output", type=Path, help="the executed notebook to write (.ipynb)")
    run.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    run.add_argument("--title", help="words added to the page's heading")
    run.add_argument("--html", action="store_true", help="also write one self-contained page next to it")

    run.add_argument("--json", default="{}", help="parameters as one JSON object; -p wins")

    again = add(kinds, commands.rerun, "rerun", "repeat the run that made a table, with other parameters where given")
    again.add_argument("table", type=Path, help="e.g. results/minilm/tables/structural_probe-base")
    again.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))

    report = add(kinds, commands.report, "report", "run a study and build its book")
    report.add_argument(
        "study",
        type=Path,
        nargs="?",
        help="a study file; studies/demo.yaml if not given, studies/checkpoints.yaml with --tuned, studies/train.yaml with --base alone",
    )
    _add_own(report)
    report.add_argument("--jobs", type=int, default=0, help="notebooks that run at a time, which share the cores")

    report.add_argument("--archive", action="store_true", help="also pack the site into one file")
    report.add_argument("--profile", type=Path, help="run on a cluster, as this folder says, e.g. profiles/slurm")
    report.add_argument("--gpu", action="store_true", help="on a cluster: a GPU for each job that trains or extracts")
    report.add_argument(
        "--parts",
        type=int,
        default=1,
        help="number of jobs that each encoder's extraction is divided among; the states of all are then on disk together",
    )
    report.add_argument(
        "--keep-states", action="store_true", help="keep the states of tuned models when all runs have read them"
    )

    show = add(kinds, commands.parameters, "parameters", "list a notebook's parameters")
    show.add_argument("notebook")

    fetch = add(kinds, commands.fetch, "fetch", "download or generate what a run needs, ahead of it")
    fetch.add_argument(
        "what",
        metavar="MODEL|CORPUS|STUDY.yaml",
        help="an alias, or a hub id with an optional @revision; a corpus such as glue/mnli; or all that a study reads",
    )
    _add_own(fetch)

    listing = add(kinds, commands.listing, "list", "list what there is")
    listing.add_argument("what", choices=("models", "corpora", "tasks", "measures", "targets", "notebooks"))

    study = add(kinds, commands.study, "study", "check a study file and show its runs")
    study.add_argument("file", type=Path)
    _add_own(study)
    study.add_argument("--files", action="store_true", help="list the files of its corpora as sha256sum does")

    plan = add(
        kinds, commands.plan, "plan", "estimate the minutes, memory and disk of a study, job by job, or of one run"
    )
    plan.add_argument(
        "what",
        nargs="?",
        metavar="STUDY.yaml|NOTEBOOK",
        help="a study file, by default as for report, or a run notebook, e.g. finetune",
    )
    plan.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    _add_own(plan)
    plan.add_argument("--jobs", type=int, default=2, help="notebooks that run at a time, one core each")
    plan.add_argument(
        "--gpu-tflops",
        type=float,
        default=0.0,
        metavar="X",
        help="10^12 operations of float32 that a GPU does in a second",
    )

    compare = add(kinds, commands.compare, "compare", "compare two sets of results, or two models of one")
    compare.add_argument("first", help="a folder of tables, or a study's name, e.g. minilm")
    compare.add_argument("second", nargs="?", help="the other set; not needed for two models of one")
    compare.add_argument("--model", help="only this model of the first set, e.g. nli-1")
    compare.add_argument(
        "--other-model", help="its partner in the second set, e.g. nli-2; by default the model of the same name"
    )
    compare.add_argument(
        "--tolerance", type=float, help="largest difference that counts as equal; .02 (two points) if not given"
    )
    compare.add_argument(
        "--csv", type=Path, metavar="OUT.csv", help="write every pair, and every row without a partner"
    )

    quick = add(
        kinds,
        commands.compare_checkpoints,
        "compare-checkpoints",
        "the quick answer on two checkpoints: similarity and change of weights by layer",
    )
    quick.add_argument("base", help="an alias, a folder, or a hub id with an optional @revision")
    quick.add_argument("tuned", help="another one, such as one that was tuned from the first")
    quick.add_argument("--corpus", help="text that both read, see `list corpora`; sentences of Wikipedia if not given")
    quick.add_argument("--words", type=int, help="number of its words; 2000 if not given")

    text = add(kinds, commands.text, "text", "prepare running text for pre-training: cleaned, shuffled, some held out")
    text.add_argument("texts", nargs="+", metavar="TEXT", help="a .txt file, a folder of them, or a corpus, e.g. wiki")
    text.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    text.add_argument(
        "--without",
        nargs="+",
        action="extend",
        default=[],
        metavar="CORPUS",
        help="remove every paragraph that shares 13 words in a row with one of these, e.g. ewt:dev squad:dev",
    )
    text.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="documents to hold out, from each source in proportion"
    )
    text.add_argument("--seed", type=int, default=0, help="seed of the order of documents, and of those held out")

    vocabulary = add(
        kinds, commands.vocabulary, "vocabulary", "learn a vocabulary, and write the plan of a new encoder with it"
    )
    vocabulary.add_argument("texts", nargs="+", metavar="TEXT", help="as for the command text")
    vocabulary.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="a new folder; untrained:FOLDER is a model"
    )
    for name, value in [
        ("size", 8192), ("layers", 6), ("hidden", 256), ("attention-heads", 4), ("feed-forward", 1024), ("positions", 512)
    ]:  # fmt: skip
        vocabulary.add_argument(f"--{name}", type=int, default=value, metavar="N", help=f"{value} if not given")
    vocabulary.add_argument(
        "--initializer-range", type=float, default=0.02, metavar="X", help="standard deviation of the first weights"
    )
    vocabulary.add_argument(
        "--weights",
        type=int,
        metavar="SEED",
        help="also write first weights: of words by counts of their neighbours in the text, of the rest at random "
        "with this seed; FOLDER is then a model",
    )

    states = kinds.add_parser("states", help="the store of hidden states").add_subparsers(dest="action", required=True)
    compute = add(states, commands.compute_states, "compute", "compute the states of corpora under a model")
    compute.add_argument("model")
    compute.add_argument("corpora", nargs="+")
    compute.add_argument(
        "--max-length", type=int, help="most wordpieces of an input; 512 if not given, or as many as the encoder takes"
    )
    compute.add_argument("--pooling", default="mean")
    compute.add_argument("--dtype", default="float16")
    compute.add_argument("--pairs", default="together")
    compute.add_argument(
        "--part", default="1/1", metavar="K/N", help="only the K-th of N parts, for N processes at a time"
    )
    add(states, commands.list_states, "ls", "list what is stored")
    add(states, commands.verify_states, "verify", "compare everything stored with its checksums")
    remove = add(states, commands.remove_states, "rm", "remove an entry")
    remove.add_argument("which", metavar="KEY|all|STUDY.yaml", help="as `states ls` shows it, or what a study reads")
    _add_own(remove)
    drop = add(
        states,
        commands.drop_states,
        "drop",
        "what a report does with states that it computed, once all its runs have read them",
    )
    drop.add_argument("owner", help="the name of the report's states, build/<study>/owner")
    drop.add_argument("model", help="whose states")
    return parser


def _add_own(command: argparse.ArgumentParser) -> None:
    """Add the options for what a reader brings to a study."""
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
        help="labels of a task head whose config names none, in the order of its outputs",
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
