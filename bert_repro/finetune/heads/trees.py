"""Dependency trees: the best tree under a matrix of scores."""

import numpy as np
from jaxtyping import Int, Real
from ufal.chu_liu_edmonds import chu_liu_edmonds


def arborescence(scores: Real[np.ndarray, "words words+1"]) -> Int[np.ndarray, "words"]:
    """Give each word its head such that all form one tree with one root and the greatest sum of scores.

    Args:
        scores: Score of each syntactic head for each word, 0 being the root.

    Returns:
        Heads, counted from 1, 0 for the root.
    """
    greedy = scores.argmax(1)
    if (greedy == 0).sum() == 1 and _reaches_root(greedy):
        return greedy
    n = len(scores)
    # a word and its heads in a row; nothing is the head of the root or of itself
    among = np.full((n + 1, n + 1), np.nan)
    among[1:] = scores
    among[:, 0] -= np.ptp(scores) * (n + 1) + 1  # a second root costs more than any tree can gain
    np.fill_diagonal(among, np.nan)
    return np.array(chu_liu_edmonds(among)[0][1:])


def _reaches_root(heads: np.ndarray) -> bool:
    reached = heads
    for _ in range(len(heads).bit_length()):  # doubling: after k rounds 2^k steps up
        padded = np.r_[0, reached]
        reached = padded[reached]
    return not reached.any()
