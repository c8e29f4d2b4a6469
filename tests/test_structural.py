"""The structural probe on planted trees: what was put into the geometry is found, and what was not is not."""

import gzip
from types import SimpleNamespace

import networkx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group, spearmanr

from bert_repro import corpora, intervals
from bert_repro.probes import structural
from bert_repro.probes.structural import Batch, DistanceProbe, distance_loss, spanning_tree, tree_distances


def random_heads(n, generator):
    """Hang each word, in random order, under one of the three before it: trees of some depth, projective or not."""
    order = generator.permutation(n)
    heads = np.zeros(n, int)
    for place in range(1, n):
        heads[order[place]] = order[max(0, place - generator.integers(1, 4))] + 1
    return tuple(heads.tolist())


heads_of_trees = st.builds(
    lambda n, seed: random_heads(n, np.random.default_rng(seed)), st.integers(1, 25), st.integers(0, 10**6)
)


class States:
    """What the probe reads: `vectors(rows, layers)` and `hidden`; layers are positions."""

    def __init__(self, array):
        self.array, self.hidden = array, array.shape[2]

    def vectors(self, rows, layers=None):
        return self.array[list(layers)][:, rows]


def sentence(heads, name="s", upos=None, xpos=None):
    words = tuple(f"{name}.{i}" for i in range(len(heads)))
    tags = upos or ("NOUN",) * len(heads)
    return corpora.Sentence(name, words, tuple(heads), ("dep",) * len(heads), tags, xpos or tags)


def rows_of(sentences, cut=(), left_out=()):
    """The row table of sentences between [CLS] and [SEP]; `cut` gives how many words of a sentence are kept."""
    lines = []
    for number, one in enumerate(sentences):
        if number not in left_out:
            words = one.words[: dict(cut).get(number, len(one.words))]
            lines += [(number, form, special) for form, special in zip(("[CLS]", *words, "[SEP]"), (True, *[False] * len(words), True), strict=True)]  # fmt: skip
    return pd.DataFrame(lines, columns=["sentence", "form", "special"]).astype({"form": "string"})


def corpus(count, lengths, seed, punctuation=0.1):
    generator = np.random.default_rng(seed)
    low, high = lengths
    result = []
    for number in range(count):
        n = int(generator.integers(low, high + 1))
        upos = tuple(np.where(generator.random(n) < punctuation, "PUNCT", "NOUN").tolist())
        result.append(sentence(random_heads(n, generator), f"s{number}", upos))
    return result


def bank_of(sentences, **options):
    return structural.treebank(sentences, rows_of(sentences), **options)


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


# ---- the loss


def batch_of(lengths, layers=2, hidden=5, seed=0, pad=0):
    generator = np.random.default_rng(seed)
    words = max(lengths) + pad
    vectors = np.zeros((layers, len(lengths), words, hidden))
    distances, scale = np.zeros((2, len(lengths), words, words))
    for place, n in enumerate(lengths):
        vectors[:, place, :n] = generator.normal(size=(layers, n, hidden))
        distances[place, :n, :n] = tree_distances(random_heads(n, generator))
        scale[place, :n, :n] = 1 / n**2
    return Batch(vectors, distances, scale)


def literal_loss(projection, vectors, distances, lengths):
    """Hewitt and Manning, section 2.2, pair by pair."""
    total = 0.0
    for place, n in enumerate(lengths):
        error = 0.0
        for i in range(n):
            for j in range(n):
                difference = projection.T @ (vectors[place, i] - vectors[place, j])
                error += abs(difference @ difference - distances[place, i, j])
        total += error / n**2
    return total / len(lengths)


PROJECTION = np.random.default_rng(1).normal(size=(2, 5, 3))
BOTH = np.arange(2)


def test_loss_equals_a_literal_loop():
    lengths = [4, 7, 2]
    batch = batch_of(lengths)
    losses, gradient = distance_loss(PROJECTION, batch, BOTH, False)
    assert gradient is None
    for layer in BOTH:
        expected = literal_loss(PROJECTION[layer], batch.vectors[layer], batch.distances, lengths)
        assert losses[layer] == pytest.approx(expected, rel=1e-12)


def test_gradient_equals_finite_differences():
    batch = batch_of([4, 7, 2])
    losses, gradient = distance_loss(PROJECTION, batch, BOTH, True)
    assert np.array_equal(losses, distance_loss(PROJECTION, batch, BOTH, False)[0])
    for at in np.ndindex(*PROJECTION.shape):
        step = np.zeros_like(PROJECTION)
        step[at] = 1e-6
        up, down = (distance_loss(PROJECTION + sign * step, batch, BOTH, False)[0] for sign in (1, -1))
        assert gradient[at] == pytest.approx((up - down)[at[0]] / 2e-6, rel=1e-5, abs=1e-6)


def test_padding_contributes_nothing():
    tight, padded = batch_of([4, 7, 2]), batch_of([4, 7, 2], pad=6)
    for one, other in zip(*(distance_loss(PROJECTION, b, BOTH, True) for b in (tight, padded)), strict=True):
        assert np.allclose(one, other, rtol=1e-12, atol=1e-14)


def test_active_layers_get_what_they_get_among_all():
    batch = batch_of([4, 7, 2])
    losses, gradient = distance_loss(PROJECTION, batch, BOTH, True)
    alone, own = distance_loss(PROJECTION[1:], batch, np.array([1]), True)
    assert np.allclose(alone, losses[1:]) and np.allclose(own, gradient[1:])


def test_the_probes_batches_hold_every_pair_of_words_once():
    sentences = corpus(23, (2, 9), seed=2)
    bank = bank_of(sentences)
    states = States(np.random.default_rng(3).normal(size=(2, int(bank.rows[-1]) + 20, 4)).astype(np.float32))
    probe = DistanceProbe([1], 2, batch_size=5)
    probe.scale = np.array([2.0], np.float32)
    for generator in (None, np.random.default_rng(0)):
        batches = list(probe._batches(bank, states, generator))
        assert [len(b.scale) for b in batches].count(5) == 4 and len(batches) == 5
        assert sum(b.scale.sum() for b in batches) == pytest.approx(23)
        assert sum(b.distances.sum() for b in batches) == sum(d.sum() for d in bank.distances)
        total = sum(b.vectors.sum() for b in batches)
        rows = np.concatenate([start + np.arange(n) for start, n in zip(bank.rows, bank.lengths, strict=True)])
        assert total == pytest.approx(2 * states.array[1, rows].sum(), rel=1e-4)
    again = list(probe._batches(bank, states, np.random.default_rng(0)))
    assert all(np.array_equal(one.vectors, other.vectors) for one, other in zip(batches, again, strict=True))


# ---- planted trees


def planted(bank, rows, hidden, noise, seed):
    """A layer whose squared distances are tree distances: each word is the sum of the edges above it, one axis an edge."""
    generator = np.random.default_rng(seed)
    array = generator.normal(size=(1, rows, hidden)).astype(np.float32)
    turn = ortho_group.rvs(hidden, random_state=1)  # the same in training and test
    for start, heads in zip(bank.rows, bank.heads, strict=True):
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
    """One probe on two layers: layer 0 is noise, layer 1 holds the trees."""
    splits = []
    for count, seed in ((600, 1), (60, 2), (80, 3)):
        sentences = corpus(count, (5, 12), seed)
        bank, rows = bank_of(sentences), len(rows_of(sentences))
        noise = np.random.default_rng(seed).normal(size=(1, rows, 24)).astype(np.float32)
        splits.append((bank, States(np.concatenate([noise, planted(bank, rows, 24, 0.02, seed)]))))
    probe = DistanceProbe([0, 1], rank=16, epochs=30)
    fitted = probe.fit(*splits[0], *splits[1])
    return SimpleNamespace(probe=probe, fitted=fitted, splits=splits)


def test_planted_trees_are_recovered(trained):
    bank, states = trained.splits[2]
    rows = structural.score(bank, trained.probe.predict(bank, states)).rows([0, 1], "key", 200)
    value = {(row["layer"], row["metric"]): row["value"] for row in rows}
    assert value[1, "uuas"] > 0.99
    assert value[1, "dspr"] > 0.95


def test_noise_scores_like_a_random_tree(trained):
    """Whatever the tree, a spanning tree of exchangeable words has each of its edges with probability 2 / n."""
    bank, states = trained.splits[2]
    rows = structural.score(bank, trained.probe.predict(bank, states)).rows([0, 1], "key", 200)
    n = np.array([(~mask).sum() for mask in bank.punctuation])
    expected = ((n - 1) * 2 / n)[n > 0].sum() / (n - 1)[n > 0].sum()
    assert rows[0]["value"] == pytest.approx(expected, abs=0.06)
    assert rows[1]["metric"] == "dspr" and rows[1]["value"] < 0.5


def test_layers_trained_together_equal_each_trained_alone(trained):
    together = DistanceProbe([0, 1], rank=4, epochs=2)
    small = [(bank_of(corpus(count, (3, 8), seed)), count) for count, seed in ((50, 5), (20, 6))]
    states = [
        States(np.random.default_rng(7).normal(size=(2, count * 10, 24)).astype(np.float32)) for _, count in small
    ]
    splits = small[0][0], states[0], small[1][0], states[1]
    fitted = together.fit(*splits)
    for layer in (0, 1):
        alone = DistanceProbe([layer], rank=4, epochs=2)
        assert np.allclose(alone.fit(*splits).dev_loss[:, 0], fitted.dev_loss[:, layer], rtol=1e-5)
        assert np.allclose(alone.projection[0], together.projection[layer], atol=1e-5)
    other = DistanceProbe([0], rank=4, epochs=2, seed=2)
    other.fit(*splits)
    assert not np.allclose(other.projection[0], together.projection[0], atol=1e-3)


def test_units_of_the_states_do_not_matter(trained):
    dev, dev_states = trained.splits[1]
    small, large = DistanceProbe([1], rank=4, epochs=1), DistanceProbe([1], rank=4, epochs=1)
    one = small.fit(dev, dev_states, dev, dev_states)
    other = large.fit(dev, States(300 * dev_states.array), dev, States(300 * dev_states.array))
    assert np.allclose(one.dev_loss, other.dev_loss, rtol=1e-4)


@pytest.mark.parametrize("rank", [0, -3])
def test_rank_below_one_is_refused(rank):
    with pytest.raises(ValueError, match=f"the rank must be at least 1, got {rank}"):
        DistanceProbe([0], rank)


def test_rank_above_the_width_is_refused(trained):
    with pytest.raises(ValueError, match="the rank 25 is above the width of the states, 24"):
        DistanceProbe([0], 25).fit(*trained.splits[1], *trained.splits[1])


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
    for heads, mask, one in zip(bank.heads, bank.punctuation, predicted, strict=True):
        gold = tree_distances(heads)
        keep = np.flatnonzero(~mask)
        gold_edges = kruskal(gold[np.ix_(keep, keep)])
        edges += len(gold_edges)
        hits += len(gold_edges & kruskal(one[np.ix_(keep, keep)]))
        for i in range(len(heads)):
            by_length.setdefault(len(heads), []).append(spearmanr(one[i], gold[i])[0])
    return hits / edges, np.mean([np.mean(values) for n, values in by_length.items() if 5 <= n <= 50])


def test_scores_equal_a_naive_loop():
    # without punctuation, else removed words would leave ties in gold distances, which two algorithms may break otherwise
    generator = np.random.default_rng(8)
    bank = bank_of([*corpus(40, (2, 14), seed=9, punctuation=0), sentence(random_heads(51, generator), "long")])
    predicted = [[symmetric(n, generator), tree_distances(h) + symmetric(n, generator)] for n, h in zip(bank.lengths, bank.heads, strict=True)]  # fmt: skip
    scores = structural.score(bank, ((i, np.array(one)) for i, one in enumerate(predicted)))
    rows = scores.rows([3, 4], "key", 100)
    assert [(r["layer"], r["metric"]) for r in rows] == [(3, "uuas"), (3, "dspr"), (4, "uuas"), (4, "dspr")]
    for layer in (0, 1):
        uuas, dspr = naive_scores(bank, [one[layer] for one in predicted])
        assert rows[2 * layer]["value"] == pytest.approx(uuas, abs=1e-12)
        assert rows[2 * layer + 1]["value"] == pytest.approx(dspr, abs=1e-12)
    assert rows[0]["n"] == sum(n - 1 for n in bank.lengths)
    assert rows[1]["n"] == sum(n for n in bank.lengths if 5 <= n <= 50)


def test_punctuation_is_taken_out_of_both_trees_of_uuas_and_stays_in_dspr():
    # a comma between two words that would otherwise be neighbours in the chain
    tags = ("NOUN", "PUNCT", "VERB", "NOUN", "ADV")
    one = sentence([3, 1, 0, 3, 4], "comma", tags)
    with_mark, without = bank_of([one]), bank_of([sentence(one.heads, "comma")])
    assert structural.linear_chain(with_mark).correct.tolist() == [[3]]  # 1-3, 3-4, 4-5
    assert structural.linear_chain(with_mark).edges.tolist() == [3]
    assert structural.linear_chain(without).correct.tolist() == [[3]]  # 1-2, 3-4, 4-5
    assert structural.linear_chain(without).edges.tolist() == [4]
    spearman = [structural.linear_chain(bank).spearman for bank in (with_mark, without)]
    assert np.array_equal(*spearman)


def test_perfect_and_constant_predictions():
    bank = bank_of(corpus(30, (5, 12), seed=10))
    perfect = structural.score(bank, ((i, d[None] * 1.0) for i, d in enumerate(bank.distances))).rows([0], "key", 100)
    assert [row["value"] for row in perfect] == pytest.approx([1, 1])
    flat = structural.score(bank, ((i, np.zeros((1, n, n))) for i, n in enumerate(bank.lengths)))
    assert flat.rows([0], "key", 100)[1]["value"] == 0  # a constant ranks nothing: no correlation, and no NaN


def test_replicates_equal_scores_of_repeated_sentences():
    """A length that a resample did not draw keeps its value on all sentences."""
    bank = bank_of(corpus(12, (5, 9), seed=11, punctuation=0))
    predicted = [symmetric(n, np.random.default_rng(int(n))) for n in bank.lengths]
    scores = structural.score(bank, ((i, one[None]) for i, one in enumerate(predicted)))
    uuas, dspr = scores.rows([0], "key", 50)
    means = scores.spearman[0] / bank.lengths
    missed = 0
    for number, counts in enumerate(intervals.draws("key", 12, 50)):
        drawn = np.repeat(np.arange(12), counts)
        assert uuas["replicates"][number] == pytest.approx(
            scores.correct[0, drawn].sum() / scores.edges[drawn].sum(), rel=1e-6
        )
        by_length = []
        for n in sorted(set(bank.lengths.tolist())):
            here = drawn[bank.lengths[drawn] == n]
            missed += not len(here)
            by_length.append(means[here].mean() if len(here) else means[bank.lengths == n].mean())
        assert dspr["replicates"][number] == pytest.approx(np.mean(by_length), rel=1e-5)
    assert missed


def test_rows_without_layer_and_with_interval():
    rows = structural.linear_chain(bank_of(corpus(40, (5, 12), seed=12))).rows([None], "key", 300)
    assert all("layer" not in row for row in rows)
    for row in rows:
        assert row["ci_low"] < row["value"] < row["ci_high"]
        assert row["replicates"].shape == (200,)


@pytest.mark.parametrize(
    "sentences",
    [
        [sentence(random_heads(n, np.random.default_rng(n)), f"{n}") for n in (2, 4, 51)],  # none of 5 to 50 words
        [sentence([0, 1, 1, 1, 1], f"{n}", ("NOUN", *["PUNCT"] * 4)) for n in range(3)],  # no edge between words
    ],
)
def test_nothing_to_score_is_refused(sentences):
    with pytest.raises(ValueError, match="nothing to score: no edges, or no sentence of 5 to 50 words"):
        structural.linear_chain(bank_of(sentences)).rows([None], "key", 100)


# ---- treebank and rows


def test_sentences_that_cannot_be_used_are_counted():
    sentences = corpus(8, (4, 9), seed=13)
    sentences[2] = sentence([0], "short")
    rows = rows_of(sentences, cut=[(4, 2), (6, 1)], left_out=[7])
    bank = structural.treebank(sentences, rows)
    assert bank.skipped == {"of one word": 1, "cut at or beyond the length limit": 3}
    assert bank.ids == ["s0", "s1", "s3", "s5"]
    for name, start, n in zip(bank.ids, bank.rows, bank.lengths, strict=True):
        assert rows.loc[start : start + n - 1, "form"].tolist() == [f"{name}.{i}" for i in range(n)]
    assert list(bank.heads) == [sentences[i].heads for i in (0, 1, 3, 5)]


def test_punctuation_by_either_rule():
    one = sentence([2, 0, 2, 2], "marks", ("PUNCT", "NOUN", "SYM", "PUNCT"), ("``", "NN", ":", "NFP"))
    other = sentence([0, 1], "plain")
    assert bank_of([one, other]).punctuation[0].tolist() == [True, False, False, True]
    assert bank_of([one, other], punctuation="xpos").punctuation[0].tolist() == [True, False, True, False]


def test_unknown_punctuation_rule_is_refused():
    with pytest.raises(ValueError, match="punctuation must be 'upos' or 'xpos', got 'none'"):
        bank_of(corpus(3, (4, 5), seed=14), punctuation="none")


def test_unknown_words_pass():
    sentences = corpus(3, (4, 5), seed=15)
    rows = rows_of(sentences)
    rows.loc[[1, 3], "form"] = "[UNK]"
    assert len(structural.treebank(sentences, rows).ids) == 3


@pytest.mark.parametrize("word", [0, 2])
def test_a_treebank_with_other_words_is_refused(word):
    sentences = corpus(3, (4, 5), seed=16)
    rows = rows_of(sentences)
    words = list(sentences[1].words)
    words[word] = "other"
    sentences[1] = corpora.Sentence("s1", tuple(words), sentences[1].heads, upos=sentences[1].upos)
    message = "sentence 's1' of the treebank is not what the states were made of: was the treebank changed"
    with pytest.raises(ValueError, match=message):
        structural.treebank(sentences, rows)


def test_a_treebank_with_shorter_or_fewer_sentences_is_refused():
    sentences = corpus(3, (4, 5), seed=17)
    rows = rows_of(sentences)
    shorter = [sentences[0], corpora.Sentence("s1", sentences[1].words[:2], (0, 1), upos=("X", "X")), sentences[2]]
    with pytest.raises(ValueError, match="sentence 's1' of the treebank is not what the states were made of"):
        structural.treebank(shorter, rows)
    with pytest.raises(
        ValueError, match="the states hold 1 sentences more than the treebank: was the treebank changed"
    ):
        structural.treebank(sentences[:2], rows)


def test_a_treebank_without_a_usable_sentence_is_refused():
    for sentences, left_out in (([sentence([0])], ()), (corpus(2, (3, 4), seed=18), (0, 1))):
        with pytest.raises(ValueError, match="no sentence can be probed: {'of one word': "):
            structural.treebank(sentences, rows_of(sentences, left_out=left_out))


# ---- real trees


@pytest.mark.parametrize(
    ("split", "edges", "chained", "dspr", "alone"),
    [("dev", 20085, 8654, 0.569, 100), ("test", 19952, 8589, 0.550, 151)],
)
def test_linear_chain_on_the_english_web_treebank(real_data, monkeypatch, split, edges, chained, dspr, alone):
    """UUAS .4309 and .4305, DSpr. .569 and .550."""
    monkeypatch.setenv("BERT_REPRO_DATA", str(real_data))
    sentences = corpora.treebank(f"ewt:{split}").items
    with gzip.open(real_data / "ud_ewt" / f"en_ewt-ud-{split}.conllu.gz", "rt", encoding="utf-8") as stream:
        assert len(sentences) == sum(line.startswith("# sent_id") for line in stream)
    bank = bank_of(sentences)
    assert bank.skipped == {"of one word": alone, "cut at or beyond the length limit": 0}
    rows = structural.linear_chain(bank).rows([None], "ewt", 100)
    neighbours = 0  # gold edges of words that stand side by side without punctuation, counted without any algorithm
    for heads, mask in zip(bank.heads, bank.punctuation, strict=True):
        kept = np.flatnonzero(~mask)
        neighbours += sum(heads[i] == j + 1 or heads[j] == i + 1 for i, j in zip(kept[:-1], kept[1:], strict=True))
    assert neighbours == chained
    assert [row["value"] for row in rows] == [pytest.approx(chained / edges), pytest.approx(dspr, abs=5e-4)]
    assert rows[0]["n"] == edges
