"""A base and two models that PyTorch tuned: hidden states, similarity by layer and task scores are what PyTorch's make them."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import pytorch
import tuned

from bert_repro import checkpoints, encoder, finetune, similarity, states
from bert_repro.checkpoints import families
from bert_repro.corpora import LABELS

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
SENTENCES = ["The naïve birds , a Zürich", "the old naive .", "Zürich"]  # as in odd_by_pytorch.py
DEFINED = {"rsa": tuned.rsa, "cka_debiased": tuned.cka_debiased}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return tuned.make(tmp_path_factory.mktemp("tuned"))


@pytest.fixture(scope="module")
def ours(expected):
    """Our hidden states of all texts under each model."""
    setting = states.Setting(dtype="float32")
    return {
        model: dict(zip(tuned.TEXTS, states.get_all(str(expected.folder / model), tuned.TEXTS, setting), strict=True))
        for model in tuned.MODELS
    }


def test_the_models_differ_and_say_what_they_are(expected):
    for model in tuned.MODELS:
        checkpoints.open(str(expected.folder / model)).check()
    assert checkpoints.open(str(expected.mnli)).labels == LABELS
    text = tuned.TEXTS[0]
    assert np.abs(expected.states["base", text] - expected.states["mnli", text]).max() > 0.1
    assert len(set(expected.labels)) > 1 and len(set(expected.answers)) > 10
    assert expected.scores["mnli"]["accuracy"] > 0.6 and 0.2 < expected.scores["squad"]["f1"] < 1


@pytest.mark.parametrize("text", tuned.TEXTS)
@pytest.mark.parametrize("model", tuned.MODELS)
def test_hidden_states_are_those_of_pytorch(expected, ours, model, text):
    theirs, stored = expected.states[model, text], ours[model][text]
    vectors = stored.vectors(np.arange(len(stored.rows)))
    assert vectors.shape == theirs.shape
    largest = np.abs(vectors - theirs).max()
    print(f"{model} {text}: {largest:.1e}")
    assert largest <= TOLERANCE


@pytest.mark.parametrize("text", tuned.TEXTS)
@pytest.mark.parametrize("model", ["mnli", "squad"])
def test_similarity_by_layer_is_that_of_pytorchs_states(expected, ours, model, text):
    layers = range(len(expected.states["base", text]))
    (sample,) = similarity.sample([ours["base"], ours[model]], [text], words=400, seed=1)
    drawn = similarity.draw(ours["base"][text].rows, 400, seed=1)
    table = similarity.compare([sample], layers, list(DEFINED), resamples=20)
    values = {(row["method"], row["layer"]): row["value"] for row in table if row["metric"] == "similarity"}
    assert values.keys() == {(method, layer) for method in DEFINED for layer in layers}
    for (method, layer), value in values.items():
        theirs = (expected.states[name, text][layer, drawn] for name in ("base", model))
        assert value == pytest.approx(DEFINED[method](*theirs), abs=TOLERANCE), (method, layer)
    assert min(values.values()) < 0.99


@pytest.mark.parametrize(
    ("model", "task", "corpus"), [("mnli", "nli", tuned.PAIRS), ("squad", "squad", tuned.QUESTIONS)]
)
def test_task_scores_are_those_of_pytorchs_predictions(expected, model, task, corpus):
    scored = finetune.assess(str(expected.folder / model), task=task, texts=[corpus], resamples=20)
    (report,) = scored.items.to_dict("records")
    assert report["items left out"] == report["inputs cut at the length limit"] == 0
    assert (report["encoder inputs"] > report["items"]) == (task == "squad")  # some contexts are read in windows
    scores = {row["metric"]: row["value"] for row in scored.rows if row["metric"] in expected.scores[model]}
    assert scores == pytest.approx(expected.scores[model], abs=1e-12)


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Checkpoints that are written in odd ways, with the wordpieces and hidden states of PyTorch."""
    folder = tmp_path_factory.mktemp("odd")
    script = Path(__file__).parent / "odd_by_pytorch.py"
    subprocess.run([pytorch.python(), script, folder, *families.ACTIVATIONS], check=True, capture_output=True)
    with np.load(folder / "states.npz") as stored:
        return folder, json.loads((folder / "expected.json").read_text()), dict(stored)


def test_what_is_written_in_odd_ways_is_read_as_pytorch_reads_what_is_meant(odd):
    folder, expected, theirs = odd
    assert {name.removeprefix("act-") for name in expected} >= families.ACTIVATIONS.keys() and len(expected) > 20
    for place, pieces in expected.items():
        opened = checkpoints.open(str(folder / place))
        opened.check()
        assert [opened.tokenizer(sentence)["input_ids"] for sentence in SENTENCES] == pieces, place
        model = encoder.build(opened.config, opened.weights())
        for number, ids in enumerate(pieces):
            given = np.array([ids], np.int32)
            states = model({"token_ids": given, "segment_ids": np.zeros_like(given), "mask": np.ones_like(given)})
            ours = np.stack([np.asarray(state)[0] for state in states])
            assert np.abs(ours - theirs[f"{place}/{number}"]).max() <= TOLERANCE, (place, number)
    # so small a difference as that of gelu and its tanh form would show
    assert np.abs(theirs["act-gelu/0"] - theirs["act-gelu_new/0"]).max() > TOLERANCE
    with pytest.raises(
        ValueError, match=re.escape(f"it is a folder around one: give {folder / 'sbert' / '0_Transformer'}")
    ):
        checkpoints.open(str(folder / "sbert")).check()
