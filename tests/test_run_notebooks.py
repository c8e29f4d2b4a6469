"""Each run notebook, executed: numbers in its table are those that other code, or none at all, gives for them."""

from collections import Counter

import numpy as np
import pytest

from bert_repro import corpora, similarity, states
from bert_repro.files import ROOT
from bert_repro.results import tables
from bert_repro.results.tables import select

pytestmark = pytest.mark.slow


@pytest.fixture
def ran(tmp_path, executed):
    """Run a notebook with its defaults, but for some parameters, and read its table."""

    def run(notebook, **given):
        output = tmp_path / f"{notebook}.parquet"
        executed(notebook, output=str(output), **given)
        return tables.read(output)

    return run


def values(rows):
    return rows["value"].astype(float).to_numpy()


def share_of_most_frequent(train, test):
    """Give the share of test labels that are the one which training has most often."""
    ((most, _),) = Counter(train).most_common(1)
    return np.mean([label == most for label in test])


def test_finetune_leaves_frozen_layers_alone_and_counts_its_baseline_right(ran):
    table = ran("finetune", frozen_layers=1, reverted_layers=[], baseline=True)
    moved = select(table, method="weights", metric="relative_l2").set_index("layer")["value"]
    assert moved[[0, 1]].tolist() == [0, 0] and (moved[2:] > 0).all() and len(moved) > 2
    train, dev = ([pair.label for pair in corpora.load(text).items] for text in ("mnli:train[320]", "mnli:dev[100]"))
    (majority,) = values(select(table, role="baseline", metric="accuracy"))
    assert majority == share_of_most_frequent(train, dev)


def test_checkpoint_finds_no_change_between_an_encoder_and_itself(ran):
    table = select(ran("checkpoint", model="tiny", base="tiny"), method="weights")
    assert set(values(select(table, metric="relative_l2"))) == {0.0}
    assert values(select(table, metric="cosine")) == pytest.approx(1)


def test_hidden_states_has_the_mean_norm_of_the_words_it_draws(ran):
    text = "ewt:dev[60]"
    norms = select(ran("hidden_states"), corpus="ewt", metric="norm")
    (drawn,) = similarity.sample([{text: states.get("tiny", text)}], [text], words=500, seed=1)
    assert values(norms) == pytest.approx(np.linalg.norm(drawn.vectors[0], axis=-1).mean(-1), rel=1e-5)
    assert set(norms["n"]) == {drawn.vectors[0].shape[1]}


def test_similarity_of_an_encoder_with_itself_is_1_by_every_measure(ran):
    table = ran("similarity", model="tiny", name="base-2", reference_model="tiny", second_sample=False)
    own = select(table, metric="similarity", rows=None, model="base-2", reference_model="base")
    assert set(own["method"]) == {"rsa", "cka_debiased", "cosine", "procrustes"}
    assert values(own) == pytest.approx(1, abs=1e-5)
    assert "layer below" not in set(
        table["reference_model"]
    )  # which one comparison of a study measures, that with the untrained


def test_structural_probe_counts_the_edges_between_neighbours_for_the_linear_chain(ran):
    table = ran("structural_probe")
    right = edges = 0
    for sentence in corpora.load("ewt:test[60]").items:
        place = {}  # among words that are no punctuation
        for number, tag in enumerate(sentence.upos, 1):
            if tag != "PUNCT":
                place[number] = len(place)
        pairs = [
            (place[word], place[head]) for word, head in enumerate(sentence.heads, 1) if {word, head} <= set(place)
        ]
        edges += len(pairs)
        right += sum(abs(word - head) == 1 for word, head in pairs)
    (chain,) = values(select(table, role="baseline", model="linear chain", metric="uuas", split="test"))
    assert chain == pytest.approx(right / edges, abs=1e-6)


def test_edge_probe_scores_the_most_frequent_label(ran):
    table = ran("edge_probe", targets=["upos"], mixed=False, description=False)
    train, test = (
        [tag for sentence in corpora.load(text).items for tag in sentence.upos]
        for text in ("ewt:train[200]", "ewt:test[60]")
    )
    (majority,) = values(select(table, role="baseline", metric="accuracy", split="test"))
    assert majority == pytest.approx(share_of_most_frequent(train, test), abs=1e-6)
    selectivity, score, control = (
        values(select(table, split="test", **where))
        for where in (
            {"metric": "selectivity"},
            {"metric": "accuracy", "method": "single layer"},
            {"metric": "accuracy", "method": "control task"},
        )
    )
    assert selectivity == pytest.approx(score - control, abs=1e-6)


def test_erasure_leaves_less_of_the_labels_than_there_was(ran):
    left = select(ran("erasure", layers=[1], targets=["upos"]), metric="label_accuracy")
    by_method = left.groupby("method")["value"].mean()
    assert by_method["erased"] < by_method["nothing erased"]


def test_line_begins_at_its_base(ran):
    table = ran("line", points=[0.0, 0.5, 1.0], layers=[1])
    start = select(table, layers_changed="0 of the way")
    assert set(values(select(start, metric="similarity"))) == {1.0}
    old, new = (
        values(select(start, probe=f"structural, {probe}", metric="uuas")) for probe in ("of the base", "trained anew")
    )
    assert old.tolist() == new.tolist() and len(old) == 1
    assert (values(select(table, metric="similarity", layers_changed="1 of the way")) < 1).all()


def test_change_and_function_cannot_decide_with_three_encoders(ran):
    table = ran("change_and_function")
    assert set(table["units"]) == {3} and set(table["n"]) == {3 * 7}
    assert np.abs(values(table)).max() <= 1 and set(table["ci_low"]) == {-1.0} and set(table["ci_high"]) == {1.0}


def test_every_run_notebook_is_here_by_name():
    tested = [name.removeprefix("test_") for name in globals() if name.startswith("test_")]
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert any(name.startswith(notebook.stem) for name in tested), notebook.name
