"""Every measure is held to the invariances it declares, and to twins that form all pairs and really repeat sentences."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bert_repro import intervals, similarity
from bert_repro.similarity import MEASURES, Sample

LENGTHS = (3, 1, 5, 2, 4, 6, 1, 3)
SYMMETRIC = set(MEASURES)  # a measure that is not must be taken out here, on purpose


def sentences(lengths=LENGTHS):
    return np.repeat(np.arange(len(lengths)), lengths)


def vectors(words, hidden=16, seed=0, shared=0.0):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(words, hidden)) + shared * generator.normal(size=hidden)).astype(np.float32)


def related(words=120, hidden=16):
    """Two representations that share much, but not all."""
    one = vectors(words, hidden, seed=1, shared=0.3)
    mixed = one @ (np.eye(hidden) + 0.3 * vectors(hidden, hidden, seed=2)) + 0.5 * vectors(words, hidden, seed=3)
    return one, mixed.astype(np.float32)


def measured(name, x, y, lengths=None):
    sentence = sentences(lengths or (10,) * (len(x) // 10))
    return MEASURES[name].function(x, y, sentence, intervals.draws("test", int(sentence[-1]) + 1, 50))


def rotation(hidden, seed=4):
    return stats.ortho_group.rvs(hidden, random_state=seed).astype(np.float32)


CHANGES = {
    "rotation": lambda x: x @ rotation(x.shape[1]),
    "scale": lambda x: 3.7 * x,
    "shift": lambda x: x + 2 * vectors(1, x.shape[1], seed=5),
}


@pytest.fixture
def precise(monkeypatch):
    """Let measures compute in float64: in float32 a cosine has an error of some 1e-7, which would hide a wrong weight."""

    def unit(x):
        return x.astype(float) / np.linalg.norm(x.astype(float), axis=1, keepdims=True)

    monkeypatch.setattr(similarity, "_unit", unit)


# ---- the registry


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("side", [0, 1])
def test_declared_invariances_hold_and_no_others(name, change, side):
    pair = list(related())
    before, replicates_before = measured(name, *pair)
    pair[side] = CHANGES[change](pair[side])
    after, replicates = measured(name, *pair)
    if change in MEASURES[name].invariant_to:
        assert after == pytest.approx(before, abs=1e-4)
        assert np.allclose(replicates, replicates_before, atol=1e-4)
    else:
        assert abs(after - before) > 0.02


def test_measures_declare_changes_that_are_tested():
    assert all(measure.invariant_to <= set(CHANGES) for measure in MEASURES.values())
    assert all(measure.title for measure in MEASURES.values())


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("shared", [0.0, 1.0, 10.0])
def test_equal_representations_have_similarity_one(name, shared):
    x = vectors(120, seed=6, shared=shared)
    value, replicates = measured(name, x, x.copy())
    assert value == pytest.approx(1, abs=1e-6)
    assert np.allclose(replicates, 1, atol=1e-6)


@pytest.mark.parametrize("name", sorted(SYMMETRIC))
def test_symmetry(name):
    x, y = related()
    (one, replicates), (other, turned) = measured(name, x, y), measured(name, y, x)
    assert one == pytest.approx(other, abs=1e-6) and one < 0.95
    assert np.allclose(replicates, turned, atol=1e-6)


@pytest.mark.parametrize("name", MEASURES)
def test_unrelated_representations_have_similarity_near_zero(name):
    value, replicates = measured(name, vectors(400, 64, seed=7), vectors(400, 64, seed=8))
    assert abs(value) < 0.02
    assert np.abs(replicates).max() < 0.05


@pytest.mark.parametrize("name", MEASURES)
def test_shuffled_words_have_similarity_near_zero(name):
    x = vectors(400, 64, seed=9)
    assert abs(measured(name, x, x[np.random.default_rng(0).permutation(400)])[0]) < 0.03


@pytest.mark.parametrize("name", MEASURES)
def test_interval_is_around_the_value(name):
    value, replicates = measured(name, *related())
    low, high = intervals.percentiles(replicates)
    assert low < value < high < low + 0.2


# ---- RSA and its twin


def kernels(x, y):
    x, y = (a.astype(float) / np.linalg.norm(a.astype(float), axis=1, keepdims=True) for a in (x, y))
    return x @ x.T, y @ y.T


def naive_rsa(x, y):
    upper = np.triu_indices(len(x), 1)
    return np.corrcoef(*(kernel[upper] for kernel in kernels(x, y)))[0, 1]


def drawn_pairs(lengths, counts):
    """Lay the drawn sentences out, copy by copy, and pair their words; a sentence never with another copy of itself."""
    sentence = sentences(lengths)
    copies = [(number, copy) for number, count in enumerate(counts) for copy in range(count)]
    words = [(word, number, copy) for number, copy in copies for word in np.flatnonzero(sentence == number)]
    return [
        (one[0], other[0])
        for one, other in itertools.combinations(words, 2)
        if one[1] != other[1] or one[2] == other[2]
    ]


@pytest.mark.parametrize("shared", [0.0, 1.0, 3.0])
def test_rsa_equals_the_correlation_of_upper_triangles(shared):
    x, y = vectors(25, 12, seed=10, shared=shared), vectors(25, 20, seed=11, shared=shared)
    assert measured("rsa", x, y, LENGTHS)[0] == pytest.approx(naive_rsa(x, y), abs=1e-6)


def test_rsa_keeps_its_digits_where_all_vectors_share_a_direction():
    """With a mean cosine of 0.99, as in top layers of some encoders, float32 squares of raw cosines would lose three."""
    x = vectors(300, 64, seed=12, shared=10)
    y = x + vectors(300, 64, seed=13)
    assert np.mean(kernels(x, y)) > 0.98
    assert measured("rsa", x, y)[0] == pytest.approx(naive_rsa(x, y), abs=2e-5)


def test_rsa_replicates_equal_a_bootstrap_that_repeats_sentences(precise):
    x, y = vectors(25, 12, seed=14, shared=0.5), vectors(25, 9, seed=15)
    weights = intervals.draws("twin", len(LENGTHS), 40)
    value, replicates = similarity.rsa(x, y, sentences(), weights)
    assert value == pytest.approx(naive_rsa(x, y), abs=1e-10)
    k, l = kernels(x, y)  # noqa: E741
    for counts, replicate in zip(weights, replicates, strict=True):
        pairs = tuple(np.array(drawn_pairs(LENGTHS, counts)).T)
        assert replicate == pytest.approx(np.corrcoef(k[pairs], l[pairs])[0, 1], abs=1e-8)


def test_rsa_in_blocks_equals_rsa_in_one(precise):
    """4,200 words are more than one block of the kernel."""
    x, y = vectors(4200, 3, seed=16), vectors(4200, 3, seed=17, shared=0.5)
    value, replicates = measured("rsa", x, y, (10,) * 420)
    assert value == pytest.approx(naive_rsa(x, y), abs=1e-8)
    once, _ = measured("rsa", x, y, (4100, 100))  # a sentence is never cut, however long
    assert once == pytest.approx(value, abs=1e-10)
    assert np.isfinite(replicates).all()


def test_rsa_of_a_resample_without_two_different_pairs_is_undefined_not_wild():
    """Of five sentences of one word, some resamples draw one or two: no pair, or one pair, and no correlation."""
    x, y = vectors(5, 8, seed=18), vectors(5, 8, seed=19)
    weights = intervals.draws("five", 5)
    _, replicates = similarity.rsa(x, y, np.arange(5), weights)
    assert np.array_equal(np.isnan(replicates), (weights > 0).sum(1) < 3)
    assert np.abs(replicates[~np.isnan(replicates)]).max() <= 1 + 1e-6


def test_rsa_refuses_vectors_of_one_direction():
    x = np.outer(np.arange(1, 26), vectors(1, 8)[0]).astype(np.float32)
    for pair in ((x, vectors(25, 8)), (vectors(25, 8), x)):
        with pytest.raises(ValueError, match="gives all pairs of words the same cosine: there is no geometry"):
            measured("rsa", *pair, LENGTHS)


# ---- cosine and its twin


def test_cosine_equals_a_loop():
    x, y = vectors(25, seed=20, shared=1), vectors(25, seed=21)
    weights = intervals.draws("loop", len(LENGTHS), 30)
    value, replicates = similarity.cosine(x, y, sentences(), weights)
    each = np.array([one @ other / np.sqrt(one @ one * (other @ other)) for one, other in zip(x, y, strict=True)])
    assert value == pytest.approx(each.mean(), abs=1e-6)
    for counts, replicate in zip(weights, replicates, strict=True):
        words = [w for s, count in enumerate(counts) for w in np.tile(np.flatnonzero(sentences() == s), count)]
        assert replicate == pytest.approx(each[words].mean(), abs=1e-6)
    assert similarity.cosine(x, -x, sentences(), weights)[0] == pytest.approx(-1, abs=1e-6)


# ---- compare


def sample(*sides, lengths=LENGTHS, corpus="text"):
    return Sample(corpus, "dev", f"key of {corpus}", sentences(lengths), sides)


def layered(*one_per_layer):
    return np.stack(one_per_layer)


def test_compare_gives_a_row_for_every_sample_measure_and_layer():
    x, y = (layered(vectors(25, seed=s), vectors(25, seed=s + 1, shared=1)) for s in (22, 24))
    rows = similarity.compare([sample(x, y), sample(y, x, corpus="other")], [0, 6], list(MEASURES), resamples=300)
    assert [(r["corpus"], r["method"], r["layer"]) for r in rows] == [
        *itertools.product(["text", "other"], MEASURES, [0, 6])
    ]
    assert {(r["split"], r["metric"], r["n"], len(r["replicates"])) for r in rows} == {("dev", "similarity", 25, 200)}
    weights = intervals.draws("key of text", len(LENGTHS), 300)
    value, replicates = similarity.rsa(x[1], y[1], sentences(), weights)
    assert rows[1]["value"] == value
    assert np.array_equal(rows[1]["replicates"], replicates[:200].astype(np.float32))


def test_rsa_compares_models_of_different_width_and_cosine_refuses():
    narrow, wide = layered(vectors(25, 8)), layered(vectors(25, 12))
    assert len(similarity.compare([sample(narrow, wide)], [3], ["rsa"], 100)) == 1
    with pytest.raises(ValueError, match="cosine pairs coordinates: the models must be equally wide, got 8 and 12"):
        similarity.compare([sample(narrow, wide)], [3], ["cosine"], 100)


@pytest.mark.parametrize(("methods", "named"), [(["rsa", "cka"], r"\['cka'\]"), ([], r"\[\]")])
def test_compare_refuses_unknown_measures_and_none(methods, named):
    x = layered(vectors(25))
    with pytest.raises(ValueError, match=rf"unknown measures {named}: expected some of \['cosine', 'rsa'\]"):
        similarity.compare([sample(x, x)], [0], methods)


def spoiled(at, value):
    x = layered(vectors(25), vectors(25, seed=1))
    x[at] = value
    return x


GOOD = spoiled((0, 0), 1.0)
BAD = {
    "layers": ((GOOD, GOOD[:1]), "2 layers cannot be paired with 1: name as many of each with `layers`"),
    "words": ((GOOD, GOOD[:, :24]), "25 and 24 words with 25 sentence numbers: the two sides are out of step"),
    "sentences": ((GOOD[:, :24], GOOD[:, :24]), "24 and 24 words with 25 sentence numbers"),
    "nan": ((spoiled((1, 3, 2), np.nan), GOOD), "the first model's vectors hold values that are not finite"),
    "infinite": ((GOOD, spoiled((0, 3, 2), np.inf)), "the second model's vectors hold values that are not finite"),
    "zero": ((GOOD, spoiled((1, 7), 0.0)), "the second model has a word whose vector is zero, which has no direction"),
    "constant": ((spoiled(1, 0.5), GOOD), "the first model gives every word the same vector in some layer"),
}


@pytest.mark.parametrize("case", BAD)
def test_compare_refuses_what_has_no_geometry(case):
    sides, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        similarity.compare([sample(*sides)], [0, 1], ["rsa"], 100)


def test_three_words_are_too_few():
    x = layered(vectors(3))
    for measure in (
        lambda: similarity.compare([sample(x, x, lengths=(1, 2))], [0], ["rsa"], 100),
        lambda: similarity.geometry([sample(x, lengths=(1, 2))], [0], 100),
    ):
        with pytest.raises(ValueError, match="3 words are too few to compare: at least 4 are needed"):
            measure()


# ---- geometry


def test_norm_anisotropy_and_dominance_equal_means_over_all_words_and_pairs():
    x = layered(vectors(25, seed=26), vectors(25, seed=27, shared=2))
    rows = {(r["layer"], r["metric"]): r for r in similarity.geometry([sample(x)], [0, 4], resamples=30)}
    assert list(rows) == [(layer, name) for layer in (0, 4) for name in ("norm", "anisotropy", "dominance")]
    weights = intervals.draws("key of text", len(LENGTHS), 30)
    for side, layer in zip(x, (0, 4), strict=True):
        norms, (kernel, _) = np.linalg.norm(side, axis=1), kernels(side, side)
        norm, anisotropy, dominance = (rows[layer, name] for name in ("norm", "anisotropy", "dominance"))
        squares = side.astype(float) ** 2
        largest = squares.sum(0).argmax()
        assert dominance["value"] == pytest.approx(squares[:, largest].sum() / squares.sum())
        assert norm["value"] == pytest.approx(norms.mean(), rel=1e-6)
        assert anisotropy["value"] == pytest.approx(kernel[np.triu_indices(25, 1)].mean(), abs=1e-6)
        for number, counts in enumerate(weights):
            assert norm["replicates"][number] == pytest.approx(np.average(norms, weights=counts[sentences()]), rel=1e-6)
            pairs = tuple(np.array(drawn_pairs(LENGTHS, counts)).T)
            assert anisotropy["replicates"][number] == pytest.approx(kernel[pairs].mean(), abs=1e-6)
            drawn = counts[sentences()] @ squares
            assert dominance["replicates"][number] == pytest.approx(drawn[largest] / drawn.sum(), rel=1e-6)
    assert abs(rows[0, "anisotropy"]["value"]) < 0.05 < 0.5 < rows[4, "anisotropy"]["value"]


def test_dominating_dimensions_are_found_with_their_share():
    side = vectors(25, seed=30)
    side[:, 3] = 9 + side[:, 3] / 10  # far from the origin
    side[:, 1] *= 4  # spread wide
    (row,) = similarity.dominating(sample(layered(side)), [7], count=2)
    squares = side.astype(float) ** 2
    assert row["layer"] == 7 and [one["dimension"] for one in row["content"]] == [3, 1]
    for one in row["content"]:
        column = side[:, one["dimension"]]
        expected = squares[:, one["dimension"]].sum() / squares.sum(), column.mean(), column.std()
        assert (one["share"], one["mean"], one["sd"]) == pytest.approx(expected, abs=1e-4)
    everything = similarity.dominating(sample(layered(side)), [0], count=side.shape[1])[0]["content"]
    assert sum(one["share"] for one in everything) == pytest.approx(1, abs=1e-3)


def test_anisotropy_of_a_resample_without_pairs_is_left_out():
    x = layered(vectors(4, seed=28))
    row = similarity.geometry([sample(x, lengths=(1, 1, 1, 1))], [0], resamples=1000)[1]
    assert row["metric"] == "anisotropy"
    assert -1 <= row["ci_low"] < row["ci_high"] <= 1
    assert np.isnan(row["replicates"]).any() and not np.isinf(row["replicates"]).any()


# ---- drawing words


def word_rows(lengths=(4, 3, 6, 2, 5)):
    """Sentences between [CLS] and [SEP]; numbers with a gap, as one was left out."""
    lines = []
    for number, length in enumerate(lengths):
        sentence = number + (number > 2)
        words = [(sentence, 0, w, f"w{w}", False) for w in range(length)]
        lines += [(sentence, -1, -1, "[CLS]", True), *words, (sentence, -1, -1, "[SEP]", True)]
    return pd.DataFrame(lines, columns=["sentence", "segment", "word", "form", "special"])


@pytest.mark.parametrize("words", [1, 4, 7, 19, 20])
@pytest.mark.parametrize("seed", range(5))
def test_sample_takes_whole_sentences_until_there_are_enough_words(words, seed):
    rows = word_rows()
    drawn = similarity.sample_words(rows, words, seed)
    assert np.array_equal(drawn, similarity.sample_words(rows, words, seed))
    assert (np.diff(drawn) > 0).all()
    assert not rows.loc[drawn, "special"].any()
    whole = rows[~rows["special"]].groupby("sentence").size()
    taken = rows.loc[drawn].groupby("sentence").size()
    assert (whole[taken.index] == taken).all()
    assert len(drawn) >= words
    assert len(drawn) - taken.max() < words  # not one sentence more than needed


def test_sample_depends_on_the_seed():
    assert len({tuple(similarity.sample_words(word_rows(), 6, seed)) for seed in range(20)}) > 3


def test_sample_refuses_more_words_than_there_are():
    with pytest.raises(ValueError, match="21 words were asked for, the corpus has 20: ask for fewer, or take a larger"):
        similarity.sample_words(word_rows(), 21, 1)


# ---- two stores in step


def test_stores_in_step_pass():
    assert similarity.check_in_step(word_rows(), word_rows().assign(pieces=1)) is None


def test_stores_out_of_step_are_refused_with_the_first_difference():
    rows = word_rows()
    with pytest.raises(ValueError, match="states have 30 and 29 rows: their tokenizers dropped different words"):
        similarity.check_in_step(rows, rows[:-1])
    other = rows.copy()
    other.loc[[9, 12], "form"] = "x"
    expected = r"differ at row 9: \{'sentence': 1, .* 'form': 'w2'\} and \{'sentence': 1, .* 'form': 'x'\}$"
    with pytest.raises(ValueError, match=expected):
        similarity.check_in_step(rows, other)
