"""Dependency trees: hides how the best tree is found among all there are.

It refuses nothing: every matrix of scores has a best tree.
"""

import networkx
import numpy as np
from jaxtyping import Int, Real


def arborescence(scores: Real[np.ndarray, "words words+1"]) -> Int[np.ndarray, "words"]:
    """Give each word its head such that all form one tree with one root and the greatest sum of scores.

    Args:
        scores: Of each head for each word, 0 for the root.

    Returns:
        Heads, counted from 1, 0 for the root.
    """
    greedy = scores.argmax(1)
    if (greedy == 0).sum() == 1 and _reaches_root(greedy):
        return greedy
    n = len(scores)
    # a second root costs more than any tree can gain
    cost = np.ptp(scores) * (n + 1) + 1
    arcs = (
        (head, word + 1, scores[word, head] - cost * (head == 0))
        for word in range(n)
        for head in range(n + 1)
        if head != word + 1
    )
    graph = networkx.DiGraph()
    graph.add_weighted_edges_from(arcs)
    tree = networkx.maximum_spanning_arborescence(graph)
    return np.array([head for _, head in sorted((word, head) for head, word in tree.edges)])


def _reaches_root(heads: np.ndarray) -> bool:
    reached = heads
    for _ in range(len(heads).bit_length()):  # doubling: after k rounds 2^k steps up
        padded = np.r_[0, reached]
        reached = padded[reached]
    return not reached.any()
