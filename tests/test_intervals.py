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


def test_row_keeps_the_interval_of_all_and_the_first_replicates():
    replicates = np.random.default_rng(2).permutation(np.arange(1001) / 1000)
    row = intervals.row(np.float64(0.5), replicates)
    assert list(row) == ["value", "ci_low", "ci_high", "replicates"]
    assert (row["value"], type(row["value"])) == (0.5, float)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((0.025, 0.975))
    assert row["replicates"].dtype == np.float32
    assert np.allclose(row["replicates"], replicates[: intervals.KEPT])


def test_difference_is_paired():
    generator = np.random.default_rng(3)
    shared = generator.normal(size=1000)  # what both models owe to the sentences drawn
    one, other = 5 + shared + 0.01 * generator.normal(size=1000), 4 + shared + 0.01 * generator.normal(size=1000)
    value, low, high = intervals.difference(5.0, one, 4.0, other)
    assert value == 1
    assert (low, high) == pytest.approx(tuple(np.percentile(one - other, [2.5, 97.5])))
    assert high - low < 0.1 < np.diff(intervals.percentiles(one))  # unpaired, it would be as wide as the margins
    assert intervals.difference(5.0, one, 5.0, one) == (0, 0, 0)


def test_difference_refuses_replicates_of_other_draws():
    with pytest.raises(ValueError, match="cannot pair 3 with 2 replicates: the rows were drawn differently"):
        intervals.difference(1.0, np.zeros(3), 0.0, np.zeros(2))


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
        low, high = intervals.together(values, replicates)
        ends = np.percentile(replicates, [2.5, 97.5], axis=1)
        covered += [((low <= 0) & (high >= 0)).all(), ((ends[0] <= 0) & (ends[1] >= 0)).all()]
    together, single = covered / 400
    assert together > single + 0.15


def test_one_row_alone_has_its_own_interval_and_a_constant_one_none():
    replicates = np.random.default_rng(0).normal(3, 2, (1, 20_000))
    low, high = intervals.together(np.array([3.0]), replicates)
    assert (low[0], high[0]) == pytest.approx(intervals.percentiles(replicates[0]), abs=0.1)
    low, high = intervals.together(np.array([3.0, 0.0]), np.concatenate([replicates, np.zeros_like(replicates)]))
    assert low[1] == high[1] == 0
