"""Given checkpoints are opened before anything long: what they are is shown, and what no run could use is refused by name."""

import json
import shutil

import numpy as np
import pytest
import yaml

from bert_repro import checkpoints
from bert_repro.checkpoints import Checkpoint
from bert_repro.checkpoints.builtin import random_weights
from bert_repro.checkpoints.families import Config
from bert_repro.checkpoints.vocabulary import SPECIAL, write_tokenizer
from bert_repro.corpora import LABELS
from bert_repro.workflow import opening, study
from bert_repro.workflow.own import TEMPLATE, Own


def made(folder, labels=(), head=(), seed=1):
    """Write a checkpoint of random weights, with a task head that some names of weights and their shapes say."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    arrays = {name: generator.normal(0, 0.1, shape).astype(np.float32) for name, shape in head}
    tiny = checkpoints.open("tiny")
    Checkpoint.write(folder, tiny.config, random_weights(tiny.config, seed, 0.15) | arrays, tiny, labels=labels)
    return str(folder)


PAIRS = [
    ("pooler.dense.weight", (32, 32)),
    ("pooler.dense.bias", (32,)),
    ("classifier.weight", (3, 32)),
    ("classifier.bias", (3,)),
]
SPANS = [("qa_outputs.weight", (2, 32)), ("qa_outputs.bias", (2,))]


def table(**brought):
    return opening.table(study.load(TEMPLATE, Own(base="tiny", **brought)))


@pytest.mark.slow
def test_what_checkpoints_are_stands_side_by_side(tmp_path):
    pairs, spans = made(tmp_path / "pairs", LABELS, PAIRS), made(tmp_path / "spans", head=SPANS, seed=2)
    text, tasks = table(tuned=[f"one={pairs}", f"other={spans}"])
    head, *lines = text.splitlines()
    assert head.split() == ["base", "one", "other"]
    rows = {line.split("  ")[0]: line.split()[-3:] for line in lines}
    assert rows["family"] == ["bert"] * 3 and rows["layers"] == ["2"] * 3 and rows["width"] == ["32"] * 3
    assert "none" in text and "labels of the whole input" in text and "question answering" in text
    assert f"{checkpoints.open('tiny').config.vocab_size:,} pieces, uncased" in text and "Warning" not in text
    assert tasks == {"one": "nli", "other": "squad"}  # told by the task heads


@pytest.mark.slow
def test_a_text_that_cannot_be_meant_is_told_or_refused_before_anything_else(tmp_path):
    path, mine = tmp_path / "text.txt", f"one={made(tmp_path / 'one')}"
    path.write_text("".join(f"Bird {number % 40} sings at dawn.\n\n" for number in range(60)))
    text, _ = table(tuned=[mine], text=str(path))
    assert "20 of 60 items repeat others, 40 are different" in text.partition("Warning: ")[2]
    path.write_text("Birds sing at dawn.\n\n" * 60)
    with pytest.raises(ValueError, match=r"text\.txt.*: all \d+ items are equal: there is nothing to compare"):
        table(tuned=[mine], text=str(path))


@pytest.mark.slow
def test_the_study_has_the_tasks_that_heads_tell(tmp_path, capfd):
    spans = made(tmp_path / "spans", head=SPANS)
    shown = opening.show(study.load(TEMPLATE, Own(base="tiny", tuned=[f"mine={spans}"])))
    assert shown.models[0].task == "squad"
    runs = {run.name: run.parameters for run in study.runs(shown)}
    assert runs["checkpoint-mine"]["texts"] == ["squad:dev[60]"]
    assert "question answering" in capfd.readouterr().out


@pytest.mark.slow
def test_a_task_whose_head_is_not_there_is_said_not_to_be_scored(tmp_path):
    text, _ = table(tuned=[f"mnli={made(tmp_path / 'bare')}"])
    assert "mnli: its task is not scored, as" in text and "brings no task head of this kind" in text


@pytest.mark.slow
def test_the_same_weights_under_two_names_are_refused(tmp_path):
    first = made(tmp_path / "first")
    shutil.copytree(first, tmp_path / "second")
    with pytest.raises(ValueError, match=r"^b \(.*second\) is the same checkpoint as a \(.*first\): name another one$"):
        table(tuned=[f"a={first}", f"b={tmp_path / 'second'}"])
    shutil.copytree(checkpoints.open("tiny").folder, tmp_path / "third")
    with pytest.raises(ValueError, match=r"^a \(.*third\) is the same checkpoint as base \(tiny\): name another one$"):
        table(tuned=[f"a={tmp_path / 'third'}"])


@pytest.mark.slow
def test_labels_without_names_are_refused_until_they_are_said(tmp_path):
    nameless = made(tmp_path / "nameless", ("LABEL_0", "LABEL_1", "LABEL_2"), PAIRS)
    with pytest.raises(
        ValueError, match=r'nameless does not name the labels of its task head .* as in LABELS="NAME=entailment,'
    ):
        table(tuned=[f"mnli={nameless}"])
    _, tasks = table(tuned=[f"mnli={nameless}"], labels=[f"mnli={','.join(LABELS)}"])
    assert tasks == {"mnli": "nli"}


@pytest.mark.slow
def test_other_shapes_and_tokenizers_are_told(tmp_path):
    config = Config(600, 16, 1, 2, 32, 128)
    folder = tmp_path / "narrow"
    folder.mkdir()
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [*SPECIAL.values(), *letters, *(f"##{letter}" for letter in letters)]
    write_tokenizer(folder, [*pieces, *(f"##x{n}" for n in range(600 - len(pieces)))], 128)
    Checkpoint.write(folder, config, random_weights(config, 0, 0.1))
    text, _ = table(tuned=[f"other={folder}"])
    assert (
        f"other: its vocab_size is 600, not {checkpoints.open('tiny').config.vocab_size} as in base. No change of weights"
        in text
    )
    assert "other: another tokenizer than that of base; words are compared all the same." in text


@pytest.mark.slow
def test_many_unknown_pieces_are_a_warning_with_the_likely_cause(tmp_path):
    spelt = made(tmp_path / "spelt")
    tokenizer = json.loads((tmp_path / "spelt" / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (tmp_path / "spelt" / "tokenizer.json").write_text(json.dumps(tokenizer))
    described = json.loads((tmp_path / "spelt" / "tokenizer_config.json").read_text()) | {"do_lower_case": False}
    (tmp_path / "spelt" / "tokenizer_config.json").write_text(json.dumps(described))
    text, _ = table(tuned=[f"mine={spelt}"])
    assert (
        "of the wordpieces as [UNK]; most likely its vocabulary has no capital letters, and its tokenizer keeps them"
        in text
    )
    foreign = tmp_path / "foreign.txt"
    foreign.write_text("".join(f"Это предложение на{'по' * n}писано по-русски.\n" for n in range(60)))
    text, _ = table(tuned=[f"mine={made(tmp_path / 'other')}"], text=str(foreign))
    assert "most likely its vocabulary is that of another language or script" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no/such/folder", "'no/such/folder' is neither a folder, nor a hub id"),
        ("empty", "is not a checkpoint: it has no config.json"),
        ("damaged", "damaged has no weights: expected model.safetensors"),
    ],
)
def test_what_no_run_could_use_is_told_before_the_first(tmp_path, monkeypatch, reference, message):
    (tmp_path / "empty").mkdir()
    made(tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").unlink()
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(
        yaml.safe_dump(
            yaml.safe_load(TEMPLATE.read_text())
            | {
                "base": "tiny",
                "models": [
                    {"name": "a", "checkpoint": str(reference) if "/" in reference else str(tmp_path / reference)}
                ],
            }
        )
    )
    with pytest.raises(RuntimeError) as caught:
        opening.show(study.load(path))
    assert message in str(caught.value) and "\n" not in str(caught.value)
