"""What a reader brings stands where it should, and nowhere else; what cannot be meant is refused in a line."""

from pathlib import Path

import pytest
import yaml

from bert_repro import corpora, files
from bert_repro.files import ROOT
from bert_repro.results import parameters
from bert_repro.workflow import notebooks, report, study
from bert_repro.workflow.own import MODELS, TEMPLATE, TEXTS, Own, from_here, task_of

TRAIN = files.ROOT / "studies" / "train.yaml"
TREES = "1\tAh\t_\tINTJ\t_\t_\t0\troot\t_\t_\n2\tyes\t_\tINTJ\t_\t_\t1\tdiscourse\t_\t_\n\n"


def loaded(**brought):
    return study.load(TEMPLATE, Own(**brought))


def runs_of(**brought):
    return {run.name: run for run in study.runs(loaded(**brought))}


@pytest.fixture
def treebank(tmp_path):
    """A folder in UD's naming."""
    folder = tmp_path / "UD_Small"
    folder.mkdir()
    for split, sentences in (("train", 5), ("dev", 3), ("test", 2)):
        (folder / f"xx_small-ud-{split}.conllu").write_text(TREES * sentences)
    return folder


def test_checkpoints_of_a_reader_take_the_place_of_the_files(tmp_path):
    (tmp_path / "mine").mkdir()
    brought = loaded(base="org/base", tuned=[f"mine={tmp_path}/mine", "mnli=org/a@v1"], as_seeds=["squad=b,c"])
    assert brought.base == "org/base"
    assert [(m.name, m.checkpoint, m.task, m.seed) for m in brought.models] == [
        ("mine", f"{tmp_path}/mine", "", 1), ("mnli", "org/a@v1", "nli", 1), ("squad-1", "b", "squad", 1), ("squad-2", "c", "squad", 2),
    ]  # fmt: skip
    assert brought.name == "checkpoints_base_mine_mnli_squad_1_squad_2"  # a study of its own, in a folder of its own
    assert "org/base" in brought.banner or "base as the base" in brought.banner


def test_nothing_brought_is_the_file_and_a_base_alone_trains_on_it():
    assert study.load(TRAIN, Own()) == study.load(TRAIN) == study.load(TRAIN, Own(base="small"))
    other = study.load(TRAIN, Own(base="org/My-BERT"))
    assert (other.name, other.base, other.tasks) == ("train_my_bert", "org/My-BERT", study.load(TRAIN).tasks)
    assert "another base encoder, My-BERT" in other.banner and not other.models


def test_folders_are_named_from_where_the_reader_is(tmp_path, monkeypatch):
    (tmp_path / "tuned here").mkdir()
    monkeypatch.chdir(tmp_path)
    brought = loaded(base="untrained:tuned here", tuned=["a=tuned here"])
    assert (
        brought.base == f"untrained:{tmp_path}/tuned here" and brought.models[0].checkpoint == f"{tmp_path}/tuned here"
    )


def test_a_folder_called_like_one_of_the_projects_is_the_readers(tmp_path, monkeypatch):
    """What is checked in the reader's folder must be what jobs measure, which run in the project's."""
    place = "encoders/small-nli"
    monkeypatch.chdir(files.ROOT)
    assert loaded(base=place).base == place
    (tmp_path / place).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert loaded(base=place).base == f"{tmp_path}/{place}"


def test_a_folder_may_end_in_a_slash_as_a_shell_completes_it(monkeypatch):
    monkeypatch.chdir(files.ROOT)
    one, other = (study.load(TRAIN, Own(base=base)) for base in ("encoders/small-nli/", "encoders/small-nli"))
    assert one == other and one.name == "train_small_nli"


@pytest.mark.parametrize(
    ("name", "task"),
    [("nli", "nli"), ("mnli", "nli"), ("mnli-2", "nli"), ("squad_3", "squad"), ("ewt", "parsing"), ("tagging", "tagging"), ("mine", "")],
)  # fmt: skip
def test_the_name_of_a_checkpoint_may_say_its_task(name, task):
    assert task_of(name) == task


def test_labels_go_to_the_checkpoint_and_to_all_of_its_seeds():
    names = ["entailment", "neutral", "contradiction"]
    brought = loaded(tuned=["mine=a"], as_seeds=["mnli=b,c"], labels=[f"mnli={','.join(names)}", "mine=yes,no"])
    assert [model.labels for model in brought.models] == [["yes", "no"], names, names]


def test_every_run_of_given_models_is_one_that_its_notebook_takes():
    runs = runs_of(base="tiny", tuned=["mnli=a", "mine=b"])
    for run in runs.values():
        parameters.check(notebooks.find(run.notebook), run.parameters)
    assert not any(run.notebook == "finetune" for run in runs.values())  # nothing is trained
    scored = runs["checkpoint-mnli"].parameters
    assert (scored["task"], scored["texts"], scored["base"]) == ("nli", ["mnli:dev[300]"], "tiny")
    assert runs["checkpoint-mine"].parameters["task"] == "" and runs["checkpoint-base"].parameters["base"] == ""
    for name in ("states-mine", "structural_probe-mine", "edge_probe-mine", "similarity-base-mine"):
        assert runs[name].parameters["tuned"] == {"task": "mine", "seed": 1, "layers_changed": "all", "base": "tiny"}
    assert runs["states-base"].parameters["tuned"] == {}


def test_every_given_model_is_compared_with_its_base_and_with_every_other():
    roles = {
        name: run.parameters["role"]
        for name, run in runs_of(tuned=["a=a", "b=b", "c=c"]).items()
        if name.startswith("similarity")
    }
    assert roles == {
        "similarity-base-a": "score", "similarity-base-b": "score", "similarity-base-c": "score", "similarity-base-untrained": "floor",
        "similarity-a-b": "floor", "similarity-a-c": "floor", "similarity-b-c": "floor",
    }  # fmt: skip


def test_a_model_may_come_from_another_than_the_studys_base(tmp_path):
    content = yaml.safe_load(TEMPLATE.read_text())
    content["models"] = [{"name": "other", "checkpoint": "o"}, {"name": "tuned", "checkpoint": "t", "base": "other"}]
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    runs = {run.name: run.parameters for run in study.runs(study.load(path))}
    assert runs["similarity-other-tuned"]["role"] == "score" and runs["similarity-base-tuned"]["role"] == "floor"
    assert runs["checkpoint-tuned"]["base"] == "o" and runs["states-tuned"]["tuned"]["base"] == "o"


def test_given_models_stand_beside_those_that_are_trained(tmp_path):
    content = yaml.safe_load(TRAIN.read_text()) | {"models": [{"name": "theirs", "checkpoint": "t", "task": "nli"}]}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    names = [run.name for run in study.runs(study.load(path))]
    assert {"finetune-nli-1", "checkpoint-theirs", "similarity-base-theirs", "similarity-nli-1-theirs"} <= set(names)


# ---- text and treebank


def test_a_treebank_of_ones_own_stands_wherever_that_of_the_study_did(treebank):
    brought = loaded(base="tiny", tuned=["a=a"], treebank=[str(treebank)])
    train, dev, test = (str(treebank / f"xx_small-ud-{split}.conllu") for split in ("train", "dev", "test"))
    probe = brought.structural_probe
    assert (probe.train, probe.dev, probe.test) == (
        train,
        dev,
        test,
    )  # as many as there are, fewer than were to be drawn
    assert brought.edge_probe.train == train and brought.similarity.classes_corpus == dev
    assert dev in brought.similarity.corpora and f"wiki~{dev}" in brought.similarity.corpora
    assert not any("ewt" in text or "pud" in text for text in brought.corpora())
    assert probe.further == [] != loaded(base="tiny", tuned=["a=a"]).structural_probe.further
    three = loaded(base="tiny", tuned=["a=a"], treebank=[train, dev, test])
    assert three.structural_probe == probe


def test_a_line_is_walked_on_a_treebank_and_text_of_ones_own(treebank, tmp_path):
    content = yaml.safe_load(TEMPLATE.read_text())
    splits = {split: f"ewt:{split}[300]" for split in ("train", "dev", "test")}
    path, text = tmp_path / "study.yaml", tmp_path / "mine.txt"
    path.write_text(yaml.safe_dump(content | {"line": splits | {"neutral": "wiki[240]", "words": 100}}))
    text.write_text("A sentence of mine. Another one.\n" * 400)
    brought = study.load(path, Own(base="tiny", tuned=["mnli=a"], treebank=[str(treebank)], text=str(text)))
    assert brought.line.train == str(treebank / "xx_small-ud-train.conllu") and str(text) in brought.line.neutral
    kept = study.load(path, Own(base="tiny", tuned=["mnli=a"]))
    assert kept.line.train == "ewt:train[300]" and "ewt:dev[300]" in kept.similarity.corpora


def test_a_text_of_ones_own_stands_where_neutral_text_did(tmp_path):
    text = tmp_path / "mine.txt"
    text.write_text("A sentence of mine. Another one.\n" * 400)
    brought = loaded(base="tiny", tuned=["mnli=a"], text=str(text))
    assert brought.similarity.corpora[0] == f"{text}[240]" and f"{text}[100]" not in brought.similarity.corpora
    assert f"{text}~mnli:dev[100]" in brought.similarity.corpora
    assert brought.scored_on["masked_words"] == str(text)  # all of it, as the study's own draw has more words
    text.write_text("A sentence of mine. Another one.\n" * 40_000)
    mine, study_s = loaded(base="tiny", tuned=["mnli=a"], text=str(text)), study.load(TEMPLATE)
    words = [
        sum(len(line.split()) for _, line in corpora.paragraphs(one.scored_on["masked_words"]))
        for one in (mine, study_s)
    ]
    assert words[1] <= words[0] < words[1] + 6 and "[" in mine.scored_on["masked_words"]


def test_a_banner_that_is_longer_than_a_name_of_a_file_may_be_is_no_path(tmp_path):
    """Two checkpoints of the hub have such a banner."""
    text = tmp_path / "mine.txt"
    text.write_text("A sentence of mine. Another one.\n" * 400)
    brought = loaded(
        base="org/bert", tuned=[f"{name}=org/{'long-' * 25}{name}" for name in ("mnli", "squad")], text=str(text)
    )
    assert len(brought.banner) > 255


def test_names_that_could_be_taken_for_others_are_refused():
    with pytest.raises(ValueError, match="two models are called x_1, - and _ being one"):
        loaded(base="tiny", tuned=["x-1=a", "x_1=b"])
    brought = loaded(base="tiny", tuned=[f"{name}={n}" for n, name in enumerate(["x", "y-z", "x-y", "z"])])
    with pytest.raises(
        ValueError, match="^two runs are called similarity-x-y-z: give its models names that cannot be taken"
    ):
        study.runs(brought)


def test_layers_that_another_base_does_not_have_are_left_out_and_those_of_a_study_refused(
    tmp_path, monkeypatch, capsys
):
    given = study.load(TRAIN, Own(base="google/bert_uncased_L-4_H-256_A-4")).within(4, 256)
    tunings = [run.parameters for run in study.runs(given) if run.notebook == "finetune"]
    assert {layer for one in tunings for layer in one["reverted_layers"]} == {0, 1, 2, 3, 4}
    shallow = study.load(TRAIN, Own(base="tiny")).within(2, 32)
    assert not any(run.parameters.get("frozen_layers") for run in study.runs(shallow) if run.notebook == "finetune")
    mine = tmp_path / "mine.yaml"
    mine.write_text(TRAIN.read_text().replace("base: small", "base: tiny"))
    monkeypatch.setattr(report, "ROOT", tmp_path)
    with pytest.raises(
        ValueError,
        match="mine.yaml: the base tiny has 2 blocks and is 32 wide: layers and ranks of probes must lie within",
    ):
        report.make(mine)
    monkeypatch.setattr(report, "_run", lambda command, lock: 0)
    report.make(TRAIN, Own(base="tiny"))
    assert (
        "tiny has 2 blocks and is 32 wide: layers of the study that lie beyond are left out, and ranks of probes lowered"
        in capsys.readouterr().err
    )
    (written,) = (tmp_path / "build").glob("train*/study.yaml")
    fitted = study.load(written)
    assert fitted.within(2, 32) == fitted and fitted.structural_probe.rank == 32


def test_folders_of_text_and_layouts_are_where_the_reader_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("folder/a.txt", "t.txt"):
        (tmp_path / name).write_text("One. Two.\n")
    given = {"train": "folder", "corpora": ["t.txt", "wiki~t.txt", "folder[1]", "ewt:dev[60]"], "words": 3}
    made = from_here(given)
    assert made["train"] == str(tmp_path / "folder") and made["words"] == 3
    assert made["corpora"] == [f"{tmp_path}/t.txt", f"wiki~{tmp_path}/t.txt", f"{tmp_path}/folder[1]", "ewt:dev[60]"]


def test_text_of_tasks_that_no_checkpoint_has_is_left_out_but_for_the_probes():
    alone = loaded(base="tiny", tuned=["mine=a"]).similarity
    assert alone.corpora == ["wiki[240]", "ewt:dev[300]", "wiki~ewt:dev[200]"] and alone.lengths_of == ""
    both = loaded(base="tiny", tuned=["mnli=a", "squad=b"]).similarity
    assert both == study.load(TEMPLATE).similarity


# ---- the file that is written


def test_a_study_is_written_as_it_was_loaded_and_only_once(tmp_path):
    brought = loaded(base="tiny", tuned=["mnli=a", "mine=b"])
    path = tmp_path / "made" / "study.yaml"
    brought.write(path)
    assert study.load(path) == brought
    moment = path.stat().st_mtime_ns
    brought.write(path)
    assert path.stat().st_mtime_ns == moment


# ---- what is refused


@pytest.mark.parametrize(
    ("brought", "message"),
    [
        ({"tuned": ["org/name"]}, "--tuned takes NAME=..., as in mnli=org/name, got 'org/name'"),
        ({"tuned": ["mnli="]}, "--tuned takes NAME=..., as in mnli=org/name, got 'mnli='"),
        ({"as_seeds": ["a,b"]}, "--as-seeds takes NAME=..., as in mnli=a,b,c, got 'a,b'"),
        ({"tuned": ["My Model=a"]}, "a model's name consists of small letters, digits, - and _, as in mnli-2, got 'My Model'"),
        ({"tuned": ["a=x", "a=y"]}, "two models are called a, - and _ being one: give each a different name"),
        ({"tuned": ["base=x"]}, "two models are called base, - and _ being one: give each a different name"),
        ({"tuned": ["a=x", "b=x"]}, "x occurs twice: a model compared with itself says nothing"),
        ({"base": "x", "tuned": ["a=x"]}, "x occurs twice: a model compared with itself says nothing"),
        ({"tuned": ["a=x"], "labels": ["b=yes,no"]}, "labels of b, which is not a checkpoint given: name one of ['a']"),
        ({"treebank": ["one.conllu"]}, "a treebank is three files, to train, dev and test on, or a folder of them, got ['one.conllu']"),
        ({"treebank": ["a", "b", "c"]}, "no treebank a"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(brought, message):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        loaded(**brought)
    assert message in str(caught.value)


def test_a_folder_that_lacks_a_split_is_refused(treebank):
    (treebank / "xx_small-ud-dev.conllu").unlink()
    with pytest.raises(
        ValueError, match=r"holds \['xx_small-ud-train.conllu', 'xx_small-ud-test.conllu'\]: expected one file each"
    ):
        loaded(treebank=[str(treebank)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": []}, "neither `tasks`, to tune the base on, nor `models`, that somebody tuned: nothing to compare"),
        (
            {"models": [{"name": "a", "checkpoint": "x", "base": "b"}]},
            "a comes from 'b': expected one of base, untrained, a",
        ),
        ({"models": [{"name": "a b", "checkpoint": "x"}]}, "models.0.name: String should match pattern"),
        ({"scored_on": {"nly": "x"}}, "unknown task: did you mean 'nli'?"),
    ],
)
def test_a_study_of_given_models_is_checked(tmp_path, changes, message):
    path = Path(tmp_path / "study.yaml")
    path.write_text(yaml.safe_dump(yaml.safe_load(TEMPLATE.read_text()) | changes))
    with pytest.raises(ValueError) as caught:
        study.load(path)
    assert message in str(caught.value)


def test_parameters_name_files_from_where_their_reader_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "a text.txt").write_text("One. Two.")
    given = {
        "model": "mine", "reference_model": "untrained:mine", "name": "mine", "task": "a text.txt", "texts": ["a text.txt[1]", "wiki[2]"],
        "masked": "", "corpora": ["wiki", "nothing.txt"], "words": 5,
    }  # fmt: skip
    assert from_here(given) == given | {
        "model": f"{tmp_path}/mine", "reference_model": f"untrained:{tmp_path}/mine", "texts": [f"{tmp_path}/a text.txt[1]", "wiki[2]"],
    }  # fmt: skip


def test_every_parameter_that_is_text_is_known_to_name_a_file_or_not():
    others = {
        "classes", "control", "grid_methods", "labels", "methods", "more_methods", "name", "names", "output", "precision", "probe",
        "punctuation", "reference_name", "role", "save", "study", "tables_folder", "targets", "task",
    }  # fmt: skip
    paths = list((ROOT / "notebooks").glob("[!.]*.ipynb"))
    texts = {one.name for path in paths for one in parameters.read(path) if one.type in ("str", "list[str]")}
    assert texts == MODELS | TEXTS | others
