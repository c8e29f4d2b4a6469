"""Every measure is held to the invariances it declares, and to twins that form all pairs and really repeat sentences."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, stats
from scipy.spatial.distance import pdist

from bert_repro import similarity
from bert_repro.results import intervals
from bert_repro.similarity import MEASURES, Sample, jackknifed, sums
from bert_repro.similarity.measure import Measure, of_kernels

LENGTHS = (3, 1, 5, 2, 4, 6, 1, 3)


def distances(x, y):
    """RSA by distances: a measure as a researcher adds one."""
    return np.corrcoef(pdist(x), pdist(y))[0, 1]


MOVED = frozenset({"rotation", "scale", "shift"})
EVERY = MEASURES | {"distances": Measure(jackknifed(distances), "RSA, Euclidean", MOVED, of_kernels(20))}
"""The measures of the project and an added one, which is held to the same."""


def sentences(lengths=LENGTHS):
    return np.repeat(np.arange(len(lengths)), lengths)


def vectors(words, hidden=16, seed=0, shared=0.0):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(words, hidden)) + shared * generator.normal(size=hidden)).astype(np.float32)


def related(words=120, hidden=16):
    """Two representations that share much, but not all; some dimensions are larger than others."""
    one = vectors(words, hidden, seed=1, shared=0.3) * np.linspace(0.5, 3, hidden, dtype=np.float32)
    mixed = one @ (np.eye(hidden) + 0.3 * vectors(hidden, hidden, seed=2)) + vectors(words, hidden, seed=3)
    return one, mixed.astype(np.float32)


def measured(name, x, y, lengths=None, resamples=50):
    sentence = sentences(lengths or (10,) * (len(x) // 10))
    weights = intervals.draws("test", int(sentence[-1]) + 1, resamples)
    return EVERY[name].function([x, y], [(0, 1)], sentence, weights)[0]


def rotation(hidden, seed=4):
    return stats.ortho_group.rvs(hidden, random_state=seed).astype(np.float32)


CHANGES = {
    "rotation": lambda x: x @ rotation(x.shape[1]),
    "scale": lambda x: 3.7 * x,
    "shift": lambda x: x + 2 * vectors(1, x.shape[1], seed=5),
    "stretch": lambda x: x * np.geomspace(0.2, 5, x.shape[1], dtype=np.float32),
    "linear": lambda x: x @ (rotation(x.shape[1]) + np.float32(1.5) * rotation(x.shape[1], seed=6)),
}


# ---- the registry


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("side", [0, 1])
def test_declared_invariances_hold_and_no_others(name, change, side):
    pair = [x.astype(float) for x in related()]
    before, replicates_before = measured(name, *pair)
    pair[side] = CHANGES[change](pair[side])
    after, replicates = measured(name, *pair)
    measure = EVERY[name]
    declared = measure.invariant_to if side == 0 or measure.second is None else measure.second
    if change in declared:
        assert after == pytest.approx(before, abs=1e-5)
        assert np.allclose(replicates, replicates_before, atol=1e-5)
    else:
        assert abs(after - before) > 0.005


@pytest.mark.parametrize("name", EVERY)
def test_measures_declare_changes_that_are_tested_a_title_and_what_they_take(name):
    measure = EVERY[name]
    assert measure.invariant_to | (measure.second or frozenset()) <= set(CHANGES)
    assert measure.title not in {other.title for called, other in EVERY.items() if called != name}
    seconds = measure.seconds(1000, 64, 14, 7)
    assert 0 < seconds < measure.seconds(2000, 128, 28, 14)


def test_spearman_takes_many_times_as_long_as_rsa_and_holds_its_kernels():
    rsa, spearman = (MEASURES[name] for name in ("rsa", "rsa_spearman"))
    assert 25 < spearman.seconds(5000, 384, 14, 7) / rsa.seconds(5000, 384, 14, 7) < 200
    assert spearman.held > 0 and rsa.held == 0


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("shared", [0.0, 1.0, 10.0])
def test_equal_representations_have_similarity_one(name, shared):
    x = vectors(120, seed=6, shared=shared)
    value, replicates = measured(name, x, x.copy())
    assert value == pytest.approx(1, abs=1e-6)
    assert np.allclose(replicates, 1, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_symmetry_is_as_declared(name):
    x, y = related()
    (one, replicates), (other, turned) = measured(name, x, y), measured(name, y, x)
    assert one < 0.95
    if EVERY[name].symmetric:
        assert one == pytest.approx(other, abs=1e-6)
        assert np.allclose(replicates, turned, atol=1e-5)
    else:
        assert abs(one - other) > 0.005


@pytest.mark.parametrize("name", EVERY)
def test_unrelated_representations_score_zero_where_that_is_declared(name):
    """200 words of 100 dimensions: fewer than a biased measure needs."""
    value, replicates = measured(name, vectors(200, 100, seed=7), vectors(200, 100, seed=8))
    by_chance = {"neighbours": 10 / 199}.get(name, 0)
    if EVERY[name].chance:
        assert abs(value - by_chance) < 0.03
        # the added measure's jackknife swings more: it stretches what leaving out one of 20 sentences changes
        assert np.abs(replicates - by_chance).max() < (0.06 if name in MEASURES else 0.12)
    else:
        assert value > 0.25


@pytest.mark.parametrize("name", [name for name in MEASURES if MEASURES[name].chance])
def test_shuffled_words_have_similarity_near_zero(name):
    x = vectors(400, 64, seed=9)
    assert abs(measured(name, x, x[np.random.default_rng(0).permutation(400)])[0]) < 0.04


@pytest.mark.parametrize("name", EVERY)
def test_interval_is_around_the_value(name):
    value, replicates = measured(name, *related(), resamples=400)
    low, high = intervals.percentiles(replicates)
    # a curved measure of few words has a biased bootstrap: its interval may end at the value, not beside it
    assert low - 0.01 < value < high + 0.01 and 0.005 < high - low < 0.25


def test_many_pairs_in_one_call_equal_one_call_each():
    stack = [vectors(60, width, seed=width, shared=0.4) for width in (8, 8, 12)]
    sentence, pairs = sentences((4,) * 15), [(2, 0), (0, 1), (1, 1)]
    weights = intervals.draws("many", 15, 30)
    for name, measure in EVERY.items():
        if measure.needs_same_width:
            continue
        for (i, j), (value, replicates) in zip(pairs, measure.function(stack, pairs, sentence, weights), strict=True):
            alone = measure.function([stack[i], stack[j]], [(0, 1)], sentence, weights)[0]
            assert value == pytest.approx(alone[0], abs=1e-6), name
            assert np.allclose(replicates, alone[1], atol=1e-6), name


# ---- RSA and its twin


def kernels_of(x, y):
    x, y = (a.astype(float) / np.linalg.norm(a.astype(float), axis=1, keepdims=True) for a in (x, y))
    return x @ x.T, y @ y.T


def naive_rsa(x, y):
    upper = np.triu_indices(len(x), 1)
    return np.corrcoef(*(kernel[upper] for kernel in kernels_of(x, y)))[0, 1]


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


def laid_out(counts, x, y, lengths=LENGTHS):
    """Repeat words as drawn: their vectors, and which pairs of places are no words of two copies of one sentence."""
    sentence = sentences(lengths)
    copies = [(number, copy) for number, count in enumerate(counts) for copy in range(count)]
    words = np.concatenate([np.flatnonzero(sentence == number) for number, _ in copies])
    copy = np.repeat(np.arange(len(copies)), [lengths[number] for number, _ in copies])
    allowed = (sentence[words][:, None] != sentence[words][None]) | (copy[:, None] == copy[None])
    return x[words], y[words], allowed


def naive_cka(x, y, debiased, allowed=None):
    """From the formulas; pairs of a sentence with its own copy get no part."""
    n = len(x)
    k, l = ((side @ side.T) * (1 if allowed is None else allowed) for side in (x, y))  # noqa: E741
    one, centring = np.ones(n), np.eye(n) - 1 / n

    def biased(k, l):  # noqa: E741
        return np.trace(k @ centring @ l @ centring)

    def unbiased(k, l):  # noqa: E741
        k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
        both, apart = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)), one @ k @ l @ one * 2 / (n - 2)
        return np.trace(k @ l) + both - apart

    hsic = unbiased if debiased else biased
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


PREPARED = {"rsa": lambda x: x, "rsa_centred": lambda x: x - x.mean(0), "rsa_standardised": lambda x: stats.zscore(x)}
PRECISE = [vectors(25, 12, seed=14, shared=0.5).astype(float), vectors(25, 9, seed=15).astype(float)]


@pytest.mark.parametrize("name", PREPARED)
@pytest.mark.parametrize("shared", [0.0, 1.0, 3.0])
def test_rsa_equals_the_correlation_of_upper_triangles(name, shared):
    x, y = vectors(25, 12, seed=10, shared=shared), vectors(25, 20, seed=11, shared=shared)
    assert measured(name, x, y, LENGTHS)[0] == pytest.approx(naive_rsa(*map(PREPARED[name], (x, y))), abs=1e-6)


def test_rsa_keeps_its_digits_where_all_vectors_share_a_direction():
    """With a mean cosine of 0.99, as in top layers of some encoders, float32 squares of raw cosines would lose three."""
    x = vectors(300, 64, seed=12, shared=10)
    y = x + vectors(300, 64, seed=13)
    assert np.mean(kernels_of(x, y)) > 0.98
    assert measured("rsa", x, y)[0] == pytest.approx(naive_rsa(x, y), abs=2e-5)


@pytest.mark.parametrize("name", PREPARED)
def test_rsa_replicates_equal_a_bootstrap_that_repeats_sentences(name):
    weights = intervals.draws("twin", len(LENGTHS), 40)
    value, replicates = MEASURES[name].function(PRECISE, [(0, 1)], sentences(), weights)[0]
    x, y = map(PREPARED[name], PRECISE)
    assert value == pytest.approx(naive_rsa(x, y), abs=1e-10)
    k, l = kernels_of(x, y)  # noqa: E741
    for counts, replicate in zip(weights, replicates, strict=True):
        pairs = tuple(np.array(drawn_pairs(LENGTHS, counts)).T)
        assert replicate == pytest.approx(np.corrcoef(k[pairs], l[pairs])[0, 1], abs=1e-8)


@pytest.mark.slow
def test_kernels_in_stripes_equal_kernels_in_one(monkeypatch):
    """4,200 words are more than one stripe."""
    x, y = (vectors(4200, 3, seed=seed, shared=0.5).astype(float) for seed in (16, 17))
    value, replicates = measured("rsa", x, y, (10,) * 420)
    assert value == pytest.approx(naive_rsa(x, y), abs=1e-8)
    once, _ = measured("rsa", x, y, (4100, 100))  # a sentence is never cut, however long
    assert once == pytest.approx(value, abs=1e-10)
    assert np.isfinite(replicates).all()
    whole = {name: measured(name, *PRECISE, LENGTHS) for name in ("rsa", "cka_debiased", "cka_biased", "neighbours")}
    monkeypatch.setattr(sums, "STRIPE", 100)
    for name, (value, replicates) in whole.items():
        striped = measured(name, *PRECISE, LENGTHS)
        assert striped[0] == pytest.approx(value, abs=1e-12) and np.allclose(striped[1], replicates, atol=1e-12), name


def test_rsa_of_a_resample_without_two_different_pairs_is_undefined_not_wild():
    """Of five sentences of one word, some resamples draw one or two: no pair, or one pair, and no correlation."""
    weights = intervals.draws("five", 5)
    stack = [vectors(5, 8, seed=18), vectors(5, 8, seed=19)]
    (_, replicates), (_, of_cka) = (
        MEASURES[n].function(stack, [(0, 1)], np.arange(5), weights)[0] for n in ("rsa", "cka_debiased")
    )
    assert np.array_equal(np.isnan(replicates), (weights > 0).sum(1) < 3)
    assert np.abs(replicates[~np.isnan(replicates)]).max() <= 1 + 1e-6
    assert np.isnan(of_cka[(weights > 0).sum(1) < 2]).all()


@pytest.mark.parametrize("name", ["rsa", "rsa_spearman"])
def test_vectors_of_one_direction_have_no_rsa(name):
    x = np.outer(np.arange(1, 26), vectors(1, 8)[0]).astype(np.float32)
    x = (
        2.0 ** np.arange(25)[:, None] * x[:1] if name == "rsa_spearman" else x
    )  # whose cosines are equal to the last bit
    for pair in ((x, vectors(25, 8)), (vectors(25, 8), x)):
        assert np.isnan(measured(name, *pair, LENGTHS)[0])
        sides = [layered(vectors(25, 8), side) for side in pair]
        with pytest.raises(
            ValueError, match=f"{name} finds no two pairs of words that differ, in layer 3 of one of the mod"
        ):
            similarity.compare([sample(*sides)], [1, 3], [name], 100)
        rows = similarity.compare([sample(*sides)._replace(rows="NOUN")], [1, 3], [name], 100)
        assert [row["layer"] for row in rows] == [1]


@pytest.mark.parametrize("last_bit", [0, 2.0**-8])
def test_a_constant_dimension_counts_for_nothing_once_standardised(last_bit):
    """As encoders have them whose normalisation scales a dimension to nothing, in half precision."""
    x, y = vectors(25), vectors(25, seed=1)
    without = {name: measured(name, x, y, LENGTHS)[0] for name in ("rsa_standardised", "cosine_standardised")}
    flat = np.where(np.arange(25) == 3, 7 + last_bit, 7).astype(np.float32)
    for name, value in without.items():
        sides = (np.insert(side, 5, flat, axis=1) for side in (x, y))
        assert measured(name, *sides, LENGTHS)[0] == pytest.approx(value, abs=1e-6)


def test_a_word_that_is_the_mean_of_all_has_no_direction():
    y = vectors(25, seed=1)
    x = np.vstack([-y, y, 0 * y[:1]])
    with pytest.raises(ValueError, match="word 50 has a vector of length zero, which has no direction"):
        measured("rsa_centred", x, x, (25, 25, 1))


# ---- CKA and its twin


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_and_its_replicates_equal_the_formula_on_repeated_sentences(debiased):
    weights = intervals.draws("twin", len(LENGTHS), 40)
    name = "cka_debiased" if debiased else "cka_biased"
    value, replicates = MEASURES[name].function(PRECISE, [(0, 1)], sentences(), weights)[0]
    x, y = (side - side.mean(0) for side in PRECISE)
    assert value == pytest.approx(naive_cka(x, y, debiased), abs=1e-10)
    for counts, replicate in zip(weights, replicates, strict=True):
        assert replicate == pytest.approx(
            naive_cka(*laid_out(counts, x, y)[:2], debiased, laid_out(counts, x, y)[2]), abs=1e-8
        )


@pytest.mark.parametrize("name", ["cka_debiased", "cka_biased"])
def test_cka_in_single_precision_keeps_six_digits(name):
    x, y = related(200, 64)
    shifted = x + 100 * vectors(1, 64, seed=8), y
    assert measured(name, *shifted)[0] == pytest.approx(
        naive_cka(*(s - s.mean(0) for s in (x.astype(float), y)), name == "cka_debiased"), abs=2e-5
    )
    assert measured(name, x, y)[0] == pytest.approx(
        naive_cka(*(s - s.mean(0) for s in (x.astype(float), y)), name == "cka_debiased"), abs=1e-6
    )


def test_only_the_debiased_cka_of_few_unrelated_words_is_zero():
    x, y = vectors(200, 768, seed=30), vectors(200, 768, seed=31)
    value, replicates = measured("cka_debiased", x, y, resamples=1000)
    low, high = intervals.percentiles(replicates)
    assert abs(value) < 0.02 and low < 0 < high and high - low < 0.05
    assert measured("cka_biased", x, y)[0] > 0.75


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cka_debiased", "rsa", "procrustes"])
def test_intervals_cover_the_true_value(name):
    """Words of sentences that share a part: 200 samples, each with its interval, against a sample of 40,000 words."""
    rng = np.random.default_rng(0)
    map_ = np.linalg.qr(rng.normal(size=(6, 6)))[0] * np.linspace(1, 2, 6)

    def text(sentences, words):
        shared = np.repeat(rng.normal(size=(sentences, 6)), words, axis=0)
        x = (shared + rng.normal(size=shared.shape)) * np.linspace(0.5, 1.5, 6)
        return x, x @ map_ + rng.normal(size=x.shape), np.repeat(np.arange(sentences), words)

    x, y, sentence = text(2000, 4)
    ones = np.ones((1, 2000), int)
    truth = MEASURES[name].function([x, y], [(0, 1)], sentence, ones)[0][0]
    covered = []
    for number in range(200):
        x, y, sentence = text(60, 4)
        _, replicates = MEASURES[name].function([x, y], [(0, 1)], sentence, intervals.draws(str(number), 60, 400))[0]
        low, high = intervals.percentiles(replicates)
        covered.append(low <= truth <= high)
    assert 0.90 <= np.mean(covered) <= 0.98


# ---- measures with a jackknife, and their twins


def canonical(x, y):
    """Canonical correlations from orthonormal bases of the words' space, with the first side's canonical variables."""
    bases = [np.linalg.svd(side, full_matrices=False)[0] for side in (x, y)]
    left, correlations, _ = np.linalg.svd(bases[0].T @ bases[1])
    return correlations, bases[0] @ left[:, : len(correlations)]


def principal(x):
    u, s, v = np.linalg.svd(x, full_matrices=False)
    kept = np.searchsorted(np.cumsum(s**2) / (s**2).sum(), 0.99) + 1
    return u[:, :kept] * s[:kept]


def naive_procrustes(x, y):
    x, y = (side / np.linalg.norm(side) for side in (x, y))
    turn = linalg.orthogonal_procrustes(x, y)[0]
    return 1 - np.linalg.norm(x @ turn - y) ** 2 / 2


def naive_pwcca(x, y):
    correlations, variables = canonical(x, y)
    share = np.abs(variables.T @ x).sum(1)
    return (share * correlations).sum() / share.sum()


def naive_spearman(x, y):
    upper = np.triu_indices(len(x), 1)
    return stats.spearmanr(*(kernel[upper] for kernel in kernels_of(x, y))).statistic


CENTRED = {
    "procrustes": naive_procrustes,
    "svcca": lambda x, y: canonical(principal(x), principal(y))[0].mean(),
    "pwcca": naive_pwcca,
}


@pytest.mark.parametrize("name", [*CENTRED, "rsa_spearman"])
def test_measures_with_a_jackknife_equal_their_formulas_and_leave_groups_out(name):
    x, y = (side.astype(float) for side in related(250, 8))
    x[3] = x[0]  # a tie between cosines
    lengths = (5,) * 50
    sentence, weights = sentences(lengths), intervals.draws("twin", 50, 2000)
    value, replicates = MEASURES[name].function([x, y], [(0, 1)], sentence, weights)[0]

    def naive(kept):
        sides = x[kept], y[kept]
        return naive_spearman(*sides) if name == "rsa_spearman" else CENTRED[name](*(s - s.mean(0) for s in sides))

    assert value == pytest.approx(naive(np.ones(250, bool)), abs=1e-8)
    without = np.array([naive(sentence % 20 != group) for group in range(20)])
    error = np.sqrt(19 / 20 * ((without - without.mean()) ** 2).sum())
    assert replicates.mean() == pytest.approx(value, abs=error / 10)
    assert replicates.std() == pytest.approx(error * stats.t.ppf(0.975, 19) / 1.96, rel=0.1)


@pytest.mark.parametrize(
    ("name", "formula"),
    [("rsa_spearman", naive_spearman)]
    + [(name, lambda x, y, of=of: of(x - x.mean(0), y - y.mean(0))) for name, of in CENTRED.items()],
)
def test_what_is_left_out_sooner_equals_any_measure_of_two_arrays(name, formula):
    """Products that are subtracted and pairs that are masked give what rows that are left out give."""
    stack = [x.astype(float) for x in (*related(200, 8), vectors(200, 8, seed=4))]
    given = stack, [(0, 1), (2, 0)], sentences((4,) * 50), intervals.draws("twin", 50, 100)
    for ours, plain in zip(MEASURES[name].function(*given), jackknifed(formula)(*given), strict=True):
        assert ours[0] == pytest.approx(plain[0], abs=1e-8) and np.allclose(ours[1], plain[1], atol=1e-8)


def test_a_jackknifed_measure_is_a_loop_over_groups_of_sentences_and_gets_the_rows_in_order():
    x, y = related(120, 8)
    sentence, weights = sentences((3,) * 40), intervals.draws("loop", 40, 60)
    (value, replicates), (turned, _) = jackknifed(distances)(iter([x, y]), [(0, 1), (1, 0)], sentence, weights)
    without = np.array([distances(x[sentence % 20 != g], y[sentence % 20 != g]) for g in range(20)])
    assert value == distances(x, y) and turned == distances(y, x)  # which BLAS may round otherwise
    assert np.array_equal(replicates, intervals.jackknife(value, without, weights)[1])
    assert jackknifed(distances).__doc__ == distances.__doc__


def test_the_standard_error_of_a_jackknifed_measure_is_that_of_samples():
    """The mean of a number that the words of a sentence share in part, whose standard error is known."""
    generator, sentence = np.random.default_rng(0), sentences((5,) * 200)
    weights = intervals.draws("error", 200, 500)
    wider, errors = stats.t.ppf(0.975, 19) / stats.norm.ppf(0.975), []
    for _ in range(60):
        x = generator.normal(size=200)[sentence, None] + generator.normal(size=(1000, 1))
        _, replicates = jackknifed(lambda x, y: (x * y).mean())([x, np.ones((1000, 1))], [(0, 1)], sentence, weights)[0]
        errors.append(replicates.std() / wider)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.sqrt((1 + 1 / 5) / 200), rel=0.1)


def test_procrustes_pads_the_narrower_side():
    x, y = vectors(25, 6, seed=40).astype(float), vectors(25, 9, seed=41).astype(float)
    padded = np.pad(x - x.mean(0), ((0, 0), (0, 3)))
    assert measured("procrustes", x, y, LENGTHS)[0] == pytest.approx(naive_procrustes(padded, y - y.mean(0)), abs=1e-10)


# ---- neighbours and their twin


def test_neighbour_overlap_equals_a_loop():
    x, y = vectors(60, 5, seed=42), vectors(60, 5, seed=42) + vectors(60, 5, seed=43)
    lengths = (4,) * 15
    weights = intervals.draws("loop", 15, 30)
    value, replicates = MEASURES["neighbours"].function([x, y], [(0, 1)], sentences(lengths), weights)[0]
    near = [
        [set(np.argsort(-np.where(np.arange(60) == w, -2, k[w]))[:10]) for w in range(60)] for k in kernels_of(x, y)
    ]
    each = np.array([len(one & other) / 10 for one, other in zip(*near, strict=True)])
    assert value == pytest.approx(each.mean(), abs=1e-12)
    for counts, replicate in zip(weights, replicates, strict=True):
        assert replicate == pytest.approx(np.average(each, weights=counts[sentences(lengths)]), abs=1e-12)


# ---- cosine and its twin


def test_cosine_equals_a_loop():
    x, y = vectors(25, seed=20, shared=1), vectors(25, seed=21)
    weights = intervals.draws("loop", len(LENGTHS), 30)
    for name, prepare in (("cosine", PREPARED["rsa"]), ("cosine_centred", PREPARED["rsa_centred"]),
                          ("cosine_standardised", PREPARED["rsa_standardised"])):  # fmt: skip
        value, replicates = MEASURES[name].function([x, y], [(0, 1)], sentences(), weights)[0]
        sides = zip(prepare(x), prepare(y), strict=True)
        each = np.array([one @ other / np.sqrt(one @ one * (other @ other)) for one, other in sides])
        assert value == pytest.approx(each.mean(), abs=1e-6)
        for counts, replicate in zip(weights, replicates, strict=True):
            words = [w for s, count in enumerate(counts) for w in np.tile(np.flatnonzero(sentences() == s), count)]
            assert replicate == pytest.approx(each[words].mean(), abs=1e-6)
    assert measured("cosine", x, -x, LENGTHS)[0] == pytest.approx(-1, abs=1e-6)


# ---- compare


def sample(*sides, lengths=LENGTHS, corpus="text"):
    return Sample(corpus, "dev", f"key of {corpus}", sentences(lengths), sides)


def layered(*one_per_layer):
    return np.stack(one_per_layer)


def test_compare_gives_a_row_for_every_sample_measure_and_layer():
    x, y = (layered(vectors(25, seed=s), vectors(25, seed=s + 1, shared=1)) for s in (22, 24))
    rows = similarity.compare([sample(x, y), sample(y, x, corpus="other")], [0, 6], list(MEASURES), resamples=300)
    curves = [row for row in rows if row["metric"] == "similarity"]
    assert [(r["corpus"], r["method"], r["layer"]) for r in curves] == [
        *itertools.product(["text", "other"], MEASURES, [0, 6])
    ]
    summed = [(r["corpus"], r["method"], r["metric"]) for r in rows if "layer" not in r]
    assert summed == [*itertools.product(["text", "other"], MEASURES, ["change", "depth"])]
    assert {(r["split"], r["n"], len(r["replicates"])) for r in rows} == {("dev", 25, 300)}
    weights = intervals.draws("key of text", len(LENGTHS), 300)
    value, replicates = MEASURES["rsa"].function([x[1], y[1]], [(0, 1)], sentences(), weights)[0]
    assert curves[1]["value"] == pytest.approx(value, abs=1e-6)
    assert np.allclose(curves[1]["replicates"], replicates, atol=1e-6)


def test_rsa_compares_models_of_different_width_and_cosine_refuses():
    narrow, wide = layered(vectors(25, 8)), layered(vectors(25, 12))
    assert len(similarity.compare([sample(narrow, wide)], [3], ["rsa"], 100)) == 1
    with pytest.raises(ValueError, match="cosine pairs coordinates: the models must be equally wide, got 8 and 12"):
        similarity.compare([sample(narrow, wide)], [3], ["cosine"], 100)


@pytest.mark.parametrize(
    ("methods", "message"), [(["rsa", "cca"], r"unknown measures \['cca'\]"), ([], "no measure is named")]
)
def test_compare_refuses_unknown_measures_and_none(methods, message):
    x = layered(vectors(25))
    with pytest.raises(ValueError, match=rf"{message}: expected some of \['cka_biased', 'cka_debiased', .*'svcca'\]"):
        similarity.compare([sample(x, x)], [0], methods)


def test_change_is_the_area_above_the_curve_and_depth_where_it_falls_under_the_threshold():
    layers = [0, 2, 4, 8]
    curves = np.array([
        [1.0, 1.0, 0.95, 0.85],  # falls between 4 and 8, half way
        [1.0, 0.8, 0.95, 1.0],  # between 0 and 2, half way, whatever comes after
        [0.5, 1.0, 1.0, 1.0],
        [1.0, 1.0, 1.0, 1.0],
        [1.0, np.nan, 1.0, 1.0],
    ]).T  # fmt: skip
    change, depth = similarity._summaries(layers, curves)
    assert np.allclose(depth, [6, 1, 0, 8, np.nan], equal_nan=True)
    by_hand = [
        (0.05 * 2 / 2 + (0.05 + 0.15) / 2 * 4) / 8,
        (0.2 / 2 * 2 + 0.25 / 2 * 2 + 0.05 / 2 * 4) / 8,
        0.5 / 2 * 2 / 8,
        0,
    ]
    assert np.allclose(change, [*by_hand, np.nan], equal_nan=True)


def test_grid_compares_every_layer_with_every_other_once():
    x, y = (layered(vectors(25, 8, seed=s), vectors(25, 8, seed=s + 1, shared=1)) for s in (22, 24))
    rows = similarity.grid(sample(x, y), [0, 6], ["base", "nli-1"], ["rsa", "pwcca"], resamples=200)
    places = [("base", 0), ("base", 6), ("nli-1", 0), ("nli-1", 6)]
    expected = [one + other for n, one in enumerate(places) for other in places[n:]]
    for method, of_method in itertools.groupby(rows, lambda row: row["method"]):
        of_method = list(of_method)
        found = [(r["reference_model"], r["reference_layer"], r["model"], r["layer"]) for r in of_method]
        assert found == expected
        stack = dict(zip(places, [*x, *y], strict=True))
        for row, at in zip(of_method, found, strict=True):
            value = measured(method, stack[at[:2]], stack[at[2:]], LENGTHS)[0]
            assert row["value"] == pytest.approx(value, abs=1e-6) and row["replicates"] is None
            assert row["ci_low"] - 1e-6 <= row["value"] <= row["ci_high"] + 0.1


def spoiled(at, value):
    x = layered(vectors(25), vectors(25, seed=1))
    x[at] = value
    return x


GOOD = spoiled((0, 0), 1.0)
BAD = {
    "layers": ((GOOD, GOOD[:1]), "2 layers cannot be paired with 1: name as many of each with `layers`"),
    "words": ((GOOD, GOOD[:, :24]), "25 and 24 words with 25 sentence numbers: the two sides do not match"),
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


def test_a_layer_in_which_a_class_has_one_vector_is_left_out_and_of_all_words_refused():
    x, y = (layered(np.ones((25, 16), np.float32), vectors(25, seed=s), vectors(25, seed=s + 1)) for s in (60, 62))
    rows = similarity.compare([sample(x, y)._replace(rows="[CLS]")], [0, 2, 3], ["rsa"], 100)
    assert [(row["metric"], row.get("layer")) for row in rows] == [
        ("similarity", 2), ("similarity", 3), ("change", None), ("depth", None)
    ]  # fmt: skip
    for one in (sample(x, y), sample(x[:1], y[:1])._replace(rows="[CLS]")):
        with pytest.raises(ValueError, match="gives every word the same vector in some layer"):
            similarity.compare([one], [0, 2, 3][: len(one.vectors[0])], ["rsa"], 100)


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
        norms, (kernel, _) = np.linalg.norm(side, axis=1), kernels_of(side, side)
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
        tags = ["DET", "NOUN", "VERB", "ADV", "PROPN", "PUNCT"]
        words = [(sentence, 0, w, f"w{w}", False, tags[w]) for w in range(length)]
        lines += [(sentence, -1, -1, "[CLS]", True, ""), *words, (sentence, -1, -1, "[SEP]", True, "")]
    return pd.DataFrame(lines, columns=["sentence", "segment", "word", "form", "special", "upos"])


@pytest.mark.parametrize("words", [1, 4, 7, 19, 20])
@pytest.mark.parametrize("seed", range(5))
def test_sample_takes_whole_sentences_until_there_are_enough_words(words, seed):
    rows = word_rows()
    drawn = similarity.draw(rows, words, seed)
    assert np.array_equal(drawn, similarity.draw(rows, words, seed))
    assert (np.diff(drawn) > 0).all()
    assert not rows.loc[drawn, "special"].any()
    whole = rows[~rows["special"]].groupby("sentence").size()
    taken = rows.loc[drawn].groupby("sentence").size()
    assert (whole[taken.index] == taken).all()
    assert len(drawn) >= words
    assert len(drawn) - taken.max() < words  # not one sentence more than needed


def test_sample_depends_on_the_seed():
    assert len({tuple(similarity.draw(word_rows(), 6, seed)) for seed in range(20)}) > 3


def test_sample_refuses_more_words_than_there_are():
    with pytest.raises(ValueError, match="21 words were asked for, the corpus has 20: ask for fewer, or take a larger"):
        similarity.draw(word_rows(), 21, 1)
    with pytest.raises(
        ValueError, match="a sample that shares no sentence with 1 of 17 words was asked for, the corpus has 2"
    ):
        similarity.draw(word_rows(), 17, 1, part=1)
    assert 0 < len(similarity.draw(word_rows(), 11, 1, part=1)) < 11  # what is left


def test_draws_that_follow_one_another_share_no_sentence():
    rows = word_rows((3,) * 30)
    parts = [rows.loc[similarity.draw(rows, 20, 5, part=part), "sentence"] for part in range(4)]
    assert [len(part) for part in parts] == [21, 21, 21, 21]
    assert len(set().union(*parts)) == 28


def test_a_sample_ends_at_500_sentences():
    rows = word_rows((2,) * 1100)
    parts = [rows.loc[similarity.draw(rows, 1100, 0, part=part), "sentence"] for part in (0, 1)]
    assert [len(part) for part in parts] == [1000, 1000] and not set(parts[0]) & set(parts[1])


@pytest.mark.parametrize("part", [0, 1])
def test_where_few_long_items_hold_the_words_more_of_them_give_some(part):
    rows = word_rows((6,) * 30)
    drawn = similarity.draw(rows, 30, 5, part=part, units=12)
    assert len(drawn) == 30 and not rows.loc[drawn, "special"].any() and (np.diff(drawn) > 0).all()
    assert 10 <= rows.loc[drawn, "sentence"].nunique() <= 12 and rows.loc[drawn, "word"].nunique() == 6
    assert np.array_equal(drawn, similarity.draw(rows, 30, 5, part=part, units=12))
    first = rows.loc[similarity.draw(rows, 30, 5, units=12), "sentence"]
    assert part == 0 or not {*first} & {*rows.loc[drawn, "sentence"]}
    of_units = similarity.draw(rows, 30, 5, "[CLS]", part, units=12)
    assert len(of_units) == 12 and {*rows.loc[drawn, "sentence"]} <= {*rows.loc[of_units, "sentence"]}
    assert {*similarity.draw(rows, 30, 5, "NOUN", part, units=12)} <= {*drawn}


def test_enough_short_sentences_are_drawn_as_ever():
    rows = word_rows((3,) * 40)
    assert np.array_equal(similarity.draw(rows, 30, 5, units=10), similarity.draw(rows, 30, 5))


def test_more_units_than_there_are_is_refused():
    with pytest.raises(ValueError, match="6 units were asked for, the corpus has 5: draw more of it, or ask for fewer"):
        similarity.draw(word_rows(), 10, 1, units=6)


CLASSES = {"[CLS]": {"[CLS]"}, "[SEP]": {"[SEP]"}, "content": {"w1", "w2", "w3", "w4"}, "function": {"w0"},
           "punctuation": {"w5"}, "VERB": {"w2"}}  # fmt: skip


@pytest.mark.parametrize("of", CLASSES)
def test_classes_of_rows_are_those_of_the_drawn_sentences(of):
    rows = word_rows((6,) * 10)
    whole, part = (rows.loc[similarity.draw(rows, 30, 2, one)] for one in ("words", of))
    assert set(part["form"]) == CLASSES[of] and set(part["sentence"]) == set(whole["sentence"])
    expected = rows["sentence"].isin(whole["sentence"]) & rows["form"].isin(CLASSES[of])
    assert list(part.index) == list(rows.index[expected])


def test_words_are_sorted_by_how_often_the_whole_text_has_them():
    forms = ["Dog", "dog", "cat", *["the"] * 9, "The", *["a"] * 5]
    rows = word_rows((6,) * 8)
    ordinary = ~rows["special"]
    rows.loc[ordinary, "form"] = [*forms, *(f"only{n}" for n in range(48 - len(forms)))]
    kinds = ("once", "sometimes", "often")
    found = {of: sorted(rows.loc[similarity.draw(rows, 48, 1, of), "form"].str.lower()) for of in kinds}
    assert found["often"] == ["the"] * 10 and found["sometimes"] == [*["a"] * 5, "dog", "dog"]
    assert found["once"][0] == "cat" and sum(map(len, found.values())) == 48
    (drawn,) = set(rows.loc[similarity.draw(rows, 6, 3), "sentence"])
    few = rows.loc[similarity.draw(rows, 6, 3, "once" if drawn > 3 else "often"), "sentence"]
    assert set(few) == {drawn}  # how often is a matter of the whole text, not of the sentence that was drawn


def test_a_class_without_words_is_refused_with_those_there_are():
    with pytest.raises(
        ValueError, match=r"no word of this corpus is of the class 'ADP': .* \['\[CLS\]', .*'content', .*'NOUN'"
    ):
        similarity.draw(word_rows(), 10, 1, "ADP")
    with pytest.raises(
        ValueError, match="no word of this corpus is of the class 'once': .*'once', 'sometimes', 'often'"
    ):
        similarity.draw(word_rows((6,) * 4), 10, 1, "once")
    with pytest.raises(ValueError, match="'content': .* only treebanks have parts of speech"):
        similarity.draw(word_rows().assign(upos=""), 10, 1, "content")


def test_sentences_are_drawn_as_long_as_asked_for():
    rows = word_rows((1, 2, 3, 4, 5, 6) * 5)
    drawn = similarity.draw_like(rows, np.array([6, 2, 2, 5]), 0)
    sizes = rows.loc[drawn].groupby("sentence").size()
    assert sorted(sizes) == [2, 2, 5, 6] and not rows.loc[drawn, "special"].any()
    seeds = {
        tuple(rows.loc[similarity.draw_like(rows, np.array([6, 2]), seed), "sentence"].unique()) for seed in range(9)
    }
    assert len(seeds) > 3


@pytest.mark.parametrize("lengths", [[6, 6, 6], [1] * 31, [30, 2]])
def test_too_few_sentences_of_a_length_are_told(lengths):
    rows = word_rows((6, 6, 1, 2, 2, 2) + (2,) * 24)
    with pytest.raises(
        ValueError, match=f"not enough sentences for {len(lengths)} of {np.mean(lengths):.0f} words on ave"
    ):
        similarity.draw_like(rows, np.array(lengths), 0)


@pytest.mark.parametrize("name", [name for name in MEASURES if MEASURES[name].chance])
def test_shuffling_pairs_words_with_others(name):
    x = layered(vectors(200, 32, seed=50), vectors(200, 32, seed=51))
    paired = sample(x, x, lengths=(10,) * 20)
    rows = similarity.compare([similarity.shuffled(paired, 1)], [0, 1], [name], 100)
    assert {row["rows"] for row in rows} == {"shuffled words"}
    assert all(abs(row["value"]) < 0.06 for row in rows if row["metric"] == "similarity")
    assert sorted(map(bytes, similarity.shuffled(paired, 1).vectors[1][0])) == sorted(map(bytes, x[0]))


@pytest.mark.parametrize(("name", "kind"), [("rsa", np.ndarray), ("procrustes", intervals.Jackknifed)])
def test_what_sums_a_curve_up_has_replicates_of_its_kind(name, kind):
    x, y = (np.stack([vectors(60, 8, seed=seed + layer) for layer in range(3)]) for seed in (0, 10))
    sample = similarity.Sample("text", "all", "key", np.arange(60) // 3, (x, y))
    rows = similarity.compare([sample], [0, 1, 2], [name], resamples=50)
    assert {row["metric"] for row in rows} == {"similarity", "change", "depth"} and {
        type(row["replicates"]) for row in rows
    } == {kind}
