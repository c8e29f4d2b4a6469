"""BERT and its family in plain Keras layers: computes the hidden states of every layer.

An activation that cannot be computed exactly as the checkpoint's authors did is an error.

Reference:
    Devlin et al. 2019, section 3; Vaswani et al. 2017, section 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from bert_repro import backend
from bert_repro.alignment import Aligned
from bert_repro.checkpoints import families
from bert_repro.checkpoints.families import Config, weight_table

_BY_NAME = {
    "gelu": lambda x: keras.activations.gelu(
        x, approximate=False
    ),  # the exact one: tanh is off by up to 9e-3 at the end
    "gelu_tanh": lambda x: keras.activations.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * ops.sigmoid(1.702 * x),
} | {name: getattr(keras.activations, name) for name in ("relu", "silu", "mish", "tanh", "sigmoid", "linear")}
ACTIVATIONS = {name: _BY_NAME[activation] for name, activation in families.ACTIVATIONS.items()}
BATCH = 1536  # wordpieces, padding included: few enough for the caches, many enough for the cores


class Embeddings(layers.Layer):
    """Word, position and segment embeddings, summed, normalised and, where they are narrower, widened: layer 0."""

    def __init__(self, config: Config, **options: Any):
        super().__init__(**options)
        width = config.embedding_size or config.hidden_size
        self.config = config
        self.word = layers.Embedding(config.vocab_size, width, name="word")
        self.position = layers.Embedding(config.max_position_embeddings, width, name="position")
        self.segment = layers.Embedding(config.segments, width, name="segment") if config.segments else None
        self.norm = layers.LayerNormalization(epsilon=config.layer_norm_eps, name="norm")
        self.dropout = layers.Dropout(config.hidden_dropout_prob)
        self.projection = layers.Dense(config.hidden_size, name="projection") if width != config.hidden_size else None

    def call(self, token_ids, segment_ids, training=None):
        summed = (
            self.word(token_ids) + self.position(ops.arange(ops.shape(token_ids)[1]) + self.config.first_position)[None]
        )
        if self.segment is not None:  # RoBERTa's family reads all as of the first
            summed = summed + self.segment(ops.zeros_like(segment_ids) if self.config.first_position else segment_ids)
        x = self.dropout(self.norm(summed), training=training)
        return x if self.projection is None else self.projection(x)


class Block(layers.Layer):
    """Self-attention and a feed-forward network, each with a residual connection and a norm after it."""

    def __init__(self, config: Config, **options: Any):
        super().__init__(**options)
        self.heads = config.num_attention_heads
        self.query = layers.Dense(config.hidden_size, name="query")
        self.key = layers.Dense(config.hidden_size, name="key")
        self.value = layers.Dense(config.hidden_size, name="value")
        self.attention_output = layers.Dense(config.hidden_size, name="attention_output")
        self.attention_norm = layers.LayerNormalization(epsilon=config.layer_norm_eps, name="attention_norm")
        self.intermediate = layers.Dense(config.intermediate_size, ACTIVATIONS[config.hidden_act], name="intermediate")
        self.dense = layers.Dense(config.hidden_size, name="output")
        self.output_norm = layers.LayerNormalization(epsilon=config.layer_norm_eps, name="output_norm")
        self.attention_dropout = layers.Dropout(config.attention_probs_dropout_prob)
        self.dropout = layers.Dropout(config.hidden_dropout_prob)

    def call(self, x, mask, training=None):
        sentences, pieces, hidden = shape = ops.shape(x)
        # dense layers and norms see one long list of pieces: as matrices TensorFlow fuses product, bias and activation
        x = ops.reshape(x, (-1, hidden))
        q, k, v = (
            ops.transpose(ops.reshape(dense(x), (sentences, pieces, self.heads, hidden // self.heads)), (0, 2, 1, 3))
            for dense in (self.query, self.key, self.value)
        )  # sentences heads pieces size
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * q.shape[-1] ** -0.5
        never = 6e4 if keras.backend.standardize_dtype(scores.dtype) == "float16" else 1e9  # float16 ends at 65,504
        scores = scores + (ops.cast(mask, scores.dtype)[:, None, None, :] - 1) * never
        attention = ops.softmax(scores)
        mixed = ops.matmul(self.attention_dropout(attention, training=training), v)
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, hidden))
        x = self.attention_norm(x + self.dropout(self.attention_output(mixed), training=training))
        x = self.output_norm(x + self.dropout(self.dense(self.intermediate(x)), training=training))
        return ops.reshape(x, shape), attention


class Room(NamedTuple):
    """A place after every layer for a projection that removes something from the states of words."""

    rank: int  # of the projection, at most
    special: tuple[int, ...]  # tokens that are no words


class Erasure(layers.Layer):
    """Subtracts a projection from the states of words: x becomes x - write (readᵀ (x - mean)).

    Special tokens and padding stay as they are. All weights begin as 0, so that nothing is taken, to the last bit.
    """

    def __init__(self, config: Config, room: Room, **options: Any):
        super().__init__(trainable=False, **options)
        self.special = room.special
        shapes = {"mean": (config.hidden_size,)} | dict.fromkeys(("write", "read"), (config.hidden_size, room.rank))
        self.mean, self.write, self.read = (
            self.add_weight(shape, "zeros", name=name, trainable=False) for name, shape in shapes.items()
        )

    def call(self, x, token_ids, mask):
        words = mask
        for token in self.special:
            words = words * ops.cast(token_ids != token, words.dtype)
        projection = ops.matmul(ops.matmul(x - self.mean, self.read), ops.transpose(self.write))
        return x - ops.cast(words, x.dtype)[..., None] * projection


def build(
    config: Config,
    weights: Mapping[str, np.ndarray] | None = None,
    attention: bool = False,
    room: Room | None = None,
) -> keras.Model:
    """Build the encoder.

    Args:
        config: Its shape.
        weights: A checkpoint's arrays (`Checkpoint.weights`); without them the layers keep their initial draw.
        attention: Whether to give the attention probabilities too.
        room: What may be taken off the states of each layer; by default nothing, and nothing is computed for it.

    Returns:
        A model from `token_ids`, `segment_ids` and `mask` (each `sentences wordpieces`; mask 1 for real pieces) to a list
        of `num_hidden_layers + 1` hidden states (`sentences wordpieces hidden`): 0 the embeddings, k the output of block k;
        with `attention`, the probabilities of every block follow (`sentences heads wordpieces wordpieces`, each row
        summing to 1 over the real pieces).

    Raises:
        ValueError: An activation that is not known here.
    """
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(f"activation {config.hidden_act!r} is not supported: expected one of {sorted(ACTIVATIONS)}")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids", "mask")}

    def after_erasing(state: Any, k: int) -> Any:
        return Erasure(config, room, name=f"erasure_{k}")(state, inputs["token_ids"], inputs["mask"]) if room else state

    states = [after_erasing(Embeddings(config, name="embeddings")(inputs["token_ids"], inputs["segment_ids"]), 0)]
    looked = []
    for k in range(1, config.num_hidden_layers + 1):
        state, probabilities = Block(config, name=f"block_{k}")(states[-1], inputs["mask"])
        states.append(after_erasing(state, k))
        looked.append(probabilities)
    model = keras.Model(inputs, [*states, *looked] if attention else states, name="encoder")
    if weights is not None:
        variables = {variable.path: variable for variable in model.weights}
        for weight in weight_table(config):
            array = weights[weight.key]
            variables[weight.variable].assign(array.T if weight.transposed else array)
    return model


def export(model: keras.Model, config: Config) -> dict[str, np.ndarray]:
    """Give the encoder's weights back under their checkpoint keys, from a model that `build` made or that contains it."""
    variables = {variable.path: variable for variable in model.weights}
    arrays = ((w.key, np.asarray(variables[w.variable]), w.transposed) for w in weight_table(config))
    return {key: array.T if transposed else array for key, array, transposed in arrays}


def check(inputs: Sequence[Aligned], config: Config) -> None:
    """Make sure that the encoder has an embedding for everything in its inputs.

    Raises:
        ValueError: A token or segment that it has not: tokenizer and weights do not belong together.
    """
    # RoBERTa's family reads all as of the first segment
    tables = {"token_ids": config.vocab_size} | ({} if config.first_position else {"segment_ids": config.segments})
    for name, rows in tables.items():
        highest = max((int(getattr(aligned, name).max()) for aligned in inputs), default=0)
        if rows and highest >= rows:
            raise ValueError(
                f"the tokenizer gives {name} up to {highest}, the encoder has embeddings for 0 to {rows - 1}: "
                "do tokenizer and weights belong together?"
            )


def compiled(network: keras.Model) -> keras.Model:
    """Make an encoder, or some of its outputs, ready for `extract`: results do not depend, to the last bit, on what is read
    first."""
    network.compile(jit_compile=False)
    for size in (2, 3):  # shapes of no input: a graph kept for the first one met would give that other last bits
        square = np.ones((size, size), np.int32)
        network.predict_on_batch({"token_ids": square, "segment_ids": square * 0, "mask": square})
    return network


def pad(rows: Sequence[np.ndarray], limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad integer rows with zeros to a common length; also the mask.

    The length is that of a bucket (`backend.bucket`): little is padding, and few shapes occur.

    Args:
        rows: One array of integers for each input.
        limit: The longest that an input may be; padding stays within it too, as there are no positions beyond.
    """
    padded, mask = np.zeros((2, len(rows), min(backend.bucket(max(map(len, rows))), limit)), np.int32)
    for i, row in enumerate(rows):
        padded[i, : len(row)], mask[i, : len(row)] = row, 1
    return padded, mask


def extract(network: keras.Model, inputs: Sequence[Aligned], pooling: str, dtype: str = "float32") -> np.ndarray:
    """Give the vector of every row (word or special token) in every layer: the mean of its pieces, or the first.

    Args:
        network: What `build` made.
        inputs: Encoder inputs.
        pooling: `mean` of a row's pieces, or `first`.
        dtype: Type of the result; pieces are pooled in float32.

    Returns:
        `layers rows hidden`; rows in the order of the inputs. What the type cannot hold is infinite.
    """
    check(inputs, network.get_layer("embeddings").config)
    before = np.cumsum([0, *(len(aligned.starts) for aligned in inputs)])  # rows of the inputs before each one
    result = np.empty((len(network.outputs), before[-1], network.outputs[0].shape[-1]), dtype)
    for numbers, states in run(network, inputs):
        batch = [inputs[i] for i in numbers]
        length = states[0].shape[1]
        # of every row of the batch: its first piece among all pieces of the batch with their padding, and how many it has
        first = np.concatenate([aligned.starts + n * length for n, aligned in enumerate(batch)])
        count = np.concatenate([np.diff([*aligned.starts, len(aligned.token_ids)]) for aligned in batch])
        rows = np.concatenate([np.arange(before[i], before[i + 1]) for i in numbers])
        pooled = _pool(states, first, count if pooling == "mean" else np.ones_like(count))
        for layer, vectors in enumerate(pooled):
            with np.errstate(over="ignore"):
                result[layer, rows] = vectors
    return result


def run(network: keras.Model, inputs: Sequence[Aligned]) -> Iterator[tuple[np.ndarray, Sequence[np.ndarray]]]:
    """Run inputs through an encoder, those of similar length together, the longest first.

    Yields:
        Numbers of inputs, and their states in every layer, `sentences wordpieces hidden`, in that order; more sentences, of padding
        alone, may follow.
    """
    limit = network.get_layer("embeddings").config.max_length
    for numbers in by_length([len(aligned.token_ids) for aligned in inputs], BATCH):
        yield numbers, _run(network, [inputs[i] for i in numbers], limit)


def by_length(lengths: Sequence[int] | np.ndarray, pieces: int) -> Iterator[np.ndarray]:
    """Give the number of every input once, those of similar length together, so that little is padding; the longest first.

    Args:
        lengths: Of the inputs, in wordpieces.
        pieces: About how many of these at a time.
    """
    order = np.argsort(lengths, kind="stable")
    while len(order):
        count = max(1, pieces // backend.bucket(int(lengths[order[-1]])))
        yield order[-count:]
        order = order[:-count]


def _run(network: keras.Model, batch: Sequence[Aligned], limit: int) -> Sequence[np.ndarray]:
    """Give the states of every layer, `sentences wordpieces hidden`; empty sentences follow, so that few shapes occur."""
    padding = [np.zeros(0, np.int32)] * (backend.bucket(len(batch)) - len(batch))
    token_ids, mask = pad([*(aligned.token_ids for aligned in batch), *padding], limit)
    segment_ids, _ = pad([*(aligned.segment_ids for aligned in batch), *padding], limit)
    states = network.predict_on_batch({"token_ids": token_ids, "segment_ids": segment_ids, "mask": mask})
    return states if isinstance(states, list) else [states]  # Keras unpacks a list of one


def _pool(states: Sequence[np.ndarray], first: np.ndarray, count: np.ndarray) -> Iterator[np.ndarray]:
    """Average the pieces of every row, layer by layer: 1 / count times the sum over n < count of piece first + n.

    Args:
        states: States of every layer, `sentences wordpieces hidden`.
        first: For every row its first piece, counted over all pieces of all sentences.
        count: For every row the number of its pieces.

    Returns:
        `rows hidden` of every layer.
    """
    further = [np.flatnonzero(count > n) for n in range(1, count.max())]  # rows with an n-th piece more: ever fewer
    for state in states:
        pieces = np.reshape(state, (-1, state.shape[-1]))
        vectors = pieces[first]
        for n, longer in enumerate(further, 1):
            vectors[longer] += pieces[first[longer] + n]
        if further:
            vectors[further[0]] /= count[further[0], None]
        yield vectors
