"""Linear erasure: what the theorems say of it holds on planted data, and a random subspace of equal rank and variance is no such thing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import sentence
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from bert_repro import corpora
from bert_repro.probes import erasure
from bert_repro.probes.erasure import Sums

LABELS, HIDDEN = 4, 12


def planted(count=4000, seed=0, hidden=HIDDEN, labels=LABELS, strength=2.0, mean=50.0):
    """Vectors of unequal variance, far from 0, in which each label has a mean of its own; labels are unequally frequent."""
    generator = np.random.default_rng(seed)
    world = np.random.default_rng(99)  # of which every draw is a sample
    spread = world.normal(size=(hidden, hidden)) * 0.8 ** np.arange(hidden)
    means = strength * world.normal(size=(labels, hidden))
    gold = generator.choice(labels, count, p=np.arange(labels, 0, -1) / np.arange(labels + 1).sum())
    return means[gold] + generator.normal(size=(count, hidden)) @ spread + mean, gold


def moments(x, gold, labels=LABELS, batches=3):
    sums = Sums(x.shape[1], labels)
    for part in np.array_split(np.arange(len(x)), batches):
        sums.add(x[part], gold[part])
    return sums.moments


def crosscovariance(x, gold, labels=LABELS):
    one_hot = np.eye(labels)[gold]
    return (x - x.mean(0)).T @ (one_hot - one_hot.mean(0)) / len(x)


def logistic(x, gold, labels=LABELS):
    """Fit a logistic regression to convergence, and give its predictor; vectors are whitened first, which changes no optimum."""
    mean, scale = x.mean(0), np.linalg.pinv(np.linalg.cholesky(np.cov(x.T) + 1e-9 * np.eye(x.shape[1])).T)
    white = (x - mean) @ scale
    white = np.c_[white, np.ones(len(x))]

    def loss(flat):
        w = flat.reshape(white.shape[1], labels)
        logits = white @ w
        gradient = white.T @ (softmax(logits, 1) - np.eye(labels)[gold]) / len(x)
        return -log_softmax(logits, 1)[np.arange(len(x)), gold].mean(), gradient.ravel()

    start = np.zeros(white.shape[1] * labels)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-10, "ftol": 1e-15, "maxiter": 5000})
    w = found.x.reshape(white.shape[1], labels)
    return found.fun, lambda other: (np.c_[(other - mean) @ scale, np.ones(len(other))] @ w).argmax(1)


def least_squares(x, gold, labels=LABELS):
    design = np.c_[x - x.mean(0), np.ones(len(x))]
    w = np.linalg.lstsq(design, np.eye(labels)[gold], rcond=1e-10)[0]
    return lambda other: (np.c_[other - x.mean(0), np.ones(len(other))] @ w).argmax(1)


# ---- sums


@given(st.integers(1, 9), st.integers(0, 3))
def test_sums_over_batches_are_those_over_all_at_once(batches, seed):
    x, gold = planted(200, seed)
    gold[::7] = -1  # of words without a label
    found, kept = moments(x, gold, batches=batches), gold >= 0
    np.testing.assert_allclose(found.mean, x[kept].mean(0))
    np.testing.assert_allclose(found.covariance, np.cov(x[kept].T, bias=True), atol=1e-10)
    np.testing.assert_allclose(found.cross, crosscovariance(x[kept], gold[kept]), atol=1e-12)
    np.testing.assert_allclose(found.means, [x[gold == label].mean(0) for label in range(LABELS)])
    np.testing.assert_allclose(found.shares, np.bincount(gold[kept]) / kept.sum())


def test_a_mean_far_from_0_costs_no_digits():
    x, gold = planted()
    near, far = moments(x, gold), moments(x + 1e6, gold)
    np.testing.assert_allclose(far.covariance, near.covariance, rtol=1e-6, atol=1e-7)


def test_the_moments_after_erasure_are_those_of_the_vectors_after_it():
    x, gold = planted()
    eraser = erasure.leace(moments(*planted(seed=1)))
    for found, expected in zip(moments(x, gold).after(eraser), moments(eraser(x), gold), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_label_that_does_not_occur_is_never_named_and_changes_nothing():
    x, gold = planted()
    without, with_one = moments(x, gold), moments(x, gold, LABELS + 1)
    np.testing.assert_allclose(erasure.leace(with_one)(x), erasure.leace(without)(x))
    np.testing.assert_array_equal(erasure.discriminant(with_one)(x), erasure.discriminant(without)(x))


def test_without_labelled_vectors_nothing_is_known():
    sums = Sums(3, 2)
    sums.add(np.ones((2, 3)), np.array([-1, -1]))
    with pytest.raises(ValueError, match="none of the vectors has a label: nothing is known of them"):
        _ = sums.moments


# ---- the theorems


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_is_uncorrelated_with_the_labels_and_they_have_one_mean(seed):
    x, gold = planted(seed=seed)
    left = erasure.leace(moments(x, gold))(x)
    assert np.abs(crosscovariance(x, gold)).max() > 0.1
    assert np.abs(crosscovariance(left, gold)).max() < 1e-10
    for label in range(LABELS):
        np.testing.assert_allclose(left[gold == label].mean(0), x.mean(0), atol=1e-9)


def test_no_linear_classifier_beats_the_most_frequent_label():
    x, gold = planted()
    held_out, held_out_gold = planted(seed=1)
    found = moments(x, gold)
    eraser = erasure.leace(found)
    majority, held_out_majority = (gold == 0).mean(), (held_out_gold == 0).mean()
    loss, logit = logistic(eraser(x), gold)
    shares = np.bincount(gold) / len(gold)
    assert loss == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-8)  # that of knowing the shares alone
    for fitted in (logit, least_squares(eraser(x), gold), erasure.discriminant(found.after(eraser))):
        assert (fitted(eraser(x)) == gold).mean() == majority
        assert (fitted(eraser(held_out)) == held_out_gold).mean() <= held_out_majority + 0.02
    # and one that learns from held-out vectors after they were erased, of which the eraser saw nothing
    other, other_gold = planted(seed=2)
    again = logistic(eraser(held_out), held_out_gold)[1]
    assert (again(eraser(other)) == other_gold).mean() <= (other_gold == 0).mean() + 0.02
    for fitted in (logistic(x, gold)[1], least_squares(x, gold), erasure.discriminant(found)):
        assert (fitted(held_out) == held_out_gold).mean() > held_out_majority + 0.3


def test_the_change_is_the_least_of_all_that_leave_no_correlation():
    x, gold = planted(1000)
    found = moments(x, gold)
    eraser = erasure.leace(found)
    change = ((x - eraser(x)) ** 2).sum(1).mean()
    assert change == pytest.approx(eraser.share * found.variance)
    assert change == pytest.approx(found.variance - np.trace(np.cov(eraser(x).T, bias=True)))
    generator, span = np.random.default_rng(0), np.linalg.svd(found.cross)[0][:, : LABELS - 1]
    for size in (0.0, 1e-3, 0.01, 0.1, 1.0, 1.0, 1.0):
        # another oblique projection along the same directions: it reads them in another way
        read = eraser.read + size * generator.normal(size=eraser.read.shape)
        write = span @ np.linalg.inv(read.T @ span)
        other = x - (x - found.mean) @ read @ write.T
        assert np.abs(crosscovariance(other, gold)).max() < 1e-9
        assert ((x - other) ** 2).sum(1).mean() >= change * (1 - 1e-9)
    orthogonal = x - (x - found.mean) @ span @ span.T
    assert np.abs(crosscovariance(orthogonal, gold)).max() < 1e-10
    assert ((x - orthogonal) ** 2).sum(1).mean() > 1.05 * change


@pytest.mark.parametrize("labels", [2, 3, 6])
def test_it_is_a_projection_of_at_most_one_rank_less_than_labels(labels):
    x, gold = planted(labels=labels)
    eraser = erasure.leace(moments(x, gold, labels))
    assert eraser.rank == np.linalg.matrix_rank(x - eraser(x), tol=1e-6) == labels - 1
    np.testing.assert_allclose(eraser(eraser(x)), eraser(x), atol=1e-9)
    np.testing.assert_allclose(eraser(x.mean(0)[None]), x.mean(0)[None], atol=1e-9)
    np.testing.assert_allclose(eraser.read.T @ eraser.write, np.eye(labels - 1), atol=1e-9)


def test_where_labels_tell_less_apart_fewer_dimensions_go():
    generator = np.random.default_rng(0)
    gold = np.repeat(np.arange(3), 300)
    noise = generator.normal(size=(300, 5))
    x = np.concatenate([noise, noise, noise + 1.0])  # the first two labels have the same vectors
    assert erasure.leace(moments(x, gold, 3)).rank == 1
    same = moments(np.concatenate([noise] * 3), gold, 3)
    nothing = erasure.leace(same)
    assert (nothing.rank, nothing.share) == (0, 0.0)
    np.testing.assert_array_equal(nothing(x), x)
    (random,) = erasure.random_erasers(same, 0, 0.0, [(1,)])
    assert random.rank == 0


def test_dimensions_without_variance_do_no_harm():
    """As after a layer norm, whose outputs have one dimension less than they are wide; in single precision."""
    x, gold = planted()
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(HIDDEN + 3, HIDDEN + 3)))[0]
    wide = np.c_[x, np.full((len(x), 3), 7.0)] @ turn
    for precision, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4)):
        given = wide.astype(precision)
        eraser = erasure.leace(moments(given, gold))
        left = eraser(given)
        assert np.abs(crosscovariance(left.astype(float), gold)).max() < tolerance
        expected = np.c_[erasure.leace(moments(x, gold))(x), np.full((len(x), 3), 7.0)] @ turn
        np.testing.assert_allclose(left, expected, atol=1e-3 if precision == np.float32 else 1e-7)


def test_turned_vectors_are_erased_alike():
    x, gold = planted()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(HIDDEN, HIDDEN)))[0]
    eraser, turned = (erasure.leace(moments(given, gold)) for given in (x, x @ turn))
    np.testing.assert_allclose(turned(x @ turn), eraser(x) @ turn, atol=1e-8)
    assert turned.share == pytest.approx(eraser.share)


@pytest.mark.parametrize("labels", [HIDDEN + 1, HIDDEN + 5])
def test_more_labels_than_there_are_dimensions_are_refused(labels):
    x, gold = planted(labels=labels)
    message = (
        rf"erasing {labels - 1} dimensions leaves nothing of vectors that vary in 12: take fewer labels, or a wider"
    )
    with pytest.raises(ValueError, match=message):
        erasure.leace(moments(x, gold, labels))
    with pytest.raises(ValueError, match=message):
        next(erasure.random_erasers(moments(x, gold, labels), labels - 1, 0.5, [(1,)]))


# ---- a random subspace


@pytest.mark.slow
@given(st.integers(0, 50), st.sampled_from([0.3, 1.0, 3.0]))
def test_a_random_subspace_has_the_rank_and_takes_the_variance_of_the_labels(seed, strength):
    x, gold = planted(500, strength=strength)
    found = moments(x, gold)
    eraser = erasure.leace(found)
    (random,) = erasure.random_erasers(found, eraser.rank, eraser.share, [(seed,)])
    assert random.rank == eraser.rank == np.linalg.matrix_rank(x - random(x), tol=1e-6)
    assert random.share == pytest.approx(eraser.share, rel=1e-6)
    assert ((x - random(x)) ** 2).sum(1).mean() == pytest.approx(((x - eraser(x)) ** 2).sum(1).mean(), rel=1e-6)
    assert np.trace(np.cov(random(x).T)) == pytest.approx(np.trace(np.cov(eraser(x).T)), rel=1e-6)
    np.testing.assert_allclose(random(random(x)), random(x), atol=1e-8)


def test_after_a_random_subspace_labels_are_still_decodable():
    x, gold = planted()
    found = moments(x, gold)
    eraser = erasure.leace(found)
    before = (erasure.discriminant(found)(x) == gold).mean()
    seeds = [(1, draw) for draw in range(10)]
    randoms = list(erasure.random_erasers(found, eraser.rank, eraser.share, seeds))
    after = [(erasure.discriminant(found.after(one))(one(x)) == gold).mean() for one in randoms]
    assert before > 0.9 and np.median(after) > 0.7 > 0.5 > (gold == 0).mean()


def test_the_same_seed_draws_the_same_subspace_and_another_another():
    found = moments(*planted())
    one, same, other = erasure.random_erasers(found, 3, 0.4, [(1, 2), (1, 2), (1, 3)])
    np.testing.assert_array_equal(one.write, same.write)
    assert np.abs(one.write - other.write).max() > 0.01


@given(st.integers(0, 99), st.integers(1, 5))
def test_what_a_tilted_subspace_takes_grows_with_its_tilt_from_the_least_to_the_most(seed, rank):
    generator = np.random.default_rng(seed)
    variances = np.sort(generator.lognormal(sigma=3, size=8))
    g = generator.normal(size=(8, rank))
    subspaces = [erasure._tilted(variances, g, t) for t in (-1e6, -50, -5, -1, -0.1, 0, 0.1, 1, 5, 50, 1e6)]
    for u in subspaces:
        np.testing.assert_allclose(u.T @ u, np.eye(rank), atol=1e-9)
    taken = np.array([variances @ (u**2).sum(1) for u in subspaces])
    assert (np.diff(taken) >= -1e-9 * variances.sum()).all()
    assert taken[0] == pytest.approx(variances[:rank].sum()) and taken[-1] == pytest.approx(variances[-rank:].sum())
    plain = np.linalg.qr(g)[0]  # without a tilt it is the span of g, which knows no direction from another
    np.testing.assert_allclose(subspaces[5] @ subspaces[5].T, plain @ plain.T, atol=1e-9)


def test_shares_between_the_least_and_the_most_are_met_and_others_refused():
    found = moments(*planted())
    variances = np.linalg.eigvalsh(found.covariance) / found.variance
    least, most = variances[:3].sum(), variances[-3:].sum()
    for share in (least, least + 1e-6, 0.3, most - 1e-6, most):
        (random,) = erasure.random_erasers(found, 3, float(share), [(1,)])
        assert random.share == pytest.approx(share, rel=1e-6)
    for share in (least * 0.9, most * 1.01, -0.1):
        with pytest.raises(
            ValueError, match=r"no subspace of rank 3 takes .* of the variance: expected between .* and"
        ):
            next(erasure.random_erasers(found, 3, float(share), [(1,)]))


# ---- labels of words


def tagged(tags, relations=None, name="s"):
    heads = (0, *[1] * (len(tags) - 1))
    one = sentence(heads, name, upos=tuple(tags))
    return corpora.Sentence(name, one.words, heads, relations or one.relations, tuple(tags), tuple(tags))


def test_labels_are_those_of_words_and_rare_ones_are_left_out_and_counted():
    sentences = [tagged(["NOUN", "VERB"]) for _ in range(erasure.LEAST)] + [tagged(["X", "NOUN", "X"])]
    labels = erasure.labels_of("upos", sentences)
    assert labels.names == ("NOUN", "VERB") and labels.left_out == {"X": 2}
    assert labels.gold[0].tolist() == [0, 1] and labels.gold[-1].tolist() == [-1, 0, -1]
    other = erasure.labels_of("upos", [tagged(["VERB", "ADJ", "X"])], labels.names)
    assert (
        other.names == labels.names and other.gold[0].tolist() == [1, -1, -1] and other.left_out == {"ADJ": 1, "X": 1}
    )


def test_a_relation_is_that_of_the_word_to_its_head():
    sentences = [tagged(["NOUN", "VERB", "X"], ("root", "obj", "obl:npmod")) for _ in range(20)]
    labels = erasure.labels_of("relation", sentences)
    assert labels.names == ("obj", "obl:npmod", "root") and labels.gold[7].tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("target", "sentences", "message"),
    [
        ("upos", [tagged(["NOUN", "VERB"])] * 19, r"target 'upos' \(part of speech\): 0 labels that 20 words or more have, of 2 in 19"),
        ("upos", [corpora.Sentence("s", ("a", "b"))], r"target 'upos' .*0 labels .* of 0 in 1 sentences: at least two are needed, of a treebank"),
        ("relation", [corpora.Sentence("s", ("a", "b"))], r"target 'relation' .* 0 labels .* of a treebank with this annotation"),
        ("arc", [tagged(["NOUN", "VERB", "X", "X"])], r"target 'arc' .* does not label single words, each once, as in sentence 's': such as upos"),
        ("upos", [tagged(["NOUN", "NOUN"])] * 20, r"1 labels that 20 words or more have, of 1 in 20 sentences"),
        ("nothing", [tagged(["X"])], "unknown target 'nothing' of an edge probe: expected one of"),
    ],
)  # fmt: skip
def test_what_cannot_be_erased_is_refused(target, sentences, message):
    with pytest.raises(ValueError, match=message):
        erasure.labels_of(target, sentences)
