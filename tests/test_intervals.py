"""The bootstrap against loops, and its promise: 95 % intervals that resample sentences cover, those that resample words do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_repro.results import intervals


@given(st.text(max_size=20), st.integers(2, 40), st.integers(1, 30))
def test_every_resample_draws_as_many_sentences_as_there_are(key, sentences, resamples):
    counts = intervals.draws(key, sentences, resamples)
    assert counts.shape == (resamples, sentences)
    assert (counts >= 0).all() and (counts.sum(1) == sentences).all()


def test_draws_follow_from_the_key_alone():
    counts = intervals.draws("corpus", 50)
    assert counts.shape == (intervals.RESAMPLES, 50)
    assert np.array_equal(counts, intervals.draws("corpus", 50))
    assert not np.array_equal(counts, intervals.draws("another", 50))
    # fewer resamples are the first of many, so that the replicates kept beside a table are those of the interval
    assert np.array_equal(counts[:100], intervals.draws("corpus", 50, 100))


def test_draws_are_uniform_and_multinomial():
    counts = intervals.draws("many", 20, 20_000)
    assert np.allclose(counts.mean(0), 1, atol=0.05)
    assert np.allclose(counts.var(0), 1 - 1 / 20, atol=0.08)


@pytest.mark.parametrize("sentences", [0, 1])
def test_one_sentence_has_no_interval(sentences):
    with pytest.raises(ValueError, match=f"an interval needs at least 2 sentences, got {sentences}: use a larger"):
        intervals.draws("corpus", sentences)


@pytest.mark.parametrize("layers", [(), (3,)])
def test_ratio_equals_a_loop_that_repeats_sentences(layers):
    generator = np.random.default_rng(1)
    numerator, denominator = generator.random((*layers, 7)), generator.integers(1, 9, (*layers, 7)).astype(float)
    weights = intervals.draws("ratio", 7, 40)
    value, replicates = intervals.ratio(numerator, denominator, weights)
    assert np.allclose(value, numerator.sum(-1) / denominator.sum(-1), rtol=1e-12)
    for number, counts in enumerate(weights):
        drawn = np.repeat(np.arange(7), counts)
        expected = numerator[..., drawn].sum(-1) / denominator[..., drawn].sum(-1)
        assert np.allclose(replicates[..., number], expected, rtol=1e-12)


def test_a_resample_without_denominator_is_left_out_of_the_interval():
    weights = np.array([[2, 0], [0, 2], [1, 1]])
    value, replicates = intervals.ratio(np.array([1.0, 0]), np.array([2.0, 0]), weights)
    assert value == 0.5
    assert np.isnan(replicates[1]) and np.allclose(replicates[[0, 2]], 0.5)
    assert intervals.percentiles(replicates) == (0.5, 0.5)


def test_row_has_the_interval_of_all_and_keeps_every_replicate():
    replicates = np.random.default_rng(2).permutation(np.arange(1001) / 1000)
    row = intervals.row(np.float64(0.5), replicates, 40)
    assert list(row) == ["value", "ci_low", "ci_high", "replicates", "units"]
    assert (row["value"], type(row["value"]), row["units"]) == (0.5, float, 40)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((0.025, 0.975))
    assert row["replicates"].dtype == np.float32 and np.allclose(row["replicates"], replicates)


def test_difference_is_paired():
    generator = np.random.default_rng(3)
    shared = generator.normal(size=1000)  # what both models owe to the sentences drawn
    one, other = 5 + shared + 0.01 * generator.normal(size=1000), 4 + shared + 0.01 * generator.normal(size=1000)
    value, low, high, drawn = intervals.difference(5.0, one, 4.0, other)
    assert value == 1
    assert np.array_equal(drawn, one - other)
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    assert high - low < 0.1 < np.diff(intervals.percentiles(one))  # unpaired, it would be as wide as the margins
    assert intervals.difference(5.0, one, 5.0, one)[:3] == (0, 0, 0)


def test_what_kept_fewer_replicates_is_paired_on_these():
    *numbers, drawn = intervals.difference(1.0, np.array([1.0, 2.0, 9.0]), 0.0, np.array([0.0, 1.0]))
    assert numbers == pytest.approx([1, 1, 1]) and drawn.tolist() == [1, 1]


def test_a_jackknife_pairs_with_a_jackknife_alone():
    bootstrap, jackknife = np.zeros(3), np.zeros(3).view(intervals.Jackknifed)
    assert intervals.difference(1.0, jackknife, 0.5, jackknife)[:3] == (0.5, 0.0, 0.0)
    for sides in ((bootstrap, jackknife), (jackknife, bootstrap)):
        with pytest.raises(ValueError, match="replicates of a bootstrap and of a jackknife cannot be paired"):
            intervals.difference(1.0, sides[0], 0.0, sides[1])


@pytest.mark.slow
@pytest.mark.parametrize("others", [0, 2, 3, 5])
@pytest.mark.parametrize("share", [0.04, 0.5, 0.96])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_with_seeds_cover(seeds, others, share):
    """A mean over seeds (or a difference paired by them), and one of two means, whichever source of error dominates."""
    generator, covered, studies = np.random.default_rng(seeds), 0, 2000
    of_units = (1 - share) ** 0.5  # standard error of a side

    def side(k, names):
        values = generator.normal(0, (share * k) ** 0.5, k) + generator.normal(0, of_units)
        return intervals.Repeats(names, values, np.tile(np.array([-1.0, 1.0]) * of_units / 2**0.5, (k, 1)))

    for _ in range(studies):
        one = side(seeds, tuple(range(seeds)))
        estimate = intervals.mean(one)
        if others:
            other = side(others, tuple(range(10, 10 + others)))  # drawn apart, so that errors of units add
            estimate = intervals.contrast(one, other, paired=False)._replace(units=of_units * 2**0.5)
        low, high = estimate.interval
        covered += low <= 0 <= high
    assert 0.93 <= covered / studies <= 0.995


def test_a_difference_is_paired_by_the_seeds_that_both_have():
    one = intervals.Repeats((1, 2, 3), np.array([1.0, 2.0, 3.0]), np.array([[1.0, 1.5], [2.0, 2.5], [3.0, 3.5]]))
    other = intervals.Repeats((3, 1), np.array([2.5, 0.5]), np.array([[2.5, 3.0], [0.5, 1.0]]))
    estimate = intervals.contrast(one, other, paired=True)
    assert (estimate.value, estimate.units, estimate.seeds) == (0.5, 0.0, ((0.0, 1.0),)) and estimate.interval == (
        0.5,
        0.5,
    )
    with pytest.raises(ValueError, match="no seed is common to both sides"):
        intervals.contrast(one, other._replace(seeds=(8, 9)), paired=True)


def test_p_is_the_tail_whose_interval_ends_at_the_border():
    estimate = intervals.Estimate(0.3, 0.05, ((0.004, 3),))
    for border in (0.31, 0.5, 0.9):
        p = estimate.p_below(border)
        assert estimate.value + estimate.half_width(p) == pytest.approx(border, abs=1e-9)
        assert estimate.p_above(2 * 0.3 - border) == pytest.approx(p)
    assert estimate.p_below(0.3) == 0.5 and estimate.p_below(0.2) == 1.0
    plain = intervals.Estimate(0.0, 1.0)
    assert plain.p_below(1.959964) == pytest.approx(0.025, abs=1e-6) and plain.p_below(40.0) == 1e-12


@pytest.mark.slow
def test_intervals_cover_the_truth_where_words_depend_on_their_sentence():
    """The mean of words that share a sentence effect, true value 0, over 200 data sets."""
    generator = np.random.default_rng(4)
    covered = {"sentences": 0, "words": 0}
    for simulation in range(200):
        lengths = generator.integers(3, 15, 60)
        sentence = np.repeat(np.arange(60), lengths)
        words = generator.normal(size=60)[sentence] + generator.normal(size=len(sentence))
        units = {
            "sentences": (np.bincount(sentence, words), lengths.astype(float)),
            "words": (words, np.ones(len(words))),
        }
        for unit, (numerator, denominator) in units.items():
            weights = intervals.draws(f"simulation {simulation}", len(numerator), 400)
            low, high = intervals.percentiles(intervals.ratio(numerator, denominator, weights)[1])
            covered[unit] += low <= 0 <= high
    assert 0.88 <= covered["sentences"] / 200 <= 0.99
    assert covered["words"] / 200 < 0.75  # words of one sentence repeat one another: their intervals are too narrow


def test_intervals_that_hold_at_once_hold_at_once():
    """Thirteen layers without any difference: all of them cover 0 in about 95 of 100 data sets, single intervals in far fewer."""
    generator = np.random.default_rng(5)
    covered = np.zeros(2)
    for _ in range(400):
        noise = generator.normal(size=(13, 1)) + generator.normal(size=(13, 300))
        noise += generator.normal() + generator.normal(size=300)  # layers of one model move together
        values = noise[:, 0]
        replicates = values[:, None] + noise[:, 1:] - noise[:, 1:].mean(1, keepdims=True)
        ends = np.percentile(replicates, [2.5, 97.5], axis=1)
        half = (ends[1] - ends[0]) / 2 * intervals.wider_together(replicates)
        low, high = values - half, values + half
        covered += [((low <= 0) & (high >= 0)).all(), ((ends[0] <= 0) & (ends[1] >= 0)).all()]
    together, single = covered / 400
    assert together > single + 0.15


def test_one_row_alone_has_its_own_interval_and_a_constant_one_does_not_count():
    replicates = np.random.default_rng(0).normal(3, 2, (1, 20_000))
    assert intervals.wider_together(replicates) == pytest.approx(1)
    assert intervals.wider_together(np.concatenate([replicates, np.zeros_like(replicates)])) == pytest.approx(1)
    assert intervals.wider_together(np.zeros((2, 10))) == 1
