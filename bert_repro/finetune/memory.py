"""The memory that a training takes, and how many inputs at a time fit into a stated one.

Less memory than one input takes is an error.
"""

import math

from bert_repro.checkpoints.families import Config, weight_table

GIGABYTES = 12.0  # that a training may take where nobody says
SPARE = 0.75  # of the memory that is stated, what the encoder may take: the rest is for the program and its texts
COPIES = 3  # of a weight: as read, at the start, now
LEARNING = 5  # more of one that learns: gradient, two moments, best, being saved
ACTIVATIONS = 28  # numbers a wordpiece and column that a block keeps for the gradient
ATTENTION = 2.3  # numbers a pair of wordpieces and attention head, likewise


def weights(config: Config, frozen: int = 0) -> int:
    """Count the weights of an encoder that are not frozen: with a block, the embeddings are too."""
    counts = {weight.variable: math.prod(weight.shape) for weight in weight_table(config)}
    block = sum(count for variable, count in counts.items() if variable.startswith("block_1/"))
    return (config.num_hidden_layers - frozen) * block if frozen else sum(counts.values())


def taken(config: Config, frozen: int, inputs: float, pieces: float, summed: bool) -> float:
    """Give the bytes of float32 numbers that a training holds: weights, and what is kept of inputs for the gradient.

    Args:
        config: The encoder's shape.
        frozen: Blocks, from the bottom, that stay as they are.
        inputs: How many are computed at a time.
        pieces: Wordpieces of each.
        summed: Whether gradients of micro-batches are summed up.
    """
    numbers = ACTIVATIONS * config.hidden_size + ATTENTION * config.num_attention_heads * pieces
    kept = inputs * pieces * (config.num_hidden_layers - frozen) * numbers
    return 4 * (COPIES * weights(config) + (LEARNING + summed) * weights(config, frozen) + kept)


def micro_batch(config: Config, frozen: int, batch_size: int, pieces: int, gigabytes: float) -> int:
    """Say how many inputs of a batch are computed at a time so that a training fits: the most that divide it; 0 for all.

    It follows the stated memory and the longest input there may be, and nothing of the machine: equal recipes stay equal.

    Args:
        config: The encoder's shape.
        frozen: Blocks, from the bottom, that stay as they are.
        batch_size: Inputs of a batch.
        pieces: Most wordpieces of an input.
        gigabytes: That the training may take in all, see SPARE.

    Raises:
        ValueError: Not even one input fits.
    """
    for parts in range(1, batch_size + 1):
        if batch_size % parts == 0:
            needed = taken(config, frozen, batch_size // parts, pieces, parts > 1)
            if needed <= SPARE * gigabytes * 1e9:
                return batch_size // parts if parts > 1 else 0
    least = math.ceil(needed / SPARE / 1e8) / 10
    raise ValueError(f"memory: a training of this encoder takes at least {least:g} GB, got {gigabytes:g}: give as many")
