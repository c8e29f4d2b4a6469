"""Task heads: trees are the best ones there are, losses and scores are the plain formulas, data that cannot teach is refused."""

import itertools

import keras
import networkx
import numpy as np
import pytest

from bert_repro import heads
from bert_repro.alignment import Aligned
from bert_repro.corpora import Pair, Sentence


def is_one_tree(found) -> bool:
    """Tell whether heads (from 1; 0 is the root) form one tree with one root."""
    graph = networkx.DiGraph([(head, word) for word, head in enumerate(found, 1)])
    return list(found).count(0) == 1 and len(graph) == len(found) + 1 and networkx.is_arborescence(graph)


def total(scores: np.ndarray, found) -> float:
    return float(scores[np.arange(len(found)), np.asarray(found)].sum())


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


# Trees


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_arborescence_is_the_best_of_all_trees(n):
    generator = np.random.default_rng(n)
    trees = [tree for tree in itertools.product(range(n + 1), repeat=n) if is_one_tree(tree)]
    assert len(trees) == n ** (n - 1)  # Cayley: rooted labelled trees
    for scale in (0.01, 1, 1000):
        for _ in range(15):
            scores = generator.standard_normal((n, n + 1)) * scale
            scores[:, 0] += generator.choice([-3, 0, 3]) * scale  # a root that nobody, or everybody, wants
            best = max(trees, key=lambda tree, s=scores: total(s, tree))
            assert tuple(heads.arborescence(scores)) == best


@pytest.mark.parametrize("kind", ["float32", "equal", "root for all", "integers"])
def test_arborescence_is_always_one_tree(kind):
    generator = np.random.default_rng(0)
    for n in (*range(1, 13), 20, 30):
        scores = generator.standard_normal((n, n + 1))
        if kind == "float32":
            scores = scores.astype(np.float32)
        elif kind == "equal":
            scores = np.zeros((n, n + 1))
        elif kind == "root for all":
            scores[:, 0] += 100
        else:
            scores = generator.integers(-2, 3, (n, n + 1))
        assert is_one_tree(heads.arborescence(scores).tolist())


def test_a_greedy_choice_that_is_a_tree_is_the_best_tree(monkeypatch):
    generator = np.random.default_rng(3)
    seen = 0
    for n in [2, 3, 4] * 40:
        scores = generator.standard_normal((n, n + 1))
        if is_one_tree(scores.argmax(1).tolist()):
            seen += 1
            short = heads.arborescence(scores)
            with monkeypatch.context() as patched:
                patched.setattr(heads, "_reaches_root", lambda found: False)  # the long way
                np.testing.assert_array_equal(heads.arborescence(scores), short)
            np.testing.assert_array_equal(short, scores.argmax(1))
    assert seen > 10


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([0], True),
        ([1], False),  # its own head
        ([2, 0], True),
        ([2, 1], False),
        ([0, 1, 2, 3, 4, 5, 6, 7], True),  # a chain: the longest way to the root
        ([0, 3, 2], False),  # a circle beside the tree
        ([2, 3, 4, 5, 6, 7, 8, 0], True),
        ([2, 3, 4, 5, 6, 7, 8, 1], False),
    ],
)
def test_reaches_root(found, expected):
    assert heads._reaches_root(np.array(found)) == expected


def test_reaches_root_agrees_with_walking():
    for n in (1, 2, 3, 4, 5):
        for found in itertools.product(range(n + 1), repeat=n):
            ends = []
            for word in range(1, n + 1):
                for _ in range(n):
                    word = found[word - 1] if word else 0
                ends.append(word)
            assert heads._reaches_root(np.array(found)) == (not any(ends))


# Losses and layers


def test_masked_cross_entropy_is_the_mean_over_labelled_positions():
    generator = np.random.default_rng(0)
    scores = generator.standard_normal((3, 4, 5)).astype("float32") * 4
    labels = generator.integers(-1, 5, (3, 4))
    labels[0, 0] = -1
    expected = [-log_softmax(scores)[i, j, labels[i, j]] for i, j in zip(*np.nonzero(labels >= 0), strict=True)]
    assert float(heads.MaskedCrossEntropy()(labels, scores)) == pytest.approx(np.mean(expected), rel=1e-6)


def test_masked_cross_entropy_of_no_label_is_zero():
    assert float(heads.MaskedCrossEntropy()(np.full((2, 3), -1), np.ones((2, 3, 4), "float32"))) == 0


def test_relations_are_learned_at_the_gold_head():
    generator = np.random.default_rng(1)
    scores = generator.standard_normal((2, 4, 4, 3)).astype("float32")
    gold = generator.integers(0, 4, (2, 4))
    relations = generator.integers(-1, 3, (2, 4))
    gold[:, 0] = relations[:, 0] = -1  # [CLS] has neither
    each = [
        -log_softmax(scores[i, j, gold[i, j]])[relations[i, j]]
        for i, j in zip(*np.nonzero(relations >= 0), strict=True)
    ]
    loss = heads.RelationsAtGoldHeads()
    assert float(loss(np.stack([gold, relations], -1), scores)) == pytest.approx(np.mean(each), rel=1e-6)
    for i, j in np.ndindex(2, 4):  # scores at any other head do not count
        others = np.arange(4) != max(gold[i, j], 0)
        scores[i, j, others] += 7
    assert float(loss(np.stack([gold, relations], -1), scores)) == pytest.approx(np.mean(each), rel=1e-6)


def test_biaffine_is_a_bilinear_form_with_biases():
    generator = np.random.default_rng(2)
    dependent = generator.standard_normal((2, 3, 4)).astype("float32")
    head = generator.standard_normal((2, 5, 6)).astype("float32")
    layer = heads.Biaffine(7)
    found = np.asarray(layer(dependent, head))
    kernel = np.asarray(layer.kernel)
    assert found.shape == (2, 3, 5, 7)
    bilinear = np.einsum("bid,lde,bje->bijl", dependent, kernel[:, :4, :6], head)
    one_side = np.einsum("bid,ld->bil", dependent, kernel[:, :4, 6])[:, :, None]
    other_side = np.einsum("le,bje->bjl", kernel[:, 4, :6], head)[:, None]
    np.testing.assert_allclose(found, bilinear + one_side + other_side + kernel[:, 4, 6], rtol=1e-4, atol=1e-5)


# The parser

TRAIN = [
    Sentence("a", ("the", "dog", "barks"), (2, 3, 0), ("det", "nsubj", "root")),
    Sentence("b", ("it", "sleeps", "now", "or", "never", "."), (2, 0, 2, 5, 3, 2), ("nsubj", "root", "advmod", "cc", "conj", "punct")),
]  # fmt: skip
# [CLS] the dog|##s barks [SEP] and [CLS] it sleeps now or never|##s|##s . [SEP]
INPUTS = [
    Aligned(np.arange(6), np.zeros(6, int), np.array([0, 1, 2, 4, 5])),
    Aligned(np.arange(10), np.zeros(10, int), np.array([0, 1, 2, 3, 4, 5, 8, 9])),
]


def test_parser_arrays_average_the_pieces_of_each_word():
    parser = heads.BiaffineParser(TRAIN)
    extra, targets = parser.arrays(TRAIN, INPUTS, 16)
    pooling = extra["pooling"]
    assert pooling.shape == (2, 9, 16)  # six words, padded to eight, and the root
    states = np.random.default_rng(0).standard_normal((2, 16, 3))
    words = pooling @ states
    np.testing.assert_allclose(words[:, 0], states[:, 0])  # [CLS] is the root
    np.testing.assert_allclose(words[0, 1:4], [states[0, 1], states[0, 2:4].mean(0), states[0, 4]], rtol=1e-6)
    np.testing.assert_allclose(words[1, 5:7], [states[1, 5:8].mean(0), states[1, 8]], rtol=1e-6)
    assert not pooling[0, 4:].any() and not pooling[1, 7:].any()  # padding
    assert not pooling[0, :, 5:].any() and not pooling[1, :, 9:].any()  # neither [SEP] nor padded pieces take part
    np.testing.assert_array_equal(targets["arcs"][0], [-1, 2, 3, 0, -1, -1, -1, -1, -1])
    np.testing.assert_array_equal(targets["arcs"][1], [-1, 2, 0, 2, 5, 3, 2, -1, -1])
    names = [parser.relations[r] for r in targets["relations"][1, 1:7, 1]]
    assert tuple(names) == TRAIN[1].relations
    np.testing.assert_array_equal(targets["relations"][..., 0], targets["arcs"])
    np.testing.assert_array_equal(targets["relations"][0, [0, 4, 8], 1], -1)


def parse(parser, items, seed):
    generator = np.random.default_rng(seed)
    words = max(len(item.words) for item in items) + 3
    arcs = generator.standard_normal((len(items), words, words))
    relations = generator.standard_normal((len(items), words, words, len(parser.relations)))
    for i, item in enumerate(items):  # most gold answers win, so that the counts are neither 0 nor all
        for word, (head, relation) in enumerate(zip(item.heads, item.relations, strict=True), 1):
            arcs[i, word, head] += 3 * (generator.random() < 0.8)
            if relation in parser.relations:
                relations[i, word, head, parser.relations.index(relation)] += 5 * (generator.random() < 0.7)
    return {"arcs": arcs, "relations": relations}


def test_parser_score_is_a_naive_count():
    parser = heads.BiaffineParser(TRAIN)
    totals = np.zeros((2, 2))
    for seed in range(20):
        outputs = parse(parser, TRAIN, seed)
        for i, found in enumerate(parser.score(TRAIN, outputs)):
            item = TRAIN[i]
            tree = heads.arborescence(outputs["arcs"][i, 1 : len(item.words) + 1, : len(item.words) + 1])
            uas = las = 0
            for word in range(len(item.words)):
                label = parser.relations[int(np.argmax(outputs["relations"][i, word + 1, tree[word]]))]
                uas += int(tree[word] == item.heads[word])
                las += int(tree[word] == item.heads[word] and label == item.relations[word])
            np.testing.assert_array_equal(found, [[uas, len(item.words)], [las, len(item.words)]])
            totals += found
    assert 0 < totals[1, 0] < totals[0, 0] < totals[0, 1]


def test_a_relation_that_training_never_saw_is_wrong_and_no_error():
    parser = heads.BiaffineParser(TRAIN)
    odd = [TRAIN[0], Sentence("c", ("go", "!"), (0, 1), ("root", "discourse"))]
    _, targets = parser.arrays(odd, [INPUTS[0], Aligned(np.arange(4), np.zeros(4, int), np.arange(4))], 8)
    assert targets["relations"][1, 2].tolist() == [1, -1]  # not learned from either
    arcs = np.zeros((2, 5, 5))
    for i, item in enumerate(odd):
        arcs[i, np.arange(1, len(item.heads) + 1), item.heads] = 9
    relations = np.zeros((2, 5, 5, len(parser.relations)))
    relations[1, 1, 0, parser.relations.index("root")] = 9
    np.testing.assert_array_equal(parser.score(odd, {"arcs": arcs, "relations": relations})[1], [[2, 2], [1, 2]])


def test_padding_is_never_anybodys_head():
    parser = heads.BiaffineParser(TRAIN)
    states = keras.Input((None, 8), name="states")
    network = keras.Model([states, parser.extra_inputs["pooling"]], parser.outputs(states, parser.extra_inputs, 0.0))
    extra, _ = parser.arrays(TRAIN, INPUTS, 16)
    outputs = network.predict_on_batch(
        [np.random.default_rng(0).standard_normal((2, 16, 8)).astype("float32"), extra["pooling"]]
    )
    assert outputs["arcs"].shape == (2, 9, 9) and outputs["relations"].shape == (2, 9, 9, len(parser.relations))
    assert (outputs["arcs"][0, :, 4:] < -1e8).all() and (outputs["arcs"][0, :, :4] > -1e8).all()
    assert (outputs["arcs"][1, :, 7:] < -1e8).all() and (outputs["arcs"][1, :, :7] > -1e8).all()


def test_parser_refuses_sentences_without_trees():
    with pytest.raises(ValueError, match="sentences without trees cannot teach a parser: a treebank"):
        heads.BiaffineParser([*TRAIN, Sentence("c", ("no", "tree"))])


# Pairs

PAIRS = [Pair("1", ("a",), ("b",), "entailment"), Pair("2", ("c",), ("d",), "contradiction")]


def test_pairs_are_scored_one_by_one():
    head = heads.PairClassifier(PAIRS)
    extra, targets = head.arrays(PAIRS, [], 8)
    assert extra == {} and targets["label"].tolist() == [0, 2]
    found = head.score(PAIRS, {"label": np.array([[3.0, 1, 2], [0, 9, 1]])})
    np.testing.assert_array_equal(found, [[[1, 1]], [[0, 1]]])


@pytest.mark.parametrize(
    ("labels", "got"),
    [(["neutral", "neutral"], r"\['neutral'\]"), (["neutral", "maybe"], r"\['maybe', 'neutral'\]"), (["", ""], r"\[''\]")],
)  # fmt: skip
def test_pairs_of_one_class_or_unknown_labels_are_refused(labels, got):
    pairs = [Pair(str(i), ("a",), ("b",), label) for i, label in enumerate(labels)]
    with pytest.raises(
        ValueError, match=r"at least two of the labels .*'entailment'.* are needed to learn from, got " + got
    ):
        heads.PairClassifier(pairs)
