"""BERT in plain Keras layers: hides the network; gives the hidden states of every layer.

It refuses activations that it cannot compute exactly as the checkpoint's authors did.

Reference:
    Devlin et al. 2019, section 3; Vaswani et al. 2017, section 3.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from bert_repro.checkpoints import Config, weight_table

ACTIVATIONS = {
    "gelu": lambda x: keras.activations.gelu(
        x, approximate=False
    ),  # the exact one: tanh is off by up to 9e-3 at the end
    "gelu_new": lambda x: keras.activations.gelu(x, approximate=True),
    "relu": keras.activations.relu,
}


class Embeddings(layers.Layer):
    """Word, position and segment embeddings, summed and normalised: layer 0."""

    def __init__(self, config: Config, **options: Any):
        super().__init__(**options)
        self.word = layers.Embedding(config.vocab_size, config.hidden_size, name="word")
        self.position = layers.Embedding(config.max_position_embeddings, config.hidden_size, name="position")
        self.segment = layers.Embedding(config.type_vocab_size, config.hidden_size, name="segment")
        self.norm = layers.LayerNormalization(epsilon=config.layer_norm_eps, name="norm")
        self.dropout = layers.Dropout(config.hidden_dropout_prob)

    def call(self, token_ids, segment_ids, training=None):
        positions = self.position(ops.arange(ops.shape(token_ids)[1]))
        summed = self.word(token_ids) + positions[None] + self.segment(segment_ids)
        return self.dropout(self.norm(summed), training=training)


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

    def _split(self, x):
        sentences, pieces, hidden = ops.shape(x)
        return ops.transpose(ops.reshape(x, (sentences, pieces, self.heads, hidden // self.heads)), (0, 2, 1, 3))

    def call(self, x, mask, training=None):
        q, k, v = (self._split(dense(x)) for dense in (self.query, self.key, self.value))  # sentences heads pieces size
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * q.shape[-1] ** -0.5
        scores = scores + (ops.cast(mask, scores.dtype)[:, None, None, :] - 1) * 1e9
        mixed = ops.matmul(self.attention_dropout(ops.softmax(scores), training=training), v)
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), ops.shape(x))
        x = self.attention_norm(x + self.dropout(self.attention_output(mixed), training=training))
        return self.output_norm(x + self.dropout(self.dense(self.intermediate(x)), training=training))


def build(config: Config, weights: Mapping[str, np.ndarray] | None = None) -> keras.Model:
    """Build the encoder.

    Args:
        config: Its shape.
        weights: A checkpoint's arrays (`checkpoints.read_weights`); without them the layers keep their initial draw.

    Returns:
        A model from `token_ids`, `segment_ids` and `mask` (each `sentences wordpieces`; mask 1 for real pieces) to a list
        of `num_hidden_layers + 1` hidden states (`sentences wordpieces hidden`): 0 the embeddings, k the output of block k.

    Raises:
        ValueError: An activation that is not known here.
    """
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(f"activation {config.hidden_act!r} is not supported: expected one of {sorted(ACTIVATIONS)}")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids", "mask")}
    states = [Embeddings(config, name="embeddings")(inputs["token_ids"], inputs["segment_ids"])]
    for k in range(1, config.num_hidden_layers + 1):
        states.append(Block(config, name=f"block_{k}")(states[-1], inputs["mask"]))
    model = keras.Model(inputs, states, name="encoder")
    if weights is not None:
        variables = {variable.path: variable for variable in model.weights}
        for variable, key, transposed in weight_table(config.num_hidden_layers):
            variables[variable].assign(weights[key].T if transposed else weights[key])
    return model


def export(model: keras.Model, config: Config) -> dict[str, np.ndarray]:
    """Give the encoder's weights back under their checkpoint keys, from a model that `build` made or that contains it."""
    variables = {variable.path: variable for variable in model.weights}
    arrays = (
        (key, np.asarray(variables[name]), transposed)
        for name, key, transposed in weight_table(config.num_hidden_layers)
    )
    return {key: array.T if transposed else array for key, array, transposed in arrays}


def pad(rows: list[np.ndarray], multiple: int = 8, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pad integer rows with zeros to a common length, a multiple of a few pieces so that few shapes occur; also the mask.

    Args:
        rows: One array of integers for each input.
        multiple: Of which the length is one.
        limit: The longest that an input may be; padding stays within it too, as there are no positions beyond.
    """
    longest = max(map(len, rows))
    length = -(-longest // multiple) * multiple
    if limit is not None:
        length = max(longest, min(length, limit))
    padded, mask = np.zeros((2, len(rows), length), np.int32)
    for i, row in enumerate(rows):
        padded[i, : len(row)], mask[i, : len(row)] = row, 1
    return padded, mask
