"""Dependency trees: the tree found is the best of all there are, by whatever way it is found."""

import itertools

import networkx
import numpy as np
import pytest

from bert_repro.finetune.heads import trees


def is_one_tree(found) -> bool:
    """Tell whether heads (from 1; 0 is the root) form one tree with one root."""
    graph = networkx.DiGraph([(head, word) for word, head in enumerate(found, 1)])
    return list(found).count(0) == 1 and len(graph) == len(found) + 1 and networkx.is_arborescence(graph)


def total(scores: np.ndarray, found) -> float:
    return float(scores[np.arange(len(found)), np.asarray(found)].sum())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_arborescence_is_the_best_of_all_trees(n):
    generator = np.random.default_rng(n)
    every = [tree for tree in itertools.product(range(n + 1), repeat=n) if is_one_tree(tree)]
    assert len(every) == n ** (n - 1)  # Cayley: rooted labelled trees
    for scale in (0.01, 1, 1000):
        for _ in range(15):
            scores = generator.standard_normal((n, n + 1)) * scale
            scores[:, 0] += generator.choice([-3, 0, 3]) * scale  # a root that nobody, or everybody, wants
            best = max(every, key=lambda tree, s=scores: total(s, tree))
            assert tuple(trees.arborescence(scores)) == best


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
        assert is_one_tree(trees.arborescence(scores).tolist())


def test_a_greedy_choice_that_is_a_tree_is_the_best_tree(monkeypatch):
    generator = np.random.default_rng(3)
    seen = 0
    for n in [2, 3, 4] * 40:
        scores = generator.standard_normal((n, n + 1))
        if is_one_tree(scores.argmax(1).tolist()):
            seen += 1
            short = trees.arborescence(scores)
            with monkeypatch.context() as patched:
                patched.setattr(trees, "_reaches_root", lambda found: False)  # the long way
                np.testing.assert_array_equal(trees.arborescence(scores), short)
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
    assert trees._reaches_root(np.array(found)) == expected


def test_reaches_root_agrees_with_walking():
    for n in (1, 2, 3, 4, 5):
        for found in itertools.product(range(n + 1), repeat=n):
            ends = []
            for word in range(1, n + 1):
                for _ in range(n):
                    word = found[word - 1] if word else 0
                ends.append(word)
            assert trees._reaches_root(np.array(found)) == (not any(ends))
