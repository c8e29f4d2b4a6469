"""Planes of one example: a turn is no difference, distances stay, and what cannot be looked at is refused."""

import json
import zlib

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import pdist

from bert_repro import alignment, checkpoints, corpora
from bert_repro.corpora.words import words as words_of
from bert_repro.figures import planes
from bert_repro.finetune.tasks import TASKS
from bert_repro.results import tables

WORDS = 9


def cloud(words=WORDS, width=2, seed=0):
    """Centred places that lie as no turned copy of themselves does."""
    x = np.random.default_rng(seed).normal(size=(words, width)) * np.linspace(2, 1, width)
    return x - x.mean(0)


def turn(angle, mirrored=False):
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return rotation * np.array([1, -1 if mirrored else 1])


# ---- planes


def test_a_plane_in_space_is_found_whole():
    """Words that vary in two directions only: nothing is lost, whatever shared vector and rotation hide them."""
    flat = np.stack([cloud(seed=seed) for seed in range(3)])
    rotation = stats.ortho_group.rvs(16, random_state=1)
    shift = 5 * np.random.default_rng(2).normal(size=16)
    places, shares = planes.plane((flat @ rotation[:2] + shift).astype(np.float32))
    assert shares == pytest.approx(1)
    assert places.mean(1) == pytest.approx(0, abs=1e-5)
    for layer, expected in zip(places, flat, strict=True):
        assert pdist(layer) == pytest.approx(pdist(expected), rel=1e-4)


def test_a_share_is_that_of_the_two_largest_variances():
    x = np.random.default_rng(3).normal(size=(2, 50, 6)) * np.array([5, 4, 3, 2, 1, 0.5])
    for layer, share in zip(x, planes.plane(x)[1], strict=True):
        variances = np.linalg.eigvalsh(np.cov(layer.T))[::-1]
        assert share == pytest.approx(variances[:2].sum() / variances.sum())


def test_signs_of_axes_are_not_left_to_chance():
    x = np.random.default_rng(4).normal(size=(1, WORDS, 6))
    assert planes.plane(-x)[0] == pytest.approx(planes.plane(x)[0])


# ---- turns


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 2, 3.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 400.0])
def test_turning_a_turned_copy_gives_the_copy_back(mirrored, angle, scale):
    original = planes.turned(cloud())
    assert planes.turned(scale * original @ turn(angle, mirrored), original) == pytest.approx(original)


def test_distances_stay_but_for_one_scale():
    x = cloud(seed=1)
    for result in (planes.turned(x), planes.turned(x, cloud(seed=2))):
        assert np.ptp(pdist(result) / pdist(x)) == pytest.approx(0, abs=1e-9)
        assert (result**2).sum(1).mean() == pytest.approx(1)


def test_no_other_turn_lies_nearer():
    x, onto = planes.turned(cloud(seed=1)), planes.turned(cloud(seed=2))
    best = ((planes.turned(x, onto) - onto) ** 2).sum()
    others = [((x @ turn(a, m) - onto) ** 2).sum() for a in np.linspace(0, 2 * np.pi, 720) for m in (False, True)]
    assert best <= min(others) + 1e-9 and min(others) == pytest.approx(best, rel=1e-3)


# ---- examples


def seen(reference, hidden=8, layers=3, limit=512):
    """What a store would have of a corpus, vectors made up from the words."""
    tokenizer = checkpoints.open("tiny").tokenizer
    rows = alignment.align(tokenizer, corpora.load(reference).items, limit)[1]

    def read(wanted):
        seeds = [zlib.crc32(f"{rows['form'][row]} {rows['word'][row]}".encode()) for row in wanted]
        of_words = np.stack([np.random.default_rng(seed).normal(size=(layers, hidden)) for seed in seeds], axis=1)
        return of_words.astype(np.float32)

    return reference, rows, read


def test_a_sentence_has_its_words_with_classes_and_tree():
    (artefact,) = planes.project(*seen("ewt:test[1]"))
    (item,) = corpora.load("ewt:test[1]").items
    content = artefact["content"]
    assert artefact["key"] == f"ewt/{item.id}" and content["id"] == item.id
    assert content["corpus"] == "ewt" and content["credit"].startswith(
        "UD English EWT (Silveira et al. 2014), CC BY-SA 4.0, "
    )
    assert tuple(content["words"]) == item.words and tuple(content["heads"]) == item.heads
    expected = {"NOUN": "content", "VERB": "content", "DET": "function", "AUX": "function", "PUNCT": "punctuation"}
    assert all(expected.get(tag, one) == one for tag, one in zip(item.upos, content["classes"], strict=True))
    assert set(content["classes"]) == {"content", "function", "punctuation"}
    assert content["layers"] == [0, 1, 2] and len(content["shares"]) == 3
    assert np.shape(content["places"]) == (3, len(item.words), 2)
    assert json.loads(json.dumps(content)) == content


def test_places_are_those_of_the_plane_in_four_digits():
    reference, rows, read = seen("ewt:test[1]")
    (artefact,) = planes.project(reference, rows, read)
    places, shares = planes.plane(read(rows.index[~rows["special"]].to_numpy()))
    assert np.array(artefact["content"]["places"]) == pytest.approx(places, rel=1e-3)
    assert artefact["content"]["shares"] == pytest.approx(shares, abs=1e-3)
    assert len(json.dumps(artefact["content"]["places"])) < 10 * places.size + 4 * places.shape[1] * len(places)


def test_a_question_has_its_answer_marked_in_the_text():
    (artefact,) = planes.project(*seen("squad:dev[1]"))
    (item,) = corpora.load("squad:dev[1]").items
    words, classes = artefact["content"]["words"], artefact["content"]["classes"]
    of = {name: [w for w, c in zip(words, classes, strict=True) if c == name] for name in set(classes)}
    assert set(of) == {"question", "answer", "context"} and artefact["content"]["heads"] == []
    assert tuple(of["question"]) == item.first and tuple(of["answer"]) == words_of(item.answers[0][0])
    assert len(of["context"]) == len(item.second) - len(of["answer"])


@pytest.mark.slow
def test_a_question_in_whose_layout_other_text_stands_has_no_answer_and_both_are_credited():
    (artefact,) = planes.project(*seen("squadshifts-wiki~squad:dev[1]"))
    assert set(artefact["content"]["classes"]) == {"question", "context"}
    assert artefact["content"]["corpus"] == "squadshifts-wiki~squad"
    assert all(name in artefact["content"]["credit"] for name in ("SQuADShifts", "SQuAD 1.1"))


def test_a_pair_has_two_sides_and_each_item_its_own_picture(tmp_path):
    path = tmp_path / "own.tsv"
    path.write_text(
        "premise\thypothesis\tlabel\nIt rains.\tIt is wet.\tneutral\nShe left.\tShe is here.\tcontradiction\n"
    )
    artefacts = planes.project(*seen(str(path)))
    assert len({artefact["key"] for artefact in artefacts}) == 2
    for artefact, item in zip(artefacts, corpora.load(str(path)).items, strict=True):
        sides = ["first"] * len(item.first) + ["second"] * len(item.second)
        assert artefact["content"]["classes"] == sides and artefact["content"]["heads"] == []


def test_a_text_without_tags_or_a_registered_name_has_neither_class_nor_credit(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("one two three four\n")
    (artefact,) = planes.project(*seen(str(path)))
    assert artefact["content"]["classes"] == ["other"] * 4 and artefact["content"]["credit"] == ""


def test_many_examples_at_once_are_refused():
    with pytest.raises(ValueError, match=r"ewt:dev\[6\] has 6 items, at most 5 are shown; draw some"):
        planes.project(*seen("ewt:dev[6]"))


def test_a_text_that_may_not_be_shown_is_refused():
    with pytest.raises(
        ValueError, match=r"texts of mnli may not be shown \(MultiNLI.*: take an example from ewt, pud, squad,"
    ):
        planes.project(*seen("mnli:dev[1]"))


def test_two_words_and_half_a_text_are_refused(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("one two\n")
    with pytest.raises(ValueError, match=r"2 words are there, expected all, and at least 3; take another draw"):
        planes.project(*seen(str(path)))
    with pytest.raises(ValueError, match=r"of squad:dev\[1\] is no example to look at: \d+ words are there"):
        planes.project(*seen("squad:dev[1]", limit=40))


# ---- pairs of models


def table(**models):
    """Artefacts of models: places by layer of one example, as they are read from tables."""
    contents = [
        {"words": list("abcdefghi"), "layers": list(range(len(layers))), "places": np.array(layers).tolist()}
        for layers in models.values()
    ]
    names = [name.replace("_", "-") for name in models]
    return pd.DataFrame({"model": names, "key": "corpus/one", "content": contents})


LAYERS = [cloud(seed=seed) * 10.0**seed for seed in range(3)]


def test_a_tuned_model_that_only_turned_and_grew_lies_on_the_base():
    other = [5 * x @ turn(1 + k, mirrored=k == 1) for k, x in enumerate(LAYERS)]
    (pairing,) = planes.beside_base(table(base=LAYERS, nli_1=other), TASKS)
    assert (pairing.task, pairing.model) == ("nli", "nli-1") and pairing.base["words"] == list("abcdefghi")
    for one, two in zip(pairing.base["places"], pairing.tuned["places"], strict=True):
        assert one == pytest.approx(two)


def test_a_layer_that_is_the_one_before_turned_does_not_move():
    still = [LAYERS[0], LAYERS[0] @ turn(2.0), 7 * LAYERS[0] @ turn(0.5, mirrored=True)]
    (pairing,) = planes.beside_base(table(base=still, squad_2=LAYERS), TASKS)
    assert pairing.base["places"][1] == pytest.approx(pairing.base["places"][0])
    assert pairing.base["places"][2] == pytest.approx(pairing.base["places"][0])


def test_the_lowest_seed_of_each_task_stands_beside_the_base():
    several = table(base=LAYERS, tagging_1=LAYERS, squad_10=LAYERS, squad_9=LAYERS, nli_kept4_1=LAYERS,
                    parsing_3=LAYERS, untrained=LAYERS, nli_2=LAYERS)  # fmt: skip
    assert [pairing.model for pairing in planes.beside_base(several, TASKS)] == ["nli-2", "squad-9", "parsing-3"]
    assert [pairing.task for pairing in planes.beside_base(several, TASKS, most=1)] == ["nli"]


def test_somebodys_checkpoints_stand_beside_the_base_by_their_names():
    given = table(base=LAYERS, nli=LAYERS, nli_kept4_1=LAYERS, mine_2=LAYERS, mine_1=LAYERS, untrained=LAYERS)
    assert [(one.task, one.model) for one in planes.beside_base(given, TASKS)] == [("nli", "nli"), ("mine", "mine-1")]


def test_without_projections_or_the_base_there_is_nothing_to_pair(tmp_path):
    assert planes.beside_base(tables.merge_artefacts(tmp_path, "projection"), TASKS) == []
    assert planes.beside_base(table(nli_1=LAYERS, nli_2=LAYERS), TASKS) == []
    assert planes.beside_base(table(base=LAYERS, untrained=LAYERS), TASKS) == []


def test_other_words_under_the_same_name_are_refused():
    two = table(base=LAYERS, nli_1=LAYERS)
    two["content"][1]["words"][3] = "z"
    with pytest.raises(
        ValueError, match=r"base and nli-1 show other words or layers of corpus/one: expected tables of"
    ):
        planes.beside_base(two, TASKS)
    with pytest.raises(ValueError, match=r"other words or layers"):
        planes.beside_base(table(base=LAYERS, nli_1=LAYERS[:2]), TASKS)
