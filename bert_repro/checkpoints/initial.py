"""First weights, before any training: the usual random draw, and weights that know as much as counting does.

From the usual draw, small encoders on small budgets take tens of millions of wordpieces to find out that neighbours matter,
and until then learn only how frequent words are. Weights that know which wordpieces have similar neighbours in the training
text, and whose attention looks at neighbours, start behind that plateau; all other weights are drawn as usual.
"""

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from bert_repro.alignment import Tokenizer
from bert_repro.checkpoints.families import Config, weight_table

if TYPE_CHECKING:  # a good part of a second to import
    from scipy.sparse import csr_matrix

WINDOW = 2  # wordpieces to either side that count as neighbours, the nearer one twice as much
SMOOTHING = 0.75  # exponent of how often a neighbour occurs
LENGTH = 0.06  # of embeddings, over the square root of their width: what rates of 5e-4 do not wipe out at once
PEAK = (
    18.0  # of a head's logits, at the wordpiece that it looks at: most of its attention goes there, and it still learns
)
PARAGRAPHS = 5000  # read at a time


def random_weights(config: Config, seed: int, deviation: float) -> dict[str, np.ndarray]:
    """Draw encoder weights as BERT is initialised: normal kernels and embeddings, zero biases, unit norms."""
    generator = np.random.default_rng(seed)
    weights = {}
    for weight in weight_table(config):
        if weight.variable.endswith(("gamma", "beta", "bias")):
            weights[weight.key] = np.full(weight.shape, weight.variable.endswith("gamma"), np.float32)
        else:
            weights[weight.key] = (generator.standard_normal(weight.shape) * deviation).astype(np.float32)
    return weights


def weights(paragraphs: Iterable[str], tokenizer: Tokenizer, config: Config, seed: int) -> dict[str, np.ndarray]:
    """Draw the first weights of an encoder that is to learn from a text.

    Args:
        paragraphs: The text.
        tokenizer: The encoder's tokenizer.
        config: Its shape, that of a BERT.
        seed: Seed of all random draws.

    Returns:
        Arrays by their keys in a checkpoint.

    Raises:
        ValueError: Attention heads of an odd size, or a vocabulary no larger than the encoder is wide.
    """
    width, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    if size % 2 or config.vocab_size <= width:
        raise ValueError(
            "first weights need attention heads of an even size, and more wordpieces than the encoder is wide, "
            f"got heads of {size}, {config.vocab_size} wordpieces and a width of {width}"
        )
    words = embeddings(counts(paragraphs, tokenizer, config.vocab_size), width) * LENGTH
    begun = {"embeddings/word/embeddings": words} | looking_aside(config, np.random.default_rng(seed))
    keys = {weight.variable: weight.key for weight in weight_table(config)}
    drawn = random_weights(config, seed, config.initializer_range)
    return drawn | {keys[variable]: array.astype(np.float32) for variable, array in begun.items()}


def counts(paragraphs: Iterable[str], tokenizer: Tokenizer, size: int) -> "csr_matrix":
    """Count how often two wordpieces occur near each other in one paragraph: `vocabulary vocabulary`, symmetric.

    Neighbours d apart, up to WINDOW, count 1 / d.
    """
    from scipy.sparse import csr_matrix

    counted = csr_matrix((size, size), dtype=np.float64)
    stream = iter(paragraphs)
    while batch := list(islice(stream, PARAGRAPHS)):
        encoded = tokenizer.backend_tokenizer.encode_batch(batch, add_special_tokens=False)
        # paragraphs one after another, with a gap that nothing is counted across
        ids = np.concatenate([np.r_[encoding.ids, [-1] * WINDOW] for encoding in encoded]).astype(np.int64)
        for apart in range(1, WINDOW + 1):
            first, second = ids[:-apart], ids[apart:]
            real = (first >= 0) & (second >= 0)
            pairs, often = np.unique(first[real] * size + second[real], return_counts=True)
            part = csr_matrix((often / apart, np.divmod(pairs, size)), shape=(size, size))
            counted = counted + part + part.T
    return counted


def embeddings(counted: "csr_matrix", width: int) -> Float[np.ndarray, "vocabulary width"]:
    """Give wordpieces with similar neighbours similar vectors, of mean 0 and length sqrt(width), shorter for rare ones.

        PPMI[w, c]  =  max(0, log  n[w, c] N / (n[w] n[c]^SMOOTHING / S)),   S = sum_c n[c]^SMOOTHING / N         (1)
        PPMI  ~  U diag(s) U',   vectors  =  U sqrt(s)                                                           (2)

    Reference:
        Levy, Goldberg and Dagan 2015, sections 2.2, 3.2 and 3.3.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import svds

    often = np.asarray(counted.sum(1)).ravel() + 1
    smoothed = often**SMOOTHING
    smoothed *= often.sum() / smoothed.sum()
    entries = counted.tocoo()
    association = np.log(entries.data * often.sum() / (often[entries.row] * smoothed[entries.col]))  # (1)
    matrix = csr_matrix((np.maximum(association, 0), (entries.row, entries.col)), entries.shape)
    left, strengths, _ = svds(matrix, width, v0=np.ones(len(often)))
    vectors = left * np.sqrt(strengths)  # (2)
    vectors -= vectors.mean(0)
    lengths = np.sqrt((vectors**2).mean(1, keepdims=True))
    return vectors / np.maximum(lengths, 0.3 * np.median(lengths))


def looking_aside(config: Config, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw weights by which attention head h of the first block looks at the wordpiece at distance d[h]: d = -1, 1, -2, 2,
    ...

    With e the plane of a wave in the space of states, and waves w from 3 to .01:

        position i:   p_i  =  a sum_w cos(w i) e_1 + sin(w i) e_2                     as long as the embedding of a word
        query, key:   q_i . k_j / sqrt(size of a head)  =  PEAK / waves  sum_w cos(w (i + d[h] - j))      but for words

    Returns:
        By variable of `weight_table`, in the layout of a checkpoint: the positions, queries and keys of the first block.
    """
    width, heads = config.hidden_size, config.num_attention_heads
    waves = 3.0 * 300.0 ** -np.linspace(0, 1, width // heads // 2)
    planes, _ = np.linalg.qr(generator.standard_normal((width, 2 * len(waves))))
    cosines, sines = planes.T[: len(waves)], planes.T[len(waves) :]
    angles = np.multiply.outer(np.arange(config.max_position_embeddings), waves)
    positions = np.cos(angles) @ cosines + np.sin(angles) @ sines
    queries = []
    for head in range(heads):
        ahead = (head // 2 + 1) * (1 if head % 2 else -1)
        turn, across = np.cos(ahead * waves)[:, None], np.sin(ahead * waves)[:, None]
        queries.append(np.concatenate([turn * cosines - across * sines, across * cosines + turn * sines]))
    # a norm makes of word and position together a state of length sqrt(width), half of whose square is the position's
    scale = np.sqrt(PEAK * np.sqrt(width / heads) / (width / 2))
    return {
        "embeddings/position/embeddings": positions * LENGTH * np.sqrt(width / len(waves)),
        "block_1/query/kernel": scale * np.concatenate(queries),
        "block_1/key/kernel": scale * np.tile(planes.T, (heads, 1)),
    }
