"""A base and two models that PyTorch tuned: hidden states, similarity by layer and task scores are what PyTorch's make them."""

import numpy as np
import pytest
import tuned

from bert_repro import checkpoints, finetune, similarity, states
from bert_repro.corpora import LABELS

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
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
