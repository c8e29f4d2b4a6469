"""The structural probes on planted trees: what was put into the geometry is found, and what was not is not."""

import gzip
import json
from types import SimpleNamespace

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import States, bank_of, corpus, random_heads, rows_of, sentence
from scipy.stats import ortho_group, spearmanr

from bert_repro import corpora
from bert_repro.probes import scores as probe_scores
from bert_repro.probes import treebank
from bert_repro.probes.scores import distance_baselines, score_depths, score_distances, spanning_tree
from bert_repro.probes.structural import TARGETS, Batch, StructuralProbe, loss
from bert_repro.probes.treebank import tree_depths, tree_distances
from bert_repro.results import intervals

heads_of_trees = st.builds(
    lambda n, seed: random_heads(n, np.random.default_rng(seed)), st.integers(1, 25), st.integers(0, 10**6)
)


# ---- tree distances


def test_distances_of_a_tree_drawn_by_hand():
    #      2
    #    1   4
    #       3 5
    assert tree_distances([2, 0, 4, 2, 4]).tolist() == [
        [0, 1, 3, 2, 3], [1, 0, 2, 1, 2], [3, 2, 0, 1, 2], [2, 1, 1, 0, 1], [3, 2, 2, 1, 0],
    ]  # fmt: skip


@given(heads_of_trees)
def test_distances_equal_shortest_paths(heads):
    graph = networkx.Graph([(i, head - 1) for i, head in enumerate(heads) if head])
    graph.add_nodes_from(range(len(heads)))
    paths = dict(networkx.all_pairs_shortest_path_length(graph))
    n = range(len(heads))
    assert np.array_equal(tree_distances(heads), [[paths[i][j] for j in n] for i in n])


@given(heads_of_trees)
def test_depths_are_distances_from_the_root(heads):
    assert np.array_equal(tree_depths(heads), tree_distances(heads)[heads.index(0)])


# ---- the loss


def batch_of(target, lengths, layers=2, hidden=5, seed=0, pad=0):
    generator = np.random.default_rng(seed)
    words, axes = max(lengths) + pad, TARGETS[target].axes
    vectors = np.zeros((layers, len(lengths), words, hidden))
    gold, scale = np.zeros((2, len(lengths), *[words] * axes))
    for place, n in enumerate(lengths):
        vectors[:, place, :n] = generator.normal(size=(layers, n, hidden))
        real = (place, *[slice(n)] * axes)
        gold[real] = {"distance": tree_distances, "depth": tree_depths}[target](random_heads(n, generator))
        scale[real] = 1 / n**axes
    return Batch(vectors, gold, scale)


def literal_distance_loss(projection, vectors, gold, lengths):
    """Hewitt and Manning, section 2.2, pair by pair."""
    total = 0.0
    for place, n in enumerate(lengths):
        error = 0.0
        for i in range(n):
            for j in range(n):
                difference = projection.T @ (vectors[place, i] - vectors[place, j])
                error += abs(difference @ difference - gold[place, i, j])
        total += error / n**2
    return total / len(lengths)


def literal_depth_loss(projection, vectors, gold, lengths):
    """Hewitt and Manning, section 2.3, word by word."""
    total = 0.0
    for place, n in enumerate(lengths):
        error = sum(abs(np.sum((projection.T @ vectors[place, i]) ** 2) - gold[place, i]) for i in range(n))
        total += error / n
    return total / len(lengths)


LITERAL = {"distance": literal_distance_loss, "depth": literal_depth_loss}


PROJECTION = np.random.default_rng(1).normal(size=(2, 5, 3))
BOTH = np.arange(2)


@pytest.mark.parametrize("target", TARGETS)
def test_loss_equals_a_literal_loop(target):
    lengths = [4, 7, 2]
    batch = batch_of(target, lengths)
    losses, gradient = loss(TARGETS[target], PROJECTION, batch, BOTH, False)
    assert gradient is None
    for layer in BOTH:
        expected = LITERAL[target](PROJECTION[layer], batch.vectors[layer], batch.gold, lengths)
        assert losses[layer] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("target", TARGETS)
def test_gradient_equals_finite_differences(target):
    batch = batch_of(target, [4, 7, 2])
    losses, gradient = loss(TARGETS[target], PROJECTION, batch, BOTH, True)
    assert np.array_equal(losses, loss(TARGETS[target], PROJECTION, batch, BOTH, False)[0])
    for at in np.ndindex(*PROJECTION.shape):
        step = np.zeros_like(PROJECTION)
        step[at] = 1e-6
        up, down = (loss(TARGETS[target], PROJECTION + sign * step, batch, BOTH, False)[0] for sign in (1, -1))
        assert gradient[at] == pytest.approx((up - down)[at[0]] / 2e-6, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_keeps_its_contract(target):
    """What an added target is held to: values of words or pairs alone, its own metrics, and a gradient that may be left out."""
    asked, bank = TARGETS[target], bank_of(corpus(30, (5, 9), seed=8, punctuation=0))
    assert [gold.shape for gold in asked.gold(bank)] == [(n,) * asked.axes for n in bank.lengths]
    z = np.random.default_rng(0).normal(size=(2, 3, 6, 4))
    some = [4, 1]
    assert np.allclose(
        asked.predict(z[..., some, :]), asked.predict(z)[np.ix_(*[range(2), range(3), *[some] * asked.axes])]
    )
    scored = asked.score(bank, (gold[None].astype(float) for gold in asked.gold(bank)))
    assert tuple(one.metric for one in scored) == asked.metrics
    assert all(np.allclose(one.right, one.all) for one in scored)  # gold scores 1
    for scores in asked.baselines(bank).values():
        assert {one.metric for one in scores} <= set(asked.metrics)
    error = np.random.default_rng(1).choice([-1.0, 0.5, 1.0], size=asked.predict(z).shape)
    error = error + error.swapaxes(-1, -2) if asked.axes == 2 else error  # a pair counts both ways
    assert np.allclose(asked._replace(gradient=None).pull_back(error, z), asked.pull_back(error, z), atol=1e-5)


@pytest.mark.slow
def test_a_target_without_a_gradient_is_learned_alike(trained, monkeypatch):
    splits = [*trained.splits[1], *trained.splits[2]]
    fits = []
    for asked in (TARGETS["distance"], TARGETS["distance"]._replace(gradient=None)):
        monkeypatch.setitem(TARGETS, "distance", asked)
        fits.append(StructuralProbe("distance", [0, 1], rank=4, epochs=2).fit(*splits).dev_loss)
    assert np.allclose(*fits, rtol=1e-3)


@pytest.mark.parametrize("target", TARGETS)
def test_padding_contributes_nothing(target):
    both = (batch_of(target, [4, 7, 2], pad=pad) for pad in (0, 6))
    for one, other in zip(*(loss(TARGETS[target], PROJECTION, b, BOTH, True) for b in both), strict=True):
        assert np.allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("target", TARGETS)
def test_active_layers_get_what_they_get_among_all(target):
    batch = batch_of(target, [4, 7, 2])
    losses, gradient = loss(TARGETS[target], PROJECTION, batch, BOTH, True)
    alone, own = loss(TARGETS[target], PROJECTION[1:], batch, np.array([1]), True)
    assert np.allclose(alone, losses[1:]) and np.allclose(own, gradient[1:])


def test_the_probes_batches_hold_every_pair_of_words_once():
    sentences = corpus(23, (2, 9), seed=2)
    bank = bank_of(sentences)
    states = States(np.random.default_rng(3).normal(size=(2, int(bank.rows[-1]) + 20, 4)).astype(np.float32))
    probe = StructuralProbe("distance", [1], 2, batch_size=5)
    probe.scale = np.array([2.0], np.float32)
    for generator in (None, np.random.default_rng(0)):
        batches = list(probe._batches(bank, states, generator))
        assert [len(b.scale) for b in batches].count(5) == 4 and len(batches) == 5
        assert sum(b.scale.sum() for b in batches) == pytest.approx(23)
        assert sum(b.gold.sum() for b in batches) == sum(d.sum() for d in bank.distances)
        total = sum(b.vectors.sum() for b in batches)
        rows = np.concatenate([start + np.arange(n) for start, n in zip(bank.rows, bank.lengths, strict=True)])
        assert total == pytest.approx(2 * states.array[1, rows].sum(), rel=1e-4)
    again = list(probe._batches(bank, states, np.random.default_rng(0)))
    assert all(np.array_equal(one.vectors, other.vectors) for one, other in zip(batches, again, strict=True))


# ---- planted trees


def heads_of(bank):
    return [one.heads for one in bank.sentences]


def planted(bank, rows, hidden, noise, seed):
    """A layer whose squared distances are tree distances: each word is the sum of the edges above it, one axis an edge."""
    generator = np.random.default_rng(seed)
    array = generator.normal(size=(1, rows, hidden)).astype(np.float32)
    turn = ortho_group.rvs(hidden, random_state=1)  # the same in training and test
    for start, heads in zip(bank.rows, heads_of(bank), strict=True):
        paths = np.zeros((len(heads), hidden))
        for word in range(len(heads)):
            node = word + 1
            while heads[node - 1]:
                paths[word, node - 1] = 1
                node = heads[node - 1]
        array[0, start : start + len(heads)] = paths @ turn + noise * generator.normal(size=paths.shape)
    return array


@pytest.fixture(scope="module")
def trained():
    """Probes on two layers: layer 0 is noise, layer 1 holds the trees."""
    splits = []
    for count, seed in ((600, 1), (60, 2), (80, 3)):
        sentences = corpus(count, (5, 12), seed)
        bank, rows = bank_of(sentences), len(rows_of(sentences))
        noise = np.random.default_rng(seed).normal(size=(1, rows, 24)).astype(np.float32)
        splits.append((bank, States(np.concatenate([noise, planted(bank, rows, 24, 0.02, seed)]))))
    values = {}
    for target in TARGETS:
        probe = StructuralProbe(target, [0, 1], rank=16, epochs=30)
        probe.fit(*splits[0], *splits[1])
        bank, states = splits[2]
        for one in probe.target.score(bank, probe.predict(bank, states)):
            for row in one.rows([0, 1], "key", 200):
                values[row["layer"], row["metric"]] = row["value"]
    return SimpleNamespace(values=values, splits=splits)


def test_planted_trees_are_recovered(trained):
    """A word is the sum of the edges above it, so both its distances and its depth are squared lengths."""
    assert trained.values[1, "uuas"] > 0.99 and trained.values[1, "dspr"] > 0.95
    assert trained.values[1, "root_accuracy"] > 0.9 and trained.values[1, "nspr"] > 0.95


def test_noise_scores_like_a_random_tree(trained):
    bank, _ = trained.splits[2]
    random = distance_baselines(bank)["random tree"][0].rows([None], "key", 200)[0]["value"]
    assert trained.values[0, "uuas"] == pytest.approx(random, abs=0.06)
    assert trained.values[0, "dspr"] < 0.5 and abs(trained.values[0, "nspr"]) < 0.1
    assert trained.values[0, "root_accuracy"] < 0.25


@pytest.mark.parametrize("target", TARGETS)
def test_layers_trained_together_equal_each_trained_alone(target):
    together = StructuralProbe(target, [0, 1], rank=4, epochs=2)
    small = [(bank_of(corpus(count, (3, 8), seed)), count) for count, seed in ((50, 5), (20, 6))]
    states = [
        States(np.random.default_rng(7).normal(size=(2, count * 10, 24)).astype(np.float32)) for _, count in small
    ]
    splits = small[0][0], states[0], small[1][0], states[1]
    fitted = together.fit(*splits)
    for layer in (0, 1):
        alone = StructuralProbe(target, [layer], rank=4, epochs=2)
        assert np.allclose(alone.fit(*splits).dev_loss[:, 0], fitted.dev_loss[:, layer], rtol=1e-5)
        assert np.allclose(alone.projection[0], together.projection[layer], atol=1e-5)
    other = StructuralProbe(target, [0], rank=4, epochs=2, seed=2)
    other.fit(*splits)
    assert not np.allclose(other.projection[0], together.projection[0], atol=1e-3)


def test_units_of_the_states_do_not_matter(trained):
    dev, dev_states = trained.splits[1]
    small, large = (StructuralProbe("distance", [1], rank=4, epochs=1) for _ in range(2))
    one = small.fit(dev, dev_states, dev, dev_states)
    other = large.fit(dev, States(300 * dev_states.array), dev, States(300 * dev_states.array))
    assert np.allclose(one.dev_loss, other.dev_loss, rtol=1e-4)


@pytest.mark.parametrize("rank", [0, -3])
def test_rank_below_one_is_refused(rank):
    with pytest.raises(ValueError, match=f"the rank must be at least 1, got {rank}"):
        StructuralProbe("distance", [0], rank)


def test_unknown_targets_are_refused():
    with pytest.raises(
        ValueError, match=r"unknown target 'x' of a structural probe: expected one of \['depth', 'distance'\]"
    ):
        StructuralProbe("x", [0], 2)


def test_rank_above_the_width_is_refused(trained):
    with pytest.raises(ValueError, match="the rank 25 is above the width of the states, 24"):
        StructuralProbe("depth", [0], 25).fit(*trained.splits[1], *trained.splits[1])


# ---- the spanning tree


def kruskal(weights):
    graph = networkx.Graph()
    n = len(weights)
    graph.add_weighted_edges_from((i, j, float(weights[i, j])) for i in range(n) for j in range(i + 1, n))
    return {(min(edge), max(edge)) for edge in networkx.minimum_spanning_edges(graph, data=False)}


def symmetric(n, generator):
    weights = np.triu(generator.random((n, n)), 1)
    return weights + weights.T


@pytest.mark.parametrize("n", [2, 3, 5, 12, 30])
@pytest.mark.parametrize("unit", [1, 1e-8, 1e8])
def test_spanning_tree_equals_networkx(n, unit):
    for seed in range(5):
        weights = symmetric(n, np.random.default_rng(seed)).astype(np.float32) * np.float32(unit)
        assert spanning_tree(weights) == kruskal(weights)
        assert spanning_tree(weights - weights[0, 1]) == kruskal(weights)  # float error can make distances negative


@pytest.mark.parametrize("seed", range(10))
def test_spanning_tree_with_zeros_and_ties_is_as_light_as_networkx(seed):
    generator = np.random.default_rng(seed)
    weights = np.triu(generator.integers(0, 4, (12, 12)), 1)
    weights = weights + weights.T
    edges = spanning_tree(weights)
    graph = networkx.Graph(list(edges))
    assert networkx.is_tree(graph) and len(graph) == 12
    assert sum(weights[edge] for edge in edges) == sum(weights[edge] for edge in kruskal(weights))


@given(heads_of_trees)
def test_spanning_tree_of_tree_distances_is_the_tree(heads):
    edges = {(min(i, head - 1), max(i, head - 1)) for i, head in enumerate(heads) if head}
    assert spanning_tree(tree_distances(heads)) == edges


def test_no_word_and_one_word_span_nothing():
    assert spanning_tree(np.zeros((0, 0))) == spanning_tree(np.zeros((1, 1))) == set()


# ---- scores


def naive_scores(bank, predicted):
    """UUAS over all edges; DSpr. word by word with scipy, averaged by sentence length, then over lengths 5 to 50."""
    hits = edges = 0
    by_length = {}
    for heads, mask, one in zip(heads_of(bank), bank.punctuation, predicted, strict=True):
        gold = tree_distances(heads)
        keep = np.flatnonzero(~mask)
        gold_edges = kruskal(gold[np.ix_(keep, keep)])
        edges += len(gold_edges)
        hits += len(gold_edges & kruskal(one[np.ix_(keep, keep)]))
        for i in range(len(heads)):
            by_length.setdefault(len(heads), []).append(spearmanr(one[i], gold[i])[0])
    return hits / edges, np.mean([np.mean(values) for n, values in by_length.items() if 5 <= n <= 50])


def values_of(scores, layers=(None,)):
    return {one.metric: [row["value"] for row in one.rows(layers, "key", 100)] for one in scores}


def test_distance_scores_equal_a_naive_loop():
    # without punctuation, else removed words would leave ties in gold distances, which two algorithms may break otherwise
    generator = np.random.default_rng(8)
    bank = bank_of([*corpus(40, (2, 14), seed=9, punctuation=0), sentence(random_heads(51, generator), "long")])
    predicted = [[symmetric(n, generator), d + symmetric(n, generator)] for n, d in zip(bank.lengths, bank.distances, strict=True)]  # fmt: skip
    uuas, dspr = (one.rows([3, 4], "key", 100) for one in score_distances(bank, map(np.array, predicted)))
    assert [(r["layer"], r["metric"]) for r in (*uuas, *dspr)] == [(3, "uuas"), (4, "uuas"), (3, "dspr"), (4, "dspr")]
    for layer in (0, 1):
        naive = naive_scores(bank, [one[layer] for one in predicted])
        assert (uuas[layer]["value"], dspr[layer]["value"]) == pytest.approx(naive, abs=1e-12)
    assert uuas[0]["n"] == sum(n - 1 for n in bank.lengths)
    assert dspr[0]["n"] == sum(n for n in bank.lengths if 5 <= n <= 50)


def test_depth_scores_equal_a_naive_loop():
    generator = np.random.default_rng(18)
    bank = bank_of([*corpus(60, (2, 14), seed=19, punctuation=0.3), sentence((0, 1), "!", ("PUNCT", "PUNCT"))])
    predicted = [d + generator.normal(size=len(d)) for d in bank.depths]
    right, counted, by_length = 0, 0, {}
    for heads, mask, one, depth in zip(heads_of(bank), bank.punctuation, predicted, bank.depths, strict=True):
        words = [i for i in range(len(heads)) if not mask[i]]
        counted += bool(words)
        right += bool(words) and heads[min(words, key=lambda i: one[i])] == 0
        if 5 <= len(heads) <= 50:
            by_length.setdefault(len(heads), []).append(spearmanr(one, depth)[0])
    found = score_depths(bank, (one[None] for one in predicted))
    assert values_of(found) == {
        "root_accuracy": [pytest.approx(right / counted)],
        "nspr": [pytest.approx(np.mean([np.mean(some) for some in by_length.values()]))],
    }
    assert [one.rows([None], "key", 100)[0]["n"] for one in found] == [counted, sum(map(len, by_length.values()))]


def test_punctuation_is_taken_out_of_both_trees_of_uuas_and_stays_in_dspr():
    # a comma between two words that would otherwise be neighbours in the chain
    tags = ("NOUN", "PUNCT", "VERB", "NOUN", "ADV")
    one = sentence([3, 1, 0, 3, 4], "comma", tags)
    with_mark, without = (distance_baselines(bank_of([s]))["linear chain"] for s in (one, sentence(one.heads, "comma")))
    assert with_mark[0].right.tolist() == [[3]] and with_mark[0].all.tolist() == [3]  # 1-3, 3-4, 4-5
    assert without[0].right.tolist() == [[3]] and without[0].all.tolist() == [4]  # 1-2, 3-4, 4-5
    assert np.array_equal(with_mark[1].right, without[1].right)


def test_perfect_and_constant_predictions():
    bank = bank_of(corpus(30, (5, 12), seed=10, punctuation=0))
    perfect = values_of(
        [*score_distances(bank, (d[None] for d in bank.distances)), *score_depths(bank, (d[None] for d in bank.depths))]
    )
    assert perfect == {name: [pytest.approx(1)] for name in ("uuas", "dspr", "root_accuracy", "nspr")}
    flat = [
        *score_distances(bank, (np.zeros((1, n, n)) for n in bank.lengths)),
        *score_depths(bank, (np.zeros((1, n)) for n in bank.lengths)),
    ]
    assert (
        values_of(flat)["dspr"] == values_of(flat)["nspr"] == [0]
    )  # a constant ranks nothing: no correlation, and no NaN


def test_replicates_equal_scores_of_repeated_sentences():
    """Of a mean over lengths where there is one length; the variance of a mean is that of its units over their number less one."""
    bank = bank_of(corpus(12, (9, 9), seed=11, punctuation=0))
    predicted = [symmetric(n, np.random.default_rng(int(n) + k)) for k, n in enumerate(bank.lengths)]
    edges, ranks = score_distances(bank, (one[None] for one in predicted))
    (uuas,), (dspr,) = edges.rows([0], "key", 50), ranks.rows([0], "key", 50)
    means = ranks.right[0] / bank.lengths
    assert means.std() > 0.01
    for number, counts in enumerate(intervals.draws("key", 12, 50)):
        drawn = np.repeat(np.arange(12), counts)
        assert uuas["replicates"][number] == pytest.approx(
            edges.right[0, drawn].sum() / edges.all[drawn].sum(), rel=1e-6
        )
        moved = (means[drawn].mean() - means.mean()) * np.sqrt(12 / 11)
        assert dspr["replicates"][number] == pytest.approx(means.mean() + moved, rel=1e-5)


def test_an_interval_of_a_mean_over_lengths_holds_the_truth_where_many_lengths_have_one_sentence():
    real = np.array([len(sentence.words) for sentence in corpora.treebank("ewt:test").items])
    generator, held = np.random.default_rng(0), {120: 0, 600: 0}
    for number in range(300):
        for size in held:
            lengths = generator.choice(real, size)
            truth = np.mean([1 - n / 60 for n in set(lengths.tolist()) & set(probe_scores.LENGTHS)])
            drawn = 1 - lengths / 60 + generator.normal(0, 0.2, size)
            one = probe_scores.Scores("nspr", drawn[None], np.ones(size), lengths)
            (row,) = one.rows([0], f"{number}/{size}", 200)
            held[size] += row["ci_low"] <= truth <= row["ci_high"]
    assert all(0.91 <= count / 300 <= 0.98 for count in held.values()), held


@pytest.mark.parametrize("target", TARGETS)
def test_baselines_have_no_layer_but_an_interval(target):
    for scores in TARGETS[target].baselines(bank_of(corpus(40, (5, 12), seed=12))).values():
        for (row,) in (one.rows([None], "key", 300) for one in scores):
            assert "layer" not in row and row["replicates"].shape == (300,)
            assert row["ci_low"] < row["value"] < row["ci_high"]


@pytest.mark.slow
def test_a_random_tree_has_right_what_random_distances_have_on_average():
    bank = bank_of(corpus(60, (2, 14), seed=21))
    expected = values_of(distance_baselines(bank)["random tree"])["uuas"][0]
    draws = [values_of(score_distances(bank, (symmetric(n, np.random.default_rng(seed + int(n) * 100))[None] for n in bank.lengths)))["uuas"][0] for seed in range(20)]  # fmt: skip
    assert np.mean(draws) == pytest.approx(expected, abs=0.01)


def test_the_likely_root_is_a_verb_else_a_noun_else_the_first_word():
    for tags, root in ((("NOUN", "VERB", "VERB"), 1), (("ADV", "ADJ", "PROPN"), 1), (("ADV", "X", "INTJ"), 0)):
        assert probe_scores._likely_roots(tags).argmin() == root


@pytest.mark.parametrize(
    ("sentences", "metric"),
    [
        (
            [sentence(random_heads(n, np.random.default_rng(n)), f"{n}") for n in (2, 4, 51)],
            "dspr",
        ),  # none of 5 to 50 words
        (
            [sentence([0, 1, 1, 1, 1], f"{n}", ("NOUN", *["PUNCT"] * 4)) for n in range(3)],
            "uuas",
        ),  # no edge between words
    ],
)
def test_nothing_to_score_is_refused(sentences, metric):
    scores = {one.metric: one for one in distance_baselines(bank_of(sentences))["linear chain"]}
    with pytest.raises(ValueError, match=f"nothing to score: no sentence counts for {metric}"):
        scores[metric].rows([None], "key", 100)


# ---- decoded trees


def test_decoded_trees_are_those_that_are_scored():
    bank = bank_of(corpus(6, (5, 9), seed=22)).of([0, 2, 5])
    draw = np.random.default_rng(0)
    projected = [draw.normal(size=(2, n, 4)) for n in bank.lengths]
    squares = [((z[:, :, None] - z[:, None]) ** 2).sum(-1) for z in projected]
    found = list(probe_scores.trees(bank, projected))
    assert [one["id"] for one in found] == ["s0", "s2", "s5"] and json.loads(json.dumps(found)) is not None
    uuas = score_distances(bank, squares)[0].right
    for number, one in enumerate(found):
        gold = {(min(i, h - 1), max(i, h - 1)) for i, h in enumerate(one["heads"]) if h}
        for layer in (0, 1):
            kept = np.flatnonzero(~bank.punctuation[number])
            tree = networkx.Graph(one["edges"][layer])
            assert set(tree) == set(kept.tolist()) and networkx.is_tree(tree)
            if not bank.punctuation[number].any():
                assert len(gold & set(one["edges"][layer])) == uuas[layer, number]
            # the plane holds the two directions of most variance
            z = projected[number][layer] - projected[number][layer].mean(0)
            variance = np.sort(np.linalg.eigvalsh(z.T @ z))[-2:].sum()
            assert np.square(one["places"][layer]).sum() == pytest.approx(variance, rel=1e-2)


# ---- treebank and rows


def test_sentences_that_cannot_be_used_are_counted():
    sentences = corpus(8, (4, 9), seed=13)
    sentences[2] = sentence([0], "short")
    rows = rows_of(sentences, cut=[(4, 2), (6, 1)], left_out=[7])
    bank = treebank.treebank(sentences, rows)
    assert bank.skipped == {"of one word": 1, "cut at or beyond the length limit": 3}
    assert bank.sentences == [sentences[i] for i in (0, 1, 3, 5)]
    for one, start, n in zip(bank.sentences, bank.rows, bank.lengths, strict=True):
        assert rows.loc[start : start + n - 1, "form"].tolist() == [f"{one.id}.{i}" for i in range(n)]
    assert treebank.treebank(sentences, rows, least=1).sentences == [sentences[i] for i in (0, 1, 2, 3, 5)]


def test_punctuation_by_every_rule():
    one = sentence([2, 0, 2, 2], "marks", ("PUNCT", "NOUN", "SYM", "PUNCT"), ("``", "NN", ":", "NFP"))
    other = sentence([0, 1], "plain")
    assert bank_of([one, other]).punctuation[0].tolist() == [True, False, False, True]
    assert bank_of([one, other], punctuation="xpos").punctuation[0].tolist() == [True, False, True, False]
    assert not any(mask.any() for mask in bank_of([one, other], punctuation="none").punctuation)


def test_unknown_punctuation_rule_is_refused():
    with pytest.raises(ValueError, match=r"punctuation must be one of \['upos', 'xpos', 'none'\], got 'x'"):
        bank_of(corpus(3, (4, 5), seed=14), punctuation="x")


def test_unknown_words_pass():
    sentences = corpus(3, (4, 5), seed=15)
    rows = rows_of(sentences)
    rows.loc[[1, 3], "form"] = "[UNK]"
    assert len(treebank.treebank(sentences, rows).sentences) == 3


@pytest.mark.parametrize("word", [0, 2])
def test_a_treebank_with_other_words_is_refused(word):
    sentences = corpus(3, (4, 5), seed=16)
    rows = rows_of(sentences)
    words = list(sentences[1].words)
    words[word] = "other"
    sentences[1] = corpora.Sentence("s1", tuple(words), sentences[1].heads, upos=sentences[1].upos)
    message = "sentence 's1' of the treebank is not what the states were made of: was the treebank changed"
    with pytest.raises(ValueError, match=message):
        treebank.treebank(sentences, rows)


def test_a_treebank_with_shorter_or_fewer_sentences_is_refused():
    sentences = corpus(3, (4, 5), seed=17)
    rows = rows_of(sentences)
    shorter = [sentences[0], corpora.Sentence("s1", sentences[1].words[:2], (0, 1), upos=("X", "X")), sentences[2]]
    with pytest.raises(ValueError, match="sentence 's1' of the treebank is not what the states were made of"):
        treebank.treebank(shorter, rows)
    with pytest.raises(
        ValueError, match="the states hold 1 sentences more than the treebank: was the treebank changed"
    ):
        treebank.treebank(sentences[:2], rows)


def test_a_treebank_without_a_usable_sentence_is_refused():
    for sentences, left_out in (([sentence([0])], ()), (corpus(2, (3, 4), seed=18), (0, 1))):
        with pytest.raises(ValueError, match="no sentence can be probed: {'of one word': "):
            treebank.treebank(sentences, rows_of(sentences, left_out=left_out))


# ---- real trees


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "edges", "chained", "alone", "expected"),
    [
        ("dev", 20085, 8654, 100, {"random tree": 0.153, "dspr": 0.569, "nspr": 0.347, "xpos": 0.430, "none": 0.404}),
        ("test", 19952, 8589, 151, {"random tree": 0.155, "dspr": 0.550, "nspr": 0.333, "xpos": 0.430, "none": 0.405}),
    ],
)
def test_trivial_baselines_on_the_english_web_treebank(split, edges, chained, alone, expected):
    sentences = corpora.treebank(f"ewt:{split}").items
    with gzip.open(corpora.locate(f"ewt:{split}").path, "rt", encoding="utf-8") as stream:
        assert len(sentences) == sum(line.startswith("# sent_id") for line in stream)
    bank = bank_of(sentences)
    assert bank.skipped == {"of one word": alone, "cut at or beyond the length limit": 0}
    found = {name: values_of(some) for name, some in distance_baselines(bank).items()}
    neighbours = 0  # gold edges of words that stand side by side without punctuation, counted without any algorithm
    for heads, mask in zip(heads_of(bank), bank.punctuation, strict=True):
        kept = np.flatnonzero(~mask)
        neighbours += sum(heads[i] == j + 1 or heads[j] == i + 1 for i, j in zip(kept[:-1], kept[1:], strict=True))
    assert neighbours == chained
    assert found["linear chain"] == {
        "uuas": [pytest.approx(chained / edges)],
        "dspr": [pytest.approx(expected["dspr"], abs=5e-4)],
    }
    assert found["random tree"]["uuas"] == [pytest.approx(expected["random tree"], abs=5e-4)]
    depth = TARGETS["depth"].baselines(bank)["word position"]
    assert values_of(depth)["nspr"] == [pytest.approx(expected["nspr"], abs=5e-4)]
    for rule in ("xpos", "none"):
        chain = distance_baselines(bank_of(sentences, punctuation=rule))["linear chain"][:1]
        assert values_of(chain)["uuas"] == [pytest.approx(expected[rule], abs=5e-4)]
