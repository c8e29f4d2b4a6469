"""The command line: what there is can be seen, and what a user can put right is told in one line, with nothing left behind."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest

from bert_repro import checkpoints, corpora
from bert_repro.__main__ import main
from bert_repro.checkpoints import Checkpoint, builtin
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.checkpoints.families import Config
from bert_repro.files import ROOT
from bert_repro.results import keys, parameters, tables
from bert_repro.workflow import notebooks, report, study
from bert_repro.workflow.own import TEMPLATE, Own
from bert_repro.workflow.study import load
from bert_repro.workflow.study import runs as study_runs

TRAIN = (ROOT / "studies" / "train.yaml").read_text()


def fails(capsys, *arguments) -> str:
    """Run a command that must end with 1 and one line; give the line."""
    assert main([str(a) for a in arguments]) == 1
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("bert_repro: ")]
    assert len(lines) == 1 and err.rstrip().endswith(lines[0]), err
    assert "Traceback" not in err and out == ""
    return lines[0]


def slow(*values):
    """Mark these values of a test as slow."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def apart(*arguments, **environment):
    """Run a command in a process of its own."""
    command = [sys.executable, "-m", "bert_repro", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=300)


# What there is


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("models", ["minilm ", "tiny ", "untrained:MODEL"]),
        (
            "corpora",
            ["train, dev, test", "ewt ", "glue/mnli ", "CC BY-SA 4.0", ".conllu", "clone  CC BY-SA", "DATA=  CC BY-NC"],
        ),
        ("tasks", ["nli ", "parsing ", "dependency parsing"]),
        ("measures", ["rsa ", "cosine "]),
        (
            "targets",
            ["upos                 part of speech", "relation             relation of a word to its head, given both"],
        ),
        ("notebooks", ["notebooks/similarity.ipynb", "notebooks/chapters/index.ipynb"]),
    ],
)
def test_list(capsys, what, expected):
    assert main(["list", what]) == 0
    out, err = capsys.readouterr()
    assert err == "" and all(text in out for text in expected)


@pytest.mark.slow
def test_listing_needs_no_tensorflow():
    code = (
        "import sys; from bert_repro.__main__ import main\n"
        "for what in ('models', 'corpora', 'measures', 'notebooks'): main(['list', what])\n"
        f"main(['study', {str(ROOT / 'studies' / 'demo.yaml')!r}]); main(['parameters', 'similarity'])\n"
        "print({'tensorflow', 'keras', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n") and done.stderr == ""


def test_parameters_are_shown_with_their_help(capsys):
    assert main(["parameters", "similarity"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "layers: list[int] = []  # which layers, 0 being the embeddings; empty for all" in lines
    assert len(lines) == len(parameters.read(notebooks.find("similarity")))


def test_a_study_is_shown_with_its_runs(capsys):
    assert main(["study", str(ROOT / "studies" / "train.yaml"), "--base", "bert-base-uncased"]) == 0
    first, *runs = capsys.readouterr().out.splitlines()
    assert first.startswith("train_bert_base_uncased: ") and first.endswith("base encoder bert-base-uncased")
    assert len(runs) == len(study_runs(load(ROOT / "studies" / "train.yaml"))) > 20
    (line,) = [run for run in runs if run.split()[0] == "similarity-base-parsing-1"]
    assert line.endswith("after states-base, states-parsing-1")


# What is wrong, before anything runs


@pytest.fixture
def no_snakemake(monkeypatch):
    """Let nothing run: what is wrong must be found before."""

    def run(command, lock):
        raise AssertionError("Snakemake was started")

    monkeypatch.setattr(report, "_run", run)


@pytest.mark.parametrize(
    ("replace", "arguments", "expected"),
    [
        ({}, ["--jobs", "-1"], "--jobs must lie between 1 and the "),
        ({}, ["--jobs", "-1", "--profile", "profiles/slurm"], "--jobs must lie between 1 and the "),
        ({}, ["--profile", "nowhere"], "--profile takes a folder with Snakemake's config.yaml, e.g. profiles/slurm, got nowhere"),
        ({}, ["--profile", "studies"], "--profile takes a folder with Snakemake's config.yaml"),
        ({"base: small": "base: tiny"}, ["--base", "no such model!"], "'no such model!' is neither a folder, nor a hub id"),
        ({"mnli:dev[300]": "mnli:test"}, ["--base", "tiny"], "corpus 'mnli' has no split 'test': write one of"),
        ({"wiki[240]": "wikis"}, ["--base", "tiny"], "unknown corpus 'wikis': expected one of"),
        ({"wiki[240]": "mine.conllu"}, ["--base", "tiny"], "no corpus file mine.conllu"),
        ({"wiki[240]": "a:b:c"}, ["--base", "tiny"], "cannot read the corpus reference 'a:b:c'"),
        ({"wiki[240]": "gum:dev"}, ["--base", "tiny"], "corpus gum:dev does not come with the clone: name the folder that holds"),
    ],
)  # fmt: skip
def test_report_refuses_before_it_runs(capsys, tmp_path, monkeypatch, no_snakemake, replace, arguments, expected):
    monkeypatch.delenv("BERT_REPRO_DATA", raising=False)
    text = TRAIN.replace("name: train", "name: refused")
    for old, new in replace.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "study.yaml").write_text(text)
    monkeypatch.chdir(ROOT)
    assert expected in fails(capsys, "report", tmp_path / "study.yaml", *arguments)
    assert not (ROOT / "build" / "refused").exists()


def test_report_names_a_data_folder_that_is_gone(capsys, tmp_path, monkeypatch, no_snakemake):
    (tmp_path / "study.yaml").write_text(TRAIN.replace("wiki[240]", "gum:dev"))
    for folder, expected in ((tmp_path / "gone", "does not exist"), (tmp_path, "should lie at")):
        monkeypatch.setenv("BERT_REPRO_DATA", str(folder))
        assert expected in fails(capsys, "report", tmp_path / "study.yaml", "--base", "tiny")


def test_report_can_be_called_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "study.yaml").write_text(TRAIN)
    base = tmp_path / "mine"
    base.mkdir()
    config = Config(checkpoints.open("tiny").config.vocab_size, 8, 1, 1, 8, 16)
    Checkpoint.write(base, config, random_weights(config, 0, 0.02), checkpoints.open("tiny"))
    seen = []

    def run(command, lock):
        seen.extend([part for part in command if part.startswith(("study=", "base="))])
        return 0

    monkeypatch.setattr(report, "_run", run)
    monkeypatch.setattr(fcntl, "flock", lambda *given: None)  # a report may be running
    monkeypatch.chdir(tmp_path)
    report.make(Path("study.yaml"))
    assert seen == [f"study={tmp_path / 'study.yaml'}"]
    report.make(Path("study.yaml"), Own(base="mine"))  # another study, which is written
    written = ROOT / seen[1].removeprefix("study=")
    assert written.name == "study.yaml" and study.load(written).base == str(base)
    shutil.rmtree(written.parent)
    monkeypatch.chdir(ROOT / "studies")
    report.make(Path("train.yaml"))
    assert seen[2:] == ["study=studies/train.yaml"]


def test_a_table_made_with_other_parameters_is_said_to_be_stale_and_made_again(tmp_path, monkeypatch, request, capsys):
    study = tmp_path / "study.yaml"
    study.write_text(TRAIN.replace("name: train", "name: other_parameters"))
    folder = ROOT / "build" / "other_parameters" / "tables"
    request.addfinalizer(lambda: shutil.rmtree(folder.parent, ignore_errors=True))
    folder.mkdir(parents=True)
    first, second, *others = study_runs(load(study))
    for run, changed in ((first, {}), (second, {"resamples": 123})):
        made = {"notebook": run.notebook, "parameters": run.parameters | changed}
        (folder / f"{run.name}.manifest.json").write_text(json.dumps(made))
        (folder / f"{run.name}.parquet").touch()
    assert main(["study", str(study)]) == 0
    states = [line.split("after")[0].split(maxsplit=1)[1].strip() for line in capsys.readouterr().out.splitlines()[1:]]
    assert states == ["done", "stale", *["to do"] * len(others)]
    monkeypatch.setattr(report, "_run", lambda command, lock: 0)
    monkeypatch.setattr(fcntl, "flock", lambda *given: None)  # a report may be running
    report.make(study)
    assert [path.name for path in folder.glob("*.parquet")] == [f"{first.name}.parquet"]


def test_what_a_killed_report_started_keeps_the_next_one_out(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    left = []

    def run(command, lock):
        wait = [sys.executable, "-c", "input()"]
        left.append(subprocess.Popen(wait, stdin=subprocess.PIPE, pass_fds=[lock]))
        return 0

    monkeypatch.setattr(report, "_run", run)
    report.make(ROOT / "studies" / "train.yaml", Own(base="tiny"))
    with pytest.raises(RuntimeError, match="or what it started still is"):
        report.make(ROOT / "studies" / "train.yaml", Own(base="tiny"))
    left[0].communicate(b"\n")
    report.make(ROOT / "studies" / "train.yaml", Own(base="tiny"))
    left[1].communicate(b"\n")
    assert len(left) == 2


def test_a_refused_report_leaves_the_running_ones_study_and_a_folder_of_jupyters_stays(tmp_path, monkeypatch):
    """Reports on checkpoints of the same names go to the same folder. Nothing of one has to be there before."""
    monkeypatch.setattr(report, "ROOT", tmp_path / "clone")
    monkeypatch.setattr(report.opening, "show", lambda study: study)
    (tmp_path / "clone").mkdir()
    monkeypatch.setattr(report, "_run", lambda command, lock: 0)
    report.make(ROOT / "studies" / "demo.yaml", keep_states=True)
    refused = []

    def run(command, lock):
        (file,) = (tmp_path / "clone" / "build").glob("checkpoints*/study.yaml")
        before = file.read_text()
        with pytest.raises(RuntimeError, match="another report is running"):
            report.make(TEMPLATE, Own(base="tiny", tuned=[f"mnli={tmp_path / 'two'}"]))
        refused.append(file.read_text() == before)
        (file.parent / "runs" / ".ipynb_checkpoints").mkdir(parents=True, exist_ok=True)
        return 0

    monkeypatch.setattr(report, "_run", run)
    for _ in range(2):
        report.make(TEMPLATE, Own(base="tiny", tuned=[f"mnli={tmp_path / 'one'}"]))
    assert refused == [True, True]


def test_a_chapter_that_the_study_no_longer_has_leaves_the_book(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "_run", lambda command, lock: 0)
    pages = [
        tmp_path / "build" / "train_tiny" / "chapters" / "yours" / f"{name}.ipynb" for name in ("erasure", "similarity")
    ]
    pages[0].parent.mkdir(parents=True)
    for page in pages:
        page.touch()
    report.make(ROOT / "studies" / "train.yaml", Own(base="tiny"))
    assert [page.is_file() for page in pages] == [False, True]


@pytest.mark.slow
def test_ctrl_c_reaches_snakemake_which_ends_its_jobs_before_the_report_ends(tmp_path):
    """Both hear it, as from a terminal; Snakemake is one that takes a second over its end."""
    snakemake = "import time\ntry: print('up', flush=True); time.sleep(60)\nexcept KeyboardInterrupt: time.sleep(1); exit('ended')"
    (tmp_path / "snakemake.py").write_text(snakemake)
    whole = f"""
import signal
from pathlib import Path
from bert_repro.workflow import report
from bert_repro.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background, where it is ignored
report.ROOT = Path({str(tmp_path)!r})
raise SystemExit(main(["report", {str(ROOT / "studies" / "train.yaml")!r}, "--base", "tiny", "--parts", "2"]))
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", whole], text=True, start_new_session=True, **pipes) as running:
        begun = running.stdout.readline()
        os.killpg(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert begun == "up\n"
    assert out == "" and running.returncode == 130
    assert err.splitlines()[-2:] == ["ended", "bert_repro: interrupted"]


@pytest.mark.slow
@pytest.mark.parametrize("command", [["list", "corpora"], ["fetch", "tiny"]])
def test_a_reader_that_has_seen_enough_ends_a_command_without_a_word(command):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", "bert_repro", *command], **pipes) as running:
        running.stdout.close()
        assert running.stderr.read() == b"" and running.wait() == 1


def test_what_was_shared_out_and_failed_leaves_the_rest_its_turn(tmp_path, monkeypatch, capfd):
    (tmp_path / "snakemake.py").write_text("import sys; print(sys.argv[1]); sys.exit(sys.argv[1] == 'read_out')")
    monkeypatch.setattr("bert_repro.workflow.report.ROOT", tmp_path)
    assert main(["report", str(ROOT / "studies" / "train.yaml"), "--base", "tiny", "--parts", "2"]) == 0
    assert capfd.readouterr().out.splitlines()[:2] == ["read_out", "all"]


def test_ctrl_c_ends_other_commands_without_a_traceback(capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(notebooks, "find", interrupted)
    assert main(["parameters", "similarity"]) == 130
    assert capsys.readouterr() == ("", "bert_repro: interrupted\n")


@pytest.mark.parametrize(
    ("arguments", "given", "left"),
    [
        (["--jobs", "1"], ["rules", "--cores", "2", "threads=2"], ["--profile", "--jobs", "gpu=1"]),
        (["--profile", "slurm"], ["reason", "--profile", "{}/profiles/slurm", "threads=1"], ["--cores", "--jobs", "gpu=1"]),
        (["--profile", "slurm", "--jobs", "999", "--gpu"], ["--jobs", "999", "threads=1", "gpu=1"], ["--cores"]),
        (["--parts", "8"], ["parts=8"], ["--jobs"]),
    ],
)  # fmt: skip
def test_cores_are_this_machines_and_a_cluster_has_its_profile(monkeypatch, arguments, given, left):
    seen = []

    def run(command, lock):
        seen.extend(command)
        return 0

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5}, raising=False)  # of eight, say
    monkeypatch.setattr(report, "_run", run)
    monkeypatch.setattr(fcntl, "flock", lambda *given: None)
    monkeypatch.chdir(ROOT / "profiles")
    assert main(["report", str(ROOT / "studies" / "train.yaml"), "--base", "tiny", *arguments]) == 0
    assert {one.format(ROOT) for one in given} <= set(seen) and not set(left) & set(seen)
    assert {"--nolock", "--rerun-incomplete", "--keep-going"} <= set(seen)


@pytest.mark.parametrize(
    ("failed", "where", "expected"),
    [
        (["one: FAILED"], ["--profile", "profiles/slurm"], "one: FAILED; what"),
        (
            ["one: FAILED", "two: TIMEOUT"],
            ["--profile", "profiles/slurm"],
            "one: FAILED; 1 more failed, see above; what",
        ),
        ([], ["--profile", "profiles/slurm"], "the first error stands above; what"),
        (["one: FAILED"], [], "the first error stands above; what"),
    ],
)
def test_a_report_that_fails_names_the_job_that_a_cluster_ended(capsys, monkeypatch, failed, where, expected):
    monkeypatch.setattr(report, "_run", lambda command, lock: 1)
    monkeypatch.setattr(fcntl, "flock", lambda *given: None)
    monkeypatch.setattr(report, "failures", lambda folder: failed)
    monkeypatch.chdir(ROOT)
    line = fails(capsys, "report", "studies/train.yaml", "--base", "tiny", *where)
    assert line == f"bert_repro: the report is not complete: {expected} was finished is kept"


def test_a_second_report_is_kept_out(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    (tmp_path / "build").mkdir()
    with filelock.FileLock(tmp_path / "build" / ".report.lock"):
        line = fails(capsys, "report", ROOT / "studies" / "train.yaml", "--base", "tiny")
    assert (
        line
        == "bert_repro: another report is running in this folder, or what it started still is: wait for it, or work in another clone"
    )


# Models and corpora


def test_fetch_gives_the_folder(capsys):
    assert main(["fetch", "tiny"]) == 0
    assert Checkpoint(Path(capsys.readouterr().out.strip())).config.hidden_size == 32


@pytest.mark.parametrize(
    ("corpus", "files"),
    [
        ("ewt:dev[60]", ["en_ewt-ud-dev.conllu.gz"]),
        ("mnli", ["mnli_train.tsv.gz", "mnli_dev.tsv.gz"]),
        ("wiki[3]", ["wiki_paragraphs.tsv.gz"]),
    ],
)
def test_fetch_tells_where_a_corpus_lies(capsys, corpus, files):
    assert main(["fetch", corpus]) == 0
    places = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [place.name for place in places] == files and all(place.is_file() for place in places)


def test_fetch_gives_all_that_a_study_reads(capsys):
    study = ROOT / "studies" / "train.yaml"
    assert main(["fetch", str(study), "--base", "tiny"]) == 0
    base, *texts = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert base == checkpoints.open("tiny").folder
    assert texts == list(dict.fromkeys(corpora.locate(one).path for one in load(study).corpora()))


def test_fetch_tells_what_is_missing(capsys, monkeypatch, tmp_path):
    assert "corpus 'ewt' has no split 'valid'" in fails(capsys, "fetch", "ewt:valid")
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path))
    assert "corpus gum:train should lie at " in fails(capsys, "fetch", "gum")
    assert "no study file nosuch.yaml" in fails(capsys, "fetch", "nosuch.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["glue/mnli", *slow("squad/v1.1", "universal_dependencies/en_ewt:dev")])
def test_without_a_network_a_dataset_fails_in_seconds_and_leaves_nothing(tmp_path, dataset):
    begin, proxy = time.monotonic(), "http://127.0.0.1:9"
    home = tmp_path / "tfds"
    done = apart("fetch", dataset, TFDS_DATA_DIR=str(home), https_proxy=proxy, http_proxy=proxy)
    assert time.monotonic() - begin < 40
    (line,) = done.stderr.splitlines()
    name = dataset.partition(":")[0]
    assert done.returncode == 1 and line.startswith(
        f"bert_repro: dataset {name} could not be fetched: none of ['https://"
    )
    assert "or prepare it on another machine and name the folder by TFDS_DATA_DIR" in line and not home.exists()


def test_a_checksum_that_does_not_match_is_told_and_nothing_is_kept(capsys, tmp_path, monkeypatch):
    def other(target):
        (target / "model.safetensors").write_bytes(b"something else")

    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path))
    monkeypatch.setattr(builtin, "_download_minilm", other)
    line = fails(capsys, "fetch", "minilm")
    assert f"expected {builtin.MINILM_SHA256}: the download is damaged" in line
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "reference", ["bert-base-uncased", *slow("someone/something@v1", "untrained:bert-base-uncased")]
)
def test_without_a_network_a_hub_id_fails_in_seconds(tmp_path, reference):
    begin = time.monotonic()
    done = apart("fetch", reference, HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="0")
    assert time.monotonic() - begin < 40
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("bert_repro: model ")
    assert "could not be fetched from the hub" in line and "without a network, give a folder with config.json" in line


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["# text", "1\tGo\t_\tVERB\tVB\t_\t9\troot\t_\t_"], ":2: head '9' is not between 0 and 1"),
        (["1\tGo\t_\tVERB\tVB\t_\tx\troot\t_\t_"], ":1: "),
        (["2\tGo\t_\tVERB\tVB\t_\t0\troot\t_\t_"], ":1: word id '2' where 1 was expected"),
    ],
)
def test_a_malformed_treebank_is_told_with_file_and_line(capsys, tmp_path, lines, expected):
    path = tmp_path / "bad.conllu"
    path.write_text("\n".join(lines) + "\n\n")
    assert f"{path}{expected}" in fails(capsys, "states", "compute", "tiny", path)


def test_an_empty_store_is_said_to_be_empty(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path))
    assert main(["states", "ls"]) == 0
    assert capsys.readouterr().out.startswith("the store is empty\n0.0 MB")
    assert main(["states", "rm", "all"]) == 0


# Two sets of results


@pytest.fixture
def sets(tmp_path):
    """Two sets of results of two models, and one on another corpus."""
    for name, shift, corpus in (("mine", 0.0, "ewt"), ("yours", 0.05, "ewt"), ("other", 0.0, "gum")):
        rows = [
            {"model": model, "layer": layer, "value": 0.5 + shift + seed / 10, "replicates": np.full(9, 0.5 + shift + seed / 10)}
            for seed, model in enumerate(["nli-1", "nli-2"])
            for layer in range(30)
        ]  # fmt: skip
        known = {"role": "score", "metric": "uuas", "notebook": "probe", "study": name, "corpus": corpus}
        tables.write(
            tmp_path / name / "tables" / "x.parquet",
            tables.tidy(rows, **known),
            {"notebook": "probe", "parameters": {}},
        )
    return tmp_path


def test_two_sets_are_laid_side_by_side(capsys, sets):
    assert main(["compare", str(sets / "mine"), str(sets / "yours" / "tables"), "--csv", str(sets / "out.csv")]) == 0
    out, err = capsys.readouterr()
    assert err == "" and f"{sets / 'mine'}, 60 pairs of results: 0 agree, 0 are open, 60 differ" in out
    assert "The clearest differences, 20 of 60" in out and out.count("+0.05 [+0.05, +0.05]  probe: nli-") == 20
    written = pd.read_csv(sets / "out.csv")
    assert written["difference"].tolist() == pytest.approx([0.05] * 60) and set(written["finding"]) == {"differs"}
    assert main(["compare", str(sets / "mine"), str(sets / "yours"), "--tolerance", "0.1"]) == 0
    assert "60 agree, 0 are open, 0 differ" in capsys.readouterr().out


def test_two_models_are_laid_side_by_side(capsys, sets):
    assert main(["compare", str(sets / "mine"), "--model", "nli-1", "--other-model", "nli-2"]) == 0
    assert (
        f"nli-2 of {sets / 'mine'} minus nli-1 of {sets / 'mine'}, 30 pairs of results: 0 agree"
        in capsys.readouterr().out
    )
    assert main(["compare", str(sets / "mine"), str(sets / "yours"), "--model", "nli-1"]) == 0
    assert (
        f"nli-1 of {sets / 'yours'} minus nli-1 of {sets / 'mine'}, 30 pairs of results: 0 agree"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mine", "--other-model", "nli-1"], "other_model 'nli-1' was given without model"),
        (["mine", "yours", "--model", "nli-9"], "the first set has no model 'nli-9': it has nli-1, nli-2"),
        (["mine", "other"], "no result of mine measures what one of other does, so there is nothing to compare"),
    ],
)
def test_compare_refuses(capsys, sets, monkeypatch, arguments, expected):
    monkeypatch.chdir(sets)
    assert expected in fails(capsys, "compare", *arguments)
    assert sorted(path.name for path in sets.iterdir()) == ["mine", "other", "yours"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["parameters", "similarity"], "no notebook 'similarity': give a path to an .ipynb, or one of (none: this"),
        (["study", "mine.yaml"], "no study file mine.yaml: there are (none: this"),
    ],
)
def test_an_installation_outside_a_clone_says_what_it_lacks(capsys, tmp_path, monkeypatch, command, expected):
    for module in (notebooks, keys):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    line = fails(capsys, *command)
    assert f"{expected} installation is outside a clone, which has them; run `pip install -e .` in a clone)" in line


# Debugging


def test_debug_shows_the_traceback(capsys, tmp_path):
    with pytest.raises(ValueError, match="no notebook 'nosuch'"):
        main(["--debug", "run", "nosuch", str(tmp_path / "out.ipynb")])
    done = apart("--debug", "study", tmp_path / "gone.yaml")
    assert done.returncode == 1 and "Traceback" in done.stderr and "no study file" in done.stderr
    done = apart("study", tmp_path / "gone.yaml")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stderr.startswith("bert_repro: no study file")


# What only the notebook can tell


@pytest.mark.slow
@pytest.mark.parametrize(
    ("notebook", "given", "expected"),
    [
        ("similarity", {"layers": [0, 9]}, "layers [9] are out of range: this encoder has 0 (embeddings) to 2"),
        ("finetune", {"task": "squadd"}, "unknown task 'squadd': expected one of"),
    ],
)
def test_a_notebook_that_cannot_go_on_says_why_in_one_line(capsys, tmp_path, notebook, given, expected):
    line = fails(capsys, "run", notebook, tmp_path / "out.ipynb", "--json", json.dumps(given))
    assert f"notebooks/{notebook}.ipynb, cell " in line and expected in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.failed.ipynb"]  # to look into; no output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("notebook", "given", "expected"),
    [
        ("similarity", {"methods": ["rsaa"]}, "rsaa"),
        ("hidden_states", {"model": "no such model!"}, "is neither a folder, nor a hub id"),
        ("hidden_states", {"words": 99999999}, "words"),
        ("structural_probe", {"train": "wiki[60]"}, "wiki[60] has no trees: a treebank (CoNLL-U) is needed here"),
        ("structural_probe", {"punctuation": "commas"}, "punctuation must be one of"),
        ("finetune", {"updates": -1}, "updates must be at least 1, got -1"),
    ],
)
def test_a_notebook_refuses_what_cannot_be_meant(executed, notebook, given, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        executed(notebook, **given)
