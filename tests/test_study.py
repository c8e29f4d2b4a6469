"""Study files: what is not understood in full is refused in one line, and every run is one its notebook would accept."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bert_repro import checkpoints, corpora, files, states
from bert_repro.__main__ import _settle
from bert_repro.results import parameters
from bert_repro.similarity import samples
from bert_repro.workflow import names, notebooks, study
from bert_repro.workflow.own import Own

STUDIES = sorted((files.ROOT / "studies").glob("*.yaml"))
SMALL = {
    "name": "small",
    "title": "a small study",
    "base": "tiny",
    "tasks": [{"task": "nli", "train": "a", "dev": "b", "updates": 10}],
    "similarity": {"corpora": ["c", "b"]},
    "structural_probe": {"train": "d", "dev": "e", "test": "c"},
}
TASK = SMALL["tasks"][0]


def write(folder, content=SMALL, **changes):
    path = folder / "small.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump({**content, **changes}))
    return path


# ---- the studies of this project


@pytest.fixture(params=STUDIES, ids=lambda path: path.stem)
def runs(request):
    return study.runs(study.load(request.param))


def test_there_are_studies():
    assert {"demo", "minilm"} <= {path.stem for path in STUDIES}


def test_the_first_report_fetches_nothing_and_trains_once(monkeypatch):
    monkeypatch.delenv("BERT_REPRO_DATA", raising=False)
    demo = study.load(files.ROOT / "studies" / "demo.yaml")
    assert {demo.base, *(model.checkpoint for model in demo.models)} == set(checkpoints.SHIPPED)
    assert all(corpora.locate(text).path.is_relative_to(files.ROOT / "data") for text in demo.corpora())
    assert [run.name for run in study.runs(demo) if run.notebook == "finetune"] == ["finetune-tagging-1"]
    compared = {
        run.name for run in study.runs(demo) if run.notebook == "similarity" and run.parameters["role"] == "floor"
    }
    given = {"similarity-nli-squad", "similarity-nli-parsing", "similarity-squad-parsing"}
    assert compared == given | {"similarity-base-untrained"}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_is_called_as_its_file(path):
    assert study.load(path).name == path.stem


def test_every_run_is_one_its_notebook_accepts(runs):
    for run in runs:
        parameters.check(notebooks.find(run.notebook), run.parameters)


def test_only_the_base_encoder_is_probed_with_more_ranks_and_seeds(tmp_path):
    probes = SMALL["structural_probe"] | {"seeds": [3], "more_seeds": [4, 5], "more_ranks": [2]}
    made = {run.name: run.parameters for run in study.runs(study.load(write(tmp_path, structural_probe=probes)))}
    made = {name: run for name, run in made.items() if name.startswith("structural_probe-")}
    assert {name.partition("-")[2]: (run["seeds"], run["more_ranks"], run["shown"]) for name, run in made.items()} == {
        "base": ([3], [2], 3), "base-probe4": ([4], [], 0), "base-probe5": ([5], [], 0),
        "untrained": ([3], [], 3), "nli-1": ([3], [], 3), "nli-2": ([3], [], 3),
    }  # fmt: skip
    assert {run["name"] for name, run in made.items() if "base" in name} == {"base"}


def test_runs_have_names_and_outputs_of_their_own(runs):
    assert len({run.name for run in runs}) == len(runs)
    assert len({run.parameters["output"] for run in runs}) == len(runs)
    saved = [run.parameters["save"] for run in runs if run.parameters.get("save")]
    assert len(set(saved)) == len(saved)


def test_what_a_run_needs_comes_before_it_and_makes_what_it_reads(runs):
    seen, saved = set(), {run.parameters["save"]: run.name for run in runs if run.parameters.get("save")}
    for run in runs:
        assert set(run.needs) <= seen
        seen.add(run.name)
    by_name = {run.name: run for run in runs}

    def all_needs(name):
        return {name}.union(*(all_needs(need) for need in by_name[name].needs))

    for run in runs:
        for key in ("model", "reference_model"):
            if run.parameters.get(key) in saved:
                assert saved[run.parameters[key]] in all_needs(run.name)


def test_the_runs_of_a_small_study_by_name(tmp_path):
    two = [{"task": "nli", "train": "a", "dev": "b", "updates": 10, "seeds": [3, 5]}]
    assert [run.name for run in study.runs(study.load(write(tmp_path, tasks=two)))] == [
        "finetune-nli-3", "finetune-nli-5",
        "states-base", "states-untrained", "states-nli-3", "states-nli-5",
        "similarity-base-nli-3", "similarity-base-nli-5", "similarity-base-untrained", "similarity-nli-3-nli-5",
        "structural_probe-base", "structural_probe-untrained", "structural_probe-nli-3", "structural_probe-nli-5",
        "change_and_function",
    ]  # fmt: skip


def test_what_layers_are_good_for_is_asked_of_the_first_seed_alone(tmp_path):
    lists = {"seeds": [3, 5], "frozen_layers": [1, 2], "kept_layers": [1], "reverted_layers": [0, 2], "keep_at": [4]}
    loaded = study.load(write(tmp_path, tasks=[{**TASK, **lists}]))
    tuning = {run.name.removeprefix("finetune-"): run for run in study.runs(loaded) if run.notebook == "finetune"}
    assert list(tuning) == ["nli-3", "nli-5", "nli-frozen1-3", "nli-frozen2-3", "nli-kept1-3"]
    assert [run.parameters["seed"] for run in tuning.values()] == [3, 5, 3, 3, 3]
    for name, run in tuning.items():
        asked = {key: run.parameters.get(key) or 0 for key in (*lists, "save") if key != "seeds"}
        saved = {"save": f"build/small/models/{name}"} if name in ("nli-3", "nli-5") else {}
        own = {
            "nli-3": {"reverted_layers": [0, 2], "keep_at": [4]},
            "nli-kept1-3": {"kept_layers": 1, "frozen_layers": 1},
        }
        own |= {"nli-frozen1-3": {"frozen_layers": 1}, "nli-frozen2-3": {"frozen_layers": 2}}
        assert asked == dict.fromkeys(asked, 0) | own.get(name, {}) | saved
        assert {"reverted_layers", "keep_at"} <= run.parameters.keys()  # or the notebook's smoke defaults would hold
        parameters.check(notebooks.find(run.notebook), run.parameters)
    lower = tuning["nli-kept1-3"]  # the tuned encoder without its top
    assert lower.needs == ("finetune-nli-3",) and lower.parameters["model"] == tuning["nli-3"].parameters["save"]
    assert {run.parameters["model"] for name, run in tuning.items() if name != "nli-kept1-3"} == {"tiny"}


def test_a_micro_batch_that_does_not_divide_the_batch_is_refused_before_anything_runs(tmp_path):
    whole = study.load(write(tmp_path, tasks=[{**TASK, "batch_size": 6, "micro_batch": 3}]))
    assert {run.parameters["micro_batch"] for run in study.runs(whole) if run.notebook == "finetune"} == {3}
    told = r"tasks.0: micro_batch must divide batch_size 6, got 4: expected 0 or one of 1, 2, 3, 6 "
    with pytest.raises(ValueError, match=told):
        study.load(write(tmp_path, tasks=[{**TASK, "batch_size": 6, "micro_batch": 4}]))


def test_controls_are_trainings_of_the_first_seed_that_differ_in_one_thing_each(tmp_path):
    asked = {"seeds": [3, 5], "frozen_layers": [1], "reverted_layers": [0], "keep_at": [4]}
    asked |= {"controls": ["baseline", "untrained", "partial_input"]}
    made = study.runs(study.load(write(tmp_path, tasks=[{**TASK, **asked}])))
    tuning = {run.name.removeprefix("finetune-"): run for run in made if run.notebook == "finetune"}
    assert list(tuning) == ["nli-3", "nli-5", "nli-frozen1-3", "nli-untrained-3", "nli-partial-3"]
    assert [name for name, run in tuning.items() if run.parameters.get("baseline")] == ["nli-3"]
    plain = tuning["nli-frozen1-3"].parameters
    for name, own in (
        ("nli-untrained-3", {"model": "untrained:tiny", "control": "untrained"}),
        ("nli-partial-3", {"control": "partial_input"}),
    ):
        run = tuning[name]
        own |= {"name": name, "output": f"build/small/tables/finetune-{name}.parquet"}
        assert run.parameters == {key: value for key, value in plain.items() if key != "frozen_layers"} | own
        assert not run.needs and not any(f"models/{name}" in repr(other.parameters) for other in made)
        parameters.check(notebooks.find(run.notebook), run.parameters)
    none = study.runs(study.load(write(tmp_path, tasks=[TASK])))
    assert not any({"control", "baseline", "controls"} & run.parameters.keys() for run in none)


def test_roles_of_runs(tmp_path):
    role = {run.name: run.parameters.get("role") for run in study.runs(study.load(write(tmp_path)))}
    assert role["similarity-base-nli-1"] == "score"
    assert role["similarity-base-untrained"] == role["similarity-nli-1-nli-2"] == "floor"
    assert role["structural_probe-untrained"] == "control"
    assert role["structural_probe-base"] == role["structural_probe-nli-2"] == "score"


def test_runs_are_json_and_lie_in_the_folder_given(tmp_path):
    loaded = study.load(write(tmp_path))
    for folder, runs in (("build/small", study.runs(loaded)), ("elsewhere", study.runs(loaded, "elsewhere"))):
        for run in runs:
            assert json.loads(json.dumps(run.parameters)) == run.parameters
            assert run.parameters["output"] == f"{folder}/tables/{run.name}.parquet"
            assert run.parameters["study"] == "small"


def test_corpora_are_listed_once(tmp_path):
    loaded = study.load(write(tmp_path))
    assert loaded.corpora() == ["a", "b", "c", "d", "e"]
    assert loaded.read_out() == ["c", "b", "d", "e"]
    looked_at = study.load(write(tmp_path, examples=["f[1]", "b"]))
    assert looked_at.corpora() == ["a", "b", "c", "d", "e", "f[1]"]
    assert looked_at.read_out() == ["c", "b", "d", "e", "f[1]"] and looked_at.measured() == ["c", "b", "d", "e"]


def test_of_texts_that_are_compared_once_and_for_nothing_else_only_what_is_drawn_is_read_out(tmp_path):
    given = {"corpora": ["w", "m", "d", "s", "l"], "lengths_of": "m", "as_long": ["l"], "units": 7, "words": 20}
    loaded = study.load(write(tmp_path, similarity=given))
    assert {"d", "e"} <= {loaded.structural_probe.train, loaded.structural_probe.dev, loaded.structural_probe.test}
    assert loaded.drawn() == ["m", "s"]
    for run in study.runs(loaded):
        if run.notebook in ("hidden_states", "similarity"):
            asked = {name: run.parameters[name] for name in ("drawn", "words", "units")}
            assert asked == {"drawn": ["m", "s"], "words": 20, "units": 7}
            parameters.check(notebooks.find(run.notebook), run.parameters)


def test_examples_are_read_out_and_looked_at_but_nothing_is_measured_on_them(tmp_path):
    loaded = study.load(write(tmp_path, examples=["f[1]"]))
    for run in study.runs(loaded):
        if run.notebook == "hidden_states":
            assert run.parameters["examples"] == ["f[1]"] and "f[1]" not in run.parameters["corpora"]
        else:
            assert "f[1]" not in repr(run.parameters)
    assert len(study.runs(loaded)) == len(study.runs(study.load(write(tmp_path))))


def test_change_and_function_are_set_side_by_side_over_all_tuned_models(tmp_path):
    content = yaml.safe_load(write(tmp_path).read_text())
    for probe in (None, SMALL["structural_probe"]):
        task = content["tasks"][0] | {"seeds": [1, 2]}
        loaded = study.load(write(tmp_path, tasks=[task], edge_probe=probe) if probe else write(tmp_path, tasks=[task]))
        (run,) = [run for run in study.runs(loaded, "out") if run.notebook == "change_and_function"]
        tuned = [f"{task['task']}-1", f"{task['task']}-2"]
        assert run.parameters["names"] == tuned and run.parameters["tables_folder"] == "out/tables"
        kinds = ("structural_probe", *(["edge_probe"] if probe else []))
        probes = {f"{kind}-{model}" for kind in kinds for model in ("base", "untrained", *tuned)}
        assert probes | {f"finetune-{model}" for model in tuned} <= set(run.needs)
        assert {f"similarity-base-{model}" for model in tuned} <= set(run.needs)
    alone = study.load(write(tmp_path, tasks=[content["tasks"][0] | {"seeds": [1]}]))
    assert "change_and_function" not in {run.notebook for run in study.runs(alone)}


ERASURE = {"treebank": "t", "held_out": "h", "targets": ["upos"], "layers": [1, 2], "draws": 4}


def test_labels_are_erased_from_first_seeds_alone_and_scored_on_dev(tmp_path):
    content = yaml.safe_load(write(tmp_path).read_text())
    assert not [run for run in study.runs(study.load(write(tmp_path))) if run.notebook == "erasure"]
    loaded = study.load(write(tmp_path, tasks=[content["tasks"][0] | {"seeds": [3, 5]}], erasure=ERASURE))
    assert {"t", "h"} <= set(loaded.corpora()) and not {"t", "h"} & set(loaded.read_out())
    (run,) = [run for run in study.runs(loaded, "out") if run.notebook == "erasure"]
    assert run.name == "erasure-nli-3" and run.needs == ("finetune-nli-3",)
    asked = run.parameters
    assert asked == asked | ERASURE | {
        "seed": 1,
        "model": "out/models/nli-3",
        "name": "nli-3",
        "task": "nli",
        "text": "b",
    }
    assert (asked["labels"], asked["head_of"], asked["train"], asked["updates"], asked["resamples"]) == (
        [],
        "",
        "",
        0,
        1000,
    )


def test_labels_are_erased_from_given_models_whose_task_is_scored(tmp_path):
    names = ["entailment", "neutral", "contradiction"]
    given = [
        {"name": "one", "checkpoint": "x", "task": "nli", "labels": names},
        {"name": "two", "checkpoint": "y", "task": "nli", "seed": 2},
        {"name": "other", "checkpoint": "z", "task": "squad"},
        {"name": "mine", "checkpoint": "w"},
    ]
    loaded = study.load(write(tmp_path, tasks=[], models=given, scored_on={"nli": "n"}, erasure=ERASURE))
    (run,) = [run for run in study.runs(loaded) if run.notebook == "erasure"]
    assert run.name == "erasure-one" and run.needs == ()
    assert run.parameters == run.parameters | {"model": "x", "task": "nli", "text": "n", "labels": names}
    assert run.parameters["tuned"] == {"task": "nli", "seed": 1, "layers_changed": "all", "base": "tiny"}


WAY = {"neutral": "c", "words": 100, "train": "d", "dev": "e", "test": "c", "rank": 4}
GIVEN = [
    {"name": "mine", "checkpoint": "m", "task": "nli", "labels": ["x", "y", "z"]},
    {"name": "mine-2", "checkpoint": "n", "task": "nli", "seed": 2},
    {"name": "theirs", "checkpoint": "t", "task": "squad", "base": "nli-1"},
    {"name": "other", "checkpoint": "o", "task": "tagging"},
]


def test_masked_words_are_asked_of_every_encoder_under_the_head_of_the_base(tmp_path):
    asked = {"scored_on": {"masked_words": "w[5]", "nli": "b"}, "models": GIVEN[:3]}
    loaded = study.load(write(tmp_path, **asked))
    made = {run.parameters["name"]: run for run in study.runs(loaded) if run.notebook == "checkpoint"}
    assert list(made) == ["base", "nli-1", "nli-2", "mine", "mine-2", "theirs"]
    for name, run in made.items():
        parameters.check(notebooks.find(run.notebook), run.parameters)
        assert (run.parameters["masked"], run.parameters["head_of"]) == ("w[5]", "" if name == "base" else "tiny")
    assert [made[name].needs for name in ("base", "nli-2", "mine", "theirs")] == [
        (), ("finetune-nli-2",), (), ("finetune-nli-1",),
    ]  # fmt: skip
    here = made["nli-1"].parameters  # its scores and its change of weights are in the table of its training
    assert (here["task"], here["texts"], here["base"], here["revert"]) == ("", [], "", False)
    assert made["mine"].parameters["task"] == "nli" and made["mine"].parameters["revert"]
    assert "w[5]" in loaded.corpora() and "w[5]" not in loaded.read_out()


def test_what_was_kept_during_pretraining_reads_by_its_own_head_and_is_compared_with_its_end_alone(tmp_path):
    kept = [{"name": f"kept-{at}", "checkpoint": f"k{at}", "task": "masked_words", "updates": at} for at in (0, 5)]
    asked = {"scored_on": {"masked_words": "w[5]"}, "models": [*kept, GIVEN[0]], "tasks": []}
    listed = study.runs(study.load(write(tmp_path, **asked)))
    for run in listed:
        parameters.check(notebooks.find(run.notebook), run.parameters)
    made = {run.name: run.parameters for run in listed}
    assert [made[f"checkpoint-{name}"]["head_of"] for name in ("kept-0", "kept-5", "mine")] == ["", "", "tiny"]
    assert (made["checkpoint-kept-0"]["task"], made["checkpoint-kept-0"]["masked"]) == ("", "w[5]")
    assert made["states-kept-0"]["tuned"] == {
        "task": "masked_words", "seed": 1, "layers_changed": "all", "updates": 0, "base": "tiny"
    }  # fmt: skip
    compared = {name for name in made if name.startswith("similarity-")}
    assert compared == {f"similarity-base-{name}" for name in ("kept-0", "kept-5", "mine", "untrained")}


def test_a_second_base_is_a_scale_read_out_and_probed_beside_the_base_and_tuned_on_nothing(tmp_path):
    edges = SMALL["structural_probe"]
    one = study.load(write(tmp_path, edge_probe=edges))
    listed = study.runs(study.load(write(tmp_path, second_base="again", edge_probe=edges)))
    for run in listed:
        parameters.check(notebooks.find(run.notebook), run.parameters)
    more = {run.name: run.parameters for run in listed if run.parameters.get("model") == "again"}
    assert {name: run.get("role") for name, run in more.items()} == {
        "states-base-2": None, "similarity-base-base-2": "floor", "structural_probe-base-2": "floor", "edge_probe-base-2": "floor"
    }  # fmt: skip
    assert {run["name"] for run in more.values()} == {"base-2"}
    assert more["similarity-base-base-2"]["reference_model"] == "tiny" and not more["edge_probe-base-2"]["phenomena"]
    others = [(run.name, run.parameters) for run in listed if "base-2" not in run.name]
    assert others == [(run.name, run.parameters) for run in study.runs(one)]
    another = study.load(write(tmp_path, second_base="again"), Own(base="minilm"))
    assert another.second_base == ""  # of the study's base, not of the reader's


def test_a_second_base_has_a_name_and_a_checkpoint_of_its_own(tmp_path):
    with pytest.raises(ValueError, match=r"tiny occurs twice: a model compared with itself says nothing"):
        study.load(write(tmp_path, second_base="tiny"))
    mine = {"name": "base-2", "checkpoint": "mine", "task": "nli"}
    with pytest.raises(ValueError, match=r"two models are called base-2, - and _ being one"):
        study.load(write(tmp_path, second_base="again", models=[mine], scored_on={"nli": "x"}))
    assert study.load(write(tmp_path, models=[mine], scored_on={"nli": "x"})).second_base == ""


def test_without_masked_words_only_given_encoders_are_opened(tmp_path):
    def opened(**changes):
        listed = study.runs(study.load(write(tmp_path, **changes)))
        return {run.parameters["name"]: run.parameters["head_of"] for run in listed if run.notebook == "checkpoint"}

    assert opened() == {} and opened(models=GIVEN[:1]) == {"base": "", "mine": ""}


def test_a_line_leads_from_the_base_to_the_first_seed_of_every_task_with_a_text(tmp_path):
    asked = {"scored_on": {"masked_words": "w[5]", "nli": "n", "squad": "s"}, "models": GIVEN}
    loaded = study.load(write(tmp_path, line=WAY, **asked))
    made = {run.name: run for run in study.runs(loaded) if run.notebook == "line"}
    # tagging has no text to be scored on, and a second seed is not walked to
    assert {name: run.needs for name, run in made.items()} == {
        "line-nli-1": ("finetune-nli-1",), "line-mine": (), "line-theirs": ("finetune-nli-1",),
    }  # fmt: skip
    for run in made.values():
        parameters.check(notebooks.find(run.notebook), run.parameters)
        assert run.parameters["points"] == [n / 10 for n in range(11)] and run.parameters["masked"] == "w[5]"
        assert {name: run.parameters[name] for name in WAY} == WAY and run.parameters["resamples"] == 1000
    ends = {
        name: (
            run.parameters["base"],
            run.parameters["reference_name"],
            run.parameters["model"],
            run.parameters["texts"],
        )
        for name, run in made.items()
    }
    assert ends == {
        "line-nli-1": ("tiny", "base", "build/small/models/nli-1", ["b"]),
        "line-mine": ("tiny", "base", "m", ["n"]),
        "line-theirs": ("build/small/models/nli-1", "nli-1", "t", ["s"]),
    }
    assert made["line-mine"].parameters["labels"] == ["x", "y", "z"]
    assert not any(run.notebook == "line" for run in study.runs(study.load(write(tmp_path, **asked))))


def test_the_texts_of_a_line_are_among_those_of_a_study(tmp_path):
    way = WAY | {"neutral": "v", "train": "x[5]", "dev": "y", "test": "z"}
    loaded = study.load(write(tmp_path, line=way))
    assert {"v", "x[5]", "y", "z"} <= set(loaded.corpora()) and not {"v", "x[5]", "y", "z"} & set(loaded.read_out())


def test_chapters_are_those_of_what_a_study_asks_for(tmp_path):
    usual = study.load(write(tmp_path)).chapters
    assert not {"edge_probe", "look_inside"} & set(usual)
    assert study.load(write(tmp_path, edge_probe=SMALL["structural_probe"])).chapters == [
        *usual[:-1], "edge_probe", "layer_ablation",
    ]  # fmt: skip
    assert study.load(write(tmp_path, examples=["f[1]"])).chapters == [*usual, "look_inside"]


def chapter(folder, name, **told):
    nb = {"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": {"bert_repro": told} if told else {}}
    (folder / f"{name}.ipynb").write_text(json.dumps(nb))


def test_chapters_are_listed_from_the_folder_in_their_places(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "CHAPTERS", tmp_path)
    for name, told in {
        "b": {"place": 2},
        "c": {"place": 1},
        "a": {},
        "d": {},
        "z": {"place": 1.5, "needs": "examples"},
    }.items():
        chapter(tmp_path, name, **told)
    for page in (*names.END, *names.PAGES, ".draft"):
        chapter(tmp_path, page)
    assert names.chapters() == {"c": "", "z": "examples", "b": "", "a": "", "d": ""}
    assert study.load(write(tmp_path)).chapters == ["c", "b", "a", "d"]
    assert study.load(write(tmp_path, examples=["f[1]"])).chapters == ["c", "z", "b", "a", "d"]
    assert study.load(write(tmp_path, chapters=["d"])).chapters == ["d"]
    chapter(tmp_path, "a", needs="edges")
    with pytest.raises(
        ValueError, match="small.yaml: study: the chapter a needs 'edges', by its metadata: no study has such"
    ):
        study.load(write(tmp_path))
    chapter(tmp_path, "a", place="first")
    with pytest.raises(ValueError, match="the chapter a has the place 'first', by its metadata: expected a number"):
        study.load(write(tmp_path))
    (tmp_path / "a.ipynb").write_text("{")
    with pytest.raises(ValueError, match="a.ipynb is not a Jupyter notebook of format 4"):
        study.load(write(tmp_path))


def test_another_base(tmp_path):
    loaded = study.load(write(tmp_path), Own(base="bert-base-uncased"))
    models = {run.parameters["model"] for run in study.runs(loaded) if run.name.startswith("states")}
    assert {"bert-base-uncased", "untrained:bert-base-uncased"} < models


# ---- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "colour: Extra inputs are not permitted (got 'red')"),
        ({"similarity": {"corpora": ["c"], "word": 5}}, "similarity.word: Extra inputs are not permitted (got 5)"),
        ({"tasks": [{**TASK, "epochs": 3}]}, "tasks.0.epochs: Extra inputs are not permitted (got 3)"),
        ({"title": 3}, "title: Input should be a valid string (got 3)"),
        ({"resamples": "1000"}, "resamples: Input should be a valid integer (got '1000')"),
        ({"resamples": 99}, "resamples: Input should be greater than or equal to 100 (got 99)"),
        (
            {"tasks": []},
            "study: neither `tasks`, to tune the base on, nor `models`, that somebody tuned: nothing to compare",
        ),
        ({"tasks": [{**TASK, "updates": 0}]}, "tasks.0.updates: Input should be greater than or equal to 1 (got 0)"),
        ({"tasks": [{**TASK, "updates": True}]}, "tasks.0.updates: Input should be a valid integer (got True)"),
        (
            {"tasks": [{**TASK, "task": "mnli"}]},
            "tasks.0.task: unknown task: did you mean 'nli'? Expected one of nli, squad, parsing, tagging, masked_words (got 'mnli')",
        ),
        (
            {"structural_probe": SMALL["structural_probe"] | {"more_seeds": [2, 1]}},
            "structural_probe: expected different seeds, got [1, 2, 1]",
        ),
        (
            {"structural_probe": SMALL["structural_probe"] | {"more_ranks": [128]}},
            "structural_probe: expected different ranks, got [128, 128]",
        ),
        ({"tasks": [{**TASK, "seeds": [1, 1]}]}, "tasks.0.seeds: expected different numbers (got [1, 1])"),
        ({"tasks": [{**TASK, "seeds": []}]}, "tasks.0.seeds: List should have at least 1 item"),
        ({"tasks": [{**TASK, "seeds": [-1]}]}, "tasks.0.seeds.0: Input should be greater than or equal to 0 (got -1)"),
        (
            {"tasks": [{**TASK, "keep_at": [0]}]},
            "tasks.0.keep_at.0: Input should be greater than or equal to 1 (got 0)",
        ),
        (
            {"tasks": [{**TASK, "frozen_layers": [0]}]},
            "tasks.0.frozen_layers.0: Input should be greater than or equal to 1",
        ),
        ({"tasks": [{**TASK, "kept_layers": [2, 2]}]}, "tasks.0.kept_layers: expected different numbers"),
        (
            {"tasks": [{**TASK, "reverted_layers": [-1]}]},
            "tasks.0.reverted_layers.0: Input should be greater than or equal",
        ),
        (
            {"tasks": [{**TASK, "evaluations": 0}]},
            "tasks.0.evaluations: Input should be greater than or equal to 1 (got 0)",
        ),
        (
            {"tasks": [{**TASK, "learning_rate": 0.0}]},
            "tasks.0.learning_rate: Input should be greater than 0 (got 0.0)",
        ),
        (
            {"tasks": [{**TASK, "controls": ["chance"]}]},
            "tasks.0.controls.0: Input should be 'baseline', 'untrained' or",
        ),
        (
            {"tasks": [{**TASK, "controls": ["untrained", "untrained"]}]},
            "tasks.0: controls: expected different ones, got ['untrained', 'untrained'] (got ",
        ),
        (
            {"tasks": [{**TASK, "task": "masked_words", "controls": ["baseline"]}]},
            "tasks.0: controls: no baseline of masked_words is known (got ",
        ),
        (
            {"tasks": [{**TASK, "task": "parsing", "controls": ["partial_input"]}]},
            "tasks.0: dependency parsing has no partial input, as its items have one side: expected one of nli, squad (got ",
        ),
        ({"tasks": [TASK, TASK]}, "study: each task may be given once, got ['nli', 'nli']"),
        ({"similarity": {"corpora": []}}, "similarity.corpora: List should have at least 1 item"),
        (
            {"similarity": {"corpora": ["a"], "classes": ["[CLS]"]}},
            "similarity: classes and classes_corpus: expected both or neither",
        ),
        (
            {"similarity": {"corpora": ["a"], "as_long": ["b"]}},
            "similarity: as_long: lengths_of names no corpus to be as long as",
        ),
        (
            {"similarity": {"corpora": ["a"], "methods": ["rsaa"]}},
            "similarity.methods.0: unknown measure: did you mean 'rsa'? Expected one of rsa, rsa_centred, ",
        ),
        (
            {"similarity": {"corpora": ["a"], "grid_methods": ["rsa", "x"]}},
            "similarity.grid_methods.1: unknown measure: expected one of rsa, rsa_centred, ",
        ),
        (
            {"edge_probe": {"train": "a", "dev": "b", "test": "c", "targets": ["relations"]}},
            "edge_probe.targets.0: unknown target: did you mean 'relation'? Expected one of upos, xpos, ",
        ),
        (
            {"erasure": ERASURE | {"targets": ["upso"]}},
            "erasure.targets.0: unknown target: did you mean 'upos'? Expected one of upos, xpos, ",
        ),
        ({"erasure": ERASURE | {"draws": 1}}, "erasure.draws: Input should be greater than or equal to 2 (got 1)"),
        *(
            (
                {"line": WAY | {"points": points}},
                f"line.points: expected points that rise from 0, the base, to 1, the tuned encoder (got {points})",
            )
            for points in ([], [0.0, 0.5], [0.5, 1.0], [0.0, 0.6, 0.4, 1.0], [0.0, 0.5, 0.5, 1.0])
        ),
        ({"line": WAY | {"words": 9}}, "line.words: Input should be greater than or equal to 10 (got 9)"),
        ({"name": "My study"}, "name: String should match pattern '^[a-z][a-z0-9_]*$' (got 'My study')"),
        (
            {"chapters": ["edges"]},
            "chapters.0: unknown chapter: expected one of models, hidden_states, similarity, out_of_domain, structural_probe, "
            "edge_probe, layer_ablation, look_inside (got 'edges')",
        ),
    ],
)
def test_a_study_that_is_not_understood_is_refused_in_one_line(tmp_path, changes, message):
    path = write(tmp_path, **changes)
    with pytest.raises(ValueError) as error:
        study.load(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"small.yaml: base: Field required"):
        study.load(write(tmp_path, {key: value for key, value in SMALL.items() if key != "base"}))


@pytest.mark.parametrize("text", ["tasks: [", "a: b: c", "\ttitle: x"])
def test_what_is_no_yaml_is_refused_in_one_line(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(ValueError) as error:
        study.load(path)
    assert str(error.value).startswith(f"{path} is not valid YAML: ")
    assert "line 1" in str(error.value) or "line 2" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "kind"), [("- a\n- b", "list"), ("just text", "str"), ("", "NoneType")])
def test_what_is_no_mapping_is_refused(tmp_path, text, kind):
    with pytest.raises(ValueError, match=rf"small.yaml is not a study: expected `key: value` lines, got {kind}$"):
        study.load(write(tmp_path, text))


def test_a_missing_file_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no study file .*absent.yaml: there are studies/checkpoints.yaml, studies/demo.yaml"
    ):
        study.load(tmp_path / "absent.yaml")


# ---- folders, imports


def test_cache_folder_is_the_users_or_the_one_given(monkeypatch, tmp_path):
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path))
    assert files.cache_folder() == tmp_path
    monkeypatch.setenv("BERT_REPRO_CACHE", "")
    assert files.cache_folder() == Path.home() / ".cache" / "bert_repro"


def test_an_added_data_folder_must_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path))
    assert files.added_data() == tmp_path
    monkeypatch.setenv("BERT_REPRO_DATA", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match=r"the data folder '.*absent' does not exist: correct DATA=... or BERT"):
        files.added_data()
    monkeypatch.setenv("BERT_REPRO_DATA", "")
    assert files.added_data() is None


@pytest.mark.parametrize("reference", ["mnli:dev[1]", "glue/mnli:matched[1]", "gum:dev[1]", "squadshifts-reddit[1]"])
def test_examples_that_may_not_be_shown_are_refused(tmp_path, reference):
    path = tmp_path / "study.yaml"
    content = (files.ROOT / "studies" / "train.yaml").read_text()
    path.write_text(content.replace('["ewt:test[1]", "squad:dev[1]"]', f'["ewt:test[1]", "{reference}"]'))
    name = reference.partition(":")[0].partition("[")[0]
    with pytest.raises(
        ValueError, match=rf"study.yaml: examples: .*texts of {name} may not be shown \(.*: take an example from"
    ):
        study.load(path)
    path.write_text(content.replace('["ewt:test[1]", "squad:dev[1]"]', '["mine.txt[1]", "pud[1]", "wiki[1]"]'))
    assert study.load(path).examples == ["mine.txt[1]", "pud[1]", "wiki[1]"]


def test_a_study_is_loaded_without_tensorflow():
    code = "import sys; from bert_repro.workflow import study; study.load(sys.argv[1]); print({'keras', 'plotly'} & {*sys.modules})"
    command = [sys.executable, "-c", code, files.ROOT / "studies" / "train.yaml"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_reading_a_study_is_light():
    code = "import sys, bert_repro.workflow.study; print(sorted({'tensorflow', 'keras', 'numpy', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    files.atomically(tmp_path / "x", lambda path: path.write_text("whole"))
    with pytest.raises(ZeroDivisionError):
        files.atomically(tmp_path / "x", lambda path: path.write_text("half") / 0)
    assert (tmp_path / "x").read_text() == "whole" and sorted(p.name for p in tmp_path.iterdir()) == ["x"]


def test_a_folder_is_made_once_and_whole_or_not_at_all(tmp_path):
    def half(partial):
        (partial / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.made_once(tmp_path / "x", half)
    assert [p.name for p in tmp_path.iterdir()] == [".x.lock"]
    assert files.made_once(tmp_path / "x", lambda partial: (partial / "whole").touch()) == tmp_path / "x"
    files.made_once(tmp_path / "x", half)
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["whole"]


def test_what_a_killed_process_left_is_gone_when_the_folder_is_made(tmp_path):
    def killed(partial):
        (partial / "big").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    if not (child := os.fork()):
        files.made_once(tmp_path / "x", killed)
    os.waitpid(child, 0)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1
    files.made_once(tmp_path / "x", lambda partial: (partial / "whole").touch())
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["x"]


def test_what_cannot_be_kept_is_found_once_all_the_same(tmp_path, monkeypatch):
    """A cache may be read-only, or full: then what is found is told and not kept."""
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path))
    (tmp_path / "kind").touch()  # where a folder would be made
    assert files.found_once("kind", "x", lambda: 3) == 3
    finds = iter([4])
    monkeypatch.setattr(Path, "write_text", lambda *given, **more: (_ for _ in ()).throw(OSError(28, "no space")))
    assert files.found_once("other", "x", lambda: next(finds)) == 4


def test_an_error_of_what_was_to_be_found_is_passed_on_and_not_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_REPRO_CACHE", str(tmp_path))
    asked = []

    def find():
        asked.append(1)
        raise OSError("the hub does not answer")

    with pytest.raises(OSError, match="the hub does not answer"):
        files.found_once("kind", "x", find)
    assert asked == [1]


def test_a_home_that_cannot_be_written_is_replaced_and_folders_become_absolute(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setenv("HOME", "/proc/nohome")
    monkeypatch.setenv("BERT_REPRO_CACHE", "cache")
    monkeypatch.setenv("BERT_REPRO_DATA", "")
    monkeypatch.chdir(tmp_path)
    _settle()
    assert os.environ["HOME"] == f"{tmp_path}/build/home" and (tmp_path / "build" / "home").is_dir()
    assert os.environ["BERT_REPRO_CACHE"] == f"{tmp_path}/cache" and os.environ["BERT_REPRO_DATA"] == ""
    monkeypatch.setenv("HOME", str(tmp_path))
    _settle()
    assert os.environ["HOME"] == str(tmp_path)
    monkeypatch.setattr(files, "ROOT", Path("/proc"))  # where nothing can be made, all stays as it is
    monkeypatch.setenv("HOME", "/proc/nohome")
    _settle()
    assert os.environ["HOME"] == "/proc/nohome"


def test_states_of_further_treebanks_are_computed_and_probes_are_told_of_them(tmp_path):
    probe = SMALL["structural_probe"] | {"further": ["f[20]"]}
    made = {run.name: run.parameters for run in study.runs(study.load(write(tmp_path, structural_probe=probe)))}
    assert "f[20]" in made["states-base"]["corpora"]
    assert made["structural_probe-untrained"]["further"] == ["f[20]"]


def test_published_studies_read_the_same_texts_and_train_the_same_seeds():
    mini, minilm = (study.load(files.ROOT / "studies" / f"{name}.yaml").model_dump() for name in ("mini", "minilm"))
    for part in ("similarity", "structural_probe", "edge_probe", "erasure", "line", "examples", "resamples"):
        assert mini[part] == minilm[part], part
    apart = {"updates", "learning_rate", "head_learning_rate", "keep_at"}  # how long and how fast each base learns
    not_passed = {
        "seeds",
        "frozen_layers",
        "kept_layers",
        "controls",
    }  # of small's first answers to questions: its gate
    for first, second in zip(mini["tasks"], minilm["tasks"], strict=True):
        allowed = apart | not_passed if first["task"] == "squad" else apart
        assert {key for key in first if first[key] != second[key]} <= allowed


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_what_is_to_be_as_long_as_pairs_has_enough_sentences_of_their_lengths(path):
    asked = study.load(path).similarity
    texts = [asked.lengths_of, *asked.as_long] if asked.lengths_of else []
    try:
        rows = {text: of_text[0] for text, of_text in states.words(["small"], texts).items()}
    except OSError as error:  # of tensorflow-datasets, or of a folder that is added
        pytest.skip(str(error))
    for text in asked.as_long:
        ordinary = rows[asked.lengths_of][~rows[asked.lengths_of]["special"]]
        sizes = ordinary.groupby("sentence").size().sample(frac=1, random_state=1)
        lengths = sizes[sizes.cumsum() <= asked.words].to_numpy()
        assert len(samples.draw_like(rows[text], lengths, 1)) > 0.8 * asked.words
