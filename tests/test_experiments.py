"""What the probe notebooks measure: every score with its controls, on every split but the first."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from planted import States, bank_of, corpus

from bert_repro.probes import description_length, edge, experiments, phenomena, scores, spans


@pytest.fixture(scope="module")
def splits():
    draw, made = np.random.default_rng(0), []
    for name, count in (("train", 40), ("dev", 12), ("test", 15)):
        bank = bank_of(corpus(count, (5, 9), seed=count))
        rows = int(bank.rows[-1]) + 20
        states = States(draw.normal(size=(3, rows, 8)).astype(np.float32))
        made.append(experiments.Split(bank, states, f"key {name}", {"corpus": "trees", "split": name}))
    return made


def test_structural_probes_have_a_row_for_everything(splits):
    setting = {"ranks": [4, 2], "seeds": [1, 2], "epochs": 2, "shown": 2, "resamples": 100, "label": ""}
    found = experiments.structural_probes("distance", splits, [0, 2], **setting)
    seen = {(r["split"], r["layer"], r["metric"], r["probe"], r["method"], r["probe_seed"]) for r in found.rows}
    assert seen == {
        (split, layer, metric, *probe)
        for split in ("dev", "test")
        for layer in (0, 2)
        for metric in ("uuas", "dspr")
        for probe in (("structural", "rank 4", 1), ("structural", "rank 4", 2), ("structural, rank sweep", "rank 2", 1))
    }
    assert len(found.rows) == len(seen) and found.dev_loss.keys() == {
        "rank 4, seed 1",
        "rank 4, seed 2",
        "rank 2, seed 1",
    }
    assert all(np.shape(losses) == (2, 2) for losses in found.dev_loss.values())  # epochs layers
    assert [len(tree["edges"]) for tree in found.trees] == [2, 2]
    assert experiments.structural_probes("depth", splits, [0], **setting).trees == []


def test_baselines_are_scored_on_every_split(splits):
    found = experiments.baselines(["distance", "depth"], splits[1:], 100)
    assert {(r["split"], r["target"], r["model"]) for r in found} == {
        (split, *one)
        for split in ("dev", "test")
        for one in (("distance", "linear chain"), ("distance", "random tree"), ("depth", "word position"), ("depth", "first verb"))
    }  # fmt: skip


@pytest.fixture
def brief(monkeypatch):
    """Codes that are not trained to the end."""
    monkeypatch.setattr(description_length, "PLATEAU", {"updates": 1, "epochs": 3})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_edge_probes_stand_beside_their_controls(splits, brief):
    given = experiments.labels("upos", splits)
    setting = {"resamples": 100, "label": "", "kind": "linear", "epochs": 2, "seed": 3}
    found = experiments.edge_probes("upos", given, splits, [0, 1, 2], mixed=True, coded=True, **setting)
    rows = found.rows
    assert found.dev_loss.keys() == {"single layer", "control task", experiments.MIX}
    assert {row["probe"] for row in rows} == {"linear"}
    counted = {}
    for row in rows:
        key = row["method"], row["metric"], row.get("split"), row.get("role")
        counted[key] = counted.get(key, 0) + 1
    expected = {}
    for split in ("dev", "test"):
        expected |= {("single layer", "accuracy", split, None): 3, ("single layer", "selectivity", split, None): 3}
        expected |= {("control task", "accuracy", split, "control"): 3, (experiments.MIX, "accuracy", split, None): 3}
        expected[experiments.MIX, "expected layer", split, None] = 1
    for metric in ("kbits", "compression"):
        expected |= {("online code", metric, "train", None): 3, ("control task", metric, "train", "control"): 3}
    expected |= {
        (experiments.MIX, "mixing weight", None, None): 3,
        (experiments.MIX, "centre of gravity", None, None): 1,
    }
    assert counted == expected
    value = {
        (r["method"], r["metric"], r["layer"]): r["value"] for r in rows if r.get("split") == "test" and "layer" in r
    }
    for layer in range(3):
        gain = value["single layer", "accuracy", layer] - value["control task", "accuracy", layer]
        assert value["single layer", "selectivity", layer] == pytest.approx(gain)
    plain = experiments.edge_probes("upos", given, splits, [0, 1, 2], mixed=False, coded=False, **setting).rows
    assert {row["method"] for row in plain} == {"single layer", "control task"}
    assert [r["model"] for r in experiments.majority("upos", given, splits, 100)] == ["majority"] * 2


def test_one_layer_alone_has_no_expected_layer(splits):
    given = experiments.labels("upos", splits)
    rows = experiments.edge_probes(
        "upos", given, splits, [1], mixed=True, coded=False, resamples=20, label="", kind="linear", epochs=1
    ).rows
    assert "expected layer" not in {row["metric"] for row in rows}
    assert [row["value"] for row in rows if row["metric"] == "centre of gravity"] == [pytest.approx(1)]


def test_the_earlier_notebooks_metric_does_not_see_the_gold_tree(splits):
    projected = (np.random.default_rng(n).normal(size=(1, n, 4)) for n in splits[2].bank.lengths.tolist())
    for tree in scores.trees(splits[2].bank, projected):
        gold, noise = scores.earlier_metric(tree, 0)
        assert gold["earlier notebook"] == noise["earlier notebook"]
        assert gold["DSpr."] != noise["DSpr."]


def test_probes_are_tested_on_further_treebanks_as_on_test(splits):
    more = [*splits, splits[2]._replace(about={"corpus": "others", "split": "further"})]
    setting = {"resamples": 100, "label": "", "epochs": 2}
    shaped = {"ranks": [4], "seeds": [1], "shown": 1}
    found = experiments.structural_probes("distance", more, [0], **shaped, **setting).rows
    given = experiments.labels("arc", more)
    found += experiments.edge_probes("arc", given, more, [0], mixed=False, coded=False, **setting).rows
    by_split = {}
    for row in found:
        by_split.setdefault(row["split"], []).append(
            (row["target"], row["metric"], row["method"], row["value"], row["probe"])
        )
    assert by_split["further"] == by_split["test"] != by_split["dev"]  # the same sentences, the same probes
    assert {(target, probe) for target, *_, probe in by_split["further"]} == {
        ("distance", "structural"),
        ("arc", "bilinear"),
    }
    assert ("arc", "selectivity") in {row[:2] for row in by_split["further"]}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_has_no_control_task_has_no_selectivity(splits, brief, monkeypatch):
    monkeypatch.setitem(spans.EDGE_TARGETS, "upos", spans.EDGE_TARGETS["upos"]._replace(control=""))
    setting = {"mixed": False, "coded": True, "resamples": 100, "label": "", "epochs": 2}
    rows = experiments.edge_probes("upos", experiments.labels("upos", splits), splits, [0], **setting).rows
    assert {(row["method"], row["metric"]) for row in rows} == {
        ("single layer", "accuracy"),
        ("online code", "kbits"),
        ("online code", "compression"),
    }


# ---- by phenomenon


def naive_classes(bank, train):
    """Name the classes of every word, by its row."""
    times = [word.lower() for one in train.sentences for word in one.words]
    named = {}
    for start, one in zip(bank.rows, bank.sentences, strict=True):
        for i, word in enumerate(one.words):
            often, head = times.count(word.lower()), one.heads[i]
            named[start + i] = {f"frequency: {'0' if not often else '1 to 9' if often < 10 else '10 to 99' if often < 100 else '100 and more'}"}  # fmt: skip
            if head:
                far = abs(head - 1 - i)
                named[start + i] |= {
                    f"relation: {one.relations[i].split(':')[0]}",
                    f"arc length: {far if far < 3 else '3 to 5' if far < 6 else '6 and more'}",
                    "direction: head before" if head - 1 < i else "direction: head behind",
                }
    return named


@pytest.fixture(scope="module")
def sorted_banks():
    draw = np.random.default_rng(3)
    words, relations = [f"W{n}" for n in range(40)], ["nsubj", "nsubj:pass", "obj", "vocative"]
    chances, made = 0.8 ** np.arange(40), []
    for count in (300, 80):
        sentences = [
            dataclasses.replace(
                one,
                words=tuple(draw.choice(words, len(one.words), p=chances / chances.sum())),
                relations=tuple("root" if not head else str(draw.choice(relations, p=[0.4, 0.2, 0.38, 0.02])) for head in one.heads),
            )
            for one in corpus(count, (5, 12), seed=count)
        ]  # fmt: skip
        made.append(bank_of(sentences))
    return made


def test_classes_of_words_are_those_of_a_plain_reading(sorted_banks):
    train, bank = sorted_banks
    masks, seldom = phenomena.classes(bank, train)
    named = naive_classes(bank, train)
    counts = Counter(name for names in named.values() for name in names)
    assert masks.keys() == {name for name, count in counts.items() if count >= phenomena.LEAST}
    assert seldom == {name: count for name, count in counts.items() if count < phenomena.LEAST}
    assert "relation: vocative" in seldom and "relation: nsubj" in masks and "relation: root" not in counts
    for name, mask in masks.items():
        assert set(np.flatnonzero(mask)) == {row for row, names in named.items() if name in names}
    assert [name for name in masks if name.startswith("relation")] == ["relation: nsubj", "relation: obj"]  # most first


@pytest.mark.slow
def test_edges_by_class_of_their_dependents_add_up(sorted_banks):
    train, bank = sorted_banks
    masks = phenomena.classes(bank, train).masks
    draw = np.random.default_rng(0)
    predicted = [draw.random((2, n, n)) + np.abs(np.subtract.outer(range(n), range(n))) for n in bank.lengths]
    whole, _, *apart = scores.score_distances(bank, iter(predicted), masks)
    by_name = {one.of: one for one in apart}
    assert by_name.keys() == masks.keys() and {one.metric for one in apart} == {"uuas"}
    bridges = whole.all.sum() - sum(by_name[f"direction: head {side}"].all.sum() for side in ("before", "behind"))
    assert 0 < bridges < 0.2 * whole.all.sum()  # edges over punctuation left out are no arcs, and in no class
    for one in apart:
        naive = np.zeros((3, len(bank.rows)))
        for n, (start, sentence, punctuation, of_sentence) in enumerate(
            zip(bank.rows, bank.sentences, bank.punctuation, predicted, strict=True)
        ):
            kept = np.flatnonzero(~punctuation)
            gold = scores.spanning_tree(bank.distances[n][np.ix_(kept, kept)])
            trees = [scores.spanning_tree(layer[np.ix_(kept, kept)]) for layer in of_sentence]
            for first, second in gold:
                at = [i for i in (first, second) if sentence.heads[kept[i]] - 1 in (kept[first], kept[second])]
                if at and masks[one.of][start + kept[at[0]]]:
                    naive[:, n] += [1, *((first, second) in tree for tree in trees)]
        assert np.array_equal(one.all, naive[0]) and np.array_equal(one.right, naive[1:])


def test_a_chain_finds_all_arcs_between_neighbours_and_no_other():
    bank = bank_of(corpus(60, (5, 12), seed=1, punctuation=0))
    chain = [np.abs(np.subtract.outer(range(n), range(n)))[None].astype(float) for n in bank.lengths]
    found = {one.of: one.right.sum() / one.all.sum() for one in scores.score_distances(bank, iter(chain), phenomena.classes(bank, bank).masks)}  # fmt: skip
    assert found["arc length: 1"] == 1 and found["arc length: 2"] == found["arc length: 3 to 5"] == 0


def test_scores_of_single_layers_are_taken_apart_by_phenomenon(splits, monkeypatch):
    monkeypatch.setattr(phenomena, "LEAST", 5)
    setting = {"resamples": 100, "label": "", "epochs": 2, "apart": experiments.by_phenomenon(splits)}
    shaped = {"ranks": [4, 2], "seeds": [1, 2], "shown": 0}
    found = experiments.structural_probes("distance", splits, [0, 2], **shaped, **setting).rows
    apart = [row for row in found if "rows" in row]
    masks = phenomena.classes(splits[2].bank, splits[0].bank).masks
    assert {row["rows"] for row in apart} == masks.keys() and len(apart) == 2 * len(masks)
    assert {(row["probe"], row["method"], row["split"], row["probe_seed"]) for row in apart} == {("structural, by phenomenon", "rank 4", "test", 1)}  # fmt: skip
    assert not any(
        "rows" in row for row in experiments.structural_probes("depth", splits, [0], **shaped, **setting).rows
    )
    given = experiments.labels("upos", splits)
    rows = experiments.edge_probes("upos", given, splits, [0, 2], mixed=False, coded=False, **setting).rows
    probe = edge.EdgeProbe([0, 2], epochs=2)
    probe.fit(given[0], splits[0].states, given[1], splits[1].states)
    right = probe.read(given[2], splits[2].states).hits
    for row in (row for row in rows if "rows" in row):
        chosen = masks[row["rows"]][given[2].spans[:, 0, 0]]
        assert row["method"] == "single layer, by phenomenon" and row["n"] == chosen.sum()
        assert row["value"] == pytest.approx(right[[0, 2].index(row["layer"])][chosen].mean())
    assert {row["rows"] for row in rows if "rows" in row} == masks.keys()
    arcs = experiments.edge_probes(
        "arc", experiments.labels("arc", splits), splits, [0], mixed=False, coded=False, **setting
    )
    assert not any("rows" in row for row in arcs.rows)  # of two words, none of which is the item


def test_what_occurs_too_seldom_is_said(splits):
    told = experiments.seldom(splits, experiments.by_phenomenon(splits))
    assert len(told) == 1 and told[0].startswith("trees, test: fewer than 50 words of ")
    assert "arc length: 6 and more (" in told[0]


class Counting(States):
    """States that note how many rows are read at a time."""

    def __init__(self, array):
        super().__init__(array)
        self.read: list[int] = []

    def vectors(self, rows, layers=None):
        self.read.append(len(rows))
        return super().vectors(rows, layers)


@pytest.mark.slow
@pytest.mark.parametrize("sentences", [150, 600])
def test_of_states_a_batch_is_read_at_a_time_however_many_there_are(sentences, brief):
    """So that memory does not grow with the states of all layers: those lie on disk, see `HiddenStates`."""
    draw, made = np.random.default_rng(0), []
    for name, count in (("train", sentences), ("dev", sentences // 2), ("test", sentences // 2)):
        bank = bank_of(corpus(count, (5, 9), seed=count))
        states = Counting(draw.normal(size=(3, int(bank.rows[-1]) + 20, 8)).astype(np.float32))
        made.append(experiments.Split(bank, states, f"key {name}", {"corpus": "trees", "split": name}))
    setting = {"resamples": 100, "label": "", "epochs": 1}
    experiments.structural_probes("distance", made, [0, 2], ranks=[4], seeds=[1], shown=2, **setting)
    given = experiments.labels("upos", made)
    experiments.edge_probes("upos", given, made, [0, 2], mixed=True, coded=False, **setting)
    for split in made:
        assert (
            max(split.states.read) <= 500 < len(split.states.array[0])
        )  # of words for a scale; of 40 sentences of 9 words, 360
