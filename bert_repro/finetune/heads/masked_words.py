"""Masked words, the task that pre-trains an encoder: its task head, in the layout of Hugging Face's checkpoints.

To train an encoder from scratch is to tune an untrained one on this task; to score a tuned encoder under the head of its
base says what tuning cost the task that made the base.

Reference:
    Devlin et al. 2019, section 3.1, Task 1, and appendix A.1.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from jaxtyping import Int
from keras import layers, ops

from bert_repro.checkpoints.families import ARCHITECTURES, Config
from bert_repro.encoder import ACTIVATIONS
from bert_repro.finetune.heads import MaskedCrossEntropy, TaskHead

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"


class MaskedWords(TaskHead):
    """The piece under each mask: a transform of its state (dense, activation, norm), decoded by the word embeddings.

    They are the encoder's; a head of another encoder, which is not `tied`, brings its own.

    Inputs beside the encoder's are `masked`, the places of the masks (`inputs masks`), and `gold`, the pieces that stood
    there (-1 for a place that does not count).
    """

    metrics = ("masked_word_loss", "masked_word_accuracy")
    lower_is_better = True
    losses = {"pieces": MaskedCrossEntropy()}

    def __init__(self, names: Sequence[str] = ()):
        self.names = list(names)
        self.extra_inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("masked", "gold")}

    @staticmethod
    def labels(items: Sequence[Any]) -> tuple[str, ...]:
        return ()

    def attach(self, encoder: keras.Model, config: Config) -> None:
        """Take the layers that the task head shares with its encoder.

        Raises:
            ValueError: A family whose masked-word head is not known here.
        """
        names = ARCHITECTURES[config.model_type].masked_words
        self.checkpoint_names = dict(names) | {"decoder/words": WORD_EMBEDDINGS}
        self.config, self.words = config, encoder.get_layer("embeddings").word

    def outputs(self, states: Any, inputs: Mapping[str, Any], dropout: float) -> dict[str, Any]:
        config = self.config
        width = config.embedding_size or config.hidden_size
        normal = keras.initializers.RandomNormal(stddev=config.initializer_range)
        at_masks = ops.take_along_axis(states, ops.expand_dims(inputs["masked"], -1), 1)  # inputs masks hidden
        hidden = layers.Dense(width, ACTIVATIONS[config.hidden_act], kernel_initializer=normal, name="transform")(
            at_masks
        )
        hidden = layers.LayerNormalization(epsilon=config.layer_norm_eps, name="transform_norm")(hidden)
        logits = Decoder(self.words if self.tied else None, config.vocab_size, name="decoder")(hidden)
        logits = ops.cast(logits, "float32")
        gold = ops.maximum(inputs["gold"], 0)
        nats = ops.sparse_categorical_crossentropy(gold, logits, from_logits=True)
        right = ops.cast(ops.equal(ops.argmax(logits, -1), ops.cast(gold, "int64")), "float32")
        self.predicted = {"nats": nats, "right": right}
        return {"pieces": logits}


class Decoder(layers.Layer):
    """The product with every word embedding, plus a bias: logits over the vocabulary.

    Args:
        words: The encoder's embedding of words, to be tied to; without it the layer has a table of its own.
        vocabulary: Number of pieces.
    """

    def __init__(self, words: "layers.Embedding | None", vocabulary: int, **options: Any):
        super().__init__(**options)
        # behind a function: the variable is the encoder's, and is not to be counted here again
        self.table = (lambda: words.embeddings) if words is not None else (lambda: self.words)
        self.tied, self.vocabulary = words is not None, vocabulary

    def build(self, shape):
        if not self.tied:
            self.words = self.add_weight(name="words", shape=(self.vocabulary, shape[-1]))
        self.bias = self.add_weight(name="bias", shape=(self.vocabulary,), initializer="zeros")

    def call(self, hidden):
        table = ops.cast(ops.convert_to_tensor(self.table()), hidden.dtype)
        return ops.matmul(hidden, ops.transpose(table)) + self.bias


def mask(
    pieces: Int[np.ndarray, "inputs wordpieces"],
    maskable: np.ndarray,
    vocabulary: Int[np.ndarray, " ordinary"],
    mask_id: int,
    share: float,
    generator: np.random.Generator,
) -> tuple[Int[np.ndarray, "inputs wordpieces"], Int[np.ndarray, "inputs masks"], Int[np.ndarray, "inputs masks"]]:
    """Choose pieces and hide them: of the chosen, 80 % become the mask, 10 % a random piece, 10 % stay as they are.

    Args:
        pieces: Encoder inputs of one length.
        maskable: Which of them may be chosen (`inputs wordpieces`, bool).
        vocabulary: The pieces that a random one is drawn from.
        mask_id: The mask.
        share: How many to choose, of all pieces of an input: the same number in each.
        generator: Draws them.

    Returns:
        The inputs with their masks, the chosen places in ascending order, and the pieces that stood there; -1 where an
        input had fewer to choose from.
    """
    chosen = round(share * pieces.shape[1])
    order = np.where(maskable, generator.random(pieces.shape), 2.0)
    places = np.sort(np.argsort(order, 1)[:, :chosen], 1)
    gold = np.take_along_axis(pieces, places, 1)
    kind = generator.random(gold.shape)
    random = vocabulary[generator.integers(0, len(vocabulary), gold.shape)]
    usable = np.take_along_axis(maskable, places, 1)
    hidden = np.where(kind < 0.8, mask_id, np.where(kind < 0.9, random, gold))
    masked = pieces.copy()
    np.put_along_axis(masked, places, np.where(usable, hidden, gold), 1)
    return masked, places, np.where(usable, gold, -1)
